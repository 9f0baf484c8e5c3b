//! Who serves on a port that selects by itself. Init processes, supervisors and the like hold a socket for services that
//! they start, and have children that serve nothing.

use std::time::Instant;

use rustc_hash::FxHashMap;

use super::{Discovery, families::Serving};
use crate::{
    event::{Input, Tell},
    process::{
        candidate::Looked,
        connections::holds_connection_to,
        execution::Execution,
        facts::ProcessFacts,
        holders::{Holder, mere_holders},
        selector::Decision,
    },
};

impl Discovery {
    /// Of the processes that listen on a selected port, takes those that serve on it.
    pub(super) fn take_servers(&mut self, listening: Vec<(ProcessFacts, usize)>, tell: &mut dyn Tell) {
        let holders: Vec<Holder> = listening.iter().filter_map(|(facts, _)| self.holder(facts.pid)).collect();
        let mere = mere_holders(&holders, |pid| self.proc.parent(pid));
        let mut serving = Vec::new();
        for (facts, rule) in listening {
            let pid = facts.pid;
            if mere.contains(&pid) && !self.has_connections(pid) {
                self.is_mere_holder(&facts);
            } else {
                self.serving.add(pid);
                serving.push((facts, rule));
            }
        }
        self.take_families(serving, tell);
    }

    fn is_mere_holder(&mut self, facts: &ProcessFacts) {
        let ProcessFacts { pid, exe, start_ticks, .. } = facts;
        tracing::info!(pid, exe, "not traced: it only holds the socket for another program");
        self.serving.holds(*pid, *start_ticks);
    }

    fn holder(&self, pid: u32) -> Option<Holder> {
        let sockets = self.proc.listening(pid).unwrap_or_default();
        let sockets = sockets.into_iter().map(|(_, inode)| inode).collect();
        Some(Holder { pid, execution: Execution::read(&self.proc, pid).ok()?, sockets })
    }

    /// Whether a process has accepted connections that it still has.
    fn has_connections(&self, pid: u32) -> bool {
        let ports = self.proc.listening_ports(pid).unwrap_or_default();
        holds_connection_to(&self.proc, pid, &ports)
    }

    /// Whether a process serves with its parent, which a port selected: it runs the same program, or uses the socket, or
    /// a connection that the parent has accepted.
    pub(super) fn serves_with(&self, pid: u32, parent: u32) -> bool {
        let execution = |pid| Execution::read(&self.proc, pid);
        let (Ok(child), Ok(server)) = (execution(pid), execution(parent)) else { return false };
        if !self.serving.holders.contains_key(&parent) && child.runs_program_of(&server) {
            return true;
        }
        // A server may have many descriptors, and start many programs that have no socket.
        if self.proc.sockets(pid).is_ok_and(|sockets| sockets.is_empty()) {
            return false;
        }
        let (Some(child), Some(server)) = (self.holder(pid), self.holder(parent)) else { return false };
        child.shares_with(&server)
            || holds_connection_to(&self.proc, pid, &self.proc.listening_ports(parent).unwrap_or_default())
    }

    /// Whether a process that has executed a program, and that no rule includes, serves: a child was selected because
    /// its parent does.
    pub(super) fn still_serves(&mut self, pid: u32) -> bool {
        let Some(Some(parent)) = self.serving.members.get(&pid).copied() else { return true };
        let serves = self.serves_with(pid, parent);
        if serves {
            self.serving.add(pid);
        }
        serves
    }

    /// A process executes a program, and a rule includes it.
    pub(super) fn included(&mut self, pid: u32, rule: usize) {
        if !self.selectors.is_by_port_alone(rule) {
            return self.serving.remove(pid);
        }
        if let Some(Some(parent)) = self.serving.members.get(&pid).copied()
            && let (Some(child), Some(server)) = (self.holder(pid), self.holder(parent))
            && child.shares_with(&server)
            && !child.execution.runs_program_of(&server.execution)
        {
            self.serving.suspects.insert(parent);
        }
        self.serving.add(pid);
    }

    /// A child of a process that serves is no longer selected, as it does not serve.
    pub(super) fn let_go(&mut self, pid: u32, tell: &mut dyn Tell) {
        self.drop_excluded(pid, tell);
        self.serving.let_go.insert(pid, Instant::now());
    }

    /// Processes that may only hold a socket for others.
    pub fn suspects(&self) -> impl Iterator<Item = u32> + '_ {
        self.serving.suspects.iter().copied()
    }

    /// Looks at the processes that hold sockets for others. Of [`Self::suspects`], `served` have served requests. Called
    /// once a second.
    pub fn look_at_holders(&mut self, served: &[u32], tell: &mut dyn Tell) {
        self.serving.let_go.retain(|_, at| at.elapsed() < Serving::RING);
        for pid in self.suspects().collect::<Vec<_>>() {
            self.look_at_suspect(pid, served.contains(&pid), tell);
        }
        self.look_for_services(tell);
    }

    fn look_at_suspect(&mut self, pid: u32, has_served: bool, tell: &mut dyn Tell) {
        self.serving.suspects.remove(&pid);
        let Ok(facts) = self.proc.facts(pid) else { return };
        if has_served || self.has_connections(pid) {
            return;
        }
        let pids = self.proc.pids().unwrap_or_default();
        let holders: Vec<Holder> = pids
            .into_iter()
            .filter(|pid| self.serving.is_member(*pid))
            .filter_map(|pid| self.holder(pid))
            .collect();
        if mere_holders(&holders, |pid| self.proc.parent(pid)).contains(&pid) {
            self.drop_excluded(pid, tell);
            self.is_mere_holder(&facts);
        } else {
            // Between its fork and its exec a service looks like a worker.
            self.serving.suspects.insert(pid);
        }
    }

    /// Services that a holder has started since: nothing tells that they use its socket.
    fn look_for_services(&mut self, tell: &mut dyn Tell) {
        let proc = &self.proc;
        let is_there = |pid: &u32, start: &mut u64| !proc.is_gone(*pid, |now| now != *start);
        self.serving.holders.retain(is_there);
        if self.serving.holders.is_empty() {
            return;
        }
        let Ok(pids) = self.proc.pids() else { return };
        let mut found = Vec::new();
        let mut strangers = FxHashMap::default();
        for pid in pids {
            let Ok(stat) = self.proc.stat(pid) else { continue };
            if !self.serving.holders.contains_key(&stat.parent) || self.is_alive(pid, stat.start_ticks) {
                continue;
            }
            if self.serving.strangers.get(&pid) == Some(&stat.start_ticks) {
                strangers.insert(pid, stat.start_ticks);
                continue;
            }
            match self.selectors.decide(&Looked::new(&self.proc, pid), false) {
                Decision::Included(rule) => found.push((pid, stat.parent, rule)),
                // Between its fork and its exec a service holds what its parent does.
                _ if self.is_worker(pid, stat.parent) => {}
                _ => {
                    strangers.insert(pid, stat.start_ticks);
                }
            }
        }
        self.serving.strangers = strangers;
        for (pid, holder, rule) in found {
            if !self.is_worker(pid, holder)
                && let Ok(facts) = self.proc.facts(pid)
            {
                self.serving.add(pid);
                self.take(facts, Some(rule), tell);
                tell.tell(Input::SelectedLate { pid });
                self.take_descendants(tell);
            }
        }
    }
}
