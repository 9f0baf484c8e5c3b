//! A bounded queue between the pipeline's thread and a sink's thread.
//!
//! The pipeline's thread puts entries in and never waits. The sink's thread takes them out and may wait
//! for ever: for a pipe that nobody reads, a file on a dead mount, a terminal that is stopped. Entries
//! that do not fit are dropped and counted.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What an entry counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes that it holds.
    pub bytes: usize,
    /// Spans, events or messages in it.
    pub items: u64,
}

/// What became of the items so far: `taken = delivered + dropped + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Handed over.
    pub taken: u64,
    /// Written, or whatever the sink does with them.
    pub delivered: u64,
    /// Dropped: the queue was full, the sink had failed, or the agent ended.
    pub dropped: u64,
    /// In the queue, or in the hands of the sink's thread.
    pub waiting: u64,
}

/// The queue.
pub struct Queue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
    max_bytes: usize,
}

struct QueueState<T> {
    waiting: VecDeque<(T, Weight)>,
    /// Of the entries that wait and of the one in the hands of the sink's thread.
    bytes: usize,
    progress: Progress,
    /// An entry was dropped.
    has_dropped: bool,
    /// No more entries come.
    is_closed: bool,
    /// The sink's thread takes no more.
    is_over: bool,
}

impl<T> Queue<T> {
    /// A queue that holds at most so many bytes, or one entry.
    pub fn new(max_bytes: usize) -> Self {
        let state = QueueState {
            waiting: VecDeque::new(),
            bytes: 0,
            progress: Progress::default(),
            has_dropped: false,
            is_closed: false,
            is_over: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // The counts are right even if a thread has panicked while it held the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry in; drops and counts it if it does not fit, or if nobody takes entries any more.
    /// Returns whether it was put in. Never waits.
    pub fn push(&self, entry: T, weight: Weight) -> bool {
        let mut state = self.lock();
        state.progress.taken += weight.items;
        let fits = state.bytes == 0 || state.bytes + weight.bytes <= self.max_bytes;
        if !fits || state.is_closed || state.is_over {
            state.progress.dropped += weight.items;
            state.has_dropped = true;
            return false;
        }
        state.bytes += weight.bytes;
        state.progress.waiting += weight.items;
        state.waiting.push_back((entry, weight));
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Counts items that were dropped before they became an entry.
    pub fn count_dropped(&self, items: u64) {
        let mut state = self.lock();
        state.progress.taken += items;
        state.progress.dropped += items;
    }

    /// Waits for the next entry; none when the queue is closed and empty. For the sink's thread, which
    /// says what became of the entry with [`Self::delivered`] or [`Self::lost`].
    pub fn next(&self) -> Option<(T, Weight)> {
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.waiting.pop_front() {
                return Some(entry);
            }
            if state.is_closed || state.is_over {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An entry was delivered.
    pub fn delivered(&self, weight: Weight) {
        self.settle(weight, |progress| &mut progress.delivered);
    }

    /// An entry was lost.
    pub fn lost(&self, weight: Weight) {
        self.settle(weight, |progress| &mut progress.dropped);
        self.lock().has_dropped = true;
    }

    fn settle(&self, weight: Weight, count: fn(&mut Progress) -> &mut u64) {
        let mut state = self.lock();
        // Whoever has given up waiting has counted it as dropped.
        if state.is_over {
            return;
        }
        state.bytes = state.bytes.saturating_sub(weight.bytes);
        state.progress.waiting = state.progress.waiting.saturating_sub(weight.items);
        *count(&mut state.progress) += weight.items;
        drop(state);
        self.changed.notify_all();
    }

    /// No more entries come; those that wait are still delivered.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether no entry waits: the sink's thread would wait for the next one.
    pub fn is_drained(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether entries may still come, and are taken.
    pub fn is_open(&self) -> bool {
        let state = self.lock();
        !state.is_closed && !state.is_over
    }

    /// Nobody takes entries any more: those that wait are dropped, and all that come.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.has_dropped |= state.bytes > 0;
        state.bytes = 0;
        let left = std::mem::take(&mut state.progress.waiting);
        state.progress.dropped += left;
        let entries = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(entries);
    }

    /// Whether every entry was delivered.
    pub fn is_delivered(&self) -> bool {
        let state = self.lock();
        !state.has_dropped && state.bytes == 0
    }

    /// Bytes of entries that wait, or are in the hands of the sink's thread.
    pub fn bytes_waiting(&self) -> usize {
        self.lock().bytes
    }

    /// What became of the items so far.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// Waits until nothing waits any more, until the deadline at most. Returns whether it came to that.
    pub fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.is_over && (state.bytes > 0 || state.progress.waiting > 0) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Ends the queue when the sink's thread ends, by a panic too.
struct EndOnDrop<T>(Arc<Queue<T>>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts a sink's thread, which runs until the queue is closed and empty. It is never joined: a thread
/// that is stuck ends with the process.
///
/// # Errors
/// There is no thread to have.
pub fn start<T: Send + 'static>(
    name: &str,
    max_bytes: usize,
    run: impl FnOnce(&Queue<T>) + Send + 'static,
) -> io::Result<Arc<Queue<T>>> {
    let queue = Arc::new(Queue::new(max_bytes));
    let ours = EndOnDrop(Arc::clone(&queue));
    std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&ours.0))?;
    Ok(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(bytes: usize) -> Weight {
        Weight { bytes, items: 1 }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_the_order_stays() {
        let queue = Queue::new(10);
        let pushed: Vec<bool> = (0..4).map(|n| queue.push(n, weight(4))).collect();
        assert_eq!(pushed, [true, true, false, false]);
        assert_eq!(queue.progress(), Progress { taken: 4, delivered: 0, dropped: 2, waiting: 2 });
        let (first, taken) = queue.next().expect("an entry");
        assert_eq!(first, 0);
        assert!(!queue.push(4, weight(4)), "what the thread holds counts too");
        queue.delivered(taken);
        assert!(queue.push(5, weight(4)));
        queue.close();
        assert!(!queue.push(6, weight(1)));
        let rest: Vec<i32> = std::iter::from_fn(|| queue.next().map(|(entry, _)| entry)).collect();
        assert_eq!(rest, [1, 5]);
    }

    #[test]
    fn an_entry_larger_than_the_bound_goes_in_alone() {
        let queue = Queue::new(10);
        assert!(queue.push((), weight(100)));
        assert!(!queue.push((), weight(1)));
    }

    #[test]
    fn what_waits_when_the_thread_ends_is_counted_once() {
        let queue = Queue::new(100);
        for _ in 0..3 {
            queue.push((), weight(1));
        }
        let (_, taken) = queue.next().expect("an entry");
        queue.end();
        queue.delivered(taken);
        queue.push((), weight(1));
        assert_eq!(queue.progress(), Progress { taken: 4, delivered: 0, dropped: 4, waiting: 0 });
        assert!(queue.wait_until_empty(Instant::now()));
    }

    #[test]
    fn a_thread_that_panics_ends_its_queue() {
        let queue = start("tracer-test", 100, |queue: &Queue<()>| {
            let _ = queue.next();
            panic!("on purpose");
        })
        .expect("a thread");
        queue.push((), weight(1));
        assert!(queue.wait_until_empty(Instant::now() + Duration::from_secs(10)));
        assert_eq!(queue.progress().dropped, 1);
    }
}
