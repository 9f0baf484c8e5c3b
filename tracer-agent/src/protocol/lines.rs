//! Lines of protocol heads, found 64 bytes at a time.

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Walks the lines of a head: each ends with LF, which is not part of it; a CR before it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// Where the block begins that `ends` tells of.
    block: usize,
    /// The LFs of that block which are still to come, one bit each.
    ends: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, block: 0, ends: ends_of_lines(bytes) }
    }

    /// Where the next line begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The first byte of the next line, if it has come.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    /// The next line; none if its LF has not come yet.
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while self.ends == 0 {
            let next = self.block + BLOCK;
            self.ends = ends_of_lines(self.bytes.get(next..)?);
            self.block = next;
        }
        let end = self.block + self.ends.trailing_zeros() as usize;
        let line = self.bytes.get(self.at..end)?;
        self.ends &= self.ends - 1;
        self.at = end + 1;
        Some(line)
    }
}

/// The LFs among the first 64 bytes, one bit each.
#[inline]
fn ends_of_lines(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<BLOCK>() {
        Some(block) => ends_in(block),
        None => {
            let mut block = [0; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            ends_in(&block)
        }
    }
}

/// SSE2 is part of x86-64.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics of SSE2")]
#[inline]
fn ends_in(block: &[u8; BLOCK]) -> u64 {
    use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let (parts, _) = block.as_chunks::<16>();
    let mut ends = 0;
    for (index, part) in parts.iter().enumerate() {
        let number = u128::from_le_bytes(*part);
        // SAFETY: every x86-64 has SSE2; the values are values, no memory is touched.
        let mask = unsafe {
            let part = _mm_set_epi64x((number >> 64) as i64, number as i64);
            _mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_set1_epi8(b'\n' as i8)))
        };
        ends |= u64::from(mask as u16) << (16 * index);
    }
    ends
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn ends_in(block: &[u8; BLOCK]) -> u64 {
    block.iter().enumerate().fold(0, |ends, (index, byte)| ends | u64::from(*byte == b'\n') << index)
}

/// The name of a header field, compared without case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldName<const N: usize> {
    lower: [u8; N],
    /// The bit that tells the cases of a letter apart, at each letter.
    case: [u8; N],
}

impl<const N: usize> FieldName<N> {
    /// `name` is in lower case.
    pub(crate) const fn new(name: &[u8; N]) -> Self {
        let mut this = Self { lower: *name, case: [0; N] };
        let mut at = 0;
        while at < N {
            if name[at].is_ascii_alphabetic() {
                this.case[at] = 0x20;
            }
            at += 1;
        }
        this
    }

    /// What stands behind the colon of a line, if the field is called so.
    #[inline(always)]
    pub(crate) fn value_of<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let (found, rest) = line.split_first_chunk::<N>()?;
        let (colon, value) = rest.split_first()?;
        (*colon == b':' && self.is(found)).then_some(value)
    }

    /// All bytes at once: no branch for each.
    #[inline(always)]
    fn is(&self, found: &[u8; N]) -> bool {
        let differs = |at: usize| (found[at] | self.case[at]) ^ self.lower[at];
        (0..N).fold(0, |sum, at| sum | differs(at)) == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_compared_without_case_and_byte_for_byte() {
        const NAME: FieldName<10> = FieldName::new(b"user-agent");
        assert_eq!(NAME.value_of(b"User-Agent: curl"), Some(&b" curl"[..]));
        assert_eq!(NAME.value_of(b"USER-AGENT:"), Some(&b""[..]));
        assert_eq!(NAME.value_of(b"User-Agent"), None);
        assert_eq!(NAME.value_of(b"User-Agent : curl"), None);
        for at in 0..10 {
            for byte in 0..=255u8 {
                let mut line = *b"user-agent:";
                let is_same = byte.to_ascii_lowercase() == line[at];
                line[at] = byte;
                assert_eq!(NAME.value_of(&line).is_some(), is_same, "{byte:#x} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_plain_split(text in "[ab\\n\\r]{0,300}") {
            let mut expected: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'\n').collect();
            // What is behind the last LF is no line yet.
            let rest = expected.pop().expect("split gives one at least");
            let mut lines = Lines::new(text.as_bytes());
            let found: Vec<&[u8]> = lines.by_ref().collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(lines.at(), text.len() - rest.len());
            prop_assert_eq!(lines.peek(), rest.first().copied());
        }
    }
}
