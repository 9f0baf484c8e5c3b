//! What must not leave: values of query keys that hold secrets.

use crate::process::identity::percent_decoded;

/// Keys that the semantic conventions name, and those under which secrets usually travel.
pub const DEFAULT_KEYS: &[&str] = &[
    "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "X-Amz-Credential",
    "X-Amz-Security-Token", "access_token", "api_key", "api-key", "apikey", "auth", "authorization", "auth_token",
    "bearer", "client_secret", "code", "credential", "credentials", "id_token", "jwt", "key", "otp", "pass",
    "passphrase", "passwd", "password", "pin", "private_key", "pwd", "refresh_token", "secret", "session",
    "session_id", "sessionid", "sid", "token",
];

/// What stands in place of a secret.
const REDACTED: &str = "REDACTED";

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
    /// key's name do not hide it, nor does a suffix such as `[]`.
    pub fn query(&self, query: &str) -> String {
        let mut redacted = String::with_capacity(query.len());
        let mut rest = query;
        loop {
            let end = rest.find(['&', ';']).unwrap_or(rest.len());
            let (pair, after) = rest.split_at(end);
            match pair.split_once('=') {
                Some((key, value)) if !value.is_empty() && self.is_secret(key) => {
                    redacted += key;
                    redacted.push('=');
                    redacted += REDACTED;
                }
                _ => redacted += pair,
            }
            let mut after = after.chars();
            match after.next() {
                Some(separator) => redacted.push(separator),
                None => return redacted,
            }
            rest = after.as_str();
        }
    }

    fn is_secret(&self, key: &str) -> bool {
        // Twice: some servers decode twice.
        let decoded = percent_decoded(&percent_decoded(key)).replace('+', " ").to_lowercase();
        let name = decoded.trim();
        let inner = name.trim_end_matches("[]").rsplit(['[', '.']).next().unwrap_or(name).trim_end_matches(']');
        self.keys.iter().any(|secret| secret == name || secret == inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(query: &str) -> String {
        let keys: Vec<String> = DEFAULT_KEYS.iter().map(|key| (*key).to_owned()).collect();
        Redactor::new(&keys).query(query)
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
        ] {
            assert_eq!(redact(query), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_secret_never_stays(before in "[a-z=&%0-9]{0,20}", secret in "[A-Z]{12}", after in "[a-z=&%0-9]{0,20}") {
            let query = format!("{before}&password={secret}&{after}");
            proptest::prop_assert!(!redact(&query).contains(&secret));
        }
    }
}
