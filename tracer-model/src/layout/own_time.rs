//! A span's own time: that in which none of its children was under way.

use super::tree::Tree;
use crate::answer::Stretch;

/// The stretches of a span in which none of its children was under way. What children did before or after it does not count.
pub(super) fn own(tree: &Tree<'_>, at: usize) -> impl Iterator<Item = Stretch> {
    let time = tree.time(at);
    let mut covered_to = time.start_ns;
    // At the end, a child without duration makes a stretch of what is left.
    let children = tree.children(at).iter().map(|child| tree.time(*child));
    let end = Stretch { start_ns: time.end_ns, end_ns: time.end_ns };
    children.chain([end]).filter_map(move |child| {
        let start_ns = covered_to;
        let end_ns = child.start_ns.min(time.end_ns);
        covered_to = covered_to.max(child.end_ns).min(time.end_ns);
        (start_ns < end_ns).then_some(Stretch { start_ns, end_ns })
    })
}

/// How long they are together, nanoseconds.
pub(super) fn own_ns(tree: &Tree<'_>, at: usize) -> u64 {
    own(tree, at).map(|stretch| stretch.end_ns - stretch.start_ns).sum()
}
