//! Routes that search, and those that tell of viewer and agent.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use tracer_model::answer::{
    AgentAnswer, ApiError, CompleteAnswer, Heatmap, MapAnswer, SearchAnswer, ServiceAnswer, ServicesAnswer,
    Source, StatusAnswer, TraceSummary, Window,
};
use tracer_store::{Query, SearchOptions, Store};

use super::{
    extract::{Parameters, Segment},
    parameters::{
        CompleteParameters, HeatmapParameters, MapParameters, Order, SearchParameters, WindowParameters,
    },
};
use crate::{
    problem::Problem,
    shared::{Shared, blocking},
};

/// Traces of one answer.
const MAX_TRACES: u32 = 1000;

type Answer<T> = Result<Json<T>, Problem>;

/// Traces of which one span meets every term of a query.
#[utoipa::path(get, path = "/api/tracer/search", tag = "traces", params(SearchParameters), responses(
    (status = 200, description = "Traces", body = SearchAnswer),
    (status = 400, description = "A parameter or the query is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn search(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<SearchParameters>,
) -> Answer<SearchAnswer> {
    let query = Query::parse(&asked.q)?;
    let limit = within("limit", asked.limit, 50, MAX_TRACES)? as usize;
    let window = match (asked.start_us, asked.end_us) {
        (None, None) => None,
        (start, end) => Some(window(start.unwrap_or(0), end.unwrap_or(u64::MAX))?),
    };
    let answer = shared.search(move |store, deadline| {
        let options = |limit, order| SearchOptions { limit, window, order, deadline: Some(deadline) };
        let newest = |limit| store.search(&query, &options(limit, tracer_store::Order::Newest));
        match asked.order {
            Order::Newest => newest(limit),
            Order::Slowest => store.search(&query, &options(limit, tracer_store::Order::Slowest)),
            Order::Errors => most(newest(MAX_TRACES as usize), limit, |trace| trace.errors),
            Order::Spans => most(newest(MAX_TRACES as usize), limit, |trace| trace.spans),
        }
    });
    let answer = answer.await?;
    count_stopped(&shared, answer.incomplete.as_ref());
    Ok(Json(answer))
}

/// How many traces took how long, over time.
#[utoipa::path(get, path = "/api/tracer/heatmap", tag = "traces", params(HeatmapParameters), responses(
    (status = 200, description = "The heatmap", body = Heatmap),
    (status = 400, description = "A parameter or the query is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn heatmap(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<HeatmapParameters>,
) -> Answer<Heatmap> {
    let query = Query::parse(&asked.q)?;
    let columns = within("columns", asked.columns, 100, 500)?;
    let rows = within("rows", asked.rows, 30, 100)?;
    let (start, end) = (asked.start_us, asked.end_us);
    let answer = shared.search(move |store, deadline| -> Result<Heatmap, Problem> {
        let window = window_of(store, start, end)?;
        Ok(store.heatmap(&query, window, columns, rows, Some(deadline)))
    });
    let answer = answer.await??;
    count_stopped(&shared, answer.incomplete.as_ref());
    Ok(Json(answer))
}

/// Services: rate, errors, duration.
#[utoipa::path(get, path = "/api/tracer/services", tag = "services", params(WindowParameters), responses(
    (status = 200, description = "Services", body = ServicesAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn services(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<WindowParameters>,
) -> Answer<ServicesAnswer> {
    let answer = shared
        .search(move |store, _| Ok(store.service_rows(window_of(store, asked.start_us, asked.end_us)?)))
        .await?;
    answer.map(Json)
}

/// One service: its operations, and its numbers over time.
#[utoipa::path(get, path = "/api/tracer/services/{service}", tag = "services",
    params(("service" = String, Path, description = "Name of the service"), WindowParameters), responses(
    (status = 200, description = "The service", body = ServiceAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 404, description = "The store has no such service", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn service(
    State(shared): State<Arc<Shared>>,
    Segment(service): Segment,
    Parameters(asked): Parameters<WindowParameters>,
) -> Answer<ServiceAnswer> {
    let answer = shared
        .search(move |store, _| {
            let window = window_of(store, asked.start_us, asked.end_us)?;
            store
                .service(&service, window)
                .ok_or_else(|| Problem::missing("the store has no span of this service"))
        })
        .await?;
    answer.map(Json)
}

/// Services and what they call.
#[utoipa::path(get, path = "/api/tracer/map", tag = "services", params(MapParameters), responses(
    (status = 200, description = "The map", body = MapAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn map(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<MapParameters>,
) -> Answer<MapAnswer> {
    let answer = shared
        .search(move |store, _| Ok(store.map(window_of(store, asked.start_us, asked.end_us)?, asked.compare)))
        .await?;
    answer.map(Json)
}

/// How a query may go on.
#[utoipa::path(get, path = "/api/tracer/complete", tag = "traces", params(CompleteParameters), responses(
    (status = 200, description = "Suggestions", body = CompleteAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
))]
pub(crate) async fn complete(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<CompleteParameters>,
) -> Answer<CompleteAnswer> {
    let end = u32::try_from(asked.q.encode_utf16().count()).unwrap_or(u32::MAX);
    let at = asked.at.unwrap_or(end).min(end);
    let answer = shared.search(move |store, _| store.complete(&asked.q, at));
    Ok(Json(answer.await?))
}

/// What this viewer is, and what it holds.
#[utoipa::path(get, path = "/api/tracer/status", tag = "viewer", responses(
    (status = 200, description = "The status", body = StatusAnswer),
))]
pub(crate) async fn status(State(shared): State<Arc<Shared>>) -> Answer<StatusAnswer> {
    let store = shared.store.clone();
    let store = blocking(move || store.status()).await?;
    let hints = if store.received_spans == 0 { hints(&shared) } else { Vec::new() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(StatusAnswer { version, source: shared.settings.source.clone(), store, hints }))
}

/// What the agent in this process sees.
#[utoipa::path(get, path = "/api/tracer/agent", tag = "viewer", responses(
    (status = 200, description = "What it sees, or that there is none", body = AgentAnswer),
))]
pub(crate) async fn agent(State(shared): State<Arc<Shared>>) -> Answer<AgentAnswer> {
    match shared.agent.clone() {
        Some(agent) => Ok(Json(blocking(move || agent.answer()).await?)),
        None => Ok(Json(AgentAnswer::default())),
    }
}

/// The traces with the most of something.
fn most(mut answer: SearchAnswer, limit: usize, of: impl Fn(&TraceSummary) -> u32) -> SearchAnswer {
    if answer.has_more && answer.incomplete.is_none() {
        answer.incomplete = Some(format!("only the newest {MAX_TRACES} traces were compared"));
    }
    answer.traces.sort_by_key(|trace| Reverse(of(trace)));
    answer.has_more |= answer.traces.len() > limit;
    answer.traces.truncate(limit);
    answer
}

/// A number that has a default and a bound.
fn within(name: &str, asked: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    let number = asked.unwrap_or(default);
    let is_within = (1..=most).contains(&number);
    is_within.then_some(number).ok_or_else(|| Problem::wrong(format!("{name} must be from 1 to {most}")))
}

fn window(start_unix_us: u64, end_unix_us: u64) -> Result<Window, Problem> {
    if start_unix_us >= end_unix_us {
        return Err(Problem::wrong("start_us must lie before end_us"));
    }
    Ok(Window { start_unix_us, end_unix_us })
}

/// A window that is asked for; without bounds, from the earliest span of the store until now.
fn window_of(store: &Store, start_us: Option<u64>, end_us: Option<u64>) -> Result<Window, Problem> {
    let end = end_us.unwrap_or_else(|| now_us().saturating_add(1));
    // With an empty store, or one whose spans lie in the future, the window must still be one.
    let oldest = || Some(store.status().oldest_unix_us).filter(|oldest| (1..end).contains(oldest));
    let start = start_us.unwrap_or_else(|| oldest().unwrap_or(end.saturating_sub(1)));
    window(start, end)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn count_stopped(shared: &Shared, incomplete: Option<&String>) {
    if incomplete.is_some() {
        shared.counters.stopped_searches.inc();
    }
}

/// What a person can do to see a first trace.
fn hints(shared: &Shared) -> Vec<String> {
    let Source { kind, names } = &shared.settings.source;
    match kind.as_str() {
        "agent" => vec!["Send a request to a selected service: its trace appears here.".to_owned()],
        "files" => vec![format!("No span was found in {}.", names.join(", "))],
        _ if names.is_empty() => {
            vec!["No address takes OTLP: start with --otlp-http or --otlp-grpc.".to_owned()]
        }
        _ => vec![
            format!(
                "Send OTLP to {}: set OTEL_EXPORTER_OTLP_ENDPOINT of a service to it.",
                names.join(" or ")
            ),
            "Or trace a service without changing it: tracer run --view -- COMMAND.".to_owned(),
        ],
    }
}
