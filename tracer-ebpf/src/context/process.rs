//! The open server requests of a process, and its profile.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_update_elem},
    macros::map,
    maps::{HashMap, LruHashMap},
};

use crate::{
    connection::Connection,
    context::{
        request::{LONG_HEADS, REQUESTS, Request},
        rings::RINGS,
        thread::slot_of,
    },
    ids::ServedRequest,
    memory::{
        atomic,
        words::{copy, read_now},
    },
    select::Current,
};

/// How long a process may work for a server request whose connection is closed; the agent uses the same time.
pub(crate) const UNSEEN_NS: u64 = 10_000_000_000;

/// See `REST_NS` of the agent's `correlate/background.rs`: a process without an open request for so long is at rest.
const REST_NS: u64 = 100_000_000;

/// The server requests of a process.
#[repr(C)]
pub(crate) struct Serving {
    /// Number of open requests.
    pub(crate) open: u64,
    /// Number of requests that were ever opened.
    pub(crate) opened: u64,
    /// Number of open requests that wait for a client request of a proxy.
    pub(crate) waiting: u64,
    /// Last time at which the connection of an open request was lost; 0 for never.
    pub(crate) lost_ns: u64,
    /// When the last open request ended.
    idle_ns: u64,
    /// `opened` as it was with the last request before which the process was at rest.
    after_rest: u64,
    /// The request that was read last.
    pub(crate) last: ServedRequest,
}

#[map]
pub(crate) static SERVING: LruHashMap<u32, Serving> = LruHashMap::with_max_entries(4_096, 0);

/// Addresses that processes called for a server request before which they were at rest, by [`called`].
#[map]
static CALLED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(8_192, 0);

/// The profiles of processes (`PROFILE_*`), set by the agent.
#[map]
pub(crate) static PROFILES: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 1);

/// Counts a server request of the process.
#[inline(always)]
pub(crate) unsafe fn serves(process: u32, served: &ServedRequest) {
    // SAFETY: a live map value; counts are changed atomically, and readers check them twice.
    unsafe {
        let serving = match SERVING.get_ptr_mut(process) {
            Some(serving) => serving,
            None => {
                let serving = Serving {
                    open: 1,
                    opened: 1,
                    waiting: 1,
                    lost_ns: 0,
                    idle_ns: 0,
                    after_rest: 1,
                    last: *served,
                };
                let made = bpf_map_update_elem(
                    (&raw const SERVING).cast_mut().cast(),
                    (&raw const process).cast(),
                    (&raw const serving).cast(),
                    u64::from(BPF_NOEXIST),
                );
                if made == 0 {
                    return;
                }
                // Another thread was first.
                let Some(serving) = SERVING.get_ptr_mut(process) else { return };
                serving
            }
        };
        let is_idle = atomic::add(&raw mut (*serving).open, 1) == 0;
        let opened = atomic::add(&raw mut (*serving).opened, 1).wrapping_add(1);
        if is_idle && bpf_ktime_get_ns().wrapping_sub(read_now(&raw const (*serving).idle_ns)) >= REST_NS {
            core::ptr::write_volatile(&raw mut (*serving).after_rest, opened);
        }
        atomic::add(&raw mut (*serving).waiting, 1);
        copy(served, &mut (*serving).last);
    }
}

/// Handles the close of a connection before the first byte of the response. The process may continue to work for the
/// request.
#[inline(always)]
pub(crate) unsafe fn lost(connection: &mut Connection) {
    // SAFETY: a live map value, written before the request is counted down.
    unsafe {
        if let Some(serving) = SERVING.get_ptr_mut(connection.served_by) {
            core::ptr::write_volatile(&raw mut (*serving).lost_ns, bpf_ktime_get_ns());
        }
        answered(connection);
    }
}

/// Handles the end of a client request without a response: a proxy may send another one for the same server request.
#[inline(always)]
pub(crate) unsafe fn waits_again(served: &ServedRequest, process: u32) {
    // SAFETY: live map values, changed atomically.
    unsafe {
        if served.connection != 0
            && let Some(request) = REQUESTS.get_ptr_mut(served.slot)
            && core::ptr::read_volatile(&raw const (*request).number) == served.connection
            && (*request).position == served.position
            && atomic::clear_half(&raw mut (*request).state, Request::CALLED) == Request::CALLED
            && let Some(serving) = SERVING.get_ptr_mut(process)
        {
            atomic::add(&raw mut (*serving).waiting, 1);
        }
    }
}

/// Closes a server request: the first byte of the response was sent, or there will be no response.
#[inline(always)]
pub(crate) unsafe fn answered(connection: &mut Connection) {
    connection.flags &= !(Connection::SERVING | Connection::PARTIAL);
    // SAFETY: live map values.
    unsafe {
        // If the request has lost its slot, `waiting` remains too high. A proxy's client requests are then refused until
        // no request is open.
        let mut waits = false;
        if let Some(request) = REQUESTS.get_ptr_mut(connection.request_slot)
            && core::ptr::read_volatile(&raw const (*request).number) == connection.number
        {
            let was = atomic::set_half(&raw mut (*request).state, Request::ANSWERED);
            if was & Request::ANSWERED != 0 {
                return;
            }
            waits = was == Request::OPEN;
            if let Some(long) = LONG_HEADS.get_ptr_mut((*request).long.wrapping_sub(1))
                && core::ptr::read_volatile(&raw const (*long).number) == connection.number
            {
                core::ptr::write_volatile(&raw mut (*long).number, 0);
            }
        }
        if let Some(serving) = SERVING.get_ptr_mut(connection.served_by)
            && (*serving).open != 0
        {
            if atomic::add(&raw mut (*serving).open, u64::MAX) == 1 {
                core::ptr::write_volatile(&raw mut (*serving).idle_ns, bpf_ktime_get_ns());
                // This corrects the count for requests that lost their slots.
                core::ptr::write_volatile(&raw mut (*serving).waiting, 0);
            } else if waits {
                atomic::add(&raw mut (*serving).waiting, u64::MAX);
            }
        }
    }
}

/// The key of an address in [`CALLED`]: `remote` is the key of the socket's other end, 0 if that is not known.
#[inline(always)]
pub(crate) const fn called(process: u32, remote: u64) -> u64 {
    remote ^ (process as u64) << 32
}

impl Serving {
    /// Whether a client request to this address may be for the process's only open request. Work of an earlier request
    /// goes to addresses that no request has called before which the process was at rest.
    ///
    /// # Safety
    /// `serving` is a live map value, and `opened` was read from it.
    #[inline(always)]
    pub(crate) unsafe fn may_call(serving: *const Self, opened: u64, key: u64) -> bool {
        // SAFETY: a live map value; the helper copies key and value.
        unsafe {
            let is_known = CALLED.get_ptr(&key).is_some();
            let is_after_rest = read_now(&raw const (*serving).after_rest) == opened;
            if is_after_rest && !is_known && key & 1 != 0 {
                let one = 1_u8;
                bpf_map_update_elem(
                    (&raw const CALLED).cast_mut().cast(),
                    (&raw const key).cast(),
                    (&raw const one).cast(),
                    0,
                );
            }
            is_after_rest || is_known
        }
    }
}

/// Whether a process has no open server request.
#[inline(always)]
pub(crate) unsafe fn is_idle(process: u32) -> bool {
    // SAFETY: a live map value.
    SERVING.get_ptr(process).is_none_or(|serving| unsafe { read_now(&raw const (*serving).open) == 0 })
}

/// Handles the exit of a thread, and of its process if `process` is true.
#[inline(always)]
pub(crate) fn thread_gone(current: Current, process: bool) {
    // SAFETY: live map values; the helper copies the key.
    unsafe {
        if let Some(working) = slot_of(current)
            && read_now(&raw const (*working).thread) == current.both()
        {
            core::ptr::write_volatile(&raw mut (*working).thread, 0);
        }
        if process {
            let pid = current.pid();
            bpf_map_delete_elem((&raw const SERVING).cast_mut().cast(), (&raw const pid).cast());
            // The record of the exit may be lost, and the pid may be another's before the agent knows.
            bpf_map_delete_elem((&raw const PROFILES).cast_mut().cast(), (&raw const pid).cast());
            bpf_map_delete_elem((&raw const RINGS).cast_mut().cast(), (&raw const pid).cast());
        }
    }
}
