//! Connections: from the kernel's records to the protocols' parsers, and their exchanges back out.

#![forbid(unsafe_code)]

mod entry;
mod headers;
mod stream;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::{
    CLOSE_SEND, CLOSE_UNREAD, CloseRecord, DataHeader, FLAG_PRE_SEND, HeaderRecord, NoBytes, OPEN_BIRTH,
    OPEN_CLIENT, OpenRecord, RECEIVE, SEND, Verdict,
};

use self::{entry::Entry, headers::Headers};
use crate::{
    exchange::{ConnectionFacts, Connector, Exchange, Kind, Opened, Unit},
    ledger::Counter,
    protocol::{self, Role},
};

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are remembered at once.
    pub connections: usize,
    /// Those of each connection's parser.
    pub protocol: protocol::Limits,
}

/// Where what is understood goes.
pub trait Output {
    /// The head of a request has come.
    fn opened(&mut self, facts: &ConnectionFacts, opened: Opened);
    /// The final response to the request at this offset has begun, which that process read.
    fn answered(&mut self, facts: &ConnectionFacts, kind: Kind, offset: u64, pid: u32);
    /// An exchange has ended; what is still to be known of it follows.
    fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange);
    /// An exchange that has ended, with all that is known of it.
    fn exchange(&mut self, facts: &ConnectionFacts, exchange: Exchange);
    /// A thread has read from a connection.
    fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64);
    /// A thread has read from a connection what may be a request, and is not understood.
    fn unread(&mut self, unit: Unit, time_ns: u64);
    /// A process serves a connection whose requests cannot be seen.
    fn hidden(&mut self, pid: u32);
    /// A connection is gone.
    fn left(&mut self, connection: u64);
    /// Something for the ledger; `pid` is the process that moved the bytes.
    fn count(&mut self, pid: u32, counter: Counter, n: u64);
    /// What is wanted of a connection has changed.
    fn verdict(&mut self, connection: u64, verdict: Verdict);
    /// A call on a connection has ended, and what is sent next begins at this position.
    fn boundary(&mut self, facts: &ConnectionFacts, position: u32);
}

/// When the sends that were seen so far were seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// There was none.
    Unknown,
    /// All of them before their bytes left.
    Early,
    /// At least one after that.
    Late,
}

/// All connections with traffic.
pub struct Table {
    connections: FxHashMap<u64, Entry>,
    /// Those with pieces that wait, or that are about to go.
    urgent: FxHashSet<u64>,
    /// Ports on which selected processes listen: the role of a connection that was joined late.
    listening: FxHashSet<u16>,
    /// Connections by the first sequence numbers that they sent and received: both ends may be on this
    /// host. Nothing changes these on the way, as translation changes addresses.
    ends: FxHashMap<(u32, u32), u64>,
    /// Whether sends are seen before their bytes leave. Unless all are, the times of both ends are
    /// held together; as long as no send was seen, it may be so.
    sends: Sends,
    /// Exchanges whose times wait for those of the other end, since the last tick and since the one
    /// before it.
    waiting: [Vec<Waiting>; 2],
    /// Connections that are over, and stay as long for the other end's exchanges.
    leaving: [Vec<u64>; 2],
    /// What became of trace headers on connections that are not known yet.
    early_headers: FxHashMap<u64, Vec<HeaderRecord>>,
    limits: Limits,
    last_sweep_ns: u64,
}

/// An exchange that waits for the times of the other end.
struct Waiting {
    facts: ConnectionFacts,
    exchange: Exchange,
    /// Number of the other end.
    peer: u64,
    /// The byte whose arrival there bounds the time of its sending: an offset in what this end sent.
    offset: u64,
}

/// Keeps exchanges until they were compared with those of the other end.
struct Held<'a> {
    out: &'a mut dyn Output,
    exchanges: Vec<(ConnectionFacts, Exchange)>,
}

impl Output for Held<'_> {
    fn opened(&mut self, facts: &ConnectionFacts, opened: Opened) {
        self.out.opened(facts, opened);
    }

    fn answered(&mut self, facts: &ConnectionFacts, kind: Kind, offset: u64, pid: u32) {
        self.out.answered(facts, kind, offset, pid);
    }

    fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.out.closed(facts, exchange);
    }

    fn exchange(&mut self, facts: &ConnectionFacts, exchange: Exchange) {
        self.exchanges.push((facts.clone(), exchange));
    }

    fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64) {
        self.out.read(facts, unit, time_ns);
    }

    fn unread(&mut self, unit: Unit, time_ns: u64) {
        self.out.unread(unit, time_ns);
    }

    fn hidden(&mut self, pid: u32) {
        self.out.hidden(pid);
    }

    fn left(&mut self, connection: u64) {
        self.out.left(connection);
    }

    fn count(&mut self, pid: u32, counter: Counter, n: u64) {
        self.out.count(pid, counter, n);
    }

    fn verdict(&mut self, connection: u64, verdict: Verdict) {
        self.out.verdict(connection, verdict);
    }

    fn boundary(&mut self, facts: &ConnectionFacts, position: u32) {
        self.out.boundary(facts, position);
    }
}

impl Table {
    /// How often every connection is looked at for exchanges that take too long.
    const SWEEP_NS: u64 = 1_000_000_000;
    /// How long pieces wait for bytes before them, or a response for its request: the records of two
    /// CPUs differ by far less.
    const HOLD_NS: u64 = 50_000_000;
    /// Exchanges that wait for the times of the other end; more are handed on as they are.
    const MOST_WAITING: usize = 16_384;
    /// How long a closed connection with an open exchange waits: a reset may overtake bytes that the
    /// process still reads.
    const LINGER_NS: u64 = 100_000_000;

    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            connections: FxHashMap::default(),
            urgent: FxHashSet::default(),
            listening: FxHashSet::default(),
            ends: FxHashMap::default(),
            sends: Sends::Unknown,
            waiting: [Vec::new(), Vec::new()],
            leaving: [Vec::new(), Vec::new()],
            early_headers: FxHashMap::default(),
            limits,
            last_sweep_ns: 0,
        }
    }

    /// Connections that are known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A selected process listens on these ports.
    pub fn listens(&mut self, ports: &[u16]) {
        self.listening.extend(ports);
    }

    /// A connection carries its first bytes.
    pub fn open(&mut self, record: &OpenRecord, out: &mut dyn Output) {
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
        let facts = ConnectionFacts {
            number: record.connection,
            connector: if record.flags & OPEN_CLIENT != 0 {
                Connector::Local
            } else if from_birth {
                Connector::Remote
            } else {
                Connector::Unknown
            },
            local: address(record.family, &record.local_address, record.local_port),
            remote: address(record.family, &record.remote_address, record.remote_port),
            netns: record.netns,
            connect_ns: (record.flags & OPEN_CLIENT != 0).then_some(record.time_ns),
            first_sent: record.send_first,
            first_received: record.receive_first,
        };
        out.count(record.pid, Counter::Connections, 1);
        if !from_birth {
            out.count(record.pid, Counter::ConnectionsJoined, 1);
        }
        self.ends.insert((record.send_first, record.receive_first), record.connection);
        let mut entry = Entry::new(facts, role, record, from_birth, self.limits.protocol);
        for header in self.early_headers.remove(&record.connection).unwrap_or_default() {
            entry.header(header);
        }
        self.connections.insert(record.connection, entry);
    }

    /// Bytes moved. `head` and `tail` are the copied ones.
    pub fn data(&mut self, header: &DataHeader, head: &[u8], tail: &[u8], out: &mut dyn Output) {
        if header.direction == SEND && self.sends != Sends::Late {
            let early = header.flags & FLAG_PRE_SEND != 0;
            self.sends = if early { Sends::Early } else { Sends::Late };
        }
        let marks = self.sends != Sends::Early;
        let known = self.with(header.connection, header.time_ns, out, |entry, out| {
            if marks && header.direction == RECEIVE {
                entry.mark_received(header);
            }
            if header.direction == RECEIVE && header.length > 0 {
                let unit = unit_of(header);
                out.read(entry.facts(), unit, header.time_ns);
            }
            entry.data(header, head, tail, out);
        });
        // Of no length is the end of a stream that was closed before the process looked.
        if !known && header.length > 0 {
            out.count(header.pid, Counter::ConnectionsUnknownStart, 1);
            out.count(header.pid, Counter::BytesLost, u64::from(header.length));
        }
    }

    /// A trace header was pushed into a request, or none can be: told before its bytes are.
    pub fn header(&mut self, record: &HeaderRecord) {
        /// Connections that never carried a byte leave theirs behind.
        const MOST: usize = 4096;
        if let Some(entry) = self.connections.get_mut(&record.connection) {
            return entry.header(*record);
        }
        if self.early_headers.len() >= MOST {
            self.early_headers.clear();
        }
        let early = self.early_headers.entry(record.connection).or_default();
        if early.len() < Headers::MOST {
            early.push(*record);
        }
    }

    /// A connection, or its sending half, was closed.
    pub fn close(&mut self, record: &CloseRecord, out: &mut dyn Output) {
        self.with(record.connection, record.time_ns, out, |entry, out| {
            if record.state & !CLOSE_UNREAD == CLOSE_SEND {
                entry.send_closed(record, out);
            } else {
                entry.closed(record, out);
            }
        });
    }

    /// Time passes: what has waited long enough is taken as it is.
    pub fn tick(&mut self, now_ns: u64, out: &mut dyn Output) {
        self.release(now_ns, out);
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
            }
        }
    }

    /// No more records come. Requests that wait are not reported: nobody knows how they end.
    pub fn finish(&mut self, now_ns: u64, out: &mut dyn Output) {
        self.tick(now_ns.saturating_add(Self::HOLD_NS), out);
        self.release(now_ns, out);
        self.release(now_ns, out);
        for entry in self.connections.values_mut() {
            entry.flush_counts(out);
        }
    }

    /// Works on a connection, hands on what comes of it, and lets it go when it is done. Returns whether
    /// it is known.
    fn with(
        &mut self,
        number: u64,
        now_ns: u64,
        out: &mut dyn Output,
        work: impl FnOnce(&mut Entry, &mut dyn Output),
    ) -> bool {
        let Some(entry) = self.connections.get_mut(&number) else { return false };
        let mut held = Vec::new();
        if self.sends == Sends::Early {
            work(entry, out);
        } else {
            let mut keeper = Held { out: &mut *out, exchanges: held };
            work(entry, &mut keeper);
            held = keeper.exchanges;
        }
        let (is_urgent, is_gone) = (entry.is_urgent(), entry.is_gone());
        for (facts, exchange) in held {
            self.wait(facts, exchange, out);
        }
        if is_urgent {
            self.urgent.insert(number);
        }
        if is_gone {
            self.leave_if_done(number, now_ns, out);
        }
        true
    }

    /// A send that was seen after it was done looks later than the receive that it caused. When the
    /// other end is on this host, a byte left no later than it arrived there. That end's record may
    /// still be on its way, since two CPUs write to the ring: the exchange waits for it.
    fn wait(&mut self, facts: ConnectionFacts, exchange: Exchange, out: &mut dyn Output) {
        let Some((own, peer)) = self.peer_of(&facts).filter(|_| self.waiting[0].len() < Self::MOST_WAITING)
        else {
            return out.exchange(&facts, exchange);
        };
        let offset = if exchange.kind.is_outgoing() {
            exchange.request_offset + u64::from(own.inserted_before(exchange.request_offset))
        } else {
            own.sent().saturating_sub(1)
        };
        self.waiting[0].push(Waiting { facts, exchange, peer, offset });
    }

    /// A connection, and the number of its other end if that is on this host.
    fn peer_of(&self, facts: &ConnectionFacts) -> Option<(&Entry, u64)> {
        let own = self.connections.get(&facts.number)?;
        let number = self.ends.get(&(facts.first_received, facts.first_sent))?;
        (*number != facts.number && self.connections.contains_key(number)).then_some((own, *number))
    }

    /// Hands on the exchanges that have waited from one tick to the next, and lets go of the
    /// connections that stayed for them.
    fn release(&mut self, now_ns: u64, out: &mut dyn Output) {
        self.waiting.swap(0, 1);
        let mut ripe = std::mem::take(&mut self.waiting[0]);
        for Waiting { facts, mut exchange, peer, offset } in ripe.drain(..) {
            if let Some(arrived_ns) = self.connections.get(&peer).and_then(|peer| peer.received_at(offset)) {
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
            out.exchange(&facts, exchange);
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

    fn leave_if_done(&mut self, number: u64, now_ns: u64, out: &mut dyn Output) {
        if self.sends == Sends::Early {
            self.leave_now(number, now_ns, out);
        } else if self.connections.get(&number).is_some_and(|entry| entry.may_go(now_ns, Self::LINGER_NS)) {
            self.leaving[0].push(number);
        }
    }

    fn leave_now(&mut self, number: u64, now_ns: u64, out: &mut dyn Output) {
        if self.connections.get(&number).is_some_and(|entry| entry.may_go(now_ns, Self::LINGER_NS))
            && let Some(mut entry) = self.connections.remove(&number)
        {
            self.urgent.remove(&number);
            self.forget_end(&entry, number);
            entry.finish(out);
            out.left(number);
        }
    }

    fn forget_end(&mut self, entry: &Entry, number: u64) {
        let key = entry.ends();
        // They may be a later connection's by now.
        if self.ends.get(&key) == Some(&number) {
            self.ends.remove(&key);
        }
    }

    /// Makes room by forgetting a sixteenth of the connections: those that were quiet longest.
    fn evict(&mut self, out: &mut dyn Output) {
        let mut ages: Vec<(u64, u64)> =
            self.connections.iter().map(|(number, entry)| (entry.last_ns(), *number)).collect();
        let share = (ages.len() / 16).max(1).min(ages.len());
        ages.select_nth_unstable(share - 1);
        for (_, number) in ages.into_iter().take(share) {
            if let Some(mut entry) = self.connections.remove(&number) {
                self.forget_end(&entry, number);
                out.count(entry.pid(), Counter::ConnectionsEvicted, 1);
                entry.flush_counts(out);
                out.left(number);
            }
            self.urgent.remove(&number);
        }
    }
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

/// An address of the kernel's; IPv4 in IPv6 becomes IPv4.
fn address(family: u16, bytes: &[u8; 16], port: u16) -> SocketAddr {
    let ip = if family == libc::AF_INET6 as u16 {
        IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()
    } else {
        let [a, b, c, d, ..] = *bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    SocketAddr::new(ip, port)
}
