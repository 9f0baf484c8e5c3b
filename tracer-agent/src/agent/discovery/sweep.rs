//! Exits that nothing told: the kernel programs may lose the record of one, and another process may get the pid.

use super::{Discovery, ended};
use crate::event::{Event, Input, Tell};

impl Discovery {
    /// Processes that are looked at in one call: 64 take about a millisecond.
    pub(super) const LOOKS: usize = 64;

    /// Looks whether some of the selected processes are still there; each one after the other. Called once a second.
    pub fn sweep(&mut self, tell: &mut dyn Tell) {
        for (pid, since) in std::mem::take(&mut self.doubtful) {
            if self.alive.get(&pid) == Some(&since) {
                self.forget(pid);
                tell.tell(Input::Event(Event::Exit(ended(pid))));
            }
        }
        if self.unswept.is_empty() {
            self.unswept.extend(self.alive.keys());
        }
        for _ in 0..Self::LOOKS {
            let Some(pid) = self.unswept.pop() else { break };
            let Some(since) = self.alive.get(&pid).copied() else { continue };
            if self.proc.is_gone(pid, |start| start > since) {
                self.doubtful.insert(pid, since);
            }
        }
    }
}
