//! From what the kernel tells to spans: one synchronous way, the same for live traffic and for
//! recordings. Everything that decides about a span comes in as an [`Input`]; nothing is looked up.

#![forbid(unsafe_code)]

mod awaited;
mod undecided;

use rustc_hash::FxHashSet;
use tracer_common::{
    CapturePolicy, InjectionOutcome, KERNEL_COUNTERS, KernelCounter, TaskPlan, UnconnectedRecord,
    is_close_of_send,
};

use self::{awaited::AwaitedTasks, undecided::Undecided};
use crate::{
    connection::{self, IdleConnection, Table},
    correlate::{Correlator, Profile, Program, Shown, Withheld},
    event::{
        Event, Input,
        input::{KernelCounters, RememberedProgram},
    },
    exchange::{ConnectionFacts, Direction, Exchange, Kind as ExchangeKind, Opened, Outcome, Unit},
    ledger::{Counter, Ledger},
    process::table::ProcessTable,
    protocol::http::HttpExchange,
    sink::{Outgoing, SpanSink},
    span::{build::Clock, build::SpanBuilder},
    task_runtime::TaskRuntime,
    trace_context::sample::SAMPLED,
};

/// The word back to the kernel: what the pipeline has learned of connections and processes. It is called
/// on the pipeline's thread and never waits.
pub trait Feedback {
    /// What the kernel shall copy of a direction of a connection.
    fn policy(&mut self, _connection: u64, _direction: Direction, _policy: CapturePolicy) {}
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
    /// A process of this program has shown how the program's threads work.
    fn shown(&mut self, _program: RememberedProgram, _shown: Shown) {}
    /// How the tasks of a process are read; none if they are not, or if the process is gone.
    fn task_plan(&mut self, _pid: u32, _plan: Option<&TaskPlan>) {}
    /// A thread of a process serves, and how the process's tasks are read was not found before.
    fn find_tasks(&mut self, _pid: u32, _thread: u32) {}
    /// A process made another, whose tasks are read in the same way.
    fn task_plan_forked(&mut self, _parent: u32, _pid: u32) {}
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

/// Tells the digests of programs whose event loops are read from those whose threads are looked at.
const EVENT_LOOPS: u64 = 0x6576_656e_745f_6c70;

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
    /// Exchanges that wait until it is known how a process works.
    held: Undecided,
    /// See [`Correlator::decisions`].
    decisions: u64,
    builder: SpanBuilder,
    clock: Clock,
    ledger: Ledger,
    excluded: FxHashSet<u32>,
    awaited: AwaitedTasks,
    /// Processes whose event loop is read.
    event_loops: FxHashSet<u32>,
    /// Whether calls get trace headers.
    propagates: bool,
    /// It was said that another program writes trace headers.
    has_warned_of_other: bool,
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
        /// The part of the memory for messages that exchanges without a parent may take.
        const HELD: usize = 8;
        let held = Undecided::new(limits.message_memory / HELD);
        Self {
            connections: Table::new(limits),
            stage: Stage {
                processes,
                correlator,
                unsettled: [Vec::new(), Vec::new()],
                held,
                decisions: 0,
                builder,
                clock: Clock { offset_ns: 0 },
                ledger: Ledger::default(),
                excluded: FxHashSet::default(),
                awaited: AwaitedTasks::default(),
                event_loops: FxHashSet::default(),
                propagates,
                has_warned_of_other: false,
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

    /// See [`Table::idle_since`].
    pub fn idle_connections(&self, limit_ns: u64) -> Vec<IdleConnection> {
        self.connections.idle_since(limit_ns)
    }

    /// Takes one input.
    pub fn handle(&mut self, input: &Input<'_>, out: &mut Out<'_>) {
        self.take(input, out);
        for (pid, shown) in self.stage.correlator.take_shown() {
            let instance = self.stage.processes.instance(pid);
            let program =
                instance.and_then(|instance| Some((instance.program?, &instance.given.service_name)));
            if let Some((program, service)) = program {
                // What is shown of a program's event loop is not what is shown of its threads.
                let program =
                    if self.stage.event_loops.contains(&pid) { program ^ EVENT_LOOPS } else { program };
                out.feedback.shown(RememberedProgram { program, service: service.clone() }, shown);
            }
        }
        if self.stage.propagates {
            for (pid, profile) in self.stage.correlator.take_profiles() {
                out.feedback.profile(pid, profile);
            }
        }
    }

    fn take(&mut self, input: &Input<'_>, out: &mut Out<'_>) {
        match *input {
            Input::Event(ref event) => self.event(event, out),
            Input::Malformed(_) => self.stage.ledger.add(0, Counter::EventsMalformed, 1),
            Input::Facts { facts, rule } => {
                self.stage.excluded.remove(&facts.pid);
                self.stage.event_loops.remove(&facts.pid);
                self.stage.processes.facts(facts.clone(), rule.map(str::to_owned));
                let instance = self.stage.processes.instance(facts.pid);
                let service = instance.map(|instance| instance.resource.service_name.as_str());
                let program = facts.digest_of_program().map(|digest| Program::new(digest, service));
                match &facts.tasks {
                    Some(tasks) if tasks.is_read || tasks.is_awaited => {
                        self.stage.correlator.tasks(facts.pid, tasks.runtime, program);
                    }
                    _ => self.stage.correlator.program(facts.pid, &facts.exe, program),
                }
                if facts.has_sdk {
                    self.stage.correlator.instruments(facts.pid);
                }
                let plan = facts.tasks.as_ref().and_then(|tasks| tasks.plan.as_ref());
                out.feedback.task_plan(facts.pid, plan);
                self.stage.awaited.set(facts.pid, facts.tasks.as_ref());
            }
            // Its calls are told apart by tasks already, as soon as these are read.
            Input::Tasks { pid, tasks } if tasks.runtime == TaskRuntime::Python => {
                out.feedback.task_plan(pid, tasks.plan.as_ref());
            }
            Input::Tasks { pid, tasks } => {
                if let Some(instance) = self.stage.processes.instance(pid) {
                    let service = instance.resource.service_name.as_str();
                    // What threads of Java show holds whether it has virtual ones or not.
                    let is_loop = tasks.runtime == TaskRuntime::Node;
                    let mark = if is_loop { EVENT_LOOPS } else { 0 };
                    let program = instance.program.map(|digest| Program::new(digest ^ mark, Some(service)));
                    if is_loop {
                        self.stage.event_loops.insert(pid);
                    }
                    self.stage.correlator.tasks_found(pid, tasks.runtime, program);
                    self.stage.awaited.set(pid, Some(tasks));
                    out.feedback.task_plan(pid, tasks.plan.as_ref());
                }
            }
            Input::Remembered(programs) => {
                for RememberedProgram { program, service } in programs {
                    self.stage.correlator.remember(Program::new(*program, Some(service)));
                }
            }
            Input::Listening { ports, .. } => self.connections.listens(ports),
            Input::Clock { offset_ns } => self.stage.clock = Clock { offset_ns },
            Input::Tick { now_ns } => {
                let mut handler = Handler { stage: &mut self.stage, out };
                self.connections.tick(now_ns, &mut handler);
                self.stage.release(false, out);
                self.stage.give_held(now_ns, out);
                for instance in self.stage.processes.expire(now_ns) {
                    self.stage.ledger.fold(instance.pid, &instance.resource.service_name);
                    self.stage.excluded.remove(&instance.pid);
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
                self.stage.correlator.forget_process(pid);
                out.feedback.task_plan(pid, None);
                self.stage.awaited.set(pid, None);
                if let Some(instance) = self.stage.processes.remove(pid) {
                    self.stage.ledger.fold(pid, &instance.resource.service_name);
                }
            }
            Input::SelectedLate { pid } => self.stage.count(pid, Counter::SelectedLate, 1),
            Input::AttachFailed { pid } => self.stage.count(pid, Counter::AttachFailed, 1),
        }
    }

    /// Tells the ledger what connections have counted by themselves.
    pub fn flush_counts(&mut self, out: &mut Out<'_>) {
        self.connections.flush_counts(&mut Handler { stage: &mut self.stage, out });
    }

    /// No more input comes.
    pub fn finish(&mut self, now_ns: u64, out: &mut Out<'_>) {
        let mut handler = Handler { stage: &mut self.stage, out };
        self.connections.finish(now_ns, &mut handler);
        self.stage.release(true, out);
        self.stage.release(true, out);
        self.stage.give_held(u64::MAX, out);
    }

    #[inline]
    fn event(&mut self, event: &Event<'_>, out: &mut Out<'_>) {
        let mut handler = Handler { stage: &mut self.stage, out };
        match event {
            Event::Data(data) => {
                let header = data.header();
                if handler.stage.excluded.contains(&header.pid) {
                    handler.stage.count(header.pid, Counter::EventsExcluded, 1);
                    return;
                }
                self.connections.data(&header, data.head, data.tail, &mut handler);
            }
            Event::Open(open) => self.connections.open(&open.record, open.name, &mut handler),
            Event::Close(close) => {
                self.connections.close(close, &mut handler);
                handler.stage.correlator.send_closed(close.connection, close.time_ns);
                if !is_close_of_send(close.state) {
                    handler.stage.correlator.closing(close.connection);
                }
            }
            Event::Exec(exec) => {
                handler.stage.processes.exec(exec.process.pid);
                handler.out.feedback.task_plan(exec.process.pid, None);
                handler.stage.awaited.set(exec.process.pid, None);
            }
            Event::Fork(process) => {
                // Its pid may have been that of a process that was excluded.
                handler.stage.excluded.remove(&process.pid);
                handler.stage.processes.fork(process.parent, process.pid);
                handler.stage.correlator.fork(process.parent, process.pid);
                handler.out.feedback.task_plan_forked(process.parent, process.pid);
                handler.stage.awaited.fork(process.parent, process.pid);
            }
            Event::Exit(process) => {
                handler.stage.excluded.remove(&process.pid);
                handler.stage.processes.exit(process.pid, process.time_ns);
                handler.stage.event_loops.remove(&process.pid);
                handler.stage.correlator.forget_process(process.pid);
                handler.out.feedback.task_plan(process.pid, None);
                handler.stage.awaited.set(process.pid, None);
            }
            Event::Listen(process) => {
                if handler.stage.awaited.listens(process.pid) {
                    handler.out.feedback.find_tasks(process.pid, 0);
                }
                self.connections.listens(&[process.port]);
            }
            Event::Unread(process) => handler.stage.correlator.opaque(process.pid),
            Event::Task(task) => {
                if handler.stage.awaited.read(task) {
                    handler.out.feedback.find_tasks(task.pid, 0);
                }
                handler.stage.correlator.task(task);
            }
            Event::Run(run) => {
                let run = &run.record();
                let unread = handler.stage.correlator.run(run);
                if unread > 0 {
                    handler.stage.count(run.pid, Counter::TasksUnread, unread.into());
                }
                // Nothing will be learned of it any more.
                if let Some(Profile::Unknown(_)) = handler.stage.correlator.profile(run.pid) {
                    handler.out.feedback.task_plan(run.pid, None);
                }
            }
            Event::Injection(header) => {
                if header.lasting != 0 {
                    handler.out.feedback.sealed(header.connection, false);
                    let waits = [InjectionOutcome::InUse, InjectionOutcome::MemoryPressure]
                        .map(|outcome| outcome as u8)
                        .contains(&header.outcome);
                    if waits && header.parent_connection != 0 {
                        handler.out.feedback.orphaned(header.parent_connection);
                    }
                }
                self.connections.header(header);
            }
            Event::Unconnected(record) => handler.stage.unconnected(record),
        }
    }
}

impl Stage {
    /// The instance that a process belongs to counts.
    fn count(&mut self, pid: u32, counter: Counter, n: u64) {
        let pid = self.processes.instance(pid).map_or(pid, |instance| instance.pid);
        self.ledger.add(pid, counter, n);
    }

    /// A process wanted a connection and has none: it may have a request that nobody got.
    fn unconnected(&mut self, record: &UnconnectedRecord) {
        if self.excluded.contains(&record.pid) {
            return self.count(record.pid, Counter::EventsExcluded, 1);
        }
        let counter = match i32::from(record.error) {
            0 => Counter::ConnectionsAbandoned,
            libc::ECONNREFUSED => Counter::ConnectionsRefused,
            _ => Counter::ConnectionsUnreached,
        };
        self.count(record.pid, counter, 1);
    }

    fn kernel_counted(&mut self, values: &KernelCounters) {
        let gained =
            |counter: KernelCounter| values[counter as usize].saturating_sub(self.kernel[counter as usize]);
        let lost = gained(KernelCounter::LostData)
            + gained(KernelCounter::LostOpen)
            + gained(KernelCounter::LostClose)
            + gained(KernelCounter::LostProcess);
        let told = [
            (Counter::EventsLost, lost),
            (Counter::EventsSkipped, gained(KernelCounter::Skipped)),
            (Counter::TasksUnread, gained(KernelCounter::TaskUnread)),
            (Counter::SocketsUnix, gained(KernelCounter::UnixSocket)),
            (Counter::SocketsDatagram, gained(KernelCounter::Datagram)),
            (Counter::SocketsOther, gained(KernelCounter::OtherSocket)),
            (Counter::ConnectionsUpperLayer, gained(KernelCounter::UpperLayer)),
            (Counter::AttachFailed, gained(KernelCounter::NoStorage)),
        ];
        for (counter, n) in told {
            self.ledger.add(0, counter, n);
        }
        self.kernel = *values;
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
            } else if is_last || !self.hold(&facts, &exchange) {
                self.emit(&facts, &exchange, out);
            }
        }
        self.correlator.forget_attempts();
        ripe.append(&mut waiting);
        // The memory serves again.
        self.unsettled[0] = ripe;
    }

    /// Holds an exchange if its parent is known once it is known how a process works.
    #[inline]
    fn hold(&mut self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        self.correlator.is_held(facts, exchange) && self.held.take(facts, exchange)
    }

    /// Makes the spans of the exchanges that need not be held any more.
    fn give_held(&mut self, now_ns: u64, out: &mut Out<'_>) {
        let decisions = self.correlator.decisions();
        let has_decided = std::mem::replace(&mut self.decisions, decisions) != decisions;
        if !has_decided && !self.held.is_due(now_ns) {
            return;
        }
        let Self { held, correlator, .. } = &mut *self;
        let may_go = |facts: &ConnectionFacts, exchange: &Exchange| {
            has_decided && !correlator.is_held(facts, exchange)
        };
        let is_last = now_ns == u64::MAX;
        for (facts, exchange) in held.give(now_ns, may_go) {
            let waits = !is_last && self.correlator.may_be_resend(&facts, &exchange);
            if waits && self.unsettled[0].len() < Self::MOST_UNSETTLED {
                self.unsettled[0].push((facts, exchange));
            } else {
                self.emit(&facts, &exchange, out);
            }
        }
    }

    /// Makes the span of an exchange.
    fn emit(&mut self, facts: &ConnectionFacts, exchange: &Exchange, out: &mut Out<'_>) {
        let link = self.correlator.link(facts, exchange);
        let pid = exchange.unit().pid;
        let paired = match exchange.outcome {
            Outcome::Complete => Counter::ExchangesPaired,
            Outcome::OneWay => Counter::ExchangesOneWay,
            Outcome::Lost if exchange.response_start_ns.is_some() => Counter::ExchangesEndUnseen,
            Outcome::Lost => Counter::ExchangesResponseUnseen,
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
        if let Some(counter) = builder.left_out(exchange) {
            return count(counter, 1);
        }
        if link.has_other_header {
            count(Counter::HeadersOtherProgram, 1);
            if !std::mem::replace(&mut self.has_warned_of_other, true) {
                warn_of_other(pid, &instance.resource.service_name);
            }
        }
        if link.has_left_in_other_trace {
            count(Counter::LinksOtherTrace, 1);
        }
        if exchange.kind.is_outgoing() {
            count(link.withheld.map_or(Counter::LinksMade, Withheld::counter), 1);
        }
        if link.flags & u32::from(SAMPLED) == 0 {
            return count(Counter::SpansNotSampled, 1);
        }
        let mut span = builder.build(exchange, facts, &instance.resource, clock, link, &mut count);
        if let Some(span) = &mut span {
            ledger.add(instance.pid, Counter::SpansQueued, 1);
            out.spans.span(&Outgoing::new(span));
            builder.recycle(span);
        }
    }
}

/// Two programs that add trace headers to one process are hardly meant.
#[cold]
fn warn_of_other(pid: u32, service: &str) {
    tracing::warn!(
        pid,
        service = %crate::outside::escaped(service),
        "another agent or program writes trace headers into the requests of this process. The spans of such requests \
         get the ids of those headers if the servers are traced here too; headers.other_program counts the requests. \
         Let one of the two programs trace the process"
    );
}

/// Lends the stage and what it gives out to the table of connections.
struct Handler<'a, 'b> {
    stage: &'a mut Stage,
    out: &'a mut Out<'b>,
}

impl connection::ConnectionOutput for Handler<'_, '_> {
    fn opened(&mut self, facts: &ConnectionFacts, opened: &mut Opened) {
        if self.stage.propagates && opened.kind == ExchangeKind::Call {
            let outcome =
                opened.injection.as_ref().map_or(InjectionOutcome::NotEntered, |header| header.outcome);
            self.stage.count(opened.unit.pid, Counter::of_header(outcome), 1);
        }
        let Unit { pid, tid, task, .. } = opened.unit;
        let looks_again = match opened.kind {
            ExchangeKind::Serve => self.stage.awaited.serves(pid),
            ExchangeKind::Call => task == 0 && self.stage.awaited.calls(pid),
            _ => false,
        };
        if looks_again {
            self.out.feedback.find_tasks(pid, tid);
        }
        self.stage.correlator.opened(facts, opened);
    }

    fn answered(&mut self, facts: &ConnectionFacts, kind: ExchangeKind, offset: u64, who: (u32, Unit)) {
        // The head of a response proves what the port speaks: a request alone may be anybody's mistake.
        if self.stage.propagates {
            let server = if kind.is_outgoing() { &facts.remote } else { &facts.local };
            if let Some(port) = server.port() {
                self.out.feedback.http_port(port);
            }
        }
        self.stage.correlator.answered(facts, kind, offset, who);
    }

    fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.stage.correlator.closed(facts, exchange);
        if let Some((pid, name)) = self.stage.correlator.take_name() {
            self.stage.processes.named_by_sdk(pid, name.as_deref());
        }
    }

    fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64) {
        self.stage.correlator.read(facts, unit, time_ns);
    }

    fn undecoded(&mut self, connection: u64, unit: Unit, time_ns: u64) {
        self.stage.correlator.undecoded(connection, unit, time_ns);
    }

    fn undecoded_answered(&mut self, connection: u64, pid: u32, time_ns: u64) {
        self.stage.correlator.undecoded_answered(connection, pid, time_ns);
    }

    fn opaque(&mut self, pid: u32) {
        self.stage.correlator.opaque(pid);
    }

    fn left(&mut self, connection: u64) {
        if self.stage.propagates {
            self.out.feedback.sealed(connection, true);
        }
        self.stage.correlator.left(connection);
    }

    fn not_lengthened(&mut self, connection: u64) {
        self.stage.correlator.not_lengthened(connection);
    }

    fn exchange(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        let is_http = || exchange.payload::<HttpExchange>().is_some();
        if self.stage.propagates
            && exchange.kind == ExchangeKind::Call
            && exchange.outcome == Outcome::Complete
            && facts.connect_ns.is_none()
            && is_http()
        {
            self.out.feedback.preexisting(exchange.request_unit.pid, facts);
        }
        let correlator = &self.stage.correlator;
        let waits = correlator.is_unsettled(facts, exchange)
            || correlator.may_be_resend(facts, exchange)
            || correlator.awaits_other_end(facts, exchange);
        if waits && self.stage.hold(facts, exchange) {
            return;
        }
        let unsettled = &mut self.stage.unsettled[0];
        if waits && unsettled.len() < Stage::MOST_UNSETTLED {
            unsettled.push((facts.clone(), exchange.clone()));
        } else {
            self.stage.emit(facts, exchange, self.out);
        }
    }

    fn count(&mut self, pid: u32, counter: Counter, n: u64) {
        self.stage.count(pid, counter, n);
    }

    fn policy(&mut self, connection: u64, direction: Direction, policy: CapturePolicy) {
        self.out.feedback.policy(connection, direction, policy);
    }

    fn boundary(&mut self, facts: &ConnectionFacts, position: u32) {
        if self.stage.propagates {
            self.out.feedback.boundary(facts.number, position);
        }
    }
}
