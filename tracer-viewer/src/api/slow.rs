//! Why some requests of an operation are slow, and which operations are worth the question.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response, routing::get};
use tracer_analysis::{
    corpus::Corpus,
    slow::{self, SlowAnswer, SlowOperationsAnswer, SlowSelection, USUAL_QUANTILE},
};
use tracer_model::{
    answer::{ApiError, SpanKind, Window},
    span::{Span, TraceId},
};
use tracer_store::Store;
use utoipa::IntoParams;

use super::{
    analysis::{MOST_SPANS, analyzed},
    extract::Parameters,
    parameters::WindowParameters,
    query::{Asked, FromQuery},
    routes::{count_stopped, window, window_of, write},
};
use crate::{problem::Problem, shared::Shared};

/// Spans whose attributes are read for one answer, and of one trace.
const MOST_READ: usize = 200_000;
const MOST_OF_TRACE: usize = 5_000;

/// The routes.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/tracer/analysis/slow", get(slow))
        .route("/api/tracer/analysis/operations", get(operations))
}

/// Parameters of `GET /api/tracer/analysis/slow`. Requests are slow above a quantile, or in a box of durations and moments.
#[derive(Clone, Debug, Default, PartialEq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SlowParameters {
    /// Service.
    pub service: String,
    /// Operation of it: the name of its spans.
    pub operation: String,
    /// Kind of the spans: `server`, `consumer` and so on. Absent: the one that serves requests.
    #[param(value_type = Option<SpanKind>)]
    pub kind: Option<SpanKind>,
    /// Slow are those above this quantile, from 0.5 to 0.9999. 0.95 if neither it nor `least_ns` is given.
    pub quantile: Option<f64>,
    /// Slow are those that take so long at least, nanoseconds.
    pub least_ns: Option<u64>,
    /// And so long at most. Absent: no bound.
    pub most_ns: Option<u64>,
    /// And begin at this moment or later, microseconds since 1970. Absent: no bound.
    pub box_start_us: Option<u64>,
    /// And before this moment. Absent: no bound.
    pub box_end_us: Option<u64>,
    /// Start of the window of all requests, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window. Absent: now; if the start is absent too, the latest moment of the store.
    pub end_us: Option<u64>,
}

impl FromQuery for SlowParameters {
    const NAMES: &'static [&'static str] = &[
        "service",
        "operation",
        "kind",
        "quantile",
        "least_ns",
        "most_ns",
        "box_start_us",
        "box_end_us",
        "start_us",
        "end_us",
    ];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        let needed = |name: &str| match asked.text(name) {
            text if text.is_empty() => Err(Problem::wrong(format!("{name} is missing"))),
            text => Ok(text),
        };
        Ok(Self {
            service: needed("service")?,
            operation: needed("operation")?,
            kind: asked.one_of("kind", &KINDS)?,
            quantile: asked.number("quantile", 0.5..=0.9999)?,
            least_ns: asked.number("least_ns", 0..=u64::MAX)?,
            most_ns: asked.number("most_ns", 0..=u64::MAX)?,
            box_start_us: asked.moment_us("box_start_us")?,
            box_end_us: asked.moment_us("box_end_us")?,
            start_us: asked.moment_us("start_us")?,
            end_us: asked.moment_us("end_us")?,
        })
    }
}

const KINDS: [(&str, SpanKind); 6] = [
    ("server", SpanKind::Server),
    ("consumer", SpanKind::Consumer),
    ("internal", SpanKind::Internal),
    ("client", SpanKind::Client),
    ("producer", SpanKind::Producer),
    ("unspecified", SpanKind::Unspecified),
];

impl SlowParameters {
    fn selection(&self) -> Result<SlowSelection, Problem> {
        let has_box =
            [self.least_ns, self.most_ns, self.box_start_us, self.box_end_us].iter().any(Option::is_some);
        if let Some(quantile) = self.quantile {
            if has_box {
                return Err(Problem::wrong("give quantile, or the bounds of a box, not both"));
            }
            return Ok(SlowSelection::Quantile(quantile));
        }
        if !has_box {
            return Ok(SlowSelection::Quantile(USUAL_QUANTILE));
        }
        let least_ns = self.least_ns.unwrap_or(0);
        if let Some(most_ns) = self.most_ns.filter(|most_ns| *most_ns < least_ns) {
            let message = format!("most_ns must be least_ns or more, and {most_ns} is less than {least_ns}");
            return Err(Problem::wrong(message));
        }
        let within: Option<Window> = match (self.box_start_us, self.box_end_us) {
            (None, None) => None,
            (start, end) => Some(window(start.unwrap_or(0), end.unwrap_or(u64::MAX))?),
        };
        Ok(SlowSelection::Box { window: within, least_ns, most_ns: self.most_ns })
    }
}

/// How the slow requests of an operation differ from the rest.
#[utoipa::path(get, path = "/api/tracer/analysis/slow", tag = "analysis", params(SlowParameters), responses(
    (status = 200, description = "The differences", body = SlowAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn slow(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<SlowParameters>,
) -> Result<Response, Problem> {
    let selection = asked.selection()?;
    let answers = shared.clone();
    let answer = shared.large(move |store, deadline| {
        let window = window_of(store, asked.start_us, asked.end_us)?;
        let corpus = Corpus::from(store.gather(window, MOST_SPANS, Some(deadline)));
        count_stopped(&answers, corpus.incomplete.as_ref());
        let operation = slow::resolved(&corpus, &asked.service, &asked.operation, asked.kind);
        let answer = slow::analyze(&corpus, &operation, selection, |ids| Ok(read(store, ids)));
        write(&answers.room, &answer)
    });
    answer.await?
}

/// Whole traces, until there are too many spans.
fn read(store: &Store, ids: &[TraceId]) -> Vec<Vec<Span>> {
    let mut left = MOST_READ;
    let one = |id: &TraceId| {
        let spans = store.trace(*id, left.min(MOST_OF_TRACE)).unwrap_or_default();
        left = left.saturating_sub(spans.len());
        spans
    };
    ids.iter().map(one).collect()
}

/// Operations that serve requests, with how far their durations spread.
#[utoipa::path(get, path = "/api/tracer/analysis/operations", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "Operations", body = SlowOperationsAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn operations(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(slow::operations(corpus))).await
}
