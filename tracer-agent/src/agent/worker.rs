//! The pipeline's thread. It waits for the ring and for nothing else.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use tracer_common::KernelCounter;

use super::{
    discovery::{Discovery, DiscoveryError},
    feedback::KernelFeedback,
    host::kernel_release,
    reconcile::Reconciler,
    recorder::Recorder,
    shared::{GRACE, SharedState, WorkerCommand},
    status::{self, Count, LinksStatus, ServiceStatus, Shared, StatusReport},
};
use crate::{
    clock, correlate,
    event::{Event, Input, Tell},
    kernel::{Kernel, ring::Ring},
    ledger::{Counter, Counts, LedgerSummary},
    log,
    pipeline::{Out, Pipeline},
    sink::{SinkEnd, Sinks, SpanSink},
};

/// The pipeline, what stands behind it, and the recording of what it is told.
pub(super) struct Feed {
    pub(super) pipeline: Pipeline,
    pub(super) sinks: Sinks,
    pub(super) feedback: KernelFeedback,
    pub(super) recorder: Option<Recorder>,
    /// Messages of the log that the ledger knows to be lost.
    pub(super) messages_lost: u64,
}

impl Tell for Feed {
    fn tell(&mut self, input: Input<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.tell(&input);
        }
        let Self { pipeline, sinks, feedback, .. } = self;
        pipeline.handle(&input, &mut Out { spans: sinks, feedback });
    }
}

impl Feed {
    /// Adds to the ledger what was lost behind the pipeline.
    fn count_losses(&mut self) {
        let ledger = self.pipeline.ledger_mut();
        self.sinks.count_dropped(ledger);
        if let Some(recorder) = &mut self.recorder {
            ledger.add(0, Counter::EventsNotRecorded, recorder.take_missing());
        }
        let lost = log::lost();
        ledger.add(0, Counter::MessagesLost, lost - std::mem::replace(&mut self.messages_lost, lost));
    }

    /// No more input comes: what waits is handed to the threads behind the sinks.
    fn finish(&mut self, now_ns: u64, deadline: Instant) {
        let Self { pipeline, sinks, feedback, .. } = self;
        pipeline.finish(now_ns, &mut Out { spans: sinks, feedback });
        if let Some(recorder) = &mut self.recorder {
            recorder.finish();
        }
        self.count_losses();
        self.sinks.finish(deadline.saturating_duration_since(Instant::now()));
    }

    /// Nothing more goes to another host: what was not taken there is counted, and the output ends with its summary.
    fn conclude(&mut self) {
        self.sinks.give_up_export();
        self.count_losses();
        let Self { pipeline, sinks, .. } = self;
        sinks.conclude(&SinkEnd { ledger: pipeline.ledger(), names: &|pid| pipeline.service_name(pid) });
    }

    /// Waits until all is delivered: until `deadline` for what goes to the network; for what stays on this host as
    /// long as that takes something, which is until it has taken nothing for [`GRACE`], and [`GRACE`] longer than
    /// `deadline` at most. Returns why what stays here is not complete, if it is not.
    fn wait(&mut self, deadline: Instant) -> Vec<String> {
        const STEP: Duration = Duration::from_millis(2);
        /// How long nothing is said of the waiting.
        const SILENT: Duration = Duration::from_secs(1);
        let (mut left, mut since) = (usize::MAX, Instant::now());
        let mut silent_until = Some(since + SILENT);
        let mut is_concluded = false;
        loop {
            let now = Instant::now();
            let is_exporting = now < deadline && self.sinks.is_exporting();
            if !is_exporting && !is_concluded {
                self.conclude();
                is_concluded = true;
                // The summary is new: its reader has the whole time.
                left = usize::MAX;
            }
            let recorded = self.recorder.as_ref().map_or(0, Recorder::bytes_waiting);
            let waiting = recorded + self.sinks.bytes_waiting();
            if waiting < left {
                (left, since) = (waiting, now);
            }
            let is_writing = waiting > 0 && now < (since + GRACE).min(deadline + GRACE);
            if !is_exporting && !is_writing {
                break;
            }
            if is_exporting && silent_until.is_some_and(|end| now >= end) {
                silent_until = None;
                let waiting = self.sinks.export().map_or(0, |export| export.in_queue);
                tracing::info!("{}", waits(waiting, deadline.saturating_duration_since(now)));
            }
            std::thread::sleep(STEP);
        }
        let recording = self.recorder.as_ref().and_then(|recorder| recorder.wait(Instant::now()));
        self.sinks.give_up();
        self.count_losses();
        recording.into_iter().chain(self.sinks.problems()).collect()
    }
}

/// What is waited for at the end.
fn waits(spans: u64, left: Duration) -> String {
    let spans = if spans == 1 { "1 span".to_owned() } else { format!("{spans} spans") };
    format!(
        "waits for the OTLP receiver to take {spans}, for {} s at most (limits.shutdown)",
        left.as_millis().div_ceil(1_000)
    )
}

/// The pipeline's thread.
pub(super) struct Worker {
    /// The kernel programs; none when the end has come.
    pub(super) kernel: Option<Kernel>,
    /// Whether sends are seen before their bytes leave.
    pub(super) sees_sends_before: bool,
    pub(super) ring: Ring,
    pub(super) discovery: Discovery,
    pub(super) feed: Feed,
    pub(super) shared: Arc<SharedState>,
    pub(super) status: Shared,
    /// Records that were read.
    pub(super) events: u64,
    /// Processor time that reading and following them took, nanoseconds; none if nobody asks for it.
    pub(super) events_ns: Option<u64>,
    /// Requests get trace headers.
    pub(super) adds_headers: bool,
    pub(super) started: Instant,
    pub(super) reconciler: Reconciler,
    /// When the status was published last.
    pub(super) published: Instant,
    pub(super) clock_offset_ns: i64,
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
    pub(super) fn begin(&mut self) -> Result<(), DiscoveryError> {
        self.set_clock();
        let remembered = self.feed.feedback.remembered().as_ref();
        let remembered = remembered.map(|it| it.programs().to_vec()).unwrap_or_default();
        if !remembered.is_empty() {
            self.feed.tell(Input::Remembered(&remembered));
        }
        self.discovery.scan(&mut self.feed)?;
        self.shared.alive.store(self.discovery.alive(), Ordering::Relaxed);
        self.publish();
        Ok(())
    }

    pub(super) fn run(mut self, inbox: &mpsc::Receiver<WorkerCommand>) {
        let mut last_record = Instant::now();
        let mut last_tick = Instant::now();
        let mut last_second = Instant::now();
        let mut lost_processes = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            let quiet = last_record.elapsed() > Self::SECOND;
            self.feed.feedback.renew();
            self.ring.wait(if quiet { Self::IDLE } else { Self::ACTIVE });
            while let Ok(command) = inbox.try_recv() {
                self.obey(command);
                last_record = Instant::now();
            }
            self.discovery.tell_plans(&mut self.feed);
            while let Some((pid, tasks)) = self.feed.feedback.found_tasks() {
                self.feed.tell(Input::Tasks { pid, tasks: &tasks });
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
                let lost = self.take_counters();
                if lost > lost_processes {
                    lost_processes = lost;
                    self.discovery.recover(&mut self.feed);
                }
                let served = self.served_suspects();
                self.discovery.look_at_holders(&served, &mut self.feed);
                self.discovery.sweep(&mut self.feed);
                self.reconcile();
                self.feed.count_losses();
                if let Some(remembered) = self.feed.feedback.remembered() {
                    remembered.write();
                }
                self.publish();
            }
            self.shared.alive.store(self.discovery.alive(), Ordering::Relaxed);
        }
        self.end();
    }

    /// Processes that may only hold a socket for others, and have served requests.
    fn served_suspects(&self) -> Vec<u32> {
        let served = self.feed.pipeline.ledger().processes();
        self.discovery
            .suspects()
            .filter(|pid| served.get(pid).is_some_and(|counts| has_exchanges(counts)))
            .collect()
    }

    fn obey(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::Select(pid, answer) => {
                let selected = self.discovery.select(pid, &mut self.feed).map_err(|error| error.to_string());
                // The asker may have given up.
                let _ = answer.send(selected);
            }
            WorkerCommand::Publish(answer) => {
                self.bring_up_to_date();
                let _ = answer.send(());
            }
            WorkerCommand::Output(out) => self.feed.sinks.replace_output(&mut Some(out)),
        }
    }

    /// Ends connections whose end no record told.
    fn reconcile(&mut self) {
        let Self { reconciler, feed, .. } = self;
        let counters = feed.pipeline.kernel_counters();
        let missed = [KernelCounter::LostClose, KernelCounter::Skipped].map(|it| counters[it as usize]);
        let idle = |limit_ns| feed.pipeline.idle_connections(limit_ns);
        for end in reconciler.look(missed.iter().sum(), clock::monotonic_ns(), idle) {
            feed.tell(Input::Event(Event::Close(end)));
        }
    }

    /// Publishes what has happened until now. Those who ask often get what was published a moment ago.
    fn bring_up_to_date(&mut self) {
        const MOMENT: Duration = Duration::from_millis(20);
        if self.published.elapsed() < MOMENT {
            return;
        }
        // With more than that the pipeline is behind, and has no time for this.
        if self.drain(Self::BURST) < Self::BURST {
            self.take_counters();
            let Feed { pipeline, sinks, feedback, .. } = &mut self.feed;
            pipeline.flush_counts(&mut Out { spans: sinks, feedback });
        }
        self.feed.count_losses();
        self.publish();
    }

    fn drain(&mut self, limit: usize) -> usize {
        let Self { ring, discovery, feed, events_ns, .. } = self;
        let begin_ns = events_ns.is_some().then(clock::thread_ns);
        let drained = ring.drain(limit, |record| discovery.record(record, feed));
        // A look at an empty ring follows no event.
        if drained > 0
            && let (Some(spent_ns), Some(begin_ns)) = (events_ns, begin_ns)
        {
            *spent_ns += clock::thread_ns().saturating_sub(begin_ns);
        }
        self.events += drained as u64;
        drained
    }

    fn tick(&mut self) {
        self.feed.tell(Input::Tick { now_ns: clock::monotonic_ns() });
        if self.feed.sinks.is_over() {
            self.shared.output_closed.store(true, Ordering::Relaxed);
        }
        let export = self.feed.sinks.export();
        self.status.lock().unwrap_or_else(PoisonError::into_inner).export = export;
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
        self.take_counters();
        let now_ns = clock::monotonic_ns();
        self.feed.tell(Input::Tick { now_ns });
        self.feed.finish(now_ns, self.shared.deadline());
        // Nobody is traced while we wait.
        self.kernel = None;
        self.feed.feedback.end();
        if let Some(remembered) = self.feed.feedback.remembered().take() {
            remembered.finish(self.shared.deadline());
        }
        let problems = self.feed.wait(self.shared.deadline());
        self.publish();
        // Nobody else sets it.
        if !self.shared.output_has_ledger.load(Ordering::Relaxed) {
            let pipeline = &self.feed.pipeline;
            let summary = LedgerSummary::new(pipeline.ledger(), &|pid| pipeline.service_name(pid));
            let _ = self.shared.ledger.set(summary);
        }
        let _ = self.shared.problems.set(problems);
    }

    /// Tells the pipeline what the kernel programs have counted. Returns the processes that were lost.
    fn take_counters(&mut self) -> u64 {
        let Some(kernel) = &self.kernel else { return 0 };
        let counters = kernel.counters();
        self.feed.tell(Input::Counters(&counters));
        counters[KernelCounter::LostProcess as usize]
    }

    fn publish(&mut self) {
        self.published = Instant::now();
        let pipeline = &self.feed.pipeline;
        let ledger = pipeline.ledger();
        let by_process = ledger.processes();
        // Of each service, the processes that ended a while ago.
        let ended = ledger.ended().iter().map(|(name, counts)| ServiceStatus {
            name: name.as_str().into(),
            links: LinksStatus::of(counts),
            counts: nonzero(counts),
            ..ServiceStatus::default()
        });
        let services = pipeline
            .processes()
            .instances()
            .into_iter()
            .map(|(instance, processes)| ServiceStatus {
                pid: instance.pid,
                name: instance.resource.service_name.as_str().into(),
                executable: executable(&instance.resource).as_str().into(),
                profiles: profiles(processes.iter().filter_map(|pid| pipeline.profile(*pid)).collect()),
                processes: processes.len(),
                links: by_process
                    .get(&instance.pid)
                    .map(|counts| LinksStatus::of(counts))
                    .unwrap_or_default(),
                counts: by_process.get(&instance.pid).map(|counts| nonzero(counts)).unwrap_or_default(),
            })
            .chain(ended)
            .collect();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            kernel: kernel_release(),
            sees_sends_before: self.sees_sends_before,
            adds_headers: self.adds_headers,
            events: self.events,
            events_ns: self.events_ns.unwrap_or(0),
            processes_alive: self.discovery.alive(),
            connections: pipeline.connections(),
            services,
            totals: nonzero(&ledger.total()),
            export: self.feed.sinks.export(),
        };
    }
}

/// The ways in which an instance's processes work, each once. Of those that differ only in how much was
/// seen of them, the one that was seen most is told; those that served nothing tell nothing.
fn profiles(mut of_processes: Vec<correlate::Profile>) -> Vec<status::ProfileStatus> {
    of_processes.sort_unstable();
    let mut told: Vec<status::ProfileStatus> = Vec::new();
    for same in of_processes.chunk_by(correlate::Profile::is_like) {
        let Some(most) = same.last().filter(|profile| !profile.is_blank()) else { continue };
        told.push(status::ProfileStatus {
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

fn has_exchanges(counts: &Counts) -> bool {
    let paired = [
        Counter::ExchangesPaired,
        Counter::ExchangesUnanswered,
        Counter::ExchangesResponseUnseen,
        Counter::ExchangesEndUnseen,
        Counter::ExchangesOneWay,
    ];
    paired.into_iter().any(|counter| counts.get(counter) > 0)
}

fn nonzero(counts: &Counts) -> Vec<Count> {
    counts.nonzero().map(|(counter, count)| Count::of(counter, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_receiver_is_told_with_its_length() {
        let text = "waits for the OTLP receiver to take 1 span, for 4 s at most (limits.shutdown)";
        assert_eq!(waits(1, Duration::from_millis(3_999)), text);
        assert!(waits(7, Duration::from_secs(4)).contains("7 spans, for 4 s"));
    }
}
