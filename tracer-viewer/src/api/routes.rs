//! Routes that search, and those that tell of viewer and agent.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use serde::Serialize;
use tracer_model::answer::{
    AgentAnswer, ApiError, CompleteAnswer, Heatmap, MapAnswer, SearchAnswer, ServiceAnswer, ServicesAnswer,
    Source, StatusAnswer, Window,
};
use tracer_store::{Query, SearchOptions, Store};

use super::{
    extract::{Parameters, Segment},
    parameters::{
        CompleteParameters, HeatmapParameters, MapParameters, Order, SearchParameters, WindowParameters,
    },
};
use crate::{
    blocking::blocking,
    large::Writer,
    problem::Problem,
    room::Room,
    shared::{AgentSource, Shared},
};

type Answer<T> = Result<Json<T>, Problem>;

/// Writes an answer that may be large, where it may block.
pub(super) fn write(room: &Room, answer: &impl Serialize) -> Result<Response, Problem> {
    Ok(([(header::CONTENT_TYPE, "application/json")], Writer::json(room, answer)?.body()?).into_response())
}

/// Traces of which one span meets every term of a query.
#[utoipa::path(get, path = "/api/tracer/search", tag = "traces", params(SearchParameters), responses(
    (status = 200, description = "Traces", body = SearchAnswer),
    (status = 400, description = "A parameter or the query is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
))]
pub(crate) async fn search(
    State(shared): State<Arc<Shared>>,
    Parameters(asked): Parameters<SearchParameters>,
) -> Result<Response, Problem> {
    let query = Query::parse(&asked.q)?;
    let limit = asked.limit.unwrap_or(50) as usize;
    let window = match (asked.start_us, asked.end_us) {
        (None, None) => None,
        (start, end) => Some(window(start.unwrap_or(0), end.unwrap_or(u64::MAX))?),
    };
    let order = match asked.order {
        Order::Newest => tracer_store::Order::Newest,
        Order::Slowest => tracer_store::Order::Slowest,
        Order::Errors => tracer_store::Order::Errors,
        Order::Spans => tracer_store::Order::Spans,
    };
    let answers = shared.clone();
    let answer = shared.search(move |store, deadline| {
        let answer = store.search(&query, &SearchOptions { limit, window, order, deadline: Some(deadline) });
        count_stopped(&answers, answer.incomplete.as_ref());
        write(&answers.room, &answer)
    });
    answer.await?
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
) -> Result<Response, Problem> {
    let query = Query::parse(&asked.q)?;
    let columns = asked.columns.unwrap_or(100);
    let rows = asked.rows.unwrap_or(30);
    let (start, end) = (asked.start_us, asked.end_us);
    let answers = shared.clone();
    let answer = shared.search(move |store, deadline| {
        let window = window_of(store, start, end)?;
        let answer = store.heatmap(&query, window, columns, rows, Some(deadline));
        count_stopped(&answers, answer.incomplete.as_ref());
        write(&answers.room, &answer)
    });
    answer.await?
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
) -> Result<Response, Problem> {
    let answers = shared.clone();
    let answer = shared.search(move |store, deadline| {
        let window = window_of(store, asked.start_us, asked.end_us)?;
        let answer = store.service_rows_until(window, Some(deadline));
        count_stopped(&answers, answer.incomplete.as_ref());
        write(&answers.room, &answer)
    });
    answer.await?
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
) -> Result<Response, Problem> {
    let answers = shared.clone();
    let answer = shared.search(move |store, deadline| {
        let window = window_of(store, asked.start_us, asked.end_us)?;
        let missing = || Problem::missing("the store has no span of this service");
        let answer = store.service_until(&service, window, Some(deadline)).ok_or_else(missing)?;
        count_stopped(&answers, answer.incomplete.as_ref());
        write(&answers.room, &answer)
    });
    answer.await?
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
) -> Result<Response, Problem> {
    let answers = shared.clone();
    let answer = shared.search(move |store, deadline| {
        let window = window_of(store, asked.start_us, asked.end_us)?;
        let answer = store.map_until(window, asked.compare, Some(deadline));
        count_stopped(&answers, answer.incomplete.as_ref());
        write(&answers.room, &answer)
    });
    answer.await?
}

/// How a query may go on.
#[utoipa::path(get, path = "/api/tracer/complete", tag = "traces", params(CompleteParameters), responses(
    (status = 200, description = "Suggestions", body = CompleteAnswer),
    (status = 400, description = "A parameter is wrong", body = ApiError),
    (status = 503, description = "Too many searches at once; ask again later", body = ApiError),
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
    let asked = shared.clone();
    let (store, hints) = blocking(move || {
        let store = asked.store.status();
        let hints = if store.received_spans == 0 { hints(&asked) } else { Vec::new() };
        (store, hints)
    })
    .await?;
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

pub(super) fn window(start_unix_us: u64, end_unix_us: u64) -> Result<Window, Problem> {
    if start_unix_us >= end_unix_us {
        return Err(Problem::wrong(format!(
            "start_us must lie before end_us, and {start_unix_us} does not lie before {end_unix_us}"
        )));
    }
    Ok(Window { start_unix_us, end_unix_us })
}

/// A window that is asked for; without bounds, from the earliest span of the store to the latest, so that rates are those
/// of the time in which there were spans. Without an end alone, until now.
pub(super) fn window_of(
    store: &Store,
    start_us: Option<u64>,
    end_us: Option<u64>,
) -> Result<Window, Problem> {
    let now = now_us().saturating_add(1);
    let newest = || {
        let newest = store.status().newest_unix_us;
        (start_us.is_none() && newest > 0).then(|| newest.saturating_add(1))
    };
    let end = end_us.unwrap_or_else(|| newest().map_or(now, |newest| newest.min(now)));
    // With an empty store, or one whose spans lie in the future, the window must still be one.
    let oldest = || Some(store.status().oldest_unix_us).filter(|oldest| (1..end).contains(oldest));
    let start = start_us.unwrap_or_else(|| oldest().unwrap_or(end.saturating_sub(1)));
    window(start, end)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn count_stopped(shared: &Shared, incomplete: Option<&String>) {
    if incomplete.is_some() {
        shared.counters.stopped_searches.inc();
    }
}

/// What a person can do to see a first trace. It may block.
fn hints(shared: &Shared) -> Vec<String> {
    let Source { kind, names } = &shared.settings.source;
    let advice = shared.agent.as_deref().map(AgentSource::advice).unwrap_or_default();
    match kind.as_str() {
        "agent" if !advice.is_empty() => advice,
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
