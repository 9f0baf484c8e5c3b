//! What a protocol offers: how it is recognised, its parser and its mask; and what these are told.

#![forbid(unsafe_code)]

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    exchange::{Exchange, Kind, Opened, Unit},
    ledger::Counter,
    redact::Redactor,
    trace_context::HeaderFormats,
};

/// A protocol: how its first bytes are recognised, and what reads it.
#[derive(Debug)]
pub struct Protocol {
    /// Its name, for people.
    pub name: &'static str,
    /// Looks at the first bytes of one direction.
    pub sniff: fn(&[u8]) -> Sniffed,
    /// Whether the server may speak first: then its first bytes are no answer to a request that went by unseen.
    pub server_may_begin: bool,
    /// Makes its parser; none for a protocol that is recognised and not read.
    pub open: Option<OpenParser>,
    /// What hides its secrets in a recording; of a protocol without it only lengths are recorded.
    pub mask: Option<Masking>,
    /// What counts a connection of this protocol that is not read.
    pub opaque_counter: Counter,
}

/// Makes a parser, for the role of the selected process.
pub type OpenParser = fn(Role, Start, &Limits) -> Box<dyn Parser>;

/// Bounds of a connection's parser that the operator sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for its response, nanoseconds.
    pub exchange_timeout_ns: u64,
    /// Formats of trace contexts that are read besides `traceparent`.
    pub formats: HeaderFormats,
}

/// The parser of a connection that speaks this protocol from here on; `role` is that of the selected process. None if
/// the protocol is not read.
pub fn open(protocol: &Protocol, role: Role, start: Start, limits: &Limits) -> Option<Box<dyn Parser>> {
    protocol.open.map(|open| open(role, start, limits))
}

/// What the first bytes of one direction say about one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// They are not of this protocol.
    No,
    /// They are too few to tell.
    More,
    /// They are of this protocol.
    Yes {
        /// Which side of the protocol sends them. Of a protocol in which the server speaks first, the first bytes
        /// are the response side's.
        sender: Side,
    },
}

/// What a connection speaks after its protocol has changed.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Something that its first bytes tell.
    Sniff,
    /// This protocol.
    Protocol(&'static Protocol),
    /// Something that is not read: a tunnel.
    Opaque,
}

/// What comes out of a parser.
#[derive(Clone, Debug)]
pub enum Yield {
    /// A request of which the head has come; its exchange has the same offset.
    Opened(Opened),
    /// The final response to a request has begun.
    Answered {
        /// The process's part in the exchange.
        kind: Kind,
        /// Where the request begins.
        offset: u64,
        /// Process that moved its first byte.
        pid: u32,
        /// Who moved the first byte of the response.
        by: Unit,
    },
    /// A request and its response.
    Exchange(Exchange),
    /// The connection speaks something else from these offsets on (bytes of each side since the parser began): an
    /// upgrade, CONNECT, STARTTLS. The parser takes no more, and this is the last that its call yields.
    Changed {
        /// What it speaks.
        next: Next,
        /// Offset of the first such byte that the client sends.
        request_offset: u64,
        /// Offset of the first such byte that the server sends.
        response_offset: u64,
    },
    /// Something for the ledger.
    Count(Counter, u64),
}

/// A protocol's state on one connection. Bytes of each side come in order, as segments: those that were
/// copied ([`Parser::data`]), those that moved uncopied ([`Parser::skip`]) and those that the agent
/// missed ([`Parser::gap`]); together they leave nothing out. The two sides may be interleaved in any
/// way, but no segment of the response side comes while [`Parser::is_ready`] denies it, unless waiting
/// for the request has become hopeless.
pub trait Parser: Send {
    /// `bytes` moved on `side`.
    fn data(&mut self, side: Side, bytes: &[u8], call: &Call, out: &mut Vec<Yield>);
    /// `length` bytes moved on `side`, not copied.
    fn skip(&mut self, side: Side, length: u64, call: &Call, out: &mut Vec<Yield>);
    /// `length` bytes of `side` went by unseen; `now_ns` is when that became known.
    fn gap(&mut self, side: Side, length: u64, now_ns: u64, out: &mut Vec<Yield>);
    /// `side` carries no more bytes.
    fn end(&mut self, side: Side, end: End, now_ns: u64, out: &mut Vec<Yield>);
    /// The connection is gone. Every open exchange is yielded.
    fn close(&mut self, end: End, now_ns: u64, out: &mut Vec<Yield>);
    /// Time passes: open exchanges time out, tentative ends become final.
    fn tick(&mut self, now_ns: u64, out: &mut Vec<Yield>);
    /// Whether a segment of `side` can be understood now. A response cannot before its request.
    fn is_ready(&self, side: Side) -> bool;
    /// What it will look at next of a side.
    fn want(&self, side: Side) -> Want;
    /// Whether [`Parser::tick`] has anything to do in the future: false lets the caller skip it.
    fn is_idle(&self) -> bool;
    /// Exchanges that were opened and have not been yielded.
    fn open_exchanges(&self) -> u64;
    /// Bytes of memory that hold messages: those that are not complete, and requests that wait for their responses.
    fn retained_bytes(&self) -> usize;
    /// Memory is short: the parser gives up the messages that it retains. Each that it loses is counted.
    fn release(&mut self, now_ns: u64, out: &mut Vec<Yield>);
    /// The next byte of `side` is the first that it has ever moved. It is told of connections that were joined in the
    /// middle.
    fn first_byte(&mut self, _side: Side) {}
    /// Of a server: a response comes next, and the head of its request went by uncopied. After a receive it begins with
    /// these bytes; there are none after a send.
    fn lacks_request(&self, _next: &[u8]) -> bool {
        false
    }
    /// Of a client: the request whose response begins at this offset of the response side, as far as is known.
    fn request_of(&self, _response: u64) -> Option<SentRequest> {
        None
    }
    /// The request that [`Parser::lacks_request`] tells of, as the other end of the connection sent it; `call` is the
    /// last one that moved bytes of the request side. Returns whether it can be that request; if not, nothing changes.
    fn supply_request(&mut self, _request: &SentRequest, _call: &Call, _out: &mut Vec<Yield>) -> bool {
        false
    }
    /// Whether every request that went by unreported, before a boundary was certain, has its whole response.
    fn is_answered(&self) -> bool {
        false
    }
}

/// A request whose head is known from the end of the connection that sent it.
#[derive(Clone, Debug)]
pub struct SentRequest {
    /// Offset of its first byte: bytes of the request side since the parser began.
    pub offset: u64,
    /// Bytes of its head on the wire: more than those of `head`, if some were inserted.
    pub length: u64,
    /// Its head, as it was sent.
    pub head: Bytes,
}

/// Hides secrets at equal length in the bytes of one connection, in the order in which they are recorded. Bytes of
/// which it is not certain what they are become zero, so that only their number stays. A direction is that of the
/// record: [`tracer_common::RECEIVE`] or [`tracer_common::SEND`].
///
/// What is left gives the same spans as the bytes did: framing stays readable, and a masked value is redacted as the
/// value itself would be.
pub trait Mask: Send {
    /// These bytes come next in a direction.
    fn data(&mut self, direction: usize, bytes: &mut [u8], call: &Call);
    /// So many bytes come next that were not copied.
    fn skip(&mut self, direction: usize, length: u64, call: &Call);
    /// So many bytes are missing, or come later.
    fn gap(&mut self, direction: usize, length: u64);
}

/// What the configuration says of what is recorded.
#[derive(Clone, Debug)]
pub struct MaskRules {
    /// Finds the secrets in URLs.
    pub redactor: Redactor,
    /// Header fields, in lower case, whose values are recorded besides those that a protocol reads.
    pub fields: Vec<String>,
}

/// How a protocol offers its mask.
#[derive(Clone, Copy, Debug)]
pub struct Masking {
    /// Whether bytes are the first of a message; `is_birth` says that nothing has gone by before them.
    pub begins_with: fn(bytes: &[u8], is_birth: bool) -> bool,
    /// The mask of a connection; `is_birth` tells for each direction whether nothing of it has gone by.
    pub open: fn(is_birth: [bool; 2], rules: Arc<MaskRules>) -> Box<dyn Mask>,
}

/// Which end of a connection a process is, for a protocol with requests and responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends requests.
    Client,
    /// It answers them.
    Server,
}

impl Role {
    /// The process's part in an exchange that a request begins.
    pub const fn of_request(self) -> Kind {
        match self {
            Self::Client => Kind::Call,
            Self::Server => Kind::Serve,
        }
    }
}

/// The direction in which bytes flow, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// The system call that moved a segment of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// When its first byte could move, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// When its last byte had moved.
    pub end_ns: u64,
    /// Who called.
    pub unit: Unit,
    /// Bytes of the same call that come after this segment: 0 if the segment ends the call.
    pub after: u64,
    /// The segment begins the call.
    pub first: bool,
}

/// How one direction of a connection, or all of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset or a network error.
    Reset,
    /// The process closed it, and did not read all that had come.
    Left,
    /// The process closed it before its peer did. It had read all that had come until then.
    Early,
    /// Unseen: the connection is gone, and what it carried last is not known.
    Unseen,
}

/// How a parser begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first byte it gets is the first byte of the connection, on both sides.
    Birth,
    /// The connection is seen from mid-stream on, or lost bytes: no boundary is known. The parser
    /// reports nothing before it is certain of one.
    MidStream,
}

/// What a parser will look at next on one side: the kernel copies no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Every byte.
    Everything,
    /// Heads of messages, wherever they begin.
    Heads,
    /// Headers of frames, and blocks of header fields, wherever they stand (HTTP/2).
    Frames,
    /// Nothing before this offset: bytes of the side since the parser began.
    BodyUntil(u64),
    /// Nothing any more: not this protocol, or a tunnel.
    Nothing,
}
