//! Finds traces. No lock is held while more than one segment is looked at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use tracer_model::{
    answer::{SearchAnswer, TraceSummary},
    span::{SpanId, TraceId},
};

use crate::{
    engine::Engine,
    line::Shared,
    query::{Condition, Query, Term},
    store::{Order, SearchOptions},
    summary::Summarizer,
    whole::{Met, Wholes},
};

/// What a search says that was stopped.
pub(crate) const OUT_OF_TIME: &str =
    "the search was stopped at its limit of time: narrow the time or add a term, and it looks at less";

/// Terms that are tried by themselves if nothing was found.
const MOST_TERMS_TRIED: usize = 16;

/// Most traces that one search tells.
pub(crate) const MAX_TRACES: usize = 10_000;

/// The best traces so far, by start or by duration.
struct Best {
    size: usize,
    order: BTreeSet<(u64, TraceId)>,
    matched: HashMap<TraceId, SpanId>,
}

impl Best {
    /// The least that a trace must have to come in.
    fn least(&self) -> Option<u64> {
        (self.order.len() >= self.size).then(|| self.order.first().map(|(key, _)| *key)).flatten()
    }

    fn add(&mut self, key: u64, trace_id: TraceId, matched: SpanId) {
        if self.least().is_some_and(|least| key < least) || self.matched.contains_key(&trace_id) {
            return;
        }
        self.matched.insert(trace_id, matched);
        self.order.insert((key, trace_id));
        if self.order.len() > self.size
            && let Some((_, worst)) = self.order.pop_first()
        {
            self.matched.remove(&worst);
        }
    }
}

pub(crate) fn search(engine: &RwLock<Engine>, query: &Query, options: &SearchOptions) -> SearchAnswer {
    let limit = options.limit.min(MAX_TRACES);
    let mut best = Best { size: limit + 1, order: BTreeSet::new(), matched: HashMap::new() };
    let mut segments: Vec<(u64, Arc<Shared>)> = segments_for(engine, query)
        .into_iter()
        .map(|shared| (shared.read().max_start, Arc::clone(&shared)))
        .collect();
    segments.sort_unstable_by_key(|(max_start, shared)| std::cmp::Reverse((*max_start, shared.number)));
    let mut answer = SearchAnswer::default();
    let mut rows = Vec::new();
    let wholes = Wholes::new(engine, query, options.deadline);
    if !wholes.is_whole {
        answer.incomplete = Some(OUT_OF_TIME.to_owned());
    }
    for (max_start, shared) in segments {
        // A trace starts no later than any of its spans: what is left is older than what was found.
        if options.order == Order::Newest && best.least().is_some_and(|least| max_start < least) {
            break;
        }
        if is_over(options.deadline) {
            answer.incomplete = Some(OUT_OF_TIME.to_owned());
            break;
        }
        let least = best.least().filter(|_| options.order == Order::Newest).unwrap_or(0);
        let met = wholes.of(engine, &shared);
        let found = find(&shared, query, &met, options, &mut rows, least, &mut answer.examined_spans);
        let engine = read(engine);
        for (trace_id, span_id) in found {
            if let Some(trace) = engine.traces.get(trace_id) {
                let key = match options.order {
                    Order::Newest => trace.start,
                    Order::Slowest => trace.duration_ns(),
                    Order::Errors => trace.errors.into(),
                    Order::Spans => trace.spans.into(),
                };
                best.add(key, trace_id, span_id);
            }
        }
    }
    answer.has_more = best.order.len() > limit;
    let found = best.order.iter().rev().take(limit);
    answer.traces = found
        .filter_map(|(_, trace_id)| summarize(engine, *trace_id, best.matched.get(trace_id).copied()))
        .collect();
    if answer.traces.is_empty() && answer.incomplete.is_none() && query.trace().is_none() {
        answer.empty_terms = empty_terms(engine, query, options, &mut answer.examined_spans);
    }
    answer
}

/// Terms that nothing meets by themselves. Those that were not tried before the deadline are not told.
fn empty_terms(
    engine: &RwLock<Engine>,
    query: &Query,
    options: &SearchOptions,
    examined: &mut u64,
) -> Vec<String> {
    let lists: Vec<&[Term]> = match query.terms.as_slice() {
        [Term { is_negated: false, condition: Condition::Any(lists) }] => {
            lists.iter().map(Vec::as_slice).collect()
        }
        terms => vec![terms],
    };
    let mut empty: Vec<String> = Vec::new();
    let mut tried = 0;
    for (list, term) in lists.iter().flat_map(|list| list.iter().map(move |term| (list, term))) {
        let text = term.to_string();
        if empty.contains(&text) {
            continue;
        }
        // A term that stands alone was looked for just now.
        if list.len() > 1 {
            if tried == MOST_TERMS_TRIED {
                break;
            }
            tried += 1;
            match has_any(engine, &Query { terms: vec![term.clone()] }, options, examined) {
                Some(false) => {}
                Some(true) => continue,
                None => break,
            }
        }
        empty.push(text);
    }
    empty
}

/// Whether any span meets a query. None if the deadline came first.
fn has_any(
    engine: &RwLock<Engine>,
    query: &Query,
    options: &SearchOptions,
    examined: &mut u64,
) -> Option<bool> {
    let wholes = Wholes::new(engine, query, options.deadline);
    let mut rows = Vec::new();
    for shared in segments_for(engine, query) {
        if is_over(options.deadline) || !wholes.is_whole {
            return None;
        }
        let met = wholes.of(engine, &shared);
        if !find(&shared, query, &met, options, &mut rows, 0, examined).is_empty() {
            return Some(true);
        }
    }
    Some(false)
}

/// Of each trace that has one, the first span of a segment that meets the query.
fn find(
    shared: &Shared,
    query: &Query,
    met: &Met<'_>,
    options: &SearchOptions,
    rows: &mut Vec<u16>,
    least: u64,
    examined: &mut u64,
) -> Vec<(TraceId, SpanId)> {
    const NO_ROW: u16 = u16::MAX;
    let segment = shared.read();
    *examined += segment.rows() as u64;
    segment.select(query, met, options.window, rows);
    let mut first = vec![NO_ROW; if rows.is_empty() { 0 } else { segment.traces.len() }];
    for row in rows.iter() {
        let of_trace = &mut first[usize::from(segment.trace[usize::from(*row)])];
        if *of_trace == NO_ROW || segment.start[usize::from(*row)] < segment.start[usize::from(*of_trace)] {
            *of_trace = *row;
        }
    }
    let found = first.iter().enumerate().filter(|(_, row)| **row != NO_ROW);
    let found = found.map(|(trace, row)| (trace, usize::from(*row)));
    found
        .filter(|(_, row)| segment.start[*row] >= least)
        .map(|(trace, row)| (segment.traces[trace], segment.span_id_of(row)))
        .collect()
}

/// Segments that may have what is asked for.
pub(crate) fn segments_for(engine: &RwLock<Engine>, query: &Query) -> Vec<Arc<Shared>> {
    let engine = read(engine);
    match query.trace() {
        None => engine.segments(),
        Some(trace_id) => {
            let places = engine.traces.get(trace_id).into_iter().flat_map(|trace| trace.places());
            places.filter_map(|place| engine.segment(place.segment).map(Arc::clone)).collect()
        }
    }
}

/// The segments of a trace and its code in each.
pub(crate) fn places(engine: &RwLock<Engine>, trace_id: TraceId) -> Vec<(Arc<Shared>, u16)> {
    let engine = read(engine);
    let places = engine.traces.get(trace_id).into_iter().flat_map(|trace| trace.places());
    let mut places: Vec<_> = places
        .filter_map(|place| engine.segment(place.segment).map(|shared| (Arc::clone(shared), place.trace)))
        .collect();
    places.sort_unstable_by_key(|(shared, _)| shared.number);
    places
}

fn summarize(engine: &RwLock<Engine>, trace_id: TraceId, matched: Option<SpanId>) -> Option<TraceSummary> {
    let mut summarizer = Summarizer::default();
    let places = places(engine, trace_id);
    for (shared, trace) in &places {
        summarizer.add(&shared.read(), *trace);
    }
    let (segment, row) = summarizer.root()?;
    let root = places[segment].0.read().span(row);
    Some(summarizer.finish(&root, matched))
}

pub(crate) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

pub(crate) fn read(engine: &RwLock<Engine>) -> std::sync::RwLockReadGuard<'_, Engine> {
    engine.read().unwrap_or_else(PoisonError::into_inner)
}
