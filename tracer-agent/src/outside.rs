//! Text that other programs chose: names, paths, messages. It is cleaned when it comes in, and escaped where people read
//! it.

#![forbid(unsafe_code)]

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Longest text that is kept, bytes: the longest path (`PATH_MAX`).
const MAX_TEXT: usize = 4096;
/// Longest name of a service, characters.
const MAX_NAME: usize = 255;

/// A text from outside. It is shown escaped, on one line.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutsideText(String);

impl OutsideText {
    /// The text itself, to compare and to encode.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for OutsideText {
    fn from(text: &str) -> Self {
        let end = text.floor_char_boundary(MAX_TEXT);
        Self(text.get(..end).unwrap_or_default().to_owned())
    }
}

impl fmt::Display for OutsideText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl fmt::Debug for OutsideText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name that a program gives to its service: without what controls a terminal, and of bounded length.
pub fn clean_name(name: &str) -> String {
    let shown: String = name.chars().filter(|c| !controls(*c)).take(MAX_NAME).collect();
    shown.trim().to_owned()
}

/// Whether a character could move a cursor, change a colour or begin a line, or reorder what a person reads
/// (bidirectional controls, marks without width).
pub fn controls(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text on one line: what controls a terminal is shown as `\u{1b}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, controls, |c, shown| shown.extend(c.escape_unicode()))
}

/// As [`escaped`], and lines stay lines.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| c != '\n' && controls(c), |c, shown| shown.extend(c.escape_unicode()))
}

/// JSON in which strings hold nothing that controls a terminal. JSON itself escapes only what is below U+0020.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    replaced(
        json,
        |c| c >= '\u{7f}' && controls(c),
        // All of them have four digits at most.
        |c, shown| *shown += &format!("\\u{:04x}", u32::from(c)),
    )
}

fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    with: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.chars().any(&is_replaced) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_replaced(c) {
            with(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\nb\u{9b}31m\u{202e}\u{7f}é";

    #[test]
    fn nothing_from_outside_controls_a_terminal() {
        let shown = r"a\u{1b}[2J\u{a}b\u{9b}31m\u{202e}\u{7f}é";
        assert_eq!(OutsideText::from(HOSTILE).to_string(), shown);
        assert_eq!(escaped(HOSTILE), shown);
        assert_eq!(escaped_lines(HOSTILE), shown.replace(r"\u{a}", "\n"));
        assert_eq!(clean_name(HOSTILE), "a[2Jb31mé");
        assert!(matches!(escaped("plain é"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_value() {
        let json = serde_json::to_string(&[HOSTILE]).expect("a string");
        let shown = escaped_json(&json);
        assert!(!shown.chars().any(controls), "{shown}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).expect("JSON"), [HOSTILE]);
        // Structure and white space of JSON stay.
        assert_eq!(escaped_json("{\n  \"a\": 1\n}\n"), "{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn a_text_is_bounded() {
        let text = "é".repeat(MAX_TEXT);
        assert_eq!(OutsideText::from(text.as_str()).as_str().len(), MAX_TEXT);
        assert_eq!(clean_name(&text).chars().count(), MAX_NAME);
    }
}
