//! What is counted of each edge and each party.

use std::{cmp::Reverse, collections::BTreeMap};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_model::{answer::NodeKind, critical::path, span::Kind};

use super::{Dependency, DependencyParty, FailurePassing, PassingVerdict};
use crate::{
    answer::{EdgeName, Exemplar},
    corpus::{Corpus, PartyId, Trace},
    series::{Buckets, Durations},
    statistics::{CONFIDENCE, Proportion},
};

/// Names of calls that are told of an edge, and those that are counted.
const MOST_NAMES: usize = 5;
const COUNTED_NAMES: usize = 200;

/// Edges that are counted, and parties whose requests are counted over time: each takes kilobytes. Calls of further edges are
/// counted together.
const COUNTED_EDGES: usize = 10_000;
const COUNTED_PARTIES: usize = 10_000;

/// Instances of a party that are told apart.
const MOST_INSTANCES: usize = 1000;

/// A stretch without calls has so many buckets at least, if it is told.
const LEAST_BUCKETS: usize = 3;

/// An edge is new or gone if chance alone made a stretch without calls of it this seldom, among all edges.
const ALPHA: f64 = 0.001;

/// Spans above a call that are looked at for the request that it is made for.
const MOST_ABOVE: usize = 64;

/// A caller and a called one.
pub(crate) type Edge = (PartyId, PartyId);

/// What is counted of an edge.
#[derive(Default)]
pub(super) struct EdgeTally {
    pub(super) calls: u64,
    failed: u64,
    traces: u64,
    last_trace: Option<usize>,
    path_ns: u64,
    passing: Passing,
    durations: Durations,
    names: FxHashMap<u32, u64>,
    first_ns: u64,
    last_ns: u64,
    over_time: Vec<u64>,
    exemplar: Option<(bool, usize, usize)>,
}

/// Requests with calls, with failed ones, and those of these that failed.
#[derive(Clone, Copy, Default)]
pub(super) struct Passing {
    requests: u64,
    with_failed_call: u64,
    failed: u64,
}

impl Passing {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.with_failed_call += other.with_failed_call;
        self.failed += other.failed;
    }

    pub(super) fn told(self) -> FailurePassing {
        let Self { requests, with_failed_call, failed } = self;
        let failing =
            (with_failed_call > 0).then(|| Proportion::new(failed, with_failed_call).interval(CONFIDENCE));
        let verdict = match failing {
            None => PassingVerdict::NeverFailed,
            Some(interval) if interval.low > 0.5 => PassingVerdict::Passes,
            Some(interval) if interval.high < 0.5 => PassingVerdict::Absorbed,
            Some(_) => PassingVerdict::NotEnough,
        };
        FailurePassing { requests, with_failed_call, failed, verdict, failing }
    }
}

/// What is counted of a party.
#[derive(Default)]
pub(super) struct PartyTally {
    pub(super) requests: u64,
    pub(super) entries: u64,
    /// Traces with a root that wait for it.
    pub(super) waiting: u64,
    last_waiting: Option<usize>,
    instances: FxHashSet<std::sync::Arc<str>>,
    over_time: Vec<u64>,
}

impl PartyTally {
    pub(super) fn instances(&self) -> u64 {
        self.instances.len() as u64
    }
}

/// Counts of all edges and parties.
pub(super) struct Tallies {
    pub(super) buckets: Buckets,
    /// Traces with a root, and their time together.
    pub(super) rooted: u64,
    total_ns: u64,
    pub(super) edges: BTreeMap<Edge, EdgeTally>,
    /// Each at the place of its code.
    pub(super) parties: Vec<PartyTally>,
    /// Requests that came back to a service which waits for them: the service, and where.
    pub(super) returns: BTreeMap<PartyId, Returns>,
    /// Calls of edges that are not counted.
    pub(super) omitted_calls: u64,
    /// Parties that are counted over time.
    timed: usize,
}

/// Traces in which requests come back to a service.
#[derive(Clone, Copy)]
pub(super) struct Returns {
    pub(super) traces: u64,
    /// Trace and span.
    pub(super) last: (usize, usize),
}

impl Tallies {
    pub(super) fn of(corpus: &Corpus) -> Self {
        let mut tallies = Self {
            buckets: Buckets::of(corpus).unwrap_or_default(),
            rooted: 0,
            total_ns: 0,
            edges: BTreeMap::new(),
            parties: corpus.dictionary.parties().iter().map(|_| PartyTally::default()).collect(),
            returns: BTreeMap::new(),
            omitted_calls: 0,
            timed: 0,
        };
        let mut path_before: Vec<u64> = Vec::new();
        let mut calls: Vec<(Edge, usize, bool)> = Vec::new();
        for trace in corpus.traces() {
            tallies.add_path(trace, &mut path_before);
            calls.clear();
            for at in 0..trace.len() {
                if trace.serves(at) {
                    tallies.add_request(trace, at);
                }
                let edge = edge_of(trace, at);
                if edge.is_some_and(|edge| !tallies.has_room(edge)) {
                    tallies.omitted_calls += 1;
                } else if let Some(edge) = edge {
                    tallies.add_call(trace, at, edge, &path_before);
                    calls.extend(request_of(trace, at).map(|request| (edge, request, trace.is_error(at))));
                }
            }
            calls.sort_unstable();
            for of_request in calls.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
                let (edge, request, _) = of_request[0];
                let has_failed = of_request.iter().any(|(_, _, failed)| *failed);
                if let Some(tally) = tallies.edges.get_mut(&edge) {
                    tally.passing.add(Passing {
                        requests: 1,
                        with_failed_call: u64::from(has_failed),
                        failed: u64::from(has_failed && trace.is_error(request)),
                    });
                }
            }
        }
        tallies
    }

    fn has_room(&self, edge: Edge) -> bool {
        self.edges.len() < COUNTED_EDGES || self.edges.contains_key(&edge)
    }

    /// Counts who is waited for. `path_before` becomes the time on the critical path of all spans before each place.
    fn add_path(&mut self, trace: Trace<'_>, path_before: &mut Vec<u64>) {
        path_before.clear();
        path_before.resize(trace.len() + 1, 0);
        if !trace.has_root() {
            return;
        }
        let root = trace.root();
        self.rooted += 1;
        self.total_ns = self.total_ns.saturating_add(trace.duration_ns(root));
        self.parties[trace.service(root).index()].entries += u64::from(trace.serves(root));
        for (at, stretch) in path(&trace, root) {
            let sum = &mut path_before[at + 1];
            *sum = sum.saturating_add(stretch.end_ns - stretch.start_ns);
            for party in [Some(trace.service(at)), trace.asked(at)].into_iter().flatten() {
                let party = &mut self.parties[party.index()];
                if party.last_waiting != Some(trace.place()) {
                    party.last_waiting = Some(trace.place());
                    party.waiting += 1;
                }
            }
        }
        for at in 1..path_before.len() {
            path_before[at] = path_before[at].saturating_add(path_before[at - 1]);
        }
    }

    fn add_request(&mut self, trace: Trace<'_>, at: usize) {
        let service = trace.service(at);
        let party = &mut self.parties[service.index()];
        party.requests += 1;
        if party.over_time.is_empty() && self.timed < COUNTED_PARTIES {
            party.over_time = vec![0; self.buckets.count];
            self.timed += 1;
        }
        if let Some(requests) = party.over_time.get_mut(self.buckets.at(trace.time(at).start_ns)) {
            *requests += 1;
        }
        let instance = &trace.facts(at).maker.instance;
        let has_room = party.instances.len() < MOST_INSTANCES;
        if has_room && !instance.is_empty() && !party.instances.contains(instance) {
            party.instances.insert(instance.clone());
        }
        let returns =
            |parent: usize| trace.service(parent) != service && is_waiting_above(trace, parent, service);
        if trace.parent(at).is_some_and(returns) {
            let place = trace.place();
            let returns = self.returns.entry(service).or_insert(Returns { traces: 0, last: (usize::MAX, 0) });
            if returns.last.0 != place {
                *returns = Returns { traces: returns.traces + 1, last: (place, at) };
            }
        }
    }

    fn add_call(&mut self, trace: Trace<'_>, at: usize, edge: Edge, path_before: &[u64]) {
        let (buckets, time) = (self.buckets, trace.time(at));
        let tally = self.edges.entry(edge).or_insert_with(|| EdgeTally {
            first_ns: u64::MAX,
            over_time: vec![0; buckets.count],
            ..EdgeTally::default()
        });
        tally.calls += 1;
        let has_failed = trace.is_error(at);
        tally.failed += u64::from(has_failed);
        if tally.last_trace != Some(trace.place()) {
            tally.last_trace = Some(trace.place());
            tally.traces += 1;
        }
        // A call below another one of the same edge is on its path already.
        let path_ns = path_before[trace.after(at)].saturating_sub(path_before[at]);
        tally.path_ns = tally.path_ns.saturating_add(path_ns);
        if trace.facts(at).end_known {
            tally.durations.add(time.end_ns - time.start_ns);
        }
        let operation = trace.operation(trace.server(at).unwrap_or(at));
        if tally.names.len() < COUNTED_NAMES || tally.names.contains_key(&operation) {
            *tally.names.entry(operation).or_default() += 1;
        }
        tally.first_ns = tally.first_ns.min(time.start_ns);
        tally.last_ns = tally.last_ns.max(time.start_ns);
        tally.over_time[buckets.at(time.start_ns)] += 1;
        if tally.exemplar.is_none_or(|(failed, _, _)| has_failed && !failed) {
            tally.exemplar = Some((has_failed, trace.place(), at));
        }
    }

    /// Failures of calls to a party, by all its callers.
    pub(super) fn failures_of(&self, called: PartyId) -> Passing {
        let mut sum = Passing::default();
        self.edges.iter().filter(|((_, to), _)| *to == called).for_each(|(_, edge)| sum.add(edge.passing));
        sum
    }

    pub(super) fn parties(&self, corpus: &Corpus) -> Vec<DependencyParty> {
        let mut seen = vec![false; self.parties.len()];
        for (from, to) in self.edges.keys() {
            (seen[from.index()], seen[to.index()]) = (true, true);
        }
        let parties = corpus.dictionary.parties().iter().zip(&self.parties).zip(seen);
        let mut told: Vec<DependencyParty> = parties
            .filter(|((_, tally), is_seen)| *is_seen || tally.requests > 0)
            .map(|((party, tally), _)| DependencyParty {
                name: party.name.to_string(),
                kind: party.kind,
                requests: tally.requests,
                instances: tally.instances(),
                entries: tally.entries,
            })
            .collect();
        told.sort_by(|one, other| (&one.name, one.kind).cmp(&(&other.name, other.kind)));
        told
    }

    /// All edges, the most calls first.
    pub(super) fn edges(&self, corpus: &Corpus) -> Vec<Dependency> {
        let mut edges: Vec<Dependency> =
            self.edges.iter().map(|(edge, tally)| self.dependency(corpus, *edge, tally)).collect();
        edges.sort_by(|one, other| (Reverse(one.calls), &one.edge).cmp(&(Reverse(other.calls), &other.edge)));
        edges
    }

    fn dependency(&self, corpus: &Corpus, (from, to): Edge, tally: &EdgeTally) -> Dependency {
        let mut names: Vec<(u64, u32)> = tally.names.iter().map(|(name, count)| (*count, *name)).collect();
        names.sort_unstable_by_key(|(count, name)| (Reverse(*count), *name));
        let names = names.iter().map(|(_, name)| corpus.dictionary.operation(*name).name.to_string());
        let mut operations: Vec<String> = Vec::new();
        for name in names {
            if operations.len() < MOST_NAMES && !operations.contains(&name) {
                operations.push(name);
            }
        }
        let (new_since, gone_since) = self.changes(from, tally);
        Dependency {
            edge: EdgeName::of(corpus, from, to),
            from_kind: corpus.dictionary.party(from).kind,
            system: corpus.dictionary.party(to).system.as_deref().map(str::to_owned),
            calls: tally.calls,
            failed_calls: tally.failed,
            operations,
            p50_ns: tally.durations.quantile_ns(0.5),
            p95_ns: tally.durations.quantile_ns(0.95),
            traces: tally.traces,
            path_part: tally.path_ns.min(self.total_ns) as f64 / self.total_ns.max(1) as f64,
            failures: tally.passing.told(),
            first_unix_us: tally.first_ns / 1000,
            last_unix_us: tally.last_ns / 1000,
            new_since_unix_us: new_since,
            gone_since_unix_us: gone_since,
            over_time: tally.over_time.clone(),
            exemplar: tally.exemplar.map(|(_, place, at)| Exemplar::of(corpus.trace(place), at)),
        }
    }

    /// Whether an edge is new or gone: its caller served enough requests before the first call, or after the last one, that
    /// chance does not explain that none made a call.
    fn changes(&self, from: PartyId, tally: &EdgeTally) -> (Option<u64>, Option<u64>) {
        let served = &self.parties[from.index()].over_time;
        let calls = &tally.over_time;
        let first = calls.iter().position(|calls| *calls > 0);
        let last = calls.iter().rposition(|calls| *calls > 0);
        let (Some(first), Some(last), false) = (first, last, served.is_empty()) else { return (None, None) };
        let requests = |range: &[u64]| range.iter().sum::<u64>() as f64;
        let per_request = tally.calls as f64 / requests(&served[first..=last]).max(1.0);
        // Calls come in the requests that make them: a request with several calls is one chance.
        let chances = per_request.min(1.0);
        let alpha = ALPHA / self.edges.len().max(1) as f64;
        let is_told = |quiet: &[u64]| {
            let chance = (1.0 - chances).max(0.0).powf(requests(quiet));
            quiet.len() >= LEAST_BUCKETS && requests(quiet) > 0.0 && chance < alpha
        };
        // Requests that began in the last bucket may not have made their calls yet.
        let after = (last + 1).min(served.len().saturating_sub(1));
        (
            is_told(&served[..first]).then_some(tally.first_ns / 1000),
            is_told(&served[after..served.len().saturating_sub(1).max(after)])
                .then_some(tally.last_ns / 1000),
        )
    }
}

/// Who calls whom by a span.
///
/// A message goes to the broker that carries it, and from that to the one who takes it. A request that is served below a span
/// which asks nobody was made by that span's service.
pub(crate) fn edge_of(trace: Trace<'_>, at: usize) -> Option<Edge> {
    let corpus = trace.corpus();
    let broker = || trace.peer(at).filter(|peer| corpus.dictionary.party(*peer).kind == NodeKind::Broker);
    if trace.asks(at) {
        return Some((trace.service(at), broker().or_else(|| trace.asked(at))?));
    }
    if !trace.serves(at) {
        return None;
    }
    if trace.facts(at).kind == Kind::Consumer
        && let Some(broker) = broker()
    {
        return Some((broker, trace.service(at)));
    }
    let parent = trace.parent(at)?;
    let is_other = !trace.asks(parent) && trace.service(parent) != trace.service(at);
    is_other.then(|| (trace.service(parent), trace.service(at)))
}

/// The request that a call is made for: the next span above that its service served.
fn request_of(trace: Trace<'_>, at: usize) -> Option<usize> {
    let service = trace.service(at);
    above(trace, at).take_while(|above| trace.service(*above) == service).find(|above| trace.serves(*above))
}

fn is_waiting_above(trace: Trace<'_>, at: usize, service: PartyId) -> bool {
    let waits = |above: &usize| trace.serves(*above) && trace.service(*above) == service;
    std::iter::once(at).chain(above(trace, at)).any(|above| waits(&above))
}

/// The spans above one, the nearest first; so many at most.
fn above(trace: Trace<'_>, at: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(trace.parent(at), move |at| trace.parent(*at)).take(MOST_ABOVE)
}
