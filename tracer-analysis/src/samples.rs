//! Traces for tests, written by hand.

use std::{ops::Range, sync::Arc};

use tracer_model::{
    facts::Gathered,
    span::{Attribute, Kind, Resource, Span, SpanId, StatusCode, TraceId, Value},
};

use crate::corpus::Corpus;

/// A span of a trace that a test writes. Times are nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    span: Span,
    resource: Vec<Attribute>,
}

impl Sketch {
    pub(crate) fn new(service: &str, name: &str, kind: Kind, ids: (u64, u64), time: Range<u64>) -> Self {
        let span = Span {
            trace_id: TraceId(1_u128.to_be_bytes()),
            span_id: SpanId(ids.0.to_be_bytes()),
            parent_span_id: (ids.1 != 0).then(|| SpanId(ids.1.to_be_bytes())),
            trace_state: "".into(),
            flags: 0,
            name: name.into(),
            kind,
            start_unix_ns: time.start,
            end_unix_ns: time.end,
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
        };
        Self { span, resource: vec![("service.name".into(), Value::Str(service.into()))] }
            .resource("host.name", "host")
    }

    /// A request that was served; the ids are its own and its parent's, 0 for a root.
    pub(crate) fn server(service: &str, name: &str, id: u64, parent: u64, time: Range<u64>) -> Self {
        Self::new(service, name, Kind::Server, (id, parent), time)
    }

    /// A request that was made.
    pub(crate) fn client(service: &str, name: &str, id: u64, parent: u64, time: Range<u64>) -> Self {
        Self::new(service, name, Kind::Client, (id, parent), time)
    }

    /// Work inside of a service.
    pub(crate) fn internal(service: &str, name: &str, id: u64, parent: u64, time: Range<u64>) -> Self {
        Self::new(service, name, Kind::Internal, (id, parent), time)
    }

    /// With an error of this type.
    pub(crate) fn error(mut self, error_type: &str) -> Self {
        self.span.status = StatusCode::Error;
        self.with("error.type", Value::Str(error_type.into()))
    }

    /// With an attribute.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.span.attributes.push((key.into(), value));
        self
    }

    /// On a host of this name.
    pub(crate) fn on(self, host: &str) -> Self {
        self.resource("host.name", host)
    }

    /// With an attribute of its resource.
    pub(crate) fn resource(mut self, key: &str, value: &str) -> Self {
        self.resource.retain(|(name, _)| **name != *key);
        self.resource.push((key.into(), Value::Str(value.into())));
        self
    }

    /// The span, of a trace.
    pub(crate) fn span(&self, trace: u128) -> Span {
        let resource = Arc::new(Resource { attributes: self.resource.clone(), ..Resource::default() });
        Span { trace_id: TraceId(trace.to_be_bytes()), resource, ..self.span.clone() }
    }
}

/// A corpus of traces; the first has id 1, the next 2.
pub(crate) fn corpus(traces: &[&[Sketch]]) -> Corpus {
    let mut gathered = Gathered::default();
    for (place, trace) in traces.iter().enumerate() {
        let spans: Vec<Span> = trace.iter().map(|sketch| sketch.span(place as u128 + 1)).collect();
        gathered.add(&spans);
    }
    gathered.into()
}
