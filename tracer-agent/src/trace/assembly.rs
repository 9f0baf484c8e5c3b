//! Traces that wait for the rest of their spans.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::{correlate::Evidence, span::Span};

/// Ticks without a new span after which a trace is finished. The end of an exchange is told up to four
/// ticks late: two until the other end's times are known, two until its caller is.
const QUIET_TICKS: u32 = 5;
/// Longest that a trace waits for its parents after its first span: a parent may have been lost.
const LONGEST_WAIT_NS: u64 = 30_000_000_000;
/// With so many spans a trace comes out as it is.
const MAX_SPANS_OF_TRACE: usize = 1_024;
/// Spans that wait; when there are more, the trace that came first comes out as it is.
const MAX_SPANS: usize = 8_192;
/// Spans that are known to have come out: nobody waits for them. As many parents that have not, and spans that were
/// drawn.
const MAX_GONE: usize = 8_192;

/// Spans by trace. A span goes in once and comes out once.
#[derive(Default)]
pub struct Assembly {
    /// In the order in which they came.
    traces: BTreeMap<u64, Trace>,
    /// Their numbers. Traffic chooses trace ids, so they are hashed with a secret key.
    numbers: HashMap<[u8; 16], u64>,
    next: u64,
    spans: usize,
    /// Spans that came out.
    gone: RecentSpans,
    /// Parents of spans that came out without them.
    missed: RecentSpans,
}

struct Trace {
    spans: Vec<Span>,
    quiet_ticks: u32,
    /// First tick after its first span.
    since_ns: Option<u64>,
}

impl Assembly {
    /// Takes a span; gives back the spans of a trace that can wait no longer.
    pub fn add(&mut self, span: Span) -> Option<Vec<Span>> {
        let number = *self.numbers.entry(span.trace_id).or_insert(self.next);
        let trace = self.traces.entry(number).or_insert_with(|| {
            self.next += 1;
            Trace { spans: Vec::new(), quiet_ticks: 0, since_ns: None }
        });
        trace.spans.push(span);
        trace.quiet_ticks = 0;
        self.spans += 1;
        if trace.spans.len() >= MAX_SPANS_OF_TRACE {
            return self.take(number);
        }
        if self.spans > MAX_SPANS {
            let first = *self.traces.first_key_value()?.0;
            return self.take(first);
        }
        None
    }

    /// Time has passed: gives the traces that are finished, in the order of their ends.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Vec<Span>> {
        let Self { traces, gone, .. } = self;
        let finished: Vec<u64> = traces
            .iter_mut()
            .filter_map(|(number, trace)| {
                trace.quiet_ticks += 1;
                let since_ns = *trace.since_ns.get_or_insert(now_ns);
                // What was not whole at first stays so until another span comes.
                let is_finished = trace.quiet_ticks == QUIET_TICKS && is_whole(&trace.spans, gone)
                    || now_ns.saturating_sub(since_ns) >= LONGEST_WAIT_NS;
                is_finished.then_some(*number)
            })
            .collect();
        self.take_all(finished)
    }

    /// Nothing more comes: gives all, as [`Self::tick`] does.
    pub fn finish(&mut self) -> Vec<Vec<Span>> {
        let numbers = self.traces.keys().copied().collect();
        self.take_all(numbers)
    }

    /// Whether a span that came out alone belongs to others: to a parent that is seen on this host, or to spans that came
    /// out before.
    pub fn is_part(&self, span: &Span) -> bool {
        let is_below = span
            .parent_span_id
            .is_some_and(|parent| span.evidence() != Some(Evidence::Header) || self.gone.has(&parent));
        is_below || self.missed.has(&span.span_id)
    }

    /// Whether a span has come out.
    pub fn has_come_out(&self, id: &[u8; 8]) -> bool {
        self.gone.has(id)
    }

    fn take_all(&mut self, numbers: Vec<u64>) -> Vec<Vec<Span>> {
        let mut traces: Vec<Vec<Span>> = numbers.into_iter().filter_map(|number| self.take(number)).collect();
        traces.sort_by_key(|spans| spans.iter().map(|span| span.end_unix_ns).max());
        traces
    }

    fn take(&mut self, number: u64) -> Option<Vec<Span>> {
        let spans = self.traces.remove(&number)?.spans;
        self.numbers.remove(&spans.first()?.trace_id);
        self.spans -= spans.len();
        self.gone.add(spans.iter().map(|span| span.span_id));
        let Self { gone, missed, .. } = self;
        let parents = spans.iter().filter_map(|span| span.parent_span_id);
        missed.add(parents.filter(|parent| !gone.has(parent)));
        Some(spans)
    }
}

/// Whether every parent that must be seen here has come. One that a header names need not be.
fn is_whole(spans: &[Span], gone: &RecentSpans) -> bool {
    let ids: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    spans.iter().filter(|span| span.evidence() != Some(Evidence::Header)).all(|span| {
        match span.parent_span_id {
            Some(parent) => ids.contains(&parent) || gone.has(&parent),
            None => true,
        }
    })
}

/// The spans of some kind that were met last.
#[derive(Default)]
pub(crate) struct RecentSpans {
    ids: HashSet<[u8; 8]>,
    order: VecDeque<[u8; 8]>,
}

impl RecentSpans {
    pub(crate) fn has(&self, id: &[u8; 8]) -> bool {
        self.ids.contains(id)
    }

    pub(crate) fn add(&mut self, ids: impl Iterator<Item = [u8; 8]>) {
        for id in ids {
            if self.ids.insert(id) {
                self.order.push_back(id);
            }
        }
        while self.order.len() > MAX_GONE
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span::SpanKind::{Client, Server},
        trace::tests::span,
    };

    const MS: u64 = 1_000_000;

    /// A span of another trace.
    fn of_trace(number: u64, mut span: Span) -> Span {
        span.trace_id[..8].copy_from_slice(&number.to_be_bytes());
        span
    }

    /// Ids of the spans that come out at each of so many ticks, 50 ms apart.
    fn ticks(assembly: &mut Assembly, begin_ms: u64, count: u64) -> Vec<Vec<Vec<u64>>> {
        (0..count).map(|tick| ids(&assembly.tick((begin_ms + tick * 50) * MS))).collect()
    }

    fn ids(traces: &[Vec<Span>]) -> Vec<Vec<u64>> {
        let of = |spans: &Vec<Span>| spans.iter().map(|span| u64::from_be_bytes(span.span_id)).collect();
        traces.iter().map(of).collect()
    }

    fn none() -> Vec<Vec<u64>> {
        Vec::new()
    }

    #[test]
    fn a_trace_comes_out_once_when_it_has_been_quiet() {
        let mut assembly = Assembly::default();
        assert!(assembly.add(span("b", Server, 2, Some((1, Evidence::Wire)), (1, 2))).is_none());
        assert_eq!(ticks(&mut assembly, 0, 3), [none(), none(), none()]);
        assert!(assembly.add(span("a", Client, 1, None, (0, 3))).is_none());
        assert_eq!(ticks(&mut assembly, 150, 5), [none(), none(), none(), none(), vec![vec![2, 1]]]);
        assert!(assembly.finish().is_empty());
        assert_eq!((assembly.spans, assembly.numbers.len()), (0, 0));
    }

    #[test]
    fn a_trace_waits_for_the_parents_that_are_seen_here_but_not_forever() {
        let mut assembly = Assembly::default();
        assembly.add(span("b", Server, 2, Some((1, Evidence::Wire)), (1, 2)));
        assert_eq!(ticks(&mut assembly, 0, 600).concat(), none());
        assert_eq!(ticks(&mut assembly, 30_000, 1), [vec![vec![2]]]);
        // A recording may begin at any time: the first tick tells it.
        assembly.add(span("b", Server, 3, Some((1, Evidence::Wire)), (1, 2)));
        assert_eq!(ticks(&mut assembly, 900_000, 10).concat(), none());
        assembly.add(span("a", Client, 1, None, (0, 3)));
        assert_eq!(ticks(&mut assembly, 900_500, 5).concat(), [[3, 1]]);
    }

    #[test]
    fn nobody_waits_for_a_parent_elsewhere_or_one_that_came_out() {
        let mut assembly = Assembly::default();
        assembly.add(span("a", Server, 1, Some((9, Evidence::Header)), (0, 5)));
        assert_eq!(ticks(&mut assembly, 0, 5).concat(), [[1]]);
        assembly.add(span("a", Client, 2, Some((1, Evidence::Unit)), (1, 900)));
        assert_eq!(ticks(&mut assembly, 1_000, 5).concat(), [[2]]);
    }

    #[test]
    fn a_span_alone_is_a_part_of_its_trace_if_others_came_out_or_are_seen_here() {
        let mut assembly = Assembly::default();
        let mut is_part = |span: Span| {
            assembly.add(span.clone());
            assembly.finish();
            assembly.is_part(&span)
        };
        assert!(!is_part(span("a", Client, 1, None, (0, 5))));
        assert!(!is_part(span("a", Server, 2, Some((9, Evidence::Header)), (0, 5))));
        assert!(is_part(span("b", Server, 3, Some((1, Evidence::Header)), (0, 5))), "its parent came out");
        assert!(is_part(span("b", Server, 4, Some((7, Evidence::Wire)), (0, 5))), "its parent is late");
        assert!(is_part(span("a", Client, 7, None, (0, 5))), "its child came out");
        assert!(
            !is_part(span("b", Server, 5, Some((9, Evidence::Header)), (0, 5))),
            "a caller elsewhere, again"
        );
    }

    #[test]
    fn traces_that_finish_together_come_in_the_order_of_their_ends() {
        let mut assembly = Assembly::default();
        for (number, end) in [(1, 30), (2, 10), (3, 20)] {
            assembly.add(of_trace(number, span("a", Server, number, None, (0, end))));
        }
        assert_eq!(ticks(&mut assembly, 0, 5).concat(), [[2], [3], [1]]);
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_is_left_out() {
        let mut assembly = Assembly::default();
        let mut out = Vec::new();
        // A trace without end, whose id anyone can send.
        for id in 0..3 * MAX_SPANS_OF_TRACE as u64 {
            out.extend(assembly.add(span("a", Server, id, None, (0, 1))));
        }
        assert_eq!(out.len(), 3);
        let calls = 2 * MAX_SPANS as u64;
        for id in 0..calls {
            let call = span("a", Client, calls + id, Some((1 << 40, Evidence::Unit)), (0, 1));
            out.extend(assembly.add(of_trace(id, call)));
            assert!(assembly.spans <= MAX_SPANS);
        }
        assert!(assembly.gone.ids.len() <= MAX_GONE && assembly.missed.ids.len() <= MAX_GONE);
        assert_eq!(ids(&out[3..5]), [[calls], [calls + 1]], "the first goes first");
        out.extend(assembly.finish());
        let count: usize = out.iter().map(Vec::len).sum();
        assert_eq!(count, 3 * MAX_SPANS_OF_TRACE + 2 * MAX_SPANS);
    }
}
