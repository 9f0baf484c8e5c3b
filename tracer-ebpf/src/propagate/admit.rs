//! Admission of sockets to the sockmap.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops,
    },
    helpers::generated::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skc_to_tcp_sock, bpf_sock_hash_update,
        bpf_sock_ops_cb_flags_set,
    },
    macros::map,
    maps::{Array, LpmTrie, lpm_trie::Key},
};
use tracer_common::{ABSENT, ISCSI_PORT, InjectionOutcome, PORT_WORDS};

use crate::{
    connection::{AF_INET6, find},
    context::rings::has_a_ring,
    memory::layout::{load, offset},
    propagate::{
        expel::prepare,
        outgoing::{Outgoing, SOCKETS, State},
        pressure::is_short_of_memory,
        report::{refuse_all, refuse_as},
    },
};

/// Ports that are known to speak HTTP/1, one bit each. A blocking socket enters the sockmap only for such a port,
/// because a blocking receive before the first send would not survive a signal in the sockmap.
#[map]
static HTTP_PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, BPF_F_MMAPABLE);

/// The lease: the time until which headers may be inserted, `CLOCK_MONOTONIC`; the agent renews it. The second word is
/// not 0 if no socket may receive while it is in the sockmap, because the agent found that `FIONREAD` is wrong there.
#[map]
static LEASE: Array<u64> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Address ranges, as IPv6 or IPv4-mapped IPv6: 1 if headers may go to the range.
#[map]
static DESTINATIONS: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(1024, 0);

/// `include/uapi/asm-generic/fcntl.h`.
const O_NONBLOCK: u32 = 0x800;

#[inline(always)]
pub(crate) unsafe fn established(ops: *mut bpf_sock_ops, sk: *mut c_void, outgoing: &mut Outgoing) {
    // SAFETY: as the caller's.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return;
        }
        let Some(connection) = find(sk) else { return };
        // The callback is needed for all sockets: it files the ids of client requests without a header.
        call_back(ops, true);
        let position: u32 = load(tcp, offset!(tcp_sock_write_seq));
        let why = kept_out(tcp, connection.served_by, outgoing);
        if why != 0 {
            refuse_as(outgoing, connection, position, why);
            return;
        }
        // Bytes that were sent with the SYN belong to a message that was not seen.
        outgoing.is_certain = u8::from(
            position == load::<u32>(tcp, offset!(tcp_sock_snd_una))
                && load::<u64>(tcp, offset!(tcp_sock_bytes_acked)) <= 1,
        );
        outgoing.boundary = position;
        outgoing.key = bpf_get_socket_cookie(ops.cast());
        prepare();
        let map = (&raw const SOCKETS).cast_mut().cast();
        if bpf_sock_hash_update(ops, map, (&raw mut outgoing.key).cast(), 0) != 0 {
            refuse_all(outgoing, connection, 0, position, InjectionOutcome::NoSpace);
            return;
        }
        outgoing.state = State::Inside;
    }
}

/// The [`InjectionOutcome`] of a connection that must stay out of the sockmap, plus one; 0 for one that may enter.
/// `process` has opened it.
#[inline(always)]
unsafe fn kept_out(tcp: *const c_void, process: u32, outgoing: &mut Outgoing) -> u8 {
    // SAFETY: as the caller's.
    unsafe {
        let port = u16::from_be(load(tcp, offset!(sock_dport)));
        if load::<u64>(tcp, offset!(sock_user_data)) != 0 || port == ISCSI_PORT {
            return InjectionOutcome::InUse as u8 + 1;
        }
        if outgoing.kept_out != 0 {
            return outgoing.kept_out;
        }
        if has_a_ring(process) {
            return InjectionOutcome::IoUring as u8 + 1;
        }
        if is_short_of_memory(tcp) {
            return InjectionOutcome::MemoryPressure as u8 + 1;
        }
        if let Err(why) = may_enter(tcp, outgoing) {
            return why as u8 + 1;
        }
        let blocks = is_blocking(tcp);
        if !blocks && !leaves_at_once() || is_http_port(port) {
            return 0;
        }
        let why = if blocks { InjectionOutcome::UnknownPort } else { InjectionOutcome::UnknownPortLimited };
        why as u8 + 1
    }
}

/// Enables the callbacks within each send and at the end of the connection, or disables those within sends. The flags
/// of other programs are kept.
#[inline(always)]
pub(crate) unsafe fn call_back(ops: *mut bpf_sock_ops, on: bool) {
    // SAFETY: the context's own field.
    unsafe {
        let known = (*ops).bpf_sock_ops_cb_flags;
        let flags = if on {
            known | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG
        } else {
            known & !BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
        };
        bpf_sock_ops_cb_flags_set(ops, flags as i32);
    }
}

/// Whether the callbacks within sends are still enabled: see [`call_back`].
#[inline(always)]
pub(crate) unsafe fn is_called_back(tcp: *const c_void) -> bool {
    // SAFETY: as the caller's.
    let flags: u8 = unsafe { load(tcp, offset!(tcp_sock_cb_flags)) };
    u32::from(flags) & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG != 0
}

#[inline(always)]
pub(crate) unsafe fn may_enter(tcp: *const c_void, outgoing: &mut Outgoing) -> Result<(), InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if !has_lease() {
            return Err(InjectionOutcome::Lease);
        }
        if let Some(why) = is_unfit(tcp) {
            return Err(why);
        }
        outgoing.is_allowed = u8::from(is_allowed(tcp));
        if outgoing.is_allowed == 0 {
            return Err(InjectionOutcome::Destination);
        }
    }
    Ok(())
}

#[inline(always)]
pub(crate) fn has_lease() -> bool {
    // SAFETY: a live map value; a helper without arguments.
    LEASE.get_ptr(0).is_some_and(|until| unsafe { core::ptr::read_volatile(until) > bpf_ktime_get_ns() })
}

#[inline(always)]
pub(crate) fn leaves_at_once() -> bool {
    // SAFETY: a live map value.
    LEASE.get_ptr(1).is_some_and(|word| unsafe { core::ptr::read_volatile(word) } != 0)
}

#[inline(always)]
fn is_http_port(port: u16) -> bool {
    HTTP_PORTS
        .get_ptr(u32::from(port) / 64)
        // SAFETY: a live map value.
        .is_some_and(|word| unsafe { core::ptr::read_volatile(word) } >> (port % 64) & 1 != 0)
}

/// Why a send or a receive on the socket works in a way that the sockmap does not know.
#[inline(always)]
pub(crate) unsafe fn is_unfit(tcp: *const c_void) -> Option<InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if load::<u64>(tcp, offset!(tcp_sock_icsk_ulp_ops)) != 0 {
            return Some(InjectionOutcome::UpperLayer);
        }
        // `sock_flag(sk, SOCK_ZEROCOPY)`.
        if load::<u64>(tcp, offset!(sock_flags)) >> (offset!(sock_zerocopy) & 63) & 1 != 0 {
            return Some(InjectionOutcome::ZeroCopy);
        }
        // A send would ask for no timestamp, and a receive would not see the error that a router has sent.
        if load::<u16>(tcp, offset!(sock_tsflags)) != 0 || gets_errors(tcp) {
            return Some(InjectionOutcome::InUse);
        }
    }
    None
}

/// Whether errors that routers send become errors of the socket: `IP_RECVERR`, `IPV6_RECVERR`.
#[inline(always)]
unsafe fn gets_errors(tcp: *const c_void) -> bool {
    // SAFETY: as the caller's; the verifier makes reads through null return 0.
    unsafe {
        let byte: u8 = load(tcp, offset!(tcp_sock_recverr));
        if u64::from(byte) & offset!(tcp_sock_recverr_mask) != 0 {
            return true;
        }
        if offset!(inet6_recverr_mask) == 0 {
            return false;
        }
        let at: *const c_void = if offset!(tcp_sock_pinet6) == u64::from(ABSENT) {
            tcp
        } else {
            load(tcp, offset!(tcp_sock_pinet6))
        };
        let byte: u8 = load(at, offset!(inet6_recverr));
        u64::from(byte) & offset!(inet6_recverr_mask) != 0
    }
}

/// Whether the socket blocks: its file lacks `O_NONBLOCK`, or it has no file.
#[inline(always)]
pub(crate) unsafe fn is_blocking(sk: *const c_void) -> bool {
    // SAFETY: as the caller's; the verifier makes reads through null return 0.
    unsafe {
        let socket: *const c_void = load(sk, offset!(sock_socket));
        if socket.is_null() {
            return true;
        }
        let file: *const c_void = load(socket, offset!(socket_file));
        file.is_null() || load::<u32>(file, offset!(file_flags)) & O_NONBLOCK == 0
    }
}

/// The key of a connection's other end: its address and port, mixed. Never 0.
///
/// # Safety
/// `tcp` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn remote_key(tcp: *const c_void) -> u64 {
    /// Odd numbers without a pattern: digits of the golden ratio and of two square roots.
    const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];
    // SAFETY: as the caller's. The family of addresses that the socket does not use is zero.
    unsafe {
        let [first, second]: [u64; 2] = load(tcp, offset!(sock_v6_daddr));
        let address: u32 = load(tcp, offset!(sock_daddr));
        let port: u16 = load(tcp, offset!(sock_dport));
        let mixed = first.wrapping_mul(MIX[0]) ^ second.wrapping_mul(MIX[1]);
        let mixed = (mixed ^ u64::from(address) << 16 ^ u64::from(port)).wrapping_mul(MIX[2]);
        mixed ^ mixed >> 32 | 1
    }
}

/// Whether headers may go to the other end of a connection.
#[inline(always)]
unsafe fn is_allowed(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        let mut address = [0u8; 16];
        if load::<u16>(sk, offset!(sock_family)) == AF_INET6 {
            let (local, remote): ([u64; 2], [u64; 2]) =
                (load(sk, offset!(sock_v6_rcv_saddr)), load(sk, offset!(sock_v6_daddr)));
            if local[0] == remote[0] && local[1] == remote[1] {
                return true;
            }
            address = core::mem::transmute::<[u64; 2], [u8; 16]>(remote);
        } else {
            let (local, remote): (u32, u32) =
                (load(sk, offset!(sock_rcv_saddr)), load(sk, offset!(sock_daddr)));
            if local == remote {
                return true;
            }
            address[10] = 0xff;
            address[11] = 0xff;
            address[12..].copy_from_slice(&remote.to_ne_bytes());
        }
        DESTINATIONS.get(Key::new(128, address)).is_some_and(|allowed| *allowed != 0)
    }
}
