//! Goroutines.
//!
//! In a system call, R14 holds the `g` of the goroutine that makes it. Its first two words are the bounds of its stack,
//! which hold the stack pointer: in C code and on a thread's own stack they do not.
//!
//! `net/http` sends client requests on a goroutine of the connection (its write loop). The request's own goroutine waits
//! for it on a channel, which lies at one distance from the end of the write loop's stack.

use aya_ebpf::bindings::pt_regs;
use tracer_common::{GoPlan, GoTask, KernelCounter, RUNTIME_GO};

use super::{Part, tell, word, words};
use crate::{ring::count, select::Current};

/// The number of the goroutine that makes the running call, or for which it is made. Tells about it if it reads or sends
/// a request.
#[inline(always)]
pub(super) unsafe fn task(
    plan: &GoPlan,
    registers: *const pt_regs,
    current: Current,
    part: Part,
    now: u64,
) -> u64 {
    // SAFETY: the caller's registers; user memory is read through helpers.
    unsafe {
        if part == Part::ClientResponse {
            return 0;
        }
        let goroutine = goroutine(plan, registers, part != Part::ServerRequest);
        let id = if goroutine == 0 { 0 } else { word(goroutine, plan.id) };
        if part == Part::ServerResponse {
            return id;
        }
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        let thread = word((*registers).r14, plan.thread);
        let (mut last_id, mut next_id) = (0, 0);
        if plan.last_id != 0 && word(thread, plan.thread_id) == u64::from(current.tid()) {
            last_id = word(plan.last_id, 0);
            next_id = word(word(thread, plan.processor), plan.next_id);
        }
        let creator = if plan.creator == 0 { 0 } else { word(goroutine, plan.creator) };
        let start = word(goroutine, plan.start);
        tell(RUNTIME_GO, current, part, now, id, GoTask { creator, start, last_id, next_id }.facts());
        id
    }
}

/// The number of the goroutine for which the running call sends.
#[inline(always)]
pub(super) unsafe fn sending_task(plan: &GoPlan, registers: *const pt_regs) -> u64 {
    // SAFETY: as in `task`.
    unsafe {
        let goroutine = goroutine(plan, registers, true);
        if goroutine == 0 { 0 } else { word(goroutine, plan.id) }
    }
}

/// The goroutine that makes the running call. If it sends what another one waits for, the other one: 0 if that does not
/// wait yet, or if none can be told. It is the address of its `runtime.g`.
#[inline(always)]
unsafe fn goroutine(plan: &GoPlan, registers: *const pt_regs, sends: bool) -> u64 {
    // SAFETY: as in `task`.
    unsafe {
        let goroutine = (*registers).r14;
        let stack_pointer = (*registers).rsp;
        let [begin, end] = words(goroutine, 0);
        if stack_pointer < begin || stack_pointer >= end {
            return 0;
        }
        let is_write_loop = sends && plan.write_loop != 0 && word(goroutine, plan.start) == plan.write_loop;
        if !is_write_loop {
            return goroutine;
        }
        let channel = word(end, 0u32.wrapping_sub(plan.written));
        let waiting = word(channel, plan.receivers);
        if waiting == 0 || word(waiting, plan.channel) != channel {
            return 0;
        }
        let caller = word(waiting, 0);
        let [begin, end] = words(caller, 0);
        if begin < end { caller } else { 0 }
    }
}
