//! Spans for tests.

use std::sync::Arc;

use tracer_model::span::{Kind, Resource, Scope, Span, SpanId, StatusCode, TraceId, Value};

pub const START_UNIX_NS: u64 = 1_790_000_000_000_000_000;
pub const MS: u64 = 1_000_000;

pub fn text(text: &str) -> Value {
    Value::Str(text.into())
}

pub fn resource(service: &str) -> Arc<Resource> {
    let attributes = vec![("service.name".into(), text(service)), ("host.name".into(), text("node-1"))];
    Arc::new(Resource { attributes, ..Resource::default() })
}

/// A span of a millisecond that starts at so many milliseconds.
pub fn span(trace: u128, id: u64, parent: u64, service: &str, name: &str, at_ms: u64) -> Span {
    let start_unix_ns = START_UNIX_NS + at_ms * MS;
    Span {
        trace_id: TraceId(trace.to_be_bytes()),
        span_id: SpanId(id.to_be_bytes()),
        parent_span_id: (parent != 0).then(|| SpanId(parent.to_be_bytes())),
        trace_state: "".into(),
        flags: 1,
        name: name.into(),
        kind: Kind::Server,
        start_unix_ns,
        end_unix_ns: start_unix_ns + MS,
        attributes: Vec::new(),
        dropped_attributes: 0,
        events: Vec::new(),
        dropped_events: 0,
        links: Vec::new(),
        dropped_links: 0,
        status: StatusCode::Unset,
        status_message: "".into(),
        resource: resource(service),
        scope: Arc::new(Scope { name: "test".into(), ..Scope::default() }),
    }
}
