//! Goroutines.
//!
//! In a system call, R14 holds the `g` of the goroutine that makes it. Its first two words are the bounds of its stack,
//! which hold the stack pointer: in C code and on a thread's own stack they do not.
//!
//! `net/http` sends client requests on a goroutine of the connection (its write loop). The request's own goroutine waits
//! for it on a channel, which lies at one distance from the end of the write loop's stack.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
    macros::map,
    maps::HashMap,
};
use tracer_common::{GoPlan, KernelCounter, Kind, TaskRecord};

use crate::{
    memory::arch::is_compat,
    ring::{count, reserve, submit_flags},
    select::Current,
};

/// Plans, by process.
#[map]
static GO_PLANS: HashMap<u32, GoPlan> = HashMap::with_max_entries(1024, 1);

/// The goroutine that makes the running call. If it sends what another one waits for, the other one: 0 if that does not
/// wait yet, or if none can be told. It is the address of its `runtime.g`. Programs that may not ask for the process
/// (before 6.10: `sock_ops`) call this too.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_goroutine(pid: u64, sends: u64) -> u64 {
    let Some(plan) = GO_PLANS.get_ptr(pid as u32) else { return 0 };
    // SAFETY: a live map value; typed pointers; user memory is read through helpers.
    unsafe {
        let plan = &*plan;
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        let goroutine = (*registers).r14;
        let stack_pointer = (*registers).rsp;
        let [begin, end] = stack_of(goroutine);
        if is_compat(registers) || stack_pointer < begin || stack_pointer >= end {
            return 0;
        }
        let is_write_loop =
            sends != 0 && plan.write_loop != 0 && word(goroutine, plan.start) == plan.write_loop;
        if !is_write_loop {
            return goroutine;
        }
        let channel = word(end, 0u32.wrapping_sub(plan.written));
        let waiting = word(channel, plan.receivers);
        if waiting == 0 || word(waiting, plan.channel) != channel {
            return 0;
        }
        let caller = word(waiting, 0);
        let [begin, end] = stack_of(caller);
        if begin < end { caller } else { 0 }
    }
}

/// Number of the goroutine at this address; 0 if it cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_goroutine_id(pid: u64, goroutine: u64) -> u64 {
    let Some(plan) = GO_PLANS.get_ptr(pid as u32) else { return 0 };
    // SAFETY: a live map value; user memory is read through a helper.
    unsafe { if goroutine == 0 { 0 } else { word(goroutine, (*plan).id) } }
}

/// Tells the goroutine at this address, which reads or sends a request. Returns its number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_tell_goroutine(goroutine: u64, direction: u64, now: u64) -> u64 {
    let current = Current::any();
    let Some(plan) = GO_PLANS.get_ptr(current.pid()) else { return 0 };
    // SAFETY: a live map value; typed pointers; user memory is read through helpers.
    unsafe {
        let plan = &*plan;
        let id = tracer_goroutine_id(u64::from(current.pid()), goroutine);
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        let thread = word((*registers).r14, plan.thread);
        let (mut last_id, mut next_id) = (0, 0);
        if plan.last_id != 0 && word(thread, plan.thread_id) == u64::from(current.tid()) {
            last_id = word(plan.last_id, 0);
            next_id = word(word(thread, plan.processor), plan.next_id);
        }
        if let Some(mut space) = reserve::<TaskRecord>() {
            space.write(TaskRecord {
                kind: Kind::Task as u8,
                direction: direction as u8,
                zero: 0,
                pid: current.pid(),
                time_ns: now,
                task: id,
                creator: if plan.creator == 0 { 0 } else { word(goroutine, plan.creator) },
                start: word(goroutine, plan.start),
                last_id,
                next_id,
            });
            space.submit(submit_flags(false));
        } else {
            count(KernelCounter::LostData, 1);
        }
        id
    }
}

/// Bounds of the stack of what should be a goroutine; zeros if it cannot be read.
#[inline(always)]
unsafe fn stack_of(goroutine: u64) -> [u64; 2] {
    let mut stack = [0u64; 2];
    // SAFETY: the helper checks the address, and writes zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut stack).cast(), 16, goroutine as *const c_void) };
    stack
}

/// Reads a word of the process's memory; 0 if it cannot be read.
#[inline(always)]
unsafe fn word(base: u64, offset: u32) -> u64 {
    let address = base.wrapping_add(i64::from(offset as i32) as u64);
    let mut value = 0u64;
    // SAFETY: the helper checks the address, and writes zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const c_void) };
    value
}
