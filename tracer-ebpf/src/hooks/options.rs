//! Programs that run when a process asks for what a socket in the sockmap, or one that ever was in it, cannot do.

use core::ffi::c_void;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use tracer_common::InjectionOutcome;

use crate::{
    context::rings::has_made_a_ring,
    memory::layout::{load, offset},
    propagate::{
        expel::expel,
        outgoing::{State, find_outgoing},
    },
    select::Current,
};

/// `include/uapi/asm-generic/socket.h`.
const SOL_SOCKET: i32 = 1;
const SO_TIMESTAMPING_OLD: i32 = 37;
const SO_ZEROCOPY: i32 = 60;
const SO_TIMESTAMPING_NEW: i32 = 65;

/// `include/uapi/linux/in.h`.
const IPPROTO_TCP: i32 = 6;

/// `include/uapi/linux/tcp.h`.
const TCP_REPAIR: i32 = 19;
const TCP_ULP: i32 = 31;

/// `include/uapi/linux/in.h`.
const IPPROTO_IP: i32 = 0;
const IP_RECVERR: i32 = 11;

/// `include/uapi/linux/in.h` and `include/uapi/linux/in6.h`.
const IPPROTO_IPV6: i32 = 41;
const IPV6_ADDRFORM: i32 = 1;
const IPV6_RECVERR: i32 = 25;

/// `security_socket_setsockopt(sock, level, optname)`: before an option is set. With some options a send or a receive
/// works in another way, which the sockmap does not know, and one is refused in it; the socket leaves first.
#[fentry(function = "security_socket_setsockopt")]
pub fn security_socket_setsockopt(ctx: FEntryContext) -> i32 {
    let why = match (ctx.arg(1), ctx.arg(2)) {
        (SOL_SOCKET, SO_ZEROCOPY) => InjectionOutcome::ZeroCopy,
        (IPPROTO_TCP, TCP_ULP | TCP_REPAIR) => InjectionOutcome::UpperLayer,
        (SOL_SOCKET, SO_TIMESTAMPING_OLD | SO_TIMESTAMPING_NEW)
        | (IPPROTO_IP, IP_RECVERR)
        | (IPPROTO_IPV6, IPV6_ADDRFORM | IPV6_RECVERR) => InjectionOutcome::InUse,
        _ => return 0,
    };
    // SAFETY: the function's own argument.
    unsafe {
        let socket: *const c_void = ctx.arg(0);
        let sk: *mut c_void = load(socket, offset!(socket_sk));
        // A sockmap keeps its own data there.
        if sk.is_null() || load::<u64>(sk, offset!(sock_user_data)) == 0 {
            return 0;
        }
        // A traced process has opened it, or has sent on it in the sockmap.
        let Some(outgoing) = find_outgoing(sk, 0) else { return 0 };
        outgoing.kept_out = why as u8 + 1;
        outgoing.state = State::Outside;
        outgoing.is_certain = 0;
        expel(sk);
    }
    0
}

/// `io_uring_create(fd, ctx, sq_entries, cq_entries, flags)`: the process does not know of the ring yet.
#[btf_tracepoint(function = "io_uring_create")]
pub fn io_uring_create(_ctx: BtfTracePointContext) -> i32 {
    if let Some(current) = Current::selected() {
        has_made_a_ring(current.pid());
    }
    0
}
