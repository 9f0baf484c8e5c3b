//! Which calls are attempts of one logical call.
//!
//! A call that says which attempt it is (`http.request.resend_count`) is believed. Else a call is a retry if one before it, of the
//! same parent, operation and peer, failed and ended before it began. Where calls go on after one that succeeded, a loop asks for
//! different things, and only those that say so are retries.

use crate::{
    corpus::{PartyId, Trace},
    series::Failure,
};

/// Groups of equal calls of one parent that are told apart.
const MOST_GROUPS: usize = 64;

/// The end of a call that its caller gave up may be seen late, when the connection is closed: by this part of its time.
const LATE_PART: u64 = 3;

/// What a span is to a logical call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// None: it asks nobody.
    #[default]
    None,
    /// The first attempt.
    First,
    /// A further one.
    Retry,
}

/// Attempts of the logical calls of one trace. Used again and again, so that its memory is.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    roles: Vec<Role>,
    /// Of each first attempt, how many there are; of others 0.
    counts: Vec<u32>,
    /// Of each attempt, the first one.
    firsts: Vec<u32>,
    /// Calls after a failed one of which it is not certain what they are.
    pub(crate) uncertain: u64,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
struct Group {
    operation: u32,
    asked: Option<PartyId>,
    first: usize,
    calls: Vec<usize>,
}

impl Attempts {
    pub(crate) fn find(&mut self, trace: Trace<'_>) {
        self.roles.clear();
        self.roles.resize(trace.len(), Role::None);
        self.counts.clear();
        self.counts.resize(trace.len(), 0);
        self.firsts.clear();
        self.firsts.resize(trace.len(), 0);
        self.uncertain = 0;
        for parent in 0..trace.len() {
            // Most spans have one child at most.
            if trace.after(parent) > parent + 1 {
                self.find_below(trace, trace.children(parent));
            }
        }
        self.find_below(trace, trace.roots());
    }

    /// What a span is.
    pub(crate) fn role(&self, at: usize) -> Role {
        self.roles.get(at).copied().unwrap_or_default()
    }

    /// How many attempts a logical call has, told of its first one; 0 of other spans.
    pub(crate) fn count(&self, at: usize) -> u32 {
        self.counts.get(at).copied().unwrap_or(0)
    }

    /// The first attempt of the logical call that an attempt is of.
    pub(crate) fn first(&self, at: usize) -> usize {
        self.firsts.get(at).copied().unwrap_or(0) as usize
    }

    fn find_below(&mut self, trace: Trace<'_>, children: impl Iterator<Item = usize>) {
        let mut used = 0;
        for at in children.filter(|at| trace.asks(*at)) {
            self.roles[at] = Role::First;
            self.counts[at] = 1;
            self.firsts[at] = at as u32;
            let (operation, asked) = (trace.operation(at), trace.asked(at));
            let facts = trace.facts(at);
            // An attempt that no span serves is known by its peer only.
            let same = |group: &Group| {
                group.operation == operation
                    && (group.asked == asked
                        || facts.peer.is_some() && trace.facts(group.first).peer == facts.peer)
            };
            match self.groups[..used].iter().position(same) {
                Some(place) => self.groups[place].calls.push(at),
                None if used < MOST_GROUPS => {
                    if used == self.groups.len() {
                        self.groups.push(Group::default());
                    }
                    let group = &mut self.groups[used];
                    (group.operation, group.asked, group.first) = (operation, asked, at);
                    group.calls.clear();
                    group.calls.push(at);
                    used += 1;
                }
                None => self.uncertain += 1,
            }
        }
        for place in 0..used {
            let calls = std::mem::take(&mut self.groups[place].calls);
            if calls.len() > 1 {
                self.judge(trace, &calls);
            }
            self.groups[place].calls = calls;
        }
    }

    /// Calls of one parent to one operation, by their starts.
    fn judge(&mut self, trace: Trace<'_>, calls: &[usize]) {
        let fails = |at: usize| Failure::of(trace.facts(at)).is_some_and(Failure::may_be_tried_again);
        let is_serial = calls.windows(2).all(|pair| {
            let (before, then) = (trace.time(pair[0]), trace.time(pair[1]));
            let without_response =
                Failure::of(trace.facts(pair[0])).is_some_and(Failure::is_without_response);
            let beyond_ns = if without_response { (before.end_ns - before.start_ns) / LATE_PART } else { 0 };
            before.end_ns - beyond_ns <= then.start_ns
        });
        let is_loop = calls[..calls.len() - 1].iter().any(|at| !fails(*at));
        let is_told = calls.iter().any(|at| trace.facts(*at).resend > 0);
        let mut first = calls[0];
        for pair in calls.windows(2) {
            let at = pair[1];
            let is_retry = if is_told {
                trace.facts(at).resend > 0
            } else {
                self.uncertain += u64::from((is_loop || !is_serial) && fails(pair[0]));
                is_serial && !is_loop
            };
            if is_retry {
                self.roles[at] = Role::Retry;
                self.counts[at] = 0;
                self.counts[first] += 1;
                self.firsts[at] = first as u32;
            } else {
                first = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sketch, corpus};
    use tracer_model::span::Value;

    fn roles(calls: &[Sketch]) -> (Vec<Role>, Vec<u32>, u64) {
        let mut trace = vec![Sketch::server("shop", "GET /", 1, 0, 1000..2000)];
        trace.extend_from_slice(calls);
        let corpus = corpus(&[&trace]);
        let mut attempts = Attempts::default();
        attempts.find(corpus.trace(0));
        let calls = 1..trace.len();
        (
            calls.clone().map(|at| attempts.role(at)).collect(),
            calls.map(|at| attempts.count(at)).collect(),
            attempts.uncertain,
        )
    }

    fn call(id: u64, time: std::ops::Range<u64>) -> Sketch {
        Sketch::client("shop", "GET /price", id, 1, time.start + 1000..time.end + 1000)
    }

    #[test]
    fn calls_after_failed_ones_are_retries() {
        let calls = [call(2, 0..10).error("503"), call(3, 12..20).error("timeout"), call(4, 30..40)];
        assert_eq!(roles(&calls), (vec![Role::First, Role::Retry, Role::Retry], vec![3, 0, 0], 0));
    }

    #[test]
    fn a_loop_that_goes_on_after_a_failure_and_calls_side_by_side_are_no_retries() {
        let in_turn = [call(2, 0..10), call(3, 12..20).error("503"), call(4, 30..40)];
        assert_eq!(roles(&in_turn), (vec![Role::First; 3], vec![1; 3], 1));
        let side_by_side = [call(2, 0..10).error("503"), call(3, 5..20)];
        assert_eq!(roles(&side_by_side), (vec![Role::First; 2], vec![1; 2], 1));
    }

    #[test]
    fn a_call_that_was_given_up_and_whose_end_is_seen_late_is_tried_again() {
        let late = [call(2, 0..193).error("no_response"), call(3, 152..345).error("no_response")];
        assert_eq!(roles(&late).0, [Role::First, Role::Retry]);
        let hedged = [call(2, 0..193).error("no_response"), call(3, 50..345)];
        assert_eq!(roles(&hedged).0, [Role::First, Role::First]);
    }

    #[test]
    fn what_a_client_is_to_blame_for_is_not_tried_again() {
        let calls = [call(2, 0..10).error("404"), call(3, 12..20)];
        assert_eq!(roles(&calls).0, [Role::First, Role::First]);
    }

    #[test]
    fn a_call_that_says_it_is_a_resend_is_believed() {
        let resend = |sketch: Sketch, count| sketch.with("http.request.resend_count", Value::Int(count));
        let calls =
            [call(2, 0..10), call(3, 12..20).error("503"), resend(call(4, 21..30), 1), call(5, 31..40)];
        let told = roles(&calls);
        assert_eq!(told.0, [Role::First, Role::First, Role::Retry, Role::First]);
        assert_eq!(told.1, [1, 2, 0, 1]);
    }
}
