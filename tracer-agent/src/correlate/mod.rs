//! Correlation: which request caused which other one, and how that is known. A link that could be wrong is not
//! made.
//!
//! A request gets its ids when its head has come, so that whatever it causes can name them. Its parent is what
//! the request itself names (a `traceparent`), else the client request at the other end of its connection, else,
//! for a client request, the server request that its process was working for. `strategy` finds that one.

#![forbid(unsafe_code)]

mod background;
mod contexts;
mod forwarded;
mod ids;
mod link;
mod open;
mod other_program;
mod placement;
mod process;
mod processes;
mod profile;
mod programs;
mod resend;
mod rules;
mod seen;
mod self_instrumented;
mod settle;
mod strategy;
#[cfg(test)]
mod tests;
mod withheld;

use self::{
    contexts::Contexts,
    forwarded::Carries,
    open::{Key, OpenRequest, OpenRequests},
    placement::{Placement, Placer},
    process::Process,
    processes::Processes,
    resend::Resends,
    seen::{FirstSeen, Hop},
    strategy::{Attribution, ClientRequest},
};
pub use self::{
    ids::Ids,
    link::{Evidence, Link},
    profile::{Doubt, Profile},
    programs::{Program, Shown},
    rules::{Rules, Sdk},
    withheld::Withheld,
};
use tracer_common::{RunRecord, TaskRecord};

use crate::{
    exchange::{ConnectionFacts, Direction, Exchange, Kind, Opened, Outcome, Unit},
    task_runtime::TaskRuntime,
};

/// Processes of this host that a request goes through.
const LONGEST_CHAIN: usize = 32;

/// All open requests, and what the processes do with them.
pub struct Correlator {
    rules: Rules,
    contexts: Contexts,
    open: OpenRequests,
    processes: Processes,
    seen: FirstSeen,
    resends: Resends,
    /// See [`Correlator::take_name`].
    named: Option<(u32, Option<String>)>,
    /// A request was told after its exchange had ended.
    has_late: bool,
    /// A request may be exported by its application.
    has_instruments: bool,
    /// The latest time that was told, of `CLOCK_MONOTONIC`.
    now_ns: u64,
}

/// A span that is not made. It is nobody's parent: its own parent takes its place.
#[derive(Clone, Copy)]
struct LeftOut {
    id: [u8; 8],
    above: Option<[u8; 8]>,
}

impl Correlator {
    /// No request is open.
    pub fn new(rules: Rules, ids: Ids) -> Self {
        Self {
            contexts: Contexts::new(ids, rules.sampler),
            rules,
            open: OpenRequests::default(),
            processes: Processes::default(),
            seen: FirstSeen::default(),
            resends: Resends::default(),
            named: None,
            has_late: false,
            has_instruments: false,
            now_ns: 0,
        }
    }

    /// A process runs another program: what was learned of the process is void. What others have shown of the program
    /// holds for this one too.
    pub fn program(&mut self, pid: u32, executable: &str, program: Option<Program>) {
        let mut process = Process::new(executable);
        if let Some(program) = program {
            process.set_program(program);
        }
        self.processes.insert(pid, process, &self.rules, self.now_ns);
    }

    /// A process runs a program whose tasks are read.
    pub fn tasks(&mut self, pid: u32, runtime: TaskRuntime, program: Option<Program>) {
        let mut process = Process::of_runtime(runtime);
        if let Some(program) = program {
            process.set_program(program);
        }
        self.processes.insert(pid, process, &self.rules, self.now_ns);
    }

    /// How the tasks of a process are read has become known after it was selected.
    pub fn tasks_found(&mut self, pid: u32, runtime: TaskRuntime, program: Option<Program>) {
        self.processes.tasks_found(pid, runtime, program, &self.rules, self.now_ns);
    }

    /// The event loop of a process makes the call that comes next. Returns how much of what is told of it cannot be true.
    pub fn run(&mut self, record: &RunRecord) -> u32 {
        self.processes.get_mut(record.pid).map_or(0, |process| process.run(record))
    }

    /// A process has what exports spans.
    pub fn instruments(&mut self, pid: u32) {
        self.processes.of(pid, &self.rules).instruments();
    }

    /// A task of a process reads or sends the request that comes next.
    pub fn task(&mut self, record: &TaskRecord) {
        self.processes.of(record.pid, &self.rules).task(record);
    }

    /// Threads of this program work for one request each, as an earlier agent has found.
    pub fn remember(&mut self, program: Program) {
        self.processes.remember(program);
    }

    /// The processes that have shown, since the last call, how their programs work.
    pub fn take_shown(&mut self) -> impl Iterator<Item = (u32, Shown)> + '_ {
        self.processes.take_shown()
    }

    /// A process made another, which runs the same program.
    pub fn fork(&mut self, parent: u32, child: u32) {
        let process = self.processes.get(parent).map_or_else(|| Process::new(""), Process::forked);
        self.processes.insert(child, process, &self.rules, self.now_ns);
    }

    /// A process is gone.
    pub fn forget_process(&mut self, pid: u32) {
        self.processes.forget(pid, &self.rules);
    }

    /// A process, and the `service.name` of the spans that it exports, if the exchange that was closed last told it; no
    /// name if it exports spans of several services.
    pub fn take_name(&mut self) -> Option<(u32, Option<String>)> {
        self.named.take()
    }

    /// How a process works; none if it has neither served nor sent requests.
    pub fn profile(&self, pid: u32) -> Option<Profile> {
        self.processes.get(pid).map(Process::profile)
    }

    /// The processes whose client requests the kernel programs have to attribute in another way (`PROFILE_*`), or
    /// that are gone, since the last call.
    pub fn take_profiles(&mut self) -> impl Iterator<Item = (u32, Option<u8>)> + '_ {
        self.processes.take_changed()
    }

    /// A process serves a connection whose requests cannot be seen.
    pub fn opaque(&mut self, pid: u32) {
        self.processes.of(pid, &self.rules).set_opaque();
        self.processes.decided();
        self.processes.tell(pid, &self.rules, self.now_ns);
    }

    /// A unit has read from a connection what may be a request, and is not understood: its process works for it.
    pub fn undecoded(&mut self, connection: u64, unit: Unit, time_ns: u64) {
        if let Some(process) = self.processes.get_mut(unit.pid) {
            process.works_undecoded(connection, unit, time_ns);
            self.now_ns = self.now_ns.max(time_ns);
            self.processes.tell(unit.pid, &self.rules, self.now_ns);
        }
    }

    /// What a process so read from a connection is answered.
    pub fn undecoded_answered(&mut self, connection: u64, pid: u32, time_ns: u64) {
        if let Some(process) = self.processes.get_mut(pid) {
            process.undecoded_answered(connection, time_ns);
            self.now_ns = self.now_ns.max(time_ns);
            self.processes.tell(pid, &self.rules, self.now_ns);
        }
    }

    /// The head of a request has come; what it carries is taken.
    pub fn opened(&mut self, facts: &ConnectionFacts, opened: &mut Opened) {
        let Opened {
            kind,
            unit,
            start_ns,
            offset,
            target,
            is_export,
            attempt,
            inserted,
            is_late,
            is_lengthened,
            ..
        } = *opened;
        let (incoming, carried, header) =
            (opened.incoming.take(), opened.carried.take(), opened.injection.take());
        self.now_ns = self.now_ns.max(start_ns);
        let traceparent = incoming.as_ref().map(|incoming| incoming.parent_id);
        let carries = Carries { traceparent: incoming.as_deref(), others: carried.as_deref() };
        let is_sampled = carries.is_sampled();
        let asked = std::mem::take(&mut opened.asked);
        self.has_late |= is_late;
        let direction = kind.direction();
        let key = Key { connection: facts.number, direction, offset };
        let position = position(facts, direction, offset);
        let wire = offset + u64::from(inserted);
        let hop = Hop::of(facts, direction, wire);
        let peer = self.open.register(facts);
        let other = peer.and_then(|peer| self.open.at_wire(peer, direction.opposite(), wire));
        if let (false, Some(client), Some(header)) = (kind.is_outgoing(), other, &incoming) {
            let context = self.contexts.of_header(header);
            other_program::arrived(&mut self.open, client, header.parent_id, &context);
        }
        let placer = Placer {
            rules: &self.rules,
            contexts: &self.contexts,
            open: &mut self.open,
            processes: &mut self.processes,
            seen: &mut self.seen,
            resends: &mut self.resends,
            now_ns: self.now_ns,
        };
        let placement = if kind.is_outgoing() {
            let connect_ns = facts.connect_ns.filter(|_| offset == 0);
            let remote = facts.remote.address_hash();
            let client = ClientRequest {
                key,
                kind,
                unit,
                start_ns,
                connect_ns,
                remote,
                target,
                asked: &asked,
                is_late,
                other_end: other,
                may_wait: !is_late
                    && carries.contexts().next().is_none()
                    && header.as_ref().is_none_or(|it| it.sent.is_none()),
            };
            match header.and_then(|header| header.sent) {
                Some(header) => placer.injected(&client, &header),
                None => placer.sent(&client, position, hop, carries),
            }
        } else {
            placer.received((unit.pid, key, position, hop), other, incoming, carried.as_deref())
        };
        let Placement { mut context, mut attributed_to, mut withheld, own_id, .. } = placement;
        let Placement { is_suppressed, may_be_exported, sent_trace, .. } = placement;
        // The other end came first, and caused what this is attributed to: that is not its parent.
        if let (Some(_), Some(server), Some(above)) = (own_id, other, attributed_to)
            && self.open.is_below(above, server)
        {
            (context.parent, attributed_to) = (None, None);
            withheld = Some(Withheld::OwnTrace);
        }
        let process = self.processes.get_mut(unit.pid).map(|process| {
            if kind == Kind::Serve {
                process.begins(start_ns, false);
            }
            &*process
        });
        let may_be_exported = may_be_exported || kind == Kind::Serve && is_sampled;
        let is_suppressed = is_suppressed
            || is_export && !self.rules.otlp_exports
            || process.is_some_and(|process| {
                self_instrumented::is_suppressed(process, self.rules.sdk, kind, may_be_exported)
            });
        let may_be_exported =
            may_be_exported && process.is_some_and(|process| process.may_export(kind, start_ns));
        self.has_instruments |= may_be_exported;
        let told = attempt.filter(|_| kind == Kind::Call).zip(process);
        let resends_told =
            told.and_then(|(attempt, process)| resend::resends_told(process, &self.open, attempt));
        let request = OpenRequest {
            kind,
            offset,
            wire,
            position,
            unit,
            start_ns,
            target,
            span_id: own_id.unwrap_or_else(|| self.contexts.span_id(key, position)),
            context,
            attempt,
            resends_told,
            traceparent,
            carried,
            attributed_to,
            withheld,
            children: Vec::new(),
            is_decided: false,
            is_answer_read: false,
            is_awaited: !kind.is_outgoing() && process.is_some_and(Process::attributes_later),
            is_closed: false,
            is_late,
            is_met: other.is_some(),
            has_own_id: own_id.is_some(),
            has_other_header: false,
            is_lengthened,
            is_suppressed,
            may_be_exported,
            sent_trace,
        };
        if let Some(server) = attributed_to {
            self.resends.attributed(server, key, &request);
        }
        self.open.insert(facts.number, request);
        if let Some(other) = other.and_then(|other| self.open.get_mut(other)) {
            other.is_met = true;
        }
        match kind {
            // Its work is over, and nothing that the process does now is for it.
            Kind::Serve if is_late => {}
            Kind::Serve => {
                let process = self.processes.of(unit.pid, &self.rules);
                process.receives_exports |= is_export;
                process.server_opened(unit, key, target, asked, start_ns);
                self.processes.tell(unit.pid, &self.rules, self.now_ns);
            }
            // Messaging comes here: when the work on a message ends is not known from the message itself. Until a
            // strategy knows it, a consumed message is work that is not seen, and nothing is attributed to it.
            Kind::Consume => {
                self.processes.of(unit.pid, &self.rules).works_unseen(unit, start_ns);
                self.processes.tell(unit.pid, &self.rules, self.now_ns);
            }
            Kind::Call | Kind::Publish => {
                // The other end's record may have come first.
                if let Some(server) = other {
                    let arrived = self.open.get(server);
                    let arrived = arrived.and_then(|it| Some((it.traceparent?, it.context.clone())));
                    if let Some((span_id, context)) = arrived {
                        other_program::arrived(&mut self.open, key, span_id, &context);
                    }
                    self.open.adopt(server, key, Evidence::Wire);
                }
            }
        }
    }

    fn attribute_later(&mut self, attributions: Vec<Attribution>) {
        if !attributions.is_empty() {
            placement::attribute_later(&mut self.open, &mut self.resends, attributions);
        }
    }

    /// Bytes were read from a connection; no parser has seen them yet. If they are of a response, a proxy
    /// continues with the server request that the client request was sent for.
    pub fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64) {
        if self.processes.need_reads()
            && let Some(process) = self.processes.get_mut(unit.pid).filter(|process| process.needs_reads())
        {
            let tell = |answer| process.answer_read(unit, answer, time_ns);
            self.open.answer_read(facts.number, unit, time_ns, tell);
        }
    }

    /// A parser has found the response to a client request in what was read.
    fn answer_named(&mut self, client: Key) {
        if self.processes.need_reads() {
            let processes = &mut self.processes;
            self.open.answer_named(client, |unit, time_ns, answer| {
                if let Some(process) = processes.get_mut(unit.pid) {
                    process.answer_read(unit, answer, time_ns);
                }
            });
        }
    }

    /// The final response to the request at this offset has begun: the process that moved the request, and who moves the
    /// response.
    pub fn answered(&mut self, facts: &ConnectionFacts, kind: Kind, offset: u64, (pid, by): (u32, Unit)) {
        let key = Key { connection: facts.number, direction: kind.direction(), offset };
        if kind.is_outgoing() {
            if self.processes.has_proxies() {
                self.answer_named(key);
                if let Some(client) = self.open.get_mut(key) {
                    client.is_decided = true;
                }
            }
        } else if let Some(process) = self.processes.get_mut(pid) {
            let attributions = process.server_answered(key, by);
            let (awaits, has_decided) = (process.awaits(key), process.take_decided());
            let news = process.newly_shown();
            self.attribute_later(attributions);
            if has_decided {
                self.processes.decided();
            }
            if awaits && let Some(server) = self.open.get_mut(key) {
                server.is_awaited = true;
            }
            if let Some(shown) = news {
                let known = self.processes.shown(pid, shown, &self.rules, self.now_ns);
                self.attribute_later(known);
            }
        }
    }

    /// An exchange has ended: its process no longer works for it.
    pub fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.now_ns = self.now_ns.max(exchange.end_ns);
        let key = Key::of(facts, exchange);
        if exchange.kind.is_outgoing() {
            self.client_closed(facts, exchange);
        }
        let Some(request) = self.open.get_mut(key) else { return };
        request.is_closed = true;
        let pid = request.unit.pid;
        // The sockets of a process are closed after it has ended.
        if !exchange.kind.is_outgoing()
            && let Some(process) = self.processes.get_mut(pid)
        {
            forwarded::ended(process, request);
            if exchange.kind == Kind::Serve {
                let attributions = process.server_closed(key, exchange);
                let has_decided = process.take_decided();
                let news = process.newly_shown();
                self.attribute_later(attributions);
                if has_decided {
                    self.processes.decided();
                }
                if let Some(shown) = news {
                    let known = self.processes.shown(pid, shown, &self.rules, self.now_ns);
                    self.attribute_later(known);
                }
                self.processes.tell(pid, &self.rules, self.now_ns);
            }
        }
    }

    fn client_closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        let key = Key::of(facts, exchange);
        if let Some(process) = self.processes.get_mut(exchange.request_unit.pid) {
            let exported = (process.exports, process.traces_requests);
            let name = self_instrumented::client_closed(process, &self.open, key, exchange);
            self.named = name.map(|name| (exchange.request_unit.pid, name));
            if (process.exports, process.traces_requests) != exported {
                self.processes.decided();
            }
        }
        // A message has no response, and is not sent again for want of one.
        if exchange.kind != Kind::Call {
            return;
        }
        if self.processes.has_proxies() {
            match exchange.outcome {
                Outcome::Complete if self.open.is_in_order(facts.number) => {}
                Outcome::Complete => self.answer_named(key),
                Outcome::OneWay => {}
                Outcome::Timeout
                | Outcome::Reset
                | Outcome::NoResponse
                | Outcome::Truncated
                | Outcome::Left
                | Outcome::Lost => {
                    self.open.answer_missed(key);
                    if resend::may_be_followed(exchange) {
                        self.unanswered(key, exchange.end_ns);
                    }
                }
            }
        }
        self.resends.closed(facts, exchange, &self.open);
    }

    /// A client request has no response, and will have none. A proxy may send another one for the same server
    /// request.
    fn unanswered(&mut self, client: Key, time_ns: u64) {
        let Some(found) = self.open.get_mut(client).filter(|client| !client.is_decided) else { return };
        found.is_decided = true;
        let (unit, server) = (found.unit, found.attributed_to);
        if let Some(process) = self.processes.get_mut(unit.pid) {
            process.client_unanswered(unit, client, server, time_ns);
        }
    }

    /// A process has closed a connection, or its end of one. Client requests on it without a response may be sent
    /// again.
    pub fn send_closed(&mut self, connection: u64, time_ns: u64) {
        if !self.processes.has_proxies() {
            return;
        }
        let clients = self.open.on(connection).filter(|request| request.kind == Kind::Call);
        let clients: Vec<Key> = clients.map(|client| client.key(connection)).collect();
        clients.into_iter().for_each(|client| self.unanswered(client, time_ns));
    }

    /// The kernel has closed a connection. How the client requests that are open on it ended will be known.
    pub fn closing(&mut self, connection: u64) {
        self.resends.closing(connection, &self.open);
    }

    /// How often it has become known, or has ceased to matter, how a process works: another number says that less may
    /// be held.
    pub fn decisions(&self) -> u64 {
        self.processes.decisions()
    }

    /// Whether an earlier client request, of which this one may be a resend, has not ended yet, and will.
    pub fn may_be_resend(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        self.resends.may_be_resend(facts, exchange, &self.open)
    }

    /// Forgets the attempts for server requests that have ended, when their last client requests have.
    pub fn forget_attempts(&mut self) {
        self.resends.forget_ended(&self.open);
    }

    /// The place of an exchange's span in its trace. It is asked for once.
    pub fn link(&mut self, facts: &ConnectionFacts, exchange: &Exchange) -> Link {
        let key = Key::of(facts, exchange);
        let (is_exported, left_out) = match self.has_instruments {
            true => self.exported_later(key),
            false => (false, None),
        };
        let Self { open, resends, contexts, .. } = self;
        let taken = open.take(key, |request| {
            let resend = resends.resend(request, facts, exchange);
            let OpenRequest { is_suppressed, sent_trace, span_id, withheld, .. } = *request;
            // Without a response, another process may have sent the bytes, and have read what they were answered.
            let has_other_header =
                request.has_other_header || request.is_lengthened && exchange.response_start_ns.is_some();
            let context =
                link::Context { state: std::mem::take(&mut request.context.state), ..request.context };
            let parent = match (context.parent, left_out) {
                (Some((id, evidence)), Some(left_out)) if id == left_out.id => {
                    left_out.above.map(|id| (id, evidence))
                }
                (parent, _) => parent,
            };
            let context = link::Context { parent, ..context };
            let is_suppressed = is_suppressed || is_exported;
            let has_left_in_other_trace = sent_trace.is_some_and(|trace| trace != context.trace_id);
            // Its parent may have become known later.
            let withheld = withheld.filter(|_| context.parent.is_none());
            Link {
                is_suppressed,
                resend,
                has_other_header,
                has_left_in_other_trace,
                withheld,
                ..Link::new(span_id, context)
            }
        });
        taken.unwrap_or_else(|| {
            let position = position(facts, key.direction, key.offset);
            Link::new(contexts.span_id(key, position), contexts.root(key, position, None))
        })
    }

    /// No other program inserts bytes into the requests of this connection.
    pub fn not_lengthened(&mut self, connection: u64) {
        self.open.on_mut(connection).for_each(|request| request.is_lengthened = false);
    }

    /// A connection is gone, and with it the requests that were never reported.
    pub fn left(&mut self, connection: u64) {
        let mut dropped_of = None;
        for request in self.open.leave(connection) {
            self.resends.lost(&request, connection);
            let pid = request.unit.pid;
            if let Some(process) = self.processes.get_mut(pid) {
                if !request.kind.is_outgoing() {
                    forwarded::ended(process, &request);
                }
                let attributions = process.server_dropped(request.key(connection), self.now_ns);
                if process.take_decided() {
                    self.processes.decided();
                }
                self.attribute_later(attributions);
                dropped_of = Some(pid);
            }
        }
        if let Some(pid) = dropped_of {
            self.processes.tell(pid, &self.rules, self.now_ns);
        }
    }
}

/// Sequence number of a request's first byte, without injected bytes.
fn position(facts: &ConnectionFacts, direction: Direction, offset: u64) -> u32 {
    let first = match direction {
        Direction::Receive => facts.first_received,
        Direction::Send => facts.first_sent,
    };
    first.wrapping_add(offset as u32)
}
