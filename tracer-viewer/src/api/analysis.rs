//! Routes that answer what people trace for: `tracer_analysis` does the work.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::Response, routing::get};
use serde::Serialize;
use tracer_analysis::{
    cascade::{self, CascadeAnswer, CascadeOptions},
    corpus::Corpus,
    incident::IncidentsAnswer,
    path::{self, PathAnswer},
    report::{self, ReportAnswer},
    retry::{self, RetryAnswer, RetryOptions},
};
use tracer_model::answer::ApiError;

use super::{
    extract::Parameters,
    parameters::WindowParameters,
    routes::{count_stopped, window_of, write},
};
use crate::{problem::Problem, room::Room, shared::Shared};

/// Spans that an analysis looks at: about 100 bytes each while it runs.
pub(super) const MOST_SPANS: usize = 1_000_000;

/// The routes.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/tracer/analysis/report", get(report))
        .route("/api/tracer/analysis/path", get(path))
        .route("/api/tracer/analysis/retries", get(retries))
        .route("/api/tracer/analysis/cascades", get(cascades))
        .route("/api/tracer/analysis/incidents", get(incidents))
}

/// Analyses the traces that begin in a window; the newest, if they have too many spans.
pub(super) async fn analyzed<T: Serialize + 'static>(
    shared: Arc<Shared>,
    asked: WindowParameters,
    analyze: impl FnOnce(&Corpus) -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    analyzed_as(shared, asked, |room, corpus| write(room, &analyze(corpus)?)).await
}

/// The same, with an answer of another form.
pub(super) async fn analyzed_as(
    shared: Arc<Shared>,
    asked: WindowParameters,
    analyze: impl FnOnce(&Room, &Corpus) -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let answers = shared.clone();
    let answer = shared.large(move |store, deadline| {
        let window = window_of(store, asked.start_us, asked.end_us)?;
        let corpus = Corpus::from(store.gather(window, MOST_SPANS, Some(deadline)));
        count_stopped(&answers, corpus.incomplete.as_ref());
        analyze(&answers.room, &corpus)
    });
    answer.await?
}

/// What is wrong, and what would help.
#[utoipa::path(get, path = "/api/tracer/analysis/report", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "The report", body = ReportAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(report::report(corpus))).await
}

/// Where the time of requests goes, what would help, and failures that successes hide.
#[utoipa::path(get, path = "/api/tracer/analysis/path", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "Critical paths", body = PathAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn path(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(path::analyze(corpus, None))).await
}

/// Attempts for each call, who multiplies calls layer by layer, and storms of retries.
#[utoipa::path(get, path = "/api/tracer/analysis/retries", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "Retries", body = RetryAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn retries(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(retry::analyze(corpus, &RetryOptions::default()))).await
}

/// How faults went through the services: origins and the wave, timeouts, wasted work, saturation.
#[utoipa::path(get, path = "/api/tracer/analysis/cascades", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "Cascades", body = CascadeAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn cascades(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(cascade::analyze(corpus, &CascadeOptions::default()))).await
}

/// What was found in what comes in, since the viewer runs.
#[utoipa::path(get, path = "/api/tracer/analysis/incidents", tag = "analysis", responses(
    (status = 200, description = "Incidents, and whether they are looked for", body = IncidentsAnswer),
))]
pub(crate) async fn incidents(State(shared): State<Arc<Shared>>) -> Json<IncidentsAnswer> {
    Json(shared.watcher.answer())
}
