//! One trace, laid out.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use tracer_model::{
    answer::{ApiError, SpanKind, TraceAnswer},
    layout::{Options, lay_out},
    span::{Kind, TraceId},
};
use tracer_store::Store;

use super::extract::TraceSegment;
use crate::{large::Writer, problem::Problem, shared::Shared};

/// Text of all attributes of a trace in an answer. The page holds it in memory.
const MAX_ATTRIBUTE_BYTES: usize = 32 << 20;

/// One trace, laid out to be drawn.
#[utoipa::path(get, path = "/api/tracer/traces/{trace_id}", tag = "traces",
    params(("trace_id" = String, Path, description = "Id of the trace: up to 32 hexadecimal digits")), responses(
    (status = 200, description = "The trace", body = TraceAnswer),
    (status = 400, description = "This is no id of a trace", body = ApiError),
    (status = 404, description = "The store has no such trace", body = ApiError),
    (status = 503, description = "Too many large answers at once; ask again later", body = ApiError),
))]
pub(crate) async fn trace(
    State(shared): State<Arc<Shared>>,
    TraceSegment(trace_id): TraceSegment,
) -> Result<Response, Problem> {
    let most = shared.settings.limits.trace_spans;
    let body = shared.of_trace(trace_id, "page", move |store, room| {
        let trace = laid_out(store, trace_id, most);
        // Writing tens of thousands of spans takes a while, too.
        trace.map(|trace| Writer::json(room, &trace)).transpose()
    });
    let body = body.await?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The layout of a trace, with what the store knows of its operations and links. None if the store has no such trace.
pub(super) fn laid_out(store: &Store, trace_id: TraceId, max_spans: usize) -> Option<TraceAnswer> {
    let spans = store.trace(trace_id, usize::MAX)?;
    let options = Options {
        max_spans,
        max_attribute_bytes: MAX_ATTRIBUTE_BYTES,
        percentile: &|service, name, kind, duration_ns| store.rank(service, name, kind_of(kind), duration_ns),
        is_stored: &|trace_id| store.trace_spans(trace_id) > 0,
        ..Options::default()
    };
    Some(lay_out(spans, &options))
}

pub(super) fn missing() -> Problem {
    Problem::missing("the store has no such trace: it never came, or was let go for want of space")
}

fn kind_of(kind: SpanKind) -> Kind {
    match kind {
        SpanKind::Unspecified => Kind::Unspecified,
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
        SpanKind::Client => Kind::Client,
        SpanKind::Producer => Kind::Producer,
        SpanKind::Consumer => Kind::Consumer,
    }
}
