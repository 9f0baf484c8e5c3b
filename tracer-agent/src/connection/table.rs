//! All connections with traffic: records find theirs, the ends of one connection find each other, and what is over
//! leaves.

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::{
    CloseRecord, DataHeader, FLAG_PRE_SEND, FLAG_TURN, InjectionRecord, OPEN_BIRTH, OPEN_CLIENT, OpenRecord,
    RECEIVE, SEND, is_close_of_send,
};

use super::{
    ConnectionOutput, IdleConnection, Limits, entry::Entry, injected::Injected, peers::Peers, unit_of,
};
use crate::{
    endpoint::{Endpoint, PeerIdentity},
    exchange::{ConnectionFacts, Connector, Direction, Exchange, Kind, Unit},
    ledger::Counter,
    protocol::Role,
};

/// When the sends that were seen so far were seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SendTiming {
    /// There was none.
    Unknown,
    /// All of them before their bytes left.
    Before,
    /// At least one after that.
    After,
}

/// All connections with traffic.
pub struct Table {
    connections: FxHashMap<u64, Entry>,
    /// Those with segments that wait, or that are about to go.
    urgent: FxHashSet<u64>,
    /// Ports on which selected processes listen: the role of a connection that was met in the
    /// middle.
    listening: FxHashSet<u16>,
    /// Connections by their identity: both ends may be on this host.
    peers: Peers,
    /// Whether sends are seen before their bytes leave. Unless all are, the times of both ends are
    /// held together; as long as no send was seen, it may be so.
    sends: SendTiming,
    /// Exchanges whose times wait for those of the other end, since the last tick and since the one
    /// before it.
    waiting: [Vec<HeldExchange>; 2],
    /// Connections that are over, and stay as long for the other end's exchanges.
    leaving: [Vec<u64>; 2],
    /// What became of trace headers on connections that are not known yet.
    early_injections: FxHashMap<u64, Vec<InjectionRecord>>,
    /// Connections of which a data record came, and no open record yet: the ring had no space for it.
    unannounced: FxHashSet<u64>,
    /// Bytes of memory that messages take: see [`Limits::message_memory`].
    retained: usize,
    /// Servers' connections whose response waits for the request, by the client's connection that is to tell it.
    awaiting: FxHashMap<u64, u64>,
    /// When connections are looked at next to keep that bound.
    relief_from_ns: u64,
    limits: Limits,
    last_sweep_ns: u64,
}

/// An exchange that waits for the times of the other end.
struct HeldExchange {
    facts: ConnectionFacts,
    exchange: Exchange,
    /// Number of the other end.
    peer: u64,
    /// The byte whose arrival there bounds the time of its sending: an offset in what this end sent.
    offset: u64,
}

impl Table {
    /// How often every connection is looked at for exchanges that take too long.
    const SWEEP_NS: u64 = 1_000_000_000;
    /// How long segments wait for bytes before them, or a response for its request: the records of two
    /// CPUs differ by far less.
    const HOLD_NS: u64 = 50_000_000;
    /// Exchanges that wait for the times of the other end; more are handed on as they are.
    const MAX_WAITING: usize = 16_384;
    /// Messages of a connection that take less memory are given up after all others.
    const SMALL_SHARE: usize = 4096;
    /// How long messages may take more memory than they should before connections are looked at again.
    const RELIEF_NS: u64 = 1_000_000;
    /// How long a closed connection with an open exchange waits: a reset may overtake bytes that the
    /// process still reads.
    const LINGER_NS: u64 = 100_000_000;

    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            connections: FxHashMap::default(),
            urgent: FxHashSet::default(),
            listening: FxHashSet::default(),
            peers: Peers::default(),
            sends: SendTiming::Unknown,
            waiting: [Vec::new(), Vec::new()],
            leaving: [Vec::new(), Vec::new()],
            early_injections: FxHashMap::default(),
            unannounced: FxHashSet::default(),
            retained: 0,
            awaiting: FxHashMap::default(),
            relief_from_ns: 0,
            limits,
            last_sweep_ns: 0,
        }
    }

    /// Connections that are known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Bytes of memory that messages take.
    pub fn retained(&self) -> usize {
        self.retained
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A selected process listens on these ports.
    pub fn listens(&mut self, ports: &[u16]) {
        self.listening.extend(ports);
    }

    /// A connection carries its first bytes. `name` is that of its Unix socket: the bytes that follow the record.
    pub fn open(&mut self, record: &OpenRecord, name: &[u8], out: &mut dyn ConnectionOutput) {
        // Two threads may have met it at once.
        if self.connections.contains_key(&record.connection) {
            return;
        }
        if self.connections.len() >= self.limits.connections {
            self.evict(out);
        }
        let from_birth = record.flags & OPEN_BIRTH != 0;
        let role = if record.flags & OPEN_CLIENT != 0 {
            Some(Role::Client)
        } else if !from_birth && self.listening.contains(&record.local_port) {
            Some(Role::Server)
        } else {
            None
        };
        let (local, remote) = Endpoint::both_of(record, name);
        let identity = PeerIdentity::of(record);
        let peer = self.peers.add(identity, record.connection);
        if let Some(peer) = peer.and_then(|peer| self.connections.get_mut(&peer)) {
            peer.set_peer(record.connection);
        }
        let facts = ConnectionFacts {
            number: record.connection,
            connector: if record.flags & OPEN_CLIENT != 0 {
                Connector::Local
            } else if from_birth {
                Connector::Remote
            } else {
                Connector::Unknown
            },
            local,
            remote,
            identity,
            peer,
            netns: record.netns,
            connect_ns: (record.flags & OPEN_CLIENT != 0).then_some(record.time_ns),
            first_sent: record.send_first,
            first_received: record.receive_first,
        };
        out.count(record.pid, Counter::Connections, 1);
        if !from_birth {
            out.count(record.pid, Counter::ConnectionsMidStream, 1);
        }
        let mut entry = Entry::new(facts, role, record, self.limits.protocol);
        if self.unannounced.remove(&record.connection) {
            entry.moved_unannounced();
        }
        for header in self.early_injections.remove(&record.connection).unwrap_or_default() {
            entry.header(header);
        }
        self.connections.insert(record.connection, entry);
    }

    /// Bytes moved. `head` and `tail` are the copied ones.
    pub fn data(&mut self, header: &DataHeader, head: &[u8], tail: &[u8], out: &mut dyn ConnectionOutput) {
        if header.direction == SEND && self.sends != SendTiming::After {
            let before = header.flags & FLAG_PRE_SEND != 0;
            self.sends = if before { SendTiming::Before } else { SendTiming::After };
        }
        let marks = self.sends != SendTiming::Before;
        let mut lacks_request = false;
        let known = self.with(header.connection, header.time_ns, out, |entry, out| {
            if header.direction == SEND {
                let is_turn = header.flags & FLAG_TURN != 0;
                lacks_request = entry.lacks_request(if is_turn { head } else { &[] });
                if lacks_request {
                    return;
                }
            } else {
                if marks {
                    entry.mark_arrival(header);
                }
                tell_read(entry, header, out);
                if header.flags & FLAG_TURN != 0 && entry.awaiting_request().is_some() {
                    entry.await_no_request_before(header, head, out);
                }
            }
            entry.data(header, head, tail, out);
        });
        if lacks_request {
            self.respond(header, head, tail, out);
        }
        if !self.awaiting.is_empty() {
            self.answer_waiting(header, out);
        }
        if !known {
            self.note_unannounced(header, out);
        }
    }

    /// A server sends a response, and the head of the request went by uncopied: in the middle of a read, behind a body.
    /// If the client's end is traced too, it knows the request, or will: the record of a send comes when the send is
    /// done, and a server can answer before that.
    #[cold]
    fn respond(&mut self, header: &DataHeader, head: &[u8], tail: &[u8], out: &mut dyn ConnectionOutput) {
        let number = header.connection;
        let client = self.connections.get(&number).and_then(|entry| entry.facts().peer);
        let client = client.filter(|client| self.connections.contains_key(client));
        let offset = self.connections.get(&number).map(|entry| {
            entry.transport().offset_of(Direction::from_code(header.direction), header.position)
        });
        let response = offset.map(|offset| (offset, unit_of(header)));
        let waits = client
            .zip(response)
            .is_some_and(|(client, response)| !self.supply_request(client, number, response, out));
        if let Some(client) = client.filter(|_| waits) {
            self.awaiting.insert(client, number);
        }
        self.with(number, header.time_ns, out, |entry, out| {
            if waits {
                entry.await_request();
            } else {
                entry.await_no_request(header.time_ns, out);
            }
            entry.data(header, head, tail, out);
        });
    }

    /// A record of a client may tell the request for which a response of its server waits.
    #[cold]
    fn answer_waiting(&mut self, header: &DataHeader, out: &mut dyn ConnectionOutput) {
        let Some(server) = self.awaiting.get(&header.connection).copied() else { return };
        let waiting = self.connections.get(&server).and_then(Entry::awaiting_request);
        if waiting.is_some_and(|response| !self.supply_request(header.connection, server, response, out)) {
            return;
        }
        self.awaiting.remove(&header.connection);
        self.with(server, header.time_ns, out, |entry, out| entry.await_no_request(header.time_ns, out));
    }

    /// A data record of a connection without an open record. The kernel programs send the open record with a later call.
    #[cold]
    fn note_unannounced(&mut self, header: &DataHeader, out: &mut dyn ConnectionOutput) {
        /// Connections that were evicted, or are never announced, leave their numbers behind.
        const MOST: usize = 4096;
        if self.unannounced.len() >= MOST {
            self.unannounced.clear();
        }
        let is_new = self.unannounced.insert(header.connection);
        // Of no length is the end of a stream that was closed before the process looked.
        if header.length > 0 {
            out.count(header.pid, Counter::ConnectionsUnknownStart, u64::from(is_new));
            out.count(header.pid, Counter::BytesLost, u64::from(header.length));
        }
    }

    /// Tells a server's connection the request of its next response, as the client's end knows it. The response begins
    /// at an offset, and a unit sends it. Returns whether that request was known.
    fn supply_request(
        &mut self,
        client: u64,
        server: u64,
        (response, unit): (u64, Unit),
        out: &mut dyn ConnectionOutput,
    ) -> bool {
        let request = self.connections.get(&client).and_then(|entry| entry.request_of(response));
        let Some((request, entry)) = request.zip(self.connections.get_mut(&server)) else { return false };
        entry.supply_request(request, unit, out)
    }

    /// A layer above a connection's transport is read from now on, TLS for one: its bytes are told decrypted
    /// ([`Table::decrypted`]), and those on the wire are not read any more. `from_start` if nothing that the layer has
    /// carried was missed. A connection that is opaque can be read so later.
    pub fn begin_layer(&mut self, connection: u64, from_start: bool) {
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.begin_layer(from_start);
        }
    }

    /// Bytes of a layer moved, which have no positions of their own. They come in their order; `header.position` is
    /// that of the record on the wire which carried them, `header.length` their number, `bytes` those that were
    /// copied. Without [`Table::begin_layer`] the layer is met in the middle.
    pub fn decrypted(&mut self, header: &DataHeader, bytes: &[u8], out: &mut dyn ConnectionOutput) {
        self.with(header.connection, header.time_ns, out, |entry, out| {
            tell_read(entry, header, out);
            entry.decrypted(header, bytes, out);
        });
    }

    /// A trace header was injected into a request, or none can be: told before its bytes are.
    pub fn header(&mut self, record: &InjectionRecord) {
        /// Connections that never carried a byte leave theirs behind.
        const MOST: usize = 4096;
        if let Some(entry) = self.connections.get_mut(&record.connection) {
            return entry.header(*record);
        }
        if self.early_injections.len() >= MOST {
            self.early_injections.clear();
        }
        let early = self.early_injections.entry(record.connection).or_default();
        if early.len() < Injected::MOST {
            early.push(*record);
        }
    }

    /// A connection, or its sending half, was closed.
    pub fn close(&mut self, record: &CloseRecord, out: &mut dyn ConnectionOutput) {
        self.with(record.connection, record.time_ns, out, |entry, out| {
            if is_close_of_send(record.state) {
                entry.send_closed(record, out);
            } else {
                entry.closed(record, out);
            }
        });
    }

    /// Time passes: what has waited long enough is taken as it is.
    pub fn tick(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        self.release(now_ns, out);
        self.peers.tick();
        let urgent: Vec<u64> = self.urgent.iter().copied().collect();
        for number in urgent {
            if let Some(entry) = self.connections.get_mut(&number) {
                entry.hurry(now_ns, Self::HOLD_NS, out);
                if !entry.is_urgent() {
                    self.urgent.remove(&number);
                }
            } else {
                self.urgent.remove(&number);
            }
            self.leave_if_done(number, now_ns, out);
        }
        if now_ns.saturating_sub(self.last_sweep_ns) >= Self::SWEEP_NS {
            self.last_sweep_ns = now_ns;
            for entry in self.connections.values_mut() {
                entry.tick(now_ns, out);
                let (retained, before) = entry.count_retained();
                self.retained = self.retained + retained - before;
            }
            self.relieve(now_ns, out);
        }
    }

    /// The TCP connections on which nothing has happened since `limit_ns`, and whose end was not told.
    pub fn idle_since(&self, limit_ns: u64) -> Vec<IdleConnection> {
        let addresses = |entry: &Entry| {
            let facts = entry.facts();
            let (Endpoint::Ip(local), Endpoint::Ip(remote)) = (&facts.local, &facts.remote) else {
                return None;
            };
            Some((facts.netns, *local, *remote))
        };
        let mut latest = FxHashMap::default();
        for entry in self.connections.values() {
            if let Some(addresses) = addresses(entry) {
                let last_ns: &mut u64 = latest.entry(addresses).or_default();
                *last_ns = entry.last_ns().max(*last_ns);
            }
        }
        let is_idle = |entry: &&Entry| !entry.is_gone() && entry.last_ns() <= limit_ns;
        let mut idle: Vec<IdleConnection> = self
            .connections
            .values()
            .filter(is_idle)
            .filter_map(|entry| {
                let (netns, local, remote) = addresses(entry)?;
                let is_replaced = latest.get(&(netns, local, remote)) > Some(&entry.last_ns());
                let (number, pid) = (entry.facts().number, entry.pid());
                Some(IdleConnection { number, pid, netns, local, remote, is_replaced })
            })
            .collect();
        idle.sort_unstable_by_key(|connection| connection.number);
        idle
    }

    /// Tells the ledger of bytes that connections have counted.
    pub fn flush_counts(&mut self, out: &mut dyn ConnectionOutput) {
        self.connections.values_mut().for_each(|entry| entry.flush_counts(out));
    }

    /// No more records come. A connection that the kernel has closed ends as it is. Requests that wait on others are
    /// counted: nobody knows how they end.
    pub fn finish(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        self.tick(now_ns.saturating_add(Self::HOLD_NS), out);
        let closed: Vec<u64> = self.urgent.iter().copied().collect();
        for number in closed {
            if self.connections.get(&number).is_some_and(Entry::is_gone) {
                self.remove(number, out);
            }
        }
        self.release(now_ns, out);
        self.release(now_ns, out);
        for entry in self.connections.values_mut() {
            entry.give_up(out);
        }
    }

    /// Works on a connection, hands on what comes of it, and lets it go when it is done. Returns whether
    /// it is known.
    fn with(
        &mut self,
        number: u64,
        now_ns: u64,
        out: &mut dyn ConnectionOutput,
        work: impl FnOnce(&mut Entry, &mut dyn ConnectionOutput),
    ) -> bool {
        let keeps = self.sends != SendTiming::Before;
        let Some(entry) = self.connections.get_mut(&number) else { return false };
        entry.keep_exchanges(keeps);
        work(entry, out);
        entry.keep_exchanges(false);
        if entry.is_retained_stale() {
            let (retained, before) = entry.count_retained();
            self.retained = self.retained + retained - before;
        }
        if entry.has_kept() || entry.is_urgent() {
            self.follow_up(number, now_ns, out);
        }
        self.relieve(now_ns, out);
        true
    }

    /// Hands on the exchanges that a connection kept, and lets it go when it is done.
    #[inline(never)]
    fn follow_up(&mut self, number: u64, now_ns: u64, out: &mut dyn ConnectionOutput) {
        let Some(entry) = self.connections.get_mut(&number) else { return };
        let kept = entry.take_exchanges();
        let (is_urgent, is_gone) = (entry.is_urgent(), entry.is_gone());
        if !kept.is_empty() {
            let facts = entry.facts().clone();
            for exchange in kept {
                self.wait(&facts, exchange, out);
            }
        }
        if is_urgent {
            self.urgent.insert(number);
        }
        if is_gone {
            self.leave_if_done(number, now_ns, out);
        }
    }

    /// A send that was seen after it was done looks later than the receive that it caused. When the
    /// other end is on this host, a byte left no later than it arrived there. That end's record may
    /// still be on its way, since two CPUs write to the ring: the exchange waits for it.
    fn wait(&mut self, facts: &ConnectionFacts, exchange: Exchange, out: &mut dyn ConnectionOutput) {
        let ends = self.connections.get(&facts.number).zip(self.peer_of(facts));
        let Some((own, peer)) = ends.filter(|_| self.waiting[0].len() < Self::MAX_WAITING) else {
            return out.exchange(facts, &exchange);
        };
        let offset = if exchange.kind.is_outgoing() {
            exchange.request_offset + u64::from(own.inserted_before(exchange.request_offset))
        } else {
            own.transport().sent().saturating_sub(1)
        };
        self.waiting[0].push(HeldExchange { facts: facts.clone(), exchange, peer, offset });
    }

    /// Number of the connection at the other end, as long as that is here.
    fn peer_of(&self, facts: &ConnectionFacts) -> Option<u64> {
        facts.peer.filter(|peer| self.connections.contains_key(peer))
    }

    /// Hands on the exchanges that have waited from one tick to the next, and lets go of the
    /// connections that stayed for them.
    fn release(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        self.waiting.swap(0, 1);
        let mut ripe = std::mem::take(&mut self.waiting[0]);
        for HeldExchange { facts, mut exchange, peer, offset } in ripe.drain(..) {
            if let Some(arrived_ns) =
                self.connections.get(&peer).and_then(|peer| peer.transport().arrived_at(offset))
            {
                match exchange.kind {
                    Kind::Call | Kind::Publish => exchange.start_ns = exchange.start_ns.min(arrived_ns),
                    Kind::Serve => {
                        exchange.end_ns = exchange.end_ns.min(arrived_ns).max(exchange.start_ns);
                        let first_ns = exchange.response_start_ns;
                        exchange.response_start_ns = first_ns.map(|at_ns| at_ns.min(exchange.end_ns));
                    }
                    // Nothing of it was sent.
                    Kind::Consume => {}
                }
            }
            out.exchange(&facts, &exchange);
        }
        self.leaving.swap(0, 1);
        let mut gone = std::mem::take(&mut self.leaving[0]);
        for number in gone.drain(..) {
            self.leave_now(number, now_ns, out);
        }
        // The memory serves again.
        self.waiting[0] = ripe;
        self.leaving[0] = gone;
    }

    fn leave_if_done(&mut self, number: u64, now_ns: u64, out: &mut dyn ConnectionOutput) {
        if self.sends == SendTiming::Before {
            self.leave_now(number, now_ns, out);
        } else if self.connections.get(&number).is_some_and(|entry| entry.may_go(now_ns, Self::LINGER_NS)) {
            self.leaving[0].push(number);
        }
    }

    fn leave_now(&mut self, number: u64, now_ns: u64, out: &mut dyn ConnectionOutput) {
        if self.connections.get(&number).is_some_and(|entry| entry.may_go(now_ns, Self::LINGER_NS)) {
            self.remove(number, out);
        }
    }

    /// A connection that is gone leaves the table.
    fn remove(&mut self, number: u64, out: &mut dyn ConnectionOutput) {
        if let Some(mut entry) = self.connections.remove(&number) {
            self.retained -= entry.retained();
            self.urgent.remove(&number);
            self.awaiting.remove(&number);
            self.peers.depart(entry.facts().identity, number);
            entry.finish(out);
            out.left(number);
        }
    }

    /// Keeps the bound of the memory that messages take: the connections that were quiet longest give up theirs, until
    /// an eighth of the bound is free. Those with small messages come last.
    #[inline]
    fn relieve(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        if self.retained > self.limits.message_memory && now_ns >= self.relief_from_ns {
            self.release_messages(now_ns, out);
        }
    }

    #[cold]
    fn release_messages(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        let holders = self.connections.iter().filter(|(_, entry)| entry.retained() > 0);
        let mut holders: Vec<(bool, u64, u64)> = holders
            .map(|(number, entry)| (entry.retained() < Self::SMALL_SHARE, entry.last_ns(), *number))
            .collect();
        holders.sort_unstable();
        let aim = self.limits.message_memory / 8 * 7;
        // The connections are looked at once in a while, also if this frees nothing.
        self.relief_from_ns = now_ns.saturating_add(Self::RELIEF_NS);
        for (_, _, number) in holders {
            if self.retained <= aim {
                break;
            }
            if let Some(entry) = self.connections.get_mut(&number) {
                entry.release(now_ns, out);
                let (retained, before) = entry.count_retained();
                self.retained = self.retained + retained - before;
            }
        }
    }

    /// Makes space by forgetting a sixteenth of the connections: those that were quiet longest.
    fn evict(&mut self, out: &mut dyn ConnectionOutput) {
        let mut ages: Vec<(u64, u64)> =
            self.connections.iter().map(|(number, entry)| (entry.last_ns(), *number)).collect();
        let share = (ages.len() / 16).max(1).min(ages.len());
        ages.select_nth_unstable(share - 1);
        for (_, number) in ages.into_iter().take(share) {
            if let Some(mut entry) = self.connections.remove(&number) {
                self.retained -= entry.retained();
                self.peers.depart(entry.facts().identity, number);
                out.count(entry.pid(), Counter::ConnectionsEvicted, 1);
                entry.give_up(out);
                out.left(number);
            }
            self.awaiting.remove(&number);
            self.urgent.remove(&number);
        }
    }
}

/// A thread has read from a connection.
fn tell_read(entry: &Entry, header: &DataHeader, out: &mut dyn ConnectionOutput) {
    if header.direction == RECEIVE && header.length > 0 {
        out.read(entry.facts(), unit_of(header), header.time_ns);
    }
}
