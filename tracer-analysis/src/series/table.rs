//! All series of a corpus, in one pass over its spans.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::{
    buckets::{Buckets, Open},
    failure::Failure,
    sketch::Durations,
};
use crate::{
    corpus::{Corpus, PartyId, Trace},
    retry::attempts::{Attempts, Role},
};

/// Operations, and edges, that are told apart. Further ones are only counted.
const MOST_ROWS: usize = 1000;

/// A server's span that ends after its client's by no more than this part of its time did not outlive it: both see the last
/// byte at different moments.
const BEYOND_PART: u64 = 20;

/// The same, at least.
const BEYOND_NS: u64 = 2_000_000;

/// Spans below a request that are looked at for the failure that it passes on.
const MOST_BELOW: usize = 1000;

/// Who asks whom.
pub(crate) type Edge = (PartyId, PartyId);

/// Requests that began in a bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// By [`Failure`].
    pub(crate) failures: [u32; Failure::COUNT],
    /// Requests whose caller left before the answer.
    pub(crate) abandoned: u64,
    /// Calls that try a failed one again.
    pub(crate) retries: u64,
    /// Calls that fail without a span of a server that serves them.
    pub(crate) unserved: u64,
    /// Errors without a failed call below that they come from.
    pub(crate) own_errors: u64,
    /// Time for which servers worked on after their callers had left.
    pub(crate) wasted_ns: u64,
    /// Requests that ended in this bucket, whenever they began.
    pub(crate) ended: u64,
    pub(crate) durations: Durations,
    /// Times without those of the calls below.
    pub(crate) own: Durations,
}

impl Cell {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (sum, more) in self.failures.iter_mut().zip(other.failures) {
            *sum = sum.saturating_add(more);
        }
        self.abandoned += other.abandoned;
        self.retries += other.retries;
        self.unserved += other.unserved;
        self.own_errors += other.own_errors;
        self.wasted_ns = self.wasted_ns.saturating_add(other.wasted_ns);
        self.ended += other.ended;
        self.durations.merge(&other.durations);
        self.own.merge(&other.own);
    }
}

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    pub(crate) open: Open,
}

impl Row {
    fn new(buckets: Buckets) -> Self {
        Self { cells: vec![Cell::default(); buckets.count], open: Open::new(buckets) }
    }

    fn merge(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(&other.cells) {
            cell.merge(more);
        }
        self.open.merge(&other.open);
    }

    /// All buckets of a range together.
    pub(crate) fn sum(&self, range: std::ops::Range<usize>) -> Cell {
        let end = range.end.min(self.cells.len());
        let mut sum = Cell::default();
        for cell in &self.cells[range.start.min(end)..end] {
            sum.merge(cell);
        }
        sum
    }

    fn begins(&mut self, buckets: Buckets, trace: Trace<'_>, at: usize) -> &mut Cell {
        let time = trace.time(at);
        self.open.add(buckets, (time.start_ns, time.end_ns));
        self.cells[buckets.at(time.end_ns)].ended += 1;
        let cell = &mut self.cells[buckets.at(time.start_ns)];
        cell.requests += 1;
        cell.errors += u64::from(trace.is_error(at));
        if trace.facts(at).end_known {
            cell.durations.add(time.end_ns - time.start_ns);
        }
        if let Some(failure) = Failure::of(trace.facts(at)) {
            let count = &mut cell.failures[failure as usize];
            *count = count.saturating_add(1);
        }
        cell
    }
}

/// Series by what they are of; of too many, the first ones.
#[derive(Clone, Debug)]
pub(crate) struct Rows<K> {
    places: FxHashMap<K, usize>,
    rows: Vec<(K, Row)>,
    /// Requests of those that were left out.
    pub(crate) omitted_requests: u64,
}

impl<K: Copy + Eq + Hash + Ord> Rows<K> {
    fn new() -> Self {
        Self { places: FxHashMap::default(), rows: Vec::new(), omitted_requests: 0 }
    }

    fn row(&mut self, key: K, buckets: Buckets) -> Option<&mut Row> {
        if let Some(place) = self.places.get(&key) {
            return Some(&mut self.rows[*place].1);
        }
        if self.rows.len() >= MOST_ROWS {
            self.omitted_requests += 1;
            return None;
        }
        self.places.insert(key, self.rows.len());
        self.rows.push((key, Row::new(buckets)));
        self.rows.last_mut().map(|(_, row)| row)
    }

    pub(crate) fn get(&self, key: K) -> Option<&Row> {
        self.places.get(&key).map(|place| &self.rows[*place].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &Row)> {
        self.rows.iter().map(|(key, row)| (*key, row))
    }
}

/// All series of a corpus.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) buckets: Buckets,
    /// As the callers see it.
    pub(crate) edges: Rows<Edge>,
    /// As the servers see it, by operation.
    pub(crate) operations: Rows<u32>,
    /// As the servers see it, by service.
    pub(crate) services: Rows<PartyId>,
    /// Requests that begin a trace.
    pub(crate) roots: Vec<u64>,
}

impl Table {
    /// Of all traces. None of an empty corpus.
    pub(crate) fn of(corpus: &Corpus) -> Option<Self> {
        let buckets = Buckets::of(corpus)?;
        let mut table = Self {
            buckets,
            edges: Rows::new(),
            operations: Rows::new(),
            services: Rows::new(),
            roots: vec![0; buckets.count],
        };
        let mut attempts = Attempts::default();
        for trace in corpus.traces() {
            table.roots[buckets.at(trace.time(trace.root()).start_ns)] += 1;
            attempts.find(trace);
            for at in 0..trace.len() {
                if trace.serves(at) {
                    table.served(trace, at);
                } else if trace.asks(at) {
                    table.asked(trace, at, attempts.role(at));
                }
            }
        }
        for (operation, row) in &table.operations.rows {
            let service = corpus.dictionary.operation(*operation).service;
            if let Some(sum) = table.services.row(service, buckets) {
                sum.merge(row);
            }
        }
        Some(table)
    }

    fn served(&mut self, trace: Trace<'_>, at: usize) {
        let buckets = self.buckets;
        let Some(row) = self.operations.row(trace.operation(at), buckets) else { return };
        let cell = row.begins(buckets, trace, at);
        if trace.facts(at).end_known {
            cell.own.add(own_ns(trace, at));
        }
        cell.own_errors += u64::from(trace.is_error(at) && !has_failed_call(trace, at));
        let client = trace.parent(at).filter(|parent| trace.asks(*parent) && trace.is_awaited(at));
        if let Some(beyond_ns) = client.and_then(|client| outlives_ns(trace, client, at)) {
            cell.abandoned += 1;
            cell.wasted_ns = cell.wasted_ns.saturating_add(beyond_ns);
        }
    }

    fn asked(&mut self, trace: Trace<'_>, at: usize, role: Role) {
        let buckets = self.buckets;
        let Some(asked) = trace.asked(at) else { return };
        let Some(row) = self.edges.row((trace.service(at), asked), buckets) else { return };
        let cell = row.begins(buckets, trace, at);
        let server = trace.server(at);
        let failure = Failure::of(trace.facts(at));
        let is_left = failure.is_some_and(Failure::is_without_response);
        let beyond_ns = server.and_then(|server| outlives_ns(trace, at, server));
        cell.abandoned += u64::from(is_left || beyond_ns.is_some());
        cell.wasted_ns = cell.wasted_ns.saturating_add(beyond_ns.unwrap_or(0));
        cell.retries += u64::from(role == Role::Retry);
        cell.unserved += u64::from(failure.is_some() && server.is_none());
    }
}

/// By how much a server's span ends after its client's; none if that is not for certain.
pub(crate) fn outlives_ns(trace: Trace<'_>, client: usize, server: usize) -> Option<u64> {
    let (client, server) = (trace.time(client), trace.time(server));
    let beyond_ns = server.end_ns.saturating_sub(client.end_ns);
    let least_ns = ((server.end_ns - server.start_ns) / BEYOND_PART).max(BEYOND_NS);
    (beyond_ns > least_ns).then_some(beyond_ns)
}

/// The time of a span in which none of its children was under way, nanoseconds.
pub(crate) fn own_ns(trace: Trace<'_>, at: usize) -> u64 {
    let time = trace.time(at);
    let (mut covered_to, mut covered_ns) = (time.start_ns, 0u64);
    for child in trace.children(at) {
        let child = trace.time(child);
        let (start_ns, end_ns) = (child.start_ns.max(covered_to), child.end_ns.min(time.end_ns));
        covered_ns += end_ns.saturating_sub(start_ns);
        covered_to = covered_to.max(end_ns);
    }
    (time.end_ns - time.start_ns).saturating_sub(covered_ns)
}

/// Whether a service called another one below a span of it, and that call failed.
pub(crate) fn has_failed_call(trace: Trace<'_>, at: usize) -> bool {
    let end = trace.after(at).min(at + 1 + MOST_BELOW);
    (at + 1..end)
        .any(|below| trace.asks(below) && trace.is_error(below) && trace.service(below) == trace.service(at))
}
