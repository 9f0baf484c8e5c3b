//! Which processes are traced right now: the selectors, `/proc`, and what the kernel reports.

#![forbid(unsafe_code)]

mod families;
mod serving;
mod sweep;

use std::{collections::BTreeMap, io, os::linux::fs::MetadataExt};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::{FileKey, Kind, ProcessRecord, Seeds};

use self::families::Serving;
use crate::{
    clock,
    event::{Event, Exec, Input, Malformed, Tell},
    kernel::{Plan, SelectionSwitch, Switches},
    process::{
        candidate::Looked,
        capabilities,
        describer::Describer,
        execution::{continues, is_of_multiprocessing},
        facts::{Proc, ProcessFacts, ProcessStat},
        holders::is_init,
        selector::{Decision, Selectors},
        task_finder::{Search, TaskFinder},
        tasks::TaskProgram,
    },
    task_runtime::TaskRuntime,
    trace_context::sample::SamplingConfig,
};

/// Keeps the kernel's selection in step with the operator's.
pub struct Discovery {
    proc: Proc,
    describer: Describer,
    tasks: TaskFinder,
    selectors: Selectors,
    selection: SelectionSwitch,
    own_pid: u32,
    /// Selected processes that live, with the time since which they are known ([`clock::boot_ticks`]). A process of the
    /// same pid that started later is another one: the end of the first went by unseen.
    alive: FxHashMap<u32, u64>,
    serving: Serving,
    /// Processes that the sweep has not looked at in this round.
    unswept: Vec<u32>,
    /// Those that it did not find, with the time since which they were known. Records of their last second may still come.
    doubtful: FxHashMap<u32, u64>,
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
    /// A rule names a process that runs no program.
    #[error("process {0} runs no program: it is a thread of the kernel, or has ended")]
    NoProgram(u32),
    /// A rule names a process of which the system calls are others.
    #[error("process {0} cannot be traced: it is a 32-bit program")]
    Is32Bit(u32),
    /// The agent may not look at processes.
    #[error(
        "the processes to trace cannot be looked at: CAP_SYS_PTRACE is missing: run as root, or grant it \
         (docker: --cap-add SYS_PTRACE)"
    )]
    NotPrivileged,
    /// The agent may look at processes, but not at one that a rule names.
    #[error(
        "process {0} cannot be looked at, though CAP_SYS_PTRACE is there: a security module (SELinux, AppArmor) may \
         forbid it"
    )]
    Forbidden(u32),
}

impl DiscoveryError {
    /// Whether privileges are missing.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::NotPrivileged | Self::Forbidden(_) | Self::Is32Bit(_))
    }
}

/// How many processes the agent cannot look at, in words.
fn not_looked_at(processes: usize) -> String {
    match processes {
        1 => "1 process cannot be looked at".to_owned(),
        more => format!("{more} processes cannot be looked at (the pid is that of one)"),
    }
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
        Self::of(Proc::default(), selectors, selection)
    }

    /// The same for a proc file system.
    fn of(proc: Proc, selectors: Selectors, selection: SelectionSwitch) -> Self {
        Self {
            describer: Describer::new(&proc),
            tasks: TaskFinder::new(&proc),
            proc,
            selectors,
            selection,
            own_pid: std::process::id(),
            alive: FxHashMap::default(),
            serving: Serving::default(),
            unswept: Vec::new(),
            doubtful: FxHashMap::default(),
        }
    }

    /// Selected processes that live.
    pub fn alive(&self) -> usize {
        self.alive.len()
    }

    /// Selects what runs already: processes that match, and their descendants.
    ///
    /// # Errors
    /// A pid that a rule names does not exist, or processes may not be looked at.
    pub fn scan(&mut self, tell: &mut dyn Tell) -> Result<(), DiscoveryError> {
        let pids = self.proc.pids().map_err(DiscoveryError::Proc)?;
        for wanted in self.selectors.pids() {
            if !pids.contains(&wanted) {
                return Err(DiscoveryError::NoProcess(wanted));
            }
        }
        let mut denied = Vec::new();
        let (mut included, mut listening) = (Vec::new(), Vec::new());
        for pid in pids {
            if pid == self.own_pid {
                continue;
            }
            let is_named = self.selectors.pids().any(|named| named == pid);
            let process = Looked::new(&self.proc, pid);
            let decision = self.selectors.decide(&process, false);
            let mut is_denied = process.is_denied();
            if let Decision::Included(rule) = decision {
                match self.proc.facts(pid) {
                    Ok(facts) if facts.is_32_bit && is_named => return Err(DiscoveryError::Is32Bit(pid)),
                    Ok(facts) if self.selectors.is_by_port_alone(rule) => listening.push((facts, rule)),
                    Ok(facts) => included.push((facts, rule)),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => is_denied = true,
                    Err(error) if is_named && error.kind() == io::ErrorKind::NotFound => {
                        return Err(DiscoveryError::NoProgram(pid));
                    }
                    Err(source) if is_named => return Err(DiscoveryError::Process { pid, source }),
                    // Kernel threads have no executable; others may be gone by now.
                    Err(_) => {}
                }
            }
            if is_denied && is_named {
                return Err(self.denial(pid));
            }
            if is_denied {
                denied.push(pid);
            }
        }
        if let Some(first) = denied.first() {
            if !capabilities::has_ptrace() {
                return Err(DiscoveryError::NotPrivileged);
            }
            tracing::warn!(
                pid = first,
                "{}, and no selector can match {}: a security module (SELinux, AppArmor) may forbid it",
                not_looked_at(denied.len()),
                if denied.len() == 1 { "it" } else { "them" },
            );
        }
        self.take_families(included, tell);
        self.take_servers(listening, tell);
        self.take_descendants(tell);
        Ok(())
    }

    /// Takes processes that rules include. Workers belong to their parents, if the same rule includes these.
    fn take_families(&mut self, mut included: Vec<(ProcessFacts, usize)>, tell: &mut dyn Tell) {
        let rules: FxHashMap<u32, (u32, usize)> =
            included.iter().map(|(facts, rule)| (facts.pid, (facts.parent, *rule))).collect();
        let generation = |pid: u32| {
            let parent = |pid: &u32| rules.get(pid).map(|(parent, _)| *parent);
            std::iter::successors(parent(&pid), parent).take(rules.len()).count()
        };
        included.sort_by_cached_key(|(facts, _)| generation(facts.pid));
        for (facts, rule) in included {
            let (pid, parent) = (facts.pid, facts.parent);
            let is_of_parent = rules.get(&parent).is_some_and(|(_, of_parent)| *of_parent == rule);
            if is_of_parent && !facts.is_32_bit && self.is_worker(pid, parent) {
                self.take_worker(pid, parent, tell);
            } else {
                self.take(facts, Some(rule), tell);
            }
        }
    }

    /// Why a process that a rule names may not be looked at.
    fn denial(&self, pid: u32) -> DiscoveryError {
        if capabilities::has_ptrace() {
            DiscoveryError::Forbidden(pid)
        } else {
            DiscoveryError::NotPrivileged
        }
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
            let stats: BTreeMap<u32, ProcessStat> =
                pids.into_iter().filter_map(|pid| Some((pid, self.proc.stat(pid).ok()?))).collect();
            let lives = |pid: u32| stats.get(&pid).is_some_and(|stat| self.is_alive(pid, stat.start_ticks));
            let found: Vec<(u32, u32)> = stats
                .iter()
                .map(|(pid, stat)| (*pid, stat.parent))
                .filter(|(pid, parent)| {
                    lives(*parent) && !lives(*pid) && *pid != self.own_pid && !looked_at.contains(pid)
                })
                .collect();
            if found.is_empty() {
                return;
            }
            for (pid, parent) in found {
                looked_at.insert(pid);
                self.take_child(pid, parent, tell);
            }
        }
    }

    /// Takes a process that runs already, unless a rule excludes it, or its parent serves on a port and it does not.
    fn take_child(&mut self, pid: u32, parent: u32, tell: &mut dyn Tell) {
        let is_member = self.serving.is_member(parent);
        if is_member && !self.serves_with(pid, parent) {
            if self.selection.contains(pid) {
                self.let_go(pid, tell);
            }
            return;
        }
        if self.selectors.decide(&Looked::new(&self.proc, pid), true) == Decision::Excluded {
            return self.drop_excluded(pid, tell);
        }
        if self.is_worker(pid, parent) {
            self.take_worker(pid, parent, tell);
        } else if let Ok(facts) = self.proc.facts(pid) {
            if is_member {
                self.serving.add(pid);
            }
            self.take(facts, None, tell);
        }
    }

    /// Takes a process that continues its parent's program.
    fn take_worker(&mut self, pid: u32, parent: u32, tell: &mut dyn Tell) {
        self.select_bit(pid);
        self.serving.forked(pid, parent);
        tell.tell(Input::Event(Event::Fork(forked(pid, parent))));
    }

    /// Whether a process continues its parent's program.
    fn is_worker(&self, pid: u32, parent: u32) -> bool {
        continues(&self.proc, pid, parent)
    }

    /// Records of processes were lost: whoever carries a bit and is not known is looked at.
    pub fn recover(&mut self, tell: &mut dyn Tell) {
        // First those whose end went by unseen: their pids may be others' by now.
        let (proc, selection) = (&self.proc, &self.selection);
        self.alive.retain(|pid, since| {
            let lives = !proc.is_gone(*pid, |start| start > *since);
            if !lives {
                tell.tell(Input::Event(Event::Exit(ended(*pid))));
            }
            lives && selection.contains(*pid)
        });
        let alive = &self.alive;
        self.serving.retain(|pid| alive.contains_key(&pid));
        for pid in self.proc.pids().unwrap_or_default() {
            if pid != self.own_pid && self.selection.contains(pid) && !self.alive.contains_key(&pid) {
                let parent = self.proc.parent(pid).filter(|parent| self.is_still_alive(*parent));
                if let Some(parent) = parent.filter(|parent| self.is_worker(pid, *parent)) {
                    self.take_child(pid, parent, tell);
                    continue;
                }
                let rule = match self.selectors.decide(&Looked::new(&self.proc, pid), true) {
                    Decision::Included(rule) => Some(rule),
                    Decision::Excluded => {
                        self.drop_excluded(pid, tell);
                        continue;
                    }
                    Decision::No => None,
                };
                if let Ok(facts) = self.proc.facts(pid) {
                    self.take(facts, rule, tell);
                }
            }
        }
    }

    /// What came out of the ring: the pipeline gets it, and what `/proc` adds.
    pub fn record(&mut self, decoded: Result<Event<'_>, Malformed>, tell: &mut dyn Tell) {
        match decoded {
            Ok(Event::Exec(exec)) => return self.executed(&exec, tell),
            Ok(Event::Listen(process)) => return self.listens(&process, tell),
            Ok(Event::Fork(process)) => return self.forks(&process, tell),
            Ok(Event::Exit(process)) => {
                self.forget(process.pid);
            }
            Ok(
                Event::Data(_)
                | Event::Open(_)
                | Event::Close(_)
                | Event::Injection(_)
                | Event::Task(_)
                | Event::Unconnected(_)
                | Event::Unread(_)
                | Event::Run(_),
            )
            | Err(_) => {}
        }
        tell.tell(decoded.into());
    }

    /// A traced process has made another, which the kernel has selected.
    fn forks(&mut self, process: &ProcessRecord, tell: &mut dyn Tell) {
        let ProcessRecord { pid, parent, .. } = *process;
        if self.serving.was_let_go(parent) {
            return self.let_go(pid, tell);
        }
        self.end_predecessor(pid, tell);
        self.alive.insert(pid, clock::boot_ticks());
        self.serving.forked(pid, parent);
        tell.tell(Input::Event(Event::Fork(*process)));
    }

    /// If a process has the pid of one that is known, that one has ended, though nothing told it.
    fn end_predecessor(&mut self, pid: u32, tell: &mut dyn Tell) {
        if let Some(since) = self.alive.get(&pid).copied()
            && self.proc.stat(pid).is_ok_and(|stat| stat.start_ticks > since)
        {
            self.forget(pid);
            tell.tell(Input::Event(Event::Exit(ended(pid))));
        }
    }

    /// Whether a process is known to be selected, and not one before it that had its pid.
    fn is_alive(&self, pid: u32, start_ticks: u64) -> bool {
        self.alive.get(&pid).is_some_and(|since| start_ticks <= *since)
    }

    /// As [`Self::is_alive`], of the process that has the pid now. One that is gone was selected if its pid was.
    fn is_still_alive(&self, pid: u32) -> bool {
        self.alive.contains_key(&pid)
            && self.proc.stat(pid).map_or(true, |stat| self.is_alive(pid, stat.start_ticks))
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
        let was_selected = self.is_still_alive(pid);
        let Ok(stat) = self.proc.stat(pid) else {
            // Gone already: its exit is reported too.
            self.alive.insert(pid, clock::boot_ticks());
            tell.tell(event);
            return;
        };
        // A child whose fork record was lost, as the ring was full, is its parent's.
        let inherits = was_selected || self.is_still_alive(stat.parent);
        let decision = self.selectors.decide(&Looked::listening(&self.proc, pid, process.port), inherits);
        match decision {
            Decision::Excluded => return self.drop_excluded(pid, tell),
            Decision::No if !inherits => return self.drop_excluded(pid, tell),
            Decision::No | Decision::Included(_) if was_selected => {}
            Decision::No => self.take_child(pid, stat.parent, tell),
            Decision::Included(rule) => {
                if self.selectors.is_by_port_alone(rule) {
                    if self.proc.exe(pid).is_ok_and(|(exe, _)| is_init(pid, &exe)) {
                        self.serving.holds(pid, stat.start_ticks);
                        return self.drop_excluded(pid, tell);
                    }
                    self.serving.add(pid);
                }
                self.take_if_there(pid, Some(rule), tell);
                self.take_descendants(tell);
            }
        }
        tell.tell(event);
    }

    /// Tells how tasks are read, where that took a search, and what the files of processes say, where they answered late.
    pub fn tell_plans(&mut self, tell: &mut dyn Tell) {
        while let Some((facts, rule)) = self.describer.late() {
            if self.alive.contains_key(&facts.pid) {
                tracing::info!(pid = facts.pid, exe = facts.exe, "the file system has answered");
                self.tell_described(&facts, rule, tell);
            }
        }
        while let Some((pid, tasks)) = self.tasks.found() {
            tell.tell(Input::Tasks { pid, tasks: &tasks });
        }
    }

    fn forget(&mut self, pid: u32) {
        self.tasks.forget(pid);
        self.describer.forget(pid);
        self.alive.remove(&pid);
        self.serving.remove(pid);
    }

    fn executed(&mut self, exec: &Exec<'_>, tell: &mut dyn Tell) {
        let event = Input::Event(Event::Exec(*exec));
        let process = &exec.process;
        let pid = process.pid;
        self.tasks.forget(pid);
        self.describer.forget(pid);
        if pid == self.own_pid {
            return;
        }
        // The kernel has cleared the bit already of a process that executes an excluded file.
        let was_selected = process.selected != 0 || self.is_still_alive(pid);
        let looked = Looked::new(&self.proc, pid);
        let mut decision = self.selectors.decide(&looked, was_selected);
        if decision == Decision::No && !was_selected {
            return;
        }
        let found = self.proc.facts(pid);
        // A name or a file selected it in the kernel; the rule as a whole may not.
        let mistaken = process.selected == 2 && found.is_ok();
        let facts = found.unwrap_or_else(|_| {
            // Gone already: the kernel's name is what is left.
            let name = exec.file_name();
            decision = self.selectors.decide(&Looked::gone(&self.proc, pid, &name), was_selected);
            ProcessFacts { pid, exe: name.clone(), command_line: vec![name], ..ProcessFacts::default() }
        });
        match decision {
            Decision::No if mistaken => self.drop_excluded(pid, tell),
            Decision::Excluded if was_selected => self.drop_excluded(pid, tell),
            Decision::Excluded | Decision::No if !was_selected => {}
            Decision::Excluded => {}
            Decision::No | Decision::Included(_) if was_selected && self.is_spawned(&facts) => {
                tell.tell(event);
                self.take_worker(pid, facts.parent, tell);
            }
            Decision::No if !self.still_serves(pid) => self.let_go(pid, tell),
            Decision::No => {
                tell.tell(event);
                self.take(facts, None, tell);
            }
            Decision::Included(rule) => {
                self.included(pid, rule);
                tell.tell(event);
                self.take(facts, Some(rule), tell);
                if !was_selected {
                    // What it did between its exec and now went by.
                    tell.tell(Input::SelectedLate { pid });
                    self.take_descendants(tell);
                }
            }
        }
    }

    /// Whether a process is one of Python's `multiprocessing`, and its parent is traced.
    fn is_spawned(&self, facts: &ProcessFacts) -> bool {
        let ProcessFacts { pid, parent, command_line, .. } = facts;
        is_of_multiprocessing(command_line) && self.is_still_alive(*parent) && self.is_worker(*pid, *parent)
    }

    fn take_if_there(&mut self, pid: u32, rule: Option<usize>, tell: &mut dyn Tell) {
        if let Ok(facts) = self.proc.facts(pid) {
            self.take(facts, rule, tell);
        }
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
        self.select_bit(pid);
        self.tell_facts(facts, rule, tell);
    }

    fn select_bit(&mut self, pid: u32) {
        self.selection.set(pid, true);
        self.selection.look_for_rings(pid);
        self.alive.insert(pid, clock::boot_ticks());
    }

    fn tell_facts(&mut self, mut facts: ProcessFacts, rule: Option<usize>, tell: &mut dyn Tell) {
        self.describer.describe(&mut facts, rule);
        self.tell_described(&facts, rule, tell);
    }

    fn tell_described(&mut self, facts: &ProcessFacts, rule: Option<usize>, tell: &mut dyn Tell) {
        let pid = facts.pid;
        let tasks = facts.tasks.as_ref().map(TaskProgram::explain).unwrap_or_default();
        tracing::debug!(pid, exe = facts.exe, tasks, "traced");
        let rule = rule.and_then(|rule| self.selectors.service_name(rule));
        tell.tell(Input::Facts { facts, rule });
        self.tasks.forget(pid);
        // Of the others it is known by now.
        let unread = facts.tasks.as_ref().filter(|tasks| !tasks.is_read);
        match unread.map(|tasks| (tasks.runtime, tasks.is_awaited)) {
            Some((TaskRuntime::Node, _)) => self.tasks.ask(pid, Search::Node),
            Some((TaskRuntime::Java, _)) => self.tasks.ask(pid, Search::Java),
            Some((TaskRuntime::Python, true)) => self.tasks.ask(pid, Search::StartingPython),
            _ => {}
        }
        let ports = self.proc.listening_ports(pid).unwrap_or_default();
        if !ports.is_empty() {
            tell.tell(Input::Listening { pid, ports: &ports });
        }
    }

    fn drop_excluded(&mut self, pid: u32, tell: &mut dyn Tell) {
        self.selection.set(pid, false);
        self.forget(pid);
        tell.tell(Input::Excluded { pid });
    }
}

/// A fork of which there is no record.
fn forked(pid: u32, parent: u32) -> ProcessRecord {
    ProcessRecord { kind: Kind::Fork as u8, pid, parent, ..ProcessRecord::default() }
}

/// The exit of a process whose record was lost.
fn ended(pid: u32) -> ProcessRecord {
    ProcessRecord { kind: Kind::Exit as u8, pid, time_ns: clock::monotonic_ns(), ..ProcessRecord::default() }
}

#[cfg(test)]
mod tests;
