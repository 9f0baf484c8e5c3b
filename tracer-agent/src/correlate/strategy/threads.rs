//! Threads that each work on the server request that they read, and on no other. Greenlets are threads in this: a thread of
//! the system runs many.

use rustc_hash::FxHashMap;
use tracer_common::{GREENLET, PROFILE_GOROUTINES, PROFILE_THREADS};

use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy};
use crate::{
    correlate::{
        link::Evidence,
        open::Key,
        profile::{Doubt, Profile},
        programs::Shown,
    },
    exchange::Unit,
};

/// What is known of a process's threads.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Exchanges whose thread read the request, sent a client request, and answered, while other requests were
    /// in flight.
    confirmed: u32,
    /// Another process of the same program has proven it.
    is_inherited: bool,
    /// The first contradiction. It holds until the process runs another program: work that is shared once will
    /// be shared again, also when nothing shows it.
    doubt: Option<Doubt>,
    /// Threads that have read requests.
    readers: FxHashMap<u64, ReaderThread>,
    /// One has answered what another had read.
    is_shared: bool,
    /// One that reads requests has sent a client request when none was in flight.
    goes_on: bool,
    /// The kernel programs read greenlets.
    are_greenlets: bool,
    held: HeldClients,
}

#[derive(Debug, Default)]
struct ReaderThread {
    /// It may work for a request that is not known: one that ended without its doing, or was not seen.
    may_serve_unknown: bool,
}

/// Confirmed exchanges that prove the strategy.
pub(crate) const ENOUGH: u32 = 32;
/// Threads that are remembered.
const READERS: usize = 4096;

impl Threads {
    /// The threads of a process whose greenlets are read.
    pub(crate) fn of_greenlets() -> Self {
        Self { are_greenlets: true, ..Self::default() }
    }

    /// Whether a client request of a thread is for the server request that the thread has in flight.
    fn are_units(&self) -> bool {
        self.doubt.is_none() && (self.is_inherited || self.confirmed >= ENOUGH)
    }

    /// What waited, now that threads are units.
    fn give(&mut self) -> Vec<Attribution> {
        if self.are_units() { self.held.give() } else { Vec::new() }
    }

    /// Threads are not units.
    fn doubt(&mut self, doubt: Doubt) {
        self.doubt.get_or_insert(doubt);
        self.held.clear();
    }

    /// The server request for which a thread sends a client request, if threads are units.
    fn server_request_of(
        &mut self,
        client: &ClientRequest<'_>,
        in_flight: &mut [ServerRequest],
    ) -> Option<Key> {
        let reader = self.readers.get(&client.unit.worker());
        let others_wait =
            in_flight.iter().any(|request| !request.is_answered && request.start_ns <= client.start_ns);
        self.goes_on |= !others_wait && reader.is_some_and(|reader| !reader.may_serve_unknown);
        if self.doubt.is_some() {
            return None;
        }
        let is_its = |request: &&mut ServerRequest| {
            request.unit.is_one_thread(client.unit) && request.start_ns <= client.start_ns
        };
        let mut its = in_flight.iter_mut().filter(is_its);
        let Some(found) = its.next() else {
            if others_wait && reader.is_some_and(|reader| !reader.may_serve_unknown) {
                self.doubt(Doubt::HandedOver);
            }
            return None;
        };
        if its.next().is_some() || found.is_interleaved {
            return None;
        }
        found.has_called = true;
        let may_serve_unknown = reader.is_none_or(|reader| reader.may_serve_unknown);
        (!may_serve_unknown).then_some(found.key)
    }
}

impl Strategy for Threads {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self { are_greenlets: self.are_greenlets, ..Self::default() })
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.confirmed >= ENOUGH => Profile::Threads { exchanges: self.confirmed },
            None if self.is_inherited => Profile::Inherited { exchanges: self.confirmed },
            None => Profile::Learning { exchanges: self.confirmed, needed: ENOUGH },
        }
    }

    fn inherit(&mut self) -> Vec<Attribution> {
        self.is_inherited = true;
        self.give()
    }

    fn hold(&mut self, client_request: Key, (candidate, _): (Key, u64), at_ns: u64) -> bool {
        self.held.add(client_request, candidate, at_ns)
    }

    fn release(&mut self) {
        self.held.clear();
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        self.held.has(client_request)
    }

    /// Its own doubt stays: it names what was seen.
    fn withdraw(&mut self) {
        self.is_inherited = false;
        self.confirmed = 0;
        self.held.clear();
    }

    fn shown(&self) -> Option<Shown> {
        if self.doubt.is_some() {
            return Some(Shown::Doubted);
        }
        (self.confirmed >= ENOUGH).then_some(Shown::Proven)
    }

    fn kernel_rule(&self) -> Option<u8> {
        let rule = if self.are_greenlets { PROFILE_GOROUTINES } else { PROFILE_THREADS };
        self.are_units().then_some(rule)
    }

    fn reads_requests(&self, unit: Unit) -> bool {
        self.readers.contains_key(&unit.worker())
    }

    fn may_be_shared(&self) -> bool {
        self.is_shared || !self.goes_on
    }

    /// A thread that reads requests may go on with the last one of them when it is answered. Greenlets are made for what they
    /// do.
    fn may_work_for(&self, unit: Unit, request: &ServerRequest) -> bool {
        unit.is_one_thread(request.unit)
            || !self.reads_requests(unit)
            || self.may_be_shared() && unit.task & GREENLET == 0
    }

    fn works_for_its_own(&self, unit: Unit, request: &ServerRequest) -> bool {
        self.doubt.is_none() && !self.goes_on && unit.is_one_thread(request.unit)
    }

    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]) {
        let reader = request.unit.worker();
        // An event loop may have any number of requests in flight: after a doubt they are not looked at.
        if self.doubt.is_none() {
            for other in others.iter_mut().filter(|other| other.unit.worker() == reader) {
                // Further requests of one connection are pipelined; those of another are the thread's choice.
                other.is_interleaved |= other.key.connection != request.key.connection;
            }
        }
        if self.readers.len() >= READERS && !self.readers.contains_key(&reader) {
            self.readers.clear();
        }
        self.readers.entry(reader).or_default().may_serve_unknown = false;
    }

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        match answered_by {
            None => {}
            // Which greenlet answers pipelined requests is read at the first response only, and which one reads is not known
            // before there is a plan.
            Some(unit) if self.are_greenlets && is_unread(unit, request.unit) => {}
            Some(unit) if !unit.is_one_thread(request.unit) => {
                self.is_shared = true;
                self.doubt(Doubt::AnsweredElsewhere);
            }
            Some(_) if request.is_interleaved => self.doubt(Doubt::Interleaved),
            Some(_) if request.overlaps && request.has_called => {
                self.confirmed = self.confirmed.saturating_add(1);
                if self.confirmed == ENOUGH {
                    return self.give();
                }
            }
            Some(_) => {}
        }
        Vec::new()
    }

    fn works_unseen(&mut self, unit: Unit) {
        if let Some(reader) = self.readers.get_mut(&unit.worker()) {
            reader.may_serve_unknown = true;
        }
    }

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        let found = self.server_request_of(client, in_flight);
        let this = found.filter(|_| self.are_units()).map(|key| (key, Evidence::Unit));
        let candidate = found.filter(|_| this.is_none() && self.doubt.is_none()).map(|key| (key, 0));
        Attributions { this, candidate, ..Attributions::default() }
    }
}

/// Whether one thread of the system has made both calls, and one of its greenlets is not known.
fn is_unread(one: Unit, other: Unit) -> bool {
    one.tid == other.tid && (one.task == 0 || other.task == 0)
}

/// Client requests that wait until it is known whether threads are units, by when they were sent and the server
/// requests that they then are for.
#[derive(Debug, Default)]
struct HeldClients(FxHashMap<Key, (u64, Key)>);

impl HeldClients {
    /// Client requests that wait.
    const MOST: usize = 4096;
    /// After this time none waits: their spans are made.
    const LONGEST_NS: u64 = 60_000_000_000;

    fn add(&mut self, client: Key, server: Key, at_ns: u64) -> bool {
        if self.0.len() >= Self::MOST {
            self.0.retain(|_, (since_ns, _)| at_ns.saturating_sub(*since_ns) < Self::LONGEST_NS);
        }
        let has_room = self.0.len() < Self::MOST;
        if has_room {
            self.0.insert(client, (at_ns, server));
        }
        has_room
    }

    fn has(&self, client: Key) -> bool {
        !self.0.is_empty() && self.0.contains_key(&client)
    }

    fn clear(&mut self) {
        self.0 = FxHashMap::default();
    }

    /// All, in the order in which they were sent.
    fn give(&mut self) -> Vec<Attribution> {
        let mut all: Vec<_> = std::mem::take(&mut self.0).into_iter().collect();
        all.sort_unstable_by_key(|(client, (at_ns, _))| (*at_ns, client.connection, client.offset));
        let evidence = Evidence::Unit;
        let attribution =
            |(client_request, (_, server_request))| Attribution { client_request, server_request, evidence };
        all.into_iter().map(attribution).collect()
    }
}
