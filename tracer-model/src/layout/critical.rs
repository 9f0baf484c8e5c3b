//! The critical path of a trace that is laid out.

use super::tree::Tree;
use crate::{
    answer::Stretch,
    critical::{Family, is_awaited, path as path_of},
};

impl Family for Tree<'_> {
    fn time(&self, at: usize) -> Stretch {
        Tree::time(self, at)
    }

    fn awaited(&self, at: usize) -> impl Iterator<Item = usize> {
        let of = |at: usize| (self.span(at).kind, Tree::time(self, at));
        self.children(at).iter().copied().filter(move |child| is_awaited(of(*child), of(at)))
    }
}

/// Stretches of spans on the critical path of the trace's root, each span's by their starts. They follow each other without a
/// gap from the root's start to its end.
pub(super) fn path(tree: &Tree<'_>) -> Vec<(usize, Stretch)> {
    tree.root().map(|root| path_of(tree, root)).unwrap_or_default()
}
