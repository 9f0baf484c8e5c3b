//! Requests that ask one thing after another where one call could ask for all: no fault that began, but what could be better.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tracer_model::critical::path;
use utoipa::ToSchema;

use crate::{
    answer::{EdgeName, Exemplar, OperationName},
    corpus::{Corpus, PartyId, Trace},
    statistics::quantile,
};

/// Equal calls of one request from which on they are repeated.
const LEAST_CALLS: usize = 5;

/// Calls take turns if any is under way for so great a part of the sum of their times.
const IN_TURN: f64 = 0.8;

/// What fewer requests do is told of none.
const LEAST_REQUESTS: u64 = 10;

/// Repeated calls that are told.
const MOST: usize = 10;

/// Calls that each request makes over and over, one after another (N+1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SteadyRepetition {
    /// Who calls.
    pub caller: OperationName,
    /// What it calls: the operation of the calls.
    pub called: OperationName,
    /// Whom it asks, if that is known.
    pub asked: Option<EdgeName>,
    /// The query, if it asks a database.
    pub query: Option<String>,
    /// Median of the calls of a request that repeats them.
    pub calls_p50: u64,
    /// Requests that repeat them five times or more, one after another.
    pub requests: u64,
    /// Requests of the caller.
    pub of: u64,
    /// Mean time of the calls on the critical path of such a request, nanoseconds.
    pub path_ns: u64,
    /// What such a request would take less if one call of the same length asked for all, nanoseconds (mean).
    pub saves_ns: u64,
    /// One sentence in plain English that says it.
    pub sentence: String,
    /// The trace with the most calls.
    pub exemplar: Option<Exemplar>,
}

type Key = (u32, u32, Option<PartyId>, Option<Arc<str>>);

#[derive(Default)]
struct Repeated {
    calls: Vec<f64>,
    path_ns: f64,
    saves_ns: f64,
    /// Calls, trace and span of the request with most of them.
    best: (usize, usize, usize),
}

/// Repeated calls, those that cost most first.
pub(super) fn of(corpus: &Corpus, traces: &[Trace<'_>]) -> Vec<SteadyRepetition> {
    let mut found: BTreeMap<Key, Repeated> = BTreeMap::new();
    let mut requests: BTreeMap<u32, u64> = BTreeMap::new();
    let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for trace in traces {
        let mut path_ns: Option<Vec<u64>> = None;
        for at in 0..trace.len() {
            // A span with fewer spans below repeats nothing.
            *requests.entry(trace.operation(at)).or_default() += 1;
            if trace.after(at) - at <= LEAST_CALLS {
                continue;
            }
            groups.clear();
            for child in trace.children(at).filter(|child| trace.asks(*child) && trace.is_awaited(*child)) {
                let query = trace.facts(child).query.clone();
                let key = (trace.operation(at), trace.operation(child), trace.asked(child), query);
                groups.entry(key).or_default().push(child);
            }
            for (key, calls) in &groups {
                if calls.len() < LEAST_CALLS || !take_turns(*trace, calls) {
                    continue;
                }
                let path_ns = path_ns.get_or_insert_with(|| on_path(*trace));
                let ns: f64 = calls.iter().map(|call| path_ns[*call] as f64).sum();
                let one = found.entry(key.clone()).or_default();
                one.calls.push(calls.len() as f64);
                one.path_ns += ns;
                one.saves_ns += ns * (calls.len() - 1) as f64 / calls.len() as f64;
                one.best = one.best.max((calls.len(), trace.place(), at));
            }
        }
    }
    let mut told: Vec<SteadyRepetition> = found
        .into_iter()
        .filter(|(_, one)| one.calls.len() as u64 >= LEAST_REQUESTS && one.path_ns > 0.0)
        .map(|(key, one)| tell(corpus, &key, one, &requests))
        .collect();
    told.sort_by(|one, other| {
        let cost = |one: &SteadyRepetition| one.saves_ns as f64 * one.requests as f64;
        cost(other)
            .total_cmp(&cost(one))
            .then_with(|| (&one.caller, Reverse(one.requests)).cmp(&(&other.caller, Reverse(other.requests))))
    });
    told.truncate(MOST);
    told
}

fn tell(
    corpus: &Corpus,
    (caller, called, asked, query): &Key,
    mut one: Repeated,
    requests: &BTreeMap<u32, u64>,
) -> SteadyRepetition {
    one.calls.sort_unstable_by(f64::total_cmp);
    let count = one.calls.len() as f64;
    let by = corpus.dictionary.operation(*caller);
    let calls_p50 = quantile(&one.calls, 0.5).unwrap_or(0.0) as u64;
    let of = requests.get(caller).copied().unwrap_or(0);
    let name = query.as_deref().unwrap_or(&corpus.dictionary.operation(*called).name);
    let saves_ns = one.saves_ns / count;
    let sentence = format!(
        "{} at {} calls {name} {calls_p50} times one after another in {} of {of} requests: one call for all would save up to {} each.",
        corpus.dictionary.name(by.service),
        by.name,
        one.calls.len(),
        crate::words::duration(saves_ns)
    );
    let (_, place, at) = one.best;
    SteadyRepetition {
        caller: OperationName::of(corpus, *caller),
        called: OperationName::of(corpus, *called),
        asked: asked.map(|asked| EdgeName::of(corpus, by.service, asked)),
        query: query.as_deref().map(str::to_owned),
        calls_p50,
        requests: one.calls.len() as u64,
        of,
        path_ns: (one.path_ns / count) as u64,
        saves_ns: saves_ns as u64,
        sentence,
        exemplar: Some(Exemplar::of(corpus.trace(place), at)),
    }
}

/// Time of each call and of all below it on the critical path of its trace; of other spans 0.
fn on_path(trace: Trace<'_>) -> Vec<u64> {
    let mut sums = vec![0u64; trace.len()];
    for (at, stretch) in path(&trace, trace.root()) {
        sums[at] = sums[at].saturating_add(stretch.end_ns.saturating_sub(stretch.start_ns));
    }
    // Children stand behind their parents.
    for at in (0..trace.len()).rev() {
        if let Some(parent) = trace.parent(at) {
            sums[parent] = sums[parent].saturating_add(sums[at]);
        }
    }
    sums
}

/// Whether hardly any calls overlap. Children stand by their starts.
fn take_turns(trace: Trace<'_>, calls: &[usize]) -> bool {
    let (mut to_ns, mut any_ns, mut sum_ns) = (0u64, 0u64, 0u64);
    for call in calls {
        let time = trace.time(*call);
        any_ns = any_ns.saturating_add(time.end_ns.saturating_sub(time.start_ns.max(to_ns)));
        sum_ns = sum_ns.saturating_add(time.end_ns - time.start_ns);
        to_ns = to_ns.max(time.end_ns);
    }
    any_ns as f64 >= sum_ns as f64 * IN_TURN
}
