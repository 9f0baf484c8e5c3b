//! Programs that run when a socket sends or receives.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, fexit, map},
    maps::ProgramArray,
    programs::{BtfTracePointContext, FExitContext},
};
use tracer_common::{KernelCounter, RECEIVE, SEND};

use crate::{
    capture::call::{NOT_DATA, SEND_PAGE, moved},
    connection::find_or_create,
    memory::layout::{load, offset},
    ring::count,
    select::Current,
};

/// `sock_recv_length(sk, ret, flags)`: after every receive of every socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved::<RECEIVE>(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), false) };
    0
}

/// `sock_send_length(sk, ret, flags)`: after every send.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the tracepoint's own arguments.
    unsafe { moved::<SEND>(ctx.arg::<*const c_void>(0).cast_mut(), ctx.arg(1), ctx.arg(2), false) };
    0
}

/// The same facts before 6.3, where the socket layer has no such tracepoints: from the end of each
/// family's function. `$flags` and `$result` are the indexes of the function's arguments.
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
                    Some(index) => ctx.arg(index),
                    None => 0,
                };
                moved::<$direction>(sk.cast_mut(), ctx.arg($result), flags, true);
            }
            0
        }
    };
}

// `inet_sendmsg(sock, msg, size)`, `inet_recvmsg(sock, msg, size, flags)`,
// `inet_sendpage(sock, page, offset, size, flags)`.
after_function!(inet_sendmsg, "inet_sendmsg", SEND, None, 3);

after_function!(inet_recvmsg, "inet_recvmsg", RECEIVE, Some(3), 4);

after_function!(inet_sendpage, "inet_sendpage", SEND_PAGE, None, 5);

/// The program [`inet_sendmsg`]: the agent puts it there.
#[map]
static SENDING: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program [`inet_recvmsg`].
#[map]
static RECEIVING: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// A function of IPv6 has the arguments and the result of its sibling of IPv4, so it goes on in the sibling's program.
macro_rules! as_its_sibling {
    ($name:ident, $function:literal, $sibling:ident) => {
        #[doc = concat!("After `", $function, "`.")]
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            if Current::selected().is_some() {
                // SAFETY: nothing here has to be dropped.
                unsafe { $sibling.tail_call(&ctx, 0) };
                // It returns only if the kernel has not gone on there.
                count(KernelCounter::Skipped, 1);
            }
            0
        }
    };
}

as_its_sibling!(inet6_sendmsg, "inet6_sendmsg", SENDING);

as_its_sibling!(inet6_recvmsg, "inet6_recvmsg", RECEIVING);

/// Counts the calls on Unix sockets, as the handler of the tracepoints does.
macro_rules! after_unix_function {
    ($name:ident, $function:literal, $flags:expr, $result:expr) => {
        #[doc = concat!("After `", $function, "`.")]
        #[fexit(function = $function)]
        pub fn $name(ctx: FExitContext) -> i32 {
            let flags: Option<usize> = $flags;
            let flags: i32 = match flags {
                Some(index) => ctx.arg(index),
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
