//! Names and attributes of HTTP spans.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    attributes::Attributes,
    config::SpanConfig,
    model::{Resource, Status},
    outcome::{explanation, failure},
    semconv as names,
    text::{FewKept, Recent, Text},
};
use crate::{
    endpoint::Endpoint,
    exchange::{ConnectionFacts, Exchange, Kind, Outcome},
    protocol::http::HttpExchange,
    redact::{CREDENTIALS, Redactor},
    route::{Guessed, Guesses, Patterns, earns_name},
};

/// What makes a span of HTTP's side of an exchange.
pub(super) struct HttpNames {
    config: SpanConfig,
    /// The methods that are known, as texts.
    methods: Vec<Arc<str>>,
    redactor: Redactor,
    patterns: Patterns,
    guesses: Guesses,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    addresses: Addresses,
    authorities: Authorities,
    agents: Recent,
    ends: Vec<KnownEnds>,
}

/// A span's name and status.
pub(super) struct Described {
    pub(super) name: Text,
    pub(super) status: Status,
    /// A name was wanted, and the service has too many already.
    pub(super) is_unnamed: bool,
}

/// Addresses as texts. Peers are many, and each comes again and again.
#[derive(Default)]
struct Addresses {
    texts: FxHashMap<IpAddr, Arc<str>>,
    last: Option<(IpAddr, Arc<str>)>,
}

impl Addresses {
    const MOST: usize = 4096;

    /// Without the port.
    fn text(&mut self, endpoint: &Endpoint) -> Text {
        let address = match endpoint {
            Endpoint::Ip(address) => address.ip(),
            Endpoint::Unix(_) => return Text::from(endpoint.to_string()),
        };
        if let Some((known, text)) = &self.last
            && *known == address
        {
            return text.into();
        }
        if self.texts.len() >= Self::MOST {
            self.texts.clear();
        }
        let text = self.texts.entry(address).or_insert_with(|| address.to_string().into());
        self.last = Some((address, Arc::clone(text)));
        Text::from(&*text)
    }
}

/// The parts of authorities: a service has few names.
#[derive(Default)]
struct Authorities(FewKept<Authority, { Self::KEPT }>);

/// An authority, its host and its port.
type Authority = (String, Option<Text>, Option<u16>);

impl Authorities {
    const KEPT: usize = 8;
    /// Longer ones are not kept.
    const LONGEST: usize = 256;

    /// Host and port.
    fn parts(&mut self, authority: &[u8]) -> (Option<Text>, Option<u16>) {
        if let Some((_, host, port)) = self.0.find(|(known, ..)| known.as_bytes() == authority) {
            return (host.clone(), *port);
        }
        let authority = &*lossy(authority);
        let (host, port) = split_authority(authority);
        let host = host.map(|host| Text::Shared(host.into()));
        if authority.len() <= Self::LONGEST {
            self.0.keep((authority.to_owned(), host.clone(), port));
        }
        (host, port)
    }
}

/// What the last requests said of the ends of their connection, at a place by the connection's number.
#[derive(Default)]
struct KnownEnds {
    connection: u64,
    /// None until a second request has come.
    ends: Option<Ends>,
}

/// The ends of a connection, and their attributes as they are written.
struct Ends {
    authority: Vec<u8>,
    minor_version: u8,
    host: Text,
    port: Option<u16>,
    written: Vec<u8>,
}

impl KnownEnds {
    const KEPT: usize = 64;

    /// Those of a request, if they are what they were.
    fn of(&self, connection: u64, http: &HttpExchange) -> Option<&Ends> {
        self.ends.as_ref().filter(|ends| {
            self.connection == connection
                && ends.minor_version == http.minor_version
                && http.host().is_some_and(|host| host == ends.authority)
        })
    }

    /// Keeps those of a connection that has carried a request before.
    fn keep(&mut self, connection: u64, ends: impl FnOnce() -> Ends) {
        self.ends = (self.connection == connection).then(ends);
        self.connection = connection;
    }
}

/// A request target in its parts (RFC 9112 section 3.2).
struct Target<'a> {
    scheme: Cow<'a, str>,
    /// `host:port` of an absolute or authority form.
    authority: Option<&'a str>,
    /// The authority had a user, and maybe a password, before it.
    has_credentials: bool,
    path: &'a str,
    query: Option<&'a str>,
    /// It is a path without parameters and without what may be credentials: there is nothing to hide.
    is_plain: bool,
}

impl HttpNames {
    pub(super) fn new(config: SpanConfig, redactor: Redactor) -> Self {
        Self {
            request_headers: SpanConfig::allowed(&config.request_headers),
            response_headers: SpanConfig::allowed(&config.response_headers),
            methods: config.known_methods.iter().map(|name| name.as_str().into()).collect(),
            patterns: Patterns::new(&config.routes),
            guesses: Guesses::new(config.route_guess_limit),
            redactor,
            config,
            addresses: Addresses::default(),
            authorities: Authorities::default(),
            agents: Recent::default(),
            ends: Vec::new(),
        }
    }

    /// Whether OTLP exports get spans.
    pub(super) fn has_otlp_exports(&self) -> bool {
        self.config.otlp_exports
    }

    /// Fills `attributes`, which are empty.
    pub(super) fn describe(
        &mut self,
        exchange: &Exchange,
        http: &HttpExchange,
        facts: &ConnectionFacts,
        resource: &Resource,
        attributes: &mut Attributes,
    ) -> Described {
        let method = http.method();
        let known = self.methods.iter().find(|name| name.as_bytes() == method);
        match known {
            Some(name) => attributes.str(names::HTTP_REQUEST_METHOD, name),
            None => {
                attributes.str(names::HTTP_REQUEST_METHOD, "_OTHER");
                attributes.str(names::HTTP_REQUEST_METHOD_ORIGINAL, &String::from_utf8_lossy(method));
            }
        }

        let whole = lossy(http.target());
        let target = Target::of(&whole, method == b"CONNECT");
        let serves = !exchange.kind.is_outgoing();
        let is_trusted = self.config.trust_forwarded && serves;
        let forwarded = if is_trusted { ForwardedFields::of(http) } else { ForwardedFields::default() };
        let scheme = forwarded.scheme.map_or(target.scheme, Cow::Owned);
        let path = if target.is_plain { Cow::Borrowed(target.path) } else { self.redactor.path(target.path) };
        let is_plain = target.is_plain && !is_trusted;
        let at = facts.number as usize % KnownEnds::KEPT;
        let known_ends = self.ends.get(at).and_then(|ends| ends.of(facts.number, http)).filter(|_| is_plain);
        let authority = forwarded
            .host
            .map(|host| Cow::Owned(host.into_bytes()))
            .or(target.authority.map(|authority| Cow::Borrowed(authority.as_bytes())))
            .or_else(|| http.host().map(Cow::Borrowed));
        let (host, port) = if let Some(ends) = known_ends {
            (ends.host.clone(), ends.port)
        } else {
            let (host, port) =
                authority.as_deref().map_or((None, None), |authority| self.authorities.parts(authority));
            let port = port.or_else(|| default_port(host.is_some(), &scheme, server(facts, serves)));
            (host.unwrap_or_else(|| self.addresses.text(server(facts, serves))), port)
        };

        let query = target.query.map(|query| self.redactor.query(query));
        match serves {
            true => {
                attributes.str(names::URL_SCHEME, &scheme);
                attributes.str(names::URL_PATH, &path);
                if let Some(query) = query.filter(|query| !query.is_empty()) {
                    attributes.str(names::URL_QUERY, &query);
                }
            }
            false => {
                let credentials = if target.has_credentials { CREDENTIALS } else { "" };
                let full = full_url(&scheme, credentials, &host, port, &path, query.as_deref());
                attributes.str(names::URL_FULL, &full);
            }
        }
        if let Some(ends) = known_ends {
            attributes.append(&ends.written);
        } else {
            let begin = attributes.as_bytes().len();
            attributes.str(names::SERVER_ADDRESS, &host);
            if let Some(port) = port {
                attributes.int(names::SERVER_PORT, i64::from(port));
            }
            let peer = self.addresses.text(&facts.remote);
            if serves {
                attributes.str(names::CLIENT_ADDRESS, forwarded.client.as_deref().unwrap_or(&peer));
            }
            attributes.str(names::NETWORK_PEER_ADDRESS, &peer);
            if let Some(port) = facts.remote.port() {
                attributes.int(names::NETWORK_PEER_PORT, i64::from(port));
            }
            let version = if http.minor_version == 0 { "1.0" } else { "1.1" };
            attributes.str(names::NETWORK_PROTOCOL_VERSION, version);
            if is_plain && let Some(authority) = http.host() {
                let minor_version = http.minor_version;
                if at >= self.ends.len() {
                    self.ends.resize_with(at + 1, KnownEnds::default);
                }
                self.ends[at].keep(facts.number, || Ends {
                    authority: authority.to_vec(),
                    minor_version,
                    host,
                    port,
                    written: attributes.as_bytes()[begin..].to_vec(),
                });
            }
        }
        if let Some(status) = http.status {
            attributes.int(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
        }
        if let Some(agent) = http.user_agent() {
            attributes.str(names::USER_AGENT_ORIGINAL, &self.agents.text(agent));
        }
        for (name, size) in [
            (names::HTTP_REQUEST_BODY_SIZE, http.request_body_bytes),
            (names::HTTP_RESPONSE_BODY_SIZE, http.response_body_bytes.filter(|_| http.status.is_some())),
        ] {
            if let Some(size) = size.and_then(|size| i64::try_from(size).ok()) {
                attributes.int(name, size);
            }
        }

        let error = error_type(exchange.outcome, http.status, exchange.kind);
        if let Some(error) = &error {
            attributes.str(names::ERROR_TYPE, error);
        }
        if exchange.outcome == Outcome::Lost {
            attributes.bool(names::TRACER_HTTP_END_UNKNOWN, true);
        }
        if exchange.outcome == Outcome::Left {
            attributes.bool(names::TRACER_HTTP_RESPONSE_UNREAD, true);
        }
        let status = match (&error, failure(exchange.outcome)) {
            (None, _) => Status::Unset,
            // The service may well have answered.
            (Some(_), _) if exchange.outcome == Outcome::Lost && http.status.is_none() => Status::Unset,
            (Some(error), Some(failure)) if error == failure => {
                Status::Error(explanation(exchange.outcome).to_owned())
            }
            (Some(_), _) => Status::Error(String::new()),
        };
        let mut duration = |name, since_ns: u64, until_ns: u64| {
            attributes.double(name, until_ns.saturating_sub(since_ns) as f64 / 1e9);
        };
        // Of a connection that carried a request before, the time since `connect` tells nothing.
        if let (0, true, Some(connect_ns)) = (exchange.request_offset, !serves, facts.connect_ns) {
            duration(names::TRACER_HTTP_CONNECTION_SETUP, connect_ns, exchange.start_ns);
        }
        if exchange.request_end_ns > exchange.start_ns {
            duration(names::TRACER_HTTP_TIME_TO_REQUEST_END, exchange.start_ns, exchange.request_end_ns);
        }
        if let Some(first) = exchange.response_start_ns {
            duration(names::TRACER_HTTP_TIME_TO_FIRST_BYTE, exchange.start_ns, first);
        }
        let unit = exchange.unit();
        if unit.pid != resource.pid {
            attributes.int(names::PROCESS_PID, i64::from(unit.pid));
        }
        attributes.int(names::THREAD_ID, i64::from(unit.tid));

        let method = known.map_or("HTTP", |name| &**name);
        let mut is_unnamed = false;
        let mut named = None;
        if let Some(pattern) = self.patterns.find(&path) {
            let name = if serves { names::HTTP_ROUTE } else { names::URL_TEMPLATE };
            attributes.str(name, pattern);
            named = Some(Text::from(format!("{method} {pattern}")));
        } else if self.config.route_guess && path.starts_with('/') {
            match self.guesses.guess(&resource.service_name, &path, earns_name(http.status)) {
                Guessed::Named(guess) => {
                    attributes.str(names::TRACER_HTTP_ROUTE_GUESS, &guess.route);
                    named = Some((&guess.name(method)).into());
                }
                Guessed::Unearned => {}
                Guessed::TooMany => is_unnamed = true,
            }
        }
        let name = named.unwrap_or_else(|| known.map_or("HTTP".into(), |name| name.into()));
        self.add_headers(http, attributes);
        Described { name, status, is_unnamed }
    }

    fn add_headers(&self, http: &HttpExchange, attributes: &mut Attributes) {
        // Referer, Location and their like hold URLs.
        let texts = |values: Vec<&[u8]>| -> Vec<String> {
            values.into_iter().map(|value| self.redactor.url(&String::from_utf8_lossy(value))).collect()
        };
        for (list, prefix, is_request) in [
            (&self.request_headers, names::HTTP_REQUEST_HEADER, true),
            (&self.response_headers, names::HTTP_RESPONSE_HEADER, false),
        ] {
            for name in list {
                let values: Vec<&[u8]> = if is_request {
                    http.request_header(name).collect()
                } else {
                    http.response_header(name).collect()
                };
                if !values.is_empty() {
                    attributes.strings(&format!("{prefix}{name}"), &texts(values));
                }
            }
        }
    }
}

impl<'a> Target<'a> {
    fn of(target: &'a str, is_connect: bool) -> Self {
        if is_connect {
            return Self {
                scheme: "http".into(),
                authority: Some(target),
                has_credentials: false,
                path: "",
                query: None,
                is_plain: false,
            };
        }
        // Most targets are nothing but a path: one look at each byte tells.
        if target.starts_with('/') && !target.bytes().any(|byte| matches!(byte, b'?' | b'#' | b';' | b'@')) {
            return Self {
                scheme: Cow::Borrowed("http"),
                authority: None,
                has_credentials: false,
                path: target,
                query: None,
                is_plain: true,
            };
        }
        let mut has_credentials = false;
        let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
        let (scheme, authority, rest) = match absolute {
            Some((scheme, rest)) if is_scheme(scheme) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                has_credentials = authority.contains('@');
                (scheme.to_ascii_lowercase().into(), Some(authority), rest)
            }
            _ => (Cow::Borrowed("http"), None, target),
        };
        let without_fragment = |text: &'a str| text.split_once('#').map_or(text, |(before, _)| before);
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(without_fragment(query))),
            None => (without_fragment(rest), None),
        };
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        Self { scheme, authority, has_credentials, path, query, is_plain: false }
    }
}

/// A text of these bytes; what is not UTF-8 is replaced. Nearly all is, and is looked at once.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What trusted proxies say of the request that the first of them got: Forwarded (RFC 7239), else
/// X-Forwarded-*.
#[derive(Default)]
struct ForwardedFields {
    client: Option<String>,
    host: Option<String>,
    scheme: Option<String>,
}

impl ForwardedFields {
    fn of(http: &HttpExchange) -> Self {
        let standard = first(http, "forwarded");
        let parameter = |name: &str| {
            standard.as_deref()?.split(';').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                let value = value.trim().trim_matches('"');
                (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_owned())
            })
        };
        let client = parameter("for").or_else(|| first(http, "x-forwarded-for"));
        let scheme = parameter("proto").or_else(|| first(http, "x-forwarded-proto"));
        Self {
            client: client.map(|client| split_authority(&client).0.unwrap_or(&client).to_owned()),
            host: parameter("host").or_else(|| first(http, "x-forwarded-host")),
            scheme: scheme.map(|scheme| scheme.to_ascii_lowercase()).filter(|scheme| is_scheme(scheme)),
        }
    }
}

/// The first value of a header that lists them.
fn first(http: &HttpExchange, name: &'static str) -> Option<String> {
    let value = String::from_utf8_lossy(http.request_header(name).next()?).into_owned();
    let first = value.split(',').next().unwrap_or_default().trim();
    (!first.is_empty()).then(|| first.to_owned())
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Host and port of an authority; brackets around an IPv6 address are removed.
fn split_authority(authority: &str) -> (Option<&str>, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => (rest, None),
        }
    } else {
        match authority.rsplit_once(':') {
            // More than one colon without brackets: an address alone.
            Some((host, _)) if host.contains(':') => (authority, None),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    (Some(host).filter(|host| !host.is_empty()), port.and_then(|port| port.parse().ok()))
}

/// The server's own address, when the request does not name it.
fn server(facts: &ConnectionFacts, serves: bool) -> &Endpoint {
    if serves { &facts.local } else { &facts.remote }
}

fn default_port(named: bool, scheme: &str, server: &Endpoint) -> Option<u16> {
    match (named, scheme) {
        (true, "http") => Some(80),
        (true, "https") => Some(443),
        _ => server.port(),
    }
}

fn full_url(
    scheme: &str,
    credentials: &str,
    host: &str,
    port: Option<u16>,
    path: &str,
    query: Option<&str>,
) -> String {
    let mut url = if host.contains(':') {
        format!("{scheme}://{credentials}[{host}]")
    } else {
        format!("{scheme}://{credentials}{host}")
    };
    let is_default = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)) | (_, None));
    if let Some(port) = port.filter(|_| !is_default) {
        url += &format!(":{port}");
    }
    // `OPTIONS *` is about the server, not about a path.
    if path != "*" {
        url += path;
    }
    if let Some(query) = query {
        url.push('?');
        url += query;
    }
    url
}

/// Server: 5xx; client: 4xx and 5xx; both: an exchange that failed. Bytes that the agent lost are no
/// failure of the service: with a status known, that decides.
fn error_type(outcome: Outcome, status: Option<u16>, kind: Kind) -> Option<String> {
    let is_decided = outcome == Outcome::Lost && status.is_some();
    if let Some(failure) = failure(outcome).filter(|_| !is_decided) {
        return Some(failure.to_owned());
    }
    let least = if kind == Kind::Serve { 500 } else { 400 };
    status.filter(|status| *status >= least).map(|status| status.to_string())
}
