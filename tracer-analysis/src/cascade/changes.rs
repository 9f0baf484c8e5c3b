//! Changes for the worse, by service and by edge.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::EdgeName,
    corpus::{Corpus, PartyId, is_service},
    series::{
        Buckets, Durations,
        table::{Cell, Row, Table},
    },
    statistics::{ChangePoint, Proportion, Scale, level_changes, proportion_changes},
};

/// How likely it is that chance alone makes one change or more, over all series together.
const ALPHA: f64 = 0.002;

/// A proportion is worse if it is higher by this, and by this ratio.
const LEAST_MORE: f64 = 0.01;
const LEAST_TIMES: f64 = 1.5;

/// A duration is worse from this ratio on.
const LEAST_SLOWER: f64 = 1.25;

/// A party is out of reach if at least this part of the calls to it fails without a span that serves them.
const MOST_UNSERVED: f64 = 0.5;

/// A service of which less than this part of the usual requests comes is not called any more.
const LEAST_LEFT: f64 = 0.05;

/// Durations that a bucket needs to have a median.
const LEAST_DURATIONS: f64 = 3.0;

/// What is added to durations that are compared.
const NOTHING_NS: f64 = 1e6;

/// A service that ends at least so many requests in a usual bucket stands still if it ends none.
const LEAST_ENDED: u64 = 5;

/// What became worse.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Requests take longer, with all that they wait for.
    #[default]
    Latency,
    /// Requests take longer by themselves, without the calls below them.
    OwnTime,
    /// More requests fail.
    Errors,
    /// More requests fail by themselves, without a failed call below them.
    OwnErrors,
    /// Callers leave before the answer.
    Abandoned,
    /// Calls fail, and nothing serves them.
    Unserved,
    /// Nothing ends, though requests are open.
    Standstill,
    /// No requests come any more.
    NoTraffic,
}

/// A change for the worse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LevelChange {
    /// What became worse.
    pub signal: Signal,
    /// Of which service, or other party.
    pub service: String,
    /// Of calls to it by one caller, if it is about those.
    pub edge: Option<EdgeName>,
    /// Of requests for one operation of it, if it is about those.
    pub operation: Option<String>,
    /// When it began.
    pub onset_unix_us: u64,
    /// When it ended; none if it goes on.
    pub end_unix_us: Option<u64>,
    /// Before: times by those that are usual in all the time, a proportion from 0 to 1, or requests of a bucket.
    pub before: f64,
    /// From then on.
    pub after: f64,
    /// How likely chance alone shows as much. 1 if no test was made.
    pub p_value: f64,
}

/// The same, by codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) signal: Signal,
    pub(super) party: PartyId,
    pub(super) caller: Option<PartyId>,
    pub(super) operation: Option<u32>,
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) p_value: f64,
}

impl Changed {
    pub(super) fn told(&self, corpus: &Corpus, buckets: Buckets) -> LevelChange {
        LevelChange {
            signal: self.signal,
            service: corpus.dictionary.name(self.party).to_owned(),
            edge: self.caller.map(|caller| EdgeName::of(corpus, caller, self.party)),
            operation: self.operation.map(|of| corpus.dictionary.operation(of).name.to_string()),
            onset_unix_us: buckets.begin_us(self.begin),
            end_unix_us: (self.end < buckets.count).then(|| buckets.begin_us(self.end)),
            before: self.before,
            after: self.after,
            p_value: self.p_value,
        }
    }
}

pub(super) fn find(corpus: &Corpus, table: &Table) -> Vec<Changed> {
    // Each service has four tests, each operation two, and each edge five.
    let tests = table.services.iter().count() * 4
        + table.operations.iter().count() * 2
        + table.edges.iter().count() * 5;
    let mut finder =
        Finder { buckets: table.buckets.count, alpha: ALPHA / tests.max(1) as f64, found: Vec::new() };
    let begun = begun(table);
    for (service, row) in table.services.iter() {
        let of = (service, None, None);
        let operations = table.operations.iter();
        let operations = operations.filter(|(of, _)| corpus.dictionary.operation(*of).service == service);
        let operations: Vec<(u32, &Row)> = operations.collect();
        let rows: Vec<&Row> = operations.iter().map(|(_, row)| *row).collect();
        finder.slower(of, Signal::Latency, &rows, |cell| &cell.durations);
        finder.slower(of, Signal::OwnTime, &rows, |cell| &cell.own);
        finder.more(of, Signal::Errors, row, |cell| cell.errors);
        finder.more(of, Signal::OwnErrors, row, |cell| cell.own_errors);
        // Of a service with one operation, that is the service.
        for (operation, row) in operations.iter().filter(|_| operations.len() > 1) {
            let of = (service, None, Some(*operation));
            finder.slower(of, Signal::OwnTime, &[row], |cell| &cell.own);
            finder.more(of, Signal::OwnErrors, row, |cell| cell.own_errors);
        }
        finder.standstill(of, row, &open_calls(table, service), &begun);
    }
    for ((caller, called), row) in table.edges.iter() {
        let of = (called, Some(caller), None);
        // A service tells of its operations itself.
        if table.services.get(called).is_none() {
            finder.slower(of, Signal::Latency, &[row], |cell| &cell.durations);
        }
        finder.more(of, Signal::Errors, row, |cell| cell.errors);
        finder.more(of, Signal::Abandoned, row, |cell| cell.abandoned);
        // Of a party without spans, every call is unserved.
        if is_service(corpus.dictionary.party(called).kind) {
            finder.unserved(of, row);
        }
        finder.no_traffic(of, row);
    }
    finder
        .found
        .sort_by_key(|change| (change.begin, change.party, change.caller, change.operation, change.signal));
    finder.found
}

/// Requests that began in all services.
fn begun(table: &Table) -> Vec<u64> {
    let mut sum = vec![0; table.buckets.count];
    for (_, row) in table.services.iter() {
        for (sum, cell) in sum.iter_mut().zip(&row.cells) {
            *sum += cell.requests;
        }
    }
    sum
}

/// Calls to a service that were open, as the callers see it.
fn open_calls(table: &Table, service: PartyId) -> Vec<f64> {
    let mut sum = vec![0.0; table.buckets.count];
    for ((_, called), row) in table.edges.iter() {
        if called == service {
            for (sum, open) in sum.iter_mut().zip(row.open.means(table.buckets)) {
                *sum += open;
            }
        }
    }
    sum
}

struct Finder {
    buckets: usize,
    alpha: f64,
    found: Vec<Changed>,
}

/// The party, its caller, and the operation of it.
type Of = (PartyId, Option<PartyId>, Option<u32>);

impl Finder {
    /// Durations by the usual ones, so that another mix of operations is no change.
    fn slower(&mut self, of: Of, signal: Signal, rows: &[&Row], durations: fn(&Cell) -> &Durations) {
        let mut sums = vec![(0.0, 0.0); self.buckets];
        for row in rows {
            let mut all = Durations::default();
            for cell in &row.cells {
                all.merge(durations(cell));
            }
            let Some(usual_ns) = all.quantile_ns(0.5) else { continue };
            for (sum, cell) in sums.iter_mut().zip(&row.cells) {
                let durations = durations(cell);
                let Some(median_ns) = durations.quantile_ns(0.5) else { continue };
                // Less than a millisecond is none that anybody waits for.
                let ratio = (median_ns as f64 + NOTHING_NS) / (usual_ns as f64 + NOTHING_NS);
                let weight = durations.total() as f64;
                *sum = (sum.0 + ratio.ln() * weight, sum.1 + weight);
            }
        }
        let levels: Vec<Option<f64>> = sums
            .into_iter()
            .map(|(sum, weight)| (weight >= LEAST_DURATIONS).then(|| (sum / weight).exp()))
            .collect();
        let changes = level_changes(&levels, Scale::Ratio, self.alpha);
        self.add(of, signal, &changes, |before, then| then > before * LEAST_SLOWER);
    }

    fn more(&mut self, of: Of, signal: Signal, row: &Row, count: impl Fn(&Cell) -> u64) {
        let parts: Vec<Proportion> =
            row.cells.iter().map(|cell| Proportion::new(count(cell), cell.requests)).collect();
        let changes = proportion_changes(&parts, self.alpha);
        self.add(of, signal, &changes, |before, then| {
            then > before + LEAST_MORE && then > before * LEAST_TIMES
        });
    }

    fn unserved(&mut self, of: Of, row: &Row) {
        let parts: Vec<Proportion> =
            row.cells.iter().map(|cell| Proportion::new(cell.unserved, cell.requests)).collect();
        let changes = proportion_changes(&parts, self.alpha);
        self.add(of, Signal::Unserved, &changes, |before, then| {
            then >= MOST_UNSERVED && then > before * LEAST_TIMES
        });
    }

    fn no_traffic(&mut self, of: Of, row: &Row) {
        let counts: Vec<Option<f64>> = row
            .cells
            .iter()
            .map(|cell| Some((cell.requests - cell.errors.min(cell.requests)) as f64))
            .collect();
        let changes = level_changes(&counts, Scale::Count, self.alpha);
        self.add(of, Signal::NoTraffic, &changes, |before, then| before > 0.0 && then < before * LEAST_LEFT);
    }

    /// A service that ends nothing for two buckets at least, though callers wait for it.
    fn standstill(&mut self, of: Of, row: &Row, open: &[f64], begun: &[u64]) {
        let mut ended: Vec<u64> = row.cells.iter().map(|cell| cell.ended).collect();
        let middle = ended.len() / 2;
        let usual = *ended.select_nth_unstable(middle).1;
        if usual < LEAST_ENDED {
            return;
        }
        // If nothing begins anywhere, it is the machine or the load that stood still.
        let is_still =
            |bucket: usize| row.cells[bucket].ended == 0 && open[bucket] >= 1.0 && begun[bucket] > 0;
        let mut bucket = 0;
        while bucket < self.buckets {
            let end = (bucket..self.buckets).find(|later| !is_still(*later)).unwrap_or(self.buckets);
            if end >= bucket + 2 {
                let (party, caller, operation) = of;
                self.found.push(Changed {
                    signal: Signal::Standstill,
                    party,
                    caller,
                    operation,
                    // It began in the middle of the bucket before.
                    begin: bucket.saturating_sub(1),
                    end,
                    before: usual as f64,
                    after: 0.0,
                    p_value: 1.0,
                });
            }
            bucket = end.max(bucket + 1);
        }
    }

    /// Stretches from a change for the worse on until it is better again.
    fn add(
        &mut self,
        (party, caller, operation): Of,
        signal: Signal,
        changes: &[ChangePoint],
        is_worse: impl Fn(f64, f64) -> bool,
    ) {
        let mut open: Option<Changed> = None;
        for change in changes {
            match &mut open {
                Some(known) if is_worse(known.before, change.after) => {}
                Some(known) => {
                    known.end = change.index;
                    self.found.extend(open.take());
                }
                None if is_worse(change.before, change.after) => {
                    open = Some(Changed {
                        signal,
                        party,
                        caller,
                        operation,
                        begin: change.index,
                        end: self.buckets,
                        before: change.before,
                        after: change.after,
                        p_value: change.p_value,
                    });
                }
                None => {}
            }
        }
        self.found.extend(open);
    }
}
