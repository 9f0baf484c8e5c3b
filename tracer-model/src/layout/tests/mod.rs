//! Layouts of small traces, computed by hand, and what holds of each trace.

mod calls;
mod describe;
mod paths;
mod properties;
mod tree;

use std::sync::Arc;

use super::*;
use crate::{
    answer::{TraceAnswer, TraceSpan, TraceSummary},
    samples::{child, resource, span},
    span::{Kind, SpanId, Value},
};

/// The layout without limits that matter.
fn laid_out(spans: &[Span]) -> TraceAnswer {
    lay_out(spans, &Options::default())
}

/// A span of the answer by its id.
fn of(answer: &TraceAnswer, id: u64) -> &TraceSpan {
    let id = SpanId(id.to_be_bytes()).hex();
    let mut found = answer.spans.iter().filter(|span| span.span_id == id);
    let span = found.next().unwrap_or_else(|| panic!("span {id} is there"));
    assert!(found.next().is_none(), "span {id} is there once");
    span
}

/// Ids and depths, in order.
fn order(answer: &TraceAnswer) -> Vec<(u64, u32)> {
    let id = |span: &TraceSpan| u64::from_str_radix(&span.span_id, 16).unwrap();
    answer.spans.iter().map(|span| (id(span), span.depth)).collect()
}

/// A span of a kind and a service.
fn called(kind: Kind, service: &str, span: Span) -> Span {
    Span { kind, resource: resource(service), ..span }
}

/// A span whose service runs on a host.
fn on_host(host: &str, span: Span) -> Span {
    let mut resource = (*span.resource).clone();
    resource.attributes.push(("host.name".into(), Value::Str(host.into())));
    Span { resource: Arc::new(resource), ..span }
}
