//! Where the time of requests goes: their critical paths, what would help, and failures that successes hide.

mod hidden;
mod repeated;
mod replay;
mod share;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::{EdgeName, Exemplar, OperationName, Sample},
    corpus::{Corpus, Trace},
};

pub use self::{repeated::SteadyRepetition, replay::replayed_ns};

/// Answer of the analysis: where the time of requests goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Traces of which the root is there: the others have no path.
    pub traces: u64,
    /// Time of these together, from the start of each root to its end, nanoseconds.
    pub total_ns: u64,
    /// By whom the time is taken, the most first.
    pub services: Vec<ServicePathShare>,
    /// By what it is taken, the most first; 100 at most.
    pub operations: Vec<OperationShare>,
    /// Time on the way between clients and servers, nanoseconds.
    pub network_ns: u64,
    /// What would help most, if it took half of its time, the most first; 10 at most.
    pub help: Vec<Help>,
    /// Traces that were replayed for that.
    pub replayed_traces: u64,
    /// Failed calls below requests that succeeded, those that cost most first; 20 at most.
    pub hidden_errors: Vec<HiddenErrors>,
    /// Calls that requests make over and over, one after another, those that cost most first; 10 at most.
    #[serde(default)]
    pub repeated: Vec<SteadyRepetition>,
}

/// A service's part of the critical paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServicePathShare {
    /// Service.
    pub service: String,
    /// Time of its spans on critical paths, nanoseconds; without the way to others.
    pub path_ns: u64,
    /// The same as a part of all.
    pub part: f64,
}

/// An operation's part of the critical paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationShare {
    /// Operation.
    pub operation: OperationName,
    /// Whom it asks, if it does and no span of that one answers: the time is that one's.
    pub asked: Option<EdgeName>,
    /// The query, if it asks a database.
    pub query: Option<String>,
    /// Spans.
    pub spans: u64,
    /// Time of them on critical paths, nanoseconds.
    pub path_ns: u64,
    /// The same as a part of all.
    pub part: f64,
    /// Their time beside critical paths: they could take longer, and no request would.
    pub beside_ns: u64,
    /// The trace with the most time of it on its path.
    pub exemplar: Option<Exemplar>,
}

/// What becomes of requests if an operation takes half of its own time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Help {
    /// Operation.
    pub operation: OperationName,
    /// Median time of the requests that have it, and what it would be, nanoseconds.
    pub p50_ns: u64,
    /// See `p50_ns`.
    pub helped_p50_ns: u64,
    /// 95th percentile of them, and what it would be.
    pub p95_ns: u64,
    /// See `p95_ns`.
    pub helped_p95_ns: u64,
    /// Time that all replayed requests would take less, as a part of their time.
    pub part: f64,
    /// Requests that have the operation, of those that were replayed.
    pub traces: u64,
}

/// Failed calls that do not make the request fail which they are made for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HiddenErrors {
    /// The calls.
    pub edge: EdgeName,
    /// Failed calls below a request of the caller that succeeded.
    pub calls: u64,
    /// All calls of the edge.
    pub of: u64,
    /// Requests of the caller that hide some.
    pub requests: u64,
    /// Time of the failed calls on critical paths, nanoseconds.
    pub path_ns: u64,
    /// Traces that show it.
    pub exemplars: Vec<Exemplar>,
}

/// Looks at all traces of a corpus that have a root, or at those whose root is of an operation.
pub fn analyze(corpus: &Corpus, root: Option<&OperationName>) -> PathAnswer {
    let wanted = root.map(|root| corpus.find_operation(&root.service, &root.name, root.kind));
    let is_meant = |trace: &Trace<'_>| match wanted {
        None => true,
        Some(operation) => operation == Some(trace.operation(trace.root())),
    };
    let traces: Vec<Trace<'_>> = corpus.traces().filter(|trace| trace.has_root()).filter(is_meant).collect();
    let mut answer = PathAnswer { sample: Sample::of(corpus), ..share::of(corpus, &traces) };
    (answer.help, answer.replayed_traces) = replay::helps(corpus, &traces, &answer.operations);
    answer.hidden_errors = hidden::of(corpus, &traces);
    answer.repeated = repeated::of(corpus, &traces);
    answer
}
