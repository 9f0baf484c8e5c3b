//! The runtime's own task that makes a call: a goroutine. It is read from the process's memory, where the agent has made
//! a plan for the process. Each read is checked; what does not fit gives no task.

pub(crate) mod go;

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use tracer_common::SELECTION_WORDS;

use crate::select::Current;

/// One bit per process id of the initial namespace: there is a plan for the process. The agent sets the bits.
#[map]
static PLANNED: Array<u64> = Array::with_max_entries(SELECTION_WORDS, BPF_F_MMAPABLE);

/// Whether there is a plan for the process of this thread.
#[inline(always)]
pub(crate) fn has_plan(current: Current) -> bool {
    let pid = current.pid();
    match PLANNED.get_ptr(pid / 64) {
        // SAFETY: a live map value; a torn read is impossible for one word.
        Some(word) => (unsafe { core::ptr::read_volatile(word) }) >> (pid % 64) & 1 != 0,
        None => false,
    }
}
