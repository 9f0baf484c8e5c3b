//! Whom a request went to, as its attributes tell.

use crate::{
    answer::NodeKind,
    span::{Attribute, Value, text},
};

/// Somebody who was asked: a service, or one of whom there are no spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// What it is.
    pub kind: NodeKind,
    /// Name of a service; host and port of another one.
    pub name: String,
    /// The system of a database or broker, such as `postgresql`.
    pub system: Option<String>,
}

impl Peer {
    /// Attributes that tell a peer.
    pub const KEYS: [&str; 10] = [
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

    /// A service of which there are spans.
    pub fn service(name: &str) -> Self {
        Self { kind: NodeKind::Service, name: name.to_owned(), system: None }
    }

    /// The one that a span's attributes name. None if they name nobody.
    pub fn of(attributes: &[Attribute]) -> Option<Self> {
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
