//! OTLP, protobuf and JSON: an `ExportTraceServiceRequest` becomes spans, and spans become one. `TracesData` has the same
//! form.
//!
//! What is taken and what is not:
//! - A span whose trace id or span id is zero, or has another length than the protocol's, is refused and counted. The other
//!   spans of the request are taken. So is a span whose parent's id has another length. A link with such an id is left out
//!   and counted with those that the sender left out.
//! - Bytes that are not UTF-8 in a protobuf `string` or a JSON text become U+FFFD, and so does half of a surrogate pair.
//!   Strict decoders refuse the whole request; here one wrong byte of a path would lose all spans beside it.
//! - Values may lie [`MAX_DEPTH`] deep in each other. A request with a deeper one is refused: nothing that was decoded can
//!   overflow the stack of what walks through it later.
//! - Fields that are not known are skipped. Numbers of kinds and status codes that are not known become "not said".

mod decode;
mod encode;
mod intern;
mod json_decode;
mod json_encode;
mod json_scalars;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::decode_protobuf;
pub use encode::encode_protobuf;
pub(crate) use intern::Interner;
pub use json_decode::decode_json;
pub(crate) use json_decode::{JsonDecoder, ResourceJson, ScopeJson, SpanJson};
pub(crate) use json_encode::RequestJson;
pub use json_encode::encode_json;
pub(crate) use json_scalars::{Number, Text, base64};

use std::sync::Arc;

use crate::span::{Resource, Scope, Span};

/// How deep lists and maps of a value may lie in each other. `serde_json` follows 128 levels of JSON, and each list or map
/// of OTLP takes up to four of them.
pub const MAX_DEPTH: u32 = 24;

/// What was decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Spans, in their order.
    pub spans: Vec<Span>,
    /// Spans that were refused: why, and how many.
    pub refused: Vec<(&'static str, u64)>,
}

impl Decoded {
    /// Counts a span that is refused.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.refuse_many(reason, 1);
    }

    /// Counts spans that are refused.
    pub(crate) fn refuse_many(&mut self, reason: &'static str, spans: u64) {
        match self.refused.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += spans,
            None => self.refused.push((reason, spans)),
        }
    }

    /// Adds what was decoded of another request.
    pub(crate) fn append(&mut self, other: Self) {
        self.spans.extend(other.spans);
        for (reason, spans) in other.refused {
            self.refuse_many(reason, spans);
        }
    }
}

/// Reason to refuse a span.
pub(crate) const WRONG_TRACE_ID: &str = "the trace id is zero or is not 16 bytes";
/// Reason to refuse a span.
pub(crate) const WRONG_SPAN_ID: &str = "the span id is zero or is not 8 bytes";
/// Reason to refuse a span.
pub(crate) const WRONG_PARENT_ID: &str = "the parent's span id is not 8 bytes";

/// Why a request cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The bytes are no protobuf, or end too early.
    #[error("the request is not OTLP in protobuf: {0}")]
    Protobuf(&'static str),
    /// The text is no JSON, or a field has a value of another type than OTLP gives it.
    #[error("the request is not OTLP in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A value lies too deep.
    #[error("lists and maps of an attribute lie more than {MAX_DEPTH} deep in each other")]
    TooDeep,
}

/// Spans of one resource and scope, as OTLP groups them.
pub(crate) struct Group<'a> {
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) scopes: Vec<(&'a Arc<Scope>, Vec<&'a Span>)>,
}
