//! Insertion of headers into a message, and the rewrite of a header.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::{bpf_loop, bpf_msg_pop_data, bpf_msg_pull_data, bpf_msg_push_data},
};
use tracer_common::{InjectionOutcome, MAX_STATE, PARENT_BYTES};

use crate::{
    connection::Connection,
    http::{
        Text as _,
        traceparent::{Ids, hex},
    },
    ids::NONE,
    memory::{
        layout::{load, offset},
        words::store_at,
    },
    propagate::{outgoing::Outgoing, report::told_of},
    scratch::Scratch,
    select::Current,
};

/// Longest head with the inserted header; servers accept 8 KiB.
pub(crate) const LONGEST_WITH_HEADER: u32 = 7680;

/// `__SK_PASS`.
pub(crate) const PASS: u32 = 1;

/// `__SK_DROP`: the send fails.
const DROP: u32 = 0;

/// Whether the inserted bytes, which end at this offset, leave in one piece with what is before them, or not at all.
///
/// When memory runs out in the middle of a message, `tcp_bpf_push` sends a part of it, and `tcp_bpf_send_verdict` takes
/// the rest off the result that the application gets, inserted bytes included. Behind the inserted bytes that is right;
/// before their end, the application would send bytes twice. The first segment of an empty queue always gets its
/// memory: `tcp_wmem_schedule` and `tcp_stream_alloc_skb` force it, up to `tcp_wmem[0]` (4,096 bytes) less the
/// `sk_buff` itself. A segment can be shorter than the known size by 40 bytes of TCP options.
#[inline(always)]
unsafe fn leaves_whole(tcp: *const c_void, end: u32) -> bool {
    // SAFETY: as the caller's.
    end <= FORCED && end + 40 <= unsafe { load::<u32>(tcp, offset!(tcp_sock_mss_cache)) }
}

/// Bytes that the first segment can hold whatever memory is left.
const FORCED: u32 = 2048;

/// Whether a head of this length fits into the send buffer at once. If the send buffer fills, the kernel does not count
/// the inserted bytes, and the application sends bytes again. So no byte may wait in the socket, and the buffer must
/// hold the head twice, with the kernel's own data for each TCP segment.
#[inline(always)]
pub(crate) unsafe fn has_space(tcp: *const c_void, length: u32) -> bool {
    /// Upper bound for an `sk_buff` with its shared information.
    const ADDED: u32 = 1024;
    // SAFETY: as the caller's.
    unsafe {
        let segment: u32 = load(tcp, offset!(tcp_sock_mss_cache));
        segment != 0
            && load::<u32>(tcp, offset!(sock_wmem_queued)) == 0
            && load::<u32>(tcp, offset!(sock_sndbuf)) >= 2 * length + length / segment * ADDED
    }
}

/// `TCP_NAGLE_OFF | TCP_NAGLE_CORK` of `tcp_sock.nonagle`, `include/net/tcp.h`.
const NAGLE_OFF_OR_CORK: u64 = 3;

/// Longest message whose parts are joined. The first part has 32 KiB at most (`SKB_FRAG_PAGE_ORDER`), and a segment less
/// than 64 KiB: in a longer message, a whole segment follows the small one, and the other end acknowledges both at once.
/// The limit spares the kernel large pieces of memory.
const LONGEST_JOINED: u32 = 128 << 10;

/// Joins the parts of a message, if Nagle's algorithm is on.
///
/// `tcp_bpf_push` sends each part by itself, so a part before the last can end in a small segment. With Nagle's algorithm,
/// the small segment at the message's end then waits until that one is acknowledged, 40 ms at worst. If there is no memory
/// for the whole message, its parts leave as they are.
#[inline(always)]
pub(crate) unsafe fn join(msg: *mut sk_msg_md, tcp: *const c_void) {
    // SAFETY: as the caller's.
    unsafe {
        let nonagle = u64::from(load::<u8>(tcp, offset!(tcp_sock_nonagle)));
        if nonagle & offset!(tcp_sock_nonagle_mask) * NAGLE_OFF_OR_CORK != 0 {
            return;
        }
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let size = (*msg).size;
        // Spliced pages are not readable; each is a message of its own.
        if data != end && end - data < size as usize && size <= LONGEST_JOINED {
            bpf_msg_pull_data(msg, 0, size, 0);
        }
    }
}

/// Rewrites the forwarded `traceparent` of the parent: its parent id becomes the span id of the client request.
#[inline(always)]
pub(crate) unsafe fn rewrite(msg: *mut sk_msg_md, begin: u32, ids: &Ids) -> Result<(), InjectionOutcome> {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        // Behind `00-`, the trace id and a dash.
        let target = data + (core::hint::black_box(u64::from(begin) + 36) & 0x1fff) as usize;
        if target + 19 > end {
            return Err(InjectionOutcome::PushFailed);
        }
        // The last word has the last five digits of the span id, a dash and the flags.
        let last = hex(ids.span >> 32);
        store_at::<0>(target, hex(ids.span));
        store_at::<8>(target, last);
        store_at::<11>(target, last >> 24 | word(b"\0\0\0\0\0-00") | (ids.flags & 3) << 56);
    }
    Ok(())
}

/// Inserts a `traceparent` behind the request line, and a `tracestate` of `state` bytes if `state` is not 0.
///
/// `bpf_msg_push_data` (`net/core/filter.c`) had these bugs. None of them is reached here, so no kernel is refused for
/// them:
/// - "Several fixes to bpf_msg_push_data" (15ab0548e310; 6.13, 6.12.2, 6.1.120): a push behind the last byte was
///   refused, and elements around a push were counted wrongly. Our push is inside the first element.
/// - "fix tail fragment offset in bpf_msg_push_data" (f72eed9b84fb; 7.1, 7.0.12 and others of June 2026): after a push
///   into an element other than the first, the bytes behind it came from a wrong offset. Our push is into the first
///   element, because the head was pulled into one.
/// - "reject overflowing copy + len" (2026): lengths near 4 GiB.
/// - Spliced pages were writable. A message with such pages has no readable data, and is not changed.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
pub(crate) unsafe fn push(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
    scratch: *mut Scratch,
    head: u32,
    begin: u32,
    state: u32,
    ids: &Ids,
) -> Result<u32, InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        let state = core::hint::black_box(state) & (2 * MAX_STATE - 1);
        let mut pushed = PARENT_BYTES;
        if state != 0 {
            pushed += STATE_NAME + state + 2;
        }
        if head + pushed > LONGEST_WITH_HEADER || !leaves_whole(tcp, begin + pushed) {
            return Err(InjectionOutcome::HeadTooLong);
        }
        if !has_space(tcp, head + pushed) {
            return Err(InjectionOutcome::QueueNotEmpty);
        }
        let begin = core::hint::black_box(begin) & 0x1fff;
        if bpf_msg_push_data(msg, begin, pushed, 0) != 0 {
            return Err(InjectionOutcome::PushFailed);
        }
        // Joins three elements into one. The inserted bytes are not initialised yet, and must not leave so.
        let all = if size <= LONGEST_WITH_HEADER { size } else { head } + pushed;
        let written = bpf_msg_pull_data(msg, 0, all, 0) == 0
            && write(msg, begin, ids)
            && (state == 0 || write_state(msg, begin + PARENT_BYTES, &*scratch, state));
        if !written {
            return if bpf_msg_pop_data(msg, begin, pushed, 0) == 0 {
                Err(InjectionOutcome::PushFailed)
            } else {
                // A failed send is better than uninitialised bytes.
                Ok(DROP)
            };
        }
        let evidence =
            if (*scratch).client.parent.connection == 0 { NONE } else { (*scratch).client.evidence as u8 };
        told_of(
            connection,
            current,
            at,
            ids,
            &(*scratch).client.parent,
            InjectionOutcome::Pushed,
            evidence,
            pushed,
        );
        connection.flags |= Connection::HEADED;
        connection.push = pushed;
        connection.push_at = at;
        outgoing.boundary = outgoing.boundary.wrapping_add(pushed);
    }
    Ok(PASS)
}

pub(crate) const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// Length of `tracestate: `.
const STATE_NAME: u32 = 12;

pub(crate) struct StateCopy {
    pub(crate) msg: *mut sk_msg_md,
    pub(crate) scratch: *const Scratch,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) length: u64,
    pub(crate) failed: u64,
}

/// Copies eight bytes of a `tracestate`. The last step overlaps the step before it, so that it copies eight bytes too.
unsafe extern "C" fn copy_state(index: u64, copy: *mut StateCopy) -> c_long {
    // SAFETY: `copy` is that of `write_state`; the verifier follows the check against the end.
    unsafe {
        let copy = &mut *copy;
        let mut at = index * 8;
        if at >= copy.length {
            return 1;
        }
        if at + 8 > copy.length {
            at = copy.length.wrapping_sub(8);
        }
        if !put(copy.msg, copy.to + at, (*copy.scratch).text.word(copy.from + at)) {
            copy.failed = 1;
            return 1;
        }
    }
    0
}

/// Writes eight bytes into a message. Returns false if they would exceed its readable data.
#[inline(always)]
pub(crate) unsafe fn put(msg: *mut sk_msg_md, at: u64, value: u64) -> bool {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let target = data + (core::hint::black_box(at) & 0x1fff) as usize;
        if target + 8 > end {
            return false;
        }
        store_at::<0>(target, value);
    }
    true
}

/// Writes the line of a `tracestate` of `length` bytes, at least eight.
#[inline(always)]
unsafe fn write_state(msg: *mut sk_msg_md, begin: u32, scratch: &Scratch, length: u32) -> bool {
    // SAFETY: as the callees'.
    unsafe {
        let begin = u64::from(begin);
        let behind = begin + u64::from(STATE_NAME);
        let end = behind + u64::from(length);
        // The line end is written first as a whole word; the state's last bytes then overwrite the spaces before it.
        let written = put(msg, begin, word(b"tracesta"))
            && put(msg, begin + 4, word(b"estate: "))
            && put(msg, end - 6, word(b"      \r\n"));
        let from = u64::from(scratch.client.state_begin);
        let mut copy = StateCopy { msg, scratch, from, to: behind, length: u64::from(length), failed: 0 };
        bpf_loop(MAX_STATE / 8, copy_state as *mut c_void, (&raw mut copy).cast(), 0);
        written && copy.failed == 0
    }
}

/// Writes the line of a `traceparent`.
#[inline(always)]
unsafe fn write(msg: *mut sk_msg_md, begin: u32, ids: &Ids) -> bool {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let target = data + (core::hint::black_box(u64::from(begin)) & 0x1fff) as usize;
        if target + PARENT_BYTES as usize > end {
            return false;
        }
        store_at::<0>(target, word(b"tracepar"));
        store_at::<8>(target, word(b"ent: 00-"));
        store_at::<16>(target, hex(ids.trace[0]));
        store_at::<24>(target, hex(ids.trace[0] >> 32));
        store_at::<32>(target, hex(ids.trace[1]));
        store_at::<40>(target, hex(ids.trace[1] >> 32));
        store_at::<61>(target, word(b"-----00\r") | (ids.flags & 3) << 48);
        store_at::<49>(target, hex(ids.span));
        store_at::<57>(target, hex(ids.span >> 32));
        *(target as *mut u8).add(48) = b'-';
        *(target as *mut u8).add(69) = b'\n';
    }
    true
}
