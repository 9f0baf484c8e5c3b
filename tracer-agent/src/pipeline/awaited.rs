//! Processes whose tasks may become readable: what runs the tasks may be loaded after the process was selected, or on a
//! thread that is known only when it serves.

use rustc_hash::FxHashMap;

use crate::{process::tasks::TaskProgram, task_runtime::TaskRuntime};

/// Server requests that each of these processes has read.
#[derive(Debug, Default)]
pub(super) struct AwaitedTasks(FxHashMap<u32, u32>);

impl AwaitedTasks {
    /// The last server request at which the agent looks again: it does at the first, the second, the fourth and so on.
    const LAST: u32 = 256;
    /// Processes that are remembered.
    const MOST: usize = 65_536;

    /// A process runs this program.
    pub(super) fn set(&mut self, pid: u32, program: Option<&TaskProgram>) {
        let may_be_read = |program: &TaskProgram| {
            program.is_awaited || program.is_read && program.runtime == TaskRuntime::Python
        };
        match program.is_some_and(may_be_read) && self.0.len() < Self::MOST {
            true => drop(self.0.insert(pid, 0)),
            false => drop(self.0.remove(&pid)),
        }
    }

    /// A process made another.
    pub(super) fn fork(&mut self, parent: u32, pid: u32) {
        if self.0.contains_key(&parent) && self.0.len() < Self::MOST {
            self.0.insert(pid, 0);
        }
    }

    /// A process begins to listen. Returns whether to look again.
    pub(super) fn listens(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// A process has read a server request. Returns whether to look again.
    #[inline]
    pub(super) fn serves(&mut self, pid: u32) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(served) = self.0.get_mut(&pid) else { return false };
        *served += 1;
        let looks = served.is_power_of_two();
        if *served >= Self::LAST {
            self.0.remove(&pid);
        }
        looks
    }

    /// A task of the process was read.
    #[inline]
    pub(super) fn read(&mut self, pid: u32) {
        if !self.0.is_empty() {
            self.0.remove(&pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_at_again_less_and_less_often() {
        let mut awaited = AwaitedTasks::default();
        let program = TaskProgram {
            runtime: TaskRuntime::Python,
            version: String::new(),
            is_read: false,
            is_awaited: true,
            plan: None,
            has_sdk: false,
        };
        awaited.set(7, Some(&program));
        assert!(awaited.listens(7));
        let looks: Vec<u32> = (1..1000).filter(|_| awaited.serves(7)).collect();
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        awaited.fork(7, 8);
        assert!(!awaited.listens(8), "its parent is not looked at any more");
    }

    #[test]
    fn a_process_whose_tasks_are_read_is_not_looked_at() {
        let mut awaited = AwaitedTasks::default();
        let program = TaskProgram {
            runtime: TaskRuntime::Python,
            version: String::new(),
            is_read: true,
            is_awaited: false,
            plan: None,
            has_sdk: false,
        };
        awaited.set(7, Some(&program));
        awaited.fork(7, 8);
        awaited.read(7);
        assert!(!awaited.serves(7) && awaited.serves(8));
    }
}
