//! The running agent: kernel programs, the pipeline's thread, and the sinks behind it.

pub mod log;
pub mod signals;
pub mod status;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tracer_common::{KernelCounter, Verdict};

use self::status::{Count, Service, Shared, Status};
use crate::{
    clock,
    config::Config,
    connection,
    context::{HeaderFormat, HeaderFormats},
    correlate::{self, Correlator, Ids, Rules},
    discovery::{self, Discovery, Tell},
    exchange::{ConnectionFacts, Exchange},
    kernel::{Kernel, KernelError, Verdicts, propagation::Propagation, ring::Ring},
    ledger::{Counts, write_ledger},
    pipeline::{Input, Pipeline, Sink},
    process::{identity::Host, selector::Selectors, table::ProcessTable},
    propagate::Mode,
    protocol,
    record::{self, Writer},
    sink::{
        otlp::{ExportConfig, Exporter, SpanSender},
        terminal::{Format, Output, Style, Summary},
    },
    span::{Span, build::SpanBuilder},
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

/// The running agent.
pub struct Agent {
    shared: Arc<State>,
    status: Shared,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
    exporter: Option<Exporter>,
    shutdown: Duration,
}

/// What threads tell each other.
#[derive(Default)]
struct State {
    stop: AtomicBool,
    alive: AtomicUsize,
    output_closed: AtomicBool,
    failed: Mutex<Option<String>>,
}

/// What the pipeline's thread is asked to do.
enum Command {
    Select(u32, mpsc::Sender<Result<(), String>>),
}

impl Agent {
    /// Loads the kernel programs and begins to trace.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Options { mut config, out, style, summary, headers_are_optional } = options;
        config.check().map_err(|error| StartError::Config(error.to_string()))?;
        let selectors = Selectors::new(&config.select).map_err(StartError::Config)?;
        let ring_bytes = u32::try_from(config.limits.ring.0).unwrap_or(8 << 20);
        let exporter = Exporter::start(&config.export).map_err(StartError::Config)?;
        let seed = random_seed();
        let mut plan = discovery::plan(&selectors, ring_bytes);
        plan.propagation = config.propagation.plan();
        plan.seeds = Ids::new(seed).seeds();
        plan.sampler = config.sampling.sampler();
        plan.other_contexts = config.links.headers.iter().any(|format| *format != HeaderFormat::XRequestId);
        let mut kernel = match Kernel::load(&plan) {
            Err(error @ KernelError::Headers(_)) if headers_are_optional => {
                tracing::warn!(%error, "requests get no trace headers");
                plan.propagation = None;
                config.propagation.mode = Some(Mode::Off);
                Kernel::load(&plan)?
            }
            outcome => outcome?,
        };
        let ring = kernel.take_ring().ok_or_else(|| StartError::Other("the ring is taken".to_owned()))?;

        let mut host = Host::read();
        host.attributes = config.resource_attributes.clone().into_iter().collect();
        let recorder = match &config.record {
            Some(path) => Some(start_recording(path, &config, &host, seed)?),
            None => None,
        };
        let status = Shared::default();
        let shared = Arc::new(State::default());
        let (commands, inbox) = mpsc::channel();
        let sinks = Sinks {
            sender: exporter.as_ref().map(Exporter::sender),
            output: Output::new(config.output, style, out),
            summary: summary.then(Summary::default),
            verdicts: kernel.verdicts(),
            propagation: kernel.take_propagation(),
        };
        let mut worker = Worker {
            discovery: Discovery::new(selectors, kernel.selection()),
            feed: Feed { pipeline: pipeline(&config, host, seed), sinks, recorder },
            kernel,
            ring,
            shared: Arc::clone(&shared),
            status: Arc::clone(&status),
            started: Instant::now(),
            clock_offset_ns: 0,
        };
        worker.begin().map_err(StartError::Config)?;
        let thread = std::thread::Builder::new()
            .name("tracer-pipeline".to_owned())
            .spawn(move || worker.run(&inbox))
            .map_err(|error| StartError::Other(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            shared,
            status,
            commands,
            thread: Some(thread),
            exporter,
            shutdown: config.limits.shutdown.0,
        })
    }

    /// Traces a process and its descendants, whatever the rules say.
    ///
    /// # Errors
    /// The process does not exist.
    pub fn select(&self, pid: u32) -> Result<(), String> {
        let (answer, answered) = mpsc::channel();
        let gone = || "the agent has ended".to_owned();
        self.commands.send(Command::Select(pid, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Selected processes that live.
    pub fn targets_alive(&self) -> usize {
        self.shared.alive.load(Ordering::Relaxed)
    }

    /// Whether the reader of the output has gone away.
    pub fn output_closed(&self) -> bool {
        self.shared.output_closed.load(Ordering::Relaxed)
    }

    /// What stopped the agent by itself, if something did.
    pub fn failure(&self) -> Option<String> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The status, kept up to date.
    pub fn status(&self) -> Shared {
        Arc::clone(&self.status)
    }

    /// Brings the exporter's account up to date in the status.
    pub fn refresh_status(&self) {
        if let Some(exporter) = &self.exporter {
            self.status.lock().unwrap_or_else(PoisonError::into_inner).export = Some(exporter.statistics());
        }
    }

    /// Ends: what was seen is sent within the configured time, and counted otherwise. Returns the last
    /// status.
    pub fn stop(mut self) -> Status {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
        let statistics = self.exporter.take().map(|exporter| exporter.shutdown(self.shutdown));
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.export = statistics;
        status
    }
}

/// A pipeline by the configuration.
pub fn pipeline(config: &Config, host: Host, seed: u64) -> Pipeline {
    let limits = connection::Limits {
        connections: config.limits.connections,
        protocol: protocol::Limits {
            exchange_timeout_ns: config.limits.exchange_timeout.as_ns(),
            formats: HeaderFormats::new(&config.links.headers),
        },
    };
    let propagates = config.propagation.is_on();
    let sampler = config.sampling.sampler();
    let rules = Rules { sole_request: config.links.sole_request, sdk: config.sdk, propagates, sampler };
    let correlator = Correlator::new(rules, Ids::new(seed));
    let builder = SpanBuilder::new(config.spans.clone());
    Pipeline::new(limits, ProcessTable::new(host), correlator, builder, propagates)
}

fn start_recording(
    path: &std::path::Path,
    config: &Config,
    host: &Host,
    seed: u64,
) -> Result<Writer, StartError> {
    let header = record::Header {
        version: record::VERSION,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_release(),
        seed,
        host: serde_json::to_value(host).unwrap_or_default(),
        // Headers of the exporter hold credentials.
        config: serde_json::to_value(Config { export: ExportConfig::default(), ..config.clone() })
            .unwrap_or_default(),
        records: record::RecordSizes::current(),
    };
    Writer::create(path, &header, config.record_raw).map_err(|error| StartError::Other(error.to_string()))
}

/// Release of the running kernel.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn random_seed() -> u64 {
    let mut seed = [0u8; 8];
    // SAFETY: eight bytes are there.
    if unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) } != seed.len() as isize {
        return clock::monotonic_ns();
    }
    u64::from_le_bytes(seed)
}

/// Where spans go.
struct Sinks {
    sender: Option<SpanSender>,
    output: Output,
    /// What was seen by endpoint, if it is shown at the end.
    summary: Option<Summary>,
    verdicts: Verdicts,
    propagation: Option<Propagation>,
}

impl Sink for Sinks {
    fn span(&mut self, span: &Span, exchange: &Exchange, facts: &ConnectionFacts) {
        if let Some(sender) = &self.sender {
            sender.send(span);
        }
        self.output.span(span, exchange, facts);
        if let Some(summary) = &mut self.summary {
            summary.add(span);
        }
    }

    fn verdict(&mut self, connection: u64, verdict: Verdict) {
        self.verdicts.set(connection, verdict);
    }

    fn boundary(&mut self, connection: u64, position: u32) {
        if let Some(propagation) = &self.propagation {
            propagation.boundary(connection, position);
        }
    }

    fn joined(&mut self, pid: u32, facts: &ConnectionFacts) {
        if let Some(propagation) = &mut self.propagation {
            propagation.join(pid, facts);
        }
    }

    fn settled(&mut self, connection: u64, gone: bool) {
        if let Some(propagation) = &mut self.propagation {
            propagation.leave(connection, gone);
        }
    }

    fn stranded(&mut self, key: u64) {
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

    fn tick(&mut self, now_ns: u64) {
        if let Some(propagation) = &mut self.propagation {
            propagation.join_wanted();
        }
        self.output.tick(now_ns);
    }
}

/// The pipeline with its sinks, and the recording of what it is told.
struct Feed {
    pipeline: Pipeline,
    sinks: Sinks,
    recorder: Option<Writer>,
}

impl Tell for Feed {
    fn tell(&mut self, input: Input<'_>) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.write(&input)
        {
            tracing::error!(%error, "the recording ends here");
            self.recorder = None;
        }
        self.pipeline.handle(input, &mut self.sinks);
    }
}

/// The pipeline's thread.
struct Worker {
    kernel: Kernel,
    ring: Ring,
    discovery: Discovery,
    feed: Feed,
    shared: Arc<State>,
    status: Shared,
    started: Instant,
    clock_offset_ns: i64,
}

impl Worker {
    /// Records that are handled before anything else is looked at.
    const BURST: usize = 8192;
    /// How long to wait for records when some came lately.
    const ACTIVE: Duration = Duration::from_millis(10);
    /// How long when none did.
    const IDLE: Duration = Duration::from_millis(100);
    /// Time between ticks of the pipeline.
    const TICK: Duration = Duration::from_millis(50);
    /// Time between looks at counters and the status.
    const SECOND: Duration = Duration::from_secs(1);
    /// A drift of the clocks that is worth a correction, nanoseconds.
    const DRIFT_NS: u64 = 100_000;
    /// How long the ring is emptied at the end, while others may still fill it.
    const LAST: Duration = Duration::from_secs(1);

    /// Selects what runs already.
    fn begin(&mut self) -> Result<(), String> {
        self.set_clock();
        self.discovery.scan(&mut self.feed)?;
        self.shared.alive.store(self.discovery.alive(), Ordering::Relaxed);
        self.publish();
        Ok(())
    }

    fn run(mut self, inbox: &mpsc::Receiver<Command>) {
        let mut last_record = Instant::now();
        let mut last_tick = Instant::now();
        let mut last_second = Instant::now();
        let mut lost_processes = 0;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let quiet = last_record.elapsed() > Self::SECOND;
            if let Some(propagation) = &self.feed.sinks.propagation {
                propagation.renew(clock::monotonic_ns());
            }
            self.ring.wait(if quiet { Self::IDLE } else { Self::ACTIVE });
            while let Ok(Command::Select(pid, answer)) = inbox.try_recv() {
                // The asker may have given up.
                let _ = answer.send(self.discovery.select(pid, &mut self.feed));
                last_record = Instant::now();
            }
            let drained = self.drain(Self::BURST);
            if drained > 0 {
                last_record = Instant::now();
            }
            // Time must not pass for the pipeline while records of earlier times wait in the ring.
            let behind = drained >= Self::BURST && last_tick.elapsed() < Self::SECOND;
            if last_tick.elapsed() >= Self::TICK && !behind {
                last_tick = Instant::now();
                self.tick();
            }
            if last_second.elapsed() >= Self::SECOND {
                last_second = Instant::now();
                self.set_clock();
                let counters = self.kernel.counters();
                self.feed.tell(Input::Counters(counters));
                let lost = counters[KernelCounter::LostProcess as usize];
                if lost > lost_processes {
                    lost_processes = lost;
                    self.discovery.recover(&mut self.feed);
                }
                self.publish();
            }
            self.shared.alive.store(self.discovery.alive(), Ordering::Relaxed);
        }
        self.end();
    }

    fn drain(&mut self, limit: usize) -> usize {
        let Self { ring, discovery, feed, .. } = self;
        ring.drain(limit, |record| discovery.record(record, feed))
    }

    fn tick(&mut self) {
        self.feed.tell(Input::Tick { now_ns: clock::monotonic_ns() });
        if self.feed.sinks.output.is_closed() {
            self.shared.output_closed.store(true, Ordering::Relaxed);
        }
    }

    fn set_clock(&mut self) {
        let offset_ns = clock::offset_ns();
        if offset_ns.abs_diff(self.clock_offset_ns) >= Self::DRIFT_NS {
            self.clock_offset_ns = offset_ns;
            self.feed.tell(Input::Clock { offset_ns });
        }
    }

    fn end(mut self) {
        let begin = Instant::now();
        while self.drain(Self::BURST) > 0 && begin.elapsed() < Self::LAST {}
        let counters = self.kernel.counters();
        self.feed.tell(Input::Counters(counters));
        let now_ns = clock::monotonic_ns();
        self.feed.tell(Input::Tick { now_ns });
        let Feed { pipeline, sinks, recorder } = &mut self.feed;
        pipeline.finish(now_ns, sinks);
        sinks.output.finish();
        if let Some(endpoints) = &sinks.summary {
            sinks.output.write(&summary(pipeline, endpoints));
        }
        if let Some(recorder) = recorder.take()
            && let Err(error) = recorder.finish()
        {
            *self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        self.publish();
    }

    fn publish(&self) {
        let pipeline = &self.feed.pipeline;
        let ledger = pipeline.ledger();
        let by_process = ledger.processes();
        let services = pipeline
            .processes()
            .instances()
            .into_iter()
            .map(|(instance, processes)| Service {
                pid: instance.pid,
                name: instance.resource.service_name.clone(),
                executable: executable(&instance.resource),
                profiles: profiles(processes.iter().filter_map(|pid| pipeline.profile(*pid)).collect()),
                processes: processes.len(),
                counts: by_process.get(&instance.pid).map(|counts| shown(counts)).unwrap_or_default(),
            })
            .collect();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            kernel: kernel_release(),
            sees_sends_before: self.kernel.has_pre_send(),
            processes_alive: self.discovery.alive(),
            connections: pipeline.connections(),
            services,
            totals: shown(&ledger.total()),
            export: status.export.take(),
        };
    }
}

/// The ways in which an instance's processes work, each once. Of those that differ only in how much was
/// seen of them, the one that was seen most is told; those that served nothing tell nothing.
fn profiles(mut of_processes: Vec<correlate::Profile>) -> Vec<status::Profile> {
    of_processes.sort_unstable();
    let mut told: Vec<status::Profile> = Vec::new();
    for same in of_processes.chunk_by(correlate::Profile::is_like) {
        let Some(most) = same.last().filter(|profile| !profile.is_blank()) else { continue };
        told.push(status::Profile {
            profile: most.name().to_owned(),
            why: most.to_string(),
            processes: same.len(),
        });
    }
    told
}

fn executable(resource: &crate::span::Resource) -> String {
    let path = resource.attributes.iter().find(|(key, _)| key == "process.executable.path");
    match path {
        Some((_, crate::span::Value::Str(path))) => path.to_string(),
        _ => String::new(),
    }
}

fn shown(counts: &Counts) -> Vec<Count> {
    counts
        .nonzero()
        .map(|(counter, count)| Count {
            name: counter.name().to_owned(),
            meaning: counter.meaning().to_owned(),
            count,
        })
        .collect()
}

/// The table of endpoints and the ledger in words.
pub fn summary(pipeline: &Pipeline, endpoints: &Summary) -> String {
    let names =
        |pid| pipeline.processes().instance(pid).map(|instance| instance.resource.service_name.clone());
    format!("\n{}\n{}", endpoints.table(), write_ledger(pipeline.ledger(), &names))
}

/// Feeds a recording through the same pipeline.
///
/// # Errors
/// The recording cannot be read; what came before the damage was written.
pub fn replay(
    path: &std::path::Path,
    format: Format,
    out: Box<dyn io::Write + Send>,
    style: Style,
) -> Result<(), String> {
    let mut reader = record::Reader::open(path).map_err(|error| error.to_string())?;
    let header = reader.header().clone();
    let config: Config = serde_json::from_value(header.config)
        .map_err(|error| format!("{}: its configuration makes no sense: {error}", path.display()))?;
    let host: Host = serde_json::from_value(header.host).unwrap_or_default();
    let mut pipeline = pipeline(&config, host, header.seed);
    let mut sink = ReplaySink { output: Output::new(format, style, out), summary: Summary::default() };
    let mut now_ns = 0;
    let outcome = loop {
        match reader.next_input() {
            Ok(Some(input)) => {
                let input = input.as_input();
                if let Input::Tick { now_ns: tick } = input {
                    now_ns = tick;
                }
                pipeline.handle(input, &mut sink);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    pipeline.finish(now_ns, &mut sink);
    sink.output.finish();
    if format.is_for_people() {
        let text = summary(&pipeline, &sink.summary);
        sink.output.write(&text);
    }
    outcome
}

struct ReplaySink {
    output: Output,
    summary: Summary,
}

impl Sink for ReplaySink {
    fn span(&mut self, span: &Span, exchange: &Exchange, facts: &ConnectionFacts) {
        self.output.span(span, exchange, facts);
        self.summary.add(span);
    }

    fn verdict(&mut self, _: u64, _: Verdict) {}

    fn tick(&mut self, now_ns: u64) {
        self.output.tick(now_ns);
    }
}
