//! What a connection speaks: its protocol is recognised, read by a parser, and may change.

use std::mem;

use super::stream::{BOTH, Segment};
use crate::{
    exchange::Direction,
    ledger::Counter,
    protocol::{
        self, Call, End, Next, Parser, Protocol, Role, SentRequest, Side, Start, Want, Yield,
        sniff::{Recognition, sniff},
    },
};

/// What is known of the protocol.
enum ProtocolState {
    /// Nothing yet.
    Unknown {
        /// Turns that said nothing, where the first bytes were not seen.
        misses: u32,
    },
    /// A parser reads it.
    Parsing {
        parser: Box<dyn Parser>,
        /// Offsets of the two streams, by direction, where the parser began.
        began: [u64; 2],
    },
    /// Nothing reads it.
    Opaque,
}

/// How far bytes were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consumed {
    /// Offset behind the last byte that was taken.
    pub(super) to: u64,
    /// The protocol has changed: the bytes behind are the next one's.
    pub(super) is_changed: bool,
}

/// The protocol's part of a connection. It is told bytes by direction and offset, and yields what its parser makes of
/// them. Offsets that it yields are those of the stream that it is told.
pub(super) struct Session {
    state: ProtocolState,
    /// Which end the process is for the protocol; none if that is not known yet.
    role: Option<Role>,
    /// The first bytes of what is spoken are there to be seen.
    from_start: bool,
    /// The byte at offset 0 is the first that ever moved in its direction, seen or not.
    counts_from_birth: bool,
    /// Offsets, by direction, before which another protocol was spoken.
    begins: [u64; 2],
    /// The last segment of each direction was not the end of its system call.
    in_call: [bool; 2],
    /// Direction of the segment before.
    last_direction: Option<Direction>,
    /// How often the protocol has changed.
    changes: u32,
    limits: protocol::Limits,
    yields: Vec<Yield>,
    /// As many of the yields tell offsets of the stream, the later ones those of the parser.
    absolute: usize,
}

impl Session {
    /// Turns that may say nothing before a connection that was met in the middle is given up.
    const MAX_MISSES: u32 = 64;
    /// How often a connection may change its protocol: more is no protocol that we know.
    const MAX_CHANGES: u32 = 8;

    /// A session of which nothing is known, unless which end the process is.
    pub(super) fn new(role: Option<Role>, from_start: bool, limits: protocol::Limits) -> Self {
        Self {
            state: ProtocolState::Unknown { misses: 0 },
            role,
            from_start,
            counts_from_birth: true,
            begins: [0; 2],
            in_call: [false; 2],
            last_direction: None,
            changes: 0,
            limits,
            yields: Vec::new(),
            absolute: 0,
        }
    }

    /// Other streams are told from now on, from their offsets 0: those of a layer.
    pub(super) fn restart(&mut self, from_start: bool) {
        let yields = mem::take(&mut self.yields);
        *self =
            Self { yields, counts_from_birth: from_start, ..Self::new(self.role, from_start, self.limits) };
        self.absolute = self.yields.len();
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.role
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.state, ProtocolState::Unknown { .. })
    }

    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.state, ProtocolState::Opaque)
    }

    /// Whether no exchange is open.
    pub(super) fn is_idle(&self) -> bool {
        match &self.state {
            ProtocolState::Parsing { parser, .. } => parser.is_idle(),
            ProtocolState::Unknown { .. } | ProtocolState::Opaque => true,
        }
    }

    /// Bytes of memory that the parser retains.
    pub(super) fn retained_bytes(&self) -> usize {
        match &self.state {
            ProtocolState::Parsing { parser, .. } => parser.retained_bytes(),
            ProtocolState::Unknown { .. } | ProtocolState::Opaque => 0,
        }
    }

    /// Memory is short: the parser gives up the messages that it retains. Without a parser, nothing reads the
    /// connection from here on.
    pub(super) fn release(&mut self, now_ns: u64) {
        match &mut self.state {
            ProtocolState::Parsing { parser, .. } => parser.release(now_ns, &mut self.yields),
            ProtocolState::Unknown { .. } => self.give_up(Counter::ConnectionsOther),
            ProtocolState::Opaque => {}
        }
    }

    /// Whether every request that went by unreported has its whole response.
    pub(super) fn is_answered(&self) -> bool {
        matches!(&self.state, ProtocolState::Parsing { parser, .. } if parser.is_answered())
    }

    /// See [`Parser::lacks_request`].
    pub(super) fn lacks_request(&self, next: &[u8]) -> bool {
        matches!(&self.state, ProtocolState::Parsing { parser, .. } if parser.lacks_request(next))
    }

    /// See [`Parser::request_of`]; the offsets are those of the streams.
    pub(super) fn request_of(&self, response: u64) -> Option<SentRequest> {
        let ProtocolState::Parsing { parser, began } = &self.state else { return None };
        let request = parser.request_of(response.checked_sub(began[Direction::Receive.index()])?)?;
        Some(SentRequest { offset: request.offset + began[Direction::Send.index()], ..request })
    }

    /// See [`Parser::supply_request`]; the offset is that of the stream.
    pub(super) fn supply_request(&mut self, request: SentRequest, call: &Call) -> bool {
        let ProtocolState::Parsing { parser, began } = &mut self.state else { return false };
        let Some(offset) = request.offset.checked_sub(began[Direction::Receive.index()]) else {
            return false;
        };
        parser.supply_request(&SentRequest { offset, ..request }, call, &mut self.yields)
    }

    /// Whether a parser reads it, and no exchange is open.
    pub(super) fn is_between_exchanges(&self) -> bool {
        matches!(&self.state, ProtocolState::Parsing { parser, .. } if parser.is_idle())
    }

    /// Whether the byte at this offset is still one of the protocol that was spoken before.
    pub(super) fn is_past(&self, direction: Direction, offset: u64) -> bool {
        offset < self.begins[direction.index()]
    }

    /// Whether the protocol is to be told by the first bytes.
    pub(super) fn sniffs_from_start(&self) -> bool {
        self.from_start && self.is_unknown()
    }

    /// Whether bytes at this offset, the first of a system call, can go to [`Session::data`].
    pub(super) fn is_usual(&self, direction: Direction, offset: u64) -> bool {
        let ProtocolState::Parsing { parser, began } = &self.state else { return false };
        !self.in_call[direction.index()]
            && (offset > 0 || self.from_start)
            && offset >= began[direction.index()]
            && parser.is_ready(side(self.role, direction))
    }

    /// The usual segment: all bytes of a system call. [`Session::is_usual`] was asked. Returns whether the protocol
    /// changes with it: then [`Session::change`] is to be called.
    pub(super) fn data(&mut self, direction: Direction, bytes: &[u8], call: &Call) -> bool {
        let ProtocolState::Parsing { parser, .. } = &mut self.state else { return false };
        self.last_direction = Some(direction);
        parser.data(side(self.role, direction), bytes, call, &mut self.yields);
        matches!(self.yields.last(), Some(Yield::Changed { .. }))
    }

    /// Whether the parser has yielded nothing since the yields were taken.
    pub(super) fn is_silent(&self) -> bool {
        self.yields.is_empty()
    }

    /// Whether the segment at this offset can be taken now, after it has waited.
    pub(super) fn takes(&self, direction: Direction, offset: u64) -> bool {
        match &self.state {
            ProtocolState::Opaque => true,
            ProtocolState::Parsing { parser, .. } => parser.is_ready(side(self.role, direction)),
            ProtocolState::Unknown { .. } => self.is_past(direction, offset),
        }
    }

    /// Whether the next segment of a direction, which begins with `head`, can be taken now. As long as the protocol is
    /// unknown, this finds out. `next` are the offsets at which the two streams stand.
    pub(super) fn is_ready(&mut self, direction: Direction, head: &[u8], turn: bool, next: [u64; 2]) -> bool {
        match &mut self.state {
            ProtocolState::Opaque => true,
            ProtocolState::Parsing { parser, .. } => parser.is_ready(side(self.role, direction)),
            ProtocolState::Unknown { misses } => {
                if !self.from_start {
                    *misses += u32::from(turn);
                    if turn {
                        self.recognise_midstream(direction, head, next);
                    }
                    return true;
                }
                self.is_past(direction, next[direction.index()]) || self.recognise(direction, head, next)
            }
        }
    }

    /// Looks at the first bytes of a direction. Returns whether they can be taken now.
    pub(super) fn recognise(&mut self, direction: Direction, bytes: &[u8], next: [u64; 2]) -> bool {
        match sniff(bytes) {
            Recognition::More => false,
            // Of a thread that reads and one that writes, the reader's record may come first.
            Recognition::Found(Protocol { open: Some(_), server_may_begin: false, .. }, Side::Response)
                if next[direction.opposite().index()] <= self.begins[direction.opposite().index()] =>
            {
                false
            }
            Recognition::Found(protocol, sender) => self.begin(direction, protocol, sender, next),
            Recognition::Unknown => {
                self.give_up(Counter::ConnectionsOther);
                true
            }
        }
    }

    /// The first bytes of a direction have waited long enough for those of the other. Returns whether they are a
    /// response, whose request went by unseen.
    pub(super) fn begin_unpaired(&mut self, direction: Direction, head: &[u8], next: [u64; 2]) -> bool {
        let Recognition::Found(protocol, Side::Response) = sniff(head) else { return false };
        self.begin(direction, protocol, Side::Response, next);
        self.yields.push(Yield::Count(Counter::ExchangesUnpaired, 1));
        true
    }

    /// The first bytes of a direction told the protocol, and which side sent them. Returns whether they can be taken
    /// now.
    fn begin(
        &mut self,
        direction: Direction,
        protocol: &'static Protocol,
        sender: Side,
        next: [u64; 2],
    ) -> bool {
        let (role, start) = match sender {
            Side::Request => (role_of_request(direction), Start::Birth),
            Side::Response if protocol.server_may_begin => {
                (role_of_request(direction.opposite()), Start::Birth)
            }
            // The request went by unseen.
            Side::Response => (role_of_request(direction.opposite()), Start::MidStream),
        };
        self.open(protocol, role, start, next);
        let ProtocolState::Parsing { parser, .. } = &self.state else { return true };
        parser.is_ready(side(Some(role), direction))
    }

    /// A segment of a connection that was met in the middle, which may begin a message.
    fn recognise_midstream(&mut self, direction: Direction, head: &[u8], next: [u64; 2]) {
        let (protocol, role) = match sniff(head) {
            Recognition::Found(protocol, _) if protocol.open.is_none() => {
                return self.give_up(protocol.opaque_counter);
            }
            Recognition::Found(protocol, Side::Request) => (protocol, role_of_request(direction)),
            Recognition::Found(protocol, Side::Response) => (protocol, role_of_request(direction.opposite())),
            Recognition::More | Recognition::Unknown => {
                if matches!(self.state, ProtocolState::Unknown { misses } if misses > Self::MAX_MISSES) {
                    self.give_up(Counter::ConnectionsOther);
                }
                return;
            }
        };
        // A body that looks like a message of the wrong direction decides nothing.
        if self.role.is_none_or(|known| known == role) {
            self.open(protocol, role, Start::MidStream, next);
            let other = direction.opposite();
            if let ProtocolState::Parsing { parser, .. } = &mut self.state
                && self.last_direction == Some(other)
            {
                // The parser learns that the direction has just changed.
                parser.skip(side(Some(role), other), 0, &Call::default(), &mut self.yields);
            }
        }
    }

    /// A parser reads from here on.
    pub(super) fn open(&mut self, protocol: &'static Protocol, role: Role, start: Start, next: [u64; 2]) {
        let Some(parser) = protocol::open(protocol, role, start, &self.limits) else {
            return self.give_up(protocol.opaque_counter);
        };
        self.role = Some(role);
        let began = [next[0].max(self.begins[0]), next[1].max(self.begins[1])];
        self.state = ProtocolState::Parsing { parser, began };
    }

    /// Nothing reads the connection from here on.
    pub(super) fn give_up(&mut self, counter: Counter) {
        self.close_parser(End::Closed, None);
        self.yields.push(Yield::Count(counter, 1));
    }

    /// The first byte that was seen in a direction, of which others may have gone by unseen, is at this offset.
    pub(super) fn starts_at(&mut self, direction: Direction, offset: u64) {
        if let ProtocolState::Parsing { began, .. } = &mut self.state {
            began[direction.index()] = offset.max(self.begins[direction.index()]);
        }
    }

    /// The next segment of a direction. `next` are the offsets at which the two streams stand.
    pub(super) fn deliver(
        &mut self,
        direction: Direction,
        segment: &Segment<&[u8]>,
        next: [u64; 2],
    ) -> Consumed {
        let to = segment.end();
        self.last_direction = Some(direction);
        let first = !mem::replace(&mut self.in_call[direction.index()], segment.continues);
        let begins = self.begins[direction.index()];
        if self.is_unknown() && segment.offset < begins && begins < to {
            return Consumed { to: begins, is_changed: true };
        }
        let ProtocolState::Parsing { parser, began } = &mut self.state else {
            return Consumed { to, is_changed: false };
        };
        // What is still the old protocol's is nobody's.
        let segment = segment.from(began[direction.index()]);
        let side = side(self.role, direction);
        if segment.offset == 0 && self.counts_from_birth && !self.from_start {
            parser.first_byte(side);
        }
        let more = u64::from(segment.continues);
        let mut call =
            Call { start_ns: segment.start_ns, end_ns: segment.end_ns, unit: segment.unit, after: 0, first };
        let mut left = segment.length;
        for (bytes, length) in parts(&segment) {
            let is_empty_message = segment.is_datagram && segment.length == 0 && bytes.is_some();
            if length > left || length == 0 && !is_empty_message {
                continue;
            }
            left -= length;
            call.after = left + more;
            match bytes {
                Some(bytes) => parser.data(side, bytes, &call, &mut self.yields),
                None => parser.skip(side, length, &call, &mut self.yields),
            }
            if matches!(self.yields.last(), Some(Yield::Changed { .. })) {
                return self.change(direction, next, to, segment.end_ns);
            }
            call.first = false;
            if is_empty_message {
                break;
            }
        }
        Consumed { to, is_changed: false }
    }

    /// Bytes of a direction went by unseen.
    pub(super) fn gap(&mut self, direction: Direction, length: u64, now_ns: u64) {
        // The kernel does not show what nobody reads.
        if self.is_opaque() {
            return;
        }
        self.yields.push(Yield::Count(Counter::BytesLost, length));
        self.in_call[direction.index()] = false;
        if let ProtocolState::Parsing { parser, .. } = &mut self.state {
            parser.gap(side(self.role, direction), length, now_ns, &mut self.yields);
        } else {
            self.from_start = false;
        }
    }

    /// A direction carries no more bytes.
    pub(super) fn end(&mut self, direction: Direction, end: End, now_ns: u64) {
        let side = side(self.role, direction);
        if let ProtocolState::Parsing { parser, .. } = &mut self.state {
            parser.end(side, end, now_ns, &mut self.yields);
        }
    }

    /// The connection is gone.
    pub(super) fn close(&mut self, end: End, now_ns: u64) {
        if let ProtocolState::Parsing { parser, .. } = &mut self.state {
            parser.close(end, now_ns, &mut self.yields);
        }
    }

    /// Time has passed. Returns whether that can mean anything.
    pub(super) fn tick(&mut self, now_ns: u64) -> bool {
        let ProtocolState::Parsing { parser, .. } = &mut self.state else { return false };
        let waits = !parser.is_idle();
        if waits {
            parser.tick(now_ns, &mut self.yields);
        }
        waits
    }

    /// Exchanges that were opened and have not ended.
    pub(super) fn open_exchanges(&self) -> u64 {
        match &self.state {
            ProtocolState::Parsing { parser, .. } => parser.open_exchanges(),
            ProtocolState::Unknown { .. } | ProtocolState::Opaque => 0,
        }
    }

    /// What is wanted next of a direction; the offset of a body's end is that of the stream.
    pub(super) fn want(&self, direction: Direction) -> Want {
        match &self.state {
            ProtocolState::Opaque => Want::Nothing,
            ProtocolState::Unknown { .. } => Want::Heads,
            ProtocolState::Parsing { parser, began } => match parser.want(side(self.role, direction)) {
                Want::BodyUntil(offset) => Want::BodyUntil(began[direction.index()].saturating_add(offset)),
                want => want,
            },
        }
    }

    /// The parser wants nothing more.
    pub(super) fn turn_opaque(&mut self) {
        self.state = ProtocolState::Opaque;
    }

    /// Takes what the parser has made since this was asked last, and what is to be added to its offsets, by
    /// direction.
    pub(super) fn take_yields(&mut self) -> (Vec<Yield>, [u64; 2]) {
        let mut base = [0; 2];
        if let ProtocolState::Parsing { began, .. } = &self.state {
            base = *began;
            if self.absolute > 0 {
                self.make_absolute(base);
                base = [0; 2];
            }
        }
        self.absolute = 0;
        (mem::take(&mut self.yields), base)
    }

    /// Gives the memory of yields back.
    pub(super) fn recycle(&mut self, mut yields: Vec<Yield>) {
        yields.clear();
        self.yields = yields;
    }

    /// The offsets that were told since the parser began are counted from there.
    fn make_absolute(&mut self, began: [u64; 2]) {
        for made in self.yields.iter_mut().skip(self.absolute) {
            match made {
                Yield::Opened(opened) => opened.offset += began[opened.kind.direction().index()],
                Yield::Answered { kind, offset, .. } => *offset += began[kind.direction().index()],
                Yield::Exchange(exchange) => {
                    exchange.request_offset += began[exchange.kind.direction().index()];
                }
                Yield::Changed { .. } | Yield::Count(..) => {}
            }
        }
        self.absolute = self.yields.len();
    }

    /// Lets go of the parser; `close_ns` if what it has open ends with it.
    fn close_parser(&mut self, end: End, close_ns: Option<u64>) {
        if let ProtocolState::Parsing { mut parser, began } =
            mem::replace(&mut self.state, ProtocolState::Opaque)
        {
            if let Some(close_ns) = close_ns {
                parser.close(end, close_ns, &mut self.yields);
            }
            self.make_absolute(began);
        }
    }

    /// The parser has said that the connection speaks something else from here on: it is closed, and the next one
    /// begins where it said. `at` are the offsets at which the two streams stand, `to` is the end of the segment
    /// of this direction which told.
    #[cold]
    pub(super) fn change(&mut self, direction: Direction, at: [u64; 2], to: u64, now_ns: u64) -> Consumed {
        let done = Consumed { to, is_changed: false };
        let ProtocolState::Parsing { began, .. } = &self.state else { return done };
        let began = *began;
        let Some(Yield::Changed { next, request_offset, response_offset }) = self.yields.pop() else {
            return done;
        };
        for direction in BOTH {
            let offset = match side(self.role, direction) {
                Side::Request => request_offset,
                Side::Response => response_offset,
            };
            self.begins[direction.index()] = began[direction.index()].saturating_add(offset);
        }
        self.close_parser(End::Closed, Some(now_ns));
        self.changes += 1;
        if self.changes > Self::MAX_CHANGES {
            self.give_up(Counter::ConnectionsGivenUp);
        }
        let is_last = self.changes > Self::MAX_CHANGES;
        // The old parser has taken bytes that were not its own: their protocol's first ones were missed.
        self.from_start = at.iter().zip(self.begins).all(|(at, begins)| *at <= begins);
        match next {
            _ if is_last => return done,
            // What it carries is not looked at.
            Next::Opaque => return done,
            Next::Sniff => self.state = ProtocolState::Unknown { misses: 0 },
            Next::Protocol(protocol) => {
                let start = if self.from_start { Start::Birth } else { Start::MidStream };
                let role = self.role.unwrap_or(Role::Client);
                self.open(protocol, role, start, at);
            }
        }
        Consumed { to: self.begins[direction.index()].clamp(at[direction.index()], to), is_changed: true }
    }
}

/// A segment as it is told to a parser: copied bytes, or none and how many there were. A datagram's copied bytes are
/// told at once, first.
fn parts<'a>(segment: &Segment<&'a [u8]>) -> [(Option<&'a [u8]>, u64); 4] {
    let head = segment.head.len() as u64;
    let tail = if segment.is_datagram { 0 } else { segment.tail.len() as u64 };
    let middle = segment.length.saturating_sub(segment.skip + head + tail);
    [
        (None, segment.skip.min(segment.length)),
        (Some(segment.head), head),
        (None, middle),
        (Some(segment.tail), tail),
    ]
}

/// Which side's bytes flow in a direction.
fn side(role: Option<Role>, direction: Direction) -> Side {
    if (role == Some(Role::Server)) == (direction == Direction::Receive) {
        Side::Request
    } else {
        Side::Response
    }
}

/// The role of a process that moves requests in this direction.
fn role_of_request(direction: Direction) -> Role {
    match direction {
        Direction::Receive => Role::Server,
        Direction::Send => Role::Client,
    }
}
