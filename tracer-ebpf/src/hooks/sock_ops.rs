//! The program that the kernel calls back for sockets of selected processes.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_TCP_CONNECT_CB,
    },
    helpers::generated::bpf_get_socket_cookie,
    macros::sock_ops,
    programs::SockOpsContext,
};

use crate::propagate::{
    admit::established,
    outgoing::{State, find_outgoing, leave},
    unseen::{file_before_leaving, waits_unseen},
};

/// `tcp_current_mss` asks for the length of header options: a send begins with it, before anything else.
/// `include/uapi/linux/bpf.h`.
const BPF_WRITE_HDR_TCP_CURRENT_MSS: u32 = 1;

/// `include/net/tcp_states.h`.
const TCP_CLOSE: u32 = 7;

/// Called for every TCP connection below the cgroup when it is established; for connections that a selected process
/// opened also within each send and at the end. The current task may be another: only the socket's storage is used.
#[sock_ops]
pub fn tracer_sock_ops(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    // SAFETY: the context's own fields; the verifier checks the socket.
    unsafe {
        let op = (*ops).op;
        if op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
            && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
            && op != BPF_SOCK_OPS_TCP_CONNECT_CB
            && op != BPF_SOCK_OPS_STATE_CB
        {
            return 1;
        }
        let sk = (*ops).__bindgen_anon_2.sk.cast::<c_void>();
        if sk.is_null() {
            return 1;
        }
        let Some(outgoing) = find_outgoing(sk, 0) else { return 1 };
        if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
            established(ops, sk, outgoing);
            return 1;
        }
        if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
            // The end of an earlier connection (`connect` to AF_UNSPEC) has left it there.
            outgoing.key = bpf_get_socket_cookie(ops.cast());
            leave(outgoing);
            return 1;
        }
        if op == BPF_SOCK_OPS_STATE_CB {
            // In the map a second send after a reset would fail with the first one's error.
            if (*ops).__bindgen_anon_1.args[1] == TCP_CLOSE {
                leave(outgoing);
            }
            return 1;
        }
        if outgoing.state == State::Leaving {
            outgoing.state = State::Outside;
            leave(outgoing);
        }
        if (*ops).__bindgen_anon_1.args[0] != BPF_WRITE_HDR_TCP_CURRENT_MSS {
            return 1;
        }
        if outgoing.state == State::Inside && waits_unseen(sk) {
            outgoing.state = State::Outside;
            leave(outgoing);
        }
        // In the map and at a certain position `tracer_sk_msg` files the client request.
        if outgoing.state == State::Outside || outgoing.is_certain == 0 {
            file_before_leaving(ops, sk, outgoing);
        }
    }
    1
}
