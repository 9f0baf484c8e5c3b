//! A request and its response: what the protocol parsers make and the span stage turns into spans.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use bytes::Bytes;
use tracer_common::{HeaderOutcome, RECEIVE, SEND};

use crate::{
    context::Incoming,
    lines::{FieldName, Lines},
};

/// Direction of bytes on a connection, as the selected process sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process reads them.
    Receive,
    /// The process writes them.
    Send,
}

impl Direction {
    /// The number that records carry: [`RECEIVE`] or [`SEND`].
    pub const fn code(self) -> u8 {
        match self {
            Self::Receive => RECEIVE,
            Self::Send => SEND,
        }
    }

    /// The number as an index of a pair.
    pub const fn index(self) -> usize {
        self.code() as usize
    }

    /// The direction with this number; every number but [`SEND`] is a receive.
    pub const fn from_code(code: u8) -> Self {
        if code == SEND { Self::Send } else { Self::Receive }
    }

    /// How the other end of the connection sees the same bytes.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Receive => Self::Send,
            Self::Send => Self::Receive,
        }
    }
}

/// The selected process's part in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It received a request and answers it.
    Serve,
    /// It sent a request and waits for the answer.
    Call,
    /// It sent a message that nobody answers, or that is only acknowledged.
    Publish,
    /// It received such a message.
    Consume,
}

impl Kind {
    /// Direction of the message that begins the exchange.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Serve | Self::Consume => Direction::Receive,
            Self::Call | Self::Publish => Direction::Send,
        }
    }

    /// Whether the process sent the message that begins the exchange.
    pub const fn is_outgoing(self) -> bool {
        matches!(self.direction(), Direction::Send)
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connector {
    /// The selected process.
    Local,
    /// The other end.
    Remote,
    /// Nobody saw it.
    Unknown,
}

/// The unit of execution that moved bytes, in the initial pid namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Process (thread group).
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// The runtime's own task (a goroutine, a coroutine); 0 if none is known.
    pub task: u64,
}

impl Unit {
    /// A thread of which no task is known.
    pub const fn thread(pid: u32, tid: u32) -> Self {
        Self { pid, tid, task: 0 }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The response's last byte was seen to move.
    Complete,
    /// No response came within the time limit.
    Timeout,
    /// The connection was reset before the response was complete.
    Reset,
    /// The connection was closed before the first byte of a response.
    NoResponse,
    /// The response ended before the length that it announced.
    Truncated,
    /// Bytes of the response were lost to the agent: when it ended is not known exactly.
    Lost,
    /// No answer belongs to the message: the exchange is complete with its last byte.
    OneWay,
}

/// One request and its response on one connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The process's part in it.
    pub kind: Kind,
    /// Who moved the first byte of the request.
    pub request_unit: Unit,
    /// Who moved the first byte of the response.
    pub response_unit: Option<Unit>,
    /// First byte of the request, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Last byte of the request, body included, as far as seen when the exchange ended.
    pub request_end_ns: u64,
    /// First byte of the final response.
    pub response_start_ns: Option<u64>,
    /// Last byte of the response, body included; when there was none, the moment that ended it.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Offset of the request's first byte in [`Kind::direction`] of the connection, whose first byte has 0.
    pub request_offset: u64,
    /// What was said.
    pub payload: Payload,
}

impl Exchange {
    /// Who did the work that the exchange stands for: who sent the request, or answered it.
    pub fn unit(&self) -> Unit {
        match self.kind {
            Kind::Serve => self.response_unit.unwrap_or(self.request_unit),
            Kind::Call | Kind::Publish | Kind::Consume => self.request_unit,
        }
    }

    /// Whether spans were exported by OTLP, and accepted.
    pub fn exports_spans(&self) -> bool {
        let Payload::Http(http) = &self.payload;
        http.status.is_some_and(|status| (200..300).contains(&status))
            && http.exported() == Some("/v1/traces")
    }
}

/// A request of which the head has come.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The process's part in the exchange.
    pub kind: Kind,
    /// Who moved its first byte.
    pub unit: Unit,
    /// When, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// As [`Exchange::request_offset`].
    pub offset: u64,
    /// Hash of what it asks for: method and target, as they were sent. Never 0, which is not known.
    pub target: u64,
    /// The W3C trace context that it carries.
    pub incoming: Option<Box<Incoming>>,
    /// Its head, if it may link the request in some other way (see `Noted::may_link`).
    pub head: Option<Bytes>,
    /// Which attempt it says that it is, from 1 (see `attempt`).
    pub attempt: Option<u32>,
    /// For a call: what became of its trace header, if calls get headers.
    pub header: Option<Box<Header>>,
    /// Bytes that were pushed into the stream before it: the other end sees it so much later.
    pub inserted: u32,
}

/// What became of the trace header of a call.
#[derive(Clone, Debug)]
pub struct Header {
    /// Whether it got one, or why not.
    pub outcome: HeaderOutcome,
    /// What it carries.
    pub sent: Option<SentHeader>,
}

/// A trace header that left with a call. Its span is that of the call.
#[derive(Clone, Debug)]
pub struct SentHeader {
    /// Trace.
    pub trace_id: [u8; 16],
    /// W3C trace flags.
    pub flags: u8,
    /// How the parent is known: `EVIDENCE_*` of the kernel programs.
    pub evidence: u8,
    /// The request that the call was made for: number of its connection, and its position there.
    pub parent: Option<(u64, u32)>,
}

/// The protocol's own part of an exchange.
#[derive(Clone, Debug)]
pub enum Payload {
    /// HTTP/1.0 or HTTP/1.1.
    Http(Box<HttpExchange>),
}

/// An HTTP exchange. Heads are kept as they were on the wire, start line included, up to the empty
/// line; they parsed once and parse again with `httparse`.
#[derive(Clone, Debug)]
pub struct HttpExchange {
    /// Head of the request.
    pub request_head: Bytes,
    /// Where in `request_head` the method stands.
    pub method: std::ops::Range<usize>,
    /// Where in `request_head` the request target stands.
    pub target: std::ops::Range<usize>,
    /// What was noted of the request's header fields.
    pub noted: Noted,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1, of the request.
    pub minor_version: u8,
    /// Head of the final response.
    pub response_head: Option<Bytes>,
    /// Status code of the final response; 101 for an upgrade.
    pub status: Option<u16>,
    /// Size of the request's body without chunk framing, bytes; none if it is not known.
    pub request_body_bytes: Option<u64>,
    /// Size of the response's body without chunk framing, bytes; none if it is not known.
    pub response_body_bytes: Option<u64>,
}

impl HttpExchange {
    /// The method as it was sent.
    pub fn method(&self) -> &[u8] {
        self.request_head.get(self.method.clone()).unwrap_or_default()
    }

    /// The request target as it was sent.
    pub fn target(&self) -> &[u8] {
        self.request_head.get(self.target.clone()).unwrap_or_default()
    }

    /// Values of the request's header fields called `name` (compared without case), in order,
    /// whitespace around them removed.
    pub fn request_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(&self.request_head, name)
    }

    /// Whether the request exports telemetry by OTLP over HTTP, and of which kind: the end of its path.
    pub fn exported(&self) -> Option<&'static str> {
        const KINDS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1/logs"];
        if self.method() != b"POST" {
            return None;
        }
        let path = self.target().split(|byte| *byte == b'?').next().unwrap_or_default();
        let kind = KINDS.into_iter().find(|kind| path.ends_with(kind.as_bytes()))?;
        let is_otlp = |value: &[u8]| {
            value.starts_with(b"application/x-protobuf") || value.starts_with(b"application/json")
        };
        self.request_header("content-type").any(is_otlp).then_some(kind)
    }

    /// The first `Host`.
    pub fn host(&self) -> Option<&[u8]> {
        self.noted.host.of(&self.request_head)
    }

    /// The first `User-Agent`.
    pub fn user_agent(&self) -> Option<&[u8]> {
        self.noted.user_agent.of(&self.request_head)
    }

    /// Values of the response's header fields called `name`; see [`Self::request_header`].
    pub fn response_header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header_values(self.response_head.as_deref().unwrap_or_default(), name)
    }
}

/// Walks a head that a parser has accepted: lines end in LF with or without CR, a line that begins
/// with a space or tab continues the one before (RFC 9112 section 5.2) and is not joined here.
pub(crate) fn header_values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    Lines::new(head).skip(1).filter_map(move |line| value_of(line, name))
}

/// Which attempt a request says that it is, from 1: `x-envoy-attempt-count: 2` (Envoy's router filter) or
/// `amz-sdk-request: attempt=2; max=3` (AWS SDKs). None if they contradict each other.
pub(crate) fn attempt(head: &[u8]) -> Option<u32> {
    let number = |text: &[u8]| -> Option<u32> {
        let is_number = text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok().filter(|number| *number > 0)
    };
    let of_sdk = |value: &'_ [u8]| {
        let mut parts = value.split(|byte| *byte == b';');
        parts.find_map(|part| number(part.trim_ascii().strip_prefix(b"attempt=")?))
    };
    let of_envoy = header_values(head, "x-envoy-attempt-count").map(number);
    let mut all = of_envoy.chain(header_values(head, "amz-sdk-request").map(of_sdk));
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// The value of a field's line, if the field is called so.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    field.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
}

/// What nearly every span tells of its request's header fields, noted when the head is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    host: Place,
    user_agent: Place,
    has_trace_context: bool,
    may_link: bool,
    has_attempt: bool,
}

/// Where a value stands in a head; of no length if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    fn of(self, head: &[u8]) -> Option<&[u8]> {
        (self.start != 0).then(|| head.get(self.start as usize..self.end as usize))?
    }
}

impl Noted {
    /// Reads all of a head.
    #[cfg(test)]
    pub(crate) fn of(head: &[u8]) -> Self {
        let mut this = Self::default();
        let mut lines = Lines::new(head);
        while let (at, Some(line)) = (lines.at(), lines.next()) {
            this.line(line, at);
        }
        this
    }

    /// Whether there is a `traceparent`.
    pub(crate) fn has_trace_context(&self) -> bool {
        self.has_trace_context
    }

    /// Whether there is a header that [`attempt`] reads.
    pub(crate) fn has_attempt(&self) -> bool {
        self.has_attempt
    }

    /// Whether there is a header that [`crate::context::Carried`] reads.
    pub(crate) fn may_link(&self) -> bool {
        self.may_link
    }

    /// Reads a line that begins `at` bytes into the head.
    #[inline]
    pub(crate) fn line(&mut self, line: &[u8], at: usize) {
        match line.first() {
            Some(b'h' | b'H') => Self::note(&mut self.host, HOST.value_of(line), line, at),
            Some(b'u' | b'U') => {
                Self::note(&mut self.user_agent, USER_AGENT.value_of(line), line, at);
                self.may_link |= UBER_TRACE_ID.value_of(line).is_some();
            }
            Some(b'x' | b'X') => {
                self.may_link |= may_link(line);
                self.has_attempt |= X_ENVOY_ATTEMPT_COUNT.value_of(line).is_some();
            }
            Some(b'a' | b'A') => self.has_attempt |= AMZ_SDK_REQUEST.value_of(line).is_some(),
            Some(b'b' | b'B') => self.may_link |= B3.value_of(line).is_some(),
            Some(b't' | b'T') => self.has_trace_context |= TRACEPARENT.value_of(line).is_some(),
            _ => {}
        }
    }

    /// The first counts.
    #[inline(always)]
    fn note(place: &mut Place, value: Option<&[u8]>, line: &[u8], at: usize) {
        if place.start == 0
            && let Some(value) = value
        {
            let end = at + line.len();
            let start = end - value.trim_ascii_start().len();
            // Heads are shorter than 4 GiB.
            *place =
                Place { start: start as u32, end: (end - value.len() + value.trim_ascii_end().len()) as u32 };
        }
    }
}

/// Whether a field beginning with X is one of those that link requests.
fn may_link(line: &[u8]) -> bool {
    // A bit tells the cases of letters apart, and is set in a dash.
    match line.first_chunk::<4>().map(|begin| begin.map(|byte| byte | 0x20)) {
        Some([_, b'-', b'b', b'3']) => true,
        Some([_, b'-', b'd', b'a']) => X_DATADOG_TRACE_ID.value_of(line).is_some(),
        Some([_, b'-', b'a', b'm']) => X_AMZN_TRACE_ID.value_of(line).is_some(),
        Some([_, b'-', b'r', b'e']) => X_REQUEST_ID.value_of(line).is_some(),
        _ => false,
    }
}

const HOST: FieldName<4> = FieldName::new(b"host");
const USER_AGENT: FieldName<10> = FieldName::new(b"user-agent");
const TRACEPARENT: FieldName<11> = FieldName::new(b"traceparent");
const AMZ_SDK_REQUEST: FieldName<15> = FieldName::new(b"amz-sdk-request");
const X_ENVOY_ATTEMPT_COUNT: FieldName<21> = FieldName::new(b"x-envoy-attempt-count");
const B3: FieldName<2> = FieldName::new(b"b3");
const UBER_TRACE_ID: FieldName<13> = FieldName::new(b"uber-trace-id");
const X_DATADOG_TRACE_ID: FieldName<18> = FieldName::new(b"x-datadog-trace-id");
const X_AMZN_TRACE_ID: FieldName<15> = FieldName::new(b"x-amzn-trace-id");
const X_REQUEST_ID: FieldName<12> = FieldName::new(b"x-request-id");

/// What is known of a connection when one of its exchanges ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Number of the connection, unique while the agent runs.
    pub number: u64,
    /// Who opened it.
    pub connector: Connector,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// Network namespace, as an inode number.
    pub netns: u32,
    /// When this end called `connect`, `CLOCK_MONOTONIC`; none if it did not, or nobody saw it.
    pub connect_ns: Option<u64>,
    /// TCP sequence number of the first byte that this end ever sent.
    pub first_sent: u32,
    /// TCP sequence number of the first byte that this end ever received.
    pub first_received: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_read_from_either_header() {
        for (fields, expected) in [
            ("X-Envoy-Attempt-Count: 2", Some(2)),
            ("Amz-Sdk-Request: attempt=3; max=5", Some(3)),
            ("amz-sdk-request: ttl=20200101T000000Z;attempt=1;max=3", Some(1)),
            ("x-envoy-attempt-count: 2\r\namz-sdk-request: attempt=2", Some(2)),
            ("x-envoy-attempt-count: 2\r\namz-sdk-request: attempt=3", None),
            ("x-envoy-attempt-count: 2\r\nx-envoy-attempt-count: 3", None),
            ("x-envoy-attempt-count: 0", None),
            ("x-envoy-attempt-count: +1", None),
            ("x-envoy-attempt-count: 99999999999", None),
            ("x-envoy-attempt-count:", None),
            ("amz-sdk-request: max=3", None),
        ] {
            let head = format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(attempt(head.as_bytes()), expected, "{fields}");
            assert!(Noted::of(head.as_bytes()).has_attempt());
        }
        assert!(!Noted::of(b"GET / HTTP/1.1\r\naccept: */*\r\nx-envoy-retry-on: 5xx\r\n\r\n").has_attempt());
    }
}
