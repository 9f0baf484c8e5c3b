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

/// The texts that came last: what most traffic says again and again is made once.
#[derive(Default)]
pub(super) struct Recent {
    texts: [Option<Arc<str>>; Self::KEPT],
    next: usize,
}

impl Recent {
    const KEPT: usize = 8;
    /// Longer ones are not kept.
    const LONGEST: usize = 512;

    /// A text of these bytes; what is not UTF-8 is replaced.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Text {
        if let Some(known) = self.texts.iter().flatten().find(|known| known.as_bytes() == bytes) {
            return known.into();
        }
        let text = String::from_utf8_lossy(bytes);
        // What was replaced is not found again by its bytes.
        if bytes.len() > Self::LONGEST || text.len() != bytes.len() {
            return text.into_owned().into();
        }
        let shared: Arc<str> = text.as_ref().into();
        if let Some(place) = self.texts.get_mut(self.next) {
            *place = Some(Arc::clone(&shared));
        }
        self.next = (self.next + 1) % Self::KEPT;
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
        assert_eq!(recent.text(b"a\xff"), "a\u{fffd}");
        assert_eq!(recent.text(&[b'x'; 4000]).len(), 4000);
    }
}
