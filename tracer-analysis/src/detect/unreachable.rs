//! Parties that are called no more, since they cannot be: calls to them stop while their callers are asked as before, and
//! fail.

use rustc_hash::FxHashMap;

use super::{
    place::{Episode, callers, chance, episodes, exemplars, requests_of},
    series::{Asked, Series, Served, passes_on},
};
use crate::{
    answer::{EdgeName, Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{Proportion, proportion_changes},
    words::percent,
};

/// A party is out of reach if less than this part of the requests of its caller still calls it.
const MOST_LEFT: f64 = 0.05;

/// Of the caller's requests, this part more must fail.
const LEAST_FAILED: f64 = 0.2;

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    let served = requests_by_bucket(corpus, series);
    for ((caller, called), asked) in &series.edges {
        // Who serves nothing is not asked as before: nothing can be told.
        let Some(requests) = served.get(caller) else { continue };
        // Requests without a call, as far as each makes one.
        let missing = asked.iter().zip(requests).map(|(asked, (requests, _))| {
            Proportion::new(requests.saturating_sub(asked.calls - asked.errors), *requests)
        });
        let missing: Vec<Proportion> = missing.collect();
        let changes = proportion_changes(&missing, alpha);
        let is_worse = |before: f64, then: f64| {
            let (called_before, called_then) = (1.0 - before, 1.0 - then);
            called_before > 0.2 && called_then < called_before * MOST_LEFT
        };
        for episode in episodes(&changes, asked.len(), is_worse) {
            let sum = |range: std::ops::Range<usize>| {
                requests[range].iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
            };
            let (during, before) = (sum(episode.begin..episode.end), sum(0..episode.begin));
            let part = |(requests, errors): (u64, u64)| errors as f64 / requests.max(1) as f64;
            if part(during) < part(before) + LEAST_FAILED || serves_on(corpus, series, *called, &episode) {
                continue;
            }
            let edge = EdgeName::of(corpus, *caller, *called);
            let window_us = episode.window_us(series.buckets);
            let name = edge.to.clone();
            let calls: u64 = asked[episode.begin..episode.end].iter().map(|of: &Asked| of.calls).sum();
            let mut services = vec![edge.from.clone()];
            services.extend(callers(corpus, series, *caller));
            found.push(Finding {
                kind: FindingKind::Unreachable,
                sentence: format!(
                    "{name} cannot be reached: {} is asked as before, no call of it to {name} is answered any more, and {} of its requests fail.",
                    edge.from,
                    percent(part(during))
                ),
                service: name,
                operation: None,
                edge: Some(edge),
                onset_unix_us: window_us.0,
                end_unix_us: episode.end_us(series.buckets),
                affected: during.1,
                of: during.0,
                services,
                evidence: vec![
                    format!("{calls} calls in this time, of {} requests of the caller.", during.0),
                    chance(episode.p_value),
                ],
                exemplars: exemplars(corpus, window_us, |trace, at| {
                    let is_it = trace.serves(at) && trace.service(at) == *caller && trace.is_error(at);
                    (is_it && !passes_on(trace, at)).then(|| trace.duration_ns(at))
                }),
                next: vec!["Whether it runs and listens, its address, and the way to it.".to_owned()],
                p_value: episode.p_value,
            });
        }
    }
    found
}

/// Whether a party serves requests in an episode as before: then it is there, whatever becomes of the answers.
fn serves_on(corpus: &Corpus, series: &Series, called: PartyId, episode: &Episode) -> bool {
    let before = Episode { begin: 0, end: episode.begin, ..*episode };
    let rate = |episode: &Episode| {
        let buckets = (episode.end - episode.begin).max(1);
        requests_of(corpus, series, called, episode) as f64 / buckets as f64
    };
    rate(episode) > rate(&before) * MOST_LEFT
}

/// Requests that a service served in each bucket, and those of them with an error.
fn requests_by_bucket(corpus: &Corpus, series: &Series) -> FxHashMap<PartyId, Vec<(u64, u64)>> {
    let mut services: FxHashMap<PartyId, Vec<(u64, u64)>> = FxHashMap::default();
    for (operation, served) in &series.operations {
        let service = corpus.dictionary.operation(*operation).service;
        let requests = services.entry(service).or_insert_with(|| vec![(0, 0); series.buckets.count]);
        for (sum, Served { requests, errors, .. }) in requests.iter_mut().zip(served) {
            *sum = (sum.0 + requests, sum.1 + errors);
        }
    }
    services
}
