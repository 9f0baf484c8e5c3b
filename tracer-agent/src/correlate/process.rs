//! What a process does with its requests: who works for which.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tracer_common::{PROFILE_NONE, PROFILE_PROXY, PROFILE_SOLE_REQUEST, PROFILE_THREADS};

use super::{Evidence, Key};
use crate::exchange::{Exchange, Outcome, Unit};

/// Executables that are proxies: they do everything for a request in the callback that read of it.
const PROXIES: &[&str] = &["nginx", "haproxy", "envoy"];

/// Whether this is the path of a proxy's executable.
pub(super) fn is_proxy(executable: &str) -> bool {
    executable.rsplit('/').next().is_some_and(|name| PROXIES.contains(&name))
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    /// Requests that it serves now: head read, last byte of the answer not written.
    open: Vec<Open>,
    /// It has requests that are not seen.
    is_hidden: bool,
    works: Works,
    /// The profile that was told last.
    profile: Option<u8>,
}

#[derive(Debug)]
struct Open {
    key: Key,
    unit: Unit,
    start_ns: u64,
    /// Another request was open at the same time.
    overlaps: bool,
    /// Its answer has begun: what the process does now need not be for it.
    is_answered: bool,
}

/// How the process works on requests.
#[derive(Debug)]
enum Works {
    /// By threads, if what was learned says so.
    Threads(Learned),
    /// As a proxy: what each thread went on with, the latest last.
    Proxy(FxHashMap<u32, VecDeque<Turn>>),
}

/// What the exchanges so far say of threads.
#[derive(Debug, Default)]
struct Learned {
    /// Exchanges in a row whose request one thread read, and then answered, and read no other between.
    good: u32,
    /// Of those, some overlapped.
    overlapped: bool,
}

/// A proxy's thread went on with a request.
#[derive(Debug)]
struct Turn {
    time_ns: u64,
    key: Key,
    /// A call was made in it. A second one may be a check or a retry of something else.
    is_used: bool,
}

/// Exchanges without an exception that make a profile.
const ENOUGH: u32 = 16;
/// Threads of a proxy that are remembered.
const THREADS: usize = 1024;
/// Turns of a thread that are remembered.
const TURNS: usize = 64;

impl Process {
    pub(super) fn new(is_proxy: bool) -> Self {
        let works =
            if is_proxy { Works::Proxy(FxHashMap::default()) } else { Works::Threads(Learned::default()) };
        Self { open: Vec::new(), is_hidden: false, works, profile: None }
    }

    pub(super) fn is_proxy(&self) -> bool {
        matches!(self.works, Works::Proxy(_))
    }

    /// How the kernel programs may link its calls (`PROFILE_*`), if that has changed.
    pub(super) fn new_profile(&mut self, sole_request: bool) -> Option<u8> {
        let profile = match &self.works {
            Works::Proxy(_) => PROFILE_PROXY,
            Works::Threads(learned) if learned.good >= ENOUGH && learned.overlapped => PROFILE_THREADS,
            Works::Threads(_) if sole_request && !self.is_hidden => PROFILE_SOLE_REQUEST,
            Works::Threads(_) => PROFILE_NONE,
        };
        (self.profile != Some(profile)).then(|| *self.profile.insert(profile))
    }

    pub(super) fn hide(&mut self) {
        self.is_hidden = true;
    }

    /// The requests that it serves now.
    pub(super) fn open(&self) -> impl Iterator<Item = Key> {
        self.open.iter().map(|open| open.key)
    }

    /// A thread has read the head of a request.
    pub(super) fn request_opened(&mut self, unit: Unit, key: Key, start_ns: u64) {
        if let Works::Threads(learned) = &mut self.works
            && self.open.iter().any(|open| open.unit == unit)
        {
            // It reads a request while it works for another.
            *learned = Learned::default();
        }
        let overlaps = !self.open.is_empty();
        for open in &mut self.open {
            open.overlaps = true;
        }
        self.open.push(Open { key, unit, start_ns, overlaps, is_answered: false });
        self.resumed(unit, key, start_ns, true);
    }

    /// The first byte of the answer was written.
    pub(super) fn request_answered(&mut self, key: Key) {
        if let Some(open) = self.open.iter_mut().find(|open| open.key == key) {
            open.is_answered = true;
        }
    }

    /// The last byte of the answer was written, or none will be.
    pub(super) fn request_closed(&mut self, key: Key, exchange: &Exchange) {
        let Some(open) = self.take(key) else { return };
        let Works::Threads(learned) = &mut self.works else { return };
        if exchange.outcome != Outcome::Complete || exchange.response_unit != Some(open.unit) {
            *learned = Learned::default();
            return;
        }
        learned.good = learned.good.saturating_add(1);
        learned.overlapped |= open.overlaps;
    }

    /// The request's connection is gone.
    pub(super) fn request_dropped(&mut self, key: Key) {
        if self.take(key).is_some()
            && let Works::Threads(learned) = &mut self.works
        {
            *learned = Learned::default();
        }
    }

    fn take(&mut self, key: Key) -> Option<Open> {
        let at = self.open.iter().position(|open| open.key == key)?;
        Some(self.open.swap_remove(at))
    }

    /// A proxy's thread goes on with a request. With its head, and with each answer to a call for it, it
    /// may call anew (`renews`); with more of its body it may not.
    pub(super) fn resumed(&mut self, unit: Unit, key: Key, time_ns: u64, renews: bool) {
        let Works::Proxy(threads) = &mut self.works else { return };
        if threads.len() >= THREADS && !threads.contains_key(&unit.tid) {
            threads.clear();
        }
        let turns = threads.entry(unit.tid).or_default();
        if turns.len() >= TURNS {
            turns.pop_front();
        }
        let is_used = !renews && turns.iter().any(|turn| turn.key == key && turn.is_used);
        turns.push_back(Turn { time_ns, key, is_used });
    }

    /// The request for which a thread makes a call that starts then, on a connection that it opened at
    /// `connect_ns` for this call.
    pub(super) fn made_for(
        &mut self,
        unit: Unit,
        start_ns: u64,
        connect_ns: Option<u64>,
        sole_request: bool,
    ) -> Option<(Key, Evidence)> {
        let open = &self.open;
        match &mut self.works {
            Works::Proxy(threads) => {
                let at_ns = connect_ns.unwrap_or(start_ns);
                let turn = threads.get_mut(&unit.tid)?.iter_mut().rev().find(|turn| turn.time_ns <= at_ns)?;
                let waits = open.iter().any(|open| open.key == turn.key && !open.is_answered);
                if !waits || turn.is_used {
                    return None;
                }
                turn.is_used = true;
                Some((turn.key, Evidence::Proxy))
            }
            Works::Threads(learned) if learned.good >= ENOUGH && learned.overlapped => {
                let mut own = open.iter().filter(|open| open.unit == unit && open.start_ns <= start_ns);
                let found = own.next()?;
                own.next().is_none().then_some((found.key, Evidence::Unit))
            }
            Works::Threads(_) => match &open[..] {
                [only]
                    if sole_request && !self.is_hidden && !only.is_answered && only.start_ns <= start_ns =>
                {
                    Some((only.key, Evidence::SoleRequest))
                }
                _ => None,
            },
        }
    }
}
