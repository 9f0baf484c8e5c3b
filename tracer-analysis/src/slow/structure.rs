//! What slow requests do that the rest do not: more calls, other calls, failed ones, one after another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    SlowDifference, SlowDifferenceKind, Tested, exemplars,
    groups::{Groups, Request, mean, median},
    number, of, share, sizes,
};
use crate::{
    answer::{Exemplar, OperationName},
    corpus::{Corpus, PartyId, Trace},
    statistics::{CONFIDENCE, Proportion, mann_whitney, two_proportions},
};

/// Kinds of calls that are compared: those of the most requests.
const MOST_KEYS: usize = 300;

/// A difference of shares that is told.
const LEAST_SHARE: f64 = 0.1;

/// Equal calls of a request that are one for each of many things.
const REPEATED: f64 = 5.0;

/// Calls take turns if any is under way for so great a part of the sum of their times.
pub(super) const IN_TURN: f64 = 0.8;

/// How much greater that part is if slow requests call one after another where the rest do not.
const LEAST_OVERLAP: f64 = 0.2;

/// A kind of call: who makes it at what, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallKey {
    pub(super) parent: u32,
    pub(super) operation: u32,
    pub(super) asked: Option<PartyId>,
    pub(super) query: Option<Arc<str>>,
}

impl CallKey {
    /// What a span is to the one that it is below. None for a request that was served for a call: the call stands for it.
    pub(super) fn of(trace: Trace<'_>, at: usize) -> Option<Self> {
        let parent = trace.parent(at)?;
        if trace.serves(at) && trace.asks(parent) {
            return None;
        }
        Some(Self {
            parent: trace.operation(parent),
            operation: trace.operation(at),
            asked: trace.asked(at).filter(|_| trace.asks(at)),
            query: trace.facts(at).query.clone(),
        })
    }

    /// What it is, in words: the query of a database, else the operation and who is asked.
    pub(super) fn name(&self, corpus: &Corpus) -> String {
        let name = self.query.as_deref().unwrap_or(&corpus.dictionary.operation(self.operation).name);
        match self.asked {
            Some(asked) => format!("{} ({name})", corpus.dictionary.name(asked)),
            None => name.to_owned(),
        }
    }
}

/// What requests do of one kind of call.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    calls: u32,
    failed: u32,
    again: u32,
    /// Time in which any of them was under way, and the sum of their times.
    any_ns: u64,
    sum_ns: u64,
}

/// What is compared: kinds of calls, of each the requests that make some.
type Table = BTreeMap<CallKey, [BTreeMap<usize, Done>; 2]>;

const SLOW: usize = 0;
const REST: usize = 1;

pub(super) fn compare(groups: &Groups<'_>) -> Vec<Tested> {
    let mut table = Table::new();
    let mut turns: BTreeMap<u32, [Vec<(usize, f64)>; 2]> = BTreeMap::new();
    for (group, requests) in [(SLOW, &groups.slow.requests), (REST, &groups.rest.requests)] {
        for (place, request) in requests.iter().enumerate() {
            count(groups.corpus, request, |key, done| {
                table.entry(key).or_default()[group].insert(place, done);
            });
            for (parent, part) in turns_of(groups.corpus, request) {
                turns.entry(parent).or_default()[group].push((place, part));
            }
        }
    }
    let mut keys: Vec<(CallKey, [BTreeMap<usize, Done>; 2])> = table.into_iter().collect();
    keys.sort_by_key(|(_, of)| std::cmp::Reverse(of[SLOW].len() + of[REST].len()));
    keys.truncate(MOST_KEYS);
    let mut tested: Vec<Tested> = Vec::new();
    for (key, of) in &keys {
        tested.extend(calls(groups, key, of));
        tested.extend(failures(groups, key, of));
    }
    tested.extend(turns.iter().filter_map(|(parent, parts)| in_turn(groups, *parent, parts)));
    tested
}

/// Counts the calls below a request, by kind.
fn count(corpus: &Corpus, request: &Request, mut add: impl FnMut(CallKey, Done)) {
    let trace = request.trace(corpus);
    let mut counts: BTreeMap<CallKey, Vec<usize>> = BTreeMap::new();
    for at in request.at + 1..trace.after(request.at) {
        if let Some(key) = CallKey::of(trace, at) {
            counts.entry(key).or_default().push(at);
        }
    }
    for (key, calls) in counts {
        let (any_ns, sum_ns) = under_way(trace, &calls);
        let failed = calls.iter().filter(|at| trace.asks(**at) && trace.is_error(**at)).count();
        add(
            key,
            Done {
                calls: calls.len() as u32,
                failed: failed as u32,
                again: again(trace, &calls),
                any_ns,
                sum_ns,
            },
        );
    }
}

/// Calls that say to be resends, and those that follow a failed one of the same parent.
fn again(trace: Trace<'_>, calls: &[usize]) -> u32 {
    let mut failed: BTreeMap<Option<usize>, u64> = BTreeMap::new();
    let mut by_start: Vec<usize> = calls.iter().copied().filter(|at| trace.asks(*at)).collect();
    by_start.sort_unstable_by_key(|at| trace.time(*at).start_ns);
    let mut again = 0;
    for at in by_start {
        let time = trace.time(at);
        let ended = failed.get(&trace.parent(at)).copied();
        again += u32::from(trace.facts(at).resend > 0 || ended.is_some_and(|end| end <= time.start_ns));
        if trace.is_error(at) {
            failed.insert(trace.parent(at), time.end_ns);
        } else {
            failed.remove(&trace.parent(at));
        }
    }
    again
}

/// Time in which any of some spans was under way, and the sum of their times.
pub(super) fn under_way(trace: Trace<'_>, spans: &[usize]) -> (u64, u64) {
    let mut times: Vec<(u64, u64)> =
        spans.iter().map(|at| (trace.time(*at).start_ns, trace.time(*at).end_ns)).collect();
    times.sort_unstable();
    let (mut to, mut any, mut sum) = (0, 0u64, 0u64);
    for (start, end) in times {
        any = any.saturating_add(end.saturating_sub(start.max(to)));
        sum = sum.saturating_add(end - start);
        to = to.max(end);
    }
    (any, sum)
}

/// Of each operation below a request that makes two calls or more: how much they take turns, from near 0 to 1.
fn turns_of(corpus: &Corpus, request: &Request) -> BTreeMap<u32, f64> {
    let trace = request.trace(corpus);
    let mut sums: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for at in request.at..trace.after(request.at) {
        let calls: Vec<usize> =
            trace.children(at).filter(|child| trace.asks(*child) && trace.is_awaited(*child)).collect();
        if calls.len() >= 2 {
            let (any, sum) = under_way(trace, &calls);
            let sums = sums.entry(trace.operation(at)).or_default();
            *sums = (sums.0.saturating_add(any), sums.1.saturating_add(sum));
        }
    }
    sums.into_iter().map(|(parent, (any, sum))| (parent, any as f64 / sum.max(1) as f64)).collect()
}

/// More calls, or calls that only some make.
fn calls(groups: &Groups<'_>, key: &CallKey, of_each: &[BTreeMap<usize, Done>; 2]) -> Option<Tested> {
    let values = |group: usize, count: usize| -> Vec<f64> {
        (0..count).map(|place| of_each[group].get(&place).map_or(0.0, |done| f64::from(done.calls))).collect()
    };
    let (slow_count, rest_count) = (groups.slow.requests.len(), groups.rest.requests.len());
    let (slow, rest) = (values(SLOW, slow_count), values(REST, rest_count));
    let (slow_have, rest_have) = (of_each[SLOW].len(), of_each[REST].len());
    let shares = (slow_have as f64 / slow_count as f64, rest_have as f64 / rest_count as f64);
    let by = by(groups.corpus, key.parent);
    let what = key.name(groups.corpus);
    let (slow_mean, rest_mean) = (mean(slow.iter().copied()), mean(rest.iter().copied()));
    let test = mann_whitney(&rest, &slow, CONFIDENCE)?;
    let repeated = median(&slow) >= REPEATED
        && median(&slow) >= 2.0 * median(&rest).max(1.0)
        && in_turns(&of_each[SLOW]);
    let (kind, numbers, effect, p_value, is_great, sentence) = if repeated {
        let sentence = format!(
            "{by} calls {what} {} times for a slow request, one after another, and {} times for the others (medians): one call for each \
             of many things, it seems.",
            number(median(&slow)),
            number(median(&rest))
        );
        let numbers = (median(&slow), median(&rest));
        (SlowDifferenceKind::RepeatedCalls, numbers, test.cliffs_delta(), test.p_value, true, sentence)
    } else if slow_have < slow_count || rest_have < rest_count {
        let p_value = two_proportions(
            Proportion::new(rest_have as u64, rest_count as u64),
            Proportion::new(slow_have as u64, slow_count as u64),
        );
        let is_extra = shares.0 > shares.1;
        let kind = if is_extra { SlowDifferenceKind::ExtraCall } else { SlowDifferenceKind::MissingCall };
        let sentence = format!(
            "{by} calls {what} in {} slow requests, and in {} of the others.",
            of(slow_have, slow_count),
            of(rest_have, rest_count)
        );
        let effect = shares.0 - shares.1;
        (kind, shares, effect, p_value, effect.abs() >= LEAST_SHARE, sentence)
    } else {
        let is_great =
            slow_mean >= rest_mean * 1.2 && slow_mean >= rest_mean + 0.5 && test.superiority >= 0.6;
        let sentence = format!(
            "{by} calls {what} {} times for a slow request, and {} times for the others (means).",
            number(slow_mean),
            number(rest_mean)
        );
        let numbers = (slow_mean, rest_mean);
        (SlowDifferenceKind::MoreCalls, numbers, test.cliffs_delta(), test.p_value, is_great, sentence)
    };
    let (slow_exemplars, rest_exemplars) =
        exemplars(groups, &slow, &rest, kind != SlowDifferenceKind::MissingCall);
    Some(Tested {
        difference: SlowDifference {
            kind,
            sentence,
            effect: effect.abs().clamp(0.0, 1.0),
            slow: numbers.0,
            rest: numbers.1,
            p_value,
            slow_requests: slow_count as u64,
            rest_requests: rest_count as u64,
            operation: Some(OperationName::of(groups.corpus, key.operation)),
            slow_exemplars,
            rest_exemplars,
            ..SlowDifference::default()
        },
        is_great,
        part: None,
        key: Some(key.clone()),
    })
}

/// Whether the calls of most requests that make some take turns.
fn in_turns(requests: &BTreeMap<usize, Done>) -> bool {
    let parts: Vec<f64> =
        requests.values().map(|done| done.any_ns as f64 / done.sum_ns.max(1) as f64).collect();
    median(&parts) >= IN_TURN
}

/// Calls that fail, and those that are tried again.
fn failures(groups: &Groups<'_>, key: &CallKey, of_each: &[BTreeMap<usize, Done>; 2]) -> Vec<Tested> {
    let mut tested = Vec::new();
    type Count = fn(&Done) -> u32;
    let counts: [(SlowDifferenceKind, Count, &str); 2] = [
        (SlowDifferenceKind::FailedCalls, |done| done.failed, "fail"),
        (SlowDifferenceKind::Retries, |done| done.again, "are tried again"),
    ];
    for (kind, of_done, words) in counts {
        let values = |group: usize, count: usize| -> Vec<f64> {
            (0..count)
                .map(|place| of_each[group].get(&place).map_or(0.0, |done| f64::from(of_done(done))))
                .collect()
        };
        let slow = values(SLOW, groups.slow.requests.len());
        let rest = values(REST, groups.rest.requests.len());
        let having = |values: &[f64]| values.iter().filter(|value| **value > 0.0).count();
        let (slow_have, rest_have) = (having(&slow), having(&rest));
        if slow_have + rest_have == 0 {
            continue;
        }
        let shares = (slow_have as f64 / slow.len() as f64, rest_have as f64 / rest.len() as f64);
        let (slow_exemplars, rest_exemplars) = exemplars(groups, &slow, &rest, true);
        tested.push(Tested {
            difference: SlowDifference {
                kind,
                sentence: format!(
                    "Calls of {} to {} {words} in {} slow requests, and in {} of the others.",
                    by(groups.corpus, key.parent),
                    key.name(groups.corpus),
                    of(slow_have, slow.len()),
                    of(rest_have, rest.len())
                ),
                effect: (shares.0 - shares.1).abs(),
                slow: shares.0,
                rest: shares.1,
                p_value: two_proportions(
                    Proportion::new(rest_have as u64, rest.len() as u64),
                    Proportion::new(slow_have as u64, slow.len() as u64),
                ),
                slow_requests: slow.len() as u64,
                rest_requests: rest.len() as u64,
                operation: Some(OperationName::of(groups.corpus, key.operation)),
                slow_exemplars,
                rest_exemplars,
                ..SlowDifference::default()
            },
            is_great: shares.0 - shares.1 >= LEAST_SHARE,
            part: None,
            key: None,
        });
    }
    tested
}

/// Calls of an operation that run one after another in slow requests.
fn in_turn(groups: &Groups<'_>, parent: u32, parts: &[Vec<(usize, f64)>; 2]) -> Option<Tested> {
    let values = |group: usize| -> Vec<f64> { parts[group].iter().map(|(_, part)| *part).collect() };
    let (slow, rest) = (values(SLOW), values(REST));
    let test = mann_whitney(&rest, &slow, CONFIDENCE)?;
    let (slow_middle, rest_middle) = (median(&slow), median(&rest));
    let all = |group: usize, count: usize| {
        let mut all = vec![f64::NAN; count];
        for (place, part) in &parts[group] {
            all[*place] = *part;
        }
        all
    };
    let (slow_exemplars, rest_exemplars): (Vec<Exemplar>, Vec<Exemplar>) = exemplars(
        groups,
        &all(SLOW, groups.slow.requests.len()),
        &all(REST, groups.rest.requests.len()),
        true,
    );
    let (slow_requests, rest_requests) = sizes(&groups.slow, &groups.rest);
    Some(Tested {
        difference: SlowDifference {
            kind: SlowDifferenceKind::Serial,
            sentence: format!(
                "{} makes its calls one after another in slow requests: the time in which any of them is under way is {} of the sum of \
                 their times, and {} in the others, where they overlap (medians).",
                by(groups.corpus, parent),
                share(slow_middle),
                share(rest_middle)
            ),
            effect: test.cliffs_delta().abs(),
            slow: slow_middle,
            rest: rest_middle,
            p_value: test.p_value,
            slow_requests,
            rest_requests,
            operation: Some(OperationName::of(groups.corpus, parent)),
            slow_exemplars,
            rest_exemplars,
            ..SlowDifference::default()
        },
        is_great: slow_middle >= rest_middle + LEAST_OVERLAP
            && slow.len().min(rest.len()) >= super::LEAST_REQUESTS,
        part: None,
        key: None,
    })
}

fn by(corpus: &Corpus, operation: u32) -> String {
    let of = corpus.dictionary.operation(operation);
    format!("{} at {}", corpus.dictionary.name(of.service), of.name)
}

/// The same without calls that are there because those above them are.
pub(super) fn topmost(
    groups: &Groups<'_>,
    told: Vec<(SlowDifference, Option<CallKey>)>,
) -> Vec<SlowDifference> {
    // What is called below the calls that are told.
    let mut below: BTreeSet<u32> = BTreeSet::new();
    let keys: BTreeSet<&CallKey> = told.iter().filter_map(|(_, key)| key.as_ref()).collect();
    for request in groups.slow.requests.iter().chain(&groups.rest.requests).filter(|_| !keys.is_empty()) {
        let trace = request.trace(groups.corpus);
        let mut at = request.at + 1;
        while at < trace.after(request.at) {
            if CallKey::of(trace, at).is_some_and(|key| keys.contains(&key)) {
                below.extend((at..trace.after(at)).map(|at| trace.operation(at)));
                at = trace.after(at);
            } else {
                at += 1;
            }
        }
    }
    let is_top = |key: &Option<CallKey>| key.as_ref().is_none_or(|key| !below.contains(&key.parent));
    told.into_iter().filter(|(_, key)| is_top(key)).map(|(difference, _)| difference).collect()
}
