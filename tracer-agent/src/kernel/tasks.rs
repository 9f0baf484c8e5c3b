//! Which processes' tasks the kernel programs read, and how.

#![forbid(unsafe_code)]

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rustc_hash::FxHashMap;
use tracer_common::{
    PLAN_WORDS, RUNTIME_GO, RUNTIME_GREENLETS, RUNTIME_JAVA, RUNTIME_NGINX, RUNTIME_NODE, RUNTIME_PYTHON,
    SELECTION_WORDS, TaskPlan,
};
use zerocopy::IntoBytes;

use super::{
    error::{KernelError, load_error},
    maps::{map, take},
    mmap::Words,
};

/// The plans of the kernel programs.
pub struct TaskPlans {
    planned: Words,
    followed: Words,
    plans: HashMap<MapData, u32, [u64; PLAN_WORDS + 1]>,
    /// The plans that are in the map.
    known: FxHashMap<u32, TaskPlan>,
    /// The map was full, and that was said.
    was_full: bool,
}

impl TaskPlans {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let planned = Words::map(map(ebpf, "PLANNED")?, SELECTION_WORDS)?;
        let followed = Words::map(map(ebpf, "FOLLOWED")?, SELECTION_WORDS)?;
        let plans = take(ebpf, "PLANS").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
        Ok(Self { planned, followed, plans, known: FxHashMap::default(), was_full: false })
    }

    /// The tasks of a process are read so, or no longer.
    pub fn set(&mut self, pid: u32, plan: Option<&TaskPlan>) {
        let (word, bit) = (pid / 64, 1 << (pid % 64));
        let Some(plan) = plan else {
            if self.known.remove(&pid).is_some() {
                self.planned.clear_bits(word, bit);
                self.followed.clear_bits(word, bit);
                let _ = self.plans.remove(&pid);
            }
            return;
        };
        let inserted = self.plans.insert(pid, words(plan), 0);
        if let Err(error) = &inserted
            && !std::mem::replace(&mut self.was_full, true)
        {
            let processes = self.known.len();
            tracing::warn!(pid, %error, processes, "no more processes can have their tasks read");
        }
        if inserted.is_ok() {
            self.known.insert(pid, *plan);
            self.planned.set_bits(word, bit);
            match plan {
                TaskPlan::Node(_) => self.followed.set_bits(word, bit),
                TaskPlan::Go(_)
                | TaskPlan::Nginx
                | TaskPlan::Python(_)
                | TaskPlan::Greenlets(_)
                | TaskPlan::Java(_) => self.followed.clear_bits(word, bit),
            }
        }
    }

    /// A process made another, whose tasks are read in the same way.
    pub fn fork(&mut self, parent: u32, pid: u32) {
        let plan = self.known.get(&parent).copied();
        self.set(pid, plan.as_ref());
    }
}

/// A plan as the kernel programs read it: the runtime, and what it takes to read its tasks.
fn words(plan: &TaskPlan) -> [u64; PLAN_WORDS + 1] {
    let (runtime, bytes): (u64, &[u8]) = match plan {
        TaskPlan::Go(plan) => (RUNTIME_GO, plan.as_bytes()),
        TaskPlan::Nginx => (RUNTIME_NGINX, &[]),
        TaskPlan::Python(plan) => (RUNTIME_PYTHON, plan.as_bytes()),
        TaskPlan::Greenlets(plan) => (RUNTIME_GREENLETS, plan.as_bytes()),
        TaskPlan::Node(plan) => (RUNTIME_NODE, plan.as_bytes()),
        TaskPlan::Java(plan) => (RUNTIME_JAVA, plan.as_bytes()),
    };
    let mut words = [0; PLAN_WORDS + 1];
    let [first, rest @ ..] = &mut words;
    *first = runtime;
    for (to, from) in rest.iter_mut().zip(bytes.chunks_exact(8)) {
        *to = from.first_chunk().copied().map_or(0, u64::from_ne_bytes);
    }
    words
}
