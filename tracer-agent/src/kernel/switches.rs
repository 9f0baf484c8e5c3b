//! Switches that only tests set: a test sees on one kernel how the agent works on others.

#![forbid(unsafe_code)]

/// What a test changes; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Later requests of a connection get headers even where the kernel reports wrong lengths (FIONREAD).
    pub trust_fionread: bool,
    /// Data is captured by functions, as before Linux 6.3, even where tracepoints exist.
    pub function_hooks: bool,
    /// The hook that shows a send before its bytes leave stays out, as before Linux 6.16.
    pub without_pre_send: bool,
    /// No process's memory is read for the task that it runs.
    pub without_tasks: bool,
    /// Capacity of the map of sockets that can get headers.
    pub sockets: Option<u32>,
}
