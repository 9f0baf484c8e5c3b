//! Equal texts of one request share one allocation.

use std::{hash::Hasher, sync::Arc};

use rustc_hash::FxHasher;

/// The last texts, each at the place that its hash gives. A text that comes to the place of another one replaces it: the
/// cache is bounded, and a sender who chooses texts with equal hashes gains no more than if there was no cache.
pub(crate) struct Interner {
    texts: Vec<Option<Arc<str>>>,
}

impl Interner {
    const PLACES: usize = 1024;
    /// Longer texts seldom come again, and hashing them costs more than it spares.
    const LONGEST_BYTES: usize = 128;

    pub(crate) fn new() -> Self {
        Self { texts: vec![None; Self::PLACES] }
    }

    /// The text; bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn text(&mut self, bytes: &[u8]) -> Arc<str> {
        if bytes.len() > Self::LONGEST_BYTES {
            return String::from_utf8_lossy(bytes).into();
        }
        let mut hasher = FxHasher::default();
        hasher.write(bytes);
        let place = hasher.finish() as usize % Self::PLACES;
        let kept = &mut self.texts[place];
        match kept {
            Some(text) if text.as_bytes() == bytes => Arc::clone(text),
            _ => {
                let text: Arc<str> = String::from_utf8_lossy(bytes).into();
                *kept = Some(Arc::clone(&text));
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_allocation_and_long_ones_are_not_kept() {
        let mut interner = Interner::new();
        assert!(Arc::ptr_eq(&interner.text(b"http.route"), &interner.text(b"http.route")));
        let long = "x".repeat(Interner::LONGEST_BYTES + 1);
        let first = interner.text(long.as_bytes());
        assert_eq!(&*first, long);
        assert!(!Arc::ptr_eq(&first, &interner.text(long.as_bytes())));
    }

    #[test]
    fn a_text_of_the_same_place_replaces_the_other() {
        let mut interner = Interner::new();
        for number in 0..10_000 {
            let text = number.to_string();
            assert_eq!(&*interner.text(text.as_bytes()), text);
        }
        assert_eq!(interner.texts.len(), Interner::PLACES);
    }

    #[test]
    fn wrong_utf8_becomes_the_replacement_character_each_time() {
        let mut interner = Interner::new();
        for _ in 0..2 {
            assert_eq!(&*interner.text(b"/a\xff"), "/a\u{fffd}");
        }
    }
}
