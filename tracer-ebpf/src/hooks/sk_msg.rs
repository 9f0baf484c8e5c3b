//! The program that each message of a socket in the map passes before its bytes can leave.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_skc_to_tcp_sock, macros::sk_msg, programs::SkMsgContext};

use crate::{
    connection::find,
    propagate::{
        decide::message,
        outgoing::{CREATE, find_outgoing},
        write::{PASS, join},
    },
};

/// Runs in the sender's thread, with the socket locked, before the bytes of a send can leave.
#[sk_msg]
pub fn tracer_sk_msg(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context's own fields; the verifier checks the socket.
    unsafe {
        let msg = ctx.msg;
        let sk = (*msg).__bindgen_anon_3.sk.cast::<c_void>();
        if sk.is_null() {
            return PASS;
        }
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return PASS;
        }
        join(msg, tcp);
        let Some(connection) = find(sk) else { return PASS };
        let Some(outgoing) = find_outgoing(sk, CREATE) else { return PASS };
        message(msg, tcp, outgoing, connection)
    }
}
