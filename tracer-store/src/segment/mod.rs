//! A few thousand spans in columns.
//!
//! What comes again and again stands in dictionaries of the segment, so that the whole goes at once:
//! - the *head* of a span: who made it, its name, kind, status and the like;
//! - the *template* of a span: its attributes in order, with the values of those keys that have few values. Keys with
//!   many values are *loose*: the template holds the key, and the row the value.
//!
//! A filter decides once for each head and template, and looks at rows only for what is loose.

mod decode;
pub(crate) mod dictionary;
mod extras;
pub(crate) mod filter;
mod identity;
mod makers;
pub(crate) mod values;

use std::{hash::RandomState, sync::Arc};

use hashbrown::HashTable;
use tracer_model::span::{Kind, Resource, Scope, Span, SpanId, StatusCode, TraceId};

use self::{
    dictionary::{Bits, Codes, short_hash},
    extras::Extras,
    makers::Makers,
    values::{ValueCode, ValueTables, Values, shared_bytes},
};
use crate::query::TARGET_KEYS;

/// Spans of a segment: a row has 15 bits, and a scan of a segment takes well under a millisecond.
pub(crate) const MAX_ROWS: usize = 32_768;

/// Attributes and words that a segment may have besides its spans: codes have 29 bits.
const MAX_WORDS: usize = 1 << 28;

/// What many spans have in common besides their attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) resource: u32,
    pub(crate) scope: u32,
    pub(crate) name: u32,
    pub(crate) kind: Kind,
    pub(crate) status: StatusCode,
    flags: u32,
    trace_state: u32,
    status_message: u32,
    dropped_attributes: u32,
    dropped_events: u32,
    dropped_links: u32,
}

/// A name of attributes.
pub(crate) struct Key {
    pub(crate) name: Arc<str>,
    pub(crate) is_target: bool,
}

/// A key with a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) key: u32,
    pub(crate) value: ValueCode,
}

/// An attribute of a template.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

pub(crate) enum SlotKind {
    /// Key and value; its code.
    Pair(usize),
    /// A key whose value stands in the row; the key's code.
    Loose(usize),
}

impl Slot {
    const LOOSE: u32 = 1 << 31;

    pub(crate) fn kind(self) -> SlotKind {
        let code = (self.0 & !Self::LOOSE) as usize;
        if self.0 & Self::LOOSE == 0 { SlotKind::Pair(code) } else { SlotKind::Loose(code) }
    }
}

pub(crate) struct Segment {
    /// Its number: later segments have higher ones.
    pub(crate) number: u32,
    max_rows: usize,
    pub(crate) trace: Vec<u16>,
    pub(crate) span_id: Vec<u64>,
    /// 0 for none.
    pub(crate) parent: Vec<u64>,
    pub(crate) start: Vec<u64>,
    pub(crate) end: Vec<u64>,
    pub(crate) head: Vec<u16>,
    pub(crate) template: Vec<u16>,
    loose_end: Vec<u32>,
    loose: Vec<ValueCode>,
    extras: Extras,

    pub(crate) traces: Vec<TraceId>,
    pub(crate) heads: Vec<Head>,
    /// Of each head, its operation in the store's table.
    pub(crate) operations: Vec<u32>,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) resources: Makers<Resource>,
    scopes: Makers<Scope>,
    pub(crate) keys: Vec<Key>,
    pub(crate) values: Values,
    pub(crate) pairs: Vec<Pair>,
    slots: Vec<Slot>,
    slots_end: Vec<u32>,
    texts_bytes: usize,

    pub(crate) min_start: u64,
    /// The same of spans that tell their time: a sender may leave it out.
    pub(crate) min_told_start: u64,
    pub(crate) max_start: u64,
    /// Rows that are held, by trace, span id and start: those of a trace stand together. Empty while it takes spans.
    order: Vec<u16>,
    /// Traces and spans of it that were let go, though the segment is still there.
    gone: Option<Box<Gone>>,
    /// Traces of it that lie in other segments, too, or did.
    spread: Bits,
    /// Grows when a span that is held goes, or a trace comes to lie elsewhere.
    pub(crate) version: u32,
    /// What is needed to take more spans.
    tables: Option<Box<Tables>>,
}

/// Traces that were let go, and in which order; rows in whose place another copy of their span is held.
struct Gone {
    bits: Bits,
    order: Vec<u16>,
    rows: Bits,
}

#[derive(Default)]
struct Tables {
    hash: RandomState,
    heads: Codes,
    names: Codes,
    resources: Codes,
    scopes: Codes,
    keys: Codes,
    values: ValueTables,
    pairs: Codes,
    templates: Codes,
    /// Rows that are held, by trace and identity.
    rows: HashTable<u16>,
    /// Of each key, how many values it has had.
    key_values: Vec<u32>,
    /// Slots of the span that is taken.
    slots: Vec<Slot>,
}

impl Segment {
    pub(crate) fn new(number: u32, max_rows: usize) -> Self {
        Self {
            number,
            max_rows: max_rows.clamp(1, MAX_ROWS),
            trace: Vec::new(),
            span_id: Vec::new(),
            parent: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            head: Vec::new(),
            template: Vec::new(),
            loose_end: Vec::new(),
            loose: Vec::new(),
            extras: Extras::default(),
            traces: Vec::new(),
            heads: Vec::new(),
            operations: Vec::new(),
            names: Vec::new(),
            resources: Makers::default(),
            scopes: Makers::default(),
            keys: Vec::new(),
            values: Values::default(),
            pairs: Vec::new(),
            slots: Vec::new(),
            slots_end: Vec::new(),
            texts_bytes: 0,
            min_start: u64::MAX,
            min_told_start: u64::MAX,
            max_start: 0,
            order: Vec::new(),
            gone: None,
            spread: Bits::new(0),
            version: 0,
            tables: Some(Box::default()),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.trace.len()
    }

    /// Whether it takes spans.
    pub(crate) fn is_open(&self) -> bool {
        self.tables.is_some()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows() >= self.max_rows || self.loose.len() + self.slots.len() + self.extras.words() >= MAX_WORDS
    }

    /// Gives a trace a place.
    pub(crate) fn add_trace(&mut self, trace_id: TraceId) -> u16 {
        self.traces.push(trace_id);
        (self.traces.len() - 1) as u16
    }

    /// Takes a span. `operation` is asked when a head is new. Tells the code of the head. A sealed segment takes none.
    pub(crate) fn push(
        &mut self,
        span: &Span,
        trace: u16,
        operation: impl FnOnce(&Span) -> u32,
    ) -> Option<u16> {
        let mut tables = self.tables.take()?;
        let head = self.head_code(&mut tables, span, operation);
        self.template_code(&mut tables, span);
        self.trace.push(trace);
        self.span_id.push(u64::from_be_bytes(span.span_id.0));
        self.parent.push(span.parent_span_id.map_or(0, |parent| u64::from_be_bytes(parent.0)));
        self.start.push(span.start_unix_ns);
        self.end.push(span.end_unix_ns);
        self.head.push(head);
        self.loose_end.push(self.loose.len() as u32);
        self.min_start = self.min_start.min(span.start_unix_ns);
        if span.start_unix_ns > 0 {
            self.min_told_start = self.min_told_start.min(span.start_unix_ns);
        }
        self.max_start = self.max_start.max(span.start_unix_ns);
        self.add_identity(&mut tables);
        if !span.events.is_empty() || !span.links.is_empty() {
            self.push_extras(&mut tables, span);
        }
        self.tables = Some(tables);
        Some(head)
    }

    fn head_code(&mut self, tables: &mut Tables, span: &Span, operation: impl FnOnce(&Span) -> u32) -> u16 {
        let hash = short_hash(&tables.hash, &span.name);
        let (name, is_new) =
            tables.names.find_or_add(hash, self.names.len(), |code| self.names[code] == span.name);
        if is_new {
            self.texts_bytes += shared_bytes(&span.name);
            self.names.push(Arc::clone(&span.name));
        }
        let head = Head {
            resource: self.resources.code(&mut tables.resources, &tables.hash, &span.resource),
            scope: self.scopes.code(&mut tables.scopes, &tables.hash, &span.scope),
            name,
            kind: span.kind,
            status: span.status,
            flags: span.flags,
            trace_state: self.values.text(&mut tables.values, &tables.hash, &span.trace_state),
            status_message: self.values.text(&mut tables.values, &tables.hash, &span.status_message),
            dropped_attributes: span.dropped_attributes,
            dropped_events: span.dropped_events,
            dropped_links: span.dropped_links,
        };
        let hash = short_hash(&tables.hash, head);
        let (code, is_new) =
            tables.heads.find_or_add(hash, self.heads.len(), |code| self.heads[code] == head);
        if is_new {
            self.heads.push(head);
            self.operations.push(operation(span));
        }
        code as u16
    }

    fn template_code(&mut self, tables: &mut Tables, span: &Span) {
        let mut slots = std::mem::take(&mut tables.slots);
        slots.clear();
        // The more templates there are, the fewer values a key of them may have.
        let max_values = match self.slots_end.len() {
            0..1024 => 48,
            1024..4096 => 12,
            _ => 2,
        };
        for (name, value) in &span.attributes {
            let key = self.key_code(tables, name);
            let is_target = self.keys[key as usize].is_target;
            let value = self.values.code(&mut tables.values, &tables.hash, value, is_target);
            if tables.key_values[key as usize] > max_values {
                self.loose.push(value);
                slots.push(Slot(key | Slot::LOOSE));
                continue;
            }
            let pair = Pair { key, value };
            let hash = short_hash(&tables.hash, pair);
            let (code, is_new) =
                tables.pairs.find_or_add(hash, self.pairs.len(), |code| self.pairs[code] == pair);
            if is_new {
                tables.key_values[key as usize] += 1;
                self.pairs.push(pair);
            }
            slots.push(Slot(code));
        }
        let hash = short_hash(&tables.hash, slots.as_slice());
        let (code, is_new) = tables
            .templates
            .find_or_add(hash, self.slots_end.len(), |code| self.slots(code) == slots.as_slice());
        if is_new {
            self.slots.extend_from_slice(&slots);
            self.slots_end.push(self.slots.len() as u32);
        }
        self.template.push(code as u16);
        tables.slots = slots;
    }

    fn key_code(&mut self, tables: &mut Tables, name: &Arc<str>) -> u32 {
        let hash = short_hash(&tables.hash, name);
        let (code, is_new) =
            tables.keys.find_or_add(hash, self.keys.len(), |code| *self.keys[code].name == **name);
        if is_new {
            self.texts_bytes += shared_bytes(name);
            self.keys.push(Key { name: Arc::clone(name), is_target: TARGET_KEYS.contains(&&**name) });
            tables.key_values.push(0);
        }
        code
    }

    /// Ends it: it takes no more spans, and needs less memory.
    pub(crate) fn seal(&mut self) {
        self.tables = None;
        self.put_in_order();
        self.trace.shrink_to_fit();
        self.span_id.shrink_to_fit();
        self.parent.shrink_to_fit();
        self.start.shrink_to_fit();
        self.end.shrink_to_fit();
        self.head.shrink_to_fit();
        self.template.shrink_to_fit();
        self.loose_end.shrink_to_fit();
        self.loose.shrink_to_fit();
        self.extras.shrink();
        self.traces.shrink_to_fit();
        self.heads.shrink_to_fit();
        self.operations.shrink_to_fit();
        self.names.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.values.shrink();
        self.pairs.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.slots_end.shrink_to_fit();
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let of_tables = self.tables.as_ref().map_or(0, |tables| {
            size_of::<Tables>()
                + tables.heads.bytes()
                + tables.names.bytes()
                + tables.resources.bytes()
                + tables.scopes.bytes()
                + tables.keys.bytes()
                + tables.values.bytes()
                + tables.pairs.bytes()
                + tables.templates.bytes()
                + tables.rows.allocation_size()
                + tables.key_values.capacity() * 4
        });
        let of_rows =
            (self.trace.capacity() + self.head.capacity() + self.template.capacity() + self.order.capacity())
                * 2
                + (self.span_id.capacity()
                    + self.parent.capacity()
                    + self.start.capacity()
                    + self.end.capacity())
                    * 8
                + (self.loose_end.capacity() + self.loose.capacity()) * 4;
        let of_codes = self.traces.capacity() * size_of::<TraceId>()
            + self.heads.capacity() * size_of::<Head>()
            + self.operations.capacity() * 4
            + self.names.capacity() * size_of::<Arc<str>>()
            + self.keys.capacity() * size_of::<Key>()
            + self.pairs.capacity() * size_of::<Pair>()
            + (self.slots.capacity() + self.slots_end.capacity()) * 4;
        size_of::<Self>()
            + of_tables
            + of_rows
            + of_codes
            + self.texts_bytes
            + self.extras.bytes()
            + self.resources.bytes()
            + self.scopes.bytes()
            + self.values.bytes()
            + self.spread.bytes()
            + self
                .gone
                .as_ref()
                .map_or(0, |gone| gone.bits.bytes() + gone.rows.bytes() + gone.order.capacity() * 2)
    }

    /// Lets a trace go, though its rows stay until the segment goes.
    pub(crate) fn forget(&mut self, trace: u16) {
        let gone = self.gone_or_new();
        if gone.bits.add(trace.into()) {
            gone.order.push(trace);
        }
    }

    fn gone_or_new(&mut self) -> &mut Gone {
        self.version = self.version.wrapping_add(1);
        let traces = self.traces.len();
        self.gone.get_or_insert_with(|| {
            Box::new(Gone { bits: Bits::new(traces), order: Vec::new(), rows: Bits::new(0) })
        })
    }

    /// Whether a trace was let go.
    pub(crate) fn is_gone(&self, trace: u16) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.bits.has(trace.into()))
    }

    /// Traces that were let go, in that order.
    pub(crate) fn gone_traces(&self) -> impl Iterator<Item = u16> {
        self.gone.iter().flat_map(|gone| gone.order.iter().copied())
    }

    /// A trace of it lies in another segment, too.
    pub(crate) fn spread(&mut self, trace: u16) {
        if self.spread.add(trace.into()) {
            self.version = self.version.wrapping_add(1);
        }
    }

    pub(crate) fn is_spread(&self, trace: u16) -> bool {
        self.spread.has(trace.into())
    }

    /// Rows that are held of traces that lie in other segments, too.
    pub(crate) fn spread_rows(&self) -> impl Iterator<Item = usize> {
        let rows = 0..if self.spread.is_empty() { 0 } else { self.rows() };
        rows.filter(|row| self.is_spread(self.trace[*row]) && self.is_held(*row))
    }

    /// Rows that are held of traces that lie in it alone, those of one trace together.
    pub(crate) fn alone_rows(&self) -> Vec<u16> {
        let mut rows = if self.is_open() { (0..self.rows() as u16).collect() } else { self.order.clone() };
        rows.retain(|row| {
            let row = usize::from(*row);
            !self.is_spread(self.trace[row]) && self.is_held(row)
        });
        if self.is_open() {
            rows.sort_by_key(|row| self.trace[usize::from(*row)]);
        }
        rows
    }

    /// Whether any trace or span of it was let go.
    pub(crate) fn has_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether a row is held: its trace was not let go, and no other copy of its span is in its place.
    pub(crate) fn is_held(&self, row: usize) -> bool {
        self.gone.as_ref().is_none_or(|gone| !gone.bits.has(self.trace[row].into()) && !gone.rows.has(row))
    }

    pub(crate) fn slots(&self, template: usize) -> &[Slot] {
        let start = template.checked_sub(1).map_or(0, |before| self.slots_end[before] as usize);
        &self.slots[start..self.slots_end[template] as usize]
    }

    pub(crate) fn templates(&self) -> usize {
        self.slots_end.len()
    }

    pub(crate) fn loose_of(&self, row: usize) -> &[ValueCode] {
        let start = row.checked_sub(1).map_or(0, |before| self.loose_end[before] as usize);
        &self.loose[start..self.loose_end[row] as usize]
    }

    pub(crate) fn head_of(&self, row: usize) -> &Head {
        &self.heads[usize::from(self.head[row])]
    }

    pub(crate) fn service_of(&self, head: &Head) -> &str {
        self.resources.all[head.resource as usize].service_name()
    }

    pub(crate) fn duration_ns(&self, row: usize) -> u64 {
        self.end[row].saturating_sub(self.start[row])
    }

    pub(crate) fn is_error(&self, row: usize) -> bool {
        self.head_of(row).status == StatusCode::Error
    }

    pub(crate) fn span_id_of(&self, row: usize) -> SpanId {
        SpanId(self.span_id[row].to_be_bytes())
    }
}
