//! Texts of spans: most are known beforehand, or the same from span to span.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};

/// A text that is cheap to have again.
#[derive(Clone)]
pub enum Text {
    /// Known when the agent was built.
    Static(&'static str),
    /// Of many spans.
    Shared(Arc<str>),
    /// Of one.
    Owned(String),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

/// Values by their bytes, a few of them: what most traffic says again and again is made once. A value that comes once
/// displaces none that has come again since the places were gone through last.
pub(super) struct FewKept<T, const N: usize> {
    places: Vec<Kept<T>>,
    next: usize,
}

struct Kept<T> {
    value: T,
    /// It has come again.
    is_used: bool,
}

impl<T, const N: usize> Default for FewKept<T, N> {
    fn default() -> Self {
        Self { places: Vec::new(), next: 0 }
    }
}

impl<T, const N: usize> FewKept<T, N> {
    /// The value that this is true of.
    pub(super) fn find(&mut self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let kept = self.places.iter_mut().find(|kept| is_it(&kept.value))?;
        kept.is_used = true;
        Some(&kept.value)
    }

    /// Keeps a new value, in the place of one that has not come again.
    pub(super) fn keep(&mut self, value: T) {
        let kept = Kept { value, is_used: false };
        if self.places.len() < N {
            return self.places.push(kept);
        }
        // Each place that is passed over is free the next time.
        for _ in 0..=N {
            let at = self.next % N;
            self.next = at + 1;
            if let Some(place) = self.places.get_mut(at)
                && !std::mem::take(&mut place.is_used)
            {
                *place = kept;
                return;
            }
        }
    }
}

/// Texts that come again and again.
#[derive(Default)]
pub(super) struct Recent(FewKept<Arc<str>, { Self::KEPT }>);

impl Recent {
    const KEPT: usize = 8;
    /// Longer ones are not kept.
    const LONGEST: usize = 512;

    /// A text of these bytes; what is not UTF-8 is replaced.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Text {
        if let Some(known) = self.0.find(|known| known.as_bytes() == bytes) {
            return known.into();
        }
        let text = String::from_utf8_lossy(bytes);
        // What was replaced is not found again by its bytes.
        if bytes.len() > Self::LONGEST || text.len() != bytes.len() {
            return text.into_owned().into();
        }
        let shared: Arc<str> = text.as_ref().into();
        self.0.keep(Arc::clone(&shared));
        Text::Shared(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_comes_again_is_the_same_one() {
        let mut recent = Recent::default();
        let (Text::Shared(first), Text::Shared(again)) = (recent.text(b"curl/8"), recent.text(b"curl/8"))
        else {
            panic!("not shared");
        };
        assert!(Arc::ptr_eq(&first, &again));
        for n in 0..20 {
            assert_eq!(recent.text(format!("{n}").as_bytes()), *n.to_string());
        }
        assert_eq!(recent.text(b"curl/8"), "curl/8");
        // Values that come once displace none that comes again and again.
        let Text::Shared(first) = recent.text(b"curl/8") else { panic!("not shared") };
        for n in 0..200 {
            recent.text(format!("scanner {n}").as_bytes());
            let Text::Shared(again) = recent.text(b"curl/8") else { panic!("not shared") };
            assert!(Arc::ptr_eq(&first, &again), "{n}");
        }
        assert_eq!(recent.text(b"a\xff"), "a\u{fffd}");
        assert_eq!(recent.text(&[b'x'; 4000]).len(), 4000);
    }
}
