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

    /// A describer of the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        Self { proc: proc.clone(), patience: Self::PATIENCE, reader: None, readers: Arc::default() }
    }

    /// Adds what names the service of a selected process. What cannot be read in time is left out.
    pub fn describe(&mut self, facts: &mut ProcessFacts) {
        if !self.ask(facts) {
            tracing::warn!(
                pid = facts.pid,
                exe = facts.exe,
                "a file system does not answer: the name of the service is derived without the files of its process"
            );
        }
    }

    /// Returns whether everything was read.
    fn ask(&mut self, facts: &mut ProcessFacts) -> bool {
        let (answer, answers) = mpsc::channel();
        let question = Question { facts: facts.clone(), answer };
        if !self.send(question) {
            return false;
        }
        let until = Instant::now() + self.patience;
        for _ in 0..2 {
            match answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(described) => *facts = described,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // It ends by itself when it gets on.
                    self.reader = None;
                    return false;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.reader = None;
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
    use std::{fs, path::PathBuf};

    use super::*;

    /// A process in a proc file system of its own, removed with it.
    fn fake(name: &str) -> (PathBuf, ProcessFacts) {
        let root = std::env::temp_dir().join(format!("tracer-describer-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("created");
        fs::write(root.join("7/stat"), "7 (x) S 3 7 7 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 99 0").expect("written");
        fs::write(root.join("7/environ"), "OTEL_SERVICE_NAME=shop\0").expect("written");
        (root, ProcessFacts { pid: 7, start_ticks: 99, ..ProcessFacts::default() })
    }

    #[test]
    fn a_process_is_described_unless_its_pid_is_anothers() {
        let (root, mut facts) = fake("same");
        let mut describer = Describer::new(&Proc::at(&root));
        let mut other = ProcessFacts { start_ticks: 98, ..facts.clone() };
        describer.describe(&mut facts);
        assert_eq!(facts.environment["OTEL_SERVICE_NAME"], "shop");
        describer.describe(&mut other);
        assert!(other.environment.is_empty());
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_file_system_that_does_not_answer_stops_nobody() {
        let (root, facts) = fake("stuck");
        fs::remove_file(root.join("7/environ")).expect("removed");
        // Who opens it waits for a writer: as a file of a server that is gone.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("7/environ"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        let mut describer = Describer::new(&Proc::at(&root));
        describer.patience = Duration::from_millis(10);
        for _ in 0..2 * Describer::MAX_READERS {
            let mut asked = facts.clone();
            assert!(!describer.ask(&mut asked));
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
