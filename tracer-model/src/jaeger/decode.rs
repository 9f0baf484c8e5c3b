//! Jaeger's JSON to spans: what its pages and its API save.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value as Json;

use crate::{
    otlp::{Decoded, Interner, Number, Text, WRONG_PARENT_ID, WRONG_SPAN_ID, WRONG_TRACE_ID, base64},
    span::{
        Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value, attribute,
    },
};

/// Why a file is not Jaeger's.
#[derive(Debug, thiserror::Error)]
pub enum JaegerError {
    /// The text is no JSON, or a field has a value of another type than Jaeger gives it.
    #[error("not Jaeger's JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no list of traces, and no trace.
    #[error("not Jaeger's JSON: there is neither \"data\" with traces nor \"spans\" of one")]
    NoTraces,
}

/// Decodes traces: `{"data": […]}`, as the API answers and the page saves them, `{"data": {…}}`, a list of traces, or one.
/// Spans without valid ids are refused and counted.
pub fn decode(bytes: &[u8]) -> Result<Decoded, JaegerError> {
    let text = String::from_utf8_lossy(bytes);
    let traces = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)?
    } else {
        let document: DocumentJson<'_> = serde_json::from_str(&text)?;
        match (document.data, document.spans) {
            (Some(traces), _) => traces.0,
            (None, Some(spans)) => vec![TraceJson { spans: Some(spans), processes: document.processes }],
            (None, None) => return Err(JaegerError::NoTraces),
        }
    };
    let mut decoder = Decoder::new();
    let mut decoded = Decoded::default();
    for trace in traces {
        let processes = trace.processes.unwrap_or_default();
        let processes: HashMap<String, Arc<Resource>> =
            processes.into_iter().map(|(id, process)| (id, Arc::new(decoder.resource(process)))).collect();
        for mut span in trace.spans.unwrap_or_default() {
            let (own, id) = decoder.process_of(&mut span);
            let resource = id.and_then(|id| processes.get(&*id)).map_or(own, Arc::clone);
            match decoder.span(span, resource) {
                Ok(span) => decoded.spans.push(span),
                Err(reason) => decoded.refuse(reason),
            }
        }
    }
    Ok(decoded)
}

/// Decodes spans. Equal texts, and scopes that follow upon an equal one, are shared.
pub(crate) struct Decoder {
    names: Interner,
    values: Interner,
    /// Scope of the last span.
    scope: Arc<Scope>,
    unknown: Arc<Resource>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            names: Interner::new(),
            values: Interner::new(),
            scope: Arc::default(),
            unknown: Arc::default(),
        }
    }

    /// The process that a span brings along; else an unknown one, and the id of the one that it names.
    pub(crate) fn process_of(&mut self, span: &mut SpanJson<'_>) -> (Arc<Resource>, Option<Box<str>>) {
        match span.process.take() {
            Some(process) => (Arc::new(self.resource(process)), None),
            None => (Arc::clone(&self.unknown), span.process_id.take().map(|id| (*id.0).into())),
        }
    }

    pub(crate) fn resource(&mut self, process: ProcessJson<'_>) -> Resource {
        let mut attributes = Vec::new();
        if let Some(Text(name)) = process.service_name {
            attributes.push(("service.name".into(), Value::Str(self.names.text(name.as_bytes()))));
        }
        attributes.extend(self.attributes(process.tags));
        if let Some(host) = take(&mut attributes, "hostname") {
            let name = match attribute(&attributes, "host.name") {
                None => "host.name",
                Some(_) => "hostname",
            };
            attributes.push((name.into(), host));
        }
        Resource { attributes, ..Resource::default() }
    }

    /// A span, or the reason why it is refused.
    pub(crate) fn span(&mut self, json: SpanJson<'_>, resource: Arc<Resource>) -> Result<Span, &'static str> {
        let trace_id = json.trace_id.and_then(|id| TraceId::parse(&id.0)).ok_or(WRONG_TRACE_ID)?;
        let span_id = json.span_id.and_then(|id| SpanId::parse(&id.0)).ok_or(WRONG_SPAN_ID)?;
        let mut references = Vec::new();
        let mut dropped_links = 0;
        for reference in json.references.unwrap_or_default() {
            match reference.parse() {
                Some(reference) => references.push(reference),
                None => dropped_links += 1,
            }
        }
        let parent = match json.parent_span_id.filter(|id| !id.0.trim_start_matches('0').is_empty()) {
            Some(id) => Some(SpanId::parse(&id.0).ok_or(WRONG_PARENT_ID)?),
            None => {
                let within = |child_of: bool| {
                    references
                        .iter()
                        .find(|other| other.trace_id == trace_id && other.is_child_of == child_of)
                };
                within(true).or_else(|| within(false)).map(|parent| parent.span_id)
            }
        };
        let links = references
            .into_iter()
            .filter(|other| !(other.is_child_of && Some(other.span_id) == parent))
            .map(|other| self.link(&other))
            .collect();
        let mut attributes = self.attributes(json.tags);
        let kind = take_text(&mut attributes, "span.kind").map_or(Kind::Unspecified, |kind| kind_of(&kind));
        let (status, status_message) = status(&mut attributes, kind);
        let trace_state = take_text(&mut attributes, "w3c.tracestate");
        let scope = self.scope(&mut attributes);
        let start_unix_ns = micros(json.start_time);
        Ok(Span {
            trace_id,
            span_id,
            parent_span_id: parent,
            trace_state: trace_state.unwrap_or_default(),
            // Of Jaeger's flags, OTLP has the one for "sampled".
            flags: json.flags.map_or(0, |flags| (flags.unsigned() & 1) as u32),
            name: self.names.text(json.operation_name.as_ref().map_or("", |name| &name.0).as_bytes()),
            kind,
            start_unix_ns,
            end_unix_ns: start_unix_ns.saturating_add(micros(json.duration)),
            attributes,
            dropped_attributes: 0,
            events: json.logs.unwrap_or_default().into_iter().map(|log| self.event(log)).collect(),
            dropped_events: 0,
            links,
            dropped_links,
            status,
            status_message: status_message.unwrap_or_default(),
            resource,
            scope,
        })
    }

    fn link(&mut self, other: &Other) -> Link {
        let kind = if other.is_child_of { "child_of" } else { "follows_from" };
        Link {
            trace_id: other.trace_id,
            span_id: other.span_id,
            trace_state: self.names.text(b""),
            attributes: vec![(
                self.names.text(b"opentracing.ref_type"),
                Value::Str(self.values.text(kind.as_bytes())),
            )],
            dropped_attributes: 0,
            flags: 0,
        }
    }

    fn event(&mut self, log: LogJson<'_>) -> Event {
        let mut attributes = self.attributes(log.fields);
        Event {
            time_unix_ns: micros(log.timestamp),
            name: take_text(&mut attributes, "event").unwrap_or_default(),
            attributes,
            dropped_attributes: 0,
        }
    }

    fn scope(&mut self, attributes: &mut Vec<Attribute>) -> Arc<Scope> {
        let mut part = |names: [&str; 2]| names.into_iter().find_map(|name| take_text(attributes, name));
        let name = part(["otel.scope.name", "otel.library.name"]).unwrap_or_default();
        let version = part(["otel.scope.version", "otel.library.version"]).unwrap_or_default();
        if self.scope.name != name || self.scope.version != version {
            self.scope = Arc::new(Scope { name, version, ..Scope::default() });
        }
        Arc::clone(&self.scope)
    }

    fn attributes(&mut self, tags: Option<Vec<TagJson<'_>>>) -> Vec<Attribute> {
        let tags = tags.unwrap_or_default().into_iter();
        tags.map(|tag| {
            let key = self.names.text(tag.key.as_ref().map_or("", |key| &key.0).as_bytes());
            let kind = tag.kind.as_ref().map_or("", |kind| &kind.0);
            (key, self.value(kind, tag.value.unwrap_or(Json::Null)))
        })
        .collect()
    }

    /// A value that is not of its type is taken as what it is.
    fn value(&mut self, kind: &str, json: Json) -> Value {
        let value = match (kind, &json) {
            ("bool", Json::String(text)) => text.parse().ok().map(Value::Bool),
            ("int64", Json::String(text)) => text.parse().ok().map(Value::Int),
            ("float64", Json::String(text)) => text.parse().ok().map(Value::Double),
            ("float64", Json::Number(number)) => number.as_f64().map(Value::Double),
            ("binary", Json::String(text)) => base64(text).ok().map(|bytes| Value::Bytes(bytes.into())),
            _ => None,
        };
        value.unwrap_or_else(|| match json {
            Json::String(text) => Value::Str(self.values.text(text.as_bytes())),
            Json::Bool(truth) => Value::Bool(truth),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Null => Value::Empty,
            Json::Array(_) | Json::Object(_) => Value::Str(json.to_string().into()),
        })
    }
}

fn micros(number: Option<Number>) -> u64 {
    number.map_or(0, |number| number.unsigned().saturating_mul(1000))
}

fn kind_of(text: &str) -> Kind {
    match text {
        "internal" => Kind::Internal,
        "server" => Kind::Server,
        "client" => Kind::Client,
        "producer" => Kind::Producer,
        "consumer" => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}

/// Takes what the tags say of the end: `error` first, then `otel.status_code`, then the status of HTTP.
fn status(attributes: &mut Vec<Attribute>, kind: Kind) -> (StatusCode, Option<Arc<str>>) {
    let is_error = match attribute(attributes, "error") {
        Some(Value::Bool(truth)) => *truth,
        Some(Value::Str(text)) => &**text == "true",
        _ => false,
    };
    let code = take_text(attributes, "otel.status_code");
    let is_ok = code.as_ref().is_some_and(|code| code.eq_ignore_ascii_case("ok"));
    let is_said = code.is_some_and(|code| code.eq_ignore_ascii_case("error"));
    if is_error {
        take(attributes, "error");
    }
    let status = match (is_error || is_said, is_ok) {
        (true, _) => StatusCode::Error,
        (false, true) => StatusCode::Ok,
        (false, false) => {
            let code = match attribute(attributes, "http.status_code") {
                Some(Value::Int(code)) => *code,
                Some(Value::Str(code)) => code.parse().unwrap_or(0),
                _ => 0,
            };
            let least = if kind == Kind::Client { 400 } else { 500 };
            if code >= least { StatusCode::Error } else { StatusCode::Unset }
        }
    };
    (status, take_text(attributes, "otel.status_description"))
}

/// Takes the first value of a name out.
fn take(attributes: &mut Vec<Attribute>, name: &str) -> Option<Value> {
    let at = attributes.iter().position(|(key, _)| &**key == name)?;
    Some(attributes.remove(at).1)
}

/// The same, if it is text.
fn take_text(attributes: &mut Vec<Attribute>, name: &str) -> Option<Arc<str>> {
    let at = attributes.iter().position(|(key, value)| &**key == name && value.as_str().is_some())?;
    match attributes.remove(at).1 {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

/// The other span of a reference.
struct Other {
    trace_id: TraceId,
    span_id: SpanId,
    is_child_of: bool,
}

#[derive(Deserialize)]
struct DocumentJson<'a> {
    #[serde(borrow)]
    data: Option<Traces<'a>>,
    spans: Option<Vec<SpanJson<'a>>>,
    processes: Option<HashMap<String, ProcessJson<'a>>>,
}

/// One trace or several.
struct Traces<'a>(Vec<TraceJson<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Traces<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Traces<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a trace or a list of traces")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Traces<'de>, A::Error> {
                Ok(Traces(vec![TraceJson::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Traces<'de>, A::Error> {
                let mut traces = Vec::new();
                while let Some(trace) = list.next_element()? {
                    traces.push(trace);
                }
                Ok(Traces(traces))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

#[derive(Deserialize)]
struct TraceJson<'a> {
    #[serde(borrow)]
    spans: Option<Vec<SpanJson<'a>>>,
    processes: Option<HashMap<String, ProcessJson<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpanJson<'a> {
    #[serde(borrow, rename = "traceID")]
    trace_id: Option<Text<'a>>,
    #[serde(rename = "spanID")]
    span_id: Option<Text<'a>>,
    #[serde(rename = "parentSpanID")]
    parent_span_id: Option<Text<'a>>,
    flags: Option<Number>,
    operation_name: Option<Text<'a>>,
    references: Option<Vec<ReferenceJson<'a>>>,
    start_time: Option<Number>,
    duration: Option<Number>,
    tags: Option<Vec<TagJson<'a>>>,
    logs: Option<Vec<LogJson<'a>>>,
    #[serde(rename = "processID")]
    process_id: Option<Text<'a>>,
    process: Option<ProcessJson<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceJson<'a> {
    #[serde(borrow)]
    ref_type: Option<Text<'a>>,
    #[serde(rename = "traceID")]
    trace_id: Option<Text<'a>>,
    #[serde(rename = "spanID")]
    span_id: Option<Text<'a>>,
}

impl ReferenceJson<'_> {
    /// None without valid ids.
    fn parse(&self) -> Option<Other> {
        Some(Other {
            trace_id: TraceId::parse(&self.trace_id.as_ref()?.0)?,
            span_id: SpanId::parse(&self.span_id.as_ref()?.0)?,
            is_child_of: self.ref_type.as_ref().is_none_or(|kind| kind.0 == "CHILD_OF"),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessJson<'a> {
    #[serde(borrow)]
    service_name: Option<Text<'a>>,
    tags: Option<Vec<TagJson<'a>>>,
}

#[derive(Deserialize)]
struct LogJson<'a> {
    timestamp: Option<Number>,
    #[serde(borrow)]
    fields: Option<Vec<TagJson<'a>>>,
}

#[derive(Deserialize)]
struct TagJson<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    value: Option<Json>,
}
