//! Span ids that requests carried, remembered up to a bound.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::exchange::{ConnectionFacts, Direction};

/// The span ids, or other hashes, that went by last.
#[derive(Debug, Default)]
pub(super) struct RecentIds(VecDeque<[u8; 8]>);

impl RecentIds {
    const MOST: usize = 256;

    pub(super) fn has(&self, id: [u8; 8]) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn add(&mut self, id: [u8; 8]) {
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }
}

/// A request as both of its ends know it: the first sequence numbers of client and server, and its offset on
/// the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    client: u32,
    server: u32,
    wire: u64,
}

impl Hop {
    pub(super) fn of(facts: &ConnectionFacts, direction: Direction, wire: u64) -> Self {
        let (client, server) = match direction {
            Direction::Send => (facts.first_sent, facts.first_received),
            Direction::Receive => (facts.first_received, facts.first_sent),
        };
        Self { client, server, wire }
    }
}

/// The span ids that requests of this host carried last, each with the hop on which it was seen first.
#[derive(Debug, Default)]
pub(super) struct FirstSeen {
    hops: FxHashMap<[u8; 8], Hop>,
    order: VecDeque<[u8; 8]>,
}

impl FirstSeen {
    /// As many as a table of 65,536 slots holds.
    const MOST: usize = 57_344;

    /// A request carries this id. Returns whether no request on another hop did so before it.
    pub(super) fn add(&mut self, id: [u8; 8], hop: Hop) -> bool {
        if let Some(first) = self.hops.get(&id) {
            return *first == hop;
        }
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.hops.remove(&oldest);
        }
        self.order.push_back(id);
        self.hops.insert(id, hop);
        true
    }
}
