//! What each edge, operation and service did over time.
//!
//! An edge is told as its callers see it, an operation and a service as they see it themselves: who calls a stopped service
//! sees timeouts where the service sees nothing.

mod buckets;
mod failure;
mod sketch;
pub(crate) mod table;

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::table::{Cell, Row, Rows, Table};
use crate::{
    answer::{EdgeName, OperationName, Sample},
    corpus::Corpus,
};

pub(crate) use self::sketch::Durations;
pub use self::{buckets::Buckets, failure::Failure};

/// How much is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SeriesOptions {
    /// Edges, operations and services of each at most; those with most requests.
    pub most: usize,
}

impl Default for SeriesOptions {
    fn default() -> Self {
        Self { most: 50 }
    }
}

/// What happened over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// When the first bucket begins.
    pub start_unix_us: u64,
    /// How long each bucket is.
    pub bucket_us: u64,
    /// Requests that began a trace, bucket by bucket.
    pub roots: Vec<u64>,
    /// Calls by who calls whom, as the caller sees them.
    pub edges: Vec<EdgeSeries>,
    /// Requests by operation, as the server sees them.
    pub operations: Vec<OperationSeries>,
    /// Requests by service, as the server sees them.
    pub services: Vec<ServiceSeries>,
    /// Edges, operations and services with fewer requests that were left out.
    pub left_out: u64,
    /// Requests of operations and edges that were too many to be told apart.
    pub left_out_requests: u64,
}

/// Calls of an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EdgeSeries {
    /// Who calls whom.
    pub edge: EdgeName,
    /// Calls.
    pub requests: u64,
    /// Bucket by bucket.
    pub points: Vec<Point>,
}

/// Requests for an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationSeries {
    /// The operation.
    pub operation: OperationName,
    /// Requests.
    pub requests: u64,
    /// Bucket by bucket.
    pub points: Vec<Point>,
}

/// Requests that a service served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSeries {
    /// The service.
    pub service: String,
    /// Requests.
    pub requests: u64,
    /// Bucket by bucket.
    pub points: Vec<Point>,
}

/// Requests that began in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Requests.
    pub requests: u64,
    /// Those with an error.
    pub errors: u64,
    /// How they failed; those that did.
    pub failures: Vec<FailureCount>,
    /// Those whose caller left before the answer.
    pub abandoned: u64,
    /// Those that try a failed one again. Only an edge knows it.
    pub retries: u64,
    /// Requests that ended in this bucket, whenever they began.
    pub ended: u64,
    /// Requests that were open, on the average.
    pub open: f64,
    /// Half of them took no longer.
    pub p50_ns: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_ns: Option<u64>,
}

/// Requests that failed in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureCount {
    /// Why.
    pub failure: Failure,
    /// How many.
    pub count: u64,
}

/// The series of a corpus.
pub fn analyze(corpus: &Corpus, options: &SeriesOptions) -> SeriesAnswer {
    let sample = Sample::of(corpus);
    let Some(table) = Table::of(corpus) else { return SeriesAnswer { sample, ..SeriesAnswer::default() } };
    let buckets = table.buckets;
    let mut left_out = 0;
    let edges = busiest(&table.edges, options.most, &mut left_out).into_iter();
    let edges = edges.map(|(requests, (from, to), row)| EdgeSeries {
        edge: EdgeName::of(corpus, from, to),
        requests,
        points: points(row, buckets),
    });
    let edges = edges.collect();
    let operations = busiest(&table.operations, options.most, &mut left_out).into_iter();
    let operations = operations.map(|(requests, operation, row)| OperationSeries {
        operation: OperationName::of(corpus, operation),
        requests,
        points: points(row, buckets),
    });
    let operations = operations.collect();
    let services = busiest(&table.services, options.most, &mut left_out).into_iter();
    let services = services.map(|(requests, service, row)| ServiceSeries {
        service: corpus.dictionary.name(service).to_owned(),
        requests,
        points: points(row, buckets),
    });
    SeriesAnswer {
        sample,
        start_unix_us: buckets.begin_us(0),
        bucket_us: buckets.width_ns / 1000,
        edges,
        operations,
        services: services.collect(),
        left_out,
        left_out_requests: table.edges.omitted_requests + table.operations.omitted_requests,
        roots: table.roots,
    }
}

/// Those with most requests.
fn busiest<'a, K: Copy + Eq + std::hash::Hash + Ord>(
    rows: &'a Rows<K>,
    most: usize,
    left_out: &mut u64,
) -> Vec<(u64, K, &'a Row)> {
    let requests = |row: &Row| row.cells.iter().map(|cell| cell.requests).sum::<u64>();
    let mut all: Vec<(u64, K, &Row)> = rows.iter().map(|(key, row)| (requests(row), key, row)).collect();
    all.sort_by_key(|(requests, key, _)| (Reverse(*requests), *key));
    *left_out += all.len().saturating_sub(most) as u64;
    all.truncate(most);
    all
}

fn points(row: &Row, buckets: Buckets) -> Vec<Point> {
    row.cells.iter().zip(row.open.means(buckets)).map(|(cell, open)| point(cell, open)).collect()
}

fn point(cell: &Cell, open: f64) -> Point {
    Point {
        requests: cell.requests,
        errors: cell.errors,
        failures: failures(cell),
        abandoned: cell.abandoned,
        retries: cell.retries,
        ended: cell.ended,
        open,
        p50_ns: cell.durations.quantile_ns(0.5),
        p99_ns: cell.durations.quantile_ns(0.99),
    }
}

/// How requests failed, the most frequent first.
pub(crate) fn failures(cell: &Cell) -> Vec<FailureCount> {
    let counted = Failure::ALL.into_iter().zip(cell.failures).filter(|(_, count)| *count > 0);
    let mut counted: Vec<FailureCount> =
        counted.map(|(failure, count)| FailureCount { failure, count: u64::from(count) }).collect();
    counted.sort_by_key(|counted| Reverse(counted.count));
    counted
}

#[cfg(test)]
mod tests;
