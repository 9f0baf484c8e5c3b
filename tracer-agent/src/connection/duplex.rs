//! The two streams of a connection, or of a layer above one: segments are put in order and handed to the session
//! as soon as it can take them.

use super::{
    ConnectionOutput,
    session::{Consumed, Session},
    stream::{BOTH, Placed, Segment, Stream},
};
use crate::{exchange::Direction, ledger::Counter, protocol::End};

/// Two streams, by direction.
#[derive(Debug)]
pub(super) struct Duplex {
    streams: [Stream; 2],
    /// What is sent waits: the request of this response is still to be told by the other end.
    awaits_request: bool,
}

/// What takes the segments that are next.
pub(super) struct Flow<'a> {
    pub(super) session: &'a mut Session,
    /// How the streams end, if they do.
    pub(super) end: End,
    pub(super) out: &'a mut dyn ConnectionOutput,
}

impl Duplex {
    /// The streams of what is received, and of what is sent.
    pub(super) fn new(received: Stream, sent: Stream) -> Self {
        Self { streams: [received, sent], awaits_request: false }
    }

    pub(super) fn stream(&self, direction: Direction) -> &Stream {
        &self.streams[direction.index()]
    }

    pub(super) fn stream_mut(&mut self, direction: Direction) -> &mut Stream {
        &mut self.streams[direction.index()]
    }

    /// Offsets of the next bytes to hand on, by direction.
    pub(super) fn next(&self) -> [u64; 2] {
        [self.streams[0].next(), self.streams[1].next()]
    }

    /// Whether nothing waits in either direction.
    pub(super) fn is_quiet(&self) -> bool {
        !self.awaits_request && self.streams.iter().all(Stream::is_quiet)
    }

    /// What is sent waits from now on, until [`Duplex::await_no_request`] or for as long as segments wait.
    pub(super) fn await_request(&mut self) {
        self.awaits_request = true;
    }

    /// What is sent waits no longer.
    pub(super) fn await_no_request(&mut self) {
        self.awaits_request = false;
    }

    /// Whether what is sent waits for its request.
    pub(super) fn is_awaiting_request(&self) -> bool {
        self.awaits_request
    }

    fn may_move(&self, direction: Direction) -> bool {
        direction == Direction::Receive || !self.awaits_request
    }

    /// Whether segments wait.
    pub(super) fn has_held(&self) -> bool {
        self.streams.iter().any(|stream| stream.first_held().is_some())
    }

    /// The segments that wait are not handed on: their bytes are read elsewhere.
    pub(super) fn discard_held(&mut self) {
        self.streams.iter_mut().for_each(Stream::discard_held);
        self.awaits_request = false;
    }

    /// Bytes of memory that the segments which wait take.
    pub(super) fn retained_bytes(&self) -> usize {
        self.streams.iter().map(Stream::retained_bytes).sum()
    }

    /// A segment as it came: it is next, or waits.
    pub(super) fn take(&mut self, direction: Direction, segment: Segment<&[u8]>, flow: &mut Flow<'_>) {
        let stream = &mut self.streams[direction.index()];
        if !stream.is_started() {
            flow.session.starts_at(direction, segment.offset);
        }
        let segment = match stream.place(segment.offset, segment.length) {
            Placed::Seen(bytes) => {
                flow.out.count(segment.unit.pid, Counter::BytesOverlapping, bytes);
                return;
            }
            Placed::Overlapping(bytes) => {
                flow.out.count(segment.unit.pid, Counter::BytesOverlapping, bytes);
                segment.from(stream.next())
            }
            Placed::Ahead => return self.hold(direction, &segment, flow),
            Placed::Next => segment,
        };
        if stream.first_held().is_none()
            && self.may_move(direction)
            && flow.session.is_ready(direction, segment.head, segment.turn, self.next())
        {
            self.deliver(direction, &segment, flow);
        } else {
            self.hold(direction, &segment, flow);
        }
    }

    fn hold(&mut self, direction: Direction, segment: &Segment<&[u8]>, flow: &mut Flow<'_>) {
        let now_ns = segment.end_ns;
        if self.stream_mut(direction).hold(segment.to_owned(), now_ns) {
            self.sniff_held(direction, flow.session);
            return;
        }
        // No space to wait any longer.
        if flow.session.is_unknown() {
            return flow.session.give_up(Counter::ConnectionsOther);
        }
        self.take_held_since(u64::MAX, now_ns, flow);
        self.stream_mut(direction).hold(segment.to_owned(), now_ns);
    }

    /// Whether the bytes that wait, from the first on, tell the protocol.
    fn sniff_held(&self, direction: Direction, session: &mut Session) {
        let stream = self.stream(direction);
        if !session.sniffs_from_start() || session.is_past(direction, stream.next()) {
            return;
        }
        let mut bytes = Vec::new();
        let mut next = stream.next();
        for segment in stream.held() {
            if segment.offset != next {
                break;
            }
            bytes.extend_from_slice(&segment.head);
            next = segment.end();
            // The first message tells, or none.
            if segment.is_datagram {
                break;
            }
        }
        if next > stream.next() {
            session.recognise(direction, &bytes, self.next());
        }
    }

    /// Hands on what can be handed on.
    pub(super) fn drive(&mut self, now_ns: u64, flow: &mut Flow<'_>) {
        if self.is_quiet() {
            return;
        }
        loop {
            let mut moved = false;
            for direction in BOTH {
                while self.is_front_ready(direction, flow.session) {
                    let stream = self.stream_mut(direction);
                    let Some(segment) = stream.take_held(now_ns) else { break };
                    match stream.place(segment.offset, segment.length) {
                        Placed::Seen(bytes) => {
                            flow.out.count(segment.unit.pid, Counter::BytesOverlapping, bytes);
                        }
                        Placed::Overlapping(bytes) => {
                            let rest = segment.from(stream.next());
                            flow.out.count(segment.unit.pid, Counter::BytesOverlapping, bytes);
                            self.deliver(direction, &rest, flow);
                        }
                        _ => self.deliver(direction, &segment.from(segment.offset), flow),
                    }
                    moved = true;
                }
                if self.stream_mut(direction).take_end() {
                    flow.session.end(direction, flow.end, now_ns);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Whether the first segment that waits in a direction may be handed on.
    fn is_front_ready(&self, direction: Direction, session: &Session) -> bool {
        let stream = self.stream(direction);
        self.may_move(direction)
            && stream.first_held().is_some_and(|segment| segment.offset <= stream.next())
            && session.takes(direction, stream.next())
    }

    /// Takes what has waited since before `limit_ns` as it is.
    pub(super) fn take_held_since(&mut self, limit_ns: u64, now_ns: u64, flow: &mut Flow<'_>) {
        while let Some(direction) =
            BOTH.into_iter().find(|direction| self.stream(*direction).has_waited_since(limit_ns))
        {
            let next = self.next();
            let at = next[direction.index()];
            if flow.session.sniffs_from_start()
                && let Some(first) = self.stream(direction).first_held()
                && first.offset == at
                && !flow.session.is_past(direction, at)
                && !flow.session.begin_unpaired(direction, &first.head, next)
            {
                // A start that is still too short to tell waits for its rest.
                break;
            }
            let Some(segment) = self.stream_mut(direction).take_held(now_ns) else { break };
            self.awaits_request &= direction == Direction::Receive;
            if segment.offset > at {
                flow.session.gap(direction, segment.offset - at, now_ns);
                self.stream_mut(direction).advance_to(segment.offset);
            }
            let rest = segment.from(self.stream(direction).next());
            self.deliver(direction, &rest, flow);
            self.drive(now_ns, flow);
        }
    }

    /// Hands on a segment that is next. When its protocol changes within it, the rest is the next protocol's.
    fn deliver(&mut self, direction: Direction, segment: &Segment<&[u8]>, flow: &mut Flow<'_>) {
        let taken = flow.session.deliver(direction, segment, self.next());
        self.go_on(direction, segment, taken, flow);
    }

    /// The session was told a segment that is next, and its protocol changes with it.
    #[cold]
    pub(super) fn change(&mut self, direction: Direction, segment: &Segment<&[u8]>, flow: &mut Flow<'_>) {
        let taken = flow.session.change(direction, self.next(), segment.end(), segment.end_ns);
        self.go_on(direction, segment, taken, flow);
    }

    /// Of a segment in which the protocol changed, the rest is the next protocol's.
    fn go_on(
        &mut self,
        direction: Direction,
        segment: &Segment<&[u8]>,
        taken: Consumed,
        flow: &mut Flow<'_>,
    ) {
        self.stream_mut(direction).advance_to(taken.to);
        if !taken.is_changed {
            return;
        }
        if taken.to < segment.end() {
            self.take(direction, segment.from(taken.to), flow);
        }
        // What waited for the old protocol may tell the new one.
        for direction in BOTH {
            self.sniff_held(direction, flow.session);
        }
    }

    /// The bytes from where a direction stands to `end` went by unseen.
    pub(super) fn lose_until(&mut self, direction: Direction, end: u64, now_ns: u64, session: &mut Session) {
        session.gap(direction, end - self.stream(direction).next(), now_ns);
        self.stream_mut(direction).advance_to(end);
    }
}
