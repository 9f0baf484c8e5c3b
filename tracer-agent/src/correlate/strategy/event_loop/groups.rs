//! Groups: server requests and client requests that are of one piece of work.

use rustc_hash::{FxHashMap, FxHashSet};

use super::run::Node;
use crate::correlate::open::Key;

/// Requests by the groups that they are in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    nodes: FxHashMap<Node, Member>,
    groups: FxHashMap<Node, Group>,
    last: Node,
}

#[derive(Debug)]
struct Member {
    parent: Node,
}

/// What is in one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) servers: Vec<Key>,
    pub(super) calls: Vec<Call>,
}

/// A client request in a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) node: Node,
    pub(super) key: Key,
    /// The request that it comes from.
    pub(super) source: Node,
    /// Its response has begun.
    pub(super) is_answered: bool,
}

impl Groups {
    /// Requests that are remembered.
    const MOST: usize = 65_536;

    /// A request that is in a group of its own.
    pub(super) fn add(&mut self) -> Node {
        if self.nodes.len() >= Self::MOST {
            self.sweep();
        }
        self.last += 1;
        self.nodes.insert(self.last, Member { parent: self.last });
        self.last
    }

    /// Forgets the groups whose last request is old.
    fn sweep(&mut self) {
        let oldest = self.last.saturating_sub(Self::MOST as Node / 4);
        let roots: FxHashMap<Node, Node> =
            self.nodes.keys().filter_map(|node| Some((*node, self.root(*node)?))).collect();
        let kept: FxHashSet<Node> =
            roots.iter().filter(|(node, _)| **node > oldest).map(|(_, root)| *root).collect();
        self.nodes.retain(|node, _| roots.get(node).is_some_and(|root| kept.contains(root)));
        self.groups.retain(|root, _| kept.contains(root));
        if self.nodes.len() >= Self::MOST / 2 {
            self.nodes.clear();
            self.groups.clear();
        }
    }

    fn root(&self, mut node: Node) -> Option<Node> {
        loop {
            let parent = self.nodes.get(&node)?.parent;
            if parent == node {
                return Some(node);
            }
            node = parent;
        }
    }

    /// The group of a request; none if it is forgotten.
    pub(super) fn of(&mut self, node: Node) -> Option<&mut Group> {
        let root = self.root(node)?;
        // A short way for the next time.
        if let Some(member) = self.nodes.get_mut(&node) {
            member.parent = root;
        }
        Some(self.groups.entry(root).or_default())
    }

    /// Puts two groups into one.
    pub(super) fn unite(&mut self, one: Node, other: Node) {
        let (Some(one), Some(other)) = (self.root(one), self.root(other)) else { return };
        if one == other {
            return;
        }
        let size = |group: Option<&Group>| group.map_or(0, |group| group.calls.len() + group.servers.len());
        let (small, large) = match size(self.groups.get(&one)) < size(self.groups.get(&other)) {
            true => (one, other),
            false => (other, one),
        };
        if let Some(member) = self.nodes.get_mut(&small) {
            member.parent = large;
        }
        if let Some(Group { servers, calls }) = self.groups.remove(&small) {
            let group = self.groups.entry(large).or_default();
            group.servers.extend(servers);
            group.calls.extend(calls);
        }
    }
}
