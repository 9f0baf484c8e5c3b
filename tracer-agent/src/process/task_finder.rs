//! Looks again for how the tasks of processes are read, on a thread of its own: what runs the tasks of a process may be
//! loaded after the process was selected.

#![forbid(unsafe_code)]

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tracer_common::TaskPlan;

use super::facts::Proc;

/// Finds plans of processes.
#[derive(Debug)]
pub struct TaskFinder {
    proc: Proc,
    /// The thread that is asked; none before the first question.
    reader: Option<mpsc::SyncSender<Question>>,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    /// By process, the number of its last question.
    wanted: FxHashMap<u32, u64>,
    asked: u64,
    /// Since when the thread owes an answer.
    waits_since: Option<Instant>,
    /// Threads that were started.
    threads: usize,
}

#[derive(Debug)]
struct Question {
    number: u64,
    pid: u32,
    /// A thread that serves.
    thread: u32,
}

#[derive(Debug)]
struct Answer {
    number: u64,
    pid: u32,
    plan: Option<TaskPlan>,
}

impl TaskFinder {
    /// Questions that wait: of more, the last are not answered.
    const MOST: usize = 256;
    /// A thread that takes longer is left: memory of a process may be on a file system that does not answer.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// Threads that are started: when so many are left, nothing is found any more.
    const MOST_THREADS: usize = 8;

    /// A finder for the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        let (proc, wanted) = (proc.clone(), FxHashMap::default());
        Self { proc, reader: None, answers: mpsc::channel(), wanted, asked: 0, waits_since: None, threads: 0 }
    }

    /// A thread of a process serves: the tasks of the process may be readable by now.
    pub fn ask(&mut self, pid: u32, thread: u32) {
        if self.waits_since.is_some_and(|since| since.elapsed() > Self::PATIENCE) {
            (self.reader, self.waits_since) = (None, None);
        }
        if self.reader.is_none() && self.threads < Self::MOST_THREADS {
            self.reader = self.start();
            self.threads += 1;
        }
        self.asked += 1;
        let question = Question { number: self.asked, pid, thread };
        if self.reader.as_ref().is_some_and(|reader| reader.try_send(question).is_ok()) {
            self.wanted.insert(pid, self.asked);
            self.waits_since.get_or_insert_with(Instant::now);
        }
    }

    /// What is found for a process by questions so far holds no more.
    pub fn forget(&mut self, pid: u32) {
        self.wanted.remove(&pid);
    }

    /// A plan that was found since the last call, and its process.
    pub fn take(&mut self) -> Option<(u32, TaskPlan)> {
        while let Ok(Answer { number, pid, plan }) = self.answers.1.try_recv() {
            self.waits_since = (number < self.asked).then(Instant::now);
            if self.wanted.get(&pid).is_some_and(|wanted| *wanted == number) {
                self.wanted.remove(&pid);
                if let Some(plan) = plan {
                    return Some((pid, plan));
                }
            }
        }
        None
    }

    fn start(&self) -> Option<mpsc::SyncSender<Question>> {
        let (questions, inbox) = mpsc::sync_channel::<Question>(Self::MOST);
        let (proc, answers) = (self.proc.clone(), self.answers.0.clone());
        let run = move || {
            for Question { number, pid, thread } in inbox {
                let exe = proc.exe(pid).ok();
                let found = exe.and_then(|(exe, _)| proc.python(pid, &exe, thread));
                let plan = found.and_then(|program| program.plan);
                // Who asked may be gone.
                if answers.send(Answer { number, pid, plan }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("tracer-tasks".to_owned()).spawn(run).ok()?;
        Some(questions)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn wait_for_thread(finder: &mut TaskFinder) {
        let begin = Instant::now();
        while finder.waits_since.is_some() && begin.elapsed() < Duration::from_secs(10) {
            assert_eq!(finder.take(), None);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_plan() {
        let mut finder = TaskFinder::new(&Proc::at(&PathBuf::from("/nowhere")));
        finder.ask(7, 0);
        wait_for_thread(&mut finder);
        assert!(finder.waits_since.is_none() && finder.wanted.is_empty());
    }

    #[test]
    fn a_thread_that_does_not_answer_is_left() {
        let root = std::env::temp_dir().join(format!("tracer-finder-{}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("created");
        std::os::unix::fs::symlink("/usr/bin/python3.11", root.join("7/exe")).expect("linked");
        // Who opens it waits for a writer.
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("7/maps"), rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        let mut finder = TaskFinder::new(&Proc::at(&root));
        for _ in 0..2 * TaskFinder::MOST_THREADS {
            finder.ask(7, 0);
            finder.waits_since = Instant::now().checked_sub(2 * TaskFinder::PATIENCE);
        }
        assert_eq!(finder.threads, TaskFinder::MOST_THREADS);
        fs::remove_dir_all(root).expect("removed");
    }
}
