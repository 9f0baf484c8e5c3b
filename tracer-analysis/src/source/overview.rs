//! What a source counts itself, before any trace is fetched.

use tracer_model::span::Kind;

/// Counts of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Operations, those with the most spans first.
    pub operations: Vec<OperationCount>,
    /// Services over time, by time.
    pub minutes: Vec<MinuteCount>,
    /// Whether there are more than are told.
    pub is_cut: bool,
}

/// Spans of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationCount {
    /// Service.
    pub service: String,
    /// Operation.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Whom it asks, as its attributes name them; empty if they name nobody.
    pub peer: String,
    /// Spans.
    pub spans: u64,
    /// Those with an error.
    pub errors: u64,
    /// Median of their durations.
    pub p50_ns: u64,
    /// 95th percentile.
    pub p95_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
}

/// Spans of a service that begin in one minute, besides those within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteCount {
    /// Start of the minute, microseconds since 1970.
    pub start_unix_us: u64,
    /// Service.
    pub service: String,
    /// Spans.
    pub spans: u64,
    /// Those with an error.
    pub errors: u64,
    /// 95th percentile of their durations.
    pub p95_ns: u64,
}
