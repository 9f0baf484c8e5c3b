//! Whether one span meets a query. The search in segments must find exactly the spans that this finds.

use tracer_model::span::{Attribute, Span, Value};

use super::{Comparison, Condition, Query, Term, Test};

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
    /// Whether a span meets every term.
    pub fn meets(&self, span: &Span) -> bool {
        self.terms.iter().all(|term| term.meets(span))
    }
}

impl Term {
    /// Whether a span meets the term.
    pub fn meets(&self, span: &Span) -> bool {
        self.condition.meets(span) != self.is_negated
    }
}

impl Condition {
    fn meets(&self, span: &Span) -> bool {
        match self {
            Self::Service(pattern) => pattern.meets(span.resource.service_name()),
            Self::Operation(pattern) => pattern.meets(&span.name),
            Self::Kind(kind) => span.kind == *kind,
            Self::Status(status) => span.status == *status,
            Self::Trace(trace_id) => span.trace_id == *trace_id,
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
