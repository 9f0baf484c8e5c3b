//! A completed send or receive: its position, its turn, and the bytes that are copied of it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_skc_to_tcp_sock};
use tracer_common::{
    DataHeader, EDGE_END, EDGE_START, EDGE_WITHOUT_POLICY, FLAG_END, FLAG_PRE_SEND, FLAG_TURN, HEAD_BUDGET,
    KernelCounter, Kind, NoBytes, OPEN_HEAD_BUDGET, POLICY_BODY, POLICY_EVERYTHING, POLICY_HEADS,
    POLICY_IGNORE, ProcessRecord, RECEIVE, SEND,
};

use crate::{
    capture::{
        announce::announce,
        direct::{LONGEST_DIRECT, output_direct},
        gather::{WORK, output, output_gathered, take_work, tracer_gather, tracer_locate},
        open_head::tracer_open_head,
    },
    connection::{Connection, find, find_or_create, has_received_fin},
    context::{process::answered, read::read_request, request::read_more, thread::resume},
    memory::{
        layout::{load, offset, propagates},
        user::{buffers_of_call, without_buffer},
        words::{max, min},
    },
    policy::{is_ignored, policy},
    propagate::{
        outgoing::{request_sent, served_by},
        pressure::send_failed,
    },
    ring::{count, report, reserve, submit_flags},
    runtime::{
        CONTINUES, IS_CLIENT, KNOWN, OTHER, has_plan, is_followed, tracer_loop_task, tracer_received_task,
        tracer_sent_task,
    },
    select::Current,
};

/// `include/linux/socket.h`.
const MSG_OOB: i32 = 0x1;

const MSG_PEEK: i32 = 0x2;

const MSG_TRUNC: i32 = 0x20;

const MSG_ERRQUEUE: i32 = 0x2000;

/// A receive with one of these flags takes nothing from the stream.
pub(crate) const NOT_DATA: i32 = MSG_OOB | MSG_PEEK | MSG_ERRQUEUE;

const AF_UNIX: u16 = 1;

const AF_NETLINK: u16 = 16;

const SOCK_DGRAM: u16 = 2;

const TCP_CLOSE: u8 = 7;

/// The direction of the hook that sends pages. No system call of this hook has a buffer of the process.
pub(crate) const SEND_PAGE: u8 = 2;

/// The handler for both directions. `ret` is the result that the application gets. This function does the work that
/// needs the socket as a typed pointer. The rest is in global functions, which the verifier checks once each. `is_shared`:
/// two hooks lead to the program.
#[inline(always)]
pub(crate) unsafe fn moved<const HOOK: u8>(sk: *mut c_void, ret: i32, flags: i32, is_shared: bool) {
    let direction = if HOOK == SEND_PAGE { SEND } else { HOOK };
    // Nothing moved: an empty socket, or a signal.
    if flags & NOT_DATA != 0 || direction == RECEIVE && ret < 0 {
        return;
    }
    let Some(current) = Current::selected() else { return };
    // SAFETY: `sk` is the hook's own socket.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            if ret > 0 {
                count_other(sk, direction, current);
                if direction == RECEIVE && is_followed(current) {
                    tracer_received_task(OTHER, bpf_ktime_get_ns(), 0);
                }
            }
            return;
        }
        if ret <= 0 {
            without_bytes(sk, tcp, ret, direction, current);
            return;
        }
        let Some(connection) = find_or_create(sk) else { return };
        let (policy, until) = policy(connection.number, direction);
        if policy == POLICY_IGNORE {
            return;
        }
        let length = ret as u32;
        let now = bpf_ktime_get_ns();
        let mut header = DataHeader {
            kind: Kind::Data as u8,
            direction,
            flags: 0,
            prefix_length: length as u16,
            tail_length: 0,
            reason: NoBytes::None as u8,
            connection: connection.number,
            time_ns: now,
            start_ns: now,
            pid: current.pid(),
            tid: current.tid(),
            position: 0,
            length,
            prefix_offset: 0,
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
            // If the same call consumed the FIN, `copied_seq` and `rcv_nxt` count it.
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
        // No runtime begins a message by sending pages.
        if HOOK != SEND_PAGE && has_plan(current) {
            // Go's server reads the first byte of a request alone, if it comes while another one is worked on.
            let begins = header.flags & FLAG_TURN != 0 || connection.budget == HEAD_BUDGET - 1;
            if begins || direction == RECEIVE && is_followed(current) {
                let continues = if header.flags & FLAG_TURN == 0 {
                    CONTINUES
                } else if connection.flags & Connection::TASK_KNOWN != 0 {
                    KNOWN
                } else {
                    0
                };
                let how = continues | if connection.is_client() { IS_CLIENT } else { 0 };
                header.task = if direction == RECEIVE {
                    let task = tracer_received_task(how, now, connection.number);
                    if task != 0 {
                        connection.flags |= Connection::TASK_KNOWN;
                    }
                    task
                } else {
                    match tracer_sent_task(how, now, connection.number) {
                        0 => tracer_loop_task(how, now),
                        task => task,
                    }
                };
            }
        }
        let discarded = flags & MSG_TRUNC != 0 && direction == RECEIVE;
        let is_short = length <= LONGEST_DIRECT
            && length <= connection.budget
            && policy == POLICY_HEADS
            && connection.head != Connection::HEAD_OPEN
            && !discarded;
        let begins = header.flags & FLAG_TURN != 0;
        let reads_request = direction == RECEIVE
            && propagates()
            && (begins || connection.flags & Connection::PARTIAL != 0)
            && connection.flags & Connection::ATTRIBUTED == 0
            && !connection.is_outgoing()
            && !discarded;
        let learns_role = direction == RECEIVE
            && begins
            && connection.role == Connection::ROLE_UNKNOWN
            && has_plan(current)
            && !discarded;
        // At one place: it is long.
        let buffers = if HOOK != SEND_PAGE && (is_short || reads_request || learns_role) {
            buffers_of_call(sk, u64::from(length))
        } else {
            None
        };
        // A response tells that the process is the client.
        if learns_role
            && let Some(buffers) = &buffers
            && buffers.begin_with(*b"HTTP/1.")
        {
            connection.role = Connection::ROLE_CLIENT;
        }
        if propagates() {
            if direction == SEND {
                if connection.flags & Connection::SERVING != 0 {
                    answered(connection);
                } else if begins && connection.is_outgoing() {
                    request_sent(sk, connection);
                }
            } else if connection.flags & Connection::ATTRIBUTED != 0 {
                if let Some(served) = served_by(sk) {
                    resume(current, served);
                }
            } else if reads_request {
                if let Some(buffers) = &buffers {
                    let answer_at: u32 = load(tcp, offset!(tcp_sock_write_seq));
                    let is_closed = load::<u8>(sk, offset!(sock_state)) == TCP_CLOSE;
                    read_request(connection, &header, buffers, answer_at, (begins, is_closed));
                }
            } else if connection.flags & Connection::SERVING != 0 {
                read_more(connection, length);
            }
        }
        if HOOK == SEND_PAGE {
            connection.sent(output_length(sk, header));
            return;
        }
        if is_short && let Some(buffers) = buffers {
            connection.spend(length);
            let sent = output_direct(connection, &header, &buffers);
            if !sent {
                count(KernelCounter::LostData, 1);
                count(KernelCounter::LostBytes, u64::from(length));
            }
            connection.sent(sent);
            return;
        }
        let Some(slot) = take_work(direction, is_shared) else {
            count(KernelCounter::Skipped, 1);
            return;
        };
        let Some(work) = WORK.get_ptr_mut(slot) else { return };
        let work = &mut *work;
        work.header = header;
        work.policy = policy;
        work.until = until;
        // Stored as numbers, because the functions below take no typed pointers.
        core::ptr::write_volatile(&raw mut work.sk, sk as u64);
        let kern_sock: u8 = load(sk, offset!(sock_kern_sock));
        work.kernel_socket = u64::from(kern_sock) & offset!(sock_kern_sock_mask);
        work.discarded = u64::from(discarded);
        tracer_data(connection, u64::from(slot));
        if is_shared {
            core::ptr::write_volatile(&raw mut work.taken, 0);
        }
    }
}

/// Copies the wanted bytes of a call and outputs the record. `slot` is the index of the call's [`Work`].
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
            work.header.prefix_offset = 0;
            connection.sent(output(work, 0, 0, reason as u8));
            return 0;
        }
        let Share { skip, wanted, in_body } = connection.share(&work.header, work.policy, work.until);
        let open = match connection.head {
            Connection::HEAD_OPEN => true,
            // A call that is not longer than the edge is copied whole anyway.
            Connection::HEAD_SPENT => {
                !in_body && skip + wanted < length && length - skip > EDGE_WITHOUT_POLICY
            }
            _ => false,
        };
        if open {
            return tracer_open_head(connection, slot, u64::from(skip));
        }
        let tail = min(length - skip - wanted, EDGE_END);
        work.header.prefix_offset = skip;
        let gathered = tracer_gather(slot, u64::from(skip), u64::from(wanted), u64::from(tail));
        connection.sent(output_gathered(work, gathered, u64::from(tail)));
        // Bytes that end with an empty line complete the head without a search.
        if tail == 0 && work.ends_head != 0 {
            connection.head = Connection::HEAD_COMPLETE;
        }
    }
    0
}

/// The bytes of a system call that are copied.
pub(crate) struct Share {
    /// Bytes of the call before the prefix.
    pub(crate) skip: u32,
    /// Length of the prefix.
    pub(crate) wanted: u32,
    /// The call lies within a body.
    pub(crate) in_body: bool,
}

impl Connection {
    /// Chooses the bytes of a call that are copied, by capture policy and budget.
    #[inline(always)]
    fn share(&mut self, header: &DataHeader, policy: u64, until: u32) -> Share {
        let mut skip = 0;
        if policy >= POLICY_EVERYTHING {
            self.budget = HEAD_BUDGET;
            self.open_budget = OPEN_HEAD_BUDGET;
            self.head = Self::HEAD_UNKNOWN;
        }
        if policy == POLICY_BODY {
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
            // At least as many as without a budget, so that a short call is copied whole.
            let wanted = min(there, max(min(self.budget, HEAD_BUDGET), EDGE_WITHOUT_POLICY));
            self.spend(wanted);
            return Share { skip, wanted, in_body: false };
        }
        Share { skip, wanted: min(there, EDGE_WITHOUT_POLICY), in_body: false }
    }

    /// Subtracts bytes from the budget. Another thread may subtract for the same socket at the same time.
    #[inline(always)]
    fn spend(&mut self, length: u32) {
        self.budget = self.budget.saturating_sub(length);
        if self.budget == 0 && self.head == Self::HEAD_UNKNOWN {
            self.head = Self::HEAD_SPENT;
        }
    }

    /// Counts lost records: `sent` tells whether the ring had space for the last one.
    #[inline(always)]
    fn sent(&mut self, sent: bool) {
        if sent {
            self.lost = 0;
        } else {
            self.lost += 1;
        }
    }
}

/// A system call that moved no byte: the end of the stream, or a failed send.
#[inline(always)]
unsafe fn without_bytes(sk: *mut c_void, tcp: *const c_void, ret: i32, direction: u8, current: Current) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = find(sk) else { return };
        if direction == SEND {
            connection.pre_first_ns = 0;
            if propagates() {
                send_failed(sk, tcp, connection, ret, current.pid());
            }
            return;
        }
        let fin = has_received_fin(sk);
        let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
        // A receive into an empty buffer returns 0 too, even if bytes are left to read.
        let ended = ret == 0
            && copied == load::<u32>(tcp, offset!(tcp_sock_rcv_nxt))
            && (fin || load::<u8>(sk, offset!(sock_state)) == TCP_CLOSE);
        if !ended
            || connection.turn == 0
            || connection.flags & (Connection::ENDED | Connection::UPPER_LAYER) != 0
        {
            return;
        }
        if is_ignored(connection.number, direction) {
            return;
        }
        let now = bpf_ktime_get_ns();
        // The end of a stream is read in a callback, too.
        if is_followed(current) {
            let role = if connection.is_client() { IS_CLIENT } else { 0 };
            tracer_received_task(CONTINUES | role, now, connection.number);
        }
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

/// Outputs the record of a call without a buffer: position, length, and the reason why no bytes are copied. Returns
/// whether the ring had space.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
unsafe fn output_length(sk: *const c_void, mut header: DataHeader) -> bool {
    // SAFETY: as the caller's.
    let reason = unsafe { without_buffer(sk) };
    header.prefix_length = 0;
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

/// Counts a system call on a socket that is not TCP. A process that serves on one (MPTCP) has requests that nobody sees: the
/// socket's first call receives.
#[inline(always)]
unsafe fn count_other(sk: *mut c_void, direction: u8, current: Current) {
    // SAFETY: as the caller's.
    let (family, kind): (u16, u16) =
        unsafe { (load(sk.cast_const(), offset!(sock_family)), load(sk.cast_const(), offset!(sock_type))) };
    // Talk with the kernel, not with a service.
    if family == AF_NETLINK {
        return;
    }
    let counter = if family == AF_UNIX {
        KernelCounter::UnixSocket
    } else if kind == SOCK_DGRAM {
        KernelCounter::Datagram
    } else {
        // SAFETY: `sk` is the hook's own socket.
        if let Some(connection) = unsafe { find_or_create(sk) }
            && connection.turn == 0
        {
            connection.turn = direction + 1;
            if direction == RECEIVE {
                let pid = current.pid();
                report(ProcessRecord { kind: Kind::Unread as u8, pid, ..ProcessRecord::default() });
            }
        }
        KernelCounter::OtherSocket
    };
    count(counter, 1);
}
