//! Work for callers that had left, and services that take in more than they answer.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::Exemplar,
    corpus::{Corpus, PartyId},
    series::table::{Cell, Row, Table, outlives_ns},
    statistics::{Scale, level_changes},
};

/// How likely it is that chance alone makes one saturation or more, over all services together.
const ALPHA: f64 = 0.002;

/// Open requests that are so many times as many, and so many at least, are more than usual.
const LEAST_GROWTH: f64 = 2.0;
const LEAST_OPEN: f64 = 3.0;

/// Throughput that is at most so many times the usual one has not grown.
const MOST_GROWTH: f64 = 1.2;

/// Requests that outlived their callers at least.
const LEAST_WASTED: u64 = 10;

/// Work of a service for callers that had left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Wasted {
    /// Who worked.
    pub service: String,
    /// Requests that outlived their callers.
    pub requests: u64,
    /// Of so many.
    pub of: u64,
    /// Time for which they went on after that, together.
    pub wasted_ns: u64,
    /// Those that went on for longest.
    pub exemplars: Vec<Exemplar>,
}

/// A service in which more requests are open, though no more are answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Saturation {
    /// Who.
    pub service: String,
    /// When it began.
    pub onset_unix_us: u64,
    /// When it ended; none if it goes on.
    pub end_unix_us: Option<u64>,
    /// Open requests before, on the average.
    pub open_before: f64,
    /// Open requests from then on.
    pub open: f64,
    /// Answers in a second before.
    pub throughput_before: f64,
    /// Answers in a second from then on.
    pub throughput: f64,
    /// Median of its own time before.
    pub own_before_ns: Option<u64>,
    /// Median of its own time from then on.
    pub own_ns: Option<u64>,
    /// Whether requests wait in it, and not for those that it calls: its own time grew more than that of its calls.
    pub is_own: bool,
}

pub(super) fn wasted(corpus: &Corpus, table: &Table) -> Vec<Wasted> {
    let mut found: Vec<(PartyId, Cell)> = table
        .services
        .iter()
        .map(|(service, row)| (service, row.sum(0..table.buckets.count)))
        .filter(|(_, sum)| sum.abandoned >= LEAST_WASTED)
        .collect();
    found.sort_by_key(|(service, sum)| (Reverse(sum.wasted_ns), *service));
    let services: Vec<PartyId> = found.iter().map(|(service, _)| *service).collect();
    let mut exemplars = longest(corpus, &services);
    found
        .into_iter()
        .map(|(service, sum)| Wasted {
            service: corpus.dictionary.name(service).to_owned(),
            requests: sum.abandoned,
            of: sum.requests,
            wasted_ns: sum.wasted_ns,
            exemplars: std::mem::take(&mut exemplars[service.index()]),
        })
        .collect()
}

/// By party, the requests that went on for longest after their callers had left.
fn longest(corpus: &Corpus, services: &[PartyId]) -> Vec<Vec<Exemplar>> {
    const MOST: usize = 3;
    let mut best: Vec<Vec<(u64, usize, usize)>> = vec![Vec::new(); corpus.dictionary.parties().len()];
    if !services.is_empty() {
        for trace in corpus.traces() {
            for at in (0..trace.len()).filter(|at| trace.serves(*at)) {
                let client = trace.parent(at).filter(|client| trace.asks(*client) && trace.is_awaited(at));
                let Some(beyond_ns) = client.and_then(|client| outlives_ns(trace, client, at)) else {
                    continue;
                };
                let of = &mut best[trace.service(at).index()];
                of.push((beyond_ns, trace.place(), at));
                of.sort_unstable_by(|one, other| other.cmp(one));
                of.truncate(MOST);
            }
        }
    }
    let told = |of: Vec<(u64, usize, usize)>| {
        of.into_iter().map(|(_, place, at)| Exemplar::of(corpus.trace(place), at)).collect()
    };
    best.into_iter().map(told).collect()
}

pub(super) fn saturated(corpus: &Corpus, table: &Table) -> Vec<Saturation> {
    let alpha = ALPHA / table.services.iter().count().max(1) as f64;
    let mut found: Vec<Saturation> = Vec::new();
    for (service, row) in table.services.iter() {
        let open: Vec<Option<f64>> = row.open.means(table.buckets).into_iter().map(Some).collect();
        let changes = level_changes(&open, Scale::Ratio, alpha);
        let Some(first) = changes
            .iter()
            .find(|change| change.after >= change.before * LEAST_GROWTH && change.after >= LEAST_OPEN)
        else {
            continue;
        };
        let is_over = |level: f64| level < first.before * LEAST_GROWTH;
        let end = changes.iter().find(|change| change.index > first.index && is_over(change.after));
        let end = end.map_or(table.buckets.count, |change| change.index);
        let told = judge(corpus, table, service, row, (first.index, end), (first.before, first.after));
        if told.throughput <= told.throughput_before * MOST_GROWTH {
            found.push(told);
        }
    }
    found.sort_by(|one, other| (one.onset_unix_us, &one.service).cmp(&(other.onset_unix_us, &other.service)));
    found
}

fn judge(
    corpus: &Corpus,
    table: &Table,
    service: PartyId,
    row: &Row,
    (begin, end): (usize, usize),
    (open_before, open): (f64, f64),
) -> Saturation {
    let (before, during) = (row.sum(0..begin), row.sum(begin..end));
    let rate =
        |cell: &Cell, buckets: usize| cell.ended as f64 / (buckets.max(1) as f64 * table.buckets.seconds());
    let own = |cell: &Cell| cell.own.quantile_ns(0.5);
    let all = |cell: &Cell| cell.durations.quantile_ns(0.5);
    let grew =
        |of: &dyn Fn(&Cell) -> Option<u64>| of(&during).unwrap_or(0).saturating_sub(of(&before).unwrap_or(0));
    let own_more = grew(&own);
    Saturation {
        service: corpus.dictionary.name(service).to_owned(),
        onset_unix_us: table.buckets.begin_us(begin),
        end_unix_us: (end < table.buckets.count).then(|| table.buckets.begin_us(end)),
        open_before,
        open,
        throughput_before: rate(&before, begin),
        throughput: rate(&during, end - begin),
        own_before_ns: own(&before),
        own_ns: own(&during),
        is_own: own_more > 0 && own_more >= grew(&all) / 2,
    }
}
