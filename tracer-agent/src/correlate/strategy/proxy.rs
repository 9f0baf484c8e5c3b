//! For which request a proxy makes a call.
//!
//! A proxy calls for a request that it has read and not answered. If several wait, the one is meant that
//! asks for the same as the call; if none does, or several do, it is known when the others have had their
//! calls, or never.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::super::Key;

/// When a proxy calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// In the callback that read.
    AtOnce,
    /// After all that had come was read, in the order in which it was.
    InRounds,
    /// When others have answered that it asks first.
    Any,
}

/// Executables that are proxies.
const PROXIES: &[(&str, Order)] =
    &[("nginx", Order::AtOnce), ("haproxy", Order::InRounds), ("envoy", Order::Any)];
/// Threads of a proxy that are remembered.
const THREADS: usize = 1024;

/// Which proxy this is the path of.
pub(in super::super) fn known(executable: &str) -> Option<(&'static str, Order)> {
    let file = executable.rsplit('/').next()?;
    PROXIES.iter().copied().find(|(name, _)| *name == file)
}

/// What the threads of a proxy have read and not answered.
#[derive(Debug)]
pub(in super::super) struct Waits {
    pub(in super::super) order: Order,
    threads: FxHashMap<u32, Thread>,
    /// What it called for while it served nothing: checks, which it makes at other times too.
    own: VecDeque<Own>,
}

#[derive(Clone, Copy, Debug)]
struct Own {
    target: u64,
    first_ns: u64,
    /// It came again later: it was not for a request from before the agent.
    is_certain: bool,
}

#[derive(Debug, Default)]
struct Thread {
    requests: Vec<Waiting>,
    /// Calls of which it is not known what they are for, in the order in which they were made.
    unclear: Vec<Made>,
    /// It has read what may be a request that is not known, and no other since.
    is_astray: bool,
    /// When it read answers last.
    answers: VecDeque<u64>,
    /// Calls were made that were not compared with its requests.
    has_missed: bool,
}

/// Requests that calls are compared with.
const MOST_REQUESTS: usize = 256;
/// Calls that wait to be known.
const MOST_UNCLEAR: usize = 32;

/// A request that is not answered.
#[derive(Debug)]
struct Waiting {
    key: Key,
    /// Since when it may be called for: its head was read, or an answer to a call for it.
    since_ns: u64,
    /// See [`crate::exchange::Opened::target`].
    target: u64,
    /// What the last call for it asked for; 0 if there was none, or it is not known.
    called: u64,
    calls: Calls,
    /// A call that may be its got no answer: the next one follows in no order.
    has_lost: bool,
    /// An earlier request of its connection is to be answered first.
    is_behind: bool,
}

/// Whether a request has had its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    Not,
    /// Nobody knows: a call may be its, and may be that of another.
    Perhaps,
    /// A second one may be a check, or a retry of something else.
    Yes,
}

impl Waiting {
    fn may_call(&self, at_ns: u64) -> bool {
        self.calls != Calls::Yes && !self.is_behind && self.since_ns <= at_ns
    }
}

/// A call.
#[derive(Clone, Copy, Debug)]
struct Made {
    call: Key,
    at_ns: u64,
    target: u64,
}

/// What is known of a call.
enum Known {
    /// It is for the request with this index.
    For(usize),
    /// It is for none.
    None,
    /// It may be for several.
    Unclear,
}

impl Waits {
    pub(in super::super) fn new(order: Order) -> Self {
        Self { order, threads: FxHashMap::default(), own: VecDeque::new() }
    }

    /// A thread has read the head of a request, the first byte of it then.
    pub(in super::super) fn read(&mut self, tid: u32, key: Key, target: u64, time_ns: u64) {
        let thread = thread(&mut self.threads, tid);
        thread.is_astray = false;
        // A head that came in pieces is complete after those that were complete before.
        let after_ns = match self.order {
            Order::AtOnce | Order::Any => 0,
            Order::InRounds => thread.requests.last().map_or(0, |last| last.since_ns),
        };
        let is_behind = thread.requests.iter().any(|other| other.key.connection == key.connection);
        thread.requests.push(Waiting {
            is_behind,
            key,
            since_ns: time_ns.max(after_ns),
            target,
            called: 0,
            calls: Calls::Not,
            has_lost: false,
        });
    }

    /// A thread has read what may be a request, and is not understood.
    pub(in super::super) fn works_unseen(&mut self, tid: u32) {
        thread(&mut self.threads, tid).is_astray = true;
    }

    /// A thread has read an answer to a call, for this request if that is known: it may call for it anew, or
    /// for what waited until now.
    pub(in super::super) fn resumed(&mut self, tid: u32, key: Option<Key>, time_ns: u64) {
        /// Answers that are remembered.
        const MOST: usize = 64;
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        if self.order == Order::InRounds {
            thread.answers.truncate(MOST - 1);
            thread.answers.push_front(time_ns);
        }
        let waiting = key.filter(|_| self.order == Order::AtOnce).and_then(|key| thread.of(key));
        if let Some(waiting) = waiting.filter(|waiting| waiting.calls == Calls::Yes) {
            waiting.calls = Calls::Not;
            waiting.since_ns = time_ns;
        }
    }

    /// A request needs no call any more.
    pub(in super::super) fn answered(&mut self, tid: u32, key: Key) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        // Those that wait for long stand before those that come and go.
        let Some(at) = thread.requests.iter().rposition(|waiting| waiting.key == key) else { return };
        thread.give_up(at);
        thread.requests.remove(at);
        if thread.has_missed && thread.requests.len() <= MOST_REQUESTS {
            thread.has_missed = false;
            thread.requests.iter_mut().for_each(|waiting| waiting.calls = Calls::Perhaps);
        }
        if let Some(next) = thread.requests.iter_mut().find(|other| other.key.connection == key.connection) {
            next.is_behind = false;
        }
    }

    /// A call got no answer, for this request if that is known: that may be called for again.
    pub(in super::super) fn unanswered(&mut self, tid: u32, call: Key, request: Option<Key>, time_ns: u64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let known = request.filter(|request| thread.of(*request).is_some());
        if known.is_none()
            && let Some(at) = thread.unclear.iter().position(|made| made.call == call)
        {
            let made = thread.unclear.remove(at);
            let those: Vec<usize> = thread.may_be_for(&made).collect();
            those.into_iter().for_each(|at| thread.requests[at].has_lost = true);
        }
        // Else it may have been for any whose call is not known.
        let is_one = |waiting: &&mut Waiting| match known {
            Some(key) => waiting.key == key,
            None => waiting.calls != Calls::Not && waiting.called == 0,
        };
        for waiting in thread.requests.iter_mut().filter(is_one) {
            waiting.has_lost = true;
            if known.is_some() {
                waiting.calls = Calls::Not;
                waiting.since_ns = time_ns;
            } else {
                waiting.calls = Calls::Perhaps;
            }
        }
    }

    /// A call was made for this request.
    pub(in super::super) fn called_for(&mut self, tid: u32, request: Key, target: u64) {
        if let Some(waiting) = self.threads.get_mut(&tid).and_then(|thread| thread.of(request)) {
            waiting.calls = Calls::Yes;
            waiting.called = target;
        }
    }

    /// A thread makes a call. Returns the pairs of request and call that are known now.
    pub(in super::super) fn called(
        &mut self,
        tid: u32,
        call: Key,
        target: u64,
        at_ns: u64,
        serves: bool,
    ) -> Vec<(Key, Key)> {
        let own = self.is_own(target, at_ns, serves);
        let thread = thread(&mut self.threads, tid);
        if own.is_some_and(|own| own.is_certain || thread.asking(target).is_empty()) {
            return Vec::new();
        }
        if thread.requests.len() > MOST_REQUESTS {
            thread.has_missed = true;
            thread.unclear.clear();
        }
        if thread.is_astray || thread.requests.is_empty() || thread.has_missed {
            return Vec::new();
        }
        if thread.unclear.len() >= MOST_UNCLEAR {
            thread.forget(0);
        }
        let at = thread.unclear.partition_point(|earlier| earlier.at_ns <= at_ns);
        thread.unclear.insert(at, Made { call, at_ns, target });
        let mut known = thread.resolve();
        if self.order == Order::InRounds {
            known.extend(thread.in_order(target));
        }
        known
    }

    /// Whether a call may be the proxy's own. Of those that call when they have read it is not known: they
    /// may renew what they keep when they have answered.
    fn is_own(&mut self, target: u64, at_ns: u64, serves: bool) -> Option<Own> {
        /// Kinds of checks that are remembered.
        const MOST: usize = 64;
        const LATER_NS: u64 = 1_000_000_000;
        if self.order == Order::AtOnce || target == 0 {
            return None;
        }
        let known = self.own.iter_mut().find(|own| own.target == target);
        match known {
            Some(own) => {
                own.is_certain |= !serves && at_ns.saturating_sub(own.first_ns) >= LATER_NS;
                Some(*own)
            }
            None if !serves => {
                self.own.truncate(MOST - 1);
                let own = Own { target, first_ns: at_ns, is_certain: false };
                self.own.push_front(own);
                Some(own)
            }
            None => None,
        }
    }
}

impl Thread {
    fn of(&mut self, key: Key) -> Option<&mut Waiting> {
        self.requests.iter_mut().rfind(|waiting| waiting.key == key)
    }

    /// Indices of the requests that a call asks for: what it does itself, or what led to such a call.
    fn asking(&self, target: u64) -> Vec<usize> {
        if target == 0 {
            return Vec::new();
        }
        let led = self.requests.iter().filter(|waiting| waiting.called == target);
        let led: Vec<u64> = led.map(|waiting| waiting.target).collect();
        let asks = |waiting: &Waiting| waiting.target == target || led.contains(&waiting.target);
        let all = self.requests.iter().enumerate();
        all.filter(|(_, waiting)| asks(waiting)).map(|(at, _)| at).collect()
    }

    /// Indices of the requests that a call may be for.
    fn may_be_for(&self, made: &Made) -> impl Iterator<Item = usize> {
        let asking = self.asking(made.target);
        let all = if asking.is_empty() { (0..self.requests.len()).collect() } else { asking };
        let at_ns = made.at_ns;
        all.into_iter().filter(move |at| self.requests[*at].may_call(at_ns))
    }

    fn what_for(&self, made: &Made) -> Known {
        let mut those = self.may_be_for(made);
        match (those.next(), those.next()) {
            (Some(at), None) if self.requests[at].calls == Calls::Not => Known::For(at),
            (Some(_), Some(_)) => Known::Unclear,
            _ => Known::None,
        }
    }

    /// Nobody will know what a call is for, nor whether those have called that it may be for.
    fn forget(&mut self, call: usize) {
        let made = self.unclear.remove(call);
        let all: Vec<usize> = self.may_be_for(&made).collect();
        all.into_iter().for_each(|at| self.requests[at].calls = Calls::Perhaps);
    }

    /// Of the calls that may be for this request, which waits no longer, or for others, nobody will know what
    /// they are for. If there are as many as requests that they may be for, all of these have called.
    fn give_up(&mut self, request: usize) {
        if self.unclear.is_empty() {
            return;
        }
        let all: Vec<Vec<usize>> = self.unclear.iter().map(|made| self.may_be_for(made).collect()).collect();
        let mut is_one = vec![false; self.requests.len()];
        is_one[request] = true;
        let mut is_call = vec![false; all.len()];
        loop {
            let next = (0..all.len()).find(|call| !is_call[*call] && all[*call].iter().any(|at| is_one[*at]));
            let Some(call) = next else { break };
            is_call[call] = true;
            all[call].iter().for_each(|at| is_one[*at] = true);
        }
        let count = |those: &[bool]| those.iter().filter(|is| **is).count();
        let has = if count(&is_call) >= count(&is_one) { Calls::Yes } else { Calls::Perhaps };
        if is_call.contains(&true) {
            let those = self.requests.iter_mut().zip(is_one).filter(|(_, is_one)| *is_one);
            those.for_each(|(waiting, _)| waiting.calls = has);
        }
        let mut is_call = is_call.into_iter();
        self.unclear.retain(|_| !is_call.next().unwrap_or_default());
    }

    /// Takes the calls that can be for one request only, until there are none.
    fn resolve(&mut self) -> Vec<(Key, Key)> {
        let mut known = Vec::new();
        let mut at = 0;
        while let Some(made) = self.unclear.get(at).copied() {
            match self.what_for(&made) {
                Known::Unclear => at += 1,
                Known::None => drop(self.unclear.remove(at)),
                Known::For(request) => {
                    known.push(self.take(request, at));
                    at = 0;
                }
            }
        }
        known
    }

    /// The call with this index is for the request with that one.
    fn take(&mut self, request: usize, call: usize) -> (Key, Key) {
        let made = self.unclear.remove(call);
        let waiting = &mut self.requests[request];
        waiting.calls = Calls::Yes;
        waiting.called = made.target;
        (waiting.key, made.call)
    }

    /// What is read in one go is called for in the same order. Of requests that ask for the same, or for
    /// nothing that a call does: if there are as many calls, all made after all were read, none has waited
    /// for long, and nothing else was read between the calls.
    fn in_order(&mut self, target: u64) -> Vec<(Key, Key)> {
        /// From the first read to the last call.
        const LONGEST_NS: u64 = 5_000_000;
        let mut asking = self.asking(target);
        let is_rewritten = asking.is_empty();
        if is_rewritten {
            asking = (0..self.requests.len()).filter(|at| self.requests[*at].calls != Calls::Yes).collect();
        }
        let is_one = |made: &&Made| match is_rewritten {
            true => self.asking(made.target).is_empty(),
            false => made.target == target,
        };
        let calls: Vec<Made> = self.unclear.iter().filter(is_one).copied().collect();
        let requests = || asking.iter().map(|at| &self.requests[*at]);
        let first_ns = requests().map(|waiting| waiting.since_ns).min().unwrap_or(0);
        let last_ns = requests().map(|waiting| waiting.since_ns).max().unwrap_or(0);
        let in_one_go = |made: &Made| made.at_ns >= last_ns && made.at_ns - first_ns <= LONGEST_NS;
        let (begin_ns, end_ns) =
            (calls.first().map_or(0, |made| made.at_ns), calls.last().map_or(0, |made| made.at_ns));
        let is_clear = calls.len() == asking.len()
            && !self.answers.iter().any(|answer_ns| (begin_ns..end_ns).contains(answer_ns))
            && calls.iter().all(in_one_go)
            && requests()
                .all(|waiting| waiting.calls == Calls::Not && !waiting.has_lost && !waiting.is_behind);
        if !is_clear {
            return Vec::new();
        }
        let pairs = asking.into_iter().zip(calls);
        pairs
            .filter_map(|(request, made)| {
                let call = self.unclear.iter().position(|other| other.call == made.call)?;
                Some(self.take(request, call))
            })
            .collect()
    }
}

/// What is known of a thread.
fn thread(threads: &mut FxHashMap<u32, Thread>, tid: u32) -> &mut Thread {
    if threads.len() >= THREADS && !threads.contains_key(&tid) {
        threads.clear();
    }
    threads.entry(tid).or_default()
}
