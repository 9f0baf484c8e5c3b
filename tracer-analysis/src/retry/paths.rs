//! Ways of requests through services, and by how much calls multiply on them.

use std::{cmp::Reverse, ops::Range};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Goodput, MOST_EXEMPLARS,
    attempts::{Attempts, Role},
    exemplars, ratio,
};
use crate::{
    answer::{Exemplar, OperationName},
    corpus::{Corpus, PartyId, Trace},
    series::{Buckets, Failure},
};

/// Steps of ways that are told apart.
const MOST_NODES: usize = 2000;

/// Requests of a bucket from which on its amplification is a number.
const LEAST_REQUESTS: u64 = 5;

/// No node.
const NOWHERE: u32 = u32::MAX;

/// One way of requests, from the top to the last one that is called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryPath {
    /// The request at the top.
    pub top: OperationName,
    /// Requests at the top.
    pub requests: u64,
    /// Who is called, layer by layer from the top.
    pub layers: Vec<Layer>,
    /// Calls at the bottom for each request at the top.
    pub amplification: f64,
    /// The most of it in a bucket of time.
    pub peak: f64,
    /// When that bucket begins.
    pub peak_unix_us: u64,
    /// The most calls at the bottom for one request.
    pub most: u64,
    /// Requests with the most calls at the bottom.
    pub exemplars: Vec<Exemplar>,
}

/// One layer of a way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Layer {
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Attempts for each logical call: what retries multiply by here.
    pub factor: f64,
    /// The same in the bucket of the peak.
    pub peak_factor: f64,
    /// Logical calls for each request that comes to the caller.
    pub fan_out: f64,
}

#[derive(Debug)]
struct Node {
    /// The node above; none of a root.
    above: u32,
    root: u32,
    from: PartyId,
    /// Of a root, the operation.
    operation: u32,
    party: PartyId,
    has_below: bool,
    /// Calls by the bucket in which the request at the top began.
    calls: Vec<Goodput>,
    /// Of this trace.
    here: u32,
    worst: Vec<(u32, Reverse<usize>, usize)>,
}

/// All ways of a corpus, as a tree.
#[derive(Debug)]
pub(super) struct Paths {
    buckets: Buckets,
    nodes: Vec<Node>,
    places: FxHashMap<(u32, PartyId, u32), u32>,
    /// Of each span of a trace.
    of_span: Vec<u32>,
    touched: Vec<u32>,
    /// Calls that were left out.
    pub(super) left_out: u64,
}

impl Paths {
    pub(super) fn new(buckets: Buckets) -> Self {
        Self {
            buckets,
            nodes: Vec::new(),
            places: FxHashMap::default(),
            of_span: Vec::new(),
            touched: Vec::new(),
            left_out: 0,
        }
    }

    pub(super) fn add(&mut self, trace: Trace<'_>, attempts: &Attempts) {
        self.of_span.clear();
        self.of_span.resize(trace.len(), NOWHERE);
        let top = trace.root();
        let bucket = self.buckets.at(trace.time(top).start_ns);
        for at in 0..trace.len() {
            let role = attempts.role(at);
            let above = match trace.parent(at) {
                Some(parent) => self.of_span[parent],
                None => {
                    let top = self.node(None, trace.service(at), trace.service(at), trace.operation(at));
                    if let Some(top) = self.nodes.get_mut(top as usize) {
                        let calls = Goodput { attempts: 1, logical_calls: 1, succeeded: 0 };
                        top.calls[bucket] = top.calls[bucket].and(calls);
                    }
                    top
                }
            };
            self.of_span[at] = above;
            if role == Role::None {
                continue;
            }
            let asked = trace.asked(attempts.first(at)).or_else(|| trace.asked(at));
            let Some(asked) = asked else { continue };
            let node = self.node(Some(above), trace.service(at), asked, 0);
            self.of_span[at] = node;
            let Some(of) = self.nodes.get_mut(node as usize) else {
                self.left_out += 1;
                continue;
            };
            let calls = Goodput {
                attempts: 1,
                logical_calls: u64::from(role == Role::First),
                succeeded: u64::from(Failure::of(trace.facts(at)).is_none()),
            };
            of.calls[bucket] = of.calls[bucket].and(calls);
            if of.here == 0 {
                self.touched.push(node);
            }
            of.here += 1;
        }
        for node in self.touched.drain(..) {
            let of = &mut self.nodes[node as usize];
            let shown = (of.here, Reverse(trace.place()), top);
            of.here = 0;
            if of.worst.len() < MOST_EXEMPLARS || of.worst.last().is_some_and(|least| *least < shown) {
                of.worst.push(shown);
                of.worst.sort_by(|one, other| other.cmp(one));
                of.worst.truncate(MOST_EXEMPLARS);
            }
        }
    }

    /// The node of a call below another one, or of a request at the top; nowhere if there are too many.
    fn node(&mut self, above: Option<u32>, from: PartyId, party: PartyId, operation: u32) -> u32 {
        // What lies below one that was left out is left out.
        if above == Some(NOWHERE) {
            return NOWHERE;
        }
        let above = above.unwrap_or(NOWHERE);
        if let Some(place) = self.places.get(&(above, party, operation)) {
            return *place;
        }
        if self.nodes.len() >= MOST_NODES {
            return NOWHERE;
        }
        let root = self.nodes.get(above as usize).map(|above| above.root);
        let place = self.nodes.len() as u32;
        self.nodes.push(Node {
            above,
            root: root.unwrap_or(place),
            from,
            operation,
            party,
            has_below: false,
            calls: vec![Goodput::default(); self.buckets.count],
            here: 0,
            worst: Vec::new(),
        });
        if let Some(above) = self.nodes.get_mut(above as usize) {
            above.has_below = true;
        }
        self.places.insert((above, party, operation), place);
        place
    }

    /// Calls of a node in some buckets.
    fn sum(&self, node: u32, range: Range<usize>) -> Goodput {
        self.nodes[node as usize].calls[range].iter().copied().fold(Goodput::default(), Goodput::and)
    }

    /// Nodes from the first layer to this one.
    fn chain(&self, node: u32) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut at = node;
        while let Some(of) = self.nodes.get(at as usize).filter(|of| of.above != NOWHERE) {
            chain.push(at);
            at = of.above;
        }
        chain.reverse();
        chain
    }

    fn amplification(&self, node: u32, range: Range<usize>) -> f64 {
        let top = self.sum(self.nodes[node as usize].root, range.clone());
        ratio(self.sum(node, range).attempts, top.attempts)
    }

    /// Ways to the bottom on which something is tried again, the worst first.
    pub(super) fn told(&self, corpus: &Corpus) -> Vec<RetryPath> {
        let all = 0..self.buckets.count;
        let is_retried = |node: &u32| self.sum(*node, all.clone()).retries() > 0;
        let bottoms = (0..self.nodes.len() as u32).filter(|node| {
            let of = &self.nodes[*node as usize];
            of.above != NOWHERE && !of.has_below && self.chain(*node).iter().any(is_retried)
        });
        let mut paths: Vec<RetryPath> = bottoms.map(|node| self.path(corpus, node)).collect();
        paths.sort_by(|one, other| other.peak.total_cmp(&one.peak));
        paths
    }

    fn path(&self, corpus: &Corpus, node: u32) -> RetryPath {
        let all = 0..self.buckets.count;
        let of = &self.nodes[node as usize];
        let top = &self.nodes[of.root as usize];
        let enough = all.clone().filter(|bucket| top.calls[*bucket].attempts >= LEAST_REQUESTS);
        let peaks = enough.map(|bucket| (self.amplification(node, bucket..bucket + 1), bucket));
        let (peak, bucket) = peaks
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .unwrap_or((self.amplification(node, all.clone()), 0));
        RetryPath {
            top: OperationName::of(corpus, top.operation),
            requests: self.sum(of.root, all.clone()).attempts,
            layers: self.layers(corpus, node, all.clone(), bucket..bucket + 1),
            amplification: self.amplification(node, all),
            peak,
            peak_unix_us: self.buckets.begin_us(bucket),
            most: of.worst.first().map_or(0, |(most, ..)| u64::from(*most)),
            exemplars: exemplars(corpus, &of.worst),
        }
    }

    fn layers(&self, corpus: &Corpus, node: u32, all: Range<usize>, peak: Range<usize>) -> Vec<Layer> {
        let layer = |node: u32| {
            let of = &self.nodes[node as usize];
            let (total, at_peak) = (self.sum(node, all.clone()), self.sum(node, peak.clone()));
            let above = self.sum(of.above, all.clone());
            Layer {
                from: corpus.dictionary.name(of.from).to_owned(),
                to: corpus.dictionary.name(of.party).to_owned(),
                factor: ratio(total.attempts, total.logical_calls),
                peak_factor: ratio(at_peak.attempts, at_peak.logical_calls),
                fan_out: ratio(total.logical_calls, above.attempts),
            }
        };
        self.chain(node).into_iter().map(layer).collect()
    }

    /// The way to a call on which calls multiplied most in some buckets: its amplification then and before, and its layers then.
    pub(super) fn worst_to(
        &self,
        corpus: &Corpus,
        (from, to): (PartyId, PartyId),
        range: Range<usize>,
    ) -> Option<Amplified> {
        let ways = (0..self.nodes.len() as u32).filter(|node| {
            let of = &self.nodes[*node as usize];
            let top = self.sum(of.root, range.clone());
            of.above != NOWHERE && (of.from, of.party) == (from, to) && top.attempts >= LEAST_REQUESTS
        });
        let worst = ways.map(|node| (self.amplification(node, range.clone()), node));
        let (during, node) = worst.max_by(|one, other| one.0.total_cmp(&other.0))?;
        let top = &self.nodes[self.nodes[node as usize].root as usize];
        Some(Amplified {
            top: OperationName::of(corpus, top.operation),
            before: self.amplification(node, 0..range.start),
            during,
            layers: self.layers(corpus, node, range.clone(), range),
        })
    }
}

/// By how much calls multiply on a way.
#[derive(Debug)]
pub(super) struct Amplified {
    pub(super) top: OperationName,
    pub(super) before: f64,
    pub(super) during: f64,
    pub(super) layers: Vec<Layer>,
}
