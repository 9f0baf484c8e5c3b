//! A search as Jaeger's two APIs ask it, and its traces.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracer_model::{
    answer::Window,
    span::{Kind, Span, StatusCode, TraceId},
};
use tracer_store::{
    Order, Query, SearchOptions, Store,
    query::{Comparison, Condition, Pattern, Term, Test},
};

use super::MAX_SPANS;

/// Traces of one answer.
const MAX_TRACES: i64 = 10_000;

/// Tags of one search: each is looked for in every span.
const MAX_TAGS: usize = 64;

/// A search.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) service: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    pub(super) limit: i64,
    /// 0 for no bound, as in Jaeger.
    pub(super) min_duration_ns: i64,
    /// 0 for no bound.
    pub(super) max_duration_ns: i64,
}

/// Traces that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) traces: Vec<Vec<Span>>,
    /// Traces that meet the search, and are left out since the answer would be too large.
    pub(super) left_out: usize,
}

impl Search {
    /// Checks what Jaeger's store checks.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.tags.len() > MAX_TAGS {
            return Err(format!("more than {MAX_TAGS} tags"));
        }
        let is_within = (1..=MAX_TRACES).contains(&self.limit);
        let error = || "search depth must be greater than 0 and less than max traces".to_owned();
        is_within.then_some(()).ok_or_else(error)
    }

    fn query(&self) -> Query {
        let mut conditions = Vec::new();
        conditions.extend(self.service.clone().map(|service| Condition::Service(Pattern::Exact(service))));
        conditions.extend(self.operation.clone().map(|name| Condition::Operation(Pattern::Exact(name))));
        let bound = |ns| u64::try_from(ns).unwrap_or(0);
        if self.min_duration_ns > 0 {
            conditions.push(Condition::Duration(Comparison::GreaterOrEqual, bound(self.min_duration_ns)));
        }
        if self.max_duration_ns != 0 {
            conditions.push(Condition::Duration(Comparison::LessOrEqual, bound(self.max_duration_ns)));
        }
        conditions.extend(self.tags.iter().map(|(key, value)| tag(key, value)));
        let term = |condition| Term { is_negated: false, condition };
        Query { terms: conditions.into_iter().map(term).collect() }
    }

    /// Runs it. Blocks.
    pub(super) fn run(&self, store: &Store, deadline: Instant) -> Found {
        let moment = |us| u64::try_from(us).unwrap_or(0);
        // Jaeger's end belongs to the window.
        let window = Window {
            start_unix_us: moment(self.start_us),
            end_unix_us: moment(self.end_us).saturating_add(1),
        };
        if window.start_unix_us >= window.end_unix_us {
            return Found::default();
        }
        let options = SearchOptions {
            limit: usize::try_from(self.limit).unwrap_or(0),
            window: Some(window),
            order: Order::Newest,
            deadline: Some(deadline),
        };
        let found = store.search(&self.query(), &options).traces;
        traces(store, found.iter().filter_map(|trace| TraceId::parse(&trace.trace_id)))
    }
}

/// The spans of traces, as long as the answer has room. A trace that has gone meanwhile is left out.
pub(super) fn traces(store: &Store, ids: impl Iterator<Item = TraceId>) -> Found {
    let mut found = Found::default();
    let mut room = MAX_SPANS;
    for trace_id in ids {
        // One trace alone always fits: the store bounds it.
        if store.trace_spans(trace_id) as usize > room && !found.traces.is_empty() {
            found.left_out += 1;
            continue;
        }
        if let Some(spans) = store.trace(trace_id, usize::MAX) {
            room = room.saturating_sub(spans.len());
            found.traces.push(spans);
        }
    }
    found
}

/// What a tag asks for. Jaeger makes some tags of fields of a span.
fn tag(key: &str, value: &str) -> Condition {
    let attribute = || Condition::Attribute { key: key.to_owned(), test: Test::Equals(value.to_owned()) };
    match (key, value) {
        ("error", "true") | ("otel.status_code", "ERROR") => Condition::Status(StatusCode::Error),
        // Jaeger's store in memory takes OK for what has no error, and not what says nothing.
        ("error", "false") | ("otel.status_code", "OK") => Condition::Status(StatusCode::Ok),
        ("span.kind", kind) => kind_of(kind).map_or_else(attribute, Condition::Kind),
        _ => attribute(),
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    KINDS.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
}

/// Jaeger's word for a kind; empty for the one that says nothing.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name)
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Internal, "internal"),
    (Kind::Server, "server"),
    (Kind::Client, "client"),
    (Kind::Producer, "producer"),
    (Kind::Consumer, "consumer"),
];

/// Now, microseconds since 1970.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
