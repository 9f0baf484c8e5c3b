//! The spans of a trace in the order of its tree, whatever their parents are said to be.

use std::collections::HashMap;

use crate::{correlate::Evidence, span::Span};

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A span, by its place in the list.
    Span(usize),
    /// A parent that is not in the list.
    Absent {
        /// Its id.
        id: [u8; 8],
        /// A header named it: if it was never seen, it is not of this host, or not of a process that is traced.
        is_of_header: bool,
    },
}

/// The nodes of a trace, and who is below whom.
pub struct Tree {
    /// The spans by their places, then the absent parents.
    nodes: Vec<Node>,
    /// Those below each node, the earliest first.
    children: Vec<Vec<usize>>,
    /// Nodes with nothing above them, then all spans: those on a circle of parents have no root.
    starts: Vec<usize>,
}

impl Tree {
    /// The tree of these spans. Every span is a node once.
    pub fn new(spans: &[Span]) -> Self {
        let mut by_id: HashMap<[u8; 8], usize> = HashMap::new();
        for (index, span) in spans.iter().enumerate() {
            // Of two with one id, the first has the children.
            by_id.entry(span.span_id).or_insert(index);
        }
        let mut children = vec![Vec::new(); spans.len()];
        let mut nodes: Vec<Node> = (0..spans.len()).map(Node::Span).collect();
        let mut starts = Vec::new();
        let mut absent: HashMap<[u8; 8], usize> = HashMap::new();
        let mut earliest_first: Vec<usize> = (0..spans.len()).collect();
        earliest_first.sort_by_key(|index| {
            let span = &spans[*index];
            (span.start_unix_ns, std::cmp::Reverse(span.end_unix_ns))
        });
        for index in earliest_first.iter().copied() {
            let span = &spans[index];
            let Some(parent) = span.parent_span_id.filter(|parent| *parent != span.span_id) else {
                starts.push(index);
                continue;
            };
            let above = by_id.get(&parent).copied().unwrap_or_else(|| {
                *absent.entry(parent).or_insert_with(|| {
                    starts.push(nodes.len());
                    let is_of_header = span.evidence() == Some(Evidence::Header);
                    nodes.push(Node::Absent { id: parent, is_of_header });
                    children.push(Vec::new());
                    nodes.len() - 1
                })
            });
            children[above].push(index);
        }
        starts.extend(earliest_first);
        Self { nodes, children, starts }
    }

    /// The spans below a span, the earliest first, by their places in the list.
    pub fn children(&self, span: usize) -> &[usize] {
        self.children.get(span).map_or(&[], Vec::as_slice)
    }

    /// Visits each node once, a parent before its children. The path tells of the node and of all above
    /// it, the root first, whether each is the last child of its parent.
    pub fn visit(&self, mut visitor: impl FnMut(Node, &[bool])) {
        let mut seen = vec![false; self.nodes.len()];
        let mut path: Vec<bool> = Vec::new();
        for start in &self.starts {
            // Node, depth, whether it is the last of its parent.
            let mut stack = vec![(*start, 0, true)];
            while let Some((index, depth, is_last)) = stack.pop() {
                if std::mem::replace(&mut seen[index], true) {
                    continue;
                }
                path.truncate(depth);
                path.push(is_last);
                visitor(self.nodes[index], &path);
                let below = &self.children[index];
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
}
