//! Whether a fault shows in the recorded spans: a recording without its fault is no proof of anything.

use std::collections::BTreeMap;

use super::{
    scenarios::Shows,
    spans::{Span, calls, median},
};

/// When a fault began and ended, in microseconds since 1970. It ends with the recording if it is not undone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) began_us: u64,
    pub(super) ended_us: u64,
}

const SECOND_US: u64 = 1_000_000;
/// Programs are slow at first.
const WARM_UP_US: u64 = 10 * SECOND_US;
/// A group of fewer spans is not compared.
const ENOUGH: usize = 20;

/// A part of the time of a recording.
struct Part<'a>(Vec<&'a Span>);

impl<'a> Part<'a> {
    fn of(spans: &'a [Span], from_us: u64, to_us: u64) -> Self {
        Self(spans.iter().filter(|span| (from_us..to_us).contains(&span.begin_us)).collect())
    }

    fn median(&self, service: &str, word: &str) -> f64 {
        let chosen =
            self.0.iter().filter(|span| span.server && span.service == service && span.name.contains(word));
        median(chosen.map(|span| span.ms()).collect()).unwrap_or(f64::NAN)
    }

    fn share_of_errors(&self, service: &str, chosen: impl Fn(&Span) -> bool) -> f64 {
        let of: Vec<_> = self.0.iter().filter(|span| span.service == service && chosen(span)).collect();
        of.iter().filter(|span| span.error).count() as f64 / of.len().max(1) as f64
    }

    fn calls(&self, from: &str, to: &str) -> f64 {
        let spans: Vec<Span> = self.0.iter().map(|span| (*span).clone()).collect();
        let requests = spans.iter().filter(|span| span.server && span.service == "nginx").count();
        calls(&spans, from, to).len() as f64 / requests.max(1) as f64
    }
}

/// What was measured, and whether the fault shows in it.
pub(super) fn check(spans: &[Span], window: Window, shows: &Shows) -> (bool, String) {
    let first = spans.iter().map(|span| span.begin_us).min().unwrap_or_default();
    let before = Part::of(spans, first + WARM_UP_US, window.began_us);
    let within = Part::of(spans, window.began_us + SECOND_US, window.ended_us);
    let after = Part::of(spans, window.ended_us + 10 * SECOND_US, u64::MAX);
    match shows {
        Shows::Slower { service, word, by_ms } => {
            let (old, new) = (before.median(service, word), within.median(service, word));
            (new - old > *by_ms, format!("median of {service} {word}: {old:.1} ms, then {new:.1} ms"))
        }
        Shows::Longest { service, ms } => {
            let meets = |span: &&Span| {
                span.client
                    && span.service == *service
                    && span.end_us > window.began_us
                    && span.begin_us < window.ended_us
            };
            let longest = spans.iter().filter(meets).map(Span::ms).fold(0.0, f64::max);
            (longest > *ms, format!("longest call of {service}: {longest:.0} ms"))
        }
        Shows::Errors { service, by } => {
            let (old, new) = (
                before.share_of_errors(service, |span| span.server),
                within.share_of_errors(service, |span| span.server),
            );
            (new - old > *by, format!("errors of {service}: {:.1} %, then {:.1} %", 100.0 * old, 100.0 * new))
        }
        Shows::Calls { from, to, times } => {
            let (old, new) = (before.calls(from, to), within.calls(from, to));
            (new > old * times, format!("calls {from} → {to} for each request: {old:.2}, then {new:.2}"))
        }
        Shows::FailsAfter { service, share } => {
            let errors = after.share_of_errors(service, |span| span.client);
            let old = before.share_of_errors(service, |span| span.client);
            let text = format!(
                "calls of {service} that fail: {:.1} % before, {:.1} % afterwards",
                100.0 * old,
                100.0 * errors
            );
            (errors > *share && old < 0.01, text)
        }
        Shows::Gone { from, to } => {
            let (old, new) = (before.calls(from, to), within.calls(from, to));
            (
                old > 0.0 && new == 0.0,
                format!("calls {from} → {to} for each request: {old:.2}, then {new:.2}"),
            )
        }
        Shows::SlowerVersion { word, by } => {
            let versions = versions(spans, window.began_us, word);
            let [(_, old), .., (_, new)] = versions.as_slice() else {
                return (false, format!("versions with {word}: {versions:?}"));
            };
            (new / old > 1.0 + by, format!("medians of {word} by version: {versions:.1?}"))
        }
        Shows::Same { within: share } => same(&before, &within, *share),
    }
}

/// The median of each version, while both are there and after.
fn versions(spans: &[Span], from_us: u64, word: &str) -> Vec<(String, f64)> {
    let mut durations: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for span in
        spans.iter().filter(|span| span.server && span.service == "catalog" && span.name.contains(word))
    {
        // The old version's spans before the release count too, once it is warm.
        if span.version != "1.0.0" || span.begin_us < from_us {
            durations.entry(&span.version).or_default().push(span.ms());
        }
    }
    durations.into_iter().filter_map(|(version, all)| Some((version.to_owned(), median(all)?))).collect()
}

fn same(before: &Part, within: &Part, share: f64) -> (bool, String) {
    let groups = |part: &Part| {
        let mut groups: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        for span in part.0.iter().filter(|span| span.server) {
            groups.entry((span.service.clone(), span.name.clone())).or_default().push(span.ms());
        }
        groups
    };
    let (old, mut worst, mut text) = (groups(before), 0.0, "nothing was compared".to_owned());
    for (key, durations) in groups(within) {
        let Some(earlier) = old.get(&key).filter(|earlier| earlier.len().min(durations.len()) >= ENOUGH)
        else {
            continue;
        };
        let (Some(old), Some(new)) = (median(earlier.clone()), median(durations)) else { continue };
        let change = (new - old).abs() / (old + 1.0 / share);
        if change >= worst {
            worst = change;
            text = format!("greatest change: {} {}: {old:.1} ms, then {new:.1} ms", key.0, key.1);
        }
    }
    (worst <= share, text)
}
