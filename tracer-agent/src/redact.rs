//! What must not leave: values of query keys that hold secrets, and credentials in URLs.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::process::identity::percent_decoded;

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
        // Twice: some servers decode twice.
        let decoded = percent_decoded(&percent_decoded(key)).replace('+', " ").to_lowercase();
        let name = decoded.trim();
        let inner =
            name.trim_end_matches("[]").rsplit(['[', '.']).next().unwrap_or(name).trim_end_matches(']');
        self.keys.iter().any(|secret| secret == name || secret == inner)
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

    proptest::proptest! {
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
