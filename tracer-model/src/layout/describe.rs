//! What a span says of itself, in the words of the conventions of today and of those before.

use std::fmt::Write;

use crate::{
    answer::AttributeValue,
    span::{Attribute, Scope, Span, Value, attribute},
};

/// Longest target, in characters.
const MOST_TARGET: usize = 400;
/// Longest name of a span or a service, in characters. Longer ones are made to do harm.
const MOST_NAME: usize = 1000;
/// Longest part of a query of a database, in characters.
const MOST_QUERY: usize = 80;

/// What a span asked or was asked: method and target of HTTP, system and operation of a database, a procedure or a broker; its
/// name if it says nothing of it.
pub(super) fn target(span: &Span) -> String {
    let target = http(span).or_else(|| database(span)).or_else(|| procedure(span)).or_else(|| message(span));
    first_characters(target.as_deref().unwrap_or(&span.name), MOST_TARGET).to_owned()
}

/// A name, cut if it is very long.
pub(super) fn name(name: &str) -> &str {
    first_characters(name, MOST_NAME)
}

/// Text of the first attribute of these that has some.
fn text<'a>(span: &'a Span, names: &[&str]) -> Option<&'a str> {
    crate::span::text(&span.attributes, names)
}

fn http(span: &Span) -> Option<String> {
    let method = match text(span, &["http.request.method", "http.method"])? {
        "_OTHER" => text(span, &["http.request.method_original"]).unwrap_or("_OTHER"),
        method => method,
    };
    let mut target = format!("{method} ");
    if let Some(path) = text(span, &["url.path"]) {
        target += path;
        if let Some(query) = text(span, &["url.query"]) {
            target.push('?');
            target += query;
        }
    } else if let Some(url) = text(span, &["url.full", "http.url"]) {
        target += path_of(url);
    } else {
        target += text(span, &["http.target", "http.route", "url.template", "tracer.http.route_guess"])?;
    }
    Some(target)
}

/// The path and the query of a URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    if after_scheme == 0 && url.starts_with('/') {
        return url;
    }
    let rest = &url[after_scheme..];
    rest.find(['/', '?']).map_or("/", |at| &rest[at..])
}

fn database(span: &Span) -> Option<String> {
    let system = text(span, &["db.system.name", "db.system"])?;
    Some(format!("{system} {}", query(&span.attributes)?))
}

/// A query of a database in a few words.
pub(crate) fn query(attributes: &[Attribute]) -> Option<String> {
    let text = |names: &[&str]| crate::span::text(attributes, names);
    if let Some(summary) = text(&["db.query.summary"]) {
        return Some(summary.to_owned());
    }
    if let Some(operation) = text(&["db.operation.name", "db.operation"]) {
        let collection = text(&["db.collection.name", "db.sql.table", "db.mongodb.collection"]);
        let collection = collection.map(|name| format!(" {name}")).unwrap_or_default();
        return Some(format!("{operation}{collection}"));
    }
    let query = text(&["db.query.text", "db.statement"])?;
    // Queries are often written on several lines.
    let query: Vec<&str> = first_characters(query, MOST_QUERY).split_whitespace().collect();
    Some(query.join(" "))
}

fn procedure(span: &Span) -> Option<String> {
    let system = text(span, &["rpc.system.name", "rpc.system"])?;
    let method = text(span, &["rpc.method"])?;
    Some(match text(span, &["rpc.service"]) {
        Some(service) => format!("{system} {service}/{method}"),
        None => format!("{system} {method}"),
    })
}

fn message(span: &Span) -> Option<String> {
    let system = text(span, &["messaging.system"])?;
    let operation =
        text(span, &["messaging.operation.name", "messaging.operation.type", "messaging.operation"]);
    let place = text(span, &["messaging.destination.name", "messaging.destination"]);
    let mut target = system.to_owned();
    for part in [operation, place].into_iter().flatten() {
        target.push(' ');
        target += part;
    }
    Some(target)
}

fn first_characters(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// Status code, if it was HTTP.
pub(crate) fn http_status(attributes: &[Attribute]) -> Option<u16> {
    let value = attribute(attributes, "http.response.status_code")
        .or_else(|| attribute(attributes, "http.status_code"))?;
    let status = match value {
        Value::Int(number) => u16::try_from(*number).ok()?,
        Value::Str(text) => text.parse().ok()?,
        _ => return None,
    };
    (100..1000).contains(&status).then_some(status)
}

/// What is said of the error, or of the status.
pub(super) fn status_message(span: &Span) -> &str {
    if !span.status_message.is_empty() || !span.is_error() {
        return &span.status_message;
    }
    let exception = span.events.iter().find(|event| &*event.name == "exception");
    let exception = exception.and_then(|event| {
        let of = |name| crate::span::attribute(&event.attributes, name).and_then(Value::as_str);
        of("exception.message").filter(|text| !text.is_empty()).or(of("exception.type"))
    });
    exception.or(text(span, &["error.type"])).unwrap_or_default()
}

/// How the parent is known.
pub(super) fn evidence(span: &Span) -> Option<String> {
    text(span, &["tracer.link.evidence"]).map(|evidence| name(evidence).to_owned())
}

/// Probability of the link to the parent, if it is likely and not certain.
pub(super) fn likely(span: &Span) -> Option<f64> {
    match span.attribute("tracer.link.probability")? {
        Value::Double(part) => Some(*part).filter(|part| (0.0..1.0).contains(part)),
        _ => None,
    }
}

/// Whether the end of the span was seen.
pub(super) fn end_is_known(span: &Span) -> bool {
    !matches!(span.attribute("tracer.http.end_unknown"), Some(Value::Bool(true)))
}

/// Name and version of a scope.
pub(super) fn scope(scope: &Scope) -> String {
    let text = format!("{} {}", name(&scope.name), name(&scope.version));
    text.trim().to_owned()
}

/// A duration for people: three digits are enough to compare clocks.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1000 => format!("{ns} ns"),
        1000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// Makes texts of attributes, within limits.
pub(super) struct Texts {
    max_value_bytes: usize,
    left_bytes: usize,
    /// Attributes that were left out.
    pub(super) omitted: u64,
}

impl Texts {
    pub(super) fn new(max_value_bytes: usize, max_bytes: usize) -> Self {
        Self { max_value_bytes, left_bytes: max_bytes, omitted: 0 }
    }

    pub(super) fn attributes(&mut self, attributes: &[Attribute]) -> Vec<AttributeValue> {
        let mut values = Vec::with_capacity(if self.left_bytes == 0 { 0 } else { attributes.len() });
        for (key, value) in attributes {
            let is_long = key.len() > self.max_value_bytes;
            let value = AttributeValue {
                key: if is_long { self.cut(key) } else { key.to_string() },
                value: self.cut(&value.to_text()),
                kind: value.kind_name().to_owned(),
            };
            match self.left_bytes.checked_sub(value.key.len() + value.value.len()) {
                Some(left) => self.left_bytes = left,
                None => {
                    self.left_bytes = 0;
                    self.omitted += 1;
                    continue;
                }
            }
            values.push(value);
        }
        values
    }

    /// A text, cut if it is too long for a value.
    pub(super) fn cut(&self, text: &str) -> String {
        if text.len() <= self.max_value_bytes {
            return text.to_owned();
        }
        let end = text.floor_char_boundary(self.max_value_bytes);
        let mut cut = text[..end].to_owned();
        let is_written = write!(cut, "… ({} of {} bytes)", end, text.len());
        debug_assert!(is_written.is_ok(), "text takes any writing");
        cut
    }
}
