//! Jaeger's API, so that Grafana's Jaeger source, Jaeger UI and programs for Jaeger read from us: `/api/…`, as Jaeger UI
//! uses it, and `/api/v3/…`. Facts are those of Jaeger 1.76 (`cmd/query/app/http_handler.go`, `query_parser.go`,
//! `apiv3/http_gateway.go`) and of its store in memory (`internal/storage/v2/memory/tenant.go`).
//!
//! `cargo xtask jaeger` asks that Jaeger and us the same 400 requests and more about the same OTLP. What differs, and is
//! meant to, has a row in `tests/jaeger/differences.py`; any other difference fails there. In short:
//! - Lists are sorted: services and operations by name, traces by their starts, the newest first. A limit keeps the traces
//!   that started last; Jaeger's store keeps those that came last.
//! - Tags are looked for in the span and in its resource; Jaeger also looks into scopes and events. Numbers are compared as
//!   numbers, and a list is found by each of its members; Jaeger compares the text of a whole value.
//! - The tags `error`, `span.kind` and `otel.status_code` mean what they say, also where a span has no such attribute.
//!   Jaeger's store answers `error=true` with the spans whose status is OK.
//! - `tags` may be written as `key=value` pairs too; Jaeger takes JSON only.
//! - What is wrong with JSON or with a moment is said in other words than Go's.
//! - A limit that is not above 0 is answered by 400, not 500. Without a limit, `/api/v3/traces` answers 100 traces, as newer
//!   versions do; 1.76 fails. An end before its start is 400 there, not 404.
//! - An answer has at most [`MAX_SPANS`] spans; `errors` then says how many traces are left out.
//! - A service that does not say its name is `unknown_service`, and is listed.
//! - Dependencies are calls between different services; Jaeger counts every span that has a parent.
//! - `/api/v3` says that it answers JSON; 1.76 says plain text. Spans of one resource stand together there, also of
//!   several traces, and are given as they came: without `raw_traces`, Jaeger corrects ids there and puts notes into
//!   attributes. Parameters may be written in both ways that Jaeger's versions have: `service_name`, `serviceName`.

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
