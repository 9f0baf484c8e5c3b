//! What the routes of the API are asked, by query parameters.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Parameters of `GET /api/tracer/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct SearchParameters {
    /// Query; empty or absent for every trace.
    pub q: String,
    /// Start of the window in which the span that meets the query starts, microseconds since 1970. Absent: no bound.
    pub start_us: Option<u64>,
    /// End of that window, microseconds since 1970. Absent: no bound.
    pub end_us: Option<u64>,
    /// Traces to answer with at most: 1 to 1000, 50 if absent.
    pub limit: Option<u32>,
    /// Which traces come first.
    pub order: Order,
}

/// Which traces come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Those that began last.
    #[default]
    Newest,
    /// Those that took longest.
    Slowest,
    /// Those with the most spans with an error, of the newest 1000 that meet the query.
    Errors,
    /// Those with the most spans, of the newest 1000 that meet the query.
    Spans,
}

/// Parameters of `GET /api/tracer/heatmap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct HeatmapParameters {
    /// Query; empty or absent for every trace.
    pub q: String,
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now.
    pub end_us: Option<u64>,
    /// Columns: 1 to 500, 100 if absent.
    pub columns: Option<u32>,
    /// Rows at most: 1 to 100, 30 if absent.
    pub rows: Option<u32>,
}

/// Parameters of `GET /api/tracer/services` and `GET /api/tracer/services/{service}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct WindowParameters {
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now.
    pub end_us: Option<u64>,
}

/// Parameters of `GET /api/tracer/map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct MapParameters {
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now.
    pub end_us: Option<u64>,
    /// Whether to compare with the window before, of the same length.
    pub compare: bool,
}

/// Parameters of `GET /api/tracer/complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct CompleteParameters {
    /// Query as far as it is typed.
    pub q: String,
    /// Where the cursor stands, counted in UTF-16 units. Absent: at the end.
    pub at: Option<u32>,
}

/// Parameters of `GET /api/tracer/traces/{trace_id}/export`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportParameters {
    /// Format of the file.
    pub format: ExportFormat,
}

/// A format in which a trace is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// OTLP's JSON: one `ExportTraceServiceRequest`.
    OtlpJson,
    /// Jaeger's JSON: what its `/api/traces/{id}` answers.
    JaegerJson,
    /// A page that shows the trace without a server.
    Html,
}

/// Parameters of `GET /api/tracer/live`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct LiveParameters {
    /// Query that a trace must meet; empty or absent for every trace.
    pub q: String,
}
