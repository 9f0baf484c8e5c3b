//! The open record, which announces a connection to the agent.

use core::ffi::c_void;

use tracer_common::{KernelCounter, Kind, OPEN_BIRTH, OPEN_CLIENT, OPEN_CLOSED, OpenRecord};

use crate::{
    connection::{AF_INET6, Connection, has_sent_fin, state},
    memory::{
        atomic::set_half,
        layout::{load, offset},
        words::{clear, counted},
    },
    ring::{count, reserve, submit_flags},
    select::Current,
};

/// The errors of a connection that the peer has reset.
const ECONNRESET: i32 = 104;
const EPIPE: i32 = 32;

/// Outputs the open record of a connection once, before its first data record. `position` and `receiving` describe the
/// system call that causes the record.
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
    // SAFETY: every field of the record is written in place; typed pointers, the offsets are the kernel's own.
    unsafe {
        let record = entry.as_mut_ptr();
        clear(record);
        let record = &mut *record;
        record.kind = Kind::Open as u8;
        record.pid = current.pid();
        record.connection = connection.number;
        record.time_ns = time_ns;
        let now = i32::from(load::<u8>(sk, offset!(sock_state)));
        let written: u32 = load(tcp, offset!(tcp_sock_write_seq));
        let copied: u32 = load(tcp, offset!(tcp_sock_copied_seq));
        let next: u32 = load(tcp, offset!(tcp_sock_snd_nxt));
        let sent = (load::<u64>(tcp, offset!(tcp_sock_bytes_sent)) as u32)
            .wrapping_sub(load::<u64>(tcp, offset!(tcp_sock_bytes_retrans)) as u32);
        // `snd_nxt` counts the FIN once it is sent; `bytes_sent` and `bytes_retrans` never do.
        let fin_sent = has_sent_fin(now) && next == written;
        record.send_first = next.wrapping_sub(sent).wrapping_sub(u32::from(fin_sent));
        record.receive_first = first_received(tcp, if receiving { position } else { copied });
        // The kernel increases `bytes_sent` before `snd_nxt`, and softirq can send between the two loads. For the first
        // call of an end that connected, the position of the call is exact.
        if !receiving && connection.turn == 0 && connection.connect_ns != 0 {
            // Unless another program has inserted bytes before it: then the bytes that were acknowledged, of which the
            // SYN is one, tell the same first position. The kernel changes the two pairs of counters one after the
            // other, so one of them is right.
            let acknowledged = (load::<u64>(tcp, offset!(tcp_sock_bytes_acked)) as u32).wrapping_sub(1);
            let first = load::<u32>(tcp, offset!(tcp_sock_snd_una)).wrapping_sub(acknowledged);
            if record.send_first != first {
                record.send_first = position;
            }
        }
        // A process may close its sending half before it has moved a byte: then `write_seq` counts the FIN alone.
        let at_birth = if receiving {
            position == record.receive_first && written.wrapping_sub(u32::from(fin_sent)) == record.send_first
        } else {
            position == record.send_first && copied == record.receive_first
        };
        if at_birth {
            record.flags |= OPEN_BIRTH;
        }
        if !at_birth && connection.connect_ns == 0 {
            connection.role = Connection::ROLE_UNKNOWN;
        }
        if connection.connect_ns != 0 {
            record.flags |= OPEN_CLIENT;
            record.time_ns = connection.connect_ns;
        }
        // Copied by words, because both addresses begin at a multiple of eight.
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
        // From here on the end is told, behind this record. An end before found no announced connection, and nothing
        // will tell it again.
        connection.flags |= Connection::ANNOUNCED;
        // Whoever tells the end reads the mark later than we read the state, or has set the state: no CPU may swap the two.
        set_half(&raw mut connection.zero_behind, 0);
        // A reset sets the error first. It calls the program that tells the end before it sets the state.
        let (is_closed, error) = (
            i32::from(load::<u8>(sk, offset!(sock_state))) == state::CLOSE,
            load::<i32>(sk, offset!(sock_err)),
        );
        if is_closed || matches!(error, ECONNRESET | EPIPE) {
            record.flags |= OPEN_CLOSED;
        }
    }
    entry.submit(submit_flags(false));
}

/// How often [`first_received`] reads the two counters. Another CPU makes the two changes visible one after the other, and
/// hundreds of nanoseconds can be between them: with three reads, 2 of 80,000 connections were misjudged.
const ATTEMPTS: u32 = 64;

/// The position of the first byte that the peer has sent. The kernel increases `bytes_received` before `rcv_nxt`, and
/// softirq can receive between the two loads: the difference is then too small. A value other than `expected`, the
/// position at the birth of a connection, is read again. Bytes that the process has read before make `expected` larger
/// than every value that is read, so a connection from mid-stream on is never taken for a new one.
///
/// # Safety
/// `tcp` is a socket from the kernel.
#[inline(always)]
unsafe fn first_received(tcp: *const c_void, expected: u32) -> u32 {
    let (mut first, mut attempt) = (0, 0);
    while attempt < ATTEMPTS {
        attempt = counted(attempt);
        // SAFETY: as the caller's. `bytes_received` counts the FIN as `rcv_nxt` does (tcp_rcv_nxt_update).
        unsafe {
            first = load::<u32>(tcp, offset!(tcp_sock_rcv_nxt))
                .wrapping_sub(load::<u64>(tcp, offset!(tcp_sock_bytes_received)) as u32);
        }
        if first == expected {
            break;
        }
    }
    first
}
