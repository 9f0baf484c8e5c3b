//! Services that fail more often, by themselves.

use std::collections::BTreeMap;

use super::{
    place::{Episode, callers, chance, episodes, exemplars, percent, requests_of},
    series::{Series, Served, passes_on},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{Proportion, proportion_changes},
};

/// A service fails more often if this part of its requests more does.
const LEAST_GROWTH: f64 = 0.01;
/// The same as a ratio.
const LEAST_RATIO: f64 = 1.5;

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let mut by_service: BTreeMap<PartyId, Vec<(u32, Episode, u64, u64)>> = BTreeMap::new();
    for (operation, served) in &series.operations {
        let failed: Vec<Proportion> =
            served.iter().map(|served| Proportion::new(served.own_errors, served.requests)).collect();
        let changes = proportion_changes(&failed, alpha);
        let is_worse = |before: f64, then: f64| then > before + LEAST_GROWTH && then > before * LEAST_RATIO;
        for episode in episodes(&changes, served.len(), is_worse) {
            let during = &served[episode.begin..episode.end];
            let sum = |of: fn(&Served) -> u64| during.iter().map(of).sum();
            let (errors, requests) = (sum(|served| served.own_errors), sum(|served| served.requests));
            let service = corpus.dictionary.operation(*operation).service;
            by_service.entry(service).or_default().push((*operation, episode, errors, requests));
        }
    }
    by_service.into_iter().map(|(service, failed)| finding(corpus, series, service, failed)).collect()
}

fn finding(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    mut failed: Vec<(u32, Episode, u64, u64)>,
) -> Finding {
    failed.sort_by_key(|(_, _, errors, _)| std::cmp::Reverse(*errors));
    let (worst, episode, ..) = failed[0];
    let errors: u64 = failed.iter().map(|(_, _, errors, _)| errors).sum();
    let requests: u64 = failed.iter().map(|(.., requests)| requests).sum();
    let all = requests_of(corpus, series, service, &episode);
    let is_whole = failed.len() > 1 && requests as f64 >= all as f64 * 0.8;
    let name = corpus.dictionary.name(service).to_owned();
    let operation = corpus.dictionary.operation(worst).name.to_string();
    let window_us = episode.window_us(series.buckets);
    let place = if is_whole { name.clone() } else { format!("{name} at {operation}") };
    let during = errors as f64 / requests.max(1) as f64;
    Finding {
        kind: FindingKind::Errors,
        sentence: format!(
            "{place} fails by itself: {} of its requests instead of {}.",
            percent(during),
            percent(episode.before)
        ),
        service: name,
        operation: (!is_whole).then_some(operation),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: errors,
        of: requests,
        services: callers(corpus, series, service),
        evidence: vec![
            format!(
                "{errors} of {requests} requests have an error, and no failed call below it that it passes on."
            ),
            chance(episode.p_value),
        ],
        exemplars: exemplars(corpus, window_us, |trace, at| {
            let is_it = trace.serves(at) && trace.operation(at) == worst && trace.is_error(at);
            (is_it && !passes_on(trace, at)).then(|| trace.duration_ns(at))
        }),
        next: vec!["The log of this service at the time of a failed request.".to_owned()],
        p_value: episode.p_value,
    }
}
