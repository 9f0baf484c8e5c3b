//! What becomes of a request if a part of its work is faster: its tree is played again, not subtracted from.
//!
//! A span's own work is shortened. What began after something else keeps its distance to it: a child begins as long after all
//! awaited children that had ended by then as it did after the last of them, or after its parent's start if there is none; a
//! parent ends as long after its awaited children as it did. So a branch that nobody waits for helps nobody, however fast it
//! becomes.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Help, OperationShare};
use crate::{
    answer::OperationName,
    corpus::{Corpus, Trace},
};

/// Traces that are replayed.
const MOST_TRACES: usize = 2000;

/// Spans of a trace that is replayed.
const MOST_SPANS: usize = 5000;

/// Operations that are tried, and those that are told.
const MOST_TRIED: usize = 25;
const MOST_TOLD: usize = 10;

/// How long a trace's root takes if the own work of some spans takes this part of its time.
pub fn replayed_ns(trace: Trace<'_>, is_meant: impl Fn(usize) -> bool, part: f64) -> u64 {
    let root = trace.root();
    let mut lengths = vec![0u64; trace.len()];
    let scaled = |ns: u64, at: usize| if is_meant(at) { (ns as f64 * part) as u64 } else { ns };
    // Children stand behind their parents.
    for at in (root..trace.after(root)).rev() {
        let time = trace.time(at);
        let mut children: Vec<usize> = trace.children(at).filter(|child| trace.is_awaited(*child)).collect();
        children.sort_unstable_by_key(|child| trace.time(*child).start_ns);
        // Ends of children as they were, and as they are now, from the span's start on: of those under way, the first to end
        // is on top.
        let mut under_way: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
        // When the last of those that have ended did so, and would.
        let (mut last_ns, mut now_ns) = (0u64, 0u64);
        for child in children {
            let child_time = trace.time(child);
            let start_ns = child_time.start_ns.saturating_sub(time.start_ns);
            let end_ns = child_time.end_ns.min(time.end_ns).saturating_sub(time.start_ns);
            while let Some(Reverse((ended_ns, ends_ns))) = under_way.peek().copied()
                && ended_ns <= start_ns
            {
                under_way.pop();
                (last_ns, now_ns) = (last_ns.max(ended_ns), now_ns.max(ends_ns));
            }
            let begins_ns = now_ns + scaled(start_ns - last_ns, at);
            // A client that gave up waited for its limit, however long the server went on.
            let is_cut = child_time.end_ns > time.end_ns;
            let length_ns = if is_cut { lengths[child].min(end_ns - start_ns) } else { lengths[child] };
            under_way.push(Reverse((end_ns, begins_ns + length_ns)));
        }
        for Reverse((ended_ns, ends_ns)) in under_way {
            (last_ns, now_ns) = (last_ns.max(ended_ns), now_ns.max(ends_ns));
        }
        let length_ns = time.end_ns - time.start_ns;
        lengths[at] = now_ns + scaled(length_ns.saturating_sub(last_ns), at);
    }
    lengths[root]
}

/// What would help most, and how many traces were replayed to know it.
pub(super) fn helps(corpus: &Corpus, traces: &[Trace<'_>], shares: &[OperationShare]) -> (Vec<Help>, u64) {
    let step = traces.len().div_ceil(MOST_TRACES).max(1);
    let replayed: Vec<Trace<'_>> =
        traces.iter().copied().step_by(step).filter(|trace| trace.len() <= MOST_SPANS).collect();
    let total_ns: f64 = replayed.iter().map(|trace| trace.duration_ns(trace.root()) as f64).sum();
    let tried = shares.iter().take(MOST_TRIED).filter_map(|share| {
        let OperationName { service, name, kind } = &share.operation;
        let operation = corpus.find_operation(service, name, *kind)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for trace in &replayed {
            if (0..trace.len()).any(|at| trace.operation(at) == operation) {
                before.push(trace.duration_ns(trace.root()));
                after.push(replayed_ns(*trace, |at| trace.operation(at) == operation, 0.5));
            }
        }
        let saved_ns: f64 =
            before.iter().zip(&after).map(|(before, after)| before.saturating_sub(*after) as f64).sum();
        let [p50_ns, p95_ns] = percentiles(&mut before)?;
        let [helped_p50_ns, helped_p95_ns] = percentiles(&mut after)?;
        Some(Help {
            operation: share.operation.clone(),
            p50_ns,
            helped_p50_ns,
            p95_ns,
            helped_p95_ns,
            part: saved_ns / total_ns.max(1.0),
            traces: before.len() as u64,
        })
    });
    let mut helps: Vec<Help> = tried.filter(|help| help.part > 0.0).collect();
    helps.sort_by(|one, other| {
        other.part.total_cmp(&one.part).then_with(|| one.operation.cmp(&other.operation))
    });
    helps.truncate(MOST_TOLD);
    (helps, replayed.len() as u64)
}

/// Median and 95th percentile. None of nothing.
fn percentiles(values: &mut [u64]) -> Option<[u64; 2]> {
    values.sort_unstable_by_key(|value| Reverse(*value));
    let at = |part: usize| values.get((values.len() * (100 - part) / 100).min(values.len().checked_sub(1)?));
    Some([*at(50)?, *at(95)?])
}
