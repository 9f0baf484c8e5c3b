//! What the threads of the agent tell each other.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize},
        mpsc,
    },
    time::{Duration, Instant},
};

/// What is local has so long to be written after [`crate::config::Limits::shutdown`]: the output, the
/// recording, the log. A signal ends the agent within the sum of both, whatever is stuck.
pub const GRACE: Duration = Duration::from_secs(1);

/// What threads tell each other.
#[derive(Default)]
pub(super) struct SharedState {
    pub(super) stop: AtomicBool,
    /// Set before `stop`: until when what waits may be sent.
    pub(super) deadline: OnceLock<Instant>,
    pub(super) alive: AtomicUsize,
    pub(super) output_closed: AtomicBool,
}

impl SharedState {
    /// Until when what waits may be sent; at once unless the end was asked for.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline.get().copied().unwrap_or_else(Instant::now)
    }
}

/// What the pipeline's thread is asked to do.
pub(super) enum WorkerCommand {
    Select(u32, mpsc::Sender<Result<(), String>>),
}
