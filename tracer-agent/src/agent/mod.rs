//! The running agent: kernel programs, the pipeline's thread, and the sinks behind it.

pub(crate) mod discovery;
mod feedback;
mod host;
mod pipeline;
mod reconcile;
mod recorder;
mod remembered;
mod replay;
mod shared;
#[expect(unsafe_code, reason = "a handler that reads siginfo can only be set by sigaction")]
pub mod signals;
pub mod status;
mod worker;

use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use rustix::rand::{GetRandomFlags, getrandom};
use tracer_store::Store;

use self::{
    discovery::{Discovery, DiscoveryError},
    feedback::KernelFeedback,
    reconcile::Reconciler,
    recorder::Recorder,
    remembered::Remembered,
    shared::{SharedState, WorkerCommand},
    status::{Shared, StatusReport, StatusSource},
    worker::{Feed, Worker},
};
pub use self::{
    host::kernel_release,
    pipeline::pipeline,
    replay::{replay, replay_into},
    shared::GRACE,
};
use crate::{
    clock,
    config::Config,
    correlate::Ids,
    kernel::{Kernel, KernelError, LoadedPrograms, Switches, loaded_programs},
    ledger::LedgerSummary,
    process::{identity::Host, selector::Selectors},
    propagate::Mode,
    sink::{
        self, Sinks,
        terminal::{self, Style},
    },
    trace_context::HeaderFormat,
};

/// What the agent is started with.
pub struct Options {
    /// The configuration, flags included.
    pub config: Config,
    /// Where the output goes.
    pub out: Box<dyn io::Write + Send>,
    /// How it looks there.
    pub style: Style,
    /// Write a summary at the end.
    pub summary: bool,
    /// Go on without trace headers if requests cannot get them.
    pub headers_are_optional: bool,
    /// What a test changes.
    pub switches: Switches,
    /// The store that the viewer shows; none without a viewer.
    pub store: Option<Arc<Store>>,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel or the privileges are missing something: exit code 77.
    #[error("{0}")]
    Unsupported(String),
    /// The configuration makes no sense: exit code 2.
    #[error("{0}")]
    Config(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<KernelError> for StartError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::NoObject => Self::Other(error.to_string()),
            _ => Self::Unsupported(error.to_string()),
        }
    }
}

impl From<DiscoveryError> for StartError {
    fn from(error: DiscoveryError) -> Self {
        if error.is_unsupported() {
            Self::Unsupported(error.to_string())
        } else {
            Self::Config(error.to_string())
        }
    }
}

/// The kernel programs of a running agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningPrograms {
    /// As the kernel took them.
    pub loaded: LoadedPrograms,
    /// Requests get trace headers.
    pub adds_headers: bool,
    /// Why they cannot, if they were to get some.
    pub why_no_headers: Option<String>,
}

/// The running agent.
pub struct Agent {
    shared: Arc<SharedState>,
    status: Shared,
    commands: mpsc::Sender<WorkerCommand>,
    /// Nothing is sent: it is closed when the pipeline's thread has ended.
    done: mpsc::Receiver<()>,
    shutdown: Duration,
    programs: RunningPrograms,
}

impl Agent {
    /// Loads the kernel programs and begins to trace.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Options { mut config, out, style, summary, headers_are_optional, switches, store } = options;
        config.check().map_err(|error| StartError::Config(error.to_string()))?;
        let selectors =
            Selectors::new(&config.select).map_err(|error| StartError::Config(error.to_string()))?;
        let ring_bytes = u32::try_from(config.limits.ring.0).unwrap_or(8 << 20);
        let terminal = terminal::TerminalSettings { format: config.output, out, style, summary };
        let has_viewer = store.is_some();
        let mut settings =
            sink::SinkSettings { export: config.export.clone(), terminal: Some(terminal), store };
        let sinks = Sinks::start(sink::SINKS, &mut settings).map_err(StartError::Config)?;
        let seed = random_seed();
        let mut plan = discovery::plan(&selectors, ring_bytes, &switches);
        plan.propagation = config.propagation.plan();
        plan.seeds = Ids::new(seed).seeds();
        plan.sampler = config.sampling.sampler();
        plan.other_contexts = config.links.headers.iter().any(|format| *format != HeaderFormat::XRequestId);
        let mut why_no_headers = None;
        let mut kernel = match Kernel::load(&plan) {
            Err(error @ KernelError::Headers(_)) if headers_are_optional => {
                tracing::warn!(%error, "requests get no trace headers");
                why_no_headers = Some(error.to_string());
                plan.propagation = None;
                config.propagation.mode = Some(Mode::Off);
                Kernel::load(&plan)?
            }
            outcome => outcome?,
        };
        let adds_headers = plan.propagation.is_some();
        let programs = RunningPrograms { loaded: loaded_programs(&kernel), adds_headers, why_no_headers };
        let ring = kernel.take_ring().ok_or_else(|| StartError::Other("the ring is taken".to_owned()))?;

        let mut host = Host::read();
        host.attributes = config.resource_attributes.clone().into_iter().collect();
        let recorder = match &config.record {
            Some(path) => Some(Recorder::start(path, &config, &host, seed).map_err(StartError::Other)?),
            None => None,
        };
        let status = Shared::default();
        let shared = Arc::new(SharedState::default());
        shared.output_has_ledger.store(summary, Ordering::Relaxed);
        let (commands, inbox) = mpsc::channel();
        let remembered = config.state_directory.take().filter(|path| !path.as_os_str().is_empty());
        let remembered = remembered.and_then(Remembered::start);
        let tasks = kernel.take_tasks();
        let feedback = KernelFeedback::new(kernel.policies(), tasks, kernel.take_propagation(), remembered);
        let mut worker = Worker {
            discovery: Discovery::new(selectors, kernel.selection()),
            feed: Feed {
                pipeline: pipeline(&config, host, seed),
                sinks,
                feedback,
                recorder,
                messages_lost: 0,
            },
            sees_sends_before: kernel.has_pre_send(),
            kernel: Some(kernel),
            ring,
            shared: Arc::clone(&shared),
            status: Arc::clone(&status),
            events: 0,
            events_ns: has_viewer.then_some(0),
            adds_headers: config.propagation.mode == Some(Mode::Headers),
            started: Instant::now(),
            reconciler: Reconciler::default(),
            published: Instant::now(),
            clock_offset_ns: 0,
        };
        worker.begin()?;
        let (finished, done) = mpsc::channel();
        std::thread::Builder::new()
            .name("tracer-pipeline".to_owned())
            .spawn(move || {
                worker.run(&inbox);
                drop(finished);
            })
            .map_err(|error| StartError::Other(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, status, commands, done, shutdown: config.limits.shutdown.0, programs })
    }

    /// Traces a process and its descendants, whatever the rules say.
    ///
    /// # Errors
    /// The process does not exist.
    pub fn select(&self, pid: u32) -> Result<(), String> {
        let (answer, answered) = mpsc::channel();
        let gone = || "the agent has ended".to_owned();
        self.commands.send(WorkerCommand::Select(pid, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// The output goes on to `out`; what it went to before is closed.
    pub fn replace_output(&self, out: Box<dyn io::Write + Send>) {
        // An agent that has ended writes nothing.
        let _ = self.commands.send(WorkerCommand::Output(out));
    }

    /// Selected processes that live.
    pub fn targets_alive(&self) -> usize {
        self.shared.alive.load(Ordering::Relaxed)
    }

    /// Whether the reader of the output has gone away.
    pub fn output_closed(&self) -> bool {
        self.shared.output_closed.load(Ordering::Relaxed)
    }

    /// Its kernel programs.
    pub fn programs(&self) -> &RunningPrograms {
        &self.programs
    }

    /// What knows the status.
    pub fn status(&self) -> Arc<dyn StatusSource> {
        Arc::new(AskedStatus { kept: Arc::clone(&self.status), commands: self.commands.clone() })
    }

    /// Ends: what was seen is sent within the configured time, and counted otherwise. Returns the last
    /// status, after `limits.shutdown` and [`GRACE`] at the latest, whatever is stuck.
    pub fn stop(self) -> Ended {
        /// What the pipeline's thread needs besides waiting.
        const MARGIN: Duration = Duration::from_millis(100);
        let deadline = self.shared.deadline.get_or_init(|| Instant::now() + self.shutdown);
        self.shared.stop.store(true, Ordering::Release);
        let left = (*deadline + GRACE + MARGIN).saturating_duration_since(Instant::now());
        // A panic there was reported where it happened; a thread that is stuck ends with the process.
        let _ = self.done.recv_timeout(left);
        let problems = self.shared.problems.get().cloned();
        let problems = problems.unwrap_or_else(|| {
            vec!["the pipeline is stuck or has failed: what it still had is lost".to_owned()]
        });
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ended { status, problems, ledger: self.shared.ledger.get().cloned() }
    }
}

/// The status, which the pipeline's thread is asked for.
struct AskedStatus {
    kept: Shared,
    commands: mpsc::Sender<WorkerCommand>,
}

impl StatusSource for AskedStatus {
    fn status(&self) -> StatusReport {
        /// A thread that is that busy keeps the status up to date by itself, once in a second.
        const PATIENCE: Duration = Duration::from_millis(500);
        let (answer, answered) = mpsc::channel();
        if self.commands.send(WorkerCommand::Publish(answer)).is_ok() {
            // Without an answer the status is as it was kept last.
            let _ = answered.recv_timeout(PATIENCE);
        }
        self.kept.status()
    }
}

/// How an agent ended.
pub struct Ended {
    /// Its last status.
    pub status: StatusReport,
    /// Why the output or the recording is not complete; empty if both are.
    pub problems: Vec<String>,
    /// What the ledger says; none if the output has told it.
    pub ledger: Option<LedgerSummary>,
}

fn random_seed() -> u64 {
    let mut seed = [0; 8];
    match getrandom(&mut seed, GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(seed),
        _ => clock::monotonic_ns(),
    }
}
