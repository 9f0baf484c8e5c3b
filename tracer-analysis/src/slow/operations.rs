//! Operations of which slow requests are worth a look.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tracer_model::critical::path;
use utoipa::ToSchema;

use crate::{
    answer::{OperationName, Sample},
    corpus::Corpus,
    statistics::quantile,
};

/// Operations that are told.
const MOST_OPERATIONS: usize = 200;

/// Answer: operations, and how far their requests spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowOperationsAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Operations that serve requests or begin traces, the most promising first: those whose slowest twentieth loses most time
    /// beyond the median. 200 at most.
    pub operations: Vec<SlowOperation>,
    /// Operations that were left out.
    pub omitted: u64,
}

/// An operation, and how long its requests take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowOperation {
    /// Operation.
    pub operation: OperationName,
    /// Requests.
    pub requests: u64,
    /// Median of their durations, nanoseconds.
    pub p50_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// `p95_ns` as a multiple of `p50_ns`.
    pub spread: f64,
    /// Time of its spans on the critical paths of whole traces, nanoseconds.
    pub path_ns: u64,
    /// What the slowest twentieth takes longer than the median, together, nanoseconds.
    pub lost_ns: u64,
    /// Whether there are enough requests to compare the slowest twentieth with the rest.
    pub is_enough: bool,
}

/// All operations that serve requests or begin traces.
pub fn operations(corpus: &Corpus) -> SlowOperationsAnswer {
    let mut durations: FxHashMap<u32, Vec<f64>> = FxHashMap::default();
    let mut path_ns: FxHashMap<u32, u64> = FxHashMap::default();
    for trace in corpus.traces() {
        for at in 0..trace.len() {
            if trace.serves(at) || trace.parent(at).is_none() {
                durations.entry(trace.operation(at)).or_default().push(trace.duration_ns(at) as f64);
            }
        }
        if trace.has_root() {
            for (at, stretch) in path(&trace, trace.root()) {
                let sum = path_ns.entry(trace.operation(at)).or_default();
                *sum = sum.saturating_add(stretch.end_ns.saturating_sub(stretch.start_ns));
            }
        }
    }
    let mut operations: Vec<SlowOperation> = durations
        .into_iter()
        .map(|(operation, mut durations)| {
            durations.sort_unstable_by(f64::total_cmp);
            let at = |q| quantile(&durations, q).unwrap_or(0.0);
            let [p50, p95, p99] = [at(0.5), at(0.95), at(0.99)];
            let slow = durations.partition_point(|duration| *duration <= p95);
            let lost_ns: f64 = durations[slow..].iter().map(|duration| duration - p50).sum();
            SlowOperation {
                operation: OperationName::of(corpus, operation),
                requests: durations.len() as u64,
                p50_ns: p50 as u64,
                p95_ns: p95 as u64,
                p99_ns: p99 as u64,
                spread: p95 / p50.max(1.0),
                path_ns: path_ns.get(&operation).copied().unwrap_or(0),
                lost_ns: lost_ns as u64,
                is_enough: durations.len() - slow >= super::LEAST_REQUESTS,
            }
        })
        .collect();
    operations.sort_by(|one, other| {
        (Reverse(one.is_enough), Reverse(one.lost_ns), &one.operation).cmp(&(
            Reverse(other.is_enough),
            Reverse(other.lost_ns),
            &other.operation,
        ))
    });
    let omitted = operations.len().saturating_sub(MOST_OPERATIONS) as u64;
    operations.truncate(MOST_OPERATIONS);
    SlowOperationsAnswer { sample: Sample::of(corpus), operations, omitted }
}
