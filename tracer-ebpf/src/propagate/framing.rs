//! Boundaries of requests that only the agent knows: after chunked bodies, expectations and offers to upgrade.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use tracer_common::{BOUNDARY_HERE, BOUNDARY_NEVER, POLICY_SLOTS, policy_slot, policy_tag};

/// Boundaries that the agent has proven, one word for each slot ([`policy_slot`]). The low half is the position in the
/// application's stream. The high half is [`BOUNDARY_HERE`] or [`BOUNDARY_NEVER`], with the connection's tag.
#[map]
static BOUNDARIES: Array<u64> = Array::with_max_entries(POLICY_SLOTS, BPF_F_MMAPABLE);

/// The agent's knowledge about a position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    Unknown,
    /// The next bytes that are sent begin a request.
    Here,
    /// No request will follow on the connection.
    Never,
}

/// The agent's knowledge about the position of a send. A boundary is used once.
#[inline(always)]
pub(crate) unsafe fn boundary(number: u64, position: u32) -> Boundary {
    let Some(word) = BOUNDARIES.get_ptr_mut(policy_slot(number)) else { return Boundary::Unknown };
    // SAFETY: a live map value. A boundary that is used or passed is cleared, because positions wrap around.
    unsafe {
        let known = core::ptr::read_volatile(word);
        if known == policy_tag(number) | BOUNDARY_NEVER {
            return Boundary::Never;
        }
        if known >> 32 != (policy_tag(number) | BOUNDARY_HERE) >> 32 {
            return Boundary::Unknown;
        }
        let ahead = (known as u32).wrapping_sub(position) as i32;
        if ahead > 0 {
            return Boundary::Unknown;
        }
        core::ptr::write_volatile(word, 0);
        if ahead != 0 {
            return Boundary::Unknown;
        }
    }
    Boundary::Here
}
