//! Looks again for how the tasks of processes are read, on a thread of its own: what runs the tasks of a process may be
//! loaded after the process was selected.

#![forbid(unsafe_code)]

use std::sync::mpsc;

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
    plan: TaskPlan,
}

impl TaskFinder {
    /// Questions that wait: of more, the last are not answered.
    const MOST: usize = 256;

    /// A finder for the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        let (proc, wanted) = (proc.clone(), FxHashMap::default());
        Self { proc, reader: None, answers: mpsc::channel(), wanted, asked: 0 }
    }

    /// A thread of a process serves: the tasks of the process may be readable by now.
    pub fn ask(&mut self, pid: u32, thread: u32) {
        if self.reader.is_none() {
            self.reader = self.start();
        }
        self.asked += 1;
        let question = Question { number: self.asked, pid, thread };
        if self.reader.as_ref().is_some_and(|reader| reader.try_send(question).is_ok()) {
            self.wanted.insert(pid, self.asked);
        }
    }

    /// What is found for a process by questions so far holds no more.
    pub fn forget(&mut self, pid: u32) {
        self.wanted.remove(&pid);
    }

    /// A plan that was found since the last call, and its process.
    pub fn take(&mut self) -> Option<(u32, TaskPlan)> {
        while let Ok(Answer { number, pid, plan }) = self.answers.1.try_recv() {
            if self.wanted.get(&pid).is_some_and(|wanted| *wanted == number) {
                self.wanted.remove(&pid);
                return Some((pid, plan));
            }
        }
        None
    }

    fn start(&self) -> Option<mpsc::SyncSender<Question>> {
        let (questions, inbox) = mpsc::sync_channel::<Question>(Self::MOST);
        let (proc, answers) = (self.proc.clone(), self.answers.0.clone());
        let run = move || {
            for Question { number, pid, thread } in inbox {
                let Ok((exe, _)) = proc.exe(pid) else { continue };
                let found = proc.python(pid, &exe, thread).and_then(|program| program.plan);
                // Who asked may be gone.
                if let Some(plan) = found
                    && answers.send(Answer { number, pid, plan }).is_err()
                {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("tracer-tasks".to_owned()).spawn(run).ok()?;
        Some(questions)
    }
}
