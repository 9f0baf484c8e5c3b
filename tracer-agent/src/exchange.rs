//! A request and its response, or a message: what the protocols' parsers make and the span stage turns into spans.
//! Nothing here is about one protocol.

#![forbid(unsafe_code)]

use std::{any::Any, borrow::Cow, fmt::Debug, sync::Arc};

use tracer_common::{GREENLET, InjectionOutcome, RECEIVE, SEND};

use crate::{
    endpoint::{Endpoint, PeerIdentity},
    short_bytes::ShortBytes,
    trace_context::{Carried, Incoming},
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

    /// Whether two are one thread, whatever tasks it ran, or one greenlet.
    pub fn is_one_thread(self, other: Self) -> bool {
        (self.pid, self.worker()) == (other.pid, other.worker())
    }

    /// Who works in the process: a greenlet, or else a thread.
    pub fn worker(self) -> u64 {
        if self.task & GREENLET != 0 { self.task } else { u64::from(self.tid) }
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
    /// The process closed the connection before it had read the whole response, which had come at least in part.
    Left,
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
    /// What happened while it was open, and what else it belongs to; most exchanges have none.
    pub attached: Option<Box<Attached>>,
    /// The protocol's own part.
    pub payload: Arc<dyn Payload>,
}

impl Exchange {
    /// Who did the work that the exchange stands for: who sent the request, or answered it.
    pub fn unit(&self) -> Unit {
        match self.kind {
            Kind::Serve => self.response_unit.unwrap_or(self.request_unit),
            Kind::Call | Kind::Publish | Kind::Consume => self.request_unit,
        }
    }

    /// The protocol's own part, if it is of this type.
    pub fn payload<T: Payload>(&self) -> Option<&T> {
        self.payload.as_any().downcast_ref()
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
    /// It exports telemetry: spans of it would be telemetry of telemetry.
    pub is_export: bool,
    /// Its target as it was sent; empty if that is not known.
    pub asked: ShortBytes,
    /// The W3C trace context that it carries.
    pub incoming: Option<Box<Incoming>>,
    /// Trace contexts and ids of other formats that it carries, of those that are configured.
    pub carried: Option<Box<Carried>>,
    /// Which attempt it says that it is, from 1.
    pub attempt: Option<u32>,
    /// For a call: what became of its trace header, if calls get headers.
    pub injection: Option<Box<Injection>>,
    /// Bytes that were pushed into the stream before it: the other end sees it so much later.
    pub inserted: u32,
    /// It left longer than its process sent it: another program inserted bytes.
    pub is_lengthened: bool,
    /// It is told after its exchange has ended: its boundary became certain only then. Its process is at other work now.
    pub is_late: bool,
}

/// What became of the trace header of a call.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Whether it got one, or why not.
    pub outcome: InjectionOutcome,
    /// What it carries.
    pub sent: Option<InjectedHeader>,
}

/// A trace header that left with a call. Its span is that of the call.
#[derive(Clone, Debug)]
pub struct InjectedHeader {
    /// Trace.
    pub trace_id: [u8; 16],
    /// W3C trace flags.
    pub flags: u8,
    /// How the parent is known: `EVIDENCE_*` of the kernel programs.
    pub evidence: u8,
    /// The request that the call was made for: number of its connection, and its position there.
    pub parent: Option<(u64, u32)>,
}

/// What happened while an exchange was open, and what else it belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attached {
    /// Events in the order of their times: the statements of a transaction.
    pub events: Vec<ExchangeEvent>,
    /// Contexts that the exchange belongs to besides its parent: those of a batch's messages.
    pub links: Vec<Incoming>,
}

/// Something that happened at one moment of an exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeEvent {
    /// When, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Name, one of few.
    pub name: Cow<'static, str>,
    /// Attributes: names and values.
    pub attributes: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// Value of an attribute that a payload has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// Text.
    Str(&'a str),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// The protocol's own part of an exchange: what a span tells of it. Spans of HTTP are described by rules of their own
/// (`span/http.rs`); for every other protocol these methods are enough.
pub trait Payload: Any + Debug + Send + Sync {
    /// What was done, in few different words for all exchanges of a service: the span's name.
    fn operation(&self) -> Cow<'_, str>;
    /// Attributes of the span: names of the semantic conventions, or `tracer.*`. Secrets are removed.
    fn attributes(&self, add: &mut dyn FnMut(&'static str, Attribute<'_>));
    /// `error.type`, if the answer says that the operation has failed.
    fn error(&self) -> Option<Cow<'_, str>>;
    /// Bytes of buffers that it keeps.
    fn retained_bytes(&self) -> usize {
        0
    }
    /// Whether it exported spans, and the other end accepted them.
    fn exports_spans(&self) -> bool {
        false
    }
    /// What the spans say that it exported, as far as its bytes were copied; none if that is not known.
    fn exported_spans(&self) -> Option<ExportedSpans> {
        None
    }
    /// Whether another attempt of the same client may follow an exchange that ended so.
    fn may_be_repeated(&self, _: Outcome) -> bool {
        false
    }
    /// What the client request asked for, to find out which later one repeats it; none if that cannot be compared.
    fn repeatable(&self, _: &Exchange, _: &ConnectionFacts) -> Option<Box<dyn Repeatable>> {
        None
    }
    /// Itself, for the rules of its own protocol.
    fn as_any(&self) -> &dyn Any;
}

/// What an export of spans, or its first part, tells of the process that made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportedSpans {
    /// `service.name` of its resources, each once.
    pub service_names: Vec<String>,
    /// Its first spans.
    pub spans: Vec<ExportedSpan>,
}

/// A span that an application made and exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportedSpan {
    /// Its id.
    pub span_id: [u8; 8],
    /// That of its parent; none for a root.
    pub parent_id: Option<[u8; 8]>,
    /// It stands for a server request.
    pub is_server: bool,
}

impl ExportedSpans {
    /// Spans that are kept.
    const MOST_SPANS: usize = 256;
    /// Names that are kept: two already tell that the spans are those of several services.
    const MOST_NAMES: usize = 2;

    /// Adds a span, if there is room.
    pub(crate) fn add(&mut self, span: ExportedSpan) {
        if self.spans.len() < Self::MOST_SPANS {
            self.spans.push(span);
        }
    }

    /// Adds the name of a service, if there is room.
    pub(crate) fn name(&mut self, name: &str) {
        let is_new = !name.is_empty() && self.service_names.iter().all(|known| known != name);
        if is_new && self.service_names.len() < Self::MOST_NAMES {
            self.service_names.push(name.to_owned());
        }
    }
}

/// A client request that may be sent again.
pub trait Repeatable: Any + Debug + Send {
    /// Whether a later client request asks for what another attempt after this one would ask for.
    fn leads_to(&self, later: &dyn Repeatable) -> bool;
    /// From when on another attempt may follow, `CLOCK_MONOTONIC`; none if none may.
    fn followed_from_ns(&self) -> Option<u64>;
    /// Itself, for comparison with another one of its protocol.
    fn as_any(&self) -> &dyn Any;
}

/// What is known of a connection when one of its exchanges ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Number of the connection, unique while the agent runs.
    pub number: u64,
    /// Who opened it.
    pub connector: Connector,
    /// Its own address.
    pub local: Endpoint,
    /// The other end's.
    pub remote: Endpoint,
    /// By what the other end is known, if that is on this host.
    pub identity: PeerIdentity,
    /// Number of the connection at the other end, if that is on this host and was seen.
    pub peer: Option<u64>,
    /// Network namespace, as an inode number.
    pub netns: u32,
    /// When this end called `connect`, `CLOCK_MONOTONIC`; none if it did not, or nobody saw it.
    pub connect_ns: Option<u64>,
    /// Position of the first byte that this end ever sent: for TCP, its sequence number.
    pub first_sent: u32,
    /// Position of the first byte that this end ever received.
    pub first_received: u32,
}
