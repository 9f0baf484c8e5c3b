//! Who was hit when, by what, and because of whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::changes::{Changed, Signal};
use crate::{
    corpus::{Corpus, PartyId},
    series::{Buckets, table::Table},
};

/// Onsets that are so many buckets apart may be at one moment.
const TOLERANCE: usize = 1;

/// A caller fails within so many buckets of the end of its calls, if that is why.
const MISSED: usize = 3;

/// A party that serves less than this part of the usual requests serves none.
const MOST_SERVED: f64 = 0.05;

/// Hits that are this much of the whole apart are of different waves, buckets.
const WAVE_GAP: usize = 20;

/// When a service, or another party, became anomalous.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hit {
    /// Who.
    pub service: String,
    /// When it began.
    pub onset_unix_us: u64,
    /// When it ended; none if it goes on.
    pub end_unix_us: Option<u64>,
    /// What became worse, that of the earliest onset first.
    pub signals: Vec<Signal>,
    /// Those that it calls and that were anomalous before it, or at the same moment. Empty at an origin.
    pub because_of: Vec<String>,
}

/// Where a wave began: a service none of whose dependencies was anomalous before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// Who.
    pub service: String,
    /// What it is.
    pub kind: OriginKind,
    /// One sentence that says it.
    pub sentence: String,
    /// When it began.
    pub onset_unix_us: u64,
    /// When it ended; none if it goes on.
    pub end_unix_us: Option<u64>,
    /// Who is hit because of it, by the order of their onsets.
    pub reaches: Vec<String>,
}

/// What an origin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginKind {
    /// It became slower by its own work.
    #[default]
    Slower,
    /// It fails by itself.
    Errors,
    /// It stood still.
    Stalled,
    /// It does not answer any more.
    Unreachable,
    /// Its callers see it change, and nothing is known of its inside.
    Unknown,
}

struct Struck {
    begin: usize,
    end: usize,
    signals: Vec<Signal>,
    because_of: Vec<PartyId>,
}

pub(super) fn find(corpus: &Corpus, table: &Table, changes: &[Changed]) -> (Vec<Origin>, Vec<Hit>) {
    let mut struck = struck(table, changes);
    let parties: Vec<PartyId> = struck.keys().copied().collect();
    for party in &parties {
        let causes = because_of(table, &struck, *party);
        if let Some(of) = struck.get_mut(party) {
            of.because_of = causes;
        }
    }
    let depth = depths(&mut struck);
    let buckets = table.buckets;
    let name = |party: PartyId| corpus.dictionary.name(party).to_owned();
    let mut order: Vec<PartyId> = parties;
    // An onset is known within a bucket: nobody is hit before the cause of it.
    order.sort_by_key(|party| (depth.get(party), *party));
    let mut begins: BTreeMap<PartyId, usize> = BTreeMap::new();
    for party in &order {
        let of = &struck[party];
        let cause = of.because_of.iter().filter_map(|cause| begins.get(cause)).min();
        begins.insert(*party, of.begin.max(cause.copied().unwrap_or(0)));
    }
    let begin = |party: &PartyId| begins.get(party).copied().unwrap_or(0);
    order.sort_by_key(|party| (begin(party), depth.get(party), *party));
    let wave = order.iter().map(|party| {
        let of = &struck[party];
        Hit {
            service: name(*party),
            onset_unix_us: buckets.begin_us(begin(party)),
            end_unix_us: end_us(of.end, buckets),
            signals: of.signals.clone(),
            because_of: of.because_of.iter().map(|cause| name(*cause)).collect(),
        }
    });
    let wave = wave.collect();
    let roots = order.iter().filter(|party| struck[*party].because_of.is_empty());
    let origins = roots.map(|party| {
        let of = &struck[party];
        let reached = reached(&struck, *party);
        let reaches: Vec<String> =
            order.iter().filter(|other| reached.contains(other)).map(|other| name(*other)).collect();
        let kind = kind(&of.signals, table.services.get(*party).is_none());
        Origin {
            sentence: sentence(corpus, kind, changes, *party, &reaches),
            service: name(*party),
            kind,
            onset_unix_us: buckets.begin_us(of.begin),
            end_unix_us: end_us(of.end, buckets),
            reaches,
        }
    });
    (origins.collect(), wave)
}

fn end_us(end: usize, buckets: Buckets) -> Option<u64> {
    (end < buckets.count).then(|| buckets.begin_us(end))
}

/// The first stretch in which each party is anomalous. An end of traffic is none: who is not called any more may be well.
fn struck(table: &Table, changes: &[Changed]) -> BTreeMap<PartyId, Struck> {
    let mut struck: BTreeMap<PartyId, Struck> = BTreeMap::new();
    for change in changes {
        if change.signal == Signal::NoTraffic && !is_missed(table, changes, change) {
            continue;
        }
        // A service that tells of itself knows best; of another one, and of calls that nothing serves, the callers do.
        let is_told_by_itself = table.services.get(change.party).is_some();
        if change.caller.is_some()
            && is_told_by_itself
            && !matches!(change.signal, Signal::Unserved | Signal::NoTraffic)
        {
            continue;
        }
        match struck.get_mut(&change.party) {
            Some(of) if change.begin <= of.end + WAVE_GAP => {
                of.end = of.end.max(change.end);
                if !of.signals.contains(&change.signal) {
                    of.signals.push(change.signal);
                }
            }
            Some(_) => {}
            None => {
                let signals = vec![change.signal];
                let of = Struck { begin: change.begin, end: change.end, signals, because_of: Vec::new() };
                struck.insert(change.party, of);
            }
        }
    }
    struck
}

/// Whether calls to a party stop since they cannot be made: it serves nobody, and its caller begins to fail by itself, or at calls
/// to an address that nobody answers at.
fn is_missed(table: &Table, changes: &[Changed], change: &Changed) -> bool {
    let fails = changes.iter().any(|other| {
        Some(other.party) == change.caller
            && other.caller.is_none()
            && other.signal == Signal::OwnErrors
            && other.begin.abs_diff(change.begin) <= MISSED
    });
    let Some(row) = table.services.get(change.party) else { return fails };
    let rate = |range: std::ops::Range<usize>| {
        let len = range.len().max(1) as f64;
        row.cells[range].iter().map(|cell| cell.requests as f64).sum::<f64>() / len
    };
    let is_silent = rate(change.begin..change.end) < rate(0..change.begin) * MOST_SERVED;
    is_silent && (fails || asks_in_vain(table, change))
}

/// Whether the caller of a party begins, as its calls to that end, to call another one that has no spans and never answers.
fn asks_in_vain(table: &Table, change: &Changed) -> bool {
    table.edges.iter().any(|((from, to), row)| {
        let first = row.cells.iter().position(|cell| cell.requests > 0);
        Some(from) == change.caller
            && table.services.get(to).is_none()
            && first.is_some_and(|first| first.abs_diff(change.begin) <= MISSED)
            && row.cells.iter().all(|cell| cell.unserved == cell.requests)
    })
}

/// Those that a party calls and that were anomalous before it, or at the same moment.
fn because_of(table: &Table, struck: &BTreeMap<PartyId, Struck>, party: PartyId) -> Vec<PartyId> {
    let of = &struck[&party];
    let called = table.edges.iter().filter(|((from, to), _)| *from == party && *to != party);
    let mut causes: Vec<(usize, PartyId)> = called
        .filter_map(|((_, to), _)| Some((struck.get(&to)?, to)))
        .filter(|(cause, _)| cause.begin <= of.begin + TOLERANCE && cause.end + TOLERANCE > of.begin)
        .map(|(cause, to)| (cause.begin, to))
        // Of two that call each other, the earlier one is the cause; if both began at once, the one that others do not explain.
        .filter(|(begin, to)| {
            let is_called_back = table.edges.get((*to, party)).is_some();
            !is_called_back || *begin < of.begin || *begin == of.begin && *to < party
        })
        .collect();
    causes.sort_unstable();
    causes.into_iter().map(|(_, to)| to).collect()
}

/// How far each party is from its origin. Where parties wait for each other in a circle, the earliest becomes an origin.
fn depths(struck: &mut BTreeMap<PartyId, Struck>) -> BTreeMap<PartyId, usize> {
    let mut depths: BTreeMap<PartyId, usize> = BTreeMap::new();
    let mut origins: Vec<PartyId> =
        struck.iter().filter(|(_, of)| of.because_of.is_empty()).map(|(party, _)| *party).collect();
    loop {
        for origin in origins {
            depths.insert(origin, 0);
            for party in reached(struck, origin) {
                let length = depths.len();
                depths.entry(party).or_insert(length);
            }
        }
        let rest = struck.iter().filter(|(party, _)| !depths.contains_key(party));
        let Some((earliest, _)) = rest.min_by_key(|(party, of)| (of.begin, **party)) else { return depths };
        let earliest = *earliest;
        if let Some(of) = struck.get_mut(&earliest) {
            of.because_of.clear();
        }
        origins = vec![earliest];
    }
}

/// Who is hit because of an origin, the nearest first.
fn reached(struck: &BTreeMap<PartyId, Struck>, origin: PartyId) -> Vec<PartyId> {
    let mut found = vec![origin];
    let mut next = 0;
    while next < found.len() {
        let cause = found[next];
        for (party, of) in struck {
            if of.because_of.contains(&cause) && !found.contains(party) {
                found.push(*party);
            }
        }
        next += 1;
    }
    found.remove(0);
    found
}

fn kind(signals: &[Signal], is_told_by_callers: bool) -> OriginKind {
    let has = |signal| signals.contains(&signal);
    if has(Signal::Unserved) || has(Signal::NoTraffic) {
        OriginKind::Unreachable
    } else if has(Signal::Standstill) {
        OriginKind::Stalled
    } else if has(Signal::OwnErrors) || is_told_by_callers && has(Signal::Errors) {
        OriginKind::Errors
    } else if has(Signal::OwnTime) || is_told_by_callers && has(Signal::Latency) {
        OriginKind::Slower
    } else {
        OriginKind::Unknown
    }
}

fn sentence(
    corpus: &Corpus,
    kind: OriginKind,
    changes: &[Changed],
    party: PartyId,
    reaches: &[String],
) -> String {
    let of = |signal| changes.iter().find(|change| change.party == party && change.signal == signal);
    // One operation is named if the service as a whole does not show it.
    let of = |signal| {
        let whole = changes
            .iter()
            .find(|change| change.party == party && change.signal == signal && change.operation.is_none());
        whole.or_else(|| of(signal))
    };
    let operation = [Signal::OwnErrors, Signal::OwnTime].into_iter().find_map(|signal| of(signal)?.operation);
    let name = corpus.dictionary.name(party).to_owned();
    let name = match operation.filter(|_| matches!(kind, OriginKind::Errors | OriginKind::Slower)) {
        Some(operation) => format!("{name} at {}", corpus.dictionary.operation(operation).name),
        None => name,
    };
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let began = match kind {
        OriginKind::Unreachable if of(Signal::Unserved).is_none() => {
            Some(format!("{name} does not answer any more: calls to it stop, and those who made them fail"))
        }
        OriginKind::Unreachable => of(Signal::Unserved).map(|change| {
            format!(
                "{name} does not answer any more: nothing serves {} of the calls to it",
                percent(change.after)
            )
        }),
        OriginKind::Stalled => of(Signal::Standstill)
            .map(|_| format!("{name} stood still: it ended no request though callers waited for it")),
        OriginKind::Errors => of(Signal::OwnErrors).or_else(|| of(Signal::Errors)).map(|change| {
            format!(
                "{name} fails by itself at {} of its requests instead of {}",
                percent(change.after),
                percent(change.before)
            )
        }),
        OriginKind::Slower if of(Signal::OwnTime).is_none() => of(Signal::Latency).map(|change| {
            let times = change.after / change.before.max(f64::MIN_POSITIVE);
            format!("{name} answers more slowly, as its callers see it: {times:.1} times as long")
        }),
        OriginKind::Slower => of(Signal::OwnTime).map(|change| {
            format!(
                "{name} is slower by itself: its own time is {:.1} times as long",
                change.after / change.before.max(f64::MIN_POSITIVE)
            )
        }),
        OriginKind::Unknown => None,
    };
    let began = began.unwrap_or_else(|| format!("{name} is the first one that is anomalous"));
    match reaches {
        [] => format!("{began}."),
        _ => format!("{began}; because of it, {} is hit.", reaches.join(", then ")),
    }
}
