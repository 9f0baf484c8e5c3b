//! What the agent wants of each direction of each connection.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use tracer_common::{VERDICT_IGNORE, VERDICT_WORDS, verdict_index, verdict_tag};

/// What the agent wants of each direction of each connection: see [`tracer_common::Verdict`].
#[map]
static VERDICTS: Array<u64> = Array::with_max_entries(VERDICT_WORDS, BPF_F_MMAPABLE);

/// Whether the agent wants nothing of a direction of a connection.
#[inline(always)]
pub(crate) fn is_ignored(connection: u64, direction: u8) -> bool {
    verdict(connection, direction).0 == VERDICT_IGNORE
}

/// The verdict on a direction of a connection: its kind and position.
#[inline(always)]
pub(crate) fn verdict(connection: u64, direction: u8) -> (u64, u32) {
    let Some(word) = VERDICTS.get_ptr(verdict_index(connection, direction)) else { return (0, 0) };
    // SAFETY: a live map value; one word is not torn.
    let word = unsafe { core::ptr::read_volatile(word) };
    if (word ^ verdict_tag(connection)) >> 35 != 0 {
        return (0, 0);
    }
    (word >> 32 & 7, word as u32)
}
