//! Which rows a trace has, and which row is a copy of a span that comes again.

use std::hash::BuildHasher;

use tracer_model::span::Span;

use super::{Segment, Tables};

/// Spans of a trace with one id and one start that are looked at to find a copy. More of them are made to do harm.
const MOST_ALIKE: usize = 64;

/// Trace, span id, start, kind and name: what is hashed. Two services with the same are told apart besides.
type Identity<'of> = (u16, u64, u64, u8, &'of str);

impl Segment {
    /// Adds the last row to those that are found by their identity.
    pub(super) fn add_identity(&self, tables: &mut Tables) {
        let Tables { hash: keys, rows, .. } = tables;
        let hash = |row: &u16| keys.hash_one(self.identity(usize::from(*row)));
        let row = (self.rows() - 1) as u16;
        rows.insert_unique(hash(&row), row, hash);
    }

    /// What a row is told by: trace, and what makes a span itself within it.
    fn identity(&self, row: usize) -> Identity<'_> {
        let head = self.head_of(row);
        let name = &*self.names[head.name as usize];
        (self.trace[row], self.span_id[row], self.start[row], head.kind as u8, name)
    }

    /// The row that is held of a span of a trace, told by the span's identity.
    pub(crate) fn find(&self, trace: u16, span: &Span) -> Option<usize> {
        let (span_id, kind, start, name, service) = span.identity();
        if !(self.min_start..=self.max_start).contains(&start) {
            return None;
        }
        let wanted: Identity<'_> = (trace, u64::from_be_bytes(span_id.0), start, kind as u8, name);
        let is_it =
            |row: usize| self.identity(row) == wanted && self.service_of(self.head_of(row)) == service;
        if let Some(tables) = &self.tables {
            let is_it = |row: &u16| is_it(usize::from(*row));
            return tables.rows.find(tables.hash.hash_one(wanted), is_it).map(|row| usize::from(*row));
        }
        let place = (wanted.0, wanted.1, wanted.2);
        let first = self.order.partition_point(|row| self.place_in_order(usize::from(*row)) < place);
        let alike = self.order[first..].iter().take(MOST_ALIKE).map(|row| usize::from(*row));
        alike
            .take_while(|row| self.place_in_order(*row) == place)
            .find(|row| is_it(*row) && !self.is_replaced(*row))
    }

    fn place_in_order(&self, row: usize) -> (u16, u64, u64) {
        (self.trace[row], self.span_id[row], self.start[row])
    }

    pub(super) fn put_in_order(&mut self) {
        let mut order: Vec<u16> =
            (0..self.rows() as u16).filter(|row| !self.is_replaced(usize::from(*row))).collect();
        order.sort_unstable_by_key(|row| self.place_in_order(usize::from(*row)));
        self.order = order;
    }

    /// Lets a row go: another copy of its span is held.
    pub(crate) fn replace(&mut self, row: usize) {
        if let Some(mut tables) = self.tables.take() {
            let hash = tables.hash.hash_one(self.identity(row));
            if let Ok(entry) = tables.rows.find_entry(hash, |of| usize::from(*of) == row) {
                entry.remove();
            }
            self.tables = Some(tables);
        }
        self.gone_or_new().rows.add(row);
    }

    /// Whether another copy of its span is held.
    pub(crate) fn is_replaced(&self, row: usize) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.rows.has(row))
    }

    /// Rows of a trace, ascending, without those that were replaced.
    pub(crate) fn rows_of(&self, trace: u16) -> Vec<usize> {
        let is_there = |row: &usize| !self.is_replaced(*row);
        if self.is_open() {
            let rows = self.trace.iter().enumerate().filter(|(_, of)| **of == trace).map(|(row, _)| row);
            return rows.filter(is_there).collect();
        }
        let first = self.order.partition_point(|row| self.trace[usize::from(*row)] < trace);
        let rows = self.order[first..].iter().map(|row| usize::from(*row));
        let mut rows: Vec<usize> =
            rows.take_while(|row| self.trace[*row] == trace).filter(is_there).collect();
        rows.sort_unstable();
        rows
    }
}
