//! Services that fail more often, by themselves.

use std::collections::BTreeSet;

use super::{
    place::{Episode, callers, chance, episodes, exemplars},
    series::{Series, Served, passes_on},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{Proportion, proportion_changes, two_proportions},
    words::percent,
};

/// A service fails more often if this part of its requests more does.
const LEAST_GROWTH: f64 = 0.01;
/// The same as a ratio.
const LEAST_RATIO: f64 = 1.5;

/// Part of a service's requests whose operations fail more often, from which on it is the service as a whole that does.
const MOST_REQUESTS: f64 = 0.8;

/// How likely it is that chance alone shows another operation of the service to fail more often at the same time.
const BESIDE: f64 = 0.01;

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let services: BTreeSet<PartyId> =
        series.operations.keys().map(|operation| corpus.dictionary.operation(*operation).service).collect();
    let mut found = Vec::new();
    for service in services {
        let mine: Vec<(u32, &[Served])> = series
            .operations
            .iter()
            .filter(|(operation, _)| corpus.dictionary.operation(**operation).service == service)
            .map(|(operation, served)| (*operation, served.as_slice()))
            .collect();
        // All operations together, and each by itself: a rare one that fails is no large part of the service.
        let all = (0..series.buckets.count).map(|bucket| {
            mine.iter().fold(Proportion::default(), |sum, (_, served)| sum.and(failed(&served[bucket])))
        });
        let mut worst = episodes_of(&all.collect::<Vec<_>>(), alpha);
        for (_, served) in &mine {
            worst.extend(episodes_of(&served.iter().map(failed).collect::<Vec<_>>(), alpha));
        }
        // Of those that overlap, the most certain.
        worst.sort_by(|one, other| one.p_value.total_cmp(&other.p_value));
        let mut told: Vec<Episode> = Vec::new();
        for episode in worst {
            if !told.iter().any(|known| known.begin < episode.end && episode.begin < known.end) {
                told.push(episode);
            }
        }
        found.extend(told.iter().filter_map(|episode| finding(corpus, series, service, &mine, episode)));
    }
    found
}

fn failed(served: &Served) -> Proportion {
    Proportion::new(served.own_errors, served.requests)
}

fn is_worse(before: f64, then: f64) -> bool {
    then > before + LEAST_GROWTH && then > before * LEAST_RATIO
}

fn episodes_of(failed: &[Proportion], alpha: f64) -> Vec<Episode> {
    let found = episodes(&proportion_changes(failed, alpha), failed.len(), is_worse);
    found.into_iter().map(|episode| until_the_last(failed, episode)).collect()
}

/// The same, ended after its last failure, if there were so many requests without one after that, to the end, that chance does not
/// explain it.
fn until_the_last(failed: &[Proportion], episode: Episode) -> Episode {
    const CHANCE: f64 = 0.001;
    if episode.end < failed.len() {
        return episode;
    }
    let during = &failed[episode.begin..];
    let Some(last) = during.iter().rposition(|bucket| bucket.count > 0) else { return episode };
    let sum = during[..=last].iter().copied().fold(Proportion::default(), Proportion::and);
    let after: u64 = during[last + 1..].iter().map(|bucket| bucket.total).sum();
    let rate = sum.value().unwrap_or(0.0);
    let is_over = (1.0 - rate).powf(after as f64) < CHANCE;
    if is_over { Episode { end: episode.begin + last + 1, ..episode } } else { episode }
}

/// What an episode is about: the operations of the service that fail more often in it.
fn finding(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    mine: &[(u32, &[Served])],
    episode: &Episode,
) -> Option<Finding> {
    let sum = |served: &[Served]| served.iter().map(failed).fold(Proportion::default(), Proportion::and);
    let mut failing: Vec<(u32, Proportion, Proportion)> = Vec::new();
    let mut all = Proportion::default();
    for (operation, served) in mine {
        let (before, during) = (sum(&served[..episode.begin]), sum(&served[episode.begin..episode.end]));
        all = all.and(during);
        let rose = before.value().unwrap_or(0.0);
        if during.value().is_some_and(|during| is_worse(rose, during))
            && (before.total == 0 || two_proportions(before, during) < BESIDE)
        {
            failing.push((*operation, before, during));
        }
    }
    failing.sort_by_key(|(operation, _, during)| (std::cmp::Reverse(during.count), *operation));
    let (worst, ..) = *failing.first()?;
    let total = |of: fn(&(u32, Proportion, Proportion)) -> Proportion| {
        failing.iter().map(of).fold(Proportion::default(), Proportion::and)
    };
    let (before, during) = (total(|(_, before, _)| *before), total(|(.., during)| *during));
    let is_whole = mine.len() > 1 && during.total as f64 >= all.total as f64 * MOST_REQUESTS;
    let name = corpus.dictionary.name(service).to_owned();
    let operation = corpus.dictionary.operation(worst).name.to_string();
    let place =
        if is_whole { format!("{name}, in all operations,") } else { format!("{name} at {operation}") };
    let window_us = episode.window_us(series.buckets);
    let is_failing = |operation: u32| failing.iter().any(|(one, ..)| *one == operation);
    let part = |of: Proportion| percent(of.value().unwrap_or(0.0));
    Some(Finding {
        kind: FindingKind::Errors,
        sentence: format!(
            "{place} fails by itself: {} of the requests instead of {}.",
            part(during),
            part(before)
        ),
        service: name,
        operation: (!is_whole).then_some(operation),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: during.count,
        of: during.total,
        services: callers(corpus, series, service),
        evidence: vec![
            format!(
                "{} of {} requests have an error, and no failed call below it that it passes on.",
                during.count, during.total
            ),
            chance(episode.p_value),
        ],
        exemplars: exemplars(corpus, window_us, |trace, at| {
            let is_it = trace.serves(at) && is_failing(trace.operation(at)) && trace.is_error(at);
            (is_it && !passes_on(trace, at)).then(|| trace.duration_ns(at))
        }),
        next: vec!["The log of this service at the time of a failed request.".to_owned()],
        p_value: episode.p_value,
    })
}
