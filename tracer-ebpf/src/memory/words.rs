//! Loads and stores of words at places that are masked right before, in one piece of assembly: the compiler
//! would check one register and use another, and it reads words that are not aligned byte by byte.

use core::arch::asm;

/// The word at `base + at % 0x4000`, the first byte lowest.
///
/// # Safety
/// There are so many bytes behind `base`, and seven more.
#[inline(always)]
pub(crate) unsafe fn load_bounded(base: *const u8, at: u64) -> u64 {
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

/// The next number of a loop. The compiler cannot foresee it, so it does not write the loop out; the verifier can.
#[inline(always)]
pub(crate) fn counted(number: u32) -> u32 {
    let mut number = u64::from(number);
    // SAFETY: arithmetic.
    unsafe { asm!("{number} += 1", number = inout(reg) number, options(nomem, nostack)) };
    number as u32
}

/// Stores the word at `base + at % 0x4000`.
///
/// # Safety
/// As [`load_bounded`].
#[inline(always)]
pub(crate) unsafe fn store_bounded(base: *mut u8, at: u64, value: u64) {
    // SAFETY: as `load_bounded`.
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

/// The position `base + at % 0x4000`.
///
/// # Safety
/// There are so many bytes behind `base`.
#[inline(always)]
pub(crate) unsafe fn bounded(base: *mut u8, at: u64) -> *mut u8 {
    let mut position = at;
    // SAFETY: as the caller's.
    unsafe {
        asm!(
            "{position} &= 0x3fff",
            "{position} += {base}",
            position = inout(reg) position,
            base = in(reg) base,
            options(pure, nomem, nostack),
        );
    }
    position as *mut u8
}

/// A length of at most `MASK`, known to be that where it is used.
#[inline(always)]
pub(crate) fn bounded_length<const MASK: i32>(length: u64) -> u64 {
    let mut length = length;
    // SAFETY: arithmetic.
    unsafe {
        asm!("{length} &= {mask}", length = inout(reg) length, mask = const MASK, options(nomem, nostack));
    }
    length
}

/// Stores the word at `position + OFFSET`.
///
/// # Safety
/// The caller has checked that it is there, in the verifier's eyes too.
#[inline(always)]
pub(crate) unsafe fn store_at<const OFFSET: i16>(position: usize, value: u64) {
    // SAFETY: as the caller's.
    unsafe {
        asm!(
            "*(u64 *)({position} + {offset}) = {value}",
            position = in(reg) position,
            offset = const OFFSET,
            value = in(reg) value,
            options(nostack),
        );
    }
}

/// Copies a value of whole words: the compiler would do it byte by byte.
#[inline(always)]
pub(crate) fn copy<T: Copy>(from: &T, to: &mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside both values.
        unsafe { core::ptr::write_volatile(to.add(word), core::ptr::read_volatile(from.add(word))) };
        word += 1;
    }
}

/// Clears a value of whole words: as [`copy`].
///
/// # Safety
/// `to` is live memory of that size.
#[inline(always)]
pub(crate) unsafe fn clear<T>(to: *mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside of the value.
        unsafe { to.cast::<u64>().add(word).write_volatile(0) };
        word += 1;
    }
}

#[inline(always)]
pub(crate) unsafe fn read_now(value: *const u64) -> u64 {
    // SAFETY: a live map value.
    unsafe { core::ptr::read_volatile(value) }
}

#[inline(always)]
pub(crate) fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[inline(always)]
pub(crate) fn max(a: u32, b: u32) -> u32 {
    if a < b { b } else { a }
}
