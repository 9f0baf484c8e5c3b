//! What the threads of the agent tell each other.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::ledger::LedgerSummary;

/// How long what is local may take nothing at the end before it is given up: the output, the recording, the log. A
/// signal ends the agent within this and [`crate::config::Limits::shutdown`], whatever is stuck.
pub const GRACE: Duration = Duration::from_secs(1);

/// What threads tell each other.
#[derive(Default)]
pub(super) struct SharedState {
    pub(super) stop: AtomicBool,
    /// Set before `stop`: until when what waits may be sent.
    pub(super) deadline: OnceLock<Instant>,
    pub(super) alive: AtomicUsize,
    pub(super) output_closed: AtomicBool,
    /// Set at the end: why the output or the recording is not complete.
    pub(super) problems: OnceLock<Vec<String>>,
    /// Set at the end, unless the output tells it.
    pub(super) ledger: OnceLock<LedgerSummary>,
    /// The output ends with what the ledger says.
    pub(super) output_has_ledger: AtomicBool,
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
    /// Bring the status up to date.
    Publish(mpsc::Sender<()>),
    /// Go on writing the output there.
    Output(Box<dyn io::Write + Send>),
}
