//! Which traces are held, and where their spans lie.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use tracer_model::span::TraceId;

/// Parts of the table: each grows on its own, so that growing takes little time and memory at once.
const SHARDS: usize = 64;

/// Where spans of a trace lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Code of the trace in it.
    pub(crate) trace: u16,
}

pub(crate) struct Trace {
    pub(crate) trace_id: TraceId,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) spans: u32,
    pub(crate) errors: u32,
    /// Segment that took its newest span.
    pub(crate) newest: u32,
    first: Option<Place>,
    #[expect(
        clippy::box_collection,
        reason = "few traces have more, and there are many: a box is two words less"
    )]
    more: Option<Box<Vec<Place>>>,
}

impl Trace {
    pub(crate) fn new(trace_id: TraceId) -> Self {
        Self { trace_id, start: u64::MAX, end: 0, spans: 0, errors: 0, newest: 0, first: None, more: None }
    }

    /// Places of its spans.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.first.into_iter().chain(self.more.iter().flat_map(|more| more.iter().copied()))
    }

    /// Its code in a segment.
    pub(crate) fn in_segment(&self, segment: u32) -> Option<u16> {
        self.places().find(|place| place.segment == segment).map(|place| place.trace)
    }

    pub(crate) fn add(&mut self, place: Place) {
        match self.first {
            None => self.first = Some(place),
            Some(_) => self.more.get_or_insert_default().push(place),
        }
    }

    pub(crate) fn remove(&mut self, segment: u32) {
        if let Some(more) = &mut self.more {
            more.retain(|place| place.segment != segment);
        }
        if self.first.is_some_and(|place| place.segment == segment) {
            self.first = self.more.as_mut().and_then(|more| more.pop());
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
    }

    /// Memory of its places besides the first.
    pub(crate) fn more_bytes(&self) -> usize {
        self.more
            .as_ref()
            .map_or(0, |more| size_of::<Vec<Place>>() + 32 + more.capacity() * size_of::<Place>())
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

pub(crate) struct Traces {
    hash: RandomState,
    shards: Vec<HashTable<Trace>>,
}

impl Traces {
    pub(crate) fn new() -> Self {
        Self { hash: RandomState::new(), shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }

    pub(crate) fn get(&self, trace_id: TraceId) -> Option<&Trace> {
        let hash = self.hash.hash_one(trace_id);
        self.shards[shard(hash)].find(hash, |trace| trace.trace_id == trace_id)
    }

    pub(crate) fn get_mut(&mut self, trace_id: TraceId) -> Option<&mut Trace> {
        let hash = self.hash.hash_one(trace_id);
        self.shards[shard(hash)].find_mut(hash, |trace| trace.trace_id == trace_id)
    }

    pub(crate) fn get_or_add(&mut self, trace_id: TraceId) -> (&mut Trace, bool) {
        let hash = self.hash.hash_one(trace_id);
        let keys = &self.hash;
        let rehash = |trace: &Trace| keys.hash_one(trace.trace_id);
        match self.shards[shard(hash)].entry(hash, |trace| trace.trace_id == trace_id, rehash) {
            Entry::Occupied(entry) => (entry.into_mut(), false),
            Entry::Vacant(entry) => (entry.insert(Trace::new(trace_id)).into_mut(), true),
        }
    }

    pub(crate) fn remove(&mut self, trace_id: TraceId) -> Option<Trace> {
        let hash = self.hash.hash_one(trace_id);
        let entry = self.shards[shard(hash)].find_entry(hash, |trace| trace.trace_id == trace_id).ok()?;
        Some(entry.remove().0)
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

/// The table takes its own bits from the top and the bottom of a hash: these are from the middle.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
