//! Whether one span meets a query. The search in segments must find exactly the spans that this finds.

use tracer_model::{
    answer::NodeKind,
    peer::Peer,
    span::{Attribute, Kind, Span, Value},
};

use super::{Comparison, Condition, Query, Term, Test};
use crate::aggregate::{OUTSIDE, asks, serves};

/// Attributes that say what a span asks for or was asked for: free text is looked for in them.
pub(crate) const TARGET_KEYS: [&str; 19] = [
    "url.path",
    "url.full",
    "url.query",
    "url.template",
    "http.route",
    "http.target",
    "http.url",
    "http.host",
    "server.address",
    "db.query.text",
    "db.statement",
    "db.query.summary",
    "db.collection.name",
    "db.operation.name",
    "rpc.service",
    "rpc.method",
    "messaging.destination.name",
    "graphql.operation.name",
    "tracer.http.route_guess",
];

impl Query {
    /// Whether a span meets every term. `trace` is all spans of its trace.
    pub fn meets(&self, span: &Span, trace: &[Span]) -> bool {
        self.terms.iter().all(|term| term.meets(span, trace))
    }
}

impl Term {
    /// Whether a span meets the term. `trace` is all spans of its trace.
    pub fn meets(&self, span: &Span, trace: &[Span]) -> bool {
        self.condition.meets(span, trace) != self.is_negated
    }
}

impl Condition {
    fn meets(&self, span: &Span, trace: &[Span]) -> bool {
        match self {
            Self::TraceDuration(comparison, duration_ns) => {
                let start = trace.iter().map(|span| span.start_unix_ns).min().unwrap_or(0);
                let end = trace.iter().map(|span| span.end_unix_ns.max(span.start_unix_ns)).max();
                comparison.holds(end.unwrap_or(0).saturating_sub(start), *duration_ns)
            }
            Self::TraceSpans(comparison, spans) => comparison.holds(trace.len() as u64, *spans),
            Self::TraceErrors(comparison, errors) => {
                let found = trace.iter().filter(|span| span.is_error()).count();
                comparison.holds(found as u64, *errors)
            }
            Self::Calls { from, to } => {
                let mut calls = trace.iter().flat_map(|span| calls_of(span, trace));
                calls.any(|(caller, called)| from.meets(&caller) && to.meets(&called))
            }
            Self::Any(lists) => lists.iter().any(|terms| terms.iter().all(|term| term.meets(span, trace))),
            Self::Service(pattern) => pattern.meets(span.resource.service_name()),
            Self::Operation(pattern) => pattern.meets(&span.name),
            Self::Kind(kind) => span.kind == *kind,
            Self::Status(status) => span.status == *status,
            Self::Trace(trace_id) => span.trace_id == *trace_id,
            Self::TraceBegins(prefix) => prefix.meets(span.trace_id),
            Self::Duration(comparison, duration_ns) => comparison.holds(span.duration_ns(), *duration_ns),
            Self::Attribute { key, test } => {
                let has_key = span.attributes.iter().any(|(name, _)| **name == **key);
                let attributes: &[Attribute] =
                    if has_key { &span.attributes } else { &span.resource.attributes };
                attributes.iter().any(|(name, value)| **name == **key && value_meets(value, test))
            }
            Self::Text(needle) => {
                needle.is_in(&span.name)
                    || needle.is_in(span.resource.service_name())
                    || span.attributes.iter().any(|(key, value)| match value {
                        Value::Str(text) => TARGET_KEYS.contains(&&**key) && needle.is_in(text),
                        _ => false,
                    })
            }
        }
    }
}

/// Calls that a span stands for: caller and called. The map draws them.
fn calls_of(span: &Span, trace: &[Span]) -> Vec<(String, String)> {
    let own = || span.service_name().to_owned();
    let peer = Peer::of(&span.attributes);
    let broker = peer.as_ref().filter(|peer| peer.kind == NodeKind::Broker);
    if asks(span.kind) {
        let served = trace.iter().find(|other| serves(other.kind) && is_below(other, span));
        return match (served, peer.as_ref(), broker) {
            (_, _, Some(broker)) if span.kind == Kind::Producer || served.is_none() => {
                vec![(own(), broker.name.clone())]
            }
            (Some(served), ..) => vec![(own(), served.service_name().to_owned())],
            (None, Some(peer), _) => vec![(own(), peer.name.clone())],
            (None, None, _) => Vec::new(),
        };
    }
    if !serves(span.kind) {
        return Vec::new();
    }
    if let Some(broker) = broker.filter(|_| span.kind == Kind::Consumer) {
        return vec![(broker.name.clone(), own())];
    }
    match trace.iter().find(|parent| is_below(span, parent)) {
        None => vec![(OUTSIDE.to_owned(), own())],
        Some(parent) if asks(parent.kind) || parent.service_name() == span.service_name() => Vec::new(),
        Some(parent) => vec![(parent.service_name().to_owned(), own())],
    }
}

fn is_below(span: &Span, parent: &Span) -> bool {
    span.parent_span_id == Some(parent.span_id)
}

/// Whether the value of an attribute is what was asked for.
pub(crate) fn value_meets(value: &Value, test: &Test) -> bool {
    match test {
        Test::Exists => true,
        Test::Equals(text) => value_is(value, text),
        Test::Differs(text) => !value_is(value, text),
        Test::Prefix(prefix) => match value {
            Value::Str(text) => text.starts_with(prefix.as_str()),
            Value::Int(number) => number.to_string().starts_with(prefix.as_str()),
            Value::Double(number) => number.to_string().starts_with(prefix.as_str()),
            Value::Array(values) => values.iter().any(|value| value_meets(value, test)),
            Value::Bool(_) | Value::Bytes(_) | Value::Map(_) | Value::Empty => false,
        },
        Test::Compares(comparison, number) => match value {
            Value::Int(value) => compare(*comparison, *value as f64, *number),
            Value::Double(value) => compare(*comparison, *value, *number),
            Value::Str(text) => text.parse().is_ok_and(|value: f64| compare(*comparison, value, *number)),
            Value::Array(values) => values.iter().any(|value| value_meets(value, test)),
            Value::Bool(_) | Value::Bytes(_) | Value::Map(_) | Value::Empty => false,
        },
    }
}

/// Whether a number compares as asked. Nothing compares with what is not a number.
pub(crate) fn compare(comparison: Comparison, value: f64, number: f64) -> bool {
    comparison.holds(value, number)
}

fn value_is(value: &Value, text: &str) -> bool {
    match value {
        Value::Str(value) => **value == *text,
        Value::Bool(value) => text == if *value { "true" } else { "false" },
        Value::Int(value) => text.parse() == Ok(*value),
        Value::Double(value) => text.parse() == Ok(*value),
        Value::Array(values) => values.iter().any(|value| value_is(value, text)),
        Value::Empty => text.is_empty(),
        Value::Bytes(_) | Value::Map(_) => false,
    }
}
