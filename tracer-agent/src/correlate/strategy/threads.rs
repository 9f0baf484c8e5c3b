//! Whether the threads of a process each work for the request that they read, and for no other.

use rustc_hash::FxHashMap;

use super::super::{
    Doubt, Key, Profile,
    process::{Call, Open},
};
use crate::exchange::Unit;

/// What was learned of a process's threads.
#[derive(Debug, Default)]
pub(in super::super) struct Threads {
    /// Exchanges whose thread read the request, called, and answered while other requests were open.
    good: u32,
    /// What speaks against it, until the process runs another program: work that is shared once will be
    /// shared again, also when nothing shows it.
    doubt: Option<Doubt>,
    /// Threads that have read requests.
    readers: FxHashMap<u32, Reader>,
}

#[derive(Debug, Default)]
struct Reader {
    /// It may work for a request that is not known: one that ended without its doing, or was not seen.
    is_astray: bool,
}

/// Exchanges without an exception that make a profile.
pub(in super::super) const ENOUGH: u32 = 32;
/// Threads that are remembered.
const READERS: usize = 4096;

impl Threads {
    /// Whether a call of a thread is for the request that the thread has open.
    pub(in super::super) fn are_units(&self) -> bool {
        self.doubt.is_none() && self.good >= ENOUGH
    }

    /// Whether a thread reads requests.
    pub(in super::super) fn is_reader(&self, tid: u32) -> bool {
        self.readers.contains_key(&tid)
    }

    pub(in super::super) fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.good >= ENOUGH => Profile::Threads { exchanges: self.good },
            None => Profile::Learning { exchanges: self.good, needed: ENOUGH },
        }
    }

    /// A thread has read the head of a request.
    pub(in super::super) fn read(&mut self, tid: u32, key: Key, open: &mut [Open]) {
        // With a doubt nothing hangs on it. An event loop may have any number of requests open.
        if self.doubt.is_none() {
            for other in open.iter_mut().filter(|other| other.unit.tid == tid) {
                // More requests of one connection are pipelined; those of two are the thread's choice.
                other.is_interleaved |= other.key.connection != key.connection;
            }
        }
        if self.readers.len() >= READERS && !self.readers.contains_key(&tid) {
            self.readers.clear();
        }
        self.readers.entry(tid).or_default().is_astray = false;
    }

    /// A request got its whole answer.
    pub(in super::super) fn closed(&mut self, open: &Open, answered: Option<Unit>) {
        let Some(answered) = answered else { return };
        if answered != open.unit {
            self.doubt.get_or_insert(Doubt::AnsweredElsewhere);
        } else if open.is_interleaved {
            self.doubt.get_or_insert(Doubt::Interleaved);
        } else if open.overlaps && open.has_called {
            self.good = self.good.saturating_add(1);
        }
    }

    /// A thread may work for a request that is not known, or not any more.
    pub(in super::super) fn works_unseen(&mut self, tid: u32) {
        if let Some(reader) = self.readers.get_mut(&tid) {
            reader.is_astray = true;
        }
    }

    /// The request for which a thread makes a call, if threads are units.
    pub(in super::super) fn made_for(&mut self, call: Call, open: &mut [Open]) -> Option<Key> {
        if self.doubt.is_some() {
            return None;
        }
        let mut own = open.iter_mut().filter(|open| open.unit == call.unit && open.start_ns <= call.start_ns);
        let Some(found) = own.next() else {
            let others_wait = open.iter().any(|open| !open.is_answered && open.start_ns <= call.start_ns);
            if others_wait && self.readers.get(&call.unit.tid).is_some_and(|reader| !reader.is_astray) {
                self.doubt.get_or_insert(Doubt::HandedOver);
            }
            return None;
        };
        if own.next().is_some() || found.is_interleaved {
            return None;
        }
        found.has_called = true;
        let is_astray = self.readers.get(&call.unit.tid).is_none_or(|reader| reader.is_astray);
        (self.are_units() && !is_astray).then_some(found.key)
    }
}
