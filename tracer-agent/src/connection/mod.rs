//! Connections: from the kernel's records to the protocols' parsers, and their exchanges back out.
//!
//! A connection (`entry.rs`) has a *transport* with the positions, order, gaps and ends of its two streams; maybe a
//! *layer* above that, whose bytes are told decrypted; and a *session*, which recognises the protocol, has its parser
//! and knows what that wants. `table.rs` holds them all, `peers.rs` finds the two ends of one connection.

#![forbid(unsafe_code)]

mod duplex;
mod entry;
mod injected;
mod layer;
mod peers;
mod session;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod transport;

use std::net::SocketAddr;

use tracer_common::{CapturePolicy, DataHeader, NoBytes};

pub use self::table::Table;
use crate::{
    exchange::{ConnectionFacts, Direction, Exchange, Kind, Opened, Unit},
    ledger::Counter,
    protocol,
};

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are remembered at once.
    pub connections: usize,
    /// Bytes of memory for messages of all connections: those that are not complete, and requests that wait for their
    /// responses. Beyond it, the connections that were quiet longest give up theirs.
    pub message_memory: usize,
    /// Those of each connection's parser.
    pub protocol: protocol::Limits,
}

/// A TCP connection on which nothing has happened for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleConnection {
    /// Its number.
    pub number: u64,
    /// The process that moved its last bytes.
    pub pid: u32,
    /// Network namespace, as an inode number.
    pub netns: u32,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// A later connection has the same addresses: its socket is gone.
    pub is_replaced: bool,
}

/// Where what is understood goes.
pub trait ConnectionOutput {
    /// The head of a request has come; what it carries may be taken.
    fn opened(&mut self, facts: &ConnectionFacts, opened: &mut Opened);
    /// The final response to the request at this offset has begun: the process that moved the request, and who moves the
    /// response.
    fn answered(&mut self, facts: &ConnectionFacts, kind: Kind, offset: u64, who: (u32, Unit));
    /// An exchange has ended; what is still to be known of it follows.
    fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange);
    /// An exchange that has ended, with all that is known of it.
    fn exchange(&mut self, facts: &ConnectionFacts, exchange: &Exchange);
    /// A thread has read from a connection.
    fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64);
    /// A thread has read from a connection what may be a request, and is not understood.
    fn undecoded(&mut self, connection: u64, unit: Unit, time_ns: u64);
    /// What was so told of a connection, and read by this process, has its whole response.
    fn undecoded_answered(&mut self, connection: u64, pid: u32, time_ns: u64);
    /// A process serves a connection whose requests cannot be seen.
    fn opaque(&mut self, pid: u32);
    /// A connection is gone.
    fn left(&mut self, connection: u64);
    /// No other program inserts bytes into the requests of a connection, though [`Opened::is_lengthened`] said so.
    fn not_lengthened(&mut self, connection: u64);
    /// Something for the ledger; `pid` is the process that moved the bytes.
    fn count(&mut self, pid: u32, counter: Counter, n: u64);
    /// What is wanted of a direction of a connection has changed.
    fn policy(&mut self, connection: u64, direction: Direction, policy: CapturePolicy);
    /// A call on a connection has ended, and what is sent next begins at this position.
    fn boundary(&mut self, facts: &ConnectionFacts, position: u32);
}

/// Who moved the bytes of a record.
fn unit_of(header: &DataHeader) -> Unit {
    Unit { pid: header.pid, tid: header.tid, task: header.task }
}

/// The counter for bytes that were not copied.
fn counter_of(reason: u8) -> Counter {
    match NoBytes::from_byte(reason) {
        Some(NoBytes::None) => Counter::BytesSkipped,
        Some(NoBytes::IoUring) => Counter::BytesIoUring,
        Some(NoBytes::NoBuffer) => Counter::BytesNoBuffer,
        Some(NoBytes::Fault) => Counter::BytesFault,
        _ => Counter::BytesOtherReason,
    }
}
