//! Requests that began to call the same thing over and over: N+1.

use super::{
    place::{chance, episodes, exemplars},
    series::Series,
};
use crate::{
    answer::{EdgeName, Finding, FindingKind},
    corpus::{Corpus, Trace},
    statistics::{Scale, level_changes},
};

/// Calls of one request to one operation from which on they are repeated.
const LEAST_CALLS: f64 = 5.0;
/// The same as a multiple of what was before.
const LEAST_RATIO: f64 = 2.0;

pub(super) fn find(corpus: &Corpus, series: &Series, alpha: f64) -> Vec<Finding> {
    let mut found = Vec::new();
    for ((operation, called), calls) in &series.calls {
        let Some(served) = series.operations.get(operation) else { continue };
        let means = calls
            .iter()
            .zip(served)
            .map(|(calls, served)| (served.requests > 0).then(|| *calls as f64 / served.requests as f64));
        let means: Vec<Option<f64>> = means.collect();
        let changes = level_changes(&means, Scale::Difference, alpha);
        let is_worse = |before: f64, then: f64| then >= LEAST_CALLS && then >= before.max(1.0) * LEAST_RATIO;
        for episode in episodes(&changes, calls.len(), is_worse) {
            let episode = episode.settled(&means, is_worse);
            let by = corpus.dictionary.operation(*operation);
            let of = corpus.dictionary.operation(*called);
            let window_us = episode.window_us(series.buckets);
            let requests: u64 = served[episode.begin..episode.end].iter().map(|served| served.requests).sum();
            let name = corpus.dictionary.name(by.service).to_owned();
            let repeats = |trace: Trace<'_>, at: usize| {
                let is_it = trace.serves(at) && trace.operation(at) == *operation;
                is_it.then(|| trace.children(at).filter(|child| trace.operation(*child) == *called).count())
            };
            let exemplars =
                exemplars(corpus, window_us, |trace, at| repeats(trace, at).map(|calls| calls as u64));
            let asked = exemplars.first().and_then(|_| {
                let mut edges = corpus.traces().flat_map(|trace| {
                    (0..trace.len()).filter_map(move |at| {
                        (trace.operation(at) == *called).then(|| trace.asked(at)).flatten()
                    })
                });
                edges.next()
            });
            found.push(Finding {
                kind: FindingKind::RepeatedCalls,
                sentence: format!(
                    "{name} at {} makes {:.0} calls of {} for each request instead of {:.0}: one for each of many things, it seems.",
                    by.name, episode.during, of.name, episode.before
                ),
                service: name,
                operation: Some(by.name.to_string()),
                edge: asked.map(|asked| EdgeName::of(corpus, by.service, asked)),
                onset_unix_us: window_us.0,
                end_unix_us: episode.end_us(series.buckets),
                affected: requests,
                of: requests,
                services: Vec::new(),
                evidence: vec![chance(episode.p_value)],
                exemplars,
                next: vec!["Whether one call can ask for all of them.".to_owned()],
                p_value: episode.p_value,
            });
        }
    }
    found
}
