//! Numbers of a comparison in words.

#![forbid(unsafe_code)]

use tracer_analysis::{
    compare::{
        ComparedFailures, ComparedOperation, ComparedSide, ComparedTime, ComparisonAnswer, TIME_TOLERANCE_NS,
        TOLERANCE,
    },
    statistics::{Estimate, Verdict},
};

use crate::sink::terminal::escape::duration;

/// `41.1ms → 47.0ms`, or one of them if nothing tells them apart.
pub(super) fn times((before, after): (f64, f64)) -> String {
    let (before, after) = (duration(before.max(0.0) as u64), duration(after.max(0.0) as u64));
    if before == after { before } else { format!("{before} → {after}") }
}

/// `+14 % (+11 to +18 %)`. Nothing of too few requests.
pub(super) fn change(ratio: Option<Estimate>) -> String {
    let percent = |ratio: f64| format!("{:+.0}", (ratio - 1.0) * 100.0);
    ratio.map_or_else(String::new, |Estimate { value, interval }| {
        format!("{} % ({} to {} %)", percent(value), percent(interval.low), percent(interval.high))
    })
}

/// `0.1 % → 4.2 %`, or one of them if nothing tells them apart.
pub(super) fn failures(failures: &ComparedFailures, requests: (u64, u64)) -> String {
    let part = |failed: u64, of: u64| match failed as f64 / of.max(1) as f64 * 100.0 {
        0.0 => "0 %".to_owned(),
        part => format!("{part:.1} %"),
    };
    let (before, after) = (part(failures.failed.0, requests.0), part(failures.failed.1, requests.1));
    if before == after { before } else { format!("{before} → {after}") }
}

/// The time that an operation is judged by: the whole of it, or its slowest part if only that changed.
pub(super) fn told_time(time: &ComparedTime) -> ((f64, f64), Option<Estimate>, bool) {
    let is_tail = time.is_of_tail_only();
    if is_tail { (time.p95_ns, time.p95_ratio, true) } else { (time.p50_ns, time.ratio, false) }
}

/// A verdict in one word or two.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Unchanged => "unchanged",
        Verdict::NotEnough => "not enough data",
    }
}

/// How many requests, and how many in a second.
pub(super) fn requests(side: &ComparedSide) -> String {
    let rate = side.requests as f64 / side.seconds;
    if side.seconds >= 1.0 {
        format!("{} requests, {rate:.1}/s", side.requests)
    } else {
        format!("{} requests", side.requests)
    }
}

/// Operations whose verdict is not told one by one: how many are unchanged, and how many are not judged, with the least change
/// that would have been seen at most of them.
pub(super) fn counted(answer: &ComparisonAnswer) -> Vec<String> {
    let of = |verdict: Verdict| -> Vec<&ComparedOperation> {
        answer.operations.iter().filter(|row| row.verdict == verdict).collect()
    };
    let operations = |count: usize| match count {
        1 => "1 operation".to_owned(),
        count => format!("{count} operations"),
    };
    let (tolerance, least) = (TOLERANCE * 100.0, duration(TIME_TOLERANCE_NS as u64));
    let mut lines = Vec::new();
    let unchanged = of(Verdict::Unchanged);
    if !unchanged.is_empty() {
        let requests: u64 = unchanged.iter().map(|row| row.requests.1).sum();
        let part = requests as f64 / answer.after.requests.max(1) as f64 * 100.0;
        lines.push(format!(
            "{} with {part:.0} % of the requests: unchanged within {tolerance:.0} % or {least}",
            operations(unchanged.len())
        ));
    }
    let open = of(Verdict::NotEnough);
    if !open.is_empty() {
        let mut least: Vec<f64> = open.iter().filter_map(|row| row.own_time.detectable_ratio).collect();
        least.sort_unstable_by(f64::total_cmp);
        let seen = match (least.first(), least.last()) {
            (Some(first), Some(last)) => {
                let (first, last) = ((first - 1.0) * 100.0, (last - 1.0) * 100.0);
                let range = if last - first < 1.0 {
                    format!("{last:.0} %")
                } else {
                    format!("{first:.0} to {last:.0} %")
                };
                format!("; a change of its time by {range} would have been seen")
            }
            _ => String::new(),
        };
        lines.push(format!("{}: the data do not decide{seen}", operations(open.len())));
    }
    lines
}

#[cfg(test)]
mod tests {
    use tracer_analysis::answer::Interval;

    use super::*;

    #[test]
    fn numbers_that_look_alike_are_told_once() {
        assert_eq!(times((41_100_000.0, 47_000_000.0)), "41.1ms → 47.0ms");
        assert_eq!(times((41_100_000.0, 41_110_000.0)), "41.1ms");
        let ratio = Estimate { value: 1.14, interval: Interval { low: 0.98, high: 1.18 } };
        assert_eq!(change(Some(ratio)), "+14 % (-2 to +18 %)");
        assert_eq!(change(None), "");
        let some = ComparedFailures { failed: (1, 42), ..ComparedFailures::default() };
        assert_eq!(failures(&some, (1000, 1000)), "0.1 % → 4.2 %");
        assert_eq!(failures(&ComparedFailures::default(), (9, 0)), "0 %");
    }

    #[test]
    fn what_is_not_told_one_by_one_is_counted() {
        let row = |verdict, detectable_ratio| ComparedOperation {
            requests: (50, 50),
            verdict,
            own_time: ComparedTime { detectable_ratio, ..ComparedTime::default() },
            ..ComparedOperation::default()
        };
        let answer = ComparisonAnswer {
            after: ComparedSide { requests: 200, ..ComparedSide::default() },
            operations: vec![
                row(Verdict::Worse, None),
                row(Verdict::Unchanged, None),
                row(Verdict::NotEnough, Some(1.2)),
                row(Verdict::NotEnough, Some(1.4)),
            ],
            ..ComparisonAnswer::default()
        };
        assert_eq!(
            counted(&answer),
            [
                "1 operation with 25 % of the requests: unchanged within 10 % or 200µs",
                "2 operations: the data do not decide; a change of its time by 20 to 40 % would have been seen"
            ]
        );
        assert!(counted(&ComparisonAnswer::default()).is_empty());
    }
}
