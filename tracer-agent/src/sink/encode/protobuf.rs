//! OTLP protobuf, written straight from spans: field numbers are those of
//! `opentelemetry/proto/trace/v1/trace.proto` and its relatives.

use std::{cell::RefCell, sync::Arc};

use crate::span::{KeyValue, Resource, SCHEMA_URL, SCOPE_NAME, Span, Status, Value};

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

/// A message of a length that is known only when it is written.
fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, LENGTH);
    let at = out.len();
    // Most messages are short: their length takes one byte.
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        varint(&mut prefix, length as u64);
        out.splice(at..=at, prefix);
    }
}

fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Str(text) => bytes(out, 1, text.as_bytes()),
        Value::Bool(truth) => number(out, 2, u64::from(*truth)),
        Value::Int(n) => number(out, 3, *n as u64),
        Value::Double(n) => fixed64(out, 4, n.to_bits()),
        Value::Strings(list) => message(out, 5, |out| {
            for text in list {
                message(out, 1, |out| bytes(out, 1, text.as_bytes()));
            }
        }),
    }
}

fn attributes(out: &mut Vec<u8>, field: u32, list: &[KeyValue]) {
    for (key, of) in list {
        message(out, field, |out| {
            bytes(out, 1, key.as_bytes());
            message(out, 2, |out| value(out, of));
        });
    }
}

/// A `Span` message.
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
        write_span(out, span);
        Arc::from(out.as_slice())
    })
}

fn write_span(out: &mut Vec<u8>, span: &Span) {
    bytes(out, 1, &span.trace_id);
    bytes(out, 2, &span.span_id);
    if !span.trace_state.is_empty() {
        bytes(out, 3, span.trace_state.as_bytes());
    }
    if let Some(parent) = &span.parent_span_id {
        bytes(out, 4, parent);
    }
    bytes(out, 5, span.name.as_bytes());
    number(out, 6, span.kind as u64);
    fixed64(out, 7, span.start_unix_ns);
    fixed64(out, 8, span.end_unix_ns);
    out.extend_from_slice(span.attributes.as_bytes());
    for event in span.events() {
        message(out, 11, |out| {
            fixed64(out, 1, event.time_unix_ns);
            bytes(out, 2, event.name.as_bytes());
            attributes(out, 3, &event.attributes);
        });
    }
    for link in span.links() {
        message(out, 13, |out| {
            bytes(out, 1, &link.trace_id);
            bytes(out, 2, &link.span_id);
            if !link.trace_state.is_empty() {
                bytes(out, 3, link.trace_state.as_bytes());
            }
            tag(out, 6, FIXED32);
            out.extend_from_slice(&link.flags.to_le_bytes());
        });
    }
    if let Status::Error(description) = &span.status {
        const ERROR: u64 = 2;
        message(out, 15, |out| {
            if !description.is_empty() {
                bytes(out, 2, description.as_bytes());
            }
            number(out, 3, ERROR);
        });
    }
    tag(out, 16, FIXED32);
    out.extend_from_slice(&span.flags.to_le_bytes());
}

/// An `ExportTraceServiceRequest` of spans that were encoded before, by resource.
pub(in crate::sink) fn request(groups: &[(&Resource, Vec<&[u8]>)]) -> Vec<u8> {
    let size: usize = groups.iter().flat_map(|(_, spans)| spans).map(|span| span.len() + 8).sum();
    let mut encoded = Vec::with_capacity(size + groups.len() * 1024);
    for (resource, spans) in groups {
        message(&mut encoded, 1, |out| {
            message(out, 1, |out| attributes(out, 1, &resource.attributes));
            message(out, 2, |out| {
                message(out, 1, |out| {
                    bytes(out, 1, SCOPE_NAME.as_bytes());
                    bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
                });
                for span in spans {
                    bytes(out, 2, span);
                }
                bytes(out, 3, SCHEMA_URL.as_bytes());
            });
            bytes(out, 3, SCHEMA_URL.as_bytes());
        });
    }
    encoded
}

/// Spans that a receiver refused, and why: the `partial_success` of an `ExportTraceServiceResponse`.
pub(in crate::sink) fn partial_success(response: &[u8]) -> Option<(u64, String)> {
    let partial = fields(response).find(|(field, _)| *field == 1)?.1;
    let Content::Bytes(partial) = partial else { return None };
    let (mut rejected, mut reason) = (0, String::new());
    for (field, content) in fields(partial) {
        match (field, content) {
            // A negative number makes no sense: none.
            (1, Content::Number(n)) => rejected = u64::try_from(n as i64).unwrap_or(0),
            (2, Content::Bytes(text)) => reason = String::from_utf8_lossy(text).chars().take(200).collect(),
            _ => {}
        }
    }
    Some((rejected, reason))
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sink) enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; ends at the first that makes no sense.
pub(in crate::sink) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u32, Content<'_>)> {
    std::iter::from_fn(move || read_field(&mut rest))
}

/// Whether all of it is fields.
pub(in crate::sink) fn is_message(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if read_field(&mut bytes).is_none() {
            return false;
        }
    }
    true
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Content<'a>)> {
    let key = read_varint(rest)?;
    let field = u32::try_from(key >> 3).ok()?;
    let content = match (key & 7) as u32 {
        VARINT => Content::Number(read_varint(rest)?),
        FIXED64 => Content::Bytes(take(rest, 8)?),
        LENGTH => {
            let length = usize::try_from(read_varint(rest)?).ok()?;
            Content::Bytes(take(rest, length)?)
        }
        FIXED32 => Content::Bytes(take(rest, 4)?),
        _ => return None,
    };
    Some((field, content))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        },
        common::v1::any_value,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::span::{Attachments, Attributes, SpanEvent, SpanKind, SpanLink, ValueRef};

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            ".{0,200}".prop_map(|text| Value::Str(text.into())),
            any::<i64>().prop_map(Value::Int),
            any::<bool>().prop_map(Value::Bool),
            any::<f64>().prop_filter("comparable", |n| !n.is_nan()).prop_map(Value::Double),
            proptest::collection::vec(".{0,20}", 0..4).prop_map(Value::Strings),
        ]
    }

    fn spans() -> impl Strategy<Value = Span> {
        let attributes =
            || proptest::collection::vec(("[a-z.]{1,30}".prop_map(crate::span::Text::Owned), values()), 0..6);
        (
            any::<[u8; 16]>(),
            any::<[u8; 8]>(),
            any::<Option<[u8; 8]>>(),
            any::<u32>(),
            ".{0,40}",
            any::<(u64, u64)>(),
            attributes(),
            any::<Option<String>>(),
            attributes(),
        )
            .prop_map(
                |(
                    trace_id,
                    span_id,
                    parent_span_id,
                    flags,
                    name,
                    (start, end),
                    attributes,
                    error,
                    resource,
                )| Span {
                    resource: Arc::new(Resource {
                        service_name: "s".to_owned(),
                        pid: 1,
                        attributes: resource,
                    }),
                    trace_id,
                    span_id,
                    parent_span_id,
                    flags,
                    trace_state: name.clone(),
                    name: name.into(),
                    kind: if flags & 1 == 0 { SpanKind::Server } else { SpanKind::Client },
                    local: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
                    peer: std::net::SocketAddr::from(([127, 0, 0, 1], 51234)).into(),
                    start_unix_ns: start,
                    end_unix_ns: end,
                    attributes: Attributes::from(&attributes[..]),
                    attachments: Some(Box::new(Attachments {
                        events: attributes
                            .iter()
                            .map(|attribute| SpanEvent {
                                time_unix_ns: end,
                                name: attribute.0.clone(),
                                attributes: vec![attribute.clone()],
                            })
                            .collect(),
                        links: parent_span_id
                            .into_iter()
                            .map(|span_id| SpanLink {
                                trace_id,
                                span_id,
                                trace_state: attributes.iter().map(|(key, _)| key.to_string()).collect(),
                                flags: flags.rotate_left(8),
                            })
                            .collect(),
                    })),
                    status: error.map_or(Status::Unset, Status::Error),
                },
            )
    }

    fn same(ours: &Attributes, theirs: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> bool {
        ours.iter().count() == theirs.len()
            && ours.iter().zip(theirs).all(|((key, value), other)| {
                let theirs = other.value.as_ref().and_then(|any| any.value.as_ref());
                *key == *other.key
                    && match (value, theirs) {
                        (ValueRef::Str(a), Some(any_value::Value::StringValue(b))) => a == b,
                        (ValueRef::Int(a), Some(any_value::Value::IntValue(b))) => a == *b,
                        (ValueRef::Bool(a), Some(any_value::Value::BoolValue(b))) => a == *b,
                        (ValueRef::Double(a), Some(any_value::Value::DoubleValue(b))) => a == *b,
                        (ValueRef::Strings(a), Some(any_value::Value::ArrayValue(b))) => {
                            let texts = b.values.iter().map(|any| match &any.value {
                                Some(any_value::Value::StringValue(text)) => text.as_str(),
                                _ => "not a text",
                            });
                            a.iter().eq(texts)
                        }
                        _ => false,
                    }
            })
    }

    proptest! {
        #[test]
        fn the_protobuf_library_reads_what_is_written(list in proptest::collection::vec(spans(), 1..4)) {
            let encoded: Vec<Arc<[u8]>> = list.iter().map(span).collect();
            let groups: Vec<_> =
                list.iter().zip(&encoded).map(|(span, bytes)| (span.resource.as_ref(), vec![&bytes[..]])).collect();
            let read = ExportTraceServiceRequest::decode(&request(&groups)[..]).expect("valid protobuf");
            prop_assert_eq!(read.resource_spans.len(), list.len());
            for (ours, group) in list.iter().zip(&read.resource_spans) {
                prop_assert!(same(&ours.resource.attributes[..].into(), &group.resource.as_ref().expect("there").attributes));
                prop_assert_eq!(&group.schema_url, SCHEMA_URL);
                let scope = &group.scope_spans[0];
                prop_assert_eq!(&scope.schema_url, SCHEMA_URL);
                prop_assert_eq!(&scope.scope.as_ref().expect("there").name, SCOPE_NAME);
                let theirs = &scope.spans[0];
                prop_assert_eq!(&theirs.trace_id[..], &ours.trace_id[..]);
                prop_assert_eq!(&theirs.span_id[..], &ours.span_id[..]);
                prop_assert_eq!(&theirs.parent_span_id[..], ours.parent_span_id.as_ref().map_or(&[][..], |id| &id[..]));
                prop_assert_eq!(&theirs.trace_state, &ours.trace_state);
                prop_assert_eq!(theirs.name.as_str(), ours.name.as_ref());
                prop_assert_eq!(theirs.kind, ours.kind as i32);
                prop_assert_eq!((theirs.start_time_unix_nano, theirs.end_time_unix_nano), (ours.start_unix_ns, ours.end_unix_ns));
                prop_assert_eq!(theirs.flags, ours.flags);
                prop_assert!(same(&ours.attributes, &theirs.attributes));
                prop_assert_eq!(theirs.events.len(), ours.events().len());
                for (ours, theirs) in ours.events().iter().zip(&theirs.events) {
                    prop_assert_eq!(ours.time_unix_ns, theirs.time_unix_nano);
                    prop_assert_eq!(&*ours.name, theirs.name.as_str());
                    prop_assert!(same(&ours.attributes[..].into(), &theirs.attributes));
                }
                prop_assert_eq!(theirs.links.len(), ours.links().len());
                for (ours, theirs) in ours.links().iter().zip(&theirs.links) {
                    prop_assert_eq!(&theirs.trace_id[..], &ours.trace_id[..]);
                    prop_assert_eq!(&theirs.span_id[..], &ours.span_id[..]);
                    prop_assert_eq!((&theirs.trace_state, theirs.flags), (&ours.trace_state, ours.flags));
                }
                match (&ours.status, &theirs.status) {
                    (Status::Unset, None) => {}
                    (Status::Error(text), Some(status)) => prop_assert_eq!((text, 2), (&status.message, status.code)),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        #[test]
        fn garbage_is_no_panic(bytes: Vec<u8>) {
            let _ = partial_success(&bytes);
        }
    }

    #[test]
    fn refused_spans_are_read() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "full".to_owned() };
        let response = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(partial_success(&response), Some((3, "full".to_owned())));
        assert_eq!(partial_success(&[]), None);
    }
}
