//! Bytes that are few as a rule.

#![forbid(unsafe_code)]

use std::ops::{Deref, Range};

use bytes::Bytes;

/// Bytes that are kept in place if they are few, and share memory with others if they are not. A part of [`Bytes`] that
/// are shared for the first time takes an allocation, which costs more than a copy of few bytes.
#[derive(Clone, Debug)]
pub struct ShortBytes(Place);

#[derive(Clone, Debug)]
enum Place {
    Here { length: u8, bytes: [u8; ShortBytes::MOST] },
    Shared(Bytes),
}

impl ShortBytes {
    /// Bytes that are kept in place.
    const MOST: usize = 38;

    /// A part of `whole`; nothing if it has no such part.
    pub fn part(whole: &Bytes, range: Range<usize>) -> Self {
        let Some(part) = whole.get(range.clone()) else { return Self::default() };
        // As a rule more bytes follow, and a copy of fixed length costs least.
        if part.len() <= Self::MOST
            && let Some(bytes) = whole.get(range.start..).and_then(<[u8]>::first_chunk)
        {
            return Self(Place::Here { length: part.len() as u8, bytes: *bytes });
        }
        let mut bytes = [0; Self::MOST];
        Self(match bytes.get_mut(..part.len()) {
            Some(to) => {
                to.copy_from_slice(part);
                Place::Here { length: part.len() as u8, bytes }
            }
            None => Place::Shared(whole.slice(range)),
        })
    }
}

impl Default for ShortBytes {
    fn default() -> Self {
        Self(Place::Here { length: 0, bytes: [0; Self::MOST] })
    }
}

impl From<Bytes> for ShortBytes {
    fn from(bytes: Bytes) -> Self {
        Self::part(&bytes, 0..bytes.len())
    }
}

impl Deref for ShortBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Place::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_bytes_however_long_it_is() {
        let whole = Bytes::from((0..=255).collect::<Vec<u8>>());
        for range in [0..0, 3..4, 10..48, 10..49, 0..256] {
            assert_eq!(&*ShortBytes::part(&whole, range.clone()), &whole[range]);
        }
        assert!(ShortBytes::part(&whole, 250..300).is_empty());
        assert_eq!(&*ShortBytes::from(whole.clone()), &*whole);
    }
}
