//! One connection: its two streams, its protocol's parser, and what is wanted of it.

use std::collections::VecDeque;

use tracer_common::{
    CLOSE_UNREAD, CloseRecord, DataHeader, FLAG_CONTINUES, FLAG_END, FLAG_TURN, HeaderRecord, OpenRecord,
    RECEIVE, SEND, Verdict,
};

use super::{
    Output, counter_of,
    headers::Headers,
    stream::{Piece, Placed, Stream},
    unit_of,
};
use crate::{
    exchange::{ConnectionFacts, Direction, Kind, Outcome},
    ledger::Counter,
    protocol::{
        self, Call, End, Parser, Protocol, Role, Side, Start, Want, Yield,
        sniff::{Recognition, sniff},
    },
};

/// What is known of a connection's protocol.
enum State {
    /// Nothing yet. For a joined connection: how many turns said nothing.
    Unknown { misses: u32 },
    /// It is read; offsets of the two streams, by direction, where the parser began.
    Parsing { parser: Box<dyn Parser>, began: [u64; 2] },
    /// Nobody reads it.
    Ignored,
}

/// A connection that is gone in the kernel.
#[derive(Clone, Copy)]
struct Gone {
    at_ns: u64,
    end: End,
    /// Offset behind the last byte that was written and read, by direction; it may count the FIN.
    ends: [u64; 2],
    /// The process has not read all that came.
    unread: bool,
}

/// One connection.
pub(super) struct Entry {
    facts: ConnectionFacts,
    /// Which end the process is for the protocol; none if that is not known yet.
    role: Option<Role>,
    pid: u32,
    streams: [Stream; 2],
    /// The last piece of each direction was not the end of its call.
    continues: [bool; 2],
    /// Direction of the piece before.
    last_direction: Option<usize>,
    state: State,
    from_birth: bool,
    /// It was joined in the middle, and no request of it was understood yet.
    is_unclear: bool,
    /// The other end called `connect`.
    was_accepted: bool,
    /// It carries nothing that is read; told once.
    is_hidden: bool,
    limits: protocol::Limits,
    verdict: Verdict,
    gone: Option<Gone>,
    last_ns: u64,
    tally: Tally,
    yields: Vec<Yield>,
    /// When ranges of the received stream arrived, kept only where sends are seen late.
    received: VecDeque<(std::ops::Range<u64>, u64)>,
    /// What became of trace headers, if calls get some.
    headers: Option<Box<Headers>>,
}

/// Bytes that were not yet told to the ledger.
#[derive(Default)]
struct Tally {
    seen: u64,
    copied: u64,
    skipped: u64,
}

impl Entry {
    /// Turns of a joined connection that may say nothing before it is ignored.
    const MAX_MISSES: u32 = 64;
    /// How long a connection that the kernel has closed waits for its process to read the rest.
    const UNREAD_LINGER_NS: u64 = 10_000_000_000;
    /// Bodies shorter than this end before a verdict about them would arrive.
    const SHORT_BODY: u64 = 4096;

    pub(super) fn new(
        facts: ConnectionFacts,
        role: Option<Role>,
        record: &OpenRecord,
        from_birth: bool,
        limits: protocol::Limits,
    ) -> Self {
        Self {
            facts,
            role,
            pid: record.pid,
            streams: [
                Stream::new(record.receive_first, from_birth),
                Stream::new(record.send_first, from_birth),
            ],
            continues: [false; 2],
            last_direction: None,
            state: State::Unknown { misses: 0 },
            from_birth,
            is_unclear: !from_birth,
            was_accepted: from_birth && role.is_none(),
            is_hidden: false,
            limits,
            verdict: Verdict::Heads,
            gone: None,
            last_ns: record.time_ns,
            tally: Tally::default(),
            yields: Vec::new(),
            received: VecDeque::new(),
            headers: None,
        }
    }

    /// A trace header was pushed into a request, or none can be.
    pub(super) fn header(&mut self, record: HeaderRecord) {
        self.headers.get_or_insert_default().add(record);
    }

    /// Bytes that were pushed into what is sent before this offset.
    pub(super) fn inserted_before(&self, offset: u64) -> u32 {
        let position = self.streams[usize::from(SEND)].position_of(offset);
        self.headers.as_ref().map_or(0, |headers| headers.inserted_before(position))
    }

    /// The first sequence numbers that it sent and received.
    pub(super) fn ends(&self) -> (u32, u32) {
        (self.facts.first_sent, self.facts.first_received)
    }

    pub(super) fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }

    /// Remembers when bytes arrived.
    pub(super) fn mark_received(&mut self, header: &DataHeader) {
        const MARKS: usize = 64;
        if self.received.len() >= MARKS {
            self.received.pop_front();
        }
        let begin = self.streams[usize::from(RECEIVE)].offset_of(header.position);
        self.received.push_back((begin..begin + u64::from(header.length), header.time_ns));
    }

    /// When the byte at this offset of the received stream arrived, if that is still known.
    pub(super) fn received_at(&self, offset: u64) -> Option<u64> {
        self.received.iter().find(|(range, _)| range.contains(&offset)).map(|(_, time_ns)| *time_ns)
    }

    /// Bytes that this end has sent.
    pub(super) fn sent(&self) -> u64 {
        self.streams[usize::from(SEND)].next()
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Whether [`Entry::hurry`] has something to do soon.
    pub(super) fn is_urgent(&self) -> bool {
        self.gone.is_some() || self.streams.iter().any(|stream| stream.first_held().is_some())
    }

    /// Whether the kernel has closed it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether a connection that is gone has nothing more to wait for.
    pub(super) fn may_go(&self, now_ns: u64, linger_ns: u64) -> bool {
        let Some(gone) = &self.gone else { return false };
        let waits = match &self.state {
            State::Parsing { parser, .. } => !parser.is_idle() || self.is_behind(gone),
            State::Unknown { .. } => self.is_behind(gone),
            State::Ignored => false,
        } || self.streams.iter().any(|stream| stream.first_held().is_some());
        // What is there may still be read; nothing tells when the process lets go of it.
        let linger_ns = if gone.unread { Self::UNREAD_LINGER_NS } else { linger_ns };
        !(waits || gone.unread) || now_ns.saturating_sub(gone.at_ns.max(self.last_ns)) >= linger_ns
    }

    /// Whether bytes were moved before the end whose record has not come: the kernel may close a connection within
    /// the call that moves its last ones. A FIN counts as a byte.
    fn is_behind(&self, gone: &Gone) -> bool {
        self.streams.iter().zip(gone.ends).any(|(stream, end)| stream.next() + 1 < end)
    }

    /// A data record.
    pub(super) fn data(&mut self, header: &DataHeader, head: &[u8], tail: &[u8], out: &mut dyn Output) {
        self.pid = header.pid;
        self.last_ns = self.last_ns.max(header.time_ns);
        let direction = usize::from(header.direction & 1);
        let offset = self.streams[direction].offset_of(header.position);
        let copied = (head.len() + tail.len()) as u64;
        let length = u64::from(header.length);
        self.tally.seen += length;
        self.tally.copied += copied;
        if header.reason == 0 {
            self.tally.skipped += length.saturating_sub(copied);
        } else {
            out.count(header.pid, counter_of(header.reason), length);
        }
        if self.may_be_unread() && header.direction == RECEIVE {
            out.unread(unit_of(header), header.time_ns);
        }
        if matches!(self.state, State::Ignored) {
            // The verdict's slot was taken by another connection.
            self.publish(Verdict::Ignore, true, out);
            return;
        }
        if self.data_at_once(header, direction, offset, head) {
            return self.settle(out);
        }
        if header.flags & FLAG_END != 0 {
            self.streams[direction].set_end(offset);
        } else {
            let piece = Piece {
                offset,
                length,
                skip: u64::from(header.head_offset),
                head,
                tail,
                start_ns: header.start_ns,
                end_ns: header.time_ns,
                unit: unit_of(header),
                turn: header.flags & FLAG_TURN != 0,
                continues: header.flags & FLAG_CONTINUES != 0,
            };
            self.take(direction, piece, out);
        }
        self.drive(header.time_ns, out);
        self.settle(out);
    }

    /// Whether what this end receives may be a request of which nobody is told.
    fn may_be_unread(&self) -> bool {
        match self.state {
            State::Ignored => self.role == Some(Role::Server) || self.was_accepted,
            _ => self.is_unclear && self.role != Some(Role::Client),
        }
    }

    /// The usual record: the next bytes of a connection on which nothing waits, all of them copied, and
    /// the parser can take them. Returns whether it was one.
    fn data_at_once(&mut self, header: &DataHeader, direction: usize, offset: u64, head: &[u8]) -> bool {
        let State::Parsing { parser, .. } = &mut self.state else { return false };
        let side = side(self.role, direction);
        let is_usual = header.flags & (FLAG_END | FLAG_CONTINUES) == 0
            && head.len() as u64 == u64::from(header.length)
            && !self.continues[direction]
            && self.streams[direction].is_next(offset)
            && self.streams.iter().all(Stream::is_quiet)
            && parser.is_ready(side);
        if !is_usual {
            return false;
        }
        self.streams[direction].advance_to(offset + u64::from(header.length));
        self.last_direction = Some(direction);
        let call = Call {
            start_ns: header.start_ns,
            end_ns: header.time_ns,
            unit: unit_of(header),
            after: 0,
            first: true,
        };
        parser.data(side, head, &call, &mut self.yields);
        true
    }

    /// This end has sent its last byte.
    pub(super) fn send_closed(&mut self, record: &CloseRecord, out: &mut dyn Output) {
        self.set_end(usize::from(SEND), record.send_end);
        self.drive(record.time_ns, out);
        self.settle(out);
    }

    /// The kernel has closed the connection.
    pub(super) fn closed(&mut self, record: &CloseRecord, out: &mut dyn Output) {
        self.set_end(usize::from(SEND), record.send_end);
        let end = if record.error == 0 { End::Closed } else { End::Reset };
        let mut ends = [0; 2];
        for (direction, position) in [(RECEIVE, record.receive_end), (SEND, record.send_end)] {
            let direction = usize::from(direction);
            ends[direction] = self.streams[direction].offset_of(position);
        }
        let unread = record.state & CLOSE_UNREAD != 0;
        self.gone = Some(Gone { at_ns: record.time_ns, end, ends, unread });
        self.drive(record.time_ns, out);
        self.settle(out);
    }

    /// Time has passed for pieces that wait.
    pub(super) fn hurry(&mut self, now_ns: u64, hold_ns: u64, out: &mut dyn Output) {
        self.take_held_since(now_ns.saturating_sub(hold_ns), now_ns, out);
    }

    /// Takes what has waited since before `limit` as it is.
    fn take_held_since(&mut self, limit: u64, now_ns: u64, out: &mut dyn Output) {
        while let Some(direction) =
            [RECEIVE, SEND].map(usize::from).into_iter().find(|d| self.streams[*d].has_waited_since(limit))
        {
            if let State::Unknown { .. } = self.state
                && self.from_birth
                && self.streams[direction]
                    .first_held()
                    .is_some_and(|piece| piece.offset == self.streams[direction].next())
            {
                let waits = self.streams[direction].first_held().map(|piece| sniff(&piece.head));
                match waits {
                    // The request of this response went by unseen.
                    Some(Recognition::Found(protocol, Side::Response)) => {
                        self.begin(direction, protocol, Side::Response);
                        out.count(self.pid, Counter::ExchangesUnpaired, 1);
                    }
                    // A start that is still too short to tell waits for its rest.
                    _ => break,
                }
            }
            let Some(piece) = self.streams[direction].take_held(now_ns) else { break };
            let next = self.streams[direction].next();
            if piece.offset > next {
                self.gap(direction, piece.offset - next, now_ns, out);
                self.streams[direction].advance_to(piece.offset);
            }
            self.deliver(direction, &piece.from(self.streams[direction].next()));
            self.drive(now_ns, out);
        }
        self.settle(out);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, now_ns: u64, out: &mut dyn Output) {
        if let State::Parsing { parser, .. } = &mut self.state
            && !parser.is_idle()
        {
            parser.tick(now_ns, &mut self.yields);
            self.settle(out);
        }
        self.flush_counts(out);
    }

    /// The connection leaves the table.
    pub(super) fn finish(&mut self, out: &mut dyn Output) {
        if let Some(Gone { at_ns, end, ends, .. }) = self.gone {
            self.take_held_since(u64::MAX, at_ns, out);
            for direction in [RECEIVE, SEND].map(usize::from) {
                // Bytes that moved and whose records found no room. One alone may be the FIN.
                let missing = ends[direction].saturating_sub(self.streams[direction].next());
                if missing > 1 && missing < u64::from(u32::MAX / 2) {
                    self.gap(direction, missing, at_ns, out);
                    self.streams[direction].advance_to(ends[direction]);
                }
            }
            if let State::Parsing { parser, .. } = &mut self.state {
                parser.close(end, at_ns, &mut self.yields);
            }
        }
        self.settle(out);
        self.flush_counts(out);
    }

    /// Tells the ledger of bytes.
    pub(super) fn flush_counts(&mut self, out: &mut dyn Output) {
        let Tally { seen, copied, skipped } = std::mem::take(&mut self.tally);
        if seen > 0 {
            out.count(self.pid, Counter::BytesSeen, seen);
            out.count(self.pid, Counter::BytesCopied, copied);
            out.count(self.pid, Counter::BytesSkipped, skipped);
        }
    }

    /// The end of a direction, as a sequence number that may count the FIN.
    fn set_end(&mut self, direction: usize, position: u32) {
        let stream = &mut self.streams[direction];
        let end = stream.offset_of(position);
        let held_to = stream.held().last().map_or(0, Piece::end).max(stream.next());
        stream.set_end(if end == held_to + 1 { held_to } else { end });
    }

    /// A piece as it came: it is next, or waits.
    fn take(&mut self, direction: usize, piece: Piece<&[u8]>, out: &mut dyn Output) {
        let now_ns = piece.end_ns;
        let piece = match self.streams[direction].place(piece.offset, piece.length) {
            Placed::Seen(bytes) => {
                out.count(piece.unit.pid, Counter::BytesOverlapping, bytes);
                return;
            }
            Placed::Overlapping(bytes) => {
                out.count(piece.unit.pid, Counter::BytesOverlapping, bytes);
                piece.from(self.streams[direction].next())
            }
            Placed::Ahead => return self.hold(direction, &piece, now_ns, out),
            Placed::Next => piece,
        };
        if self.streams[direction].first_held().is_none() && self.is_ready(direction, piece.head, piece.turn)
        {
            self.deliver(direction, &piece);
        } else {
            self.hold(direction, &piece, now_ns, out);
        }
    }

    fn hold(&mut self, direction: usize, piece: &Piece<&[u8]>, now_ns: u64, out: &mut dyn Output) {
        if self.streams[direction].hold(piece.to_owned(), now_ns) {
            if self.from_birth && matches!(self.state, State::Unknown { .. }) {
                self.recognise_held(direction);
            }
            return;
        }
        // No room to wait any longer.
        if let State::Unknown { .. } = self.state {
            self.ignore(Counter::ConnectionsOther, out);
            return;
        }
        self.take_held_since(u64::MAX, now_ns, out);
        self.streams[direction].hold(piece.to_owned(), now_ns);
    }

    /// Whether the next piece of a direction can be understood now; for a connection whose protocol is
    /// unknown, this finds out.
    fn is_ready(&mut self, direction: usize, head: &[u8], turn: bool) -> bool {
        match &mut self.state {
            State::Ignored => true,
            State::Parsing { parser, .. } => parser.is_ready(side(self.role, direction)),
            State::Unknown { misses } => {
                if !self.from_birth {
                    *misses += u32::from(turn);
                    if turn {
                        self.recognise_joined(direction, head);
                    }
                    return true;
                }
                self.recognise(direction, head)
            }
        }
    }

    /// Whether the bytes that wait, from the first on, tell the protocol.
    fn recognise_held(&mut self, direction: usize) {
        let stream = &self.streams[direction];
        let mut bytes = Vec::new();
        let mut next = stream.next();
        for piece in stream.held() {
            if piece.offset != next {
                break;
            }
            bytes.extend_from_slice(&piece.head);
            next = piece.end();
        }
        self.recognise(direction, &bytes);
    }

    /// Looks at the first bytes of a direction, of a connection seen from its birth. Returns whether they can be
    /// taken now.
    fn recognise(&mut self, direction: usize, bytes: &[u8]) -> bool {
        match sniff(bytes) {
            Recognition::More => false,
            // Of a thread that reads and one that writes, the reader's record may come first.
            Recognition::Found(Protocol { open: Some(_), server_may_begin: false, .. }, Side::Response)
                if self.streams[1 - direction].next() == 0 =>
            {
                false
            }
            Recognition::Found(protocol, sender) => self.begin(direction, protocol, sender),
            Recognition::Unknown => {
                self.give_up(Counter::ConnectionsOther);
                true
            }
        }
    }

    /// The first bytes of a connection seen from its birth told its protocol, and which side sent them. Returns
    /// whether they can be taken now.
    fn begin(&mut self, direction: usize, protocol: &'static Protocol, sender: Side) -> bool {
        let (role, start) = match sender {
            Side::Request => (role_of_request(direction), Start::Birth),
            Side::Response if protocol.server_may_begin => (role_of_request(1 - direction), Start::Birth),
            // The request went by unseen.
            Side::Response => (role_of_request(1 - direction), Start::Joined),
        };
        self.parse(protocol, role, start);
        let State::Parsing { parser, .. } = &self.state else { return true };
        parser.is_ready(side(Some(role), direction))
    }

    /// Nobody reads the connection.
    fn give_up(&mut self, counter: Counter) {
        self.state = State::Ignored;
        self.yields.push(Yield::Count(counter, 1));
    }

    /// A piece of a joined connection that may begin a message.
    fn recognise_joined(&mut self, direction: usize, head: &[u8]) {
        let (protocol, role) = match sniff(head) {
            Recognition::Found(protocol, _) if protocol.open.is_none() => {
                return self.give_up(protocol.unread);
            }
            Recognition::Found(protocol, Side::Request) => (protocol, role_of_request(direction)),
            Recognition::Found(protocol, Side::Response) => (protocol, role_of_request(1 - direction)),
            Recognition::More | Recognition::Unknown => {
                if matches!(self.state, State::Unknown { misses } if misses > Self::MAX_MISSES) {
                    self.give_up(Counter::ConnectionsOther);
                }
                return;
            }
        };
        // A body that looks like a message of the wrong direction decides nothing.
        if self.role.is_none_or(|known| known == role) {
            self.parse(protocol, role, Start::Joined);
            if let State::Parsing { parser, .. } = &mut self.state
                && self.last_direction == Some(1 - direction)
            {
                // The parser learns that the direction has just changed.
                parser.skip(side(Some(role), 1 - direction), 0, &Call::default(), &mut self.yields);
            }
        }
    }

    fn parse(&mut self, protocol: &'static Protocol, role: Role, start: Start) {
        let Some(parser) = protocol::open(protocol, role, start, &self.limits) else {
            return self.give_up(protocol.unread);
        };
        self.role = Some(role);
        let began = [self.streams[0].next(), self.streams[1].next()];
        self.state = State::Parsing { parser, began };
    }

    fn ignore(&mut self, counter: Counter, out: &mut dyn Output) {
        self.state = State::Ignored;
        out.count(self.pid, counter, 1);
        self.settle(out);
    }

    /// Hands on what can be handed on.
    fn drive(&mut self, now_ns: u64, out: &mut dyn Output) {
        if self.streams.iter().all(Stream::is_quiet) {
            return;
        }
        loop {
            let mut moved = false;
            for direction in [RECEIVE, SEND].map(usize::from) {
                while self.is_front_ready(direction) {
                    let Some(piece) = self.streams[direction].take_held(now_ns) else { break };
                    match self.streams[direction].place(piece.offset, piece.length) {
                        Placed::Seen(bytes) => out.count(piece.unit.pid, Counter::BytesOverlapping, bytes),
                        Placed::Overlapping(bytes) => {
                            out.count(piece.unit.pid, Counter::BytesOverlapping, bytes);
                            self.deliver(direction, &piece.from(self.streams[direction].next()));
                        }
                        _ => self.deliver(direction, &piece.from(piece.offset)),
                    }
                    moved = true;
                }
                if self.streams[direction].take_end() {
                    let side = side(self.role, direction);
                    if let State::Parsing { parser, .. } = &mut self.state {
                        let end = self.gone.as_ref().map_or(End::Closed, |gone| gone.end);
                        parser.end(side, end, now_ns, &mut self.yields);
                    }
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Whether the first piece that waits in a direction may be handed on.
    fn is_front_ready(&self, direction: usize) -> bool {
        let stream = &self.streams[direction];
        let Some(piece) = stream.first_held() else { return false };
        piece.offset <= stream.next()
            && match &self.state {
                State::Ignored => true,
                State::Parsing { parser, .. } => parser.is_ready(side(self.role, direction)),
                State::Unknown { .. } => false,
            }
    }

    fn gap(&mut self, direction: usize, length: u64, now_ns: u64, out: &mut dyn Output) {
        out.count(self.pid, Counter::BytesLost, length);
        self.continues[direction] = false;
        if let State::Parsing { parser, .. } = &mut self.state {
            parser.gap(side(self.role, direction), length, now_ns, &mut self.yields);
        } else {
            self.from_birth = false;
        }
    }

    /// Feeds a piece that is next to the parser.
    fn deliver(&mut self, direction: usize, piece: &Piece<&[u8]>) {
        self.streams[direction].advance_to(piece.end());
        self.last_direction = Some(direction);
        let first = !std::mem::replace(&mut self.continues[direction], piece.continues);
        let State::Parsing { parser, .. } = &mut self.state else { return };
        let side = side(self.role, direction);
        let more = u64::from(piece.continues);
        let mut call =
            Call { start_ns: piece.start_ns, end_ns: piece.end_ns, unit: piece.unit, after: 0, first };
        let head = piece.head.len() as u64;
        let tail = piece.tail.len() as u64;
        let mut left = piece.length;
        let middle = left.saturating_sub(piece.skip + head + tail);
        for (bytes, length) in
            [(None, piece.skip.min(left)), (Some(piece.head), head), (None, middle), (Some(piece.tail), tail)]
        {
            if length == 0 || length > left {
                continue;
            }
            left -= length;
            call.after = left + more;
            match bytes {
                Some(bytes) => parser.data(side, bytes, &call, &mut self.yields),
                None => parser.skip(side, length, &call, &mut self.yields),
            }
            call.first = false;
        }
    }

    /// Hands out what the parser made, and publishes what it wants.
    fn settle(&mut self, out: &mut dyn Output) {
        let mut yields = std::mem::take(&mut self.yields);
        let mut call_ended = false;
        for made in yields.drain(..) {
            match made {
                Yield::Opened(mut opened) => {
                    opened.offset += self.began_at(opened.kind.direction());
                    if opened.kind.is_outgoing()
                        && let Some(headers) = &mut self.headers
                    {
                        let position = self.streams[usize::from(SEND)].position_of(opened.offset);
                        opened.inserted = headers.inserted_before(position);
                        opened.header = Some(Box::new(headers.take(position)));
                    }
                    self.is_unclear = false;
                    out.opened(&self.facts, opened);
                }
                Yield::Answered { kind, offset, pid } => {
                    out.answered(&self.facts, kind, offset + self.began_at(kind.direction()), pid);
                }
                Yield::Exchange(mut exchange) => {
                    exchange.request_offset += self.began_at(exchange.kind.direction());
                    call_ended |= exchange.kind == Kind::Call && exchange.outcome == Outcome::Complete;
                    out.closed(&self.facts, &exchange);
                    out.exchange(&self.facts, exchange);
                }
                // A tunnel is not read; what it carries is not looked at.
                Yield::Changed { .. } => {}
                Yield::Count(counter, n) => out.count(self.pid, counter, n),
            }
        }
        self.yields = yields;
        if call_ended {
            self.tell_boundary(out);
        }
        let want = match &self.state {
            State::Ignored => Wanted::Nothing,
            State::Parsing { parser, .. } => Wanted::of(&**parser),
            State::Unknown { .. } => Wanted::Heads,
        };
        if want == Wanted::Nothing && !self.is_hidden && self.gone.is_none() {
            self.is_hidden = true;
            // What the agent knows of its requests ends here; of what the process does for it, too.
            out.left(self.facts.number);
            if self.role == Some(Role::Server) || self.role.is_none() && self.was_accepted {
                out.hidden(self.pid);
            }
        }
        let verdict = match want {
            Wanted::Heads => Verdict::Heads,
            Wanted::Nothing => {
                self.state = State::Ignored;
                Verdict::Ignore
            }
            Wanted::BodyUntil { side, offset } => self.body_until(side, offset),
        };
        self.publish(verdict, false, out);
    }

    /// Nothing is open and nothing waits: the next byte that is sent begins a request.
    fn tell_boundary(&self, out: &mut dyn Output) {
        let State::Parsing { parser, .. } = &self.state else { return };
        if parser.is_idle() && self.gone.is_none() && self.streams.iter().all(Stream::is_quiet) {
            let stream = &self.streams[usize::from(SEND)];
            out.boundary(&self.facts, stream.position_of(stream.next()));
        }
    }

    /// Offset in a direction's stream at which the parser began.
    fn began_at(&self, direction: Direction) -> u64 {
        match &self.state {
            State::Parsing { began, .. } => began[direction.index()],
            State::Unknown { .. } | State::Ignored => 0,
        }
    }

    fn body_until(&self, body: Side, offset: u64) -> Verdict {
        let State::Parsing { began, .. } = &self.state else { return Verdict::Heads };
        let direction = if side(self.role, usize::from(SEND)) == body { SEND } else { RECEIVE };
        let index = usize::from(direction);
        let end = began[index].saturating_add(offset);
        let left = end.saturating_sub(self.streams[index].next());
        // Positions are 32 bits wide: a body of gigabytes is told in parts.
        if left < Self::SHORT_BODY || left > u64::from(u32::MAX / 4) {
            return Verdict::Heads;
        }
        Verdict::BodyUntil { direction, position: self.streams[index].position_of(end) }
    }

    fn publish(&mut self, verdict: Verdict, again: bool, out: &mut dyn Output) {
        if verdict != self.verdict || again {
            self.verdict = verdict;
            out.verdict(self.facts.number, verdict);
        }
    }
}

/// Which side's bytes flow in a direction.
fn side(role: Option<Role>, direction: usize) -> Side {
    if (role == Some(Role::Server)) == (direction == usize::from(RECEIVE)) {
        Side::Request
    } else {
        Side::Response
    }
}

/// The role of a process that moves requests in this direction.
fn role_of_request(direction: usize) -> Role {
    if direction == usize::from(RECEIVE) { Role::Server } else { Role::Client }
}

/// What the kernel shall copy of both directions, as long as there is one verdict for both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Heads,
    Nothing,
    BodyUntil { side: Side, offset: u64 },
}

impl Wanted {
    /// The body of a response is the longer one more often.
    fn of(parser: &dyn Parser) -> Self {
        for side in [Side::Response, Side::Request] {
            match parser.want(side) {
                Want::Nothing => return Self::Nothing,
                Want::BodyUntil(offset) => return Self::BodyUntil { side, offset },
                Want::Everything | Want::Heads | Want::Frames => {}
            }
        }
        Self::Heads
    }
}
