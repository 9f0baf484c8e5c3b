//! The transport of a connection: positions, order, gaps and ends of its two streams.

use std::{collections::VecDeque, ops::Range};

use tracer_common::{
    CLOSE_EARLY, CLOSE_UNREAD, CLOSE_UNSEEN, CloseRecord, DataHeader, OPEN_BIRTH, OPEN_CLOSED, OpenRecord,
};

use super::{
    duplex::{Duplex, Flow},
    stream::{BOTH, Segment, Stream},
};
use crate::{exchange::Direction, ledger::Counter, protocol::End};

/// A connection that is gone in the kernel.
#[derive(Clone, Copy, Debug)]
struct ClosedInKernel {
    at_ns: u64,
    end: End,
    /// Offset behind the last byte that was written and read, by direction; it may count the FIN.
    ends: [u64; 2],
    /// The process has not read all that came.
    unread: bool,
}

/// The streams as they are on the wire.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) duplex: Duplex,
    gone: Option<ClosedInKernel>,
    /// The process has closed its sending half before.
    is_send_closed: bool,
    /// Bytes that another program has inserted into what is sent. Offsets leave them out, positions count them.
    inserted: u32,
    /// Where the request begins into which it inserted last, and how many of these bytes.
    last_inserted: (u64, u32),
    /// When ranges of the received stream arrived, kept only where sends are seen after they were done.
    arrivals: VecDeque<(Range<u64>, u64)>,
}

impl Transport {
    /// How long a connection that the kernel has closed waits for its process to read the rest.
    const UNREAD_LINGER_NS: u64 = 10_000_000_000;
    /// How long it waits for the record of a call that moved bytes and has not ended: its thread may not have run since.
    const BEHIND_LINGER_NS: u64 = 2_000_000_000;
    /// Ranges of the received stream whose arrival is remembered.
    const MAX_ARRIVALS: usize = 64;

    pub(super) fn new(record: &OpenRecord) -> Self {
        let from_birth = record.flags & OPEN_BIRTH != 0;
        let stream = |first| Stream::new(first, from_birth);
        let is_closed = record.flags & OPEN_CLOSED != 0;
        let gone = ClosedInKernel { at_ns: record.time_ns, end: End::Reset, ends: [0; 2], unread: true };
        Self {
            duplex: Duplex::new(stream(record.receive_first), stream(record.send_first)),
            gone: is_closed.then_some(gone),
            is_send_closed: false,
            inserted: 0,
            last_inserted: (0, 0),
            arrivals: VecDeque::new(),
        }
    }

    /// Offset of a position.
    pub(super) fn offset_of(&self, direction: Direction, position: u32) -> u64 {
        self.duplex.stream(direction).offset_of(position.wrapping_sub(self.inserted_into(direction)))
    }

    /// Position of an offset.
    pub(super) fn position_of(&self, direction: Direction, offset: u64) -> u32 {
        self.duplex.stream(direction).position_of(offset).wrapping_add(self.inserted_into(direction))
    }

    /// Bytes that another program has inserted into a direction.
    fn inserted_into(&self, direction: Direction) -> u32 {
        if direction == Direction::Send { self.inserted } else { 0 }
    }

    /// Another program has inserted so many bytes into the request that begins with the next byte that is sent.
    pub(super) fn insert(&mut self, bytes: u32) {
        self.inserted = self.inserted.wrapping_add(bytes);
        self.last_inserted = (self.sent(), bytes);
    }

    /// No other program has inserted bytes: those that were taken for it are bytes of the stream. Returns their number.
    pub(super) fn revoke_insertion(&mut self) -> u32 {
        let bytes = std::mem::take(&mut self.inserted);
        self.last_inserted = (0, 0);
        let sent = self.duplex.stream_mut(Direction::Send);
        sent.advance_to(sent.next() + u64::from(bytes));
        bytes
    }

    /// Bytes that another program has inserted into what is sent before the request at this offset.
    pub(super) fn inserted_before(&self, offset: u64) -> u32 {
        let (at, bytes) = self.last_inserted;
        if offset <= at { self.inserted.wrapping_sub(bytes) } else { self.inserted }
    }

    /// Bytes that this end has sent.
    pub(super) fn sent(&self) -> u64 {
        self.duplex.stream(Direction::Send).next()
    }

    /// Remembers when bytes arrived.
    pub(super) fn mark_arrival(&mut self, header: &DataHeader) {
        if self.arrivals.len() >= Self::MAX_ARRIVALS {
            self.arrivals.pop_front();
        }
        let begin = self.offset_of(Direction::Receive, header.position);
        self.arrivals.push_back((begin..begin + u64::from(header.length), header.time_ns));
    }

    /// When the byte at this offset of the received stream arrived, if that is still known.
    pub(super) fn arrived_at(&self, offset: u64) -> Option<u64> {
        self.arrivals.iter().find(|(range, _)| range.contains(&offset)).map(|(_, time_ns)| *time_ns)
    }

    /// How the streams end.
    pub(super) fn end(&self) -> End {
        self.gone.as_ref().map_or(End::Closed, |gone| gone.end)
    }

    /// Whether the kernel has closed it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// This end has sent its last byte.
    pub(super) fn send_closed(&mut self, record: &CloseRecord) {
        self.is_send_closed = true;
        self.set_end(Direction::Send, record.send_end);
    }

    /// The kernel has closed the connection.
    pub(super) fn close(&mut self, record: &CloseRecord) {
        if record.state & CLOSE_UNSEEN != 0 {
            let (end, ends) = (End::Unseen, self.duplex.next());
            self.gone = Some(ClosedInKernel { at_ns: record.time_ns, end, ends, unread: false });
            return;
        }
        if self.is_send_closed {
            self.set_end(Direction::Send, record.send_end);
        } else {
            // No FIN: a single byte may be one whose record is still to come.
            let end = self.offset_of(Direction::Send, record.send_end);
            self.duplex.stream_mut(Direction::Send).set_end(end);
        }
        // Without an error a connection ends before its sending half only if the process closes it with bytes unread:
        // the kernel discards them. After an error, or a half-close, the process may still read them.
        let is_unread = record.state & CLOSE_UNREAD != 0;
        // What arrives after the process has let go of its socket, the kernel answers with a reset, and notes an error.
        let is_early = record.state & CLOSE_EARLY != 0;
        let end = match record.error {
            0 if is_unread && !self.is_send_closed => End::Left,
            _ if is_early => End::Early,
            0 => End::Closed,
            _ => End::Reset,
        };
        let unread = is_unread && !matches!(end, End::Left | End::Early);
        let ends = [
            self.offset_of(Direction::Receive, record.receive_end),
            self.offset_of(Direction::Send, record.send_end),
        ];
        self.gone = Some(ClosedInKernel { at_ns: record.time_ns, end, ends, unread });
    }

    /// The end of a direction, as a position that may count the FIN.
    fn set_end(&mut self, direction: Direction, position: u32) {
        let end = self.offset_of(direction, position);
        let reached = self.reached(direction);
        let end = if end == reached + 1 { reached } else { end };
        self.duplex.stream_mut(direction).set_end(end);
    }

    /// The end of what was told of a direction.
    fn reached(&self, direction: Direction) -> u64 {
        let stream = self.duplex.stream(direction);
        stream.held().last().map_or(0, Segment::end).max(stream.next())
    }

    /// Whether bytes were moved before the end whose record has not come: the kernel may close a connection within
    /// the system call that moves its last ones. A FIN that was sent after the sending half was closed counts as a byte.
    pub(super) fn is_behind(&self) -> bool {
        let Some(gone) = &self.gone else { return false };
        BOTH.into_iter().any(|direction| {
            let has_fin = direction == Direction::Send && self.is_send_closed;
            self.reached(direction) + u64::from(has_fin) < gone.ends[direction.index()]
        })
    }

    /// Whether a connection that is gone has lingered long enough. Nothing happened to it since `last_ns`, and
    /// `waits` if it waits for something; `is_told` if the records of its bytes come. If it `serves`, the process has read
    /// a request since: its response cannot leave.
    pub(super) fn may_go(
        &self,
        waits: bool,
        is_told: bool,
        serves: bool,
        now_ns: u64,
        last_ns: u64,
        linger_ns: u64,
    ) -> bool {
        let Some(gone) = &self.gone else { return false };
        // A reset comes while a call moves bytes: its record follows, whatever the connection speaks.
        let is_behind = matches!(gone.end, End::Reset) && self.is_behind();
        // What is there may still be read; nothing tells when the process lets go of it.
        let is_unread = gone.unread && !(serves && last_ns >= gone.at_ns);
        let linger_ns = match (is_unread, is_behind) {
            (true, _) => Self::UNREAD_LINGER_NS,
            (false, true) if is_told => Self::BEHIND_LINGER_NS,
            _ => linger_ns,
        };
        !(waits || is_unread || is_behind) || now_ns.saturating_sub(gone.at_ns.max(last_ns)) >= linger_ns
    }

    /// Whether the kernel has closed it before the process had read all that came.
    pub(super) fn leaves_unread(&self) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.unread)
    }

    /// When and how the connection went.
    pub(super) fn gone_at(&self) -> Option<(u64, End)> {
        self.gone.as_ref().map(|gone| (gone.at_ns, gone.end))
    }

    /// Nothing more comes of a connection that is gone: what waits is taken as it is, and what is missing is lost.
    pub(super) fn finish(&mut self, flow: &mut Flow<'_>) {
        let Some(ClosedInKernel { at_ns, ends, .. }) = self.gone else { return };
        self.duplex.take_held_since(u64::MAX, at_ns, flow);
        // What waits still is too short to tell a protocol.
        let undecided = BOTH.into_iter().find_map(|direction| self.duplex.stream(direction).first_held());
        if let Some(segment) = undecided {
            flow.out.count(segment.unit.pid, Counter::ConnectionsOther, 1);
            self.duplex.discard_held();
        }
        for direction in BOTH {
            // Bytes that moved and whose records were lost. One alone may be the FIN.
            let end = ends[direction.index()];
            let missing = end.saturating_sub(self.duplex.stream(direction).next());
            if missing > 1 && missing < u64::from(u32::MAX / 2) {
                self.duplex.lose_until(direction, end, at_ns, flow.session);
            }
        }
    }
}
