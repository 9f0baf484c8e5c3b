//! Which request caused which, and how that is known. A link that could be wrong is not made.
//!
//! A request gets its ids when its head has come, so that whatever it causes can name them. Its parent
//! is what the request itself says (a `traceparent`), else the call at the other end of its connection,
//! else, for a call, the request that its process was working for.

#![forbid(unsafe_code)]

mod background;
mod forwarded;
mod ids;
mod process;
mod profile;
mod resend;
mod self_instrumented;
mod strategy;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;
use tracer_common::{EVIDENCE_PROXY, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT};

use self::{
    forwarded::Forwarded,
    process::{Call, MadeFor, Process},
    resend::Attempts,
    self_instrumented::{Hop, Seen},
};
pub use self::{
    ids::Ids,
    profile::{Doubt, Profile},
    self_instrumented::Sdk,
};
use crate::{
    context::{Carried, HeaderFormat, HeaderFormats, Incoming},
    exchange::{ConnectionFacts, Direction, Exchange, Kind, Opened, SentHeader, Unit},
    sample::{RANDOM, SAMPLED, Sampler},
};

/// How a parent is known, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The request came with a valid `traceparent`, or with that of another format which is configured.
    Header,
    /// Both ends of one connection within this host were seen, byte for byte.
    Wire,
    /// The call carries the trace id, or the `x-request-id`, of a request that its process has open, and of
    /// no other.
    ForwardedHeader,
    /// The thread that made the call was working for exactly this request, in a process whose threads
    /// do so.
    Unit,
    /// A proxy made the call for the request that it had read last.
    Proxy,
    /// It was the only request that the process had open.
    SoleRequest,
}

impl Evidence {
    const ALL: [Self; 6] =
        [Self::Header, Self::Wire, Self::ForwardedHeader, Self::Unit, Self::Proxy, Self::SoleRequest];

    /// As `tracer.link.evidence` tells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Wire => "wire",
            Self::ForwardedHeader => "forwarded-header",
            Self::Unit => "unit",
            Self::Proxy => "proxy",
            Self::SoleRequest => "sole-request",
        }
    }

    /// The evidence of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|evidence| evidence.name() == name)
    }

    /// Whether the parent is another process's.
    const fn is_remote(self) -> bool {
        matches!(self, Self::Header | Self::Wire)
    }
}

/// A span's place in its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Trace, never zero.
    pub trace_id: [u8; 16],
    /// Span, never zero.
    pub span_id: [u8; 8],
    /// Parent, and how it is known; none for a root.
    pub parent: Option<([u8; 8], Evidence)>,
    /// OTLP flags: see [`crate::span::Span::flags`].
    pub flags: u32,
    /// W3C `tracestate`, as it came.
    pub trace_state: String,
    /// The header that tells ids or parent, if that is not `traceparent`.
    pub format: Option<HeaderFormat>,
    /// No span is wanted: the application makes its own.
    pub is_suppressed: bool,
    /// Which resend a call is; none if it is none, or if that is not proven.
    pub resend: Option<u32>,
    /// The header that left with it names another trace: what caused it was seen too late.
    pub has_left_in_other_trace: bool,
}

/// OTLP span flags: whether the parent is remote is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A request, as long as it is open: its connection, and where it begins there. Offsets of the two directions
/// are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    connection: u64,
    direction: Direction,
    offset: u64,
}

impl Key {
    /// The key of an exchange on a connection.
    fn of(facts: &ConnectionFacts, exchange: &Exchange) -> Self {
        let direction = exchange.kind.direction();
        Self { connection: facts.number, direction, offset: exchange.request_offset }
    }
}

/// The first sequence numbers that an end of a connection sent and received. Those of the other end are
/// the same the other way round; nothing on the way changes them.
type Ends = (u32, u32);

/// One end of a connection that carries requests.
#[derive(Debug)]
struct Conversation {
    /// Those whose spans are still to be made, in the order in which they came.
    open: Vec<Request>,
    ends: Ends,
    /// The connection itself is gone.
    is_gone: bool,
    /// The other end is on this host, if the addresses tell.
    is_local: bool,
    /// The other end, once it is known to be on this host.
    peer: Option<u64>,
}

/// Trace and place in it.
#[derive(Clone, Debug)]
struct Context {
    trace_id: [u8; 16],
    parent: Option<([u8; 8], Evidence)>,
    /// W3C trace flags.
    flags: u8,
    state: String,
    /// See [`Link::format`].
    format: Option<HeaderFormat>,
}

/// An open request.
#[derive(Debug)]
struct Request {
    kind: Kind,
    offset: u64,
    /// The offset at which it stands on the wire: its own, and what was pushed in before it.
    wire: u64,
    /// The low half of the offset, counted from the connection's first sequence number.
    place: u32,
    unit: Unit,
    start_ns: u64,
    /// See [`Opened::target`].
    target: u64,
    span_id: [u8; 8],
    context: Context,
    /// Which attempt its headers say that it is, from 1.
    attempt: Option<u32>,
    /// For a call: the resends that came before it, by its headers.
    resends_told: Option<u32>,
    /// What it came with besides a `traceparent`, of what is configured.
    carried: Option<Box<Carried>>,
    /// For a call: the request that it was made for.
    made_for: Option<Key>,
    /// Open requests that took their trace from this one.
    children: Vec<Key>,
    /// For a call: the final response has begun, or there will be none.
    is_decided: bool,
    /// Its exchange has ended; its span is still to be made.
    is_closed: bool,
    /// Its ids are those of the application's own header.
    is_own: bool,
    /// See [`Link::is_suppressed`].
    is_suppressed: bool,
    /// The trace that the header names which left with it.
    sent_trace: Option<[u8; 16]>,
}

impl Request {
    fn key(&self, connection: u64) -> Key {
        Key { connection, direction: self.kind.direction(), offset: self.offset }
    }

    /// Whether it is the request of this key, on the key's connection.
    fn is_at(&self, key: Key) -> bool {
        self.offset == key.offset && self.kind.direction() == key.direction
    }
}

/// What becomes known of a request when its head has come; see [`Request`].
struct Standing {
    context: Context,
    made_for: Option<Key>,
    /// Span id that it carries and has.
    own_id: Option<[u8; 8]>,
    is_suppressed: bool,
}

impl Standing {
    fn of(context: Context, made_for: Option<Key>) -> Self {
        Self { context, made_for, own_id: None, is_suppressed: false }
    }
}

/// How links are made.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Link a call to the only request that its process has open.
    pub sole_request: bool,
    /// Headers that link requests besides `traceparent`.
    pub headers: HeaderFormats,
    /// What is done where an application traces itself.
    pub sdk: Sdk,
    /// Calls get trace headers: the kernel programs decide on some links before the agent can.
    pub propagates: bool,
    /// Which traces are kept.
    pub sampler: Sampler,
}

/// All open requests, and what the processes do with them.
pub struct Correlator {
    rules: Rules,
    ids: Ids,
    connections: FxHashMap<u64, Conversation>,
    /// Connections by their ends.
    ends: FxHashMap<Ends, u64>,
    processes: FxHashMap<u32, Process>,
    /// The contexts that requests carried.
    seen: Seen,
    /// Calls that may be made again, by the request that they were made for.
    attempts: FxHashMap<Key, Attempts>,
    /// Processes to which it matters what is read when.
    turn_takers: usize,
    proxies: usize,
    /// Processes that work in another way now, or are gone.
    profiles: Vec<(u32, Option<u8>)>,
    /// The latest time that was told, of `CLOCK_MONOTONIC`.
    now_ns: u64,
}

impl Correlator {
    /// Children that follow when the parent's own parent comes late: microseconds after it.
    const FOLLOW: usize = 64;

    /// No request is open.
    pub fn new(rules: Rules, ids: Ids) -> Self {
        Self {
            rules,
            ids,
            connections: FxHashMap::default(),
            ends: FxHashMap::default(),
            processes: FxHashMap::default(),
            seen: Seen::default(),
            attempts: FxHashMap::default(),
            turn_takers: 0,
            proxies: 0,
            profiles: Vec::new(),
            now_ns: 0,
        }
    }

    /// A process runs another program: what was learned of it is void.
    pub fn program(&mut self, pid: u32, executable: &str) {
        self.insert_process(pid, Process::new(executable));
    }

    /// A process made another, which runs the same program.
    pub fn fork(&mut self, parent: u32, child: u32) {
        let process = self.processes.get(&parent).map_or_else(|| Process::new(""), Process::forked);
        self.insert_process(child, process);
    }

    fn insert_process(&mut self, pid: u32, process: Process) {
        self.forget_process(pid);
        self.turn_takers += usize::from(process.takes_turns());
        self.proxies += usize::from(process.is_proxy());
        self.processes.insert(pid, process);
        self.tell_profile(pid);
    }

    /// A process is gone.
    pub fn forget_process(&mut self, pid: u32) {
        if let Some(process) = self.processes.remove(&pid) {
            self.turn_takers -= usize::from(process.takes_turns());
            self.proxies -= usize::from(process.is_proxy());
            if self.rules.propagates {
                self.profiles.push((pid, None));
            }
        }
    }

    /// How a process works; none if it has not served nor called.
    pub fn profile(&self, pid: u32) -> Option<Profile> {
        self.processes.get(&pid).map(Process::profile)
    }

    /// A process serves a connection whose requests cannot be seen.
    pub fn hidden(&mut self, pid: u32) {
        self.process(pid).hide();
        self.tell_profile(pid);
    }

    /// How a process works may have changed: the kernel programs link its calls by that.
    fn tell_profile(&mut self, pid: u32) {
        if self.rules.propagates
            && let Some(process) = self.processes.get_mut(&pid)
            && let Some(profile) = process.new_profile(self.rules.sole_request, self.now_ns)
        {
            self.profiles.push((pid, Some(profile)));
        }
    }

    /// The processes that have come to work in another way (`PROFILE_*`), or are gone, since this was
    /// asked last.
    pub fn take_profiles(&mut self) -> impl Iterator<Item = (u32, Option<u8>)> + '_ {
        self.profiles.drain(..)
    }

    fn process(&mut self, pid: u32) -> &mut Process {
        /// Processes that are remembered; those that rest are forgotten when there are more.
        const MOST: usize = 65_536;
        if self.processes.len() >= MOST && !self.processes.contains_key(&pid) {
            self.processes.retain(|pid, process| {
                let is_kept = process.is_proxy() || process.open().next().is_some();
                if !is_kept && self.rules.propagates {
                    self.profiles.push((*pid, None));
                }
                is_kept
            });
        }
        self.processes.entry(pid).or_insert_with(|| Process::new(""))
    }

    /// The head of a request has come.
    pub fn opened(&mut self, facts: &ConnectionFacts, opened: Opened) {
        let Opened { kind, unit, start_ns, offset, target, incoming, head, attempt, header, inserted } =
            opened;
        self.now_ns = self.now_ns.max(start_ns);
        let carried = head.and_then(|head| self.carried(&head));
        let direction = kind.direction();
        let key = Key { connection: facts.number, direction, offset };
        let place = position(facts, direction, offset);
        let wire = offset + u64::from(inserted);
        let hop = Hop::of(facts, direction, wire);
        let other =
            self.peer(facts).and_then(|connection| self.at_wire(connection, direction.opposite(), wire));
        let mut sent_trace = None;
        let told = || carried.as_ref()?.contexts.first();
        let is_sampled = incoming.as_deref().or_else(told).is_none_or(Incoming::is_sampled);
        let standing = match direction {
            Direction::Receive => {
                self.came(unit.pid, hop, incoming.as_deref(), carried.as_deref());
                Standing::of(self.context_of_request(key, place, other, incoming, carried.as_deref()), None)
            }
            Direction::Send => {
                let connect_ns = facts.connect_ns.filter(|_| offset == 0);
                let call = Call { key, unit, start_ns, connect_ns, remote: facts.remote, target };
                match header.and_then(|header| header.sent) {
                    Some(header) => {
                        sent_trace = Some(header.trace_id);
                        let (context, made_for) = self.context_of_header(key, &header);
                        // The kernel programs have decided; the process is learned from all the same.
                        match made_for.filter(|_| self.process(unit.pid).is_proxy()) {
                            Some(request) => self.process(unit.pid).called_for(call, request),
                            None => drop(self.made_for(call)),
                        }
                        Standing::of(context, made_for)
                    }
                    None => self.standing_of_call(call, place, hop, incoming.as_deref(), carried.as_deref()),
                }
            }
        };
        let request = Request {
            kind,
            offset,
            wire,
            place,
            unit,
            start_ns,
            target,
            attempt,
            resends_told: attempt
                .filter(|_| kind == Kind::Call)
                .and_then(|attempt| self.resends_told(unit.pid, attempt)),
            span_id: standing.own_id.unwrap_or_else(|| self.ids.span_id(facts.number, direction, place)),
            context: standing.context,
            carried,
            made_for: standing.made_for,
            children: Vec::new(),
            is_decided: false,
            is_closed: false,
            is_own: standing.own_id.is_some(),
            is_suppressed: standing.is_suppressed || self.is_suppressed(unit.pid, kind, is_sampled),
            sent_trace,
        };
        if let Some(request) = request.made_for {
            self.call_opened(request, key, start_ns);
        }
        if let Some(conversation) = self.connections.get_mut(&facts.number) {
            conversation.open.push(request);
        }
        match (kind, other) {
            // A message that nobody answers is over once it is read: no call is made while it is open.
            (Kind::Consume, _) => {}
            (Kind::Serve, _) => {
                self.process(unit.pid).request_opened(unit, key, target, start_ns);
                self.tell_profile(unit.pid);
            }
            // The other end's record may have come first.
            (Kind::Call | Kind::Publish, Some(server)) => self.adopt(server, key, Evidence::Wire),
            (Kind::Call | Kind::Publish, None) => {}
        }
    }

    /// The other end of a connection, if that is on this host and was seen.
    fn peer(&mut self, facts: &ConnectionFacts) -> Option<u64> {
        let ends = (facts.first_sent, facts.first_received);
        let conversation = self.connections.entry(facts.number).or_insert_with(|| {
            self.ends.insert(ends, facts.number);
            let (own, other) = (facts.local.ip(), facts.remote.ip());
            let is_local = other.is_loopback() || other == own;
            Conversation { open: Vec::new(), ends, is_gone: false, is_local, peer: None }
        });
        if conversation.peer.is_none() {
            let other = self.ends.get(&(ends.1, ends.0)).copied().filter(|other| *other != facts.number)?;
            conversation.peer = Some(other);
            if let Some(other) = self.connections.get_mut(&other) {
                other.peer = Some(facts.number);
            }
            return Some(other);
        }
        conversation.peer
    }

    /// The request that stands there on the wire, at one end of a connection.
    fn at_wire(&self, connection: u64, direction: Direction, wire: u64) -> Option<Key> {
        let open = &self.connections.get(&connection)?.open;
        let is_there = |request: &&Request| request.wire == wire && request.kind.direction() == direction;
        let request = open.iter().find(is_there)?;
        Some(Key { connection, direction, offset: request.offset })
    }

    /// Trace and parent of a request that a process serves, `call` at the other end if that was seen.
    fn context_of_request(
        &mut self,
        key: Key,
        place: u32,
        call: Option<Key>,
        incoming: Option<Box<Incoming>>,
        carried: Option<&Carried>,
    ) -> Context {
        let other = || carried?.contexts.first().cloned().map(Box::new);
        if let Some(incoming) = incoming.or_else(other) {
            // Of a call that is seen here, it goes where that goes.
            if let Some(call) = call
                && self.request(call).is_some_and(|call| call.span_id == incoming.parent_id)
                && let Some(context) = self.child_of(call, key, Evidence::Header)
            {
                return Context { format: incoming.format, ..context };
            }
            return Context {
                trace_id: incoming.trace_id,
                parent: Some((incoming.parent_id, Evidence::Header)),
                flags: self.flags_of(&incoming),
                state: incoming.state,
                format: incoming.format,
            };
        }
        call.and_then(|call| self.child_of(call, key, Evidence::Wire))
            .unwrap_or_else(|| self.root(key, place, carried))
    }

    /// Trace and parent of a call by the header that left with it, and the request that it is made for.
    fn context_of_header(&mut self, key: Key, header: &SentHeader) -> (Context, Option<Key>) {
        let evidence = match header.evidence {
            EVIDENCE_UNIT => Evidence::Unit,
            EVIDENCE_PROXY => Evidence::Proxy,
            EVIDENCE_SOLE_REQUEST => Evidence::SoleRequest,
            _ => Evidence::ForwardedHeader,
        };
        let parent = header.parent.map(|(connection, place)| {
            let open = self.connections.get(&connection).map(|conversation| &conversation.open);
            let is_it = |request: &&Request| request.place == place && request.kind == Kind::Serve;
            let found = open.and_then(|open| open.iter().find(is_it));
            (found.map(|request| request.key(connection)), (connection, place))
        });
        if let Some((Some(parent), _)) = parent
            && let Some(context) = self.child_of(parent, key, evidence)
        {
            return (context, Some(parent));
        }
        // The request itself was not seen, or its span is made: its id is known by its place.
        let parent = parent.map(|(_, (connection, place))| {
            (self.ids.span_id(connection, Direction::Receive, place), evidence)
        });
        let flags = header.flags;
        (Context { trace_id: header.trace_id, parent, flags, state: String::new(), format: None }, None)
    }

    /// Trace and parent of a call that a process makes, and the request that it is made for.
    fn standing_of_call(
        &mut self,
        call: Call,
        place: u32,
        hop: Hop,
        incoming: Option<&Incoming>,
        carried: Option<&Carried>,
    ) -> Standing {
        let pid = call.unit.pid;
        let own = self.own_header(pid, hop, incoming, carried);
        let (found, format) = match self.forwarded(call, incoming, carried) {
            Forwarded::From(request, format) => {
                self.process(pid).called_for(call, request);
                (Some((request, Evidence::ForwardedHeader)), format)
            }
            Forwarded::FromEnded => (None, None),
            Forwarded::Nothing => (self.made_for(call), None),
        };
        let is_suppressed = own.is_some_and(|(own, _)| self.is_own_suppressed(pid, own));
        if let Some((own, true)) = own {
            let context = self.context_of_own(call, own, found);
            let made_for = found.map(|(request, _)| request);
            return Standing { context, made_for, own_id: Some(own.parent_id), is_suppressed };
        }
        let context = found.and_then(|(request, evidence)| self.child_of(request, call.key, evidence));
        let standing = match (context, found) {
            (Some(context), Some((request, _))) => Standing::of(Context { format, ..context }, Some(request)),
            _ => Standing::of(self.root(call.key, place, carried), None),
        };
        Standing { is_suppressed, ..standing }
    }

    /// The request for which an earlier call was made is known now. The call follows if nothing below it
    /// has been told yet.
    fn made_later(&mut self, request: Key, call: Key) {
        if !self.below(call).is_some_and(|below| below.iter().all(|key| self.follows(*key))) {
            return;
        }
        self.adopt(call, request, Evidence::Proxy);
        if let Some(found) = self.request(call) {
            found.made_for = Some(request);
            let start_ns = found.start_ns;
            self.call_opened(request, call, start_ns);
        }
    }

    /// The request that a call is made for, by what is known of its process.
    fn made_for(&mut self, call: Call) -> Option<(Key, Evidence)> {
        let sole_request = self.rules.sole_request;
        let MadeFor { this, earlier } = self.process(call.unit.pid).made_for(call, sole_request);
        for (request, made) in earlier {
            self.made_later(request, made);
        }
        self.tell_profile(call.unit.pid);
        this
    }

    fn root(&mut self, key: Key, place: u32, carried: Option<&Carried>) -> Context {
        let trace_id = self.ids.trace_id(key.connection, key.direction, place);
        let decided = carried.and_then(|carried| carried.sampled);
        let flags =
            self.rules.sampler.flags(&trace_id, decided.map(|is| if is { RANDOM | SAMPLED } else { RANDOM }));
        Context { trace_id, parent: None, flags, state: String::new(), format: None }
    }

    fn child_of(&mut self, parent: Key, child: Key, evidence: Evidence) -> Option<Context> {
        let parent = self.request(parent)?;
        if parent.children.len() < Self::FOLLOW {
            parent.children.push(child);
        }
        let Context { trace_id, flags, state, .. } = &parent.context;
        // A span that is not made is nobody's parent: the one above it is.
        let id = if parent.is_suppressed && !parent.is_own {
            parent.context.parent.map(|(id, _)| id)
        } else {
            Some(parent.span_id)
        };
        Some(Context {
            trace_id: *trace_id,
            parent: id.map(|id| (id, evidence)),
            flags: *flags,
            state: state.clone(),
            format: None,
        })
    }

    /// The parent of a request or call was found after it: all that hangs on it follows.
    fn adopt(&mut self, child: Key, parent: Key, evidence: Evidence) {
        let Some((parent_span, trace_id)) =
            self.request(parent).map(|parent| (parent.span_id, parent.context.trace_id))
        else {
            return;
        };
        // Its ids have left with it.
        if self.request(child).is_some_and(|child| child.is_own && child.context.trace_id != trace_id) {
            return;
        }
        // Nothing hangs on what hangs on it.
        let Some(below) = self.below(child).filter(|below| !below.contains(&parent)) else { return };
        // What was told of below it stays in its trace.
        if self.request(child).is_some_and(|child| child.context.trace_id != trace_id)
            && !below.iter().all(|key| self.follows(*key))
        {
            return;
        }
        let evidence = match self.request(child).map(|request| request.context.parent) {
            Some(None) => evidence,
            // It came with the header of this call.
            Some(Some((known, Evidence::Header))) if known == parent_span => Evidence::Header,
            _ => return,
        };
        let Some(context) = self.child_of(parent, child, evidence) else { return };
        let Some(request) = self.request(child) else { return };
        request.context = Context { format: request.context.format, ..context };
        let (trace_id, flags) = (request.context.trace_id, request.context.flags);
        let state = request.context.state.clone();
        for key in below {
            if let Some(request) = self.request(key) {
                request.context.trace_id = trace_id;
                request.context.flags = flags;
                request.context.state.clone_from(&state);
            }
        }
    }

    /// Whether a request and all that hangs right on it can go to another trace.
    fn follows(&mut self, request: Key) -> bool {
        self.request(request).is_some_and(|request| request.children.len() < Self::FOLLOW)
    }

    /// A request and all that hangs on it, as far as that is open; none if it is too much.
    fn below(&mut self, request: Key) -> Option<Vec<Key>> {
        const MOST: usize = 4096;
        let mut all = vec![request];
        let mut at = 0;
        while let Some(key) = all.get(at).copied() {
            if let Some(found) = self.request(key) {
                all.extend_from_slice(&found.children);
            }
            at += 1;
            if all.len() > MOST {
                return None;
            }
        }
        Some(all)
    }

    fn request(&mut self, key: Key) -> Option<&mut Request> {
        let open = &mut self.connections.get_mut(&key.connection)?.open;
        open.iter_mut().find(|request| request.is_at(key))
    }

    /// Bytes were read from a connection: of an answer, a proxy goes on with what the call was for.
    pub fn read(&mut self, facts: &ConnectionFacts, unit: Unit, time_ns: u64) {
        if self.turn_takers == 0 {
            return;
        }
        let Some(process) = self.processes.get_mut(&unit.pid).filter(|process| process.takes_turns()) else {
            return;
        };
        let Some(conversation) = self.connections.get(&facts.number) else { return };
        // Responses come in the order of the requests.
        let is_awaited = |request: &&Request| request.kind == Kind::Call && !request.is_closed;
        if let Some(request) = conversation.open.iter().find(is_awaited) {
            process.resumed(unit, request.made_for, time_ns);
        }
    }

    /// A thread has read what may be a request, and is not understood: its process works for it.
    pub fn unread(&mut self, unit: Unit, time_ns: u64) {
        if let Some(process) = self.processes.get_mut(&unit.pid) {
            process.works_unseen(unit, time_ns);
            self.now_ns = self.now_ns.max(time_ns);
            self.tell_profile(unit.pid);
        }
    }

    /// The final response to the request at this offset has begun, which that process read.
    pub fn answered(&mut self, facts: &ConnectionFacts, kind: Kind, offset: u64, pid: u32) {
        let key = Key { connection: facts.number, direction: kind.direction(), offset };
        if kind.is_outgoing() {
            if self.proxies > 0
                && let Some(call) = self.request(key)
            {
                call.is_decided = true;
            }
        } else if let Some(process) = self.processes.get_mut(&pid) {
            process.request_answered(key);
        }
    }

    /// An exchange has ended: its process no longer works for it.
    pub fn closed(&mut self, facts: &ConnectionFacts, exchange: &Exchange) {
        self.now_ns = self.now_ns.max(exchange.end_ns);
        let key = Key::of(facts, exchange);
        if exchange.kind.is_outgoing() {
            self.called(key, exchange);
            self.call_closed(facts, exchange);
        } else {
            self.ended(key);
        }
        let Some(request) = self.request(key) else { return };
        request.is_closed = true;
        let pid = request.unit.pid;
        if exchange.kind == Kind::Serve
            && let Some(process) = self.processes.get_mut(&pid)
        {
            process.request_closed(key, exchange);
            self.tell_profile(pid);
        }
    }

    /// Whether the call at the other end may still be seen, which the exchange, or what caused it, would
    /// belong to: the sender's record comes after its send, by as much as the scheduler likes.
    pub fn is_unsettled(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        /// Processes of this host that a request goes through.
        const LONGEST: usize = 32;
        let mut key = Key::of(facts, exchange);
        for _ in 0..LONGEST {
            let Some(conversation) = self.connections.get(&key.connection) else { return false };
            let mut open = conversation.open.iter();
            let Some(request) = open.find(|request| request.is_at(key)) else { return false };
            let above = match (key.direction, request.context.parent, conversation.peer) {
                (Direction::Send, ..) => request.made_for,
                (Direction::Receive, None, peer) => {
                    return peer.is_some() || key.offset == 0 && conversation.is_local;
                }
                (Direction::Receive, Some(_), peer) => {
                    peer.and_then(|peer| self.at_wire(peer, Direction::Send, request.wire))
                }
            };
            let Some(above) = above else { return false };
            key = above;
        }
        false
    }

    /// The place of an exchange's span in its trace. It is asked for once.
    pub fn link(&mut self, facts: &ConnectionFacts, exchange: &Exchange) -> Link {
        let key = Key::of(facts, exchange);
        let taken = self.connections.get_mut(&facts.number).and_then(|conversation| {
            let at = conversation.open.iter().position(|request| request.is_at(key))?;
            let request = conversation.open.remove(at);
            Some((request, conversation.is_gone && conversation.open.is_empty()))
        });
        let Some((request, is_last)) = taken else {
            let place = position(facts, key.direction, key.offset);
            let span_id = self.ids.span_id(key.connection, key.direction, place);
            return link(span_id, self.root(key, place, None));
        };
        if is_last {
            self.remove(facts.number);
        }
        let resend = match (request.resends_told, request.made_for) {
            (Some(told), _) => Some(told).filter(|told| *told > 0),
            (None, Some(made_for)) => self.resend(made_for, facts, exchange),
            (None, None) => None,
        };
        let Request { is_suppressed, sent_trace, span_id, context, .. } = request;
        let has_left_in_other_trace = sent_trace.is_some_and(|trace| trace != context.trace_id);
        Link { is_suppressed, resend, has_left_in_other_trace, ..link(span_id, context) }
    }

    /// A connection is gone, and with it the requests that were never reported.
    pub fn left(&mut self, connection: u64) {
        let Some(conversation) = self.connections.get(&connection) else { return };
        let open =
            conversation.open.iter().filter(|request| !request.is_closed && !request.kind.is_outgoing());
        let dropped: Vec<Key> = open.map(|request| request.key(connection)).collect();
        dropped.into_iter().for_each(|key| self.ended(key));
        let Some(conversation) = self.connections.get_mut(&connection) else { return };
        conversation.is_gone = true;
        let mut dropped_of = None;
        for request in conversation.open.extract_if(.., |request| !request.is_closed) {
            let key = request.key(connection);
            if let Some(process) = self.processes.get_mut(&request.unit.pid) {
                process.request_dropped(key, self.now_ns);
                dropped_of = Some(request.unit.pid);
            }
            if let Some(attempts) = request.made_for.and_then(|made_for| self.attempts.get_mut(&made_for)) {
                attempts.lose(key);
            }
        }
        if conversation.open.is_empty() {
            self.remove(connection);
        }
        if let Some(pid) = dropped_of {
            self.tell_profile(pid);
        }
    }

    fn remove(&mut self, connection: u64) {
        let Some(Conversation { ends, peer, .. }) = self.connections.remove(&connection) else { return };
        if self.ends.get(&ends) == Some(&connection) {
            self.ends.remove(&ends);
        }
        if let Some(other) = peer.and_then(|peer| self.connections.get_mut(&peer)) {
            other.peer = None;
        }
    }
}

/// Where a request begins, in sequence numbers without what was pushed in.
fn position(facts: &ConnectionFacts, direction: Direction, offset: u64) -> u32 {
    let first = match direction {
        Direction::Receive => facts.first_received,
        Direction::Send => facts.first_sent,
    };
    first.wrapping_add(offset as u32)
}

fn link(span_id: [u8; 8], context: Context) -> Link {
    let Context { trace_id, parent, flags, state, format } = context;
    let is_remote = parent.is_some_and(|(_, evidence)| evidence.is_remote());
    let flags = u32::from(flags) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
    Link { trace_id, span_id, parent, flags, trace_state: state, format, ..Link::default() }
}
