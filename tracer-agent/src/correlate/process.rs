//! One process: its server requests in flight, its strategy, and the rule for what its strategy leaves open.

use crate::short_bytes::ShortBytes;
use tracer_common::{
    PROFILE_DEFERRED, PROFILE_NONE, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST, RunRecord, TaskRecord,
};

use super::{
    background::Background,
    link::Evidence,
    open::{AnswerOf, Key},
    profile::Profile,
    programs::{Program, Programs, Shown},
    seen::RecentIds,
    strategy::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy, choose},
    withheld::Withheld,
};
use crate::{
    exchange::{Exchange, Kind, Outcome, Unit},
    task_runtime::TaskRuntime,
};

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    in_flight: Vec<ServerRequest>,
    /// When the last server request ended that left none in flight.
    idle_since_ns: u64,
    /// It has server requests that cannot be seen.
    is_opaque: bool,
    strategy: Box<dyn Strategy>,
    /// The program that it runs, if that is known.
    program: Option<Program>,
    /// What it was last seen to have shown of its strategy.
    shown: Option<Shown>,
    background: Background,
    /// The rule that the kernel programs were told last.
    kernel_rule: Option<u8>,
    /// Span ids of the contexts that server requests came with.
    pub(super) received: RecentIds,
    /// Span ids of the application's own contexts that client requests carried.
    pub(super) sent: RecentIds,
    /// Hashes of what server requests came with that have ended: contexts, traces and request ids.
    pub(super) ended: RecentIds,
    /// It exports spans itself.
    pub(super) exports: bool,
    /// It has what exports spans, or acts as if it had.
    instruments: Instruments,
    /// It makes spans of server requests: their traces continue in headers of its own, or it was seen to export some.
    pub(super) traces_requests: bool,
    /// It receives exports: those that it sends may be other processes' spans.
    pub(super) receives_exports: bool,
    /// `service.name` of the spans that it exports.
    pub(super) own_name: OwnName,
}

/// Whether a process may export spans that were not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruments {
    /// Nothing tells so.
    No,
    /// It has what exports spans, and no request yet.
    Idle,
    /// If it does, the first export comes before this time.
    Until(u64),
}

/// The name of a service, by the spans that a process exports.
#[derive(Debug, Default)]
pub(super) enum OwnName {
    /// It has not told one.
    #[default]
    Unknown,
    /// This one, always.
    One(String),
    /// Several: the process is several services.
    Several,
}

impl Process {
    /// A process that runs this executable.
    pub(super) fn new(executable: &str) -> Self {
        Self::with(choose::for_program(executable))
    }

    /// A process that runs a program whose tasks are read.
    pub(super) fn of_runtime(runtime: TaskRuntime) -> Self {
        Self::with(choose::for_runtime(runtime))
    }

    /// A task of it reads or sends the request that comes next.
    pub(super) fn task(&mut self, record: &TaskRecord) {
        self.strategy.task(record);
    }

    /// Its event loop makes the call that comes next. Returns how much of what is told of it cannot be true.
    pub(super) fn run(&mut self, record: &RunRecord) -> u32 {
        self.strategy.run(record)
    }

    /// How its tasks are read is known from now on; what it has in flight stays.
    pub(super) fn set_runtime(&mut self, runtime: TaskRuntime) {
        let earlier = std::mem::replace(&mut self.strategy, choose::for_program(""));
        self.strategy = choose::from_now_on(runtime, earlier);
        self.shown = None;
    }

    /// See [`Strategy::take_decided`].
    pub(super) fn take_decided(&mut self) -> bool {
        self.strategy.take_decided()
    }

    /// See [`Strategy::attributes_later`].
    pub(super) fn attributes_later(&self) -> bool {
        self.strategy.attributes_later()
    }

    /// Another process of the same program.
    pub(super) fn forked(&self) -> Self {
        let instruments = match self.instruments {
            Instruments::No => Instruments::No,
            Instruments::Idle | Instruments::Until(_) => Instruments::Idle,
        };
        Self { program: self.program, instruments, ..Self::with(self.strategy.renewed()) }
    }

    /// It runs this program.
    pub(super) fn set_program(&mut self, program: Program) {
        self.program = Some(program);
    }

    /// Takes what others have shown of its program. Returns what that makes known.
    pub(super) fn inherit(&mut self, programs: &mut Programs) -> Vec<Attribution> {
        if let Some(program) = self.program {
            self.background.share(programs.called(program));
        }
        match self.program.is_some_and(|program| programs.is_proven(program)) {
            true => self.strategy.inherit(),
            false => Vec::new(),
        }
    }

    pub(super) fn program(&self) -> Option<Program> {
        self.program
    }

    /// Another process of its program has contradicted how it was taken to work.
    pub(super) fn withdraw(&mut self) {
        self.strategy.withdraw();
    }

    /// What it has shown of its program since this was asked last.
    #[inline]
    pub(super) fn newly_shown(&mut self) -> Option<Shown> {
        let shown = self.strategy.shown();
        if shown == self.shown {
            return None;
        }
        self.shown = shown;
        shown
    }

    /// What it was last seen to have shown.
    #[cfg(test)]
    pub(super) fn has_shown(&self) -> Option<Shown> {
        self.shown
    }

    /// A process that works in this way.
    pub(super) fn with(strategy: Box<dyn Strategy>) -> Self {
        Self {
            in_flight: Vec::new(),
            idle_since_ns: u64::MAX,
            is_opaque: false,
            strategy,
            program: None,
            shown: None,
            background: Background::default(),
            kernel_rule: None,
            received: RecentIds::default(),
            sent: RecentIds::default(),
            ended: RecentIds::default(),
            exports: false,
            instruments: Instruments::No,
            traces_requests: false,
            receives_exports: false,
            own_name: OwnName::Unknown,
        }
    }

    /// It has what exports spans.
    pub(super) fn instruments(&mut self) {
        self.instruments = Instruments::Idle;
    }

    /// A request of it begins. If `is_own` it carries a context of the application's own, so there is something that makes
    /// spans.
    pub(super) fn begins(&mut self, start_ns: u64, is_own: bool) {
        /// An SDK exports every five seconds by default, and some every ten.
        const FIRST_EXPORT_NS: u64 = 10_000_000_000;
        let is_first = match self.instruments {
            Instruments::No => is_own,
            Instruments::Idle => true,
            Instruments::Until(_) => false,
        };
        if is_first {
            self.instruments = Instruments::Until(start_ns.saturating_add(FIRST_EXPORT_NS));
        }
    }

    /// Whether it may turn out that it exports a span of a request that began at this time.
    pub(super) fn may_export(&self, kind: Kind, start_ns: u64) -> bool {
        !self.exports_of(kind) && matches!(self.instruments, Instruments::Until(end_ns) if start_ns < end_ns)
    }

    /// Whether it was seen to export spans of such requests. Those of client requests come first: they end earlier.
    pub(super) fn exports_of(&self, kind: Kind) -> bool {
        self.exports && (kind != Kind::Serve || self.traces_requests)
    }

    pub(super) fn needs_reads(&self) -> bool {
        self.strategy.needs_reads()
    }

    pub(super) fn is_proxy(&self) -> bool {
        self.strategy.is_proxy()
    }

    pub(super) fn profile(&self) -> Profile {
        self.strategy.profile()
    }

    /// How the kernel programs may attribute its client requests (`PROFILE_*`), if that has changed.
    pub(super) fn new_kernel_rule(&mut self, sole_request: bool, now_ns: u64) -> Option<u8> {
        let rule = match self.strategy.kernel_rule() {
            _ if self.is_opaque => self.strategy.task_rule().unwrap_or(PROFILE_NONE),
            Some(rule) => rule,
            None if !sole_request => PROFILE_NONE,
            None if self.background.is_suspicious() || self.background.is_at_unseen(now_ns) => {
                PROFILE_DEFERRED
            }
            None if self.background.is_known() && self.strategy.may_be_shared() => PROFILE_SOLE_REQUEST,
            None => PROFILE_SOLE_OWN,
        };
        (self.kernel_rule != Some(rule)).then(|| *self.kernel_rule.insert(rule))
    }

    /// It has server requests that cannot be seen.
    pub(super) fn set_opaque(&mut self) {
        self.is_opaque = true;
        self.strategy.release();
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// The server requests in flight.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = Key> {
        self.in_flight.iter().map(|request| request.key)
    }

    /// Whether they are more than are compared with each client request.
    pub(super) fn is_crowded(&self) -> bool {
        self.in_flight.len() > 1024
    }

    /// Those of them that a client request of this time can be for, if nothing else is known of it.
    pub(super) fn unanswered(&self, at_ns: u64) -> impl Iterator<Item = Key> {
        let waits = move |request: &&ServerRequest| !request.is_answered && request.start_ns <= at_ns;
        self.in_flight.iter().filter(waits).map(|request| request.key)
    }

    /// A unit has read the head of a server request.
    pub(super) fn server_opened(
        &mut self,
        unit: Unit,
        key: Key,
        target: u64,
        asked: ShortBytes,
        start_ns: u64,
    ) {
        let overlaps = !self.in_flight.is_empty();
        let idle_ns = match self.idle_since_ns {
            _ if overlaps => None,
            // It has served nothing yet.
            u64::MAX => Some(u64::MAX),
            since_ns => Some(start_ns.saturating_sub(since_ns)),
        };
        let request = ServerRequest {
            key,
            unit,
            start_ns,
            target,
            asked,
            overlaps,
            is_answered: false,
            has_called: false,
            is_interleaved: false,
        };
        self.strategy.server_opened(&request, &mut self.in_flight);
        self.background.serves(key, idle_ns);
        // All of several overlap already.
        if let [only] = &mut self.in_flight[..] {
            only.overlaps = true;
        }
        self.in_flight.push(request);
    }

    /// The first byte of the response was written.
    #[inline]
    pub(super) fn server_answered(&mut self, key: Key, by: Unit) -> Vec<Attribution> {
        let Some(request) = self.in_flight.iter_mut().rfind(|request| request.key == key) else {
            return Vec::new();
        };
        request.is_answered = true;
        self.strategy.server_answered(request, by)
    }

    /// Whether client requests wait that may be attributed to this server request, which is answered.
    pub(super) fn awaits(&self, key: Key) -> bool {
        self.strategy.awaits(key)
    }

    /// The last byte of the response was written, or none will be.
    #[inline]
    pub(super) fn server_closed(&mut self, key: Key, exchange: &Exchange) -> Vec<Attribution> {
        match exchange.outcome {
            Outcome::Complete | Outcome::OneWay => {
                let request = self.take(key, exchange.end_ns);
                request
                    .map(|request| self.strategy.server_closed(&request, exchange.response_unit))
                    .unwrap_or_default()
            }
            _ => self.server_dropped(key, exchange.end_ns),
        }
    }

    /// The server request ended without a whole response. Its process may not know, and continue with it.
    pub(super) fn server_dropped(&mut self, key: Key, time_ns: u64) -> Vec<Attribution> {
        let Some(request) = self.take(key, time_ns) else { return Vec::new() };
        let attributions = self.strategy.server_closed(&request, None);
        self.works_unseen(request.unit, time_ns.max(request.start_ns));
        attributions
    }

    #[inline]
    fn take(&mut self, key: Key, time_ns: u64) -> Option<ServerRequest> {
        // Those that are in flight for long stand before those that come and go.
        let at = self.in_flight.iter().rposition(|request| request.key == key)?;
        let request = self.in_flight.swap_remove(at);
        if self.in_flight.is_empty() {
            self.idle_since_ns = time_ns.max(request.start_ns);
        }
        Some(request)
    }

    /// A unit may work for a server request that is not known.
    pub(super) fn works_unseen(&mut self, unit: Unit, time_ns: u64) {
        self.strategy.works_unseen(unit);
        self.background.works_unseen(time_ns);
    }

    /// A unit works for what it has read from a connection, and is not understood.
    pub(super) fn works_undecoded(&mut self, connection: u64, unit: Unit, time_ns: u64) {
        self.strategy.works_unseen(unit);
        self.background.works_undecoded(connection, time_ns);
    }

    /// What was so read from a connection is answered.
    pub(super) fn undecoded_answered(&mut self, connection: u64, time_ns: u64) {
        self.background.undecoded_answered(connection, time_ns);
    }

    /// A unit has read bytes of a response.
    pub(super) fn answer_read(&mut self, unit: Unit, answer: AnswerOf, time_ns: u64) {
        self.strategy.answer_read(unit, answer, time_ns);
    }

    /// A client request, which this unit sent, will get no response.
    pub(super) fn client_unanswered(&mut self, unit: Unit, client: Key, server: Option<Key>, time_ns: u64) {
        self.strategy.client_unanswered(unit, client, server, time_ns);
    }

    /// The process sends a client request, and other evidence tells for which server request.
    pub(super) fn attributed(&mut self, client: &ClientRequest<'_>, server: Key) {
        self.strategy.attributed(client, server);
    }

    /// Whether it may become known later which server request this client request was sent for.
    pub(super) fn may_attribute_later(&self, client: Key) -> bool {
        self.strategy.may_attribute_later(client)
    }

    /// The process sends a client request.
    pub(super) fn attribute(&mut self, client: &ClientRequest<'_>, sole_request: bool) -> Attributions {
        let may_be_background =
            self.strategy.is_proxy() || self.background.may_be(client, !self.in_flight.is_empty());
        let mut found = self.strategy.attribute(client, &mut self.in_flight);
        if found.is_background {
            self.background.calls(client.remote);
        }
        if self.is_opaque && !found.this.is_some_and(|(_, evidence)| evidence.is_of_task()) {
            return Attributions { withheld: Some(Withheld::Opaque), ..Attributions::default() };
        }
        if sole_request && !may_be_background && !found.is_certain && self.strategy.leaves_others() {
            found.this = found.this.or(self.sole_request(client));
        }
        if let Some(found) = found.this {
            self.background.called_for(found, client.remote);
        }
        if found.this.is_none() && found.withheld.is_none() {
            found.withheld = Some(self.withheld(client, sole_request, may_be_background));
        }
        let waits = |candidate: &(Key, u64)| {
            client.may_wait && self.strategy.hold(client.key, *candidate, client.start_ns)
        };
        found.candidate = found.candidate.filter(|_| found.this.is_none()).filter(waits);
        found
    }

    /// Why a client request was attributed to nothing.
    fn withheld(&self, client: &ClientRequest<'_>, sole_request: bool, may_be_background: bool) -> Withheld {
        let is_proven = self.strategy.kernel_rule().is_some() && !self.strategy.leaves_others();
        if !is_proven && self.background.is_at_unseen(client.start_ns) {
            return Withheld::Unseen;
        }
        if self.in_flight.is_empty() {
            return Withheld::NoRequest;
        }
        if self.strategy.is_proxy() {
            return Withheld::Ambiguous;
        }
        if is_proven {
            return Withheld::OtherThread;
        }
        if self.in_flight.len() > 1 {
            return match self.strategy.profile() {
                Profile::Learning { .. } => Withheld::Learning,
                _ => Withheld::Several,
            };
        }
        match (sole_request, may_be_background) {
            (false, _) => Withheld::Off,
            (true, true) => Withheld::Background,
            (true, false) => Withheld::Earlier,
        }
    }

    /// The sole-request rule: the only server request in flight, if the client request can be for it.
    fn sole_request(&self, client: &ClientRequest<'_>) -> Option<(Key, Evidence)> {
        let [only] = &self.in_flight[..] else { return None };
        // A connection that was opened between the server request before and this one is for neither.
        let idle_ns = self.idle_since_ns..only.start_ns;
        let is_possible = !only.is_answered
            && only.start_ns <= client.start_ns
            && client.connect_ns.is_none_or(|connect_ns| !idle_ns.contains(&connect_ns));
        // A thread that reads server requests may still be at its last one.
        let is_free = || {
            only.unit.is_one_thread(client.unit)
                || !self.strategy.reads_requests(client.unit)
                || self.background.is_known()
        };
        let is_its = is_possible
            && is_free()
            && self.strategy.may_work_for(client.unit, only)
            && (self.strategy.works_for_its_own(client.unit, only)
                || !self.background.may_be_earlier(only.key, client.remote));
        is_its.then_some((only.key, Evidence::SoleRequest))
    }
}
