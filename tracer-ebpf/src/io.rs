//! The one place that sees data: every send and receive of a socket, after it was done.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, fexit, map},
    maps::Array,
    programs::{BtfTracePointContext, FExitContext},
};
use tracer_common::{
    DataHeader, EDGE_END, EDGE_START, EDGE_WITHOUT_VERDICT, FLAG_CONTINUES, FLAG_END, FLAG_PRE_SEND,
    FLAG_TURN, HEAD_BUDGET, KernelCounter, Kind, NoBytes, OPEN_HEAD_BUDGET, RECEIVE, SEND,
    VERDICT_BODY_RECEIVE, VERDICT_BODY_SEND, VERDICT_HEADS, VERDICT_IGNORE, VERDICT_SLOTS, verdict_slot,
    verdict_tag,
};

use crate::{
    buffer::{
        GATHER_FAILED, GATHER_WITHOUT_TAIL, WORK, Work, tracer_find_head_end, tracer_gather, tracer_locate,
        without_buffer,
    },
    connection::{Connection, announce, find, find_or_create, has_received_fin},
    context,
    layout::{load, offset, propagates},
    propagate,
    ring::{count, output_bytes, reserve, submit_flags},
    select::Current,
    short,
};

/// What the agent wants of each connection: see [`tracer_common::Verdict`].
#[map]
static VERDICTS: Array<u64> = Array::with_max_entries(VERDICT_SLOTS, BPF_F_MMAPABLE);

/// `include/linux/socket.h`.
const MSG_OOB: i32 = 0x1;
const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;
/// A receive with one of these takes nothing from the stream.
const NOT_DATA: i32 = MSG_OOB | MSG_PEEK | MSG_ERRQUEUE;

const AF_UNIX: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const TCP_CLOSE: u8 = 7;

/// The direction of a hook that sends pages: no call that it sees has a buffer of the process's.
const SEND_PAGE: u8 = 2;

/// `sock_recv_length(sk, ret, flags)`: after every receive of every socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved::<RECEIVE>(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), 0) };
    0
}

/// `sock_send_length(sk, ret, flags)`: after every send.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved::<SEND>(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), 1) };
    0
}

/// The same facts before 6.3, where the socket layer has no such tracepoints: from the end of each
/// family's function. `$flags` and `$result` are the places of the function's arguments. Programs
/// that may interrupt each other have a [`Work`] each, by its `$slot`.
macro_rules! after_function {
    ($name:ident, $function:literal, $direction:ident, $slot:literal, $flags:expr, $result:expr) => {
        #[doc = concat!("After `", $function, "`.")]
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            if Current::selected().is_none() {
                return 0;
            }
            let flags: Option<usize> = $flags;
            // SAFETY: the function's own arguments, and behind them its result.
            unsafe {
                let socket: *const c_void = ctx.arg(0);
                let sk: *const c_void = load(socket, offset!(socket_sk));
                if sk.is_null() {
                    return 0;
                }
                let flags: i32 = match flags {
                    Some(place) => ctx.arg(place),
                    None => 0,
                };
                moved::<$direction>(sk.cast_mut(), ctx.arg($result), flags, $slot);
            }
            0
        }
    };
}

// `inet_sendmsg(sock, msg, size)`, `inet_recvmsg(sock, msg, size, flags)`,
// `inet_sendpage(sock, page, offset, size, flags)`.
after_function!(inet_sendmsg, "inet_sendmsg", SEND, 1, None, 3);
after_function!(inet_recvmsg, "inet_recvmsg", RECEIVE, 0, Some(3), 4);
after_function!(inet6_sendmsg, "inet6_sendmsg", SEND, 3, None, 3);
after_function!(inet6_recvmsg, "inet6_recvmsg", RECEIVE, 2, Some(3), 4);
after_function!(inet_sendpage, "inet_sendpage", SEND_PAGE, 1, None, 5);

/// Counts the calls on Unix sockets, as the handler of the tracepoints does.
macro_rules! after_unix_function {
    ($name:ident, $function:literal, $flags:expr, $result:expr) => {
        #[doc = concat!("After `", $function, "`.")]
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            let flags: Option<usize> = $flags;
            let flags: i32 = match flags {
                Some(place) => ctx.arg(place),
                None => 0,
            };
            if Current::selected().is_some() && ctx.arg::<i32>($result) > 0 && flags & NOT_DATA == 0 {
                count(KernelCounter::UnixSocket, 1);
            }
            0
        }
    };
}

after_unix_function!(unix_stream_sendmsg, "unix_stream_sendmsg", None, 3);
after_unix_function!(unix_stream_recvmsg, "unix_stream_recvmsg", Some(3), 4);

/// `tcp_sendmsg_locked(sk, msg, skb, size_goal)`, 6.16 and later: before each part of a send can
/// leave. The first is the start of the send, the last the moment of its last byte.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub fn tcp_sendmsg_locked(ctx: BtfTracePointContext) -> i32 {
    if Current::selected().is_none() {
        return 0;
    }
    // SAFETY: the tracepoint's own argument.
    unsafe {
        if let Some(connection) = find_or_create(ctx.arg::<*const c_void>(0).cast_mut()) {
            let now = bpf_ktime_get_ns();
            if connection.pre_first_ns == 0 {
                connection.pre_first_ns = now;
            }
            connection.pre_last_ns = now;
        }
    }
    0
}

/// One handler for both directions. `ret` is what the application gets. What needs the socket is done
/// here; the rest in functions that the verifier checks once each.
#[inline(always)]
unsafe fn moved<const HOOK: u8>(sk: *mut c_void, ret: i32, flags: i32, slot: u32) {
    let direction = if HOOK == SEND_PAGE { SEND } else { HOOK };
    // An empty socket, a signal: nothing moved.
    if flags & NOT_DATA != 0 || direction == RECEIVE && ret < 0 {
        return;
    }
    let Some(current) = Current::selected() else { return };
    // SAFETY: `sk` is the hook's own socket.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            if ret > 0 {
                count_other(sk);
            }
            return;
        }
        if ret <= 0 {
            without_bytes(sk, tcp, ret, direction, current);
            return;
        }
        let Some(connection) = find_or_create(sk) else { return };
        let (verdict, until) = verdict(connection.number);
        if verdict == VERDICT_IGNORE {
            return;
        }
        let length = ret as u32;
        let now = bpf_ktime_get_ns();
        let mut header = DataHeader {
            kind: Kind::Data as u8,
            direction,
            flags: 0,
            head_length: length as u16,
            tail_length: 0,
            reason: NoBytes::None as u8,
            connection: connection.number,
            time_ns: now,
            start_ns: now,
            pid: current.pid(),
            tid: current.tid(),
            position: 0,
            length,
            head_offset: 0,
            lost: connection.lost,
            task: 0,
        };
        header.position = if direction == SEND {
            if connection.pre_first_ns != 0 {
                header.start_ns = connection.pre_first_ns;
                header.time_ns = connection.pre_last_ns;
                header.flags = FLAG_PRE_SEND;
                connection.pre_first_ns = 0;
            }
            let written: u32 = load(tcp, offset!(tcp_sock_write_seq));
            connection.settle_push(written);
            written.wrapping_sub(length).wrapping_sub(connection.inserted)
        } else {
            let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
            // The same call consumed the FIN: it counts in `copied_seq` and in `rcv_nxt`.
            let fin = has_received_fin(sk) && copied == load::<u32>(tcp, offset!(tcp_sock_rcv_nxt));
            copied.wrapping_sub(length).wrapping_sub(u32::from(fin))
        };

        if connection.flags & Connection::SETTLED != Connection::ANNOUNCED {
            if connection.turn == 0 {
                let upper: u64 = load(tcp, offset!(tcp_sock_icsk_ulp_ops));
                if upper != 0 {
                    connection.flags |= Connection::UPPER_LAYER;
                    count(KernelCounter::UpperLayer, 1);
                }
            }
            if connection.flags & Connection::UPPER_LAYER != 0 {
                connection.turn = direction + 1;
                return;
            }
            let receiving = direction == RECEIVE;
            announce(connection, sk, tcp, current, header.position, receiving, header.start_ns);
        }

        if connection.turn != direction + 1 {
            connection.turn = direction + 1;
            connection.budget = HEAD_BUDGET;
            connection.open_budget = OPEN_HEAD_BUDGET;
            connection.head = Connection::HEAD_UNKNOWN;
            connection.last_bytes = 0;
            header.flags |= FLAG_TURN;
        }
        let discarded = flags & MSG_TRUNC != 0 && direction == RECEIVE;
        let is_short = length <= short::LONGEST
            && length <= connection.budget
            && verdict == VERDICT_HEADS
            && connection.head != Connection::HEAD_OPEN
            && !discarded;
        let mut buffers = None;
        if propagates() {
            let begins = header.flags & FLAG_TURN != 0;
            if direction == SEND {
                if connection.flags & Connection::SERVING != 0 {
                    context::answered(connection);
                } else if begins && connection.is_outgoing() {
                    propagate::sent(sk, connection);
                }
            } else if connection.flags & Connection::CALLS != 0 {
                if let Some(place) = propagate::served_by(sk) {
                    context::resume(current, place);
                }
            } else if (begins || connection.flags & Connection::PARTIAL != 0)
                && !connection.is_outgoing()
                && !discarded
            {
                buffers = short::buffers(sk, u64::from(length));
                if let Some(buffers) = &buffers {
                    let answer_at: u32 = load(tcp, offset!(tcp_sock_write_seq));
                    context::read(connection, &header, buffers, answer_at, begins);
                }
            } else if connection.flags & Connection::SERVING != 0 {
                context::read_more(connection, length);
            }
        }
        if HOOK == SEND_PAGE {
            connection.sent(output_length(sk, header));
            return;
        }
        if is_short && buffers.is_none() {
            buffers = short::buffers(sk, u64::from(length));
        }
        if is_short && let Some(buffers) = buffers {
            connection.spend(length);
            let sent = short::output(connection, &header, &buffers);
            if !sent {
                count(KernelCounter::LostData, 1);
                count(KernelCounter::LostBytes, u64::from(length));
            }
            connection.sent(sent);
            return;
        }
        let Some(work) = WORK.get_ptr_mut(slot) else { return };
        let work = &mut *work;
        work.header = header;
        work.verdict = verdict;
        work.until = until;
        // As numbers: the functions below take no typed pointers.
        core::ptr::write_volatile(&raw mut work.sk, sk as u64);
        let kern_sock: u8 = load(sk, offset!(sock_kern_sock));
        work.kernel_socket = u64::from(kern_sock) & offset!(sock_kern_sock_mask);
        work.discarded = u64::from(discarded);
        tracer_data(connection, u64::from(slot));
    }
}

/// Copies what is wanted of a call and sends it. `slot` names the [`Work`] that tells of the call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_data(connection: *mut Connection, slot: u64) -> u64 {
    // SAFETY: the verifier passes a live value of that size, or null.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return 0 };
        let work = &mut *work;
        let length = work.header.length;
        let reason = if work.discarded != 0 { NoBytes::Discarded as u64 } else { tracer_locate(slot) };
        if reason != NoBytes::None as u64 {
            work.header.head_offset = 0;
            connection.sent(output(work, 0, 0, reason as u8));
            return 0;
        }
        // How much of it, and from where?
        let Share { skip, wanted, in_body } = connection.share(&work.header, work.verdict, work.until);
        let open = match connection.head {
            Connection::HEAD_OPEN => true,
            // Calls of up to the edge are copied whole anyway.
            Connection::HEAD_SPENT => {
                !in_body && skip + wanted < length && length - skip > EDGE_WITHOUT_VERDICT
            }
            _ => false,
        };
        if open {
            return tracer_open_head(connection, slot, u64::from(skip));
        }
        let tail = min(length - skip - wanted, EDGE_END);
        work.header.head_offset = skip;
        let gathered = tracer_gather(slot, u64::from(skip), u64::from(wanted), u64::from(tail));
        connection.sent(output_gathered(work, gathered, u64::from(tail)));
        // What ends with an empty line needs no search for its end.
        if tail == 0 && work.ends_head != 0 {
            connection.head = Connection::HEAD_COMPLETE;
        }
    }
    0
}

/// Which bytes of a call are copied.
struct Share {
    /// Where they begin.
    skip: u32,
    wanted: u32,
    /// The call lies within a body.
    in_body: bool,
}

impl Connection {
    /// Which bytes of a call are copied: where they begin, and how many.
    #[inline(always)]
    fn share(&mut self, header: &DataHeader, verdict: u64, until: u32) -> Share {
        let mut skip = 0;
        let about = if header.direction == SEND { VERDICT_BODY_SEND } else { VERDICT_BODY_RECEIVE };
        if verdict == about {
            let left = until.wrapping_sub(header.position) as i32;
            if left >= header.length as i32 {
                return Share { skip: 0, wanted: min(header.length, EDGE_START), in_body: true };
            }
            if self.body_end != until {
                // The next message begins in this call or before it.
                self.body_end = until;
                self.budget = HEAD_BUDGET;
                self.open_budget = OPEN_HEAD_BUDGET;
                self.head = Self::HEAD_UNKNOWN;
            }
            if left > 0 {
                skip = left as u32;
            }
        }
        let there = header.length - skip;
        if self.budget > 0 {
            // Never less than without a budget: a short call is copied whole.
            let wanted = min(there, max(min(self.budget, HEAD_BUDGET), EDGE_WITHOUT_VERDICT));
            self.spend(wanted);
            return Share { skip, wanted, in_body: false };
        }
        Share { skip, wanted: min(there, EDGE_WITHOUT_VERDICT), in_body: false }
    }

    /// Takes bytes of the budget. Another thread in the same socket may have taken them too.
    #[inline(always)]
    fn spend(&mut self, length: u32) {
        self.budget = self.budget.saturating_sub(length);
        if self.budget == 0 && self.head == Self::HEAD_UNKNOWN {
            self.head = Self::HEAD_SPENT;
        }
    }

    /// Keeps account of a record that was sent, or found no room.
    #[inline(always)]
    fn sent(&mut self, sent: bool) {
        if sent {
            self.lost = 0;
        } else {
            self.lost += 1;
        }
    }
}

#[inline(always)]
fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn max(a: u32, b: u32) -> u32 {
    if a < b { b } else { a }
}

/// Whether the agent wants nothing of a connection.
#[inline(always)]
pub(crate) fn is_ignored(connection: u64) -> bool {
    verdict(connection).0 == VERDICT_IGNORE
}

/// The verdict on a connection: its kind and position.
#[inline(always)]
fn verdict(connection: u64) -> (u64, u32) {
    let Some(word) = VERDICTS.get_ptr(verdict_slot(connection)) else { return (0, 0) };
    // SAFETY: a live map value; one word is not torn.
    let word = unsafe { core::ptr::read_volatile(word) };
    if (word ^ verdict_tag(connection)) >> 35 != 0 {
        return (0, 0);
    }
    (word >> 32 & 7, word as u32)
}

/// A call that moved no byte: the end of the stream, or a send that failed.
#[inline(always)]
unsafe fn without_bytes(sk: *mut c_void, tcp: *const c_void, ret: i32, direction: u8, current: Current) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = find(sk) else { return };
        if direction == SEND {
            connection.pre_first_ns = 0;
            if propagates() {
                propagate::not_sent(sk);
            }
            return;
        }
        let fin = has_received_fin(sk);
        let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
        // A receive of no bytes returns 0 too, whatever is still to be read.
        let ended = ret == 0
            && copied == load::<u32>(tcp, offset!(tcp_sock_rcv_nxt))
            && (fin || load::<u8>(sk, offset!(sock_state)) == TCP_CLOSE);
        if !ended
            || connection.turn == 0
            || connection.flags & (Connection::ENDED | Connection::UPPER_LAYER) != 0
        {
            return;
        }
        if is_ignored(connection.number) {
            return;
        }
        let now = bpf_ktime_get_ns();
        let Some(mut entry) = reserve::<DataHeader>() else {
            count(KernelCounter::LostData, 1);
            connection.lost += 1;
            return;
        };
        entry.write(DataHeader {
            kind: Kind::Data as u8,
            direction,
            flags: FLAG_END,
            connection: connection.number,
            time_ns: now,
            start_ns: now,
            pid: current.pid(),
            tid: current.tid(),
            position: copied.wrapping_sub(u32::from(fin)),
            lost: connection.lost,
            ..DataHeader::default()
        });
        connection.lost = 0;
        connection.flags |= Connection::ENDED;
        entry.submit(submit_flags(false));
    }
}

/// Sends the record of a call without a buffer: position and length, and why there are no bytes. Returns whether
/// there was space.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
unsafe fn output_length(sk: *const c_void, mut header: DataHeader) -> bool {
    // SAFETY: as the caller's.
    let reason = unsafe { without_buffer(sk) };
    header.head_length = 0;
    header.reason = reason as u8;
    let Some(mut entry) = reserve::<DataHeader>() else {
        count(KernelCounter::LostData, 1);
        count(KernelCounter::LostBytes, u64::from(header.length));
        return false;
    };
    entry.write(header);
    entry.submit(submit_flags(header.time_ns >> 6 & 15 == 0));
    true
}

/// Counts a call on a socket that is not TCP.
#[inline(always)]
unsafe fn count_other(sk: *const c_void) {
    // SAFETY: as the caller's.
    let (family, kind): (u16, u16) =
        unsafe { (load(sk, offset!(sock_family)), load(sk, offset!(sock_type))) };
    let counter = if family == AF_UNIX {
        KernelCounter::UnixSocket
    } else if kind == SOCK_DGRAM {
        KernelCounter::Datagram
    } else {
        KernelCounter::OtherSocket
    };
    count(counter, 1);
}

/// Sends what [`tracer_gather`] put together, with the `tail` bytes behind it.
#[inline(always)]
fn output_gathered(work: &mut Work, gathered: u64, tail: u64) -> bool {
    if gathered & GATHER_FAILED != 0 {
        return output(work, 0, 0, NoBytes::Fault as u8);
    }
    let head = gathered & u64::from(u32::MAX);
    let tail = if gathered & GATHER_WITHOUT_TAIL != 0 { 0 } else { tail };
    output(work, head, tail, NoBytes::None as u8)
}

/// Sends the record that stands in a [`Work`]: its header, then `head` and `tail` bytes. Returns
/// whether there was room.
#[inline(always)]
fn output(work: &mut Work, mut head: u64, mut tail: u64, reason: u8) -> bool {
    if head > u64::from(HEAD_BUDGET) {
        head = 0;
    }
    if tail > u64::from(EDGE_END) {
        tail = 0;
    }
    work.header.head_length = head as u16;
    work.header.tail_length = tail as u8;
    work.header.reason = reason;
    let size = size_of::<DataHeader>() as u64 + head + tail;
    // Asking how full the ring is costs a helper call, so small records ask now and then.
    let ask = head > 256 || work.header.time_ns >> 6 & 15 == 0;
    if output_bytes((&raw const work.header).cast(), size, ask) {
        return true;
    }
    count(KernelCounter::LostData, 1);
    count(KernelCounter::LostBytes, u64::from(work.header.length));
    false
}

/// A head longer than the budget: the call is cut into pieces of the budget until the head ends or
/// has taken all it may.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_open_head(connection: *mut Connection, slot: u64, skip: u64) -> u64 {
    // SAFETY: as in `tracer_data`; the callback has the type that the helper expects.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return 0 };
        let work = &mut *work;
        work.open.next = 0;
        work.open.length = u64::from(work.header.length);
        work.open.skip = skip;
        work.open.first_position = work.header.position;
        work.open.last_bytes = connection.last_bytes;
        work.open.budget = connection.open_budget;
        work.open.lost = connection.lost;
        work.open.head = u32::from(Connection::HEAD_OPEN);
        work.open.flags = u32::from(work.header.flags);
        const PIECES: u32 = OPEN_HEAD_BUDGET / HEAD_BUDGET + 2;
        let mut slot = slot;
        bpf_loop(PIECES, emit_open_piece as *mut c_void, (&raw mut slot).cast(), 0);
        connection.last_bytes = work.open.last_bytes;
        connection.open_budget = work.open.budget;
        connection.lost = work.open.lost;
        connection.head = work.open.head as u8;
    }
    0
}

/// One piece of [`tracer_open_head`]. Returns 1 after the last.
unsafe extern "C" fn emit_open_piece(_index: u64, slot: *mut u64) -> core::ffi::c_long {
    // SAFETY: `slot` is that of `tracer_open_head`, which has filled the value.
    unsafe {
        let slot = *slot;
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return 1 };
        let work = &mut *work;
        let start = work.open.next;
        let whole = work.open.length;
        if start >= whole {
            return 1;
        }
        let left = whole - start;
        let skip = work.open.skip;
        let still_open = work.open.head == u32::from(Connection::HEAD_OPEN);
        // Behind the head the rest of the call is one piece with its edges.
        let mut wanted = left - skip;
        let most = u64::from(if still_open { HEAD_BUDGET } else { EDGE_WITHOUT_VERDICT });
        if wanted > most {
            wanted = most;
        }
        let length = if still_open { skip + wanted } else { left };
        let mut tail = length - skip - wanted;
        if tail > u64::from(EDGE_END) {
            tail = u64::from(EDGE_END);
        }
        // `tracer_gather` counts from the call's beginning, and takes its length from the header.
        work.header.length = whole as u32;
        let gathered = tracer_gather(slot, start + skip, wanted, tail);
        if still_open {
            let filled = gathered & u64::from(u32::MAX);
            let found = tracer_find_head_end(slot, filled, u64::from(work.open.last_bytes));
            work.open.last_bytes = found as u32;
            if found >> 32 != 0 {
                work.open.head = u32::from(Connection::HEAD_COMPLETE);
            } else if work.open.budget <= wanted as u32 {
                work.open.budget = 0;
                work.open.head = u32::from(Connection::HEAD_COMPLETE);
            } else {
                work.open.budget -= wanted as u32;
            }
        }
        let mut flags = work.open.flags as u16;
        if start != 0 {
            flags &= !FLAG_TURN;
        }
        if start + length < whole {
            flags |= FLAG_CONTINUES;
        }
        work.header.flags = flags;
        work.header.position = work.open.first_position.wrapping_add(start as u32);
        work.header.length = length as u32;
        work.header.head_offset = skip as u32;
        work.header.lost = work.open.lost;
        work.open.next = start + length;
        work.open.skip = 0;
        if output_gathered(work, gathered, tail) {
            work.open.lost = 0;
        } else {
            work.open.lost += 1;
        }
    }
    0
}
