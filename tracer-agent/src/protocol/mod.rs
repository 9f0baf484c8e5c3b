//! Protocols: from the bytes of a connection to exchanges. Each parser lives in a module of its own
//! behind [`Parser`]; HTTP/1 keep-alive is the simplest case of what the interface carries, many
//! streams at once the general one.

#![forbid(unsafe_code)]

pub mod http1;
pub mod recognise;

use crate::{
    exchange::{Exchange, Kind, Opened, Unit},
    ledger::Counter,
};

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

/// The system call that moved a piece of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// When its first byte could move, `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// When its last byte had moved.
    pub end_ns: u64,
    /// Who called.
    pub unit: Unit,
    /// Bytes of the same call that come after this piece: 0 if the piece ends the call.
    pub after: u64,
    /// The piece begins the call.
    pub first: bool,
}

/// How one direction of a connection, or all of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By a reset or a network error.
    Reset,
}

/// How a parser begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first byte it gets is the first byte of the connection, on both sides.
    Birth,
    /// The connection was joined in the middle, or lost bytes: no boundary is known. The parser
    /// reports nothing before it is certain of one.
    Joined,
}

/// What a parser will look at next: the kernel copies no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Heads, wherever they begin.
    Heads,
    /// Nothing any more: not this protocol, or a tunnel.
    Nothing,
    /// Nothing of `side` before `offset` (bytes of that side since the parser began).
    BodyUntil {
        /// Whose body.
        side: Side,
        /// Offset behind its last byte.
        offset: u64,
    },
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
    },
    /// A request and its response.
    Exchange(Exchange),
    /// Something for the ledger.
    Count(Counter, u64),
}

/// A protocol's state on one connection. Bytes of each side come in order, as pieces: those that were
/// copied ([`Parser::data`]), those that moved uncopied ([`Parser::skip`]) and those that the agent
/// missed ([`Parser::gap`]); together they leave nothing out. The two sides may be interleaved in any
/// way, but no piece of the response side comes while [`Parser::is_ready`] denies it, unless waiting
/// for the request has become hopeless.
pub trait Parser {
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
    /// Whether a piece of `side` can be understood now. A response cannot before its request.
    fn is_ready(&self, side: Side) -> bool;
    /// What it will look at next.
    fn want(&self) -> Want;
    /// Whether [`Parser::tick`] has anything to do in the future: false lets the caller skip it.
    fn is_idle(&self) -> bool;
}
