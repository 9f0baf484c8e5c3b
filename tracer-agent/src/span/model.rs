//! A span and its parts.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{
    attributes::{Attributes, ValueRef},
    semconv,
    text::Text,
    value::KeyValue,
};
use crate::{correlate::Evidence, endpoint::Endpoint};

/// A service instance: what all its spans share.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// `service.name`, which is among the attributes too.
    pub service_name: String,
    /// Process that stands for the instance.
    pub pid: u32,
    /// Resource attributes, `service.name` first.
    pub attributes: Vec<KeyValue>,
}

/// What kind of work a span stands for; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside of a service: of spans that others recorded.
    Internal = 1,
    /// Handling a request.
    Server = 2,
    /// Making one.
    Client = 3,
    /// Sending a message that is not answered.
    Producer = 4,
    /// Receiving one.
    Consumer = 5,
}

impl SpanKind {
    /// Whether the work began with something that came to the service.
    pub const fn is_incoming(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }
}

/// How the work ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing to say.
    #[default]
    Unset,
    /// An error, with an explanation that may be empty.
    Error(String),
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// When, nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// Low-cardinality name.
    pub name: Text,
    /// Attributes.
    pub attributes: Vec<KeyValue>,
}

/// A span that this one belongs to without being its child.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanLink {
    /// Trace, never zero.
    pub trace_id: [u8; 16],
    /// Span, never zero.
    pub span_id: [u8; 8],
    /// W3C `tracestate`, as it came.
    pub trace_state: String,
    /// As [`Span::flags`], of the linked span.
    pub flags: u32,
}

/// Events and links of a span.
#[derive(Clone, Debug, Default)]
pub struct Attachments {
    /// What happened at moments of the span.
    pub events: Vec<SpanEvent>,
    /// Spans that it belongs to besides its parent.
    pub links: Vec<SpanLink>,
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Whose it is.
    pub resource: Arc<Resource>,
    /// Trace, never zero.
    pub trace_id: [u8; 16],
    /// Span, never zero.
    pub span_id: [u8; 8],
    /// Parent; none for a root.
    pub parent_span_id: Option<[u8; 8]>,
    /// OTLP flags: the low byte is the W3C trace flags, bit 8 says that bit 9 is known, bit 9 that
    /// the parent is remote.
    pub flags: u32,
    /// W3C `tracestate`, as it came.
    pub trace_state: String,
    /// Low-cardinality name.
    pub name: Text,
    /// Kind.
    pub kind: SpanKind,
    /// This end of the connection.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
    /// Start, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// End, nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// Attributes.
    pub attributes: Attributes,
    /// Its events and links; most spans have none.
    pub attachments: Option<Box<Attachments>>,
    /// Status.
    pub status: Status,
}

impl Span {
    /// How the parent is known; none for a root.
    pub fn evidence(&self) -> Option<Evidence> {
        self.text(semconv::TRACER_LINK_EVIDENCE).and_then(Evidence::from_name)
    }

    /// What happened at moments of it.
    pub fn events(&self) -> &[SpanEvent] {
        self.attachments.as_deref().map_or(&[], |all| &all.events)
    }

    /// Spans that it belongs to besides its parent.
    pub fn links(&self) -> &[SpanLink] {
        self.attachments.as_deref().map_or(&[], |all| &all.links)
    }

    /// Whether its end was seen. If not, its duration is only a lower bound.
    pub fn has_known_end(&self) -> bool {
        self.attributes.get(semconv::TRACER_HTTP_END_UNKNOWN).is_none()
    }

    /// From start to end; 0 for a span that ends before it starts.
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// The attribute of this name, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(ValueRef::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// The attribute of this name, if it is an integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(ValueRef::Int(number)) => Some(number),
            _ => None,
        }
    }
}
