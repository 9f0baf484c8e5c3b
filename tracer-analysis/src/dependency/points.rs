//! Parties without whom many requests cannot be answered.

use std::cmp::Reverse;

use super::{PassingVerdict, SinglePoint, tally::Tallies};
use crate::corpus::Corpus;

/// Part of all requests that wait for a single point, at least.
const LEAST_PART: f64 = 0.2;

/// Requests that wait for it, at least.
const LEAST_TRACES: u64 = 20;

/// Points that are told.
const MOST_POINTS: usize = 20;

pub(super) fn of(corpus: &Corpus, tallies: &Tallies) -> Vec<SinglePoint> {
    let mut points: Vec<SinglePoint> = Vec::new();
    for ((party, tally), id) in
        corpus.dictionary.parties().iter().zip(&tallies.parties).zip(corpus.dictionary.ids())
    {
        let part = tally.waiting as f64 / tallies.rooted.max(1) as f64;
        if tally.instances() > 1 || part < LEAST_PART || tally.waiting < LEAST_TRACES {
            continue;
        }
        let failures = tallies.failures_of(id).told();
        if failures.verdict == PassingVerdict::Absorbed {
            continue;
        }
        let mut point = SinglePoint {
            name: party.name.to_string(),
            kind: party.kind,
            traces: tally.waiting,
            part,
            instances: tally.instances(),
            failures,
            sentence: String::new(),
        };
        point.sentence = sentence(&point);
        points.push(point);
    }
    points.sort_by(|one, other| (Reverse(one.traces), &one.name).cmp(&(Reverse(other.traces), &other.name)));
    points.truncate(MOST_POINTS);
    points
}

fn sentence(point: &SinglePoint) -> String {
    let SinglePoint { name, part, instances, failures, .. } = point;
    let instances = match instances {
        0 => "how many instances it has is not known".to_owned(),
        _ => "one instance of it was seen".to_owned(),
    };
    let failures = match failures.verdict {
        PassingVerdict::NeverFailed => "no call to it failed".to_owned(),
        _ => format!(
            "{} of {} requests failed of which a call to it failed",
            failures.failed, failures.with_failed_call
        ),
    };
    format!("{:.0} % of the requests wait for {name}; {instances}; {failures}.", part * 100.0)
}
