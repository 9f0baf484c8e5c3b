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
use crate::{
    memory::{arch::first_argument, words::counted},
    ring::count,
    select::Current,
};

/// The goroutine that serves each connection, by process and address of the connection's context.
#[map]
static CONTEXTS: LruHashMap<[u64; 2], Serving> = LruHashMap::with_max_entries(8192, 0);

#[repr(C)]
struct Serving {
    /// Its number.
    goroutine: u64,
    /// The data of the context above that of the connection: nothing tells when a connection's context is freed, and Go
    /// makes contexts of requests in such places.
    above: u64,
}

/// Mark of a task that is known by the context of a client request.
pub(super) const BY_CONTEXT: u64 = 1 << 62;

/// Distance of the connection that a goroutine serves from the end of its stack.
const SERVED: u32 = 72;
/// `http.conn.cancelCtx`, a closure, and the connection's context that it holds.
const CANCEL: u32 = 8;
const CANCELLED: u32 = 8;
/// `poll.FD.Sysfd`, in the beginning of `net.netFD`.
const FD: u32 = 16;
/// The data of the context above one: contexts of the standard library begin with that context.
const ABOVE: u32 = 8;
/// `context.cancelCtx.err`: why it was cancelled.
const ERROR: u32 = 48;
/// Contexts above the one of a client request that are followed.
const LEVELS: u32 = 10;
/// The higher bits of an address are the same in the first 256 GiB of Go's heap, where goroutines and the contexts of requests
/// are. Programs and their static variables (`context.Background`) are elsewhere.
const HEAP_BITS: u32 = 38;

/// The number of the goroutine that reads a request. Tells about it. The first request of a connection tells which goroutine
/// serves it.
#[inline(always)]
pub(super) unsafe fn received(
    plan: &GoPlan,
    registers: *const pt_regs,
    current: Current,
    now: u64,
    is_first: bool,
) -> u64 {
    // SAFETY: the caller's registers; user memory is read through helpers.
    unsafe {
        let running = running::<THREAD>(registers);
        let id = if running.goroutine == 0 { 0 } else { word(running.goroutine, plan.id) };
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        if is_first && plan.context != 0 {
            serves(current.pid(), running.end, first_argument(registers), id);
        }
        tell_of(plan, &running, current, Part::ServerRequest, now, (id, running.goroutine, 0));
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
        let running = running::<THREAD>(registers);
        if part == Part::ServerResponse {
            return if running.goroutine == 0 { 0 } else { word(running.goroutine, plan.id) };
        }
        let Sender { goroutine, context } = sender(plan, &running);
        let mut id = if goroutine == 0 { 0 } else { word(goroutine, plan.id) };
        let serving = if context == 0 { 0 } else { tracer_go_serving(u64::from(current.pid()), context) };
        if id == 0 {
            // The caller does not wait yet. Its context may tell.
            id = serving;
        }
        if id == 0 {
            count(KernelCounter::TaskUnread, 1);
            return 0;
        }
        tell_of(plan, &running, current, part, now, (id, goroutine, serving));
        id
    }
}

/// Tells about a goroutine, by its number and the address of its `runtime.g` (0 if only its number is known), and which one
/// serves the context of its client request (0 if none does).
#[inline(always)]
unsafe fn tell_of(
    plan: &GoPlan,
    running: &Running,
    current: Current,
    part: Part,
    now: u64,
    (id, goroutine, serving): (u64, u64, u64),
) {
    let (mut last_id, mut next_id) = (0, 0);
    if plan.last_id != 0 && running.thread != 0 {
        // `runtime.m.curg` to `oldp`.
        let thread: [u64; 5] = words(running.thread, plan.running);
        if thread[0] == running.own {
            let processor = match plan.processor.wrapping_sub(plan.running) {
                24 => thread[3],
                32 => thread[4],
                _ => word(running.thread, plan.processor),
            };
            last_id = word(plan.last_id, 0);
            next_id = word(processor, plan.next_id);
        }
    }
    let (mut creator, mut start) = (0, 0);
    if goroutine != 0 {
        if plan.creator.wrapping_add(24) == plan.start {
            // `runtime.g.parentGoid` to `startpc`.
            [creator, _, _, start] = words(goroutine, plan.creator);
        } else {
            start = word(goroutine, plan.start);
        }
    }
    tell(RUNTIME_GO, current, part, now, id, GoTask { creator, start, last_id, next_id, serving }.facts());
}

/// The number of the goroutine for which the running call sends, or (`context`) the data of the context that it carries.
#[inline(always)]
pub(super) unsafe fn sending_task(plan: &GoPlan, registers: *const pt_regs, context: bool) -> u64 {
    // SAFETY: as in `received`.
    unsafe {
        let sender = sender(plan, &running::<STACK>(registers));
        if context {
            return sender.context;
        }
        if sender.goroutine == 0 { 0 } else { word(sender.goroutine, plan.id) }
    }
}

/// The goroutine that makes the running call.
struct Running {
    /// R14: its `runtime.g`, if the next field is not 0.
    own: u64,
    /// The same; 0 if no goroutine makes the call.
    goroutine: u64,
    /// The end of its stack.
    end: u64,
    /// `runtime.g.m`: the thread that runs it. 0 if that is not asked for.
    thread: u64,
}

/// Words of a `runtime.g` that have the bounds of its stack, and those up to its thread.
const STACK: usize = 2;
const THREAD: usize = 7;

/// Reads so many words of the goroutine: the stack of `sk_msg` has little room.
#[inline(always)]
unsafe fn running<const WORDS: usize>(registers: *const pt_regs) -> Running {
    // SAFETY: as in `received`.
    let (own, stack_pointer) = unsafe { ((*registers).r14, (*registers).rsp) };
    let read: [u64; WORDS] = words(own, 0);
    let (begin, end) = (read[0], read[1]);
    let goroutine = if stack_pointer < begin || stack_pointer >= end { 0 } else { own };
    Running { own, goroutine, end, thread: if WORDS == THREAD { read[WORDS - 1] } else { 0 } }
}

/// Who sends.
struct Sender {
    /// The goroutine that makes the running call, or waits for it: the address of its `runtime.g`. 0 if it does not wait
    /// yet, or if none can be told.
    goroutine: u64,
    /// The data of the context of the client request that is sent; 0 if it is not known.
    context: u64,
}

#[inline(always)]
unsafe fn sender(plan: &GoPlan, running: &Running) -> Sender {
    let &Running { goroutine, end, .. } = running;
    let is_write_loop =
        goroutine != 0 && plan.write_loop != 0 && word(goroutine, plan.start) == plan.write_loop;
    if !is_write_loop {
        return Sender { goroutine, context: 0 };
    }
    // `writeRequest.req`, a `transportRequest`, begins with the address of the request; behind it is the channel.
    let [request, channel] = words(end, 0u32.wrapping_sub(plan.written + 8));
    let mut context = if plan.context == 0 { 0 } else { word(word(request, 0), plan.context) };
    if (context ^ goroutine) >> HEAP_BITS != 0 {
        context = 0;
    }
    let waiting = word(channel, plan.receivers);
    if waiting == 0 || word(waiting, plan.channel) != channel {
        return Sender { goroutine: 0, context };
    }
    // `runtime.sudog.g`.
    Sender { goroutine: word(waiting, 0), context }
}

/// Keeps which goroutine serves the connection that has just read a request from `fd`.
#[inline(always)]
unsafe fn serves(pid: u32, end: u64, fd: u64, id: u64) {
    let connection = word(end, 0u32.wrapping_sub(SERVED));
    // Behind it `http.conn.rwc`: its second word is a `net.TCPConn`, which begins with the address of the `net.netFD`.
    let [cancel, _, socket] = words(connection, CANCEL);
    if word(word(socket, 0), FD) as u32 != fd as u32 {
        return;
    }
    let context = word(cancel, CANCELLED);
    let above = word(context, ABOVE);
    if above != 0 {
        let _ = CONTEXTS.insert(&[u64::from(pid), context], &Serving { goroutine: id, above }, 0);
    }
}

/// The goroutine that serves the request for which this context was made, or one above it; 0 if there is none, or if the
/// request's context was cancelled: then its handler has returned.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_go_serving(pid: u64, context: u64) -> u64 {
    let (mut below, mut at, mut level) = (0, context, 0);
    while level < LEVELS {
        if at == 0 || (at ^ context) >> HEAP_BITS != 0 {
            return 0;
        }
        let above = word(at, ABOVE);
        // SAFETY: a live map value.
        if let Some(serving) = unsafe { CONTEXTS.get(&[pid, at]) }
            && serving.above == above
        {
            let is_alive = below != 0 && word(below, ERROR) == 0;
            return if is_alive { serving.goroutine } else { 0 };
        }
        (below, at) = (at, above);
        level = counted(level);
    }
    0
}
