//! Whose time grew: critical paths, part by part.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use tracer_model::critical::path;

use super::{
    SlowAnswer, SlowDifference, SlowDifferenceKind, SlowPart, SlowPartKind, Tested, exemplars,
    groups::{Group, Groups, Request, mean, median},
    share, sizes, time,
};
use crate::{
    answer::{EdgeName, OperationName},
    corpus::{Corpus, Trace},
    statistics::{CONFIDENCE, mann_whitney},
};

/// Parts that are told each; the others are one.
const MOST_PARTS: usize = 50;

/// A part that explains less of the difference is no finding.
const LEAST_EXPLAINED: f64 = 0.1;

/// How many times greater the odds of its share of the difference are than those of its share of the rest, at least.
const LEAST_ODDS: f64 = 2.0;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: SlowPartKind,
    operation: u32,
    /// Code of the party.
    asked: Option<crate::corpus::PartyId>,
    query: Option<Arc<str>>,
}

/// Times of a part: of each group, place of the request and nanoseconds.
#[derive(Clone, Default)]
struct Times {
    slow: Vec<(usize, u64)>,
    rest: Vec<(usize, u64)>,
}

/// The parts, and which of them differ.
pub(super) fn compare(groups: &Groups<'_>) -> (Vec<SlowPart>, Vec<Tested>) {
    let corpus = groups.corpus;
    let mut times: BTreeMap<Key, Times> = BTreeMap::new();
    for (place, request) in groups.slow.requests.iter().enumerate() {
        for (key, ns) in parts_of(corpus, request) {
            times.entry(key).or_default().slow.push((place, ns));
        }
    }
    for (place, request) in groups.rest.requests.iter().enumerate() {
        for (key, ns) in parts_of(corpus, request) {
            times.entry(key).or_default().rest.push((place, ns));
        }
    }
    let whole_ns = groups.slow.mean_ns() - groups.rest.mean_ns();
    let mean_of = |times: &[(usize, u64)], group: &Group| {
        times.iter().map(|(_, ns)| *ns as f64).sum::<f64>() / group.requests.len().max(1) as f64
    };
    let difference = |times: &Times| mean_of(&times.slow, &groups.slow) - mean_of(&times.rest, &groups.rest);
    let mut all: Vec<(Key, Times)> = times.into_iter().collect();
    all.sort_by(|(one, a), (other, b)| {
        difference(b).abs().total_cmp(&difference(a).abs()).then_with(|| one.cmp(other))
    });
    let left = all.split_off(all.len().min(MOST_PARTS));
    let mut parts = Vec::new();
    let mut tested = Vec::new();
    let mut add = |part: SlowPart, times: &Times, is_tested: bool| {
        let part = SlowPart {
            slow_ns: mean_of(&times.slow, &groups.slow) as u64,
            rest_ns: mean_of(&times.rest, &groups.rest) as u64,
            explained: if whole_ns > 0.0 { difference(times) / whole_ns } else { 0.0 },
            p_value: 1.0,
            ..part
        };
        let (slow, rest) = (dense(&times.slow, &groups.slow), dense(&times.rest, &groups.rest));
        let part = SlowPart {
            slow_p50_ns: median(&slow) as u64,
            rest_p50_ns: median(&rest) as u64,
            slow_requests: slow.iter().filter(|ns| **ns > 0.0).count() as u64,
            rest_requests: rest.iter().filter(|ns| **ns > 0.0).count() as u64,
            ..part
        };
        if is_tested {
            tested.extend(test(groups, &part, parts.len(), &slow, &rest));
        }
        parts.push(part);
    };
    for (key, times) in &all {
        add(told(corpus, key), times, true);
    }
    if !left.is_empty() {
        let mut sum = Times::default();
        for (_, times) in left {
            sum.slow.extend(times.slow);
            sum.rest.extend(times.rest);
        }
        add(SlowPart { kind: SlowPartKind::Other, ..SlowPart::default() }, &sum, false);
    }
    (parts, tested)
}

/// Whether a part's share of the request is greater in slow ones.
fn test(groups: &Groups<'_>, part: &SlowPart, place: usize, slow: &[f64], rest: &[f64]) -> Option<Tested> {
    let shares = |values: &[f64], group: &Group| -> Vec<f64> {
        let shares = values.iter().zip(&group.requests);
        shares.map(|(ns, request)| ns / request.duration_ns.max(1) as f64).collect()
    };
    let by_share = mann_whitney(&shares(rest, &groups.rest), &shares(slow, &groups.slow), CONFIDENCE)?;
    let by_time = mann_whitney(rest, slow, CONFIDENCE)?;
    let operation = part.operation.clone()?;
    let (slow_requests, rest_requests) = sizes(&groups.slow, &groups.rest);
    let (slow_exemplars, rest_exemplars) = exemplars(groups, slow, rest, true);
    let sentence = format!(
        "{} takes {} of a slow request and {} of the others (means): {} of the difference.",
        name(part),
        time(part.slow_ns as f64),
        time(part.rest_ns as f64),
        share(part.explained.clamp(0.0, 1.0))
    );
    // What takes half of each request takes half of what slow ones take longer: that is no difference. By the odds, so that a part
    // which takes most of each request can be told too.
    let part_of_rest = part.rest_ns as f64 / groups.rest.mean_ns().max(1.0);
    let explained = part.explained.min(1.0);
    let grew = by_share.superiority > 0.5
        && by_time.superiority > 0.5
        && explained * (1.0 - part_of_rest) >= LEAST_ODDS * part_of_rest * (1.0 - explained);
    Some(Tested {
        difference: SlowDifference {
            kind: SlowDifferenceKind::Part,
            sentence,
            effect: part.explained.clamp(0.0, 1.0),
            slow: part.slow_ns as f64,
            rest: part.rest_ns as f64,
            p_value: by_share.p_value.max(by_time.p_value),
            slow_requests,
            rest_requests,
            operation: Some(operation),
            slow_exemplars,
            rest_exemplars,
            ..SlowDifference::default()
        },
        is_great: grew && part.explained >= LEAST_EXPLAINED,
        part: Some(place),
        key: None,
    })
}

/// Times on the critical path of a request, by part.
fn parts_of(corpus: &Corpus, request: &Request) -> BTreeMap<Key, u64> {
    let trace = request.trace(corpus);
    let mut sums: BTreeMap<Key, u64> = BTreeMap::new();
    for (at, stretch) in path(&trace, request.at) {
        let sum = sums.entry(key(trace, request.at, at)).or_default();
        *sum = sum.saturating_add(stretch.end_ns.saturating_sub(stretch.start_ns));
    }
    sums
}

fn key(trace: Trace<'_>, root: usize, at: usize) -> Key {
    let asked = trace.asked(at).filter(|_| trace.asks(at));
    let kind = match asked {
        _ if at == root => SlowPartKind::Own,
        _ if trace.server(at).is_some() => SlowPartKind::Network,
        Some(_) => SlowPartKind::Call,
        None => SlowPartKind::Work,
    };
    Key {
        kind,
        operation: trace.operation(at),
        asked: asked.filter(|_| at != root),
        query: trace.facts(at).query.clone(),
    }
}

fn told(corpus: &Corpus, key: &Key) -> SlowPart {
    let by = corpus.dictionary.operation(key.operation).service;
    SlowPart {
        kind: key.kind,
        operation: Some(OperationName::of(corpus, key.operation)),
        asked: key.asked.map(|asked| EdgeName::of(corpus, by, asked)),
        query: key.query.as_deref().map(str::to_owned),
        ..SlowPart::default()
    }
}

/// A part in words.
fn name(part: &SlowPart) -> String {
    let Some(OperationName { service, name, .. }) = &part.operation else {
        return "all else".to_owned();
    };
    let asked = part.asked.as_ref().map_or("another party", |asked| asked.to.as_str());
    match part.kind {
        SlowPartKind::Own => format!("own work of {service} at {name}, or waiting that no span tells,"),
        SlowPartKind::Work => format!("work of {service} at {name}"),
        SlowPartKind::Call => {
            let query = part.query.as_deref().unwrap_or(name);
            format!("the call of {service} to {asked} ({query})")
        }
        SlowPartKind::Network => {
            format!("the way between {service} and {asked} ({name}), and the wait until {asked} begins,")
        }
        SlowPartKind::Other => "all else".to_owned(),
    }
}

/// One number for each request of a group.
fn dense(times: &[(usize, u64)], group: &Group) -> Vec<f64> {
    let mut values = vec![0.0; group.requests.len()];
    for (place, ns) in times {
        values[*place] += *ns as f64;
    }
    values
}

/// How much longer slow requests take, and where most of it goes.
pub(super) fn summary(groups: &Groups<'_>, answer: &SlowAnswer) -> String {
    let mean_ns = |group: &Group| mean(group.requests.iter().map(|request| request.duration_ns as f64));
    let mut text = format!(
        "{} slow requests take {}, the other {} take {} (means)",
        groups.slow.total,
        time(mean_ns(&groups.slow)),
        groups.rest.total,
        time(mean_ns(&groups.rest)),
    );
    let most = answer
        .parts
        .iter()
        .max_by(|one, other| one.explained.partial_cmp(&other.explained).unwrap_or(Ordering::Equal));
    if let Some(most) = most.filter(|most| most.explained > 0.0) {
        text += &format!(
            ": {} of the difference is {}",
            share(most.explained.min(1.0)),
            name(most).trim_end_matches(',')
        );
    }
    text += ".";
    if answer.differences.is_empty() {
        text += " Nothing else differs beyond chance.";
    }
    text
}
