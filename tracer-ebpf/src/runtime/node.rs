//! Callbacks of Node's event loop.
//!
//! JavaScript runs to completion: what a callback sends is caused by what it was called for. The main thread's stack has
//! `uv_run`, `uv__io_poll` and the callback at the same addresses all the time, so that their return addresses tell the
//! phase of the loop, and what the callback saves tells its socket. Node's async ids are four numbers in one place.
//!
//! Nothing is decided here: the agent compares what is told of a send with what is told of the receive before it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user};
use tracer_common::{
    ABSENT, KernelCounter, Kind, NodePlan, RUN_ALONE, RUN_CHECKS, RUN_CLIENT_RESPONSE, RUN_SERVER_REQUEST,
    RunRecord, STACK_WORDS,
};

use super::base::{registers, word};
use crate::{
    memory::{
        arch::first_argument,
        layout::{load, offset},
    },
    ring::{count, reserve, submit_flags},
    select::Current,
};

/// Bytes of the words that are read of the stack.
const STACK_BYTES: u32 = 8 * STACK_WORDS as u32;

/// Tells what the loop does; `part` is one of `RUN_*`.
#[inline(always)]
pub(super) unsafe fn run(
    plan: &NodePlan,
    current: Current,
    part: u8,
    is_turn: bool,
    now: u64,
    connection: u64,
) {
    // Other threads have loops of their own.
    if current.tid() != current.pid() {
        return;
    }
    let Some(mut space) = reserve::<RunRecord>() else {
        count(KernelCounter::LostData, 1);
        return;
    };
    // SAFETY: typed pointers; the helpers check addresses of the process, and write zeros if they fail.
    unsafe {
        // Not on the stack, which is small.
        let place = space.as_mut_ptr();
        place.write_bytes(0, 1);
        (*place).kind = Kind::Run as u8;
        (*place).part = part;
        (*place).is_turn = u8::from(is_turn);
        (*place).pid = current.pid();
        (*place).time_ns = now;
        (*place).connection = connection;
        if offset!(task_reads) != u64::from(ABSENT) {
            let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
            (*place).reads = load(task, offset!(task_reads));
        } else {
            // No two numbers follow each other: no send is taken for one of the callback that has read.
            (*place).reads = now;
        }
        bpf_probe_read_user((&raw mut (*place).ids).cast(), 32, plan.ids as *const c_void);
        bpf_probe_read_user((&raw mut (*place).phase).cast(), 8, plan.phase as *const c_void);
        // Its descriptor leads to the watcher.
        if matches!(part, RUN_SERVER_REQUEST | RUN_CLIENT_RESPONSE)
            && let Some(registers) = registers()
        {
            let fd = first_argument(registers) & 0xffff_ffff;
            (*place).watcher = word(word(plan.watchers, 0).wrapping_add(8 * fd), 0);
            let [told, immediates] = plan.queues;
            if plan.checks != 0 && word(told, 0) == told && word(immediates, 0) == immediates {
                (*place).state = RUN_ALONE;
            }
        } else if plan.checks != 0 && (*place).phase == plan.checks {
            (*place).state = RUN_CHECKS;
        }
        if plan.turns != 0 {
            bpf_probe_read_user((&raw mut (*place).turns).cast(), 16, plan.turns as *const c_void);
        }
        let lowest = plan.site.wrapping_sub(u64::from(STACK_BYTES) - 8);
        bpf_probe_read_user((&raw mut (*place).stack).cast(), STACK_BYTES, lowest as *const c_void);
    }
    space.submit(submit_flags(false));
}
