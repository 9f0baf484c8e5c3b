//! Calls that are tried again so often that they are a load of their own.

use super::{
    place::{Episode, callers, chance, episodes, exemplars},
    series::{Asked, Edge, Series},
};
use crate::{
    answer::{EdgeName, Finding, FindingKind},
    corpus::{Corpus, PartyId},
    retry::{self, RetryOptions, RetryStorm},
    statistics::{Proportion, proportion_changes},
    words::percent,
};

/// Part of the calls of an edge that may be retries.
const BUDGET: f64 = 0.1;

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let mut storms: Vec<(Edge, Episode, u64, u64)> = Vec::new();
    for (edge, asked) in &series.edges {
        let retried: Vec<Proportion> =
            asked.iter().map(|asked| Proportion::new(asked.retries, asked.calls)).collect();
        let changes = proportion_changes(&retried, alpha);
        for episode in episodes(&changes, asked.len(), |before, then| before <= BUDGET && then > BUDGET) {
            let during = &asked[episode.begin..episode.end];
            let sum = |of: fn(&Asked) -> u64| during.iter().map(of).sum();
            storms.push((*edge, episode, sum(|asked| asked.retries), sum(|asked| asked.calls)));
        }
    }
    if storms.is_empty() {
        return Vec::new();
    }
    // Layer by layer: the storm is told once, of the edge that no other one of it lies below.
    storms.sort_by_key(|(edge, episode, ..)| (episode.begin, *edge));
    let edges: Vec<Edge> = storms.iter().map(|(edge, ..)| *edge).collect();
    let bottom: Vec<_> =
        storms.iter().filter(|((_, called), ..)| !edges.iter().any(|(caller, _)| caller == called)).collect();
    let layers = storms.len();
    let known = retry::analyze(corpus, &RetryOptions::default()).storms;
    let told = bottom.into_iter().map(|(edge, episode, retries, calls)| {
        finding(corpus, series, (*edge, *episode, *retries, *calls), layers, &edges, &known)
    });
    told.collect()
}

fn finding(
    corpus: &Corpus,
    series: &Series,
    (edge, episode, retries, calls): (Edge, Episode, u64, u64),
    layers: usize,
    edges: &[Edge],
    known: &[RetryStorm],
) -> Finding {
    let name = EdgeName::of(corpus, edge.0, edge.1);
    let window_us = episode.window_us(series.buckets);
    let amplified = |range: std::ops::Range<usize>| {
        let calls: u64 = series.edges[&edge][range.clone()].iter().map(|asked| asked.calls).sum();
        let roots: u64 = series.roots[range].iter().sum();
        calls as f64 / roots.max(1) as f64
    };
    let (before, during) = (amplified(0..episode.begin), amplified(episode.begin..episode.end));
    let who: Vec<PartyId> = edges.iter().map(|(caller, _)| *caller).collect();
    let mut services: Vec<String> = Vec::new();
    for caller in who {
        let caller = corpus.dictionary.name(caller).to_owned();
        if !services.contains(&caller) {
            services.push(caller);
        }
    }
    for caller in callers(corpus, series, edge.1) {
        if !services.contains(&caller) {
            services.push(caller);
        }
    }
    let part = retries as f64 / calls.max(1) as f64;
    // What the analysis of retries knows of it: who multiplies, and whether it feeds itself.
    let known = known.iter().filter(|storm| storm.bottom == name).max_by_key(|storm| storm.attempts);
    let sentence = known.as_ref().map_or_else(
        || {
            format!(
            "Calls to {} are tried again and again: {:.1} calls for each request at the top instead of {:.1}, {} of those of {} are retries.",
            name.to,
            during,
            before,
            percent(part),
            name.from
        )
        },
        |storm| storm.sentence.clone(),
    );
    let layers_told =
        known.iter().flat_map(|storm| &storm.layers).filter(|layer| layer.peak_factor > 1.05).map(|layer| {
            format!("{} makes {:.1} attempts for each call to {}.", layer.from, layer.peak_factor, layer.to)
        });
    Finding {
        kind: FindingKind::RetryStorm,
        sentence,
        service: name.to.clone(),
        operation: None,
        edge: Some(name),
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: retries,
        of: calls,
        services,
        evidence: [
            format!(
                "{retries} of {calls} calls follow a failed call to the same operation; {} are the budget.",
                percent(BUDGET)
            ),
            format!("{layers} edges have retries beyond the budget in this time."),
        ]
        .into_iter()
        .chain(layers_told)
        .chain([chance(episode.p_value)])
        .collect(),
        exemplars: exemplars(corpus, window_us, |trace, at| (at == trace.root()).then(|| trace.len() as u64)),
        next: vec![
            "Why the first attempts fail, and whether one layer alone should try again, with a budget."
                .to_owned(),
        ],
        p_value: episode.p_value,
    }
}
