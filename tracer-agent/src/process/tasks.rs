//! Programs whose tasks are read: what runs them, and how its tasks are found in the memory of a process.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use tracer_common::TaskPlan;

use crate::task_runtime::TaskRuntime;

/// What a process runs, if that has tasks of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgram {
    /// What runs the tasks.
    pub runtime: TaskRuntime,
    /// Its version, such as `1.26.8`; empty if that is not known.
    #[serde(default)]
    pub version: String,
    /// Its tasks are read: there is a plan.
    pub is_read: bool,
    /// Its tasks may be read later, when it has loaded what runs them.
    #[serde(default)]
    pub is_awaited: bool,
    /// How they are read; none if that is not known for the version, or if the program lacks what it takes.
    #[serde(skip)]
    pub plan: Option<TaskPlan>,
    /// Its modules are known to contain OpenTelemetry's SDK.
    #[serde(default)]
    pub has_sdk: bool,
}

impl TaskProgram {
    /// A program with this plan, or without one.
    pub(super) fn new(runtime: TaskRuntime, version: String, plan: Option<TaskPlan>) -> Self {
        Self { runtime, version, is_read: plan.is_some(), is_awaited: false, plan, has_sdk: false }
    }

    /// What is known of its tasks, in words.
    pub fn explain(&self) -> String {
        let Self { runtime, version, is_read, is_awaited, .. } = self;
        match (runtime, is_read) {
            (TaskRuntime::Go, true) => {
                format!("It is built by Go {version}, and its goroutines are read.")
            }
            (TaskRuntime::Go, false) => format!(
                "It is built by Go {version}, of which goroutines are not read: its calls are linked as those of \
                 other programs."
            ),
            (TaskRuntime::Python, true) => {
                format!("It runs Python {version}, and its asyncio tasks are read.")
            }
            (TaskRuntime::Python, false) if *is_awaited => {
                let version = if version.is_empty() { String::new() } else { format!(" {version}") };
                format!("It runs Python{version}, and has not imported asyncio: its tasks are read once it has.")
            }
            (TaskRuntime::Python, false) => format!(
                "It runs Python {version}, of which asyncio tasks are not read: its calls are linked as those of other \
                 programs."
            ),
            (TaskRuntime::Greenlets, _) => {
                format!("It runs Python {version} with greenlets, and these are read.")
            }
            (TaskRuntime::Node, true) => {
                "It is Node, and the callbacks of its event loop can be read.".to_owned()
            }
            (TaskRuntime::Node, false) => {
                "It is Node, and the callbacks of its event loop cannot be read: its calls are linked as those of other \
                 programs."
                    .to_owned()
            }
            (TaskRuntime::Java, true) => "It runs Java, and its virtual threads are read.".to_owned(),
            (TaskRuntime::Java, false) => {
                "It runs Java, and no virtual threads are read: each of its threads counts as one.".to_owned()
            }
            (TaskRuntime::Nginx, _) => {
                "It is nginx: the client of each upstream request is read from its request structure."
                    .to_owned()
            }
        }
    }
}
