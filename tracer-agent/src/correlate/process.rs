//! What a process does with its requests: who works for which.

use std::net::SocketAddr;

use tracer_common::{
    PROFILE_LATER, PROFILE_NONE, PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST, PROFILE_THREADS,
};

use super::{
    Evidence, Key, Profile,
    accord::Accord,
    own::SpanIds,
    proxy::{self, Order, Rounds, Turns},
    threads::Threads,
};
use crate::exchange::{Exchange, Outcome, Unit};

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    /// Requests that it serves now: head read, last byte of the answer not written.
    open: Vec<Open>,
    /// When the last of them ended that left none open.
    quiet_since_ns: u64,
    /// It has requests that are not seen.
    is_hidden: bool,
    works: Works,
    /// The profile that was told last.
    profile: Option<u8>,
    /// Span ids of the contexts that requests came with.
    pub(super) came: SpanIds,
    /// Those that calls carried of the application's own.
    sent: SpanIds,
    /// It exports spans itself.
    pub(super) exports: bool,
}

/// A request that is served.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) unit: Unit,
    pub(super) start_ns: u64,
    /// Another request was open at the same time.
    pub(super) overlaps: bool,
    /// Its answer has begun: what the process does now need not be for it.
    pub(super) is_answered: bool,
    /// Its thread made a call.
    pub(super) has_called: bool,
    /// Its thread read a request of another connection.
    pub(super) is_interleaved: bool,
}

impl Open {
    /// Whether a call that is made while this is the only open request can be for it. A connection that
    /// was opened since the process had no request, and before this one came, is for neither.
    fn is_sole_reason(&self, call: Call, quiet_since_ns: u64) -> bool {
        let quiet = quiet_since_ns..self.start_ns;
        !self.is_answered
            && self.start_ns <= call.start_ns
            && call.connect_ns.is_none_or(|connect_ns| !quiet.contains(&connect_ns))
    }
}

/// A call that a process makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) key: Key,
    pub(super) unit: Unit,
    pub(super) start_ns: u64,
    /// When its connection was opened, if that was for this call.
    pub(super) connect_ns: Option<u64>,
    pub(super) remote: SocketAddr,
}

/// For which requests calls are made.
#[derive(Debug, Default)]
pub(super) struct MadeFor {
    /// The call that was asked for.
    pub(super) this: Option<(Key, Evidence)>,
    /// Request and call, of earlier calls.
    pub(super) earlier: Vec<(Key, Key)>,
}

/// How the process works on requests.
#[derive(Debug)]
enum Works {
    /// By threads, if what was learned says so.
    Threads(Threads, Accord),
    /// As a proxy that calls in the callback which read.
    Turns(&'static str, Turns),
    /// As a proxy that reads what has come, and then calls.
    Rounds(&'static str, Rounds),
}

impl Process {
    pub(super) fn new(executable: &str) -> Self {
        Self::working(match proxy::known(executable) {
            Some((name, Order::AtOnce)) => Works::Turns(name, Turns::default()),
            Some((name, Order::InRounds)) => Works::Rounds(name, Rounds::default()),
            None => Works::Threads(Threads::default(), Accord::default()),
        })
    }

    /// A process of the same program.
    pub(super) fn forked(&self) -> Self {
        Self::working(match self.works {
            Works::Turns(name, _) => Works::Turns(name, Turns::default()),
            Works::Rounds(name, _) => Works::Rounds(name, Rounds::default()),
            Works::Threads(..) => Works::Threads(Threads::default(), Accord::default()),
        })
    }

    fn working(works: Works) -> Self {
        Self {
            open: Vec::new(),
            quiet_since_ns: u64::MAX,
            is_hidden: false,
            works,
            profile: None,
            came: SpanIds::default(),
            sent: SpanIds::default(),
            exports: false,
        }
    }

    /// Whether it matters to it what a thread reads of a request, or of an answer.
    pub(super) fn takes_turns(&self) -> bool {
        matches!(self.works, Works::Turns(..))
    }

    pub(super) fn is_proxy(&self) -> bool {
        !matches!(self.works, Works::Threads(..))
    }

    pub(super) fn profile(&self) -> Profile {
        match &self.works {
            Works::Threads(threads, _) => threads.profile(),
            Works::Turns(name, _) | Works::Rounds(name, _) => Profile::Proxy(name),
        }
    }

    /// How the kernel programs may link its calls (`PROFILE_*`), if that has changed.
    pub(super) fn new_profile(&mut self, sole_request: bool) -> Option<u8> {
        let profile = match &self.works {
            Works::Turns(..) => PROFILE_PROXY,
            // Which call is for which request shows after the calls.
            Works::Rounds(..) => PROFILE_LATER,
            Works::Threads(threads, _) if threads.are_units() => PROFILE_THREADS,
            Works::Threads(..) if !sole_request || self.is_hidden => PROFILE_NONE,
            Works::Threads(_, accord) if accord.is_suspicious() => PROFILE_LATER,
            Works::Threads(_, accord) if accord.is_known() => PROFILE_SOLE_REQUEST,
            Works::Threads(..) => PROFILE_SOLE_OWN,
        };
        (self.profile != Some(profile)).then(|| *self.profile.insert(profile))
    }

    pub(super) fn hide(&mut self) {
        self.is_hidden = true;
    }

    /// Whether it has requests that are not seen.
    pub(super) fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    /// A call carries this span id of the application's own. Returns whether it is the first.
    pub(super) fn sends(&mut self, id: [u8; 8]) -> bool {
        let is_new = !self.sent.has(id);
        if is_new {
            self.sent.add(id);
        }
        is_new
    }

    /// The requests that it serves now.
    pub(super) fn open(&self) -> impl Iterator<Item = Key> {
        self.open.iter().map(|open| open.key)
    }

    /// A thread has read the head of a request.
    pub(super) fn request_opened(&mut self, unit: Unit, key: Key, start_ns: u64) {
        match &mut self.works {
            Works::Threads(threads, accord) => {
                threads.read(unit.tid, key, &mut self.open);
                accord.serves();
            }
            Works::Turns(_, turns) => turns.resumed(unit.tid, key, start_ns, true),
            Works::Rounds(_, rounds) => rounds.read(unit.tid, key, start_ns),
        }
        let overlaps = !self.open.is_empty();
        for open in &mut self.open {
            open.overlaps = true;
        }
        self.open.push(Open {
            key,
            unit,
            start_ns,
            overlaps,
            is_answered: false,
            has_called: false,
            is_interleaved: false,
        });
    }

    /// The first byte of the answer was written.
    pub(super) fn request_answered(&mut self, key: Key) {
        let Some(open) = self.open.iter_mut().find(|open| open.key == key) else { return };
        open.is_answered = true;
        if let Works::Rounds(_, rounds) = &mut self.works {
            rounds.answered(open.unit.tid, key);
        }
    }

    /// The last byte of the answer was written, or none will be.
    pub(super) fn request_closed(&mut self, key: Key, exchange: &Exchange) {
        if exchange.outcome != Outcome::Complete {
            return self.request_dropped(key, exchange.end_ns);
        }
        if let Some(open) = self.take(key, exchange.end_ns)
            && let Works::Threads(threads, _) = &mut self.works
        {
            threads.closed(&open, exchange.response_unit);
        }
    }

    /// The request ended without a whole answer. Its process may not know, and go on with it.
    pub(super) fn request_dropped(&mut self, key: Key, time_ns: u64) {
        if let Some(open) = self.take(key, time_ns) {
            self.works_unseen(open.unit, time_ns.max(open.start_ns));
        }
    }

    /// A thread may work for a request that is not known.
    pub(super) fn works_unseen(&mut self, unit: Unit, time_ns: u64) {
        if let Works::Threads(threads, accord) = &mut self.works {
            threads.works_unseen(unit.tid);
            accord.works_unseen(time_ns);
        }
    }

    fn take(&mut self, key: Key, time_ns: u64) -> Option<Open> {
        let at = self.open.iter().position(|open| open.key == key)?;
        let open = self.open.swap_remove(at);
        if self.open.is_empty() {
            self.quiet_since_ns = time_ns.max(open.start_ns);
        }
        if let Works::Rounds(_, rounds) = &mut self.works {
            rounds.answered(open.unit.tid, key);
        }
        Some(open)
    }

    /// A proxy's thread goes on with a request. With its head, and with each answer to a call for it, it
    /// may call anew (`renews`); with more of its body it may not.
    pub(super) fn resumed(&mut self, unit: Unit, key: Key, time_ns: u64, renews: bool) {
        if let Works::Turns(_, turns) = &mut self.works {
            turns.resumed(unit.tid, key, time_ns, renews);
        }
    }

    /// The process makes a call that itself tells for which request.
    pub(super) fn called_for(&mut self, unit: Unit, request: Key) {
        match &mut self.works {
            Works::Turns(_, turns) => turns.called_for(unit.tid, request),
            Works::Rounds(_, rounds) => rounds.called_for(unit.tid, request),
            Works::Threads(..) => {}
        }
    }

    /// The process makes a call.
    pub(super) fn made_for(&mut self, call: Call, sole_request: bool) -> MadeFor {
        let open = &mut self.open;
        let (tid, at_ns) = (call.unit.tid, call.connect_ns.unwrap_or(call.start_ns));
        let mut earlier = Vec::new();
        let this = match &mut self.works {
            Works::Turns(_, turns) => {
                let waits = |key| open.iter().any(|open| open.key == key && !open.is_answered);
                turns.made_for(tid, at_ns, waits).map(|key| (key, Evidence::Proxy))
            }
            Works::Rounds(_, rounds) => {
                earlier = rounds.called(tid, call.key, at_ns);
                let this = earlier.iter().position(|(_, made)| *made == call.key);
                this.map(|at| (earlier.swap_remove(at).0, Evidence::Proxy))
            }
            Works::Threads(threads, accord) => {
                let is_its_own = accord.called(call, !open.is_empty());
                let own = threads.made_for(call, open).map(|key| (key, Evidence::Unit));
                let may_be_sole = sole_request && !self.is_hidden && !is_its_own && !threads.are_units();
                own.or(match &open[..] {
                    [only] if may_be_sole && only.is_sole_reason(call, self.quiet_since_ns) => {
                        // A thread that reads requests may still be at its last one.
                        let is_free = only.unit == call.unit || !threads.is_reader(tid) || accord.is_known();
                        is_free.then_some((only.key, Evidence::SoleRequest))
                    }
                    _ => None,
                })
            }
        };
        MadeFor { this, earlier }
    }
}
