//! `/api/v3/…`: Jaeger's newer API, OTLP in JSON.

use std::{io::Write, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tracer_model::span::{Span, TraceId};

use super::{
    go::{atoi, boolean, duration_ns, moment_us, trace_id},
    parameters::Values,
    search::{Search, kind_name},
};
use crate::{api::extract::Segment, large::Writer, otlp_json, problem::Problem, room::Room, shared::Shared};

/// Traces of a search that does not say how many it wants.
const DEFAULT_LIMIT: i64 = 100;

/// An error in the form of this API.
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    fn wrong(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    fn parameter(name: &str, why: &str) -> Self {
        Self::wrong(format!("malformed parameter {name}: {why}"))
    }

    fn nothing_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, message: "No traces found".to_owned() }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status, message: problem.error.error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error": {"httpCode": self.status.as_u16(), "message": self.message}});
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (self.status, kind, format!("{body}\n")).into_response()
    }
}

type Answer = Result<Response, Failure>;

fn answer(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A large answer.
fn large(room: &Room, spans: Vec<Span>) -> Result<Writer, Problem> {
    Writer::filled(room, |writer| {
        // The envelope of the gateway.
        writer.write_all(b"{\"result\":")?;
        otlp_json::write(writer, spans)?;
        writer.write_all(b"}")
    })
}

/// `/api/v3/services`.
pub(super) async fn services(State(shared): State<Arc<Shared>>) -> Answer {
    let services = shared.search(|store, _| store.services()).await?;
    // Protobuf's JSON leaves out a list that was never begun.
    let body = if services.is_empty() { json!({}) } else { json!({"services": services}) };
    Ok(answer(body.to_string()))
}

/// `/api/v3/operations`.
pub(super) async fn operations(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answer {
    let values = Values::new(query.as_deref());
    let service = values.get("service").unwrap_or_default().to_owned();
    let wanted = values.get_any(&["spanKind", "span_kind"]).map(|(_, kind)| kind);
    let operations = shared.search(move |store, _| store.operations(&service)).await?;
    let operations = operations.into_iter().map(|(name, kind)| (name, kind_name(kind)));
    let wanted = operations.filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == *kind));
    let operations: Vec<Value> = wanted.map(operation).collect();
    Ok(answer(json!({"operations": operations}).to_string()))
}

fn operation((name, kind): (String, &str)) -> Value {
    match kind {
        "" => json!({"name": name}),
        _ => json!({"name": name, "spanKind": kind}),
    }
}

/// `/api/v3/traces`.
pub(super) async fn traces(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answer {
    let search = parse(&Values::new(query.as_deref()))?;
    let room = shared.room.clone();
    let body = shared.large(move |store, deadline| {
        let spans: Vec<Span> = search.run(store, deadline).traces.into_iter().flatten().collect();
        (!spans.is_empty()).then(|| large(&room, spans)?.body())
    });
    Ok(answer(body.await?.ok_or_else(Failure::nothing_found)??))
}

fn parse(values: &Values<'_>) -> Result<Search, Failure> {
    const START: [&str; 2] = ["query.startTimeMin", "query.start_time_min"];
    const END: [&str; 2] = ["query.startTimeMax", "query.start_time_max"];
    let text = |names: &[&'static str]| values.get_any(names).map(|(_, text)| text.to_owned());
    let (Some(start), Some(end)) = (values.get_any(&START), values.get_any(&END)) else {
        return Err(Failure::wrong(format!("{} and {} are required", START[1], END[1])));
    };
    let moment = |(name, text): (&str, &str)| moment_us(text).map_err(|why| Failure::parameter(name, &why));
    let (start_us, end_us) = (moment(start)?, moment(end)?);
    if start_us >= end_us {
        return Err(Failure::wrong(format!("{} must be before {}", START[1], END[1])));
    }
    let limit = match values.get_any(&["query.searchDepth", "query.search_depth", "query.num_traces"]) {
        Some((name, text)) => atoi(text).map_err(|why| Failure::parameter(name, &why))?,
        None => DEFAULT_LIMIT,
    };
    let duration = |names: &[&'static str]| match values.get_any(names) {
        Some((name, text)) => duration_ns(text).map_err(|why| Failure::parameter(name, &why)),
        None => Ok(0),
    };
    let min_duration_ns = duration(&["query.durationMin", "query.duration_min"])?;
    let max_duration_ns = duration(&["query.durationMax", "query.duration_max"])?;
    if let Some((name, raw)) = values.get_any(&["query.rawTraces", "query.raw_traces"]) {
        boolean(raw).map_err(|why| Failure::parameter(name, &why))?;
    }
    let mut tags = Vec::new();
    if let Some(attributes) = values.get("query.attributes") {
        let parsed = serde_json::from_str::<std::collections::BTreeMap<String, String>>(attributes);
        let parsed = parsed.map_err(|error| Failure::parameter("query.attributes", &error.to_string()))?;
        tags.extend(parsed);
    }
    let service = text(&["query.serviceName", "query.service_name"]);
    let operation = text(&["query.operationName", "query.operation_name"]);
    let search =
        Search { service, operation, tags, start_us, end_us, limit, min_duration_ns, max_duration_ns };
    search.check().map_err(Failure::wrong)?;
    Ok(search)
}

/// `/api/v3/traces/{trace_id}`.
pub(super) async fn trace(
    State(shared): State<Arc<Shared>>,
    text: Result<Segment, Problem>,
    RawQuery(query): RawQuery,
) -> Answer {
    let trace_id: Option<TraceId> = trace_id(&text?.0).map_err(|why| Failure::parameter("trace_id", &why))?;
    let values = Values::new(query.as_deref());
    for names in [["startTime", "start_time"], ["endTime", "end_time"]] {
        if let Some((name, text)) = values.get_any(&names) {
            moment_us(text).map_err(|why| Failure::parameter(name, &why))?;
        }
    }
    if let Some((name, raw)) = values.get_any(&["rawTraces", "raw_traces"]) {
        boolean(raw).map_err(|why| Failure::parameter(name, &why))?;
    }
    let trace_id = trace_id.ok_or_else(Failure::nothing_found)?;
    let body = shared.of_trace(trace_id, "v3", move |store, room| {
        store.trace(trace_id, usize::MAX).map(|spans| large(room, spans)).transpose()
    });
    Ok(answer(body.await?.ok_or_else(Failure::nothing_found)?))
}
