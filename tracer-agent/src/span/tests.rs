//! Exchanges as they are on the wire, and the whole of the spans that they become.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Resource, Span, SpanKind, Status, ValueRef,
    build::{Clock, SpanBuilder, SpanConfig},
};
use crate::{
    correlate::{Correlator, Ids, Rules, Sdk},
    endpoint::PeerIdentity,
    exchange::{ConnectionFacts, Connector, Exchange, Kind, Opened, Outcome, Unit},
    ledger::Counter,
    protocol::http::{Head, HttpExchange, Noted, attempt},
    trace_context::{Carried, HeaderFormat, HeaderFormats, Incoming},
};

const CLIENT: &str = "10.0.0.9:51000";
const SERVER: &str = "10.0.0.1:8080";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The request of an exchange, which took 3 ms to its first byte and 5 ms in all.
fn exchange(request: &str, response: Option<&str>, outcome: Outcome) -> Exchange {
    let request = format!("{}\r\n\r\n", request.replace('\n', "\r\n"));
    let response = response.map(|response| format!("{}\r\n\r\n", response.replace('\n', "\r\n")));
    let method = 0..request.find(' ').expect("a method");
    let rest = &request[method.end + 1..];
    let target = Range { start: method.end + 1, end: method.end + 1 + rest.find(' ').expect("a version") };
    let worker = Unit::thread(100, 101);
    Exchange {
        // `build_by` says whose it is.
        kind: Kind::Serve,
        request_unit: worker,
        response_unit: response.is_some().then_some(worker),
        start_ns: 1_000_000_000,
        request_end_ns: 1_000_100_000,
        response_start_ns: response.is_some().then_some(1_003_000_000),
        end_ns: 1_005_000_000,
        outcome,
        request_offset: 0,
        attached: None,
        payload: Arc::new(HttpExchange {
            method,
            target,
            noted: Noted::of(request.as_bytes()),
            minor_version: u8::from(!request.contains("HTTP/1.0\r\n")),
            status: response.as_deref().and_then(|head| head.get(9..12)?.parse().ok()),
            export_body: None,
            request_body_bytes: Some(0),
            response_body_bytes: response.is_some().then_some(12),
            request_head: Bytes::from(request),
            response_head: response.map(Bytes::from),
        }),
    }
}

fn builder(change: impl FnOnce(&mut SpanConfig)) -> SpanBuilder {
    let mut config = SpanConfig::default();
    change(&mut config);
    SpanBuilder::new(config)
}

/// The span, and what was counted.
fn build_with(builder: &mut SpanBuilder, kind: Kind, exchange: &Exchange) -> (Option<Span>, Vec<Counter>) {
    build_by(builder, kind, exchange, Sdk::Adopt)
}

fn build_by(
    builder: &mut SpanBuilder,
    kind: Kind,
    exchange: &Exchange,
    sdk: Sdk,
) -> (Option<Span>, Vec<Counter>) {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let exchange = &Exchange { kind, ..exchange.clone() };
    let (local, remote, connector) = if kind.is_outgoing() {
        (address(CLIENT), address(SERVER), Connector::Local)
    } else {
        (address(SERVER), address(CLIENT), Connector::Remote)
    };
    let facts = ConnectionFacts {
        number: 1,
        connector,
        local: local.into(),
        remote: remote.into(),
        identity: PeerIdentity::Unknown,
        peer: None,
        netns: 1,
        connect_ns: kind.is_outgoing().then_some(999_000_000),
        first_sent: 0,
        first_received: 0,
    };
    let resource = Arc::new(Resource { service_name: "shop".to_owned(), pid: 100, attributes: Vec::new() });
    let mut counted = Vec::new();
    let clock = Clock { offset_ns: 1_700_000_000_000_000_000 };
    let http: &HttpExchange = exchange.payload().expect("HTTP");
    let head = Head(&http.request_head);
    let incoming = Incoming::of(&head);
    let formats = HeaderFormats::new(&[HeaderFormat::B3]);
    let mut opened = Opened {
        kind,
        unit: exchange.request_unit,
        start_ns: exchange.start_ns,
        offset: exchange.request_offset,
        target: 1,
        incoming: incoming.map(Box::new),
        carried: Carried::of(&head, formats).map(Box::new),
        attempt: attempt(&http.request_head),
        is_export: http.exported().is_some(),
        injection: None,
        inserted: 0,
        is_lengthened: false,
        is_late: false,
        asked: crate::short_bytes::ShortBytes::default(),
    };
    let mut correlator = Correlator::new(
        Rules {
            sole_request: true,
            sdk,
            otlp_exports: builder.left_out(exchange).is_none(),
            propagates: false,
            sampler: crate::trace_context::sample::SamplingConfig::default().sampler(),
        },
        Ids::new(7),
    );
    correlator.opened(&facts, &mut opened);
    correlator.closed(&facts, exchange);
    let link = correlator.link(&facts, exchange);
    let mut count = |counter, _| counted.push(counter);
    if let Some(counter) = builder.left_out(exchange) {
        return (None, vec![counter]);
    }
    let span = builder.build(exchange, &facts, &resource, &clock, link, &mut count);
    (span, counted)
}

fn build(kind: Kind, exchange: &Exchange) -> Span {
    build_with(&mut builder(|_| {}), kind, exchange).0.expect("a span")
}

/// `name=value` of every attribute, in the order of the names.
fn attributes(span: &Span) -> Vec<String> {
    let shown = |value: ValueRef<'_>| match value {
        ValueRef::Str(text) => text.to_owned(),
        ValueRef::Int(number) => number.to_string(),
        ValueRef::Bool(truth) => truth.to_string(),
        ValueRef::Double(number) => number.to_string(),
        ValueRef::Strings(list) => format!("{:?}", list.iter().collect::<Vec<_>>()),
    };
    let mut lines: Vec<String> =
        span.attributes.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
    lines.sort();
    lines
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    attributes(span).into_iter().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

#[test]
fn a_server_span_tells_all_that_traffic_can() {
    let request = "POST /orders/42?color=blue&token=abc HTTP/1.1\nHost: shop.example:8080\nUser-Agent: curl/8.5\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=1\nTraceState: b=2";
    let span = build(Kind::Serve, &exchange(request, Some("HTTP/1.1 201 Created"), Outcome::Complete));
    assert_eq!(
        attributes(&span),
        [
            "client.address=10.0.0.9",
            "http.request.body.size=0",
            "http.request.method=POST",
            "http.response.body.size=12",
            "http.response.status_code=201",
            "network.peer.address=10.0.0.9",
            "network.peer.port=51000",
            "network.protocol.version=1.1",
            "server.address=shop.example",
            "server.port=8080",
            "thread.id=101",
            "tracer.http.route_guess=/orders/{id}",
            "tracer.http.time_to_first_byte=0.003",
            "tracer.http.time_to_request_end=0.0001",
            "tracer.link.evidence=header",
            "url.path=/orders/42",
            "url.query=color=blue&token=REDACTED",
            "url.scheme=http",
            "user_agent.original=curl/8.5",
        ]
    );
    assert_eq!((span.name.as_ref(), span.kind), ("POST /orders/{id}", SpanKind::Server));
    assert_eq!(span.start_unix_ns, 1_700_000_001_000_000_000);
    assert_eq!(span.end_unix_ns, 1_700_000_001_005_000_000);
    assert_eq!(span.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    assert_eq!(span.parent_span_id, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
    assert_eq!((span.flags, span.trace_state.as_str()), (0x301, "a=1,b=2"));
    assert_eq!(span.status, Status::Unset);
}

#[test]
fn a_client_span_tells_all_that_traffic_can() {
    let request = format!("GET /items?sig=x HTTP/1.0\nHost: api.example\ntraceparent: {PARENT}");
    let span = build(Kind::Call, &exchange(&request, Some("HTTP/1.0 404 Not Found"), Outcome::Complete));
    assert_eq!(
        attributes(&span),
        [
            "error.type=404",
            "http.request.body.size=0",
            "http.request.method=GET",
            "http.response.body.size=12",
            "http.response.status_code=404",
            "network.peer.address=10.0.0.1",
            "network.peer.port=8080",
            "network.protocol.version=1.0",
            "server.address=api.example",
            "server.port=80",
            "thread.id=101",
            "tracer.http.connection_setup=0.001",
            "tracer.http.time_to_first_byte=0.003",
            "tracer.http.time_to_request_end=0.0001",
            "url.full=http://api.example/items?sig=REDACTED",
        ]
    );
    // A path that was not found earns no name.
    assert_eq!((span.name.as_ref(), span.kind), ("GET", SpanKind::Client));
    // The header names a span that the application made of this call.
    assert_eq!((span.parent_span_id, span.flags), (None, 0x101));
    assert_eq!(span.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
    assert_eq!(span.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert_eq!(span.status, Status::Error(String::new()));
}

#[test]
fn a_span_tells_of_a_connection_that_was_set_up_for_it_and_of_a_request_that_came_in_parts() {
    let mut exchange = exchange("GET / HTTP/1.1\nHost: a", Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let told = |exchange: &Exchange, name: &str| {
        attributes(&build(Kind::Call, exchange)).iter().any(|attribute| attribute.starts_with(name))
    };
    assert!(told(&exchange, "tracer.http.connection_setup="));
    assert!(told(&exchange, "tracer.http.time_to_request_end="));
    exchange.request_offset = 100;
    exchange.request_end_ns = exchange.start_ns;
    assert!(!told(&exchange, "tracer.http.connection_setup="));
    assert!(!told(&exchange, "tracer.http.time_to_request_end="));
}

#[test]
fn errors_are_those_of_the_side_and_of_the_outcome() {
    let answered = |status: u16| Some(format!("HTTP/1.1 {status} X"));
    for (role, response, outcome, error) in [
        (Kind::Serve, answered(404), Outcome::Complete, None),
        (Kind::Serve, answered(503), Outcome::Complete, Some("503")),
        (Kind::Call, answered(302), Outcome::Complete, None),
        (Kind::Call, answered(101), Outcome::Complete, None),
        (Kind::Call, answered(500), Outcome::Complete, Some("500")),
        (Kind::Call, None, Outcome::Timeout, Some("timeout")),
        (Kind::Call, None, Outcome::NoResponse, Some("no_response")),
        (Kind::Serve, answered(200), Outcome::Reset, Some("connection_reset")),
        (Kind::Serve, answered(500), Outcome::Truncated, Some("truncated")),
    ] {
        let span = build(role, &exchange("GET / HTTP/1.1\nHost: a", response.as_deref(), outcome));
        let case = format!("{role:?} {response:?} {outcome:?}");
        assert_eq!(attribute(&span, "error.type").as_deref(), error, "{case}");
        match &span.status {
            Status::Unset => assert!(error.is_none(), "{case}"),
            Status::Error(text) => assert_eq!(text.is_empty(), outcome == Outcome::Complete, "{case}"),
        }
        assert_eq!(attribute(&span, "http.response.status_code").is_some(), response.is_some(), "{case}");
    }
}

#[test]
fn what_the_agent_lost_is_no_error_of_the_service() {
    let span =
        build(Kind::Serve, &exchange("GET / HTTP/1.1\nHost: a", Some("HTTP/1.1 200 OK"), Outcome::Lost));
    assert_eq!((attribute(&span, "error.type"), &span.status), (None, &Status::Unset));
    assert_eq!(attribute(&span, "tracer.http.end_unknown").as_deref(), Some("true"));
    let span =
        build(Kind::Serve, &exchange("GET / HTTP/1.1\nHost: a", Some("HTTP/1.1 500 X"), Outcome::Lost));
    assert_eq!(attribute(&span, "error.type").as_deref(), Some("500"));
    for kind in [Kind::Serve, Kind::Call] {
        let span = build(kind, &exchange("GET / HTTP/1.1\nHost: a", None, Outcome::Lost));
        assert_eq!(attribute(&span, "error.type").as_deref(), Some("lost"), "why there is no status");
        assert_eq!((attribute(&span, "http.response.status_code"), &span.status), (None, &Status::Unset));
    }
}

#[test]
fn targets_of_every_form_become_urls() {
    for (request, url, address, port) in [
        ("GET /a HTTP/1.1\nHost: h:8080", "http://h:8080/a", "h", 8080),
        ("GET /a HTTP/1.1\nHost: h:80", "http://h/a", "h", 80),
        ("GET /a HTTP/1.1\nHost: [::1]:8080", "http://[::1]:8080/a", "::1", 8080),
        ("GET /a HTTP/1.1\nHost: [::1]", "http://[::1]/a", "::1", 80),
        ("GET /a HTTP/1.0", "http://10.0.0.1:8080/a", "10.0.0.1", 8080),
        ("GET /a HTTP/1.1\nHost:", "http://10.0.0.1:8080/a", "10.0.0.1", 8080),
        ("GET http://o/a?b HTTP/1.1\nHost: proxy:3128", "http://o/a?b", "o", 80),
        ("GET HTTPS://o HTTP/1.1\nHost: o", "https://o/", "o", 443),
        ("GET http://me:pw@o:81/a HTTP/1.1\nHost: o", "http://REDACTED:REDACTED@o:81/a", "o", 81),
        ("GET /a;jsessionid=f/b HTTP/1.1\nHost: h", "http://h/a;jsessionid=REDACTED/b", "h", 80),
        ("GET /p/http://me:pw@x/ HTTP/1.1\nHost: h", "http://h/p/http://REDACTED:REDACTED@x/", "h", 80),
        ("OPTIONS * HTTP/1.1\nHost: h", "http://h", "h", 80),
        ("CONNECT o:443 HTTP/1.1\nHost: o:443", "http://o:443", "o", 443),
        ("GET /a HTTP/1.1\nHost: me:pw@h", "http://h/a", "h", 80),
    ] {
        let span = build(Kind::Call, &exchange(request, Some("HTTP/1.1 200 OK"), Outcome::Complete));
        assert_eq!(attribute(&span, "url.full").as_deref(), Some(url), "{request}");
        assert_eq!(attribute(&span, "server.address").as_deref(), Some(address), "{request}");
        assert_eq!(attribute(&span, "server.port"), Some(port.to_string()), "{request}");
    }
}

#[test]
fn proxies_are_believed_only_when_trusted() {
    let request = "GET / HTTP/1.1\nHost: inner:8080\nX-Forwarded-For: 203.0.113.7, 10.0.0.3\nX-Forwarded-Host: shop.example\nX-Forwarded-Proto: HTTPS";
    let standard = "GET / HTTP/1.1\nHost: inner:8080\nForwarded: for=\"[2001:db8::1]:4711\";host=shop.example;proto=https, for=10.0.0.3";
    let told = |request: &str, trust: bool| {
        let mut builder = builder(|config| config.trust_forwarded = trust);
        let exchange = exchange(request, Some("HTTP/1.1 200 OK"), Outcome::Complete);
        let span = build_with(&mut builder, Kind::Serve, &exchange).0.expect("a span");
        ["client.address", "server.address", "server.port", "url.scheme", "network.peer.address"]
            .map(|name| attribute(&span, name).unwrap_or_default())
    };
    assert_eq!(told(request, false), ["10.0.0.9", "inner", "8080", "http", "10.0.0.9"]);
    assert_eq!(told(request, true), ["203.0.113.7", "shop.example", "443", "https", "10.0.0.9"]);
    assert_eq!(told(standard, true), ["2001:db8::1", "shop.example", "443", "https", "10.0.0.9"]);
}

#[test]
fn unknown_methods_are_other_and_the_list_is_the_operator_s() {
    let exchange = exchange("PURGE /a HTTP/1.1\nHost: h", Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let span = build(Kind::Serve, &exchange);
    assert_eq!(attribute(&span, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&span, "http.request.method_original").as_deref(), Some("PURGE"));
    assert_eq!(span.name, "HTTP /a");
    let mut builder = builder(|config| config.known_methods = vec!["PURGE".to_owned()]);
    let span = build_with(&mut builder, Kind::Serve, &exchange).0.expect("a span");
    assert_eq!(span.name, "PURGE /a");
    assert_eq!(attribute(&span, "http.request.method_original"), None);
}

#[test]
fn routes_come_from_patterns_and_guesses_are_called_so() {
    let exchange = exchange("GET /users/bob HTTP/1.1\nHost: h", Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let mut builder = builder(|config| config.routes = vec!["/users/{id}".to_owned()]);
    let server = build_with(&mut builder, Kind::Serve, &exchange).0.expect("a span");
    let client = build_with(&mut builder, Kind::Call, &exchange).0.expect("a span");
    assert_eq!(attribute(&server, "http.route").as_deref(), Some("/users/{id}"));
    assert_eq!(attribute(&client, "url.template").as_deref(), Some("/users/{id}"));
    assert_eq!(attribute(&server, "tracer.http.route_guess"), None);
    assert_eq!((server.name.as_ref(), client.name.as_ref()), ("GET /users/{id}", "GET /users/{id}"));
}

#[test]
fn a_span_without_a_name_of_its_own_is_counted() {
    let request = |path: &str| {
        exchange(&format!("GET {path} HTTP/1.1\nHost: h"), Some("HTTP/1.1 200 OK"), Outcome::Complete)
    };
    let mut builder = builder(|config| config.route_guess_limit = 1);
    let (first, counted) = build_with(&mut builder, Kind::Serve, &request("/a"));
    assert_eq!((first.expect("a span").name.as_ref(), counted), ("GET /a", vec![]));
    let (second, counted) = build_with(&mut builder, Kind::Serve, &request("/b"));
    let second = second.expect("a span");
    assert_eq!((second.name.as_ref(), counted), ("GET", vec![Counter::SpansUnnamed]));
    assert_eq!(attribute(&second, "tracer.http.route_guess"), None);
}

#[test]
fn with_guessing_off_a_span_is_named_by_its_method() {
    let mut builder = builder(|config| config.route_guess = false);
    let exchange = exchange("GET /a HTTP/1.1\nHost: h", Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let (span, counted) = build_with(&mut builder, Kind::Serve, &exchange);
    assert_eq!((span.expect("a span").name.as_ref(), counted), ("GET", vec![]));
}

#[test]
fn headers_are_told_by_name_and_credentials_never() {
    let names = ["Accept", "Authorization", "Cookie", "Referer", "Set-Cookie", "X-None"].map(str::to_owned);
    let mut builder = builder(|config| {
        config.request_headers = names.to_vec();
        config.response_headers = names.to_vec();
    });
    let exchange = exchange(
        "GET / HTTP/1.1\nHost: h\nAccept: a\nACCEPT: b; q=1\nAuthorization: Basic eA==\nCookie: c=1\nReferer: http://u:p@h/?token=t",
        Some("HTTP/1.1 200 OK\nSet-Cookie: s=1"),
        Outcome::Complete,
    );
    let span = build_with(&mut builder, Kind::Serve, &exchange).0.expect("a span");
    let headers: Vec<String> =
        attributes(&span).into_iter().filter(|line| line.contains(".header.")).collect();
    assert_eq!(
        headers,
        [
            r#"http.request.header.accept=["a", "b; q=1"]"#,
            r#"http.request.header.referer=["http://REDACTED:REDACTED@h/?token=REDACTED"]"#,
        ]
    );
}

#[test]
fn another_format_and_another_attempt_are_told() {
    let request = "GET / HTTP/1.1\nHost: h\nb3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    let span = build(Kind::Serve, &exchange(request, Some("HTTP/1.1 200 OK"), Outcome::Complete));
    assert_eq!(attribute(&span, "tracer.link.evidence").as_deref(), Some("header"));
    assert_eq!(attribute(&span, "tracer.link.format").as_deref(), Some("b3"));
    let request = "GET / HTTP/1.1\nHost: h\nx-envoy-attempt-count: 3";
    let exchange = exchange(request, Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let resent = |role| attribute(&build(role, &exchange), "http.request.resend_count");
    assert_eq!((resent(Kind::Call).as_deref(), resent(Kind::Serve)), (Some("2"), None));
}

#[test]
fn a_doubled_or_broken_context_is_no_parent() {
    for headers in [format!("traceparent: {PARENT}\nTraceparent: {PARENT}"), "traceparent: 00-abc".to_owned()]
    {
        let request = format!("GET / HTTP/1.1\nHost: h\n{headers}\ntracestate: a=1");
        let span = build(Kind::Serve, &exchange(&request, Some("HTTP/1.1 200 OK"), Outcome::Complete));
        assert_eq!((span.parent_span_id, span.flags, span.trace_state.as_str()), (None, 0x103, ""));
        assert_eq!(attribute(&span, "tracer.link.evidence"), None);
    }
}

#[test]
fn an_export_is_counted_on_both_sides_and_no_span_unless_that_is_wanted() {
    let request = |kind: &str| {
        let request = format!("POST /v1/traces HTTP/1.1\nHost: collector:4318\nContent-Type: {kind}");
        exchange(&request, Some("HTTP/1.1 200 OK"), Outcome::Complete)
    };
    let mut all = builder(|config| config.otlp_exports = true);
    let mut builder = builder(|_| {});
    for (kind, counter) in
        [(Kind::Call, Counter::ExchangesOwnExport), (Kind::Serve, Counter::ExchangesExportReceived)]
    {
        let export = request("application/x-protobuf");
        let (span, counted) = build_with(&mut builder, kind, &export);
        assert!(span.is_none());
        assert_eq!(counted, [counter]);
        assert!(build_with(&mut all, kind, &export).0.is_some());
        assert!(build_with(&mut builder, kind, &request("text/plain")).0.is_some());
    }
}

#[test]
fn a_call_that_the_application_traces_is_counted_and_no_span() {
    let request = format!("GET / HTTP/1.1\nHost: h\ntraceparent: {PARENT}");
    let exchange = exchange(&request, Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let mut builder = builder(|_| {});
    let (span, counted) = build_by(&mut builder, Kind::Call, &exchange, Sdk::Suppress);
    assert!(span.is_none());
    assert_eq!(counted, [Counter::SpansSdk]);
    assert!(build_by(&mut builder, Kind::Serve, &exchange, Sdk::Suppress).0.is_some());
}

#[test]
fn bytes_that_are_no_text_are_no_panic() {
    let mut broken =
        exchange("GET /aaaa?bb=c HTTP/1.1\nHost: hhhh", Some("HTTP/1.1 200 OK"), Outcome::Complete);
    let http: &HttpExchange = broken.payload().expect("HTTP");
    let mut head = http.request_head.to_vec();
    for at in [5, 7, 10, 13, 32, 34] {
        head[at] = 0xff;
    }
    broken.payload = Arc::new(HttpExchange { request_head: Bytes::from(head), ..http.clone() });
    for role in [Kind::Serve, Kind::Call] {
        assert!(build(role, &broken).name.starts_with("GET"));
    }
}
