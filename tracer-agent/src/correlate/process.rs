//! What a process does with its requests: who works for which.

use std::net::SocketAddr;

use tracer_common::{
    PROFILE_LATER, PROFILE_NONE, PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST, PROFILE_THREADS,
};

use super::{
    Evidence, Key, Profile,
    background::Accord,
    self_instrumented::SpanIds,
    strategy::{
        proxy::{self, Order, Waits},
        threads::Threads,
    },
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
    pub(super) sent: SpanIds,
    /// What requests came with that have ended: hashes of contexts, trace and request ids.
    pub(super) ended: SpanIds,
    /// It exports spans itself.
    pub(super) exports: bool,
    /// The traces of its requests go on in headers of its own.
    pub(super) continues_traces: bool,
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
    /// See [`crate::exchange::Opened::target`].
    pub(super) target: u64,
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
    /// As a proxy.
    Proxy(&'static str, Waits),
}

impl Process {
    pub(super) fn new(executable: &str) -> Self {
        Self::working(match proxy::known(executable) {
            Some((name, order)) => Works::Proxy(name, Waits::new(order)),
            None => Works::Threads(Threads::default(), Accord::default()),
        })
    }

    /// A process of the same program.
    pub(super) fn forked(&self) -> Self {
        Self::working(match &self.works {
            Works::Proxy(name, waits) => Works::Proxy(name, Waits::new(waits.order)),
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
            ended: SpanIds::default(),
            exports: false,
            continues_traces: false,
        }
    }

    /// Whether it matters to it what a thread reads of an answer.
    pub(super) fn takes_turns(&self) -> bool {
        matches!(&self.works, Works::Proxy(_, waits) if waits.order != Order::Any)
    }

    pub(super) fn is_proxy(&self) -> bool {
        !matches!(self.works, Works::Threads(..))
    }

    pub(super) fn profile(&self) -> Profile {
        match &self.works {
            Works::Threads(threads, _) => threads.profile(),
            Works::Proxy(name, _) => Profile::Proxy(name),
        }
    }

    /// How the kernel programs may link its calls (`PROFILE_*`), if that has changed.
    pub(super) fn new_profile(&mut self, sole_request: bool, now_ns: u64) -> Option<u8> {
        let profile = match &self.works {
            _ if self.is_hidden => PROFILE_NONE,
            Works::Proxy(_, waits) if waits.order == Order::AtOnce => PROFILE_PROXY,
            // Which call is for which request shows after the calls.
            Works::Proxy(..) => PROFILE_LATER,
            Works::Threads(threads, _) if threads.are_units() => PROFILE_THREADS,
            Works::Threads(..) if !sole_request => PROFILE_NONE,
            Works::Threads(_, accord) if accord.is_suspicious() || accord.is_at_unseen(now_ns) => {
                PROFILE_LATER
            }
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

    /// The requests that it serves now.
    pub(super) fn open(&self) -> impl Iterator<Item = Key> {
        self.open.iter().map(|open| open.key)
    }

    /// Whether they are more than are compared with each call.
    pub(super) fn is_crowded(&self) -> bool {
        self.open.len() > 1024
    }

    /// Those of them that a call of this time can be for, if nothing else is known of it.
    pub(super) fn may_call(&self, at_ns: u64) -> impl Iterator<Item = Key> {
        self.open.iter().filter(move |open| !open.is_answered && open.start_ns <= at_ns).map(|open| open.key)
    }

    /// A thread has read the head of a request.
    pub(super) fn request_opened(&mut self, unit: Unit, key: Key, target: u64, start_ns: u64) {
        match &mut self.works {
            Works::Threads(threads, accord) => {
                threads.read(unit.tid, key, &mut self.open);
                accord.serves();
            }
            Works::Proxy(_, waits) => waits.read(unit.tid, key, target, start_ns),
        }
        let overlaps = !self.open.is_empty();
        // All of several overlap already.
        if let [only] = &mut self.open[..] {
            only.overlaps = true;
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
        let Some(open) = self.open.iter_mut().rfind(|open| open.key == key) else { return };
        open.is_answered = true;
        if let Works::Proxy(_, waits) = &mut self.works {
            waits.answered(open.unit.tid, key);
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
        match &mut self.works {
            Works::Threads(threads, accord) => {
                threads.works_unseen(unit.tid);
                accord.works_unseen(time_ns);
            }
            Works::Proxy(_, waits) => waits.works_unseen(unit.tid),
        }
    }

    fn take(&mut self, key: Key, time_ns: u64) -> Option<Open> {
        // Those that are open for long stand before those that come and go.
        let at = self.open.iter().rposition(|open| open.key == key)?;
        let open = self.open.swap_remove(at);
        if self.open.is_empty() {
            self.quiet_since_ns = time_ns.max(open.start_ns);
        }
        if let Works::Proxy(_, waits) = &mut self.works {
            waits.answered(open.unit.tid, key);
        }
        Some(open)
    }

    /// A proxy's thread has read an answer to a call, for this request if that is known.
    pub(super) fn resumed(&mut self, unit: Unit, key: Option<Key>, time_ns: u64) {
        if let Works::Proxy(_, waits) = &mut self.works {
            waits.resumed(unit.tid, key, time_ns);
        }
    }

    /// A call got no answer, which a proxy's thread made then, for this request if that is known.
    pub(super) fn unanswered(&mut self, unit: Unit, call: Key, request: Option<Key>, time_ns: u64) {
        if let Works::Proxy(_, waits) = &mut self.works {
            waits.unanswered(unit.tid, call, request, time_ns);
        }
    }

    /// The process makes a call of which it is known for which request.
    pub(super) fn called_for(&mut self, call: Call, request: Key) {
        if let Works::Proxy(_, waits) = &mut self.works {
            waits.called_for(call.unit.tid, request, call.target);
        }
    }

    /// The process makes a call.
    pub(super) fn made_for(&mut self, call: Call, sole_request: bool) -> MadeFor {
        let open = &mut self.open;
        let (tid, at_ns) = (call.unit.tid, call.connect_ns.unwrap_or(call.start_ns));
        let mut earlier = Vec::new();
        let this = match &mut self.works {
            Works::Proxy(..) if self.is_hidden => None,
            Works::Proxy(_, waits) => {
                earlier = waits.called(tid, call.key, call.target, at_ns, !open.is_empty());
                let this = earlier.iter().position(|(_, made)| *made == call.key);
                this.map(|at| (earlier.swap_remove(at).0, Evidence::Proxy))
            }
            Works::Threads(threads, accord) => {
                let is_its_own = accord.called(call, !open.is_empty());
                let own = threads.made_for(call, open).filter(|_| !self.is_hidden);
                let own = own.map(|key| (key, Evidence::Unit));
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
