//! OTLP against the generated types of `opentelemetry-proto`, and against senders who do harm.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, span::Event as ProtoEvent},
};
use proptest::{collection::vec, prelude::any, proptest};
use prost::Message;

use super::*;
use crate::{
    samples::{any_spans, resource, span, texts},
    span::{Event, Kind, Link, SpanId, StatusCode, TraceId, Value},
};

/// Spans in the order of their ids, which encoding does not keep over groups.
fn by_id(mut decoded: Decoded) -> Vec<Span> {
    assert_eq!(decoded.refused, []);
    decoded.spans.sort_by_key(|span| span.span_id);
    decoded.spans
}

proptest! {
    #[test]
    fn spans_come_back_from_protobuf_as_they_went(spans in any_spans()) {
        assert_eq!(by_id(decode_protobuf(&encode_protobuf(&spans)).unwrap()), spans);
    }

    #[test]
    fn spans_come_back_from_json_as_they_went(spans in any_spans()) {
        assert_eq!(by_id(decode_json(encode_json(&spans).as_bytes()).unwrap()), spans);
    }

    #[test]
    fn generated_types_read_what_is_written_and_write_what_is_read(spans in any_spans()) {
        let request = ExportTraceServiceRequest::decode(&*encode_protobuf(&spans)).unwrap();
        assert_eq!(by_id(decode_protobuf(&request.encode_to_vec()).unwrap()), spans);
    }

    #[test]
    fn garbage_is_an_error_or_nothing(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_protobuf(&bytes);
        let _ = decode_json(&bytes);
    }

    #[test]
    fn a_cut_or_changed_request_never_panics(spans in any_spans(), at in any::<usize>(), byte in any::<u8>()) {
        let mut protobuf = encode_protobuf(&spans);
        let mut json = encode_json(&spans).into_bytes();
        for bytes in [&mut protobuf, &mut json] {
            let at = at % bytes.len().max(1);
            let _ = decode_protobuf(&bytes[..at]);
            let _ = decode_json(&bytes[..at]);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            let _ = decode_protobuf(bytes);
            let _ = decode_json(bytes);
        }
    }
}

#[test]
fn each_field_of_protobuf_becomes_its_own() {
    let id = |last: u8, length: usize| [vec![0; length - 1], vec![last]].concat();
    let pair = |key: &str, value| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let mut proto = ProtoSpan {
        trace_id: id(1, 16),
        span_id: id(2, 8),
        trace_state: "state".into(),
        parent_span_id: id(3, 8),
        flags: 0x301,
        name: "name".into(),
        kind: 3,
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: vec![pair("key", any_value::Value::IntValue(-5))],
        dropped_attributes_count: 4,
        events: vec![ProtoEvent {
            time_unix_nano: 15,
            name: "event".into(),
            attributes: vec![pair("flag", any_value::Value::BoolValue(true))],
            dropped_attributes_count: 5,
        }],
        dropped_events_count: 6,
        links: vec![Default::default()],
        dropped_links_count: 7,
        status: Some(Default::default()),
    };
    let link = &mut proto.links[0];
    (link.trace_id, link.span_id, link.trace_state) = (id(8, 16), id(9, 8), "other".into());
    (link.attributes, link.dropped_attributes_count, link.flags) =
        (vec![pair("half", any_value::Value::DoubleValue(0.5))], 10, 0x100);
    let status = proto.status.as_mut().unwrap();
    (status.code, status.message) = (2, "broken".into());
    let mut group = ResourceSpans { schema_url: "resource schema".into(), ..ResourceSpans::default() };
    let resource = group.resource.insert(Default::default());
    resource.attributes = vec![pair("service.name", any_value::Value::StringValue("shop".into()))];
    resource.dropped_attributes_count = 11;
    let mut scope_spans =
        ScopeSpans { spans: vec![proto], schema_url: "scope schema".into(), ..ScopeSpans::default() };
    let scope = scope_spans.scope.insert(Default::default());
    (scope.name, scope.version, scope.dropped_attributes_count) = ("library".into(), "1.2".into(), 12);
    scope.attributes = vec![pair("bytes", any_value::Value::BytesValue(vec![1, 2]))];
    group.scope_spans = vec![scope_spans];
    let bytes = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();

    let expected = Span {
        trace_id: TraceId(1_u128.to_be_bytes()),
        span_id: SpanId(2_u64.to_be_bytes()),
        parent_span_id: Some(SpanId(3_u64.to_be_bytes())),
        trace_state: "state".into(),
        flags: 0x301,
        name: "name".into(),
        kind: Kind::Client,
        start_unix_ns: 10,
        end_unix_ns: 20,
        attributes: vec![("key".into(), Value::Int(-5))],
        dropped_attributes: 4,
        events: vec![Event {
            time_unix_ns: 15,
            name: "event".into(),
            attributes: vec![("flag".into(), Value::Bool(true))],
            dropped_attributes: 5,
        }],
        dropped_events: 6,
        links: vec![Link {
            trace_id: TraceId(8_u128.to_be_bytes()),
            span_id: SpanId(9_u64.to_be_bytes()),
            trace_state: "other".into(),
            attributes: vec![("half".into(), Value::Double(0.5))],
            dropped_attributes: 10,
            flags: 0x100,
        }],
        dropped_links: 7,
        status: StatusCode::Error,
        status_message: "broken".into(),
        resource: Arc::new(Resource {
            attributes: texts(&[("service.name", "shop")]),
            dropped_attributes: 11,
            schema_url: "resource schema".into(),
        }),
        scope: Arc::new(Scope {
            name: "library".into(),
            version: "1.2".into(),
            attributes: vec![("bytes".into(), Value::Bytes([1, 2].as_slice().into()))],
            dropped_attributes: 12,
            schema_url: "scope schema".into(),
        }),
    };
    assert_eq!(decode_protobuf(&bytes).unwrap().spans, std::slice::from_ref(&expected));
    assert_eq!(decode_protobuf(&encode_protobuf(std::slice::from_ref(&expected))).unwrap().spans, [expected]);
}

const SPAN: &str = r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174""#;

fn request(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{span}}}]}}]}}]}}"#)
}

fn one(span: &str) -> Span {
    let decoded = decode_json(request(span).as_bytes()).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused.len()), (1, 0));
    decoded.spans[0].clone()
}

#[test]
fn json_takes_each_way_in_which_senders_write_it() {
    let camel = one(&format!(
        r#"{SPAN},"parentSpanId":"eee19b7ec3c1b173","kind":2,"startTimeUnixNano":"1544712660000000000",
           "endTimeUnixNano":"1544712661000000000","droppedAttributesCount":1,"status":{{"code":2,"message":"m"}},
           "events":[{{"timeUnixNano":"7","name":"e"}}],"links":[{{"traceId":"0000000000000000000000000000000a","spanId":"000000000000000b"}}]"#
    ));
    let snake = one(&format!(
        r#"{},"parent_span_id":"EEE19B7EC3C1B173","kind":"SPAN_KIND_SERVER","start_time_unix_nano":1544712660000000000,
           "end_time_unix_nano":1544712661000000000,"dropped_attributes_count":"1","status":{{"code":"STATUS_CODE_ERROR","message":"m"}},
           "events":[{{"time_unix_nano":7,"name":"e"}}],"links":[{{"trace_id":"0000000000000000000000000000000A","span_id":"000000000000000B"}}],
           "attributes":null,"traceState":null,"somethingNew":{{"a":[1,2]}}"#,
        SPAN.replace("traceId", "trace_id").replace("spanId", "span_id")
    ));
    assert_eq!(camel, snake);
    assert_eq!(camel.trace_id.hex(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(camel.parent_span_id.unwrap().hex(), "eee19b7ec3c1b173");
    assert_eq!((camel.kind, camel.status), (Kind::Server, StatusCode::Error));
    assert_eq!(camel.start_unix_ns, 1_544_712_660_000_000_000);
    let fields = decode_json(br#"{"resource_spans":[{"scope_spans":[{"schema_url":"s"}]}]}"#).unwrap();
    assert_eq!(fields, Decoded::default());
}

#[test]
fn json_values_of_each_type_and_way() {
    for (json, value) in [
        (r#"{"stringValue":"a\nb"}"#, Value::Str("a\nb".into())),
        (r#"{"string_value":""}"#, Value::Str("".into())),
        (r#"{"boolValue":false}"#, Value::Bool(false)),
        (r#"{"intValue":"-9223372036854775808"}"#, Value::Int(i64::MIN)),
        (r#"{"intValue":7}"#, Value::Int(7)),
        (r#"{"intValue":7.0}"#, Value::Int(7)),
        (r#"{"doubleValue":1}"#, Value::Double(1.0)),
        (r#"{"doubleValue":"-Infinity"}"#, Value::Double(f64::NEG_INFINITY)),
        (r#"{"doubleValue":"1.5"}"#, Value::Double(1.5)),
        (r#"{"bytesValue":"+/8="}"#, Value::Bytes([0xfb, 0xff].as_slice().into())),
        (r#"{"bytesValue":"-_8"}"#, Value::Bytes([0xfb, 0xff].as_slice().into())),
        (
            r#"{"arrayValue":{"values":[{"intValue":1},{},null]}}"#,
            Value::Array(vec![Value::Int(1), Value::Empty, Value::Empty]),
        ),
        (r#"{"arrayValue":{}}"#, Value::Array(Vec::new())),
        (
            r#"{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}"#,
            Value::Map(vec![("k".into(), Value::Bool(true))]),
        ),
        (r#"{"stringValue":null,"unknownValue":[]}"#, Value::Empty),
        ("{}", Value::Empty),
        ("null", Value::Empty),
    ] {
        let span = one(&format!(r#"{SPAN},"attributes":[{{"key":"a","value":{json}}}]"#));
        assert_eq!(span.attributes, [("a".into(), value)], "{json}");
    }
    let nan = one(&format!(r#"{SPAN},"attributes":[{{"key":"a","value":{{"doubleValue":"NaN"}}}}]"#));
    assert!(matches!(nan.attributes[0].1, Value::Double(number) if number.is_nan()));
    assert_eq!(
        one(&format!(r#"{SPAN},"attributes":[{{"key":"a"}}]"#)).attributes,
        [("a".into(), Value::Empty)]
    );
}

#[test]
fn json_with_a_value_of_a_wrong_type_says_where() {
    for wrong in [
        r#""kind":[]"#,
        r#""startTimeUnixNano":"soon""#,
        r#""attributes":{}"#,
        r#""attributes":[{"key":"a","value":{"bytesValue":"%"}}]"#,
    ] {
        let error = decode_json(request(&format!("{SPAN},{wrong}")).as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("the request is not OTLP in JSON: ") && error.contains("line 1 column "),
            "{error}"
        );
    }
}

#[test]
fn spans_with_wrong_ids_are_refused_and_the_others_taken() {
    let good = span(7, 1, 2);
    let mut request =
        ExportTraceServiceRequest::decode(&*encode_protobuf(std::slice::from_ref(&good))).unwrap();
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    let proto = spans[0].clone();
    spans.push(ProtoSpan { trace_id: vec![0; 16], ..proto.clone() });
    spans.push(ProtoSpan { trace_id: vec![1; 15], ..proto.clone() });
    spans.push(ProtoSpan { span_id: Vec::new(), ..proto.clone() });
    spans.push(ProtoSpan { parent_span_id: vec![1; 9], ..proto.clone() });
    spans.push(ProtoSpan { parent_span_id: vec![0; 8], links: vec![Default::default()], ..proto });
    let decoded = decode_protobuf(&request.encode_to_vec()).unwrap();
    assert_eq!(decoded.refused, [(WRONG_TRACE_ID, 2), (WRONG_SPAN_ID, 1), (WRONG_PARENT_ID, 1)]);
    assert_eq!(decoded.spans, [good.clone(), Span { dropped_links: 1, ..good }]);
}

#[test]
fn spans_of_json_with_wrong_ids_are_refused() {
    for (span, reason) in [
        (r#""traceId":"","spanId":"000000000000000b""#, WRONG_TRACE_ID),
        (r#""traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"000000000000000b""#, WRONG_TRACE_ID),
        (r#""traceId":"0000000000000000000000000000000a","spanId":"0000000000000000""#, WRONG_SPAN_ID),
        (r#""traceId":"0000000000000000000000000000000a","spanId":"g00000000000000b""#, WRONG_SPAN_ID),
        (
            r#""traceId":"0000000000000000000000000000000a","spanId":"000000000000000b","parentSpanId":"1""#,
            WRONG_PARENT_ID,
        ),
    ] {
        let decoded = decode_json(request(span).as_bytes()).unwrap();
        assert_eq!((decoded.spans, decoded.refused), (Vec::new(), vec![(reason, 1)]), "{span}");
    }
}

/// A value in so many lists.
fn nested(depth: u32) -> Value {
    (0..depth).fold(Value::Bool(true), |inner, level| match level % 2 {
        0 => Value::Array(vec![inner]),
        _ => Value::Map(vec![("k".into(), inner)]),
    })
}

#[test]
fn values_may_lie_so_deep_and_no_deeper() {
    for (depth, is_taken) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (50, false)] {
        let spans = [Span {
            events: vec![Event {
                time_unix_ns: 1,
                name: "e".into(),
                attributes: vec![("a".into(), nested(depth))],
                dropped_attributes: 0,
            }],
            ..span(1, 1, 2)
        }];
        assert_eq!(decode_protobuf(&encode_protobuf(&spans)).is_ok(), is_taken, "protobuf, {depth} deep");
        assert_eq!(decode_json(encode_json(&spans).as_bytes()).is_ok(), is_taken, "JSON, {depth} deep");
    }
    let error = decode_protobuf(&encode_protobuf(&[Span {
        attributes: vec![("a".into(), nested(25))],
        ..span(1, 1, 2)
    }]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "lists and maps of an attribute lie more than 24 deep in each other"
    );
}

#[test]
fn values_in_values_without_end_do_not_overflow_the_stack() {
    // AnyValue { array_value: ArrayValue { values: [AnyValue …, from the innermost outward: a mebibyte is 170,000 levels.
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        for tag in [0x0a, 0x2a] {
            let mut length = Vec::new();
            prost::encoding::encode_varint(bytes.len() as u64, &mut length);
            length.insert(0, tag);
            // Written backward, as what is around comes later.
            bytes.extend(length.into_iter().rev());
        }
    }
    bytes.reverse();
    let mut writer = wire::Writer::default();
    writer.message(1, |writer| {
        writer.message(1, |writer| writer.message(1, |writer| writer.bytes(2, &bytes)));
    });
    assert!(matches!(decode_protobuf(&writer.bytes), Err(OtlpError::TooDeep)));
    let json = request(&format!(
        r#"{SPAN},"attributes":[{{"key":"a","value":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(1 << 16)
    ));
    assert!(decode_json(json.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
    assert!(decode_json(&vec![b'['; 1 << 20]).is_err());
}

#[test]
fn bytes_that_are_not_utf8_become_replacement_characters() {
    let spans = [Span {
        name: "GET /\u{1}\u{1}".into(),
        attributes: texts(&[("path", "/\u{1}\u{1}")]),
        ..span(1, 1, 2)
    }];
    let replace = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().map(|byte| if *byte == 1 { 0xff } else { *byte }).collect()
    };
    // Other ones of the bytes are ids, which are not text.
    let mut protobuf = encode_protobuf(&spans);
    let at = protobuf.windows(5).position(|window| window == b"GET /").unwrap() + 5;
    protobuf[at] = 0xff;
    assert!(ExportTraceServiceRequest::decode(&*protobuf).is_err(), "strict decoders refuse it");
    assert_eq!(&*decode_protobuf(&protobuf).unwrap().spans[0].name, "GET /\u{fffd}\u{1}");
    let json = replace(encode_json(&spans).replace("\\u0001", "\u{1}").as_bytes());
    let decoded = decode_json(&json).unwrap();
    assert_eq!(&*decoded.spans[0].name, "GET /\u{fffd}\u{fffd}");
    assert_eq!(decoded.spans[0].attributes, texts(&[("path", "/\u{fffd}\u{fffd}")]));
}

#[test]
fn half_of_a_surrogate_pair_becomes_a_replacement_character() {
    let span = one(&format!(
        r#"{SPAN},"name":"a\ud83d","attributes":[{{"key":"\udc00","value":{{"stringValue":"\ud83d\ude00"}}}}]"#
    ));
    assert!(span.name.starts_with("a\u{fffd}"), "{}", span.name);
    let (key, value) = &span.attributes[0];
    assert!(key.starts_with('\u{fffd}'), "{key}");
    assert_eq!(value, &Value::Str("😀".into()), "a whole pair is a character");
}

#[test]
fn a_value_of_a_megabyte_goes_through() {
    let value = "x".repeat(1 << 20);
    let spans = [Span { attributes: texts(&[("big", &value)]), ..span(1, 1, 2) }];
    assert_eq!(decode_protobuf(&encode_protobuf(&spans)).unwrap().spans, spans);
    assert_eq!(decode_json(encode_json(&spans).as_bytes()).unwrap().spans, spans);
}

#[test]
fn spans_of_equal_resources_stand_together_and_share_one() {
    let shop = || resource("shop");
    let spans = [
        Span { resource: shop(), ..span(1, 1, 2) },
        Span { resource: resource("prices"), ..span(2, 1, 2) },
        Span { resource: shop(), ..span(3, 1, 2) },
    ];
    let decoded = decode_protobuf(&encode_protobuf(&spans)).unwrap().spans;
    let services: Vec<_> = decoded.iter().map(Span::service_name).collect();
    assert_eq!(services, ["shop", "shop", "prices"]);
    assert!(Arc::ptr_eq(&decoded[0].resource, &decoded[1].resource));
    assert!(Arc::ptr_eq(&decoded[0].scope, &decoded[1].scope));
}

#[test]
fn equal_keys_of_a_request_share_one_allocation() {
    let spans = [1, 2].map(|id| Span { attributes: texts(&[("http.route", "/a")]), ..span(id, 1, 2) });
    for decoded in [
        decode_protobuf(&encode_protobuf(&spans)).unwrap().spans,
        decode_json(encode_json(&spans).as_bytes()).unwrap().spans,
    ] {
        assert!(Arc::ptr_eq(&decoded[0].attributes[0].0, &decoded[1].attributes[0].0));
    }
}

#[test]
fn json_is_written_as_the_collector_writes_it() {
    let spans = [Span {
        kind: Kind::Server,
        attributes: vec![
            ("n".into(), Value::Int(200)),
            ("d".into(), Value::Double(f64::NAN)),
            ("l".into(), Value::Array(vec![Value::Str("a".into())])),
            ("e".into(), Value::Empty),
        ],
        resource: resource("shop"),
        ..span(2, 1_500_000_000_000_000_001, 1_500_000_000_000_000_002)
    }];
    assert_eq!(
        encode_json(&spans),
        concat!(
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"#,
            r#""scopeSpans":[{"scope":{},"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","#,
            r#""name":"span 2","kind":2,"startTimeUnixNano":"1500000000000000001","endTimeUnixNano":"1500000000000000002","#,
            r#""attributes":[{"key":"n","value":{"intValue":"200"}},{"key":"d","value":{"doubleValue":"NaN"}},"#,
            r#"{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"a"}]}}},{"key":"e","value":{}}],"status":{}}]}]}]}"#
        )
    );
    assert_eq!(encode_json(&[]), r#"{"resourceSpans":[]}"#);
    assert!(encode_protobuf(&[]).is_empty());
}

#[test]
fn a_million_spans_without_ids_are_counted_and_not_kept() {
    let json = request(&"},{".repeat(1_000_000));
    let decoded = decode_json(json.as_bytes()).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused), (0, vec![(WRONG_TRACE_ID, 1_000_001)]));
}
