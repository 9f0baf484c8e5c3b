//! All processes that serve or send requests.

use rustc_hash::FxHashMap;

use super::{
    process::Process,
    programs::{Program, Programs, Shown},
    rules::Rules,
    strategy::Attribution,
};
use crate::task_runtime::TaskRuntime;

/// Processes by their number.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: FxHashMap<u32, Process>,
    /// How many of them need to know who reads responses.
    need_reads: usize,
    proxies: usize,
    /// Processes whose kernel rule has changed (`PROFILE_*`), or that are gone.
    changed: Vec<(u32, Option<u8>)>,
    programs: Programs,
    /// Processes that have shown something of their programs.
    shown: Vec<(u32, Shown)>,
    /// See [`super::Correlator::decisions`].
    decisions: u64,
}

impl Processes {
    /// Processes that are remembered; idle ones are forgotten when there are more.
    const MOST: usize = 65_536;

    pub(super) fn insert(&mut self, pid: u32, mut process: Process, rules: &Rules, now_ns: u64) {
        self.forget(pid, rules);
        // It has nothing that waits.
        let _ = process.inherit(&mut self.programs);
        self.decisions += 1;
        self.need_reads += usize::from(process.needs_reads());
        self.proxies += usize::from(process.is_proxy());
        self.by_pid.insert(pid, process);
        self.tell(pid, rules, now_ns);
    }

    /// See [`super::Correlator::tasks_found`].
    pub(super) fn tasks_found(
        &mut self,
        pid: u32,
        runtime: TaskRuntime,
        program: Option<Program>,
        rules: &Rules,
        now_ns: u64,
    ) {
        let process = self.of(pid, rules);
        if process.is_proxy() || process.needs_reads() {
            return;
        }
        process.set_runtime(runtime);
        if let Some(program) = program {
            process.set_program(program);
        }
        let Self { by_pid, programs, .. } = self;
        if let Some(process) = by_pid.get_mut(&pid) {
            // It has nothing that waits.
            let _ = process.inherit(programs);
        }
        self.decisions += 1;
        self.tell(pid, rules, now_ns);
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, pid: u32, rules: &Rules) {
        if let Some(process) = self.by_pid.remove(&pid) {
            self.decisions += 1;
            self.need_reads -= usize::from(process.needs_reads());
            self.proxies -= usize::from(process.is_proxy());
            if rules.propagates {
                self.changed.push((pid, None));
            }
        }
    }

    pub(super) fn decisions(&self) -> u64 {
        self.decisions
    }

    /// What waits for a process need not wait any more.
    pub(super) fn decided(&mut self) {
        self.decisions += 1;
    }

    #[inline]
    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.by_pid.get_mut(&pid)
    }

    /// A process that may be new.
    #[inline]
    pub(super) fn of(&mut self, pid: u32, rules: &Rules) -> &mut Process {
        if self.by_pid.len() >= Self::MOST && !self.by_pid.contains_key(&pid) {
            self.decisions += 1;
            self.by_pid.retain(|pid, process| {
                let is_kept = process.is_proxy() || process.in_flight().next().is_some();
                if !is_kept && rules.propagates {
                    self.changed.push((*pid, None));
                }
                is_kept
            });
        }
        self.by_pid.entry(pid).or_insert_with(|| Process::new(""))
    }

    /// Whether a process needs to know who reads responses.
    #[inline]
    pub(super) fn need_reads(&self) -> bool {
        self.need_reads > 0
    }

    #[inline]
    pub(super) fn has_proxies(&self) -> bool {
        self.proxies > 0
    }

    /// A process has shown this of its program: the program's other processes need to know, present and later ones. A
    /// contradiction ends what they have inherited and learned. Returns what becomes known by a proof.
    pub(super) fn shown(&mut self, pid: u32, shown: Shown, rules: &Rules, now_ns: u64) -> Vec<Attribution> {
        self.decisions += 1;
        let Some(program) = self.get(pid).and_then(Process::program) else { return Vec::new() };
        self.programs.shown(program, shown);
        self.shown.push((pid, shown));
        let Self { by_pid, programs, .. } = self;
        let mut known = Vec::new();
        let its = by_pid.iter_mut().filter(|(_, process)| process.program() == Some(program));
        let its = its.map(|(pid, process)| {
            match shown {
                Shown::Proven => known.extend(process.inherit(programs)),
                Shown::Doubted => process.withdraw(),
            }
            *pid
        });
        let pids: Vec<u32> = its.collect();
        pids.into_iter().for_each(|pid| self.tell(pid, rules, now_ns));
        known
    }

    /// See [`super::Correlator::remember`].
    pub(super) fn remember(&mut self, program: Program) {
        self.programs.remember(program);
    }

    /// What was shown since the last call.
    pub(super) fn take_shown(&mut self) -> impl Iterator<Item = (u32, Shown)> + '_ {
        self.shown.drain(..)
    }

    /// The way in which a process works may have changed: the kernel programs need to know.
    #[inline]
    pub(super) fn tell(&mut self, pid: u32, rules: &Rules, now_ns: u64) {
        if rules.propagates
            && let Some(process) = self.by_pid.get_mut(&pid)
            && let Some(rule) = process.new_kernel_rule(rules.sole_request, now_ns)
        {
            self.changed.push((pid, Some(rule)));
        }
    }

    /// The changes since the last call.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = (u32, Option<u8>)> + '_ {
        self.changed.drain(..)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }
}
