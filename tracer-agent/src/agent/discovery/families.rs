//! The families of processes that serve on ports which select by themselves.

use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

/// What is known of the families of processes that serve on such ports.
#[derive(Default)]
pub(super) struct Serving {
    /// Processes that such a port selected, and their children that serve with them. A child that has executed no program
    /// since it was forked is there with its parent.
    pub(super) members: FxHashMap<u32, Option<u32>>,
    /// Members that have passed their socket on to another program, and may serve themselves all the same.
    pub(super) suspects: FxHashSet<u32>,
    /// Processes that hold a socket for services that they start, with their start.
    pub(super) holders: FxHashMap<u32, u64>,
    /// Children of holders that hold no such socket, with their start.
    pub(super) strangers: FxHashMap<u32, u64>,
    /// Children that do not serve, and when they were let go: records of what they made may still come.
    pub(super) let_go: FxHashMap<u32, Instant>,
}

impl Serving {
    /// Longest time for which a record stays in the ring.
    pub(super) const RING: Duration = Duration::from_secs(2);

    /// A process serves.
    pub(super) fn add(&mut self, pid: u32) {
        self.members.insert(pid, None);
    }

    /// A process made another.
    pub(super) fn forked(&mut self, pid: u32, parent: u32) {
        self.let_go.remove(&pid);
        if self.is_member(parent) {
            self.members.insert(pid, Some(parent));
        }
    }

    pub(super) fn is_member(&self, pid: u32) -> bool {
        self.members.contains_key(&pid)
    }

    /// A process holds a socket for the services that it starts.
    pub(super) fn holds(&mut self, pid: u32, start_ticks: u64) {
        self.holders.insert(pid, start_ticks);
    }

    /// A process has ended, or is no longer selected.
    pub(super) fn remove(&mut self, pid: u32) {
        self.members.remove(&pid);
        self.suspects.remove(&pid);
    }

    /// Removes the members that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.members.retain(|pid, _| is_there(*pid));
        self.suspects.retain(|pid| is_there(*pid));
    }

    /// Whether a process was let go a moment ago.
    pub(super) fn was_let_go(&self, pid: u32) -> bool {
        self.let_go.contains_key(&pid)
    }
}
