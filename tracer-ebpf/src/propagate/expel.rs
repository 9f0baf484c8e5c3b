//! A way out of the sockmap for programs that may not change one.
//!
//! The verifier lets a tracing program delete nothing from a sockmap (`may_update_sockmap`, `kernel/bpf/verifier.c`), but
//! lets it start a timer. The function of a timer counts as part of the program that set it, here `tracer_sock_ops`,
//! which may delete. The tracing program waits until the timer's interrupt has run.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    bindings::bpf_timer,
    btf_maps::Array,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_loop, bpf_map_delete_elem, bpf_timer_init, bpf_timer_set_callback,
        bpf_timer_start,
    },
    macros::btf_map,
};

use crate::{
    memory::{atomic, words::read_now},
    propagate::outgoing::SOCKETS,
};

/// The socket that is taken out, one at a time.
#[repr(C)]
struct Expulsion {
    timer: bpf_timer,
    /// Its key in [`SOCKETS`]; 0 once it is out.
    key: u64,
}

#[btf_map]
static EXPULSION: Array<Expulsion, 1> = Array::new();

/// Rounds of the longest wait, about a millisecond. The interrupt comes within microseconds, unless the processor
/// defers its work to a thread.
const ROUNDS: u32 = 1 << 17;

/// `include/uapi/linux/time.h`.
const CLOCK_MONOTONIC: u64 = 1;

/// Gives the timer its function. It stays that of the first program until the map is gone.
#[inline(always)]
pub(crate) unsafe fn prepare() {
    // SAFETY: a live map value; the kernel's own lock guards the timer.
    unsafe {
        let Some(expulsion) = EXPULSION.get_ptr_mut(0) else { return };
        let timer = &raw mut (*expulsion).timer;
        // It fails for a timer that has one.
        if bpf_timer_init(timer, (&raw const EXPULSION).cast_mut().cast(), CLOCK_MONOTONIC) == 0 {
            bpf_timer_set_callback(timer, take_out as *mut c_void);
        }
    }
}

/// The timer's function.
unsafe extern "C" fn take_out(_map: *mut c_void, _key: *mut u32, expulsion: *mut Expulsion) -> c_long {
    // SAFETY: the value of the timer's map; the helper copies the key.
    unsafe {
        let mut key = read_now(&raw const (*expulsion).key);
        bpf_map_delete_elem((&raw const SOCKETS).cast_mut().cast(), (&raw mut key).cast());
        atomic::swap(&raw mut (*expulsion).key, 0);
    }
    0
}

struct Wait {
    key: u64,
    is_started: u64,
}

/// One round of the wait: first for others that take sockets out, then for the timer.
unsafe extern "C" fn wait(_round: u64, wait: *mut Wait) -> c_long {
    // SAFETY: `wait` is that of `expel`; a live map value.
    unsafe {
        let wait = &mut *wait;
        let Some(expulsion) = EXPULSION.get_ptr_mut(0) else { return 1 };
        let key = &raw mut (*expulsion).key;
        if wait.is_started != 0 {
            return c_long::from(read_now(key) != wait.key);
        }
        if atomic::claim(key, wait.key) {
            wait.is_started = 1;
            if bpf_timer_start(&raw mut (*expulsion).timer, 0, 0) != 0 {
                // The timer has no function yet: no socket has entered.
                atomic::swap(key, 0);
            }
        }
    }
    0
}

/// Takes a socket out of the sockmap before the running call goes on. Where that is not possible, the socket leaves
/// within its next send.
///
/// # Safety
/// `sk` is a socket that the kernel passed to a tracing program, and no lock of it is held.
#[inline(always)]
pub(crate) unsafe fn expel(sk: *mut c_void) {
    // SAFETY: as the caller's; the function gets what it takes.
    unsafe {
        let mut it = Wait { key: bpf_get_socket_cookie(sk), is_started: 0 };
        bpf_loop(ROUNDS, wait as *mut c_void, (&raw mut it).cast(), 0);
    }
}
