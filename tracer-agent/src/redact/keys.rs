//! Names of query keys whose values are secrets, compared by their words.

/// The keys that are hidden unless the configuration lists others. The table in `docs/output.md` is compared with it.
/// An entry hides every key that ends in its words; with `=` before it, only the key that has no other words.
pub const DEFAULT_KEYS: &[&str] = &[
    // Passwords and one-time codes.
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "pin",
    "otp",
    "totp",
    "cvv",
    "cvc",
    // Tokens, tickets, and what a session is known by.
    "token",
    "jwt",
    "bearer",
    "ticket",
    "invite",
    "csrf",
    "xsrf",
    "session",
    "session id",
    "sessid",
    "sid",
    // Credentials.
    "secret",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "assertion",
    "SAML response",
    "SAML art",
    "captcha response",
    "id token hint",
    "code verifier",
    // Signatures: of the semantic conventions' keys, AWS, Google and Azure.
    "signature",
    "sig",
    "hmac",
    "access key id",
    // "key" and "code" end many harmless names.
    "=key",
    "api key",
    "access key",
    "account key",
    "app key",
    "auth key",
    "client key",
    "encryption key",
    "license key",
    "master key",
    "private key",
    "secret key",
    "service key",
    "session key",
    "shared key",
    "signing key",
    "subscription key",
    "=code",
    "access code",
    "activation code",
    "auth code",
    "authorization code",
    "backup code",
    "confirmation code",
    "device code",
    "invitation code",
    "invite code",
    "login code",
    "mfa code",
    "otp code",
    "pin code",
    "recovery code",
    "reset code",
    "security code",
    "sms code",
    "verification code",
];

/// An entry of the list.
#[derive(Clone, Debug)]
pub(super) struct SecretKey {
    /// Its words, each behind a line: `_session_id`.
    words: String,
    /// Without the lines.
    glued: String,
    /// It is the whole key, not the end of one.
    is_whole: bool,
}

impl SecretKey {
    /// Shortest entry that is also found at the end of a word, bytes: `accesstoken` ends in `token`. Shorter ones end
    /// words that are no secrets: `monkey`, `compass`.
    const SHORTEST_ENDING: usize = 5;

    /// An entry as the configuration has it; none if it has no word.
    pub(super) fn new(entry: &str) -> Option<Self> {
        let (entry, is_whole) = entry.strip_prefix('=').map_or((entry, false), |rest| (rest, true));
        let words = words(entry);
        let glued = words.replace('_', "");
        (!glued.is_empty()).then_some(Self { words, glued, is_whole })
    }

    /// A key that this entry hides, in as few bytes as there are.
    pub(super) fn example(&self) -> &str {
        &self.glued
    }

    /// Whether it hides a key of these [`words`].
    fn hides(&self, words: &str) -> bool {
        if !self.is_whole && self.glued.len() < Self::SHORTEST_ENDING {
            return words.ends_with(&self.words);
        }
        let mut of_key = words.bytes().rev().filter(|byte| *byte != b'_');
        self.glued.bytes().rev().all(|byte| of_key.next() == Some(byte))
            && (!self.is_whole || of_key.next().is_none())
    }
}

/// The list.
#[derive(Clone, Debug)]
pub(super) struct SecretKeys {
    entries: Vec<SecretKey>,
    /// How entries end: a bit for each two letters, so that most keys need no search.
    endings: [u32; 32],
}

impl SecretKeys {
    pub(super) fn new<'a>(entries: impl Iterator<Item = &'a str>) -> Self {
        let entries: Vec<SecretKey> = entries.filter_map(SecretKey::new).collect();
        let mut endings = [0; 32];
        for entry in &entries {
            let mut letters = entry.glued.bytes().rev().map(letter);
            match (letters.next(), letters.next()) {
                (Some(last), Some(before)) => endings[last] |= 1 << before,
                // It may end what ends in any two letters.
                (Some(last), None) => endings[last] = u32::MAX,
                (None, _) => {}
            }
        }
        Self { entries, endings }
    }

    /// The entry that hides a key, whose escapes are decoded. What stands in brackets is a key of its own:
    /// `user[password]`.
    pub(super) fn entry_of(&self, key: &str) -> Option<&SecretKey> {
        let mut rest = key;
        while !rest.is_empty() {
            let end = rest.bytes().position(|byte| matches!(byte, b'[' | b']'));
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if self.may_hide(part)
                && let Some(entry) = self.search(part)
            {
                return Some(entry);
            }
            rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        }
        None
    }

    /// Whether an entry ends as a key does, with the digits at its end or without them.
    fn may_hide(&self, key: &str) -> bool {
        if !key.is_ascii() {
            return true;
        }
        let ends_alike = |digits_count: bool| {
            let mut letters = key
                .bytes()
                .rev()
                .skip_while(|byte| !byte.is_ascii_alphanumeric() || !digits_count && byte.is_ascii_digit())
                .filter(u8::is_ascii_alphanumeric)
                .map(letter);
            let Some(last) = letters.next() else { return false };
            match letters.next() {
                Some(before) => self.endings[last] & 1 << before != 0,
                None => self.endings[last] == u32::MAX,
            }
        };
        let ends_in_digit =
            key.bytes().rev().find(u8::is_ascii_alphanumeric).is_some_and(|byte| byte.is_ascii_digit());
        ends_alike(true) || ends_in_digit && ends_alike(false)
    }

    fn search(&self, key: &str) -> Option<&SecretKey> {
        let words = words(key);
        let unnumbered = words.trim_end_matches(|c: char| c == '_' || c.is_ascii_digit());
        let has_number = unnumbered.len() < words.len();
        self.entries.iter().find(|entry| entry.hides(&words) || has_number && entry.hides(unnumbered))
    }
}

/// A letter in either case, or a digit, as one of 32 values; some digits and letters share one.
fn letter(byte: u8) -> usize {
    usize::from(byte & 31)
}

/// The words of a name in lower case, each behind a line: `accessToken`, `access-token` and `Access.Token` are
/// `_access_token`, `SAMLResponse` is `_saml_response`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut chars = name.chars().peekable();
    let (mut before, mut is_upper_before) = (None::<char>, false);
    while let Some(c) = chars.next() {
        let (is_upper, is_lower_next) =
            (c.is_uppercase(), chars.peek().is_some_and(|next| next.is_lowercase()));
        if c.is_alphanumeric() {
            let is_hump = is_upper && (!is_upper_before || is_lower_next);
            if is_hump || !before.is_some_and(char::is_alphanumeric) {
                words.push('_');
            }
            words.extend(c.to_lowercase());
        }
        (before, is_upper_before) = (Some(c), is_upper);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_keys() -> SecretKeys {
        SecretKeys::new(DEFAULT_KEYS.iter().copied())
    }

    #[test]
    fn a_name_is_taken_apart_at_signs_and_humps() {
        for (name, expected) in [
            ("accessToken", "_access_token"),
            ("access-token", "_access_token"),
            ("Access.Token", "_access_token"),
            ("SAMLResponse", "_saml_response"),
            ("AWSAccessKeyId", "_aws_access_key_id"),
            ("JSESSIONID", "_jsessionid"),
            ("userPIN", "_user_pin"),
            ("__a__b", "_a_b"),
            ("größeÄ", "_größe_ä"),
            ("", ""),
            ("..", ""),
        ] {
            assert_eq!(words(name), expected, "{name}");
        }
    }

    #[test]
    fn keys_that_hold_secrets_are_found_however_they_are_written() {
        let list = default_keys();
        let names = "token TOKEN accessToken access_token access-token access.token ACCESS_TOKEN accesstoken \
                     x-access-token api_token apiToken sessionToken csrf_token csrfToken csrfmiddlewaretoken \
                     __RequestVerificationToken authenticity_token refreshToken refresh_token idToken id_token \
                     id_token_hint oauth_token token[] token[0] token1 user[token] filter[token][eq] user.token \
                     SAMLResponse samlresponse SAMLart client_assertion assertion ticket service_ticket loginTicket \
                     hmac HMAC request_hmac invite invite_code inviteCode otp otp1 userOtp OTPCode totp pin userPIN cvv \
                     cardCvv cvc clientSecret client_secret clientsecret secret app.secret secretKey password \
                     userPassword newpassword new_password password2 passwd pwd userPwd pass user_pass passphrase \
                     api_key apikey apiKey API-KEY X-API-Key x_api_key access_key accessKey privateKey private_key \
                     subscription-key account.key signingKey key KEY code CODE auth_code authCode verification_code \
                     securityCode reset_code code_verifier sig signature Signature X-Amz-Signature X-Goog-Signature \
                     X-Amz-Credential X-Amz-Security-Token AWSAccessKeyId credential credentials user_credentials auth \
                     authorization Authorization auth_token bearer jwt JWT id_jwt session sessionid session_id \
                     sessionId JSESSIONID jsessionid PHPSESSID sid connect.sid _csrf xsrf g-recaptcha-response";
        for name in names.split_whitespace() {
            assert!(list.entry_of(name).is_some(), "{name} is shown");
        }
    }

    #[test]
    fn other_keys_are_left_alone() {
        let list = default_keys();
        let names = "monkey tokens max_tokens token_type keyword keys sort_key primary_key cacheKey zip_code zipCode \
                     country_code error_code statusCode codec encode barcode postcode compass bypass spin pinned \
                     shipping ticket_id ticketId tickets invites session_count passenger password_hint author \
                     authors authority oauth2_provider signed sigma design side aside page q state nonce \
                     user id user_id response request otps pins user[name] a[0] 1 [] _ -";
        for name in names.split_whitespace() {
            assert!(list.entry_of(name).is_none(), "{name} is hidden");
        }
    }

    #[test]
    fn an_entry_hides_what_ends_in_its_words_or_only_itself() {
        let list = SecretKeys::new(["ssn", "=plate", "a b"].into_iter());
        for (key, is_hidden) in [
            ("ssn", true),
            ("customerSsn", true),
            ("mission", false),
            ("plate", true),
            ("PLATE", true),
            ("number_plate", false),
            ("template", false),
            ("aB", true),
            ("xa_b", false),
            ("x-a-b", true),
            ("token", false),
        ] {
            assert_eq!(list.entry_of(key).is_some(), is_hidden, "{key}");
        }
        assert!(SecretKey::new("=").is_none() && SecretKey::new("--").is_none());
    }

    #[test]
    fn the_documented_list_is_the_default_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/output.md");
        let text = std::fs::read_to_string(path).expect("the document");
        let (_, section) = text.split_once("\n## Redaction\n").expect("its section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter(|line| line.starts_with('|'));
        let documented: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
        assert_eq!(documented, DEFAULT_KEYS);
    }
}
