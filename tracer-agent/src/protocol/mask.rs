//! Masks: a protocol knows where the secrets stand in what it carries, and hides them before it is recorded.

use std::sync::Arc;

pub use super::interface::{Mask, MaskRules, Masking};
use super::{interface::Sniffed, table::PROTOCOLS};

/// The mask of the protocol that a connection speaks, by the first bytes of a direction; none if they are not those
/// of a protocol with a mask. `is_birth` tells for each direction whether nothing of it has gone by.
pub fn of(
    bytes: &[u8],
    direction: usize,
    is_birth: [bool; 2],
    rules: &Arc<MaskRules>,
) -> Option<Box<dyn Mask>> {
    let mut offers = PROTOCOLS.iter().filter_map(|protocol| protocol.mask);
    let offer = offers.find(|offer| (offer.begins_with)(bytes, is_birth[direction]))?;
    Some((offer.open)(is_birth, Arc::clone(rules)))
}

/// How many of the first bytes tell a protocol that is recognised and not read. They are the same on every connection.
pub fn signature(bytes: &[u8]) -> usize {
    /// Longer than any of those in the table.
    const LONGEST: usize = 24;
    let is_opaque = |length: &usize| {
        let start = bytes.get(..*length).unwrap_or_default();
        let mut opaque = PROTOCOLS.iter().filter(|protocol| protocol.open.is_none());
        opaque.any(|protocol| matches!((protocol.sniff)(start), Sniffed::Yes { .. }))
    };
    (1..=LONGEST.min(bytes.len())).find(is_opaque).unwrap_or(0)
}
