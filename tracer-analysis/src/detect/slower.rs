//! Services that became slower by their own work, or since requests wait in them.

use std::collections::BTreeMap;

use super::{
    place::{Episode, callers, chance, episodes, exemplars},
    queueing::{FASTEST, LOOK_AT, open_at_once, waits},
    series::{Series, Served, own_ns},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{CONFIDENCE, Scale, level_changes, mann_whitney, quantile},
    words::duration,
};

/// An operation is slower if its own time is so many times as long as before, and so much longer.
const LEAST_RATIO: f64 = 1.2;
const LEAST_GROWTH_NS: f64 = 1e6;

/// A service that adds less than this part of what the worst one adds feels it, and is no cause of its own.
const LEAST_PART: f64 = 0.3;

/// Part of a service's requests whose operations are slower, from which on it is the service as a whole that is.
const MOST_REQUESTS: f64 = 0.8;

/// How likely it is that chance alone shows another operation of the service to be slower at the same time.
const BESIDE: f64 = 0.001;

/// An operation that became slower.
struct Slower {
    operation: u32,
    episode: Episode,
    requests: u64,
}

impl Slower {
    /// Time that was added to all requests together, nanoseconds for each bucket.
    fn added_ns(&self) -> f64 {
        let buckets = (self.episode.end - self.episode.begin).max(1);
        (self.episode.during - self.episode.before) * self.requests as f64 / buckets as f64
    }
}

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    // Of each service, the operation that adds the most time.
    let mut worst: BTreeMap<PartyId, Slower> = BTreeMap::new();
    for (operation, served) in &series.operations {
        let medians: Vec<Option<f64>> = served.iter().map(Served::median_ns).collect();
        let changes = level_changes(&medians, Scale::Ratio, alpha);
        for episode in episodes(&changes, served.len(), is_slower) {
            let episode = episode.settled(&medians, is_slower);
            let one = Slower { operation: *operation, episode, requests: requests(served, &episode) };
            let service = corpus.dictionary.operation(*operation).service;
            match worst.get(&service) {
                Some(known) if known.added_ns() >= one.added_ns() => {}
                _ => drop(worst.insert(service, one)),
            }
        }
    }
    let most = worst.values().map(Slower::added_ns).fold(0.0, f64::max);
    let causes = worst.into_iter().filter(|(_, one)| one.added_ns() >= most * LEAST_PART);
    causes.map(|(service, one)| finding(corpus, series, service, &one)).collect()
}

fn is_slower(before: f64, then: f64) -> bool {
    then > before * LEAST_RATIO && then > before + LEAST_GROWTH_NS
}

fn requests(served: &[Served], episode: &Episode) -> u64 {
    served[episode.begin..episode.end].iter().map(|served| served.requests).sum()
}

/// Operations of a service, whether each is slower in an episode, and its requests in it.
fn beside(corpus: &Corpus, series: &Series, service: PartyId, worst: &Slower) -> Vec<(u32, bool, u64)> {
    let mine = series.operations.iter();
    let mine = mine.filter(|(operation, _)| corpus.dictionary.operation(**operation).service == service);
    let told = mine.map(|(operation, served)| {
        let (begin, end) = (worst.episode.begin, worst.episode.end);
        let of = |served: &[Served]| -> Vec<f64> {
            let mut values: Vec<f64> =
                served.iter().flat_map(|served| served.own_ns.iter().map(|own_ns| *own_ns as f64)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        let (before, during) = (of(&served[..begin]), of(&served[begin..end]));
        let medians = quantile(&before, 0.5).zip(quantile(&during, 0.5));
        let is_certain =
            || mann_whitney(&before, &during, CONFIDENCE).is_some_and(|test| test.p_value < BESIDE);
        let is_slower = *operation == worst.operation
            || medians.is_some_and(|(before, during)| is_slower(before, during)) && is_certain();
        (*operation, is_slower, requests(served, &worst.episode))
    });
    told.collect()
}

fn finding(corpus: &Corpus, series: &Series, service: PartyId, worst: &Slower) -> Finding {
    let episode = worst.episode;
    let operations = beside(corpus, series, service, worst);
    let sum = |only_slower: bool| -> u64 {
        let meant = operations.iter().filter(|(_, is_slower, _)| *is_slower || !only_slower);
        meant.map(|(.., requests)| requests).sum()
    };
    let (slower, all) = (sum(true), sum(false));
    let is_whole = operations.len() > 1 && slower as f64 >= all as f64 * MOST_REQUESTS;
    let name = corpus.dictionary.name(service).to_owned();
    let operation = corpus.dictionary.operation(worst.operation).name.to_string();
    let window_us = episode.window_us(series.buckets);
    let is_meant = |operation| operations.iter().any(|(one, is_slower, _)| *one == operation && *is_slower);
    let waits = waits(corpus, series, service, (worst.operation, &is_meant), &episode);
    let numbers = format!("{} instead of {}", duration(episode.during), duration(episode.before));
    let (kind, what, next) = if waits {
        (FindingKind::Queueing, "requests wait in it", LOOK_AT)
    } else {
        let next =
            "Work and calls of this service that are not traced, such as a database; its processor time.";
        (FindingKind::Slower, "it became slower by its own work", next)
    };
    let place =
        if is_whole { format!("{name}, in all operations") } else { format!("{name} at {operation}") };
    let mut evidence = vec![format!(
        "The median of its own time, without the calls that it waits for, is {numbers} at {operation}."
    )];
    if waits {
        evidence.push(FASTEST.to_owned());
        evidence.extend(open_at_once(corpus, service, series.buckets, &episode));
    }
    evidence.push(chance(episode.p_value));
    Finding {
        kind,
        sentence: format!("{place}: {what}, {numbers}."),
        service: name,
        operation: (!is_whole).then_some(operation),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: slower,
        of: all,
        services: callers(corpus, series, service),
        evidence,
        exemplars: exemplars(corpus, window_us, |trace, at| {
            (trace.serves(at) && trace.operation(at) == worst.operation).then(|| own_ns(trace, at))
        }),
        next: vec![next.to_owned()],
        p_value: episode.p_value,
    }
}
