//! Jaeger's API, so that Grafana's Jaeger source, Jaeger UI and programs for Jaeger read from us: `/api/…`, as Jaeger UI
//! uses it, and `/api/v3/…`. Facts are those of Jaeger 1.76 (`cmd/query/app/http_handler.go`, `query_parser.go`,
//! `apiv3/http_gateway.go`) and of its store in memory (`internal/storage/v2/memory/tenant.go`).
//!
//! What differs, and is meant to:
//! - Lists are sorted: services and operations by name, traces by their starts, the newest first.
//! - Tags are looked for in the span and in its resource; Jaeger also looks into scopes and events.
//! - The tags `span.kind`, `error` and `otel.status_code` mean what they say, also where a span has no such attribute.
//! - `tags` may be written as `key=value` pairs too; Jaeger takes JSON only.
//! - A limit that is not above 0 is answered by 400, not 500.
//! - An answer has at most [`MAX_SPANS`] spans; `errors` then says how many traces are left out.
//! - A service that does not say its name is `unknown_service`, and is listed.
//! - Dependencies are calls between different services.

mod go;
mod parameters;
mod search;
mod v1;
mod v3;

use std::sync::Arc;

use axum::{Router, routing::get};

use crate::shared::Shared;

/// Spans of one answer.
const MAX_SPANS: usize = 100_000;

/// The routes.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/services", get(v1::services))
        .route("/api/services/{service}/operations", get(v1::operation_names))
        .route("/api/operations", get(v1::operations))
        .route("/api/traces", get(v1::traces))
        .route("/api/traces/{trace_id}", get(v1::trace))
        .route("/api/dependencies", get(v1::dependencies))
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/traces", get(v3::traces))
        .route("/api/v3/traces/{trace_id}", get(v3::trace))
}
