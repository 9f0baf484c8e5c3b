//! Masks: a protocol knows where the secrets stand in what it carries, and hides them before it is recorded.

use std::sync::Arc;

use super::{Call, PROTOCOLS, sniff::Sniffed};
use crate::redact::Redactor;

/// Hides secrets at equal length in the bytes of one connection, in the order in which they are recorded. Bytes of
/// which it is not certain what they are become zero, so that only their number stays. A direction is that of the
/// record: [`tracer_common::RECEIVE`] or [`tracer_common::SEND`].
///
/// What is left gives the same spans as the bytes did: framing stays readable, and a masked value is redacted as the
/// value itself would be.
pub trait Mask: Send {
    /// These bytes come next in a direction.
    fn data(&mut self, direction: usize, bytes: &mut [u8], call: &Call);
    /// So many bytes come next that were not copied.
    fn skip(&mut self, direction: usize, length: u64, call: &Call);
    /// So many bytes are missing, or come later.
    fn gap(&mut self, direction: usize, length: u64);
}

/// How a protocol offers its mask.
#[derive(Clone, Copy, Debug)]
pub struct Masking {
    /// Whether bytes are the first of a message; `is_birth` says that nothing has gone by before them.
    pub begins_with: fn(bytes: &[u8], is_birth: bool) -> bool,
    /// The mask of a connection; `is_birth` tells for each direction whether nothing of it has gone by.
    pub open: fn(is_birth: [bool; 2], secrets: Arc<Redactor>) -> Box<dyn Mask>,
}

/// The mask of the protocol that a connection speaks, by the first bytes of a direction; none if they are not those
/// of a protocol with a mask. `is_birth` tells for each direction whether nothing of it has gone by.
pub fn of(
    bytes: &[u8],
    direction: usize,
    is_birth: [bool; 2],
    secrets: &Arc<Redactor>,
) -> Option<Box<dyn Mask>> {
    let mut offers = PROTOCOLS.iter().filter_map(|protocol| protocol.mask);
    let offer = offers.find(|offer| (offer.begins_with)(bytes, is_birth[direction]))?;
    Some((offer.open)(is_birth, Arc::clone(secrets)))
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
