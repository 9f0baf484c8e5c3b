//! Services that became slower by their own work, or since requests wait for each other in them.

use std::collections::BTreeMap;

use super::{
    place::{Episode, callers, chance, duration, episodes, exemplars},
    series::{Series, own_ns},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{Scale, level_changes},
};

/// A service is slower if its own time is so many times as long as before, and so much longer.
const LEAST_RATIO: f64 = 1.2;
const LEAST_GROWTH_NS: f64 = 1e6;

/// A service that adds less than this part of what the worst one adds feels it, and is no cause of its own.
const LEAST_PART: f64 = 0.3;

/// Part of a service's requests whose operations are slower, from which on it is the service as a whole that is.
const MOST_REQUESTS: f64 = 0.8;

/// An operation that became slower.
struct Slower {
    operation: u32,
    service: PartyId,
    episode: Episode,
    requests: u64,
}

impl Slower {
    /// Time that was added to all requests together, nanoseconds for each second.
    fn added_ns(&self) -> f64 {
        let buckets = (self.episode.end - self.episode.begin).max(1);
        (self.episode.during - self.episode.before) * self.requests as f64 / buckets as f64
    }
}

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let mut slower: Vec<Slower> = Vec::new();
    for (operation, served) in &series.operations {
        let medians: Vec<Option<f64>> = served.iter().map(|served| served.median_ns()).collect();
        let changes = level_changes(&medians, Scale::Ratio, alpha);
        let is_worse =
            |before: f64, then: f64| then > before * LEAST_RATIO && then > before + LEAST_GROWTH_NS;
        for episode in episodes(&changes, served.len(), is_worse) {
            let requests = served[episode.begin..episode.end].iter().map(|served| served.requests).sum();
            let service = corpus.dictionary.operation(*operation).service;
            slower.push(Slower { operation: *operation, service, episode, requests });
        }
    }
    let most = slower.iter().map(Slower::added_ns).fold(0.0, f64::max);
    slower.retain(|one| one.added_ns() >= most * LEAST_PART);
    // Operations of one service that became slower together are one thing.
    let mut by_service: BTreeMap<PartyId, Vec<Slower>> = BTreeMap::new();
    for one in slower {
        by_service.entry(one.service).or_default().push(one);
    }
    by_service.into_values().map(|of_service| finding(corpus, series, of_service)).collect()
}

fn finding(corpus: &Corpus, series: &Series, mut slower: Vec<Slower>) -> Finding {
    slower.sort_by(|one, other| other.added_ns().total_cmp(&one.added_ns()));
    let worst = &slower[0];
    let (service, episode) = (worst.service, worst.episode);
    let requests: u64 = slower.iter().map(|one| one.requests).sum();
    let all = super::place::requests_of(corpus, series, service, &episode);
    let is_whole = slower.len() > 1 && requests as f64 >= all as f64 * MOST_REQUESTS;
    let name = corpus.dictionary.name(service).to_owned();
    let operation = corpus.dictionary.operation(worst.operation).name.to_string();
    let window_us = episode.window_us(series.buckets);
    let waits = waits_for_itself(corpus, service, window_us);
    let numbers = format!("{} instead of {}", duration(episode.during), duration(episode.before));
    let (kind, what) = match waits {
        Some(_) => (FindingKind::Queueing, "requests wait for each other in it"),
        None => (FindingKind::Slower, "it became slower by its own work"),
    };
    let place =
        if is_whole { format!("{name}, in all operations") } else { format!("{name} at {operation}") };
    let mut evidence = vec![format!(
        "The median of its own time, without the calls that it waits for, is {numbers} at {operation}."
    )];
    evidence.extend(waits.map(|rank| {
        format!(
            "The more requests are under way in {name}, the longer one takes (rank correlation {rank:.2})."
        )
    }));
    evidence.push(chance(episode.p_value));
    Finding {
        kind,
        sentence: format!("{place}: {what}, {numbers}."),
        service: name,
        operation: (!is_whole).then_some(operation),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: requests,
        of: all.max(requests),
        services: callers(corpus, series, service),
        evidence,
        exemplars: exemplars(corpus, window_us, |trace, at| {
            (trace.serves(at) && trace.operation(at) == worst.operation).then(|| own_ns(trace, at))
        }),
        next: vec![match kind {
            FindingKind::Queueing => {
                "Pools, locks and queues of this service, and its number of workers.".to_owned()
            }
            _ => {
                "Work and calls of this service that are not traced, such as a database; its processor time."
                    .to_owned()
            }
        }],
        p_value: episode.p_value,
    }
}

/// Whether requests of a service wait for each other: their own time grows with the number of those that are under way when
/// they begin. Tells the rank correlation if so.
fn waits_for_itself(corpus: &Corpus, service: PartyId, window_us: (u64, u64)) -> Option<f64> {
    const MOST: usize = 2000;
    const LEAST: usize = 50;
    const LEAST_CORRELATION: f64 = 0.6;
    let window_ns = (window_us.0.saturating_mul(1000), window_us.1.saturating_mul(1000));
    let mut requests: Vec<(u64, u64, u64)> = Vec::new();
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.serves(*at) && trace.service(*at) == service) {
            let time = trace.time(at);
            if time.start_ns >= window_ns.0 && time.start_ns < window_ns.1 {
                requests.push((time.start_ns, time.end_ns, own_ns(trace, at)));
            }
        }
        if requests.len() >= MOST {
            break;
        }
    }
    if requests.len() < LEAST {
        return None;
    }
    requests.sort_unstable();
    let mut ends: Vec<u64> = requests.iter().map(|(_, end_ns, _)| *end_ns).collect();
    ends.sort_unstable();
    let open = requests.iter().enumerate().map(|(began, (start_ns, ..))| {
        let ended = ends.partition_point(|end_ns| end_ns <= start_ns);
        began.saturating_sub(ended) as f64
    });
    let open: Vec<f64> = open.collect();
    let own: Vec<f64> = requests.iter().map(|(.., own_ns)| *own_ns as f64).collect();
    let rank = rank_correlation(&open, &own)?;
    (rank >= LEAST_CORRELATION).then_some(rank)
}

/// Spearman's rank correlation. None if one of both is always the same.
fn rank_correlation(one: &[f64], other: &[f64]) -> Option<f64> {
    let (one, other) = (ranks(one), ranks(other));
    let mean = (one.len() as f64 + 1.0) / 2.0;
    let products = one.iter().zip(&other).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let squares = |ranks: &[f64]| ranks.iter().map(|rank| (rank - mean).powi(2)).sum::<f64>();
    let spread = (squares(&one) * squares(&other)).sqrt();
    (spread > 0.0).then(|| products / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    while begin < order.len() {
        let mut end = begin + 1;
        while end < order.len() && values[order[end]] == values[order[begin]] {
            end += 1;
        }
        for place in &order[begin..end] {
            ranks[*place] = (begin + end + 1) as f64 / 2.0;
        }
        begin = end;
    }
    ranks
}
