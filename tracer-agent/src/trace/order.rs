//! The spans of a trace in the order of its tree, whatever their parents are said to be.

use std::collections::HashMap;

use crate::{correlate::Evidence, sink::terminal::row::Shown};

/// A line of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A span, by its place in the list.
    Span(usize),
    /// A parent that is not in the list.
    Absent {
        id: [u8; 8],
        /// A header named it: it is not of this host, or not of a process that is traced.
        is_elsewhere: bool,
    },
}

/// A node, and what stands before it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) node: Node,
    /// Lines of the tree.
    pub(crate) prefix: String,
}

/// Rows in the order of the tree, and the children of each span.
pub(crate) struct Tree {
    pub(crate) rows: Vec<Row>,
    pub(crate) children: Vec<Vec<usize>>,
}

impl Tree {
    /// Each span has one row. `levels` are drawn; what is deeper keeps the last of them.
    pub(crate) fn new(spans: &[Shown], levels: usize) -> Self {
        let mut by_id: HashMap<[u8; 8], usize> = HashMap::new();
        for (index, span) in spans.iter().enumerate() {
            // Of two with one id, the first has the children.
            by_id.entry(span.span_id).or_insert(index);
        }
        let mut children = vec![Vec::new(); spans.len()];
        let mut nodes: Vec<Node> = (0..spans.len()).map(Node::Span).collect();
        let mut roots = Vec::new();
        let mut absent: HashMap<[u8; 8], usize> = HashMap::new();
        let mut earliest_first: Vec<usize> = (0..spans.len()).collect();
        earliest_first.sort_by_key(|index| {
            let span = &spans[*index];
            (span.start_unix_ns, std::cmp::Reverse(span.end_unix_ns))
        });
        for index in earliest_first.iter().copied() {
            let span = &spans[index];
            let Some(parent) = span.parent.filter(|parent| *parent != span.span_id) else {
                roots.push(index);
                continue;
            };
            let above = by_id.get(&parent).copied().unwrap_or_else(|| {
                *absent.entry(parent).or_insert_with(|| {
                    roots.push(nodes.len());
                    let is_elsewhere = span.evidence == Some(Evidence::Header);
                    nodes.push(Node::Absent { id: parent, is_elsewhere });
                    children.push(Vec::new());
                    nodes.len() - 1
                })
            });
            children[above].push(index);
        }
        let mut walk = Walk { seen: vec![false; nodes.len()], rows: Vec::with_capacity(nodes.len()), levels };
        // What no root leads to hangs on a circle of parents: it begins anywhere.
        for root in roots.into_iter().chain(earliest_first) {
            walk.from(root, &nodes, &children);
        }
        Self { rows: walk.rows, children }
    }
}

struct Walk {
    seen: Vec<bool>,
    rows: Vec<Row>,
    levels: usize,
}

impl Walk {
    fn from(&mut self, root: usize, nodes: &[Node], children: &[Vec<usize>]) {
        // Node, depth, whether it is the last of its parent.
        let mut stack = vec![(root, 0, true)];
        // Whether the nodes on the way to this one are the last of their parents.
        let mut path: Vec<bool> = Vec::new();
        while let Some((index, depth, is_last)) = stack.pop() {
            if std::mem::replace(&mut self.seen[index], true) {
                continue;
            }
            path.truncate(depth);
            path.push(is_last);
            self.rows.push(Row { node: nodes[index], prefix: prefix(&path, self.levels) });
            let below = &children[index];
            stack.extend(
                below
                    .iter()
                    .enumerate()
                    .rev()
                    .map(|(place, child)| (*child, depth + 1, place + 1 == below.len())),
            );
        }
    }
}

/// Two columns for each level below the root.
fn prefix(path: &[bool], levels: usize) -> String {
    let Some((is_last, above)) = path.get(1..).unwrap_or_default().split_last() else {
        return String::new();
    };
    let mut text = String::new();
    let hidden = (above.len() + 1).saturating_sub(levels);
    if hidden > 0 {
        text += "… ";
    }
    // The mark takes a level too.
    let first = if hidden > 0 { hidden + 1 } else { 0 };
    for is_last in above.iter().skip(first) {
        text += if *is_last { "  " } else { "│ " };
    }
    text + if *is_last { "└ " } else { "├ " }
}
