//! Spans in segments: what comes in, where it lies, and what is let go.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, RwLockWriteGuard},
};

use tracer_model::span::{Span, StatusCode, TraceId};

use crate::{
    Limits,
    line::{Line, Shared},
    operations::Operations,
    segment::{MAX_ROWS, Segment, dictionary::Bits},
    traces::{Place, Trace, Traces},
};

/// The memory of a store is at least so many segments: the oldest is let go as a whole.
const SEGMENTS: usize = 16;

/// Spans and traces, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) spans: u64,
    pub(crate) received_spans: u64,
    /// Spans that came again.
    pub(crate) duplicate_spans: u64,
    /// Those of them that took the place of the copy before.
    pub(crate) replaced_spans: u64,
    pub(crate) evicted_spans: u64,
    pub(crate) evicted_traces: u64,
    pub(crate) revived_traces: u64,
    pub(crate) refused_large_trace: u64,
    pub(crate) refused_large_span: u64,
    /// Let go before they were on disk.
    pub(crate) unwritten_spans: u64,
}

pub(crate) struct Engine {
    pub(crate) limits: Limits,
    pub(crate) traces: Traces,
    pub(crate) operations: Operations,
    pub(crate) counts: Counts,
    /// Whether spans are written to a disk.
    pub(crate) is_on_disk: bool,
    /// Spans in the order in which they came.
    main: Line,
    /// Spans that outlast the segment in which they came.
    kept: Line,
    next_number: u32,
    recently_evicted: Evicted,
    /// Memory of the places of traces that lie in more than one segment.
    places_bytes: usize,
}

impl Engine {
    pub(crate) fn new(limits: Limits) -> Self {
        let recently_evicted = Evicted::new((limits.max_bytes / 8192).min(32_768));
        Self {
            traces: Traces::new(),
            operations: Operations::new(&limits),
            counts: Counts::default(),
            is_on_disk: false,
            main: Line::new(),
            kept: Line::new(),
            next_number: 1,
            recently_evicted,
            places_bytes: 0,
            limits,
        }
    }

    /// Memory that spans and indexes take.
    pub(crate) fn bytes(&self) -> usize {
        self.main.bytes()
            + self.kept.bytes()
            + self.traces.bytes()
            + self.operations.bytes()
            + self.recently_evicted.bytes()
    }

    /// Segments in the order of their numbers.
    pub(crate) fn segments(&self) -> Vec<Arc<Shared>> {
        let held = self.main.held.iter().chain(&self.kept.held);
        let mut segments: Vec<Arc<Shared>> = held.map(|held| Arc::clone(&held.shared)).collect();
        // Two lines that are in order each.
        segments.sort_by_key(|shared| shared.number);
        segments
    }

    /// Segments, and whether each is of the line in which spans come.
    pub(crate) fn lines(&self) -> Vec<(bool, Arc<Shared>)> {
        let main = self.main.held.iter().map(|held| (true, Arc::clone(&held.shared)));
        main.chain(self.kept.held.iter().map(|held| (false, Arc::clone(&held.shared)))).collect()
    }

    pub(crate) fn segment(&self, number: u32) -> Option<&Arc<Shared>> {
        self.main.find(number).or_else(|| self.kept.find(number))
    }

    /// Takes a few spans. Tells how many were refused.
    pub(crate) fn insert(&mut self, spans: &[Span]) -> u64 {
        let mut refused = 0;
        let mut rest = spans;
        while !rest.is_empty() {
            let active = self.active();
            let mut segment = active.write();
            let mut taken = 0;
            for span in rest {
                if segment.is_full() {
                    break;
                }
                taken += 1;
                refused += u64::from(!self.insert_one(span, &mut segment, true));
            }
            rest = &rest[taken..];
            self.finish(segment);
        }
        self.counts.received_spans += spans.len() as u64;
        self.counts.refused_large_trace += refused;
        self.shrink();
        refused
    }

    /// Counts spans that are larger than one may be.
    pub(crate) fn refuse_large(&mut self, spans: u64) {
        self.counts.received_spans += spans;
        self.counts.refused_large_span += spans;
    }

    /// The segment that takes spans.
    fn active(&mut self) -> Arc<Shared> {
        match self.main.held.back() {
            Some(last) if last.shared.read().is_open() => Arc::clone(&last.shared),
            _ => {
                self.next_number += 1;
                self.main.open(self.next_number - 1, self.limits.max_spans_per_segment)
            }
        }
    }

    /// Measures the segment that took spans, and ends it if it is large.
    fn finish(&mut self, mut segment: RwLockWriteGuard<'_, Segment>) {
        if segment.is_full() || segment.bytes() > self.limits.max_bytes / SEGMENTS {
            segment.seal();
        }
        self.main.measure(segment.bytes());
    }

    fn insert_one(&mut self, span: &Span, segment: &mut Segment, is_new_span: bool) -> bool {
        if self.is_copy(span, segment) {
            return true;
        }
        let max_spans = self.limits.max_spans_per_trace;
        let (trace, is_new) = self.traces.get_or_add(span.trace_id);
        if trace.spans >= max_spans {
            return false;
        }
        if is_new && self.recently_evicted.has(span.trace_id) {
            self.counts.revived_traces += 1;
        }
        let code = trace.in_segment(segment.number).unwrap_or_else(|| {
            let code = segment.add_trace(span.trace_id);
            let before = trace.more_bytes();
            mark_spread(trace, segment, code, &self.main, &self.kept);
            trace.add(Place { segment: segment.number, trace: code });
            self.places_bytes += trace.more_bytes() - before;
            code
        });
        if is_new_span {
            trace.newest = segment.number;
        }
        trace.spans += 1;
        trace.errors += u32::from(span.status == StatusCode::Error);
        trace.start = trace.start.min(span.start_unix_ns);
        trace.end = trace.end.max(span.end_unix_ns).max(span.start_unix_ns);
        let Some(head) = segment.push(span, code, |span| self.operations.of_head(span)) else {
            return false;
        };
        self.operations.add(segment.operations[usize::from(head)], span.duration_ns(), span.trace_id);
        self.counts.spans += 1;
        true
    }

    /// Whether a span is a copy of one that is held, and tells nothing new. If it tells more, the one that is held goes.
    fn is_copy(&mut self, span: &Span, active: &mut Segment) -> bool {
        let Some(trace) = self.traces.get_mut(span.trace_id) else {
            return false;
        };
        // A trace lies in few segments, and those in which no span starts when this one does are not searched.
        let (main, kept) = (&self.main, &self.kept);
        let (shared, row) = {
            let found = trace.places().find_map(|place| {
                if place.segment == active.number {
                    return active.find(place.trace, span).map(|row| (None, row));
                }
                let shared = main.find(place.segment).or_else(|| kept.find(place.segment))?;
                let row = shared.read().find(place.trace, span)?;
                Some((Some(Arc::clone(shared)), row))
            });
            let Some(found) = found else { return false };
            found
        };
        self.counts.duplicate_spans += 1;
        let mut guard = shared.as_deref().map(Shared::write);
        let segment = guard.as_deref_mut().unwrap_or(active);
        if span.end_unix_ns <= segment.end[row] {
            return true;
        }
        trace.spans -= 1;
        trace.errors -= u32::from(segment.is_error(row));
        self.counts.spans -= 1;
        let operation = segment.operations[usize::from(segment.head[row])];
        self.operations.remove(operation, segment.duration_ns(row));
        segment.replace(row);
        self.counts.replaced_spans += 1;
        false
    }

    /// Lets go what there is no space for.
    fn shrink(&mut self) {
        // Each segment goes at most once before nothing is kept any more.
        let mut gentle = self.main.held.len() + self.kept.held.len() + 1;
        while self.bytes() > self.limits.max_bytes {
            let is_gentle = gentle > 0;
            gentle = gentle.saturating_sub(1);
            let kept_too_much = self.kept.bytes() > self.limits.max_bytes / 4;
            let is_done = if kept_too_much || self.main.held.is_empty() {
                !self.drop_kept(is_gentle)
            } else {
                !self.drop_main(is_gentle)
            };
            if is_done {
                break;
            }
        }
    }

    /// Spans that are not on disk yet.
    pub(crate) fn waiting_spans(&self) -> u64 {
        let waiting = |shared: Arc<Shared>| shared.read().rows().saturating_sub(shared.written()) as u64;
        self.segments().into_iter().map(waiting).sum()
    }

    /// Lets the oldest segment go, but for traces that still get spans, have errors or are among the slowest.
    fn drop_main(&mut self, is_gentle: bool) -> bool {
        let Some(shared) = self.main.pop_oldest() else {
            return false;
        };
        let segment = shared.read();
        let slowest = self.operations.slowest_traces();
        self.drop_segment(&segment, shared.written(), |engine, trace_id| {
            let trace = engine.traces.get(trace_id);
            is_gentle
                && trace.is_some_and(|trace| {
                    trace.newest > segment.number || trace.errors > 0 || slowest.contains(&trace_id)
                })
        });
        true
    }

    /// Lets the oldest kept segment go, but for traces that still get spans.
    fn drop_kept(&mut self, is_gentle: bool) -> bool {
        let Some(shared) = self.kept.pop_oldest() else {
            return false;
        };
        let oldest = self.main.held.front().map_or(u32::MAX, |held| held.shared.number);
        self.drop_segment(&shared.read(), shared.written(), |engine, trace_id| {
            is_gentle && engine.traces.get(trace_id).is_some_and(|trace| trace.newest >= oldest)
        });
        true
    }

    /// Takes a segment apart that is in no line any more: each trace of it is kept or let go, whole.
    fn drop_segment(&mut self, segment: &Segment, written: usize, is_kept: impl Fn(&Self, TraceId) -> bool) {
        let mut kept = Bits::new(segment.traces.len());
        let mut evicted = HashSet::new();
        for (code, trace_id) in segment.traces.iter().enumerate() {
            if segment.is_gone(code as u16) {
                continue;
            }
            if is_kept(self, *trace_id) {
                kept.add(code);
            } else {
                evicted.insert(*trace_id);
            }
        }
        for trace_id in &evicted {
            self.forget(*trace_id, segment.number);
        }
        self.operations.forget(&evicted);
        for row in (0..segment.rows()).filter(|row| !segment.is_replaced(*row)) {
            let trace = segment.trace[row];
            if kept.has(trace.into()) {
                self.keep(&segment.span(row), segment.number);
            } else if !segment.is_gone(trace) {
                self.count_out(segment, row);
                self.counts.unwritten_spans += u64::from(self.is_on_disk && row >= written);
            }
        }
        for operation in &segment.operations {
            self.operations.head_is_gone(*operation);
        }
    }

    /// Lets a trace go. Its rows in a segment that is taken apart are counted there.
    fn forget(&mut self, trace_id: TraceId, but: u32) {
        let Some(trace) = self.traces.remove(trace_id) else {
            return;
        };
        self.counts.evicted_traces += 1;
        self.places_bytes -= trace.more_bytes();
        self.recently_evicted.add(trace_id);
        for place in trace.places().filter(|place| place.segment != but) {
            let Some(shared) = self.segment(place.segment).map(Arc::clone) else {
                continue;
            };
            let mut segment = shared.write();
            segment.forget(place.trace);
            for row in segment.rows_of(place.trace) {
                self.count_out(&segment, row);
            }
        }
    }

    fn count_out(&mut self, segment: &Segment, row: usize) {
        let operation = segment.operations[usize::from(segment.head[row])];
        self.operations.remove(operation, segment.duration_ns(row));
        self.counts.spans -= 1;
        self.counts.evicted_spans += 1;
    }

    /// Copies a span of a segment that is taken apart.
    fn keep(&mut self, span: &Span, from: u32) {
        let shared = match self.kept.held.back() {
            Some(last) if last.shared.read().is_open() => Arc::clone(&last.shared),
            _ => {
                self.next_number += 1;
                self.kept.open(self.next_number - 1, self.limits.max_spans_per_segment)
            }
        };
        let mut segment = shared.write();
        let Some(trace) = self.traces.get_mut(span.trace_id) else {
            return;
        };
        self.places_bytes -= trace.more_bytes();
        trace.remove(from);
        let code = trace.in_segment(segment.number).unwrap_or_else(|| {
            let code = segment.add_trace(span.trace_id);
            mark_spread(trace, &mut segment, code, &self.main, &self.kept);
            trace.add(Place { segment: segment.number, trace: code });
            code
        });
        self.places_bytes += trace.more_bytes();
        segment.push(span, code, |span| self.operations.of_head(span));
        // Small segments: they are let go one by one.
        if segment.is_full() || segment.bytes() > self.limits.max_bytes / SEGMENTS / 4 {
            segment.seal();
        }
        self.kept.measure(segment.bytes());
    }
}

/// Tells the segments of a trace that it comes to lie in another one, too.
fn mark_spread(trace: &Trace, segment: &mut Segment, code: u16, main: &Line, kept: &Line) {
    for place in trace.places() {
        segment.spread(code);
        if let Some(shared) = main.find(place.segment).or_else(|| kept.find(place.segment)) {
            let is_known = shared.read().is_spread(place.trace);
            if !is_known {
                shared.write().spread(place.trace);
            }
        }
    }
}

/// A segment that is read from disk.
pub(crate) struct Load {
    shared: Arc<Shared>,
    is_main: bool,
}

impl Engine {
    /// Begins a segment that was written before. Those of a line come in the order of their numbers.
    pub(crate) fn begin_load(&mut self, number: u32, is_main: bool) -> Load {
        let line = if is_main { &mut self.main } else { &mut self.kept };
        self.next_number = self.next_number.max(number.saturating_add(1));
        Load { shared: line.open(number, MAX_ROWS), is_main }
    }

    /// Adds spans to it.
    pub(crate) fn load(&mut self, load: &mut Load, spans: &[Span]) {
        let mut segment = load.shared.write();
        for span in spans {
            if !segment.is_full() {
                self.insert_one(span, &mut segment, load.is_main);
            }
        }
    }

    /// Ends it.
    pub(crate) fn end_segment(&mut self, load: &Load) {
        let mut segment = load.shared.write();
        segment.seal();
        load.shared.set_written(segment.rows());
        let line = if load.is_main { &mut self.main } else { &mut self.kept };
        line.measure(segment.bytes());
    }

    /// All that was written is here.
    pub(crate) fn end_load(&mut self) {
        // They came again to an earlier process, or stand in two files since it was killed.
        self.counts.duplicate_spans = 0;
        self.shrink();
    }
}

/// Traces that were let go lately: a late span of one begins it anew, which is counted.
struct Evicted {
    max: usize,
    order: VecDeque<u64>,
    all: HashSet<u64>,
}

impl Evicted {
    fn new(max: usize) -> Self {
        Self { max, order: VecDeque::new(), all: HashSet::new() }
    }

    fn add(&mut self, trace_id: TraceId) {
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        if self.max > 0 && self.all.insert(low(trace_id)) {
            self.order.push_back(low(trace_id));
        }
    }

    fn has(&self, trace_id: TraceId) -> bool {
        self.all.contains(&low(trace_id))
    }

    fn bytes(&self) -> usize {
        self.order.capacity() * 8 + self.all.capacity() * 10
    }
}

/// The random half of a trace id.
fn low(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.0) as u64
}
