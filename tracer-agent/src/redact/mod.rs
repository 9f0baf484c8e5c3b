//! What must not leave: values of query keys that hold secrets, and credentials in URLs.

#![forbid(unsafe_code)]

mod keys;
pub mod mask;

use std::borrow::Cow;

pub use self::keys::DEFAULT_KEYS;
use self::keys::{SecretKey, SecretKeys};
use crate::percent::percent_decoded;

/// What stands in place of a secret.
const REDACTED: &str = "REDACTED";
/// What stands in place of user and password in a URL (semantic conventions, `url.full`).
pub const CREDENTIALS: &str = "REDACTED:REDACTED@";

/// Replaces secrets.
#[derive(Clone, Debug)]
pub struct Redactor {
    keys: SecretKeys,
}

impl Redactor {
    /// Hides the values of these keys; see [`DEFAULT_KEYS`] for what an entry may be.
    pub fn new(keys: &[String]) -> Self {
        Self { keys: SecretKeys::new(keys.iter().map(String::as_str)) }
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
    /// section 3.3), without the credentials of a URL within it, and without those before a host that it begins with.
    pub fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if let Some(user) = leading_user(path.as_bytes())
            && let Some(rest) = path.get(user + 1..)
        {
            return Cow::Owned(format!("{CREDENTIALS}{}", self.path(rest)));
        }
        let path = without_credentials(path);
        if !path.contains(';') {
            return path;
        }
        let mut redacted = String::with_capacity(path.len());
        for (index, segment) in path.split('/').enumerate() {
            if index > 0 {
                redacted.push('/');
            }
            self.parameters(segment, &mut redacted);
        }
        Cow::Owned(redacted)
    }

    /// A text that may be a URL: a header's value. Its fragment is redacted as its query is: OAuth's implicit flow
    /// puts tokens there (RFC 6749 section 4.2.2).
    pub fn url(&self, url: &str) -> String {
        let Some(end) = url.find(['?', '#']) else { return self.path(url).into_owned() };
        let (path, rest) = url.split_at(end);
        let (sign, rest) = rest.split_at(1);
        format!("{}{sign}{}", self.path(path), self.query(rest))
    }

    /// What stands between two `&`. Some servers take it apart at `;` too, and a URL in it has keys of
    /// its own; others do not: from the first secret key on, nothing of it stays.
    fn parameters(&self, text: &str, redacted: &mut String) {
        let text = &*without_credentials(text);
        let mut from = 0;
        for part in text.split_inclusive([';', '?', '#']) {
            if let Some((key, value)) = part.split_once('=') {
                let value_at = from + key.len() + 1;
                let hides = self.is_secret(key) && value_at < text.len();
                if hides || self.holds_secret(value) {
                    redacted.push_str(&text[..value_at]);
                    redacted.push_str(REDACTED);
                    return;
                }
            }
            from += part.len();
        }
        redacted.push_str(text);
    }

    /// Whether a value is an escaped URL or query with a secret in it.
    fn holds_secret(&self, value: &str) -> bool {
        if !value.contains('%') {
            return false;
        }
        // Credentials that are not escaped were hidden by themselves.
        let inner = percent_decoded(&percent_decoded(&without_credentials(value)));
        let mut pairs = inner.split(['&', ';', '?', '#']).filter_map(|pair| pair.split_once('='));
        pairs.any(|(key, value)| !value.is_empty() && self.is_secret(key))
            || matches!(without_credentials(&inner), Cow::Owned(_))
    }

    fn is_secret(&self, key: &str) -> bool {
        self.secret_key(key).is_some()
    }

    /// The entry of the list that hides this key.
    fn secret_key(&self, key: &str) -> Option<&SecretKey> {
        // An authority is no part of a key: its user may be masked.
        let key = key.split(BEFORE_AUTHORITY).next().unwrap_or_default();
        if !key.contains('%') {
            return self.keys.entry_of(key);
        }
        // Twice: some servers decode twice.
        self.keys.entry_of(&percent_decoded(&percent_decoded(key)))
    }
}

/// What stands before an authority: behind a scheme, or alone (RFC 3986 section 4.2: `//user:password@host/path`).
const BEFORE_AUTHORITY: &str = "//";

/// Where user and password end that a target begins with: `user:password@host/path`. An address of mail has no colon.
fn leading_user(target: &[u8]) -> Option<usize> {
    let end = target.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let first = target.get(..end.unwrap_or(target.len()))?;
    let at = first.iter().rposition(|byte| *byte == b'@')?;
    first.get(..at)?.contains(&b':').then_some(at)
}

/// Hides user and password of every URL in a text.
fn without_credentials(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEFORE_AUTHORITY) {
        let (before, from) = rest.split_at(at + BEFORE_AUTHORITY.len());
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
            ("u=//me:pw@host/p", "u=//REDACTED:REDACTED@host/p"),
            ("u=%2F%2Fme%3Apw%40host", "u=REDACTED"),
            (
                "accessToken=a&filter[token][eq]=b&id=1",
                "accessToken=REDACTED&filter[token][eq]=REDACTED&id=1",
            ),
            ("api+key=a&api%20key=b", "api+key=REDACTED&api%20key=REDACTED"),
            ("a=1#id_token=b", "a=1#id_token=REDACTED"),
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
            ("//me:password@host/a", "//REDACTED:REDACTED@host/a"),
            ("//host/a@b", "//host/a@b"),
            ("me:password@host/a;v=1", "REDACTED:REDACTED@host/a;v=1"),
            ("me:pass@word@host", "REDACTED:REDACTED@host"),
            ("me@host/a", "me@host/a"),
            ("/a;sessionToken=x/b", "/a;sessionToken=REDACTED/b"),
        ] {
            assert_eq!(redactor.path(path), expected);
        }
        assert_eq!(
            redactor.url("https://me@host/a?sig=1#x"),
            "https://REDACTED:REDACTED@host/a?sig=REDACTED"
        );
        assert_eq!(redactor.url("text/html; charset=utf-8"), "text/html; charset=utf-8");
        for (url, expected) in [
            ("/a#access_token=x&state=1", "/a#access_token=REDACTED&state=1"),
            ("/a#/login?code=x", "/a#/login?code=REDACTED"),
            ("/a#part", "/a#part"),
            ("https://h/a;b#t=1?sig=2", "https://h/a;b#t=1?sig=REDACTED"),
        ] {
            assert_eq!(redactor.url(url), expected);
        }
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
            ("/a?u=http%3A%2F%2Fme%3Apw%40host", "/a?u=%2F%2F******************%40"),
            ("/token=abc?b", "/token=abc?b"),
            ("/a#idToken=abc&x=1", "/a#idToken=***&x=1"),
            ("me:pw@host/a?x=1", "**:**@host/a?x=1"),
            ("/a?token=a b\r", "/a?token=* *\r"),
            ("//me:pw@host/a", "//*****@host/a"),
            ("/a?u=%2F%2Fme%40h", "/a?u=%2F%2F***%40"),
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
            ("/a#tok", "/a#tok"),
            ("htt", "htt"),
            ("http:", "http:"),
            ("me:p", "**:*"),
            ("host", "****"),
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
                proptest::collection::vec(r"(token|a|sig|%73ig|x\[key\]|JSESSIONID|accessToken|/|//|\?|&|;|=|#|@|://|[A-Za-z0-9*]{1,3}|é)", 0..24),
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
