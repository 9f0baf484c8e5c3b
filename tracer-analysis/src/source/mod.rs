//! Where the traces of an analysis come from.

mod address;
pub mod clickhouse;
#[cfg(test)]
mod fake;
pub mod http;
pub mod jaeger;
pub mod overview;
mod store;

use thiserror::Error;
use tracer_model::{
    answer::Window,
    facts::Gathered,
    span::{Span, TraceId},
};

pub use self::{address::open, overview::Overview};

/// Traces that can be analyzed.
pub trait Source: Send + Sync {
    /// What it is, for people.
    fn name(&self) -> String;

    /// From the first span that it has to the last. None if it has none.
    fn extent(&self) -> Result<Option<Window>, SourceError>;

    /// Whole traces that begin in a window. Of more than `max_spans` spans a part, and [`Gathered`] says how many traces were
    /// left out.
    fn gather(&self, window: Window, max_spans: usize) -> Result<Gathered, SourceError>;

    /// All spans of some traces, with their attributes: in the order of the ids; of a trace that is not there, none.
    fn traces(&self, ids: &[TraceId]) -> Result<Vec<Vec<Span>>, SourceError>;

    /// What it counts itself, before traces are fetched. None if it cannot.
    fn overview(&self, window: Window) -> Result<Option<Overview>, SourceError> {
        let _ = window;
        Ok(None)
    }
}

/// Why traces cannot be had.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Its address cannot be used.
    #[error("{0}")]
    Address(String),
    /// It does not answer, or not as it should.
    #[error("{0}")]
    Answer(String),
}
