//! Jaeger's JSON, both ways. What is expected is what Jaeger 1.76 answers.

use std::sync::Arc;

use proptest::{collection::vec, prelude::any, proptest};
use serde_json::json;

use super::*;
use crate::{
    otlp::{WRONG_SPAN_ID, WRONG_TRACE_ID},
    samples::{any_spans, child, resource, span, texts},
    span::{Event, Kind, Link, Resource, Scope, SpanId, StatusCode, TraceId, Value},
};

fn link(trace_id: u128, span_id: u64, kind: Option<&str>) -> Link {
    Link {
        trace_id: TraceId(trace_id.to_be_bytes()),
        span_id: SpanId(span_id.to_be_bytes()),
        trace_state: "".into(),
        attributes: kind.map(|kind| texts(&[("opentracing.ref_type", kind)])).unwrap_or_default(),
        dropped_attributes: 0,
        flags: 0,
    }
}

/// A span that has everything that Jaeger tells.
fn rich() -> Span {
    let mut resource = (*resource("shop")).clone();
    resource.attributes.push(("process.pid".into(), Value::Int(7)));
    resource.attributes.push(("host.name".into(), Value::Str("a".into())));
    Span {
        trace_id: TraceId((1_u128 << 64 | 5).to_be_bytes()),
        kind: Kind::Server,
        trace_state: "k=v".into(),
        status: StatusCode::Error,
        status_message: "broken".into(),
        attributes: vec![
            ("z".into(), Value::Double(0.5)),
            ("big".into(), Value::Int(i64::MAX)),
            ("bytes".into(), Value::Bytes([1, 2, 3].as_slice().into())),
            ("flag".into(), Value::Bool(false)),
            ("list".into(), Value::Array(vec![Value::Int(1), Value::Str("b".into())])),
            ("nothing".into(), Value::Empty),
            ("ip".into(), Value::Int(0x7f00_0001)),
            ("telemetry.sdk.name".into(), Value::Str("sdk".into())),
        ],
        events: vec![Event {
            time_unix_ns: 1_500_000,
            name: "exception".into(),
            attributes: texts(&[("z", "1"), ("a", "2")]),
            dropped_attributes: 0,
        }],
        links: vec![link(9, 10, None)],
        resource: Arc::new(resource),
        scope: Arc::new(Scope { name: "library".into(), version: "1".into(), ..Scope::default() }),
        ..child(2, 1, 1_000_000, 3_000_999)
    }
}

#[test]
fn a_span_is_told_as_jaeger_tells_it() {
    let answer = serde_json::to_value(Answer::of(vec![trace_of(&[rich()])])).unwrap();
    let tag =
        |key: &str, kind: &str, value: serde_json::Value| json!({"key": key, "type": kind, "value": value});
    assert_eq!(
        answer,
        json!({
            "data": [{
                "traceID": "00000000000000010000000000000005",
                "spans": [{
                    "traceID": "00000000000000010000000000000005",
                    "spanID": "0000000000000002",
                    "operationName": "span 2",
                    "references": [
                        {"refType": "CHILD_OF", "traceID": "00000000000000010000000000000005", "spanID": "0000000000000001"},
                        {"refType": "FOLLOWS_FROM", "traceID": "0000000000000009", "spanID": "000000000000000a"},
                    ],
                    "startTime": 1000,
                    "duration": 2000,
                    "tags": [
                        tag("big", "int64", json!("9223372036854775807")),
                        tag("bytes", "binary", json!("AQID")),
                        tag("error", "bool", json!(true)),
                        tag("flag", "bool", json!(false)),
                        tag("ip", "string", json!("127.0.0.1")),
                        tag("list", "string", json!("[1,\"b\"]")),
                        tag("nothing", "string", json!("")),
                        tag("otel.scope.name", "string", json!("library")),
                        tag("otel.scope.version", "string", json!("1")),
                        tag("otel.status_code", "string", json!("ERROR")),
                        tag("otel.status_description", "string", json!("broken")),
                        tag("span.kind", "string", json!("server")),
                        tag("w3c.tracestate", "string", json!("k=v")),
                        tag("z", "float64", json!(0.5)),
                    ],
                    "logs": [{
                        "timestamp": 1500,
                        "fields": [
                            tag("event", "string", json!("exception")),
                            tag("a", "string", json!("2")),
                            tag("z", "string", json!("1")),
                        ],
                    }],
                    "processID": "p1",
                    "warnings": ["invalid parent span IDs=0000000000000001; skipping clock skew adjustment"],
                }],
                "processes": {"p1": {"serviceName": "shop", "tags": [
                    tag("host.name", "string", json!("a")),
                    tag("process.pid", "int64", json!(7)),
                    tag("telemetry.sdk.name", "string", json!("sdk")),
                ]}},
                "warnings": null,
            }],
            "total": 0,
            "limit": 0,
            "offset": 0,
            "errors": null,
        })
    );
}

#[test]
fn a_span_comes_back_but_for_what_jaeger_has_not() {
    let sent = rich();
    let text = serde_json::to_string(&trace_of(std::slice::from_ref(&sent))).unwrap();
    let decoded = decode(text.as_bytes()).unwrap();
    assert_eq!(decoded.refused, []);
    let mut expected = Span {
        attributes: vec![
            ("big".into(), Value::Int(i64::MAX)),
            ("bytes".into(), Value::Bytes([1, 2, 3].as_slice().into())),
            ("flag".into(), Value::Bool(false)),
            ("ip".into(), Value::Str("127.0.0.1".into())),
            ("list".into(), Value::Str("[1,\"b\"]".into())),
            ("nothing".into(), Value::Str("".into())),
            ("z".into(), Value::Double(0.5)),
        ],
        end_unix_ns: 3_000_000,
        links: vec![link(9, 10, Some("follows_from"))],
        resource: Arc::new(Resource {
            attributes: vec![
                ("service.name".into(), Value::Str("shop".into())),
                ("host.name".into(), Value::Str("a".into())),
                ("process.pid".into(), Value::Int(7)),
                ("telemetry.sdk.name".into(), Value::Str("sdk".into())),
            ],
            ..Resource::default()
        }),
        ..sent
    };
    expected.events[0].attributes = texts(&[("a", "2"), ("z", "1")]);
    assert_eq!(decoded.spans, [expected]);
}

#[test]
fn spans_of_equal_processes_share_one_and_exact_duplicates_are_one() {
    let shop = || Span { resource: resource("shop"), ..span(1, 1_000_000, 2_000_000) };
    let prices = Span { resource: resource("prices"), ..child(2, 1, 1_100_000, 1_200_000) };
    let other = Span { span_id: SpanId(3_u64.to_be_bytes()), ..shop() };
    let trace = trace_of(&[shop(), prices, shop(), other]);
    let spans: Vec<_> = trace.spans.iter().map(|span| (&*span.span_id, &*span.process_id)).collect();
    assert_eq!(spans, [("0000000000000001", "p1"), ("0000000000000002", "p2"), ("0000000000000003", "p1")]);
    assert_eq!(trace.trace_id, "0000000000000001");
    assert_eq!(
        trace.processes.values().map(|process| &*process.service_name).collect::<Vec<_>>(),
        ["shop", "prices"]
    );
    assert!(trace.spans.iter().all(|span| span.warnings.is_none()));
}

#[test]
fn both_ends_of_a_call_with_one_id_get_ids_that_differ() {
    let trace = trace_of(&[
        Span { kind: Kind::Client, ..child(2, 1, 1_100_000, 1_900_000) },
        Span { kind: Kind::Server, ..child(2, 1, 1_200_000, 1_800_000) },
        child(3, 2, 1_300_000, 1_400_000),
        span(1, 1_000_000, 2_000_000),
    ]);
    let ids: Vec<_> = trace
        .spans
        .iter()
        .map(|span| (&*span.span_id, span.references.first().map(|parent| &*parent.span_id)))
        .collect();
    assert_eq!(
        ids,
        [
            ("0000000000000002", Some("0000000000000001")),
            ("0000000000000004", Some("0000000000000002")),
            ("0000000000000003", Some("0000000000000004")),
            ("0000000000000001", None),
        ]
    );
}

#[test]
fn raw_spans_have_the_ids_and_the_number_that_they_came_with_and_no_notes() {
    let trace = raw_trace_of(&[
        Span { kind: Kind::Client, ..child(2, 1, 1_100_000, 1_900_000) },
        Span { kind: Kind::Server, ..child(2, 1, 200_000, 800_000) },
        span(1, 1_000_000, 2_000_000),
        span(1, 1_000_000, 2_000_000),
    ]);
    let ids: Vec<_> = trace.spans.iter().map(|span| &*span.span_id).collect();
    assert_eq!(ids, ["0000000000000002", "0000000000000002", "0000000000000001", "0000000000000001"]);
    assert!(trace.spans.iter().all(|span| span.warnings.is_none()));
    assert_eq!(trace.processes.len(), 1);
}

#[test]
fn what_is_odd_is_warned_of_in_jaegers_words() {
    let mut renamed = child(2, 1, 1_000_000, 1_500_000);
    renamed.name = "again".into();
    let trace = trace_of(&[
        span(1, 1_000_000, 2_000_000),
        // Centred, it would begin at 1,250,000.
        child(2, 1, 500_000, 1_000_000),
        renamed,
        child(3, 1, 1_700_000, 1_700_000),
        child(4, 1, 900_000, 2_900_000),
    ]);
    let warnings: Vec<_> = trace.spans.iter().map(|span| span.warnings.clone().unwrap_or_default()).collect();
    assert_eq!(
        warnings,
        [
            vec![],
            vec!["clock skew adjustment disabled; not applying calculated delta of 750µs".to_owned()],
            vec!["duplicate span IDs; skipping clock skew adjustment".to_owned()],
            vec![
                "Negative duration detected, sanitizing end timestamp. Original end timestamp: \
                 1970-01-01 00:00:00.0017 +0000 UTC, adjusted to: 1970-01-01 00:00:00.001700001 +0000 UTC"
                    .to_owned()
            ],
            vec!["clock skew adjustment disabled; not applying calculated delta of 100µs".to_owned()],
        ]
    );
}

#[test]
fn the_first_reference_is_the_parent() {
    let references = |span: Span| -> Vec<_> {
        let trace = trace_of(&[span]);
        trace.spans[0].references.iter().map(|other| (other.ref_type, other.span_id.clone())).collect()
    };
    let id = |id: u64| SpanId(id.to_be_bytes()).hex();
    let linked = |links: Vec<Link>, span: Span| Span { links, ..span };
    assert_eq!(
        references(linked(vec![link(7, 3, None), link(1, 4, None)], span(2, 1, 2))),
        [(FOLLOWS_FROM, id(4)), (FOLLOWS_FROM, id(3))]
    );
    assert_eq!(
        references(linked(vec![link(1, 4, None), link(1, 5, Some("child_of"))], span(2, 1, 2))),
        [(CHILD_OF, id(5)), (FOLLOWS_FROM, id(4))]
    );
    assert_eq!(
        references(linked(vec![link(1, 1, Some("follows_from"))], child(2, 1, 1, 2))),
        [(FOLLOWS_FROM, id(1))],
        "a link to the parent says which kind of parent it is"
    );
}

const CHILD_OF: &str = "CHILD_OF";
const FOLLOWS_FROM: &str = "FOLLOWS_FROM";

#[test]
fn old_files_are_read() {
    let text = json!({"data": [{
        "traceID": "abc",
        "spans": [
            {
                "traceID": "abc", "spanID": "1", "flags": 1, "operationName": "op", "references": [],
                "startTime": 1_500_000_000_000_001_u64, "duration": 5, "processID": "p1", "warnings": null,
                "tags": [
                    {"key": "span.kind", "type": "string", "value": "client"},
                    {"key": "error", "type": "string", "value": "true"},
                    {"key": "count", "type": "int64", "value": "9007199254740993"},
                    {"key": "untyped", "value": 3},
                    {"key": "half", "type": "float64", "value": 2},
                    {"key": "odd", "type": "int64", "value": "many"},
                ],
                "logs": [{"timestamp": 1_500_000_000_000_002_u64, "fields": [{"key": "message", "value": "m"}]}],
            },
            {
                "traceID": "abc", "spanID": "2", "parentSpanID": "1", "operationName": "op",
                "startTime": 1, "duration": 1, "process": {"serviceName": "own", "tags": [{"key": "hostname", "value": "h"}]},
                "tags": [{"key": "http.status_code", "type": "int64", "value": 503}],
            },
            {"traceID": "abc", "spanID": "", "operationName": "op"},
            {"traceID": "0", "spanID": "3", "operationName": "op"},
        ],
        "processes": {"p1": {"serviceName": "shop", "tags": null}},
    }]});
    let decoded = decode(text.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.refused, [(WRONG_SPAN_ID, 1), (WRONG_TRACE_ID, 1)]);
    let [first, second] = &*decoded.spans else { panic!("{} spans", decoded.spans.len()) };
    assert_eq!(first.trace_id, TraceId(0xabc_u128.to_be_bytes()));
    assert_eq!((first.kind, first.status, first.flags), (Kind::Client, StatusCode::Error, 1));
    assert_eq!(
        (first.start_unix_ns, first.end_unix_ns),
        (1_500_000_000_000_001_000, 1_500_000_000_000_006_000)
    );
    assert_eq!(
        first.attributes,
        [
            ("count".into(), Value::Int(9_007_199_254_740_993)),
            ("untyped".into(), Value::Int(3)),
            ("half".into(), Value::Double(2.0)),
            ("odd".into(), Value::Str("many".into())),
        ]
    );
    assert_eq!((&*first.events[0].name, &first.events[0].attributes), ("", &texts(&[("message", "m")])));
    assert_eq!((first.service_name(), second.service_name()), ("shop", "own"));
    assert_eq!(second.parent_span_id, Some(first.span_id));
    assert_eq!(second.status, StatusCode::Error, "by its status of HTTP");
    assert_eq!(second.resource.attributes, texts(&[("service.name", "own"), ("host.name", "h")]));
}

#[test]
fn what_is_not_jaegers_is_an_error() {
    for text in ["{}", "{\"data\":[1]}", "[1]", "{\"data\":", "", "5"] {
        assert!(decode(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn envelopes_count_lists_and_tell_errors() {
    let json = |answer: &Answer<Vec<&str>>| serde_json::to_string(answer).unwrap();
    assert_eq!(
        json(&Answer::list(vec!["a", "b"])),
        r#"{"data":["a","b"],"total":2,"limit":0,"offset":0,"errors":null}"#
    );
    assert_eq!(
        json(&Answer::error(404, "trace not found")),
        r#"{"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"trace not found"}]}"#
    );
    assert_eq!(api_v3(&[]), r#"{"result":{"resourceSpans":[]}}"#);
}

proptest! {
    #[test]
    fn any_spans_become_json_that_is_read_again(spans in any_spans()) {
        let answer = Answer::of(vec![trace_of(&spans)]);
        let decoded = decode(serde_json::to_string(&answer).unwrap().as_bytes()).unwrap();
        assert_eq!(decoded.refused, []);
        let ids = |spans: &[Span]| spans.iter().map(|span| (span.trace_id, span.span_id)).collect::<Vec<_>>();
        assert_eq!(ids(&decoded.spans), ids(&spans));
        for (decoded, sent) in decoded.spans.iter().zip(&spans) {
            assert_eq!((&decoded.name, decoded.start_unix_ns), (&sent.name, sent.start_unix_ns / 1000 * 1000));
        }
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..100), spans in any_spans(), at in any::<usize>()) {
        let _ = decode(&bytes);
        let mut json = serde_json::to_vec(&trace_of(&spans)).unwrap();
        let at = at % json.len();
        json[at] = bytes.first().copied().unwrap_or(b'[');
        let _ = decode(&json);
    }
}
