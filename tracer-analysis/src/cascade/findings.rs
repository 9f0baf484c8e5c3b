//! One finding for each cause of a cascade: its origins, the limits of time that callers ran into, and storms of retries.

use super::{
    CascadeAnswer, CascadeOptions, DeadlineMismatch, Fingerprint, Origin, OriginKind, Signal, analyze_with,
};
use crate::{
    answer::{Exemplar, Finding, FindingKind, Sample},
    corpus::{Corpus, PartyId, Trace},
    report::LEAST_TRACES,
    retry::{self, RetryOptions, RetryStorm},
    series::table::Table,
};

/// Exemplars of a finding.
const MOST_EXEMPLARS: usize = 3;

/// Callers that ran into a limit of time from the first second on did nothing new.
const NEW_AFTER: u64 = 5;

/// Causes of what went wrong, each with those that it hits. A service that is anomalous since one that it calls is, is no cause:
/// it is told in the extent.
pub fn candidates(corpus: &Corpus) -> Vec<Finding> {
    let table = Table::of(corpus).filter(|_| corpus.len() >= LEAST_TRACES);
    let Some(table) = table else { return Vec::new() };
    let answer = analyze_with(corpus, &CascadeOptions::default(), &table, Sample::default());
    let retries = retry::analyze_with(corpus, &RetryOptions::default(), &table);
    let origins = answer.origins.iter().filter_map(|origin| of_origin(corpus, &table, &answer, origin));
    let timeouts = answer.timeouts.iter().filter_map(|timeout| of_timeout(&answer, timeout));
    origins.chain(timeouts).chain(retries.storms.iter().map(of_storm)).collect()
}

fn of_origin(corpus: &Corpus, table: &Table, answer: &CascadeAnswer, origin: &Origin) -> Option<Finding> {
    let is_queueing = answer.saturated.iter().any(|of| of.is_own && of.service == origin.service);
    let (kind, next) = match origin.kind {
        OriginKind::Slower if is_queueing => {
            (FindingKind::Queueing, "Pools, locks and queues of this service, and its number of workers.")
        }
        OriginKind::Slower => {
            (FindingKind::Slower, "What this service does in that time, in the slowest traces.")
        }
        OriginKind::Errors => {
            (FindingKind::Errors, "The log of this service at the time of a failed request.")
        }
        OriginKind::Stalled => {
            (FindingKind::Stalled, "Whether its process was stopped, paused, or had no processor.")
        }
        OriginKind::Unreachable => {
            (FindingKind::Unreachable, "Whether it runs and listens, its address, and the way to it.")
        }
        OriginKind::Unknown => return None,
    };
    let party = corpus.dictionary.find_service(&origin.service);
    let end_us = origin.end_unix_us.unwrap_or(u64::MAX);
    let buckets = (0..table.buckets.count).filter(|bucket| {
        let begin_us = table.buckets.begin_us(*bucket);
        begin_us >= origin.onset_unix_us && begin_us < end_us
    });
    let row = party.and_then(|party| table.services.get(party));
    let (affected, of) = row.map_or((0, 0), |row| {
        buckets.fold((0, 0), |(affected, of), bucket| {
            let cell = &row.cells[bucket];
            let hit = if origin.kind == OriginKind::Errors { cell.own_errors } else { cell.requests };
            (affected + hit, of + cell.requests)
        })
    });
    let changes = answer.changes.iter().filter(|change| change.service == origin.service);
    let p_value = changes.map(|change| change.p_value).fold(1.0, f64::min);
    let evidence = answer.wave.iter().map(|hit| {
        let signals: Vec<&str> = hit.signals.iter().map(|signal| words(*signal)).collect();
        format!("{}, from {} µs on: {}.", hit.service, hit.onset_unix_us, signals.join(", "))
    });
    Some(Finding {
        kind,
        sentence: origin.sentence.clone(),
        service: origin.service.clone(),
        operation: None,
        edge: None,
        onset_unix_us: origin.onset_unix_us,
        end_unix_us: origin.end_unix_us,
        affected,
        of,
        services: origin.reaches.clone(),
        evidence: evidence.take(8).collect(),
        exemplars: party.map(|party| exemplars(corpus, party, origin)).unwrap_or_default(),
        next: vec![next.to_owned()],
        p_value,
    })
}

fn words(signal: Signal) -> &'static str {
    match signal {
        Signal::Latency => "requests take longer",
        Signal::OwnTime => "requests take longer by themselves",
        Signal::Errors => "more requests fail",
        Signal::OwnErrors => "more requests fail by themselves",
        Signal::Abandoned => "callers leave before the answer",
        Signal::Unserved => "calls fail, and nothing serves them",
        Signal::Standstill => "nothing ends, though requests are open",
        Signal::NoTraffic => "no requests come any more",
    }
}

/// The longest requests of the origin, or calls to it; the failed ones of one that fails.
fn exemplars(corpus: &Corpus, party: PartyId, origin: &Origin) -> Vec<Exemplar> {
    let is_it = |trace: Trace<'_>, at: usize| {
        let is_of = match origin.kind {
            OriginKind::Unreachable | OriginKind::Stalled => trace.asked(at) == Some(party),
            _ => trace.serves(at) && trace.service(at) == party,
        };
        let start_us = trace.time(at).start_ns / 1000;
        // Who waits for a service that stands still may have asked a moment before.
        let early_us = origin.onset_unix_us.saturating_sub(1_000_000);
        is_of
            && start_us >= early_us
            && origin.end_unix_us.is_none_or(|end_us| start_us < end_us)
            && (origin.kind != OriginKind::Errors || trace.is_error(at))
    };
    let mut best: Vec<(u64, usize, usize)> = Vec::new();
    for trace in corpus.traces() {
        let longest =
            (0..trace.len()).filter(|at| is_it(trace, *at)).map(|at| (trace.duration_ns(at), at)).max();
        let Some((duration_ns, at)) = longest else { continue };
        if best.len() < MOST_EXEMPLARS || best.last().is_some_and(|least| least.0 < duration_ns) {
            best.push((duration_ns, trace.place(), at));
            best.sort_unstable_by(|one, other| other.cmp(one));
            best.truncate(MOST_EXEMPLARS);
        }
    }
    best.into_iter().map(|(_, place, at)| Exemplar::of(corpus.trace(place), at)).collect()
}

/// Callers that begin to run into a limit of time.
fn of_timeout(answer: &CascadeAnswer, timeout: &Fingerprint) -> Option<Finding> {
    let edge = &timeout.edge;
    let change = answer.changes.iter().find(|change| {
        change.edge.as_ref() == Some(edge) && matches!(change.signal, Signal::Abandoned | Signal::Errors)
    })?;
    if change.onset_unix_us < answer.start_unix_us + NEW_AFTER * answer.bucket_us {
        return None;
    }
    let is_same = |mismatch: &&DeadlineMismatch| mismatch.edge == *edge;
    let mismatch = answer.mismatches.iter().find(is_same);
    Some(Finding {
        kind: FindingKind::Timeouts,
        sentence: format!(
            "{} of {} failed calls from {} to {} end after {}: a limit of time.",
            timeout.calls,
            timeout.of,
            edge.from,
            edge.to,
            crate::words::duration(timeout.value_ns as f64)
        ),
        service: edge.to.clone(),
        operation: None,
        edge: Some(edge.clone()),
        onset_unix_us: change.onset_unix_us,
        end_unix_us: change.end_unix_us,
        affected: timeout.calls,
        of: timeout.of,
        services: vec![edge.from.clone()],
        evidence: mismatch.map(|mismatch| mismatch.sentence.clone()).into_iter().collect(),
        exemplars: timeout.exemplars.clone(),
        next: vec![format!("Why {} takes longer than {} waits for it.", edge.to, edge.from)],
        p_value: change.p_value,
    })
}

fn of_storm(storm: &RetryStorm) -> Finding {
    let mut services: Vec<String> = Vec::new();
    for edge in std::iter::once(&storm.bottom).chain(&storm.edges) {
        if !services.contains(&edge.from) && edge.from != storm.bottom.to {
            services.push(edge.from.clone());
        }
    }
    let layers = storm.layers.iter().filter(|layer| layer.factor > 1.05);
    let mut evidence: Vec<String> = layers
        .map(|layer| {
            format!("{} makes {:.1} attempts for each call to {}.", layer.from, layer.factor, layer.to)
        })
        .collect();
    evidence.extend(storm.goodput_before.map(|before| {
        format!("{:.0} % of the calls succeed, before it {:.0} %.", storm.goodput * 100.0, before * 100.0)
    }));
    let next = if storm.is_self_sustaining {
        "Whether fewer attempts, or less load for a while, end it: its trigger is over."
    } else {
        "Why the first attempts fail, and whether one layer alone should try again, with a budget."
    };
    Finding {
        kind: FindingKind::RetryStorm,
        sentence: storm.sentence.clone(),
        service: storm.bottom.to.clone(),
        operation: None,
        edge: Some(storm.bottom.clone()),
        onset_unix_us: storm.onset_unix_us,
        end_unix_us: storm.end_unix_us,
        affected: storm.attempts.saturating_sub(storm.logical_calls),
        of: storm.attempts,
        services,
        evidence,
        exemplars: storm.exemplars.clone(),
        next: vec![next.to_owned()],
        p_value: storm.p_value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::simulated::{Effect, MS, Simulation};

    fn told(attempts: u32, fault: &dyn Fn(&str, u64) -> Effect) -> Vec<Finding> {
        let timeout_ns = (attempts > 1).then_some(150 * MS);
        let simulation = Simulation { seed: 7, seconds: 120, rate: 20, attempts, timeout_ns, fault };
        candidates(&simulation.corpus())
    }

    #[test]
    fn a_cause_is_one_finding_and_those_that_it_hits_are_its_extent() {
        let found = told(1, &|service, second| {
            let errors = if service == "depot" && second >= 60 { 0.3 } else { 0.01 };
            Effect { errors, ..Effect::default() }
        });
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.kind, finding.service.as_str()), (FindingKind::Errors, "depot"));
        assert_eq!(finding.services, ["stock", "shop", "front"]);
        let part = finding.affected as f64 / finding.of as f64;
        assert!((part - 0.3).abs() < 0.05 && finding.exemplars.len() == 3, "{finding:?}");
    }

    #[test]
    fn slow_answers_below_retrying_callers_are_a_slow_service_its_timeouts_and_a_storm() {
        let found = told(3, &|service, second| {
            let slower = if service == "depot" && second >= 60 { 100.0 } else { 1.0 };
            Effect { slower, ..Effect::default() }
        });
        let kinds: Vec<_> = found.iter().map(|finding| (finding.kind, finding.service.as_str())).collect();
        assert!(kinds.contains(&(FindingKind::Timeouts, "depot")), "{kinds:?}");
        assert!(kinds.contains(&(FindingKind::RetryStorm, "depot")), "{kinds:?}");
        assert!(kinds.iter().all(|(_, service)| *service == "depot"), "{kinds:?}");
    }

    #[test]
    fn steady_random_traffic_has_no_finding() {
        for seed in 100..105 {
            let fault = |_: &str, _| Effect::default();
            let simulation =
                Simulation { seed, seconds: 1800, rate: 2, attempts: 1, timeout_ns: None, fault: &fault };
            assert_eq!(candidates(&simulation.corpus()), [], "{seed}");
        }
    }
}
