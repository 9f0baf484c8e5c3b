//! The token that a client must know, and the cookie that a browser gets for it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use ring::{
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};
use subtle::ConstantTimeEq;

use crate::error::ViewerError;

/// Shortest token: 96 bits, if it is random hexadecimal.
const MIN_TOKEN_BYTES: usize = 24;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 512;

/// How the name of the cookie begins. The cookies of a host are sent to all its ports: the port in the name tells those
/// of several viewers apart.
const COOKIE: &str = "tracer_viewer_";

/// What a client must know.
#[derive(Clone)]
pub struct Token {
    text: String,
    digest: [u8; 32],
    /// What the cookie holds. It is not the token: other servers on this host are sent the cookie too.
    session: String,
}

impl Token {
    /// A token of at least 24 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, ViewerError> {
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&text.len()) {
            return Err(ViewerError::Token("it must have from 24 to 512 characters"));
        }
        // `token68` of RFC 9110, which an Authorization header can carry, and a URL.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
            return Err(ViewerError::Token("it may have letters, digits and -._~+/= only"));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let session = URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"tracer viewer session 1"));
        Ok(Self { text: text.to_owned(), digest: digest_of(text), session })
    }

    /// A new token from the system's random numbers.
    pub fn random() -> Result<Self, ViewerError> {
        let mut bytes = [0; 24];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| ViewerError::Token("the system gives no random numbers"))?;
        Self::new(&URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The token itself, for the address that a person opens.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is the token. Takes the same time for any text of one length.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.digest.ct_eq(&digest_of(text)).into()
    }

    /// Whether the headers hold the token.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|text| self.is(text))
    }

    /// Whether the headers hold the cookie.
    pub(crate) fn has_cookie(&self, headers: &HeaderMap, port: u16) -> bool {
        let name = format!("{COOKIE}{port}");
        let mut values = cookies(headers).filter(|(known, _)| *known == name).map(|(_, value)| value);
        values.any(|value| value.as_bytes().ct_eq(self.session.as_bytes()).into())
    }

    /// The `Set-Cookie` header after a first visit.
    pub(crate) fn cookie(&self, port: u16, path_prefix: &str, over_tls: bool) -> String {
        let secure = if over_tls { "; Secure" } else { "" };
        format!("{COOKIE}{port}={}; Path={path_prefix}/; HttpOnly; SameSite=Strict{secure}", self.session)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Digests have one length: their comparison does not tell that of the token.
fn digest_of(text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    digest
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TEXT: &str = "a-token-of-length-24-000";

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_token_is_long_and_fits_into_headers() {
        assert!(Token::new(TEXT).is_ok());
        assert!(Token::new("short").is_err());
        assert!(Token::new("a token of length 24 000").is_err());
        assert!(Token::new("a-token-of-length-24-00\u{e9}").is_err());
    }

    #[test]
    fn random_tokens_differ() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one.text(), other.text());
        assert!(!one.is(other.text()) && one.is(one.text()));
    }

    #[test]
    fn only_the_whole_token_is_taken_from_the_authorization_header() {
        let token = Token::new(TEXT).unwrap();
        assert!(token.is_in(&with(header::AUTHORIZATION, &format!("Bearer {TEXT}"))));
        assert!(token.is_in(&with(header::AUTHORIZATION, &format!("bearer {TEXT}"))));
        for wrong in
            [TEXT.to_owned(), format!("Basic {TEXT}"), format!("Bearer {}", &TEXT[1..]), "Bearer ".into()]
        {
            assert!(!token.is_in(&with(header::AUTHORIZATION, &wrong)), "{wrong}");
        }
    }

    #[test]
    fn the_cookie_opens_and_does_not_hold_the_token() {
        let token = Token::new(TEXT).unwrap();
        let cookie = token.cookie(80, "/p", true);
        assert!(!cookie.contains(TEXT));
        assert!(cookie.ends_with("; Path=/p/; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let headers = with(header::COOKIE, &format!("other=1; {pair}"));
        assert!(token.has_cookie(&headers, 80) && !token.has_cookie(&headers, 81));
        assert!(!token.has_cookie(&with(header::COOKIE, &format!("{COOKIE}80={TEXT}")), 80));
        assert!(!Token::random().unwrap().has_cookie(&headers, 80));
    }

    #[test]
    fn a_token_is_not_printed() {
        assert!(!format!("{:?}", Token::new(TEXT).unwrap()).contains("token-of"));
    }
}
