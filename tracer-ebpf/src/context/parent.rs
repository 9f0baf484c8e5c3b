//! Finds the parent of a client request. The rules are those of the agent, as far as they can be decided before the
//! request leaves.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::{
    EVIDENCE_PROXY, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT, MAX_STATE, PROFILE_DEFERRED, PROFILE_GOROUTINES,
    PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST, PROFILE_THREADS, RECEIVE,
};

use crate::{
    context::{
        filed::FILED,
        process::{PROFILES, SERVING, Serving, UNSEEN_NS, called, is_idle},
        request::{LONG_HEADS, REQUESTS, Request, is_open},
        thread::{slot_of, working, works_for_another},
    },
    http::{Text as _, TextMut as _, head::Head, tracestate::join},
    ids::{
        CHILD, ClientRequest, OTHER_CONTEXT, REFUSED, ROOT, ROOT_IF_IDLE, ServedRequest, root_flags, wire_key,
    },
    memory::{
        atomic,
        layout::{reads_other_contexts, samples_by_parent, trace_id},
        words::{copy, read_now},
    },
    runtime::{evidence_of, has_plan, serving_task, tracer_sending_task},
    scratch::{Scratch, scratch_at, tracer_trace_parent, tracer_tracestate},
    select::Current,
};

/// Writes the server request that a proxy's thread works for when it opens a connection: the parent of the first client
/// request on the connection. Writes none for other processes.
#[inline(always)]
pub(crate) unsafe fn of_thread(current: Current, to: &mut ServedRequest) {
    // SAFETY: as the callee's.
    unsafe {
        if PROFILES.get(&current.pid()) != Some(&PROFILE_PROXY) || !proxy_parent(current, to) {
            to.connection = 0;
        }
    }
}

/// Finds the parent of a proxy's client request: the server request that the thread read last, if the proxy has sent no
/// client request for it yet, and no other server request waits for one. Returns whether there is one.
#[inline(always)]
unsafe fn proxy_parent(current: Current, served: &mut ServedRequest) -> bool {
    // SAFETY: live map values.
    unsafe {
        if !working(current, served) || served.used != 0 || served.connection == 0 || !is_open(served) {
            return false;
        }
        let Some(request) = REQUESTS.get_ptr_mut(served.slot) else { return false };
        let Some(serving) = SERVING.get_ptr_mut(current.pid()) else { return false };
        let waits = (*request).state == Request::OPEN;
        if read_now(&raw const (*serving).waiting) != u64::from(waits) {
            return false;
        }
        if waits {
            let was = atomic::set_half(&raw mut (*request).state, Request::CALLED);
            if was & Request::ANSWERED != 0 {
                return false;
            }
            if was == Request::OPEN {
                atomic::add(&raw mut (*serving).waiting, u64::MAX);
            }
        }
        // If another thread has taken the slot, the next client request of that thread gets no parent.
        if let Some(working) = slot_of(current) {
            core::ptr::write_volatile(&raw mut (*working).served.used, 1);
        }
    }
    true
}

/// Finds the parent of the client request in a scratch buffer, and the parent's trace context. `thread` sends the
/// client request. `client.parent` is none unless this function returns [`CHILD`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_parent(index: u64, thread: u64) -> u64 {
    let Some(scratch) = scratch_at(index) else { return ROOT };
    // SAFETY: a live map value that the caller has taken; no reference to it outlives a call.
    unsafe {
        (*scratch).client.state_length = 0;
        let mut found = candidate(&mut (*scratch).client, Current::of(thread));
        if found == CHILD {
            found = context(scratch, index);
        }
        if found == ROOT_IF_IDLE {
            found = if is_idle(Current::of(thread).pid()) { ROOT } else { REFUSED };
        }
        if found != CHILD {
            (*scratch).client.parent.connection = 0;
        }
        found
    }
}

/// Finds the parent of a client request by the profile of its process, without the parent's trace context.
#[inline(always)]
unsafe fn candidate(client: &mut ClientRequest, current: Current) -> u64 {
    // SAFETY: live map values; values that another thread may change meanwhile are checked again.
    unsafe {
        client.parent.connection = 0;
        // The agent has not yet set the profile of a new process.
        let profile = PROFILES.get(&current.pid()).copied().unwrap_or(PROFILE_DEFERRED);
        match profile {
            PROFILE_THREADS => {
                if !working(current, &mut client.parent) {
                    // Another thread may have taken the slot.
                    let is_taken =
                        slot_of(current).is_some_and(|working| read_now(&raw const (*working).thread) != 0);
                    return if is_taken { ROOT_IF_IDLE } else { ROOT };
                }
                if client.parent.shared != 0 {
                    return ROOT;
                }
                client.evidence = u64::from(EVIDENCE_UNIT);
            }
            PROFILE_GOROUTINES => {
                let own = tracer_sending_task(u64::from(current.pid()), 0);
                let is_its_own = own != 0
                    && working(current.of_task(own), &mut client.parent)
                    && client.parent.shared == 0
                    && is_open(&client.parent);
                let context = tracer_sending_task(u64::from(current.pid()), 1);
                let of_context = serving_task(current, context);
                // A goroutine with a request of its own that calls for another may work for both.
                let is_both =
                    is_its_own && of_context != 0 && current.of_task(of_context) != current.of_task(own);
                let task = if of_context == 0 || is_its_own { own } else { of_context };
                if is_both
                    || !is_its_own && !working(current.of_task(task), &mut client.parent)
                    || task == 0
                    || client.parent.shared != 0
                {
                    return ROOT_IF_IDLE;
                }
                client.evidence = evidence_of(task);
            }
            PROFILE_PROXY => {
                let task =
                    if has_plan(current) { tracer_sending_task(u64::from(current.pid()), 0) } else { 0 };
                if task != 0 {
                    if !working(current.of_task(task), &mut client.parent) {
                        return ROOT_IF_IDLE;
                    }
                    client.evidence = evidence_of(task);
                } else if client.opened_for.connection != 0 {
                    copy(&client.opened_for, &mut client.parent);
                } else if !proxy_parent(current, &mut client.parent) {
                    return ROOT_IF_IDLE;
                }
                if task == 0 {
                    client.evidence = u64::from(EVIDENCE_PROXY);
                }
            }
            PROFILE_SOLE_REQUEST | PROFILE_SOLE_OWN => {
                let Some(serving) = SERVING.get_ptr(current.pid()) else { return ROOT };
                let (open, opened) =
                    (read_now(&raw const (*serving).open), read_now(&raw const (*serving).opened));
                copy(&(*serving).last, &mut client.parent);
                if open == 0 {
                    return ROOT;
                }
                let is_sole = open == 1
                    && read_now(&raw const (*serving).open) == 1
                    && read_now(&raw const (*serving).opened) == opened;
                // A thread that reads requests may still work for its last request, and a greenlet works for no other.
                let task =
                    if has_plan(current) { tracer_sending_task(u64::from(current.pid()), 0) } else { 0 };
                let is_free = task == 0 && profile == PROFILE_SOLE_REQUEST
                    || !works_for_another(current.of_task(task), &client.parent);
                // Read after the counts: `lost` sets the time before it decreases the count.
                let is_lost =
                    bpf_ktime_get_ns() < read_now(&raw const (*serving).lost_ns).wrapping_add(UNSEEN_NS);
                let key = called(current.pid(), client.remote);
                if !is_sole
                    || !is_free
                    || is_lost
                    || client.was_idle != 0
                    || !Serving::may_call(serving, opened, key)
                {
                    return REFUSED;
                }
                client.evidence = u64::from(EVIDENCE_SOLE_REQUEST);
            }
            PROFILE_DEFERRED => return ROOT_IF_IDLE,
            _ => return ROOT,
        }
        // A thread that has read bytes that are no request may work for those.
        if client.parent.connection == 0 { ROOT_IF_IDLE } else { CHILD }
    }
}

/// Reads the trace context of `client.parent` in a scratch buffer.
#[inline(always)]
unsafe fn context(scratch: *mut Scratch, index: u64) -> u64 {
    /// Least bytes of a `tracestate` that are written. A shorter one is padded with spaces, which are not part of the
    /// value.
    const LEAST: u32 = 8;
    // SAFETY: live map values; the check at the end shows that they belonged to this request all the time.
    unsafe {
        let ServedRequest { connection: number, position, slot, .. } = (*scratch).client.parent;
        if !is_open(&(*scratch).client.parent) {
            // It was answered. Or another request has taken its slot; then it may still be open.
            let was_lost = REQUESTS
                .get_ptr(slot)
                .is_some_and(|request| core::ptr::read_volatile(&raw const (*request).number) != number);
            return if was_lost { ROOT_IF_IDLE } else { ROOT };
        }
        let Some(request) = REQUESTS.get_ptr(slot) else { return ROOT };
        let mut from = &raw const (*request).data as u64;
        let length = (*request).length;
        if (*request).long != 0 {
            let Some(long) = LONG_HEADS.get_ptr((*request).long - 1) else { return REFUSED };
            from = &raw const (*long).data as u64;
        }
        if !Scratch::look(scratch, index, from, length) {
            return REFUSED;
        }
        if (*scratch).head.flags & Head::NOT_HTTP != 0 {
            return ROOT;
        }
        // An odd head: two readers could understand it differently, so its trace context is not used.
        if (*scratch).head.flags & Head::ODD != 0 {
            return REFUSED;
        }
        // If the head is incomplete, a header may be in the missing part. If bytes follow the message, they may be
        // another request.
        let expected = u64::from((*scratch).head.head) + (*scratch).head.body;
        if (*scratch).head.head == 0
            || (*scratch).head.flags & Head::CHUNKED == 0 && u64::from((*request).received) > expected
        {
            return REFUSED;
        }
        match (*scratch).head.parents == 1 && tracer_trace_parent(index) != 0 {
            true => {
                let ClientRequest { found, ids, .. } = &mut (*scratch).client;
                copy(found, ids);
                if !samples_by_parent() {
                    ids.flags = ids.flags & 2 | root_flags(ids.trace[1]) & 1;
                }
                let (begin, length) = join(&(*scratch).head, &mut (*scratch).text);
                if length != 0
                    && length <= MAX_STATE
                    && tracer_tracestate(index, u64::from(begin), u64::from(length)) != 0
                {
                    (*scratch).client.state_begin = begin;
                    (*scratch).client.state_length = length;
                    if length < LEAST {
                        let kept = (1 << (length * 8 & 63)) - 1;
                        let word = (*scratch).text.word(u64::from(begin));
                        (*scratch).text.put(u64::from(begin), word & kept | 0x2020_2020_2020_2020 & !kept);
                        (*scratch).client.state_length = LEAST;
                    }
                }
            }
            false if reads_other_contexts() && (*scratch).head.flags & Head::OTHER_CONTEXT != 0 => {
                return OTHER_CONTEXT;
            }
            false => {
                let wire = wire_key(position, (*request).answer_at);
                match FILED.get(&wire) {
                    // The other end is a client request of this host whose parent is unknown.
                    Some(ids) if ids.span == 0 => return REFUSED,
                    // The other end is a client request of this host without a header.
                    Some(ids) => copy(ids, &mut (*scratch).client.ids),
                    None => {
                        (*scratch).client.ids.trace = trace_id(number, RECEIVE, position);
                        (*scratch).client.ids.flags = root_flags((*scratch).client.ids.trace[1]);
                    }
                }
                (*scratch).client.ids.span = 0;
            }
        }
        if let Some(long) = LONG_HEADS.get_ptr((*request).long.wrapping_sub(1))
            && ((*long).number != number || (*long).position != u64::from(position))
        {
            return REFUSED;
        }
        if is_open(&(*scratch).client.parent) { CHILD } else { REFUSED }
    }
}
