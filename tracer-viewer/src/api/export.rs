//! One trace as a file.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use tracer_model::{
    answer::ApiError,
    jaeger::{Answer, trace_of},
    otlp,
    span::Span,
};

use super::{
    extract::{Parameters, TraceSegment},
    parameters::{ExportFormat, ExportParameters},
    trace::{laid_out, missing},
};
use crate::{pages::export_page, problem::Problem, shared::Shared};

/// One trace as a file.
#[utoipa::path(get, path = "/api/tracer/traces/{trace_id}/export", tag = "traces",
    params(("trace_id" = String, Path, description = "Id of the trace: up to 32 hexadecimal digits"), ExportParameters),
    responses(
    (status = 200, description = "The file", content_type = "application/json", body = String),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 404, description = "The store has no such trace", body = ApiError),
    (status = 501, description = "This program was built without the page", body = ApiError),
))]
pub(crate) async fn export(
    State(shared): State<Arc<Shared>>,
    TraceSegment(trace_id): TraceSegment,
    Parameters(asked): Parameters<ExportParameters>,
) -> Result<Response, Problem> {
    let most = shared.settings.limits.trace_spans;
    let text = shared.large(move |store, _| {
        let spans = || store.trace(trace_id, usize::MAX).ok_or_else(missing);
        match asked.format {
            ExportFormat::OtlpJson => Ok(otlp::encode_json(&spans()?)),
            ExportFormat::JaegerJson => Ok(jaeger_json(&spans()?)),
            ExportFormat::Html => {
                let trace = laid_out(store, trace_id, most).ok_or_else(missing)?;
                export_page(&trace).ok_or_else(no_page)
            }
        }
    });
    let text = text.await??;
    let (kind, ending) = match asked.format {
        ExportFormat::Html => ("text/html; charset=utf-8", "html"),
        ExportFormat::OtlpJson => ("application/json", "otlp.json"),
        ExportFormat::JaegerJson => ("application/json", "jaeger.json"),
    };
    let disposition = format!("attachment; filename=\"trace-{}.{ending}\"", trace_id.hex());
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, shared.room.body(text)?).into_response())
}

/// What Jaeger answers for the trace: its UI opens such a file.
fn jaeger_json(spans: &[Span]) -> String {
    // Keys are text, and numbers that JSON has not are written as text: there is nothing that cannot be written.
    serde_json::to_string(&Answer::of(vec![trace_of(spans)])).unwrap_or_default()
}

fn no_page() -> Problem {
    let message = "this program was built without its pages, so it has no page to put the trace into: build it by \
                   `cargo xtask build`, or export format=otlp-json";
    Problem::new(StatusCode::NOT_IMPLEMENTED, message)
}
