//! Spans and their parents: who serves whose requests, and each span's own time.
//!
//! Spans of one trace that have one id are looked at as one: the first that came stands for all.

use std::collections::HashMap;

use tracer_model::{
    answer::NodeKind,
    span::{Kind, TraceId},
};

use crate::{segment::Segment, summary::uncovered};

/// No span.
const NONE: u32 = u32::MAX;

/// Whether a span stands for a request that is served.
pub(crate) fn serves(kind: Kind) -> bool {
    matches!(kind, Kind::Server | Kind::Consumer)
}

/// Whether a span stands for a request that is made.
pub(crate) fn asks(kind: Kind) -> bool {
    matches!(kind, Kind::Client | Kind::Producer)
}

/// A span, as far as its parent and its children need it.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    trace: TraceId,
    span_id: u64,
    parent: u64,
    start: u64,
    end: u64,
    /// Segment, by its place among those that were added, and row.
    pub(super) segment: u32,
    pub(super) row: u16,
    kind: Kind,
    service: u32,
}

/// The other end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Other {
    /// None: the service by itself.
    Nobody,
    /// A service; its code.
    Service(u32),
    /// A peer of the segment; its code.
    Peer(u32),
    /// Whoever called from outside.
    Outside,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// The service served.
    Node,
    /// The service asked the other.
    Asked,
    /// The other asked the service.
    WasAsked,
}

/// Spans of some traces, all of those traces' spans among them.
#[derive(Default)]
pub(crate) struct Kin {
    /// By trace and id.
    pub(super) spots: Vec<Spot>,
    /// Of each, the first of its id.
    first: Vec<u32>,
    /// Of each, the first of its parent's id.
    parents: Vec<u32>,
    /// Of the first of an id, the span that serves its request.
    served: Vec<u32>,
    services: Vec<String>,
    codes: HashMap<String, u32>,
}

impl Kin {
    /// Adds spans of a segment: the next one, in the order of their numbers.
    pub(super) fn add(&mut self, segment: &Segment, place: u32, rows: impl Iterator<Item = usize>) {
        let services: Vec<u32> = segment
            .resources
            .all
            .iter()
            .map(|resource| {
                let service = resource.service_name();
                *self.codes.entry(service.to_owned()).or_insert_with(|| {
                    self.services.push(service.to_owned());
                    (self.services.len() - 1) as u32
                })
            })
            .collect();
        self.spots.extend(rows.map(|row| {
            let head = segment.head_of(row);
            Spot {
                trace: segment.traces[usize::from(segment.trace[row])],
                span_id: segment.span_id[row],
                parent: segment.parent[row],
                start: segment.start[row],
                end: segment.end[row],
                segment: place,
                row: row as u16,
                kind: head.kind,
                service: services[head.resource as usize],
            }
        }));
    }

    /// Finds parents, when all spans were added.
    pub(super) fn settle(&mut self) {
        self.spots.sort_unstable_by_key(|spot| (spot.trace, spot.span_id, spot.segment, spot.row));
        let spots = &self.spots;
        self.first = vec![0; spots.len()];
        self.parents = vec![NONE; spots.len()];
        self.served = vec![NONE; spots.len()];
        let mut begin = 0;
        for trace in spots.chunk_by(|one, other| one.trace == other.trace) {
            let mut first = 0;
            for (at, spot) in trace.iter().enumerate() {
                if trace[first].span_id != spot.span_id {
                    first = at;
                }
                self.first[begin + at] = (begin + first) as u32;
                if spot.parent == 0 {
                    continue;
                }
                let parent = trace.partition_point(|other| other.span_id < spot.parent);
                if trace.get(parent).is_none_or(|other| other.span_id != spot.parent) {
                    continue;
                }
                self.parents[begin + at] = (begin + parent) as u32;
                let served = &mut self.served[begin + parent];
                let came = |at: u32| (spots[at as usize].segment, spots[at as usize].row);
                let this = (begin + at) as u32;
                if serves(spot.kind) && (*served == NONE || came(this) < came(*served)) {
                    *served = this;
                }
            }
            begin += trace.len();
        }
    }

    /// Of each span, the time in which none of its children was under way.
    pub(super) fn own_ns(&self) -> Vec<u64> {
        let stretches: Vec<(u64, u64)> = self.spots.iter().map(|spot| (spot.start, spot.end)).collect();
        let children = self.parents.iter().enumerate().filter(|(at, parent)| {
            // A span that says to be its own parent has none.
            **parent != NONE && self.spots[*at].parent != self.spots[*at].span_id
        });
        let children = children.map(|(at, parent)| (*parent as usize, stretches[at].0, stretches[at].1));
        uncovered(&stretches, children.collect())
    }

    pub(super) fn service(&self, code: u32) -> &str {
        &self.services[code as usize]
    }

    /// What a span tells of who asked whom. `peer` tells the peer that its attributes name.
    pub(super) fn tell(
        &self,
        at: usize,
        peer: impl FnOnce() -> Option<(u32, NodeKind)>,
        mut told: impl FnMut(Other, Role),
    ) {
        let spot = self.spots[at];
        if asks(spot.kind) {
            let served = self.served[self.first[at] as usize];
            let peer = if served == NONE || spot.kind == Kind::Producer { peer() } else { None };
            match peer {
                Some((peer, kind)) if served == NONE || kind == NodeKind::Broker => {
                    told(Other::Peer(peer), Role::Asked);
                }
                _ if served != NONE => {
                    told(Other::Service(self.spots[served as usize].service), Role::Asked);
                }
                _ => {}
            }
        } else if serves(spot.kind) {
            told(Other::Nobody, Role::Node);
            let peer = if spot.kind == Kind::Consumer { peer() } else { None };
            if let Some((peer, NodeKind::Broker)) = peer {
                told(Other::Peer(peer), Role::WasAsked);
                return;
            }
            let Some(parent) = self.spots.get(self.parents[at] as usize) else {
                told(Other::Outside, Role::WasAsked);
                return;
            };
            // The caller's span was counted, if it stands for the request. Work inside of one service is no call.
            if !asks(parent.kind) && parent.service != spot.service {
                told(Other::Service(parent.service), Role::WasAsked);
            }
        }
    }
}
