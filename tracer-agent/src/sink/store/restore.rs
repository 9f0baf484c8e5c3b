//! A span of the store as the agent draws it: the way back of `convert.rs`.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tracer_model::span as model;

use crate::{
    endpoint::Endpoint,
    span::{
        Attachments, Attributes, KeyValue, Resource, Span, SpanEvent, SpanKind, SpanLink, Status, Text,
        Value, semconv,
    },
};

/// The agent's spans of spans of any source. What the agent's do not have is told as they tell it: values that are no
/// text, number, truth or list of texts become text, work of a kind that is not said is internal, and a status that is
/// fine says nothing. The store has no ends of connections: `peer` is what the attributes tell, `local` is unspecified.
pub fn restore(spans: &[model::Span]) -> Vec<Span> {
    let mut resources = HashMap::new();
    spans.iter().map(|span| restored(span, &mut resources)).collect()
}

/// By the address of the store's resource, which the spans keep.
type Resources = HashMap<*const model::Resource, Arc<Resource>>;

fn restored(span: &model::Span, resources: &mut Resources) -> Span {
    let resource =
        resources.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| Arc::new(resource(&span.resource)));
    Span {
        resource: Arc::clone(resource),
        trace_id: span.trace_id.0,
        span_id: span.span_id.0,
        parent_span_id: span.parent_span_id.map(|id| id.0),
        flags: span.flags,
        trace_state: span.trace_state.to_string(),
        name: (&span.name).into(),
        kind: match span.kind {
            model::Kind::Unspecified | model::Kind::Internal => SpanKind::Internal,
            model::Kind::Server => SpanKind::Server,
            model::Kind::Client => SpanKind::Client,
            model::Kind::Producer => SpanKind::Producer,
            model::Kind::Consumer => SpanKind::Consumer,
        },
        local: unspecified(),
        peer: peer(span).unwrap_or_else(unspecified),
        start_unix_ns: span.start_unix_ns,
        end_unix_ns: span.end_unix_ns,
        attributes: Attributes::from(list(&span.attributes).as_slice()),
        attachments: attachments(span),
        status: match span.status {
            model::StatusCode::Unset | model::StatusCode::Ok => Status::Unset,
            model::StatusCode::Error => Status::Error(span.status_message.to_string()),
        },
    }
}

fn resource(resource: &model::Resource) -> Resource {
    let pid = match model::attribute(&resource.attributes, semconv::PROCESS_PID) {
        Some(model::Value::Int(pid)) => u32::try_from(*pid).unwrap_or(0),
        _ => 0,
    };
    Resource { service_name: resource.service_name().to_owned(), pid, attributes: list(&resource.attributes) }
}

fn attachments(span: &model::Span) -> Option<Box<Attachments>> {
    if span.events.is_empty() && span.links.is_empty() {
        return None;
    }
    let events = span.events.iter().map(|event| SpanEvent {
        time_unix_ns: event.time_unix_ns,
        name: (&event.name).into(),
        attributes: list(&event.attributes),
    });
    let links = span.links.iter().map(|link| SpanLink {
        trace_id: link.trace_id.0,
        span_id: link.span_id.0,
        trace_state: link.trace_state.to_string(),
        flags: link.flags,
    });
    Some(Box::new(Attachments { events: events.collect(), links: links.collect() }))
}

fn list(attributes: &[model::Attribute]) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| (key.into(), restored_value(value))).collect()
}

fn restored_value(value: &model::Value) -> Value {
    match value {
        model::Value::Str(text) => Value::Str(text.into()),
        model::Value::Int(number) => Value::Int(*number),
        model::Value::Bool(truth) => Value::Bool(*truth),
        model::Value::Double(number) => Value::Double(*number),
        model::Value::Array(values) => {
            match values.iter().map(model::Value::as_str).collect::<Option<Vec<_>>>() {
                Some(texts) => Value::Strings(texts.into_iter().map(str::to_owned).collect()),
                None => as_text(value),
            }
        }
        model::Value::Bytes(_) | model::Value::Map(_) | model::Value::Empty => as_text(value),
    }
}

fn as_text(value: &model::Value) -> Value {
    Value::Str(Text::Owned(value.to_text().into_owned()))
}

/// The other end, if attributes tell it by an IP address.
fn peer(span: &model::Span) -> Option<Endpoint> {
    let address: IpAddr = span.attribute(semconv::NETWORK_PEER_ADDRESS)?.as_str()?.parse().ok()?;
    let port = match span.attribute(semconv::NETWORK_PEER_PORT) {
        Some(model::Value::Int(port)) => u16::try_from(*port).ok()?,
        _ => 0,
    };
    Some(SocketAddr::new(address, port).into())
}

fn unspecified() -> Endpoint {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).into()
}

#[cfg(test)]
mod tests {
    use super::{super::convert::Converter, *};
    use crate::{
        correlate::Evidence,
        trace::tests::{Said, span_that},
    };

    /// All of a span but its connection, to be compared.
    fn told(span: &Span) -> String {
        let Span { resource, attributes, peer, .. } = span;
        let attributes: Vec<String> = attributes
            .iter()
            .map(|(key, value)| match value {
                crate::span::ValueRef::Strings(texts) => {
                    format!("{key}={:?}", texts.iter().collect::<Vec<_>>())
                }
                value => format!("{key}={value:?}"),
            })
            .collect();
        let unset = Span { local: unspecified(), attributes: Attributes::default(), ..span.clone() };
        format!("{unset:?} {resource:?} {attributes:?} {peer:?}")
    }

    #[test]
    fn what_was_put_into_the_store_comes_back_equal() {
        let error = Said { outcome: Err("no_response"), is_error: true, ..Said::default() };
        let mut served = span_that("shop", SpanKind::Server, 1, None, (0, 100), &Said::default());
        let attributes =
            vec![("service.name".into(), Value::Str("shop".into())), ("process.pid".into(), Value::Int(1))];
        let resource = Arc::new(Resource { service_name: "shop".to_owned(), pid: 1, attributes });
        served.resource = Arc::clone(&resource);
        served.attributes.str(semconv::NETWORK_PEER_ADDRESS, "127.0.0.1");
        served.attributes.int(semconv::NETWORK_PEER_PORT, 51_234);
        served.attributes.strings("http.request.header.accept", &["a", ""]);
        served.attributes.bool("truth", true);
        served.attributes.double("part", 0.25);
        served.trace_state = "a=b".to_owned();
        let mut called = span_that("shop", SpanKind::Client, 2, Some((1, Evidence::Unit)), (10, 50), &error);
        called.peer = unspecified();
        called.resource = resource;
        called.attachments = Some(Box::new(Attachments {
            events: vec![SpanEvent {
                time_unix_ns: 7,
                name: "connected".into(),
                attributes: vec![("n".into(), Value::Int(-1))],
            }],
            links: vec![SpanLink {
                trace_id: [2; 16],
                span_id: [3; 8],
                trace_state: String::new(),
                flags: 0x301,
            }],
        }));
        for kind in [SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal] {
            let before = Span { kind, ..served.clone() };
            let after = restore(&[Converter::default().span(&before)]);
            assert_eq!(after[0].kind, kind);
        }
        let before = [served, called];
        let mut converter = Converter::default();
        let stored: Vec<model::Span> = before.iter().map(|span| converter.span(span)).collect();
        let after = restore(&stored);
        assert_eq!(after.iter().map(told).collect::<Vec<_>>(), before.iter().map(told).collect::<Vec<_>>());
        assert_eq!(after[1].evidence(), Some(Evidence::Unit));
    }

    #[test]
    fn what_the_agent_has_no_value_for_becomes_text() {
        let mixed = model::Value::Array(vec![model::Value::Int(1), model::Value::Str("a".into())]);
        assert_eq!(restored_value(&mixed), Value::Str("[1,\"a\"]".into()));
        assert_eq!(restored_value(&model::Value::Empty), Value::Str("".into()));
        assert_eq!(restored_value(&model::Value::Bytes([1, 2].as_slice().into())), Value::Str("AQI=".into()));
    }
}
