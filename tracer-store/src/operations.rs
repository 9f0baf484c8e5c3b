//! Operations: what spans have in common that have the same service, name and kind.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use tracer_model::span::{Kind, Span, TraceId};

use crate::{Limits, durations::Buckets, segment::values::shared_bytes};

/// Place of an operation in the table. Spans of operations for which there is no place have `NONE`.
pub(crate) type OperationCode = u32;

pub(crate) const NONE: OperationCode = u32::MAX;

pub(crate) struct Operation {
    pub(crate) service: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// Spans that are held.
    pub(crate) spans: u64,
    /// Heads of segments that name it. With none left, its place is free.
    heads: u32,
    durations: Buckets,
    /// The slowest spans that came in, in no order: duration and trace.
    slowest: Vec<(u64, TraceId)>,
}

pub(crate) struct Operations {
    max_operations: usize,
    slowest_per_operation: usize,
    hash: RandomState,
    codes: HashTable<OperationCode>,
    all: Vec<Option<Operation>>,
    free: Vec<OperationCode>,
    bytes: usize,
}

impl Operations {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max_operations: limits.max_operations,
            slowest_per_operation: limits.slowest_per_operation,
            hash: RandomState::new(),
            codes: HashTable::new(),
            all: Vec::new(),
            free: Vec::new(),
            bytes: 0,
        }
    }

    /// The operation of a span, for a new head of a segment.
    pub(crate) fn of_head(&mut self, span: &Span) -> OperationCode {
        let service = span.resource.service_name();
        if let Some(code) = self.find(service, &span.name, span.kind) {
            if let Some(operation) = &mut self.all[code as usize] {
                operation.heads += 1;
            }
            return code;
        }
        if self.codes.len() >= self.max_operations {
            return NONE;
        }
        let operation = Operation {
            service: service.into(),
            name: Arc::clone(&span.name),
            kind: span.kind,
            spans: 0,
            heads: 1,
            durations: Buckets::default(),
            slowest: Vec::new(),
        };
        self.bytes += own_bytes(&operation);
        let code = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            (self.all.len() - 1) as OperationCode
        });
        let hash = self.hash_of(service, &span.name, span.kind);
        self.all[code as usize] = Some(operation);
        let Self { codes, all, hash: keys, .. } = self;
        codes.insert_unique(hash, code, |code| {
            all[*code as usize].as_ref().map_or(0, |of| keys.hash_one((&*of.service, &*of.name, of.kind)))
        });
        code
    }

    /// A head of a segment is gone.
    pub(crate) fn head_is_gone(&mut self, code: OperationCode) {
        let Some(operation) = self.all.get_mut(code as usize).and_then(Option::as_mut) else {
            return;
        };
        operation.heads -= 1;
        if operation.heads > 0 {
            return;
        }
        self.bytes = self.bytes.saturating_sub(own_bytes(operation) + operation.durations.bytes());
        let hash = self.hash.hash_one((&*operation.service, &*operation.name, operation.kind));
        if let Ok(entry) = self.codes.find_entry(hash, |other| *other == code) {
            entry.remove();
        }
        self.all[code as usize] = None;
        self.free.push(code);
    }

    /// A span came in.
    pub(crate) fn add(&mut self, code: OperationCode, duration_ns: u64, trace_id: TraceId) {
        let Some(operation) = self.all.get_mut(code as usize).and_then(Option::as_mut) else {
            return;
        };
        operation.spans += 1;
        let before = operation.durations.bytes();
        operation.durations.add(duration_ns);
        self.bytes = self.bytes + operation.durations.bytes() - before;
        let slowest = &mut operation.slowest;
        let is_full = slowest.len() >= self.slowest_per_operation;
        let least = slowest.iter().map(|(duration_ns, _)| *duration_ns).min().unwrap_or(0);
        if is_full && duration_ns <= least {
            return;
        }
        if let Some(known) = slowest.iter_mut().find(|(_, of)| *of == trace_id) {
            known.0 = known.0.max(duration_ns);
        } else if !is_full {
            slowest.push((duration_ns, trace_id));
        } else if let Some(fastest) = slowest.iter_mut().find(|(duration_ns, _)| *duration_ns == least) {
            *fastest = (duration_ns, trace_id);
        }
    }

    /// A span was let go.
    pub(crate) fn remove(&mut self, code: OperationCode, duration_ns: u64) {
        if let Some(operation) = self.all.get_mut(code as usize).and_then(Option::as_mut) {
            operation.spans = operation.spans.saturating_sub(1);
            operation.durations.remove(duration_ns);
        }
    }

    /// Traces with the slowest spans.
    pub(crate) fn slowest_traces(&self) -> HashSet<TraceId> {
        self.held().flat_map(|operation| operation.slowest.iter().map(|(_, trace_id)| *trace_id)).collect()
    }

    /// Traces were let go: others may be the slowest.
    pub(crate) fn forget(&mut self, traces: &HashSet<TraceId>) {
        for operation in self.all.iter_mut().flatten() {
            operation.slowest.retain(|(_, trace_id)| !traces.contains(trace_id));
        }
    }

    /// Operations that have spans.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Operation> {
        self.all.iter().flatten().filter(|operation| operation.spans > 0)
    }

    /// Part of the spans that took no longer, and how many spans that are.
    pub(crate) fn rank(&self, service: &str, name: &str, kind: Kind, duration_ns: u64) -> Option<(f64, u32)> {
        let operation = self.all[self.find(service, name, kind)? as usize].as_ref()?;
        let (no_longer, all) = operation.durations.no_longer(duration_ns);
        (all > 0).then(|| (no_longer as f64 / all as f64, u32::try_from(all).unwrap_or(u32::MAX)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.codes.allocation_size() + self.all.capacity() * size_of::<Option<Operation>>()
    }

    fn find(&self, service: &str, name: &str, kind: Kind) -> Option<OperationCode> {
        let is_it = |code: &OperationCode| {
            self.all[*code as usize]
                .as_ref()
                .is_some_and(|of| of.kind == kind && *of.name == *name && *of.service == *service)
        };
        self.codes.find(self.hash_of(service, name, kind), is_it).copied()
    }

    fn hash_of(&self, service: &str, name: &str, kind: Kind) -> u64 {
        self.hash.hash_one((service, name, kind))
    }
}

fn own_bytes(operation: &Operation) -> usize {
    // The slowest ones are counted as if there were ten.
    shared_bytes(&operation.service) + shared_bytes(&operation.name) + 10 * size_of::<(u64, TraceId)>()
}
