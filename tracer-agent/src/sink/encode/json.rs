//! OTLP as JSON: the protobuf mapping with hexadecimal ids, numbers for enumerations and texts for
//! 64-bit integers. It is written straight from spans.

use std::{cell::RefCell, fmt, sync::Arc};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::span::{
    Attributes, Resource, SCHEMA_URL, SCOPE_NAME, Span, SpanEvent, SpanLink, Status, ValueRef,
};

/// A request of spans that were encoded before, by resource.
pub(in crate::sink) fn request(out: &mut Vec<u8>, groups: &[(&Resource, Vec<&[u8]>)]) {
    out.extend_from_slice(b"{\"resourceSpans\":[");
    for (index, (resource, spans)) in groups.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"resource\":{\"attributes\":");
        write(out, &List(&resource.attributes[..].into()));
        out.extend_from_slice(b"},\"scopeSpans\":[{\"scope\":");
        write(out, &Scope { name: SCOPE_NAME, version: env!("CARGO_PKG_VERSION") });
        out.extend_from_slice(b",\"spans\":[");
        for (index, span) in spans.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(span);
        }
        out.extend_from_slice(b"],\"schemaUrl\":");
        write(out, SCHEMA_URL);
        out.extend_from_slice(b"}],\"schemaUrl\":");
        write(out, SCHEMA_URL);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// One span.
pub(in crate::sink) fn span(span: &Span) -> Arc<[u8]> {
    thread_local! {
        /// Where it is written before its length is known.
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|out| {
        /// Attributes of unusual length leave no memory behind.
        const KEPT: usize = 64 * 1024;
        out.clear();
        out.shrink_to(KEPT);
        write(out, &JsonFields::of(span));
        Arc::from(out.as_slice())
    })
}

/// Writing to memory does not fail, and no value here does.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

/// The fields of a span, in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFields<'a> {
    trace_id: Hex<'a>,
    span_id: Hex<'a>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: AsText<u64>,
    end_time_unix_nano: AsText<u64>,
    attributes: List<'a>,
    flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Failed<'a>>,
    #[serde(skip_serializing_if = "Events::is_empty")]
    events: Events<'a>,
    #[serde(skip_serializing_if = "Links::is_empty")]
    links: Links<'a>,
}

impl<'a> JsonFields<'a> {
    fn of(span: &'a Span) -> Self {
        const ERROR: u8 = 2;
        Self {
            trace_id: Hex(&span.trace_id),
            span_id: Hex(&span.span_id),
            name: &span.name,
            kind: span.kind as u8,
            start_time_unix_nano: AsText(span.start_unix_ns),
            end_time_unix_nano: AsText(span.end_unix_ns),
            attributes: List(&span.attributes),
            flags: span.flags,
            parent_span_id: span.parent_span_id.as_ref().map(|id| Hex(id)),
            trace_state: &span.trace_state,
            status: match &span.status {
                Status::Error(message) => Some(Failed { code: ERROR, message }),
                Status::Unset => None,
            },
            events: Events(span.events()),
            links: Links(span.links()),
        }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    code: u8,
    message: &'a str,
}

/// Events of a span.
struct Events<'a>(&'a [SpanEvent]);

impl Events<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct JsonEvent<'a> {
            time_unix_nano: AsText<u64>,
            name: &'a str,
            attributes: List<'a>,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for event in self.0 {
            let attributes = Attributes::from(&event.attributes[..]);
            list.serialize_element(&JsonEvent {
                time_unix_nano: AsText(event.time_unix_ns),
                name: &event.name,
                attributes: List(&attributes),
            })?;
        }
        list.end()
    }
}

/// Links of a span.
struct Links<'a>(&'a [SpanLink]);

impl Links<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct JsonLink<'a> {
            trace_id: Hex<'a>,
            span_id: Hex<'a>,
            #[serde(skip_serializing_if = "str::is_empty")]
            trace_state: &'a str,
            flags: u32,
        }
        serializer.collect_seq(self.0.iter().map(|link| JsonLink {
            trace_id: Hex(&link.trace_id),
            span_id: Hex(&link.span_id),
            trace_state: &link.trace_state,
            flags: link.flags,
        }))
    }
}

/// Attributes as a list of keys and values.
struct List<'a>(&'a Attributes);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct JsonAttribute<'a> {
            key: &'a str,
            value: AnyValue<'a>,
        }
        serializer
            .collect_seq(self.0.iter().map(|(key, value)| JsonAttribute { key, value: AnyValue(value) }))
    }
}

/// A value, under the name of its type.
struct AnyValue<'a>(ValueRef<'a>);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<'a> {
            values: Vec<AnyValue<'a>>,
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0 {
            ValueRef::Str(text) => map.serialize_entry("stringValue", text),
            ValueRef::Int(number) => map.serialize_entry("intValue", &AsText(number)),
            ValueRef::Bool(truth) => map.serialize_entry("boolValue", &truth),
            ValueRef::Double(number) => map.serialize_entry("doubleValue", &number),
            ValueRef::Strings(list) => {
                let values = list.iter().map(|text| AnyValue(ValueRef::Str(text))).collect();
                map.serialize_entry("arrayValue", &Values { values })
            }
        }?;
        map.end()
    }
}

/// A number as a text.
struct AsText<T>(T);

impl<T: fmt::Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An id in lower-case hexadecimal.
pub(in crate::sink) struct Hex<'a>(pub(in crate::sink) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::span::{Attachments, SpanKind, Value};

    fn span_named(name: &'static str) -> Span {
        let attributes = vec![("service.name".into(), Value::Str("\"spans\":[]".into()))];
        Span {
            resource: Arc::new(Resource { service_name: "s".to_owned(), pid: 1, attributes }),
            trace_id: [0xab; 16],
            span_id: [1; 8],
            parent_span_id: Some([2; 8]),
            flags: 0x103,
            trace_state: "a=1".to_owned(),
            name: name.into(),
            kind: SpanKind::Client,
            local: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            peer: std::net::SocketAddr::from(([127, 0, 0, 1], 51234)).into(),
            start_unix_ns: u64::MAX,
            end_unix_ns: 5,
            attributes: Attributes::from(
                &[
                    ("n".into(), Value::Int(-7)),
                    ("l".into(), Value::Strings(vec!["x".to_owned()])),
                    ("b".into(), Value::Bool(true)),
                    ("d".into(), Value::Double(1.0)),
                    ("nan".into(), Value::Double(f64::NAN)),
                    ("s".into(), Value::Str("a\"\u{1}\u{2028}".into())),
                ][..],
            ),
            attachments: Some(Box::new(Attachments {
                events: vec![SpanEvent {
                    time_unix_ns: 7,
                    name: "e".into(),
                    attributes: vec![("k".into(), Value::Int(1))],
                }],
                links: vec![SpanLink {
                    trace_id: [0xcd; 16],
                    span_id: [3; 8],
                    trace_state: String::new(),
                    flags: 0x301,
                }],
            })),
            status: Status::Error("why".to_owned()),
        }
    }

    fn request_of(spans: &[&Span]) -> Vec<u8> {
        let encoded: Vec<Arc<[u8]>> = spans.iter().map(|one| span(one)).collect();
        let groups: Vec<_> =
            spans.iter().zip(&encoded).map(|(one, bytes)| (&*one.resource, vec![&bytes[..]])).collect();
        let mut out = Vec::new();
        request(&mut out, &groups);
        out
    }

    /// What serde_json writes of the same.
    fn expected(span: &Span) -> Json {
        let value = |of: ValueRef<'_>| match of {
            ValueRef::Str(text) => json!({ "stringValue": text }),
            ValueRef::Int(number) => json!({ "intValue": number.to_string() }),
            ValueRef::Bool(truth) => json!({ "boolValue": truth }),
            ValueRef::Double(number) => json!({ "doubleValue": number }),
            ValueRef::Strings(list) => {
                let values: Vec<Json> = list.iter().map(|text| json!({ "stringValue": text })).collect();
                json!({ "arrayValue": { "values": values } })
            }
        };
        let attributes = |list: &Attributes| -> Vec<Json> {
            list.iter().map(|(key, of)| json!({ "key": key, "value": value(of) })).collect()
        };
        let mut object = json!({
            "traceId": Hex(&span.trace_id).to_string(),
            "spanId": Hex(&span.span_id).to_string(),
            "name": span.name,
            "kind": span.kind as u8,
            "startTimeUnixNano": span.start_unix_ns.to_string(),
            "endTimeUnixNano": span.end_unix_ns.to_string(),
            "attributes": attributes(&span.attributes),
            "flags": span.flags,
        });
        if let Some(parent) = &span.parent_span_id {
            object["parentSpanId"] = Hex(parent).to_string().into();
        }
        if !span.trace_state.is_empty() {
            object["traceState"] = span.trace_state.as_str().into();
        }
        if let Status::Error(description) = &span.status {
            object["status"] = json!({ "code": 2, "message": description });
        }
        for event in span.events() {
            object["events"] = json!([{
                "timeUnixNano": event.time_unix_ns.to_string(),
                "name": event.name,
                "attributes": attributes(&event.attributes[..].into()),
            }]);
        }
        for link in span.links() {
            object["links"] = json!([{
                "traceId": Hex(&link.trace_id).to_string(),
                "spanId": Hex(&link.span_id).to_string(),
                "flags": link.flags,
            }]);
        }
        json!({
            "resource": { "attributes": attributes(&span.resource.attributes[..].into()) },
            "scopeSpans": [{
                "scope": { "name": SCOPE_NAME, "version": env!("CARGO_PKG_VERSION") },
                "spans": [object],
                "schemaUrl": SCHEMA_URL,
            }],
            "schemaUrl": SCHEMA_URL,
        })
    }

    #[test]
    fn ids_are_hexadecimal_and_large_numbers_are_texts() {
        let json: Json = serde_json::from_slice(&span(&span_named("n"))).expect("valid JSON");
        assert_eq!(json["traceId"], "ab".repeat(16));
        assert_eq!(json["parentSpanId"], "0202020202020202");
        assert_eq!(json["startTimeUnixNano"], u64::MAX.to_string());
        assert_eq!(json["attributes"][0]["value"]["intValue"], "-7");
        assert_eq!(json["attributes"][1]["value"]["arrayValue"]["values"][0]["stringValue"], "x");
        assert_eq!((&json["kind"], &json["status"]["code"]), (&json!(3), &json!(2)));
    }

    #[test]
    fn spans_that_were_encoded_before_are_put_in_as_they_are() {
        let mut plain = span_named("b");
        (plain.parent_span_id, plain.trace_state, plain.status) = (None, String::new(), Status::Unset);
        let spans = [span_named("a"), plain];
        let groups: Vec<Json> = spans.iter().map(expected).collect();
        let read = request_of(&[&spans[0], &spans[1]]);
        assert_eq!(String::from_utf8_lossy(&read), json!({ "resourceSpans": groups }).to_string());
        let encoded = [span(&spans[0]), span(&spans[1])];
        let mut out = Vec::new();
        request(&mut out, &[(&*spans[0].resource, vec![&encoded[0][..], &encoded[1][..]])]);
        let read: Json = serde_json::from_slice(&out).expect("valid JSON");
        assert_eq!(read["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["name"], "b");
    }
}
