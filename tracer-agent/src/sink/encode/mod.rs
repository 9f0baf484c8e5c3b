//! OTLP's forms of a span, written straight from spans.

pub(super) mod json;
pub(super) mod protobuf;
