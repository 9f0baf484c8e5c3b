//! Client requests that `sk_msg` does not see: their ids are filed for the other end, before the other end can read the
//! request. This happens when the kernel asks for the length of header options, before the first byte of a send is in
//! the stream.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_sock_ops, helpers::generated::bpf_skc_to_tcp_sock};
use tracer_common::SEND;

use crate::{
    connection::{Connection, find},
    context::{filed::file, parent::tracer_parent},
    ids::{ServedRequest, ids_of, wire_key},
    memory::{
        layout::{load, offset},
        words::copy,
    },
    policy::is_ignored,
    propagate::{
        admit::{call_back, is_blocking, leaves_at_once},
        outgoing::{Outgoing, State},
        report::refuse_as,
    },
    scratch::{give_back, scratch_at, take_scratch},
    select::Current,
};

/// Whether a send runs that `tracer_sk_msg` does not see, on a socket that may not receive in the sockmap. Such a send
/// began before the connection was established.
#[inline(always)]
pub(crate) unsafe fn waits_unseen(sk: *mut c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        !tcp.is_null()
            && load::<u32>(tcp, offset!(sock_lock_owned)) != 0
            && (leaves_at_once() || is_blocking(tcp))
    }
}

/// Files the ids of a client request without a header, if one begins with the running send of a selected process. No
/// byte of the send is in the stream yet, so the other end cannot have read the request.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program; `outgoing` is the socket's.
#[inline(always)]
pub(crate) unsafe fn file_before_leaving(ops: *mut bpf_sock_ops, sk: *mut c_void, outgoing: &mut Outgoing) {
    const KNOWN: u8 = Connection::HEADED | Connection::UPPER_LAYER;
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = find(sk) else { return };
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return;
        }
        let wire: u32 = load(tcp, offset!(tcp_sock_write_seq));
        let position = wire.wrapping_sub(connection.inserted);
        if outgoing.kept_out != 0 {
            refuse_as(outgoing, connection, position, outgoing.kept_out);
        }
        if outgoing.is_filed != 0
            || connection.turn == SEND + 1
            || !connection.is_outgoing()
            || connection.flags & KNOWN != 0
        {
            return;
        }
        // The agent ignores the connection, so no server looks for the ids of its requests.
        if is_ignored(connection.number, SEND) {
            if outgoing.state == State::Outside {
                call_back(ops, false);
            }
            return;
        }
        // If no task holds the socket, an interrupt runs this callback, not a send.
        if load::<u32>(tcp, offset!(sock_lock_owned)) == 0 {
            return;
        }
        let Some(current) = Current::selected_task() else { return };
        let answer_at = load(tcp, offset!(tcp_sock_copied_seq));
        let done = file_request(connection.number, position, wire, answer_at, current, &mut outgoing.serves);
        outgoing.is_filed = u8::from(done);
    }
}

/// Files the ids of a client request without a header. `wire` is its [`wire_key`], `thread` sends it, and its parent is
/// written to `serves`. Returns 1 if the ids were filed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_file_request(
    number: u64,
    position: u64,
    wire: u64,
    thread: u64,
    serves: *mut ServedRequest,
) -> u64 {
    let Some(index) = take_scratch() else { return 0 };
    let Some(scratch) = scratch_at(index) else { return 0 };
    // SAFETY: a live map value that is ours; the helper copies key and value.
    unsafe {
        (*scratch).client.opened_for.connection = 0;
        (*scratch).client.was_idle = 0;
        (*scratch).client.remote = 0;
        let found = tracer_parent(index, thread);
        if let Some(serves) = serves.as_mut() {
            copy(&(*scratch).client.parent, serves);
        }
        let ids = ids_of(number, position as u32, &(*scratch).client, found);
        file(scratch, wire, &ids, found);
    }
    give_back(index);
    1
}

/// As [`tracer_file_request`]. Returns whether a scratch buffer was free, so that the ids were filed.
#[inline(always)]
pub(crate) fn file_request(
    number: u64,
    position: u32,
    wire: u32,
    answer_at: u32,
    thread: Current,
    serves: &mut ServedRequest,
) -> bool {
    tracer_file_request(number, u64::from(position), wire_key(wire, answer_at), thread.both(), serves) != 0
}
