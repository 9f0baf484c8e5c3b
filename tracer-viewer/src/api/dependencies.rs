//! Dependencies, and the same for other tools.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tracer_analysis::{
    corpus::Corpus,
    dependency::{
        self, DependenciesAnswer,
        export::{dot, mermaid},
        graph::ServiceGraph,
    },
};
use tracer_model::answer::ApiError;
use utoipa::{IntoParams, ToSchema};

use super::{
    analysis::analyzed_as,
    extract::Parameters,
    parameters::WindowParameters,
    query::{Asked, FromQuery},
    routes::write,
};
use crate::{problem::Problem, service_graph::service_graph_metrics, shared::Shared};

/// The routes.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/api/tracer/analysis/dependencies", get(dependencies))
}

/// Parameters of `GET /api/tracer/analysis/dependencies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DependenciesParameters {
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now; if the start is absent too, the latest moment of the store.
    pub end_us: Option<u64>,
    /// For which tool; `json` if absent.
    #[param(required = false)]
    pub format: DependencyFormat,
}

impl FromQuery for DependenciesParameters {
    const NAMES: &'static [&'static str] = &["start_us", "end_us", "format"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self {
            start_us: asked.moment_us("start_us")?,
            end_us: asked.moment_us("end_us")?,
            format: asked.one_of("format", &FORMATS)?.unwrap_or_default(),
        })
    }
}

/// How dependencies are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DependencyFormat {
    /// All that is known.
    #[default]
    Json,
    /// A flowchart of Mermaid.
    Mermaid,
    /// A graph of Graphviz.
    Dot,
    /// Counters and histograms of service graphs, as OpenMetrics text.
    Metrics,
}

const FORMATS: [(&str, DependencyFormat); 4] = [
    ("json", DependencyFormat::Json),
    ("mermaid", DependencyFormat::Mermaid),
    ("dot", DependencyFormat::Dot),
    ("metrics", DependencyFormat::Metrics),
];

/// Who depends on whom: calls, failures that pass through, parts of critical paths, circles and single points.
#[utoipa::path(get, path = "/api/tracer/analysis/dependencies", tag = "analysis", params(DependenciesParameters), responses(
    (status = 200, description = "Dependencies; text of another type, if another format is asked for", body = DependenciesAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn dependencies(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<DependenciesParameters>,
) -> Result<Response, Problem> {
    let window = WindowParameters { start_us: asked.start_us, end_us: asked.end_us };
    analyzed_as(shared, window, move |room, corpus| {
        let text =
            |kind: &'static str, text: String| Ok(([(header::CONTENT_TYPE, kind)], text).into_response());
        match asked.format {
            DependencyFormat::Json => write(room, &dependency::analyze(corpus)),
            DependencyFormat::Mermaid => {
                text("text/plain; charset=utf-8", mermaid(&dependency::analyze(corpus)))
            }
            DependencyFormat::Dot => {
                text("text/vnd.graphviz; charset=utf-8", dot(&dependency::analyze(corpus)))
            }
            DependencyFormat::Metrics => {
                text("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics(corpus)?)
            }
        }
    })
    .await
}

fn metrics(corpus: &Corpus) -> Result<String, Problem> {
    let mut graph = ServiceGraph::default();
    graph.add(corpus);
    service_graph_metrics(graph).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written: this is a bug")
    })
}
