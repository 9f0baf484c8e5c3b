//! A span on its way to the sinks.

use std::{cell::OnceCell, sync::Arc};

use super::encode::{json, protobuf};
use crate::span::Span;

/// A span that every sink sees. In each form it is encoded once at most, for all sinks.
pub struct Outgoing<'a> {
    span: &'a Span,
    protobuf: OnceCell<Arc<[u8]>>,
    json: OnceCell<Arc<[u8]>>,
}

impl<'a> Outgoing<'a> {
    /// A span that nobody has encoded.
    pub fn new(span: &'a Span) -> Self {
        Self { span, protobuf: OnceCell::new(), json: OnceCell::new() }
    }

    /// The span itself.
    pub fn span(&self) -> &'a Span {
        self.span
    }

    /// OTLP's `Span` message.
    pub fn otlp_protobuf(&self) -> &Arc<[u8]> {
        self.protobuf.get_or_init(|| protobuf::span(self.span))
    }

    /// OTLP's span as JSON.
    pub fn otlp_json(&self) -> &Arc<[u8]> {
        self.json.get_or_init(|| json::span(self.span))
    }
}
