//! The word back: to the kernel programs, and to what outlives the agent.

use tracer_common::{CapturePolicy, TaskPlan};

use super::remembered::Remembered;
use crate::{
    clock,
    correlate::Shown,
    event::input::RememberedProgram,
    exchange::{ConnectionFacts, Direction},
    kernel::{CapturePolicies, TaskPlans, propagation::Propagation},
    pipeline::Feedback,
    process::{
        facts::Proc,
        task_finder::{Search, TaskFinder},
        tasks::TaskProgram,
    },
};

/// Hands what the pipeline has learned to the maps of the kernel programs.
pub(super) struct KernelFeedback {
    policies: CapturePolicies,
    tasks: Option<TaskPlans>,
    finder: TaskFinder,
    propagation: Option<Propagation>,
    remembered: Option<Remembered>,
}

impl KernelFeedback {
    /// `propagation` is there if requests get trace headers, `remembered` if something outlives the agent.
    pub(super) fn new(
        policies: CapturePolicies,
        tasks: Option<TaskPlans>,
        propagation: Option<Propagation>,
        remembered: Option<Remembered>,
    ) -> Self {
        let finder = TaskFinder::new(&Proc::default());
        Self { policies, tasks, finder, propagation, remembered }
    }

    /// What outlives the agent.
    pub(super) fn remembered(&mut self) -> &mut Option<Remembered> {
        &mut self.remembered
    }

    /// No more requests get trace headers.
    pub(super) fn end(&mut self) {
        self.propagation = None;
    }

    /// How the tasks of a process are read, which has been looked at again.
    pub(super) fn found_tasks(&mut self) -> Option<(u32, TaskProgram)> {
        self.finder.found()
    }

    /// Says that the agent is alive: the kernel changes no byte for one that is not.
    pub(super) fn renew(&self) {
        if let Some(propagation) = &self.propagation {
            propagation.renew(clock::monotonic_ns());
        }
    }
}

impl Feedback for KernelFeedback {
    fn policy(&mut self, connection: u64, direction: Direction, policy: CapturePolicy) {
        self.policies.set(connection, direction, policy);
    }

    fn boundary(&mut self, connection: u64, position: u32) {
        if let Some(propagation) = &self.propagation {
            propagation.boundary(connection, position);
        }
    }

    fn preexisting(&mut self, pid: u32, facts: &ConnectionFacts) {
        if let Some(propagation) = &mut self.propagation {
            propagation.want_preexisting(pid, facts);
        }
    }

    fn sealed(&mut self, connection: u64, gone: bool) {
        if let Some(propagation) = &mut self.propagation {
            propagation.leave(connection, gone);
        }
    }

    fn orphaned(&mut self, key: u64) {
        if let Some(propagation) = &mut self.propagation {
            propagation.take_out(key);
        }
    }

    fn http_port(&mut self, port: u16) {
        if let Some(propagation) = &self.propagation {
            propagation.http_port(port);
        }
    }

    fn profile(&mut self, pid: u32, profile: Option<u8>) {
        if let Some(propagation) = &mut self.propagation {
            propagation.profile(pid, profile);
        }
    }

    fn task_plan(&mut self, pid: u32, plan: Option<&TaskPlan>) {
        self.finder.forget(pid);
        if let Some(tasks) = &mut self.tasks {
            tasks.set(pid, plan);
        }
    }

    fn task_plan_forked(&mut self, parent: u32, pid: u32) {
        if let Some(tasks) = &mut self.tasks {
            tasks.fork(parent, pid);
        }
    }

    fn shown(&mut self, program: RememberedProgram, shown: Shown) {
        if let Some(remembered) = &mut self.remembered {
            remembered.shown(program, shown);
        }
    }

    fn find_tasks(&mut self, pid: u32, thread: u32) {
        self.finder.ask(pid, Search::Python { thread });
    }

    fn tick(&mut self) {
        if let Some(propagation) = &mut self.propagation {
            propagation.admit_wanted();
        }
    }
}
