//! Threads that each work on the server request that they read, and on no other.

use rustc_hash::FxHashMap;
use tracer_common::PROFILE_THREADS;

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
    readers: FxHashMap<u32, ReaderThread>,
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
    /// Whether a client request of a thread is for the server request that the thread has in flight.
    fn are_units(&self) -> bool {
        self.doubt.is_none() && (self.is_inherited || self.confirmed >= ENOUGH)
    }

    /// The server request for which a thread sends a client request, if threads are units.
    fn server_request_of(
        &mut self,
        client: &ClientRequest<'_>,
        in_flight: &mut [ServerRequest],
    ) -> Option<Key> {
        if self.doubt.is_some() {
            return None;
        }
        let reader = self.readers.get(&client.unit.tid);
        let is_its = |request: &&mut ServerRequest| {
            is_one_thread(request.unit, client.unit) && request.start_ns <= client.start_ns
        };
        let mut its = in_flight.iter_mut().filter(is_its);
        let Some(found) = its.next() else {
            let others_wait =
                in_flight.iter().any(|request| !request.is_answered && request.start_ns <= client.start_ns);
            if others_wait && reader.is_some_and(|reader| !reader.may_serve_unknown) {
                self.doubt.get_or_insert(Doubt::HandedOver);
            }
            return None;
        };
        if its.next().is_some() || found.is_interleaved {
            return None;
        }
        found.has_called = true;
        let may_serve_unknown = reader.is_none_or(|reader| reader.may_serve_unknown);
        (self.are_units() && !may_serve_unknown).then_some(found.key)
    }
}

impl Strategy for Threads {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::default())
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.confirmed >= ENOUGH => Profile::Threads { exchanges: self.confirmed },
            None if self.is_inherited => Profile::Inherited { exchanges: self.confirmed },
            None => Profile::Learning { exchanges: self.confirmed, needed: ENOUGH },
        }
    }

    fn inherit(&mut self) {
        self.is_inherited = true;
    }

    /// Its own doubt stays: it names what was seen.
    fn withdraw(&mut self) {
        self.is_inherited = false;
        self.confirmed = 0;
    }

    fn shown(&self) -> Option<Shown> {
        if self.doubt.is_some() {
            return Some(Shown::Doubted);
        }
        (self.confirmed >= ENOUGH).then_some(Shown::Proven)
    }

    fn kernel_rule(&self) -> Option<u8> {
        self.are_units().then_some(PROFILE_THREADS)
    }

    fn reads_requests(&self, unit: Unit) -> bool {
        self.readers.contains_key(&unit.tid)
    }

    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]) {
        let tid = request.unit.tid;
        // An event loop may have any number of requests in flight: after a doubt they are not looked at.
        if self.doubt.is_none() {
            for other in others.iter_mut().filter(|other| other.unit.tid == tid) {
                // Further requests of one connection are pipelined; those of another are the thread's choice.
                other.is_interleaved |= other.key.connection != request.key.connection;
            }
        }
        if self.readers.len() >= READERS && !self.readers.contains_key(&tid) {
            self.readers.clear();
        }
        self.readers.entry(tid).or_default().may_serve_unknown = false;
    }

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        match answered_by {
            None => {}
            Some(unit) if !is_one_thread(unit, request.unit) => {
                self.doubt.get_or_insert(Doubt::AnsweredElsewhere);
            }
            Some(_) if request.is_interleaved => {
                self.doubt.get_or_insert(Doubt::Interleaved);
            }
            Some(_) if request.overlaps && request.has_called => {
                self.confirmed = self.confirmed.saturating_add(1);
            }
            Some(_) => {}
        }
        Vec::new()
    }

    fn works_unseen(&mut self, unit: Unit) {
        if let Some(reader) = self.readers.get_mut(&unit.tid) {
            reader.may_serve_unknown = true;
        }
    }

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        let this = self.server_request_of(client, in_flight).map(|key| (key, Evidence::Unit));
        Attributions { this, ..Attributions::default() }
    }
}

/// Whether two units are one thread, whatever tasks it ran.
fn is_one_thread(one: Unit, other: Unit) -> bool {
    (one.pid, one.tid) == (other.pid, other.tid)
}
