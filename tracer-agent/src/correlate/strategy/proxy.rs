//! Proxies: each server request has one upstream request at a time.
//!
//! A proxy sends an upstream request for a server request that it has read and not answered. If several server
//! requests wait, the upstream request is attributed to the one with the same method and target. If none has
//! them, one whose target ends as the upstream request's does is taken, if it is the only one (`rewrites`). Else it stays
//! unattributed until all others have had their upstream requests.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tracer_common::{PROFILE_DEFERRED, PROFILE_GOROUTINES, PROFILE_PROXY};

use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy, rewrites::Rewrites};
use crate::{
    correlate::{
        link::Evidence,
        open::{AnswerOf, Key},
        profile::Profile,
        withheld::Withheld,
    },
    exchange::{Kind, Unit},
    short_bytes::ShortBytes,
};

/// When a proxy sends its upstream requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// In the callback that read the server request.
    Immediate,
    /// After all that had come was read, in the order in which it was.
    Batched,
    /// After other services were asked first, in any order.
    Any,
}

/// Executables that are proxies.
const PROXIES: &[(&str, Order)] = &[
    ("nginx", Order::Immediate),
    ("angie", Order::Immediate),
    ("haproxy", Order::Batched),
    ("envoy", Order::Any),
];
/// Threads of a proxy that are remembered.
const THREADS: usize = 1024;
/// Server requests of a thread with which an upstream request is compared.
const MOST_WAITING: usize = 256;
/// Upstream requests of a thread that wait for their attribution.
const MOST_UNCLEAR: usize = 32;

/// A proxy: what its threads have read and not answered.
#[derive(Debug)]
pub(crate) struct Proxy {
    name: &'static str,
    order: Order,
    threads: FxHashMap<u32, Thread>,
    /// What it asked for while it served nothing: health checks, which come at other times too.
    checks: VecDeque<Check>,
}

/// A kind of health check.
#[derive(Clone, Copy, Debug)]
struct Check {
    target: u64,
    first_ns: u64,
    /// It was repeated: it was not for a server request from before the agent.
    is_certain: bool,
}

#[derive(Debug, Default)]
struct Thread {
    waiting: Vec<PendingServerRequest>,
    /// Upstream requests without an attribution yet, in the order of their beginnings.
    unclear: Vec<Upstream>,
    /// It has read what may be a server request that is not known, and no other since.
    may_serve_unknown: bool,
    /// When it read responses last.
    answers: VecDeque<u64>,
    rewrites: Rewrites,
    /// Upstream requests were sent that were not compared with its server requests.
    has_missed: bool,
}

/// A server request that is not answered.
#[derive(Debug)]
struct PendingServerRequest {
    key: Key,
    /// Since when an upstream request may be sent for it: its head was read, or the response to an upstream request.
    since_ns: u64,
    /// See [`crate::exchange::Opened::target`].
    target: u64,
    /// See [`crate::exchange::Opened::asked`].
    asked: ShortBytes,
    /// Target of the last upstream request for it; 0 if there was none, or it is not known.
    upstream_target: u64,
    state: UpstreamState,
    /// The response to its upstream request may have been read: another one may follow.
    may_continue: bool,
    /// An upstream request that may be its got no response: the next one follows in no order.
    may_have_lost: bool,
    /// An earlier request of its connection is to be answered first.
    is_queued: bool,
    /// It was read before an earlier request of its connection was answered.
    was_queued: bool,
}

/// Whether a server request has had its upstream request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpstreamState {
    /// It has had none, or may have another one.
    Waits,
    /// Not known: an upstream request may be its own, or another's.
    Unclear,
    /// It has had one. A second one may be a health check, or a retry for another server request.
    Served,
}

impl PendingServerRequest {
    fn may_send(&self, at_ns: u64) -> bool {
        (self.state != UpstreamState::Served || self.may_continue)
            && !self.is_queued
            && self.since_ns <= at_ns
    }

    /// Whether an upstream request that can be for no other one is for it.
    fn is_certain(&self) -> bool {
        self.state == UpstreamState::Waits && !self.may_continue
    }

    fn resume(&mut self, since_ns: u64) {
        self.state = UpstreamState::Waits;
        self.may_continue = false;
        self.since_ns = since_ns;
    }

    fn served(&mut self, upstream_target: u64) {
        self.state = UpstreamState::Served;
        self.may_continue = false;
        self.upstream_target = upstream_target;
    }
}

/// An upstream request.
#[derive(Clone, Debug)]
struct Upstream {
    key: Key,
    at_ns: u64,
    target: u64,
    /// See [`crate::exchange::Opened::asked`].
    asked: ShortBytes,
}

/// What is known of an upstream request.
enum Match {
    /// It is for the server request with this index.
    One(usize),
    /// It is for none.
    None,
    /// It may be for several.
    Several,
}

impl Proxy {
    /// The proxy that this is the executable of.
    pub(super) fn known(executable: &str) -> Option<Self> {
        let file = executable.rsplit('/').next()?;
        let (name, order) = PROXIES.iter().copied().find(|(name, _)| *name == file)?;
        Some(Self::new(name, order))
    }

    fn new(name: &'static str, order: Order) -> Self {
        Self { name, order, threads: FxHashMap::default(), checks: VecDeque::new() }
    }

    /// The health check that an upstream request may be. A proxy that sends when it has read is not judged: it
    /// may renew what it caches after it has answered.
    fn check_of(&mut self, target: u64, at_ns: u64, serves: bool) -> Option<Check> {
        /// Kinds of checks that are remembered.
        const MOST: usize = 64;
        const LATER_NS: u64 = 1_000_000_000;
        if self.order == Order::Immediate || target == 0 {
            return None;
        }
        let known = self.checks.iter_mut().find(|check| check.target == target);
        match known {
            Some(check) => {
                check.is_certain |= !serves && at_ns.saturating_sub(check.first_ns) >= LATER_NS;
                Some(*check)
            }
            None if !serves => {
                self.checks.truncate(MOST - 1);
                let check = Check { target, first_ns: at_ns, is_certain: false };
                self.checks.push_front(check);
                Some(check)
            }
            None => None,
        }
    }

    /// An upstream request is sent. Returns the pairs of server request and upstream request that are known now.
    fn sent(&mut self, client: &ClientRequest<'_>, serves: bool) -> Vec<(Key, Key)> {
        let (target, at_ns) = (client.target, client.begin_ns());
        let check = self.check_of(target, at_ns, serves);
        let thread = thread(&mut self.threads, client.unit.tid);
        if check.is_some_and(|check| check.is_certain || thread.with_target(target).is_empty()) {
            return Vec::new();
        }
        if thread.waiting.len() > MOST_WAITING {
            thread.has_missed = true;
            thread.unclear.clear();
        }
        if thread.may_serve_unknown || thread.waiting.is_empty() || thread.has_missed {
            return Vec::new();
        }
        if thread.unclear.len() >= MOST_UNCLEAR {
            thread.forget(0);
        }
        let at = thread.unclear.partition_point(|earlier| earlier.at_ns <= at_ns);
        thread.unclear.insert(at, Upstream { key: client.key, at_ns, target, asked: client.asked.clone() });
        let mut known = thread.resolve();
        if self.order == Order::Batched {
            known.extend(thread.in_order(target));
        }
        known
    }

    /// A server request needs no upstream request any more.
    fn done(&mut self, tid: u32, key: Key) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        // Those that wait for long stand before those that come and go.
        let Some(at) = thread.waiting.iter().rposition(|waiting| waiting.key == key) else { return };
        thread.give_up(at);
        thread.waiting.remove(at);
        if thread.has_missed && thread.waiting.len() <= MOST_WAITING {
            thread.has_missed = false;
            thread.waiting.iter_mut().for_each(|waiting| waiting.state = UpstreamState::Unclear);
        }
        if let Some(next) = thread.waiting.iter_mut().find(|other| other.key.connection == key.connection) {
            next.is_queued = false;
        }
    }
}

impl Strategy for Proxy {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::new(self.name, self.order))
    }

    fn profile(&self) -> Profile {
        Profile::Proxy(self.name)
    }

    fn kernel_rule(&self) -> Option<u8> {
        // Elsewhere the attribution shows after the upstream requests.
        Some(if self.order == Order::Immediate { PROFILE_PROXY } else { PROFILE_DEFERRED })
    }

    /// From the first upstream request on: of nginx, its own request is read at each. Where that fails, there is no header.
    fn task_rule(&self) -> Option<u8> {
        (self.order == Order::Immediate).then_some(PROFILE_GOROUTINES)
    }

    fn is_proxy(&self) -> bool {
        true
    }

    fn needs_reads(&self) -> bool {
        self.order != Order::Any
    }

    fn server_opened(&mut self, request: &ServerRequest, _others: &mut [ServerRequest]) {
        let ServerRequest { key, unit, start_ns, target, ref asked, .. } = *request;
        let thread = thread(&mut self.threads, unit.tid);
        thread.may_serve_unknown = false;
        // A head that came in pieces is complete after those that were complete before.
        let after_ns = match self.order {
            Order::Immediate | Order::Any => 0,
            Order::Batched => thread.waiting.last().map_or(0, |last| last.since_ns),
        };
        let is_queued = thread.waiting.iter().any(|other| other.key.connection == key.connection);
        thread.waiting.push(PendingServerRequest {
            key,
            since_ns: start_ns.max(after_ns),
            target,
            asked: asked.clone(),
            upstream_target: 0,
            state: UpstreamState::Waits,
            may_continue: false,
            may_have_lost: false,
            is_queued,
            was_queued: is_queued,
        });
    }

    fn server_answered(&mut self, request: &ServerRequest, _by: Unit) -> Vec<Attribution> {
        self.done(request.unit.tid, request.key);
        Vec::new()
    }

    fn server_closed(&mut self, request: &ServerRequest, _answered_by: Option<Unit>) -> Vec<Attribution> {
        if !request.is_answered {
            self.done(request.unit.tid, request.key);
        }
        Vec::new()
    }

    fn works_unseen(&mut self, unit: Unit) {
        thread(&mut self.threads, unit.tid).may_serve_unknown = true;
    }

    /// The proxy may send another upstream request for the same server request, or the one for a server request
    /// that waited for this response.
    fn answer_read(&mut self, unit: Unit, answer: AnswerOf, time_ns: u64) {
        /// Responses that are remembered.
        const MOST: usize = 64;
        let Some(thread) = self.threads.get_mut(&unit.tid) else { return };
        if self.order == Order::Batched && thread.answers.front() != Some(&time_ns) {
            thread.answers.truncate(MOST - 1);
            thread.answers.push_front(time_ns);
        }
        if self.order != Order::Immediate {
            return;
        }
        match answer {
            AnswerOf::Sure(Some(key)) => {
                if let Some(waiting) = thread.find(key) {
                    waiting.may_continue = false;
                    if waiting.state == UpstreamState::Served {
                        waiting.resume(time_ns);
                    }
                }
            }
            AnswerOf::Possible(Some(key)) => {
                if let Some(waiting) = thread.find(key) {
                    waiting.may_continue = true;
                }
            }
            AnswerOf::Sure(None) | AnswerOf::Possible(None) => {}
        }
    }

    /// The proxy may send it again.
    fn client_unanswered(
        &mut self,
        unit: Unit,
        client_request: Key,
        server_request: Option<Key>,
        time_ns: u64,
    ) {
        let Some(thread) = self.threads.get_mut(&unit.tid) else { return };
        let known = server_request.filter(|request| thread.find(*request).is_some());
        if known.is_none()
            && let Some(at) = thread.unclear.iter().position(|upstream| upstream.key == client_request)
        {
            let upstream = thread.unclear.remove(at);
            let candidates: Vec<usize> = thread.candidates(&upstream).collect();
            candidates.into_iter().for_each(|at| thread.waiting[at].may_have_lost = true);
        }
        // If it is not known, any server request whose upstream request is not known may have lost it.
        let may_be_its = |waiting: &&mut PendingServerRequest| match known {
            Some(key) => waiting.key == key,
            None => waiting.state != UpstreamState::Waits && waiting.upstream_target == 0,
        };
        for waiting in thread.waiting.iter_mut().filter(may_be_its) {
            waiting.may_have_lost = true;
            if known.is_some() {
                waiting.resume(time_ns);
            } else {
                waiting.state = UpstreamState::Unclear;
            }
        }
    }

    fn attributed(&mut self, client: &ClientRequest<'_>, server_request: Key) {
        if client.kind == Kind::Call
            && let Some(waiting) =
                self.threads.get_mut(&client.unit.tid).and_then(|thread| thread.find(server_request))
        {
            waiting.served(client.target);
        }
    }

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        // A message that it publishes is not the upstream request.
        if client.kind != Kind::Call {
            return Attributions::default();
        }
        if client.unit.task != 0 {
            match self.of_client(client, in_flight) {
                OfClient::One(key) => {
                    self.attributed(client, key);
                    let this = Some((key, Evidence::RequestStructure));
                    return Attributions { this, ..Attributions::default() };
                }
                OfClient::None => {
                    let withheld = (!in_flight.is_empty()).then_some(Withheld::Ambiguous);
                    return Attributions { withheld, is_certain: true, ..Attributions::default() };
                }
                OfClient::Several => {}
            }
        }
        let mut found = Attributions::default();
        for (server_request, client_request) in self.sent(client, !in_flight.is_empty()) {
            if client_request == client.key {
                found.this = Some((server_request, Evidence::Proxy));
            } else {
                let evidence = Evidence::Proxy;
                found.earlier.push(Attribution { client_request, server_request, evidence });
            }
        }
        found
    }
}

/// What a client's connection has in flight.
enum OfClient {
    /// This server request alone.
    One(Key),
    /// No server request that is known.
    None,
    /// Several: an upstream request may still be for the first when the second is worked on.
    Several,
}

impl Proxy {
    /// The server request of the client's connection that nginx keeps with an upstream request. Of two connections that had
    /// one number, the later is the client's.
    fn of_client(&mut self, client: &ClientRequest<'_>, in_flight: &[ServerRequest]) -> OfClient {
        let its = || {
            in_flight.iter().filter(|it| it.unit.task == client.unit.task && it.start_ns <= client.start_ns)
        };
        let Some(last) = its().max_by_key(|request| request.start_ns) else { return OfClient::None };
        match its().filter(|it| it.key.connection == last.key.connection).count() {
            1 if !self.was_queued(last) => OfClient::One(last.key),
            _ => OfClient::Several,
        }
    }

    fn was_queued(&mut self, request: &ServerRequest) -> bool {
        let thread = self.threads.get_mut(&request.unit.tid);
        thread.and_then(|thread| thread.find(request.key)).is_some_and(|waiting| waiting.was_queued)
    }
}

impl Thread {
    fn find(&mut self, key: Key) -> Option<&mut PendingServerRequest> {
        self.waiting.iter_mut().rfind(|waiting| waiting.key == key)
    }

    /// Indices of the server requests that an upstream request of this target fits: their own target, or that of
    /// a server request which led to such an upstream request.
    fn with_target(&self, target: u64) -> Vec<usize> {
        if target == 0 {
            return Vec::new();
        }
        let led = self.waiting.iter().filter(|waiting| waiting.upstream_target == target);
        let led: Vec<u64> = led.map(|waiting| waiting.target).collect();
        let fits = |waiting: &PendingServerRequest| waiting.target == target || led.contains(&waiting.target);
        let all = self.waiting.iter().enumerate();
        all.filter(|(_, waiting)| fits(waiting)).map(|(at, _)| at).collect()
    }

    /// Index of the only server request whose target ends as that of an upstream request does.
    fn with_end(&self, upstream: &Upstream) -> Option<usize> {
        if self.waiting.len() < 2 {
            return None;
        }
        self.rewrites.only(self.waiting.iter().map(|waiting| &*waiting.asked), &upstream.asked)
    }

    /// Indices of the server requests that an upstream request may be for.
    fn candidates(&self, upstream: &Upstream) -> impl Iterator<Item = usize> {
        let fitting = self.with_target(upstream.target);
        let all = if !fitting.is_empty() {
            fitting
        } else if let Some(only) = self.with_end(upstream) {
            vec![only]
        } else {
            (0..self.waiting.len()).collect()
        };
        let at_ns = upstream.at_ns;
        all.into_iter().filter(move |at| self.waiting[*at].may_send(at_ns))
    }

    fn match_of(&self, upstream: &Upstream) -> Match {
        let mut candidates = self.candidates(upstream);
        match (candidates.next(), candidates.next()) {
            (Some(at), None) if self.waiting[at].is_certain() => Match::One(at),
            (Some(_), Some(_)) => Match::Several,
            _ => Match::None,
        }
    }

    /// An upstream request will not be attributed, and which of its candidates have had theirs is not known.
    fn forget(&mut self, upstream: usize) {
        let upstream = self.unclear.remove(upstream);
        let candidates: Vec<usize> = self.candidates(&upstream).collect();
        candidates.into_iter().for_each(|at| self.waiting[at].state = UpstreamState::Unclear);
    }

    /// A server request waits no longer. The upstream requests that may be for it, or share candidates with
    /// those, stay unattributed. If there are as many of them as candidates, all candidates have had theirs.
    fn give_up(&mut self, server_request: usize) {
        if self.unclear.is_empty() {
            return;
        }
        let candidates: Vec<Vec<usize>> =
            self.unclear.iter().map(|upstream| self.candidates(upstream).collect()).collect();
        let mut is_concerned = vec![false; self.waiting.len()];
        is_concerned[server_request] = true;
        let mut is_given_up = vec![false; candidates.len()];
        loop {
            let next = (0..candidates.len())
                .find(|at| !is_given_up[*at] && candidates[*at].iter().any(|at| is_concerned[*at]));
            let Some(upstream) = next else { break };
            is_given_up[upstream] = true;
            candidates[upstream].iter().for_each(|at| is_concerned[*at] = true);
        }
        let count = |those: &[bool]| those.iter().filter(|is| **is).count();
        let state = if count(&is_given_up) >= count(&is_concerned) {
            UpstreamState::Served
        } else {
            UpstreamState::Unclear
        };
        if is_given_up.contains(&true) {
            let those = self.waiting.iter_mut().zip(is_concerned).filter(|(_, is_concerned)| *is_concerned);
            those.for_each(|(waiting, _)| waiting.state = state);
        }
        let mut is_given_up = is_given_up.into_iter();
        self.unclear.retain(|_| !is_given_up.next().unwrap_or_default());
    }

    /// Takes the upstream requests that can be for one server request only, until there are none.
    fn resolve(&mut self) -> Vec<(Key, Key)> {
        let mut known = Vec::new();
        let mut at = 0;
        while let Some(upstream) = self.unclear.get(at).cloned() {
            match self.match_of(&upstream) {
                Match::Several => at += 1,
                Match::None => drop(self.unclear.remove(at)),
                Match::One(waiting) => {
                    known.push(self.pair(waiting, at));
                    at = 0;
                }
            }
        }
        known
    }

    /// The server request with this index has the upstream request with that one.
    fn pair(&mut self, waiting: usize, upstream: usize) -> (Key, Key) {
        let upstream = self.unclear.remove(upstream);
        if let [only] = &self.waiting[..] {
            self.rewrites.learn(&only.asked, &upstream.asked);
        }
        let waiting = &mut self.waiting[waiting];
        waiting.served(upstream.target);
        (waiting.key, upstream.key)
    }

    /// Pairs server requests that were read in one batch with their upstream requests, which follow in the same
    /// order. The server requests have the upstream requests' target, or, if the proxy rewrites targets, one that
    /// no upstream request has. There must be as many of one as of the other; all upstream requests must have
    /// been sent after all server requests were read, and soon; nothing else may have been read between them.
    fn in_order(&mut self, target: u64) -> Vec<(Key, Key)> {
        /// From the first read to the last upstream request.
        const LONGEST_NS: u64 = 5_000_000;
        let mut fitting = self.with_target(target);
        let is_rewritten = fitting.is_empty();
        if is_rewritten {
            fitting = (0..self.waiting.len())
                .filter(|at| self.waiting[*at].state != UpstreamState::Served)
                .collect();
        }
        let is_one = |upstream: &&Upstream| match is_rewritten {
            true => self.with_target(upstream.target).is_empty(),
            false => upstream.target == target,
        };
        let sent: Vec<Upstream> = self.unclear.iter().filter(is_one).cloned().collect();
        let requests = || fitting.iter().map(|at| &self.waiting[*at]);
        let first_ns = requests().map(|waiting| waiting.since_ns).min().unwrap_or(0);
        let last_ns = requests().map(|waiting| waiting.since_ns).max().unwrap_or(0);
        let is_in_batch =
            |upstream: &Upstream| upstream.at_ns >= last_ns && upstream.at_ns - first_ns <= LONGEST_NS;
        let (begin_ns, end_ns) =
            (sent.first().map_or(0, |first| first.at_ns), sent.last().map_or(0, |last| last.at_ns));
        let is_clear = sent.len() == fitting.len()
            && !self.answers.iter().any(|answer_ns| (begin_ns..end_ns).contains(answer_ns))
            && sent.iter().all(is_in_batch)
            && requests().all(|waiting| {
                waiting.state == UpstreamState::Waits && !waiting.may_have_lost && !waiting.is_queued
            });
        if !is_clear {
            return Vec::new();
        }
        let pairs = fitting.into_iter().zip(sent);
        pairs
            .filter_map(|(waiting, upstream)| {
                let at = self.unclear.iter().position(|other| other.key == upstream.key)?;
                Some(self.pair(waiting, at))
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
