//! Virtual threads of Java.
//!
//! Code that HotSpot has compiled keeps the thread's `JavaThread` in R15, and native methods leave it there. Its record of
//! the system's thread has the address in `%fs`, so that nothing else is taken for one. It has a handle of its own
//! `java.lang.Thread`, and one of that which runs on it: these are different while a virtual thread runs.
//!
//! The collector moves objects, and changes handles before memory is used again: what was read holds if the handle is
//! still the same. Generational ZGC does not change them. It changes which bits of a handle are valid, before it moves
//! anything: what was read holds if those of the handle still are.

use core::ffi::c_void;

use aya_ebpf::{bindings::pt_regs, helpers::generated::bpf_get_current_task_btf};
use tracer_common::{JavaPlan, KernelCounter, VIRTUAL_THREAD};

use super::base::word;
use crate::{
    memory::layout::{load, offset},
    ring::count,
};

/// Numbers of threads are less.
const END: u64 = 1 << 48;

/// The virtual thread that makes the running call; [`VIRTUAL_THREAD`] if that cannot be read, and 0 if none does.
#[inline(always)]
pub(super) unsafe fn running(plan: &JavaPlan, registers: *const pt_regs) -> u64 {
    // SAFETY: the caller's registers; a typed pointer, which the kernel keeps; user memory is read through helpers.
    unsafe {
        let thread = (*registers).r15;
        let this: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let own: u64 = load(this, offset!(task_fsbase));
        if word(word(thread, plan.os_thread), plan.pthread) != own {
            count(KernelCounter::TaskUnread, 1);
            return VIRTUAL_THREAD;
        }
        let handle = word(thread, plan.running);
        let content = word(handle, 0);
        let object = address(plan, content);
        if content != 0 && object == address(plan, word(word(thread, plan.own), 0)) {
            return 0;
        }
        let (id, native) = (word(object, plan.id), word(object, plan.native));
        let is_moved =
            word(handle, 0) != content || plan.bad_mask != 0 && content & word(plan.bad_mask, 0) != 0;
        if object == 0 || id == 0 || id >= END || native != 0 || is_moved {
            count(KernelCounter::TaskUnread, 1);
            return VIRTUAL_THREAD;
        }
        VIRTUAL_THREAD | id
    }
}

/// The address of the object to which a handle with this content leads.
#[inline(always)]
fn address(plan: &JavaPlan, content: u64) -> u64 {
    if plan.bad_mask == 0 { content } else { content >> (word(plan.shift, 0) & 63) }
}

/// The same for a call that sends a client request; 0 if no virtual thread is known to make it.
#[inline(always)]
pub(super) unsafe fn sending_task(plan: &JavaPlan, registers: *const pt_regs) -> u64 {
    // SAFETY: as in `running`.
    match unsafe { running(plan, registers) } {
        VIRTUAL_THREAD => 0,
        task => task,
    }
}
