//! From an exchange to its span.

use std::{borrow::Cow, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Attributes, Resource, Span, SpanEvent, SpanKind, SpanLink, Status, Text, Value,
    http::{Described, HttpNames},
    semconv,
};
use crate::{
    correlate::Link,
    exchange::{Attached, Attribute, ConnectionFacts, Exchange, Kind, Outcome},
    ledger::Counter,
    protocol::http::HttpExchange,
    redact::Redactor,
};

/// How spans are made of exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConfig {
    /// HTTP methods that are told by name; others become `_OTHER`.
    pub known_methods: Vec<String>,
    /// Patterns of paths, such as `/users/{id}` or `/files/*`: the first that matches becomes
    /// `http.route` of server spans and `url.template` of client spans.
    pub routes: Vec<String>,
    /// Guess a name of low cardinality from paths that match no pattern.
    pub route_guess: bool,
    /// Different guessed names per service; beyond them a span is named by its method alone.
    pub route_guess_limit: usize,
    /// Query keys whose values are replaced by REDACTED, compared without case.
    pub redact_query_keys: Vec<String>,
    /// Request headers that become attributes. Credentials and cookies never do.
    pub request_headers: Vec<String>,
    /// Response headers that become attributes.
    pub response_headers: Vec<String>,
    /// Believe Forwarded and X-Forwarded-* headers: for services behind a proxy of one's own.
    pub trust_forwarded: bool,
}

impl Default for SpanConfig {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            known_methods: owned(&[
                "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
            ]),
            routes: Vec::new(),
            route_guess: true,
            route_guess_limit: 200,
            redact_query_keys: owned(crate::redact::DEFAULT_KEYS),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            trust_forwarded: false,
        }
    }
}

/// Turns `CLOCK_MONOTONIC` into Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Unix time minus `CLOCK_MONOTONIC`, nanoseconds.
    pub offset_ns: i64,
}

impl Clock {
    /// Unix time of a moment, nanoseconds.
    pub fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.offset_ns)
    }
}

/// Makes spans of exchanges.
pub struct SpanBuilder {
    names: HttpNames,
    /// Memory of the span before, for the next one's attributes.
    spare: Attributes,
}

impl SpanBuilder {
    /// A builder by the operator's rules.
    pub fn new(config: SpanConfig) -> Self {
        let redactor = Redactor::new(&config.redact_query_keys);
        Self { names: HttpNames::new(config, redactor), spare: Attributes::default() }
    }

    /// The span of an exchange; none for one that is not to be seen: the target's own export of
    /// telemetry, or what the target makes spans of itself.
    pub fn build(
        &mut self,
        exchange: &Exchange,
        facts: &ConnectionFacts,
        resource: &Arc<Resource>,
        clock: &Clock,
        link: Link,
        count: &mut dyn FnMut(Counter, u64),
    ) -> Option<Span> {
        let http: Option<&HttpExchange> = exchange.payload();
        if exchange.kind == Kind::Call && http.is_some_and(|http| http.exported().is_some()) {
            count(Counter::ExchangesOwnExport, 1);
            return None;
        }
        if link.is_suppressed {
            count(Counter::SpansSdk, 1);
            return None;
        }
        let mut attributes = std::mem::take(&mut self.spare);
        let described = match http {
            Some(http) => self.names.describe(exchange, http, facts, resource, &mut attributes),
            None => describe(exchange, facts, resource, &mut attributes),
        };
        if described.is_unnamed {
            count(Counter::SpansUnnamed, 1);
        }
        if let Some((_, evidence)) = link.parent {
            attributes.str(semconv::TRACER_LINK_EVIDENCE, evidence.name());
        }
        if let Some(format) = link.format {
            attributes.str(semconv::TRACER_LINK_FORMAT, format.name());
        }
        if let Some(resend) = link.resend {
            attributes.int(semconv::HTTP_REQUEST_RESEND_COUNT, i64::from(resend));
        }
        let start_unix_ns = clock.unix_ns(exchange.start_ns);
        let (events, links) =
            exchange.attached.as_deref().map(|all| attached(all, clock)).unwrap_or_default();
        Some(Span {
            resource: Arc::clone(resource),
            trace_id: link.trace_id,
            span_id: link.span_id,
            parent_span_id: link.parent.map(|(span_id, _)| span_id),
            flags: link.flags,
            trace_state: link.trace_state,
            name: described.name,
            kind: match exchange.kind {
                Kind::Call => SpanKind::Client,
                Kind::Serve => SpanKind::Server,
                Kind::Publish => SpanKind::Producer,
                Kind::Consume => SpanKind::Consumer,
            },
            local: facts.local.clone(),
            peer: facts.remote.clone(),
            start_unix_ns,
            end_unix_ns: clock.unix_ns(exchange.end_ns).max(start_unix_ns),
            attributes,
            events,
            links,
            status: described.status,
        })
    }
}

impl SpanBuilder {
    /// Takes the attributes of a span that was handed on: the next one has their memory.
    pub fn recycle(&mut self, span: &mut Span) {
        self.spare = std::mem::take(&mut span.attributes);
        self.spare.clear();
    }
}

/// Events and links of a span.
fn attached(attached: &Attached, clock: &Clock) -> (Vec<SpanEvent>, Vec<SpanLink>) {
    /// OTLP's flags of a context that came from another process: it is known that it is remote, and it is.
    const REMOTE: u32 = 0x300;
    let text = |text: &Cow<'static, str>| match text {
        Cow::Borrowed(text) => Text::Static(text),
        Cow::Owned(text) => Text::Owned(text.clone()),
    };
    let events = attached.events.iter().map(|event| SpanEvent {
        time_unix_ns: clock.unix_ns(event.time_ns),
        name: text(&event.name),
        attributes: event
            .attributes
            .iter()
            .map(|(name, value)| (text(name), Value::Str(text(value))))
            .collect(),
    });
    let links = attached.links.iter().map(|context| SpanLink {
        trace_id: context.trace_id,
        span_id: context.parent_id,
        trace_state: context.state.clone(),
        flags: REMOTE | u32::from(context.flags.unwrap_or_default()),
    });
    (events.collect(), links.collect())
}

/// Describes an exchange by what its payload tells.
fn describe(
    exchange: &Exchange,
    facts: &ConnectionFacts,
    resource: &Resource,
    attributes: &mut Attributes,
) -> Described {
    exchange.payload.attributes(&mut |name, value| match value {
        Attribute::Str(text) => attributes.str(name, text),
        Attribute::Int(number) => attributes.int(name, number),
        Attribute::Bool(truth) => attributes.bool(name, truth),
    });
    let server = if exchange.kind.is_outgoing() { &facts.remote } else { &facts.local };
    attributes.str(semconv::SERVER_ADDRESS, &server.address());
    if let Some(port) = server.port() {
        attributes.int(semconv::SERVER_PORT, i64::from(port));
    }
    attributes.str(semconv::NETWORK_PEER_ADDRESS, &facts.remote.address());
    if let Some(port) = facts.remote.port() {
        attributes.int(semconv::NETWORK_PEER_PORT, i64::from(port));
    }
    let unit = exchange.unit();
    if unit.pid != resource.pid {
        attributes.int(semconv::PROCESS_PID, i64::from(unit.pid));
    }
    attributes.int(semconv::THREAD_ID, i64::from(unit.tid));
    let failed = match failure(exchange.outcome) {
        Some(error) => Some(Cow::Borrowed(error)),
        None => exchange.payload.error(),
    };
    let status = match failed {
        Some(error) => {
            attributes.str(semconv::ERROR_TYPE, &error);
            Status::Error(explanation(exchange.outcome).to_owned())
        }
        None => Status::Unset,
    };
    Described { name: exchange.payload.operation().into_owned().into(), status, is_unnamed: false }
}

/// What a person is told of exchanges that did not come to their end.
pub(super) fn explanation(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete | Outcome::OneWay => "",
        Outcome::Timeout => "no response within the time limit",
        Outcome::Reset => "the connection was reset before the response was complete",
        Outcome::NoResponse => "the connection was closed without a response",
        Outcome::Truncated => "the response ended before its announced length",
        Outcome::Lost => "tracer lost bytes of this exchange: its end is not known",
    }
}

/// `error.type` of exchanges that did not come to their end: the whole list.
pub(super) fn failure(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete | Outcome::OneWay => None,
        Outcome::Timeout => Some("timeout"),
        Outcome::Reset => Some("connection_reset"),
        Outcome::NoResponse => Some("no_response"),
        Outcome::Truncated => Some("truncated"),
        Outcome::Lost => Some("lost"),
    }
}
