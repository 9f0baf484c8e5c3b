//! Retries: how many calls are tried again, who multiplies them layer by layer, and whether a storm of them feeds itself.

pub(crate) mod attempts;
mod paths;
mod storms;

use std::{cmp::Reverse, collections::BTreeMap};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{
    attempts::{Attempts, Role},
    paths::Paths,
};
use crate::{
    answer::{EdgeName, Exemplar, Sample},
    corpus::{Corpus, Trace},
    series::{
        Buckets, Failure, FailureCount,
        table::{Edge, Table},
    },
};

pub use self::{
    paths::{Layer, RetryPath},
    storms::{RetryStorm, Trigger, TriggerKind},
};

/// Edges that are told apart. Calls of further ones are counted together.
const MOST_EDGES: usize = 1000;

/// Calls that are needed before their retries are said to be too many.
const LEAST_CALLS: u64 = 50;

/// What is told, and when it is too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RetryOptions {
    /// Part of the calls that may be retries.
    pub budget: f64,
    /// Edges and paths of each at most.
    pub most: usize,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { budget: 0.1, most: 50 }
    }
}

/// Retries in the traces of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Why nothing is claimed: there is too little data. None if there is enough.
    pub too_little: Option<String>,
    /// Part of the calls that may be retries.
    pub budget: f64,
    /// Attempts of all calls.
    pub attempts: u64,
    /// Calls as their callers mean them: all attempts of one are one.
    pub logical_calls: u64,
    /// Retries, by attempts; from 0 to 1.
    pub retry_ratio: f64,
    /// Calls after a failed one that may be retries or not: those of loops, and those that overlap.
    pub uncertain: u64,
    /// When the first bucket of the goodput begins.
    pub start_unix_us: u64,
    /// How long a bucket is.
    pub bucket_us: u64,
    /// What all calls came to over time.
    pub goodput: Vec<Goodput>,
    /// Edges with retries, those with most first.
    pub edges: Vec<RetryEdge>,
    /// Ways of requests on which calls multiply, the worst first.
    pub paths: Vec<RetryPath>,
    /// Stretches of time in which retries were over the budget.
    pub storms: Vec<RetryStorm>,
    /// Edges and paths that were left out.
    pub left_out: u64,
}

/// What calls of a bucket came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Goodput {
    /// Attempts.
    pub attempts: u64,
    /// Logical calls.
    pub logical_calls: u64,
    /// Logical calls that came to a good end, by whichever attempt.
    pub succeeded: u64,
}

impl Goodput {
    fn and(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            logical_calls: self.logical_calls + other.logical_calls,
            succeeded: self.succeeded + other.succeeded,
        }
    }

    /// Retries.
    pub fn retries(self) -> u64 {
        self.attempts.saturating_sub(self.logical_calls)
    }
}

/// Retries of an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryEdge {
    /// Who calls whom.
    pub edge: EdgeName,
    /// Attempts.
    pub attempts: u64,
    /// Logical calls.
    pub logical_calls: u64,
    /// Retries that say so themselves. The others follow from the order of the calls.
    pub provable: u64,
    /// Retries, by attempts; from 0 to 1.
    pub retry_ratio: f64,
    /// Attempts for each logical call.
    pub factor: f64,
    /// Logical calls that succeeded by a retry.
    pub saved: u64,
    /// Logical calls all of whose attempts failed, and that were tried again at least once.
    pub exhausted: u64,
    /// Logical calls by their attempts: of one attempt, of two, and so on; the last counts those with more, too.
    pub by_attempts: Vec<u64>,
    /// Why attempts failed after which there was another one.
    pub causes: Vec<FailureCount>,
    /// Whether retries are over the budget in all the time together.
    pub is_over_budget: bool,
    /// What it came to over time.
    pub goodput: Vec<Goodput>,
    /// Traces with the most attempts of one call.
    pub exemplars: Vec<Exemplar>,
}

/// Attempts that are told apart in [`RetryEdge::by_attempts`].
const MOST_ATTEMPTS: usize = 10;

/// Exemplars of an edge or path.
const MOST_EXEMPLARS: usize = 3;

#[derive(Debug)]
struct Counted {
    goodput: Vec<Goodput>,
    provable: u64,
    saved: u64,
    exhausted: u64,
    by_attempts: [u64; MOST_ATTEMPTS],
    causes: [u64; Failure::COUNT],
    /// Attempts, place of the trace, and the span.
    worst: Vec<(u32, Reverse<usize>, usize)>,
}

impl Counted {
    fn new(buckets: usize) -> Self {
        Self {
            goodput: vec![Goodput::default(); buckets],
            provable: 0,
            saved: 0,
            exhausted: 0,
            by_attempts: [0; MOST_ATTEMPTS],
            causes: [0; Failure::COUNT],
            worst: Vec::new(),
        }
    }

    fn total(&self) -> Goodput {
        self.goodput.iter().copied().fold(Goodput::default(), Goodput::and)
    }

    fn shows(&mut self, attempts: u32, trace: usize, at: usize) {
        let shown = (attempts, Reverse(trace), at);
        if self.worst.len() < MOST_EXEMPLARS || self.worst.last().is_some_and(|least| *least < shown) {
            self.worst.retain(|(_, known, _)| known.0 != trace || attempts < 2);
            self.worst.push(shown);
            self.worst.sort_by(|one, other| other.cmp(one));
            self.worst.truncate(MOST_EXEMPLARS);
        }
    }
}

/// Counts of all edges and paths.
struct Counts {
    edges: FxHashMap<Edge, Counted>,
    all: Vec<Goodput>,
    uncertain: u64,
    paths: Paths,
}

/// Retries in the traces of a corpus.
pub fn analyze(corpus: &Corpus, options: &RetryOptions) -> RetryAnswer {
    match Table::of(corpus) {
        Some(table) => analyze_with(corpus, options, &table),
        None => RetryAnswer {
            sample: Sample::of(corpus),
            too_little: Some("There are no traces.".to_owned()),
            budget: options.budget,
            ..RetryAnswer::default()
        },
    }
}

/// The same, of series that are there already.
pub(crate) fn analyze_with(corpus: &Corpus, options: &RetryOptions, table: &Table) -> RetryAnswer {
    let buckets = table.buckets;
    let counts = count(corpus, buckets);
    let total = counts.all.iter().copied().fold(Goodput::default(), Goodput::and);
    let too_little = (total.attempts < LEAST_CALLS).then(|| {
        format!("{} calls are too few to tell anything of retries: {LEAST_CALLS} are needed", total.attempts)
    });
    let storms = if too_little.is_some() {
        Vec::new()
    } else {
        storms::find(corpus, table, &counts.edges, &counts.paths, options.budget)
    };
    let mut left_out = 0;
    let sorted: BTreeMap<Edge, &Counted> = counts.edges.iter().map(|(edge, of)| (*edge, of)).collect();
    let mut edges: Vec<RetryEdge> = sorted
        .into_iter()
        .filter(|(_, of)| of.total().retries() > 0)
        .map(|(edge, of)| told(corpus, edge, of, options.budget))
        .collect();
    edges.sort_by_key(|edge| Reverse(edge.attempts - edge.logical_calls));
    left_out += edges.len().saturating_sub(options.most) as u64;
    edges.truncate(options.most);
    let mut paths = counts.paths.told(corpus);
    left_out += paths.len().saturating_sub(options.most) as u64 + counts.paths.left_out;
    paths.truncate(options.most);
    RetryAnswer {
        sample: Sample::of(corpus),
        too_little,
        budget: options.budget,
        attempts: total.attempts,
        logical_calls: total.logical_calls,
        retry_ratio: ratio(total.retries(), total.attempts),
        uncertain: counts.uncertain,
        start_unix_us: buckets.begin_us(0),
        bucket_us: buckets.width_ns / 1000,
        goodput: counts.all,
        edges,
        paths,
        storms,
        left_out,
    }
}

fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

fn count(corpus: &Corpus, buckets: Buckets) -> Counts {
    let mut counts = Counts {
        edges: FxHashMap::default(),
        all: vec![Goodput::default(); buckets.count],
        uncertain: 0,
        paths: Paths::new(buckets),
    };
    let mut attempts = Attempts::default();
    for trace in corpus.traces() {
        attempts.find(trace);
        counts.uncertain += attempts.uncertain;
        counts.paths.add(trace, &attempts);
        for at in 0..trace.len() {
            if attempts.role(at) != Role::None {
                counts.attempt(trace, at, &attempts, buckets);
            }
        }
    }
    counts
}

impl Counts {
    fn attempt(&mut self, trace: Trace<'_>, at: usize, attempts: &Attempts, buckets: Buckets) {
        let bucket = buckets.at(trace.time(at).start_ns);
        let has_failed = Failure::of(trace.facts(at)).is_some();
        let first = attempts.first(at);
        let is_first = attempts.role(at) == Role::First;
        let more = Goodput {
            attempts: 1,
            logical_calls: u64::from(is_first),
            // All attempts but the last have failed.
            succeeded: u64::from(!has_failed),
        };
        self.all[bucket] = self.all[bucket].and(more);
        // A logical call is one of the edge of its first attempt, even if no span serves that.
        let Some(asked) = trace.asked(at).or_else(|| trace.asked(first)) else { return };
        let edge = (trace.service(at), asked);
        if !self.edges.contains_key(&edge) && self.edges.len() >= MOST_EDGES {
            return;
        }
        let counted = self.edges.entry(edge).or_insert_with(|| Counted::new(buckets.count));
        counted.goodput[bucket] = counted.goodput[bucket].and(more);
        if !is_first {
            counted.provable += u64::from(trace.facts(at).resend > 0);
            counted.saved += u64::from(!has_failed);
            return;
        }
        let count = attempts.count(at);
        counted.by_attempts[(count.max(1) as usize - 1).min(MOST_ATTEMPTS - 1)] += 1;
        if count < 2 {
            return;
        }
        counted.shows(count, trace.place(), at);
        let end = trace.parent(at).map_or(trace.len(), |parent| trace.after(parent));
        let (mut seen, mut next, mut last_failed) = (0, at, has_failed);
        while next < end && seen < count {
            if attempts.role(next) != Role::None && attempts.first(next) == at {
                seen += 1;
                let failure = Failure::of(trace.facts(next));
                last_failed = failure.is_some();
                if let Some(failure) = failure.filter(|_| seen < count) {
                    counted.causes[failure as usize] += 1;
                }
            }
            next = trace.after(next);
        }
        counted.exhausted += u64::from(last_failed);
    }
}

fn told(corpus: &Corpus, edge: Edge, of: &Counted, budget: f64) -> RetryEdge {
    let total = of.total();
    let causes = Failure::ALL.into_iter().zip(of.causes).filter(|(_, count)| *count > 0);
    let mut causes: Vec<FailureCount> =
        causes.map(|(failure, count)| FailureCount { failure, count }).collect();
    causes.sort_by_key(|counted| Reverse(counted.count));
    let most = of.by_attempts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    RetryEdge {
        edge: EdgeName::of(corpus, edge.0, edge.1),
        attempts: total.attempts,
        logical_calls: total.logical_calls,
        provable: of.provable,
        retry_ratio: ratio(total.retries(), total.attempts),
        factor: ratio(total.attempts, total.logical_calls),
        saved: of.saved,
        exhausted: of.exhausted,
        by_attempts: of.by_attempts[..most].to_vec(),
        causes,
        is_over_budget: total.attempts >= LEAST_CALLS && ratio(total.retries(), total.attempts) > budget,
        goodput: of.goodput.clone(),
        exemplars: exemplars(corpus, &of.worst),
    }
}

fn exemplars(corpus: &Corpus, worst: &[(u32, Reverse<usize>, usize)]) -> Vec<Exemplar> {
    worst.iter().map(|(_, place, at)| Exemplar::of(corpus.trace(place.0), *at)).collect()
}

#[cfg(test)]
mod tests;
