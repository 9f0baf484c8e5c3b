//! The current request of a thread: the one that it has read, until the first byte of the response is sent.

use aya_ebpf::{macros::map, maps::Array};

use crate::{
    context::request::{BUSY, is_open},
    ids::ServedRequest,
    memory::{
        atomic,
        words::{copy, read_now},
    },
    select::Current,
};

/// The current request of a thread.
#[repr(C)]
pub(crate) struct Working {
    /// Process in the high half, thread in the low; 0 for none, [`BUSY`] while a program writes.
    pub(crate) thread: u64,
    pub(crate) served: ServedRequest,
}

/// Number of slots for threads, which are chosen by the last bits of the thread id; a power of two.
const THREAD_SLOTS: u32 = 32_768;

#[map]
static WORKING: Array<Working> = Array::with_max_entries(THREAD_SLOTS, 0);

/// The slot of a thread; another thread may have taken it.
#[inline(always)]
pub(crate) fn slot_of(current: Current) -> Option<*mut Working> {
    WORKING.get_ptr_mut(current.tid() & (THREAD_SLOTS - 1))
}

/// Copies the current request of a thread. Returns whether it is known.
#[inline(always)]
pub(crate) unsafe fn working(current: Current, to: &mut ServedRequest) -> bool {
    let Some(working) = slot_of(current) else { return false };
    // SAFETY: a live map value. The copy is consistent if the slot belongs to this thread before and after it.
    unsafe {
        let thread = &raw const (*working).thread;
        if read_now(thread) != current.both() {
            return false;
        }
        copy(&(*working).served, to);
        read_now(thread) == current.both()
    }
}

/// Whether a thread is known to work for another request than `served`.
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

/// Sets the current request of a thread: it has read the request, or (`again`) continues to work for it.
#[inline(always)]
pub(crate) unsafe fn set_working(current: Current, served: &ServedRequest, again: bool) {
    let Some(working) = slot_of(current) else { return };
    // SAFETY: a live map value; the owner is changed atomically, and no other program writes while it is `BUSY`.
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

/// Handles the read of a response to a client request: the thread continues to work for the parent of that client
/// request.
#[inline(always)]
pub(crate) unsafe fn resume(current: Current, served: &ServedRequest) {
    // SAFETY: as the callee's.
    unsafe { set_working(current, served, true) };
}
