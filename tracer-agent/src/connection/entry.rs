//! One connection: its transport, maybe a layer above that, and its session.

mod inserted;
mod waiting;

use std::mem;

use tracer_common::{
    CLOSE_UNSEEN, CapturePolicy, CloseRecord, DataHeader, FLAG_CONTINUES, FLAG_DATAGRAM, FLAG_END, FLAG_TURN,
    InjectionRecord, OPEN_BIRTH, OpenRecord,
};

use super::{
    ConnectionOutput, counter_of,
    duplex::Flow,
    injected::Injected,
    layer::Layer,
    session::Session,
    stream::{BOTH, Segment},
    transport::Transport,
    unit_of,
};
use crate::{
    exchange::{ConnectionFacts, Direction, Exchange, Kind, Opened, Outcome},
    ledger::Counter,
    protocol::{self, Call, Role, Want, Yield},
};

/// One connection of the table.
pub(super) struct Entry {
    facts: ConnectionFacts,
    pid: u32,
    transport: Transport,
    layer: Option<Box<Layer>>,
    session: Session,
    /// It was met in the middle, and no request of it was understood yet.
    is_unclear: bool,
    /// The process that read last what may be a request, and is not known to be answered.
    undecoded_by: Option<u32>,
    /// The other end called `connect`.
    was_accepted: bool,
    /// Another program inserts bytes into its requests.
    is_lengthened: bool,
    /// A data record came before the open record, which found no space in the ring.
    has_moved_unannounced: bool,
    /// So many bytes are taken for inserted ones, as long as the first byte that this end receives is the
    /// connection's first.
    assumed_inserted: u32,
    /// It carries nothing that is read; told once.
    is_opaque: bool,
    /// What the kernel was told last, by direction.
    policies: [CapturePolicy; 2],
    last_ns: u64,
    tally: Tally,
    /// Bytes of memory that messages took when they were counted last.
    retained: usize,
    /// They may take more or less now.
    is_retained_stale: bool,
    /// What became of trace headers, if client requests get some.
    injected: Option<Box<Injected>>,
    /// Exchanges are kept for [`Entry::take_exchanges`].
    keeps_exchanges: bool,
    exchanges: Vec<Exchange>,
}

/// Bytes that were not yet told to the ledger.
#[derive(Default)]
struct Tally {
    seen: u64,
    copied: u64,
    skipped: u64,
}

impl Entry {
    /// Bodies shorter than this end before a policy about them would arrive.
    const SHORT_BODY: u64 = 4096;
    /// Only a segment longer than this may hold a complete message whose memory is worth a count.
    const LARGE_SEGMENT: u64 = 1024;

    pub(super) fn new(
        facts: ConnectionFacts,
        role: Option<Role>,
        record: &OpenRecord,
        limits: protocol::Limits,
    ) -> Self {
        let from_birth = record.flags & OPEN_BIRTH != 0;
        Self {
            facts,
            pid: record.pid,
            transport: Transport::new(record),
            layer: None,
            session: Session::new(role, from_birth, limits),
            is_unclear: !from_birth,
            undecoded_by: None,
            was_accepted: from_birth && role.is_none(),
            is_lengthened: false,
            has_moved_unannounced: false,
            assumed_inserted: 0,
            is_opaque: false,
            policies: [CapturePolicy::Heads; 2],
            last_ns: record.time_ns,
            tally: Tally::default(),
            retained: 0,
            is_retained_stale: false,
            injected: None,
            keeps_exchanges: false,
            exchanges: Vec::new(),
        }
    }

    pub(super) fn facts(&self) -> &ConnectionFacts {
        &self.facts
    }

    /// A data record came before the open record: the first bytes that are seen now need not be the first that moved.
    pub(super) fn moved_unannounced(&mut self) {
        self.has_moved_unannounced = true;
    }

    /// The other end is on this host: its connection has this number.
    pub(super) fn set_peer(&mut self, number: u64) {
        self.facts.peer = Some(number);
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// A trace header was injected into a request, or none can be.
    pub(super) fn header(&mut self, record: InjectionRecord) {
        self.injected.get_or_insert_default().add(record);
    }

    /// Bytes that were injected into what is sent before this offset.
    pub(super) fn inserted_before(&self, offset: u64) -> u32 {
        let position = self.transport.position_of(Direction::Send, offset);
        let own = self.injected.as_ref().map_or(0, |injected| injected.inserted_before(position));
        own.wrapping_add(self.transport.inserted_before(offset))
    }

    /// Whether exchanges that end are kept, until [`Entry::take_exchanges`], instead of handed on.
    pub(super) fn keep_exchanges(&mut self, keeps: bool) {
        self.keeps_exchanges = keeps;
    }

    /// Whether exchanges were kept.
    pub(super) fn has_kept(&self) -> bool {
        !self.exchanges.is_empty()
    }

    /// The exchanges that were kept.
    pub(super) fn take_exchanges(&mut self) -> Vec<Exchange> {
        mem::take(&mut self.exchanges)
    }

    /// Whether [`Entry::hurry`] has something to do soon.
    pub(super) fn is_urgent(&self) -> bool {
        self.transport.is_gone() || self.has_held()
    }

    /// Whether the kernel has closed it.
    pub(super) fn is_gone(&self) -> bool {
        self.transport.is_gone()
    }

    /// Whether the memory that messages take is to be counted again.
    pub(super) fn is_retained_stale(&self) -> bool {
        self.is_retained_stale
    }

    /// Counts the memory that messages take. Returns the number of bytes now and at the last count.
    pub(super) fn count_retained(&mut self) -> (usize, usize) {
        self.is_retained_stale = false;
        let layer = self.layer.as_ref().map_or(0, |layer| layer.duplex.retained_bytes());
        let now = self.session.retained_bytes() + self.transport.duplex.retained_bytes() + layer;
        (now, mem::replace(&mut self.retained, now))
    }

    /// Bytes of memory that messages took when they were counted last.
    pub(super) fn retained(&self) -> usize {
        self.retained
    }

    /// Memory is short: the messages in progress are given up.
    pub(super) fn release(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        self.take_held_since(u64::MAX, now_ns, out);
        self.session.release(now_ns);
        self.take_held_since(u64::MAX, now_ns, out);
    }

    fn has_held(&self) -> bool {
        self.transport.duplex.has_held() || self.layer.as_ref().is_some_and(|layer| layer.duplex.has_held())
    }

    /// Whether a connection that is gone has nothing more to wait for.
    pub(super) fn may_go(&self, now_ns: u64, linger_ns: u64) -> bool {
        // Of an opaque connection nothing more may be told.
        let is_told = self.layer.is_none() && !self.session.is_opaque();
        let waits = is_told && self.transport.is_behind() || !self.session.is_idle() || self.has_held();
        let serves = self.session.role() == Some(Role::Server) && self.session.open_exchanges() > 0;
        self.transport.may_go(waits, is_told, serves, now_ns, self.last_ns, linger_ns)
    }

    /// Marks a receive, where sends are seen after they were done.
    pub(super) fn mark_arrival(&mut self, header: &DataHeader) {
        self.transport.mark_arrival(header);
    }

    /// A data record.
    pub(super) fn data(
        &mut self,
        header: &DataHeader,
        head: &[u8],
        tail: &[u8],
        out: &mut dyn ConnectionOutput,
    ) {
        self.pid = header.pid;
        self.last_ns = self.last_ns.max(header.time_ns);
        let direction = Direction::from_code(header.direction);
        let copied = (head.len() + tail.len()) as u64;
        let length = u64::from(header.length);
        self.is_retained_stale |= length > Self::LARGE_SEGMENT;
        self.tally.seen += length;
        self.tally.copied += copied;
        if header.reason == 0 {
            self.tally.skipped += length.saturating_sub(copied);
        } else {
            out.count(header.pid, counter_of(header.reason), length);
        }
        if self.layer.is_none() {
            self.tell_undecoded(direction, header, out);
        }
        if self.session.is_opaque() || self.layer.is_some() {
            // The policy's slot was taken by another connection.
            out.policy(self.facts.number, direction, CapturePolicy::Ignore);
            return;
        }
        let mut offset = self.transport.offset_of(direction, header.position);
        if direction == Direction::Send
            && let Some(bytes) = self.inserted_by_another(header, offset, head)
        {
            self.follow_insertion(bytes);
            offset = self.transport.offset_of(direction, header.position);
        }
        if direction == Direction::Receive && mem::take(&mut self.assumed_inserted) != 0 && offset > 0 {
            self.revoke_insertion(out);
        }
        if self.data_at_once(header, direction, offset, head, out) {
            return self.settle(out);
        }
        if header.flags & FLAG_END != 0 {
            self.transport.duplex.stream_mut(direction).set_end(offset);
        } else {
            let segment = segment_of(header, offset, head, tail);
            let Self { transport, session, .. } = self;
            let mut flow = Flow { end: transport.end(), session, out };
            transport.duplex.take(direction, segment, &mut flow);
        }
        self.drive(header.time_ns, out);
        self.settle(out);
    }

    /// The usual record: the next bytes of a connection on which nothing waits, all of them copied, and
    /// the parser can take them. Returns whether it was one.
    fn data_at_once(
        &mut self,
        header: &DataHeader,
        direction: Direction,
        offset: u64,
        head: &[u8],
        out: &mut dyn ConnectionOutput,
    ) -> bool {
        let Self { transport, session, .. } = self;
        let length = u64::from(header.length);
        let is_usual = header.flags & (FLAG_END | FLAG_CONTINUES) == 0
            && head.len() as u64 == length
            && transport.duplex.stream(direction).is_next(offset)
            && transport.duplex.is_quiet()
            && session.is_usual(direction, offset);
        if !is_usual {
            return false;
        }
        let call = Call {
            start_ns: header.start_ns,
            end_ns: header.time_ns,
            unit: unit_of(header),
            after: 0,
            first: true,
        };
        if session.data(direction, head, &call) {
            let segment = segment_of(header, offset, head, &[]);
            let end = transport.end();
            transport.duplex.change(direction, &segment, &mut Flow { session, end, out });
        } else {
            transport.duplex.stream_mut(direction).advance_to(offset + length);
        }
        true
    }

    /// A layer above the transport is read from now on: `from_start` if nothing that it has carried was missed.
    pub(super) fn begin_layer(&mut self, from_start: bool) {
        self.layer = Some(Box::new(Layer::new()));
        // What waits is of the wire: nobody will read it.
        self.transport.duplex.discard_held();
        self.is_retained_stale = true;
        self.session.restart(from_start);
        self.is_unclear = !from_start;
        self.is_opaque = false;
    }

    /// Bytes of the layer: see [`super::Table::decrypted`].
    pub(super) fn decrypted(&mut self, header: &DataHeader, bytes: &[u8], out: &mut dyn ConnectionOutput) {
        self.pid = header.pid;
        self.last_ns = self.last_ns.max(header.time_ns);
        let direction = Direction::from_code(header.direction);
        if self.layer.is_none() {
            self.begin_layer(false);
        }
        self.tell_undecoded(direction, header, out);
        let wire = self.transport.offset_of(direction, header.position);
        // Nothing else tells how far the stream is.
        self.transport.duplex.stream_mut(direction).advance_to(wire);
        let Self { transport, layer: Some(layer), session, .. } = self else { return };
        let offset = layer.carry(direction, wire, u64::from(header.length));
        let mut flow = Flow { end: transport.end(), session, out };
        layer.duplex.take(direction, segment_of(header, offset, bytes, &[]), &mut flow);
        layer.duplex.drive(header.time_ns, &mut flow);
        self.settle(out);
    }

    /// What this end receives may be a request of which nobody is told.
    fn tell_undecoded(&mut self, direction: Direction, header: &DataHeader, out: &mut dyn ConnectionOutput) {
        let role = self.session.role();
        let may_be = if self.session.is_opaque() {
            role == Some(Role::Server) || self.was_accepted
        } else {
            self.is_unclear && role != Some(Role::Client)
        };
        if may_be && direction == Direction::Receive {
            self.undecoded_by = Some(header.pid);
            out.undecoded(self.facts.number, unit_of(header), header.time_ns);
        }
    }

    /// What may have been requests is answered: their responses have ended, or a request that is understood follows.
    fn tell_answered(&mut self, time_ns: u64, out: &mut dyn ConnectionOutput) {
        if let Some(pid) = self.undecoded_by.take() {
            out.undecoded_answered(self.facts.number, pid, time_ns);
        }
    }

    /// This end has sent its last byte.
    pub(super) fn send_closed(&mut self, record: &CloseRecord, out: &mut dyn ConnectionOutput) {
        self.transport.send_closed(record);
        self.drive(record.time_ns, out);
        self.settle(out);
    }

    /// The kernel has closed the connection.
    pub(super) fn closed(&mut self, record: &CloseRecord, out: &mut dyn ConnectionOutput) {
        if record.state & CLOSE_UNSEEN != 0 {
            // Of a socket that lived when it was looked for, the kernel tells the end.
            if self.is_gone() || self.last_ns > record.time_ns {
                return;
            }
            out.count(self.pid, Counter::ConnectionsEndUnseen, 1);
        }
        self.transport.close(record);
        self.drive(record.time_ns, out);
        self.settle(out);
    }

    /// Hands on what can be handed on. The end of a layer is that of the connection.
    fn drive(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        if self.layer.is_none() {
            let Self { transport, session, .. } = self;
            let end = transport.end();
            transport.duplex.drive(now_ns, &mut Flow { session, end, out });
        }
    }

    /// Time has passed for segments that wait.
    pub(super) fn hurry(&mut self, now_ns: u64, hold_ns: u64, out: &mut dyn ConnectionOutput) {
        self.take_held_since(now_ns.saturating_sub(hold_ns), now_ns, out);
    }

    /// Takes the segments that have waited since before `limit_ns` as they are.
    fn take_held_since(&mut self, limit_ns: u64, now_ns: u64, out: &mut dyn ConnectionOutput) {
        let Self { transport, layer, session, .. } = self;
        let end = transport.end();
        let duplex = match layer {
            Some(layer) => &mut layer.duplex,
            None => &mut transport.duplex,
        };
        duplex.take_held_since(limit_ns, now_ns, &mut Flow { session, end, out });
        self.settle(out);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        if self.session.tick(now_ns) {
            self.settle(out);
        }
        self.flush_counts(out);
    }

    /// The connection leaves the table.
    pub(super) fn finish(&mut self, out: &mut dyn ConnectionOutput) {
        if let Some((at_ns, end)) = self.transport.gone_at() {
            let Self { transport, layer, session, .. } = self;
            let mut flow = Flow { session, end, out };
            match layer {
                Some(layer) => layer.duplex.take_held_since(u64::MAX, at_ns, &mut flow),
                None => transport.finish(&mut flow),
            }
            // What was read after the end ends when it was read.
            let is_read_later = self.transport.leaves_unread() && self.session.role() == Some(Role::Server);
            self.session.close(end, if is_read_later { at_ns.max(self.last_ns) } else { at_ns });
        }
        self.settle(out);
        self.flush_counts(out);
    }

    /// No more is told of the connection: tells the ledger of what is open.
    pub(super) fn give_up(&mut self, out: &mut dyn ConnectionOutput) {
        let open = self.session.open_exchanges();
        if open > 0 {
            out.count(self.pid, Counter::ExchangesOpen, open);
        }
        self.flush_counts(out);
    }

    /// Tells the ledger of bytes.
    pub(super) fn flush_counts(&mut self, out: &mut dyn ConnectionOutput) {
        let Tally { seen, copied, skipped } = mem::take(&mut self.tally);
        if seen > 0 {
            out.count(self.pid, Counter::BytesSeen, seen);
            out.count(self.pid, Counter::BytesCopied, copied);
            out.count(self.pid, Counter::BytesSkipped, skipped);
        }
    }

    /// Hands out what the parser made, and publishes what it wants.
    fn settle(&mut self, out: &mut dyn ConnectionOutput) {
        self.is_retained_stale |= self.retained > 0 || self.session.is_silent();
        let (mut yields, base) = self.session.take_yields();
        let mut call_ended = false;
        for made in &mut yields {
            match made {
                Yield::Opened(opened) => {
                    opened.offset += base[opened.kind.direction().index()];
                    self.opened(opened, out);
                }
                Yield::Answered { kind, offset, pid, by } => {
                    let offset = *offset + base[kind.direction().index()];
                    let offset = self.wire_of(kind.direction(), offset);
                    out.answered(&self.facts, *kind, offset, (*pid, *by));
                }
                Yield::Exchange(exchange) => {
                    let direction = exchange.kind.direction();
                    exchange.request_offset += base[direction.index()];
                    if let Some(layer) = &mut self.layer {
                        exchange.request_offset = layer.close(direction, exchange.request_offset);
                    }
                    call_ended |= exchange.kind == Kind::Call && exchange.outcome == Outcome::Complete;
                    out.closed(&self.facts, exchange);
                    if self.keeps_exchanges {
                        self.exchanges.push(exchange.clone());
                    } else {
                        out.exchange(&self.facts, exchange);
                    }
                }
                // The session has followed it.
                Yield::Changed { .. } => {}
                Yield::Count(counter, n) => out.count(self.pid, *counter, *n),
            }
        }
        self.session.recycle(yields);
        if self.undecoded_by.is_some() && self.session.is_answered() {
            self.tell_answered(self.last_ns, out);
        }
        if call_ended {
            self.tell_boundary(out);
        }
        self.publish(out);
    }

    fn opened(&mut self, opened: &mut Opened, out: &mut dyn ConnectionOutput) {
        if let Some(layer) = &mut self.layer {
            opened.offset = layer.open(opened.kind.direction(), opened.offset);
        } else if opened.kind.is_outgoing() {
            opened.is_lengthened = self.is_lengthened;
            opened.inserted = self.inserted_before(opened.offset);
            if let Some(injected) = &mut self.injected {
                let position = self.transport.position_of(Direction::Send, opened.offset);
                opened.injection = Some(Box::new(injected.take(position)));
            }
        }
        self.is_unclear = false;
        self.tell_answered(opened.start_ns, out);
        out.opened(&self.facts, opened);
    }

    /// The offset on the wire of a message that begins at this offset of what the session is told.
    fn wire_of(&self, direction: Direction, offset: u64) -> u64 {
        self.layer.as_ref().map_or(offset, |layer| layer.wire_of(direction, offset))
    }

    /// Nothing is open and nothing waits: the next byte that is sent begins a request.
    fn tell_boundary(&self, out: &mut dyn ConnectionOutput) {
        if self.session.is_between_exchanges()
            && self.layer.is_none()
            && !self.is_lengthened
            && !self.transport.is_gone()
            && self.transport.duplex.is_quiet()
        {
            let position = self.transport.position_of(Direction::Send, self.transport.sent());
            out.boundary(&self.facts, position);
        }
    }

    /// Tells the kernel what is wanted from here on, if that has changed; and the others, if that is nothing.
    fn publish(&mut self, out: &mut dyn ConnectionOutput) {
        let wants = BOTH.map(|direction| self.session.want(direction));
        if wants == [Want::Nothing; 2] {
            self.session.turn_opaque();
            if !self.is_opaque && !self.transport.is_gone() {
                self.is_opaque = true;
                // What the agent knows of its requests ends here; of what the process does for it, too.
                out.left(self.facts.number);
                let role = self.session.role();
                if role == Some(Role::Server) || role.is_none() && self.was_accepted {
                    out.opaque(self.pid);
                }
            }
        }
        for direction in BOTH {
            let policy = match wants[direction.index()] {
                // Its bytes come from elsewhere.
                _ if self.layer.is_some() => CapturePolicy::Ignore,
                Want::Heads => CapturePolicy::Heads,
                Want::Everything => CapturePolicy::Everything,
                Want::Frames => CapturePolicy::Frames,
                Want::Nothing => CapturePolicy::Ignore,
                Want::BodyUntil(end) => self.body_until(direction, end),
            };
            if policy != self.policies[direction.index()] {
                self.policies[direction.index()] = policy;
                out.policy(self.facts.number, direction, policy);
            }
        }
    }

    /// A body ends at this offset.
    fn body_until(&self, direction: Direction, end: u64) -> CapturePolicy {
        let left = end.saturating_sub(self.transport.duplex.stream(direction).next());
        // Positions are 32 bits wide: a body of gigabytes is told in parts.
        if left < Self::SHORT_BODY || left > u64::from(u32::MAX / 4) {
            return CapturePolicy::Heads;
        }
        CapturePolicy::BodyUntil { position: self.transport.position_of(direction, end) }
    }
}

/// What a record tells of a stream.
fn segment_of<'a>(header: &DataHeader, offset: u64, head: &'a [u8], tail: &'a [u8]) -> Segment<&'a [u8]> {
    Segment {
        offset,
        length: u64::from(header.length),
        skip: u64::from(header.prefix_offset),
        head,
        tail,
        start_ns: header.start_ns,
        end_ns: header.time_ns,
        unit: unit_of(header),
        turn: header.flags & FLAG_TURN != 0,
        continues: header.flags & FLAG_CONTINUES != 0,
        is_datagram: header.flags & FLAG_DATAGRAM != 0,
    }
}
