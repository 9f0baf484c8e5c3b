//! What must not leave: values of query keys that hold secrets, and credentials in URLs.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::percent::percent_decoded;

/// Keys that the semantic conventions name, and those under which secrets usually travel.
pub const DEFAULT_KEYS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-API-Key",
    "access_token",
    "api_key",
    "api-key",
    "apikey",
    "auth",
    "authorization",
    "auth_token",
    "bearer",
    "client_secret",
    "code",
    "credential",
    "credentials",
    "id_token",
    "jsessionid",
    "jwt",
    "key",
    "otp",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "phpsessid",
    "pin",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "session_id",
    "sessionid",
    "sid",
    "token",
];

/// What stands in place of a secret.
const REDACTED: &str = "REDACTED";
/// What stands in place of user and password in a URL (semantic conventions, `url.full`).
pub const CREDENTIALS: &str = "REDACTED:REDACTED@";

/// Replaces secrets.
#[derive(Clone, Debug)]
pub struct Redactor {
    keys: Vec<String>,
}

impl Redactor {
    /// Hides the values of these keys.
    pub fn new(keys: &[String]) -> Self {
        Self { keys: keys.iter().map(|key| key.to_lowercase()).collect() }
    }

    /// A query string (without its question mark) without the values of secret keys. Escapes in a
    /// key's name do not hide it, nor does a suffix such as `[]`, nor a URL around it.
    pub fn query(&self, query: &str) -> String {
        let mut redacted = String::with_capacity(query.len());
        for (index, parameter) in query.split('&').enumerate() {
            if index > 0 {
                redacted.push('&');
            }
            self.parameters(parameter, &mut redacted);
        }
        redacted
    }

    /// A path without the values of secret parameters in its segments (`;jsessionid=…`, RFC 3986
    /// section 3.3) and without the credentials of a URL within it.
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if !path.contains(';') {
            return without_credentials(path);
        }
        let mut redacted = String::with_capacity(path.len());
        for (index, segment) in path.split('/').enumerate() {
            if index > 0 {
                redacted.push('/');
            }
            self.parameters(segment, &mut redacted);
        }
        Cow::Owned(without_credentials(&redacted).into_owned())
    }

    /// A text that may be a URL: a header's value.
    pub fn url(&self, url: &str) -> String {
        match url.split_once('?') {
            Some((path, query)) => format!("{}?{}", self.path(path), self.query(query)),
            None => self.path(url).into_owned(),
        }
    }

    /// What stands between two `&`. Some servers take it apart at `;` too, and a URL in it has keys of
    /// its own; others do not: from the first secret key on, nothing of it stays.
    fn parameters(&self, text: &str, redacted: &mut String) {
        let mut from = 0;
        for part in text.split_inclusive([';', '?', '#']) {
            if let Some((key, value)) = part.split_once('=') {
                let value_at = from + key.len() + 1;
                let hides = self.is_secret(key) && value_at < text.len();
                if hides || self.holds_secret(value) {
                    redacted.push_str(&without_credentials(&text[..value_at]));
                    redacted.push_str(REDACTED);
                    return;
                }
            }
            from += part.len();
        }
        redacted.push_str(&without_credentials(text));
    }

    /// Whether a value is an escaped URL or query with a secret in it.
    fn holds_secret(&self, value: &str) -> bool {
        if !value.contains('%') {
            return false;
        }
        let inner = percent_decoded(&percent_decoded(value));
        let mut pairs = inner.split(['&', ';', '?', '#']).filter_map(|pair| pair.split_once('='));
        pairs.any(|(key, value)| !value.is_empty() && self.is_secret(key))
            || matches!(without_credentials(&inner), Cow::Owned(_))
    }

    fn is_secret(&self, key: &str) -> bool {
        self.secret_key(key).is_some()
    }

    /// The key of the list that this one is.
    fn secret_key(&self, key: &str) -> Option<&str> {
        // Twice: some servers decode twice.
        let decoded = percent_decoded(&percent_decoded(key)).replace('+', " ").to_lowercase();
        let name = decoded.trim();
        let inner =
            name.trim_end_matches("[]").rsplit(['[', '.']).next().unwrap_or(name).trim_end_matches(']');
        self.keys.iter().map(String::as_str).find(|secret| *secret == name || *secret == inner)
    }
}

/// Masking at equal length, for recordings. What is masked is redacted to the same text as what it stands for.
impl Redactor {
    /// Masks the secrets of a request target, or of a header's value that is a URL. Unless it `is_whole`, more of it
    /// follows: what may turn out to be a secret is masked too.
    pub fn mask_url(&self, url: &mut [u8], is_whole: bool) {
        let path_end = url.iter().position(|byte| *byte == b'?');
        let (path, query) = url.split_at_mut(path_end.unwrap_or(url.len()));
        let path_is_whole = is_whole || path_end.is_some();
        if path.contains(&b';') {
            self.mask_parameters(path, b'/', path_is_whole);
        }
        mask_credentials(path, path_is_whole);
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
        let hidden = self.hidden_part(&of_same_length(parameter), is_whole);
        let (kept, hidden) = match hidden {
            Some((from, stand_in)) => {
                let (kept, value) = parameter.split_at_mut(from.min(parameter.len()));
                let stand_in = stand_in.unwrap_or_default();
                // Signs that end a part stay: a path is redacted only if it has parameters.
                for (at, byte) in value.iter_mut().enumerate() {
                    *byte = match stand_in.as_bytes().get(at) {
                        Some(other) => *other,
                        None if matches!(*byte, b';' | b'#') => *byte,
                        None => b'*',
                    };
                }
                (kept, true)
            }
            None => (parameter, false),
        };
        mask_credentials(kept, is_whole || hidden);
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
            return fill(&format!("{key}%3D"), "");
        }
        // A slash would end a segment of a path; where it has to be in the clear, it was.
        [(":%2F%2F", "%40"), (":%2F%2F", "@"), ("://", "%40")]
            .into_iter()
            .find_map(|(before, after)| fill(before, after))
    }
}

/// Masks user and password of every URL in a text.
fn mask_credentials(text: &mut [u8], is_whole: bool) {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memmem::find(rest, b"://")) {
        let start = at + found + "://".len();
        let rest = text.get_mut(start..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let authority = rest.get_mut(..end.unwrap_or(rest.len())).unwrap_or_default();
        at = start + authority.len();
        let user = if end.is_none() && !is_whole {
            // The sign that ends them may still come.
            authority
        } else {
            let user = authority.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
            authority.get_mut(..user).unwrap_or_default()
        };
        for byte in user.iter_mut().filter(|byte| **byte != b'@') {
            *byte = b'*';
        }
    }
}

/// Bytes as a text in which every character stands where it stood.
fn of_same_length(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '\u{1a}' }).collect(),
    }
}

/// Hides user and password of every URL in a text.
fn without_credentials(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at + "://".len());
        let end = from.find(['/', '?', '#']).unwrap_or(from.len());
        let (authority, after) = from.split_at(end);
        redacted += before;
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                redacted += CREDENTIALS;
                redacted += host;
            }
            None => redacted += authority,
        }
        rest = after;
    }
    redacted += rest;
    if redacted == text { Cow::Borrowed(text) } else { Cow::Owned(redacted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_keys() -> Vec<String> {
        DEFAULT_KEYS.iter().map(|key| (*key).to_owned()).collect()
    }

    fn redact(query: &str) -> String {
        Redactor::new(&default_keys()).query(query)
    }

    #[test]
    fn secret_values_are_replaced_and_others_stay() {
        for (query, expected) in [
            ("a=1&token=abc&b=2", "a=1&token=REDACTED&b=2"),
            ("TOKEN=abc", "TOKEN=REDACTED"),
            ("t%6Fken=abc", "t%6Fken=REDACTED"),
            ("t%256Fken=abc", "t%256Fken=REDACTED"),
            ("a=1;sig=x", "a=1;sig=REDACTED"),
            ("password[]=x&user[password]=y", "password[]=REDACTED&user[password]=REDACTED"),
            ("monkey=1&tokens=2", "monkey=1&tokens=2"),
            ("token", "token"),
            ("token=", "token="),
            ("", ""),
            ("&&=&a", "&&=&a"),
            ("X-Amz-Signature=ff", "X-Amz-Signature=REDACTED"),
            ("token=ab;cd=ef&x=1", "token=REDACTED&x=1"),
            ("token=;cd", "token=REDACTED"),
            ("next=/login?token=abc&x=1", "next=/login?token=REDACTED&x=1"),
            ("next=%2Flogin%3Ftoken%3Dabc&x=%31", "next=REDACTED&x=%31"),
            ("u=http://me:pw@host/p", "u=http://REDACTED:REDACTED@host/p"),
            ("u=http%3A%2F%2Fme%3Apw%40host", "u=REDACTED"),
            ("u=http://host/@x", "u=http://host/@x"),
        ] {
            assert_eq!(redact(query), expected);
        }
    }

    #[test]
    fn paths_and_urls_lose_their_secrets_and_nothing_else() {
        let redactor = Redactor::new(&default_keys());
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a;v=1/b;JSESSIONID=00ff;x=1/c", "/a;v=1/b;JSESSIONID=REDACTED/c"),
            ("/proxy/http://me:pw@host/x", "/proxy/http://REDACTED:REDACTED@host/x"),
        ] {
            assert_eq!(redactor.path(path), expected);
        }
        assert_eq!(
            redactor.url("https://me@host/a?sig=1#x"),
            "https://REDACTED:REDACTED@host/a?sig=REDACTED"
        );
        assert_eq!(redactor.url("text/html; charset=utf-8"), "text/html; charset=utf-8");
    }

    fn masked(url: &str, is_whole: bool) -> String {
        let mut bytes = url.as_bytes().to_vec();
        Redactor::new(&default_keys()).mask_url(&mut bytes, is_whole);
        assert_eq!(bytes.len(), url.len());
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn secrets_are_masked_at_equal_length() {
        for (url, expected) in [
            ("/a?a=1&token=abc&b=2", "/a?a=1&token=***&b=2"),
            ("/a?t%6Fken=abc;d", "/a?t%6Fken=***;*"),
            ("/a;v=1;JSESSIONID=00ff/c?x=1", "/a;v=1;JSESSIONID=****/c?x=1"),
            ("https://me:pw@host/a?sig=1#x", "https://*****@host/a?sig=*#*"),
            ("/a?u=http://me:pw@host/p", "/a?u=http://*****@host/p"),
            ("/a?next=%2Flogin%3Ftoken%3Dabc&x=%31", "/a?next=token%3D**************&x=%31"),
            ("/a?u=http%3A%2F%2Fme%3Apw%40host", "/a?u=:%2F%2F*****************%40"),
            ("/token=abc?b", "/token=abc?b"),
        ] {
            assert_eq!(masked(url, true), expected);
        }
    }

    #[test]
    fn what_may_become_a_secret_is_masked_too() {
        for (url, expected) in [
            ("/a?token=", "/a?token="),
            ("/a?u=http://me:p", "/a?u=http://****"),
            ("/a?next=%2Flogin%3Ftok", "/a?next=**************"),
            ("/a?a=b&tok", "/a?a=b&tok"),
        ] {
            assert_eq!(masked(url, false), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_masked_url_is_redacted_like_the_url(
            // An escaped URL in the user name of another is redacted too, and not to the same text.
            parts in proptest::prop_oneof![
                proptest::collection::vec(r"(token|a|sig|%73ig|x\[key\]|JSESSIONID|/|\?|&|;|=|#|@|://|[A-Za-z0-9*]{1,3}|é)", 0..24),
                proptest::collection::vec(r"(token|a|sig|%73ig|JSESSIONID|\?|&|;|=|#|%3D|%253D|%3A%2F%2F|%40|%26|[A-Za-z0-9*]{1,3})", 0..24),
            ],
        ) {
            let url = format!("/{}", parts.concat());
            let redactor = Redactor::new(&default_keys());
            proptest::prop_assert_eq!(redactor.url(&masked(&url, true)), redactor.url(&url), "{}", url);
        }

        #[test]
        fn any_text_is_no_panic(text: String) {
            let redactor = Redactor::new(&["a".to_owned()]);
            let _ = (redactor.query(&text), redactor.url(&text));
        }

        #[test]
        fn a_secret_never_stays(before in "[a-z=&%0-9]{0,20}", secret in "[A-Z]{12}", after in "[a-z=&;%0-9]{0,20}") {
            let query = format!("{before}&password=;{secret};{secret}&{after}");
            proptest::prop_assert!(!redact(&query).contains(&secret));
        }
    }
}
