//! Releases that a corpus shows, and what each changed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tracer_model::answer::Window;
use utoipa::ToSchema;

use super::{ComparedOperation, ComparisonAnswer, Side, analyze, operations};
use crate::{
    answer::Sample,
    corpus::{Corpus, PartyId},
    series::Buckets,
    statistics::Verdict,
};

/// Versions of one service that are told apart. A value that differs from instance to instance is no version.
const MOST_VERSIONS: usize = 16;

/// Releases that are told, the newest.
const MOST_DEPLOYMENTS: usize = 20;

/// Services without a release that are told, of each kind.
const MOST_SERVICES: usize = 200;

/// A new version is compared if it served so many requests.
const LEAST_REQUESTS: u64 = 50;

/// Releases in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentsAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Releases, the newest first; 20 at most.
    pub deployments: Vec<Deployment>,
    /// Services of which spans tell one version, or none: no release of them is seen. 200 at most.
    pub services_of_one_version: Vec<String>,
    /// Services with so many versions that they are none. 200 at most.
    pub services_of_too_many: Vec<String>,
    /// Services without a release that are not told.
    pub left_out_services: u64,
    /// When the first bucket of `Deployment::share_over_time` begins.
    pub start_unix_us: u64,
    /// How long each bucket is.
    pub bucket_us: u64,
}

/// A release of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The service.
    pub service: String,
    /// The version that served before.
    pub old_version: String,
    /// The version that came.
    pub new_version: String,
    /// First request that the new version served.
    pub first_seen_unix_us: u64,
    /// Last request that the old version served.
    pub old_last_seen_unix_us: u64,
    /// How it went.
    pub kind: DeploymentKind,
    /// Instances of the new version; 0 if that is not told.
    pub instances: u64,
    /// Part of the service's requests that the new version served, bucket by bucket. None of a bucket without requests.
    pub share_over_time: Vec<Option<f64>>,
    /// What it changed. The old version counts from as long before the release as the new one was seen after it. None of too few
    /// requests.
    pub comparison: Option<ComparisonAnswer>,
}

/// How a release went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// The new version took over at once.
    #[default]
    Replaced,
    /// Both served for a while, then only the new one.
    Rolling,
    /// Both serve to the end.
    Together,
}

/// Requests of a version, in time.
#[derive(Default)]
struct Seen {
    first_ns: Option<u64>,
    last_ns: u64,
    requests: u64,
    instances: BTreeSet<Arc<str>>,
    over_time: Vec<u64>,
}

/// Releases of a corpus.
pub fn find(corpus: &Corpus) -> DeploymentsAnswer {
    let (mut answer, comparisons) = find_by(corpus, analyze);
    for (deployment, comparison) in answer.deployments.iter_mut().zip(comparisons) {
        deployment.comparison = comparison;
    }
    answer
}

/// Releases, and the operations that each made worse.
pub(crate) fn regressions(corpus: &Corpus) -> Vec<(Deployment, Vec<ComparedOperation>)> {
    if corpus.services_of_several_versions().is_empty() {
        return Vec::new();
    }
    let (answer, operations) = find_by(corpus, operations);
    let worse = operations.into_iter().map(|operations| {
        operations.unwrap_or_default().into_iter().filter(|row| row.verdict == Verdict::Worse).collect()
    });
    answer.deployments.into_iter().zip(worse).collect()
}

/// Releases, each with what a comparison of its versions says. None of too few requests.
fn find_by<T>(
    corpus: &Corpus,
    compare: impl Fn(&Side<'_>, &Side<'_>) -> T,
) -> (DeploymentsAnswer, Vec<Option<T>>) {
    let Some(buckets) = Buckets::of(corpus) else { return (DeploymentsAnswer::default(), Vec::new()) };
    let mut answer = DeploymentsAnswer {
        sample: Sample::of(corpus),
        start_unix_us: buckets.begin_us(0),
        bucket_us: buckets.width_ns / 1000,
        ..DeploymentsAnswer::default()
    };
    let mut services: BTreeMap<PartyId, BTreeMap<Arc<str>, Seen>> = BTreeMap::new();
    let several = corpus.services_of_several_versions();
    let mut others: BTreeSet<PartyId> = BTreeSet::new();
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.serves(*at)) {
            if !several.contains(&trace.service(at)) {
                others.insert(trace.service(at));
                continue;
            }
            let maker = &trace.facts(at).maker;
            let versions = services.entry(trace.service(at)).or_default();
            if versions.len() > MOST_VERSIONS {
                continue;
            }
            let seen = versions.entry(Arc::clone(&maker.version)).or_default();
            let start_ns = trace.time(at).start_ns;
            seen.first_ns = Some(seen.first_ns.map_or(start_ns, |first| first.min(start_ns)));
            seen.last_ns = seen.last_ns.max(start_ns);
            seen.requests += 1;
            if !maker.instance.is_empty() && !seen.instances.contains(&maker.instance) {
                seen.instances.insert(Arc::clone(&maker.instance));
            }
            seen.over_time.resize(buckets.count, 0);
            seen.over_time[buckets.at(start_ns)] += 1;
        }
    }
    for (service, versions) in &services {
        let name = corpus.dictionary.name(*service);
        match versions.keys().filter(|version| !version.is_empty()).count() {
            0 | 1 => drop(others.insert(*service)),
            count if count > MOST_VERSIONS => answer.services_of_too_many.push(name.to_owned()),
            _ => answer.deployments.extend(releases(corpus, name, versions, buckets)),
        }
    }
    let name = |service: &PartyId| corpus.dictionary.name(*service).to_owned();
    answer.services_of_one_version = others.iter().take(MOST_SERVICES).map(name).collect();
    answer.left_out_services = others.len().saturating_sub(MOST_SERVICES) as u64
        + answer.services_of_too_many.len().saturating_sub(MOST_SERVICES) as u64;
    answer.services_of_too_many.truncate(MOST_SERVICES);
    answer.deployments.sort_by_key(|deployment| Reverse(deployment.first_seen_unix_us));
    answer.deployments.truncate(MOST_DEPLOYMENTS);
    let compared = |deployment: &Deployment| {
        let new = services_version(&services, corpus, &deployment.service, &deployment.new_version)?;
        let (before, after) = sides(corpus, deployment, new.last_ns / 1000);
        (new.requests >= LEAST_REQUESTS).then(|| compare(&before, &after))
    };
    let comparisons = answer.deployments.iter().map(compared).collect();
    (answer, comparisons)
}

fn services_version<'a>(
    services: &'a BTreeMap<PartyId, BTreeMap<Arc<str>, Seen>>,
    corpus: &Corpus,
    service: &str,
    version: &str,
) -> Option<&'a Seen> {
    services.get(&corpus.dictionary.find_service(service)?)?.get(version)
}

/// The old version from as long before the release as the new one was seen after it, and the new one.
fn sides<'a>(corpus: &'a Corpus, deployment: &Deployment, last_us: u64) -> (Side<'a>, Side<'a>) {
    let release_us = deployment.first_seen_unix_us;
    let from_us = release_us.saturating_sub(last_us.saturating_sub(release_us));
    let side = |version: &str, window: Option<Window>| Side {
        corpus,
        name: format!("{}@{version}", deployment.service),
        window,
        version: Some((deployment.service.clone(), version.to_owned())),
    };
    let window = Window { start_unix_us: from_us, end_unix_us: u64::MAX };
    (side(&deployment.old_version, Some(window)), side(&deployment.new_version, None))
}

/// The releases of one service: each version beside the one that was seen before it.
fn releases(
    corpus: &Corpus,
    service: &str,
    versions: &BTreeMap<Arc<str>, Seen>,
    buckets: Buckets,
) -> Vec<Deployment> {
    let mut order: Vec<(&Arc<str>, &Seen)> =
        versions.iter().filter(|(version, _)| !version.is_empty()).collect();
    order.sort_by_key(|(version, seen)| (seen.first_ns, Arc::clone(version)));
    let end_ns = corpus.traces().map(|trace| trace.time(0).start_ns).max().unwrap_or(0);
    let pair = |pair: &[(&Arc<str>, &Seen)]| {
        let [(old_version, old), (new_version, new)] = pair else { return None };
        let first_ns = new.first_ns.unwrap_or(0);
        let kind = if old.last_ns.saturating_add(buckets.width_ns) >= end_ns {
            DeploymentKind::Together
        } else if old.last_ns > first_ns {
            DeploymentKind::Rolling
        } else {
            DeploymentKind::Replaced
        };
        let whole = |bucket: usize| -> u64 {
            versions.values().map(|seen| seen.over_time.get(bucket).copied().unwrap_or(0)).sum()
        };
        let share = |bucket: usize| {
            let whole = whole(bucket);
            (whole > 0).then(|| new.over_time.get(bucket).copied().unwrap_or(0) as f64 / whole as f64)
        };
        Some(Deployment {
            service: service.to_owned(),
            old_version: old_version.to_string(),
            new_version: new_version.to_string(),
            first_seen_unix_us: first_ns / 1000,
            old_last_seen_unix_us: old.last_ns / 1000,
            kind,
            instances: new.instances.len() as u64,
            share_over_time: (0..buckets.count).map(share).collect(),
            comparison: None,
        })
    };
    order.windows(2).filter_map(pair).collect()
}
