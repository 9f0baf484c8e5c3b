//! `/api/…`: what Jaeger UI and Grafana ask.

use std::{io, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::Serialize;
use tracer_model::{
    answer::{NodeKind, Window},
    jaeger::{Answer, Dependency, Operation, Problem as Told, Trace, raw_trace_of, trace_id_text, trace_of},
    span::{Span, TraceId},
};

use super::{
    go::{boolean, duration_ns, integer, integer_of_32_bits, trace_id},
    parameters::{Values, tags},
    search::{Found, Search, kind_name, now_us, traces as traces_by_id},
};
use crate::{api::extract::Segment, large::Writer, problem::Problem, room::Room, shared::Shared};

/// Where a search begins that does not say it.
const TRACE_LOOKBACK_US: i64 = 2 * 24 * 3600 * 1_000_000;

/// How far dependencies look back that do not say it.
const DEPENDENCY_LOOKBACK_MS: i64 = 24 * 3600 * 1000;

const DEFAULT_LIMIT: i64 = 100;

/// An error in Jaeger's form.
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    fn wrong(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    fn no_trace() -> Self {
        Self { status: StatusCode::NOT_FOUND, message: "trace not found".to_owned() }
    }

    fn parameter(name: &str, why: &str) -> Self {
        Self::wrong(format!("unable to parse param '{name}': {why}"))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status, message: problem.error.error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Answer::<()>::error(self.status.as_u16(), self.message);
        let body = serde_json::to_string(&body).unwrap_or_default();
        // Jaeger answers errors by Go's `http.Error`.
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (self.status, kind, format!("{body}\n")).into_response()
    }
}

type Answered = Result<Response, Failure>;

/// An answer.
fn respond<T: Serialize>(values: &Values<'_>, answer: &Answer<T>) -> Response {
    let mut text = Vec::new();
    // Keys are text, and numbers that JSON has not are written as text: there is nothing that cannot be written.
    let _ = write(values, answer, &mut text);
    json(text)
}

fn json(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Writes an answer: with indents if `prettyPrint` asks for them.
fn write<T: Serialize>(
    values: &Values<'_>,
    answer: &Answer<T>,
    writer: &mut impl io::Write,
) -> io::Result<()> {
    if is_pretty(values) {
        serde_json::to_writer_pretty(writer, answer)?;
    } else {
        serde_json::to_writer(writer, answer)?;
    }
    Ok(())
}

/// A large answer.
fn large<T: Serialize>(room: &Room, values: &Values<'_>, answer: &Answer<T>) -> Result<Writer, Problem> {
    Writer::filled(room, |writer| write(values, answer, writer))
}

/// `/api/services`.
pub(super) async fn services(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answered {
    let services = shared.search(|store, _| store.services()).await?;
    Ok(respond(&Values::new(query.as_deref()), &list_or_null(services)))
}

/// A list as Go writes one that was never begun while it is empty: null.
fn list_or_null<T>(data: Vec<T>) -> Answer<Vec<T>> {
    let mut answer = Answer::list(data);
    answer.data = answer.data.filter(|data| !data.is_empty());
    answer
}

/// `/api/services/{service}/operations`.
pub(super) async fn operation_names(
    State(shared): State<Arc<Shared>>,
    service: Result<Segment, Problem>,
    RawQuery(query): RawQuery,
) -> Answered {
    let Segment(service) = service?;
    let operations = shared.search(move |store, _| store.operations(&service)).await?;
    let mut names: Vec<String> = operations.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    Ok(respond(&Values::new(query.as_deref()), &list_or_null(names)))
}

/// `/api/operations`.
pub(super) async fn operations(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answered {
    let values = Values::new(query.as_deref());
    let service = values.get("service").ok_or_else(no_service)?.to_owned();
    let kind = values.get("spanKind");
    let operations = shared.search(move |store, _| store.operations(&service)).await?;
    let operations = operations.into_iter().map(|(name, kind)| (name, kind_name(kind)));
    let wanted = operations.filter(|(_, of)| kind.is_none_or(|kind| kind == *of));
    let data = wanted.map(|(name, kind)| Operation { name, span_kind: kind.to_owned() });
    Ok(respond(&values, &Answer::list(data.collect())))
}

fn no_service() -> Failure {
    Failure::wrong("parameter 'service' is required".to_owned())
}

/// `/api/traces`.
pub(super) async fn traces(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answered {
    let (search, ids) = parse(&Values::new(query.as_deref()))?;
    let room = shared.room.clone();
    let answered = shared.large(move |store, deadline| {
        let values = Values::new(query.as_deref());
        if ids.is_empty() {
            let found = search.run(store, deadline);
            return large(&room, &values, &traces_answer(&values, found, Vec::new()))?.body();
        }
        let (mut known, mut missing) = (Vec::new(), Vec::new());
        for trace_id in ids {
            match trace_id.filter(|trace_id| store.trace_spans(*trace_id) > 0) {
                Some(trace_id) => known.push(trace_id),
                None => missing.push(Told {
                    code: 0,
                    msg: "trace not found".to_owned(),
                    trace_id: trace_id.map_or_else(|| format!("{:016x}", 0), trace_id_text),
                }),
            }
        }
        let found = traces_by_id(store, known.into_iter());
        large(&room, &values, &traces_answer(&values, found, missing))?.body()
    });
    Ok(json(answered.await??))
}

fn is_raw(values: &Values<'_>) -> bool {
    values.get("raw").is_some_and(|raw| boolean(raw) == Ok(true))
}

fn is_pretty(values: &Values<'_>) -> bool {
    values.get("prettyPrint").is_some_and(|value| value != "false")
}

/// A trace as it was asked for: as Jaeger corrects it, or raw.
fn converted(values: &Values<'_>, spans: Vec<Span>) -> Trace {
    if is_raw(values) { raw_trace_of(&spans) } else { trace_of(&spans) }
}

fn traces_answer(values: &Values<'_>, found: Found, mut errors: Vec<Told>) -> Answer<Vec<Trace>> {
    if found.left_out > 0 {
        let msg = format!("the answer would be too large: {} traces are left out", found.left_out);
        errors.push(Told { msg, ..Told::default() });
    }
    let mut answer: Answer<Vec<Trace>> =
        Answer::of(found.traces.into_iter().map(|spans| converted(values, spans)).collect());
    answer.errors = (!errors.is_empty()).then_some(errors);
    answer
}

/// Ids in the order of the query; none for the id that is zero.
type Ids = Vec<Option<TraceId>>;

fn parse(values: &Values<'_>) -> Result<(Search, Ids), Failure> {
    let now = now_us();
    let moment = |name: &str, default: i64| match values.get(name) {
        Some(text) => integer(text).map_err(|why| Failure::parameter(name, &why)),
        None => Ok(default),
    };
    let duration = |name: &str| match values.get(name) {
        Some(text) => duration_ns(text).map_err(|why| Failure::parameter(name, &why)),
        None => Ok(0),
    };
    // The order in which Jaeger looks, so that of several mistakes the same is told.
    let end = moment("end", now)?;
    // Jaeger's server has no lookback for traces; its UI sends it beside start, which then counts.
    let start = moment("start", now.saturating_sub(TRACE_LOOKBACK_US))?;
    let tags = tags(values).map_err(Failure::wrong)?;
    let limit = values.get("limit").map_or(Ok(DEFAULT_LIMIT), integer_of_32_bits).map_err(Failure::wrong)?;
    let (min_duration_ns, max_duration_ns) = (duration("minDuration")?, duration("maxDuration")?);
    let mut ids = Vec::new();
    for text in values.all("traceID") {
        ids.push(trace_id(text).map_err(|why| Failure::wrong(format!("cannot parse traceID param: {why}")))?);
    }
    if let Some(raw) = values.get("raw") {
        boolean(raw).map_err(|why| Failure::parameter("raw", &why))?;
    }
    let service = values.get("service").map(str::to_owned);
    if ids.is_empty() && service.is_none() {
        return Err(no_service());
    }
    if min_duration_ns != 0 && max_duration_ns != 0 && max_duration_ns < min_duration_ns {
        return Err(Failure::wrong("'maxDuration' should be greater than 'minDuration'".to_owned()));
    }
    let operation = values.get("operation").map(str::to_owned);
    let (start_us, end_us) = (start, end);
    let search =
        Search { service, operation, tags, start_us, end_us, limit, min_duration_ns, max_duration_ns };
    if ids.is_empty() {
        search.check().map_err(Failure::wrong)?;
    }
    Ok((search, ids))
}

/// `/api/traces/{trace_id}`.
pub(super) async fn trace(
    State(shared): State<Arc<Shared>>,
    text: Result<Segment, Problem>,
    RawQuery(query): RawQuery,
) -> Answered {
    let trace_id = trace_id(&text?.0).map_err(Failure::wrong)?;
    let values = Values::new(query.as_deref());
    for name in ["start", "end"] {
        // A trace is one by its id: where it lies in time says nothing more.
        let checked = values.get(name).map_or(Ok(0), integer);
        checked.map_err(|why| Failure::parameter(name, &why))?;
    }
    values.get("raw").map_or(Ok(false), boolean).map_err(|why| Failure::parameter("raw", &why))?;
    let trace_id = trace_id.ok_or_else(Failure::no_trace)?;
    let form = match (is_raw(&values), is_pretty(&values)) {
        (false, false) => "v1",
        (false, true) => "v1, pretty",
        (true, false) => "v1, raw",
        (true, true) => "v1, raw, pretty",
    };
    let body = shared.of_trace(trace_id, form, move |store, room| {
        let values = Values::new(query.as_deref());
        let trace = store.trace(trace_id, usize::MAX).map(|spans| converted(&values, spans));
        trace.map(|trace| large(room, &values, &Answer::of(vec![trace]))).transpose()
    });
    Ok(json(body.await?.ok_or_else(Failure::no_trace)?))
}

/// `/api/dependencies`.
pub(super) async fn dependencies(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answered {
    let values = Values::new(query.as_deref());
    let milliseconds = |name: &str, default| {
        values.get(name).map_or(Ok(default), integer).map_err(|why| Failure::parameter(name, &why))
    };
    let end = milliseconds("endTs", now_us() / 1000)?;
    let lookback = milliseconds("lookback", DEPENDENCY_LOOKBACK_MS)?;
    let moment = |ms: i64| u64::try_from(ms).unwrap_or(0).saturating_mul(1000);
    let window = Window {
        start_unix_us: moment(end.saturating_sub(lookback)),
        end_unix_us: moment(end).saturating_add(1),
    };
    let map = shared.search(move |store, _| store.map(window, false)).await?;
    let service = |id: &str| {
        let node = map.nodes.iter().find(|node| node.id == id);
        node.filter(|node| node.kind == NodeKind::Service).map(|node| node.name.as_str())
    };
    let wanted = values.get("service");
    let mut data = Vec::new();
    for edge in &map.edges {
        let (Some(parent), Some(child)) = (service(&edge.from), service(&edge.to)) else { continue };
        if wanted.is_none_or(|wanted| parent == wanted || child == wanted) {
            let (parent, child) = (parent.to_owned(), child.to_owned());
            data.push(Dependency { parent, child, call_count: edge.red.count });
        }
    }
    Ok(respond(&values, &Answer::of(data)))
}
