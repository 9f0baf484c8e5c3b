//! The viewer's own API, under `/api/tracer`. `tracer_model::answer` has the types of its answers, and
//! `openapi.json` describes it.

mod analysis;
mod comparison;
mod dependencies;
mod export;
pub(crate) mod extract;
mod live;
pub mod openapi;
pub mod parameters;
mod query;
mod routes;
mod slow;
mod trace;

use std::sync::Arc;

use axum::{Router, routing::get};

use crate::shared::Shared;

/// The routes.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/tracer/search", get(routes::search))
        .route("/api/tracer/heatmap", get(routes::heatmap))
        .route("/api/tracer/services", get(routes::services))
        .route("/api/tracer/services/{service}", get(routes::service))
        .route("/api/tracer/map", get(routes::map))
        .route("/api/tracer/complete", get(routes::complete))
        .route("/api/tracer/status", get(routes::status))
        .route("/api/tracer/agent", get(routes::agent))
        .route("/api/tracer/traces/{trace_id}", get(trace::trace))
        .route("/api/tracer/traces/{trace_id}/export", get(export::export))
        .route("/api/tracer/live", get(live::live))
        .merge(analysis::router())
        .merge(comparison::router())
        .merge(dependencies::router())
        .merge(slow::router())
}
