//! Releases that made an operation slower, or fail more often: the versions of one service side by side.

use super::{
    place::{callers, exemplars},
    series::own_ns,
};
use crate::{
    answer::{Finding, FindingKind},
    compare::{
        ComparedOperation,
        deployments::{Deployment, regressions},
    },
    corpus::{Corpus, PartyId},
    detect::series::Series,
    statistics::Verdict,
    words::{duration, percent},
};

pub(super) fn find(corpus: &Corpus, series: &Series) -> Vec<Finding> {
    let found = regressions(corpus).into_iter().filter_map(|(deployment, worse)| {
        let service = corpus.dictionary.find_service(&deployment.service)?;
        finding(corpus, series, service, &deployment, worse)
    });
    found.collect()
}

/// What a release did to an operation.
fn told(row: &ComparedOperation) -> String {
    let time = &row.own_time;
    let (what, (before, after), ratio) = if time.is_of_tail_only() {
        ("a 95th percentile of ", time.p95_ns, time.p95_ratio)
    } else {
        ("", time.p50_ns, time.ratio)
    };
    match ratio.filter(|_| time.verdict == Verdict::Worse) {
        Some(ratio) => format!(
            "{what}{} instead of {} ({:.0} % longer, with 99.5 % confidence {:.0} to {:.0} %)",
            duration(after),
            duration(before),
            (ratio.value - 1.0) * 100.0,
            (ratio.interval.low - 1.0) * 100.0,
            (ratio.interval.high - 1.0) * 100.0
        ),
        None => {
            let part = |failed: u64, of: u64| percent(failed as f64 / of.max(1) as f64);
            let (before, after) = row.own_failures.failed;
            format!(
                "{} of the requests fail instead of {}",
                part(after, row.requests.1),
                part(before, row.requests.0)
            )
        }
    }
}

fn p_value(row: &ComparedOperation) -> f64 {
    row.own_time.p_value.min(row.own_failures.p_value)
}

fn finding(
    corpus: &Corpus,
    series: &Series,
    service: PartyId,
    deployment: &Deployment,
    mut worse: Vec<ComparedOperation>,
) -> Option<Finding> {
    worse.sort_by(|one, other| p_value(one).total_cmp(&p_value(other)));
    let worst = worse.first()?;
    let Deployment { service: name, old_version: old, new_version: new, .. } = deployment;
    let others =
        if worse.len() > 1 { format!(", and {} other operations", worse.len() - 1) } else { String::new() };
    let window_us = (deployment.first_seen_unix_us, u64::MAX / 1000);
    let operation = corpus.find_operation(name, &worst.operation.name, worst.operation.kind);
    let requests = worse.iter().map(|row| row.requests.1).sum();
    Some(Finding {
        kind: FindingKind::Regression,
        sentence: format!(
            "Version {new} of {name} made {} worse than {old}: {}{others}.",
            worst.operation.name,
            told(worst)
        ),
        service: name.clone(),
        operation: (worse.len() == 1).then(|| worst.operation.name.clone()),
        edge: None,
        onset_unix_us: window_us.0,
        end_unix_us: None,
        affected: requests,
        of: requests,
        services: callers(corpus, series, service),
        evidence: worse
            .iter()
            .take(8)
            .map(|row| {
                format!("{}: {}; {} requests of {new}.", row.operation.name, told(row), row.requests.1)
            })
            .collect(),
        exemplars: exemplars(corpus, window_us, |trace, at| {
            let is_it = trace.serves(at) && Some(trace.operation(at)) == operation;
            (is_it && *trace.facts(at).maker.version == **new).then(|| own_ns(trace, at))
        }),
        next: vec![format!("What changed between {old} and {new} in this operation.")],
        p_value: p_value(worst),
    })
}
