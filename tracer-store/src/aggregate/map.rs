//! Services and what they call, told from spans and their parents.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
};

use tracer_model::{
    answer::{MapAnswer, MapEdge, MapNode, NodeKind, Red, Window},
    span::Kind,
};

use super::{
    BySpan, Tally,
    change::change,
    length_us,
    peer::{Peer, Peers},
    rows_within, span_key,
};
use crate::{
    engine::{Engine, Shared},
    search::read,
    segment::Segment,
};

/// Most nodes and edges of a map; those with the most requests are told.
const MAX_NODES: usize = 500;
const MAX_EDGES: usize = 2000;

pub(crate) fn map(engine: &RwLock<Engine>, window: Window, compare: bool) -> MapAnswer {
    let segments = read(engine).segments();
    let calls = Calls::new(&segments);
    let mut now = Counted::of(&segments, &calls, window);
    let before = Window {
        start_unix_us: window.start_unix_us.saturating_sub(length_us(window)),
        end_unix_us: window.start_unix_us,
    };
    let mut earlier = if compare { Counted::of(&segments, &calls, before) } else { Counted::default() };
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
    MapAnswer { window, before: compare.then_some(before), nodes, edges }
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

/// Who serves the requests whose parents have spans, and who made them.
struct Calls {
    services: Vec<String>,
    /// By the key of the parent of a span that serves.
    by_parent: BySpan<Call>,
}

struct Call {
    /// Who serves it.
    service: u32,
    /// Who made it, if its span is here, and whether that span stands for the request.
    parent: Option<(u32, bool)>,
}

fn serves(kind: Kind) -> bool {
    matches!(kind, Kind::Server | Kind::Consumer)
}

fn asks(kind: Kind) -> bool {
    matches!(kind, Kind::Client | Kind::Producer)
}

impl Calls {
    fn new(segments: &[Arc<Shared>]) -> Self {
        let mut calls = Self { services: Vec::new(), by_parent: BySpan::new() };
        let mut codes = HashMap::new();
        for shared in segments {
            let segment = shared.read();
            let services = calls.codes(&segment, &mut codes);
            for row in (0..segment.rows()).filter(|row| segment.parent[*row] != 0) {
                let head = segment.head_of(row);
                if serves(head.kind) {
                    let key = span_key(&segment, row, segment.parent[row]);
                    let service = services[head.resource as usize];
                    calls.by_parent.insert(key, Call { service, parent: None });
                }
            }
        }
        for shared in segments {
            let segment = shared.read();
            let services = calls.codes(&segment, &mut codes);
            for row in 0..segment.rows() {
                if let Some(call) = calls.by_parent.get_mut(&span_key(&segment, row, segment.span_id[row])) {
                    let head = segment.head_of(row);
                    call.parent = Some((services[head.resource as usize], asks(head.kind)));
                }
            }
        }
        calls
    }

    /// Codes of the services of a segment's resources.
    fn codes(&mut self, segment: &Segment, codes: &mut HashMap<String, u32>) -> Vec<u32> {
        let all = segment.resources.all.iter().map(|resource| {
            let service = resource.service_name();
            *codes.entry(service.to_owned()).or_insert_with(|| {
                self.services.push(service.to_owned());
                (self.services.len() - 1) as u32
            })
        });
        all.collect()
    }

    fn service(&self, code: u32) -> Peer {
        service(&self.services[code as usize])
    }
}

fn service(name: &str) -> Peer {
    Peer { kind: NodeKind::Service, name: name.to_owned(), system: None }
}

/// Nodes and edges of one window.
#[derive(Default)]
struct Counted {
    nodes: BTreeMap<Peer, Tally>,
    edges: BTreeMap<(Peer, Peer), Tally>,
}

/// Requests of a segment that are alike: resource, other end, role.
type Alike = hashbrown::HashMap<(u32, Other, Role), Tally>;

/// The other end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Other {
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
enum Role {
    /// The service served.
    Node,
    /// The service asked the other.
    Asked,
    /// The other asked the service.
    WasAsked,
}

impl Counted {
    fn of(segments: &[Arc<Shared>], calls: &Calls, window: Window) -> Self {
        let mut counted = Self::default();
        for shared in segments {
            let segment = shared.read();
            let mut alike = Alike::new();
            let mut peers = Peers::new(&segment);
            for row in rows_within(&segment, window) {
                count(&segment, row, calls, &mut peers, &mut alike);
            }
            for ((resource, other, role), tally) in alike {
                let own = service(segment.resources.all[resource as usize].service_name());
                let other = match other {
                    Other::Nobody => None,
                    Other::Service(code) => Some(calls.service(code)),
                    Other::Peer(code) => Some(peers.all[code as usize].clone()),
                    Other::Outside => {
                        Some(Peer { kind: NodeKind::Outside, name: "outside".to_owned(), system: None })
                    }
                };
                counted.add(own, other, role, tally);
            }
        }
        counted
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

fn count(segment: &Segment, row: usize, calls: &Calls, peers: &mut Peers, alike: &mut Alike) {
    let head = segment.head_of(row);
    let (duration_ns, is_error) = (segment.duration_ns(row), segment.is_error(row));
    let mut add = |other: Other, role: Role| {
        alike.entry((head.resource, other, role)).or_default().add(duration_ns, is_error);
    };
    if asks(head.kind) {
        let call = calls.by_parent.get(&span_key(segment, row, segment.span_id[row]));
        let peer = if call.is_none() || head.kind == Kind::Producer { peers.of(segment, row) } else { None };
        let is_broker = |peer: u32| peers.all[peer as usize].kind == NodeKind::Broker;
        match (peer, call) {
            (Some(peer), call) if call.is_none() || is_broker(peer) => add(Other::Peer(peer), Role::Asked),
            (_, Some(call)) => add(Other::Service(call.service), Role::Asked),
            (..) => {}
        }
    }
    if serves(head.kind) {
        add(Other::Nobody, Role::Node);
        let peer = if head.kind == Kind::Consumer { peers.of(segment, row) } else { None };
        if let Some(peer) = peer.filter(|peer| peers.all[*peer as usize].kind == NodeKind::Broker) {
            add(Other::Peer(peer), Role::WasAsked);
            return;
        }
        let parent = segment.parent[row];
        let call = (parent != 0).then(|| calls.by_parent.get(&span_key(segment, row, parent))).flatten();
        match call.and_then(|call| call.parent) {
            // The caller's span was counted.
            Some((_, true)) => {}
            // A span that is no request made it: work inside of the same service is no call.
            Some((service, false)) => {
                if *calls.services[service as usize] != *segment.service_of(head) {
                    add(Other::Service(service), Role::WasAsked);
                }
            }
            None => add(Other::Outside, Role::WasAsked),
        }
    }
}
