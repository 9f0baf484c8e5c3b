//! A span of the agent as the store takes it.

use std::{collections::HashMap, sync::Arc};

use tracer_model::span as model;

use crate::span::{KeyValue, Resource, SCHEMA_URL, SCOPE_NAME, Span, SpanKind, Status, Value, ValueRef};

/// Texts that are kept to be shared between spans.
const TEXTS: usize = 4_096;
/// A longer text is not shared: it hardly comes twice.
const LONGEST: usize = 128;
/// Resources that are kept.
const RESOURCES: usize = 1_024;

/// Makes the store's spans; what many of them share is made once.
#[derive(Default)]
pub(super) struct Converter {
    texts: HashMap<Box<str>, Arc<str>>,
    /// By the address of the agent's resource, which is kept so that no other one gets it.
    resources: HashMap<usize, (Arc<Resource>, Arc<model::Resource>)>,
    scope: Option<Arc<model::Scope>>,
}

impl Converter {
    /// The span as the store takes it.
    pub(super) fn span(&mut self, span: &Span) -> model::Span {
        let attributes =
            span.attributes.iter().map(|(key, value)| (self.text(key), self.value(value))).collect();
        let events = span.events().iter().map(|event| model::Event {
            time_unix_ns: event.time_unix_ns,
            name: self.text(&event.name),
            attributes: self.list(&event.attributes),
            dropped_attributes: 0,
        });
        let events = events.collect();
        let links = span.links().iter().map(|link| model::Link {
            trace_id: model::TraceId(link.trace_id),
            span_id: model::SpanId(link.span_id),
            trace_state: link.trace_state.as_str().into(),
            attributes: Vec::new(),
            dropped_attributes: 0,
            flags: link.flags,
        });
        let links = links.collect();
        let (status, status_message) = match &span.status {
            Status::Unset => (model::StatusCode::Unset, self.text("")),
            Status::Error(message) => (model::StatusCode::Error, self.text(message)),
        };
        model::Span {
            trace_id: model::TraceId(span.trace_id),
            span_id: model::SpanId(span.span_id),
            parent_span_id: span.parent_span_id.map(model::SpanId),
            trace_state: self.text(&span.trace_state),
            flags: span.flags,
            name: self.text(&span.name),
            kind: match span.kind {
                SpanKind::Internal => model::Kind::Internal,
                SpanKind::Server => model::Kind::Server,
                SpanKind::Client => model::Kind::Client,
                SpanKind::Producer => model::Kind::Producer,
                SpanKind::Consumer => model::Kind::Consumer,
            },
            start_unix_ns: span.start_unix_ns,
            end_unix_ns: span.end_unix_ns,
            attributes,
            dropped_attributes: 0,
            events,
            dropped_events: 0,
            links,
            dropped_links: 0,
            status,
            status_message,
            resource: self.resource(&span.resource),
            scope: self.scope(),
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let made: Arc<str> = text.into();
        if text.len() <= LONGEST {
            if self.texts.len() >= TEXTS {
                self.texts.clear();
            }
            self.texts.insert(text.into(), Arc::clone(&made));
        }
        made
    }

    fn value(&mut self, value: ValueRef<'_>) -> model::Value {
        match value {
            ValueRef::Str(text) => model::Value::Str(self.text(text)),
            ValueRef::Int(number) => model::Value::Int(number),
            ValueRef::Bool(truth) => model::Value::Bool(truth),
            ValueRef::Double(number) => model::Value::Double(number),
            ValueRef::Strings(texts) => {
                model::Value::Array(texts.iter().map(|text| model::Value::Str(self.text(text))).collect())
            }
        }
    }

    fn list(&mut self, attributes: &[KeyValue]) -> Vec<model::Attribute> {
        let value = |this: &mut Self, value: &Value| match value {
            Value::Str(text) => model::Value::Str(this.text(text)),
            Value::Int(number) => model::Value::Int(*number),
            Value::Bool(truth) => model::Value::Bool(*truth),
            Value::Double(number) => model::Value::Double(*number),
            Value::Strings(texts) => {
                model::Value::Array(texts.iter().map(|text| model::Value::Str(this.text(text))).collect())
            }
        };
        attributes.iter().map(|(key, it)| (self.text(key), value(self, it))).collect()
    }

    fn resource(&mut self, resource: &Arc<Resource>) -> Arc<model::Resource> {
        let address = Arc::as_ptr(resource) as usize;
        if let Some((_, made)) = self.resources.get(&address) {
            return Arc::clone(made);
        }
        let made = Arc::new(model::Resource {
            attributes: self.list(&resource.attributes),
            dropped_attributes: 0,
            schema_url: SCHEMA_URL.into(),
        });
        if self.resources.len() >= RESOURCES {
            self.resources.clear();
        }
        self.resources.insert(address, (Arc::clone(resource), Arc::clone(&made)));
        made
    }

    fn scope(&mut self) -> Arc<model::Scope> {
        let make = || {
            Arc::new(model::Scope {
                name: SCOPE_NAME.into(),
                version: env!("CARGO_PKG_VERSION").into(),
                schema_url: SCHEMA_URL.into(),
                ..model::Scope::default()
            })
        };
        Arc::clone(self.scope.get_or_insert_with(make))
    }
}
