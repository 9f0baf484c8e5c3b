//! Where spans go.
//!
//! A sink is handed every span on the pipeline's thread and must not wait there: what may wait stands
//! behind a bounded [`queue`] on a thread of its own, and spans that do not fit are dropped and counted.
//! A new sink is one file with its configuration beside it, one field of [`SinkSettings`] and one line of
//! [`SINKS`].

#![forbid(unsafe_code)]

mod encode;
pub mod otlp;
mod outgoing;
pub mod outlet;
pub mod queue;
mod span_sink;
pub mod store;
mod table;
pub mod terminal;
#[cfg(test)]
mod tests;

pub use self::{
    outgoing::Outgoing,
    span_sink::{Account, ExportStatistics, SinkEnd, SpanSink},
    table::{SINKS, SinkSettings, Sinks, StartSink},
};
