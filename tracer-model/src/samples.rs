//! Spans for tests: a plain one to be changed, and any at all.

use std::sync::Arc;

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_oneof,
};

use crate::span::{Attribute, Event, Kind, Link, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value};

/// A resource of a service.
pub(crate) fn resource(service: &str) -> Arc<Resource> {
    let attributes = vec![("service.name".into(), Value::Str(service.into()))];
    Arc::new(Resource { attributes, ..Resource::default() })
}

/// Attributes that are texts.
pub(crate) fn texts(pairs: &[(&str, &str)]) -> Vec<Attribute> {
    pairs.iter().map(|(key, value)| ((*key).into(), Value::Str((*value).into()))).collect()
}

/// An internal span of trace 1 without a parent, from one moment to another.
pub(crate) fn span(id: u64, start_unix_ns: u64, end_unix_ns: u64) -> Span {
    Span {
        trace_id: TraceId(1_u128.to_be_bytes()),
        span_id: SpanId(id.to_be_bytes()),
        parent_span_id: None,
        trace_state: "".into(),
        flags: 0,
        name: format!("span {id}").into(),
        kind: Kind::Internal,
        start_unix_ns,
        end_unix_ns,
        attributes: Vec::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        links: Vec::new(),
        dropped_links: 0,
        status: StatusCode::Unset,
        status_message: "".into(),
        resource: Arc::default(),
        scope: Arc::default(),
    }
}

/// The same below a parent.
pub(crate) fn child(id: u64, parent: u64, start_unix_ns: u64, end_unix_ns: u64) -> Span {
    Span { parent_span_id: Some(SpanId(parent.to_be_bytes())), ..span(id, start_unix_ns, end_unix_ns) }
}

/// Any spans that OTLP can say, each with an id of its own; a few resources and scopes, shared and equal ones.
pub(crate) fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    (vec(any_resource(), 1..4), vec(any_scope(), 1..4)).prop_flat_map(|(resources, scopes)| {
        let one = (any_span(), 0..resources.len(), 0..scopes.len());
        vec(one, 0..6).prop_map(move |spans| {
            let mut id = 0_u64;
            let spans = spans.into_iter().map(|(span, resource, scope)| {
                id += 1;
                // Every second one has a copy of its own.
                let resource = match id % 2 {
                    0 => Arc::clone(&resources[resource]),
                    _ => Arc::new((*resources[resource]).clone()),
                };
                Span {
                    span_id: SpanId(id.to_be_bytes()),
                    resource,
                    scope: Arc::clone(&scopes[scope]),
                    ..span
                }
            });
            spans.collect()
        })
    })
}

fn any_text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        "[a-z.]{0,12}".prop_map(Arc::from),
        "\\PC{0,20}".prop_map(Arc::from),
        vec(any::<char>(), 0..8).prop_map(|text| Arc::from(String::from_iter(text))),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any_text().prop_map(Value::Str),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        // NaN is not equal to itself.
        any::<f64>().prop_filter("a number", |number| !number.is_nan()).prop_map(Value::Double),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
        proptest::strategy::Just(Value::Empty),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((any_text(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

fn any_attributes() -> impl Strategy<Value = Vec<Attribute>> {
    vec((any_text(), any_value()), 0..4)
}

fn any_resource() -> impl Strategy<Value = Arc<Resource>> {
    (any_attributes(), any::<u32>(), any_text()).prop_map(|(attributes, dropped_attributes, schema_url)| {
        Arc::new(Resource { attributes, dropped_attributes, schema_url })
    })
}

fn any_scope() -> impl Strategy<Value = Arc<Scope>> {
    (any_text(), any_text(), any_attributes(), any::<u32>(), any_text()).prop_map(
        |(name, version, attributes, dropped_attributes, schema_url)| {
            Arc::new(Scope { name, version, attributes, dropped_attributes, schema_url })
        },
    )
}

fn any_trace_id() -> impl Strategy<Value = TraceId> {
    (1..=u128::MAX).prop_map(|id| TraceId(id.to_be_bytes()))
}

fn any_span_id() -> impl Strategy<Value = SpanId> {
    (1..=u64::MAX).prop_map(|id| SpanId(id.to_be_bytes()))
}

fn any_event() -> impl Strategy<Value = Event> {
    (any::<u64>(), any_text(), any_attributes(), any::<u32>()).prop_map(
        |(time_unix_ns, name, attributes, dropped_attributes)| Event {
            time_unix_ns,
            name,
            attributes,
            dropped_attributes,
        },
    )
}

fn any_link() -> impl Strategy<Value = Link> {
    (any_trace_id(), any_span_id(), any_text(), any_attributes(), any::<u32>(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes,
            flags,
        },
    )
}

fn any_span() -> impl Strategy<Value = Span> {
    let ids = (any_trace_id(), proptest::option::of(any_span_id()));
    let times = (any::<u64>(), any::<u64>());
    let texts = (any_text(), any_text(), any_text());
    let lists = (any_attributes(), vec(any_event(), 0..3), vec(any_link(), 0..3));
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (ids, times, texts, lists, counts, 0..6_i64, 0..3_i64).prop_map(
        |(ids, times, texts, lists, counts, kind, status)| Span {
            trace_id: ids.0,
            parent_span_id: ids.1,
            start_unix_ns: times.0,
            end_unix_ns: times.1,
            name: texts.0,
            trace_state: texts.1,
            status_message: texts.2,
            attributes: lists.0,
            events: lists.1,
            links: lists.2,
            flags: counts.0,
            dropped_attributes: counts.1,
            dropped_events: counts.2,
            dropped_links: counts.3,
            kind: Kind::from_number(kind),
            status: StatusCode::from_number(status),
            ..span(1, 0, 0)
        },
    )
}
