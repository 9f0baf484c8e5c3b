//! What the store may take.

use crate::segment::MAX_ROWS;

/// Bounds of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory that spans and their indexes may take.
    pub max_bytes: usize,
    /// Spans of one trace; more are refused.
    pub max_spans_per_trace: u32,
    /// Bytes of one span; a larger one is refused. OTLP receivers take requests of 4 MiB by default.
    pub max_span_bytes: usize,
    /// Spans of a segment, at most 32,768: spans are let go a segment at a time.
    pub max_spans_per_segment: usize,
    /// Slowest spans of each operation whose traces are kept longer than others.
    pub slowest_per_operation: usize,
    /// Operations whose spans are compared with each other. Spans of more are stored, and not compared.
    pub max_operations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            max_spans_per_trace: 100_000,
            max_span_bytes: 4 * 1024 * 1024,
            max_spans_per_segment: MAX_ROWS,
            slowest_per_operation: 10,
            max_operations: 10_000,
        }
    }
}
