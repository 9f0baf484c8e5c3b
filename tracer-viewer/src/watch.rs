//! Looks for faults in what comes in, again and again, and tells of each once.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::time::sleep;
use tracer_analysis::{
    corpus::Corpus,
    incident::{Change, Incident, IncidentsAnswer, Watch},
    report,
};
use tracer_store::Store;

use crate::{blocking::blocking, counters::Counters, stopping::Stopping};

/// Least time from one round to the next.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// Most time.
const MOST_PAUSE: Duration = Duration::from_secs(300);

/// A pause is so many times as long as the round before it took: two percent of a processor at most.
const PAUSE_OF_ROUND: u32 = 50;

/// Spans come some time after they began: what is younger is not looked at.
const SETTLE_US: u64 = 5_000_000;

/// Spans that a round looks at; the newest, if there are more.
const MOST_SPANS: usize = 500_000;

/// Takes what becomes of incidents, such as a webhook. It is called on a thread that may block for a while.
pub trait Notify: Send + Sync + 'static {
    /// An incident has opened, goes on again, or has ended.
    fn changed(&self, change: &Change);
}

/// Who is told of incidents, and whether they are looked for.
#[derive(Clone, Default)]
pub struct WatchSettings {
    /// Whether faults are looked for in what comes in.
    pub enabled: bool,
    /// Who is told.
    pub notified: Vec<Arc<dyn Notify>>,
}

impl fmt::Debug for WatchSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notified = self.notified.len();
        formatter
            .debug_struct("WatchSettings")
            .field("enabled", &self.enabled)
            .field("notified", &notified)
            .finish()
    }
}

/// The watch of one viewer.
pub(crate) struct Watcher {
    settings: WatchSettings,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Watch,
    rounds: u64,
    last_round_us: u64,
    last_took: Duration,
    /// Spans that had come when the last round began.
    received: u64,
}

impl Watcher {
    pub(crate) fn new(settings: WatchSettings, counters: Arc<Counters>) -> Self {
        Self { settings, counters, state: Mutex::default() }
    }

    /// Looks until the viewer stops.
    pub(crate) async fn run(self: Arc<Self>, store: Arc<Store>, mut stopping: Stopping) {
        if !self.settings.enabled {
            return;
        }
        let mut pause = LEAST_PAUSE;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = stopping.wait() => return,
            }
            let (watcher, store) = (self.clone(), store.clone());
            let took = blocking(move || watcher.round(&store, now_us())).await.unwrap_or_default();
            pause = (took * PAUSE_OF_ROUND).clamp(LEAST_PAUSE, MOST_PAUSE);
        }
    }

    /// One look. Tells how long it took.
    fn round(&self, store: &Store, now_us: u64) -> Duration {
        let begin = Instant::now();
        let now_us = now_us.saturating_sub(SETTLE_US);
        let received = store.status().received_spans;
        let window = {
            let mut state = self.state();
            let is_quiet = state.received == received && !state.watch.has_open();
            if is_quiet {
                return Duration::ZERO;
            }
            state.received = received;
            state.watch.window(now_us)
        };
        let corpus = Corpus::from(store.gather(window, MOST_SPANS, None));
        let findings = report::findings(&corpus);
        drop(corpus);
        let changes = {
            let mut state = self.state();
            let changes = state.watch.round(now_us, findings);
            state.rounds += 1;
            (state.last_round_us, state.last_took) = (now_us, begin.elapsed());
            changes
        };
        let took = begin.elapsed();
        for change in &changes {
            self.tell(change);
        }
        took
    }

    fn tell(&self, change: &Change) {
        let Incident { number, finding, .. } = change.incident();
        let sentence = finding.sentence.as_str();
        match change {
            Change::Opened(_) => tracing::warn!(number, "incident: {sentence}"),
            Change::Reopened(_) => tracing::warn!(number, "incident goes on: {sentence}"),
            Change::Ended(_) => tracing::info!(number, "incident has ended: {sentence}"),
        }
        self.counters.incidents.inc();
        for notified in &self.settings.notified {
            notified.changed(change);
        }
    }

    /// What is known of incidents.
    pub(crate) fn answer(&self) -> IncidentsAnswer {
        let state = self.state();
        IncidentsAnswer {
            is_watching: self.settings.enabled,
            incidents: state.watch.incidents().iter().rev().cloned().collect(),
            suppressed: state.watch.suppressed(),
            rounds: state.rounds,
            last_round_unix_us: state.last_round_us,
            last_round_ns: u64::try_from(state.last_took.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
