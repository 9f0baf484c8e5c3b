//! Exits that nothing told: the kernel programs may lose the record of one, and another process may get the pid.

use rustc_hash::FxHashMap;

use super::{Discovery, ended};
use crate::event::{Event, Input, Tell};

/// Which processes were looked at.
#[derive(Default)]
pub(super) struct Sweep {
    /// Those that are not looked at yet in this round.
    left: Vec<u32>,
    /// Those that were not there, with the time since which they were known. The records of their last second may still
    /// come.
    doubtful: FxHashMap<u32, u64>,
}

impl Discovery {
    /// Processes that are looked at in one call: 64 take about a millisecond.
    pub(super) const LOOKS: usize = 64;

    /// Looks whether some of the selected processes are still there; each one after the other. Called once a second.
    pub fn sweep(&mut self, tell: &mut dyn Tell) {
        for (pid, since) in std::mem::take(&mut self.sweep.doubtful) {
            if self.alive.get(&pid) == Some(&since) {
                self.forget(pid);
                tell.tell(Input::Event(Event::Exit(ended(pid))));
            }
        }
        if self.sweep.left.is_empty() {
            self.sweep.left.extend(self.alive.keys());
        }
        for _ in 0..Self::LOOKS {
            let Some(pid) = self.sweep.left.pop() else { break };
            let Some(since) = self.alive.get(&pid).copied() else { continue };
            if !self.proc.stat(pid).is_ok_and(|stat| self.is_alive(pid, stat.start_ticks)) {
                self.sweep.doubtful.insert(pid, since);
            }
        }
    }
}
