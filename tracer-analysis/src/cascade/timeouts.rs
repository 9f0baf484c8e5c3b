//! Limits of time, as failed calls show them, and callers that wait for a shorter time than the called one needs.

use std::{cmp::Reverse, collections::BTreeMap};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::{EdgeName, Exemplar},
    corpus::{Corpus, Trace},
    retry::attempts::{Attempts, Role},
    series::{
        Failure,
        table::{Edge, outlives_ns},
    },
    words::duration,
};

/// Failed calls of an edge that are looked at.
const MOST_CALLS: usize = 20_000;

/// Edges that are looked at.
const MOST_EDGES: usize = 1000;

/// Durations that differ by this part are one value.
const WIDTH: f64 = 0.03;

/// Failed calls at one value at least, and the part of all failed calls.
const LEAST_CALLS: usize = 10;
const LEAST_SHARE: f64 = 0.5;

/// A shorter time is no limit that somebody set.
const LEAST_NS: u64 = 5_000_000;

/// Failed calls that end at one duration: a limit of time that the caller, or somebody between, has set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fingerprint {
    /// Who calls whom.
    pub edge: EdgeName,
    /// The duration.
    pub value_ns: u64,
    /// Failed calls that have it, within 3 %.
    pub calls: u64,
    /// Of so many failed calls of the edge without a response that were looked at.
    pub of: u64,
    /// When the first of them ended.
    pub first_unix_us: u64,
    /// When the last of them did.
    pub last_unix_us: u64,
    /// Some of them.
    pub exemplars: Vec<Exemplar>,
}

/// A caller that waits for a shorter time than the called one needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadlineMismatch {
    /// Who calls whom.
    pub edge: EdgeName,
    /// One sentence that says it.
    pub sentence: String,
    /// How long the caller waits.
    pub timeout_ns: u64,
    /// How long the called one worked on calls that the caller had left: the median.
    pub needed_ns: u64,
    /// Attempts that the called one itself makes of one call: the most. 1 if it tries nothing again.
    pub attempts: u32,
    /// The time of each of these attempts, if they have a limit of their own.
    pub attempt_ns: Option<u64>,
    /// Calls that the caller left.
    pub calls: u64,
    /// Some of them.
    pub exemplars: Vec<Exemplar>,
}

/// A failed call.
#[derive(Clone, Copy, Debug)]
struct Failed {
    duration_ns: u64,
    end_ns: u64,
    trace: usize,
    at: usize,
}

#[derive(Debug, Default)]
struct Calls {
    failed: Vec<Failed>,
    /// Of calls that the caller left: how long the called one worked, and where.
    left: Vec<Failed>,
    /// The most attempts that the called one made of one call, and whom it asked.
    attempts: u32,
    below: Option<Edge>,
}

pub(super) fn find(corpus: &Corpus) -> (Vec<Fingerprint>, Vec<DeadlineMismatch>) {
    let calls = collect(corpus);
    let mut found: BTreeMap<Edge, Fingerprint> = BTreeMap::new();
    for (edge, of) in &calls {
        if let Some(fingerprint) = fingerprint(corpus, *edge, of) {
            found.insert(*edge, fingerprint);
        }
    }
    let mut mismatches: Vec<DeadlineMismatch> = found
        .iter()
        .filter_map(|(edge, fingerprint)| mismatch(corpus, *edge, fingerprint, calls.get(edge)?, &found))
        .collect();
    mismatches.sort_by_key(|mismatch| Reverse(mismatch.calls));
    let mut fingerprints: Vec<Fingerprint> = found.into_values().collect();
    fingerprints.sort_by_key(|fingerprint| Reverse(fingerprint.calls));
    (fingerprints, mismatches)
}

fn collect(corpus: &Corpus) -> FxHashMap<Edge, Calls> {
    let mut calls: FxHashMap<Edge, Calls> = FxHashMap::default();
    let mut attempts = Attempts::default();
    for trace in corpus.traces() {
        let ends_early = |at: usize| {
            let failure = trace.asks(at).then(|| Failure::of(trace.facts(at))).flatten()?;
            // A response that says what is wrong is no end by a limit of time.
            let is_response = matches!(failure, Failure::Server | Failure::TooMany | Failure::Refused);
            (!is_response).then_some(failure)
        };
        if !(0..trace.len()).any(|at| ends_early(at).is_some()) {
            continue;
        }
        attempts.find(trace);
        for at in 0..trace.len() {
            let Some(asked) = trace.asked(at).filter(|_| ends_early(at).is_some()) else { continue };
            let edge = (trace.service(at), asked);
            if calls.len() >= MOST_EDGES && !calls.contains_key(&edge) {
                continue;
            }
            let of = calls.entry(edge).or_default();
            if of.failed.len() >= MOST_CALLS {
                continue;
            }
            let time = trace.time(at);
            let end_ns = time.end_ns;
            of.failed.push(Failed { duration_ns: trace.duration_ns(at), end_ns, trace: trace.place(), at });
            if let Some(server) = trace.server(at).filter(|server| outlives_ns(trace, at, *server).is_some())
            {
                let duration_ns = trace.duration_ns(server);
                of.left.push(Failed { duration_ns, end_ns, trace: trace.place(), at: server });
                of.tries(trace, server, &attempts);
            }
        }
    }
    calls
}

impl Calls {
    fn tries(&mut self, trace: Trace<'_>, server: usize, attempts: &Attempts) {
        for call in trace.children(server).filter(|call| attempts.role(*call) == Role::First) {
            if attempts.count(call) > self.attempts {
                self.attempts = attempts.count(call);
                self.below = trace.asked(call).map(|asked| (trace.service(call), asked));
            }
        }
    }
}

/// The duration that most failed calls of an edge have.
fn fingerprint(corpus: &Corpus, edge: Edge, of: &Calls) -> Option<Fingerprint> {
    let mut failed: Vec<Failed> =
        of.failed.iter().copied().filter(|call| call.duration_ns >= LEAST_NS).collect();
    failed.sort_unstable_by_key(|call| call.duration_ns);
    let (mut best, mut end) = (0..0, 0);
    for begin in 0..failed.len() {
        let limit = failed[begin].duration_ns as f64 * (1.0 + WIDTH);
        while end < failed.len() && failed[end].duration_ns as f64 <= limit {
            end += 1;
        }
        if end - begin > best.len() {
            best = begin..end;
        }
    }
    let share = best.len() as f64 / of.failed.len().max(1) as f64;
    if best.len() < LEAST_CALLS || share < LEAST_SHARE {
        return None;
    }
    let mut piled = failed[best].to_vec();
    let value_ns = piled[piled.len() / 2].duration_ns;
    piled.sort_unstable_by_key(|call| call.end_ns);
    let (first, last) = (piled.first()?, piled.last()?);
    Some(Fingerprint {
        edge: EdgeName::of(corpus, edge.0, edge.1),
        value_ns,
        calls: piled.len() as u64,
        of: of.failed.len() as u64,
        first_unix_us: first.end_ns / 1000,
        last_unix_us: last.end_ns / 1000,
        exemplars: exemplars(corpus, &piled),
    })
}

fn exemplars(corpus: &Corpus, calls: &[Failed]) -> Vec<Exemplar> {
    const MOST: usize = 3;
    calls.iter().take(MOST).map(|call| Exemplar::of(corpus.trace(call.trace), call.at)).collect()
}

fn mismatch(
    corpus: &Corpus,
    edge: Edge,
    fingerprint: &Fingerprint,
    of: &Calls,
    all: &BTreeMap<Edge, Fingerprint>,
) -> Option<DeadlineMismatch> {
    let mut left = of.left.clone();
    if left.len() < LEAST_CALLS {
        return None;
    }
    left.sort_unstable_by_key(|call| call.duration_ns);
    let needed_ns = left[left.len() / 2].duration_ns;
    if needed_ns <= fingerprint.value_ns {
        return None;
    }
    let attempt_ns = of.below.and_then(|below| all.get(&below)).map(|below| below.value_ns);
    let (from, to) = (corpus.dictionary.name(edge.0), corpus.dictionary.name(edge.1));
    let mut sentence = format!(
        "{from} leaves calls to {to} after {}, and {to} works on them for {}",
        duration(fingerprint.value_ns as f64),
        duration(needed_ns as f64)
    );
    if of.attempts > 1 {
        let below = of.below.map_or("another one", |below| corpus.dictionary.name(below.1));
        sentence += &format!(": it tries {below} up to {} times", of.attempts);
        if let Some(attempt_ns) = attempt_ns {
            sentence += &format!(", {} each", duration(attempt_ns as f64));
        }
    }
    Some(DeadlineMismatch {
        edge: fingerprint.edge.clone(),
        sentence: sentence + ".",
        timeout_ns: fingerprint.value_ns,
        needed_ns,
        attempts: of.attempts.max(1),
        attempt_ns,
        calls: left.len() as u64,
        exemplars: exemplars(corpus, &left[left.len() / 2..]),
    })
}
