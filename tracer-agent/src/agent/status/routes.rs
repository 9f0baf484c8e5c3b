//! What the agent answers on its socket, by HTTP: its own routes, and those of its viewer if it has one.

#![forbid(unsafe_code)]

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tower::ServiceExt;
use tracer_model::answer::ApiError;

use super::{metrics::metrics, report::StatusReport};

/// Where the status is.
pub const PATH: &str = "/api/tracer/status";
/// Longest answer of the viewer that is put together with one of the agent.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// What knows the status.
pub trait StatusSource: Send + Sync + 'static {
    /// The status of now. It is called on a thread that may block.
    fn status(&self) -> StatusReport;
}

#[derive(Clone)]
struct Agent {
    status: Arc<dyn StatusSource>,
    viewer: Option<Router>,
}

/// The routes of an agent, and those of its viewer. Where both have one, the answer holds what both say.
pub fn routes(status: Arc<dyn StatusSource>, viewer: Option<Router>) -> Router {
    let own = Router::new()
        .route(PATH, get(status_of))
        .route("/metrics", get(metrics_of))
        .route("/healthz", get(async || "ok\n"));
    match viewer {
        Some(viewer) => {
            own.with_state(Agent { status, viewer: Some(viewer.clone()) }).fallback_service(viewer)
        }
        None => own
            .route("/readyz", get(async || "ready\n"))
            .fallback(nothing)
            .with_state(Agent { status, viewer: None }),
    }
}

impl Agent {
    async fn report(&self) -> Option<StatusReport> {
        let status = Arc::clone(&self.status);
        // It fails if the source does, which has told of it.
        tokio::task::spawn_blocking(move || status.status()).await.ok()
    }

    /// What the viewer answers to the same question; none without one.
    async fn of_viewer(&self, path: &str) -> Option<Vec<u8>> {
        let request = Request::get(path).body(Body::empty()).ok()?;
        let Ok(response) = self.viewer.clone()?.oneshot(request).await;
        let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.ok()?;
        Some(body.to_vec())
    }
}

async fn status_of(State(agent): State<Agent>) -> Response {
    let Some(report) = agent.report().await else { return failed() };
    let mut told = serde_json::to_value(report).unwrap_or_default();
    let of_viewer = agent.of_viewer(PATH).await.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let (Value::Object(told), Some(Value::Object(more))) = (&mut told, of_viewer) {
        for (key, value) in more {
            told.entry(key).or_insert(value);
        }
    }
    Json(told).into_response()
}

async fn metrics_of(State(agent): State<Agent>) -> Response {
    /// With this a text of metrics ends (OpenMetrics 1.0, "Overall Structure").
    const END: &str = "# EOF\n";
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let Some(mut text) = agent.report().await.and_then(|report| metrics(&report).ok()) else {
        return failed();
    };
    let of_viewer = agent.of_viewer("/metrics").await.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(more) = of_viewer.filter(|more| more.ends_with(END)) {
        text.truncate(text.trim_end_matches(END).len());
        text += &more;
    }
    ([(header::CONTENT_TYPE, KIND)], text).into_response()
}

async fn nothing(request: Request) -> Response {
    let path = request.uri().path();
    let is_of_viewer = path == "/" || path.starts_with("/api/") || path.starts_with("/traces");
    let (status, error) = match is_of_viewer {
        true => (
            StatusCode::NOT_IMPLEMENTED,
            "it has no viewer: start the agent with --view (viewer.enabled), or collect its spans by `tracer view`"
                .to_owned(),
        ),
        false => (StatusCode::NOT_FOUND, format!("there is nothing at {path}: ask for {PATH}")),
    };
    (status, Json(ApiError { error, at: None })).into_response()
}

fn failed() -> Response {
    let error = "the agent failed at this request; its log says more".to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, Json(ApiError { error, at: None })).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{super::Count, *};
    use crate::ledger::Counter;

    async fn ask(routes: Router, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let response = routes.oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn agent() -> Arc<dyn StatusSource> {
        let totals = vec![Count::of(Counter::LinksMade, 9)];
        let report = StatusReport { version: "7".to_owned(), events: 30, totals, ..StatusReport::default() };
        Arc::new(Mutex::new(report))
    }

    #[tokio::test]
    async fn an_agent_without_a_viewer_tells_its_status_its_health_and_its_counts() {
        let routes = || routes(agent(), None);
        let (code, body) = ask(routes(), "GET", PATH).await;
        let report: StatusReport = serde_json::from_str(&body).expect("a report");
        assert_eq!((code, report.version.as_str(), report.events), (StatusCode::OK, "7", 30));
        assert_eq!(ask(routes(), "GET", "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        assert_eq!(ask(routes(), "GET", "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
        let (code, body) = ask(routes(), "GET", "/metrics").await;
        assert_eq!(code, StatusCode::OK);
        assert!(body.contains("\ntracer_agent_ledger_total{counter=\"links.made\"} 9\n"), "{body}");
        assert!(body.contains("\ntracer_agent_events_total 30\n") && body.ends_with("# EOF\n"), "{body}");
        assert_eq!(ask(routes(), "POST", PATH).await.0, StatusCode::METHOD_NOT_ALLOWED);
        let (code, body) = ask(routes(), "GET", "/api/tracer/search").await;
        assert_eq!(code, StatusCode::NOT_IMPLEMENTED);
        assert!(body.contains("it has no viewer: start the agent with --view"), "{body}");
        assert_eq!(ask(routes(), "GET", "/other").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn what_agent_and_viewer_both_say_is_one_answer() {
        let viewer = Router::new()
            .route(PATH, get(async || "{\"version\":\"8\",\"store\":{\"spans\":3}}"))
            .route("/metrics", get(async || "tracer_viewer_x 1\n# EOF\n"))
            .route("/readyz", get(async || "ready, says the viewer\n"))
            .route("/api/tracer/search", get(async || "{}"));
        let routes = || routes(agent(), Some(viewer.clone()));
        let (_, body) = ask(routes(), "GET", PATH).await;
        let told: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&told["version"], &told["events"], &told["store"]["spans"]),
            (&"7".into(), &30.into(), &3.into())
        );
        let (_, body) = ask(routes(), "GET", "/metrics").await;
        assert!(body.contains("links.made") && body.ends_with("\ntracer_viewer_x 1\n# EOF\n"), "{body}");
        assert_eq!(body.matches("# EOF").count(), 1);
        assert_eq!(ask(routes(), "GET", "/readyz").await.1, "ready, says the viewer\n");
        assert_eq!(ask(routes(), "GET", "/api/tracer/search").await, (StatusCode::OK, "{}".to_owned()));
    }
}
