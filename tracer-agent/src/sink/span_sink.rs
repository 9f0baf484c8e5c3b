//! What every sink is.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Outgoing, outlet::Ended};
use crate::ledger::{Counter, Ledger};

/// Takes spans. All of it is called on the pipeline's thread and never waits.
pub trait SpanSink {
    /// A span has ended.
    fn span(&mut self, span: &Outgoing<'_>);
    /// Time has passed, and the spans that came of it were handed over.
    fn tick(&mut self, _now_ns: u64) {}
    /// No more spans come: what waits is delivered within this time at most. [`Self::account`] tells
    /// how far that is.
    fn finish(&mut self, _time_left: Duration) {}
    /// What goes to other hosts has arrived, or counts as dropped: the time to write what is said at the end.
    fn conclude(&mut self, _end: &SinkEnd<'_>) {}
    /// The deadline has passed: spans that are still on their way count as dropped.
    fn give_up(&mut self) {}
    /// What is written on this host goes on to `out`, if this sink writes it.
    fn replace_output(&mut self, _out: &mut Option<Box<dyn io::Write + Send>>) {}
    /// What became of the spans so far.
    fn account(&self) -> Account;
    /// Why what was written on this host is not complete, if it is not: for the end.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// The end, as sinks are told of it.
pub struct SinkEnd<'a> {
    /// The ledger, complete but for what this host still takes.
    pub ledger: &'a Ledger,
    /// Name of the service of an instance, by its first process.
    pub names: &'a dyn Fn(u32) -> Option<String>,
}

/// What became of the spans that a sink was handed: `taken = delivered + dropped + waiting`.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Handed over.
    pub taken: u64,
    /// Where they should be.
    pub delivered: u64,
    /// Lost to this sink.
    pub dropped: u64,
    /// Still on their way.
    pub waiting: u64,
    /// Bytes that are still on their way to a file, a pipe or a terminal: of spans, or of a summary.
    pub bytes_waiting: usize,
    /// The ledger's counter for `dropped`.
    pub dropped_as: Counter,
    /// Why nothing is delivered any more, if nothing is.
    pub ended: Option<Ended>,
    /// The OTLP exporter's own account, for the status.
    pub export: Option<ExportStatistics>,
}

impl Account {
    /// Of a sink that was handed nothing.
    pub fn new(dropped_as: Counter) -> Self {
        Self {
            taken: 0,
            delivered: 0,
            dropped: 0,
            waiting: 0,
            bytes_waiting: 0,
            dropped_as,
            ended: None,
            export: None,
        }
    }
}

/// What became of the spans that were handed to the exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportStatistics {
    /// Spans handed over.
    pub queued: u64,
    /// Spans that the receiver took.
    pub sent: u64,
    /// Those of the sent spans that were taken with an answer that is not an OTLP receiver's.
    pub unconfirmed: u64,
    /// Spans that the receiver refused in a request that it took.
    pub rejected: u64,
    /// Spans that still wait, or are under way.
    pub in_queue: u64,
    /// Dropped because the queue was full.
    pub dropped_queue_full: u64,
    /// Dropped because the receiver refused the request for good.
    pub dropped_refused: u64,
    /// Dropped because the receiver could not be reached for too long.
    pub dropped_retries_exhausted: u64,
    /// Dropped because a span alone was too large.
    pub dropped_too_large: u64,
    /// Dropped because the agent ended.
    pub dropped_shutdown: u64,
    /// Requests that were tried again.
    pub retries: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

impl ExportStatistics {
    /// Spans that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_queue_full
            + self.dropped_refused
            + self.dropped_retries_exhausted
            + self.dropped_too_large
            + self.dropped_shutdown
    }
}
