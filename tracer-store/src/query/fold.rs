//! Text that is found whatever the case of its letters.

use memchr::memchr2_iter;

/// Text to be found in other text, whatever the case of its letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    text: String,
    folded: String,
    /// Place of the byte of `folded` that is rarest in names and addresses. None if the text is not ASCII.
    anchor: Option<usize>,
}

impl Needle {
    /// Text as it was written.
    pub fn new(text: &str) -> Self {
        let folded: String = if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() };
        let anchor = folded
            .is_ascii()
            .then(|| (0..folded.len()).min_by_key(|at| commonness(folded.as_bytes()[*at])))
            .flatten();
        Self { text: text.to_owned(), folded, anchor }
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text contains it.
    pub fn is_in(&self, text: &str) -> bool {
        self.folded.is_empty() || self.find_in(text, |_, _| true)
    }

    /// Calls `found` with start and end, in bytes, of each place of the text where it stands, until it says `true`.
    /// Says whether it did.
    pub(crate) fn find_in(&self, text: &str, mut found: impl FnMut(usize, usize) -> bool) -> bool {
        let Some(anchor) = self.anchor else {
            return self.find_folded(text, found);
        };
        let (bytes, needle) = (text.as_bytes(), self.folded.as_bytes());
        let rare = needle[anchor];
        memchr2_iter(rare, rare.to_ascii_uppercase(), bytes).any(|at| {
            let Some(start) = at.checked_sub(anchor) else {
                return false;
            };
            let Some(part) = bytes.get(start..start + needle.len()) else {
                return false;
            };
            part.eq_ignore_ascii_case(needle) && found(start, start + needle.len())
        })
    }

    /// Text beyond ASCII may change its length with its case: compared letter by letter.
    fn find_folded(&self, text: &str, mut found: impl FnMut(usize, usize) -> bool) -> bool {
        text.char_indices().any(|(start, _)| {
            let mut rest = self.folded.chars();
            let mut wanted = rest.next();
            for (at, char) in text[start..].char_indices() {
                if wanted.is_none() {
                    return found(start, start + at);
                }
                for lower in char.to_lowercase() {
                    if wanted != Some(lower) {
                        return false;
                    }
                    wanted = rest.next();
                }
            }
            wanted.is_none() && found(start, text.len())
        })
    }
}

/// How common a byte is in names and addresses: a rough order, which only decides how fast a search is.
fn commonness(byte: u8) -> u8 {
    match byte {
        b'e' | b'/' | b't' | b'a' | b'o' | b'i' | b'r' | b's' | b'n' => 9,
        b'0'..=b'9' | b'c' | b'd' | b'l' | b'p' | b'u' | b'h' | b'm' | b'.' | b'-' => 7,
        b' ' | b':' | b'g' | b'b' | b'f' | b'y' | b'v' | b'w' | b'k' | b'_' => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Needle;

    #[test]
    fn letters_are_found_in_either_case() {
        assert!(Needle::new("OrDer").is_in("GET /orders/5"));
        assert!(Needle::new("/ORDERS").is_in("GET /orders/5"));
        assert!(!Needle::new("orders/6").is_in("GET /orders/5"));
        assert!(Needle::new("ÄPFEL").is_in("GET /äpfel"));
        assert!(Needle::new("äpfel").is_in("/ÄPFEL/1"));
        assert!(!Needle::new("äpfelx").is_in("/ÄPFEL"));
        assert!(Needle::new("").is_in(""));
    }

    #[test]
    fn every_place_is_told_until_one_is_taken() {
        let mut places = Vec::new();
        let is_taken = Needle::new("aa").find_in("aAa.aa", |start, end| {
            places.push((start, end));
            start == 4
        });
        assert!(is_taken);
        assert_eq!(places, [(0, 2), (1, 3), (4, 6)]);
    }
}
