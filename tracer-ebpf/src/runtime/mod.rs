//! The runtime's own task that makes a call: a goroutine, a request of nginx, an asyncio task. It is read from the process's memory, where
//! the agent has made a plan for the process. Each read is checked; what does not fit gives no task.

mod go;
mod nginx;
mod python;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, pt_regs},
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
    macros::map,
    maps::{Array, HashMap},
};
use tracer_common::{
    EVIDENCE_CONTEXT, EVIDENCE_GOROUTINE, EVIDENCE_REQUEST_STRUCTURE, GoPlan, KernelCounter, Kind,
    PLAN_WORDS, PythonPlan, RECEIVE, RUNTIME_GO, RUNTIME_NGINX, RUNTIME_PYTHON, SELECTION_WORDS, SEND,
    TASK_FACTS, TaskRecord,
};

use crate::{
    memory::arch::is_compat,
    ring::{count, reserve, submit_flags},
    select::Current,
};

/// How the tasks of a process are read.
#[repr(C)]
struct Plan {
    /// `RUNTIME_*`.
    runtime: u64,
    /// What it takes to read its tasks.
    words: [u64; PLAN_WORDS],
}

impl Plan {
    /// Of a Go program.
    #[inline(always)]
    fn go(&self) -> *const GoPlan {
        (&raw const self.words).cast()
    }

    /// Of a Python program.
    #[inline(always)]
    fn python(&self) -> *const PythonPlan {
        (&raw const self.words).cast()
    }
}

/// Plans, by process.
#[map]
static PLANS: HashMap<u32, Plan> = HashMap::with_max_entries(1024, 1);

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

/// Whether a request that this task reads is also its thread's: the thread's rules hold where the task is not known.
#[inline(always)]
pub(crate) fn is_of_thread_too(task: u64) -> bool {
    task & nginx::CLIENT != 0
}

/// The evidence that this task is.
#[inline(always)]
pub(crate) fn evidence_of(task: u64) -> u64 {
    u64::from(if task & nginx::CLIENT != 0 {
        EVIDENCE_REQUEST_STRUCTURE
    } else if task & go::BY_CONTEXT != 0 {
        EVIDENCE_CONTEXT
    } else {
        EVIDENCE_GOROUTINE
    })
}

/// The part of an exchange that a call begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A process reads a server request.
    ServerRequest,
    /// It sends the response to one.
    ServerResponse,
    /// It sends a client request.
    ClientRequest,
    /// It reads the response to one.
    ClientResponse,
}

impl Part {
    /// The part that the first bytes of a turn are.
    #[inline(always)]
    pub(crate) fn of(direction: u8, is_client: bool) -> Self {
        match (direction == SEND, is_client) {
            (false, false) => Self::ServerRequest,
            (true, false) => Self::ServerResponse,
            (true, true) => Self::ClientRequest,
            (false, true) => Self::ClientResponse,
        }
    }

    #[inline(always)]
    fn direction(self) -> u8 {
        if matches!(self, Self::ServerRequest | Self::ClientResponse) { RECEIVE } else { SEND }
    }
}

/// The task that makes the running call, which begins a `part` ([`Part`]); 0 if it is not known. Tells the agent about it
/// if the part is a request.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_task(part: u64, now: u64) -> u64 {
    let part = match part {
        0 => Part::ServerRequest,
        1 => Part::ServerResponse,
        2 => Part::ClientRequest,
        _ => Part::ClientResponse,
    };
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    // SAFETY: a live map value; typed pointers; user memory is read through helpers.
    unsafe {
        let plan = &*plan;
        let Some(registers) = registers() else { return 0 };
        match plan.runtime {
            RUNTIME_GO => go::task(&*plan.go(), registers, current, part, now),
            RUNTIME_NGINX => nginx::task(registers, part),
            _ => 0,
        }
    }
}

/// As [`tracer_task`], of a call that sends: an asyncio task. A loop reads what comes for its tasks.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_loop_task(is_client: u64, now: u64) -> u64 {
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    let part = if is_client != 0 { Part::ClientRequest } else { Part::ServerResponse };
    // SAFETY: as in `tracer_task`.
    unsafe { if (*plan).runtime == RUNTIME_PYTHON { python::task(&*plan, current, part, now) } else { 0 } }
}

/// The task for which the running call of process `pid` sends a client request; 0 if it is not known. If `context` is not
/// 0, the context that the client request carries, for [`serving_task`]. Programs that may not ask for the process (before
/// 6.10: `sock_ops`) call this too.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_sending_task(pid: u64, context: u64) -> u64 {
    let Some(plan) = PLANS.get_ptr(pid as u32) else { return 0 };
    // SAFETY: as in `tracer_task`.
    unsafe {
        let plan = &*plan;
        let Some(registers) = registers() else { return 0 };
        match plan.runtime {
            RUNTIME_GO => go::sending_task(&*plan.go(), registers, context != 0),
            RUNTIME_NGINX if context == 0 => nginx::task(registers, Part::ClientRequest),
            _ => 0,
        }
    }
}

/// The task that serves the request whose context this is, or is above it; 0 if it is not known.
#[inline(always)]
pub(crate) fn serving_task(current: Current, context: u64) -> u64 {
    match if context == 0 { 0 } else { go::tracer_go_serving(u64::from(current.pid()), context) } {
        0 => 0,
        task => task | go::BY_CONTEXT,
    }
}

/// The registers of the running system call, if 64-bit code makes it.
#[inline(always)]
unsafe fn registers() -> Option<*const pt_regs> {
    // SAFETY: helpers without side effects; the verifier knows what they return.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        (!is_compat(registers)).then_some(registers)
    }
}

/// Tells the agent about a task.
#[inline(always)]
fn tell(runtime: u64, current: Current, part: Part, now: u64, task: u64, facts: [u64; TASK_FACTS]) {
    let Some(mut space) = reserve::<TaskRecord>() else {
        count(KernelCounter::LostData, 1);
        return;
    };
    space.write(TaskRecord {
        kind: Kind::Task as u8,
        direction: part.direction(),
        runtime: runtime as u8,
        zero: 0,
        pid: current.pid(),
        time_ns: now,
        task,
        facts,
    });
    space.submit(submit_flags(false));
}

/// Reads two words of the process's memory; zeros if they cannot be read.
#[inline(always)]
fn words(base: u64, offset: u32) -> [u64; 2] {
    [word(base, offset), word(base, offset.wrapping_add(8))]
}

/// Reads a word of the process's memory; 0 if it cannot be read.
#[inline(always)]
fn word(base: u64, offset: u32) -> u64 {
    tracer_word(base.wrapping_add(i64::from(offset as i32) as u64))
}

/// Reads the word at this address of the process's memory; 0 if it cannot be read. It is a function of its own, because
/// it is called often.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the address, and writes zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const c_void) };
    value
}
