//! What a query asks of whole traces, told for the traces of a segment.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
    time::Instant,
};

use tracer_model::span::TraceId;

use crate::{
    aggregate::calls::{spread_traces_with, trace_has},
    engine::Engine,
    line::Shared,
    query::{Condition, Pattern, Query, Term},
    search::{places, read},
    segment::{Segment, dictionary::Bits},
};

/// Conditions of a query that are of whole traces.
pub(crate) struct Wholes<'query> {
    asked: Vec<&'query Condition>,
    /// The one trace that is looked at, if the query names it.
    only: Option<TraceId>,
    /// Of each condition that is a call, the traces with it: of those that lie in several segments, or the one that is
    /// looked at.
    with_call: Vec<HashSet<TraceId>>,
    /// Whether those were all looked at before the deadline.
    pub(crate) is_whole: bool,
}

/// What the traces of a segment meet.
#[derive(Default)]
pub(crate) struct Met<'query> {
    /// Rows that were there.
    pub(crate) rows: usize,
    met: Vec<(&'query Condition, Bits)>,
}

impl Met<'_> {
    /// Whether a trace meets a condition of the query.
    pub(crate) fn has(&self, condition: &Condition, trace: u16) -> bool {
        let found = self.met.iter().find(|(asked, _)| std::ptr::eq(*asked, condition));
        found.is_some_and(|(_, bits)| bits.has(trace.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.met.is_empty()
    }
}

/// A trace in numbers.
#[derive(Clone, Copy)]
struct Totals {
    start: u64,
    end: u64,
    spans: u64,
    errors: u64,
}

impl<'query> Wholes<'query> {
    pub(crate) fn new(engine: &RwLock<Engine>, query: &'query Query, deadline: Option<Instant>) -> Self {
        let mut asked = Vec::new();
        gather(&query.terms, &mut asked);
        let only = query.trace();
        let mut wholes = Self { asked, only, with_call: Vec::new(), is_whole: true };
        let calls = wholes.calls();
        if calls.is_empty() {
            return wholes;
        }
        let mut with_call = vec![HashSet::new(); calls.len()];
        if let Some(trace_id) = only {
            for (has, with_call) in
                trace_has(&places(engine, trace_id), &calls).into_iter().zip(&mut with_call)
            {
                with_call.extend(has.then_some(trace_id));
            }
        } else {
            let segments = read(engine).segments();
            wholes.is_whole = spread_traces_with(&segments, &calls, deadline, |call, trace_id| {
                with_call[call].insert(trace_id);
            });
        }
        wholes.with_call = with_call;
        wholes
    }

    fn calls(&self) -> Vec<(&'query Pattern, &'query Pattern)> {
        let calls = self.asked.iter().filter_map(|condition| match condition {
            Condition::Calls { from, to } => Some((from, to)),
            _ => None,
        });
        calls.collect()
    }

    /// What the traces of a segment meet. No lock of a segment may be held.
    pub(crate) fn of(&self, engine: &RwLock<Engine>, shared: &Arc<Shared>) -> Met<'query> {
        if self.asked.is_empty() {
            return Met::default();
        }
        let asks_numbers = self.asked.iter().any(|condition| !matches!(condition, Condition::Calls { .. }));
        let segment = shared.read();
        let mut totals = if asks_numbers { totals(&segment) } else { Vec::new() };
        // Traces that lie elsewhere, too; the one that is looked at is looked at as one of those.
        let spread: Vec<(usize, TraceId)> = segment
            .traces
            .iter()
            .enumerate()
            .filter(|(code, trace_id)| segment.is_spread(*code as u16) || Some(**trace_id) == self.only)
            .map(|(code, trace_id)| (code, *trace_id))
            .collect();
        let mut met: Vec<(&Condition, Bits)> = Vec::new();
        let mut with_call = self.with_call.iter();
        for condition in &self.asked {
            let mut bits = Bits::new(segment.traces.len());
            if let Condition::Calls { from, to } = condition {
                if self.only.is_none() {
                    shared.local(&segment).traces_with(from, to).for_each(|trace| {
                        bits.add(trace.into());
                    });
                }
                let with_call = with_call.next();
                for (code, trace_id) in &spread {
                    if with_call.is_some_and(|with_call| with_call.contains(trace_id)) {
                        bits.add(*code);
                    }
                }
            }
            met.push((condition, bits));
        }
        let rows = segment.rows();
        drop(segment);
        if asks_numbers {
            let engine = read(engine);
            for (code, trace_id) in &spread {
                if let Some(trace) = engine.traces.get(*trace_id) {
                    totals[*code] = Totals {
                        start: trace.start,
                        end: trace.end,
                        spans: trace.spans.into(),
                        errors: trace.errors.into(),
                    };
                }
            }
        }
        for (condition, bits) in &mut met {
            for (code, totals) in totals.iter().enumerate() {
                if totals.meet(condition) {
                    bits.add(code);
                }
            }
        }
        Met { rows, met }
    }
}

impl Totals {
    fn meet(&self, condition: &Condition) -> bool {
        match condition {
            Condition::TraceDuration(comparison, duration_ns) => {
                comparison.holds(self.end.saturating_sub(self.start), *duration_ns)
            }
            Condition::TraceSpans(comparison, spans) => comparison.holds(self.spans, *spans),
            Condition::TraceErrors(comparison, errors) => comparison.holds(self.errors, *errors),
            _ => false,
        }
    }
}

/// Of each trace of a segment, what lies there.
fn totals(segment: &Segment) -> Vec<Totals> {
    let none = Totals { start: u64::MAX, end: 0, spans: 0, errors: 0 };
    let mut totals = vec![none; segment.traces.len()];
    for row in (0..segment.rows()).filter(|row| segment.is_held(*row)) {
        let of_trace = &mut totals[usize::from(segment.trace[row])];
        of_trace.start = of_trace.start.min(segment.start[row]);
        of_trace.end = of_trace.end.max(segment.end[row]).max(segment.start[row]);
        of_trace.spans += 1;
        of_trace.errors += u64::from(segment.is_error(row));
    }
    totals
}

fn gather<'query>(terms: &'query [Term], asked: &mut Vec<&'query Condition>) {
    for term in terms {
        match &term.condition {
            Condition::Any(lists) => lists.iter().for_each(|terms| gather(terms, asked)),
            condition if condition.is_of_trace() => asked.push(condition),
            _ => {}
        }
    }
}
