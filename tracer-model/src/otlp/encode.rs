//! Spans to OTLP in protobuf.

use super::{Group, wire::Writer};
use crate::{
    distinct::Distinct,
    span::{Attribute, Event, Link, Resource, Scope, Span, StatusCode, Value},
};

/// Encodes spans as an `ExportTraceServiceRequest`. Spans of one resource and scope stand together; among them, and among
/// the groups, the order is that of the spans.
pub fn encode_protobuf(spans: &[Span]) -> Vec<u8> {
    let mut writer = Writer::default();
    for group in groups(spans) {
        writer.message(1, |writer| {
            writer.message(1, |writer| resource(writer, group.resource));
            for (scope, spans) in group.scopes {
                writer.message(2, |writer| {
                    writer.message(1, |writer| write_scope(writer, scope));
                    for each in spans {
                        writer.message(2, |writer| span(writer, each));
                    }
                    writer.text(3, &scope.schema_url);
                });
            }
            writer.text(3, &group.resource.schema_url);
        });
    }
    writer.bytes
}

fn resource(writer: &mut Writer, resource: &Resource) {
    attributes(writer, 1, &resource.attributes);
    writer.count(2, resource.dropped_attributes);
}

fn write_scope(writer: &mut Writer, scope: &Scope) {
    writer.text(1, &scope.name);
    writer.text(2, &scope.version);
    attributes(writer, 3, &scope.attributes);
    writer.count(4, scope.dropped_attributes);
}

fn span(writer: &mut Writer, span: &Span) {
    writer.bytes(1, &span.trace_id.0);
    writer.bytes(2, &span.span_id.0);
    writer.text(3, &span.trace_state);
    if let Some(parent) = span.parent_span_id {
        writer.bytes(4, &parent.0);
    }
    writer.text(5, &span.name);
    writer.count(6, span.kind as u32);
    writer.fixed64(7, span.start_unix_ns);
    writer.fixed64(8, span.end_unix_ns);
    attributes(writer, 9, &span.attributes);
    writer.count(10, span.dropped_attributes);
    for each in &span.events {
        writer.message(11, |writer| event(writer, each));
    }
    writer.count(12, span.dropped_events);
    for each in &span.links {
        writer.message(13, |writer| link(writer, each));
    }
    writer.count(14, span.dropped_links);
    if span.status != StatusCode::Unset || !span.status_message.is_empty() {
        writer.message(15, |writer| {
            writer.text(2, &span.status_message);
            writer.count(3, span.status as u32);
        });
    }
    writer.fixed32(16, span.flags);
}

fn event(writer: &mut Writer, event: &Event) {
    writer.fixed64(1, event.time_unix_ns);
    writer.text(2, &event.name);
    attributes(writer, 3, &event.attributes);
    writer.count(4, event.dropped_attributes);
}

fn link(writer: &mut Writer, link: &Link) {
    writer.bytes(1, &link.trace_id.0);
    writer.bytes(2, &link.span_id.0);
    writer.text(3, &link.trace_state);
    attributes(writer, 4, &link.attributes);
    writer.count(5, link.dropped_attributes);
    writer.fixed32(6, link.flags);
}

fn attributes(writer: &mut Writer, number: u32, attributes: &[Attribute]) {
    for (key, each) in attributes {
        writer.message(number, |writer| {
            writer.text(1, key);
            writer.message(2, |writer| value(writer, each));
        });
    }
}

/// Members of a `oneof` are written also if they are empty: that tells which it is.
fn value(writer: &mut Writer, each: &Value) {
    match each {
        Value::Str(text) => writer.bytes(1, text.as_bytes()),
        Value::Bool(truth) => writer.varint(2, u64::from(*truth)),
        Value::Int(number) => writer.varint(3, *number as u64),
        Value::Double(number) => writer.fixed64(4, number.to_bits()),
        Value::Array(values) => writer.message(5, |writer| {
            for each in values {
                writer.message(1, |writer| value(writer, each));
            }
        }),
        Value::Map(values) => writer.message(6, |writer| attributes(writer, 1, values)),
        Value::Bytes(bytes) => writer.bytes(7, bytes),
        Value::Empty => {}
    }
}

/// Spans by resource and scope, in the order in which these first appear.
pub(super) fn groups(spans: &[Span]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut resources = Distinct::default();
    let mut scopes: Vec<Distinct<'_, Scope>> = Vec::new();
    for span in spans {
        let at = resources.place(&span.resource);
        if at == groups.len() {
            groups.push(Group { resource: &span.resource, scopes: Vec::new() });
            scopes.push(Distinct::default());
        }
        let group = &mut groups[at].scopes;
        let at = scopes[at].place(&span.scope);
        if at == group.len() {
            group.push((&span.scope, Vec::new()));
        }
        group[at].1.push(span);
    }
    groups
}
