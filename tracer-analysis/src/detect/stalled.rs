//! Services that stood still: nothing began or ended in them for a while, though others waited for them.

use std::collections::BTreeMap;

use super::{
    place::{callers, exemplars},
    series::Series,
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    words::duration,
};

/// A shorter silence is no standstill.
const LEAST_NS: u64 = 1_000_000_000;

/// A standstill is so many times as long as the usual time between two events of the service.
const LEAST_RATIO: u64 = 20;

/// Requests that waited through a standstill, and that began elsewhere meanwhile.
const LEAST_WAITING: usize = 3;

pub(super) fn find(corpus: &Corpus, series: &Series) -> Vec<Finding> {
    let mut events: BTreeMap<PartyId, Vec<u64>> = BTreeMap::new();
    let mut waits: BTreeMap<PartyId, Vec<(u64, u64)>> = BTreeMap::new();
    let mut roots: Vec<u64> = Vec::with_capacity(corpus.len());
    for trace in corpus.traces() {
        roots.push(trace.time(trace.root()).start_ns);
        for at in 0..trace.len() {
            let time = trace.time(at);
            events.entry(trace.service(at)).or_default().extend([time.start_ns, time.end_ns]);
            if let Some(asked) = trace.asked(at).filter(|_| trace.asks(at)) {
                waits.entry(asked).or_default().push((time.start_ns, time.end_ns));
            }
        }
    }
    roots.sort_unstable();
    let mut found = Vec::new();
    for (service, mut moments) in events {
        moments.sort_unstable();
        let mut gaps: Vec<u64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if gaps.len() < 100 {
            continue;
        }
        let middle = gaps.len() / 2;
        let (_, usual_ns, _) = gaps.select_nth_unstable(middle);
        let least_ns = (*usual_ns).saturating_mul(LEAST_RATIO).max(LEAST_NS);
        let mut waiting = waits.remove(&service).unwrap_or_default();
        waiting.sort_unstable();
        for pair in moments.windows(2).filter(|pair| pair[1] - pair[0] >= least_ns) {
            // Calls that came in the first half of the silence and waited for the second: if none comes, all stands still.
            let half_ns = pair[0] + (pair[1] - pair[0]) / 2;
            let begun = |ns: u64| waiting.partition_point(|(start_ns, _)| *start_ns < ns);
            let came = &waiting[begun(pair[0])..begun(half_ns)];
            let waited = came.iter().filter(|(_, end_ns)| *end_ns >= half_ns).count();
            // If no request begins anywhere, the machine stood still, or the load.
            let begin = |ns: u64| roots.partition_point(|start_ns| *start_ns < ns);
            if begin(pair[1]) - begin(half_ns) < LEAST_WAITING {
                continue;
            }
            if waited >= LEAST_WAITING {
                found.push(finding(corpus, series, service, (pair[0], pair[1]), waited));
            }
        }
    }
    without_who_waits(corpus, series, found)
}

fn finding(corpus: &Corpus, series: &Series, service: PartyId, gap_ns: (u64, u64), waited: usize) -> Finding {
    let name = corpus.dictionary.name(service).to_owned();
    let length = duration((gap_ns.1 - gap_ns.0) as f64);
    let window_us = (gap_ns.0 / 1000, gap_ns.1 / 1000);
    Finding {
        kind: FindingKind::Stalled,
        sentence: format!(
            "{name} stood still for {length}: nothing began or ended in it, and {waited} requests waited."
        ),
        service: name,
        onset_unix_us: window_us.0,
        end_unix_us: Some(window_us.1),
        affected: waited as u64,
        of: waited as u64,
        services: callers(corpus, series, service),
        evidence: vec![format!(
            "No span of it begins or ends for {length}, while {waited} calls to it are under way."
        )],
        exemplars: exemplars(corpus, (window_us.0.saturating_sub(1_000_000), window_us.1), |trace, at| {
            (trace.asks(at) && trace.asked(at) == Some(service)).then(|| trace.duration_ns(at))
        }),
        next: vec![
            "Whether its process was stopped, paused for garbage collection, or had no processor.".to_owned(),
        ],
        p_value: 1.0,
        ..Finding::default()
    }
}

/// A service that stood still because one that it calls did is no cause.
fn without_who_waits(corpus: &Corpus, series: &Series, found: Vec<Finding>) -> Vec<Finding> {
    let overlaps = |one: &Finding, other: &Finding| {
        one.onset_unix_us < other.end_unix_us.unwrap_or(u64::MAX)
            && other.onset_unix_us < one.end_unix_us.unwrap_or(u64::MAX)
    };
    let calls = |from: &str, to: &str| {
        series.edges.keys().any(|(caller, called)| {
            corpus.dictionary.name(*caller) == from && corpus.dictionary.name(*called) == to
        })
    };
    let is_cause = |one: &&Finding| {
        !found.iter().any(|other| overlaps(one, other) && calls(&one.service, &other.service))
    };
    found.iter().filter(is_cause).cloned().collect()
}
