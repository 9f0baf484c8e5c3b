//! Addresses of viewers, as people give them.

#![forbid(unsafe_code)]

use http::Uri;

use super::error::ClientError;
use crate::percent::percent_decoded;

/// Where a viewer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) is_tls: bool,
    /// Name or address of the host, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port, as the viewer is told whom is meant.
    pub(super) authority: String,
    /// Path below which it serves, without a slash at its end.
    pub(super) prefix: String,
    /// The token that the address holds.
    pub(super) token: Option<String>,
}

impl Address {
    /// The address without what the page adds to it. HTTP is meant if no scheme is named.
    pub(super) fn parse(text: &str) -> Result<Self, ClientError> {
        let wrong = |reason: &str| ClientError::Url(format!("{text:?}: {reason}"));
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // What stands behind # never leaves a browser.
        let whole = whole.split('#').next().unwrap_or_default();
        let uri: Uri = whole.parse().map_err(|_| wrong("give an address such as http://127.0.0.1:8377"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("give an address that begins with http:// or https://")),
        };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.contains('@') {
            return Err(wrong("give an address such as http://127.0.0.1:8377, without a user"));
        }
        let token = uri
            .query()
            .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")))
            .map(percent_decoded);
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// It, without its token.
    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_http() {
        let at = |text| Address::parse(text).map(|address| address.url()).map_err(|error| error.to_string());
        assert_eq!(at("localhost:8377").as_deref(), Ok("http://localhost:8377"));
        assert_eq!(at("http://[::1]:80/p/#/traces").as_deref(), Ok("http://[::1]:80/p"));
        for (wrong, reason) in [
            ("ftp://a", "begins with http://"),
            ("http://", "such as http://127.0.0.1:8377"),
            ("http://u:p@a/", "without a user"),
            ("http://a b", "such as"),
        ] {
            let error = at(wrong).expect_err(wrong);
            assert!(error.starts_with(&format!("--url {wrong:?}: ")) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_scheme_has_its_port_and_a_host_has_no_brackets() {
        let at = |text| {
            let address = Address::parse(text).expect(text);
            (address.is_tls, address.host, address.port)
        };
        assert_eq!(at("https://traces.example.com/?token=x"), (true, "traces.example.com".to_owned(), 443));
        assert_eq!(at("http://[::1]/"), (false, "::1".to_owned(), 80));
        assert_eq!(at("https://10.0.0.1:8377"), (true, "10.0.0.1".to_owned(), 8377));
    }
}
