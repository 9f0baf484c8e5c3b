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
};

use super::{
    extract::{Parameters, TraceSegment},
    parameters::{ExportFormat, ExportParameters},
    trace::{laid_out, missing},
};
use crate::{large::Writer, otlp_json, pages::ExportPage as Page, problem::Problem, shared::Shared};

/// One trace as a file.
#[utoipa::path(get, path = "/api/tracer/traces/{trace_id}/export", tag = "traces",
    params(("trace_id" = String, Path, description = "Id of the trace: up to 32 hexadecimal digits"), ExportParameters),
    responses(
    (status = 200, description = "The file", content_type = "application/json", body = String),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 404, description = "The store has no such trace", body = ApiError),
    (status = 503, description = "Too many large answers at once; ask again later", body = ApiError),
    (status = 501, description = "This program was built without the page", body = ApiError),
))]
pub(crate) async fn export(
    State(shared): State<Arc<Shared>>,
    TraceSegment(trace_id): TraceSegment,
    Parameters(asked): Parameters<ExportParameters>,
) -> Result<Response, Problem> {
    let most = shared.settings.limits.trace_spans;
    let form = match asked.format {
        ExportFormat::OtlpJson => "otlp-json",
        ExportFormat::JaegerJson => "jaeger-json",
        ExportFormat::Html => "html",
    };
    let body = shared.of_trace(trace_id, form, move |store, room| {
        let spans = || store.trace(trace_id, usize::MAX);
        let made = match asked.format {
            ExportFormat::OtlpJson => {
                spans().map(|spans| Writer::filled(room, |writer| otlp_json::write(writer, spans)))
            }
            ExportFormat::JaegerJson => {
                let converted = spans().map(|spans| trace_of(&spans));
                converted.map(|trace| Writer::json(room, &Answer::of(vec![trace])))
            }
            ExportFormat::Html => {
                let page = Page::new().ok_or_else(no_page)?;
                let trace = laid_out(store, trace_id, most);
                trace.map(|trace| Writer::filled(room, |writer| page.write(&trace, writer)))
            }
        };
        made.transpose()
    });
    let body = body.await?.ok_or_else(missing)?;
    let (kind, ending) = match asked.format {
        ExportFormat::Html => ("text/html; charset=utf-8", "html"),
        ExportFormat::OtlpJson => ("application/json", "otlp.json"),
        ExportFormat::JaegerJson => ("application/json", "jaeger.json"),
    };
    let disposition = format!("attachment; filename=\"trace-{}.{ending}\"", trace_id.hex());
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, body).into_response())
}

fn no_page() -> Problem {
    let message = "this program was built without its pages, so it has no page to put the trace into: build it by \
                   `cargo xtask build`, or export format=otlp-json";
    Problem::new(StatusCode::NOT_IMPLEMENTED, message)
}
