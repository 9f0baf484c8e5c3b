//! Times and failures of operations that are there on both sides.

use super::{
    ALPHA_OF_EACH, ComparedFailures, ComparedOperation, ComparedTime, FAILURE_TOLERANCE, POWER, Side,
    TAIL_TOLERANCE_NS, TIME_TOLERANCE_NS, TOLERANCE,
    side::{Request, Requests},
};
use crate::{
    answer::Exemplar,
    statistics::{
        CONFIDENCE, Estimate, Proportion, Verdict, benjamini_hochberg, detectable_difference,
        detectable_ratio, mann_whitney, overall_ratio, proportion_difference, quantile, quantile_change,
        two_proportions,
    },
    words::{duration, percent},
};

/// Requests of an operation that a side needs, if it is judged.
const LEAST_REQUESTS: usize = 50;

/// Requests of an operation of which times are compared; of more, each second, third, ….
const MOST_COMPARED: usize = 5000;

/// Parts in which the requests of a side are told apart, in their order: a change must show in them too. Requests that follow each
/// other are slow together, so a short disturbance would be as much as hundreds of requests say.
const PARTS: usize = 10;

/// How seldom chance alone orders those parts so well, if a change is to show in them: what is slow in three of ten parts does not
/// reach it.
const ALPHA_OF_PARTS: f64 = 0.02;

/// Operations that are compared, those with most requests.
const MOST_OPERATIONS: usize = 2000;

/// Operations of which 95th percentiles are compared, those with most requests: each costs thousands of replicates.
const MOST_TAILS: usize = 50;

/// The operations that are there on both sides, and how many were left out.
pub(super) fn compare(
    before: &Side<'_>,
    after: &Side<'_>,
    first: &Requests,
    second: &Requests,
) -> (Vec<ComparedOperation>, u64) {
    let both = second.by_operation.iter().filter_map(|(operation, requests)| {
        let earlier = first.by_operation.get(operation)?;
        Some((operation, earlier.as_slice(), requests.as_slice()))
    });
    let mut both: Vec<_> = both.collect();
    both.sort_by_key(|(operation, _, requests)| (std::cmp::Reverse(requests.len()), *operation));
    let left_out = both.len().saturating_sub(MOST_OPERATIONS) as u64;
    both.truncate(MOST_OPERATIONS);
    let judged = both.iter().filter(|(_, one, other)| is_enough(one, other)).count().max(1);
    let tail_confidence = 1.0 - ALPHA_OF_EACH / judged.min(MOST_TAILS) as f64;
    let mut rows: Vec<ComparedOperation> = both
        .iter()
        .enumerate()
        .map(|(place, (operation, earlier, later))| {
            let tail = (place < MOST_TAILS).then_some(tail_confidence);
            ComparedOperation {
                operation: (*operation).clone(),
                requests: (earlier.len() as u64, later.len() as u64),
                own_time: times(earlier, later, |request| request.own_ns, tail),
                duration: times(earlier, later, |request| request.duration_ns, tail),
                own_failures: failures(earlier, later, |request| request.has_failed_itself),
                failures: failures(earlier, later, |request| request.has_failed),
                exemplars: exemplars(before, after, earlier, later),
                ..ComparedOperation::default()
            }
        })
        .collect();
    correct(&mut rows, |row| &mut row.own_time.p_value);
    correct(&mut rows, |row| &mut row.duration.p_value);
    correct(&mut rows, |row| &mut row.own_failures.p_value);
    correct(&mut rows, |row| &mut row.failures.p_value);
    for row in &mut rows {
        let is_judged = row.requests.0.min(row.requests.1) >= LEAST_REQUESTS as u64;
        judge_time(&mut row.own_time, is_judged);
        judge_time(&mut row.duration, is_judged);
        judge_failures(&mut row.own_failures, is_judged);
        judge_failures(&mut row.failures, is_judged);
        row.verdict = both_verdicts(row.own_time.verdict, row.own_failures.verdict);
        row.sentence = sentence(row);
    }
    rows.sort_by(|one, other| {
        order(one).cmp(&order(other)).then_with(|| weight(other).total_cmp(&weight(one)))
    });
    (rows, left_out)
}

fn is_enough(one: &[Request], other: &[Request]) -> bool {
    one.len().min(other.len()) >= LEAST_REQUESTS
}

/// The worst first, and what became better last but for what is not known.
fn order(row: &ComparedOperation) -> u8 {
    match row.verdict {
        Verdict::Worse => 0,
        Verdict::Better => 1,
        Verdict::Unchanged => 2,
        Verdict::NotEnough => 3,
    }
}

/// How much it matters: time that all requests take more, or failures that there are more, whichever is the greater part.
fn weight(row: &ComparedOperation) -> f64 {
    let more = row.own_time.ratio.map_or(0.0, |ratio| ratio.value.ln().abs());
    let failing = row.own_failures.difference.map_or(0.0, |difference| difference.value.abs());
    (more.max(10.0 * failing)) * (row.requests.1 as f64).ln_1p()
}

fn times(
    before: &[Request],
    after: &[Request],
    time: impl Fn(&Request) -> u64 + Copy,
    tail_confidence: Option<f64>,
) -> ComparedTime {
    let in_order = (before, after);
    let (before, after) = (values(before, time), values(after, time));
    let at = |values: &[f64], part| quantile(values, part).unwrap_or(0.0);
    let ratio = overall_ratio(&before, &after, CONFIDENCE);
    let tail = tail_confidence.filter(|_| before.len().min(after.len()) >= LEAST_REQUESTS);
    let p95_ratio = tail
        .and_then(|confidence| quantile_change(&before, &after, 0.95, confidence))
        .and_then(|change| change.ratio);
    let (p50_ns, p95_ns) = ((at(&before, 0.5), at(&after, 0.5)), (at(&before, 0.95), at(&after, 0.95)));
    let tolerance = tolerance(p50_ns, TIME_TOLERANCE_NS);
    let lasts = |between: (f64, f64)| {
        let threshold = (between.0 * between.1).sqrt();
        lasts(in_order.0, in_order.1, |request| time(request) as f64 > threshold)
    };
    ComparedTime {
        p50_ns,
        p95_ns,
        is_lasting: (lasts(p50_ns), lasts(p95_ns)),
        ratio,
        p_value: mann_whitney(&before, &after, CONFIDENCE).map_or(1.0, |test| test.p_value),
        p95_ratio,
        tolerance,
        verdict: Verdict::NotEnough,
        detectable_ratio: ratio
            .and_then(|ratio| detectable_ratio(ratio.interval, tolerance, CONFIDENCE, POWER)),
    }
}

/// Whether more, or less, of the requests are slow in most parts of a side than in most parts of the other one.
fn lasts(before: &[Request], after: &[Request], is_slow: impl Fn(&Request) -> bool) -> bool {
    let slow_of = |requests: &[Request]| -> Vec<f64> {
        let part = |part: usize| {
            let part = &requests[part * requests.len() / PARTS..(part + 1) * requests.len() / PARTS];
            let timed = part.iter().filter(|request| request.is_timed);
            let (slow, all) = timed
                .fold((0_u64, 0_u64), |(slow, all), request| (slow + u64::from(is_slow(request)), all + 1));
            (all > 0).then(|| slow as f64 / all as f64)
        };
        (0..PARTS).filter_map(part).collect()
    };
    mann_whitney(&slow_of(before), &slow_of(after), CONFIDENCE)
        .is_some_and(|test| test.p_value < ALPHA_OF_PARTS)
}

/// A ratio less 1 that does not matter of a time.
fn tolerance((before_ns, after_ns): (f64, f64), least_ns: f64) -> f64 {
    TOLERANCE.max(least_ns / before_ns.min(after_ns).max(1.0))
}

/// Times in ascending order.
fn values(requests: &[Request], time: impl Fn(&Request) -> u64) -> Vec<f64> {
    let step = requests.len().div_ceil(MOST_COMPARED).max(1);
    let timed = requests.iter().step_by(step).filter(|request| request.is_timed);
    let mut values: Vec<f64> = timed.map(|request| time(request).max(1) as f64).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn failures(
    before: &[Request],
    after: &[Request],
    has_failed: impl Fn(&Request) -> bool,
) -> ComparedFailures {
    let of = |requests: &[Request]| {
        let failed = requests.iter().filter(|request| has_failed(request)).count();
        Proportion::new(failed as u64, requests.len() as u64)
    };
    let (before, after) = (of(before), of(after));
    let difference = proportion_difference(before, after, CONFIDENCE);
    ComparedFailures {
        failed: (before.count, after.count),
        difference,
        p_value: two_proportions(before, after),
        verdict: Verdict::NotEnough,
        detectable_difference: difference.and_then(|difference| {
            detectable_difference(difference.interval, FAILURE_TOLERANCE, CONFIDENCE, POWER)
        }),
    }
}

fn correct(rows: &mut [ComparedOperation], p_value: impl Fn(&mut ComparedOperation) -> &mut f64) {
    let values: Vec<f64> = rows.iter_mut().map(|row| *p_value(row)).collect();
    for (row, corrected) in rows.iter_mut().zip(benjamini_hochberg(&values)) {
        *p_value(row) = corrected;
    }
}

/// Times are worse if they are so as a whole, or if the slowest are. They are unchanged if the whole is.
fn judge_time(time: &mut ComparedTime, is_judged: bool) {
    let Some(ratio) = time.ratio.filter(|_| is_judged) else { return };
    let whole = whole_verdict(time, ratio);
    let tail = time.p95_ratio.filter(|_| time.is_lasting.1).map_or(Verdict::NotEnough, |ratio| {
        Verdict::of_ratio(ratio, tolerance(time.p95_ns, TAIL_TOLERANCE_NS))
    });
    time.verdict = match (whole, tail) {
        (Verdict::Worse, _) | (_, Verdict::Worse) => Verdict::Worse,
        (Verdict::Better, _) | (_, Verdict::Better) => Verdict::Better,
        (whole, _) => whole,
    };
}

/// What became of all values taken together.
fn whole_verdict(time: &ComparedTime, ratio: Estimate) -> Verdict {
    match Verdict::of_ratio(ratio, time.tolerance) {
        Verdict::Worse | Verdict::Better if time.p_value >= ALPHA_OF_EACH || !time.is_lasting.0 => {
            Verdict::NotEnough
        }
        verdict => verdict,
    }
}

fn judge_failures(failures: &mut ComparedFailures, is_judged: bool) {
    let Some(difference) = failures.difference.filter(|_| is_judged) else { return };
    failures.verdict = match Verdict::of_difference(difference, FAILURE_TOLERANCE) {
        Verdict::Worse | Verdict::Better if failures.p_value >= ALPHA_OF_EACH => Verdict::NotEnough,
        verdict => verdict,
    };
}

fn both_verdicts(time: Verdict, failures: Verdict) -> Verdict {
    match (time, failures) {
        (Verdict::Worse, _) | (_, Verdict::Worse) => Verdict::Worse,
        (Verdict::Better, _) | (_, Verdict::Better) => Verdict::Better,
        // Without a failure on either side the proportions of few requests are known to two percent only: that is no doubt
        // about the time.
        (Verdict::Unchanged, _) => Verdict::Unchanged,
        _ => Verdict::NotEnough,
    }
}

fn sentence(row: &ComparedOperation) -> String {
    let name = format!("{} {}", row.operation.service, row.operation.name);
    let change = |part: f64| match part {
        part if part < 0.0 => format!("{:.0} % less", -part * 100.0),
        part => format!("{:.0} % more", part * 100.0),
    };
    let time = &row.own_time;
    let mut parts = Vec::new();
    if matches!(row.own_failures.verdict, Verdict::Worse | Verdict::Better) {
        let part = |failed: u64, of: u64| percent(failed as f64 / of.max(1) as f64);
        parts.push(format!(
            "{} of its requests fail instead of {}",
            part(row.own_failures.failed.1, row.requests.1),
            part(row.own_failures.failed.0, row.requests.0)
        ));
    }
    if matches!(time.verdict, Verdict::Worse | Verdict::Better) {
        let (what, (old, new), ratio) = if time.is_of_tail_only() {
            ("the 95th percentile of its own time", time.p95_ns, time.p95_ratio)
        } else {
            ("its own time", time.p50_ns, time.ratio)
        };
        let by = ratio.map_or(String::new(), |ratio| {
            format!(
                " ({}; {:+.0} to {:+.0} %)",
                change(ratio.value - 1.0),
                (ratio.interval.low - 1.0) * 100.0,
                (ratio.interval.high - 1.0) * 100.0
            )
        });
        parts.push(format!("{what} is {} instead of {}{by}", duration(new), duration(old)));
    }
    match row.verdict {
        Verdict::Unchanged if time.tolerance > TOLERANCE => {
            format!("{name}: unchanged within {}.", duration(TIME_TOLERANCE_NS))
        }
        Verdict::Unchanged => format!("{name}: unchanged within {:.0} %.", TOLERANCE * 100.0),
        Verdict::NotEnough => match time.detectable_ratio {
            Some(ratio) if row.requests.0.min(row.requests.1) >= LEAST_REQUESTS as u64 => format!(
                "{name}: the data do not decide; a change by {:.0} % would have been seen.",
                (ratio - 1.0) * 100.0
            ),
            _ => format!("{name}: too few requests; each side needs {LEAST_REQUESTS}."),
        },
        _ => format!("{name}: {}.", parts.join("; ")),
    }
}

/// A failed or a slow request of the second side, and one of the first that took as long as usual.
fn exemplars(before: &Side<'_>, after: &Side<'_>, earlier: &[Request], later: &[Request]) -> Vec<Exemplar> {
    let slow = later.iter().max_by_key(|request| (request.has_failed_itself, request.own_ns));
    let mut times: Vec<&Request> = earlier.iter().collect();
    let middle = times.len() / 2;
    let usual =
        (!times.is_empty()).then(|| *times.select_nth_unstable_by_key(middle, |request| request.own_ns).1);
    let exemplar = |side: &Side<'_>, request: &Request| {
        Exemplar::of(side.corpus.trace(request.trace as usize), request.at as usize)
    };
    slow.map(|request| exemplar(after, request))
        .into_iter()
        .chain(usual.map(|request| exemplar(before, request)))
        .collect()
}
