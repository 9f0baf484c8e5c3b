//! Node's event loop. JavaScript runs to completion: what a callback sends comes from what it was called for.
//!
//! 1. A send in the callback that has read last comes from what was read: from a server request, or from the answer to a
//!    client request. If its async id is one that was made before, it comes from the run that has made it.
//! 2. A send in another callback comes from the run that has surely made its id. An immediate of the same iteration is surely
//!    made by one of the callbacks that have read in it, if these are all that the loop has called (see [`batch`]).
//! 3. Otherwise nothing is known of it.
//! 4. A response that is sent upon the answer to a client request puts that client request, and those that it comes from,
//!    into the server request: afterwards.
//! 5. If they are in another server request already, the process hands work over from one request to another (a queue in
//!    front of connections, a cache): its callbacks tell nothing, and never will.
//!
//! Requests of one connection that are read in one callback (pipelined ones) contradict nothing, and their calls get no link.
//!
//! A client request is linked when its server request is answered, and all those too that were open at that time: a
//! contradiction would have come until then.

mod batch;
mod groups;
mod parsers;
mod run;
mod runs;
mod watcher;

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;
use tracer_common::{
    RUN_CLIENT_REQUEST, RUN_CLIENT_RESPONSE, RUN_CONNECT, RUN_SERVER_REQUEST, RUN_SERVER_RESPONSE, RunRecord,
};

use self::{
    groups::{Call, Groups},
    run::Node,
    runs::Runs,
};
use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy};
use crate::{
    correlate::{
        link::Evidence,
        open::Key,
        profile::{Doubt, Profile},
        programs::Shown,
        withheld::Withheld,
    },
    exchange::Unit,
};

/// What is known of a process's event loop.
#[derive(Debug, Default)]
pub(crate) struct EventLoop {
    runs: Runs,
    groups: Groups,
    /// What connections carry.
    carried: FxHashMap<u64, Carried>,
    /// By connection, where the response or the client request comes from that was sent last, until it is told.
    sent: FxHashMap<u64, Sent>,
    requests: Requests,
    /// Client requests whose spans wait.
    held: FxHashMap<Key, u64>,
    /// The same, each with the number of requests that were read before: it waits for them.
    waiting: [VecDeque<(u64, Key)>; 2],
    /// Links that wait for the proof, and since when.
    unproven: Vec<(u64, Attribution)>,
    /// Responses to overlapping requests that were sent upon the answers to their own client requests.
    confirmed: u32,
    /// Another process of the same program has proven it.
    is_inherited: bool,
    doubt: Option<Doubt>,
    has_decided: bool,
    now_ns: u64,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug)]
struct Carried {
    node: Node,
    /// The server request is answered, or the client request is.
    is_answered: bool,
}

/// A send that was told before its bytes were.
#[derive(Clone, Copy, Debug)]
struct Sent {
    source: Option<Node>,
    /// The client request upon whose answer it was sent.
    upon: Option<Node>,
    /// Of a client request.
    node: Option<Node>,
    /// See [`Runs::made_by`].
    made_by: Option<u64>,
}

/// Confirmed responses that prove the strategy.
pub(crate) const ENOUGH: u32 = 32;

impl EventLoop {
    /// Connections, and client requests, that are remembered.
    const MOST: usize = 65_536;
    const MOST_HELD: usize = 4096;
    /// After this time no client request waits for a proof: its span is made.
    const LONGEST_NS: u64 = 10_000_000_000;

    fn is_trusted(&self) -> bool {
        self.doubt.is_none() && (self.is_inherited || self.confirmed >= ENOUGH)
    }

    fn doubt(&mut self, doubt: Doubt) {
        self.doubt.get_or_insert(doubt);
        self.has_decided = true;
        let (confirmed, doubt) = (self.confirmed, self.doubt);
        *self = Self { confirmed, doubt, has_decided: true, ..Self::default() };
    }

    /// The request that a connection carries when it is read.
    fn read(&mut self, record: &RunRecord) -> Option<Node> {
        let is_turn = record.is_turn != 0;
        let is_server = record.part == RUN_SERVER_REQUEST;
        let known = self.carried.get_mut(&record.connection);
        match known {
            Some(carried) if is_server && (!carried.is_answered || !is_turn) => Some(carried.node),
            Some(carried) if !is_server => {
                let is_expected = !carried.is_answered || !is_turn;
                carried.is_answered = true;
                let node = carried.node;
                if is_expected && let Some(group) = self.groups.of(node) {
                    group
                        .calls
                        .iter_mut()
                        .filter(|call| call.node == node)
                        .for_each(|it| it.is_answered = true);
                }
                is_expected.then_some(node)
            }
            _ if is_server && is_turn => Some(self.carry(record.connection)),
            _ => None,
        }
    }

    /// A connection carries a new request.
    fn carry(&mut self, connection: u64) -> Node {
        if self.carried.len() >= Self::MOST {
            self.carried.clear();
        }
        let node = self.groups.add();
        self.carried.insert(connection, Carried { node, is_answered: false });
        node
    }

    /// A server request is answered in a run with this source, upon the answer to this client request.
    fn answered_from(&mut self, request: &ServerRequest, source: Option<Node>, upon: Option<Node>) {
        let Some(node) = self.requests.node(request.key) else { return };
        if source == Some(node) {
            return upon.into_iter().for_each(|upon| self.answered_upon(request, node, upon));
        }
        let Some(from) = source else { return };
        let Some(group) = self.groups.of(from) else { return };
        // Pipelined requests are read in one callback, so their calls are not told apart.
        if group.servers.iter().any(|key| key.connection != request.key.connection) {
            return self.doubt(Doubt::Mixed);
        }
        if group.servers.iter().any(|key| *key != request.key) {
            return;
        }
        self.groups.unite(from, node);
        if request.overlaps {
            self.confirmed = self.confirmed.saturating_add(1);
        }
    }

    /// A server request is answered upon the answer to a client request, by something that it has made itself, as an async
    /// id tells: a promise, where the program keeps contexts.
    fn answered_upon(&mut self, request: &ServerRequest, node: Node, upon: Node) {
        let Some(group) = self.groups.of(upon) else { return };
        let is_known = group.calls.iter().any(|call| call.node == upon && call.source != upon);
        if group.servers.iter().any(|key| key.connection != request.key.connection) {
            // Others may wait for what one has sent. But who has sent it?
            if !is_known {
                self.doubt(Doubt::Mixed);
            }
            return;
        }
        if group.servers.iter().any(|key| *key != request.key) {
            return;
        }
        self.groups.unite(upon, node);
        if request.overlaps {
            self.confirmed = self.confirmed.saturating_add(1);
        }
    }

    /// It turns out that a client request was sent for a server request.
    fn sent_for(&mut self, client: Node, server: Node) {
        let Some(its) = self.groups.of(server).map(|group| group.servers.clone()) else { return };
        let Some(group) = self.groups.of(client) else { return };
        if group.servers.iter().any(|key| !its.contains(key)) {
            return self.doubt(Doubt::Mixed);
        }
        group
            .calls
            .iter_mut()
            .filter(|call| call.node == client && call.source == client)
            .for_each(|call| call.source = server);
        self.groups.unite(client, server);
    }

    /// The client requests that are linked if nothing contradicts that until all that is open now is answered.
    fn links_of(&mut self, node: Node, server: Key) -> Vec<Key> {
        let Some(group) = self.groups.of(node).filter(|group| group.servers == [server]) else {
            return Vec::new();
        };
        let is_its = |call: &&Call| call.node > node && (call.is_answered || call.source == node);
        group.calls.iter().filter(is_its).map(|call| call.key).collect()
    }

    /// What is known now that fewer requests are open.
    fn settle(&mut self) -> Vec<Attribution> {
        let mut links = Vec::new();
        while let Some((server, clients)) = self.requests.next_settled(self.now_ns) {
            let evidence = Evidence::EventLoop;
            let its = clients.into_iter().filter(|client| self.held.contains_key(client));
            links.extend(its.map(|client_request| Attribution {
                client_request,
                server_request: server,
                evidence,
            }));
        }
        if self.doubt.is_some() {
            return Vec::new();
        }
        let mut links = if self.is_trusted() {
            let mut earlier: Vec<_> = self.unproven.drain(..).map(|(_, link)| link).collect();
            earlier.append(&mut links);
            earlier
        } else {
            let now_ns = self.now_ns;
            let old = |(since_ns, _): &(u64, _)| now_ns.saturating_sub(*since_ns) < Self::LONGEST_NS;
            self.unproven.retain(old);
            self.unproven.extend(links.drain(..).map(|link| (now_ns, link)));
            Vec::new()
        };
        for link in &mut links {
            self.has_decided |= self.held.remove(&link.client_request).is_some();
        }
        self.release_waiting();
        links
    }

    /// Lets go of the client requests that will not be linked.
    fn release_waiting(&mut self) {
        for stage in 0..2 {
            while let Some((until, client)) = self.waiting[stage].front().copied() {
                let is_old = |since: &u64| self.now_ns.saturating_sub(*since) >= Self::LONGEST_NS;
                let is_gone = self.held.get(&client).is_none_or(is_old);
                if !is_gone && !self.requests.all_answered_before(until, self.now_ns) {
                    break;
                }
                self.waiting[stage].pop_front();
                if stage == 0 && !is_gone {
                    self.waiting[1].push_back((self.requests.last, client));
                } else if is_gone || !self.unproven.iter().any(|(_, link)| link.client_request == client) {
                    self.has_decided |= self.held.remove(&client).is_some();
                }
            }
        }
    }
}

impl Strategy for EventLoop {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::default())
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None if self.is_trusted() => Profile::EventLoop { answers: self.confirmed },
            None => Profile::Learning { exchanges: self.confirmed, needed: ENOUGH },
        }
    }

    fn inherit(&mut self) -> Vec<Attribution> {
        self.is_inherited = true;
        self.settle()
    }

    fn hold(&mut self, client_request: Key, _candidate: (Key, u64), at_ns: u64) -> bool {
        let has_room = self.held.len() < Self::MOST_HELD && self.doubt.is_none();
        if has_room {
            self.held.insert(client_request, at_ns);
            self.waiting[0].push_back((self.requests.last, client_request));
        }
        has_room
    }

    fn release(&mut self) {
        self.held.clear();
        self.unproven.clear();
        self.waiting = Default::default();
        self.has_decided = true;
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        !self.held.is_empty() && self.held.contains_key(&client_request)
    }

    fn withdraw(&mut self) {
        self.is_inherited = false;
        self.confirmed = 0;
        self.release();
    }

    fn shown(&self) -> Option<Shown> {
        if self.doubt == Some(Doubt::Mixed) {
            return Some(Shown::Doubted);
        }
        (self.doubt.is_none() && self.confirmed >= ENOUGH).then_some(Shown::Proven)
    }

    /// What it knows, it knows when the answers come.
    fn kernel_rule(&self) -> Option<u8> {
        None
    }

    fn take_decided(&mut self) -> bool {
        std::mem::take(&mut self.has_decided)
    }

    fn attributes_later(&self) -> bool {
        self.doubt.is_none()
    }

    fn run(&mut self, record: &RunRecord) -> u32 {
        if self.doubt.is_some() {
            return 0;
        }
        let unread = self.runs.unread();
        self.now_ns = self.now_ns.max(record.time_ns);
        match record.part {
            RUN_SERVER_REQUEST | RUN_CLIENT_RESPONSE => {
                let node = self.read(record);
                self.runs.received(record, node, record.part == RUN_SERVER_REQUEST);
            }
            RUN_SERVER_RESPONSE => {
                let source = self.runs.sent(record, false);
                let upon = self.runs.upon();
                self.sent.insert(record.connection, Sent { source, upon, node: None, made_by: None });
                for (client, server) in self.runs.answers(record) {
                    self.sent_for(client, server);
                }
            }
            RUN_CLIENT_REQUEST => {
                let is_first = !self.carried.contains_key(&record.connection);
                let source = self.runs.sent(record, is_first);
                let node = self.carry(record.connection);
                self.runs.wait(record, node);
                let made_by = self.runs.made_by().filter(|_| source.is_none());
                self.sent.insert(record.connection, Sent { source, upon: None, node: Some(node), made_by });
            }
            RUN_CONNECT => self.runs.connects(record),
            _ => self.runs.other(),
        }
        if self.sent.len() >= Self::MOST {
            self.sent.clear();
        }
        let unread = self.runs.unread() - unread;
        if self.runs.is_unreadable() {
            self.doubt(Doubt::Misread);
        }
        unread
    }

    fn server_opened(&mut self, request: &ServerRequest, _others: &mut [ServerRequest]) {
        if self.doubt.is_some() {
            return;
        }
        let connection = request.key.connection;
        let read = self.carried.get(&connection).filter(|carried| !carried.is_answered).map(|it| it.node);
        // What was sent after a read of no request, as of the rest of a body, is not for the one that comes then.
        let mut is_new = |node: &Node| {
            self.groups.of(*node).is_none_or(|group| group.calls.is_empty() || !group.servers.is_empty())
        };
        let read = read.filter(&mut is_new);
        let node = read.unwrap_or_else(|| self.carry(connection));
        self.runs.opened(connection, node);
        if let Some(group) = self.groups.of(node) {
            group.servers.push(request.key);
        }
        self.requests.opened(request, node, self.runs.last());
    }

    fn server_answered(&mut self, request: &ServerRequest, _by: Unit) -> Vec<Attribution> {
        if self.doubt.is_some() {
            return Vec::new();
        }
        let connection = request.key.connection;
        if let Some(Sent { source, upon, node: None, .. }) = self.sent.remove(&connection) {
            self.answered_from(request, source, upon);
        }
        if let Some(carried) = self.carried.get_mut(&connection) {
            carried.is_answered = true;
        }
        let node = self.requests.node(request.key);
        let links = node.map(|node| self.links_of(node, request.key)).unwrap_or_default();
        self.requests.answered(request.key, links);
        self.settle()
    }

    fn server_closed(&mut self, request: &ServerRequest, _answered_by: Option<Unit>) -> Vec<Attribution> {
        if self.doubt.is_some() || !self.requests.dropped(request.key) {
            return Vec::new();
        }
        self.settle()
    }

    fn works_unseen(&mut self, _unit: Unit) {}

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        let connection = client.key.connection;
        if self.doubt.is_some() || client.unit.tid != client.unit.pid {
            return Attributions::default();
        }
        let Some(Sent { source, node: Some(node), made_by, .. }) = self.sent.remove(&connection) else {
            self.carried.remove(&connection);
            return Attributions::default();
        };
        let call = Call { node, key: client.key, source: source.unwrap_or(node), is_answered: false };
        if let Some(from) = source {
            self.groups.unite(from, node);
        }
        let group = self.groups.of(node);
        let server = group.and_then(|group| {
            group.calls.push(call);
            group.servers.first().copied()
        });
        let waits = in_flight.iter().find(|request| !request.is_answered).map(|request| request.key);
        // It is not for the only request that is open if it comes from another one.
        let is_others = match (server, made_by) {
            (Some(server), _) => in_flight.iter().all(|request| request.key != server),
            (None, Some(id)) => in_flight.iter().all(|request| self.requests.is_younger(request.key, id)),
            (None, None) => false,
        };
        Attributions {
            candidate: waits.map(|waits| (server.unwrap_or(waits), 0)),
            is_certain: is_others,
            withheld: is_others.then_some(Withheld::OtherThread),
            ..Attributions::default()
        }
    }
}

/// The server requests of a process, until all are answered that were open when they were.
#[derive(Debug, Default)]
struct Requests {
    open: FxHashMap<Key, Open>,
    /// The numbers of those that are not answered, and when they were read.
    unanswered: BTreeSet<(u64, u64)>,
    /// Those that are, in the order of their responses, each with the number of the last one that was read before.
    answered: VecDeque<(u64, Key, Vec<Key>)>,
    /// The number of the one that was read last.
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    number: u64,
    start_ns: u64,
    node: Node,
    /// The last async id that was given out before.
    after: u64,
}

impl Requests {
    /// Nothing waits longer than this for a request to be answered.
    const LONGEST_NS: u64 = 5_000_000_000;

    fn opened(&mut self, request: &ServerRequest, node: Node, after: u64) {
        self.last += 1;
        let open = Open { number: self.last, start_ns: request.start_ns, node, after };
        self.open.insert(request.key, open);
        self.unanswered.insert((open.number, open.start_ns));
    }

    fn node(&self, key: Key) -> Option<Node> {
        self.open.get(&key).map(|open| open.node)
    }

    /// Whether a request that is open was read when this async id was there already.
    fn is_younger(&self, key: Key, id: u64) -> bool {
        self.open.get(&key).is_some_and(|open| id <= open.after)
    }

    fn answered(&mut self, key: Key, links: Vec<Key>) {
        if self.dropped(key) {
            self.answered.push_back((self.last, key, links));
        }
    }

    /// It will have no response. Returns whether it was open.
    fn dropped(&mut self, key: Key) -> bool {
        let open = self.open.remove(&key);
        open.is_some_and(|open| self.unanswered.remove(&(open.number, open.start_ns)))
    }

    /// Whether all are answered that were read up to this one.
    fn all_answered_before(&self, number: u64, now_ns: u64) -> bool {
        let is_awaited = |(_, start_ns): &&(u64, u64)| now_ns.saturating_sub(*start_ns) < Self::LONGEST_NS;
        self.unanswered.iter().find(is_awaited).is_none_or(|(first, _)| *first > number)
    }

    /// The next one to which client requests can be linked, and these.
    fn next_settled(&mut self, now_ns: u64) -> Option<(Key, Vec<Key>)> {
        let (number, ..) = self.answered.front()?;
        if !self.all_answered_before(*number, now_ns) {
            return None;
        }
        self.answered.pop_front().map(|(_, key, links)| (key, links))
    }
}
