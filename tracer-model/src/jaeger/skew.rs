//! The warnings that Jaeger adds to spans of clocks that differ, with the words that it writes. It moves no span unless it is
//! configured to; neither do we.

use std::collections::HashMap;

use crate::{clock::centring_ns, span::SpanId};

/// What the warnings need of a span.
pub(super) struct Node {
    pub(super) id: SpanId,
    pub(super) parent_id: Option<SpanId>,
    pub(super) start_ns: u64,
    pub(super) duration_ns: u64,
    /// The `ip` of its process; empty if it has none.
    pub(super) host: String,
}

/// By how much the clock of a host seems to differ.
#[derive(Clone, Copy)]
struct Skew<'a> {
    host: &'a str,
    delta_ns: i128,
}

/// Warnings: the place of a span, and what is said of it.
pub(super) fn warnings(nodes: &[Node]) -> Vec<(usize, String)> {
    let mut warnings = Vec::new();
    let mut by_id = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        if *by_id.entry(node.id).or_insert(at) != at {
            warnings.push((at, "duplicate span IDs; skipping clock skew adjustment".to_owned()));
        }
    }
    let mut children = vec![Vec::new(); nodes.len()];
    let mut stack = Vec::new();
    for (at, node) in nodes.iter().enumerate().filter(|(at, node)| by_id.get(&node.id) == Some(at)) {
        match node.parent_id.map(|parent| (parent, by_id.get(&parent))) {
            Some((_, Some(parent))) => children[*parent].push(at),
            Some((parent, None)) => {
                let warning =
                    format!("invalid parent span IDs={}; skipping clock skew adjustment", parent.hex());
                warnings.push((at, warning));
                stack.push((at, None, Skew { host: &node.host, delta_ns: 0 }));
            }
            None => stack.push((at, None, Skew { host: &node.host, delta_ns: 0 })),
        }
    }
    while let Some((at, parent, mut skew)) = stack.pop() {
        let node = &nodes[at];
        if let Some(parent) = parent
            && (node.host != skew.host || node.host.is_empty())
        {
            skew = Skew { host: &node.host, delta_ns: delta_ns(node, parent) };
        }
        if skew.delta_ns != 0 {
            let delta = go_duration(skew.delta_ns);
            warnings.push((
                at,
                format!("clock skew adjustment disabled; not applying calculated delta of {delta}"),
            ));
        }
        stack.extend(children[at].iter().map(|child| (*child, Some(node), skew)));
    }
    warnings
}

/// By how much Jaeger would move a span to fit it into its parent's time.
fn delta_ns(child: &Node, parent: &Node) -> i128 {
    let times = |node: &Node| (node.start_ns, node.duration_ns);
    let at_its_start = || (i128::from(parent.start_ns) - i128::from(child.start_ns)).max(0);
    centring_ns(times(child), times(parent)).unwrap_or_else(at_its_start)
}

/// A duration as Go writes it: `1h2m3.5s`, `1.5ms`, `2µs`.
fn go_duration(ns: i128) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    if ns < 1_000_000_000 {
        let (unit_ns, unit) = match ns {
            0..1000 => (1, "ns"),
            1000..1_000_000 => (1000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{unit}", fraction(ns, unit_ns));
    }
    let (minutes, rest_ns) = (ns / 60_000_000_000, ns % 60_000_000_000);
    let seconds = fraction(rest_ns, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A number of units in decimal, without zeros at the end. A unit is a power of ten.
fn fraction(ns: u128, unit_ns: u128) -> String {
    let (whole, part) = (ns / unit_ns, ns % unit_ns);
    if part == 0 {
        return whole.to_string();
    }
    let digits = unit_ns.ilog10() as usize;
    let part = format!("{part:0digits$}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

/// A moment as Go writes it in UTC: `2026-12-01 00:22:08.5 +0000 UTC`.
pub(super) fn go_time(unix_ns: u64) -> String {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970-01-01 to a date of the Gregorian calendar: an era is 400 years, and years begin in March, so that the
    // leap day is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (of_day / 3600, of_day / 60 % 60);
    let second = fraction(u128::from(of_day % 60 * 1_000_000_000 + ns), 1_000_000_000);
    // A second of one digit is written with two.
    let zero = if of_day % 60 < 10 { "0" } else { "" };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{zero}{second} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ns, text) in [
            (1, "1ns"),
            (-1_500, "-1.5µs"),
            (2_000_000, "2ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(ns), text);
        }
    }

    #[test]
    fn moments_are_written_as_go_writes_them() {
        for (ns, text) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (951_782_400_000_000_000, "2000-02-29 00:00:00 +0000 UTC"),
            (1_764_547_207_500_000_000, "2025-12-01 00:00:07.5 +0000 UTC"),
            (1_735_689_599_999_999_999, "2024-12-31 23:59:59.999999999 +0000 UTC"),
        ] {
            assert_eq!(go_time(ns), text);
        }
    }
}
