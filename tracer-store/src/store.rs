//! The store as others use it.

use std::{
    hash::BuildHasher,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
    time::Instant,
};

use rustc_hash::FxBuildHasher;
use thiserror::Error;
use tokio::sync::broadcast;
use tracer_model::{
    answer::{
        CompleteAnswer, Heatmap, MapAnswer, Refused, SearchAnswer, ServiceAnswer, ServicesAnswer,
        StoreStatus, Window,
    },
    facts::Gathered,
    span::{Kind, Span, TraceId},
};

use crate::{
    Limits, Query, aggregate,
    complete::complete,
    disk::Disk,
    engine::Engine,
    gather,
    search::{self, read},
    segment::values::span_bytes,
};

/// Spans that are taken at once: searches wait no longer than these take, about a millisecond.
const BATCH_SPANS: usize = 256;

/// Bytes of spans that are taken at once: by so much the store outgrows its bound for a moment.
const BATCH_BYTES: usize = 1024 * 1024;

/// Traces that changed, of which a slow reader may learn late before it loses some and is told how many.
const MAX_NOTICES: usize = 4096;

/// Why a store cannot be used. Tracing goes on in memory where that can be.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory cannot be used.
    #[error("{0}")]
    Directory(String),
}

/// What became of spans that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Spans that were stored, those that were there already among them.
    pub stored: u64,
    /// Spans that were refused. `Store::status` says why.
    pub refused: u64,
}

/// In which order traces are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By their starts, the newest first.
    #[default]
    Newest,
    /// By their durations, the longest first.
    Slowest,
    /// By their spans with an error, those with the most first.
    Errors,
    /// By their spans, those with the most first.
    Spans,
}

/// How to search.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Traces that are wanted.
    pub limit: usize,
    /// Stretch of time in which a span that meets the query must start: from its start up to its end, without that.
    pub window: Option<Window>,
    /// Order.
    pub order: Order,
    /// When the search stops with what it has.
    pub deadline: Option<Instant>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { limit: 20, window: None, order: Order::Newest, deadline: None }
    }
}

/// Spans, bounded. Shared by `Arc`: takes spans beside searches.
pub struct Store {
    max_span_bytes: usize,
    engine: Arc<RwLock<Engine>>,
    changed: broadcast::Sender<TraceId>,
    disk: Option<Disk>,
}

impl Store {
    /// A store that is gone with the process.
    pub fn in_memory(limits: Limits) -> Self {
        let (changed, _) = broadcast::channel(MAX_NOTICES);
        Self {
            max_span_bytes: limits.max_span_bytes,
            engine: Arc::new(RwLock::new(Engine::new(limits))),
            changed,
            disk: None,
        }
    }

    /// A store in a directory, with what was there. Creates the directory.
    ///
    /// Fails if the directory cannot be read or written, or if another process uses it. A store of a newer version, and
    /// a disk that fails later, are told by `Store::status`; the store goes on in memory.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        let mut store = Self::in_memory(limits);
        let disk = Disk::open(directory, &store.engine)?;
        store.write().is_on_disk = disk.is_written();
        store.disk = Some(disk);
        Ok(store)
    }

    /// Takes spans.
    pub fn insert(&self, mut spans: Vec<Span>) -> Inserted {
        let received = spans.len() as u64;
        let mut sizes = Vec::with_capacity(spans.len());
        spans.retain(|span| {
            let bytes = span_bytes(span);
            let is_taken = bytes <= self.max_span_bytes;
            sizes.extend(is_taken.then_some(bytes));
            is_taken
        });
        let mut refused = received - spans.len() as u64;
        if refused > 0 {
            self.write().refuse_large(refused);
        }
        let (mut rest, mut sizes) = (spans.as_slice(), sizes.as_slice());
        while !rest.is_empty() {
            let mut bytes = 0;
            let is_over = |size: &usize| {
                bytes += size;
                bytes > BATCH_BYTES
            };
            let batch =
                sizes.iter().take(BATCH_SPANS).position(is_over).unwrap_or(BATCH_SPANS).clamp(1, rest.len());
            refused += self.write().insert(&rest[..batch]);
            (rest, sizes) = (&rest[batch..], &sizes[batch..]);
        }
        self.tell_changed(&spans);
        Inserted { stored: received - refused, refused }
    }

    fn tell_changed(&self, spans: &[Span]) {
        if self.changed.receiver_count() == 0 {
            return;
        }
        let mut traces: Vec<TraceId> = spans.iter().map(|span| span.trace_id).collect();
        traces.sort_unstable();
        traces.dedup();
        for trace_id in traces {
            // It fails if the last reader has just left: nobody misses anything.
            let _ = self.changed.send(trace_id);
        }
    }

    /// Spans of a trace in the order in which they came, at most so many. None if there are none.
    pub fn trace(&self, trace_id: TraceId, max_spans: usize) -> Option<Vec<Span>> {
        let mut spans = Vec::new();
        for (shared, trace) in search::places(&self.engine, trace_id) {
            let segment = shared.read();
            let rows = segment.rows_of(trace).into_iter();
            spans.extend(rows.take(max_spans - spans.len()).map(|row| segment.span(row)));
        }
        (!spans.is_empty()).then_some(spans)
    }

    /// Spans of a trace; 0 if it is not here.
    pub fn trace_spans(&self, trace_id: TraceId) -> u32 {
        read(&self.engine).traces.get(trace_id).map_or(0, |trace| trace.spans)
    }

    /// A number that is another one when other spans of a trace are held; what was made of a trace may be kept for as long.
    /// None if the trace is not here.
    pub fn trace_version(&self, trace_id: TraceId) -> Option<u64> {
        let engine = read(&self.engine);
        let trace = engine.traces.get(trace_id)?;
        let held = (trace.spans, trace.errors, trace.newest, trace.start, trace.end);
        Some(FxBuildHasher.hash_one((held, engine.counts.replaced_spans)))
    }

    /// Traces of which one span meets the query.
    pub fn search(&self, query: &Query, options: &SearchOptions) -> SearchAnswer {
        search::search(&self.engine, query, options)
    }

    /// How many spans that meet the query took how long, over time.
    pub fn heatmap(
        &self,
        query: &Query,
        window: Window,
        columns: u32,
        rows: u32,
        deadline: Option<Instant>,
    ) -> Heatmap {
        aggregate::heatmap(&self.engine, query, window, columns, rows, deadline)
    }

    /// Services by name.
    pub fn services(&self) -> Vec<String> {
        let engine = read(&self.engine);
        let mut services: Vec<String> =
            engine.operations.held().map(|operation| operation.service.to_string()).collect();
        services.sort_unstable();
        services.dedup();
        services
    }

    /// Operations of a service: names and kinds of its spans, by name.
    pub fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let engine = read(&self.engine);
        let of_service = engine.operations.held().filter(|operation| *operation.service == *service);
        let mut operations: Vec<_> =
            of_service.map(|operation| (operation.name.to_string(), operation.kind)).collect();
        operations.sort_unstable_by(|a, b| (&a.0, a.1 as u8).cmp(&(&b.0, b.1 as u8)));
        operations
    }

    /// Services with their numbers in a window.
    pub fn service_rows(&self, window: Window) -> ServicesAnswer {
        self.service_rows_until(window, None)
    }

    /// The same, with what was counted until a deadline.
    pub fn service_rows_until(&self, window: Window, deadline: Option<Instant>) -> ServicesAnswer {
        aggregate::service_rows(&self.engine, window, deadline)
    }

    /// One service in a window. None if the store has no span of it.
    pub fn service(&self, service: &str, window: Window) -> Option<ServiceAnswer> {
        self.service_until(service, window, None)
    }

    /// The same, with what was counted until a deadline.
    pub fn service_until(
        &self,
        service: &str,
        window: Window,
        deadline: Option<Instant>,
    ) -> Option<ServiceAnswer> {
        aggregate::service(&self.engine, service, window, deadline)
    }

    /// Services and what they call in a window, compared with the window before if that is wanted.
    pub fn map(&self, window: Window, compare: bool) -> MapAnswer {
        self.map_until(window, compare, None)
    }

    /// The same, with what was counted until a deadline.
    pub fn map_until(&self, window: Window, compare: bool, deadline: Option<Instant>) -> MapAnswer {
        aggregate::map(&self.engine, window, compare, deadline)
    }

    /// Part of the spans of an operation that took no longer, 0 to 1, and how many spans that are.
    pub fn rank(&self, service: &str, name: &str, kind: Kind, duration_ns: u64) -> Option<(f64, u32)> {
        read(&self.engine).operations.rank(service, name, kind, duration_ns)
    }

    /// How a query may go on at a place, counted in UTF-16 units.
    pub fn complete(&self, text: &str, at_utf16: u32) -> CompleteAnswer {
        complete(&self.engine, text, at_utf16)
    }

    /// Whole traces that begin in a window, as analyses need them; the newest, if they have more spans than that.
    pub fn gather(&self, window: Window, max_spans: usize, deadline: Option<Instant>) -> Gathered {
        gather::gather(&self.engine, window, max_spans, deadline)
    }

    /// What the store holds, and what it let go.
    pub fn status(&self) -> StoreStatus {
        let engine = read(&self.engine);
        let counts = engine.counts;
        let oldest = engine.segments().iter().map(|shared| shared.read().min_told_start).min();
        let oldest = oldest.filter(|oldest| *oldest < u64::MAX);
        let newest = engine.segments().iter().map(|shared| shared.read().max_start).max();
        let refused = [
            ("larger than one span may be", counts.refused_large_span),
            ("its trace has as many spans as one may have", counts.refused_large_trace),
        ];
        let refused = refused.into_iter().filter(|(_, spans)| *spans > 0);
        let problem = self.disk.as_ref().and_then(Disk::problem);
        // While the disk takes nothing, those that wait are not on it.
        let waiting = if engine.is_on_disk && problem.is_some() { engine.waiting_spans() } else { 0 };
        StoreStatus {
            spans: counts.spans,
            traces: engine.traces.len() as u64,
            bytes: engine.bytes() as u64,
            max_bytes: engine.limits.max_bytes as u64,
            oldest_unix_us: oldest.filter(|_| counts.spans > 0).unwrap_or(0) / 1000,
            newest_unix_us: newest.filter(|_| counts.spans > 0).unwrap_or(0) / 1000,
            received_spans: counts.received_spans,
            duplicate_spans: counts.duplicate_spans,
            evicted_spans: counts.evicted_spans,
            evicted_traces: counts.evicted_traces,
            revived_traces: counts.revived_traces,
            refused: refused.map(|(reason, spans)| Refused { reason: reason.to_owned(), spans }).collect(),
            directory: self.disk.as_ref().map(|disk| disk.path.display().to_string()),
            problem,
            unwritten_spans: counts.unwritten_spans + waiting,
            cut_bytes: self.disk.as_ref().map_or(0, |disk| disk.cut_bytes),
        }
    }

    /// Traces that get spans from now on, each once for each insertion. A reader that is too slow loses the oldest
    /// and is told how many (`RecvError::Lagged`).
    pub fn subscribe(&self) -> broadcast::Receiver<TraceId> {
        self.changed.subscribe()
    }

    /// Waits until all that came in is on disk, if the store is on disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.disk.as_ref().map_or(Ok(()), Disk::flush)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Engine> {
        self.engine.write().unwrap_or_else(PoisonError::into_inner)
    }
}
