//! The one place that sees data: every send and receive of a socket, after it was done.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, fexit, map},
    maps::{Array, PerCpuArray},
    programs::{BtfTracePointContext, FExitContext},
};
use tracer_common::{
    CLASS_BYTES, CLASS_SIZES, DataHeader, DataRecord, EDGE_END, EDGE_START, EDGE_WITHOUT_VERDICT,
    FLAG_CONTINUES, FLAG_END, FLAG_PRE_SEND, FLAG_TURN, HEAD_BUDGET, KernelCounter, Kind, NoBytes,
    OPEN_HEAD_BUDGET, RECEIVE, SEND, VERDICT_BODY_RECEIVE, VERDICT_BODY_SEND, VERDICT_IGNORE, VERDICT_SLOTS,
    verdict_slot, verdict_tag,
};

use crate::{
    buffer::{Source, copy_buffer, copy_gathered, find_head_end, gather, locate},
    connection::{Connection, announce, find, find_or_create, has_received_fin},
    layout::{load, offset},
    ring::{count, reserve, submit_flags},
    select::Current,
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
const TCP_CLOSE: i32 = 7;

/// `sock_recv_length(sk, ret, flags)`: after every receive of every socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), RECEIVE) };
    0
}

/// `sock_send_length(sk, ret, flags)`: after every send.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), SEND) };
    0
}

/// The same facts before 6.3, where the socket layer has no such tracepoints: from the end of each
/// family's function. `$flags` and `$result` are the places of the function's arguments.
macro_rules! after_function {
    ($name:ident, $function:literal, $direction:ident, $flags:expr, $result:expr) => {
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
                moved(sk.cast_mut(), ctx.arg($result), flags, $direction);
            }
            0
        }
    };
}

// `inet_sendmsg(sock, msg, size)`, `inet_recvmsg(sock, msg, size, flags)`,
// `inet_sendpage(sock, page, offset, size, flags)`.
after_function!(inet_sendmsg, "inet_sendmsg", SEND, None, 3);
after_function!(inet_recvmsg, "inet_recvmsg", RECEIVE, Some(3), 4);
after_function!(inet6_sendmsg, "inet6_sendmsg", SEND, None, 3);
after_function!(inet6_recvmsg, "inet6_recvmsg", RECEIVE, Some(3), 4);
after_function!(inet_sendpage, "inet_sendpage", SEND, None, 5);

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

/// A record in the making.
#[repr(C)]
struct Piece {
    header: DataHeader,
    source: Source,
    /// Where in the call the piece begins; its header counts from there.
    start: u64,
    /// Where the piece ends in the call.
    end: u64,
    /// The bytes are in the scratch already.
    gathered: u64,
    /// Out: the copied bytes end with an empty line.
    ends_head: u64,
}

/// One handler for both directions. `ret` is what the application gets.
#[inline(always)]
unsafe fn moved(sk: *mut c_void, ret: i32, flags: i32, direction: u8) {
    let Some(current) = Current::selected() else { return };
    if flags & NOT_DATA != 0 {
        return;
    }
    // SAFETY: `sk` is the tracepoint's argument.
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
        let length = ret as u32;
        let now = bpf_ktime_get_ns();
        let mut piece = Piece {
            header: DataHeader {
                kind: Kind::Data as u8,
                direction,
                connection: connection.number,
                time_ns: now,
                start_ns: now,
                pid: current.pid(),
                tid: current.tid(),
                length,
                ..DataHeader::default()
            },
            source: Source::EMPTY,
            start: 0,
            end: u64::from(length),
            gathered: 0,
            ends_head: 0,
        };
        let header = &mut piece.header;
        if direction == SEND {
            header.position = load::<u32>(tcp, offset!(tcp_sock_write_seq)).wrapping_sub(length);
            if connection.pre_first_ns != 0 {
                header.start_ns = connection.pre_first_ns;
                header.time_ns = connection.pre_last_ns;
                header.flags |= FLAG_PRE_SEND;
                connection.pre_first_ns = 0;
            }
        } else {
            let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
            // The same call consumed the FIN: it counts in `copied_seq` and in `rcv_nxt`.
            let fin = has_received_fin(i32::from(load::<u8>(sk, offset!(sock_state))))
                && copied == load::<u32>(tcp, offset!(tcp_sock_rcv_nxt));
            header.position = copied.wrapping_sub(length).wrapping_sub(u32::from(fin));
        }

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
        let (verdict, until) = verdict(connection.number);
        if verdict == VERDICT_IGNORE {
            return;
        }
        announce(connection, sk, tcp, current, header.position, direction == RECEIVE, header.start_ns);

        if connection.turn != direction + 1 {
            connection.turn = direction + 1;
            connection.budget = HEAD_BUDGET;
            connection.open_budget = OPEN_HEAD_BUDGET;
            connection.head = Connection::HEAD_UNKNOWN;
            connection.last_bytes = 0;
            header.flags |= FLAG_TURN;
        }
        header.lost = connection.lost;
        piece.header.reason = if flags & MSG_TRUNC != 0 && direction == RECEIVE {
            NoBytes::Discarded as u8
        } else {
            locate(sk, &mut piece.source) as u8
        };
        if piece.header.reason != NoBytes::None as u8 {
            connection.sent(emit(&mut piece));
            return;
        }

        // How much of it, and from where?
        let (skip, wanted) = connection.share(&piece.header, verdict, until);
        piece.header.head_offset = skip;
        let open = connection.budget == 0
            && connection.head != Connection::HEAD_COMPLETE
            && skip + wanted < length
            && wanted > EDGE_WITHOUT_VERDICT
            || connection.head == Connection::HEAD_OPEN;
        if open {
            emit_open_head(connection, &piece, skip, length);
            return;
        }
        piece.header.head_length = wanted as u16;
        let behind = length - skip - wanted;
        piece.header.tail_length = if behind >= EDGE_END { EDGE_END as u8 } else { 0 };
        if piece.source.vectors != 0 {
            let (filled, whole) =
                gather(&piece.source, u64::from(skip), u64::from(wanted), u64::from(length), direction);
            piece.gathered = 1;
            if !whole {
                piece.header.reason = NoBytes::Fault as u8;
            } else if filled < u64::from(wanted) {
                piece.header.head_length = filled as u16;
            }
        }
        connection.sent(emit(&mut piece));
        if piece.ends_head != 0 {
            connection.head = Connection::HEAD_COMPLETE;
        }
    }
}

impl Connection {
    /// Which bytes of a call are copied: where they begin, and how many.
    #[inline(always)]
    fn share(&mut self, header: &DataHeader, verdict: u64, until: u32) -> (u32, u32) {
        let mut skip = 0;
        let about = if header.direction == SEND { VERDICT_BODY_SEND } else { VERDICT_BODY_RECEIVE };
        if verdict == about {
            let left = until.wrapping_sub(header.position) as i32;
            if left >= header.length as i32 {
                return (0, min(header.length, EDGE_START));
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
            let wanted = min(there, self.budget);
            self.budget -= wanted;
            return (skip, wanted);
        }
        (skip, min(there, EDGE_WITHOUT_VERDICT))
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
            return;
        }
        let state = i32::from(load::<u8>(sk, offset!(sock_state)));
        let ended = ret == 0 && (has_received_fin(state) || state == TCP_CLOSE);
        if !ended
            || connection.turn == 0
            || connection.flags & (Connection::ENDED | Connection::UPPER_LAYER) != 0
        {
            return;
        }
        if verdict(connection.number).0 == VERDICT_IGNORE {
            return;
        }
        let now = bpf_ktime_get_ns();
        let Some(mut entry) = reserve::<DataRecord<{ CLASS_SIZES[0] }>>() else {
            count(KernelCounter::LostData, 1);
            connection.lost += 1;
            return;
        };
        (*entry.as_mut_ptr()).header = DataHeader {
            kind: Kind::Data as u8,
            direction,
            flags: FLAG_END,
            connection: connection.number,
            time_ns: now,
            start_ns: now,
            pid: current.pid(),
            tid: current.tid(),
            position: load::<u32>(tcp, offset!(tcp_sock_copied_seq))
                .wrapping_sub(u32::from(state != TCP_CLOSE)),
            lost: connection.lost,
            ..DataHeader::default()
        };
        connection.lost = 0;
        connection.flags |= Connection::ENDED;
        entry.submit(submit_flags(false));
    }
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

/// Writes the record of a piece. Returns whether there was room. A function of its own: the four
/// classes stand in the program once, and its stack is not its callers'.
#[inline(never)]
unsafe fn emit(piece: &mut Piece) -> bool {
    let head = u64::from(piece.header.head_length);
    // SAFETY: as the callee's: each class is chosen by the length that it holds.
    unsafe {
        if head <= CLASS_BYTES[0] as u64 {
            emit_class::<{ CLASS_SIZES[0] }>(piece, head, false)
        } else if head <= CLASS_BYTES[1] as u64 {
            emit_class::<{ CLASS_SIZES[1] }>(piece, head, false)
        } else if head <= CLASS_BYTES[2] as u64 {
            emit_class::<{ CLASS_SIZES[2] }>(piece, head, true)
        } else if head <= CLASS_BYTES[3] as u64 {
            emit_class::<{ CLASS_SIZES[3] }>(piece, head, true)
        } else {
            false
        }
    }
}

#[inline(always)]
unsafe fn emit_class<const N: usize>(piece: &mut Piece, head: u64, large: bool) -> bool {
    let Some(mut entry) = reserve::<DataRecord<N>>() else {
        count(KernelCounter::LostData, 1);
        count(KernelCounter::LostBytes, u64::from(piece.header.length));
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the record has room for `head` and `EDGE_END` bytes: `emit` chose its class.
    unsafe {
        (*record).header = piece.header;
        let data: *mut u8 = (&raw mut (*record).data).cast();
        let tail = u64::from(piece.header.tail_length) & (2 * EDGE_END as u64 - 1);
        if piece.header.reason != NoBytes::None as u8 {
            (*record).header.head_length = 0;
            (*record).header.tail_length = 0;
        } else {
            let tail = if tail > EDGE_END as u64 { 0 } else { tail };
            let copied = if piece.gathered != 0 {
                copy_gathered(data, head, tail, piece.header.direction & 1)
            } else {
                let skip = piece.start + u64::from(piece.header.head_offset);
                copy_buffer(data, piece.source.address, skip, head, tail, piece.end)
            };
            if !copied {
                (*record).header.reason = NoBytes::Fault as u8;
                (*record).header.head_length = 0;
                (*record).header.tail_length = 0;
            } else if tail == 0 && head >= 4 {
                let last = core::ptr::read_unaligned(data.add(head as usize - 4).cast::<u32>());
                piece.ends_head = u64::from(last == u32::from_le_bytes(*b"\r\n\r\n"));
            }
        }
        let ask = large || piece.header.time_ns >> 6 & 15 == 0;
        entry.submit(submit_flags(ask));
    }
    true
}

/// What [`emit_open_head`] and its callback share, one for each direction: too much for the stack.
#[map]
static OPEN_HEADS: PerCpuArray<OpenHead> = PerCpuArray::with_max_entries(2, 0);

#[repr(C)]
struct OpenHead {
    piece: Piece,
    /// Where in the call the next piece begins.
    next: u64,
    /// Bytes of the call.
    length: u64,
    /// Where in the next piece its copied bytes begin.
    skip: u64,
    first_position: u32,
    last_bytes: u32,
    open_budget: u32,
    lost: u32,
    head: u32,
    flags: u32,
}

/// A head longer than the budget: the call is cut into pieces of the largest class until the head
/// ends or has taken all it may.
#[inline(never)]
unsafe fn emit_open_head(connection: &mut Connection, piece: &Piece, skip: u32, length: u32) {
    let mut direction = u32::from(piece.header.direction & 1);
    let Some(open) = OPEN_HEADS.get_ptr_mut(direction) else { return };
    // SAFETY: a value of this CPU; the callback has the type that the helper expects.
    unsafe {
        let open = &mut *open;
        open.piece.header = piece.header;
        open.piece.source = piece.source;
        open.piece.start = 0;
        open.piece.end = 0;
        open.piece.gathered = 1;
        open.next = 0;
        open.length = u64::from(length);
        open.skip = u64::from(skip);
        open.first_position = piece.header.position;
        open.last_bytes = connection.last_bytes;
        open.open_budget = connection.open_budget;
        open.lost = connection.lost;
        open.head = u32::from(Connection::HEAD_OPEN);
        open.flags = u32::from(piece.header.flags);
        const PIECES: u32 = OPEN_HEAD_BUDGET / HEAD_BUDGET + 2;
        bpf_loop(PIECES, emit_open_piece as *mut c_void, (&raw mut direction).cast(), 0);
        connection.last_bytes = open.last_bytes;
        connection.open_budget = open.open_budget;
        connection.lost = open.lost;
        connection.head = open.head as u8;
    }
}

/// One piece of [`emit_open_head`]. Returns 1 after the last.
unsafe extern "C" fn emit_open_piece(_index: u64, direction: *mut u32) -> core::ffi::c_long {
    // SAFETY: `direction` is that of `emit_open_head`, which has filled the value.
    unsafe {
        let Some(open) = OPEN_HEADS.get_ptr_mut(*direction & 1) else { return 1 };
        let open = &mut *open;
        let start = open.next;
        if start >= open.length {
            return 1;
        }
        let left = open.length - start;
        let still_open = open.head == u32::from(Connection::HEAD_OPEN);
        // Behind the head the rest of the call is one piece with its edges.
        let mut wanted = left - open.skip;
        let most = u64::from(if still_open { HEAD_BUDGET } else { EDGE_WITHOUT_VERDICT });
        if wanted > most {
            wanted = most;
        }
        let direction = *direction as u8 & 1;
        let (filled, whole) = gather(&open.piece.source, start + open.skip, wanted, open.length, direction);
        if still_open {
            let mut last = open.last_bytes;
            if find_head_end(filled, &mut last, direction) {
                open.head = u32::from(Connection::HEAD_COMPLETE);
            } else if open.open_budget <= HEAD_BUDGET {
                open.open_budget = 0;
                open.head = u32::from(Connection::HEAD_COMPLETE);
            } else {
                open.open_budget -= HEAD_BUDGET;
            }
            open.last_bytes = last;
        }
        let length = if still_open { open.skip + wanted } else { left };
        let header = &mut open.piece.header;
        header.position = open.first_position.wrapping_add(start as u32);
        header.length = length as u32;
        header.head_offset = open.skip as u32;
        header.head_length = filled as u16;
        header.tail_length =
            if length >= open.skip + filled + u64::from(EDGE_END) { EDGE_END as u8 } else { 0 };
        header.flags = if start == 0 { open.flags as u16 } else { open.flags as u16 & !FLAG_TURN };
        if start + length < open.length {
            header.flags |= FLAG_CONTINUES;
        }
        header.lost = open.lost;
        header.reason = if whole { NoBytes::None as u8 } else { NoBytes::Fault as u8 };
        open.next = start + length;
        open.skip = 0;
        if emit(&mut open.piece) {
            open.lost = 0;
        } else {
            open.lost += 1;
        }
    }
    0
}
