//! The description of the API, from its code.

use utoipa::OpenApi;

use super::{analysis, comparison, dependencies, export, live, routes, slow, trace};

/// The API of the viewer.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tracer viewer",
        description = "Moments are whole microseconds since 1970 (`_unix_us`), durations and moments within a trace \
                       nanoseconds (`_ns`). All text comes from traffic: it is data, never markup."
    ),
    paths(
        routes::search,
        trace::trace,
        export::export,
        routes::heatmap,
        routes::services,
        routes::service,
        routes::map,
        routes::complete,
        routes::status,
        routes::agent,
        live::live,
        analysis::report,
        analysis::path,
        analysis::retries,
        analysis::cascades,
        analysis::incidents,
        dependencies::dependencies,
        comparison::comparison,
        comparison::deployments,
        slow::slow,
        slow::operations,
    ),
    components(schemas(
        tracer_model::answer::TraceSummary,
        tracer_model::answer::LiveLost,
        super::parameters::Order,
        super::parameters::ExportFormat,
        comparison::ComparisonFormat,
        dependencies::DependencyFormat
    ))
)]
struct Description;

/// The OpenAPI description of the viewer's API, as JSON for people: what `openapi.json` holds.
pub fn description() -> String {
    let mut text = Description::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
