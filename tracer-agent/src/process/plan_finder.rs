//! Looks for the plans of processes whose memory has to be searched, on a thread of its own. A process that has just
//! started has nothing to find yet: it is looked at again, a few times.

#![forbid(unsafe_code)]

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tracer_common::TaskPlan;

use super::{
    facts::{Proc, ProcessFacts},
    node,
    tasks::TaskProgram,
};
use crate::task_runtime::TaskRuntime;

/// When a process is looked at, after it was asked for.
const LOOKS_MS: [u64; 9] = [50, 200, 500, 1500, 4000, 10_000, 30_000, 120_000, 600_000];
/// Processes that wait to be looked at; more are not.
const MOST_WAITING: usize = 4096;

/// Finds plans, and gives them out when they are found.
#[derive(Debug)]
pub struct PlanFinder {
    proc: Proc,
    /// The thread and what comes from it; none before the first question.
    thread: Option<(mpsc::Sender<Question>, mpsc::Receiver<Found>)>,
    /// By process, its last question: what earlier ones find is void.
    asked: FxHashMap<u32, u64>,
    questions: u64,
}

#[derive(Debug)]
struct Question {
    number: u64,
    pid: u32,
    start_ticks: u64,
    since: Instant,
    looks: usize,
}

#[derive(Debug)]
struct Found {
    number: u64,
    pid: u32,
    plan: Option<TaskPlan>,
}

impl PlanFinder {
    /// A finder for the processes of a proc file system.
    pub fn new(proc: &Proc) -> Self {
        Self { proc: proc.clone(), thread: None, asked: FxHashMap::default(), questions: 0 }
    }

    /// A process runs this program: its plan is looked for if that takes a search.
    pub fn ask(&mut self, facts: &ProcessFacts) {
        self.asked.remove(&facts.pid);
        let is_searched = facts
            .tasks
            .as_ref()
            .is_some_and(|tasks| tasks.runtime == TaskRuntime::Node && tasks.plan.is_none());
        if !is_searched || self.asked.len() >= MOST_WAITING {
            return;
        }
        if self.thread.is_none() {
            self.thread = start(self.proc.clone());
        }
        self.questions += 1;
        let (number, pid, start_ticks) = (self.questions, facts.pid, facts.start_ticks);
        let question = Question { number, pid, start_ticks, since: Instant::now(), looks: 0 };
        if self.thread.as_ref().is_some_and(|(questions, _)| questions.send(question).is_ok()) {
            self.asked.insert(pid, number);
        }
    }

    /// A process has ended, or runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.asked.remove(&pid);
    }

    /// The next plan that was found.
    pub fn found(&mut self) -> Option<(u32, TaskProgram)> {
        let (_, found) = self.thread.as_ref()?;
        loop {
            let Found { number, pid, plan } = found.try_recv().ok()?;
            if self.asked.get(&pid) != Some(&number) {
                continue;
            }
            self.asked.remove(&pid);
            if plan.is_some() {
                return Some((pid, TaskProgram::new(TaskRuntime::Node, String::new(), plan)));
            }
        }
    }
}

/// What a process runs, if that has tasks of its own, with the plan also if it takes a search.
pub fn task_program(proc: &Proc, pid: u32, exe: &str) -> Option<TaskProgram> {
    let found = proc.task_program(pid, exe)?;
    if found.runtime != TaskRuntime::Node {
        return Some(found);
    }
    let plan = node::plan(proc, pid).ok().map(TaskPlan::Node);
    Some(TaskProgram::new(found.runtime, found.version, plan))
}

fn start(proc: Proc) -> Option<(mpsc::Sender<Question>, mpsc::Receiver<Found>)> {
    let (questions, inbox) = mpsc::channel();
    let (outbox, found) = mpsc::channel();
    let run = move || look(&proc, &inbox, &outbox);
    std::thread::Builder::new().name("tracer-plans".to_owned()).spawn(run).ok()?;
    Some((questions, found))
}

/// Looks at processes until nobody asks any more.
fn look(proc: &Proc, inbox: &mpsc::Receiver<Question>, outbox: &mpsc::Sender<Found>) {
    const LONG: Duration = Duration::from_secs(3600);
    let mut waiting: Vec<Question> = Vec::new();
    loop {
        let due = |question: &Question| question.since + Duration::from_millis(LOOKS_MS[question.looks]);
        let next = waiting.iter().map(due).min();
        let pause = next.map_or(LONG, |next| next.saturating_duration_since(Instant::now()));
        match inbox.recv_timeout(pause) {
            Ok(question) => waiting.push(question),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        for mut question in std::mem::take(&mut waiting) {
            if due(&question) > now {
                waiting.push(question);
                continue;
            }
            question.looks += 1;
            let Question { number, pid, start_ticks, .. } = question;
            let is_same = || proc.stat(pid).is_ok_and(|stat| stat.start_ticks == start_ticks);
            let outcome = node::plan(proc, pid);
            let is_there = is_same();
            match outcome {
                Ok(plan) if is_there => {
                    tracing::debug!(pid, looks = question.looks, "its event loop is read");
                    let plan = Some(TaskPlan::Node(plan));
                    if outbox.send(Found { number, pid, plan }).is_err() {
                        return;
                    }
                }
                Err(_) if is_there && question.looks < LOOKS_MS.len() => waiting.push(question),
                outcome => {
                    if let (true, Err(why)) = (is_there, outcome) {
                        tracing::debug!(pid, %why, "its event loop is not read");
                    }
                    if outbox.send(Found { number, pid, plan: None }).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
