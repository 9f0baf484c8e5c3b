//! The runtime's own task that makes a call: a goroutine, a virtual thread, a request of nginx, an asyncio task, a callback
//! of Node's event loop. It is read from the process's memory, where the agent has made a plan for the process. Each read is checked; what
//! does not fit gives no task.

mod base;
mod go;
mod java;
mod nginx;
mod node;
mod python;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap},
};
use tracer_common::{
    EVIDENCE_CONTEXT, EVIDENCE_GOROUTINE, EVIDENCE_REQUEST_STRUCTURE, EVIDENCE_UNIT, EVIDENCE_VIRTUAL_THREAD,
    GREENLET, RUN_CONNECT, RUN_OTHER, RUNTIME_GO, RUNTIME_GREENLETS, RUNTIME_JAVA, RUNTIME_NGINX,
    RUNTIME_NODE, RUNTIME_PYTHON, SELECTION_WORDS, VIRTUAL_THREAD,
};

pub(crate) use self::base::Part;
use self::base::{Plan, registers};
use crate::select::Current;

/// Plans, by process.
#[map]
static PLANS: HashMap<u32, Plan> = HashMap::with_max_entries(16_384, 1);

/// One bit per process id of the initial namespace: there is a plan for the process. The agent sets the bits.
#[map]
static PLANNED: Array<u64> = Array::with_max_entries(SELECTION_WORDS, BPF_F_MMAPABLE);

/// As [`PLANNED`], of the processes of which each receive is looked at.
#[map]
static FOLLOWED: Array<u64> = Array::with_max_entries(SELECTION_WORDS, BPF_F_MMAPABLE);

/// Whether there is a plan for the process of this thread.
#[inline(always)]
pub(crate) fn has_plan(current: Current) -> bool {
    is_set(&PLANNED, current)
}

/// Whether each receive of the process is looked at.
#[inline(always)]
pub(crate) fn is_followed(current: Current) -> bool {
    is_set(&FOLLOWED, current)
}

#[inline(always)]
fn is_set(bits: &Array<u64>, current: Current) -> bool {
    let pid = current.pid();
    match bits.get_ptr(pid / 64) {
        // SAFETY: a live map value; a torn read is impossible for one word.
        Some(word) => (unsafe { core::ptr::read_volatile(word) }) >> (pid % 64) & 1 != 0,
        None => false,
    }
}

/// Whether a request that this task reads is also its thread's: the thread's rules hold where the task is not known, as of
/// threads of Java that could not be read.
#[inline(always)]
pub(crate) fn is_of_thread_too(task: u64) -> bool {
    nginx::is_client(task) || task == VIRTUAL_THREAD
}

/// The evidence that this task is.
#[inline(always)]
pub(crate) fn evidence_of(task: u64) -> u64 {
    u64::from(if nginx::is_client(task) {
        EVIDENCE_REQUEST_STRUCTURE
    } else if task & go::BY_CONTEXT != 0 {
        EVIDENCE_CONTEXT
    } else if task & GREENLET != 0 {
        EVIDENCE_UNIT
    } else if task & VIRTUAL_THREAD != 0 {
        EVIDENCE_VIRTUAL_THREAD
    } else {
        EVIDENCE_GOROUTINE
    })
}

/// Of a call: the process is the client of its connection.
pub(crate) const IS_CLIENT: u64 = 1;
/// The call does not begin a message, but continues it.
pub(crate) const CONTINUES: u64 = 2;
/// The call is none of a connection that is followed.
pub(crate) const OTHER: u64 = 4;
/// The task that read an earlier request of the connection was known.
pub(crate) const KNOWN: u64 = 8;

/// The task that makes the running call, which receives (`how`: [`IS_CLIENT`] and the others); 0 if it is not
/// known. Tells the agent about it if a request is received.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_received_task(how: u64, now: u64, connection: u64) -> u64 {
    let is_client = how & IS_CLIENT != 0;
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    // SAFETY: a live map value; typed pointers; user memory is read through helpers.
    unsafe {
        let plan = &*plan;
        if plan.runtime == RUNTIME_NODE {
            let part = if is_client { Part::ClientResponse } else { Part::ServerRequest };
            let kind = if how & OTHER != 0 { RUN_OTHER } else { part as u8 };
            node::run(&*plan.node(), current, kind, how & CONTINUES == 0, now, connection);
            return 0;
        }
        let Some(registers) = registers() else { return 0 };
        match plan.runtime {
            RUNTIME_GO if !is_client => go::received(&*plan.go(), registers, current, now, how & KNOWN == 0),
            RUNTIME_NGINX if !is_client => nginx::client(registers),
            RUNTIME_GREENLETS if !is_client => python::greenlet(&*plan.python()),
            RUNTIME_JAVA if !is_client => java::running(&*plan.java(), registers),
            _ => 0,
        }
    }
}

/// As [`tracer_received_task`], of a call that sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_sent_task(how: u64, now: u64, connection: u64) -> u64 {
    let part = if how & IS_CLIENT != 0 { Part::ClientRequest } else { Part::ServerResponse };
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    // SAFETY: as in `tracer_received_task`.
    unsafe {
        let plan = &*plan;
        if plan.runtime == RUNTIME_NODE {
            node::run(&*plan.node(), current, part as u8, how & CONTINUES == 0, now, connection);
            return 0;
        }
        let Some(registers) = registers() else { return 0 };
        match plan.runtime {
            RUNTIME_GO => go::sent(&*plan.go(), registers, current, part, now),
            RUNTIME_NGINX if part == Part::ServerResponse => nginx::client(registers),
            RUNTIME_NGINX => nginx::sending_task(registers),
            RUNTIME_GREENLETS => python::greenlet(&*plan.python()),
            RUNTIME_JAVA => java::running(&*plan.java(), registers),
            _ => 0,
        }
    }
}

/// As [`tracer_sent_task`]: the event loop begins to establish a connection.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_connecting_task(now: u64, connection: u64) -> u64 {
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    // SAFETY: as in `tracer_received_task`.
    unsafe {
        let plan = &*plan;
        if plan.runtime == RUNTIME_NODE {
            node::run(&*plan.node(), current, RUN_CONNECT, true, now, connection);
        }
    }
    0
}

/// As [`tracer_sent_task`]: an asyncio task. A loop reads what comes for its tasks.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_loop_task(how: u64, now: u64) -> u64 {
    let current = Current::any();
    let Some(plan) = PLANS.get_ptr(current.pid()) else { return 0 };
    let part = if how & IS_CLIENT != 0 { Part::ClientRequest } else { Part::ServerResponse };
    // SAFETY: as in `tracer_received_task`.
    unsafe { if (*plan).runtime == RUNTIME_PYTHON { python::task(&*plan, current, part, now) } else { 0 } }
}

/// The task for which the running call of process `pid` sends a client request; 0 if it is not known. If `context` is not
/// 0, the context that the client request carries, for [`serving_task`]. Programs that may not ask for the process (before
/// 6.10: `sock_ops`) call this too.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_sending_task(pid: u64, context: u64) -> u64 {
    let Some(plan) = PLANS.get_ptr(pid as u32) else { return 0 };
    // SAFETY: as in `tracer_received_task`.
    unsafe {
        let plan = &*plan;
        let Some(registers) = registers() else { return 0 };
        match plan.runtime {
            RUNTIME_GO => go::sending_task(&*plan.go(), registers, context != 0),
            RUNTIME_NGINX if context == 0 => nginx::sending_task(registers),
            RUNTIME_GREENLETS if context == 0 => python::greenlet(&*plan.python()),
            RUNTIME_JAVA if context == 0 => java::sending_task(&*plan.java(), registers),
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
