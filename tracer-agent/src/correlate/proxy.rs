//! For which request a proxy makes a call.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Key;

/// When a proxy calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// In the callback that read, before the thread reads anything else.
    AtOnce,
    /// After all that had come was read.
    InRounds,
}

/// Executables that are proxies.
const PROXIES: &[(&str, Order)] =
    &[("nginx", Order::AtOnce), ("haproxy", Order::InRounds), ("envoy", Order::InRounds)];
/// Threads of a proxy that are remembered.
const THREADS: usize = 1024;

/// Which proxy this is the path of.
pub(super) fn known(executable: &str) -> Option<(&'static str, Order)> {
    let file = executable.rsplit('/').next()?;
    PROXIES.iter().copied().find(|(name, _)| *name == file)
}

/// What each thread went on with, the latest last.
#[derive(Debug, Default)]
pub(super) struct Turns(FxHashMap<u32, VecDeque<Turn>>);

/// A thread went on with a request.
#[derive(Debug)]
struct Turn {
    time_ns: u64,
    key: Key,
    /// A call was made in it. A second one may be a check or a retry of something else.
    is_used: bool,
}

impl Turns {
    /// Turns of a thread that are remembered.
    const MOST: usize = 64;

    /// See [`super::process::Process::resumed`].
    pub(super) fn resumed(&mut self, tid: u32, key: Key, time_ns: u64, renews: bool) {
        let turns = thread(&mut self.0, tid);
        if turns.len() >= Self::MOST {
            turns.pop_front();
        }
        let is_used = !renews && turns.iter().any(|turn| turn.key == key && turn.is_used);
        turns.push_back(Turn { time_ns, key, is_used });
    }

    /// A call was made for this request.
    pub(super) fn called_for(&mut self, tid: u32, request: Key) {
        let turns = self.0.get_mut(&tid).into_iter().flatten();
        turns.filter(|turn| turn.key == request).for_each(|turn| turn.is_used = true);
    }

    /// The request of the latest turn before a call, if it still waits and has not called.
    pub(super) fn made_for(&mut self, tid: u32, at_ns: u64, waits: impl Fn(Key) -> bool) -> Option<Key> {
        let turn = self.0.get_mut(&tid)?.iter_mut().rev().find(|turn| turn.time_ns <= at_ns)?;
        if turn.is_used || !waits(turn.key) {
            return None;
        }
        turn.is_used = true;
        Some(turn.key)
    }
}

/// What each thread has read and not yet called for.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    threads: FxHashMap<u32, Round>,
    /// It has made a call for which nothing waited: a check, or a retry. Calls are not counted off any
    /// more against what was read.
    calls_itself: bool,
}

#[derive(Debug, Default)]
struct Round {
    /// Requests that wait, in the order in which they were read, and when.
    waiting: Vec<(Key, u64)>,
    /// Calls that were made for some of them, in the order in which they were made, and when.
    unclear: Vec<(Key, u64)>,
    /// One of the requests was answered before it was clear which calls were for it.
    is_mixed: bool,
}

impl Rounds {
    /// A thread has read the head of a request, the first byte of it then.
    pub(super) fn read(&mut self, tid: u32, key: Key, time_ns: u64) {
        let waiting = &mut thread(&mut self.threads, tid).waiting;
        // A head that came in pieces is complete after those that were complete before.
        let after_ns = waiting.last().map_or(0, |(_, read_ns)| *read_ns);
        waiting.push((key, time_ns.max(after_ns)));
    }

    /// A request needs no call any more.
    pub(super) fn answered(&mut self, tid: u32, key: Key) {
        let Some(round) = self.threads.get_mut(&tid) else { return };
        let before = round.waiting.len();
        round.waiting.retain(|(waiting, _)| *waiting != key);
        if round.waiting.len() < before && !round.unclear.is_empty() {
            round.unclear.remove(0);
            round.is_mixed = true;
        }
        round.restart_if_done();
    }

    /// A call was made for this request.
    pub(super) fn called_for(&mut self, tid: u32, request: Key) {
        if let Some(round) = self.threads.get_mut(&tid) {
            round.waiting.retain(|(waiting, _)| *waiting != request);
            round.restart_if_done();
        }
    }

    /// A thread makes a call. Returns the pairs of request and call that are known now.
    ///
    /// A thread that has read several requests calls for them in the same order. Which calls those are is
    /// known when there are as many of them, all made after all of the requests were read.
    pub(super) fn called(&mut self, tid: u32, call: Key, at_ns: u64) -> Vec<(Key, Key)> {
        let round = thread(&mut self.threads, tid);
        if round.waiting.is_empty() {
            self.calls_itself = true;
            return Vec::new();
        }
        let at = round.unclear.partition_point(|(_, earlier_ns)| *earlier_ns <= at_ns);
        round.unclear.insert(at, (call, at_ns));
        let in_order = round.waiting.len() == 1 || !self.calls_itself;
        let known = if in_order && !round.is_mixed { round.take_known() } else { Vec::new() };
        if round.unclear.len() >= round.waiting.len() {
            // Each has made its call.
            round.waiting.clear();
        }
        round.restart_if_done();
        known
    }
}

impl Round {
    /// Takes the requests that were read before the first call, if as many calls were made before
    /// another was read.
    fn take_known(&mut self) -> Vec<(Key, Key)> {
        let mut known = Vec::new();
        while let Some((_, first_ns)) = self.unclear.first() {
            let reads = self.waiting.partition_point(|(_, read_ns)| read_ns <= first_ns);
            let until_ns = self.waiting.get(reads).map_or(u64::MAX, |(_, read_ns)| *read_ns);
            let calls = self.unclear.partition_point(|(_, at_ns)| *at_ns < until_ns);
            if reads != calls {
                break;
            }
            let pairs = self.waiting.drain(..reads).zip(self.unclear.drain(..calls));
            known.extend(pairs.map(|((request, _), (call, _))| (request, call)));
        }
        known
    }

    fn restart_if_done(&mut self) {
        if self.waiting.is_empty() {
            *self = Self::default();
        }
    }
}

/// What is known of a thread.
fn thread<T: Default>(threads: &mut FxHashMap<u32, T>, tid: u32) -> &mut T {
    if threads.len() >= THREADS && !threads.contains_key(&tid) {
        threads.clear();
    }
    threads.entry(tid).or_default()
}
