//! Spans by the OpenTelemetry data model, as they leave the agent.

#![forbid(unsafe_code)]

mod attributes;
pub mod build;
mod config;
mod http;
mod model;
mod outcome;
pub(crate) mod semconv;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use self::{
    attributes::{Attributes, ValueRef},
    model::{Attachments, Resource, Span, SpanEvent, SpanKind, SpanLink, Status},
    semconv::SCHEMA_URL,
    text::Text,
    value::{KeyValue, Value},
};

/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "tracer";
