//! Atomic changes of map values. `core::sync::atomic` offers them only where the target has compare
//! and swap; BPF has the rest (`-Ctarget-cpu=v3`), and these are its intrinsics. Always SeqCst: LLVM
//! miscompiles a relaxed addition whose result is used.

use core::intrinsics::{
    AtomicOrdering::SeqCst, atomic_and, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg,
};

/// Adds and returns what was there.
///
/// # Safety
/// `value` is a live, aligned map value that everyone changes atomically.
#[inline(always)]
pub(crate) unsafe fn add(value: *mut u64, n: u64) -> u64 {
    // SAFETY: as the caller's.
    unsafe { atomic_xadd::<u64, u64, { SeqCst }>(value, n) }
}

/// Sets bits.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn set(value: *mut u64, bits: u64) {
    // SAFETY: as the caller's.
    unsafe { atomic_or::<u64, u64, { SeqCst }>(value, bits) };
}

/// Sets bits of a half word and returns what was there.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn set_half(value: *mut u32, bits: u32) -> u32 {
    // SAFETY: as the caller's.
    unsafe { atomic_or::<u32, u32, { SeqCst }>(value, bits) }
}

/// Clears bits of a half word and returns what was there.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn clear_half(value: *mut u32, bits: u32) -> u32 {
    // SAFETY: as the caller's.
    unsafe { atomic_and::<u32, u32, { SeqCst }>(value, !bits) }
}

/// Keeps only these bits.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn keep(value: *mut u64, bits: u64) {
    // SAFETY: as the caller's.
    unsafe { atomic_and::<u64, u64, { SeqCst }>(value, bits) };
}

/// Stores a value and returns what was there.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn swap(value: *mut u64, new: u64) -> u64 {
    // SAFETY: as the caller's.
    unsafe { atomic_xchg::<u64, { SeqCst }>(value, new) }
}

/// Stores a value where 0 is. Returns whether it was.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn claim(value: *mut u64, new: u64) -> bool {
    // SAFETY: as the caller's.
    unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(value, 0, new).1 }
}
