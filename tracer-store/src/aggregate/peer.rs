//! Whom a request went to, as its attributes tell.

use std::collections::HashMap;

use tracer_model::peer::Peer;

use crate::{segment::Segment, segment::SlotKind};

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
        let tells: Vec<bool> = segment.keys.iter().map(|key| Peer::KEYS.contains(&&*key.name)).collect();
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
