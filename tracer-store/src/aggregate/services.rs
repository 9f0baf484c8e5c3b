//! Services: rate, errors and durations of what they serve.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use tracer_model::{
    answer::{OperationRow, Series, ServiceAnswer, ServiceRow, ServicesAnswer, Window},
    span::Kind,
};

use super::{BySpan, Tally, answer_kind, column_us, length_us, rate, rows_within, span_key};
use crate::{engine::Engine, search::read, summary::uncovered};

/// Columns of the small picture of a service.
const SPARKLINE_COLUMNS: u32 = 30;

/// Columns of the pictures of one service.
const SERIES_COLUMNS: u32 = 60;

/// Most operations that are told of a service, and most services.
const MAX_ROWS: usize = 1000;

/// What a service is told by: what it serves; else what it asks for; else what it does.
const ROLES: usize = 3;

fn role(kind: Kind) -> usize {
    match kind {
        Kind::Server | Kind::Consumer => 0,
        Kind::Client | Kind::Producer => 1,
        Kind::Internal | Kind::Unspecified => 2,
    }
}

/// Spans of a service in one role.
#[derive(Clone)]
struct Part {
    tally: Tally,
    columns: Vec<u64>,
}

impl Part {
    fn new() -> Self {
        Self { tally: Tally::default(), columns: vec![0; SPARKLINE_COLUMNS as usize] }
    }
}

pub(crate) fn service_rows(engine: &RwLock<Engine>, window: Window) -> ServicesAnswer {
    let mut services: HashMap<String, [Part; ROLES]> = HashMap::new();
    let width_us = column_us(window, SPARKLINE_COLUMNS);
    let segments = read(engine).segments();
    for shared in segments {
        let segment = shared.read();
        let mut parts: Vec<Option<Part>> = vec![None; segment.resources.all.len() * ROLES];
        for row in rows_within(&segment, window) {
            let head = segment.head_of(row);
            let part = parts[head.resource as usize * ROLES + role(head.kind)].get_or_insert_with(Part::new);
            part.tally.add(segment.duration_ns(row), segment.is_error(row));
            let column = (segment.start[row] / 1000).saturating_sub(window.start_unix_us) / width_us;
            if let Some(count) = part.columns.get_mut(column as usize) {
                *count += 1;
            }
        }
        for (place, part) in parts.into_iter().enumerate() {
            let Some(part) = part else { continue };
            let service = segment.resources.all[place / ROLES].service_name();
            if !services.contains_key(service) && services.len() >= MAX_ROWS {
                continue;
            }
            let of_service =
                services.entry(service.to_owned()).or_insert_with(|| [(); ROLES].map(|()| Part::new()));
            let known = &mut of_service[place % ROLES];
            known.tally.absorb(part.tally);
            known.columns.iter_mut().zip(part.columns).for_each(|(count, more)| *count += more);
        }
    }
    let mut rows: Vec<ServiceRow> = services
        .into_iter()
        .map(|(service, parts)| {
            let mut part = parts.into_iter().find(|part| part.tally.count() > 0).unwrap_or_else(Part::new);
            let sparkline = part.columns.iter().map(|count| rate(*count, width_us)).collect();
            ServiceRow { service, red: part.tally.red(length_us(window)), sparkline }
        })
        .collect();
    rows.sort_unstable_by(|a, b| a.service.cmp(&b.service));
    ServicesAnswer { window, services: rows }
}

/// Name and kind of an operation, and its numbers.
struct Found {
    name: Arc<str>,
    kind: Kind,
    tally: Tally,
    self_ns: u64,
}

pub(crate) fn service(engine: &RwLock<Engine>, service: &str, window: Window) -> Option<ServiceAnswer> {
    let engine = {
        let engine = read(engine);
        engine.operations.held().any(|operation| *operation.service == *service).then(|| engine.segments())?
    };
    let width_us = column_us(window, SERIES_COLUMNS);
    let mut columns: [Vec<Tally>; ROLES] =
        [(); ROLES].map(|()| vec![Tally::default(); SERIES_COLUMNS as usize]);
    let mut operations: Vec<Found> = Vec::new();
    let mut codes: HashMap<(Arc<str>, Kind), usize> = HashMap::new();
    // Of each span of the service, its operation, start and end; and its place by its key.
    let mut spans: Vec<(usize, u64, u64)> = Vec::new();
    let mut places: BySpan<usize> = BySpan::new();
    for shared in &engine {
        let segment = shared.read();
        let is_it: Vec<bool> =
            segment.resources.all.iter().map(|resource| resource.service_name() == service).collect();
        if !is_it.contains(&true) {
            continue;
        }
        let mut of_heads: Vec<Option<usize>> = vec![None; segment.heads.len()];
        for row in rows_within(&segment, window) {
            let head = segment.head_of(row);
            if !is_it[head.resource as usize] {
                continue;
            }
            let operation = *of_heads[usize::from(segment.head[row])].get_or_insert_with(|| {
                let name = &segment.names[head.name as usize];
                *codes.entry((Arc::clone(name), head.kind)).or_insert_with(|| {
                    let (name, kind) = (Arc::clone(name), head.kind);
                    operations.push(Found { name, kind, tally: Tally::default(), self_ns: 0 });
                    operations.len() - 1
                })
            });
            let (duration_ns, is_error) = (segment.duration_ns(row), segment.is_error(row));
            operations[operation].tally.add(duration_ns, is_error);
            let column = (segment.start[row] / 1000).saturating_sub(window.start_unix_us) / width_us;
            if let Some(tally) = columns[role(head.kind)].get_mut(column as usize) {
                tally.add(duration_ns, is_error);
            }
            places.insert(span_key(&segment, row, segment.span_id[row]), spans.len());
            spans.push((operation, segment.start[row], segment.end[row]));
        }
    }
    let mut children = Vec::new();
    for shared in &engine {
        let segment = shared.read();
        for row in (0..segment.rows()).filter(|row| segment.parent[*row] != 0) {
            if let Some(parent) = places.get(&span_key(&segment, row, segment.parent[row])) {
                let is_own = segment.parent[row] == segment.span_id[row];
                if !is_own && !segment.is_gone(segment.trace[row]) {
                    children.push((*parent, segment.start[row], segment.end[row]));
                }
            }
        }
    }
    let stretches: Vec<(u64, u64)> = spans.iter().map(|(_, start, end)| (*start, *end)).collect();
    for ((operation, ..), self_ns) in spans.iter().zip(uncovered(&stretches, children)) {
        let of = &mut operations[*operation];
        of.self_ns = of.self_ns.saturating_add(self_ns);
    }
    Some(answer(service, window, width_us, columns, operations))
}

fn answer(
    service: &str,
    window: Window,
    width_us: u64,
    columns: [Vec<Tally>; ROLES],
    operations: Vec<Found>,
) -> ServiceAnswer {
    let has_spans = |columns: &Vec<Tally>| columns.iter().any(|tally| tally.count() > 0);
    let columns = columns.into_iter().find(has_spans).unwrap_or_default();
    let mut whole = Tally::default();
    columns.iter().for_each(|tally| whole.absorb(tally.clone()));
    let mut series: Vec<_> = columns.into_iter().map(|mut tally| tally.red(width_us)).collect();
    series.resize_with(SERIES_COLUMNS as usize, Default::default);
    let row = |mut found: Found| OperationRow {
        name: found.name.to_string(),
        kind: answer_kind(found.kind),
        red: found.tally.red(length_us(window)),
        self_ns: found.self_ns,
    };
    let mut operations: Vec<OperationRow> = operations.into_iter().map(row).collect();
    operations.sort_by(|a, b| (b.self_ns, &a.name, a.kind).cmp(&(a.self_ns, &b.name, b.kind)));
    operations.truncate(MAX_ROWS);
    let half = SERIES_COLUMNS / SPARKLINE_COLUMNS;
    let pairs = series.chunks(half as usize);
    let sparkline =
        pairs.map(|pair| rate(pair.iter().map(|red| red.count).sum(), width_us * u64::from(half))).collect();
    ServiceAnswer {
        window,
        service: ServiceRow { service: service.to_owned(), red: whole.red(length_us(window)), sparkline },
        operations,
        series: Series { start_unix_us: window.start_unix_us, column_us: width_us, columns: series },
    }
}
