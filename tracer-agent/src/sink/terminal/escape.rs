//! Text from traffic on a terminal, and what it takes there.

use unicode_width::UnicodeWidthChar;

use crate::outside::controls;

/// The text without what could move a cursor or change a colour, at most `limit` characters.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit + 8));
    for (index, c) in text.chars().enumerate() {
        if index >= limit {
            shown.push('…');
            break;
        }
        if controls(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Columns that a printable text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// A printable text in exactly so many columns: cut, or filled with spaces.
pub(crate) fn fit(text: &str, room: usize) -> String {
    if room == 0 {
        return String::new();
    }
    let is_cut = columns(text) > room;
    // The last column of a text that is cut says so.
    let kept = room - usize::from(is_cut);
    let mut shown = String::with_capacity(text.len());
    let mut taken = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if taken + width > kept {
            break;
        }
        shown.push(c);
        taken += width;
    }
    if is_cut {
        shown.push('…');
        taken += 1;
    }
    shown.extend(std::iter::repeat_n(' ', room - taken));
    shown
}

/// The text in ASCII, each column where it was.
pub(crate) fn ascii(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0'..='\x7f' => shown.push(c),
            '←' => shown.push('<'),
            '→' => shown.push('>'),
            '█' => shown.push('#'),
            '─' => shown.push('-'),
            '│' | '├' => shown.push('|'),
            '└' => shown.push('`'),
            '…' => shown.push('~'),
            '·' => shown.push('.'),
            '▲' => shown.push('^'),
            '▼' => shown.push('v'),
            'µ' => shown.push('u'),
            other => shown.extend(std::iter::repeat_n('?', other.width().unwrap_or(0))),
        }
    }
    shown
}

/// An id as everyone writes it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A duration as a person says it.
pub(crate) fn duration(ns: u64) -> String {
    match ns {
        0..=999 => format!("{ns}ns"),
        1_000..=999_999 => format!("{:.0}µs", ns as f64 / 1e3),
        1_000_000..=99_999_999 => format!("{:.1}ms", ns as f64 / 1e6),
        100_000_000..=999_999_999 => format!("{:.0}ms", ns as f64 / 1e6),
        _ => format!("{:.2}s", ns as f64 / 1e9),
    }
}

/// A number of bytes as a person says it.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n}B"),
        10_000..=999_999 => format!("{:.1}kB", n as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.1}MB", n as f64 / 1e6),
        _ => format!("{:.1}GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_traffic_controls_a_terminal() {
        assert_eq!(printable("/a\u{1b}[31mb\r\n\u{202e}", 80), "/a\\u{1b}[31mb\\u{d}\\u{a}\\u{202e}");
        assert_eq!(printable("abcdef", 3), "abc…");
    }

    #[test]
    fn a_text_takes_exactly_its_columns() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("価格表", 5), "価格…");
        assert_eq!(fit("価格表", 4), "価… ");
        assert_eq!(fit("e\u{301}a", 2), "e\u{301}a");
        assert_eq!(fit("ab", 1), "…");
        assert_eq!(fit("", 0), "");
    }

    #[test]
    fn ascii_keeps_the_columns() {
        for text in ["└ shop → GET /価…  ██── 5µs", "│ ├ nginx ← é"] {
            assert!(ascii(text).is_ascii());
            assert_eq!(ascii(text).len(), columns(text));
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [5, 1_500, 2_340_000, 150_000_000, 1_500_000_000].map(duration).to_vec();
        assert_eq!(shown, ["5ns", "2µs", "2.3ms", "150ms", "1.50s"]);
        assert_eq!(bytes(12_345), "12.3kB");
    }
}
