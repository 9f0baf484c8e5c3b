//! Injection state of a connection that a selected process opened.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::SkStorage,
    helpers::generated::{bpf_map_delete_elem, bpf_sk_storage_get},
    macros::{btf_map, map},
    maps::SockHash,
};
use tracer_common::InjectionOutcome;

use crate::{
    connection::Connection,
    context::{
        parent::of_thread,
        process::{is_idle, waits_again},
    },
    ids::ServedRequest,
    memory::user::{is_of_kernel, uses_io_uring},
    select::Current,
};

pub(crate) const CREATE: u64 = 1;

/// Injection state of a connection that a selected process opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Outgoing {
    /// Its key in [`SOCKETS`].
    pub(crate) key: u64,
    /// The server request that the thread worked for when it opened the connection.
    pub(crate) opened_for: ServedRequest,
    /// The parent of the connection's last client request.
    pub(crate) serves: ServedRequest,
    /// Position on the wire (inserted bytes included) at which the next request begins.
    pub(crate) boundary: u32,
    /// Position on the wire of the last request that was decided about.
    pub(crate) request_at: u32,
    pub(crate) state: State,
    /// Not 0 while `boundary` is certain.
    pub(crate) is_certain: u8,
    /// Not 0 if headers may go to the other end.
    pub(crate) is_allowed: u8,
    /// The reported [`InjectionOutcome`](tracer_common::InjectionOutcome) that holds for all later requests, plus one; 0 for
    /// none.
    pub(crate) refused: u8,
    /// Not 0 once a request was decided about.
    pub(crate) has_sent: u8,
    /// Not 0 until the connection's first client request, if the process served no request when it opened the
    /// connection.
    pub(crate) was_idle: u8,
    /// Not 0 if the ids of the client request in progress were filed for the other end.
    pub(crate) is_filed: u8,
    /// The [`InjectionOutcome`](tracer_common::InjectionOutcome) that was certain when the connection was opened, or since
    /// its process set an option of the socket, plus one; 0 for none.
    pub(crate) kept_out: u8,
    pub(crate) zero: [u8; 4],
}

/// The state of a socket with respect to the sockmap.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Not in the sockmap; or the agent has put it in, and no message was seen yet. New storage is zero.
    Outside = 0,
    /// In the sockmap. `is_certain` tells whether the position of the next request is certain.
    Inside = 1,
    /// In the sockmap, and leaves it within the running send.
    Leaving = 2,
}

#[btf_map]
static OUTGOING: SkStorage<Outgoing> = SkStorage::new();

/// The sockmap: sockets whose messages pass `tracer_sk_msg`, by cookie. The agent adds pre-existing sockets.
#[map]
pub(crate) static SOCKETS: SockHash<u64> = SockHash::with_max_entries(16_384, 0);

#[inline(always)]
pub(crate) unsafe fn find_outgoing<'a>(sk: *mut c_void, create: u64) -> Option<&'a mut Outgoing> {
    // SAFETY: the helper checks the socket; the value lives as long as the program runs.
    unsafe {
        bpf_sk_storage_get((&raw const OUTGOING).cast_mut().cast(), sk, core::ptr::null_mut(), create)
            .cast::<Outgoing>()
            .as_mut()
    }
}

/// Prepares the state of a connection that a selected process opens.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn opened(sk: *mut c_void, current: Current) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(outgoing) = find_outgoing(sk, CREATE) else { return };
        // A socket that was connected before may be in the sockmap; `tracer_sock_ops` removes it.
        outgoing.key = 0;
        of_thread(current, &mut outgoing.opened_for);
        outgoing.was_idle = u8::from(is_idle(current.pid()));
        outgoing.serves = ServedRequest::NONE;
        outgoing.state = State::Outside;
        outgoing.is_certain = 0;
        outgoing.is_allowed = 0;
        outgoing.refused = 0;
        // A sockmap takes zero-copy sends from a socket for its whole life (`SOCK_SUPPORT_ZC`, `sock_replace_proto`).
        outgoing.kept_out = if is_of_kernel(sk) {
            InjectionOutcome::KernelSocket as u8 + 1
        } else if uses_io_uring() {
            InjectionOutcome::IoUring as u8 + 1
        } else {
            0
        };
        outgoing.has_sent = 0;
        outgoing.is_filed = 0;
    }
}

/// Handles the close of a connection before the response to its client request: a proxy may send another one.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn unanswered(sk: *mut c_void, process: u32) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(outgoing) = find_outgoing(sk, 0) else { return };
        // `opened_for` is still set if `tracer_sk_msg` has attributed no client request.
        let is_sent = outgoing.serves.connection != 0;
        let served = if is_sent { &mut outgoing.serves } else { &mut outgoing.opened_for };
        waits_again(served, process);
        // Cleared, because the close of the other direction calls this again, and another client request may have been
        // sent by then.
        served.connection = 0;
    }
}

/// The parent of the last client request on a connection.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn served_by<'a>(sk: *mut c_void) -> Option<&'a ServedRequest> {
    // SAFETY: as the caller's.
    unsafe { find_outgoing(sk, 0).map(|outgoing| &outgoing.serves) }
}

/// Handles the end of the first send of a client request. The next turn begins another client request.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn request_sent(sk: *mut c_void, connection: &mut Connection) {
    if connection.flags & Connection::HEADED != 0 {
        connection.flags &= !Connection::HEADED;
        return;
    }
    // SAFETY: as the caller's.
    if let Some(outgoing) = unsafe { find_outgoing(sk, 0) } {
        outgoing.is_filed = 0;
    }
}

/// Removes the socket from the sockmap.
#[inline(always)]
pub(crate) unsafe fn leave(outgoing: &Outgoing) {
    let mut key = outgoing.key;
    // SAFETY: our own map. The call has no effect if the kernel has removed the socket already.
    unsafe { bpf_map_delete_elem((&raw const SOCKETS).cast_mut().cast(), (&raw mut key).cast()) };
}
