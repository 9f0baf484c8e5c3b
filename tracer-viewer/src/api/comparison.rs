//! What changed: two windows or two versions side by side, and releases.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::header;
use serde::{Deserialize, Serialize};
use tracer_analysis::{
    compare::{
        self, ComparisonAnswer, Side,
        deployments::{self, DeploymentsAnswer},
        markdown,
    },
    corpus::Corpus,
};
use tracer_model::answer::{ApiError, Window};
use utoipa::{IntoParams, ToSchema};

use super::{
    analysis::{MOST_SPANS, analyzed},
    extract::Parameters,
    parameters::WindowParameters,
    query::{Asked, FromQuery},
    routes::{count_stopped, window, write},
};
use crate::{problem::Problem, shared::Shared};

/// The routes.
pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/tracer/analysis/compare", get(comparison))
        .route("/api/tracer/analysis/deployments", get(deployments))
}

/// Parameters of `GET /api/tracer/analysis/compare`: two windows, or two versions of a service, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CompareParameters {
    /// Start of the first window, microseconds since 1970. Absent: no bound.
    pub before_start_us: Option<u64>,
    /// End of the first window. Absent: no bound.
    pub before_end_us: Option<u64>,
    /// Start of the second window. Absent: no bound.
    pub after_start_us: Option<u64>,
    /// End of the second window. Absent: no bound.
    pub after_end_us: Option<u64>,
    /// Service of which versions are compared.
    pub service: Option<String>,
    /// Version of the first side.
    pub before_version: Option<String>,
    /// Version of the second side.
    pub after_version: Option<String>,
    /// `json` if absent.
    #[param(required = false)]
    pub format: ComparisonFormat,
}

impl FromQuery for CompareParameters {
    const NAMES: &'static [&'static str] = &[
        "before_start_us",
        "before_end_us",
        "after_start_us",
        "after_end_us",
        "service",
        "before_version",
        "after_version",
        "format",
    ];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        let text = |name: &str| Some(asked.text(name)).filter(|text| !text.is_empty());
        Ok(Self {
            before_start_us: asked.moment_us("before_start_us")?,
            before_end_us: asked.moment_us("before_end_us")?,
            after_start_us: asked.moment_us("after_start_us")?,
            after_end_us: asked.moment_us("after_end_us")?,
            service: text("service"),
            before_version: text("before_version"),
            after_version: text("after_version"),
            format: asked.one_of("format", &FORMATS)?.unwrap_or_default(),
        })
    }
}

/// How a comparison is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComparisonFormat {
    /// All of it.
    #[default]
    Json,
    /// For a pull request.
    Markdown,
}

const FORMATS: [(&str, ComparisonFormat); 2] =
    [("json", ComparisonFormat::Json), ("markdown", ComparisonFormat::Markdown)];

/// What a side is: its window, and service and version.
struct Wanted {
    window: Option<Window>,
    version: Option<(String, String)>,
}

impl Wanted {
    fn of(
        bounds: (Option<u64>, Option<u64>),
        service: Option<&String>,
        version: Option<&String>,
        name: &str,
    ) -> Result<Self, Problem> {
        let window = match bounds {
            (None, None) => None,
            (start, end) => Some(window(start.unwrap_or(0), end.unwrap_or(u64::MAX))?),
        };
        let version = match (service, version) {
            (Some(service), Some(version)) => Some((service.clone(), version.clone())),
            (None, Some(_)) => {
                return Err(Problem::wrong(format!("{name}_version needs the service that it is of")));
            }
            _ => None,
        };
        if window.is_none() && version.is_none() {
            let message = format!("give {name}_start_us and {name}_end_us, or service and {name}_version");
            return Err(Problem::wrong(message));
        }
        Ok(Self { window, version })
    }

    fn side<'a>(&self, corpus: &'a Corpus, name: &str) -> Side<'a> {
        let version = self.version.as_ref().map(|(service, version)| format!("{service}@{version}"));
        Side {
            corpus,
            name: version.unwrap_or_else(|| name.to_owned()),
            window: self.window,
            version: self.version.clone(),
        }
    }
}

/// What changed from one window or version to another.
#[utoipa::path(get, path = "/api/tracer/analysis/compare", tag = "analysis", params(CompareParameters), responses(
    (status = 200, description = "The comparison; text, if Markdown is asked for", body = ComparisonAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn comparison(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<CompareParameters>,
) -> Result<Response, Problem> {
    let service = asked.service.as_ref();
    let bounds = (asked.before_start_us, asked.before_end_us);
    let before = Wanted::of(bounds, service, asked.before_version.as_ref(), "before")?;
    let bounds = (asked.after_start_us, asked.after_end_us);
    let after = Wanted::of(bounds, service, asked.after_version.as_ref(), "after")?;
    let answers = shared.clone();
    let answer = shared.large(move |store, deadline| {
        let always = Window { start_unix_us: 0, end_unix_us: u64::MAX };
        let gather = |wanted: &Wanted, most: usize| {
            let corpus = Corpus::from(store.gather(wanted.window.unwrap_or(always), most, Some(deadline)));
            count_stopped(&answers, corpus.incomplete.as_ref());
            corpus
        };
        // Versions of one window are looked up in the same traces.
        let is_one = before.window == after.window;
        let first = gather(&before, if is_one { MOST_SPANS } else { MOST_SPANS / 2 });
        let second = (!is_one).then(|| gather(&after, MOST_SPANS / 2));
        let sides = (before.side(&first, "before"), after.side(second.as_ref().unwrap_or(&first), "after"));
        let answer = compare::analyze(&sides.0, &sides.1);
        match asked.format {
            ComparisonFormat::Json => write(&answers.room, &answer),
            ComparisonFormat::Markdown => {
                let kind = "text/markdown; charset=utf-8";
                Ok(([(header::CONTENT_TYPE, kind)], markdown(&answer)).into_response())
            }
        }
    });
    answer.await?
}

/// Releases, and what each changed.
#[utoipa::path(get, path = "/api/tracer/analysis/deployments", tag = "analysis", params(WindowParameters), responses(
    (status = 200, description = "Releases", body = DeploymentsAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn deployments(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Result<Response, Problem> {
    analyzed(shared, asked, |corpus| Ok(deployments::find(corpus))).await
}
