//! The body of an export of spans, or its first part, as far as it was copied.

#![forbid(unsafe_code)]

use std::io::Read;

use flate2::read::GzDecoder;

use super::{json, protobuf};
use crate::exchange::ExportedSpans;

/// How the bytes of a body are framed and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// `Transfer-Encoding: chunked`
    pub(crate) is_chunked: bool,
    /// `Content-Encoding: gzip`
    pub(crate) is_gzip: bool,
    /// JSON, else protobuf.
    pub(crate) is_json: bool,
}

/// Most bytes of a body after decompression.
const MOST_PLAIN: u64 = 256 * 1024;

/// What a body tells. It may be cut anywhere; what cannot be understood ends it.
pub(crate) fn read(body: &[u8], form: Form) -> ExportedSpans {
    let mut found = ExportedSpans::default();
    let joined;
    let body = if form.is_chunked {
        joined = without_chunks(body);
        &joined
    } else {
        body
    };
    let inflated;
    let body = if form.is_gzip {
        let mut plain = Vec::new();
        // Of a part, the end is missing: an error behind what was read.
        let _ = GzDecoder::new(body).take(MOST_PLAIN).read_to_end(&mut plain);
        inflated = plain;
        &inflated[..]
    } else {
        body
    };
    if form.is_json {
        json::read(body, &mut found);
    } else {
        protobuf::read(body, &mut found);
    }
    found
}

/// The data of chunks (RFC 9112 section 7.1).
fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(body.len());
    while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = body.split_at(end + 1);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(line.get(..digits).unwrap_or_default()).unwrap_or_default();
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        data.extend_from_slice(rest.get(..size).unwrap_or(rest));
        // The line end behind the data.
        body = rest.get(size..).and_then(|rest| rest.get(2..)).unwrap_or_default();
    }
    data
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        common::v1::{AnyValue, KeyValue, any_value},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use prost::Message;

    use super::*;
    use crate::exchange::ExportedSpan;

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    }

    fn span(n: u8, parent: Option<u8>, kind: i32) -> Span {
        Span {
            trace_id: vec![n; 16],
            span_id: vec![n; 8],
            parent_span_id: parent.map(|parent| vec![parent; 8]).unwrap_or_default(),
            name: format!("GET /{n}"),
            kind,
            start_time_unix_nano: 1,
            end_time_unix_nano: u64::MAX,
            attributes: vec![attribute("service.name", "no resource"), attribute("http.target", "/")],
            ..Span::default()
        }
    }

    fn request(names: &[&str]) -> ExportTraceServiceRequest {
        let resource_spans = names.iter().map(|name| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("telemetry.sdk.name", "own"), attribute("service.name", name)],
                ..Resource::default()
            }),
            scope_spans: vec![
                ScopeSpans { spans: vec![span(1, None, 2), span(2, Some(1), 3)], ..ScopeSpans::default() },
                ScopeSpans { spans: vec![span(3, Some(9), 1)], ..ScopeSpans::default() },
            ],
            schema_url: "https://example.org".to_owned(),
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }

    /// As the specification of OTLP/JSON says it: ids in hexadecimal digits.
    const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
        {"key":"telemetry.sdk.name","value":{"stringValue":"own"}},{"key":"n","value":{"intValue":"7"}},
        {"key":"service.name","value":{"stringValue":"shop"}}],"droppedAttributesCount":0},
        "scopeSpans":[{"scope":{"name":"a"},"spans":[
        {"traceId":"01010101010101010101010101010101","spanId":"0101010101010101","name":"GET /1","kind":2,
         "attributes":[{"key":"service.name","value":{"stringValue":"no resource"}}],"status":{"code":0}},
        {"traceId":"02020202020202020202020202020202","spanId":"0202020202020202",
         "parentSpanId":"0101010101010101","kind":"SPAN_KIND_CLIENT"}]},
        {"spans":[{"traceId":"03030303030303030303030303030303","spanId":"0303030303030303",
         "parentSpanId":"0909090909090909","kind":1,"events":[{"name":"e","timeUnixNano":"1"}]}]}]}]}"#;

    fn expected() -> ExportedSpans {
        let span = |n: u8, parent: Option<u8>, is_server| ExportedSpan {
            span_id: [n; 8],
            parent_id: parent.map(|parent| [parent; 8]),
            is_server,
        };
        ExportedSpans {
            service_names: vec!["shop".to_owned()],
            spans: vec![span(1, None, true), span(2, Some(1), false), span(3, Some(9), false)],
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn chunked(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in bytes.chunks(size) {
            body.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body
    }

    #[test]
    fn an_export_is_read_in_every_form() {
        let protobuf = request(&["shop"]).encode_to_vec();
        for (plain, is_json) in [(&protobuf[..], false), (JSON.as_bytes(), true)] {
            for is_gzip in [false, true] {
                let packed = if is_gzip { gzip(plain) } else { plain.to_vec() };
                let form = Form { is_json, is_gzip, is_chunked: false };
                assert_eq!(read(&packed, form), expected(), "{form:?}");
                for size in [1, 7, 4096] {
                    let form = Form { is_chunked: true, ..form };
                    assert_eq!(read(&chunked(&packed, size), form), expected(), "{form:?} {size}");
                }
            }
        }
    }

    #[test]
    fn of_a_part_its_whole_spans_are_told_and_none_is_made_up() {
        let protobuf = request(&["shop"]).encode_to_vec();
        for (plain, is_json) in [(&protobuf[..], false), (JSON.as_bytes(), true)] {
            let form = Form { is_json, ..Form::default() };
            let mut most = 0;
            for end in 0..=plain.len() {
                let found = read(&plain[..end], form);
                assert!(expected().service_names.starts_with(&found.service_names), "{end}");
                assert!(expected().spans.starts_with(&found.spans), "{end}: {:?}", found.spans);
                assert!(found.spans.len() >= most, "{end}");
                most = found.spans.len();
            }
            assert_eq!(most, 3);
        }
        let packed = gzip(&request(&["shop"; 200]).encode_to_vec());
        let form = Form { is_gzip: true, ..Form::default() };
        assert!(read(&packed[..packed.len() / 2], form).spans.len() > 3);
    }

    #[test]
    fn the_names_of_several_services_are_told_once_each() {
        let body = request(&["shop", "prices", "shop"]).encode_to_vec();
        assert_eq!(read(&body, Form::default()).service_names, ["shop", "prices"]);
    }

    #[test]
    fn bytes_that_are_no_export_tell_nothing_and_end() {
        for length in 0..64_usize {
            for byte in 0..=u8::MAX {
                for is_json in [false, true] {
                    let found = read(&vec![byte; length], Form { is_json, ..Form::default() });
                    assert_eq!(found.service_names, Vec::<String>::new());
                }
            }
        }
        let deep = "[".repeat(100_000);
        let body = format!("{{\"resourceSpans\":[{{\"x\":{deep}");
        assert_eq!(
            read(body.as_bytes(), Form { is_json: true, ..Form::default() }),
            ExportedSpans::default()
        );
        let body = chunked(&[0xff; 64], 3);
        read(&body, Form { is_chunked: true, is_gzip: true, is_json: false });
        read(b"ffffffffffffffff\r\nabc", Form { is_chunked: true, ..Form::default() });
    }
}
