//! A span as the store takes it and gives it back: OpenTelemetry's data model.

use std::{fmt, sync::Arc};

/// A value of an attribute. OTLP's `AnyValue`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Str(Arc<str>),
    /// Truth.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number.
    Double(f64),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Values in order.
    Array(Vec<Value>),
    /// Values by name, in the order in which they came.
    Map(Vec<(Arc<str>, Value)>),
    /// A value that says nothing.
    Empty,
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }
}

/// Name and value.
pub type Attribute = (Arc<str>, Value);

/// The first value of a name.
pub fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Value> {
    attributes.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
}

/// The first text that is not empty of one of the names, earlier names first.
pub fn text<'of>(attributes: &'of [Attribute], names: &[&str]) -> Option<&'of str> {
    names.iter().find_map(|name| {
        attributes.iter().find_map(|(key, value)| match value {
            Value::Str(text) if **key == **name && !text.is_empty() => Some(&**text),
            _ => None,
        })
    })
}

/// Identifier of a trace, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// Identifier of a span, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The id in lower-case hexadecimal.
    pub fn hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// An id from up to 32 hexadecimal digits; leading zeros may be left out, as Jaeger does. None for zero.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then(|| Self(id.to_be_bytes()))
    }
}

impl SpanId {
    /// The id in lower-case hexadecimal.
    pub fn hex(self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.0))
    }

    /// An id from up to 16 hexadecimal digits. None for zero.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then(|| Self(id.to_be_bytes()))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

/// What kind of work a span stands for; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Work inside of a service.
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

impl Kind {
    /// The kind of OTLP's number; [`Kind::Unspecified`] for a number that OTLP does not have.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

/// How the work ended; the numbers are OTLP's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// Nothing to say.
    #[default]
    Unset = 0,
    /// Said to be fine.
    Ok = 1,
    /// An error.
    Error = 2,
}

impl StatusCode {
    /// The status of OTLP's number; [`StatusCode::Unset`] for a number that OTLP does not have.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

/// Who made spans: a service instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Attributes, `service.name` among them.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// Schema of the attributes' names; empty if not said.
    pub schema_url: Arc<str>,
}

impl Resource {
    /// What a service is called that does not say its name (OpenTelemetry's resource conventions, `service.name`).
    pub const UNKNOWN_SERVICE: &str = "unknown_service";

    /// `service.name`, or [`Self::UNKNOWN_SERVICE`] if it is missing, empty or no text.
    pub fn service_name(&self) -> &str {
        attribute(&self.attributes, "service.name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .unwrap_or(Self::UNKNOWN_SERVICE)
    }
}

/// The library or agent that recorded a span. OTLP's instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Name; empty if not said.
    pub name: Arc<str>,
    /// Version; empty if not said.
    pub version: Arc<str>,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// Schema of the spans' attributes; empty if not said.
    pub schema_url: Arc<str>,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// Name.
    pub name: Arc<str>,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
}

/// A span that this one belongs to without being its child.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
    /// W3C `tracestate`.
    pub trace_state: Arc<str>,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// OTLP flags.
    pub flags: u32,
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// It.
    pub span_id: SpanId,
    /// Its parent; none for a root.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`; empty if there is none.
    pub trace_state: Arc<str>,
    /// OTLP flags.
    pub flags: u32,
    /// Name: the operation.
    pub name: Arc<str>,
    /// Kind.
    pub kind: Kind,
    /// Start, nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// End, nanoseconds since 1970. May lie before the start, if the sender says so.
    pub end_unix_ns: u64,
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// What happened at moments of it.
    pub events: Vec<Event>,
    /// Events that the sender left out.
    pub dropped_events: u32,
    /// Spans that it belongs to besides its parent.
    pub links: Vec<Link>,
    /// Links that the sender left out.
    pub dropped_links: u32,
    /// How it ended.
    pub status: StatusCode,
    /// What is said of its end; empty as a rule.
    pub status_message: Arc<str>,
    /// Who made it.
    pub resource: Arc<Resource>,
    /// What recorded it.
    pub scope: Arc<Scope>,
}

impl Span {
    /// What a span is told by within its trace: id, kind, start, name and service. A span that was sent twice has the same both
    /// times. The kind belongs to it since both ends of a call share one id in Zipkin's model; the others, since processes that
    /// were forked may draw the same ids.
    ///
    /// Of the copies of a span, the one that ends last is the span, since it was sent when more was known; of those that
    /// end together, the first.
    pub fn identity(&self) -> (SpanId, Kind, u64, &str, &str) {
        (self.span_id, self.kind, self.start_unix_ns, &self.name, self.service_name())
    }

    /// From start to end, nanoseconds; 0 for a span that ends before it starts.
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// The first value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        attribute(&self.attributes, name)
    }

    /// Name of its service: see [`Resource::service_name`].
    pub fn service_name(&self) -> &str {
        self.resource.service_name()
    }

    /// Whether its status is an error.
    pub fn is_error(&self) -> bool {
        self.status == StatusCode::Error
    }
}
