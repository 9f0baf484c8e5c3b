//! Secrets masked at equal length, for recordings. What is masked is redacted to the same text as what it stands for.

use std::borrow::Cow;

use super::{BEFORE_AUTHORITY, Redactor, leading_user};
use crate::percent::percent_decoded;

impl Redactor {
    /// Masks the secrets of a request target, or of a header's value that is a URL. Unless it `is_whole`, more of it
    /// follows: what may turn out to be a secret is masked too.
    pub fn mask_url(&self, url: &mut [u8], is_whole: bool) {
        let host = mask_leading_user(url, is_whole);
        let url = url.get_mut(host..).unwrap_or_default();
        let path_end = url.iter().position(|byte| matches!(byte, b'?' | b'#'));
        let (path, query) = url.split_at_mut(path_end.unwrap_or(url.len()));
        let path_is_whole = is_whole || path_end.is_some();
        mask_credentials(path, path_is_whole);
        if path.contains(&b';') {
            self.mask_parameters(path, b'/', path_is_whole);
        }
        if let Some(query) = query.get_mut(1..) {
            self.mask_parameters(query, b'&', is_whole);
        }
    }

    fn mask_parameters(&self, text: &mut [u8], separator: u8, is_whole: bool) {
        let last = text.iter().rposition(|byte| *byte == separator).map_or(0, |at| at + 1);
        let (before, rest) = text.split_at_mut(last);
        for parameter in before.split_mut(|byte| *byte == separator) {
            self.mask_parameter(parameter, true);
        }
        self.mask_parameter(rest, is_whole);
    }

    /// As [`Self::parameters`] replaces.
    fn mask_parameter(&self, parameter: &mut [u8], is_whole: bool) {
        mask_credentials(parameter, is_whole);
        let Some((from, stand_in)) = self.hidden_part(&of_same_length(parameter), is_whole) else { return };
        let stand_in = stand_in.unwrap_or_default();
        let value = parameter.get_mut(from..).unwrap_or_default();
        for (at, byte) in value.iter_mut().enumerate() {
            *byte = match stand_in.as_bytes().get(at) {
                Some(other) => *other,
                // Signs that end a part stay: a path is redacted only if it has parameters.
                None if matches!(*byte, b';' | b'#') => *byte,
                None => hidden(*byte),
            };
        }
    }

    /// Where in a parameter the part begins that must not stay, and what is redacted like it, unless stars are.
    fn hidden_part(&self, text: &str, is_whole: bool) -> Option<(usize, Option<String>)> {
        let mut from = 0;
        for part in text.split_inclusive([';', '?', '#']) {
            if let Some((key, value)) = part.split_once('=') {
                let value_at = from + key.len() + 1;
                if self.secret_key(key).is_some() {
                    return Some((value_at, None));
                }
                if self.holds_secret(value) {
                    let length = value.strip_suffix([';', '?', '#']).unwrap_or(value).len();
                    return Some((value_at, self.stand_in(value, length)));
                }
                let goes_on = !is_whole && from + part.len() == text.len();
                if goes_on && value.contains('%') {
                    return Some((value_at, None));
                }
            }
            from += part.len();
        }
        None
    }

    /// A value of this length that [`Self::holds_secret`] as the given one does, without its secret.
    fn stand_in(&self, value: &str, length: usize) -> Option<String> {
        let inner = percent_decoded(&percent_decoded(value));
        let mut pairs = inner.split(['&', ';', '?', '#']).filter_map(|pair| pair.split_once('='));
        let secret = pairs.find_map(|(key, value)| self.secret_key(key).filter(|_| !value.is_empty()));
        let fill = |before: &str, after: &str| {
            let stars = length.checked_sub(before.len() + after.len())?;
            let text = format!("{before}{}{after}", "*".repeat(stars));
            self.holds_secret(&text).then_some(text)
        };
        if let Some(key) = secret {
            return fill(&format!("{}%3D", key.example()), "");
        }
        // A slash would end a segment of a path; where it has to be in the clear, it was.
        [("%2F%2F", "%40"), ("%2F%2F", "@"), ("%2F/", "@"), ("//", "%40"), ("//", "@%")]
            .into_iter()
            .find_map(|(before, after)| fill(before, after))
    }
}

/// What stands for a byte of a secret. White space and what no target may hold stay: they decide whether a line is a
/// request.
fn hidden(byte: u8) -> u8 {
    if byte.is_ascii_control() || byte == b' ' { byte } else { b'*' }
}

/// Masks user and password that a target begins with, up to the sign that ends them; the colon between them stays.
/// Returns where the rest begins.
fn mask_leading_user(target: &mut [u8], is_whole: bool) -> usize {
    let rest = match leading_user(target) {
        Some(at) => at + 1,
        None => {
            let has_ended = is_whole || target.iter().any(|byte| matches!(byte, b'/' | b'?' | b'#'));
            let is_scheme = b"https:".starts_with(target) || b"http:".starts_with(target);
            if has_ended || is_scheme {
                return 0;
            }
            // The sign that ends them may still come.
            target.len()
        }
    };
    for byte in target.iter_mut().take(rest).filter(|byte| !matches!(byte, b':' | b'@')) {
        *byte = hidden(*byte);
    }
    rest
}

/// Masks user and password of every URL in a text.
fn mask_credentials(text: &mut [u8], is_whole: bool) {
    let mut at = 0;
    while let Some(found) =
        text.get(at..).and_then(|rest| memchr::memmem::find(rest, BEFORE_AUTHORITY.as_bytes()))
    {
        let start = at + found + BEFORE_AUTHORITY.len();
        let rest = text.get_mut(start..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let authority = rest.get_mut(..end.unwrap_or(rest.len())).unwrap_or_default();
        at = start + authority.len();
        mask_user(authority, is_whole || end.is_some());
    }
}

/// Masks user and password of an authority, `user:password@host:port`.
pub fn mask_user(authority: &mut [u8], is_whole: bool) {
    let end = match authority.iter().rposition(|byte| *byte == b'@') {
        // The sign that ends them may still come.
        _ if !is_whole => authority.len(),
        end => end.unwrap_or(0),
    };
    for byte in authority.iter_mut().take(end).filter(|byte| **byte != b'@') {
        *byte = hidden(*byte);
    }
}

/// Bytes as a text in which every character stands where it stood.
fn of_same_length(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '\u{1a}' }).collect(),
    }
}
