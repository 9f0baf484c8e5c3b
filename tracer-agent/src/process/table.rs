//! The processes that are traced, and the service instance that each belongs to. Driven by events
//! only, so that a recording gives the same table.

#![forbid(unsafe_code)]

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;

use super::{
    facts::ProcessFacts,
    identity::{Host, renamed, resource},
};
use crate::span::Resource;

/// A service instance: a process, and the workers that it forked.
#[derive(Debug)]
pub struct Instance {
    /// The topmost selected process of it.
    pub pid: u32,
    /// What its spans share.
    pub resource: Arc<Resource>,
    /// The same before the spans that it exports itself told its name.
    pub given: Arc<Resource>,
    /// See [`ProcessFacts::program`].
    pub program: Option<u64>,
}

/// Processes by pid.
pub struct ProcessTable {
    host: Host,
    processes: FxHashMap<u32, TableEntry>,
    /// Processes that have ended, oldest first; their connections may still close.
    ended: VecDeque<(u64, u32)>,
    /// Instances that were forgotten since [`Self::expire`] was last asked.
    gone: Vec<Arc<Instance>>,
}

struct TableEntry {
    instance: Option<Arc<Instance>>,
    /// When it ended.
    ended_ns: Option<u64>,
}

impl ProcessTable {
    /// Most processes that are remembered.
    pub const MAX: usize = 65536;
    /// Most ended ones of them: each holds some kilobytes.
    const MAX_ENDED: usize = 4096;
    /// How long an ended process is remembered.
    const GRACE_NS: u64 = 10_000_000_000;

    /// An empty table.
    pub fn new(host: Host) -> Self {
        Self { host, processes: FxHashMap::default(), ended: VecDeque::new(), gone: Vec::new() }
    }

    /// A process was selected, or executes another program; `rule` is the operator's name for it.
    pub fn facts(&mut self, facts: ProcessFacts, rule: Option<String>) {
        let resource = Arc::new(resource(&facts, rule.as_deref(), &self.host));
        let ProcessFacts { pid, program, .. } = facts;
        let instance = Arc::new(Instance { pid, given: Arc::clone(&resource), resource, program });
        self.insert(pid, TableEntry { instance: Some(instance), ended_ns: None });
    }

    /// A process exports spans of its own under this name of its service, or under several: its instance has that name
    /// from here on, unless the operator gave one, or the name that it had before.
    pub fn named_by_sdk(&mut self, pid: u32, name: Option<&str>) {
        let Some(instance) = self.instance(pid).cloned() else { return };
        let resource = match name {
            Some(name) => renamed(&instance.given, name).map(Arc::new),
            None => Some(Arc::clone(&instance.given)),
        };
        let Some(resource) = resource else { return };
        let Instance { pid, ref given, program, .. } = *instance;
        let renamed = Arc::new(Instance { pid, resource, given: Arc::clone(given), program });
        for process in self.processes.values_mut() {
            if process.instance.as_ref().is_some_and(|known| Arc::ptr_eq(known, &instance)) {
                process.instance = Some(Arc::clone(&renamed));
            }
        }
    }

    /// A traced process made another: it belongs to the same instance until it executes a program.
    pub fn fork(&mut self, parent: u32, child: u32) {
        let instance = self.processes.get(&parent).and_then(|process| process.instance.clone());
        self.insert(child, TableEntry { instance, ended_ns: None });
    }

    /// Remembers a process. When the table is full, the one that ended first makes room; if all of them
    /// live, the new one stays unknown, and so do what it says and, with the same pid, its predecessor.
    fn insert(&mut self, pid: u32, process: TableEntry) {
        self.processes.remove(&pid);
        while self.processes.len() >= Self::MAX {
            let Some((at, pid)) = self.ended.pop_front() else { return };
            self.forget(at, pid);
        }
        self.processes.insert(pid, process);
    }

    /// A traced process executes another program; its facts follow, if it lives long enough.
    pub fn exec(&mut self, pid: u32) {
        if !self.processes.contains_key(&pid) {
            self.insert(pid, TableEntry { instance: None, ended_ns: None });
        }
    }

    /// A traced process has ended.
    pub fn exit(&mut self, pid: u32, now_ns: u64) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ended_ns = Some(now_ns);
            self.ended.push_back((now_ns, pid));
        }
        // A storm of short-lived processes: the first of them go early.
        while self.ended.len() > Self::MAX_ENDED
            && let Some((at, pid)) = self.ended.pop_front()
        {
            self.forget(at, pid);
        }
    }

    /// A process is no longer traced. Returns the instance that is gone with it.
    pub fn remove(&mut self, pid: u32) -> Option<Arc<Instance>> {
        let removed = self.processes.remove(&pid);
        removed.and_then(|process| process.instance).filter(|instance| instance.pid == pid)
    }

    /// Forgets a process that ended then, unless its pid is another's by now.
    fn forget(&mut self, ended_ns: u64, pid: u32) {
        if self.processes.get(&pid).is_some_and(|process| process.ended_ns == Some(ended_ns))
            && let Some(instance) = self.remove(pid)
        {
            self.gone.push(instance);
        }
    }

    /// Forgets processes that ended a while ago. Returns the instances among them.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Arc<Instance>> {
        while let Some((at, pid)) = self.ended.front().copied() {
            if now_ns.saturating_sub(at) < Self::GRACE_NS {
                break;
            }
            self.ended.pop_front();
            self.forget(at, pid);
        }
        std::mem::take(&mut self.gone)
    }

    /// The instance that a process belongs to.
    pub fn instance(&self, pid: u32) -> Option<&Arc<Instance>> {
        self.processes.get(&pid)?.instance.as_ref()
    }

    /// All instances, by pid, with the pids of their processes that live.
    pub fn instances(&self) -> Vec<(Arc<Instance>, Vec<u32>)> {
        let mut instances: FxHashMap<u32, (Arc<Instance>, Vec<u32>)> = FxHashMap::default();
        for (pid, process) in &self.processes {
            let Some(instance) = &process.instance else { continue };
            let entry = instances.entry(instance.pid).or_insert_with(|| (Arc::clone(instance), Vec::new()));
            // Workers that were made before their parent executed another program still belong to the first.
            if *pid == instance.pid {
                entry.0 = Arc::clone(instance);
            }
            entry.1.extend(process.ended_ns.is_none().then_some(pid));
        }
        let mut instances: Vec<_> = instances.into_values().collect();
        instances.sort_unstable_by_key(|(instance, _)| instance.pid);
        instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pid: u32, exe: &str) -> ProcessFacts {
        ProcessFacts {
            pid,
            exe: exe.to_owned(),
            command_line: vec![exe.to_owned()],
            ..ProcessFacts::default()
        }
    }

    fn name(table: &ProcessTable, pid: u32) -> Option<(u32, &str)> {
        table.instance(pid).map(|instance| (instance.pid, instance.resource.service_name.as_str()))
    }

    #[test]
    fn workers_belong_to_the_process_that_forked_them_until_they_exec() {
        let mut table = ProcessTable::new(Host::default());
        table.facts(facts(10, "/bin/master"), None);
        table.fork(10, 11);
        table.fork(11, 12);
        assert_eq!(name(&table, 12), Some((10, "master")));
        table.exec(12);
        assert_eq!(name(&table, 12), Some((10, "master")));
        table.facts(facts(12, "/bin/other"), None);
        assert_eq!(name(&table, 12), Some((12, "other")));
        table.exit(10, 0);
        let gone = table.expire(ProcessTable::GRACE_NS);
        assert_eq!(gone.iter().map(|instance| instance.pid).collect::<Vec<_>>(), [10]);
        assert_eq!(name(&table, 11), Some((10, "master")));
    }

    #[test]
    fn the_name_of_exported_spans_is_that_of_the_whole_instance_until_it_executes_another_program() {
        let mut table = ProcessTable::new(Host::default());
        table.facts(facts(10, "/bin/all"), None);
        table.facts(facts(20, "/bin/other"), Some("rule".to_owned()));
        table.fork(10, 11);
        table.named_by_sdk(11, Some("frontend"));
        table.named_by_sdk(20, Some("own"));
        assert_eq!(name(&table, 10), Some((10, "frontend")));
        assert_eq!(name(&table, 11), Some((10, "frontend")));
        assert_eq!(name(&table, 20), Some((20, "rule")), "the operator's word");
        let source = |table: &ProcessTable, pid| {
            let attributes = table.instance(pid).map(|it| it.resource.attributes.clone()).unwrap_or_default();
            attributes
                .into_iter()
                .find(|(key, _)| key == "tracer.service.name_source")
                .map(|(_, value)| value)
        };
        let text = |text: &'static str| Some(crate::span::Value::Str(text.into()));
        assert_eq!([10, 20].map(|pid| source(&table, pid)), [text("sdk"), text("rule")]);
        table.named_by_sdk(11, None);
        assert_eq!((name(&table, 11), source(&table, 10)), (Some((10, "all")), text("derived")));
        table.named_by_sdk(11, Some("frontend"));
        table.facts(facts(10, "/bin/next"), None);
        assert_eq!((name(&table, 10), source(&table, 10)), (Some((10, "next")), text("derived")));
    }

    #[test]
    fn an_instance_is_what_its_first_process_executed_last() {
        for workers in 1..20 {
            let mut table = ProcessTable::new(Host::default());
            table.facts(facts(10, "/bin/first"), None);
            for worker in 0..workers {
                table.fork(10, 11 + worker);
            }
            table.facts(facts(10, "/bin/second"), None);
            table.exit(10, 0);
            let instances = table.instances();
            assert_eq!(instances.len(), 1);
            assert_eq!(instances[0].0.resource.service_name, "second");
        }
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let mut table = ProcessTable::new(Host::default());
        table.facts(facts(10, "/bin/old"), None);
        table.exit(10, 5);
        assert_eq!(name(&table, 10), Some((10, "old")));
        table.facts(facts(10, "/bin/new"), None);
        table.expire(ProcessTable::GRACE_NS * 2);
        assert_eq!(name(&table, 10), Some((10, "new")));
    }

    #[test]
    fn a_full_table_forgets_who_ended_first_and_never_who_lives() {
        let mut table = ProcessTable::new(Host::default());
        table.facts(facts(1, "/bin/master"), None);
        for pid in 2..=ProcessTable::MAX as u32 {
            table.fork(1, pid);
        }
        let next = ProcessTable::MAX as u32 + 1;
        table.facts(facts(next, "/bin/late"), None);
        assert_eq!(name(&table, next), None, "all live: there is no room");
        table.exit(3, 10);
        table.exit(2, 20);
        table.facts(facts(next, "/bin/late"), None);
        assert_eq!(name(&table, next), Some((next, "late")));
        assert_eq!((name(&table, 3), name(&table, 2)), (None, Some((1, "master"))));
        // Pid 2 is used again while the table is full.
        table.fork(next, 2);
        assert_eq!(name(&table, 2), Some((next, "late")));
        table.expire(ProcessTable::GRACE_NS * 2);
        assert_eq!(name(&table, 2), Some((next, "late")));
    }
}
