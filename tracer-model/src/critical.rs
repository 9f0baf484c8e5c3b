//! The critical path of a trace: the work that its root waited for, moment by moment.
//!
//! It is walked backward from the root's end. What a span waited for last is the child that ended last before the present
//! moment; the time after that child's end is the span's own. Then the child is walked, and at its start the span goes on
//! with what it waited for before. A child that was under way beside the one that was waited for is not on the path. CRISP
//! (Zhang and others, "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022) defines it
//! so.

use crate::{answer::Stretch, span::Kind};

/// Spans that lie below each other.
pub trait Family {
    /// When a span was under way. Never backward.
    fn time(&self, at: usize) -> Stretch;

    /// The children of a span that it waited for ([`is_awaited`]).
    fn awaited(&self, at: usize) -> impl Iterator<Item = usize>;
}

/// A child may outlast its parent by this part of its time and count as awaited: the last byte that a proxy reads and the last
/// that it writes are seen at different moments.
const BEYOND: u64 = 20;

/// Whether a span waited for its child, each told by its kind and when it was under way: not for a message that somebody takes
/// later, and not for work that goes on after its own end.
pub fn is_awaited((kind, time): (Kind, Stretch), (above, within): (Kind, Stretch)) -> bool {
    if kind == Kind::Consumer || above == Kind::Producer {
        return false;
    }
    if time.start_ns >= within.end_ns && time.end_ns > within.end_ns {
        return false;
    }
    // A client that gave up waited for its server until then.
    let is_call = above == Kind::Client && kind == Kind::Server;
    let beyond_ns = time.end_ns.saturating_sub(within.end_ns);
    is_call || beyond_ns <= (time.end_ns - time.start_ns) / BEYOND
}

/// A span on the way back.
struct Step {
    at: usize,
    /// Its start, or that of a span above it that started later.
    start_ns: u64,
    /// The moment up to which its path is not known yet.
    now_ns: u64,
    /// Its children that may have been waited for, the last to end at the end of the list: end and place.
    children: Vec<(u64, usize)>,
}

impl Step {
    /// A span that was under way in a stretch of time. Children that go on after it count as if they ended with it; those that
    /// start after it were not waited for.
    fn new(family: &impl Family, at: usize, start_ns: u64, end_ns: u64) -> Self {
        let mut children: Vec<(u64, usize)> = family
            .awaited(at)
            .map(|child| (family.time(child).end_ns.min(end_ns), child))
            .filter(|(child_end_ns, child)| family.time(*child).start_ns.max(start_ns) < *child_end_ns)
            .collect();
        children.sort_unstable();
        Self { at, start_ns, now_ns: end_ns, children }
    }
}

/// Stretches of spans on the critical path of a span, each span's by their starts. They follow each other without a gap from its
/// start to its end.
pub fn path(family: &impl Family, root: usize) -> Vec<(usize, Stretch)> {
    let mut path = Vec::new();
    let time = family.time(root);
    let mut steps = vec![Step::new(family, root, time.start_ns, time.end_ns)];
    while let Some(step) = steps.last_mut() {
        let at = step.at;
        let mut own = |start_ns: u64, end_ns: u64| {
            if start_ns < end_ns {
                path.push((at, Stretch { start_ns, end_ns }));
            }
        };
        match step.children.pop() {
            // It was under way beside what came later.
            Some((end_ns, _)) if end_ns > step.now_ns => {}
            Some((end_ns, child)) => {
                own(end_ns, step.now_ns);
                let start_ns = family.time(child).start_ns.max(step.start_ns);
                step.now_ns = start_ns;
                steps.push(Step::new(family, child, start_ns, end_ns));
            }
            None => {
                own(step.start_ns, step.now_ns);
                steps.pop();
            }
        }
    }
    path.reverse();
    path
}
