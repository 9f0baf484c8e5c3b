//! Waiting told from working, and when slow requests come.

use std::collections::BTreeMap;

use tracer_model::answer::Window;

use super::{
    SlowDifference, SlowDifferenceKind, Tested, exemplars,
    groups::{Groups, Request, mean, median},
    number, of, sizes, time,
};
use crate::statistics::{CONFIDENCE, Proportion, homogeneity, mann_whitney, two_proportions};

/// A Cliff's delta that is told.
const LEAST_DELTA: f64 = 0.2;

/// Start delays that are told differ by this at least, and by a tenth of what slow requests take longer.
const LEAST_DELAY_NS: f64 = 100_000.0;

/// Open requests that are told differ by so many.
const LEAST_OPEN: f64 = 0.5;

/// Stretches that time is cut into, of as many requests each.
const STRETCHES: usize = 20;

/// A bunch has so great a share of the slow ones, and so many times less of the rest.
const LEAST_BUNCH: f64 = 0.5;
const LEAST_LIFT: f64 = 2.0;

/// First requests of an instance, and how late after the first of all it begins to be seen: by this part of the time.
const FIRST: usize = 10;
const LATE_PART: u64 = 20;

/// A difference of shares that is told.
const LEAST_SHARE: f64 = 0.1;

pub(super) fn compare(groups: &Groups<'_>) -> Vec<Tested> {
    [start_delay(groups), open_requests(groups), bunched(groups), cold_start(groups)]
        .into_iter()
        .flatten()
        .collect()
}

fn tested(groups: &Groups<'_>, difference: SlowDifference, is_great: bool) -> Tested {
    let (slow_requests, rest_requests) = sizes(&groups.slow, &groups.rest);
    let difference = SlowDifference { slow_requests, rest_requests, ..difference };
    Tested { difference, is_great, part: None, key: None }
}

/// From the start of the client's span to that of the server's: the way, a queue, an accept that waits.
fn start_delay(groups: &Groups<'_>) -> Option<Tested> {
    let delay = |request: &Request| {
        let trace = request.trace(groups.corpus);
        let client = trace.parent(request.at).filter(|parent| trace.asks(*parent));
        client.map_or(f64::NAN, |client| request.start_ns.saturating_sub(trace.time(client).start_ns) as f64)
    };
    let (slow, rest) = groups.values(delay);
    let known =
        |values: &[f64]| -> Vec<f64> { values.iter().copied().filter(|one| one.is_finite()).collect() };
    let (slow_known, rest_known) = (known(&slow), known(&rest));
    if slow_known.len().min(rest_known.len()) < super::LEAST_REQUESTS {
        return None;
    }
    let test = mann_whitney(&rest_known, &slow_known, CONFIDENCE)?;
    let (slow_middle, rest_middle) = (median(&slow_known), median(&rest_known));
    let longer_ns = groups.slow.mean_ns() - groups.rest.mean_ns();
    let is_great = test.cliffs_delta() >= LEAST_DELTA
        && slow_middle - rest_middle >= LEAST_DELAY_NS.max(longer_ns * 0.1);
    let (slow_exemplars, rest_exemplars) = exemplars(groups, &slow, &rest, true);
    let difference = SlowDifference {
        kind: SlowDifferenceKind::StartDelay,
        sentence: format!(
            "Slow requests begin {} after their client's call, the others {} (medians): they wait before they are served.",
            time(slow_middle),
            time(rest_middle)
        ),
        effect: test.cliffs_delta().abs(),
        slow: slow_middle,
        rest: rest_middle,
        p_value: test.p_value,
        slow_exemplars,
        rest_exemplars,
        ..SlowDifference::default()
    };
    Some(tested(groups, difference, is_great))
}

/// Requests that the same service has open as a request begins.
fn open_requests(groups: &Groups<'_>) -> Option<Tested> {
    let corpus = groups.corpus;
    let first = groups.slow.requests.first()?;
    let service = first.trace(corpus).service(first.at);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for trace in corpus.traces() {
        for at in 0..trace.len() {
            if trace.service(at) == service && (trace.serves(at) || trace.parent(at).is_none()) {
                let time = trace.time(at);
                starts.push(time.start_ns);
                ends.push(time.end_ns);
            }
        }
    }
    starts.sort_unstable();
    ends.sort_unstable();
    let open = |request: &Request| {
        let begun = starts.partition_point(|start| *start < request.start_ns);
        let ended = ends.partition_point(|end| *end <= request.start_ns);
        begun.saturating_sub(ended) as f64
    };
    let (slow, rest) = groups.values(open);
    let test = mann_whitney(&rest, &slow, CONFIDENCE)?;
    let (slow_mean, rest_mean) = (mean(slow.iter().copied()), mean(rest.iter().copied()));
    let is_great = test.cliffs_delta() >= LEAST_DELTA && slow_mean - rest_mean >= LEAST_OPEN;
    let (slow_exemplars, rest_exemplars) = exemplars(groups, &slow, &rest, true);
    let difference = SlowDifference {
        kind: SlowDifferenceKind::OpenRequests,
        sentence: format!(
            "{} has {} other requests under way as a slow one begins, and {} as the others do (means): requests wait for each other, or \
             for something that all of them need.",
            corpus.dictionary.name(service),
            number(slow_mean),
            number(rest_mean)
        ),
        effect: test.cliffs_delta().abs(),
        slow: slow_mean,
        rest: rest_mean,
        p_value: test.p_value,
        slow_exemplars,
        rest_exemplars,
        ..SlowDifference::default()
    };
    Some(tested(groups, difference, is_great))
}

/// Whether slow requests come close together.
fn bunched(groups: &Groups<'_>) -> Option<Tested> {
    let all = &groups.all;
    let size = all.len().div_ceil(STRETCHES).max(1);
    let counts: Vec<[u64; 2]> = all
        .chunks(size)
        .map(|chunk| {
            let slow = chunk.iter().filter(|(_, is_slow)| *is_slow).count() as u64;
            [slow, chunk.len() as u64 - slow]
        })
        .collect();
    let column = |group: usize| -> Vec<u64> { counts.iter().map(|counts| counts[group]).collect() };
    let homogeneity = homogeneity(&column(1), &column(0))?;
    let (slow_total, rest_total) = (groups.slow.total as f64, groups.rest.total as f64);
    // The stretch that has most more of the slow ones than of the rest.
    let gains = counts.iter().map(|[slow, rest]| *slow as f64 / slow_total - *rest as f64 / rest_total);
    let (mut best, mut from, mut sum) = ((0.0, 0, 0), 0, 0.0);
    for (place, gain) in gains.enumerate() {
        if sum <= 0.0 {
            (sum, from) = (0.0, place);
        }
        sum += gain;
        if sum > best.0 {
            best = (sum, from, place + 1);
        }
    }
    let (gain, from, to) = best;
    let inside = &all[from * size..(to * size).min(all.len())];
    // From the first slow one to the last.
    let is_slow = |one: &&(u64, bool)| one.1;
    let start_ns = inside.iter().find(is_slow)?.0;
    let end_ns = inside.iter().rev().find(is_slow)?.0;
    let count = |wanted: bool| {
        inside.iter().filter(|(at, slow)| *slow == wanted && (start_ns..=end_ns).contains(at)).count()
    };
    let (slow, rest) = (count(true), count(false));
    let (slow_part, rest_part) = (slow as f64 / slow_total, rest as f64 / rest_total);
    let difference = SlowDifference {
        kind: SlowDifferenceKind::Bunched,
        sentence: format!(
            "{} slow requests begin within {} of each other, with {} of the others.",
            of(slow, groups.slow.total),
            time(end_ns.saturating_sub(start_ns) as f64),
            of(rest, groups.rest.total)
        ),
        effect: gain.clamp(0.0, 1.0),
        slow: slow_part,
        rest: rest_part,
        p_value: homogeneity.p_value,
        window: Some(Window {
            start_unix_us: start_ns / 1000,
            end_unix_us: (end_ns / 1000).saturating_add(1),
        }),
        slow_exemplars: groups.slow.within(groups.corpus, start_ns..=end_ns),
        rest_exemplars: groups.rest.within(groups.corpus, 0..=u64::MAX),
        ..SlowDifference::default()
    };
    let is_great = slow_part >= LEAST_BUNCH && slow_part >= rest_part * LEAST_LIFT;
    Some(tested(groups, difference, is_great))
}

/// Whether slow requests are the first ones of instances that begin while traces are there.
fn cold_start(groups: &Groups<'_>) -> Option<Tested> {
    let corpus = groups.corpus;
    let (first_ns, last_ns) = corpus.extent_ns()?;
    let maker = |trace: crate::corpus::Trace<'_>, at: usize| {
        let maker = &trace.facts(at).maker;
        (maker.service.clone(), maker.instance.clone())
    };
    let service = {
        let first = groups.slow.requests.first()?;
        first.trace(corpus).service(first.at)
    };
    let mut starts: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for trace in corpus.traces() {
        for at in (0..trace.len()).filter(|at| trace.service(*at) == service) {
            if trace.serves(at) || trace.parent(at).is_none() {
                starts.entry(maker(trace, at)).or_default().push(trace.time(at).start_ns);
            }
        }
    }
    let late_ns = first_ns.saturating_add(last_ns.saturating_sub(first_ns) / LATE_PART);
    // Until when requests are the first ones of an instance.
    let until: BTreeMap<_, u64> = starts
        .into_iter()
        .filter_map(|(maker, mut starts)| {
            starts.sort_unstable();
            let last = starts.get(FIRST - 1).or(starts.last())?;
            (starts[0] > late_ns).then_some((maker, *last))
        })
        .collect();
    if until.is_empty() {
        return None;
    }
    let is_first = |request: &Request| {
        let maker = maker(request.trace(corpus), request.at);
        f64::from(u8::from(until.get(&maker).is_some_and(|until| request.start_ns <= *until)))
    };
    let (slow, rest) = groups.values(is_first);
    let count = |values: &[f64]| values.iter().filter(|value| **value > 0.0).count();
    let (slow_first, rest_first) = (count(&slow), count(&rest));
    let (slow_part, rest_part) =
        (slow_first as f64 / slow.len() as f64, rest_first as f64 / rest.len() as f64);
    let (slow_exemplars, rest_exemplars) = exemplars(groups, &slow, &rest, true);
    let difference = SlowDifference {
        kind: SlowDifferenceKind::ColdStart,
        sentence: format!(
            "{} slow requests are among the first {FIRST} of an instance of {} that has just begun, and {} of the others.",
            of(slow_first, slow.len()),
            corpus.dictionary.name(service),
            of(rest_first, rest.len())
        ),
        effect: (slow_part - rest_part).clamp(0.0, 1.0),
        slow: slow_part,
        rest: rest_part,
        p_value: two_proportions(
            Proportion::new(rest_first as u64, rest.len() as u64),
            Proportion::new(slow_first as u64, slow.len() as u64),
        ),
        slow_exemplars,
        rest_exemplars,
        ..SlowDifference::default()
    };
    Some(tested(groups, difference, slow_part - rest_part >= LEAST_SHARE))
}
