//! Whom a request went to, as its attributes tell.

use std::collections::HashMap;

use tracer_model::{
    answer::NodeKind,
    span::{Attribute, Value},
};

use crate::{segment::Segment, segment::SlotKind, summary::text};

const KEYS: [&str; 10] = [
    "db.system.name",
    "db.system",
    "messaging.system",
    "server.address",
    "server.port",
    "net.peer.name",
    "net.peer.port",
    "network.peer.address",
    "network.peer.port",
    "peer.service",
];

/// Somebody of whom there are no spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) kind: NodeKind,
    pub(crate) name: String,
    pub(super) system: Option<String>,
}

impl Peer {
    pub(super) fn service(name: &str) -> Self {
        Self { kind: NodeKind::Service, name: name.to_owned(), system: None }
    }

    pub(crate) fn of(attributes: &[Attribute]) -> Option<Self> {
        let address = address(attributes);
        if let Some(system) = text(attributes, &["messaging.system"]) {
            // Those who send and those who receive name its address differently, or not at all.
            let (kind, name) = (NodeKind::Broker, system.to_owned());
            return Some(Self { kind, name, system: Some(system.to_owned()) });
        }
        if let Some(system) = text(attributes, &["db.system.name", "db.system"]) {
            let name = address.unwrap_or_else(|| system.to_owned());
            return Some(Self { kind: NodeKind::Database, name, system: Some(system.to_owned()) });
        }
        Some(Self { kind: NodeKind::Peer, name: address?, system: None })
    }
}

fn address(attributes: &[Attribute]) -> Option<String> {
    let host =
        text(attributes, &["server.address", "net.peer.name", "peer.service", "network.peer.address"])?;
    let is_port = |key: &str| matches!(key, "server.port" | "net.peer.port" | "network.peer.port");
    let port = attributes.iter().find_map(|(key, value)| match value {
        Value::Int(port) if is_port(key) => Some(port.to_string()),
        Value::Str(port) if is_port(key) => Some(port.to_string()),
        _ => None,
    });
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Peers of a segment's rows, told once for each template where that can be.
pub(super) struct Peers {
    /// Each peer once.
    pub(super) all: Vec<Peer>,
    codes: HashMap<Peer, u32>,
    of_templates: Vec<Option<Option<u32>>>,
    /// Templates whose rows differ.
    by_row: Vec<bool>,
}

impl Peers {
    pub(super) fn new(segment: &Segment) -> Self {
        let tells: Vec<bool> = segment.keys.iter().map(|key| KEYS.contains(&&*key.name)).collect();
        let differs = |template: usize| {
            segment.slots(template).iter().any(|slot| match slot.kind() {
                SlotKind::Loose(key) => tells[key],
                SlotKind::Pair(_) => false,
            })
        };
        let by_row = (0..segment.templates()).map(differs).collect();
        Self { all: Vec::new(), codes: HashMap::new(), of_templates: vec![None; segment.templates()], by_row }
    }

    /// Code of the peer of a row.
    pub(super) fn of(&mut self, segment: &Segment, row: usize) -> Option<u32> {
        let template = usize::from(segment.template[row]);
        if let (false, Some(known)) = (self.by_row[template], self.of_templates[template]) {
            return known;
        }
        let code = Peer::of(&segment.row_attributes(row)).map(|peer| self.code(peer));
        self.of_templates[template] = Some(code);
        code
    }

    pub(super) fn code(&mut self, peer: Peer) -> u32 {
        let Self { all, codes, .. } = self;
        *codes.entry(peer).or_insert_with_key(|peer| {
            all.push(peer.clone());
            (all.len() - 1) as u32
        })
    }
}
