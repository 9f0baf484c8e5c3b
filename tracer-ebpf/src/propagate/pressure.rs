//! Memory for sockets. TCP guarantees each socket a minimum that the send path of a sockmap lacks: under pressure a send
//! in the sockmap fails before `tracer_sk_msg` runs, again and again (`sk_msg_alloc`, `net/core/skmsg.c`).

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tracer_common::{ABSENT, InjectionOutcome};

use super::{outgoing::find_outgoing, report::refuse_all};
use crate::{
    connection::Connection,
    memory::layout::{load, offset, read_word},
};

/// Pages that a memory group must have left for TCP: several send buffers.
const HEADROOM: u64 = 256;

/// Memory groups that are looked at, from the socket's own upwards.
const LEVELS: u32 = 8;

/// `include/uapi/asm-generic/errno-base.h`.
const EAGAIN: i32 = 11;

/// Whether memory for sockets is short: the protocol's, or that of the socket's memory group.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn is_short_of_memory(sk: *const c_void) -> bool {
    // SAFETY: typed pointers; the verifier makes reads through null return 0.
    unsafe {
        let protocol: *const c_void = load(sk, offset!(sock_prot));
        let pressure: *const c_void = load(protocol, offset!(proto_memory_pressure));
        if read_word(pressure as u64) != 0 {
            return true;
        }
        if offset!(sock_memcg) == u64::from(ABSENT) {
            return false;
        }
        let group: *const c_void = load(sk, offset!(sock_memcg));
        if group.is_null() {
            return false;
        }
        if offset!(memcg_socket_pressure) != u64::from(ABSENT) && is_reclaimed(group) {
            return true;
        }
        // cgroup v1: `memory.kmem.tcp.limit_in_bytes`.
        if offset!(memcg_tcpmem) == u64::from(ABSENT) {
            return false;
        }
        let mut counter = group.byte_add(offset!(memcg_tcpmem) as usize);
        let [usage_at, most_at, parent_at] =
            [offset!(page_counter_usage), offset!(page_counter_max), offset!(page_counter_parent)];
        let mut level = 0;
        while level < LEVELS && !counter.is_null() {
            let (usage, most): (u64, u64) = (load(counter, usage_at), load(counter, most_at));
            if usage + HEADROOM > most {
                return true;
            }
            counter = load(counter, parent_at);
            level += 1;
        }
    }
    false
}

/// cgroup v2: whether reclaim was hard, a second ago at most, in a memory group or one above it
/// (`mem_cgroup_under_socket_pressure`).
#[inline(always)]
unsafe fn is_reclaimed(group: *const c_void) -> bool {
    // SAFETY: a helper without arguments, and reads that are checked.
    unsafe {
        let now = bpf_jiffies64();
        let mut group = group as u64;
        let mut level = 0;
        while level < LEVELS && group != 0 {
            // In jiffies; 0 on a fault.
            let until = read_word(group + offset!(memcg_socket_pressure));
            if (now.wrapping_sub(until) as i64) < 0 {
                return true;
            }
            group = read_word(group + offset!(memcg_parent));
            level += 1;
        }
    }
    false
}

/// Handles a failed send: another client request may be sent at this position. A send that fails for want of space
/// although nothing waits in the socket failed for want of memory: the agent takes the socket out of the sockmap.
///
/// # Safety
/// As [`is_short_of_memory`].
#[inline(always)]
pub(crate) unsafe fn send_failed(
    sk: *mut c_void,
    tcp: *const c_void,
    connection: &Connection,
    error: i32,
    pid: u32,
) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(outgoing) = find_outgoing(sk, 0) else { return };
        outgoing.is_filed = 0;
        if error != -EAGAIN || outgoing.refused != 0 || load::<u32>(tcp, offset!(sock_wmem_queued)) != 0 {
            return;
        }
        // The ids of its requests are filed within the sends again.
        outgoing.is_certain = 0;
        let position = load::<u32>(tcp, offset!(tcp_sock_write_seq)).wrapping_sub(connection.inserted);
        if !refuse_all(outgoing, connection, pid, position, InjectionOutcome::MemoryPressure) {
            outgoing.refused = 0;
        }
    }
}
