//! What the agent wants of each direction of each connection.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use tracer_common::{POLICY_IGNORE, POLICY_WORDS, policy_index, policy_tag};

/// What the agent wants of each direction of each connection: see [`tracer_common::CapturePolicy`].
#[map]
static POLICIES: Array<u64> = Array::with_max_entries(POLICY_WORDS, BPF_F_MMAPABLE);

/// Whether the agent wants nothing of a direction of a connection.
#[inline(always)]
pub(crate) fn is_ignored(connection: u64, direction: u8) -> bool {
    policy(connection, direction).0 == POLICY_IGNORE
}

/// The policy on a direction of a connection: its kind and position.
#[inline(always)]
pub(crate) fn policy(connection: u64, direction: u8) -> (u64, u32) {
    let Some(word) = POLICIES.get_ptr(policy_index(connection, direction)) else { return (0, 0) };
    // SAFETY: a live map value; one word is not torn.
    let word = unsafe { core::ptr::read_volatile(word) };
    if (word ^ policy_tag(connection)) >> 35 != 0 {
        return (0, 0);
    }
    (word >> 32 & 7, word as u32)
}
