//! Releases that made an operation slower, or fail more often: the versions of one service side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    place::{callers, duration, exemplars, percent},
    series::{own_ns, passes_on},
};
use crate::{
    answer::{Finding, FindingKind},
    corpus::{Corpus, PartyId},
    detect::series::Series,
    statistics::{
        ALPHA, CONFIDENCE, Estimate, Proportion, Verdict, benjamini_hochberg, mann_whitney, overall_ratio,
        proportion_difference, quantile, two_proportions,
    },
};

/// A ratio of own times, and a difference of proportions of errors, that do not matter.
const TOLERANCE: f64 = 0.1;
const ERROR_TOLERANCE: f64 = 0.01;

/// Requests of an operation that a version needs.
const LEAST_REQUESTS: usize = 50;

/// Requests of an operation of which the own times are compared; of more, each second, third, ….
const MOST_COMPARED: usize = 5000;

/// Versions of one service that are told apart. A value that differs from instance to instance is no version.
const MOST_VERSIONS: usize = 16;

/// A request that a version served.
struct Request {
    start_ns: u64,
    own_ns: u64,
    has_failed: bool,
}

/// Requests of the versions of one service, by operation.
type Versions = BTreeMap<Arc<str>, BTreeMap<u32, Vec<Request>>>;

/// What a release did to one operation.
struct Changed {
    operation: u32,
    requests: u64,
    /// Median own time before and after, and how many times as long it is, if it is longer.
    slower: Option<(f64, f64, Estimate)>,
    /// Part of the requests that fail before and after, if it grew.
    failing: Option<(f64, f64)>,
    p_value: f64,
}

pub(super) fn find(corpus: &Corpus, series: &Series) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, versions) in by_version(corpus) {
        if versions.len() > MOST_VERSIONS {
            continue;
        }
        let first_ns = |version: &Arc<str>| {
            let requests = versions[version].values().flatten();
            requests.map(|request| request.start_ns).min().unwrap_or(0)
        };
        let mut order: Vec<Arc<str>> = versions.keys().cloned().collect();
        order.sort_by_key(|version| (first_ns(version), Arc::clone(version)));
        for pair in order.windows(2) {
            let [old, new] = pair else { continue };
            let changed = changed(&versions[old], &versions[new], first_ns(new));
            found.extend(finding(corpus, series, service, (old, new), first_ns(new), changed));
        }
    }
    found
}

/// Requests of the services of which more than one version is there.
fn by_version(corpus: &Corpus) -> BTreeMap<PartyId, Versions> {
    let mut services: BTreeMap<PartyId, Versions> = BTreeMap::new();
    let several = corpus.services_of_several_versions();
    if several.is_empty() {
        return services;
    }
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.serves(*at) && several.contains(&trace.service(*at))) {
            let version = &trace.facts(at).maker.version;
            if version.is_empty() {
                continue;
            }
            let versions = services.entry(trace.service(at)).or_default();
            if versions.len() > MOST_VERSIONS {
                continue;
            }
            let operations = versions.entry(Arc::clone(version)).or_default();
            operations.entry(trace.operation(at)).or_default().push(Request {
                start_ns: trace.time(at).start_ns,
                own_ns: own_ns(trace, at),
                has_failed: trace.is_error(at) && !passes_on(trace, at),
            });
        }
    }
    services
}

/// Operations that a release changed for the worse. The old version counts from as long before the release as the new one was
/// seen after it.
fn changed(
    old: &BTreeMap<u32, Vec<Request>>,
    new: &BTreeMap<u32, Vec<Request>>,
    release_ns: u64,
) -> Vec<Changed> {
    let last_ns = new.values().flatten().map(|request| request.start_ns).max().unwrap_or(release_ns);
    let from_ns = release_ns.saturating_sub(last_ns - release_ns.min(last_ns));
    let mut changed: Vec<Changed> = Vec::new();
    let mut p_values = Vec::new();
    for (operation, after) in new {
        let Some(before) = old.get(operation) else { continue };
        let before: Vec<&Request> = before.iter().filter(|request| request.start_ns >= from_ns).collect();
        let after: Vec<&Request> = after.iter().collect();
        if before.len() < LEAST_REQUESTS || after.len() < LEAST_REQUESTS {
            continue;
        }
        let (times_before, times_after) = (own_times(&before), own_times(&after));
        let failed = |requests: &[&Request]| {
            let failed = requests.iter().filter(|request| request.has_failed).count();
            Proportion::new(failed as u64, requests.len() as u64)
        };
        let (failed_before, failed_after) = (failed(&before), failed(&after));
        let test = mann_whitney(&times_before, &times_after, CONFIDENCE);
        p_values.push(test.map_or(1.0, |test| test.p_value));
        p_values.push(two_proportions(failed_before, failed_after));
        let ratio = overall_ratio(&times_before, &times_after, CONFIDENCE);
        let slower = ratio.filter(|ratio| Verdict::of_ratio(*ratio, TOLERANCE) == Verdict::Worse);
        let medians = (median(times_before), median(times_after));
        let difference = proportion_difference(failed_before, failed_after, CONFIDENCE);
        let failing = difference
            .filter(|difference| Verdict::of_difference(*difference, ERROR_TOLERANCE) == Verdict::Worse);
        changed.push(Changed {
            operation: *operation,
            requests: after.len() as u64,
            slower: slower.map(|ratio| (medians.0, medians.1, ratio)),
            failing: failing.and_then(|_| failed_before.value().zip(failed_after.value())),
            p_value: 1.0,
        });
    }
    let p_values = benjamini_hochberg(&p_values);
    for (one, tests) in changed.iter_mut().zip(p_values.chunks(2)) {
        if tests[0] >= ALPHA {
            one.slower = None;
        }
        if tests[1] >= ALPHA {
            one.failing = None;
        }
        one.p_value = tests[0].min(tests[1]);
    }
    changed.retain(|one| one.slower.is_some() || one.failing.is_some());
    changed
}

fn own_times(requests: &[&Request]) -> Vec<f64> {
    let step = requests.len().div_ceil(MOST_COMPARED).max(1);
    requests.iter().step_by(step).map(|request| request.own_ns.max(1) as f64).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5).unwrap_or(0.0)
}

fn finding(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    (old, new): (&Arc<str>, &Arc<str>),
    release_ns: u64,
    mut changed: Vec<Changed>,
) -> Option<Finding> {
    changed.sort_by(|one, other| one.p_value.total_cmp(&other.p_value));
    let worst = changed.first()?;
    let name = corpus.dictionary.name(service).to_owned();
    let operation_of = |one: &Changed| corpus.dictionary.operation(one.operation).name.to_string();
    let what = |one: &Changed| match (&one.slower, &one.failing) {
        (Some((before, after, ratio)), _) => format!(
            "{} instead of {} ({:.0} % longer, with 99.5 % confidence {:.0} to {:.0} %)",
            duration(*after),
            duration(*before),
            (ratio.value - 1.0) * 100.0,
            (ratio.interval.low - 1.0) * 100.0,
            (ratio.interval.high - 1.0) * 100.0
        ),
        (None, Some((before, after))) => {
            format!("{} of the requests fail instead of {}", percent(*after), percent(*before))
        }
        (None, None) => String::new(),
    };
    let others = if changed.len() > 1 {
        format!(", and {} other operations", changed.len() - 1)
    } else {
        String::new()
    };
    let window_us = (release_ns / 1000, u64::MAX / 1000);
    Some(Finding {
        kind: FindingKind::Regression,
        sentence: format!(
            "Version {new} of {name} made {} worse than {old}: {}{others}.",
            operation_of(worst),
            what(worst)
        ),
        service: name,
        operation: (changed.len() == 1).then(|| operation_of(worst)),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: None,
        affected: changed.iter().map(|one| one.requests).sum(),
        of: changed.iter().map(|one| one.requests).sum(),
        services: callers(corpus, series, service),
        evidence: changed
            .iter()
            .take(8)
            .map(|one| format!("{}: {}; {} requests of {new}.", operation_of(one), what(one), one.requests))
            .collect(),
        exemplars: exemplars(corpus, window_us, |trace, at| {
            let is_it = trace.serves(at) && trace.operation(at) == worst.operation;
            (is_it && trace.facts(at).maker.version == *new).then(|| own_ns(trace, at))
        }),
        next: vec![format!("What changed between {old} and {new} in this operation.")],
        p_value: worst.p_value,
    })
}
