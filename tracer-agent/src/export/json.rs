//! OTLP as JSON: the protobuf mapping with hexadecimal ids, numbers for enumerations and texts for
//! 64-bit integers.

use serde_json::{Value as Json, json};

use crate::span::{KeyValue, Resource, SCHEMA_URL, SCOPE_NAME, Span, Status, Value};

/// A request with these spans, one group for each.
pub fn request(spans: &[Span]) -> Json {
    let groups: Vec<Json> = spans.iter().map(|one| group(&one.resource, vec![span(one)])).collect();
    json!({ "resourceSpans": groups })
}

/// A request of spans that were encoded before, by resource; a text, since they are.
pub(super) fn request_of(groups: &[(&Resource, Vec<&[u8]>)]) -> Vec<u8> {
    let groups: Vec<Json> = groups
        .iter()
        .map(|(resource, spans)| {
            let spans = spans.iter().filter_map(|span| serde_json::from_slice(span).ok()).collect();
            group(resource, spans)
        })
        .collect();
    json!({ "resourceSpans": groups }).to_string().into_bytes()
}

fn group(resource: &Resource, spans: Vec<Json>) -> Json {
    json!({
        "resource": { "attributes": attributes(&resource.attributes) },
        "scopeSpans": [{
            "scope": { "name": SCOPE_NAME, "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
            "schemaUrl": SCHEMA_URL,
        }],
        "schemaUrl": SCHEMA_URL,
    })
}

/// One span.
pub(super) fn span(span: &Span) -> Json {
    let mut object = json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start_unix_ns.to_string(),
        "endTimeUnixNano": span.end_unix_ns.to_string(),
        "attributes": attributes(&span.attributes),
        "flags": span.flags,
    });
    if let Some(parent) = &span.parent_span_id {
        object["parentSpanId"] = hex(parent).into();
    }
    if !span.trace_state.is_empty() {
        object["traceState"] = span.trace_state.as_str().into();
    }
    if let Status::Error(description) = &span.status {
        object["status"] = json!({ "code": 2, "message": description });
    }
    object
}

fn attributes(list: &[KeyValue]) -> Vec<Json> {
    list.iter().map(|(key, of)| json!({ "key": key, "value": value(of) })).collect()
}

fn value(value: &Value) -> Json {
    match value {
        Value::Str(text) => json!({ "stringValue": text }),
        Value::Int(number) => json!({ "intValue": number.to_string() }),
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Double(number) => json!({ "doubleValue": number }),
        Value::Strings(list) => {
            let values: Vec<Json> = list.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
