//! Whether a request means this server: against DNS rebinding, where a page of another site has that site's name
//! resolve to our address, and so reads our answers.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};

/// Hosts by which the server may be called.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Whether the server can be reached at addresses that are not loopback.
    is_open: bool,
    names: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(listen: IpAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self { is_open: !listen.is_loopback(), names }
    }

    /// Whether the host is ours. An address cannot be rebound: on an open server every address is.
    pub(crate) fn has(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return self.is_open || address.is_loopback();
        }
        host == "localhost" || host.ends_with(".localhost") || self.is_named(&host)
    }

    /// Whether the host was named in the settings.
    pub(crate) fn is_named(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }
}

/// Host and port that a request is meant for: of HTTP/2's `:authority`, or of the Host header. None if there is
/// none, or more than one.
pub(crate) fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (host, more) = (hosts.next()?, hosts.next());
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    (more.is_none() && !authority.as_str().contains('@')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_loopback_names_and_configured_ones_only() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &["Traces.example.com".to_owned()]);
        for ours in [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "traces.EXAMPLE.com",
        ] {
            assert!(hosts.has(ours), "{ours}");
        }
        for other in
            ["evil.com", "10.0.0.1", "localhost.evil.com", "example.com", "", "[::2]", "127.0.0.1.nip.io"]
        {
            assert!(!hosts.has(other), "{other}");
        }
    }

    #[test]
    fn an_open_server_has_every_address_and_no_other_name() {
        let hosts = Hosts::new("0.0.0.0".parse().unwrap(), &[]);
        assert!(hosts.has("10.0.0.1") && hosts.has("[fe80::1]"));
        assert!(!hosts.has("evil.com"));
    }

    #[test]
    fn two_host_headers_are_none() {
        let uri: Uri = "/".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert!(authority(&uri, &headers).is_none());
        headers.append(header::HOST, "localhost:1".parse().unwrap());
        assert_eq!(authority(&uri, &headers).unwrap().host(), "localhost");
        headers.append(header::HOST, "evil.com".parse().unwrap());
        assert!(authority(&uri, &headers).is_none());
    }
}
