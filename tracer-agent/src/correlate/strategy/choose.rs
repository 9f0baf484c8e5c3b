//! Which strategy fits a program.

use super::{
    Strategy, event_loop::EventLoop, goroutines::Goroutines, proxy::Proxy, tasks::Tasks, threads::Threads,
    virtual_threads::VirtualThreads,
};
use crate::task_runtime::TaskRuntime;

/// The strategy for a process that runs this executable.
pub(crate) fn for_program(executable: &str) -> Box<dyn Strategy> {
    match Proxy::known(executable) {
        Some(proxy) => Box::new(proxy),
        None => Box::new(Threads::default()),
    }
}

/// The strategy for a process whose tasks are read.
pub(crate) fn for_runtime(runtime: TaskRuntime) -> Box<dyn Strategy> {
    match runtime {
        TaskRuntime::Go => Box::new(Goroutines::default()),
        TaskRuntime::Nginx => for_program("nginx"),
        TaskRuntime::Python => Box::new(Tasks::default()),
        TaskRuntime::Greenlets => Box::new(Threads::of_greenlets()),
        TaskRuntime::Node => Box::new(EventLoop::default()),
        TaskRuntime::Java => Box::new(VirtualThreads::default()),
    }
}

/// The strategy for a process whose tasks are read from now on, and that was taken to work in another way.
pub(crate) fn from_now_on(runtime: TaskRuntime, earlier: Box<dyn Strategy>) -> Box<dyn Strategy> {
    match runtime {
        TaskRuntime::Java => Box::new(VirtualThreads::beside(earlier)),
        _ => for_runtime(runtime),
    }
}
