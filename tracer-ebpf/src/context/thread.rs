//! Which request a thread works for: the one that it has read, until the first byte of the response is sent.

use aya_ebpf::{macros::map, maps::Array};

use crate::{
    context::{
        ids::ServedRequest,
        request::{BUSY, is_open},
    },
    memory::{
        atomic,
        words::{copy, read_now},
    },
    select::Current,
};

/// The request that a thread works for.
#[repr(C)]
pub(crate) struct Working {
    /// Process in the high half, thread in the low; 0 for none, [`BUSY`] while a program writes.
    pub(crate) thread: u64,
    pub(crate) served: ServedRequest,
}

/// Threads that are remembered, by the last bits of their ids; a power of two.
const THREAD_SLOTS: u32 = 32_768;

#[map]
static WORKING: Array<Working> = Array::with_max_entries(THREAD_SLOTS, 0);

/// The slot of a thread; another thread may have taken it.
#[inline(always)]
pub(crate) fn slot_of(current: Current) -> Option<*mut Working> {
    WORKING.get_ptr_mut(current.tid() & (THREAD_SLOTS - 1))
}

/// Copies the request that a thread works for. Returns whether that is known.
#[inline(always)]
pub(crate) unsafe fn working(current: Current, to: &mut ServedRequest) -> bool {
    let Some(working) = slot_of(current) else { return false };
    // SAFETY: a live map value: all of it is this thread's if it says so before and behind.
    unsafe {
        let thread = &raw const (*working).thread;
        if read_now(thread) != current.both() {
            return false;
        }
        copy(&(*working).served, to);
        read_now(thread) == current.both()
    }
}

/// Whether it is known that a thread works for another request than this.
#[inline(always)]
pub(crate) unsafe fn works_for_another(current: Current, served: &ServedRequest) -> bool {
    let Some(working) = slot_of(current) else { return false };
    // SAFETY: as in `working`.
    unsafe {
        let thread = &raw const (*working).thread;
        if read_now(thread) != current.both() {
            return false;
        }
        let known = &(*working).served;
        let connection = core::ptr::read_volatile(&raw const known.connection);
        let position = core::ptr::read_volatile(&raw const known.position);
        read_now(thread) == current.both() && (connection != served.connection || position != served.position)
    }
}

/// The thread works for this request from now on: it has read it, or (`again`) goes on with it.
#[inline(always)]
pub(crate) unsafe fn set_working(current: Current, served: &ServedRequest, again: bool) {
    let Some(working) = slot_of(current) else { return };
    // SAFETY: a live map value; the thread is changed atomically, and nobody writes while it is busy.
    unsafe {
        let thread = &raw mut (*working).thread;
        let was = atomic::swap(thread, BUSY);
        if was == BUSY {
            return;
        }
        let known = &mut (*working).served;
        let shared =
            !again && was == current.both() && known.connection != served.connection && is_open(known);
        copy(served, known);
        known.used = 0;
        known.shared = u32::from(shared);
        core::ptr::write_volatile(thread, current.both());
    }
}

/// A proxy has read the response to a client request: it goes on with the parent of the client request.
#[inline(always)]
pub(crate) unsafe fn resume(current: Current, served: &ServedRequest) {
    // SAFETY: as the callee's.
    unsafe { set_working(current, served, true) };
}
