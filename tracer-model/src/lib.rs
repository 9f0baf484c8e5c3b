//! Spans as the store keeps them, the formats in which they come and go, and what is told of them.
//!
//! - [`span`]: a span in OpenTelemetry's data model.
//! - [`otlp`]: OTLP, protobuf and JSON, to spans and back.
//! - [`jaeger`]: Jaeger's query JSON of spans, and back.
//! - [`mod@file`]: saved traces.
//! - [`layout`]: one trace laid out to be drawn: its tree, its critical path, what was waited for.
//! - [`facts`]: spans of whole traces, as analyses need them.
//! - [`critical`]: the work that a request waited for.
//! - [`answer`]: what the viewer's API answers.

#![forbid(unsafe_code)]

pub mod answer;
pub mod clock;
pub mod critical;
mod distinct;
pub mod facts;
pub mod file;
pub mod jaeger;
pub mod layout;
pub mod otlp;
pub mod peer;
#[cfg(test)]
mod samples;
pub mod span;
mod value;
