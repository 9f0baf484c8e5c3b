//! Spans to Jaeger's JSON.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use serde::Serialize;

use super::{
    JaegerSpan, Log, Process, Reference, Tag, TagValue, Trace,
    go_json::go_json,
    skew::{self, Node},
    trace_id_text,
};
use crate::span::{Attribute, Event, Kind, Link, Resource, Span, SpanId, StatusCode, Value, attribute};

const CHILD_OF: &str = "CHILD_OF";
const FOLLOWS_FROM: &str = "FOLLOWS_FROM";

/// Attributes of a library, which Jaeger shows with the process also if they stand on a span.
const OF_THE_PROCESS: [&str; 5] = [
    "telemetry.distro.name",
    "telemetry.distro.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
];

/// A span between OTLP and Jaeger.
struct Converted<'a> {
    span: &'a Span,
    /// Its own, or a new one if both ends of a call have one id.
    id: SpanId,
    json: JaegerSpan,
    process: Process,
}

/// The spans of one trace as Jaeger answers them.
pub fn trace_of(spans: &[Span]) -> Trace {
    let mut processes = HashMap::new();
    let ids = unique_ids(spans);
    let mut all: Vec<Converted<'_>> =
        spans.iter().zip(ids).map(|(span, ids)| Converted::new(span, ids, &mut processes)).collect();
    drop_duplicates(&mut all);
    let nodes: Vec<Node> = all.iter().map(Converted::node).collect();
    for (at, warning) in skew::warnings(&nodes) {
        all[at].json.warnings.get_or_insert_default().push(warning);
    }
    trace_of_all(all)
}

/// The spans of one trace as Jaeger answers them when it is asked for raw ones: with the ids that they have, those that came
/// twice too, and without notes on clock skew.
pub fn raw_trace_of(spans: &[Span]) -> Trace {
    let mut processes = HashMap::new();
    let as_it_is = |span| Converted::new(span, (span.span_id, span.parent_span_id), &mut processes);
    trace_of_all(spans.iter().map(as_it_is).collect())
}

fn trace_of_all(all: Vec<Converted<'_>>) -> Trace {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut trace = Trace::default();
    if let Some(first) = all.first() {
        trace.trace_id.clone_from(&first.json.trace_id);
    }
    for Converted { mut json, process, .. } in all {
        let next = places.len() + 1;
        let place = *places.entry(text(&process)).or_insert(next);
        json.process_id = format!("p{place}");
        if place == next {
            trace.processes.insert(json.process_id.clone(), process);
        }
        trace.spans.push(json);
    }
    trace
}

/// Id and parent of each span. A server's span with the id of a client's gets a new one, and what lies below it too, as
/// Jaeger's pages need ids that differ.
fn unique_ids(spans: &[Span]) -> Vec<(SpanId, Option<SpanId>)> {
    let used: BTreeSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let clients: BTreeSet<SpanId> =
        spans.iter().filter(|span| span.kind == Kind::Client).map(|span| span.span_id).collect();
    let mut ids: Vec<_> = spans.iter().map(|span| (span.span_id, span.parent_span_id)).collect();
    let mut renamed = BTreeMap::new();
    let mut last = 0_u64;
    for (span, id) in spans.iter().zip(&mut ids) {
        if span.kind == Kind::Server && clients.contains(&span.span_id) {
            // At most one more is tried than there are spans.
            let new = (last + 1..).map(|id| SpanId(id.to_be_bytes())).find(|id| !used.contains(id));
            let Some(new) = new else { continue };
            last = u64::from_be_bytes(new.0);
            renamed.insert(span.span_id, new);
            *id = (new, Some(span.span_id));
        }
    }
    for (id, parent) in &mut ids {
        if let Some(new) = parent.and_then(|parent| renamed.get(&parent)).filter(|new| *new != id) {
            *parent = Some(*new);
        }
    }
    ids
}

/// Keeps one of spans that are exactly alike.
fn drop_duplicates(all: &mut Vec<Converted<'_>>) {
    let mut counts: HashMap<SpanId, u32> = HashMap::new();
    for each in &*all {
        *counts.entry(each.id).or_default() += 1;
    }
    let mut seen: HashSet<String> = HashSet::new();
    all.retain(|each| counts.get(&each.id) == Some(&1) || seen.insert(text(&(&each.json, &each.process))));
}

/// JSON that tells what is equal.
fn text(json: &impl Serialize) -> String {
    serde_json::to_string(json).expect("maps have text as keys, and text takes any writing")
}

impl<'a> Converted<'a> {
    fn new(
        span: &'a Span,
        (id, parent_id): (SpanId, Option<SpanId>),
        processes: &mut HashMap<*const Resource, Process>,
    ) -> Self {
        let mut process =
            processes.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| process(&span.resource)).clone();
        let (of_process, tags): (Vec<Tag>, Vec<Tag>) =
            tags(span).into_iter().partition(|tag| OF_THE_PROCESS.contains(&&*tag.key));
        if !of_process.is_empty() {
            process.tags.extend(of_process);
            sort(&mut process.tags);
        }
        let mut warnings = Vec::new();
        if span.end_unix_ns <= span.start_unix_ns {
            warnings.push(format!(
                "Negative duration detected, sanitizing end timestamp. Original end timestamp: {}, adjusted to: {}",
                skew::go_time(span.end_unix_ns),
                skew::go_time(span.start_unix_ns.saturating_add(1))
            ));
        }
        let json = JaegerSpan {
            trace_id: trace_id_text(span.trace_id),
            span_id: id.hex(),
            operation_name: span.name.to_string(),
            references: references(span, parent_id),
            start_time: span.start_unix_ns / 1000,
            duration: span.duration_ns() / 1000,
            tags,
            logs: span.events.iter().map(log).collect(),
            process_id: String::new(),
            warnings: (!warnings.is_empty()).then_some(warnings),
        };
        Self { span, id, json, process }
    }

    fn node(&self) -> Node {
        // The parent is the first reference within the trace that says so, else the first one at all.
        let within = |kind: &str| {
            let references = self.json.references.iter();
            let mut found = references.filter(|to| to.trace_id == self.json.trace_id && to.ref_type == kind);
            found.find_map(|to| SpanId::parse(&to.span_id))
        };
        let host = match attribute(&self.span.resource.attributes, "ip") {
            Some(Value::Str(address)) => address.to_string(),
            Some(Value::Int(number)) => Ipv4Addr::from(*number as u32).to_string(),
            _ => String::new(),
        };
        Node {
            id: self.id,
            parent_id: within(CHILD_OF).or_else(|| within(FOLLOWS_FROM)),
            start_ns: self.span.start_unix_ns,
            // Jaeger gives a span without a duration a nanosecond.
            duration_ns: self.span.duration_ns().max(1),
            host,
        }
    }
}

fn process(resource: &Resource) -> Process {
    let tags = resource.attributes.iter().filter(|(key, _)| &**key != "service.name").map(tag_with_address);
    let mut tags: Vec<Tag> = tags.collect();
    sort(&mut tags);
    Process { service_name: resource.service_name().to_owned(), tags }
}

fn tags(span: &Span) -> Vec<Tag> {
    let mut tags: Vec<Tag> = span.attributes.iter().map(tag_with_address).collect();
    let mut add = |key: &str, text: &str| {
        if !text.is_empty() {
            tags.push(text_tag(key, text));
        }
    };
    add("otel.scope.name", &span.scope.name);
    add("otel.scope.version", &span.scope.version);
    add("span.kind", kind_text(span.kind));
    match span.status {
        StatusCode::Unset => {}
        StatusCode::Ok => add("otel.status_code", "OK"),
        StatusCode::Error => add("otel.status_code", "ERROR"),
    }
    add("otel.status_description", &span.status_message);
    add("w3c.tracestate", &span.trace_state);
    if span.is_error() {
        tags.push(Tag { key: "error".to_owned(), kind: "bool", value: TagValue::Bool(true) });
    }
    sort(&mut tags);
    tags
}

/// A kind as Jaeger writes it; empty if it is not said.
fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "",
        Kind::Internal => "internal",
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
    }
}

fn references(span: &Span, parent_id: Option<SpanId>) -> Vec<Reference> {
    let kind = |link: &Link| match attribute(&link.attributes, "opentracing.ref_type").and_then(Value::as_str)
    {
        Some("child_of") => CHILD_OF,
        _ => FOLLOWS_FROM,
    };
    let trace_id = trace_id_text(span.trace_id);
    let mut references = Vec::with_capacity(span.links.len() + 1);
    if let Some(parent) = parent_id {
        references.push(Reference { ref_type: CHILD_OF, trace_id: trace_id.clone(), span_id: parent.hex() });
    }
    for link in &span.links {
        // A link to the parent says which kind of parent it is.
        if link.trace_id == span.trace_id && Some(link.span_id) == parent_id {
            references[0].ref_type = kind(link);
            continue;
        }
        references.push(Reference {
            ref_type: kind(link),
            trace_id: trace_id_text(link.trace_id),
            span_id: link.span_id.hex(),
        });
    }
    // Jaeger's pages take the first reference for the parent.
    let within = |child_of: bool| {
        references.iter().position(|reference| {
            reference.trace_id == trace_id && (!child_of || reference.ref_type == CHILD_OF)
        })
    };
    if let Some(first) = within(true).or_else(|| within(false)) {
        references.swap(0, first);
    }
    references
}

fn log(event: &Event) -> Log {
    let mut fields: Vec<Tag> = event.attributes.iter().map(tag).collect();
    sort(&mut fields);
    let named = fields.iter().position(|field| field.key == "event");
    match named {
        // An attribute of that name counts for more than the event's name.
        Some(at) if fields[at].kind == "string" => fields[..=at].rotate_right(1),
        Some(_) => {}
        None if event.name.is_empty() => {}
        None => fields.insert(0, text_tag("event", &event.name)),
    }
    Log { timestamp: event.time_unix_ns / 1000, fields }
}

fn sort(tags: &mut [Tag]) {
    tags.sort_by(|one, other| {
        let by_value = one.value.partial_cmp(&other.value).unwrap_or(std::cmp::Ordering::Equal);
        one.key.cmp(&other.key).then(by_value)
    });
}

fn text_tag(key: &str, text: &str) -> Tag {
    Tag { key: key.to_owned(), kind: "string", value: TagValue::Str(text.to_owned()) }
}

fn tag((key, value): &Attribute) -> Tag {
    let (kind, value) = match value {
        Value::Bool(truth) => ("bool", TagValue::Bool(*truth)),
        Value::Int(number) => ("int64", TagValue::Int(*number)),
        Value::Double(number) => ("float64", TagValue::Float(*number)),
        Value::Bytes(_) => ("binary", TagValue::Binary(value.to_text().into_owned())),
        Value::Array(_) | Value::Map(_) => ("string", TagValue::Str(go_json(value))),
        Value::Str(_) | Value::Empty => ("string", TagValue::Str(value.to_text().into_owned())),
    };
    Tag { key: key.to_string(), kind, value }
}

/// An attribute of a span or a process. Old clients packed an IPv4 address into a number.
fn tag_with_address(attribute: &Attribute) -> Tag {
    let (key, value) = attribute;
    let number = match value {
        Value::Int(number) => *number,
        Value::Double(number) => *number as i64,
        _ => return tag(attribute),
    };
    match &**key {
        "ip" | "peer.ipv4" => text_tag(key, &Ipv4Addr::from(number as u32).to_string()),
        _ => tag(attribute),
    }
}
