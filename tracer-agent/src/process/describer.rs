//! What names the services of selected processes, read on a thread of its own: a file system that does not answer must
//! not stop the pipeline.

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::facts::{Proc, ProcessFacts};

/// Adds to facts of processes what names their services.
pub struct Describer {
    proc: Proc,
    patience: Duration,
    /// The thread that is asked; none before the first question, and after one that it has not answered in time.
    reader: Option<mpsc::Sender<Question>>,
    /// Held by each thread.
    readers: Arc<()>,
    /// Questions that were not answered in time: at most one for each thread.
    late: Vec<Late>,
}

/// A question that was not answered in time.
struct Late {
    pid: u32,
    /// The selection rule that the process matched.
    rule: Option<usize>,
    answers: mpsc::Receiver<ProcessFacts>,
    /// How many answers are to come.
    missing: usize,
}

/// Facts to complete. They are sent back twice: with what the kernel knows, then with what files say.
struct Question {
    facts: ProcessFacts,
    answer: mpsc::Sender<ProcessFacts>,
}

impl Describer {
    /// How long the pipeline waits for one process. Much longer than a busy machine needs, and much shorter than the
    /// ring needs to become full.
    const PATIENCE: Duration = Duration::from_millis(250);
    /// Threads that wait for file systems. When there are so many, no other process is described until one is done.
    const MAX_READERS: usize = 4;
    /// Answers to a question.
    const ANSWERS: usize = 2;

    /// A describer of the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        Self {
            proc: proc.clone(),
            patience: Self::PATIENCE,
            reader: None,
            readers: Arc::default(),
            late: Vec::new(),
        }
    }

    /// Adds what names the service of a selected process, which matched this selection rule. What cannot be read in time
    /// is left out, and comes by [`Self::late`].
    pub fn describe(&mut self, facts: &mut ProcessFacts, rule: Option<usize>) {
        self.forget(facts.pid);
        if !self.ask(facts, rule) {
            tracing::warn!(
                pid = facts.pid,
                exe = facts.exe,
                "a file system does not answer: until it does, the name of the service is derived without the files \
                 of its process, and its tasks are not read"
            );
        }
    }

    /// A process that was described too late, with its selection rule.
    pub fn late(&mut self) -> Option<(ProcessFacts, Option<usize>)> {
        let mut at = 0;
        while let Some(late) = self.late.get_mut(at) {
            match late.answers.try_recv() {
                Ok(described) if late.missing == 1 => {
                    return Some((described, self.late.swap_remove(at).rule));
                }
                Ok(_) => late.missing -= 1,
                Err(mpsc::TryRecvError::Empty) => at += 1,
                Err(mpsc::TryRecvError::Disconnected) => drop(self.late.swap_remove(at)),
            }
        }
        None
    }

    /// A process has ended, or runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.late.retain(|late| late.pid != pid);
    }

    /// Returns whether everything was read.
    fn ask(&mut self, facts: &mut ProcessFacts, rule: Option<usize>) -> bool {
        let (answer, answers) = mpsc::channel();
        let question = Question { facts: facts.clone(), answer };
        if !self.send(question) {
            return false;
        }
        let until = Instant::now() + self.patience;
        for answered in 0..Self::ANSWERS {
            match answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(described) => *facts = described,
                Err(error) => {
                    // The thread ends by itself when it gets on.
                    self.reader = None;
                    if error == mpsc::RecvTimeoutError::Timeout {
                        let missing = Self::ANSWERS - answered;
                        self.late.push(Late { pid: facts.pid, rule, answers, missing });
                    }
                    return false;
                }
            }
        }
        true
    }

    fn send(&mut self, question: Question) -> bool {
        if self.reader.is_none() {
            self.reader = self.start();
        }
        self.reader.as_ref().is_some_and(|reader| reader.send(question).is_ok())
    }

    fn start(&self) -> Option<mpsc::Sender<Question>> {
        if Arc::strong_count(&self.readers) > Self::MAX_READERS {
            return None;
        }
        let (questions, inbox) = mpsc::channel::<Question>();
        let (proc, held) = (self.proc.clone(), Arc::clone(&self.readers));
        let run = move || {
            for Question { mut facts, answer } in inbox {
                // Who asked may have given up.
                describe(&proc, &mut facts, &mut |facts| drop(answer.send(facts.clone())));
            }
            drop(held);
        };
        std::thread::Builder::new().name("tracer-describe".to_owned()).spawn(run).ok()?;
        Some(questions)
    }
}

fn describe(proc: &Proc, facts: &mut ProcessFacts, tell: &mut dyn FnMut(&ProcessFacts)) {
    let bare = facts.clone();
    // The pid may be another's by now.
    let is_same = || proc.stat(bare.pid).is_ok_and(|stat| stat.start_ticks == bare.start_ticks);
    for describe in [Proc::describe, Proc::describe_by_files] {
        describe(proc, facts);
        if !is_same() {
            facts.clone_from(&bare);
        }
        tell(facts);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    /// A process in a proc file system of its own, removed with it.
    fn fake(name: &str) -> (PathBuf, ProcessFacts) {
        let root = std::env::temp_dir().join(format!("tracer-describer-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("created");
        fs::write(root.join("7/stat"), "7 (x) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 99 0").expect("written");
        fs::write(root.join("7/environ"), "OTEL_SERVICE_NAME=shop\0").expect("written");
        (root, ProcessFacts { pid: 7, start_ticks: 99, ..ProcessFacts::default() })
    }

    /// Who opens the file waits for a writer: as a file of a server that is gone.
    fn make_stuck(root: &Path) {
        let path = root.join("7/environ");
        fs::remove_file(&path).expect("removed");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    }

    #[test]
    fn a_process_whose_files_answer_late_is_described_then() {
        let (root, facts) = fake("late");
        make_stuck(&root);
        let mut describer = Describer::new(&Proc::at(&root));
        describer.patience = Duration::from_millis(10);
        let other = ProcessFacts { pid: 8, ..facts.clone() };
        for asked in [&facts, &other] {
            describer.describe(&mut asked.clone(), Some(3));
        }
        // Of a process that is gone nothing is told.
        describer.forget(8);
        assert!(describer.late().is_none());
        fs::write(root.join("7/environ"), "OTEL_SERVICE_NAME=shop\0").expect("written");
        let begin = Instant::now();
        let (described, rule) = loop {
            if let Some(late) = describer.late() {
                break late;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "it is not described");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!((described.environment["OTEL_SERVICE_NAME"].as_str(), rule), ("shop", Some(3)));
        assert!(describer.late().is_none() && describer.late.is_empty());
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_process_is_described_unless_its_pid_is_anothers() {
        let (root, mut facts) = fake("same");
        let mut describer = Describer::new(&Proc::at(&root));
        let mut other = ProcessFacts { start_ticks: 98, ..facts.clone() };
        describer.describe(&mut facts, None);
        assert_eq!(facts.environment["OTEL_SERVICE_NAME"], "shop");
        describer.describe(&mut other, None);
        assert!(other.environment.is_empty());
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_file_system_that_does_not_answer_stops_nobody() {
        let (root, facts) = fake("stuck");
        make_stuck(&root);
        let mut describer = Describer::new(&Proc::at(&root));
        describer.patience = Duration::from_millis(10);
        for _ in 0..2 * Describer::MAX_READERS {
            let mut asked = facts.clone();
            assert!(!describer.ask(&mut asked, None));
            assert_eq!(asked, facts);
        }
        assert_eq!(Arc::strong_count(&describer.readers), 1 + Describer::MAX_READERS, "no more threads wait");
        // The server is back.
        let writer = fs::OpenOptions::new().write(true).open(root.join("7/environ")).expect("readers wait");
        drop(writer);
        let begin = Instant::now();
        while Arc::strong_count(&describer.readers) > 1 && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Arc::strong_count(&describer.readers), 1, "the threads are gone");
        fs::remove_dir_all(root).expect("removed");
    }
}
