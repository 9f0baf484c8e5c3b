//! From what the kernel tells to spans: one synchronous way, the same for live traffic and for
//! recordings. Everything that decides about a span comes in as an [`Input`]; nothing is looked up.

#![forbid(unsafe_code)]

use rustc_hash::FxHashSet;
use tracer_common::{
    CLOSE_SEND, CLOSE_UNREAD, CloseRecord, DataHeader, HeaderOutcome, HeaderRecord, KERNEL_COUNTERS,
    KernelCounter, Kind, OpenRecord, ProcessRecord, Verdict,
};

use crate::{
    connection::{self, Table},
    correlate::{Correlator, Profile},
    exchange::{ConnectionFacts, Exchange, Kind as ExchangeKind, Opened, Outcome, Unit},
    ledger::{Counter, Ledger},
    process::{facts::ProcessFacts, table::ProcessTable},
    protocol::http::HttpExchange,
    sink::{Outgoing, SpanSink},
    span::{build::Clock, build::SpanBuilder},
    trace_context::sample::SAMPLED,
};

/// What the pipeline is told.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record from the ring.
    Record(&'a [u8]),
    /// A process was selected, or executed another program; `rule` is the operator's name for it.
    Facts {
        /// What is known of it.
        facts: &'a ProcessFacts,
        /// Service name of the selector that matched.
        rule: Option<&'a str>,
    },
    /// A selected process listens on these ports.
    Listening {
        /// Which.
        pid: u32,
        /// Where.
        ports: &'a [u16],
    },
    /// What turns `CLOCK_MONOTONIC` into Unix time.
    Clock {
        /// Unix time minus `CLOCK_MONOTONIC`, nanoseconds.
        offset_ns: i64,
    },
    /// Time has passed.
    Tick {
        /// `CLOCK_MONOTONIC`.
        now_ns: u64,
    },
    /// The kernel programs' counters.
    Counters([u64; KERNEL_COUNTERS as usize]),
    /// A selector excludes a process that inherited its selection.
    Excluded {
        /// Which.
        pid: u32,
    },
    /// A process had run for a while before it was selected.
    SelectedLate {
        /// Which.
        pid: u32,
    },
    /// A process that is selected cannot be traced.
    AttachFailed {
        /// Which.
        pid: u32,
    },
}

/// The word back to the kernel: what the pipeline has learned of connections and processes. It is called
/// on the pipeline's thread and never waits.
pub trait Feedback {
    /// What the kernel shall copy of a connection.
    fn verdict(&mut self, _connection: u64, _verdict: Verdict) {}
    /// A request begins at this position of a connection, if one follows.
    fn boundary(&mut self, _connection: u64, _position: u32) {}
    /// A process makes calls on a connection that was not seen to be opened.
    fn preexisting(&mut self, _pid: u32, _facts: &ConnectionFacts) {}
    /// Nothing that follows on a connection gets a trace header; or it is gone.
    fn sealed(&mut self, _connection: u64, _gone: bool) {}
    /// The socket of this key gets no trace headers, and cannot leave the map by itself.
    fn orphaned(&mut self, _key: u64) {}
    /// This port speaks HTTP/1.
    fn http_port(&mut self, _port: u16) {}
    /// A process has come to work in another way (`PROFILE_*`), or is gone.
    fn profile(&mut self, _pid: u32, _profile: Option<u8>) {}
    /// Time has passed, and what came of it was told.
    fn tick(&mut self) {}
}

/// Nobody is told: there is no kernel behind a replay.
impl Feedback for () {}

/// What the pipeline gives out.
pub struct Out<'a> {
    /// Spans.
    pub spans: &'a mut dyn SpanSink,
    /// The word back to the kernel.
    pub feedback: &'a mut dyn Feedback,
}

/// The state between kernel and spans.
pub struct Pipeline {
    connections: Table,
    stage: Stage,
}

/// What exchanges need to become spans.
struct Stage {
    processes: ProcessTable,
    correlator: Correlator,
    /// Exchanges whose parent, or earlier attempt, may still be seen, since the last tick and since the one before it.
    unsettled: [Vec<(ConnectionFacts, Exchange)>; 2],
    builder: SpanBuilder,
    clock: Clock,
    ledger: Ledger,
    excluded: FxHashSet<u32>,
    /// Whether calls get trace headers.
    propagates: bool,
    kernel: [u64; KERNEL_COUNTERS as usize],
}

impl Pipeline {
    /// An empty pipeline.
    pub fn new(
        limits: connection::Limits,
        processes: ProcessTable,
        correlator: Correlator,
        builder: SpanBuilder,
        propagates: bool,
    ) -> Self {
        Self {
            connections: Table::new(limits),
            stage: Stage {
                processes,
                correlator,
                unsettled: [Vec::new(), Vec::new()],
                builder,
                clock: Clock { offset_ns: 0 },
                ledger: Ledger::default(),
                excluded: FxHashSet::default(),
                propagates,
                kernel: [0; KERNEL_COUNTERS as usize],
            },
        }
    }

    /// The ledger so far.
    pub fn ledger(&self) -> &Ledger {
        &self.stage.ledger
    }

    /// The ledger, for what is lost behind the pipeline.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.stage.ledger
    }

    /// The kernel programs' counters, as told last.
    pub fn kernel_counters(&self) -> &[u64; KERNEL_COUNTERS as usize] {
        &self.stage.kernel
    }

    /// The processes that are known.
    pub fn processes(&self) -> &ProcessTable {
        &self.stage.processes
    }

    /// How a process works for its requests; none if it has not served nor called.
    pub fn profile(&self, pid: u32) -> Option<Profile> {
        self.stage.correlator.profile(pid)
    }

    /// Name of the service of an instance, by its first process.
    pub fn service_name(&self, pid: u32) -> Option<String> {
        self.stage.processes.instance(pid).map(|instance| instance.resource.service_name.clone())
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, out: &mut Out<'_>) {
        self.take(input, out);
        if self.stage.propagates {
            for (pid, profile) in self.stage.correlator.take_profiles() {
                out.feedback.profile(pid, profile);
            }
        }
    }

    fn take(&mut self, input: Input<'_>, out: &mut Out<'_>) {
        match input {
            Input::Record(record) => self.record(record, out),
            Input::Facts { facts, rule } => {
                self.stage.excluded.remove(&facts.pid);
                self.stage.correlator.program(facts.pid, &facts.exe);
                self.stage.processes.facts(facts.clone(), rule.map(str::to_owned));
            }
            Input::Listening { ports, .. } => self.connections.listens(ports),
            Input::Clock { offset_ns } => self.stage.clock = Clock { offset_ns },
            Input::Tick { now_ns } => {
                let mut handler = Handler { stage: &mut self.stage, out };
                self.connections.tick(now_ns, &mut handler);
                self.stage.release(false, out);
                for pid in self.stage.processes.expire(now_ns) {
                    self.stage.ledger.fold(pid);
                    self.stage.excluded.remove(&pid);
                }
                out.spans.tick(now_ns);
                out.feedback.tick();
            }
            Input::Counters(values) => self.stage.kernel_counted(values),
            Input::Excluded { pid } => {
                // Whose end is not seen, since its bit is cleared: the oldest no longer send anything.
                if self.stage.excluded.len() >= ProcessTable::MAX {
                    self.stage.excluded.clear();
                }
                self.stage.excluded.insert(pid);
            }
            Input::SelectedLate { pid } => self.stage.count(pid, Counter::SelectedLate, 1),
            Input::AttachFailed { pid } => self.stage.count(pid, Counter::AttachFailed, 1),
        }
    }

    /// No more input comes.
    pub fn finish(&mut self, now_ns: u64, out: &mut Out<'_>) {
        let mut handler = Handler { stage: &mut self.stage, out };
        self.connections.finish(now_ns, &mut handler);
        self.stage.release(true, out);
        self.stage.release(true, out);
    }

    fn record(&mut self, record: &[u8], out: &mut Out<'_>) {
        let mut handler = Handler { stage: &mut self.stage, out };
        let understood = match record.first().copied().and_then(Kind::from_byte) {
            Some(Kind::Data) => data_header(record).map(|(header, bytes)| {
                if handler.stage.excluded.contains(&header.pid) {
                    handler.stage.count(header.pid, Counter::EventsExcluded, 1);
                    return;
                }
                let (head, rest) =
                    bytes.split_at_checked(usize::from(header.head_length)).unwrap_or_default();
                let tail = rest.get(..usize::from(header.tail_length)).unwrap_or_default();
                self.connections.data(&header, head, tail, &mut handler);
            }),
            Some(Kind::Open) => {
                read::<OpenRecord>(record).map(|open| self.connections.open(&open, &mut handler))
            }
            Some(Kind::Close) => read::<CloseRecord>(record).map(|close| {
                self.connections.close(&close, &mut handler);
                handler.stage.correlator.send_closed(close.connection, close.time_ns);
                if close.state & !CLOSE_UNREAD != CLOSE_SEND {
                    handler.stage.correlator.closing(close.connection);
                }
            }),
            Some(Kind::Exec) => {
                read::<ProcessRecord>(record).map(|event| handler.stage.processes.exec(event.pid))
            }
            Some(Kind::Fork) => read::<ProcessRecord>(record).map(|event| {
                handler.stage.processes.fork(event.parent, event.pid);
                handler.stage.correlator.fork(event.parent, event.pid);
            }),
            Some(Kind::Exit) => read::<ProcessRecord>(record).map(|event| {
                handler.stage.processes.exit(event.pid, event.time_ns);
                handler.stage.correlator.forget_process(event.pid);
            }),
            Some(Kind::Header) => read::<HeaderRecord>(record).map(|header| {
                if header.lasting != 0 {
                    handler.out.feedback.sealed(header.connection, false);
                    if header.outcome == HeaderOutcome::InUse as u8 && header.parent_connection != 0 {
                        handler.out.feedback.orphaned(header.parent_connection);
                    }
                }
                self.connections.header(&header);
            }),
            Some(Kind::Listen) => {
                read::<ProcessRecord>(record).map(|event| self.connections.listens(&[event.port]))
            }
            None => None,
        };
        if understood.is_none() {
            handler.stage.ledger.add(0, Counter::EventsMalformed, 1);
        }
    }
}

impl Stage {
    /// The instance that a process belongs to counts.
    fn count(&mut self, pid: u32, counter: Counter, n: u64) {
        let pid = self.processes.instance(pid).map_or(pid, |instance| instance.pid);
        self.ledger.add(pid, counter, n);
    }

    fn kernel_counted(&mut self, values: [u64; KERNEL_COUNTERS as usize]) {
        let gained =
            |counter: KernelCounter| values[counter as usize].saturating_sub(self.kernel[counter as usize]);
        let lost = gained(KernelCounter::LostData)
            + gained(KernelCounter::LostOpen)
            + gained(KernelCounter::LostClose)
            + gained(KernelCounter::LostProcess);
        let told = [
            (Counter::EventsLost, lost),
            (Counter::EventsSkipped, gained(KernelCounter::Skipped)),
            (Counter::SocketsUnix, gained(KernelCounter::UnixSocket)),
            (Counter::SocketsDatagram, gained(KernelCounter::Datagram)),
            (Counter::SocketsOther, gained(KernelCounter::OtherSocket)),
            (Counter::ConnectionsUpperLayer, gained(KernelCounter::UpperLayer)),
            (Counter::AttachFailed, gained(KernelCounter::NoStorage)),
        ];
        for (counter, n) in told {
            self.ledger.add(0, counter, n);
        }
        self.kernel = values;
    }
}

impl Stage {
    /// Exchanges that wait so; more go as they are.
    const MOST_UNSETTLED: usize = 16_384;

    /// Lets go of the exchanges that have waited from one tick to the next, at the end of all.
    fn release(&mut self, is_last: bool, out: &mut Out<'_>) {
        self.unsettled.swap(0, 1);
        let mut ripe = std::mem::take(&mut self.unsettled[0]);
        let mut waiting = Vec::new();
        for (facts, exchange) in ripe.drain(..) {
            if !is_last && self.correlator.may_be_resend(&facts, &exchange) {
                waiting.push((facts, exchange));
            } else {
                self.emit(&facts, &exchange, out);
            }
        }
        self.correlator.forget_attempts();
        ripe.append(&mut waiting);
        // The memory serves again.
        self.unsettled[0] = ripe;
    }

    /// Makes the span of an exchange.
    fn emit(&mut self, facts: &ConnectionFacts, exchange: &Exchange, out: &mut Out<'_>) {
        let link = self.correlator.link(facts, exchange);
        let pid = exchange.unit().pid;
        let paired = match exchange.outcome {
            Outcome::Complete => Counter::ExchangesPaired,
            Outcome::OneWay => Counter::ExchangesOneWay,
            _ => Counter::ExchangesUnanswered,
        };
        let Stage { builder, clock, ledger, processes, .. } = self;
        let mut units = [Some(exchange.request_unit), exchange.response_unit].into_iter().flatten();
        let Some(instance) = units.find_map(|unit| processes.instance(unit.pid)) else {
            ledger.add(pid, paired, 1);
            ledger.add(pid, Counter::ExchangesUnparsed, 1);
            return;
        };
        let own = if instance.pid == pid { pid } else { processes.instance(pid).map_or(pid, |own| own.pid) };
        ledger.add(own, paired, 1);
        let mut count = |counter, n| ledger.add(instance.pid, counter, n);
        if link.has_left_in_other_trace {
            count(Counter::LinksOtherTrace, 1);
        }
        if link.flags & u32::from(SAMPLED) == 0 {
            return count(Counter::SpansNotSampled, 1);
        }
        if let Some(span) = builder.build(exchange, facts, &instance.resource, clock, link, &mut count) {
            ledger.add(instance.pid, Counter::SpansQueued, 1);
            out.spans.span(&Outgoing::new(&span));
            builder.recycle(span);
        }
    }
}

/// Lends the stage and what it gives out to the table of connections.
struct Handler<'a, 'b> {
    stage: &'a mut Stage,
    out: &'a mut Out<'b>,
}

impl connection::Output for Handler<'_, '_> {
    fn opened(&mut self, facts: &ConnectionFacts, opened: Opened) {
        if self.stage.propagates && opened.kind == ExchangeKind::Call {
            let outcome = opened.header.as_ref().map_or(HeaderOutcome::NotEntered, |header| header.outcome);
            self.stage.count(opened.unit.pid, Counter::of_header(outcome), 1);
        }
        self.stage.correlator.opened(facts, opened);
    }

    fn answered(&mut self, facts: &ConnectionFacts, kind: ExchangeKind, offset: u64, pid: u32) {
        self.stage.correlator.answered(facts, kind, offset, pid);
    }

    fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.stage.correlator.closed(facts, exchange);
    }

    fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64) {
        self.stage.correlator.read(facts, unit, time_ns);
    }

    fn unread(&mut self, unit: Unit, time_ns: u64) {
        self.stage.correlator.unread(unit, time_ns);
    }

    fn hidden(&mut self, pid: u32) {
        self.stage.correlator.hidden(pid);
    }

    fn left(&mut self, connection: u64) {
        if self.stage.propagates {
            self.out.feedback.sealed(connection, true);
        }
        self.stage.correlator.left(connection);
    }

    fn exchange(&mut self, facts: &ConnectionFacts, exchange: Exchange) {
        let is_http = || exchange.payload::<HttpExchange>().is_some();
        if self.stage.propagates && exchange.outcome == Outcome::Complete && is_http() {
            let speaks_http = if exchange.kind.is_outgoing() { facts.remote } else { facts.local };
            self.out.feedback.http_port(speaks_http.port());
            if exchange.kind == ExchangeKind::Call && facts.connect_ns.is_none() {
                self.out.feedback.preexisting(exchange.request_unit.pid, facts);
            }
        }
        let Stage { correlator, unsettled, .. } = &mut *self.stage;
        let waits = correlator.is_unsettled(facts, &exchange) || correlator.may_be_resend(facts, &exchange);
        if waits && unsettled[0].len() < Stage::MOST_UNSETTLED {
            unsettled[0].push((facts.clone(), exchange));
        } else {
            self.stage.emit(facts, &exchange, self.out);
        }
    }

    fn count(&mut self, pid: u32, counter: Counter, n: u64) {
        self.stage.count(pid, counter, n);
    }

    fn verdict(&mut self, connection: u64, verdict: Verdict) {
        self.out.feedback.verdict(connection, verdict);
    }

    fn boundary(&mut self, facts: &ConnectionFacts, position: u32) {
        if self.stage.propagates {
            self.out.feedback.boundary(facts.number, position);
        }
    }
}

/// A record, or the fixed part of one, at the start of bytes.
#[inline(always)]
fn read<T: zerocopy::FromBytes>(record: &[u8]) -> Option<T> {
    T::read_from_prefix(record).ok().map(|(value, _)| value)
}

/// The header of a data record and the bytes behind it; none for another kind, or a record that is
/// too short for what it says it holds.
pub fn data_header(record: &[u8]) -> Option<(DataHeader, &[u8])> {
    if record.first() != Some(&(Kind::Data as u8)) {
        return None;
    }
    let header: DataHeader = read(record)?;
    let bytes = record.get(size_of::<DataHeader>()..)?;
    let copied = usize::from(header.head_length) + usize::from(header.tail_length);
    let inside = u64::from(header.head_offset) + copied as u64 <= u64::from(header.length) || copied == 0;
    (copied <= bytes.len() && inside).then_some((header, bytes))
}

/// A process record; none for another kind.
pub fn process_record(record: &[u8]) -> Option<ProcessRecord> {
    match Kind::from_byte(*record.first()?)? {
        Kind::Exec | Kind::Fork | Kind::Exit | Kind::Listen => read(record),
        Kind::Data | Kind::Open | Kind::Close | Kind::Header => None,
    }
}

/// The file name in an exec record.
pub fn exec_name(record: &[u8]) -> String {
    let name = record.get(size_of::<ProcessRecord>()..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = DataHeader {
            kind: Kind::Data as u8,
            direction: 1,
            flags: 0x0102,
            head_length: 2,
            tail_length: 1,
            reason: 0,
            connection: 0x0102_0304_0506_0708,
            time_ns: 9,
            start_ns: 8,
            pid: 7,
            tid: 6,
            position: 5,
            length: 4,
            head_offset: 1,
            lost: 3,
            task: 2,
        };
        let mut record = header.as_bytes().to_vec();
        record.extend_from_slice(b"abc");
        assert_eq!(data_header(&record), Some((header, &b"abc"[..])));
        for length in 0..record.len() {
            assert_eq!(data_header(&record[..length]), None, "{length} bytes are too few");
        }
    }
}
