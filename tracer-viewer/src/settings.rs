//! What the viewer is told before it starts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tracer_model::answer::Source;

use crate::{error::ViewerError, security::Token, watch::WatchSettings};

/// Where the page and the API are served, if nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8377);

/// Where OTLP by gRPC is taken, if nothing else is said.
pub const DEFAULT_OTLP_GRPC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4317);

/// Where OTLP by HTTP is taken, if nothing else is said.
pub const DEFAULT_OTLP_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4318);

/// How a viewer is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the page and the API (`--listen`).
    pub listen: SocketAddr,
    /// Address of OTLP by gRPC (`--otlp-grpc`); none for none.
    pub otlp_grpc: Option<SocketAddr>,
    /// Address of OTLP by HTTP (`--otlp-http`); none for none.
    pub otlp_http: Option<SocketAddr>,
    /// What a client must know (`--token-file`). Needed for every address that is not loopback, unless clients need a
    /// certificate. If it is set, the page and
    /// the API ask for it on loopback too; OTLP on loopback never does.
    pub token: Option<Token>,
    /// Certificate and key (`--tls-certificate`, `--tls-key`). The page then speaks TLS, and so does OTLP on addresses
    /// that are not loopback.
    pub tls: Option<TlsFiles>,
    /// Authorities of clients, PEM (`--tls-client-ca`): where TLS is spoken, a client needs a certificate that one of them
    /// has signed. Such an address needs no token, and asks for one besides if there is one.
    pub tls_client_ca: Option<PathBuf>,
    /// Names by which browsers reach the page, besides `localhost` and its address (`--host-name`).
    pub host_names: Vec<String>,
    /// Path with which requests come from a reverse proxy that passes it on (`--path-prefix`), such as `/traces`; empty
    /// for none. A proxy that takes its prefix away needs no setting: the pages have relative addresses only.
    pub path_prefix: String,
    /// Where the spans come from, as the page tells it. If it has no names, they are the addresses of OTLP.
    pub source: Source,
    /// Whether faults are looked for, and who is told.
    pub watch: WatchSettings,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            otlp_grpc: Some(DEFAULT_OTLP_GRPC),
            otlp_http: Some(DEFAULT_OTLP_HTTP),
            token: None,
            tls: None,
            tls_client_ca: None,
            host_names: Vec::new(),
            path_prefix: String::new(),
            source: Source { kind: "otlp".to_owned(), names: Vec::new() },
            watch: WatchSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// Files of a TLS certificate.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// Bounds of what clients can make the viewer hold and do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections to one address. When there are more, the one that has waited longest for its client gives way; if none
    /// waits, the new one is closed at once.
    pub connections: usize,
    /// Those of them that another host may have (of IPv6: a network of 64 bits); this host may have all.
    pub connections_of_host: usize,
    /// Head of a request: request line and header fields. A longer one is answered by 431.
    pub head_bytes: usize,
    /// Time in which a new connection must finish the handshake of TLS, and then send the head of its first request
    /// (HTTP/2: its preface).
    pub first_time: Duration,
    /// Time for which a connection may wait for its next request, in which it must send the whole head. Senders that
    /// keep connections send at least once a minute as a rule.
    pub head_time: Duration,
    /// Time in which a client must send the body of a request.
    pub body_time: Duration,
    /// Time in which a client must take some of an answer, else its connection is closed.
    pub write_time: Duration,
    /// Body of an OTLP request, compressed and not. Senders count on 4 MiB.
    pub otlp_request_bytes: usize,
    /// OTLP requests that are decoded and stored at the same time; more are told to come again. Those that are still coming
    /// in hold the bytes of as many together.
    pub otlp_requests: usize,
    /// Searches at the same time; more wait for `search_wait`. Large answers are made one at a time.
    pub searches: usize,
    /// Time after which a search that waits for others is refused.
    pub search_wait: Duration,
    /// Time of a search; it answers with what it has found until then.
    pub search_time: Duration,
    /// Spans of one trace in an answer.
    pub trace_spans: usize,
    /// Bytes of large answers that are on their way at the same time; more are refused. One alone may be larger.
    pub answer_bytes: usize,
    /// Time in which a client must take 256 KiB of its answer, or send as much of its request, or it gives way if another
    /// one needs the room.
    pub give_way_time: Duration,
    /// Pages that follow new traces at the same time.
    pub live_clients: usize,
    /// Traces that one page is told of in a second; it learns how many more there were.
    pub live_traces_per_second: usize,
    /// How often it is looked whether the files of TLS have changed: at a new connection.
    pub tls_check_time: Duration,
    /// Time in which requests that are under way may end when the viewer stops.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_of_host: 128,
            head_bytes: 64 * 1024,
            first_time: Duration::from_secs(10),
            head_time: Duration::from_secs(75),
            body_time: Duration::from_secs(20),
            write_time: Duration::from_secs(30),
            otlp_request_bytes: 4 * 1024 * 1024,
            otlp_requests: 32,
            searches: 4,
            search_wait: Duration::from_secs(5),
            search_time: Duration::from_secs(2),
            trace_spans: 50_000,
            answer_bytes: 64 * 1024 * 1024,
            give_way_time: Duration::from_secs(1),
            live_clients: 64,
            live_traces_per_second: 100,
            tls_check_time: Duration::from_secs(5),
            stop_time: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// Checks what can be checked before a socket is opened.
    pub(crate) fn check(&self) -> Result<(), ViewerError> {
        if let Some(path) = self.tls_client_ca.as_ref().filter(|_| self.tls.is_none()) {
            return Err(ViewerError::ClientCaWithoutTls(path.clone()));
        }
        let is_locked = self.token.is_some() || self.tls_client_ca.is_some();
        for (address, flag) in self.addresses() {
            if !address.ip().is_loopback() && !is_locked {
                return Err(ViewerError::NeedsToken { address, flag });
            }
        }
        let prefix = &self.path_prefix;
        let is_path = prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
        let is_plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
        if !is_path || !is_plain || prefix.contains("//") || prefix.split('/').any(|part| part == "..") {
            return Err(ViewerError::PathPrefix(prefix.clone()));
        }
        if let Some(name) = self.host_names.iter().find(|name| !is_host_name(name)) {
            return Err(ViewerError::HostName(name.clone()));
        }
        Ok(())
    }

    /// Every address, with the flag that sets it.
    fn addresses(&self) -> impl Iterator<Item = (SocketAddr, &'static str)> {
        let otlp = [(self.otlp_grpc, "--otlp-grpc"), (self.otlp_http, "--otlp-http")];
        let otlp = otlp.into_iter().filter_map(|(address, flag)| Some((address?, flag)));
        std::iter::once((self.listen, "--listen")).chain(otlp)
    }
}

/// Whether this is a name of a host, without a port.
fn is_host_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_loopback_needs_a_token() {
        let mut settings = Settings { listen: SocketAddr::from(([0, 0, 0, 0], 8377)), ..Settings::default() };
        let error = settings.check().expect_err("it is refused").to_string();
        assert!(error.contains("0.0.0.0:8377") && error.contains("--token"), "{error}");
        settings.token = Some(Token::new("a-token-of-length-24-000").expect("it is long enough"));
        assert!(settings.check().is_ok());
    }

    #[test]
    fn certificates_of_clients_serve_instead_of_a_token() {
        let mut settings = Settings { listen: SocketAddr::from(([0, 0, 0, 0], 8377)), ..Settings::default() };
        settings.tls_client_ca = Some("ca.pem".into());
        let error = settings.check().expect_err("nobody shows one without TLS").to_string();
        assert!(error.contains("ca.pem") && error.contains("--tls-certificate"), "{error}");
        settings.tls = Some(TlsFiles { certificate: "cert.pem".into(), key: "key.pem".into() });
        assert!(settings.check().is_ok());
    }

    #[test]
    fn an_otlp_address_that_is_not_loopback_needs_a_token() {
        let settings =
            Settings { otlp_http: Some(SocketAddr::from(([10, 0, 0, 1], 4318))), ..Settings::default() };
        let error = settings.check().expect_err("it is refused").to_string();
        assert!(error.contains("--otlp-http"), "{error}");
    }

    #[test]
    fn a_prefix_must_be_a_plain_path() {
        let with = |prefix: &str| Settings { path_prefix: prefix.to_owned(), ..Settings::default() }.check();
        assert!(with("").is_ok() && with("/traces").is_ok() && with("/a/b.c").is_ok());
        for wrong in ["traces", "/traces/", "/", "/a//b", "/a/../b", "/a\"b", "/a b"] {
            assert!(with(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_host_name_has_no_port() {
        let with = |name: &str| Settings { host_names: vec![name.to_owned()], ..Settings::default() }.check();
        assert!(with("traces.example.com").is_ok());
        assert!(with("traces.example.com:80").is_err() && with("").is_err());
    }
}
