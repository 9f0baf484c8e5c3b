//! Requests whose spans are still to be made, and what hangs on them.

use std::collections::{VecDeque, hash_map::Entry};

use rustc_hash::FxHashMap;

use super::{
    link::{Context, Evidence},
    withheld::Withheld,
};
use crate::{
    exchange::{ConnectionFacts, Direction, Exchange, Kind, Unit},
    trace_context::Carried,
};

/// Identity of a request while it is open: its connection, direction and offset. Offsets of the two directions
/// are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) connection: u64,
    pub(super) direction: Direction,
    pub(super) offset: u64,
}

impl Key {
    /// The key of an exchange on a connection.
    pub(super) fn of(facts: &ConnectionFacts, exchange: &Exchange) -> Self {
        let direction = exchange.kind.direction();
        Self { connection: facts.number, direction, offset: exchange.request_offset }
    }
}

/// A request whose span is still to be made: a server request, a client request, or a message.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) kind: Kind,
    pub(super) offset: u64,
    /// The offset at which it begins on the wire: its own, and the bytes that were injected before it.
    pub(super) wire: u64,
    /// Its sequence number, without injected bytes.
    pub(super) position: u32,
    pub(super) unit: Unit,
    pub(super) start_ns: u64,
    /// See [`crate::exchange::Opened::target`].
    pub(super) target: u64,
    pub(super) span_id: [u8; 8],
    pub(super) context: Context,
    /// Ordinal of the attempt that its headers say it is, from 1.
    pub(super) attempt: Option<u32>,
    /// Of a client request: the number of resends before it, by its headers.
    pub(super) resends_told: Option<u32>,
    /// Span id in the `traceparent` that it carries, as its process moved it.
    pub(super) traceparent: Option<[u8; 8]>,
    /// What it carries besides a `traceparent`, of what is configured.
    pub(super) carried: Option<Box<Carried>>,
    /// Of a client request: the server request that it is attributed to.
    pub(super) attributed_to: Option<Key>,
    /// Of a client request: why its parent was not known when it was sent.
    pub(super) withheld: Option<Withheld>,
    /// Open requests whose context is derived from this one's.
    pub(super) children: Vec<Key>,
    /// Of a client request: the final response has begun, or there will be none.
    pub(super) is_decided: bool,
    /// Of a client request: bytes of its response were read.
    pub(super) is_answer_read: bool,
    /// Of a server request: client requests wait to be attributed to it.
    pub(super) is_awaited: bool,
    /// Its exchange has ended.
    pub(super) is_closed: bool,
    /// See [`crate::exchange::Opened::is_late`].
    pub(super) is_late: bool,
    /// The same request was seen at the other end of its connection.
    pub(super) is_met: bool,
    /// Its span id is that of the application's own header.
    pub(super) has_own_id: bool,
    /// See [`super::Link::has_other_header`].
    pub(super) has_other_header: bool,
    /// See [`crate::exchange::Opened::is_lengthened`].
    pub(super) is_lengthened: bool,
    /// See [`super::Link::is_suppressed`].
    pub(super) is_suppressed: bool,
    /// It is suppressed too if its application turns out to export spans.
    pub(super) may_be_exported: bool,
    /// The trace that the injected header names.
    pub(super) sent_trace: Option<[u8; 16]>,
}

impl OpenRequest {
    pub(super) fn key(&self, connection: u64) -> Key {
        Key { connection, direction: self.kind.direction(), offset: self.offset }
    }

    /// Whether it carries a header that names this span.
    fn names(&self, span_id: [u8; 8]) -> bool {
        let mut others = self.carried.iter().flat_map(|carried| &carried.contexts);
        self.traceparent == Some(span_id) || others.any(|context| context.parent_id == span_id)
    }

    /// The context of a child.
    fn context_below(&self, evidence: Evidence) -> Context {
        let Context { trace_id, flags, state, .. } = &self.context;
        // A span that is not made is nobody's parent: its own parent takes its place.
        let id = if self.is_suppressed && !self.has_own_id {
            self.context.parent.map(|(id, _)| id)
        } else {
            Some(self.span_id)
        };
        Context {
            trace_id: *trace_id,
            parent: id.map(|id| (id, evidence)),
            flags: *flags,
            state: state.clone(),
            format: None,
        }
    }

    /// Whether it is the request of this key, on the key's connection.
    #[inline]
    fn is_at(&self, key: Key) -> bool {
        self.offset == key.offset && self.kind.direction() == key.direction
    }

    /// Whether it is a client request whose response is not complete.
    fn awaits_answer(&self) -> bool {
        self.kind == Kind::Call && !self.is_closed
    }
}

/// One end of a connection that carries requests.
#[derive(Debug)]
struct ConnectionEnd {
    /// In the order in which they were opened.
    requests: Vec<OpenRequest>,
    /// The connection itself is gone.
    is_gone: bool,
    /// The addresses say that the other end is on this host.
    is_local: bool,
    /// The other end, once it is known to be on this host.
    peer: Option<u64>,
    /// Responses have come in the order of the client requests, and each request had its own.
    is_in_order: bool,
    /// Who read responses last, and when, if that may have concerned several client requests.
    read: Option<(Unit, u64)>,
}

/// Bytes of a response, of which the client request is known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerOf {
    /// Of the client request that is attributed to this server request; none if it is attributed to none.
    Sure(Option<Key>),
    /// Perhaps of the client request that is attributed to this server request, perhaps of another one.
    Possible(Option<Key>),
}

/// What caused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing that is open here, nor will be.
    Nothing,
    /// This open request.
    Request(Key),
    /// The client request at the other end of its connection, which may still be seen.
    ToCome,
}

/// All open requests, by connection.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    connections: FxHashMap<u64, ConnectionEnd>,
    told: ToldServers,
}

/// Server requests whose spans are made, for client requests that wait to be attributed to them: the contexts of their
/// children.
#[derive(Debug, Default)]
struct ToldServers {
    contexts: FxHashMap<Key, Context>,
    /// The oldest first.
    order: VecDeque<Key>,
}

impl ToldServers {
    /// Server requests that are remembered.
    const MOST: usize = 4096;

    fn add(&mut self, server: Key, context: Context) {
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.contexts.remove(&oldest);
        }
        self.order.push_back(server);
        self.contexts.insert(server, context);
    }
}

impl OpenRequests {
    /// Children that can follow their parent into another trace: the parent's own parent comes microseconds
    /// after it.
    const MOST_CHILDREN: usize = 64;

    /// A connection carries a request. Returns its other end, if that is on this host and was seen.
    #[inline]
    pub(super) fn register(&mut self, facts: &ConnectionFacts) -> Option<u64> {
        // Only one that carries requests has something to link.
        let seen = facts.peer.filter(|other| self.connections.contains_key(other));
        let connection = match self.connections.entry(facts.number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(ConnectionEnd {
                requests: Vec::new(),
                is_gone: false,
                is_local: facts.remote.is_local_to(&facts.local),
                peer: None,
                is_in_order: true,
                read: None,
            }),
        };
        if connection.peer.is_none() {
            let peer = seen?;
            connection.peer = Some(peer);
            if let Some(other) = self.connections.get_mut(&peer) {
                other.peer = Some(facts.number);
            }
            return Some(peer);
        }
        connection.peer
    }

    /// Adds a request to a connection that is registered.
    #[inline]
    pub(super) fn insert(&mut self, connection: u64, request: OpenRequest) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.requests.push(request);
        }
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&OpenRequest> {
        let requests = &self.connections.get(&key.connection)?.requests;
        requests.iter().find(|request| request.is_at(key))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut OpenRequest> {
        let requests = &mut self.connections.get_mut(&key.connection)?.requests;
        requests.iter_mut().find(|request| request.is_at(key))
    }

    /// The requests of a connection.
    pub(super) fn on(&self, connection: u64) -> impl Iterator<Item = &OpenRequest> {
        self.connections.get(&connection).into_iter().flat_map(|connection| &connection.requests)
    }

    /// The same, to be changed.
    pub(super) fn on_mut(&mut self, connection: u64) -> impl Iterator<Item = &mut OpenRequest> {
        self.connections.get_mut(&connection).into_iter().flat_map(|connection| &mut connection.requests)
    }

    /// The request that begins at this offset of the wire, at one end of a connection.
    #[inline]
    pub(super) fn at_wire(&self, connection: u64, direction: Direction, wire: u64) -> Option<Key> {
        let is_there = |request: &&OpenRequest| request.wire == wire && request.kind.direction() == direction;
        self.on(connection).find(is_there).map(|request| request.key(connection))
    }

    /// The server request that begins at this position of a connection.
    pub(super) fn server_request_at(&self, connection: u64, position: u32) -> Option<Key> {
        let is_it = |request: &&OpenRequest| request.position == position && request.kind == Kind::Serve;
        self.on(connection).find(is_it).map(|request| request.key(connection))
    }

    /// What caused a request, as far as that is, or may come to be, an open request.
    #[inline(always)]
    pub(super) fn above(&self, key: Key) -> Above {
        let Some(connection) = self.connections.get(&key.connection) else { return Above::Nothing };
        let mut requests = connection.requests.iter();
        let Some(request) = requests.find(|request| request.is_at(key)) else { return Above::Nothing };
        let above = match (key.direction, request.context.parent, connection.peer) {
            (Direction::Send, ..) => request.attributed_to,
            (Direction::Receive, None, None) if key.offset > 0 || !connection.is_local => None,
            (Direction::Receive, None, _) => return Above::ToCome,
            (Direction::Receive, Some(_), peer) => {
                peer.and_then(|peer| self.at_wire(peer, Direction::Send, request.wire))
            }
        };
        above.map_or(Above::Nothing, Above::Request)
    }

    /// The context of a child of an open request.
    pub(super) fn child_of(&mut self, parent: Key, child: Key, evidence: Evidence) -> Option<Context> {
        let parent = self.get_mut(parent)?;
        if parent.children.len() < Self::MOST_CHILDREN {
            parent.children.push(child);
        }
        Some(parent.context_below(evidence))
    }

    /// The parent of a request became known after it was opened: the request and its descendants follow it
    /// into its trace, unless ids of theirs have been told already.
    pub(super) fn adopt(&mut self, child: Key, parent: Key, evidence: Evidence) {
        let Some((parent_span, trace_id)) =
            self.get(parent).map(|parent| (parent.span_id, parent.context.trace_id))
        else {
            return;
        };
        let Some(found) = self.get(child) else { return };
        let is_elsewhere = found.context.trace_id != trace_id;
        // Its ids have left with it.
        if found.has_own_id && is_elsewhere {
            return;
        }
        let evidence = match found.context.parent {
            None => evidence,
            // It came with the header of this client request.
            Some((known, Evidence::Header)) if known == parent_span => Evidence::Header,
            Some((known, Evidence::Header)) if self.passes_on(parent, known) => evidence,
            Some(_) => return,
        };
        // A request is not its own descendant.
        let Some(descendants) = self.descendants(child).filter(|all| !all.contains(&parent)) else { return };
        // A span that was told of a descendant stays in its trace.
        if is_elsewhere && !descendants.iter().all(|key| self.can_follow(*key)) {
            return;
        }
        let Some(context) = self.child_of(parent, child, evidence) else { return };
        self.place(child, context, descendants);
    }

    /// Whether a client request left with a header that names this span, unchanged from the server request that it was
    /// sent for: the header tells nothing of the client request itself.
    pub(super) fn passes_on(&self, client_request: Key, span_id: [u8; 8]) -> bool {
        let Some(request) = self.get(client_request) else { return false };
        let is_forwarded = matches!(request.context.parent, Some((_, Evidence::ForwardedHeader)));
        let server_request = request.attributed_to.and_then(|key| self.get(key));
        is_forwarded
            && !request.has_own_id
            && request.names(span_id)
            && server_request.is_some_and(|it| it.names(span_id))
    }

    /// A request gets this context, and its descendants follow it.
    fn place(&mut self, child: Key, context: Context, descendants: Vec<Key>) {
        let Some(request) = self.get_mut(child) else { return };
        request.context = Context { format: request.context.format, ..context };
        let (trace_id, flags) = (request.context.trace_id, request.context.flags);
        let state = request.context.state.clone();
        for key in descendants {
            if let Some(request) = self.get_mut(key) {
                request.context.trace_id = trace_id;
                request.context.flags = flags;
                request.context.state.clone_from(&state);
            }
        }
    }

    /// A client request turns out to belong to a server request. Returns whether it could follow.
    pub(super) fn attribute(&mut self, client_request: Key, server_request: Key, evidence: Evidence) -> bool {
        let Some(all) = self.descendants(client_request) else { return false };
        if !all.iter().all(|key| self.can_follow(*key)) {
            return false;
        }
        if self.get(server_request).is_none() {
            let Some(context) = self.told.contexts.get(&server_request) else { return false };
            let parent = context.parent.map(|(id, _)| (id, evidence));
            let context = Context { parent, ..context.clone() };
            if self.get(client_request).is_some_and(|it| it.context.parent.is_none() && !it.has_own_id) {
                self.place(client_request, context, all);
            }
            return false;
        }
        self.adopt(client_request, server_request, evidence);
        if let Some(found) = self.get_mut(client_request) {
            found.attributed_to = Some(server_request);
        }
        true
    }

    /// Whether a request is a descendant of another one, or may be.
    pub(super) fn is_below(&self, request: Key, other: Key) -> bool {
        self.descendants(other).is_none_or(|all| all.contains(&request))
    }

    /// A request and its descendants go to another trace. Returns whether they could.
    pub(super) fn move_to(&mut self, request: Key, trace_id: [u8; 16]) -> bool {
        let Some(all) = self.descendants(request) else { return false };
        if !all.iter().all(|key| self.can_follow(*key)) {
            return false;
        }
        for key in all {
            if let Some(request) = self.get_mut(key) {
                request.context.trace_id = trace_id;
            }
        }
        true
    }

    /// Whether a request and all its children can go to another trace.
    fn can_follow(&self, request: Key) -> bool {
        self.get(request).is_some_and(|request| request.children.len() < Self::MOST_CHILDREN)
    }

    /// A request and its descendants, as far as they are open; none if there are too many.
    fn descendants(&self, request: Key) -> Option<Vec<Key>> {
        const MOST: usize = 4096;
        let mut all = vec![request];
        let mut at = 0;
        while let Some(key) = all.get(at).copied() {
            if let Some(found) = self.get(key) {
                all.extend_from_slice(&found.children);
            }
            at += 1;
            if all.len() > MOST {
                return None;
            }
        }
        Some(all)
    }

    /// Bytes were read from a connection, before any parser has seen them. They belong to the first client
    /// request that awaits its response, as long as responses come in order. A read may hold further responses:
    /// [`Self::answer_named`] tells of those.
    #[inline]
    pub(super) fn answer_read(
        &mut self,
        connection: u64,
        unit: Unit,
        time_ns: u64,
        mut tell: impl FnMut(AnswerOf),
    ) {
        let Some(connection) = self.connections.get_mut(&connection) else { return };
        let awaiting = connection.requests.iter().filter(|request| request.awaits_answer()).count();
        let may_be_several = awaiting > 1 || !connection.is_in_order;
        connection.read = may_be_several.then_some((unit, time_ns));
        let mut awaiting = connection.requests.iter_mut().filter(|request| request.awaits_answer());
        if !connection.is_in_order {
            awaiting.for_each(|request| tell(AnswerOf::Possible(request.attributed_to)));
        } else if let Some(first) = awaiting.next() {
            first.is_answer_read = true;
            tell(AnswerOf::Sure(first.attributed_to));
        }
    }

    /// A parser has found the response of a client request in what was read. Tells who read it, and when, of
    /// each client request whose response was not told rightly by [`Self::answer_read`].
    pub(super) fn answer_named(&mut self, key: Key, mut tell: impl FnMut(Unit, u64, AnswerOf)) {
        let Some(connection) = self.connections.get_mut(&key.connection) else { return };
        let mut awaiting = connection.requests.iter().filter(|request| request.awaits_answer());
        let is_first = awaiting.next().is_some_and(|first| first.is_at(key));
        let was_in_order = connection.is_in_order;
        connection.is_in_order &= is_first;
        let Some((unit, time_ns)) = connection.read else { return };
        for request in connection.requests.iter_mut().filter(|request| request.awaits_answer()) {
            if request.is_at(key) {
                if !std::mem::replace(&mut request.is_answer_read, true) || !connection.is_in_order {
                    tell(unit, time_ns, AnswerOf::Sure(request.attributed_to));
                }
            } else if was_in_order && !connection.is_in_order && request.is_answer_read && !request.is_decided
            {
                // What was taken for its response was another's.
                tell(unit, time_ns, AnswerOf::Possible(request.attributed_to));
            }
        }
    }

    /// A client request has ended without a complete response. A late one must not be taken for another's.
    pub(super) fn answer_missed(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(&key.connection) {
            connection.is_in_order = false;
        }
    }

    /// Whether the responses on a connection come in order.
    pub(super) fn is_in_order(&self, connection: u64) -> bool {
        self.connections.get(&connection).is_some_and(|connection| connection.is_in_order)
    }

    /// Takes a request out: its span is made. `read` takes what the span has of it.
    #[inline]
    pub(super) fn take<T>(&mut self, key: Key, read: impl FnOnce(&mut OpenRequest) -> T) -> Option<T> {
        let connection = self.connections.get_mut(&key.connection)?;
        let at = connection.requests.iter().position(|request| request.is_at(key))?;
        let request = &connection.requests[at];
        let told = request.is_awaited.then(|| request.context_below(Evidence::Unit));
        let taken = read(&mut connection.requests[at]);
        // The usual one is the last, and is dropped where it is.
        if at + 1 == connection.requests.len() {
            connection.requests.truncate(at);
        } else {
            drop(connection.requests.remove(at));
        }
        if connection.is_gone && connection.requests.is_empty() {
            self.remove(key.connection);
        }
        if let Some(context) = told {
            self.told.add(key, context);
        }
        Some(taken)
    }

    /// A connection is gone. Returns the requests whose exchange has not ended: it will not be told.
    pub(super) fn leave(&mut self, connection: u64) -> Vec<OpenRequest> {
        let Some(found) = self.connections.get_mut(&connection) else { return Vec::new() };
        found.is_gone = true;
        let dropped = found.requests.extract_if(.., |request| !request.is_closed).collect();
        if found.requests.is_empty() {
            self.remove(connection);
        }
        dropped
    }

    fn remove(&mut self, connection: u64) {
        let Some(ConnectionEnd { peer, .. }) = self.connections.remove(&connection) else { return };
        if let Some(other) = peer.and_then(|peer| self.connections.get_mut(&peer)) {
            other.peer = None;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}
