//! Which processes are traced right now: the selectors, `/proc`, and what the kernel reports.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, io, os::linux::fs::MetadataExt};

use rustc_hash::FxHashSet;
use tracer_common::{FileKey, Kind, ProcessRecord, Seeds};

use crate::{
    event::{Event, Exec, Input, Malformed, Tell},
    kernel::{Plan, SelectionSwitch, Switches},
    process::{
        facts::{Proc, ProcessFacts},
        selector::{Decision, Selectors},
    },
    trace_context::sample::SamplingConfig,
};

/// Keeps the kernel's selection in step with the operator's.
pub struct Discovery {
    proc: Proc,
    selectors: Selectors,
    selection: SelectionSwitch,
    own_pid: u32,
    alive: FxHashSet<u32>,
}

/// Why a process cannot be selected.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The list of processes cannot be read.
    #[error("cannot read /proc: {0}")]
    Proc(io::Error),
    /// A rule names a process that does not exist.
    #[error("there is no process {0}")]
    NoProcess(u32),
    /// It has ended, or cannot be looked at.
    #[error("cannot look at process {pid}: {source}")]
    Process {
        /// Which.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// What the kernel programs need to know of the selectors before they load.
pub fn plan(selectors: &Selectors, ring_bytes: u32, switches: &Switches) -> Plan {
    let rules = selectors.kernel_rules();
    let mut names = rules.names;
    let mut files = Vec::new();
    let mut watched = Vec::new();
    for (path, select) in rules.paths {
        if let Ok(metadata) = std::fs::metadata(&path) {
            files.push((
                FileKey { inode: metadata.st_ino(), device: kernel_device(metadata.st_dev()) },
                select,
            ));
        }
        // It may come later, be replaced, or lie on a file system that shows other device numbers
        // (btrfs, overlayfs): whoever executes a file of this name is looked at.
        if let Some(name) = path.file_name() {
            watched.push(name.as_encoded_bytes().to_vec());
        }
    }
    names.dedup();
    Plan {
        ring_bytes,
        report_every_exec: rules.needs_every_exec,
        ports: rules.ports,
        files,
        names,
        watched,
        propagation: None,
        seeds: Seeds::default(),
        sampler: SamplingConfig::default().sampler(),
        other_contexts: false,
        switches: switches.clone(),
    }
}

/// A device number as the kernel keeps it inside: 12 bits of major, 20 of minor
/// (`include/linux/kdev_t.h`).
fn kernel_device(device: u64) -> u64 {
    u64::from(libc::major(device)) << 20 | u64::from(libc::minor(device))
}

impl Discovery {
    /// Nothing is selected yet.
    pub fn new(selectors: Selectors, selection: SelectionSwitch) -> Self {
        Self {
            proc: Proc::default(),
            selectors,
            selection,
            own_pid: std::process::id(),
            alive: FxHashSet::default(),
        }
    }

    /// Selected processes that live.
    pub fn alive(&self) -> usize {
        self.alive.len()
    }

    /// Selects what runs already: processes that match, and their descendants.
    ///
    /// # Errors
    /// A pid that a rule names does not exist.
    pub fn scan(&mut self, tell: &mut dyn Tell) -> Result<(), DiscoveryError> {
        let pids = self.proc.pids().map_err(DiscoveryError::Proc)?;
        for wanted in self.selectors.pids().collect::<Vec<_>>() {
            if !pids.contains(&wanted) {
                return Err(DiscoveryError::NoProcess(wanted));
            }
        }
        for pid in pids {
            if pid == self.own_pid {
                continue;
            }
            // Kernel threads have no executable; others may be gone by now.
            let Ok(facts) = self.proc.facts(pid) else { continue };
            let decision = self.selectors.decide(&facts, || self.proc.listening_ports(pid));
            if let Decision::Included(rule) = decision {
                self.take(facts, Some(rule), tell);
            }
        }
        self.take_descendants(tell);
        Ok(())
    }

    /// Selects one process, whatever the rules say.
    ///
    /// # Errors
    /// It does not exist.
    pub fn select(&mut self, pid: u32, tell: &mut dyn Tell) -> Result<(), DiscoveryError> {
        let facts = self.proc.facts(pid).map_err(|source| DiscoveryError::Process { pid, source })?;
        self.take(facts, None, tell);
        self.take_descendants(tell);
        Ok(())
    }

    /// Children that were made before their parent's bit was set. The bit comes first, so that one more
    /// scan finds whom the fork hook did not.
    fn take_descendants(&mut self, tell: &mut dyn Tell) {
        let mut looked_at = FxHashSet::default();
        loop {
            let Ok(pids) = self.proc.pids() else { return };
            let parents: BTreeMap<u32, u32> =
                pids.into_iter().filter_map(|pid| Some((pid, self.proc.parent(pid)?))).collect();
            let found: Vec<(u32, u32)> = parents
                .into_iter()
                .filter(|(pid, parent)| {
                    self.alive.contains(parent)
                        && !self.alive.contains(pid)
                        && *pid != self.own_pid
                        && !looked_at.contains(pid)
                })
                .collect();
            if found.is_empty() {
                return;
            }
            for (pid, parent) in found {
                looked_at.insert(pid);
                let Ok(facts) = self.proc.facts(pid) else { continue };
                if self.decide(&facts) == Decision::Excluded {
                    self.drop_excluded(pid, tell);
                    continue;
                }
                self.selection.set(pid, true);
                self.alive.insert(pid);
                let is_worker = self.proc.facts(parent).is_ok_and(|parent| parent.exe == facts.exe);
                if is_worker {
                    let process =
                        ProcessRecord { kind: Kind::Fork as u8, pid, parent, ..ProcessRecord::default() };
                    tell.tell(Input::Event(Event::Fork(process)));
                } else {
                    self.tell_facts(facts, None, tell);
                }
            }
        }
    }

    /// Records of processes were lost: whoever carries a bit and is not known is looked at.
    pub fn recover(&mut self, tell: &mut dyn Tell) {
        for pid in self.proc.pids().unwrap_or_default() {
            if pid != self.own_pid
                && self.selection.contains(pid)
                && !self.alive.contains(&pid)
                && let Ok(facts) = self.proc.facts(pid)
            {
                let rule = match self.decide(&facts) {
                    Decision::Included(rule) => Some(rule),
                    Decision::Excluded => {
                        self.drop_excluded(pid, tell);
                        continue;
                    }
                    Decision::No => None,
                };
                self.take(facts, rule, tell);
            }
        }
        // Those whose end went by unseen.
        let (proc, selection) = (&self.proc, &self.selection);
        self.alive.retain(|pid| selection.contains(*pid) && proc.parent(*pid).is_some());
    }

    /// What came out of the ring: the pipeline gets it, and what `/proc` adds.
    pub fn record(&mut self, decoded: Result<Event<'_>, Malformed>, tell: &mut dyn Tell) {
        match decoded {
            Ok(Event::Exec(exec)) => return self.executed(&exec, tell),
            Ok(Event::Listen(process)) => return self.listens(&process, tell),
            Ok(Event::Fork(process)) => {
                self.alive.insert(process.pid);
            }
            Ok(Event::Exit(process)) => {
                self.alive.remove(&process.pid);
            }
            Ok(Event::Data(_) | Event::Open(_) | Event::Close(_) | Event::Injection(_)) | Err(_) => {}
        }
        tell.tell(decoded.into());
    }

    /// The kernel selects whoever listens on a port of the rules; whether the whole rule matches is
    /// decided here, before a byte of the process goes on.
    fn listens(&mut self, process: &ProcessRecord, tell: &mut dyn Tell) {
        let event = Input::Event(Event::Listen(*process));
        let pid = process.pid;
        if pid == self.own_pid {
            self.selection.set(pid, false);
            return;
        }
        let was_selected = self.alive.contains(&pid);
        let Ok(facts) = self.proc.facts(pid) else {
            // Gone already: its exit is reported too.
            self.alive.insert(pid);
            tell.tell(event);
            return;
        };
        let decision = self.selectors.decide(&facts, || {
            // In a container's proc file system the socket may not be seen yet, or at all.
            let mut ports = self.proc.listening_ports(pid);
            ports.push(process.port);
            ports
        });
        // A child whose fork record was lost, as the ring was full, is its parent's.
        let inherited = was_selected || self.alive.contains(&facts.parent);
        match decision {
            Decision::Excluded => return self.drop_excluded(pid, tell),
            Decision::No if !inherited => return self.drop_excluded(pid, tell),
            Decision::No | Decision::Included(_) if was_selected => {}
            Decision::No => self.take(facts, None, tell),
            Decision::Included(rule) => {
                self.take(facts, Some(rule), tell);
                self.take_descendants(tell);
            }
        }
        tell.tell(event);
    }

    fn executed(&mut self, exec: &Exec<'_>, tell: &mut dyn Tell) {
        let event = Input::Event(Event::Exec(*exec));
        let process = &exec.process;
        if process.pid == self.own_pid {
            return;
        }
        // The kernel has cleared the bit already of a process that executes an excluded file.
        let was_selected = process.selected != 0 || self.alive.contains(&process.pid);
        let found = self.proc.facts(process.pid);
        // A name or a file selected it in the kernel; the rule as a whole may not.
        let mistaken = process.selected == 2 && found.is_ok();
        let facts = found.unwrap_or_else(|_| {
            // Gone already: the kernel's name is what is left.
            let name = exec.file_name();
            ProcessFacts {
                pid: process.pid,
                exe: name.clone(),
                command_line: vec![name],
                ..ProcessFacts::default()
            }
        });
        let decision = self.decide(&facts);
        match decision {
            Decision::No if mistaken => self.drop_excluded(process.pid, tell),
            Decision::Excluded if was_selected => self.drop_excluded(process.pid, tell),
            Decision::Excluded | Decision::No if !was_selected => {}
            Decision::Excluded => {}
            Decision::No => {
                tell.tell(event);
                self.take(facts, None, tell);
            }
            Decision::Included(rule) => {
                tell.tell(event);
                self.take(facts, Some(rule), tell);
                if !was_selected {
                    // What it did between its exec and now went by.
                    tell.tell(Input::SelectedLate { pid: process.pid });
                    self.take_descendants(tell);
                }
            }
        }
    }

    fn decide(&self, facts: &ProcessFacts) -> Decision {
        self.selectors.decide(facts, || self.proc.listening_ports(facts.pid))
    }

    fn take(&mut self, facts: ProcessFacts, rule: Option<usize>, tell: &mut dyn Tell) {
        let pid = facts.pid;
        if facts.is_32_bit {
            tracing::warn!(
                pid,
                exe = facts.exe,
                "a 32-bit process cannot be traced: its system calls are others"
            );
            self.selection.set(pid, false);
            self.tell_facts(facts, rule, tell);
            tell.tell(Input::AttachFailed { pid });
            return;
        }
        self.selection.set(pid, true);
        self.alive.insert(pid);
        self.tell_facts(facts, rule, tell);
    }

    fn tell_facts(&self, facts: ProcessFacts, rule: Option<usize>, tell: &mut dyn Tell) {
        let ports = self.proc.listening_ports(facts.pid);
        tracing::debug!(pid = facts.pid, exe = facts.exe, "traced");
        let rule = rule.and_then(|rule| self.selectors.service_name(rule));
        tell.tell(Input::Facts { facts: &facts, rule });
        if !ports.is_empty() {
            tell.tell(Input::Listening { pid: facts.pid, ports: &ports });
        }
    }

    fn drop_excluded(&mut self, pid: u32, tell: &mut dyn Tell) {
        self.selection.set(pid, false);
        self.alive.remove(&pid);
        tell.tell(Input::Excluded { pid });
    }
}
