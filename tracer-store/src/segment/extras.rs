//! Events and links of spans, which few spans have: words in one buffer.

use std::hash::RandomState;

use tracer_model::span::{Attribute, Event, Link, Span, SpanId, TraceId};

use super::{Segment, Tables, values::ValueCode};

#[derive(Default)]
pub(super) struct Extras {
    /// Rows that have some, ascending, and where those begin.
    rows: Vec<(u16, u32)>,
    words: Vec<u32>,
    /// Values of their attributes.
    values: Vec<ValueCode>,
}

impl Extras {
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(u16, u32)>() + (self.words.capacity() + self.values.capacity()) * 4
    }

    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.words.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    fn push_long(&mut self, number: u64) {
        self.words.extend([(number >> 32) as u32, number as u32]);
    }
}

/// Reads words in the order in which they were written.
struct Words<'words>(&'words [u32]);

impl Words<'_> {
    fn word(&mut self) -> u32 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn long(&mut self) -> u64 {
        u64::from(self.word()) << 32 | u64::from(self.word())
    }
}

impl Segment {
    pub(super) fn push_extras(&mut self, tables: &mut Tables, span: &Span) {
        let row = (self.rows() - 1) as u16;
        self.extras.rows.push((row, self.extras.words.len() as u32));
        self.extras.words.extend([span.events.len() as u32, span.links.len() as u32]);
        for event in &span.events {
            let name = self.values.text(&mut tables.values, &tables.hash, &event.name);
            self.extras.push_long(event.time_unix_ns);
            self.extras.words.extend([name, event.dropped_attributes]);
            self.push_attributes(tables, &event.attributes);
        }
        for link in &span.links {
            let state = self.values.text(&mut tables.values, &tables.hash, &link.trace_state);
            let trace_id = u128::from_be_bytes(link.trace_id.0);
            self.extras.push_long((trace_id >> 64) as u64);
            self.extras.push_long(trace_id as u64);
            self.extras.push_long(u64::from_be_bytes(link.span_id.0));
            self.extras.words.extend([state, link.dropped_attributes, link.flags]);
            self.push_attributes(tables, &link.attributes);
        }
    }

    fn push_attributes(&mut self, tables: &mut Tables, attributes: &[Attribute]) {
        self.extras.words.extend([attributes.len() as u32, self.extras.values.len() as u32]);
        for (name, value) in attributes {
            let key = self.key_code(tables, name);
            let hash: &RandomState = &tables.hash;
            let value = self.values.code(&mut tables.values, hash, value, false);
            self.extras.words.push(key);
            self.extras.values.push(value);
        }
    }

    /// Events and links of a row.
    pub(super) fn extras_of(&self, row: usize) -> (Vec<Event>, Vec<Link>) {
        let Ok(place) = self.extras.rows.binary_search_by_key(&row, |(of, _)| usize::from(*of)) else {
            return (Vec::new(), Vec::new());
        };
        let mut words = Words(&self.extras.words[self.extras.rows[place].1 as usize..]);
        let (events, links) = (words.word(), words.word());
        let events = (0..events).map(|_| {
            let (time_unix_ns, name, dropped_attributes) = (words.long(), words.word(), words.word());
            let attributes = self.attributes_of(&mut words);
            Event { time_unix_ns, name: self.values.text_of(name).into(), attributes, dropped_attributes }
        });
        let events = events.collect();
        let links = (0..links).map(|_| {
            let trace_id = u128::from(words.long()) << 64 | u128::from(words.long());
            let span_id = SpanId(words.long().to_be_bytes());
            let (state, dropped_attributes, flags) = (words.word(), words.word(), words.word());
            let attributes = self.attributes_of(&mut words);
            let trace_state = self.values.text_of(state).into();
            let trace_id = TraceId(trace_id.to_be_bytes());
            Link { trace_id, span_id, trace_state, attributes, dropped_attributes, flags }
        });
        (events, links.collect())
    }

    fn attributes_of(&self, words: &mut Words<'_>) -> Vec<Attribute> {
        let (count, first) = (words.word() as usize, words.word() as usize);
        let attributes = (first..first + count).map(|place| {
            let key = words.word() as usize;
            (self.keys[key].name.clone(), self.values.value(self.extras.values[place]))
        });
        attributes.collect()
    }
}
