//! Resends: which client requests are sent again (`http.request.resend_count`), where that is provable.
//!
//! A client request is another attempt if an earlier one of the same process, attributed to the same server
//! request in flight, got no response and asked for the same, or was redirected to what this one asks for. How a
//! client request without a response ended is known up to a tenth of a second after its connection was closed,
//! when the next attempt may be over: that one waits.

use rustc_hash::FxHashMap;

use super::{
    open::{Key, OpenRequest, OpenRequests},
    process::Process,
};
use crate::exchange::{ConnectionFacts, Exchange, Kind, Repeatable};

/// The attempts of client requests, by the server request that they are attributed to.
#[derive(Debug, Default)]
pub(super) struct Resends(FxHashMap<Key, Attempts>);

/// What is remembered for a server request whose client requests may be sent again.
#[derive(Debug, Default)]
struct Attempts {
    ended: Vec<Attempt>,
    /// Client requests whose connection is closed, and which have not ended yet, with their starts.
    dying: Vec<(Key, u64)>,
    /// Client requests whose spans are still to be made, with their starts.
    open: Vec<(Key, u64)>,
    /// There were more than are remembered: nothing is provable.
    is_overfull: bool,
    /// Looks since the server request has ended.
    age: u8,
}

/// A client request that may be followed by another attempt.
#[derive(Debug)]
struct Attempt {
    key: Key,
    pid: u32,
    start_ns: u64,
    /// When the next could begin.
    end_ns: u64,
    asked: Box<dyn Repeatable>,
    /// The number of resends before it, by its headers.
    told: Option<u32>,
    /// It is not clear which attempt it was.
    is_unclear: bool,
    /// Another attempt has followed, or may have.
    is_followed: bool,
}

impl Attempt {
    /// Whether an attempt of a process that asks for this can follow it.
    fn leads_to(&self, pid: u32, asked: &dyn Repeatable) -> bool {
        self.pid == pid && self.asked.leads_to(asked)
    }
}

impl Attempts {
    /// Attempts that are remembered.
    const MOST: usize = 16;
    /// Client requests that are remembered.
    const MOST_OPEN: usize = 64;

    fn push_open(&mut self, client: Key, start_ns: u64) {
        self.is_overfull |= self.open.len() >= Self::MOST_OPEN;
        if !self.is_overfull {
            self.open.push((client, start_ns));
        }
    }

    /// Ordinal of the resend that a client request is; none if it is none, or if that is not clear.
    fn resend(&mut self, client: Key, exchange: &Exchange, asked: &dyn Repeatable) -> Option<u32> {
        if self.is_overfull {
            return None;
        }
        let before = self.before(exchange.start_ns, exchange.request_unit.pid, asked);
        let free: Vec<usize> = before.iter().copied().filter(|at| !self.ended[*at].is_followed).collect();
        for at in &free {
            self.ended[*at].is_followed = true;
        }
        let found = match free[..] {
            [at] => {
                // Another one that began while this one was open may be the resend as well.
                let begun = self.ended[at].end_ns..exchange.end_ns;
                let is_rival = |(other, begun_ns): &(Key, u64)| *other != client && begun.contains(begun_ns);
                (!self.open.iter().any(is_rival)).then(|| Some(self.ordinal(at)? + 1)).flatten()
            }
            _ => None,
        };
        if found.is_none() && !before.is_empty() {
            self.ended
                .iter_mut()
                .filter(|attempt| attempt.key == client)
                .for_each(|own| own.is_unclear = true);
        }
        found
    }

    /// Attempts that one like this may follow, and that no other has followed before it began.
    fn before(&self, start_ns: u64, pid: u32, asked: &dyn Repeatable) -> Vec<usize> {
        let leads_to = |at: usize, start_ns: u64, pid: u32, asked: &dyn Repeatable| {
            let attempt = &self.ended[at];
            attempt.end_ns <= start_ns && attempt.leads_to(pid, asked)
        };
        let is_last = |at: usize| {
            !self.ended.iter().any(|later| {
                later.end_ns <= start_ns && leads_to(at, later.start_ns, later.pid, &*later.asked)
            })
        };
        (0..self.ended.len()).filter(|at| leads_to(*at, start_ns, pid, asked) && is_last(*at)).collect()
    }

    /// Ordinal of the resend that an attempt was; 0 for the first attempt.
    fn ordinal(&self, at: usize) -> Option<u32> {
        let attempt = &self.ended[at];
        if attempt.told.is_some() || attempt.is_unclear {
            return attempt.told;
        }
        match self.before(attempt.start_ns, attempt.pid, &*attempt.asked)[..] {
            [] => Some(0),
            // It ended before this one began: the way back is finite.
            [before] => Some(self.ordinal(before)? + 1),
            _ => None,
        }
    }
}

impl Resends {
    /// Server requests whose attempts are remembered.
    const MOST: usize = 1024;

    fn of(&mut self, server: Key, open: &OpenRequests) -> Option<&mut Attempts> {
        if !self.0.contains_key(&server) {
            if self.0.len() >= Self::MOST {
                return None;
            }
            let children = open.get(server).map(|server| &server.children[..]).unwrap_or_default();
            let clients = children.iter().filter_map(|key| {
                let client = open.get(*key).filter(|client| client.kind == Kind::Call)?;
                Some((*key, client.start_ns))
            });
            let attempts = Attempts {
                open: clients.collect(),
                is_overfull: children.len() >= Attempts::MOST_OPEN,
                ..Attempts::default()
            };
            self.0.insert(server, attempts);
        }
        self.0.get_mut(&server)
    }

    /// A client request is attributed to a server request.
    pub(super) fn attributed(&mut self, server: Key, key: Key, client: &OpenRequest) {
        if client.kind == Kind::Call
            && let Some(attempts) = self.0.get_mut(&server)
        {
            attempts.push_open(key, client.start_ns);
        }
    }

    /// The kernel has closed a connection. How the client requests that are open on it ended will be known.
    pub(super) fn closing(&mut self, connection: u64, open: &OpenRequests) {
        let clients = open.on(connection).filter(|client| client.kind == Kind::Call && !client.is_closed);
        for client in clients {
            if let Some(server) = client.attributed_to
                && let Some(attempts) = self.of(server, open)
                && attempts.dying.len() < Attempts::MOST
            {
                attempts.dying.push((client.key(connection), client.start_ns));
            }
        }
    }

    /// A client request has ended.
    pub(super) fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange, open: &OpenRequests) {
        let may_be_followed = may_be_followed(exchange);
        if self.0.is_empty() && !may_be_followed {
            return;
        }
        let key = Key::of(facts, exchange);
        let Some(client) = open.get(key) else { return };
        let (Some(server), told) = (client.attributed_to, client.resends_told) else { return };
        if let Some(attempts) = self.0.get_mut(&server) {
            attempts.dying.retain(|(dying, _)| *dying != key);
        }
        if !may_be_followed {
            return;
        }
        let Some(asked) = exchange.payload.repeatable(exchange, facts) else { return };
        let Some(end_ns) = asked.followed_from_ns() else { return };
        let Some(attempts) = self.of(server, open) else { return };
        attempts.is_overfull |= attempts.ended.len() >= Attempts::MOST;
        if !attempts.is_overfull {
            attempts.ended.push(Attempt {
                key,
                pid: exchange.request_unit.pid,
                start_ns: exchange.start_ns,
                end_ns,
                asked,
                told,
                is_unclear: false,
                is_followed: false,
            });
        }
    }

    /// A client request will not be seen to end.
    pub(super) fn lost(&mut self, client: &OpenRequest, connection: u64) {
        if let Some(attempts) = client.attributed_to.and_then(|server| self.0.get_mut(&server)) {
            let key = client.key(connection);
            attempts.dying.retain(|(dying, _)| *dying != key);
            attempts.open.retain(|(other, _)| *other != key);
        }
    }

    /// Whether an earlier client request, of which this one may be a resend, has not ended yet, and will.
    pub(super) fn may_be_resend(
        &self,
        facts: &ConnectionFacts,
        exchange: &Exchange,
        open: &OpenRequests,
    ) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let server = open.get(Key::of(facts, exchange)).and_then(|client| client.attributed_to);
        server.and_then(|server| self.0.get(&server)).is_some_and(|attempts| {
            let is_before = |(client, start_ns): &(Key, u64)| {
                client.connection != facts.number && *start_ns < exchange.start_ns
            };
            attempts.dying.iter().any(is_before)
        })
    }

    /// Ordinal of the resend that a client request is, whose span is made.
    pub(super) fn resend(
        &mut self,
        client: &OpenRequest,
        facts: &ConnectionFacts,
        exchange: &Exchange,
    ) -> Option<u32> {
        if let Some(told) = client.resends_told {
            return Some(told).filter(|told| *told > 0);
        }
        let attempts = self.0.get_mut(&client.attributed_to?)?;
        let key = Key::of(facts, exchange);
        let asked = exchange.payload.repeatable(exchange, facts);
        let found = asked.and_then(|asked| attempts.resend(key, exchange, &*asked));
        attempts.open.retain(|(other, _)| *other != key);
        found
    }

    /// Forgets the attempts for server requests that have ended, when their last client requests have.
    pub(super) fn forget_ended(&mut self, open: &OpenRequests) {
        /// By then a client request that has ended has its span.
        const LOOKS: u8 = 4;
        self.0.retain(|server, attempts| {
            let is_open = open.get(*server).is_some_and(|server| !server.is_closed);
            attempts.age = if is_open || !attempts.dying.is_empty() { 0 } else { attempts.age + 1 };
            attempts.age < LOOKS
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether another attempt may follow an exchange.
pub(super) fn may_be_followed(exchange: &Exchange) -> bool {
    exchange.payload.may_be_repeated(exchange.outcome)
}

/// The number of resends before a client request that says which attempt it is, unless a proxy or a service
/// forwards what a server request says.
pub(super) fn resends_told(process: &Process, open: &OpenRequests, attempt: u32) -> Option<u32> {
    if process.is_crowded() {
        return None;
    }
    let is_forwarded = |key: Key| open.get(key).is_some_and(|request| request.attempt == Some(attempt));
    (!process.in_flight().any(is_forwarded)).then(|| attempt.saturating_sub(1))
}
