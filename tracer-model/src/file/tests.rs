//! Files in each form, whole and broken.

use std::{io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::{
    otlp::encode_json,
    samples::{resource, span},
    span::Scope,
};

fn open(bytes: &[u8]) -> Result<Opened, FileError> {
    open_file(bytes, MAX_BYTES)
}

fn spans(ids: std::ops::RangeInclusive<u64>) -> Vec<Span> {
    ids.map(|id| Span { resource: resource("shop"), ..span(id, 1_000_000, 2_000_000) }).collect()
}

/// Each span on a line.
fn lines_of(spans: &[Span]) -> String {
    spans.iter().map(|span| encode_json(std::slice::from_ref(span)) + "\n").collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn otlp_lines_are_read_and_equal_resources_shared() {
    let spans = spans(1..=3);
    let text = format!("\u{feff}\n{}\r\n\n", lines_of(&spans));
    let opened = open(text.as_bytes()).unwrap();
    assert_eq!(opened, Opened { format: Format::Otlp, spans, refused: Vec::new(), notes: Vec::new() });
    assert!(std::sync::Arc::ptr_eq(&opened.spans[0].resource, &opened.spans[2].resource));
}

#[test]
fn one_document_over_several_lines_is_read() {
    let spans = spans(1..=2);
    let json: serde_json::Value = serde_json::from_str(&encode_json(&spans)).unwrap();
    let opened = open(serde_json::to_string_pretty(&json).unwrap().as_bytes()).unwrap();
    assert_eq!((opened.format, opened.spans), (Format::Otlp, spans));
}

#[test]
fn jaegers_answers_are_read_in_each_form() {
    let spans = spans(1..=2);
    let trace = serde_json::to_string(&jaeger::trace_of(&spans)).unwrap();
    let pretty: serde_json::Value = serde_json::from_str(&trace).unwrap();
    for text in [
        serde_json::to_string(&jaeger::Answer::of(vec![jaeger::trace_of(&spans)])).unwrap(),
        format!("{{\"data\":{trace}}}"),
        format!("[{trace}]"),
        trace.clone(),
        serde_json::to_string_pretty(&pretty).unwrap(),
    ] {
        let opened = open(text.as_bytes()).unwrap();
        assert_eq!((opened.format, opened.notes.len()), (Format::Jaeger, 0), "{text}");
        assert_eq!(opened.spans, spans, "{text}");
    }
    let opened = open(jaeger::api_v3(&spans).as_bytes()).unwrap();
    assert_eq!((opened.format, opened.spans), (Format::Otlp, spans));
}

#[test]
fn compressed_files_are_read_also_in_several_parts() {
    let (first, second) = (spans(1..=2), spans(3..=3));
    let all = spans(1..=3);
    let texts = [lines_of(&first), lines_of(&second)];
    let gzip: Vec<u8> = texts.iter().flat_map(|text| gzip(text.as_bytes())).collect();
    let zstd: Vec<u8> = texts.iter().flat_map(|text| zstd::encode_all(text.as_bytes(), 1).unwrap()).collect();
    assert_eq!(open(&gzip).unwrap().spans, all);
    assert_eq!(open(&zstd).unwrap().spans, all);
}

#[test]
fn a_last_line_that_is_cut_is_left_out_with_a_note() {
    let text = lines_of(&spans(1..=3));
    for end in [text.len() - 2, text.len() - 60] {
        for ending in ["", "\n"] {
            let opened = open(format!("{}{ending}", &text[..end]).as_bytes()).unwrap();
            assert_eq!(opened.spans, spans(1..=2));
            assert_eq!(opened.notes, ["Line 3, the last, is cut. It was left out."]);
        }
    }
}

#[test]
fn compressed_data_that_is_cut_gives_what_is_there() {
    let text = lines_of(&spans(1..=500));
    for bytes in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let opened = open(&bytes[..bytes.len() - 6]).unwrap();
        assert_eq!(opened.notes[0], "The file is cut: its compressed data has no end.");
        assert!(opened.spans.len() <= 500);
    }
}

#[test]
fn a_wrong_line_in_the_middle_is_an_error_with_its_place() {
    let good = lines_of(&spans(1..=1));
    for (line, message) in [
        ("{\"resourceSpans\":[}\n", "line 2, column 19: expected value"),
        ("{\"resourceSpans\":5}\n", "line 2, column 18: invalid type: integer `5`, expected a sequence"),
        ("{\"resourceSpans\":[\n", "line 2, column 18: EOF while parsing a list"),
    ] {
        let error = open(format!("{good}{line}{good}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_is_no_trace_is_told_from_what_is() {
    for (text, message) in [
        ("", "the file is empty"),
        (" \n\t", "the file is empty"),
        ("time,name\n1,a\n", "it does not begin as JSON does"),
        ("{\"a\":1}", "it is JSON of another kind"),
        ("{\n\"resourceSpans\": [", "line 1: the document that begins here has no end: the file is cut"),
        ("{\n\"resourceSpans\": ]\n}", "line 2, column 18: expected value"),
        ("{\"data\":[\"a service\"]}", "line 1, column 20: invalid type: string \"a service\""),
    ] {
        let error = open(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let metrics = open(b"{\"resourceMetrics\":[]}").unwrap();
    assert_eq!((metrics.spans.len(), metrics.notes), (0, vec!["1 line has no spans.".to_owned()]));
    assert!(matches!(open(&[0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), Err(FileError::Compression { .. })));
}

#[test]
fn a_file_that_unfolds_to_too_much_is_refused() {
    let text = format!("{{\"resourceSpans\":[{}]}}", " ".repeat(10_000_000));
    let error = open_file(&*gzip(text.as_bytes()), 1_000_000).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { max_bytes: 1_000_000 }));
    assert!(open_file(&*gzip(text.as_bytes()), text.len() as u64).is_ok());
}

/// Spans of three resources and two scopes each, with schemas.
fn mixed(count: u64) -> Vec<Span> {
    let spans = (1..=count).map(|id| {
        let mut span = span(id, 1_000_000, 2_000_000);
        let mut resource = (*resource(&format!("shop-{}", id % 3))).clone();
        resource.schema_url = format!("https://schemas.example/{}", id % 2).into();
        span.resource = Arc::new(resource);
        let scope = Scope {
            name: format!("lib-{}", id % 2).into(),
            schema_url: "https://schemas.example/scope".into(),
            ..Scope::default()
        };
        span.scope = Arc::new(scope);
        span
    });
    spans.collect()
}

fn by_id(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.span_id);
    spans
}

#[test]
fn a_document_that_is_read_while_it_is_decoded_gives_what_decoding_it_gives() {
    let spans = mixed(200);
    let json = encode_json(&spans);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(
        open(pretty.as_bytes()).unwrap().spans,
        crate::otlp::decode_json(json.as_bytes()).unwrap().spans
    );
    assert_eq!(by_id(open(pretty.as_bytes()).unwrap().spans), spans);
    // Two of them, one after the other; as snake case; in the gateway's envelope.
    let twice = open(format!("{pretty}\n{pretty}\n").as_bytes()).unwrap();
    assert_eq!(twice.spans.len(), 400);
    let snake = pretty.replace("resourceSpans", "resource_spans").replace("scopeSpans", "scope_spans");
    assert_eq!(by_id(open(snake.as_bytes()).unwrap().spans), spans);
    let gateway = open(format!("{{\n\"result\": {pretty}}}").as_bytes()).unwrap();
    assert_eq!((gateway.format, by_id(gateway.spans)), (Format::Otlp, spans));
}

#[test]
fn what_is_said_after_the_spans_belongs_to_them_and_null_is_missing() {
    let text = r#"{
        "resourceSpans": [{
            "scopeSpans": [{
                "spans": [
                    {"traceId": "00000000000000000000000000000001", "spanId": "0000000000000002", "name": "a"},
                    {"traceId": "00", "spanId": "0000000000000002"}
                ],
                "schemaUrl": "scope-schema",
                "scope": {"name": "lib"}
            }, {"spans": null, "scope": null}],
            "schemaUrl": "schema",
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
        }]
    }"#;
    let opened = open(text.as_bytes()).unwrap();
    let [span] = opened.spans.as_slice() else { panic!("one span, not {:?}", opened.spans) };
    assert_eq!((span.service_name(), &*span.resource.schema_url), ("shop", "schema"));
    assert_eq!((&*span.scope.name, &*span.scope.schema_url), ("lib", "scope-schema"));
    assert_eq!(opened.refused.iter().map(|(_, count)| count).sum::<u64>(), 1);
    let nothing = open(b"{\n\"resourceSpans\": null}").unwrap();
    assert_eq!((nothing.spans.len(), nothing.notes), (0, vec!["The file has no spans.".to_owned()]));
}

#[test]
fn jaegers_traces_over_several_lines_are_read_one_by_one() {
    let mut traces = Vec::new();
    let mut all = Vec::new();
    for number in 1..=5u128 {
        let trace_id = crate::span::TraceId(number.to_be_bytes());
        let spans: Vec<Span> = spans(1..=3).into_iter().map(|span| Span { trace_id, ..span }).collect();
        traces.push(jaeger::trace_of(&spans));
        all.extend(spans);
    }
    let answer = serde_json::to_value(jaeger::Answer::of(traces)).unwrap();
    let mut batches = Vec::new();
    let text = serde_json::to_string_pretty(&answer).unwrap();
    let summary = read_file(text.as_bytes(), MAX_BYTES, &mut |spans| batches.extend(spans)).unwrap();
    assert_eq!((summary.format, summary.spans, summary.notes.len()), (Format::Jaeger, 15, 0));
    assert_eq!(batches, all);
}

#[test]
fn a_large_document_on_one_line_is_given_away_in_parts() {
    // One resource, more bytes than the first line may have, and more spans than may wait.
    let spans = spans(1..=25_000);
    let text = encode_json(&spans);
    assert!(text.len() as u64 > MOST_FIRST_LINE);
    let (mut parts, mut read) = (0, Vec::new());
    let summary = read_file(text.as_bytes(), MAX_BYTES, &mut |spans| {
        parts += 1;
        read.extend(spans);
    });
    assert_eq!(summary.unwrap().spans, 25_000);
    assert!(parts >= 3, "{parts} parts");
    assert_eq!(read, spans);
    let cut = read_file(&text.as_bytes()[..text.len() / 2], MAX_BYTES, &mut |_| {}).unwrap_err();
    assert_eq!(cut.to_string(), "line 1: the document that begins here has no end: the file is cut");
}

#[test]
fn lines_are_given_away_while_they_are_read() {
    let text = lines_of(&spans(1..=5_000));
    let mut parts = Vec::new();
    let summary = read_file(text.as_bytes(), MAX_BYTES, &mut |spans| parts.push(spans.len())).unwrap();
    assert_eq!((summary.spans, parts), (5_000, vec![1000; 5]));
}
