//! Who depends on whom, as the calls show it: how often, since when, how much requests wait for it, and whether its failures
//! pass through.

pub mod check;
mod cycles;
pub mod export;
pub mod graph;
mod points;
mod tally;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use tracer_model::answer::NodeKind;
use utoipa::ToSchema;

use self::tally::Tallies;
pub(crate) use self::tally::edge_of;
use crate::{
    answer::{EdgeName, Exemplar, Interval, Sample},
    corpus::Corpus,
};

/// Edges that are told.
const MOST_EDGES: usize = 1000;

/// Parties that are told.
const MOST_PARTIES: usize = 5000;

/// Dependencies between services, and of services on others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DependenciesAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Traces of which the root is there: parts of requests and of critical paths are parts of these.
    pub rooted_traces: u64,
    /// Who calls whom, the most calls first; 1000 at most.
    pub edges: Vec<Dependency>,
    /// Edges with fewer calls that were left out.
    pub left_out: u64,
    /// Calls of edges that were not even counted, since there were more than ten thousand.
    pub omitted_calls: u64,
    /// Everybody who calls or is called, by name; 5000 at most, those that served most.
    pub parties: Vec<DependencyParty>,
    /// Parties that were left out.
    pub left_out_parties: u64,
    /// Services that depend on each other in a circle.
    pub cycles: Vec<DependencyCycle>,
    /// Parties that many requests need, and of which no second instance was seen; the most requests first.
    pub single_points: Vec<SinglePoint>,
    /// When the first bucket of `Dependency::over_time` begins.
    pub start_unix_us: u64,
    /// How long each bucket is.
    pub bucket_us: u64,
}

/// Calls from one to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    /// Who calls whom.
    pub edge: EdgeName,
    /// What the caller is: a broker gives messages to those who take them.
    pub from_kind: NodeKind,
    /// The system of a database or broker that is called.
    pub system: Option<String>,
    /// Calls.
    pub calls: u64,
    /// Those that failed.
    pub failed_calls: u64,
    /// Names of the calls, the most frequent first; 5 at most.
    pub operations: Vec<String>,
    /// Half of the calls took no longer, nanoseconds.
    pub p50_ns: Option<u64>,
    /// 95 of 100 took no longer, nanoseconds.
    pub p95_ns: Option<u64>,
    /// Traces that have a call.
    pub traces: u64,
    /// Time on critical paths of the calls and of all that was done for them, as a part of the time of all requests.
    pub path_part: f64,
    /// Whether failures of the calls become failures of the requests that they are made for.
    pub failures: FailurePassing,
    /// First call.
    pub first_unix_us: u64,
    /// Start of the last call.
    pub last_unix_us: u64,
    /// Since when there are such calls, if the caller served requests before without making one, and chance does not explain
    /// it.
    pub new_since_unix_us: Option<u64>,
    /// Since when there are none any more, if the caller serves requests without making one, and chance does not explain it.
    pub gone_since_unix_us: Option<u64>,
    /// Calls that began in each bucket of time.
    pub over_time: Vec<u64>,
    /// A trace with a call: one that failed, if there is one.
    pub exemplar: Option<Exemplar>,
}

/// What becomes of requests whose calls fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailurePassing {
    /// Requests that the caller served and made a call for.
    pub requests: u64,
    /// Those of which a call failed.
    pub with_failed_call: u64,
    /// Those of these that failed themselves.
    pub failed: u64,
    /// What this says.
    pub verdict: PassingVerdict,
    /// Part of the requests with a failed call that fail, with 99.5 % confidence. None if no call failed.
    pub failing: Option<Interval>,
}

/// Whether failures pass through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassingVerdict {
    /// No call failed.
    #[default]
    NeverFailed,
    /// Most requests with a failed call fail.
    Passes,
    /// Most requests with a failed call succeed.
    Absorbed,
    /// Too few calls failed to tell.
    NotEnough,
}

/// Who calls or is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependencyParty {
    /// Name of the service; host and port of another one.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Requests that it served; 0 if there are no spans of it.
    pub requests: u64,
    /// Instances of it that were seen, up to 1000; 0 if there are no spans of it, or if they do not tell.
    pub instances: u64,
    /// Requests that begin a trace in it.
    pub entries: u64,
}

/// Services that depend on each other in a circle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DependencyCycle {
    /// The services, by name. One alone calls itself.
    pub services: Vec<String>,
    /// Traces in which a request comes back to a service that waits for it.
    pub traces: u64,
    /// One of these, at the request that came back.
    pub exemplar: Option<Exemplar>,
}

/// Somebody without whom many requests cannot be answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SinglePoint {
    /// Who.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Traces with a root that wait for it.
    pub traces: u64,
    /// The same as a part of all.
    pub part: f64,
    /// Instances that were seen; 0 if that is not told.
    pub instances: u64,
    /// What becomes of requests whose calls to it fail.
    pub failures: FailurePassing,
    /// A sentence that says it.
    pub sentence: String,
}

/// Dependencies of a corpus.
pub fn analyze(corpus: &Corpus) -> DependenciesAnswer {
    let tallies = Tallies::of(corpus);
    let mut answer = DependenciesAnswer {
        sample: Sample::of(corpus),
        rooted_traces: tallies.rooted,
        omitted_calls: tallies.omitted_calls,
        parties: tallies.parties(corpus),
        cycles: cycles::of(corpus, &tallies),
        single_points: points::of(corpus, &tallies),
        start_unix_us: tallies.buckets.begin_us(0),
        bucket_us: tallies.buckets.width_ns / 1000,
        ..DependenciesAnswer::default()
    };
    answer.left_out_parties = answer.parties.len().saturating_sub(MOST_PARTIES) as u64;
    if answer.left_out_parties > 0 {
        answer.parties.sort_by(|one, other| {
            (Reverse(one.requests), &one.name).cmp(&(Reverse(other.requests), &other.name))
        });
        answer.parties.truncate(MOST_PARTIES);
        answer.parties.sort_by(|one, other| (&one.name, one.kind).cmp(&(&other.name, other.kind)));
    }
    answer.edges = tallies.edges(corpus);
    answer.left_out = answer.edges.len().saturating_sub(MOST_EDGES) as u64;
    answer.edges.truncate(MOST_EDGES);
    answer
}
