//! Which processes' tasks the kernel programs read, and how.

#![forbid(unsafe_code)]

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rustc_hash::FxHashSet;
use tracer_common::{GoPlan, SELECTION_WORDS};
use zerocopy::IntoBytes;

use super::{
    error::{KernelError, load_error},
    maps::{map, take},
    mmap::Words,
};

/// Words of a plan.
const WORDS: usize = size_of::<GoPlan>() / 8;

/// The plans of the kernel programs.
pub struct TaskPlans {
    planned: Words,
    plans: HashMap<MapData, u32, [u64; WORDS]>,
    /// Processes that have one.
    pids: FxHashSet<u32>,
}

impl TaskPlans {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let planned = Words::map(map(ebpf, "PLANNED")?, SELECTION_WORDS)?;
        let plans = take(ebpf, "GO_PLANS").and_then(|map| HashMap::try_from(map).map_err(load_error))?;
        Ok(Self { planned, plans, pids: FxHashSet::default() })
    }

    /// The tasks of a process are read so, or no longer.
    pub fn set(&mut self, pid: u32, plan: Option<&GoPlan>) {
        let (word, bit) = (pid / 64, 1 << (pid % 64));
        let Some(plan) = plan else {
            if self.pids.remove(&pid) {
                self.planned.clear_bits(word, bit);
                let _ = self.plans.remove(&pid);
            }
            return;
        };
        let mut words = [0; WORDS];
        for (to, from) in words.iter_mut().zip(plan.as_bytes().chunks_exact(8)) {
            *to = from.first_chunk().copied().map_or(0, u64::from_ne_bytes);
        }
        // A full map leaves the process without a plan.
        if self.plans.insert(pid, words, 0).is_ok() {
            self.pids.insert(pid);
            self.planned.set_bits(word, bit);
        }
    }
}
