//! The critical path of a trace: the work that its root waited for, moment by moment.
//!
//! It is walked backward from the root's end. What a span waited for last is the child that ended last before the present
//! moment; the time after that child's end is the span's own. Then the child is walked, and at its start the span goes on
//! with what it waited for before. A child that was under way beside the one that was waited for is not on the path. CRISP
//! (Zhang and others, "CRISP: Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022) defines it
//! so.

use super::tree::Tree;
use crate::answer::Stretch;

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
    fn new(tree: &Tree<'_>, at: usize, start_ns: u64, end_ns: u64) -> Self {
        let mut children: Vec<(u64, usize)> = tree
            .children(at)
            .iter()
            .map(|child| (tree.time(*child).end_ns.min(end_ns), *child))
            .filter(|(child_end_ns, child)| tree.time(*child).start_ns.max(start_ns) < *child_end_ns)
            .collect();
        children.sort_unstable();
        Self { at, start_ns, now_ns: end_ns, children }
    }
}

/// Stretches of spans on the critical path of the trace's root, each span's by their starts. They follow each other without a
/// gap from the root's start to its end.
pub(super) fn path(tree: &Tree<'_>) -> Vec<(usize, Stretch)> {
    let mut path = Vec::new();
    let Some(root) = tree.root() else { return path };
    let time = tree.time(root);
    let mut steps = vec![Step::new(tree, root, time.start_ns, time.end_ns)];
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
                let start_ns = tree.time(child).start_ns.max(step.start_ns);
                step.now_ns = start_ns;
                steps.push(Step::new(tree, child, start_ns, end_ns));
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
