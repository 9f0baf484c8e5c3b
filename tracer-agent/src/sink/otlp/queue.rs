//! Spans that wait to be sent: bounded, and every one accounted for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::config::ExportConfig;
use crate::{sink::ExportStatistics, span::Resource};

/// A span as it will be sent.
pub(super) struct Encoded {
    pub(super) resource: Arc<Resource>,
    pub(super) bytes: Arc<[u8]>,
}

/// Why a span was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    Refused,
    RetriesExhausted,
    TooLarge,
    Shutdown,
}

/// The queue between the pipeline's thread and the exporter's.
pub(super) struct ExportQueue {
    state: Mutex<ExportState>,
    wake: Notify,
    max_spans: usize,
    max_bytes: usize,
    batch_spans: usize,
}

#[derive(Default)]
struct ExportState {
    waiting: VecDeque<Encoded>,
    bytes: usize,
    statistics: ExportStatistics,
    /// Until when to send what is left, once closed.
    closed: Option<Instant>,
}

impl ExportQueue {
    pub(super) fn new(config: &ExportConfig) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            max_spans: config.queue_spans.max(1),
            max_bytes: usize::try_from(config.queue_bytes.0).unwrap_or(usize::MAX),
            batch_spans: config.batch_spans.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ExportState> {
        // Nothing panics while it holds the lock; the counts are right even if something did.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn push(&self, span: Encoded) {
        let mut state = self.lock();
        let state = &mut *state;
        state.statistics.queued += 1;
        state.statistics.in_queue += 1;
        state.bytes += span.bytes.len();
        state.waiting.push_back(span);
        while state.waiting.len() > self.max_spans || state.bytes > self.max_bytes {
            let Some(oldest) = state.waiting.pop_front() else { break };
            state.bytes -= oldest.bytes.len();
            state.statistics.in_queue -= 1;
            state.statistics.dropped_queue_full += 1;
        }
        if state.waiting.len() >= self.batch_spans {
            self.wake.notify_one();
        }
    }

    /// Waits for a full batch, or for `delay`, or the end.
    pub(super) async fn wait(&self, delay: Duration) {
        // Whichever comes first.
        let _ = tokio::time::timeout(delay, self.wake.notified()).await;
    }

    /// Takes up to a batch of at most `max_bytes`. They stay counted as waiting.
    pub(super) fn take(&self, max_bytes: usize) -> Vec<Encoded> {
        let mut state = self.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < self.batch_spans {
            let Some(next) = state.waiting.front() else { break };
            if !batch.is_empty() && bytes + next.bytes.len() > max_bytes {
                break;
            }
            bytes += next.bytes.len();
            state.bytes -= next.bytes.len();
            batch.extend(state.waiting.pop_front());
        }
        batch
    }

    /// Whether three quarters of what it holds are taken.
    pub(super) fn is_nearly_full(&self) -> bool {
        let state = self.lock();
        state.waiting.len() >= self.max_spans - self.max_spans / 4
            || state.bytes >= self.max_bytes - self.max_bytes / 4
    }

    pub(super) fn has_full_batch(&self) -> bool {
        self.lock().waiting.len() >= self.batch_spans
    }

    /// A receiver took spans, but for `rejected`. See [`Answer::Taken`](super::answer::Answer).
    pub(super) fn sent(&self, n: usize, rejected: u64, confirmed: bool) {
        let mut state = self.lock();
        let n = n as u64;
        let rejected = rejected.min(n);
        state.statistics.in_queue = state.statistics.in_queue.saturating_sub(n);
        state.statistics.sent += n - rejected;
        state.statistics.rejected += rejected;
        state.statistics.unconfirmed += if confirmed { 0 } else { n };
    }

    pub(super) fn dropped(&self, n: usize, why: DropReason) {
        let mut state = self.lock();
        let n = n as u64;
        state.statistics.in_queue = state.statistics.in_queue.saturating_sub(n);
        let count = match why {
            DropReason::Refused => &mut state.statistics.dropped_refused,
            DropReason::RetriesExhausted => &mut state.statistics.dropped_retries_exhausted,
            DropReason::TooLarge => &mut state.statistics.dropped_too_large,
            DropReason::Shutdown => &mut state.statistics.dropped_shutdown,
        };
        *count += n;
    }

    pub(super) fn failed(&self, error: &str, again: bool) {
        let mut state = self.lock();
        state.statistics.failures += 1;
        state.statistics.retries += u64::from(again);
        state.statistics.last_error = Some(error.to_owned());
    }

    pub(super) fn statistics(&self) -> ExportStatistics {
        self.lock().statistics.clone()
    }

    /// No more spans come; what is there is sent within `deadline`.
    pub(super) fn close(&self, deadline: Duration) {
        self.lock().closed = Some(Instant::now() + deadline);
        self.wake.notify_one();
    }

    /// Until when to go on, once closed.
    pub(super) fn closing(&self) -> Option<Instant> {
        self.lock().closed
    }

    /// Counts what is left as dropped, whatever the worker still does with it.
    pub(super) fn drop_rest(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.bytes = 0;
        let left = std::mem::take(&mut state.statistics.in_queue);
        state.statistics.dropped_shutdown += left;
    }
}
