//! Shares of services and operations of the critical paths of many traces.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;
use tracer_model::critical::path;

use super::{OperationShare, PathAnswer, ServicePathShare};
use crate::{
    answer::{EdgeName, Exemplar, OperationName},
    corpus::{Corpus, Trace},
    series::table::own_ns,
};

/// Operations that are told.
const MOST_OPERATIONS: usize = 100;

#[derive(Default)]
struct Sum {
    spans: u64,
    path_ns: u64,
    beside_ns: u64,
    /// Trace and span with the most time on the path.
    best: (u64, usize, usize),
}

/// The shares, without what else the answer has.
pub(super) fn of(corpus: &Corpus, traces: &[Trace<'_>]) -> PathAnswer {
    let mut operations: FxHashMap<u32, Sum> = FxHashMap::default();
    let mut services: FxHashMap<usize, u64> = FxHashMap::default();
    let mut answer = PathAnswer { traces: traces.len() as u64, ..PathAnswer::default() };
    let mut on_path: Vec<u64> = Vec::new();
    for trace in traces {
        on_path.clear();
        on_path.resize(trace.len(), 0);
        for (at, stretch) in path(trace, trace.root()) {
            on_path[at] += stretch.end_ns - stretch.start_ns;
        }
        answer.total_ns = answer.total_ns.saturating_add(trace.duration_ns(trace.root()));
        for (at, path_ns) in on_path.iter().copied().enumerate() {
            let sum = operations.entry(trace.operation(at)).or_default();
            sum.spans += 1;
            sum.path_ns = sum.path_ns.saturating_add(path_ns);
            sum.beside_ns = sum.beside_ns.saturating_add(own_ns(*trace, at).saturating_sub(path_ns));
            sum.best = sum.best.max((path_ns, trace.place(), at));
            // What a client does not wait for its server, it waits for the way there and back.
            if trace.server(at).is_some() {
                answer.network_ns = answer.network_ns.saturating_add(path_ns);
            } else {
                let service = services.entry(trace.service(at).index()).or_default();
                *service = service.saturating_add(path_ns);
            }
        }
    }
    let part = |ns: u64| ns as f64 / answer.total_ns.max(1) as f64;
    answer.services = services
        .into_iter()
        .filter(|(_, path_ns)| *path_ns > 0)
        .map(|(service, path_ns)| ServicePathShare {
            service: corpus.dictionary.parties()[service].name.to_string(),
            path_ns,
            part: part(path_ns),
        })
        .collect();
    answer.services.sort_by(|one, other| {
        (Reverse(one.path_ns), &one.service).cmp(&(Reverse(other.path_ns), &other.service))
    });
    let mut sums: Vec<(u32, Sum)> = operations.into_iter().filter(|(_, sum)| sum.path_ns > 0).collect();
    sums.sort_by_key(|(operation, sum)| (Reverse(sum.path_ns), *operation));
    sums.truncate(MOST_OPERATIONS);
    answer.operations = sums
        .into_iter()
        .map(|(operation, sum)| {
            let (_, place, at) = sum.best;
            let trace = corpus.trace(place);
            let asked = trace.asked(at).filter(|_| trace.server(at).is_none());
            OperationShare {
                operation: OperationName::of(corpus, operation),
                asked: asked.map(|asked| EdgeName::of(corpus, trace.service(at), asked)),
                query: trace.facts(at).query.as_deref().map(str::to_owned),
                spans: sum.spans,
                path_ns: sum.path_ns,
                part: part(sum.path_ns),
                beside_ns: sum.beside_ns,
                exemplar: Some(Exemplar::of(trace, at)),
            }
        })
        .collect();
    answer
}
