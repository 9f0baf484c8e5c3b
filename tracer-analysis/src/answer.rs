//! What the analyses have in common in their answers. Each analysis has its own types beside its code.
//!
//! Moments are whole microseconds since 1970 (`_unix_us`), durations nanoseconds (`_ns`). All text comes from traffic or from
//! other programs: it is data, never markup.

use serde::{Deserialize, Serialize};
use tracer_model::answer::{NodeKind, SpanKind, Window};
use utoipa::ToSchema;

use crate::corpus::{Corpus, PartyId, Trace};

/// A trace that shows what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exemplar {
    /// Its id.
    pub trace_id: String,
    /// The span to look at.
    pub span_id: Option<String>,
    /// When that span started.
    pub start_unix_us: u64,
    /// How long it took.
    pub duration_ns: u64,
}

impl Exemplar {
    /// A span of a trace.
    pub fn of(trace: Trace<'_>, at: usize) -> Self {
        Self {
            trace_id: trace.id().hex(),
            span_id: Some(trace.span_id(at).hex()),
            start_unix_us: trace.time(at).start_ns / 1000,
            duration_ns: trace.duration_ns(at),
        }
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// Traces.
    pub traces: u64,
    /// Spans of them.
    pub spans: u64,
    /// From the first moment to the last.
    pub window: Window,
    /// Traces of the window that were left out since there were too many spans.
    pub omitted_traces: u64,
    /// Traces of which a part is missing.
    pub broken_traces: u64,
    /// Why not all was looked at. None if all was.
    pub incomplete: Option<String>,
}

impl Sample {
    /// All of a corpus.
    pub fn of(corpus: &Corpus) -> Self {
        let (first_ns, last_ns) = corpus.extent_ns().unwrap_or_default();
        Self {
            traces: corpus.len() as u64,
            spans: corpus.spans() as u64,
            window: Window { start_unix_us: first_ns / 1000, end_unix_us: last_ns / 1000 },
            omitted_traces: corpus.omitted_traces,
            broken_traces: corpus.traces().filter(|trace| !trace.is_whole()).count() as u64,
            incomplete: corpus.incomplete.clone(),
        }
    }
}

/// Where a number lies with a certain confidence, which the field says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a service does: its spans of one name and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct OperationName {
    /// Service.
    pub service: String,
    /// Name of the spans.
    pub name: String,
    /// Kind of the spans.
    pub kind: SpanKind,
}

impl OperationName {
    /// The operation of a code.
    pub fn of(corpus: &Corpus, code: u32) -> Self {
        let operation = corpus.dictionary.operation(code);
        Self {
            service: corpus.dictionary.name(operation.service).to_owned(),
            name: operation.name.to_string(),
            kind: operation.kind.into(),
        }
    }
}

/// Who calls whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct EdgeName {
    /// The caller's service.
    pub from: String,
    /// Whom it calls: a service, or the host and port of another one.
    pub to: String,
    /// What that is.
    pub to_kind: NodeKind,
}

impl EdgeName {
    /// The edge between two parties.
    pub fn of(corpus: &Corpus, from: PartyId, to: PartyId) -> Self {
        let party = corpus.dictionary.party(to);
        Self {
            from: corpus.dictionary.name(from).to_owned(),
            to: party.name.to_string(),
            to_kind: party.kind,
        }
    }
}

/// Something that is wrong, or changed: from when on, where, and what shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// One sentence in plain English that says it.
    pub sentence: String,
    /// The service that is the cause, or where the cause shows.
    pub service: String,
    /// The operation of it, if it is one.
    pub operation: Option<String>,
    /// The calls that are concerned, if it is about calls.
    pub edge: Option<EdgeName>,
    /// First moment at which it shows.
    pub onset_unix_us: u64,
    /// Last moment at which it shows; none if it lasts to the end of what was looked at.
    pub end_unix_us: Option<u64>,
    /// Requests that are concerned.
    pub affected: u64,
    /// Of so many in the same time.
    pub of: u64,
    /// Services that feel it, those nearest to the cause first.
    pub services: Vec<String>,
    /// What shows it: each a sentence with its numbers.
    pub evidence: Vec<String>,
    /// Traces that show it.
    pub exemplars: Vec<Exemplar>,
    /// What to look at next: each a sentence.
    pub next: Vec<String>,
    /// How unlikely it is that chance alone shows as much: the least of all p-values that speak for it, corrected for how many were
    /// looked at. 1 if no test was made.
    pub p_value: f64,
}

/// What kind of thing was found.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An operation became slower, by its own work.
    #[default]
    Slower,
    /// An operation fails more often, by itself.
    Errors,
    /// A party that is called does not answer any more.
    Unreachable,
    /// A service stood still for a while.
    Stalled,
    /// Callers end their calls at a limit of time.
    Timeouts,
    /// Requests wait for each other in a service: a pool, a lock, a queue.
    Queueing,
    /// Calls are tried again so often that they are a load of their own.
    RetryStorm,
    /// Requests call the same thing over and over.
    RepeatedCalls,
    /// A release made an operation slower or fail more often.
    Regression,
}
