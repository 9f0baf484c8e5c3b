//! The viewer's store as a sink: spans of the agent, in the process that shows them.

mod convert;
pub mod restore;

use std::sync::Arc;

use tracer_store::Store;

use self::convert::Converter;
use super::{Account, Outgoing, SpanSink, queue, queue::Queue, queue::Weight};
use crate::{ledger::Counter, span::Span};

/// Spans that wait for the store's thread may hold so much.
const MAX_BYTES: usize = 16 << 20;
/// What a span is taken to hold beside its attributes.
const SPAN_BYTES: usize = 512;
/// Spans that are put into the store at once.
const BATCH: usize = 256;

/// Starts the sink; none if there is no store.
pub(super) fn start(store: Option<Arc<Store>>) -> Result<Option<Box<dyn SpanSink + Send>>, String> {
    let Some(store) = store else { return Ok(None) };
    let queue = queue::start("tracer-store", MAX_BYTES, move |queue| fill(queue, &store))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Some(Box::new(StoreSink { queue })))
}

/// Puts what the queue holds into the store.
fn fill(queue: &Queue<Span>, store: &Store) {
    let mut converter = Converter::default();
    let mut batch = Vec::new();
    let mut taken = Weight::default();
    while let Some((span, weight)) = queue.next() {
        batch.push(converter.span(&span));
        taken.bytes += weight.bytes;
        taken.items += weight.items;
        if batch.len() >= BATCH || queue.is_drained() {
            store.insert(std::mem::take(&mut batch));
            queue.delivered(std::mem::take(&mut taken));
        }
    }
}

struct StoreSink {
    queue: Arc<Queue<Span>>,
}

impl SpanSink for StoreSink {
    fn span(&mut self, span: &Outgoing<'_>) {
        let span = span.span().clone();
        let bytes = SPAN_BYTES + span.attributes.as_bytes().len();
        self.queue.push(span, Weight { bytes, items: 1 });
    }

    fn finish(&mut self, _time_left: std::time::Duration) {
        self.queue.close();
    }

    fn give_up(&mut self) {
        self.queue.end();
    }

    fn account(&self) -> Account {
        let progress = self.queue.progress();
        Account {
            taken: progress.taken,
            delivered: progress.delivered,
            dropped: progress.dropped,
            waiting: progress.waiting,
            ..Account::new(Counter::SpansNotStored)
        }
    }
}

/// Puts spans into a store on the thread that makes them: for a source that waits.
pub struct Direct<'a> {
    store: &'a Store,
    converter: Converter,
    batch: Vec<tracer_model::span::Span>,
    taken: u64,
}

impl<'a> Direct<'a> {
    /// A sink of this store.
    pub fn new(store: &'a Store) -> Self {
        Self { store, converter: Converter::default(), batch: Vec::new(), taken: 0 }
    }

    fn hand_over(&mut self) {
        self.store.insert(std::mem::take(&mut self.batch));
    }
}

impl SpanSink for Direct<'_> {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.batch.push(self.converter.span(span.span()));
        self.taken += 1;
        if self.batch.len() >= BATCH {
            self.hand_over();
        }
    }

    fn account(&self) -> Account {
        let waiting = self.batch.len() as u64;
        let delivered = self.taken - waiting;
        Account { taken: self.taken, delivered, waiting, ..Account::new(Counter::SpansNotStored) }
    }
}

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}
