//! OTLP in JSON to spans, as liberal as the Collector is.
//!
//! Names of fields are taken in lower camel case and as the `.proto` files write them, ids as hexadecimal of either case,
//! numbers of 64 bits and doubles as numbers and as text, enumerations as numbers and by name, bytes in any base64.
//! `null` is a field that is missing (OTLP specification, "JSON Protobuf Encoding"; Protobuf's "ProtoJSON format").

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    Decoded, OtlpError, WRONG_PARENT_ID, WRONG_SPAN_ID, WRONG_TRACE_ID,
    decode::{Ids, deeper, ids, not_zero},
    intern::Interner,
    json_scalars::{Double, Enumeration, Number, Text, base64},
};
use crate::span::{Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value};

/// Decodes an `ExportTraceServiceRequest`, or `TracesData`.
pub fn decode_json(bytes: &[u8]) -> Result<Decoded, OtlpError> {
    JsonDecoder::new().decode(bytes)
}

/// Decodes requests one after the other. Equal texts, and resources and scopes that follow upon an equal one, are shared.
pub(crate) struct JsonDecoder {
    names: Interner,
    values: Interner,
    resource: Option<Arc<Resource>>,
    scope: Option<Arc<Scope>>,
}

impl JsonDecoder {
    pub(crate) fn new() -> Self {
        Self { names: Interner::new(), values: Interner::new(), resource: None, scope: None }
    }

    /// Decodes a request.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Decoded, OtlpError> {
        let request: RequestJson<'_> = serde_json::from_slice(bytes)?;
        let mut decoded = Decoded::default();
        for each in request.resource_spans.unwrap_or_default() {
            let resource = self.resource(each.resource.unwrap_or_default(), each.schema_url)?;
            for each in each.scope_spans.unwrap_or_default() {
                let scope = self.scope(each.scope.unwrap_or_default(), each.schema_url)?;
                let SpansJson { spans, refused } = each.spans.unwrap_or_default();
                for (ids, span) in spans {
                    decoded.spans.push(self.span(ids, span, &resource, &scope)?);
                }
                decoded.append(refused);
            }
        }
        Ok(decoded)
    }

    pub(crate) fn resource(
        &mut self,
        json: ResourceJson<'_>,
        schema_url: Option<Text<'_>>,
    ) -> Result<Arc<Resource>, OtlpError> {
        let resource = Resource {
            attributes: self.attributes(json.attributes, 0)?,
            dropped_attributes: count(json.dropped_attributes_count),
            schema_url: self.name(schema_url),
        };
        Ok(shared(&mut self.resource, resource))
    }

    pub(crate) fn scope(
        &mut self,
        json: ScopeJson<'_>,
        schema_url: Option<Text<'_>>,
    ) -> Result<Arc<Scope>, OtlpError> {
        let scope = Scope {
            name: self.name(json.name),
            version: self.name(json.version),
            attributes: self.attributes(json.attributes, 0)?,
            dropped_attributes: count(json.dropped_attributes_count),
            schema_url: self.name(schema_url),
        };
        Ok(shared(&mut self.scope, scope))
    }

    pub(crate) fn span(
        &mut self,
        (trace_id, span_id, parent_span_id): Ids,
        json: SpanJson<'_>,
        resource: &Arc<Resource>,
        scope: &Arc<Scope>,
    ) -> Result<Span, OtlpError> {
        let mut dropped_links = count(json.dropped_links_count);
        let mut links = Vec::new();
        for link in json.links.unwrap_or_default() {
            match self.link(link)? {
                Some(link) => links.push(link),
                None => dropped_links = dropped_links.saturating_add(1),
            }
        }
        let status = json.status.unwrap_or_default();
        Ok(Span {
            trace_id,
            span_id,
            parent_span_id,
            trace_state: self.value_text(json.trace_state),
            flags: count(json.flags),
            name: self.name(json.name),
            kind: Kind::from_number(json.kind.map_or(0, |kind| kind.0)),
            start_unix_ns: json.start_time_unix_nano.map_or(0, |time| time.unsigned()),
            end_unix_ns: json.end_time_unix_nano.map_or(0, |time| time.unsigned()),
            attributes: self.attributes(json.attributes, 0)?,
            dropped_attributes: count(json.dropped_attributes_count),
            events: json
                .events
                .unwrap_or_default()
                .into_iter()
                .map(|event| self.event(event))
                .collect::<Result<_, _>>()?,
            dropped_events: count(json.dropped_events_count),
            links,
            dropped_links,
            status: StatusCode::from_number(status.code.map_or(0, |code| code.0)),
            status_message: self.value_text(status.message),
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
        })
    }

    /// A resource with the schema that is said beside it.
    pub(crate) fn with_schema_of_resource(
        &mut self,
        resource: Arc<Resource>,
        schema_url: Option<Text<'_>>,
    ) -> Arc<Resource> {
        let resource = Resource { schema_url: self.name(schema_url), ..Arc::unwrap_or_clone(resource) };
        shared(&mut self.resource, resource)
    }

    /// A scope with the schema that is said beside it.
    pub(crate) fn with_schema_of_scope(
        &mut self,
        scope: Arc<Scope>,
        schema_url: Option<Text<'_>>,
    ) -> Arc<Scope> {
        let scope = Scope { schema_url: self.name(schema_url), ..Arc::unwrap_or_clone(scope) };
        shared(&mut self.scope, scope)
    }

    fn event(&mut self, json: EventJson<'_>) -> Result<Event, OtlpError> {
        Ok(Event {
            time_unix_ns: json.time_unix_nano.map_or(0, |time| time.unsigned()),
            name: self.name(json.name),
            attributes: self.attributes(json.attributes, 0)?,
            dropped_attributes: count(json.dropped_attributes_count),
        })
    }

    /// A link; none if it has no valid ids.
    fn link(&mut self, json: LinkJson<'_>) -> Result<Option<Link>, OtlpError> {
        let trace_id = hex::<16>(&json.trace_id).and_then(|id| not_zero(&id)).map(TraceId);
        let span_id = hex::<8>(&json.span_id).and_then(|id| not_zero(&id)).map(SpanId);
        let attributes = self.attributes(json.attributes, 0)?;
        Ok(trace_id.zip(span_id).map(|(trace_id, span_id)| Link {
            trace_id,
            span_id,
            trace_state: self.value_text(json.trace_state),
            attributes,
            dropped_attributes: count(json.dropped_attributes_count),
            flags: count(json.flags),
        }))
    }

    fn attributes(
        &mut self,
        json: Option<Vec<KeyValueJson<'_>>>,
        depth: u32,
    ) -> Result<Vec<Attribute>, OtlpError> {
        json.unwrap_or_default()
            .into_iter()
            .map(|KeyValueJson { key, value }| {
                let value = value.map_or(Ok(Value::Empty), |value| self.value(value, depth))?;
                Ok((self.name(key), value))
            })
            .collect()
    }

    fn value(&mut self, json: ValueJson<'_>, depth: u32) -> Result<Value, OtlpError> {
        Ok(match json {
            ValueJson::Str(text) => Value::Str(self.value_text(Some(text))),
            ValueJson::Bool(truth) => Value::Bool(truth),
            ValueJson::Int(number) => Value::Int(number),
            ValueJson::Double(number) => Value::Double(number),
            ValueJson::Bytes(bytes) => Value::Bytes(bytes.into()),
            ValueJson::Empty => Value::Empty,
            ValueJson::Map(values) => Value::Map(self.attributes(Some(values), deeper(depth)?)?),
            ValueJson::Array(values) => {
                let depth = deeper(depth)?;
                Value::Array(
                    values.into_iter().map(|value| self.value(value, depth)).collect::<Result<_, _>>()?,
                )
            }
        })
    }

    fn name(&mut self, text: Option<Text<'_>>) -> Arc<str> {
        self.names.text(text.as_ref().map_or("", |text| &text.0).as_bytes())
    }

    fn value_text(&mut self, text: Option<Text<'_>>) -> Arc<str> {
        self.values.text(text.as_ref().map_or("", |text| &text.0).as_bytes())
    }
}

/// The last one, if it is equal.
fn shared<T: PartialEq>(last: &mut Option<Arc<T>>, new: T) -> Arc<T> {
    match last {
        Some(last) if **last == new => Arc::clone(last),
        _ => Arc::clone(last.insert(Arc::new(new))),
    }
}

fn count(number: Option<Number>) -> u32 {
    number.map_or(0, |number| u32::try_from(number.unsigned()).unwrap_or(u32::MAX))
}

/// Bytes of exactly so many hexadecimal digits.
fn hex<const N: usize>(text: &Option<Text<'_>>) -> Option<[u8; N]> {
    let digits = text.as_ref()?.0.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestJson<'a> {
    #[serde(borrow, alias = "resource_spans")]
    resource_spans: Option<Vec<ResourceSpansJson<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpansJson<'a> {
    #[serde(borrow)]
    resource: Option<ResourceJson<'a>>,
    #[serde(alias = "scope_spans")]
    scope_spans: Option<Vec<ScopeSpansJson<'a>>>,
    #[serde(alias = "schema_url")]
    schema_url: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceJson<'a> {
    #[serde(borrow)]
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpansJson<'a> {
    #[serde(borrow)]
    scope: Option<ScopeJson<'a>>,
    spans: Option<SpansJson<'a>>,
    #[serde(alias = "schema_url")]
    schema_url: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScopeJson<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    version: Option<Text<'a>>,
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Option<Number>,
}

/// Spans with valid ids, and how many others there were. Those are not kept: three bytes are enough for one, and it would take
/// a hundred times as much.
#[derive(Default)]
struct SpansJson<'a> {
    spans: Vec<(Ids, SpanJson<'a>)>,
    refused: Decoded,
}

impl<'de: 'a, 'a> Deserialize<'de> for SpansJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = SpansJson<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of spans")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<SpansJson<'de>, A::Error> {
                let mut spans = SpansJson::default();
                while let Some(span) = list.next_element::<SpanJson<'de>>()? {
                    match span.ids() {
                        Ok(ids) => spans.spans.push((ids, span)),
                        Err(reason) => spans.refused.refuse(reason),
                    }
                }
                Ok(spans)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpanJson<'a> {
    #[serde(borrow, alias = "trace_id")]
    trace_id: Option<Text<'a>>,
    #[serde(alias = "span_id")]
    span_id: Option<Text<'a>>,
    #[serde(alias = "trace_state")]
    trace_state: Option<Text<'a>>,
    #[serde(alias = "parent_span_id")]
    parent_span_id: Option<Text<'a>>,
    flags: Option<Number>,
    name: Option<Text<'a>>,
    kind: Option<Enumeration>,
    #[serde(alias = "start_time_unix_nano")]
    start_time_unix_nano: Option<Number>,
    #[serde(alias = "end_time_unix_nano")]
    end_time_unix_nano: Option<Number>,
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Option<Number>,
    events: Option<Vec<EventJson<'a>>>,
    #[serde(alias = "dropped_events_count")]
    dropped_events_count: Option<Number>,
    links: Option<Vec<LinkJson<'a>>>,
    #[serde(alias = "dropped_links_count")]
    dropped_links_count: Option<Number>,
    status: Option<StatusJson<'a>>,
}

impl SpanJson<'_> {
    /// The ids, or the reason why the span is refused.
    pub(crate) fn ids(&self) -> Result<Ids, &'static str> {
        let trace_id = hex::<16>(&self.trace_id).ok_or(WRONG_TRACE_ID)?;
        let span_id = hex::<8>(&self.span_id).ok_or(WRONG_SPAN_ID)?;
        let parent_id = match self.parent_span_id.as_ref().is_none_or(|text| text.0.is_empty()) {
            true => [0; 8],
            false => hex::<8>(&self.parent_span_id).ok_or(WRONG_PARENT_ID)?,
        };
        ids(&trace_id, &span_id, &parent_id)
    }
}

#[derive(Default, Deserialize)]
struct StatusJson<'a> {
    #[serde(borrow)]
    message: Option<Text<'a>>,
    code: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    #[serde(alias = "time_unix_nano")]
    time_unix_nano: Option<Number>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkJson<'a> {
    #[serde(borrow, alias = "trace_id")]
    trace_id: Option<Text<'a>>,
    #[serde(alias = "span_id")]
    span_id: Option<Text<'a>>,
    #[serde(alias = "trace_state")]
    trace_state: Option<Text<'a>>,
    attributes: Option<Vec<KeyValueJson<'a>>>,
    #[serde(alias = "dropped_attributes_count")]
    dropped_attributes_count: Option<Number>,
    flags: Option<Number>,
}

#[derive(Deserialize)]
struct KeyValueJson<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
    value: Option<ValueJson<'a>>,
}

#[derive(Default, Deserialize)]
struct ListJson<'a> {
    #[serde(borrow)]
    values: Option<Vec<Option<ValueJson<'a>>>>,
}

#[derive(Default, Deserialize)]
struct MapJson<'a> {
    #[serde(borrow)]
    values: Option<Vec<KeyValueJson<'a>>>,
}

/// An `AnyValue`.
enum ValueJson<'a> {
    Str(Text<'a>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Vec<ValueJson<'a>>),
    Map(Vec<KeyValueJson<'a>>),
    Bytes(Vec<u8>),
    Empty,
}

impl<'de: 'a, 'a> Deserialize<'de> for ValueJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = ValueJson<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value with its type, such as {\"stringValue\": \"a\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValueJson<'de>, A::Error> {
                let mut value = ValueJson::Empty;
                while let Some(Text(name)) = map.next_key()? {
                    let member = match &*name {
                        "stringValue" | "string_value" => map.next_value::<Option<_>>()?.map(ValueJson::Str),
                        "boolValue" | "bool_value" => map.next_value::<Option<_>>()?.map(ValueJson::Bool),
                        "intValue" | "int_value" => {
                            map.next_value::<Option<Number>>()?.map(|number| ValueJson::Int(number.signed()))
                        }
                        "doubleValue" | "double_value" => map
                            .next_value::<Option<Double>>()?
                            .map(|Double(number)| ValueJson::Double(number)),
                        "arrayValue" | "array_value" => {
                            map.next_value::<Option<ListJson<'_>>>()?.map(|list| {
                                let values = list.values.unwrap_or_default().into_iter();
                                ValueJson::Array(
                                    values.map(|value| value.unwrap_or(ValueJson::Empty)).collect(),
                                )
                            })
                        }
                        "kvlistValue" | "kvlist_value" => map
                            .next_value::<Option<MapJson<'_>>>()?
                            .map(|map| ValueJson::Map(map.values.unwrap_or_default())),
                        "bytesValue" | "bytes_value" => map
                            .next_value::<Option<Text<'_>>>()?
                            .map(|Text(text)| base64(&text).map(ValueJson::Bytes))
                            .transpose()
                            .map_err(|_| de::Error::custom("bytesValue is not base64"))?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    if let Some(member) = member {
                        value = member;
                    }
                }
                Ok(value)
            }
        }

        deserializer.deserialize_map(Members)
    }
}
