//! Goroutines.
//!
//! In a system call, R14 holds the `g` of the goroutine that makes it. Its first two words are the bounds of its stack,
//! which hold the stack pointer: in C code and on a thread's own stack they do not.
//!
//! `net/http` sends client requests on a goroutine of the connection (its write loop). The request's own goroutine waits
//! for it on a channel, which lies at one distance from the end of the write loop's stack, beside the request.
//!
//! `net/http` makes a context for each connection that it serves, and below it one for each request. A client request
//! that carries a context made below these is for that request, whichever goroutine makes it. The goroutine that serves a
//! connection has the connection (`http.conn`) at one distance from the end of its stack.

use aya_ebpf::{bindings::pt_regs, macros::map, maps::LruHashMap};
use tracer_common::{GoPlan, GoTask, KernelCounter, RUNTIME_GO};

use super::base::{Part, tell, word, words};
use crate::{memory::arch::first_argument, ring::count, select::Current};

/// The goroutine that serves each connection, by process and address of the connection's context.
#[map]
static CONTEXTS: LruHashMap<[u64; 2], u64> = LruHashMap::with_max_entries(8192, 0);

/// Mark of a task that is known by the context of a client request.
pub(super) const BY_CONTEXT: u64 = 1 << 62;

/// Distance of the connection that a goroutine serves from the end of its stack.
const SERVED: u32 = 72;
/// `http.conn.cancelCtx`, a closure, and the connection's context that it holds.
const CANCEL: u32 = 8;
const CANCELLED: u32 = 8;
/// `http.conn.rwc`: the data, a `net.TCPConn`, which begins with the address of the `net.netFD`.
const SOCKET: u32 = 24;
/// `poll.FD.Sysfd`, in the beginning of `net.netFD`.
const FD: u32 = 16;
/// The data of the context above one: contexts of the standard library begin with that context.
const ABOVE: u32 = 8;
/// `context.cancelCtx.err`: why it was cancelled.
const ERROR: u32 = 48;
/// Contexts above the one of a client request that are followed.
const LEVELS: u32 = 10;

/// The number of the goroutine that reads a request. Tells about it.
#[inline(always)]
pub(super) unsafe fn received(plan: &GoPlan, registers: *const pt_regs, current: Current, now: u64) -> u64 {
    // SAFETY: the caller's registers; user memory is read through helpers.
    unsafe {
        let (goroutine, end) = running(registers);
        let id = if end == 0 { 0 } else { word(goroutine, plan.id) };
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        if plan.context != 0 {
            serves(current.pid(), end, first_argument(registers), id);
        }
        tell_of(plan, registers, current, Part::ServerRequest, now, (id, goroutine, 0));
        id
    }
}

/// The number of the goroutine that sends, or for which the running call sends. Tells about it if it sends a client request.
#[inline(always)]
pub(super) unsafe fn sent(
    plan: &GoPlan,
    registers: *const pt_regs,
    current: Current,
    part: Part,
    now: u64,
) -> u64 {
    // SAFETY: as in `received`.
    unsafe {
        let Sender { goroutine, context } = sender(plan, registers);
        let mut id = if goroutine == 0 { 0 } else { word(goroutine, plan.id) };
        if part == Part::ServerResponse {
            return id;
        }
        let serving = if context == 0 { 0 } else { tracer_go_serving(u64::from(current.pid()), context) };
        if id == 0 {
            // The caller does not wait yet. Its context may tell.
            id = serving;
        }
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        tell_of(plan, registers, current, part, now, (id, goroutine, serving));
        id
    }
}

/// Tells about a goroutine, by its number and the address of its `runtime.g` (0 if only its number is known), and which one
/// serves the context of its client request (0 if none does).
#[inline(always)]
unsafe fn tell_of(
    plan: &GoPlan,
    registers: *const pt_regs,
    current: Current,
    part: Part,
    now: u64,
    (id, goroutine, serving): (u64, u64, u64),
) {
    // SAFETY: as in `received`.
    unsafe {
        let running = (*registers).r14;
        let thread = word(running, plan.thread);
        let (mut last_id, mut next_id) = (0, 0);
        if plan.last_id != 0 && word(thread, plan.running) == running {
            last_id = word(plan.last_id, 0);
            next_id = word(word(thread, plan.processor), plan.next_id);
        }
        let creator = if goroutine == 0 || plan.creator == 0 { 0 } else { word(goroutine, plan.creator) };
        let start = if goroutine == 0 { 0 } else { word(goroutine, plan.start) };
        let facts = GoTask { creator, start, last_id, next_id, serving }.facts();
        tell(RUNTIME_GO, current, part, now, id, facts);
    }
}

/// The number of the goroutine for which the running call sends, or (`context`) the data of the context that it carries.
#[inline(always)]
pub(super) unsafe fn sending_task(plan: &GoPlan, registers: *const pt_regs, context: bool) -> u64 {
    // SAFETY: as in `received`.
    unsafe {
        let sender = sender(plan, registers);
        if context {
            return sender.context;
        }
        if sender.goroutine == 0 { 0 } else { word(sender.goroutine, plan.id) }
    }
}

/// Who sends.
struct Sender {
    /// The goroutine that makes the running call, or waits for it: the address of its `runtime.g`. 0 if it does not wait
    /// yet, or if none can be told.
    goroutine: u64,
    /// The data of the context of the client request that is sent; 0 if it is not known.
    context: u64,
}

/// The goroutine that makes the running call, and the end of its stack; zeros if none does.
#[inline(always)]
unsafe fn running(registers: *const pt_regs) -> (u64, u64) {
    // SAFETY: as in `received`.
    let (goroutine, stack_pointer) = unsafe { ((*registers).r14, (*registers).rsp) };
    let [begin, end] = words(goroutine, 0);
    if stack_pointer < begin || stack_pointer >= end { (0, 0) } else { (goroutine, end) }
}

#[inline(always)]
unsafe fn sender(plan: &GoPlan, registers: *const pt_regs) -> Sender {
    // SAFETY: as in `received`.
    unsafe {
        let (goroutine, end) = running(registers);
        let is_write_loop =
            end != 0 && plan.write_loop != 0 && word(goroutine, plan.start) == plan.write_loop;
        if !is_write_loop {
            return Sender { goroutine, context: 0 };
        }
        let channel = word(end, 0u32.wrapping_sub(plan.written));
        let mut context = 0;
        if plan.context != 0 {
            // `writeRequest.req`, a `transportRequest`, begins with the address of the request.
            let request = word(word(end, 0u32.wrapping_sub(plan.written + 8)), 0);
            context = word(request, plan.context);
        }
        let waiting = word(channel, plan.receivers);
        if waiting == 0 || word(waiting, plan.channel) != channel {
            return Sender { goroutine: 0, context };
        }
        let caller = word(waiting, 0);
        let [begin, end_of_caller] = words(caller, 0);
        Sender { goroutine: if begin < end_of_caller { caller } else { 0 }, context }
    }
}

/// Keeps which goroutine serves the connection that has just read a request from `fd`.
#[inline(always)]
unsafe fn serves(pid: u32, end: u64, fd: u64, id: u64) {
    let connection = word(end, 0u32.wrapping_sub(SERVED));
    if word(word(word(connection, SOCKET), 0), FD) as u32 != fd as u32 {
        return;
    }
    let key = [u64::from(pid), word(word(connection, CANCEL), CANCELLED)];
    // SAFETY: a live map value.
    if key[1] != 0 && unsafe { CONTEXTS.get(&key) } != Some(&id) {
        let _ = CONTEXTS.insert(&key, &id, 0);
    }
}

/// The goroutine that serves the request for which this context was made, or one above it; 0 if there is none, or if the
/// request's context was cancelled: then its handler has returned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_go_serving(pid: u64, context: u64) -> u64 {
    let (mut below, mut at, mut level) = (0, context, 0);
    while level < LEVELS {
        if at == 0 {
            return 0;
        }
        let key = [pid, at];
        // SAFETY: a live map value.
        if let Some(id) = unsafe { CONTEXTS.get(&key) } {
            let is_alive = below != 0 && word(below, ERROR) == 0;
            return if is_alive { *id } else { 0 };
        }
        below = at;
        at = word(at, ABOVE);
        level += 1;
    }
    0
}
