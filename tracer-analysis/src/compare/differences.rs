//! Operations, calls and kinds of failures that are there on one side only.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{ComparisonAnswer, ErrorName, OneSided, Side};
use crate::{
    answer::{EdgeName, Exemplar, OperationName},
    dependency::edge_of,
    series::table::has_failed_call,
    statistics::ALPHA,
};

/// Things of a kind that are told apart.
const MOST_KEYS: usize = 10_000;

/// How often each thing is there, with a trace that has it, and the service whose requests it comes with.
struct Counts<K> {
    things: BTreeMap<K, (u64, Exemplar)>,
    /// Those that were not told apart, since there are too many.
    omitted: u64,
}

impl<K: Ord> Counts<K> {
    fn new() -> Self {
        Self { things: BTreeMap::new(), omitted: 0 }
    }

    fn add(&mut self, key: K, exemplar: impl FnOnce() -> Exemplar) {
        if let Some((count, _)) = self.things.get_mut(&key) {
            *count += 1;
        } else if self.things.len() < MOST_KEYS {
            self.things.insert(key, (1, exemplar()));
        } else {
            self.omitted += 1;
        }
    }
}

/// All that is told of a side.
struct Told {
    operations: Counts<OperationName>,
    edges: Counts<EdgeName>,
    errors: Counts<ErrorName>,
    /// Requests that each service served.
    requests: BTreeMap<String, u64>,
    /// All of them.
    all: u64,
}

impl Told {
    fn of(side: &Side<'_>) -> Self {
        let mut told = Self {
            operations: Counts::new(),
            edges: Counts::new(),
            errors: Counts::new(),
            requests: BTreeMap::new(),
            all: 0,
        };
        for trace in side.traces() {
            for at in (0..trace.len()).filter(|at| side.has(trace, *at)) {
                let exemplar = || Exemplar::of(trace, at);
                if trace.serves(at) {
                    let operation = OperationName::of(side.corpus, trace.operation(at));
                    *told.requests.entry(operation.service.clone()).or_default() += 1;
                    // A failure that is passed on is told where it is made.
                    if trace.is_error(at) && !has_failed_call(trace, at) {
                        let facts = trace.facts(at);
                        let status = || facts.http_status.map(|status| status.to_string());
                        let error = facts.error_type.as_deref().map(str::to_owned).or_else(status);
                        let service = operation.service.clone();
                        told.errors.add(
                            ErrorName { service, error: error.unwrap_or_else(|| "error".to_owned()) },
                            exemplar,
                        );
                    }
                    told.operations.add(operation, exemplar);
                }
                if let Some((from, to)) = edge_of(trace, at) {
                    told.edges.add(EdgeName::of(side.corpus, from, to), exemplar);
                }
            }
        }
        told.all = told.requests.values().sum();
        told
    }

    fn omitted(&self) -> u64 {
        self.operations.omitted + self.edges.omitted + self.errors.omitted
    }

    /// Requests of a service; all of them, if it has none on one of the sides: it may be there for what others do.
    fn requests_of(&self, service: &str, other: &Self) -> (u64, u64) {
        let of = |told: &Self| told.requests.get(service).copied().unwrap_or(0);
        match (of(self), of(other)) {
            (0, _) | (_, 0) => (self.all, other.all),
            both => both,
        }
    }
}

pub(super) fn find(before: &Side<'_>, after: &Side<'_>, answer: &mut ComparisonAnswer) {
    let (old, new) = (Told::of(before), Told::of(after));
    answer.omitted += old.omitted() + new.omitted();
    let service = |operation: &OperationName| operation.service.clone();
    answer.new_operations = missing(&new.operations, &old.operations, &new, &old, service);
    answer.lost_operations = missing(&old.operations, &new.operations, &old, &new, service);
    let caller = |edge: &EdgeName| edge.from.clone();
    answer.new_edges = missing(&new.edges, &old.edges, &new, &old, caller);
    answer.lost_edges = missing(&old.edges, &new.edges, &old, &new, caller);
    let failing = |error: &ErrorName| error.service.clone();
    answer.new_errors = missing(&new.errors, &old.errors, &new, &old, failing);
    answer.lost_errors = missing(&old.errors, &new.errors, &old, &new, failing);
}

/// What is there on one side and not on the other, the most frequent first.
fn missing<K: Ord + Clone>(
    here: &Counts<K>,
    there: &Counts<K>,
    side: &Told,
    other: &Told,
    service: impl Fn(&K) -> String,
) -> Vec<OneSided<K>> {
    let gone: Vec<_> = here.things.iter().filter(|(key, _)| !there.things.contains_key(*key)).collect();
    let alpha = ALPHA / gone.len().max(1) as f64;
    let there_omitted = there.omitted;
    let mut found: Vec<OneSided<K>> = gone
        .into_iter()
        .map(|(key, (count, exemplar))| {
            let (here, there) = side.requests_of(&service(key), other);
            let part = *count as f64 / here.max(*count).max(1) as f64;
            // Its part is known from `count` requests only: half of it may be the true one.
            let chance = (1.0 - part / 2.0).powf(there as f64);
            OneSided {
                what: key.clone(),
                count: *count,
                is_certain: chance < alpha && there_omitted == 0,
                exemplar: Some(exemplar.clone()),
            }
        })
        .collect();
    found.sort_by(|one, other| {
        (!one.is_certain, Reverse(one.count), &one.what).cmp(&(
            !other.is_certain,
            Reverse(other.count),
            &other.what,
        ))
    });
    found
}
