//! Services and what they call, told from spans and their parents.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
    time::Instant,
};

use tracer_model::{
    answer::{MapAnswer, MapEdge, MapNode, NodeKind, Red, Window},
    peer::Peer,
};

use super::{
    Tally,
    calls::{Alike, alike, alike_of, each_spread, kin_of},
    change::change,
    kin::Role,
    length_us,
};
use crate::{
    engine::Engine,
    line::Shared,
    search::{OUT_OF_TIME, is_over, read},
    segment::filter::Cover,
};

/// Most nodes and edges of a map; those with the most requests are told.
const MAX_NODES: usize = 500;
const MAX_EDGES: usize = 2000;

pub(crate) fn map(
    engine: &RwLock<Engine>,
    window: Window,
    compare: bool,
    deadline: Option<Instant>,
) -> MapAnswer {
    let segments = read(engine).segments();
    let (mut now, is_whole) = Counted::of(&segments, window, deadline);
    let before = Window {
        start_unix_us: window.start_unix_us.saturating_sub(length_us(window)),
        end_unix_us: window.start_unix_us,
    };
    let (mut earlier, is_earlier_whole) =
        if compare { Counted::of(&segments, before, deadline) } else { (Counted::default(), true) };
    let incomplete = (!is_whole || !is_earlier_whole).then(|| OUT_OF_TIME.to_owned());
    let red =
        |tally: Option<&mut Tally>| tally.map_or_else(Red::default, |tally| tally.red(length_us(window)));
    let mut nodes: Vec<MapNode> = keys(&now.nodes, &earlier.nodes)
        .into_iter()
        .map(|peer| {
            let (red, before) = (red(now.nodes.get_mut(&peer)), red(earlier.nodes.get_mut(&peer)));
            let change = if compare { change(&red, &before) } else { None };
            let (id, before) = (id(&peer), compare.then_some(before));
            MapNode { id, name: peer.name, kind: peer.kind, system: peer.system, red, before, change }
        })
        .collect();
    let mut edges: Vec<MapEdge> = keys(&now.edges, &earlier.edges)
        .into_iter()
        .map(|edge| {
            let (red, before) = (red(now.edges.get_mut(&edge)), red(earlier.edges.get_mut(&edge)));
            let change = if compare { change(&red, &before) } else { None };
            MapEdge { from: id(&edge.0), to: id(&edge.1), red, before: compare.then_some(before), change }
        })
        .collect();
    bound(&mut nodes, &mut edges);
    MapAnswer { window, before: compare.then_some(before), nodes, edges, incomplete }
}

fn keys<K: Clone + Ord>(now: &BTreeMap<K, Tally>, before: &BTreeMap<K, Tally>) -> Vec<K> {
    let mut keys: Vec<K> = now.keys().chain(before.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn id(peer: &Peer) -> String {
    let kind = match peer.kind {
        NodeKind::Service => "service",
        NodeKind::Peer => "peer",
        NodeKind::Database => "database",
        NodeKind::Broker => "broker",
        NodeKind::Outside => "outside",
    };
    format!("{kind}:{}", peer.name)
}

/// Leaves nodes and edges out that nobody could read. An edge goes with its node.
fn bound(nodes: &mut Vec<MapNode>, edges: &mut Vec<MapEdge>) {
    let weight = |red: &Red, before: &Option<Red>| red.count + before.map_or(0, |before| before.count);
    if nodes.len() > MAX_NODES {
        nodes.sort_by_key(|node| {
            std::cmp::Reverse((node.kind == NodeKind::Service, weight(&node.red, &node.before)))
        });
        nodes.truncate(MAX_NODES);
        let there: std::collections::HashSet<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        edges.retain(|edge| there.contains(edge.from.as_str()) && there.contains(edge.to.as_str()));
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
    }
    if edges.len() > MAX_EDGES {
        edges.sort_by_key(|edge| std::cmp::Reverse(weight(&edge.red, &edge.before)));
        edges.truncate(MAX_EDGES);
        edges.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    }
}

/// Nodes and edges of one window.
#[derive(Default)]
struct Counted {
    nodes: BTreeMap<Peer, Tally>,
    edges: BTreeMap<(Peer, Peer), Tally>,
}

impl Counted {
    /// Of a window, and whether all was counted before the deadline.
    fn of(segments: &[Arc<Shared>], window: Window, deadline: Option<Instant>) -> (Self, bool) {
        let mut counted = Self::default();
        // The newest ones are asked for most.
        for shared in segments.iter().rev() {
            if is_over(deadline) {
                return (counted, false);
            }
            let segment = shared.read();
            match segment.cover(window) {
                Cover::None => {}
                Cover::Whole => {
                    for alike in &shared.local(&segment).alike {
                        counted.add_alike(alike);
                    }
                }
                Cover::Part => {
                    let kin = kin_of(&segment);
                    for of in alike(&segment, &kin, 0..kin.spots.len(), Some(window), false) {
                        counted.add_alike(&of);
                    }
                }
            }
        }
        let is_whole = each_spread(segments, deadline, |kin| {
            alike_of(segments, kin, Some(window), false, |_, alike| counted.add_alike(&alike));
        });
        (counted, is_whole)
    }

    fn add_alike(&mut self, alike: &Alike) {
        self.add(alike.own.clone(), alike.other.clone(), alike.role, alike.tally.clone());
    }

    fn add(&mut self, own: Peer, other: Option<Peer>, role: Role, tally: Tally) {
        let node = self.nodes.entry(own.clone()).or_default();
        let Some(other) = other else {
            node.absorb(tally);
            return;
        };
        let other_node = self.nodes.entry(other.clone()).or_default();
        // Services are told by their own spans, a broker by what it is asked, others by every request.
        let is_told_otherwise = match other.kind {
            NodeKind::Service => true,
            NodeKind::Broker => role == Role::WasAsked,
            NodeKind::Peer | NodeKind::Database | NodeKind::Outside => false,
        };
        if !is_told_otherwise {
            other_node.absorb(tally.clone());
        }
        let edge = if role == Role::Asked { (own, other) } else { (other, own) };
        self.edges.entry(edge).or_default().absorb(tally);
    }
}
