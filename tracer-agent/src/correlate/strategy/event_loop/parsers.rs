//! Ids of parsers: they name the connection whose request something was begun for.
//!
//! Node gives each connection that it accepts an async id, and then one to the parser that reads its requests. The parser
//! calls back with its id, so that what such a callback begins (an immediate, a timer, the look-up of a name, a request that
//! an agent queues) has this id as its trigger. It was begun for the last request that was read from the connection before
//! its own id was given out: ids only grow, and none is given out twice.
//!
//! The record of a response tells the id of the connection. The parser's is the next one, unless the program makes something
//! when it is told of a connection. That it is, is learned from parsers whose ids were seen when they called back, and from
//! ids that have triggered client requests begun after the connection was read.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use super::run::{AsyncIds, Node};

/// What the ids of parsers tell.
#[derive(Debug, Default)]
pub(super) struct Parsers {
    connections: FxHashMap<u64, Connection>,
    /// The connections, by the ids of their parsers.
    by_parser: FxHashMap<u64, u64>,
    distance: Distance,
    /// Client requests by what may turn out to be the parser that has begun them; and before which id that was.
    waiting: BTreeMap<(u64, Node), u64>,
    /// The same, in the order in which they were sent; some are gone.
    order: VecDeque<(u64, Node)>,
}

/// A connection on which requests are served.
#[derive(Debug, Default)]
struct Connection {
    /// Its id.
    handle: Option<u64>,
    /// The id with which its parser was seen to call back.
    seen: Option<u64>,
    /// The last id that was given out when it was read.
    read: u64,
    /// The same, if what was read then is of a request that is not known yet.
    unknown: Option<u64>,
    /// Its last requests, each with the last id that was given out before it was read.
    requests: VecDeque<(u64, Node)>,
    /// What was told of it contradicts.
    is_broken: bool,
}

/// How far the id of a parser is behind that of its connection.
#[derive(Debug, Default)]
struct Distance {
    found: u64,
    /// Connections for which it is right, and wrong.
    right: u32,
    wrong: u32,
}

impl Distance {
    /// Connections that it takes, and for how many of them it may be wrong.
    const ENOUGH: u32 = 16;
    const SHARE: u32 = 4;
    /// What is farther away is no parser: all requests of a program may begin something at the same distance.
    const MOST: u64 = 1;

    fn learn(&mut self, handle: u64, parser: u64) {
        let Some(found) = parser.checked_sub(handle).filter(|it| (1..=Self::MOST).contains(it)) else {
            self.wrong = self.wrong.saturating_add(1);
            return;
        };
        if found == self.found {
            self.right = self.right.saturating_add(1);
        } else if self.right <= self.wrong && self.right < Self::ENOUGH {
            (self.found, self.right) = (found, 1);
        } else {
            self.wrong = self.wrong.saturating_add(1);
        }
    }

    fn known(&self) -> Option<u64> {
        let is_known = self.right >= Self::ENOUGH && self.wrong <= self.right / Self::SHARE;
        is_known.then_some(self.found)
    }
}

impl Parsers {
    /// Connections, and client requests, that are remembered.
    const MOST: usize = 16_384;
    /// Requests of one connection.
    const MOST_REQUESTS: usize = 8;

    /// A connection on which requests are served was read. `is_new`: what was read is not the rest of a request.
    pub(super) fn read(&mut self, connection: u64, last: u64, is_new: bool) {
        if self.connections.len() >= Self::MOST && !self.connections.contains_key(&connection) {
            self.connections.clear();
            self.by_parser.clear();
        }
        let known = self.connections.entry(connection).or_default();
        known.read = last;
        if is_new {
            known.unknown.get_or_insert(last);
        }
    }

    /// What was read last from a connection has the whole head of a request.
    pub(super) fn opened(&mut self, connection: u64, node: Node) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.unknown = None;
        if known.requests.back().is_some_and(|(_, last)| *last == node) {
            return;
        }
        if known.requests.len() >= Self::MOST_REQUESTS {
            known.requests.pop_front();
        }
        known.requests.push_back((known.read, node));
    }

    /// A parser was seen to call back with this id.
    pub(super) fn seen(&mut self, connection: u64, id: u64) {
        let Some(known) = self.connections.get_mut(&connection).filter(|it| it.seen.is_none()) else {
            return;
        };
        known.seen = Some(id);
        if let Some(handle) = known.handle {
            self.distance.learn(handle, id);
        }
    }

    /// Whether an id is that of the parser of a connection; nothing if it is not known.
    pub(super) fn is_its(&self, connection: u64, id: u64) -> Option<bool> {
        let known = self.connections.get(&connection).filter(|it| !it.is_broken)?;
        Some(known.handle? + self.distance.known()? == id)
    }

    /// The request for which something runs; nothing if no parser tells.
    pub(super) fn begun(&self, ids: AsyncIds) -> Option<Begun> {
        let connection = |id: u64| self.connections.get(self.by_parser.get(&id)?).filter(|it| !it.is_broken);
        if ids.execution == 0 {
            return None;
        }
        // The parser itself calls back, which has read last what was read last.
        let (known, id) = match connection(ids.execution) {
            Some(known) => (known, ids.last + 1),
            None => (connection(ids.trigger)?, ids.execution),
        };
        if known.is_unknown(id) { None } else { Some(known.before(id).map_or(Begun::Earlier, Begun::For)) }
    }

    /// It may become known later for which request a client request was sent.
    pub(super) fn wait(&mut self, ids: AsyncIds, client_request: Node) {
        // What runs may be a parser, or what one has begun.
        for (parser, begun) in [(ids.execution, ids.last + 1), (ids.trigger, ids.execution)] {
            if ids.execution == 0 || parser == 0 || self.by_parser.contains_key(&parser) {
                continue;
            }
            if self.order.len() >= Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.waiting.remove(&oldest);
            }
            self.waiting.insert((parser, client_request), begun);
            self.order.push_back((parser, client_request));
        }
    }

    /// A response is sent on a connection, which has this id. Returns the client requests that turn out to be sent for
    /// requests of it, each with its request.
    pub(super) fn answers(&mut self, connection: u64, handle: u64) -> Vec<(Node, Node)> {
        let Some(known) = self.connections.get_mut(&connection) else { return Vec::new() };
        match known.handle {
            None => {
                known.handle = Some(handle);
                let first = known.requests.front().map_or(u64::MAX, |(begin, _)| *begin);
                let near = self.waiting.range((handle + 1, 0)..(handle + Distance::MOST + 1, 0));
                // Those farther away can be of a connection that was accepted next.
                let nearest = || near.filter(|(_, begun)| **begun > first).map(|((id, _), _)| *id).next();
                if let Some(parser) = known.seen.or_else(nearest) {
                    self.distance.learn(handle, parser);
                }
            }
            Some(other) if other == handle => (),
            Some(_) => known.is_broken = true,
        }
        let Some(distance) = self.distance.known().filter(|_| !known.is_broken) else { return Vec::new() };
        let parser = handle + distance;
        match self.by_parser.get(&parser) {
            Some(other) if *other != connection => {
                known.is_broken = true;
                return Vec::new();
            }
            Some(_) => return Vec::new(),
            None => _ = self.by_parser.insert(parser, connection),
        }
        let its: Vec<_> =
            self.waiting.range((parser, 0)..(parser + 1, 0)).map(|(at, by)| (*at, *by)).collect();
        for (at, _) in &its {
            self.waiting.remove(at);
        }
        let found = |((_, client), begun): ((u64, Node), u64)| {
            let is_known = !known.is_unknown(begun);
            known.before(begun).filter(|_| is_known).map(|server| (client, server))
        };
        its.into_iter().filter_map(found).collect()
    }
}

/// What a parser's id tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It was begun for this request.
    For(Node),
    /// For one that is forgotten.
    Earlier,
}

impl Connection {
    /// Whether this id may have been given out for a request that is not known yet.
    fn is_unknown(&self, id: u64) -> bool {
        self.unknown.is_some_and(|read| id > read)
    }

    /// The request that was read last before this id was given out.
    fn before(&self, id: u64) -> Option<Node> {
        self.requests.iter().rev().find(|(begin, _)| *begin < id).map(|(_, node)| *node)
    }
}
