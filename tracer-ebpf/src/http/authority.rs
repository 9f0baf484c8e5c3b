//! The authority of a target in absolute form, `http://HOST:PORT/…`: the request is for a forward proxy, which passes
//! it on to that host. One step looks at eight bytes, in the loop of a helper.

use super::{
    Text,
    head::{LOWER, equal},
    word,
};

/// Words of the longest authority that is looked at, with the zero behind it.
pub(crate) const WORDS: usize = 16;

const SLASHES: u64 = 0x2f2f_2f2f_2f2f_2f2f;
const SPACES: u64 = 0x2020_2020_2020_2020;
const QUESTION_MARKS: u64 = 0x3f3f_3f3f_3f3f_3f3f;

/// An authority in small letters, with zeros behind it.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Authority {
    pub(crate) text: [u64; WORDS],
    begin: u32,
    /// Not 0 once its end was seen.
    has_end: u32,
}

impl Authority {
    /// That of a target which begins here. Returns whether the target is one of `http`.
    #[inline(always)]
    pub(crate) fn begin(&mut self, target: u64, text: &impl Text) -> bool {
        self.begin = target as u32 + 7;
        (text.word(target) | LOWER) << 8 == const { word(b"\0http://") }
    }

    /// Whether all of it was read.
    #[inline(always)]
    pub(crate) fn is_whole(&self) -> bool {
        self.has_end != 0
    }
}

/// Where the target of a request line begins; 0 if the method is longer than 15 bytes.
#[inline(always)]
pub(crate) fn target(text: &impl Text) -> u64 {
    let mut at = 1;
    let mut spaces = equal(text.word(0) ^ SPACES);
    if spaces == 0 {
        at = 9;
        spaces = equal(text.word(8) ^ SPACES);
    }
    let lowest = (spaces & spaces.wrapping_neg()) >> 7;
    if spaces == 0 { 0 } else { at + (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56) }
}

/// Whether the target that begins here names no host.
#[inline(always)]
pub(crate) fn is_path(target: u64, text: &impl Text) -> bool {
    matches!(text.word(target) as u8, b'/' | b'*')
}

/// Looks at the eight bytes with this number. Returns whether the authority ends there.
#[inline(always)]
pub(crate) fn step(authority: &mut Authority, text: &impl Text, index: u64) -> bool {
    let bytes = text.word(u64::from(authority.begin) + index * 8);
    let ends = equal(bytes ^ SLASHES) | equal(bytes ^ SPACES) | equal(bytes ^ QUESTION_MARKS);
    let lowest = (ends & ends.wrapping_neg()) >> 7;
    // All bytes before the first end; all bytes if there is none.
    let before = lowest.wrapping_sub(1);
    if let Some(to) = authority.text.get_mut(index as usize & (WORDS - 1)) {
        *to = (bytes | LOWER) & before;
    }
    authority.has_end = (ends != 0) as u32;
    ends != 0
}
