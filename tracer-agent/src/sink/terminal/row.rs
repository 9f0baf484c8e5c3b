//! What a person is shown of a span.

use std::{net::SocketAddr, sync::Arc};

use super::escape::printable;
use crate::{
    correlate::Evidence,
    exchange::{ConnectionFacts, Exchange, Outcome},
    protocol::http::HttpExchange,
    span::{Resource, Span, SpanKind, Status, ValueRef},
};

/// Most characters of a target and of a host that are kept.
const MAX_TEXT: usize = 120;
/// Most characters of a method.
const MAX_METHOD: usize = 7;

/// How a span ended, as a colour says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Fine,
    /// A server's refusal: no error of its own.
    Odd,
    Error,
}

/// A span for people; its texts are printable.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) resource: Arc<Resource>,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) kind: SpanKind,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Whom a client calls.
    pub(crate) host: String,
    /// Status code, or why there is none.
    pub(crate) status: String,
    pub(crate) tone: Tone,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    /// Size of the response's body.
    pub(crate) body_bytes: Option<u64>,
    pub(crate) peer: SocketAddr,
}

impl Shown {
    pub(super) fn of(span: &Span, exchange: &Exchange, facts: &ConnectionFacts) -> Self {
        let http: Option<&HttpExchange> = exchange.payload();
        let code = http.and_then(|http| http.status);
        let status = match (code, exchange.outcome) {
            (Some(status), Outcome::Complete | Outcome::OneWay) => status.to_string(),
            (_, Outcome::Timeout) => "timeout".to_owned(),
            (_, Outcome::Reset) => "reset".to_owned(),
            (_, Outcome::NoResponse) => "no reply".to_owned(),
            (_, Outcome::Truncated) => "cut".to_owned(),
            (_, Outcome::Lost) => "lost".to_owned(),
            (None, Outcome::Complete | Outcome::OneWay) => "-".to_owned(),
        };
        let tone = match (&span.status, code) {
            (Status::Error(_), _) => Tone::Error,
            (Status::Unset, Some(400..)) => Tone::Odd,
            (Status::Unset, _) => Tone::Fine,
        };
        let (host, target) = host_and_target(span);
        Self {
            resource: Arc::clone(&span.resource),
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent_span_id,
            evidence: attribute(span, "tracer.link.evidence").and_then(Evidence::from_name),
            kind: span.kind,
            method: printable(&exchange.payload.operation(), MAX_METHOD),
            target: printable(&target, MAX_TEXT),
            host: printable(host, MAX_TEXT),
            status,
            tone,
            start_unix_ns: span.start_unix_ns,
            end_unix_ns: span.end_unix_ns,
            body_bytes: http.and_then(|http| http.response_body_bytes),
            peer: facts.remote,
        }
    }

    pub(super) fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }

    /// The service's name, so many characters of it.
    pub(super) fn service(&self, room: usize) -> String {
        printable(&self.resource.service_name, room)
    }

    pub(super) fn is_error(&self) -> bool {
        self.tone == Tone::Error
    }
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    match span.attributes.get(name) {
        Some(ValueRef::Str(text)) => Some(text),
        _ => None,
    }
}

/// Whom a client calls; path and query. As they are exported: secrets are gone.
fn host_and_target(span: &Span) -> (&str, String) {
    if let Some(full) = attribute(span, "url.full") {
        let rest = full.split_once("://").map_or(full, |(_, rest)| rest);
        return match rest.find(['/', '?']) {
            Some(at) => (&rest[..at], rest[at..].to_owned()),
            None => (rest, "/".to_owned()),
        };
    }
    let path = attribute(span, "url.path").unwrap_or("-");
    let target =
        attribute(span, "url.query").map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    ("", target)
}

/// Time of day in the local zone, to the millisecond.
pub(super) fn clock_time(unix_ns: u64) -> String {
    let seconds = (unix_ns / 1_000_000_000) as libc::time_t;
    let milliseconds = unix_ns / 1_000_000 % 1_000;
    let offset = crate::clock::local_offset_seconds(seconds);
    let day = (seconds + offset).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", day / 3600, day / 60 % 60, day % 60)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A span of the trace of all ones, its times in microseconds after an hour of 1970.
    pub(crate) fn shown(
        service: &str,
        kind: SpanKind,
        id: u64,
        parent: Option<(u64, Evidence)>,
        (start_us, end_us): (u64, u64),
    ) -> Shown {
        const HOUR_US: u64 = 3_600_000_000;
        Shown {
            resource: Arc::new(Resource { service_name: service.to_owned(), pid: 1, attributes: Vec::new() }),
            trace_id: [0x11; 16],
            span_id: id.to_be_bytes(),
            parent: parent.map(|(id, _)| id.to_be_bytes()),
            evidence: parent.map(|(_, evidence)| evidence),
            kind,
            method: "GET".to_owned(),
            target: "/a".to_owned(),
            host: if kind == SpanKind::Client { "10.0.0.1:80".to_owned() } else { String::new() },
            status: "200".to_owned(),
            tone: Tone::Fine,
            start_unix_ns: (HOUR_US + start_us) * 1_000,
            end_unix_ns: (HOUR_US + end_us) * 1_000,
            body_bytes: Some(7),
            peer: "127.0.0.1:51234".parse().expect("an address"),
        }
    }
}
