//! The value of a `traceparent`: W3C trace context level 2, section 3.2.

use core::hint::black_box;

use super::{Text, head::Head};

/// Bytes of a `traceparent` of version 0.
pub(crate) const PARENT_LENGTH: u32 = 55;

/// The ids of a trace context, in the order of their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Ids {
    pub(crate) trace: [u64; 2],
    pub(crate) span: u64,
    /// W3C trace flags.
    pub(crate) flags: u64,
}

/// Reads the value of the head's only `traceparent` by the rules of W3C trace context. Returns whether it is valid.
#[inline(always)]
pub(crate) fn read(head: &Head, text: &impl Text, found: &mut Ids) -> bool {
    let begin = u64::from(head.parent_begin);
    let length = head.parent_end.wrapping_sub(head.parent_begin);
    if head.parents != 1 || !(PARENT_LENGTH..=512).contains(&length) {
        return false;
    }
    let mut wrong = 0;
    let first = sixteen(text, begin + 3, &mut wrong);
    found.trace[0] = first;
    let second = sixteen(text, begin + 19, &mut wrong);
    found.trace[1] = second;
    wrong = black_box(wrong | u64::from(first | second == 0));
    let span = sixteen(text, begin + 36, &mut wrong);
    found.span = span;
    wrong = black_box(wrong | u64::from(span == 0));
    // Two digits for four, so that one function reads all.
    let version = text.word(begin);
    let number = digits(version & 0xffff | 0x3030_3030_3030_0000, &mut wrong);
    let last = text.word(begin + 48) >> 32;
    found.flags = digits(last >> 8 & 0xffff | 0x3030_3030_3030_0000, &mut wrong) & 3;
    // `-` between all, and what stands around the flags: `-01`, and what comes behind.
    wrong |= (version >> 16 & 0xff ^ u64::from(b'-'))
        | (text.word(begin + 35) & 0xff ^ u64::from(b'-'))
        | (last & 0xff ^ u64::from(b'-'));
    let goes_on = length != PARENT_LENGTH;
    wrong == 0 && number & 0xff != 0xff && !(goes_on && (number & 0xff == 0 || last >> 24 != u64::from(b'-')))
}

/// Eight bytes from sixteen digits at `at`; `wrong` is not 0 any more if anything else is among them.
#[inline(always)]
fn sixteen(text: &impl Text, at: u64, wrong: &mut u64) -> u64 {
    let low = digits(text.word(at), wrong);
    low | digits(text.word(at + 8), wrong) << 32
}

/// Four bytes from eight digits, as [`sixteen`]. Values are hidden from the compiler, which would keep all of them on
/// the stack to the end: it is small.
#[inline(always)]
fn digits(digits: u64, wrong: &mut u64) -> u64 {
    let value = black_box(tracer_read_hex(digits));
    *wrong = black_box(*wrong | value >> 32);
    value & 0xffff_ffff
}

/// Four bytes, the first lowest, from eight lower-case hexadecimal digits, the first lowest. Bits above the lowest 32
/// are set if anything else is among them. A function of its own: inlined, it would be there seven times.
#[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
#[inline(never)]
pub extern "C" fn tracer_read_hex(digits: u64) -> u64 {
    let nibbles = (digits & 0x0f0f_0f0f_0f0f_0f0f) + (digits >> 6 & 0x0101_0101_0101_0101) * 9;
    let bytes = (nibbles & 0x000f_000f_000f_000f) << 4 | nibbles >> 8 & 0x000f_000f_000f_000f;
    let bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    let value = (bytes | bytes >> 16) & 0xffff_ffff;
    // A character that is no digit comes back as another one.
    if hex(value) == digits { value } else { value | 1 << 32 }
}

/// Eight digits for four bytes, the first lowest in both.
#[inline(always)]
pub(crate) fn hex(value: u64) -> u64 {
    let spread = (value & 0xffff_ffff | value << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = spread >> 4 & 0x000f_000f_000f_000f | (spread & 0x000f_000f_000f_000f) << 8;
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + letters * 0x27
}
