//! Services: rate, errors and durations of what they serve.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Instant,
};

use tracer_model::{
    answer::{OperationRow, Series, ServiceAnswer, ServiceRow, ServicesAnswer, Window},
    span::Kind,
};

use super::{
    Tally, answer_kind,
    calls::{by_segment, each_spread, kin_of},
    column_us,
    kin::Kin,
    length_us, rate, rows_within,
};
use crate::{
    engine::Engine,
    search::{OUT_OF_TIME, is_over, read},
    segment::{
        Head, Segment,
        filter::{Cover, window_ns},
    },
};

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

pub(crate) fn service_rows(
    engine: &RwLock<Engine>,
    window: Window,
    deadline: Option<Instant>,
) -> ServicesAnswer {
    let mut services: HashMap<String, [Part; ROLES]> = HashMap::new();
    let width_us = column_us(window, SPARKLINE_COLUMNS);
    let segments = read(engine).segments();
    let mut incomplete = None;
    for shared in segments.into_iter().rev() {
        if is_over(deadline) {
            incomplete = Some(OUT_OF_TIME.to_owned());
            break;
        }
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
    ServicesAnswer { window, services: rows, incomplete }
}

/// Name and kind of an operation, and its numbers.
struct Found {
    name: Arc<str>,
    kind: Kind,
    tally: Tally,
    self_ns: u64,
}

/// Operations of one service.
#[derive(Default)]
struct Operations {
    all: Vec<Found>,
    codes: HashMap<(Arc<str>, Kind), usize>,
}

impl Operations {
    /// The operation of a head of a segment.
    fn of(&mut self, segment: &Segment, head: &Head) -> usize {
        let name = &segment.names[head.name as usize];
        *self.codes.entry((Arc::clone(name), head.kind)).or_insert_with(|| {
            let (name, kind) = (Arc::clone(name), head.kind);
            self.all.push(Found { name, kind, tally: Tally::default(), self_ns: 0 });
            self.all.len() - 1
        })
    }

    fn add_own(&mut self, segment: &Segment, head: &Head, own_ns: u64) {
        let operation = self.of(segment, head);
        let self_ns = &mut self.all[operation].self_ns;
        *self_ns = self_ns.saturating_add(own_ns);
    }

    /// Adds the own time of spans of a service that start in a window.
    fn add_own_of(
        &mut self,
        segment: &Segment,
        kin: &Kin,
        own_ns: &[u64],
        places: impl Iterator<Item = usize>,
        (service, window): (&str, Window),
    ) {
        let (from, to) = window_ns(window);
        for at in places {
            let row = usize::from(kin.spots[at].row);
            let (head, start) = (segment.head_of(row), segment.start[row]);
            let is_within = start >= from && (start < to || to == u64::MAX);
            if is_within && segment.service_of(head) == service {
                self.add_own(segment, head, own_ns[at]);
            }
        }
    }
}

pub(crate) fn service(
    engine: &RwLock<Engine>,
    service: &str,
    window: Window,
    deadline: Option<Instant>,
) -> Option<ServiceAnswer> {
    let segments = {
        let engine = read(engine);
        engine.operations.held().any(|operation| *operation.service == *service).then(|| engine.segments())?
    };
    let width_us = column_us(window, SERIES_COLUMNS);
    let mut columns: [Vec<Tally>; ROLES] =
        [(); ROLES].map(|()| vec![Tally::default(); SERIES_COLUMNS as usize]);
    let mut operations = Operations::default();
    let mut is_whole = true;
    for shared in segments.iter().rev() {
        if is_over(deadline) {
            is_whole = false;
            break;
        }
        let segment = shared.read();
        let is_it: Vec<bool> =
            segment.resources.all.iter().map(|resource| resource.service_name() == service).collect();
        let cover = segment.cover(window);
        if !is_it.contains(&true) || cover == Cover::None {
            continue;
        }
        let mut of_heads: Vec<Option<usize>> = vec![None; segment.heads.len()];
        for row in rows_within(&segment, window) {
            let head = segment.head_of(row);
            if !is_it[head.resource as usize] {
                continue;
            }
            let operation = *of_heads[usize::from(segment.head[row])]
                .get_or_insert_with(|| operations.of(&segment, head));
            let (duration_ns, is_error) = (segment.duration_ns(row), segment.is_error(row));
            operations.all[operation].tally.add(duration_ns, is_error);
            let column = (segment.start[row] / 1000).saturating_sub(window.start_unix_us) / width_us;
            if let Some(tally) = columns[role(head.kind)].get_mut(column as usize) {
                tally.add(duration_ns, is_error);
            }
        }
        if cover == Cover::Whole {
            let local = shared.local(&segment);
            for (head, own_ns) in segment.heads.iter().zip(&local.own_ns) {
                if is_it[head.resource as usize] && *own_ns > 0 {
                    operations.add_own(&segment, head, *own_ns);
                }
            }
        } else {
            let kin = kin_of(&segment);
            let places = 0..kin.spots.len();
            operations.add_own_of(&segment, &kin, &kin.own_ns(), places, (service, window));
        }
    }
    is_whole &= each_spread(&segments, deadline, |kin| {
        let own_ns = kin.own_ns();
        let places = by_segment(kin);
        for of_segment in places.chunk_by(|one, other| kin.spots[*one].segment == kin.spots[*other].segment) {
            let segment = segments[kin.spots[of_segment[0]].segment as usize].read();
            operations.add_own_of(&segment, kin, &own_ns, of_segment.iter().copied(), (service, window));
        }
    });
    let incomplete = (!is_whole).then(|| OUT_OF_TIME.to_owned());
    Some(ServiceAnswer { incomplete, ..answer(service, window, width_us, columns, operations.all) })
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
        incomplete: None,
    }
}
