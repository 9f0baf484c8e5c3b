//! The address that requests to the receiver go to, made of the URL that the operator wrote.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use fluent_uri::{Uri, component::Authority};
use http::HeaderValue;

use super::protocol::OtlpProtocol;
use crate::percent::percent_decoded;

/// Path of the receiver of traces, by HTTP.
const PATH: &str = "/v1/traces";
/// The method that takes traces, by gRPC.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// What an operator may have meant.
const EXAMPLE: &str = "http://localhost:4318";

/// What the operator's URL is the address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlKind {
    /// The receiver: the path for traces is added, unless the URL ends with it.
    Base,
    /// What takes traces: the URL is used as it stands.
    Traces,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpAddress {
    uri: http::Uri,
    authorization: Option<HeaderValue>,
    kind: UrlKind,
}

impl OtlpAddress {
    /// Reads the operator's URL. Messages show neither user and password nor the query.
    ///
    /// # Errors
    /// The URL is none, or none that requests can be sent to.
    pub fn new(url: &str, kind: UrlKind, protocol: OtlpProtocol) -> Result<Self, String> {
        let url = url.trim();
        Self::parse(url, kind, protocol).map_err(|error| format!("{:?}: {error}", shown(url)))
    }

    fn parse(url: &str, kind: UrlKind, protocol: OtlpProtocol) -> Result<Self, String> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed =
            Uri::parse(with_scheme.as_str()).map_err(|_| format!("this is not a URL such as {EXAMPLE}"))?;
        match parsed.scheme().as_str().to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                return Err("TLS is not supported yet: send to a collector on this host by http".to_owned());
            }
            other => return Err(format!("the scheme is {other}, and must be http, as in {EXAMPLE}")),
        }
        let authority = parsed.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| format!("there is no host, as in {EXAMPLE}"))?;
        let port = port(&authority)?;
        if port.is_none() && !url.contains("://") {
            // The usual port of a receiver is not the usual port of http.
            let usual = if protocol == OtlpProtocol::Grpc { 4317 } else { 4318 };
            let host = authority.host();
            return Err(format!("there is neither a scheme nor a port: http://{host}:{usual} may be meant"));
        }
        if parsed.has_fragment() {
            return Err("a URL of a receiver has no fragment (#…)".to_owned());
        }
        let query = parsed.query().map(|query| query.as_str());
        let path = parsed.path().as_str();
        let path = match (protocol, kind) {
            (OtlpProtocol::Grpc, _) => path_of_grpc(path, query.is_some())?,
            (_, UrlKind::Base) => {
                let base = path.trim_end_matches('/');
                format!("{}{PATH}", base.strip_suffix(PATH).unwrap_or(base))
            }
            (_, UrlKind::Traces) if path.is_empty() => "/".to_owned(),
            (_, UrlKind::Traces) => path.to_owned(),
        };
        let path_and_query = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(format!("{}{port}", authority.host()))
            .path_and_query(path_and_query)
            .build()
            .map_err(|_| format!("this is not a URL such as {EXAMPLE}"))?;
        let authorization = authority.userinfo().map(|userinfo| basic(userinfo.as_str())).transpose()?;
        Ok(Self { uri, authorization, kind })
    }

    /// What requests are sent to: without user and password.
    pub fn uri(&self) -> &http::Uri {
        &self.uri
    }

    /// The basic authorization (RFC 7617) of the user and the password in the URL.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// What may be wrong if there is no receiver at the address.
    pub(super) fn likely_mistake(&self, protocol: OtlpProtocol) -> &'static str {
        match (protocol, self.kind) {
            (OtlpProtocol::Grpc, _) => {
                "nothing takes traces by gRPC there; if the receiver speaks HTTP, set the protocol to http/protobuf"
            }
            (_, UrlKind::Base) => {
                "nothing takes traces there; /v1/traces was added to the endpoint, unless it ended so: if the \
                 receiver has another path, set export.traces_endpoint, which is used as it stands"
            }
            (_, UrlKind::Traces) => {
                "nothing takes traces there; an endpoint for traces is used as it stands: the path is usually \
                 /v1/traces"
            }
        }
    }
}

/// The address, without values that may be secret.
impl fmt::Display for OtlpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.uri.to_string()))
    }
}

/// The path of the method, behind that of a proxy if there is one.
fn path_of_grpc(path: &str, has_query: bool) -> Result<String, String> {
    let path = path.trim_end_matches('/');
    if has_query {
        return Err("gRPC has no query (?…)".to_owned());
    }
    if path.ends_with(PATH) {
        return Err(format!("{PATH} is the path for HTTP: leave it out for gRPC, or set http/protobuf"));
    }
    Ok(format!("{path}{METHOD}"))
}

fn port(authority: &Authority<'_>) -> Result<Option<u16>, String> {
    match authority.port_to_u16() {
        Ok(None) => Ok(None),
        Ok(Some(port)) if port > 0 => Ok(Some(port)),
        _ => {
            let port = authority.port().map_or("", |port| port.as_str());
            Err(format!("port {port} is not one from 1 to 65535"))
        }
    }
}

/// `user:password`, percent-encoded as in a URL, as an authorization.
fn basic(userinfo: &str) -> Result<HeaderValue, String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let (user, password) = (percent_decoded(user), percent_decoded(password));
    if user.contains(':') || [&user, &password].iter().any(|text| text.contains(char::is_control)) {
        return Err("the user or the password has characters that cannot be sent".to_owned());
    }
    let mut value = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        .parse::<HeaderValue>()
        .map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A URL without what may be secret: user and password, query, fragment. The text may be no URL.
fn shown(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (rest, hidden) = match rest.split_once(['?', '#']) {
        // The password or the query: nobody can tell.
        Some((_, query)) if query.contains('@') => ("", "…"),
        Some((rest, _)) => (rest, "?…"),
        None => (rest, ""),
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    format!("{scheme}{rest}{hidden}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_to(url: &str, kind: UrlKind, protocol: OtlpProtocol) -> String {
        OtlpAddress::new(url, kind, protocol).map_or_else(|error| error, |address| address.uri.to_string())
    }

    #[test]
    fn the_path_for_traces_is_added_once_and_before_the_query() {
        let base = |url: &str| sent_to(url, UrlKind::Base, OtlpProtocol::HttpProtobuf);
        for (url, expected) in [
            ("http://a:4318", "http://a:4318/v1/traces"),
            ("http://a:4318/", "http://a:4318/v1/traces"),
            ("HTTP://a:4318", "http://a:4318/v1/traces"),
            ("a:4318", "http://a:4318/v1/traces"),
            (" a:80 ", "http://a:80/v1/traces"),
            (" http://a ", "http://a/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
            ("http://a/otlp/", "http://a/otlp/v1/traces"),
            ("http://a/otlp?key=1&b=2", "http://a/otlp/v1/traces?key=1&b=2"),
            ("http://a:4318/v1/traces", "http://a:4318/v1/traces"),
            ("http://a:4318/v1/traces/?key=1", "http://a:4318/v1/traces?key=1"),
            ("http://me:pass@a:4318", "http://a:4318/v1/traces"),
        ] {
            assert_eq!(base(url), expected, "{url}");
        }
    }

    #[test]
    fn an_address_for_traces_is_used_as_it_stands() {
        let traces = |url: &str| sent_to(url, UrlKind::Traces, OtlpProtocol::HttpJson);
        assert_eq!(traces("http://a/x/?key=1"), "http://a/x/?key=1");
        assert_eq!(traces("http://a"), "http://a/");
    }

    #[test]
    fn grpc_has_a_path_of_its_own() {
        for kind in [UrlKind::Base, UrlKind::Traces] {
            let grpc = |url: &str| sent_to(url, kind, OtlpProtocol::Grpc);
            assert_eq!(grpc("http://a:4317"), format!("http://a:4317{METHOD}"));
            assert_eq!(grpc("http://a:4317/behind/"), format!("http://a:4317/behind{METHOD}"));
            assert!(grpc("http://a:4317/v1/traces").contains("path for HTTP"));
            assert!(grpc("http://a:4317?key=1").contains("no query"));
            assert!(grpc("a").contains("http://a:4317 may be meant"));
        }
    }

    #[test]
    fn what_cannot_be_sent_to_is_said_to_be_so() {
        for (url, expected) in [
            ("http://a:99999", "\"http://a:99999\": port 99999 is not one from 1 to 65535"),
            ("http://a:0", "port 0 is not one from 1 to 65535"),
            ("http://a:b", "not a URL such as http://localhost:4318"),
            ("https://a", "TLS is not supported yet"),
            ("ftp://a", "the scheme is ftp, and must be http"),
            ("http://", "there is no host"),
            ("", "there is no host"),
            ("http://:4318", "there is no host"),
            ("http://a/#here", "has no fragment"),
            ("foo", "\"foo\": there is neither a scheme nor a port: http://foo:4318 may be meant"),
            ("me:s3cret@foo/x?k=1", "http://foo:4318 may be meant"),
            ("http://a b", "not a URL such as"),
            ("http://ä", "not a URL such as"),
        ] {
            let error = OtlpAddress::new(url, UrlKind::Base, OtlpProtocol::HttpProtobuf).expect_err(url);
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let address = |url: &str| OtlpAddress::new(url, UrlKind::Base, OtlpProtocol::HttpProtobuf);
        let made = address("http://me:p%40ss@a:4318?token=t0k").expect("valid");
        // `printf me:p@ss | base64`
        assert_eq!(made.authorization().and_then(|value| value.to_str().ok()), Some("Basic bWU6cEBzcw=="));
        assert_eq!(made.to_string(), "http://a:4318/v1/traces?…");
        assert!(!format!("{made:?}").contains("bWU6"), "a header that is sensitive");
        assert_eq!(address("http://a").expect("valid").authorization(), None);
        for wrong in [
            "http://me:s3cret@a:0?x=s3cret",
            "me:s3cret/@a:b",
            "ftp://me:s3cret@a",
            "http://me:s3%0Acret@a",
            "http://me:s3?cret@a:b",
            "http://a:b/?x=@s3cret",
        ] {
            let error = address(wrong).expect_err(wrong);
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
