//! What each operation and each edge did, bucket by bucket.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::corpus::{Corpus, PartyId, Trace};
pub(super) use crate::series::table::{has_failed_call as passes_on, own_ns};

/// Buckets of a stretch of time: enough to tell when something began, and few enough that each has some requests.
const MOST_BUCKETS: u64 = 180;

/// Least width of a bucket.
const LEAST_BUCKET_NS: u64 = 1_000_000_000;

/// Operations, edges, and calls of one operation below another that are followed in time, those with the most requests: each
/// takes kilobytes.
const MOST_OPERATIONS: usize = 2000;
const MOST_EDGES: usize = 2000;
const MOST_CALLS: usize = 4000;

/// Durations that a bucket of one operation keeps: its median needs no more.
const MOST_KEPT: usize = 256;

/// Calls of one request that are looked at for a retry of an earlier one.
const MOST_BEFORE: usize = 16;

/// Equal stretches of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    pub(super) start_ns: u64,
    pub(super) width_ns: u64,
    pub(super) count: usize,
}

impl Buckets {
    fn of(first_ns: u64, last_ns: u64) -> Self {
        let length_ns = last_ns.saturating_sub(first_ns).saturating_add(1);
        let width_ns = length_ns.div_ceil(MOST_BUCKETS).max(LEAST_BUCKET_NS);
        Self { start_ns: first_ns, width_ns, count: (length_ns.div_ceil(width_ns)).max(1) as usize }
    }

    fn at(self, ns: u64) -> usize {
        ((ns.saturating_sub(self.start_ns) / self.width_ns) as usize).min(self.count - 1)
    }

    /// When a bucket begins, microseconds since 1970.
    pub(super) fn begin_us(self, bucket: usize) -> u64 {
        self.start_ns.saturating_add(self.width_ns.saturating_mul(bucket as u64)) / 1000
    }

    /// When the last one ends.
    pub(super) fn end_us(self) -> u64 {
        self.begin_us(self.count)
    }
}

/// What an operation served in a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Errors without a failed call below them that they pass on.
    pub(super) own_errors: u64,
    /// Own times of some requests, nanoseconds.
    pub(super) own_ns: Vec<u64>,
}

impl Served {
    /// The median own time. None of fewer than three requests.
    pub(super) fn median_ns(&self) -> Option<f64> {
        const FEW: usize = 3;
        if self.own_ns.len() < FEW {
            return None;
        }
        let mut sorted = self.own_ns.clone();
        let middle = sorted.len() / 2;
        let (_, median, _) = sorted.select_nth_unstable(middle);
        Some(*median as f64)
    }
}

/// What was asked over an edge in a bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) calls: u64,
    pub(super) errors: u64,
    /// Calls that try a failed one again.
    pub(super) retries: u64,
}

/// Caller and called.
pub(super) type Edge = (PartyId, PartyId);

/// All series of a corpus.
pub(super) struct Series {
    pub(super) buckets: Buckets,
    /// By operation of those that serve.
    pub(super) operations: FxHashMap<u32, Vec<Served>>,
    pub(super) edges: FxHashMap<Edge, Vec<Asked>>,
    /// Calls of each operation below each serving operation.
    pub(super) calls: FxHashMap<(u32, u32), Vec<u64>>,
    /// Requests that begin a trace.
    pub(super) roots: Vec<u64>,
    /// Operations, edges and calls that are not followed, since there are too many.
    pub(super) left_out: u64,
}

/// What is followed in time.
#[derive(Default)]
struct Followed {
    operations: FxHashMap<u32, u64>,
    edges: FxHashMap<Edge, u64>,
    calls: FxHashMap<(u32, u32), u64>,
    left_out: u64,
}

impl Followed {
    /// The busiest of a corpus.
    fn of(corpus: &Corpus) -> Self {
        let mut followed = Self::default();
        for trace in corpus.traces() {
            for at in 0..trace.len() {
                if trace.serves(at) {
                    *followed.operations.entry(trace.operation(at)).or_default() += 1;
                }
                if !trace.asks(at) {
                    continue;
                }
                if let Some(asked) = trace.asked(at) {
                    *followed.edges.entry((trace.service(at), asked)).or_default() += 1;
                }
                if let Some(parent) = trace.parent(at).filter(|parent| trace.serves(*parent)) {
                    *followed.calls.entry((trace.operation(parent), trace.operation(at))).or_default() += 1;
                }
            }
        }
        followed.left_out = busiest(&mut followed.operations, MOST_OPERATIONS)
            + busiest(&mut followed.edges, MOST_EDGES)
            + busiest(&mut followed.calls, MOST_CALLS);
        followed
    }
}

/// Keeps those with the highest counts, so many at most. Tells how many went.
fn busiest<K: Copy + Ord + std::hash::Hash>(counts: &mut FxHashMap<K, u64>, most: usize) -> u64 {
    if counts.len() <= most {
        return 0;
    }
    let mut order: Vec<(Reverse<u64>, K)> =
        counts.iter().map(|(key, count)| (Reverse(*count), *key)).collect();
    order.sort_unstable();
    for (_, key) in &order[most..] {
        counts.remove(key);
    }
    (order.len() - most) as u64
}

impl Series {
    /// Of all traces. None of an empty corpus.
    pub(super) fn of(corpus: &Corpus) -> Option<Self> {
        let first_ns = corpus.traces().next()?.time(0).start_ns;
        let last_ns = corpus.traces().map(|trace| trace.time(trace.root()).start_ns).max()?;
        let buckets = Buckets::of(first_ns, last_ns);
        let mut series = Self {
            buckets,
            operations: FxHashMap::default(),
            edges: FxHashMap::default(),
            calls: FxHashMap::default(),
            roots: vec![0; buckets.count],
            left_out: 0,
        };
        let followed = Followed::of(corpus);
        series.left_out = followed.left_out;
        let mut before = Vec::new();
        for trace in corpus.traces() {
            series.roots[buckets.at(trace.time(trace.root()).start_ns)] += 1;
            for at in 0..trace.len() {
                if trace.serves(at) && followed.operations.contains_key(&trace.operation(at)) {
                    series.served(trace, at);
                }
                series.asked_below(trace, at, &followed, &mut before);
            }
        }
        Some(series)
    }

    fn served(&mut self, trace: Trace<'_>, at: usize) {
        let bucket = self.buckets.at(trace.time(at).start_ns);
        let count = self.buckets.count;
        let served =
            self.operations.entry(trace.operation(at)).or_insert_with(|| vec![Served::default(); count]);
        let served = &mut served[bucket];
        served.requests += 1;
        if trace.is_error(at) {
            served.errors += 1;
            served.own_errors += u64::from(!passes_on(trace, at));
        }
        if served.own_ns.len() < MOST_KEPT && trace.facts(at).end_known {
            served.own_ns.push(own_ns(trace, at));
        }
    }

    /// The calls right below a span.
    fn asked_below(
        &mut self,
        trace: Trace<'_>,
        parent: usize,
        followed: &Followed,
        before: &mut Vec<(u32, u64)>,
    ) {
        before.clear();
        let count = self.buckets.count;
        for at in trace.children(parent).filter(|at| trace.asks(*at)) {
            let operation = trace.operation(at);
            let time = trace.time(at);
            // A call that its caller gave up is seen to end some time later: calls that begin together are no retries.
            let follows = |(failed, half_ns): &(u32, u64)| *failed == operation && *half_ns <= time.start_ns;
            let is_retry = trace.facts(at).resend > 0 || before.iter().rev().take(MOST_BEFORE).any(follows);
            if trace.is_error(at) {
                before.push((operation, time.start_ns + (time.end_ns - time.start_ns) / 2));
            }
            let bucket = self.buckets.at(time.start_ns);
            let edge = trace.asked(at).map(|asked| (trace.service(at), asked));
            if let Some(edge) = edge.filter(|edge| followed.edges.contains_key(edge)) {
                let of = &mut self.edges.entry(edge).or_insert_with(|| vec![Asked::default(); count])[bucket];
                of.calls += 1;
                of.errors += u64::from(trace.is_error(at));
                of.retries += u64::from(is_retry);
            }
            let key = (trace.operation(parent), operation);
            if trace.serves(parent) && followed.calls.contains_key(&key) {
                let bucket = self.buckets.at(trace.time(parent).start_ns);
                self.calls.entry(key).or_insert_with(|| vec![0; count])[bucket] += 1;
            }
        }
    }
}
