//! From an exchange to its span.

use std::{borrow::Cow, sync::Arc};

pub use super::config::SpanConfig;
use super::{
    attributes::Attributes,
    http::{Described, HttpNames},
    model::{Attachments, Resource, Span, SpanEvent, SpanKind, SpanLink, Status},
    outcome::{explanation, failure},
    semconv,
    text::Text,
    value::Value,
};
use crate::{
    correlate::Link,
    exchange::{Attached, Attribute, ConnectionFacts, Exchange, Kind, Outcome},
    ledger::Counter,
    protocol::http::HttpExchange,
    redact::Redactor,
};

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

    /// What counts an exchange that exports telemetry and gets no span: [`SpanConfig::otlp_exports`].
    pub fn left_out(&self, exchange: &Exchange) -> Option<Counter> {
        let http: &HttpExchange = exchange.payload()?;
        let is_export = http.exported().is_some() && !self.names.has_otlp_exports();
        is_export.then_some(match exchange.kind.is_outgoing() {
            true => Counter::ExchangesOwnExport,
            false => Counter::ExchangesExportReceived,
        })
    }

    /// The span of an exchange that is not left out; none if the target makes one itself.
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
            attachments: exchange.attached.as_deref().map(|all| attachments(all, clock)),
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
#[cold]
fn attachments(attached: &Attached, clock: &Clock) -> Box<Attachments> {
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
    Box::new(Attachments { events: events.collect(), links: links.collect() })
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
    let failure = failure(exchange.outcome).map(Cow::Borrowed);
    // What the agent lost is no error of the service.
    let (failed, lost) = match exchange.outcome {
        Outcome::Lost => (exchange.payload.error(), failure),
        _ => (failure.or_else(|| exchange.payload.error()), None),
    };
    let status = match &failed {
        Some(_) if exchange.outcome == Outcome::Lost => Status::Error(String::new()),
        Some(_) => Status::Error(explanation(exchange.outcome).to_owned()),
        None => Status::Unset,
    };
    if let Some(error) = failed.or(lost) {
        attributes.str(semconv::ERROR_TYPE, &error);
    }
    Described { name: exchange.payload.operation().into_owned().into(), status, is_unnamed: false }
}
