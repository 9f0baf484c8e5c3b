//! Looks for faults in what comes in, again and again, and tells of each once.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::time::sleep;
use tracer_analysis::{
    corpus::Corpus,
    dependency::graph::ServiceGraph,
    incident::{Change, Incident, IncidentsAnswer, Watch},
    report,
};
use tracer_model::answer::Window;
use tracer_store::Store;

use crate::{blocking::blocking, counters::Counters, stopping::Stopping};

/// Least time from one round to the next.
const LEAST_PAUSE: Duration = Duration::from_secs(10);

/// Most time.
const MOST_PAUSE: Duration = Duration::from_secs(3600);

/// A pause is so many times as long as the round before it took: two percent of a processor at most.
const PAUSE_OF_ROUND: u32 = 50;

/// Spans come some time after they began: what is younger is not looked at.
const SETTLE_US: u64 = 5_000_000;

/// Spans that a round looks at; the newest, if there are more.
const MOST_SPANS: usize = 500_000;

/// Calls are counted for the service graph when the traces that they are of began so long ago: their spans have come by then.
const COUNT_AFTER_US: u64 = 60_000_000;

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
    graph: Mutex<Graph>,
}

/// Calls since the viewer runs.
#[derive(Default)]
struct Graph {
    counted: Arc<ServiceGraph>,
    /// Traces that began before this are counted. None before the first round.
    up_to_us: Option<u64>,
    /// Traces that were not counted: there were too many spans.
    omitted_traces: u64,
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
        Self { settings, counters, state: Mutex::default(), graph: Mutex::default() }
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
        self.count(store, now_us.saturating_sub(COUNT_AFTER_US));
        let now_us = now_us.saturating_sub(SETTLE_US);
        let received = store.status().received_spans;
        let window = {
            let mut state = self.state();
            let is_quiet = state.received == received && !state.watch.has_open();
            if is_quiet {
                return begin.elapsed();
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

    /// Counts the calls of traces that began since the last time, up to a moment.
    fn count(&self, store: &Store, up_to_us: u64) {
        let mut graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        // What a store held when the viewer started is counted too, as if it came at once.
        let from_us = graph.up_to_us.unwrap_or(0);
        if from_us >= up_to_us {
            return;
        }
        let window = Window { start_unix_us: from_us, end_unix_us: up_to_us };
        let corpus = Corpus::from(store.gather(window, MOST_SPANS, None));
        graph.omitted_traces += corpus.omitted_traces;
        Arc::make_mut(&mut graph.counted).add(&corpus);
        graph.up_to_us = Some(up_to_us);
    }

    /// Calls since the viewer runs, and traces of which they were not counted.
    pub(crate) fn service_graph(&self) -> (Arc<ServiceGraph>, u64) {
        let graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner);
        (graph.counted.clone(), graph.omitted_traces)
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracer_model::{otlp::decode_json, span::Span};
    use tracer_store::Limits;

    use super::*;

    const MINUTE_US: u64 = 60_000_000;

    fn call(trace: u128, start_us: u64) -> Vec<Span> {
        let of = |service: &str, id: u64, parent: &str, kind: u8| {
            json!({
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [{"spans": [{
                    "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"), "parentSpanId": parent,
                    "name": "GET /", "kind": kind, "startTimeUnixNano": (start_us * 1000).to_string(),
                    "endTimeUnixNano": (start_us * 1000 + 1000).to_string(),
                }]}],
            })
        };
        let request = json!({"resourceSpans": [of("shop", 1, "", 3), of("stock", 2, "0000000000000001", 2)]});
        decode_json(request.to_string().as_bytes()).expect("it is OTLP").spans
    }

    #[test]
    fn each_call_is_counted_once_for_the_service_graph() {
        let watcher = Watcher::new(WatchSettings::default(), Arc::default());
        let store = Store::in_memory(Limits::default());
        let counted = || watcher.service_graph().0.edges.values().map(|counts| counts.requests).sum::<u64>();
        let now = now_us();
        store.insert(call(1, now - 3 * MINUTE_US));
        store.insert(call(2, now - MINUTE_US / 2));
        watcher.round(&store, now);
        assert_eq!(counted(), 1, "the second may not be whole yet");
        watcher.round(&store, now);
        assert_eq!(counted(), 1);
        watcher.round(&store, now + MINUTE_US);
        assert_eq!(counted(), 2);
        store.insert(call(3, now + MINUTE_US));
        watcher.round(&store, now + 3 * MINUTE_US);
        watcher.round(&store, now + 4 * MINUTE_US);
        assert_eq!(counted(), 3);
    }
}
