//! Connections: their numbers, who opened them, when they ended. State lives in the socket's own
//! storage, which the kernel frees with the socket.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::SkStorage,
    helpers::generated::{bpf_ktime_get_ns, bpf_sk_storage_get, bpf_skc_to_tcp_sock},
    macros::{btf_map, btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use tracer_common::{
    CLOSE_ALL, CLOSE_SEND, CLOSE_UNREAD, CloseRecord, KernelCounter, Kind, OPEN_BIRTH, OPEN_CLIENT,
    OpenRecord, ProcessRecord, RECEIVE,
};

use crate::{
    atomic, context,
    layout::{load, offset, propagates},
    process, propagate,
    ring::{count, reserve, submit_flags},
    select::{Current, is_port_selected, set_selected},
};

/// `include/net/tcp_states.h`.
mod state {
    pub(super) const SYN_SENT: i32 = 2;
    pub(super) const FIN_WAIT1: i32 = 4;
    pub(super) const FIN_WAIT2: i32 = 5;
    pub(super) const TIME_WAIT: i32 = 6;
    pub(super) const CLOSE: i32 = 7;
    pub(super) const LAST_ACK: i32 = 9;
    pub(super) const LISTEN: i32 = 10;
    pub(super) const CLOSING: i32 = 11;
}

const AF_INET6: u16 = 10;
const STORAGE_CREATE: u64 = 1;

/// What the kernel side remembers of a connection.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Connection {
    /// Given at creation, never used twice; 0 in storage that is new.
    pub(crate) number: u64,
    /// When this end called `connect`; 0 if it did not, or nobody saw it.
    connect_ns: u64,
    /// When the first and the last part of the send in progress could leave; 0 if unknown.
    pub(crate) pre_first_ns: u64,
    pub(crate) pre_last_ns: u64,
    /// Bytes still to copy of the message that began at the last change of direction.
    pub(crate) budget: u32,
    /// Bytes still to copy of a head that outgrew the budget.
    pub(crate) open_budget: u32,
    /// End of the last body after which the budget was filled again.
    pub(crate) body_end: u32,
    /// Records that found no room since the last one that did.
    pub(crate) lost: u32,
    /// Direction of the last call plus one; 0 before the first.
    pub(crate) turn: u8,
    /// `Connection::HEAD_*`: what is known of the head that began at the last change of direction.
    pub(crate) head: u8,
    /// `Connection::*` bits.
    pub(crate) flags: u8,
    pub(crate) zero: u8,
    /// The process that reads the request which is served, or that opened the connection.
    pub(crate) served_by: u32,
    /// Where the request is kept that is served: see [`context`].
    pub(crate) request_slot: u32,
    /// Bytes that were pushed into what is sent; positions that the agent gets leave them out.
    pub(crate) inserted: u32,
    /// Bytes pushed into the send at this place, which may still fail.
    pub(crate) push: u32,
    pub(crate) push_at: u32,
    /// The last bytes of an open head, the newest lowest: its empty line may be cut.
    pub(crate) last_bytes: u32,
    pub(crate) zero_behind: u32,
}

impl Connection {
    /// Nothing is known.
    pub(crate) const HEAD_UNKNOWN: u8 = 0;
    /// It outgrew the budget and is not complete.
    pub(crate) const HEAD_OPEN: u8 = 1;
    /// Its empty line was seen.
    pub(crate) const HEAD_COMPLETE: u8 = 2;
    /// The budget ended with a call, and it may go on in the next.
    pub(crate) const HEAD_SPENT: u8 = 3;
    /// The agent has its open record.
    pub(crate) const ANNOUNCED: u8 = 1;
    /// Its bytes are not the stream's: an upper layer protocol sits in the kernel.
    pub(crate) const UPPER_LAYER: u8 = 2;
    /// These bits tell that nothing is left to find out: [`Self::ANNOUNCED`] alone.
    pub(crate) const SETTLED: u8 = Self::ANNOUNCED | Self::UPPER_LAYER;
    /// The process has read the end of the stream.
    pub(crate) const ENDED: u8 = 4;
    /// A request was read of it whose answer has not begun.
    pub(crate) const SERVING: u8 = 8;
    /// The head of the request that is read is not complete.
    pub(crate) const PARTIAL: u8 = 32;
    /// It carries calls that are made for requests.
    pub(crate) const CALLS: u8 = 16;
    /// The call that is sent has a trace header.
    pub(crate) const HEADED: u8 = 64;

    /// Whether a process that is traced opened it.
    #[inline(always)]
    pub(crate) fn is_outgoing(&self) -> bool {
        self.connect_ns != 0
    }

    /// The stream has come to `written`: the bytes pushed into the last send have left, or nothing has.
    #[inline(always)]
    pub(crate) fn settle_push(&mut self, written: u32) {
        if self.push != 0 {
            if written != self.push_at {
                self.inserted = self.inserted.wrapping_add(self.push);
            }
            self.push = 0;
        }
    }
}

#[btf_map]
static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// The number of the connection that was created last.
#[map]
static LAST_NUMBER: Array<u64> = Array::with_max_entries(1, 0);

/// The storage of a socket that has some.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn find<'a>(sk: *mut c_void) -> Option<&'a mut Connection> {
    // SAFETY: the helper checks the socket; the value lives as long as the program runs.
    unsafe {
        bpf_sk_storage_get((&raw const CONNECTIONS).cast_mut().cast(), sk, core::ptr::null_mut(), 0)
            .cast::<Connection>()
            .as_mut()
    }
}

/// The storage of a socket, new if it has none.
///
/// # Safety
/// See [`find`].
#[inline(always)]
pub(crate) unsafe fn find_or_create<'a>(sk: *mut c_void) -> Option<&'a mut Connection> {
    // SAFETY: see `find`; the kernel zeroes new storage.
    let connection = unsafe {
        bpf_sk_storage_get(
            (&raw const CONNECTIONS).cast_mut().cast(),
            sk,
            core::ptr::null_mut(),
            STORAGE_CREATE,
        )
        .cast::<Connection>()
        .as_mut()
    };
    let Some(connection) = connection else {
        count(KernelCounter::NoStorage, 1);
        return None;
    };
    if connection.number == 0 {
        connection.number = next_number()?;
    }
    Some(connection)
}

#[inline(always)]
fn next_number() -> Option<u64> {
    let last = LAST_NUMBER.get_ptr_mut(0)?;
    // SAFETY: a live map value, changed only here.
    Some(unsafe { atomic::add(last, 1) } + 1)
}

/// Tells the agent of a connection once, before its first data record. `position` and `receiving`
/// are those of the call that made the record.
///
/// # Safety
/// `sk` and `tcp` are the same socket, from the kernel.
#[inline(always)]
pub(crate) unsafe fn announce(
    connection: &mut Connection,
    sk: *const c_void,
    tcp: *const c_void,
    current: Current,
    position: u32,
    receiving: bool,
    time_ns: u64,
) {
    if connection.flags & Connection::ANNOUNCED != 0 {
        return;
    }
    let Some(mut entry) = reserve::<OpenRecord>() else {
        count(KernelCounter::LostOpen, 1);
        return;
    };
    // SAFETY: the record is written where it stands, every field; typed pointers, the offsets are
    // the kernel's own.
    unsafe {
        let record = entry.as_mut_ptr();
        context::clear(record);
        let record = &mut *record;
        record.kind = Kind::Open as u8;
        record.pid = current.pid();
        record.connection = connection.number;
        record.time_ns = time_ns;
        let state = i32::from(load::<u8>(sk, offset!(sock_state)));
        let written: u32 = load(tcp, offset!(tcp_sock_write_seq));
        let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
        let next: u32 = load(tcp, offset!(tcp_sock_snd_nxt));
        let sent = (load::<u64>(tcp, offset!(tcp_sock_bytes_sent)) as u32)
            .wrapping_sub(load::<u64>(tcp, offset!(tcp_sock_bytes_retrans)) as u32);
        // Neither counts the FIN that `snd_nxt` counts once it is sent.
        let fin_sent = has_sent_fin(state) && next == written;
        record.send_first = next.wrapping_sub(sent).wrapping_sub(u32::from(fin_sent));
        // `bytes_received` counts the FIN as `rcv_nxt` does (tcp_rcv_nxt_update).
        record.receive_first = load::<u32>(tcp, offset!(tcp_sock_rcv_nxt))
            .wrapping_sub(load::<u64>(tcp, offset!(tcp_sock_bytes_received)) as u32);
        // What was sent is counted before `snd_nxt` moves, and softirq sends too: the first call of an
        // end that connected tells it better.
        if !receiving && connection.turn == 0 && connection.connect_ns != 0 {
            record.send_first = position;
        }
        let at_birth = if receiving {
            position == record.receive_first && written == record.send_first
        } else {
            position == record.send_first && copied == record.receive_first
        };
        if at_birth {
            record.flags |= OPEN_BIRTH;
        }
        if connection.connect_ns != 0 {
            record.flags |= OPEN_CLIENT;
            record.time_ns = connection.connect_ns;
        }
        // By words: both addresses begin at a multiple of eight.
        record.family = load(sk, offset!(sock_family));
        record.local_port = load(sk, offset!(sock_num));
        record.remote_port = u16::from_be(load(sk, offset!(sock_dport)));
        let net: *const c_void = load(sk, offset!(sock_net));
        record.netns = load(net, offset!(net_inum));
        if record.family == AF_INET6 {
            (&raw mut record.local_address).cast::<[u64; 2]>().write(load(sk, offset!(sock_v6_rcv_saddr)));
            (&raw mut record.remote_address).cast::<[u64; 2]>().write(load(sk, offset!(sock_v6_daddr)));
        } else {
            (&raw mut record.local_address).cast::<u32>().write(load(sk, offset!(sock_rcv_saddr)));
            (&raw mut record.remote_address).cast::<u32>().write(load(sk, offset!(sock_daddr)));
        }
    }
    entry.submit(submit_flags(false));
    connection.flags |= Connection::ANNOUNCED;
}

#[inline(always)]
fn has_sent_fin(state: i32) -> bool {
    matches!(state, state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING | state::TIME_WAIT)
}

/// Bit of `sk_flags` (`enum sock_flags`): the peer's FIN was received. No state tells that: a socket
/// that was closed by it may still hold bytes that the process has not read, and the FIN behind them.
const SOCK_DONE: u64 = 1;

/// Whether the peer's FIN has been received.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn has_received_fin(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe { load::<u64>(sk, offset!(sock_flags)) >> SOCK_DONE & 1 != 0 }
}

/// `inet_sock_set_state(sk, oldstate, newstate)`, for every TCP socket of the machine. The current
/// task is often a stranger (softirq), so all but `connect` and `listen` go by the socket's storage.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let new: i32 = ctx.arg(2);
    // SAFETY: `sk` is the tracepoint's argument.
    unsafe {
        match new {
            state::LISTEN => listening(sk),
            state::SYN_SENT => connecting(sk.cast_mut()),
            state::FIN_WAIT1 | state::LAST_ACK => closing(sk.cast_mut(), CLOSE_SEND),
            state::CLOSE => closing(sk.cast_mut(), CLOSE_ALL),
            _ => (),
        }
    }
    0
}

#[inline(always)]
unsafe fn listening(sk: *const c_void) {
    // SAFETY: as the caller's.
    let port: u16 = unsafe { load(sk, offset!(sock_num)) };
    if !is_port_selected(port) {
        return;
    }
    let pid = Current::any().pid();
    set_selected(pid, true);
    process::report(ProcessRecord {
        kind: Kind::Listen as u8,
        selected: 2,
        port,
        pid,
        ..ProcessRecord::default()
    });
}

#[inline(always)]
unsafe fn connecting(sk: *mut c_void) {
    let Some(current) = Current::selected() else { return };
    // SAFETY: as the caller's.
    unsafe {
        if let Some(connection) = find_or_create(sk) {
            // A socket that was connected before begins anew.
            if connection.turn != 0 || connection.flags != 0 {
                let Some(number) = next_number() else { return };
                *connection = Connection {
                    number,
                    connect_ns: 0,
                    pre_first_ns: 0,
                    pre_last_ns: 0,
                    budget: 0,
                    open_budget: 0,
                    body_end: 0,
                    lost: 0,
                    turn: 0,
                    head: 0,
                    flags: 0,
                    zero: 0,
                    served_by: 0,
                    request_slot: 0,
                    inserted: 0,
                    push: 0,
                    push_at: 0,
                    last_bytes: 0,
                    zero_behind: 0,
                };
            }
            connection.connect_ns = bpf_ktime_get_ns();
            connection.served_by = current.pid();
            if propagates() {
                propagate::opened(sk, current);
            }
        }
    }
}

#[inline(always)]
unsafe fn closing(sk: *mut c_void, what: u8) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = find(sk) else { return };
        if connection.flags & Connection::SERVING != 0 {
            if what == CLOSE_ALL {
                context::lost(connection);
            }
        } else if propagates() && connection.is_outgoing() && connection.turn != RECEIVE + 1 {
            propagate::unanswered(sk, connection.served_by);
        }
        if connection.flags & Connection::ANNOUNCED == 0 {
            return;
        }
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return;
        }
        let Some(mut entry) = reserve::<CloseRecord>() else {
            count(KernelCounter::LostClose, 1);
            connection.lost += 1;
            return;
        };
        let error: i32 = load(sk, offset!(sock_err));
        let written: u32 = load(tcp, offset!(tcp_sock_write_seq));
        connection.settle_push(written);
        let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
        let there = load::<u32>(tcp, offset!(tcp_sock_rcv_nxt)).wrapping_sub(copied);
        let unread = if there > u32::from(has_received_fin(sk)) { CLOSE_UNREAD } else { 0 };
        entry.write(CloseRecord {
            kind: Kind::Close as u8,
            state: what | unread,
            error: error as u16,
            lost: connection.lost,
            connection: connection.number,
            time_ns: bpf_ktime_get_ns(),
            send_end: written.wrapping_sub(connection.inserted),
            receive_end: copied,
        });
        connection.lost = 0;
        entry.submit(submit_flags(false));
    }
}
