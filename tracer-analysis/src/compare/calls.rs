//! Calls that requests make, and the mixes of queries.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    ALPHA_OF_EACH, ComparedCalls, ComparedQueries, ComparisonAnswer, QueryPart, Side, TOLERANCE,
    side::Requests,
};
use crate::{
    answer::{EdgeName, Exemplar, Interval, OperationName},
    corpus::{Corpus, PartyId, Trace},
    statistics::{
        CONFIDENCE, Estimate, Verdict, benjamini_hochberg, homogeneity, jensen_shannon,
        special::{critical_value, normal_two_sided},
    },
};

/// Requests of an operation that a side needs.
const LEAST_REQUESTS: u64 = 50;

/// Different calls and queries that are told apart.
const MOST_KEYS: usize = 5000;

/// Different calls of one request that are told apart.
const MOST_OF_REQUEST: usize = 100;

/// Queries of an edge that are told.
const MOST_QUERIES: usize = 10;

/// The least difference of the mixes of queries that matters.
const LEAST_DIVERGENCE: f64 = 0.01;

/// An operation, whom it calls, and the query or name of the call.
type Key = (OperationName, EdgeName, String);

/// The same by codes: operation of the request, who is called, operation of the call, and the query.
type CodeKey = (u32, PartyId, u32, Option<Arc<str>>);

#[derive(Clone, Default)]
struct Counted {
    calls: u64,
    /// Sum of the squares of the calls of each request.
    squares: f64,
    exemplar: Option<(u32, Exemplar)>,
}

#[derive(Default)]
struct Calls {
    by_key: BTreeMap<Key, Counted>,
    queries: BTreeMap<EdgeName, BTreeMap<String, u64>>,
    /// Calls that were not told apart.
    omitted: u64,
}

impl Calls {
    fn of(side: &Side<'_>) -> Self {
        let mut by_code: FxHashMap<CodeKey, CodeCounted> = FxHashMap::default();
        let mut of_request: Vec<(CodeKey, u32)> = Vec::new();
        let mut omitted = 0;
        for trace in side.traces() {
            for request in (0..trace.len()).filter(|at| trace.serves(*at) && side.has(trace, *at)) {
                of_request.clear();
                for at in calls_of(trace, request) {
                    let Some(asked) = trace.asked(at) else { continue };
                    let query = trace.facts(at).query.clone();
                    let key = (trace.operation(request), asked, trace.operation(at), query);
                    if let Some((_, count)) = of_request.iter_mut().find(|(other, _)| *other == key) {
                        *count += 1;
                    } else if of_request.len() < MOST_OF_REQUEST {
                        of_request.push((key, 1));
                    } else {
                        omitted += 1;
                    }
                }
                for (key, count) in of_request.drain(..) {
                    if by_code.len() < MOST_KEYS || by_code.contains_key(&key) {
                        by_code.entry(key).or_default().add(count, (trace.place(), request));
                    } else {
                        omitted += u64::from(count);
                    }
                }
            }
        }
        Self { omitted, ..Self::named(side.corpus, by_code) }
    }

    fn named(corpus: &Corpus, by_code: FxHashMap<CodeKey, CodeCounted>) -> Self {
        let mut calls = Self::default();
        for ((operation, asked, call, query), counted) in by_code {
            let service = corpus.dictionary.operation(operation).service;
            let edge = EdgeName::of(corpus, service, asked);
            if let Some(query) = &query {
                let of_edge = calls.queries.entry(edge.clone()).or_default();
                *of_edge.entry(query.to_string()).or_default() += counted.calls;
            }
            let name = query.unwrap_or_else(|| corpus.dictionary.operation(call).name.clone());
            let sum = calls
                .by_key
                .entry((OperationName::of(corpus, operation), edge, name.to_string()))
                .or_default();
            // Calls of one name and another kind are of other requests, nearly always.
            sum.calls += counted.calls;
            sum.squares += counted.squares;
            let (most, place, at) = counted.best;
            if sum.exemplar.as_ref().is_none_or(|(other, _)| most > *other) {
                sum.exemplar = Some((most, Exemplar::of(corpus.trace(place), at)));
            }
        }
        calls
    }
}

#[derive(Default)]
struct CodeCounted {
    calls: u64,
    squares: f64,
    /// The most calls of a request, with its trace and its place in that.
    best: (u32, usize, usize),
}

impl CodeCounted {
    fn add(&mut self, count: u32, (place, at): (usize, usize)) {
        self.calls += u64::from(count);
        self.squares += f64::from(count) * f64::from(count);
        if count > self.best.0 {
            self.best = (count, place, at);
        }
    }
}

/// The calls that a service makes for a request: those below it, but not below another request that it serves.
fn calls_of(trace: Trace<'_>, request: usize) -> impl Iterator<Item = usize> {
    let service = trace.service(request);
    let mut next = request + 1;
    std::iter::from_fn(move || {
        while next < trace.after(request) {
            let at = next;
            next = if trace.serves(at) { trace.after(at) } else { at + 1 };
            if trace.asks(at) && trace.service(at) == service {
                return Some(at);
            }
        }
        None
    })
}

pub(super) fn compare(
    before: &Side<'_>,
    after: &Side<'_>,
    first: &Requests,
    second: &Requests,
    answer: &mut ComparisonAnswer,
) {
    let (old, new) = (Calls::of(before), Calls::of(after));
    answer.calls = changed_calls(&old, &new, first, second);
    answer.queries = changed_queries(&old, &new);
    answer.omitted += old.omitted + new.omitted;
}

fn changed_calls(old: &Calls, new: &Calls, first: &Requests, second: &Requests) -> Vec<ComparedCalls> {
    let requests = |side: &Requests, operation: &OperationName| {
        side.by_operation.get(operation).map_or(0, |requests| requests.len() as u64)
    };
    let keys = old.by_key.keys().chain(new.by_key.keys().filter(|key| !old.by_key.contains_key(*key)));
    let mut rows: Vec<ComparedCalls> = Vec::new();
    for key in keys {
        let (operation, edge, call) = key;
        let of = (requests(first, operation), requests(second, operation));
        if of.0.min(of.1) < LEAST_REQUESTS {
            continue;
        }
        let of_key = |side: &'_ Calls| match side.by_key.get(key) {
            // What a side seems not to have may be among those that were not told apart.
            None if side.omitted > 0 => None,
            counted => Some(counted.cloned().unwrap_or_default()),
        };
        let (Some(one), Some(other)) = (of_key(old), of_key(new)) else { continue };
        let (mean_before, variance_before) = moments(&one, of.0);
        let (mean_after, variance_after) = moments(&other, of.1);
        let error = (variance_before / of.0 as f64 + variance_after / of.1 as f64).sqrt();
        let value = mean_after - mean_before;
        let reach = critical_value(CONFIDENCE) * error;
        rows.push(ComparedCalls {
            operation: operation.clone(),
            edge: edge.clone(),
            call: call.clone(),
            per_request: (mean_before, mean_after),
            requests: of,
            difference: Estimate { value, interval: Interval { low: value - reach, high: value + reach } },
            p_value: p_value(value, (&one, of.0), (&other, of.1)),
            verdict: Verdict::NotEnough,
            exemplar: other.exemplar.as_ref().or(one.exemplar.as_ref()).map(|(_, exemplar)| exemplar.clone()),
        });
    }
    let p_values: Vec<f64> = rows.iter().map(|row| row.p_value).collect();
    for (row, p_value) in rows.iter_mut().zip(benjamini_hochberg(&p_values)) {
        row.p_value = p_value;
        let tolerance = TOLERANCE * row.per_request.0.max(1.0);
        row.verdict = match Verdict::of_difference(row.difference, tolerance) {
            Verdict::Worse | Verdict::Better if p_value >= ALPHA_OF_EACH => Verdict::NotEnough,
            verdict => verdict,
        };
    }
    rows.retain(|row| matches!(row.verdict, Verdict::Worse | Verdict::Better));
    rows.sort_by(|one, other| {
        let rank = |row: &ComparedCalls| u8::from(row.verdict != Verdict::Worse);
        let size = |row: &ComparedCalls| row.difference.value.abs() * row.requests.1 as f64;
        rank(one).cmp(&rank(other)).then_with(|| size(other).total_cmp(&size(one)))
    });
    rows
}

/// How likely chance alone makes means differ so much, if both sides have the variance that all requests together have.
fn p_value(difference: f64, (one, before): (&Counted, u64), (other, after): (&Counted, u64)) -> f64 {
    let all =
        Counted { calls: one.calls + other.calls, squares: one.squares + other.squares, exemplar: None };
    let (_, variance) = moments(&all, before + after);
    let error = (variance * (1.0 / before.max(1) as f64 + 1.0 / after.max(1) as f64)).sqrt();
    normal_two_sided(difference / error)
}

/// Mean and variance of the calls of a request.
fn moments(counted: &Counted, requests: u64) -> (f64, f64) {
    let n = requests.max(1) as f64;
    let mean = counted.calls as f64 / n;
    // A count that never differed may differ in the next request: it is taken to have differed in one.
    let variance = (counted.squares / n - mean * mean).max(mean.max(1.0) / n);
    (mean, variance)
}

fn changed_queries(old: &Calls, new: &Calls) -> Vec<ComparedQueries> {
    let mut rows = Vec::new();
    if old.omitted + new.omitted > 0 {
        return rows;
    }
    for (edge, after) in &new.queries {
        let Some(before) = old.queries.get(edge) else { continue };
        let names: Vec<&String> =
            before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))).collect();
        let counts = |of: &BTreeMap<String, u64>| -> Vec<u64> {
            names.iter().map(|name| of.get(*name).copied().unwrap_or(0)).collect()
        };
        let (one, other) = (counts(before), counts(after));
        let Some(test) = homogeneity(&one, &other) else { continue };
        let (whole_before, whole_after) = (one.iter().sum::<u64>().max(1), other.iter().sum::<u64>().max(1));
        let mut queries: Vec<QueryPart> = names
            .iter()
            .zip(one.iter().zip(&other))
            .map(|(query, (before, after))| QueryPart {
                query: (*query).clone(),
                before: *before as f64 / whole_before as f64,
                after: *after as f64 / whole_after as f64,
            })
            .collect();
        let size = |part: &QueryPart| (part.after - part.before).abs();
        queries.sort_by(|one, other| size(other).total_cmp(&size(one)));
        queries.truncate(MOST_QUERIES);
        rows.push(ComparedQueries {
            edge: edge.clone(),
            divergence: jensen_shannon(&one, &other).unwrap_or(0.0),
            p_value: test.p_value,
            queries,
        });
    }
    let p_values: Vec<f64> = rows.iter().map(|row| row.p_value).collect();
    for (row, p_value) in rows.iter_mut().zip(benjamini_hochberg(&p_values)) {
        row.p_value = p_value;
    }
    rows.retain(|row| row.p_value < ALPHA_OF_EACH && row.divergence >= LEAST_DIVERGENCE);
    rows.sort_by(|one, other| other.divergence.total_cmp(&one.divergence));
    rows
}
