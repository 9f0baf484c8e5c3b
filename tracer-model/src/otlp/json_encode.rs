//! Spans to OTLP in JSON. Fields that are zero or empty are left out, as the Collector leaves them out; `resource`, `scope`
//! and `status` are always there.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::{Group, encode::groups};
use crate::span::{Attribute, Event, Link, Resource, Scope, Span, StatusCode, Value};

/// Encodes spans as an `ExportTraceServiceRequest` on one line, grouped as in [`encode_protobuf`](super::encode_protobuf).
pub fn encode_json(spans: &[Span]) -> String {
    serde_json::to_string(&RequestJson(spans)).expect("maps have text as keys, and text takes any writing")
}

/// A request, as it is written.
pub(crate) struct RequestJson<'a>(pub(crate) &'a [Span]);

impl Serialize for RequestJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("resourceSpans", &list(&groups(self.0), ResourceSpansJson))?;
        map.end()
    }
}

/// A list, each member of which is written in the form that `form` gives it.
struct List<'a, T, F> {
    members: &'a [T],
    form: F,
}

fn list<T, F>(members: &[T], form: F) -> List<'_, T, F> {
    List { members, form }
}

impl<'a, T, F: Fn(&'a T) -> J, J: Serialize> Serialize for List<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.members.len()))?;
        for member in self.members {
            list.serialize_element(&(self.form)(member))?;
        }
        list.end()
    }
}

/// Writes fields that are not empty.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn text(&mut self, name: &'static str, text: &str) -> Result<(), M::Error> {
        if text.is_empty() { Ok(()) } else { self.0.serialize_entry(name, text) }
    }

    fn count(&mut self, name: &'static str, number: u32) -> Result<(), M::Error> {
        if number == 0 { Ok(()) } else { self.0.serialize_entry(name, &number) }
    }

    fn list<'a, T: 'a, J: Serialize>(
        &mut self,
        name: &'static str,
        members: &'a [T],
        form: impl Fn(&'a T) -> J,
    ) -> Result<(), M::Error> {
        if members.is_empty() { Ok(()) } else { self.0.serialize_entry(name, &list(members, form)) }
    }

    fn time(&mut self, name: &'static str, time_ns: u64) -> Result<(), M::Error> {
        if time_ns == 0 { Ok(()) } else { self.0.serialize_entry(name, &AsText(time_ns)) }
    }
}

/// A number of 64 bits is written as text: JavaScript does not hold all of them.
struct AsText<N>(N);

impl<N: std::fmt::Display> Serialize for AsText<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct ResourceSpansJson<'a>(&'a Group<'a>);

impl Serialize for ResourceSpansJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.0.serialize_entry("resource", &ResourceJson(self.0.resource))?;
        fields.list("scopeSpans", &self.0.scopes, |(scope, spans)| ScopeSpansJson(scope, spans))?;
        fields.text("schemaUrl", &self.0.resource.schema_url)?;
        fields.0.end()
    }
}

struct ResourceJson<'a>(&'a Resource);

impl Serialize for ResourceJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.list("attributes", &self.0.attributes, KeyValueJson)?;
        fields.count("droppedAttributesCount", self.0.dropped_attributes)?;
        fields.0.end()
    }
}

struct ScopeSpansJson<'a>(&'a Scope, &'a [&'a Span]);

impl Serialize for ScopeSpansJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.0.serialize_entry("scope", &ScopeJson(self.0))?;
        fields.list("spans", self.1, |span| SpanJson(span))?;
        fields.text("schemaUrl", &self.0.schema_url)?;
        fields.0.end()
    }
}

struct ScopeJson<'a>(&'a Scope);

impl Serialize for ScopeJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.text("name", &self.0.name)?;
        fields.text("version", &self.0.version)?;
        fields.list("attributes", &self.0.attributes, KeyValueJson)?;
        fields.count("droppedAttributesCount", self.0.dropped_attributes)?;
        fields.0.end()
    }
}

struct SpanJson<'a>(&'a Span);

impl Serialize for SpanJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.text("traceId", &span.trace_id.hex())?;
        fields.text("spanId", &span.span_id.hex())?;
        fields.text("traceState", &span.trace_state)?;
        if let Some(parent) = span.parent_span_id {
            fields.text("parentSpanId", &parent.hex())?;
        }
        fields.count("flags", span.flags)?;
        fields.text("name", &span.name)?;
        fields.count("kind", span.kind as u32)?;
        fields.time("startTimeUnixNano", span.start_unix_ns)?;
        fields.time("endTimeUnixNano", span.end_unix_ns)?;
        fields.list("attributes", &span.attributes, KeyValueJson)?;
        fields.count("droppedAttributesCount", span.dropped_attributes)?;
        fields.list("events", &span.events, EventJson)?;
        fields.count("droppedEventsCount", span.dropped_events)?;
        fields.list("links", &span.links, LinkJson)?;
        fields.count("droppedLinksCount", span.dropped_links)?;
        fields
            .0
            .serialize_entry("status", &StatusJson { code: span.status, message: &span.status_message })?;
        fields.0.end()
    }
}

struct StatusJson<'a> {
    code: StatusCode,
    message: &'a str,
}

impl Serialize for StatusJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.text("message", self.message)?;
        fields.count("code", self.code as u32)?;
        fields.0.end()
    }
}

struct EventJson<'a>(&'a Event);

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.time("timeUnixNano", self.0.time_unix_ns)?;
        fields.text("name", &self.0.name)?;
        fields.list("attributes", &self.0.attributes, KeyValueJson)?;
        fields.count("droppedAttributesCount", self.0.dropped_attributes)?;
        fields.0.end()
    }
}

struct LinkJson<'a>(&'a Link);

impl Serialize for LinkJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.text("traceId", &self.0.trace_id.hex())?;
        fields.text("spanId", &self.0.span_id.hex())?;
        fields.text("traceState", &self.0.trace_state)?;
        fields.list("attributes", &self.0.attributes, KeyValueJson)?;
        fields.count("droppedAttributesCount", self.0.dropped_attributes)?;
        fields.count("flags", self.0.flags)?;
        fields.0.end()
    }
}

struct KeyValueJson<'a>(&'a Attribute);

impl Serialize for KeyValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", &*self.0.0)?;
        map.serialize_entry("value", &ValueJson(&self.0.1))?;
        map.end()
    }
}

struct ValueJson<'a>(&'a Value);

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Value::Str(text) => map.serialize_entry("stringValue", &**text)?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &AsText(number))?,
            Value::Double(number) if number.is_nan() => map.serialize_entry("doubleValue", "NaN")?,
            Value::Double(f64::INFINITY) => map.serialize_entry("doubleValue", "Infinity")?,
            Value::Double(f64::NEG_INFINITY) => map.serialize_entry("doubleValue", "-Infinity")?,
            Value::Double(number) => map.serialize_entry("doubleValue", number)?,
            Value::Bytes(bytes) => map.serialize_entry("bytesValue", &STANDARD.encode(bytes))?,
            Value::Array(values) => map.serialize_entry("arrayValue", &ListJson(list(values, ValueJson)))?,
            Value::Map(values) => {
                map.serialize_entry("kvlistValue", &ListJson(list(values, KeyValueJson)))?
            }
            Value::Empty => {}
        }
        map.end()
    }
}

/// The message around a list of values.
struct ListJson<L>(L);

impl<L: Serialize> Serialize for ListJson<L> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("values", &self.0)?;
        map.end()
    }
}
