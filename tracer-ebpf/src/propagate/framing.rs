//! Positions of requests that only the agent knows: behind chunks, expectations and offers to upgrade.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use tracer_common::{BOUNDARY_HERE, BOUNDARY_NEVER, VERDICT_SLOTS, verdict_slot, verdict_tag};

/// Positions at which the agent knows a request to begin: one word per connection, by the slot of its
/// verdict. The position in the application's stream in the low half, a bit that says that there is one,
/// and the tag of its number.
#[map]
static BOUNDARIES: Array<u64> = Array::with_max_entries(VERDICT_SLOTS, BPF_F_MMAPABLE);

/// What the agent knows of a position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    Unknown,
    /// A request begins here, if anything is sent.
    Here,
    /// No request will follow on the connection.
    Never,
}

#[inline(always)]
pub(crate) unsafe fn boundary(number: u64, position: u32) -> Boundary {
    let Some(word) = BOUNDARIES.get_ptr_mut(verdict_slot(number)) else { return Boundary::Unknown };
    // SAFETY: a live map value. What is used or passed means nothing later: positions come again.
    unsafe {
        let known = core::ptr::read_volatile(word);
        if known == verdict_tag(number) | BOUNDARY_NEVER {
            return Boundary::Never;
        }
        if known >> 32 != (verdict_tag(number) | BOUNDARY_HERE) >> 32 {
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
