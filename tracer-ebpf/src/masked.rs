//! Loads and stores of words at places that are masked right before, in one piece of assembly: the compiler
//! would check one register and use another, and it reads words that are not aligned byte by byte.

use core::arch::asm;

/// The word at `base + at % 0x4000`, the first byte lowest.
///
/// # Safety
/// There are so many bytes behind `base`, and seven more.
#[inline(always)]
pub(crate) unsafe fn load(base: *const u8, at: u64) -> u64 {
    let value: u64;
    // SAFETY: as the caller's; kernels that run this can load words from anywhere.
    unsafe {
        asm!(
            "{at} &= 0x3fff",
            "{at} += {base}",
            "{value} = *(u64 *)({at} + 0)",
            at = inout(reg) at => _,
            base = in(reg) base,
            value = lateout(reg) value,
            options(readonly, nostack),
        );
    }
    value
}

/// Stores the word at `base + at % 0x4000`.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn store(base: *mut u8, at: u64, value: u64) {
    // SAFETY: as `load`.
    unsafe {
        asm!(
            "{at} &= 0x3fff",
            "{at} += {base}",
            "*(u64 *)({at} + 0) = {value}",
            at = inout(reg) at => _,
            base = in(reg) base,
            value = in(reg) value,
            options(nostack),
        );
    }
}

/// The place `base + at % 0x4000`.
///
/// # Safety
/// There are so many bytes behind `base`.
#[inline(always)]
pub(crate) unsafe fn place(base: *mut u8, at: u64) -> *mut u8 {
    let mut place = at;
    // SAFETY: as the caller's.
    unsafe {
        asm!(
            "{place} &= 0x3fff",
            "{place} += {base}",
            place = inout(reg) place,
            base = in(reg) base,
            options(pure, nomem, nostack),
        );
    }
    place as *mut u8
}

/// A length of at most `MASK`, known to be that where it is used.
#[inline(always)]
pub(crate) fn length<const MASK: i32>(length: u64) -> u64 {
    let mut length = length;
    // SAFETY: arithmetic.
    unsafe {
        asm!("{length} &= {mask}", length = inout(reg) length, mask = const MASK, options(nomem, nostack));
    }
    length
}

/// Stores the word at `place + OFFSET`.
///
/// # Safety
/// The caller has checked that it is there, in the verifier's eyes too.
#[inline(always)]
pub(crate) unsafe fn set<const OFFSET: i16>(place: usize, value: u64) {
    // SAFETY: as the caller's.
    unsafe {
        asm!(
            "*(u64 *)({place} + {offset}) = {value}",
            place = in(reg) place,
            offset = const OFFSET,
            value = in(reg) value,
            options(nostack),
        );
    }
}

/// The same value, of which the compiler knows nothing, and which it finds before it goes on.
#[inline(always)]
pub(crate) fn hide(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: it adds nothing. The kernel refuses a line of source without an instruction.
    unsafe { asm!("{value} += 0", value = inout(reg) value, options(nomem, nostack)) };
    value
}
