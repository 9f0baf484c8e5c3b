//! The programs that run when a TCP socket changes its state.
//!
//! The kernel runs no program inside of itself. A packet may arrive while the program runs for a system call, and change
//! the state of another socket on the same CPU: the second program runs for that change.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_skc_to_tcp_sock},
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use tracer_common::{
    CLOSE_ALL, CLOSE_EARLY, CLOSE_SEND, CLOSE_UNREAD, CloseRecord, KernelCounter, Kind, ProcessRecord,
    RECEIVE, UnconnectedRecord,
};

use crate::{
    connection::{Connection, find, find_or_create, has_received_fin, is_let_go, next_number, state},
    context::process::lost,
    memory::layout::{load, offset, propagates},
    propagate::outgoing::{opened, unanswered},
    ring::{count, report, reserve, submit_flags},
    runtime::{is_followed, tracer_connecting_task},
    select::{Current, is_port_selected, set_selected},
};

/// The change on this CPU that [`inet_sock_set_state`] was shown, and [`nested_sock_set_state`] was not yet: the socket and
/// its new state; and the one before it, which an interrupt came between.
#[map]
static CHANGES: PerCpuArray<[u64; 4]> = PerCpuArray::with_max_entries(1, 0);

/// `inet_sock_set_state(sk, oldstate, newstate)`, for every TCP socket of the machine.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, new): (*const c_void, i32) = (ctx.arg(0), ctx.arg(2));
    let Some(changes) = CHANGES.get_ptr_mut(0) else { return 0 };
    // SAFETY: a live map value of this CPU.
    unsafe {
        let word = |at: usize| changes.cast::<u64>().add(at);
        word(2).write_volatile(word(0).read_volatile());
        word(3).write_volatile(word(1).read_volatile());
        word(0).write_volatile(sk as u64);
        word(1).write_volatile(new as u64);
    }
    changed(&ctx);
    0
}

/// The same changes: does the work of [`inet_sock_set_state`] if that program was not shown this one. The agent attaches it
/// second.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn nested_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, new): (*const c_void, i32) = (ctx.arg(0), ctx.arg(2));
    let Some(changes) = CHANGES.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    unsafe {
        let word = |at: usize| changes.cast::<u64>().add(at);
        if word(0).read_volatile() == sk as u64 && word(1).read_volatile() == new as u64 {
            word(0).write_volatile(word(2).read_volatile());
            word(1).write_volatile(word(3).read_volatile());
            word(2).write_volatile(0);
            return 0;
        }
    }
    count(KernelCounter::Nested, 1);
    changed(&ctx);
    0
}

/// The current task is often another (softirq), so all but `connect` and `listen` go by the socket's storage.
#[inline(always)]
fn changed(ctx: &BtfTracePointContext) {
    let sk: *const c_void = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    // SAFETY: `sk` is the tracepoint's argument.
    unsafe {
        match new {
            state::LISTEN => listening(sk),
            state::SYN_SENT => connecting(sk.cast_mut()),
            state::FIN_WAIT1 | state::LAST_ACK => closing(sk.cast_mut(), old, CLOSE_SEND),
            state::CLOSE => closing(sk.cast_mut(), old, CLOSE_ALL),
            _ => (),
        }
    }
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
    report(ProcessRecord { kind: Kind::Listen as u8, selected: 2, port, pid, ..ProcessRecord::default() });
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
                    role: Connection::ROLE_SEEN,
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
            if is_followed(current) {
                tracer_connecting_task(connection.connect_ns, connection.number);
            }
            if propagates() {
                opened(sk, current);
            }
        }
    }
}

#[inline(always)]
unsafe fn closing(sk: *mut c_void, old: i32, what: u8) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = find(sk) else { return };
        if connection.flags & Connection::SERVING != 0 {
            if what == CLOSE_ALL {
                lost(connection);
            }
        } else if propagates() && connection.is_outgoing() && connection.turn != RECEIVE + 1 {
            unanswered(sk, connection.served_by);
        }
        if connection.flags & Connection::ANNOUNCED == 0 {
            if what == CLOSE_ALL && old == state::SYN_SENT && connection.is_outgoing() {
                unconnected(sk, connection.served_by);
            }
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
        let has_fin = has_received_fin(sk);
        let unread = if there > u32::from(has_fin) { CLOSE_UNREAD } else { 0 };
        // `LAST_ACK` comes behind the peer's end of the stream.
        let early = if is_let_go(sk) && old != state::LAST_ACK { CLOSE_EARLY } else { 0 };
        entry.write(CloseRecord {
            kind: Kind::Close as u8,
            state: what | unread | early,
            error: error as u16,
            lost: connection.lost,
            connection: connection.number,
            time_ns: bpf_ktime_get_ns(),
            send_end: written.wrapping_sub(connection.inserted),
            // Whoever has read everything has read the FIN too.
            receive_end: copied.wrapping_sub(u32::from(has_fin && there == 0)),
        });
        connection.lost = 0;
        entry.submit(submit_flags(false));
    }
}

/// A connection that was not established. The process that wanted it is told, as no span will tell it.
#[inline(always)]
unsafe fn unconnected(sk: *const c_void, pid: u32) {
    let Some(mut entry) = reserve::<UnconnectedRecord>() else {
        count(KernelCounter::LostData, 1);
        return;
    };
    // SAFETY: as the caller's.
    let (error, time_ns): (i32, u64) = unsafe { (load(sk, offset!(sock_err)), bpf_ktime_get_ns()) };
    entry.write(UnconnectedRecord {
        kind: Kind::Unconnected as u8,
        zero: 0,
        error: error as u16,
        pid,
        time_ns,
    });
    entry.submit(submit_flags(false));
}
