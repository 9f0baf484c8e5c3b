//! Names by code: operations, and who asks and is asked.

use std::{collections::HashMap, sync::Arc};

use tracer_model::{answer::NodeKind, peer::Peer, span::Kind};

/// A service, or another one that was asked; its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartyId(pub(super) u32);

impl PartyId {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Place of the party in a list of all.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who asks or is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What it is.
    pub kind: NodeKind,
    /// Name of the service; host and port of another one.
    pub name: Arc<str>,
    /// The system of a database or broker.
    pub system: Option<Arc<str>>,
}

/// What a service does: its spans of one name and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Service.
    pub service: PartyId,
    /// Name of the spans.
    pub name: Arc<str>,
    /// Kind of the spans.
    pub kind: Kind,
}

/// Operations and parties by code.
#[derive(Debug, Default)]
pub struct Dictionary {
    operations: Vec<Operation>,
    operation_codes: HashMap<Operation, u32>,
    parties: Vec<Party>,
    party_codes: HashMap<(NodeKind, Arc<str>), PartyId>,
}

impl Dictionary {
    /// All operations: each stands at the place of its code.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of a code.
    pub fn operation(&self, code: u32) -> &Operation {
        &self.operations[code as usize]
    }

    /// All parties: each stands at the place of its code.
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// The codes of all parties, in the order of [`Dictionary::parties`].
    pub fn ids(&self) -> impl Iterator<Item = PartyId> + use<> {
        (0..self.parties.len() as u32).map(PartyId)
    }

    /// The party of a code.
    pub fn party(&self, id: PartyId) -> &Party {
        &self.parties[id.index()]
    }

    /// Name of a party.
    pub fn name(&self, id: PartyId) -> &str {
        &self.party(id).name
    }

    /// The service of a name. None if no span is of it.
    pub fn find_service(&self, name: &str) -> Option<PartyId> {
        self.party_codes.get(&(NodeKind::Service, name.into())).copied()
    }

    /// Name of an operation with that of its service.
    pub fn operation_name(&self, code: u32) -> String {
        let operation = self.operation(code);
        format!("{} {}", self.name(operation.service), operation.name)
    }

    pub(super) fn add_operation(&mut self, operation: Operation) -> u32 {
        let Self { operations, operation_codes, .. } = self;
        *operation_codes.entry(operation).or_insert_with_key(|operation| {
            operations.push(operation.clone());
            (operations.len() - 1) as u32
        })
    }

    pub(super) fn add_service(&mut self, name: &Arc<str>) -> PartyId {
        self.add(NodeKind::Service, name, None)
    }

    pub(super) fn add_peer(&mut self, peer: &Peer) -> PartyId {
        self.add(peer.kind, &peer.name.as_str().into(), peer.system.as_deref())
    }

    fn add(&mut self, kind: NodeKind, name: &Arc<str>, system: Option<&str>) -> PartyId {
        let Self { parties, party_codes, .. } = self;
        *party_codes.entry((kind, Arc::clone(name))).or_insert_with(|| {
            parties.push(Party { kind, name: Arc::clone(name), system: system.map(Arc::from) });
            PartyId((parties.len() - 1) as u32)
        })
    }
}
