//! Virtual threads of Java: the kernel programs read which one makes a call. The threads of the system that run them tell
//! nothing of the work; those that do not may be units of their own.

use rustc_hash::FxHashSet;
use tracer_common::{PROFILE_GOROUTINES, TaskRecord, VIRTUAL_THREAD};

use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy, threads::Threads};
use crate::{
    correlate::{
        link::Evidence,
        open::{AnswerOf, Key},
        profile::{Doubt, Profile},
        programs::Shown,
    },
    exchange::Unit,
};

/// What is known of a process's virtual threads, and of its other ones.
#[derive(Debug)]
pub(crate) struct VirtualThreads {
    /// Server requests that a virtual thread has read.
    read: u32,
    /// Virtual threads do not work on what they read.
    doubt: Option<Doubt>,
    /// Threads of the system that have run virtual ones.
    carriers: FxHashSet<u32>,
    /// Virtual threads that have read or answered server requests.
    servers: FxHashSet<u64>,
    /// How the other threads work.
    others: Box<dyn Strategy>,
}

impl Default for VirtualThreads {
    fn default() -> Self {
        Self::beside(Box::new(Threads::default()))
    }
}

impl VirtualThreads {
    /// Carriers that are remembered. A program has as many as CPUs, or some more.
    const MOST_CARRIERS: usize = 4096;
    /// Virtual threads that are remembered. Most programs make one for each request.
    const MOST_SERVERS: usize = 65_536;

    /// In a process whose other threads work in this way.
    pub(crate) fn beside(others: Box<dyn Strategy>) -> Self {
        let (carriers, servers) = (FxHashSet::default(), FxHashSet::default());
        Self { read: 0, doubt: None, carriers, servers, others }
    }

    /// Whether a virtual thread is this unit, or may be.
    fn is_virtual(&self, unit: Unit) -> bool {
        unit.task > VIRTUAL_THREAD || unit.task == VIRTUAL_THREAD && self.carriers.contains(&unit.tid)
    }

    fn saw(&mut self, unit: Unit) {
        if unit.task > VIRTUAL_THREAD && self.carriers.len() < Self::MOST_CARRIERS {
            self.carriers.insert(unit.tid);
        }
    }

    /// A unit reads or answers a server request.
    fn serves(&mut self, unit: Unit) {
        if unit.task <= VIRTUAL_THREAD {
            return;
        }
        if self.servers.len() >= Self::MOST_SERVERS {
            self.servers.clear();
        }
        self.servers.insert(unit.task);
    }

    fn doubts(&mut self, doubt: Doubt) {
        self.doubt.get_or_insert(doubt);
    }
}

impl Strategy for VirtualThreads {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::beside(self.others.renewed()))
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.read > 0 => Profile::VirtualThreads { requests: self.read },
            None => self.others.profile(),
        }
    }

    fn inherit(&mut self) -> Vec<Attribution> {
        self.others.inherit()
    }

    fn hold(&mut self, client_request: Key, candidate: (Key, u64), at_ns: u64) -> bool {
        self.others.hold(client_request, candidate, at_ns)
    }

    fn release(&mut self) {
        self.others.release();
    }

    fn withdraw(&mut self) {
        self.others.withdraw();
    }

    fn shown(&self) -> Option<Shown> {
        self.others.shown()
    }

    fn kernel_rule(&self) -> Option<u8> {
        match self.read {
            0 => self.others.kernel_rule(),
            _ => self.doubt.is_none().then_some(PROFILE_GOROUTINES),
        }
    }

    fn task_rule(&self) -> Option<u8> {
        (self.read > 0 && self.doubt.is_none()).then_some(PROFILE_GOROUTINES)
    }

    /// A virtual thread that has read no request tells nothing of the one that has made it.
    fn leaves_others(&self) -> bool {
        self.read > 0 || self.others.leaves_others()
    }

    fn task(&mut self, record: &TaskRecord) {
        self.others.task(record);
    }

    fn take_decided(&mut self) -> bool {
        self.others.take_decided()
    }

    fn reads_requests(&self, unit: Unit) -> bool {
        !self.is_virtual(unit) && self.others.reads_requests(unit)
    }

    fn may_be_shared(&self) -> bool {
        self.others.may_be_shared()
    }

    /// Threads are numbered as they are made: one that is older than the reader of the request was not made for it. One that
    /// cannot be told from others may be one of those that read.
    fn may_work_for(&self, unit: Unit, request: &ServerRequest) -> bool {
        if !self.is_virtual(unit) {
            return self.others.may_work_for(unit, request);
        }
        let is_newer = || unit.task > request.unit.task && !self.servers.contains(&unit.task);
        unit.task != VIRTUAL_THREAD && (unit.task == request.unit.task || is_newer())
    }

    fn works_for_its_own(&self, unit: Unit, request: &ServerRequest) -> bool {
        !self.is_virtual(unit) && self.others.works_for_its_own(unit, request)
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        self.others.may_attribute_later(client_request)
    }

    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]) {
        self.saw(request.unit);
        if !self.is_virtual(request.unit) {
            return self.others.server_opened(request, others);
        }
        if request.unit.task == VIRTUAL_THREAD {
            return;
        }
        self.read = self.read.saturating_add(1);
        self.serves(request.unit);
        let is_other = |other: &ServerRequest| {
            other.unit.task == request.unit.task && other.key.connection != request.key.connection
        };
        if others.iter().any(is_other) {
            self.doubts(Doubt::Interleaved);
        }
    }

    fn server_answered(&mut self, request: &ServerRequest, by: Unit) -> Vec<Attribution> {
        match self.is_virtual(request.unit) {
            true => Vec::new(),
            false => self.others.server_answered(request, by),
        }
    }

    fn awaits(&self, server_request: Key) -> bool {
        self.others.awaits(server_request)
    }

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        if !self.is_virtual(request.unit) {
            return self.others.server_closed(request, answered_by);
        }
        answered_by.into_iter().for_each(|by| self.serves(by));
        // Which thread answers pipelined requests is read at the first response only: its carrier is known to be one.
        let is_unread = |unit: &Unit| unit.task == 0 && self.carriers.contains(&unit.tid);
        let is_known = |unit: &Unit| unit.task != VIRTUAL_THREAD && !is_unread(unit);
        let by = answered_by.filter(|by| is_known(by) && is_known(&request.unit));
        if by.is_some_and(|by| by.task != request.unit.task) {
            self.doubts(Doubt::AnsweredElsewhere);
        }
        Vec::new()
    }

    fn works_unseen(&mut self, unit: Unit) {
        if !self.is_virtual(unit) {
            self.others.works_unseen(unit);
        }
    }

    fn answer_read(&mut self, unit: Unit, answer: AnswerOf, time_ns: u64) {
        if !self.is_virtual(unit) {
            self.others.answer_read(unit, answer, time_ns);
        }
    }

    fn client_unanswered(&mut self, unit: Unit, client: Key, server: Option<Key>, time_ns: u64) {
        if !self.is_virtual(unit) {
            self.others.client_unanswered(unit, client, server, time_ns);
        }
    }

    fn attributed(&mut self, client_request: &ClientRequest<'_>, server_request: Key) {
        if !self.is_virtual(client_request.unit) {
            self.others.attributed(client_request, server_request);
        }
    }

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        self.saw(client.unit);
        if !self.is_virtual(client.unit) {
            return self.others.attribute(client, in_flight);
        }
        if client.unit.task == VIRTUAL_THREAD || self.doubt.is_some() {
            return Attributions::default();
        }
        match super::its_request(client.unit.task, client.start_ns, in_flight) {
            Ok(own) => Attributions {
                this: own.map(|request| (request.key, Evidence::VirtualThread)),
                ..Attributions::default()
            },
            Err(doubt) => {
                self.doubts(doubt);
                Attributions::default()
            }
        }
    }
}
