//! OTLP as JSON: the protobuf mapping with hexadecimal ids, numbers for enumerations and texts for
//! 64-bit integers.

use serde_json::{Value as Json, json};

use crate::span::{Attributes, Resource, SCHEMA_URL, SCOPE_NAME, Span, Status, ValueRef};

/// A request with these spans, one group for each.
pub fn request(spans: &[Span]) -> Json {
    let groups: Vec<Json> = spans.iter().map(|one| group(&one.resource, vec![span(one)])).collect();
    json!({ "resourceSpans": groups })
}

/// A request of spans that were encoded before, by resource. Their texts are put in as they are.
pub(super) fn request_of(groups: &[(&Resource, Vec<&[u8]>)]) -> Vec<u8> {
    /// Stands where the spans go: no attribute can hold it unescaped.
    const PLACE: &str = "\"spans\":[]";
    let mut request = b"{\"resourceSpans\":[".to_vec();
    for (index, (resource, spans)) in groups.iter().enumerate() {
        if index > 0 {
            request.push(b',');
        }
        let around = group(resource, Vec::new()).to_string();
        let at = around.rfind(PLACE).map_or(around.len(), |at| at + PLACE.len() - 1);
        let (before, after) = around.split_at(at);
        request.extend_from_slice(before.as_bytes());
        request.extend(spans.join(&b','));
        request.extend_from_slice(after.as_bytes());
    }
    request.extend_from_slice(b"]}");
    request
}

fn group(resource: &Resource, spans: Vec<Json>) -> Json {
    json!({
        "resource": { "attributes": attributes(&resource.attributes[..].into()) },
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

fn attributes(list: &Attributes) -> Vec<Json> {
    list.iter().map(|(key, of)| json!({ "key": key, "value": value(of) })).collect()
}

fn value(of: ValueRef<'_>) -> Json {
    match of {
        ValueRef::Str(text) => json!({ "stringValue": text }),
        ValueRef::Int(number) => json!({ "intValue": number.to_string() }),
        ValueRef::Bool(truth) => json!({ "boolValue": truth }),
        ValueRef::Double(number) => json!({ "doubleValue": number }),
        ValueRef::Strings(list) => {
            let values: Vec<Json> = list.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::span::{SpanKind, Value};

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
            start_unix_ns: u64::MAX,
            end_unix_ns: 5,
            attributes: Attributes::from(
                &[("n".into(), Value::Int(-7)), ("l".into(), Value::Strings(vec!["x".to_owned()]))][..],
            ),
            status: Status::Error("why".to_owned()),
        }
    }

    #[test]
    fn ids_are_hexadecimal_and_large_numbers_are_texts() {
        let json = span(&span_named("n"));
        assert_eq!(json["traceId"], "ab".repeat(16));
        assert_eq!(json["parentSpanId"], "0202020202020202");
        assert_eq!(json["startTimeUnixNano"], u64::MAX.to_string());
        assert_eq!(json["attributes"][0]["value"]["intValue"], "-7");
        assert_eq!(json["attributes"][1]["value"]["arrayValue"]["values"][0]["stringValue"], "x");
        assert_eq!((&json["kind"], &json["status"]["code"]), (&json!(3), &json!(2)));
    }

    #[test]
    fn spans_that_were_encoded_before_are_put_in_as_they_are() {
        let spans = [span_named("a"), span_named("b")];
        let encoded: Vec<Vec<u8>> = spans.iter().map(|one| span(one).to_string().into_bytes()).collect();
        let one = vec![
            (spans[0].resource.as_ref(), vec![&encoded[0][..]]),
            (spans[1].resource.as_ref(), vec![&encoded[1][..]]),
        ];
        let read: Json = serde_json::from_slice(&request_of(&one)).expect("valid JSON");
        assert_eq!(read, request(&spans));
        let both = vec![(spans[0].resource.as_ref(), vec![&encoded[0][..], &encoded[1][..]])];
        let read: Json = serde_json::from_slice(&request_of(&both)).expect("valid JSON");
        assert_eq!(read["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["name"], "b");
    }
}
