//! Segments in a line: what each holds may be read while others take spans.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{aggregate::calls::Local, segment::Segment};

/// A segment that others may read. Whoever holds it asks for nothing else of the store.
pub(crate) struct Shared {
    pub(crate) number: u32,
    segment: RwLock<Segment>,
    /// Rows that are on disk.
    written: AtomicUsize,
    /// What it told of its traces, as long as that is right, and the memory of it.
    local: Mutex<Option<Arc<Local>>>,
    local_bytes: AtomicUsize,
}

impl Shared {
    fn new(number: u32, max_rows: usize) -> Arc<Self> {
        Arc::new(Self {
            number,
            segment: RwLock::new(Segment::new(number, max_rows)),
            written: AtomicUsize::new(0),
            local: Mutex::new(None),
            local_bytes: AtomicUsize::new(0),
        })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Segment> {
        self.segment.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it tells of traces that lie in it alone. `segment` is what `read` gave.
    pub(crate) fn local(&self, segment: &Segment) -> Arc<Local> {
        let known = self.local.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_of(segment)) {
            return known;
        }
        let local = Arc::new(Local::of(segment));
        self.local_bytes.store(local.bytes(), Ordering::Relaxed);
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&local));
        local
    }

    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn set_written(&self, rows: usize) {
        self.written.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Segment> {
        self.segment.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    bytes: usize,
}

/// Segments in the order of their numbers. The last takes spans.
pub(crate) struct Line {
    pub(crate) held: VecDeque<Held>,
    bytes: usize,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { held: VecDeque::new(), bytes: 0 }
    }

    /// Memory of its segments, and of what they told.
    pub(crate) fn bytes(&self) -> usize {
        let of_local = self.held.iter().map(|held| held.shared.local_bytes.load(Ordering::Relaxed));
        self.bytes + of_local.sum::<usize>()
    }

    pub(crate) fn open(&mut self, number: u32, max_rows: usize) -> Arc<Shared> {
        let shared = Shared::new(number, max_rows);
        self.held.push_back(Held { shared: Arc::clone(&shared), bytes: 0 });
        shared
    }

    pub(crate) fn find(&self, number: u32) -> Option<&Arc<Shared>> {
        let place = self.held.binary_search_by_key(&number, |held| held.shared.number).ok()?;
        Some(&self.held[place].shared)
    }

    /// Measures the last segment.
    pub(crate) fn measure(&mut self, bytes: usize) {
        if let Some(last) = self.held.back_mut() {
            self.bytes = self.bytes + bytes - last.bytes;
            last.bytes = bytes;
        }
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Arc<Shared>> {
        let held = self.held.pop_front()?;
        self.bytes -= held.bytes;
        Some(held.shared)
    }
}
