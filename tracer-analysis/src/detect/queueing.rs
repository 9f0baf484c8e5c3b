//! Services in which requests wait: for a connection of a pool, a lock, a worker.
//!
//! Waiting differs from slow work by the fastest requests: those that need not wait take as long as before.

use std::collections::BTreeMap;

use super::{
    place::{Episode, callers, chance, episodes, exemplars, requests_of},
    series::{Buckets, Series, Served, own_ns},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    statistics::{Scale, level_changes, quantile},
};

/// Requests wait if they take so many times as long as before, on the average of their logarithms.
const LEAST_RATIO: f64 = 1.3;

/// The fastest of twenty requests takes no more than this times as long as before, if requests wait and do not work longer.
const MOST_OF_FASTEST: f64 = 1.15;

/// Or it grew by no more than this part of what the slowest of ten grew by, on the scale of logarithms: if many wait, the
/// fastest are slower ones of those that do not.
const PART_OF_SLOWEST: f64 = 0.3;

/// Requests that are needed to tell the fastest of twenty.
const LEAST_REQUESTS: usize = 20;

/// Requests of a bucket that are needed to tell their average.
const LEAST_IN_BUCKET: usize = 3;

/// Requests that found nobody else in the service, before and then, that are needed to tell by these.
const LEAST_ALONE: usize = 15;

/// What to look at where requests wait.
pub(super) const LOOK_AT: &str = "Pools, locks and queues of this service, and its number of workers.";

/// Own times of the requests of a service, each by the usual one of its operation, bucket by bucket.
struct Relative(Vec<Vec<f64>>);

impl Relative {
    /// Of some operations of one service, in so many buckets.
    fn of<'a>(count: usize, operations: impl Iterator<Item = &'a Vec<Served>>) -> Self {
        let mut buckets = vec![Vec::new(); count];
        for served in operations {
            let mut all: Vec<u64> = served.iter().flat_map(|served| served.own_ns.iter().copied()).collect();
            if all.is_empty() {
                continue;
            }
            let middle = all.len() / 2;
            let usual_ns = (*all.select_nth_unstable(middle).1).max(1) as f64;
            for (bucket, served) in buckets.iter_mut().zip(served) {
                bucket.extend(served.own_ns.iter().map(|own_ns| (*own_ns).max(1) as f64 / usual_ns));
            }
        }
        Self(buckets)
    }

    /// The average logarithm of each bucket.
    fn levels(&self) -> Vec<Option<f64>> {
        let level = |values: &Vec<f64>| {
            let sum: f64 = values.iter().map(|value| value.ln()).sum();
            (values.len() >= LEAST_IN_BUCKET).then(|| sum / values.len() as f64)
        };
        self.0.iter().map(level).collect()
    }

    /// A quantile before an episode and in it. None of too few requests.
    fn quantiles(&self, episode: &Episode, part: f64) -> Option<(f64, f64)> {
        let of = |buckets: &[Vec<f64>]| {
            let mut values: Vec<f64> = buckets.iter().flatten().copied().collect();
            values.sort_unstable_by(f64::total_cmp);
            (values.len() >= LEAST_REQUESTS).then(|| quantile(&values, part)).flatten()
        };
        Some((of(&self.0[..episode.begin])?, of(&self.0[episode.begin..episode.end])?))
    }

    /// Whether requests wait in an episode in which they are slower: the fastest are as fast as before.
    fn wait(&self, episode: &Episode) -> bool {
        let growth = |part| self.quantiles(episode, part).map(|(before, during)| during / before);
        growth(0.05).zip(growth(0.9)).is_some_and(|(fastest, slowest)| as_before(fastest, slowest))
    }
}

/// Whether the fastest are as fast as before, or grew by little of what the slowest did.
fn as_before(fastest: f64, slowest: f64) -> bool {
    fastest <= MOST_OF_FASTEST || fastest.ln() <= slowest.ln() * PART_OF_SLOWEST
}

/// Whether requests of a service that are slower in an episode wait for each other, or for what all of them need. They are of some
/// operations, of which one is slower than the others.
///
/// Those that found nobody else there tell it best: the faster ones of them are as fast as before. Where there are too few of
/// these, the fastest of all tell.
pub(super) fn waits(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    (worst, is_meant): (u32, &dyn Fn(u32) -> bool),
    episode: &Episode,
) -> bool {
    const FAST: f64 = 0.15;
    let window_us = episode.window_us(series.buckets);
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for (operation, start_ns, own_ns) in alone(corpus, service) {
        let start_us = start_ns / 1000;
        if operation == worst && start_us < window_us.1 {
            let times = if start_us < window_us.0 { &mut before } else { &mut during };
            times.push(own_ns.max(1) as f64);
        }
    }
    if before.len() < LEAST_ALONE || during.len() < LEAST_ALONE {
        let meant = series.operations.iter().filter(|(operation, _)| {
            corpus.dictionary.operation(**operation).service == service && is_meant(**operation)
        });
        return Relative::of(series.buckets.count, meant.map(|(_, served)| served)).wait(episode);
    }
    before.sort_unstable_by(f64::total_cmp);
    during.sort_unstable_by(f64::total_cmp);
    let growth = |part| Some(quantile(&during, part)? / quantile(&before, part)?);
    growth(FAST).zip(growth(0.9)).is_some_and(|(fastest, slowest)| as_before(fastest, slowest))
}

/// Requests of a service that began while it served no other one: operation, start, and own time, nanoseconds.
fn alone(corpus: &Corpus, service: PartyId) -> Vec<(u32, u64, u64)> {
    let mut requests: Vec<(u64, u64, u32, u64)> = Vec::new();
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.serves(*at) && trace.service(*at) == service) {
            let time = trace.time(at);
            requests.push((time.start_ns, time.end_ns, trace.operation(at), own_ns(trace, at)));
        }
    }
    requests.sort_unstable();
    let mut open_to_ns = 0;
    let mut alone = Vec::new();
    for (start_ns, end_ns, operation, own_ns) in requests {
        if start_ns >= open_to_ns {
            alone.push((operation, start_ns, own_ns));
        }
        open_to_ns = open_to_ns.max(end_ns);
    }
    alone
}

/// Services in which requests wait, also where most do not; without those that are known to be slower.
pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64, slower: &[Finding]) -> Vec<Finding> {
    let mut services: BTreeMap<PartyId, Vec<&Vec<Served>>> = BTreeMap::new();
    for (operation, served) in &series.operations {
        services.entry(corpus.dictionary.operation(*operation).service).or_default().push(served);
    }
    let mut found = Vec::new();
    for (service, operations) in services {
        let relative = Relative::of(series.buckets.count, operations.into_iter());
        let levels = relative.levels();
        let changes = level_changes(&levels, Scale::Difference, alpha);
        let is_worse = |before: f64, then: f64| then > before + LEAST_RATIO.ln();
        for episode in episodes(&changes, series.buckets.count, is_worse) {
            let episode = episode.settled(&levels, is_worse);
            let name = corpus.dictionary.name(service);
            if slower.iter().any(|known| known.service == *name) {
                continue;
            }
            if relative.wait(&episode)
                && let Some(slow) = relative.quantiles(&episode, 0.9)
            {
                found.push(finding(corpus, series, service, &episode, slow));
            }
        }
    }
    found
}

fn finding(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    episode: &Episode,
    (before, during): (f64, f64),
) -> Finding {
    let name = corpus.dictionary.name(service).to_owned();
    let window_us = episode.window_us(series.buckets);
    let all = requests_of(corpus, series, service, episode);
    Finding {
        kind: FindingKind::Queueing,
        sentence: format!(
            "Requests wait in {name}: the slowest of ten takes {during:.1} times as long as usual instead of {before:.1} times."
        ),
        service: name.clone(),
        operation: None,
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: episode.end_us(series.buckets),
        affected: all,
        of: all,
        services: callers(corpus, series, service),
        evidence: [FASTEST.to_owned()]
            .into_iter()
            .chain(open_at_once(corpus, service, series.buckets, episode))
            .chain([chance(episode.p_value)])
            .collect(),
        exemplars: exemplars(corpus, window_us, |trace, at| {
            (trace.serves(at) && trace.service(at) == service).then(|| own_ns(trace, at))
        }),
        next: vec![LOOK_AT.to_owned()],
        p_value: episode.p_value,
    }
}

/// Why it is waiting.
pub(super) const FASTEST: &str =
    "The fastest requests take as long as before: the others wait, and do not work longer.";

/// How many requests are under way at once, before and in an episode, on the average.
pub(super) fn open_at_once(
    corpus: &Corpus,
    service: PartyId,
    buckets: Buckets,
    episode: &Episode,
) -> Option<String> {
    let (begin_us, end_us) = episode.window_us(buckets);
    let (mut before_ns, mut during_ns) = (0u128, 0u128);
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.serves(*at) && trace.service(*at) == service) {
            let start_us = trace.time(at).start_ns / 1000;
            if start_us < begin_us {
                before_ns += u128::from(trace.duration_ns(at));
            } else if start_us < end_us {
                during_ns += u128::from(trace.duration_ns(at));
            }
        }
    }
    let average =
        |sum_ns: u128, length_us: u64| (length_us > 0).then(|| sum_ns as f64 / 1000.0 / length_us as f64);
    let before = average(before_ns, begin_us.saturating_sub(buckets.begin_us(0)))?;
    let during = average(during_ns, end_us.saturating_sub(begin_us))?;
    Some(format!("{during:.1} requests are under way in it at once, {before:.1} before."))
}
