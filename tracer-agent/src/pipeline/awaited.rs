//! Processes whose tasks may become readable: what runs the tasks may be loaded after the process was selected, or on a
//! thread that is known only when it serves.

use rustc_hash::FxHashMap;
use tracer_common::{PythonTask, RUNTIME_PYTHON, TaskRecord, UNNUMBERED};

use crate::{process::tasks::TaskProgram, task_runtime::TaskRuntime};

/// Which processes to look at again, and when.
#[derive(Debug, Default)]
pub(super) struct AwaitedTasks {
    /// Server requests that each of these processes has read, since none of its tasks was read.
    served: FxHashMap<u32, u32>,
    /// Client requests of processes that run Python, of which no task was read, or one without a number: threads of a pool,
    /// members of a group or tasks that send for others may make them, and what makes these may be loaded only now.
    called: FxHashMap<u32, u32>,
}

impl AwaitedTasks {
    /// The last request at which the agent looks again: it does at the first, the second, the fourth and so on.
    const LAST: u32 = 256;
    const LAST_CALL: u32 = 65_536;
    /// Processes that are remembered.
    const MOST: usize = 65_536;

    /// A process runs this program.
    pub(super) fn set(&mut self, pid: u32, program: Option<&TaskProgram>) {
        let is_python = program.is_some_and(|program| program.runtime == TaskRuntime::Python);
        let has_tasks = program.is_some_and(|program| program.is_read || program.is_awaited);
        let is_awaited = program.is_some_and(|program| program.is_awaited);
        let set = |requests: &mut FxHashMap<u32, u32>, may_be_read: bool| match may_be_read
            && requests.len() < Self::MOST
        {
            true => drop(requests.insert(pid, 0)),
            false => drop(requests.remove(&pid)),
        };
        set(&mut self.served, is_awaited || is_python && has_tasks);
        set(&mut self.called, is_python && has_tasks);
    }

    /// A process made another.
    pub(super) fn fork(&mut self, parent: u32, pid: u32) {
        for requests in [&mut self.served, &mut self.called] {
            if requests.contains_key(&parent) && requests.len() < Self::MOST {
                requests.insert(pid, 0);
            }
        }
    }

    /// A process begins to listen. Returns whether to look again.
    pub(super) fn listens(&self, pid: u32) -> bool {
        self.served.contains_key(&pid)
    }

    /// A process has read a server request. Returns whether to look again.
    #[inline]
    pub(super) fn serves(&mut self, pid: u32) -> bool {
        Self::counts(&mut self.served, pid, Self::LAST)
    }

    /// A process has sent a client request of which no task was read. Returns whether to look again.
    #[inline]
    pub(super) fn calls(&mut self, pid: u32) -> bool {
        Self::counts(&mut self.called, pid, Self::LAST_CALL)
    }

    fn counts(requests: &mut FxHashMap<u32, u32>, pid: u32, last: u32) -> bool {
        if requests.is_empty() {
            return false;
        }
        let Some(count) = requests.get_mut(&pid) else { return false };
        *count += 1;
        let looks = count.is_power_of_two();
        if *count >= last {
            requests.remove(&pid);
        }
        looks
    }

    /// A task was read. Returns whether to look again: if the program has named it, or one that awaits it, that may be a member
    /// of a group whose class was not there before.
    #[inline]
    pub(super) fn read(&mut self, task: &TaskRecord) -> bool {
        if !self.served.is_empty() {
            self.served.remove(&task.pid);
        }
        let is_named = |task: u64| task & UNNUMBERED != 0;
        u64::from(task.runtime) == RUNTIME_PYTHON
            && (is_named(task.task) || PythonTask::from_facts(task.facts).awaiters.into_iter().any(is_named))
            && self.calls(task.pid)
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
        let looks: Vec<u32> = (1..100_000).filter(|_| awaited.calls(7)).collect();
        assert_eq!(looks, (0..=16).map(|power| 1 << power).collect::<Vec<u32>>());
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
        let read = |awaited: &mut AwaitedTasks, task, awaiters| {
            let facts = PythonTask { awaiters, function: 1 }.facts();
            awaited.read(&TaskRecord {
                runtime: RUNTIME_PYTHON as u8,
                pid: 7,
                task,
                facts,
                ..TaskRecord::default()
            })
        };
        assert!(!read(&mut awaited, 20, [19, 18, 0, 0]), "all of them have numbers");
        assert!(!awaited.serves(7) && awaited.serves(8));
        let named = UNNUMBERED | 0x7000;
        assert!(read(&mut awaited, named, [0; 4]) && read(&mut awaited, 20, [named, 0, 0, 0]));
        awaited.set(7, Some(&program));
        assert!(awaited.calls(7), "a thread of its own may work for a task");
        awaited.set(7, None);
        assert!(!awaited.calls(7));
    }
}
