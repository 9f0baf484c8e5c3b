//! An object per exchange, for programs. The fields are documented in `docs/output.md`; they are only
//! ever added to.

use serde_json::{Map, Value as Json, json};

use super::escape::hex;
use crate::{
    exchange::ConnectionFacts,
    span::{Span, Status, ValueRef},
};

pub(super) fn line(out: &mut Vec<u8>, span: &Span, facts: &ConnectionFacts) {
    let attributes: Map<String, Json> =
        span.attributes.iter().map(|(key, value)| (key.to_owned(), value_of(value))).collect();
    let object = json!({
        "service": span.resource.service_name,
        "pid": span.resource.pid,
        "direction": if span.kind.is_incoming() { "in" } else { "out" },
        "name": span.name,
        "trace_id": hex(&span.trace_id),
        "span_id": hex(&span.span_id),
        "parent_span_id": span.parent_span_id.map(|id| hex(&id)),
        "flags": span.flags,
        "trace_state": span.trace_state,
        "start_unix_ns": span.start_unix_ns,
        "end_unix_ns": span.end_unix_ns,
        "duration_ns": span.end_unix_ns - span.start_unix_ns,
        "error": matches!(span.status, Status::Error(_)),
        "local": facts.local.to_string(),
        "peer": facts.remote.to_string(),
        "attributes": attributes,
    });
    out.extend(object.to_string().into_bytes());
    out.push(b'\n');
}

fn value_of(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Str(text) => json!(text),
        ValueRef::Int(number) => json!(number),
        ValueRef::Bool(truth) => json!(truth),
        ValueRef::Double(number) => json!(number),
        ValueRef::Strings(list) => json!(list.iter().collect::<Vec<_>>()),
    }
}
