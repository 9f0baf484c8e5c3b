//! Failed calls below requests that succeeded, and what they cost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use tracer_model::critical::path;

use super::HiddenErrors;
use crate::{
    answer::{EdgeName, Exemplar},
    corpus::{Corpus, PartyId, Trace},
};

/// Edges that are told, and traces of each.
const MOST_EDGES: usize = 20;
const MOST_EXEMPLARS: usize = 3;

pub(super) fn of(corpus: &Corpus, traces: &[Trace<'_>]) -> Vec<HiddenErrors> {
    let mut edges: BTreeMap<(PartyId, PartyId), HiddenErrors> = BTreeMap::new();
    for trace in traces {
        let mut path_ns: Option<Vec<u64>> = None;
        let mut counted: BTreeSet<(PartyId, PartyId, usize)> = BTreeSet::new();
        for at in 0..trace.len() {
            let Some(asked) = trace.asked(at).filter(|_| trace.asks(at)) else { continue };
            let edge = (trace.service(at), asked);
            let of = edges.entry(edge).or_insert_with(|| HiddenErrors {
                edge: EdgeName::of(corpus, edge.0, edge.1),
                ..HiddenErrors::default()
            });
            of.of += 1;
            let Some(request) = trace.parent(at).filter(|_| trace.is_error(at)) else { continue };
            if trace.is_error(request) {
                continue;
            }
            // Only traces with such a call are walked.
            let path_ns = path_ns.get_or_insert_with(|| {
                let mut sums = vec![0; trace.len()];
                for (at, stretch) in path(trace, trace.root()) {
                    sums[at] += stretch.end_ns - stretch.start_ns;
                }
                sums
            });
            of.calls += 1;
            of.requests += u64::from(counted.insert((edge.0, edge.1, request)));
            of.path_ns =
                path_ns[at..trace.after(at)].iter().fold(of.path_ns, |sum, ns| sum.saturating_add(*ns));
            if of.exemplars.len() < MOST_EXEMPLARS {
                of.exemplars.push(Exemplar::of(*trace, at));
            }
        }
    }
    let mut found: Vec<HiddenErrors> = edges.into_values().filter(|edge| edge.calls > 0).collect();
    found.sort_by(|one, other| {
        (Reverse(one.path_ns), Reverse(one.calls), &one.edge).cmp(&(
            Reverse(other.path_ns),
            Reverse(other.calls),
            &other.edge,
        ))
    });
    found.truncate(MOST_EDGES);
    found
}
