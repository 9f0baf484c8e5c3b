//! What the routes of the API are asked, by query parameters.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::{Asked, FromQuery};
use crate::problem::Problem;

/// Traces of one answer.
const MAX_TRACES: u32 = 1000;

/// Columns of a heatmap.
const MAX_COLUMNS: u32 = 500;

/// Rows of one.
const MAX_ROWS: u32 = 100;

/// Parameters of `GET /api/tracer/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchParameters {
    /// Query; empty or absent for every trace.
    #[param(required = false)]
    pub q: String,
    /// Start of the window in which the span that meets the query starts, microseconds since 1970. Absent: no bound.
    pub start_us: Option<u64>,
    /// End of that window, microseconds since 1970. Absent: no bound.
    pub end_us: Option<u64>,
    /// Traces to answer with at most: 1 to 1000, 50 if absent.
    pub limit: Option<u32>,
    /// Which traces come first.
    #[param(required = false)]
    pub order: Order,
}

impl FromQuery for SearchParameters {
    const NAMES: &'static [&'static str] = &["q", "start_us", "end_us", "limit", "order"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self {
            q: asked.text("q"),
            start_us: asked.moment_us("start_us")?,
            end_us: asked.moment_us("end_us")?,
            limit: asked.number("limit", 1..=MAX_TRACES)?,
            order: asked.one_of("order", &ORDERS)?.unwrap_or_default(),
        })
    }
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
    /// Those with the most spans with an error.
    Errors,
    /// Those with the most spans.
    Spans,
}

const ORDERS: [(&str, Order); 4] = [
    ("newest", Order::Newest),
    ("slowest", Order::Slowest),
    ("errors", Order::Errors),
    ("spans", Order::Spans),
];

/// Parameters of `GET /api/tracer/heatmap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HeatmapParameters {
    /// Query; empty or absent for every trace.
    #[param(required = false)]
    pub q: String,
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now; if the start is absent too, the latest moment of the store.
    pub end_us: Option<u64>,
    /// Columns: 1 to 500, 100 if absent.
    pub columns: Option<u32>,
    /// Rows at most: 1 to 100, 30 if absent.
    pub rows: Option<u32>,
}

impl FromQuery for HeatmapParameters {
    const NAMES: &'static [&'static str] = &["q", "start_us", "end_us", "columns", "rows"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self {
            q: asked.text("q"),
            start_us: asked.moment_us("start_us")?,
            end_us: asked.moment_us("end_us")?,
            columns: asked.number("columns", 1..=MAX_COLUMNS)?,
            rows: asked.number("rows", 1..=MAX_ROWS)?,
        })
    }
}

/// Parameters of `GET /api/tracer/services` and `GET /api/tracer/services/{service}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WindowParameters {
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now; if the start is absent too, the latest moment of the store.
    pub end_us: Option<u64>,
}

impl FromQuery for WindowParameters {
    const NAMES: &'static [&'static str] = &["start_us", "end_us"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self { start_us: asked.moment_us("start_us")?, end_us: asked.moment_us("end_us")? })
    }
}

/// Parameters of `GET /api/tracer/map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MapParameters {
    /// Start of the window, microseconds since 1970. Absent: the earliest moment of the store.
    pub start_us: Option<u64>,
    /// End of the window, microseconds since 1970. Absent: now; if the start is absent too, the latest moment of the store.
    pub end_us: Option<u64>,
    /// Whether to compare with the window before, of the same length.
    #[param(required = false)]
    pub compare: bool,
}

impl FromQuery for MapParameters {
    const NAMES: &'static [&'static str] = &["start_us", "end_us", "compare"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self {
            start_us: asked.moment_us("start_us")?,
            end_us: asked.moment_us("end_us")?,
            compare: asked.truth("compare")?,
        })
    }
}

/// Parameters of `GET /api/tracer/complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CompleteParameters {
    /// Query as far as it is typed.
    #[param(required = false)]
    pub q: String,
    /// Where the cursor stands, counted in UTF-16 units. Absent: at the end.
    pub at: Option<u32>,
}

impl FromQuery for CompleteParameters {
    const NAMES: &'static [&'static str] = &["q", "at"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self { q: asked.text("q"), at: asked.number("at", 0..=u32::MAX)? })
    }
}

/// Parameters of `GET /api/tracer/traces/{trace_id}/export`.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportParameters {
    /// Format of the file.
    pub format: ExportFormat,
}

impl FromQuery for ExportParameters {
    const NAMES: &'static [&'static str] = &["format"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self { format: asked.needed("format", &FORMATS)? })
    }
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

const FORMATS: [(&str, ExportFormat); 3] = [
    ("otlp-json", ExportFormat::OtlpJson),
    ("jaeger-json", ExportFormat::JaegerJson),
    ("html", ExportFormat::Html),
];

/// Parameters of `GET /api/tracer/live`.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LiveParameters {
    /// Query that a trace must meet; empty or absent for every trace.
    #[param(required = false)]
    pub q: String,
}

impl FromQuery for LiveParameters {
    const NAMES: &'static [&'static str] = &["q"];

    fn read(asked: &Asked<'_>) -> Result<Self, Problem> {
        Ok(Self { q: asked.text("q") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_description() {
        for (word, order) in ORDERS {
            assert_eq!(serde_json::to_value(order).unwrap(), word);
        }
        for (word, format) in FORMATS {
            assert_eq!(serde_json::to_value(format).unwrap(), word);
        }
    }
}
