//! Looks for how the tasks of processes are read, on a thread of its own: it takes a search of their memory, and memory
//! may be on a file system that does not answer, or be given page by page by another program (`userfaultfd`).

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tracer_common::TaskPlan;

use super::{facts::Proc, node, tasks::TaskProgram};
use crate::task_runtime::TaskRuntime;

/// What is looked for in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Where CPython keeps its tasks, now: this thread serves. 0 if none is known to.
    Python {
        /// Its number.
        thread: u32,
    },
    /// The same in a process that has not imported asyncio yet: now, and a few times later.
    StartingPython,
    /// Where Node keeps the ids of its callbacks: now, and a few times later, since a process that has just started has
    /// nothing to find.
    Node,
    /// Where Java keeps its virtual threads: now, and a few times later, likewise.
    Java,
}

impl Search {
    /// When a process is looked at, after it was asked for.
    fn looks_ms(self) -> &'static [u64] {
        match self {
            Self::Python { .. } => &[0],
            Self::StartingPython | Self::Node | Self::Java => {
                &[50, 200, 500, 1500, 4000, 10_000, 30_000, 120_000, 600_000]
            }
        }
    }

    fn look(self, proc: &Proc, pid: u32) -> Option<TaskProgram> {
        let found = match self {
            Self::Python { thread } => proc.python(pid, &proc.exe(pid).ok()?.0, thread)?,
            Self::StartingPython => proc.python(pid, &proc.exe(pid).ok()?.0, 0)?,
            Self::Node => {
                let plan = node::plan(proc, pid).map(TaskPlan::Node);
                let plan = plan.inspect_err(|why| tracing::debug!(pid, %why, "its event loop is not read"));
                TaskProgram::new(TaskRuntime::Node, String::new(), plan.ok())
            }
            Self::Java => {
                let plan = proc.java(pid, &proc.exe(pid).ok()?.0).map(TaskPlan::Java);
                let plan = plan.inspect_err(|why| tracing::debug!(pid, %why, "no virtual threads are read"));
                TaskProgram::new(TaskRuntime::Java, String::new(), plan.ok())
            }
        };
        found.is_read.then_some(found)
    }
}

/// What a process runs, if that has tasks of its own, with the plan also if it takes a search.
pub fn task_program(proc: &Proc, pid: u32, exe: &str) -> Option<TaskProgram> {
    let told = proc.task_program(pid, exe)?;
    match told.runtime {
        TaskRuntime::Node => Some(Search::Node.look(proc, pid).unwrap_or(told)),
        TaskRuntime::Java => Some(Search::Java.look(proc, pid).unwrap_or(told)),
        _ => Some(told),
    }
}

/// Finds how tasks are read, and gives it out when it is found.
#[derive(Debug)]
pub struct TaskFinder {
    proc: Proc,
    patience: Duration,
    shared: Arc<Shared>,
    /// By process, its last question: what earlier ones find is void.
    asked: FxHashMap<u32, u64>,
    questions: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Question>,
    found: Vec<(u64, u32, Option<TaskProgram>)>,
    /// The thread that looks; 0 if there is none. Threads that were left have lower numbers.
    looker: u64,
    /// Whom it looks at, and since when.
    looks_at: Option<(u32, Instant)>,
    /// Threads that were left and have not ended.
    left: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Question {
    number: u64,
    pid: u32,
    start_ticks: u64,
    search: Search,
    since: Instant,
    looks: usize,
}

impl Question {
    fn due(&self) -> Instant {
        self.since + Duration::from_millis(self.search.looks_ms()[self.looks])
    }
}

impl Shared {
    /// A thread that panicked has left a state that holds.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskFinder {
    /// Processes that wait to be looked at; more are not.
    const MOST_WAITING: usize = 4096;
    /// Much longer than one look takes. A thread that takes longer is left.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Threads that are left. When there are so many, nothing is found until one goes on.
    const MOST_LEFT: usize = 8;

    /// A finder for the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        let (shared, asked) = (Arc::default(), FxHashMap::default());
        Self { proc: proc.clone(), patience: Self::PATIENCE, shared, asked, questions: 0 }
    }

    /// Looks for how the tasks of a process are read, and no longer for what was asked before.
    pub fn ask(&mut self, pid: u32, search: Search) {
        self.forget(pid);
        // It is gone, or the pid is another's from now on: who asks will be told.
        let Ok(stat) = self.proc.stat(pid) else { return };
        self.questions += 1;
        let (number, start_ticks, since) = (self.questions, stat.start_ticks, Instant::now());
        let mut state = self.shared.lock();
        if state.waiting.len() >= Self::MOST_WAITING {
            drop(state);
            tracing::warn!(
                pid,
                "too many processes wait to be looked at: the tasks of this one are not read"
            );
            return;
        }
        state.waiting.push(Question { number, pid, start_ticks, search, since, looks: 0 });
        self.asked.insert(pid, number);
        if state.looker == 0 {
            self.start(&mut state);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// A process has ended, or runs another program.
    pub fn forget(&mut self, pid: u32) {
        if self.asked.remove(&pid).is_some() {
            self.shared.lock().waiting.retain(|question| question.pid != pid);
        }
    }

    /// What was found next, and in which process.
    pub fn found(&mut self) -> Option<(u32, TaskProgram)> {
        if self.asked.is_empty() {
            return None;
        }
        self.leave_stuck();
        loop {
            let (number, pid, program) = self.shared.lock().found.pop()?;
            if self.asked.get(&pid) == Some(&number) {
                self.asked.remove(&pid);
                if let Some(program) = program {
                    return Some((pid, program));
                }
            }
        }
    }

    /// Another thread goes on in place of one that takes too long.
    fn leave_stuck(&self) {
        let mut state = self.shared.lock();
        let is_stuck = |(_, since): &(u32, Instant)| since.elapsed() > self.patience;
        let Some((pid, _)) = state.looks_at.filter(is_stuck) else { return };
        if state.left >= Self::MOST_LEFT {
            return;
        }
        if self.start(&mut state) {
            state.left += 1;
        }
        drop(state);
        tracing::warn!(pid, "the memory of this process cannot be read in time: its tasks are not read");
    }

    /// Starts a thread, in place of the one that looks now. Returns whether it runs.
    fn start(&self, state: &mut State) -> bool {
        let number = state.looker + 1;
        let (proc, shared) = (self.proc.clone(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("tracer-tasks".to_owned());
        let started = thread.spawn(move || look(&proc, &shared, number));
        match &started {
            Ok(_) => (state.looker, state.looks_at) = (number, None),
            Err(error) => tracing::warn!(%error, "no thread looks for how tasks are read"),
        }
        started.is_ok()
    }
}

impl Drop for TaskFinder {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

/// Looks at processes until the finder is gone, or has left this thread.
fn look(proc: &Proc, shared: &Shared, me: u64) {
    const LONG: Duration = Duration::from_secs(3600);
    let mut state = shared.lock();
    while !state.is_closed {
        let now = Instant::now();
        let next = (0..state.waiting.len()).min_by_key(|index| state.waiting[*index].due());
        let due = next.map_or(now + LONG, |index| state.waiting[index].due());
        let Some(index) = next.filter(|_| due <= now) else {
            let waited = shared.changed.wait_timeout(state, due - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        };
        let mut question = state.waiting.swap_remove(index);
        state.looks_at = Some((question.pid, now));
        drop(state);
        question.looks += 1;
        let Question { number, pid, start_ticks, search, looks, .. } = question;
        // The pid may be another's by now, or before the end.
        let is_same = || proc.stat(pid).is_ok_and(|stat| stat.start_ticks == start_ticks);
        let found = is_same().then(|| search.look(proc, pid)).flatten();
        let is_there = is_same();
        state = shared.lock();
        if state.looker != me {
            state.left -= 1;
            return;
        }
        state.looks_at = None;
        let is_last = found.is_some() || !is_there || looks == search.looks_ms().len();
        if is_last {
            tracing::debug!(pid, looks, is_read = found.is_some() && is_there, "looked at its tasks");
            state.found.push((number, pid, found.filter(|_| is_there)));
        } else {
            state.waiting.push(question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

    use super::*;

    /// A proc file system with one process whose start is known, removed by the caller.
    fn fake(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("tracer-finder-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("created");
        fs::write(root.join("7/stat"), "7 (x) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 99 0").expect("written");
        std::os::unix::fs::symlink("/usr/bin/python3.11", root.join("7/exe")).expect("linked");
        root
    }

    /// Waits until something holds.
    fn wait_until(mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !holds() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it does not come to hold");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_plan() {
        let mut finder = TaskFinder::new(&Proc::at(&PathBuf::from("/nowhere")));
        finder.ask(7, Search::Node);
        assert!(finder.asked.is_empty() && finder.found().is_none());
    }

    #[test]
    fn a_process_in_which_nothing_is_found_is_looked_at_once_or_again() {
        let root = fake("nothing");
        let mut finder = TaskFinder::new(&Proc::at(&root));
        finder.ask(7, Search::Python { thread: 0 });
        wait_until(|| finder.found().is_none() && finder.asked.is_empty());
        finder.ask(7, Search::Node);
        wait_until(|| finder.shared.lock().waiting.first().is_some_and(|question| question.looks == 2));
        // Another process has the pid.
        fs::write(root.join("7/stat"), "7 (x) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 98 0").expect("written");
        wait_until(|| finder.found().is_none() && finder.asked.is_empty());
        finder.ask(7, Search::Node);
        finder.forget(7);
        assert!(finder.asked.is_empty() && finder.shared.lock().waiting.is_empty());
        let shared = Arc::downgrade(&finder.shared);
        drop(finder);
        wait_until(|| shared.strong_count() == 0);
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn threads_that_are_stuck_are_left_and_end_when_they_go_on() {
        let root = fake("stuck");
        // Who opens it waits for a writer.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("7/maps"), rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        let mut finder = TaskFinder::new(&Proc::at(&root));
        finder.patience = Duration::ZERO;
        let looks = |finder: &TaskFinder| finder.shared.lock().looks_at.is_some();
        for left in 0..2 * TaskFinder::MOST_LEFT {
            finder.ask(7, Search::Python { thread: 0 });
            wait_until(|| looks(&finder));
            std::thread::sleep(Duration::from_millis(1));
            assert!(finder.found().is_none());
            assert_eq!(finder.shared.lock().left, TaskFinder::MOST_LEFT.min(left + 1));
        }
        // The file system answers again.
        let shared = Arc::clone(&finder.shared);
        wait_until(|| {
            // It does not wait for readers that have gone.
            let flags = libc::O_NONBLOCK;
            drop(fs::OpenOptions::new().write(true).custom_flags(flags).open(root.join("7/maps")));
            shared.lock().left == 0
        });
        drop(finder);
        fs::remove_dir_all(root).expect("removed");
    }
}
