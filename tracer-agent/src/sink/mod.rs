//! Where spans go.
//!
//! A sink is handed every span on the pipeline's thread and must not wait there: what may wait stands
//! behind a bounded [`queue`] on a thread of its own, and spans that do not fit are dropped and counted.
//! A new sink is one file with its configuration, one field of [`Settings`] and one line of [`SINKS`].

#![forbid(unsafe_code)]

pub mod otlp;
pub mod outgoing;
pub mod outlet;
pub mod queue;
pub mod terminal;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use self::outgoing::Outgoing;
use self::{
    otlp::{ExportConfig, ExportStatistics},
    outlet::Ended,
};
use crate::ledger::{Counter, Ledger};

/// Takes spans. All of it is called on the pipeline's thread and never waits.
pub trait SpanSink {
    /// A span has ended.
    fn span(&mut self, span: &Outgoing<'_>);
    /// Time has passed, and the spans that came of it were handed over.
    fn tick(&mut self, _now_ns: u64) {}
    /// No more spans come: what waits is delivered until the deadline at most. [`Self::account`] tells
    /// how far that is.
    fn finish(&mut self, _end: &End<'_>) {}
    /// The deadline has passed: spans that are still on their way count as dropped.
    fn give_up(&mut self) {}
    /// What became of the spans so far.
    fn account(&self) -> Account;
}

/// The end, as sinks are told of it.
pub struct End<'a> {
    /// The ledger, complete but for what is lost from now on.
    pub ledger: &'a Ledger,
    /// Name of the service of an instance, by its first process.
    pub names: &'a dyn Fn(u32) -> Option<String>,
    /// How long spans may still be sent.
    pub time_left: Duration,
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
    /// The ledger's counter for `dropped`.
    pub dropped_as: Counter,
    /// Why nothing is delivered any more, if nothing is.
    pub ended: Option<Ended>,
    /// The OTLP exporter's own account, for the status.
    pub export: Option<ExportStatistics>,
}

/// What sinks are started with. Each takes its own part.
#[derive(Default)]
pub struct Settings {
    /// Export by OTLP.
    pub export: ExportConfig,
    /// What is written for people and programs.
    pub terminal: Option<terminal::Settings>,
}

/// Starts a sink; none if it is not configured.
pub type Start = fn(&mut Settings) -> Result<Option<Box<dyn SpanSink + Send>>, String>;

/// All sinks, in the order in which they are handed a span.
pub const SINKS: &[Start] = &[otlp::start, terminal::start];

/// The sinks that are configured.
#[derive(Default)]
pub struct Sinks {
    list: Vec<Started>,
}

struct Started {
    sink: Box<dyn SpanSink + Send>,
    /// Dropped spans that the ledger knows of.
    counted: u64,
}

impl Sinks {
    /// Starts those that are configured.
    ///
    /// # Errors
    /// A configuration cannot be used, or there is no thread to have.
    pub fn start(table: &[Start], settings: &mut Settings) -> Result<Self, String> {
        let mut list = Vec::new();
        for start in table {
            list.extend(start(settings)?.map(|sink| Started { sink, counted: 0 }));
        }
        Ok(Self { list })
    }

    fn accounts(&self) -> impl Iterator<Item = Account> {
        self.list.iter().map(|started| started.sink.account())
    }

    /// Adds the spans that were dropped since the last time to the ledger.
    pub fn count_dropped(&mut self, ledger: &mut Ledger) {
        for Started { sink, counted } in &mut self.list {
            let account = sink.account();
            ledger.add(0, account.dropped_as, account.dropped.saturating_sub(*counted));
            *counted = account.dropped;
        }
    }

    /// The OTLP exporter's account.
    pub fn export(&self) -> Option<ExportStatistics> {
        self.accounts().find_map(|account| account.export)
    }

    /// Whether there is no reason to go on: the reader of a sink has gone away, or every sink has failed.
    pub fn is_over(&self) -> bool {
        let mut ended = self.accounts().map(|account| account.ended).peekable();
        if ended.peek().is_none() {
            return false;
        }
        let ended: Vec<_> = ended.collect();
        ended.contains(&Some(Ended::ReaderGone)) || ended.iter().all(Option::is_some)
    }

    /// What is not delivered by now counts as dropped, whatever a sink's thread still does.
    pub fn give_up(&mut self) {
        for started in &mut self.list {
            started.sink.give_up();
        }
    }

    /// Waits until nothing waits any more, until the deadline at most.
    pub fn wait(&self, deadline: Instant) {
        const STEP: Duration = Duration::from_millis(2);
        while self.accounts().any(|account| account.waiting > 0) && Instant::now() < deadline {
            std::thread::sleep(STEP);
        }
    }
}

impl SpanSink for Sinks {
    fn span(&mut self, span: &Outgoing<'_>) {
        for started in &mut self.list {
            started.sink.span(span);
        }
    }

    fn tick(&mut self, now_ns: u64) {
        for started in &mut self.list {
            started.sink.tick(now_ns);
        }
    }

    fn finish(&mut self, end: &End<'_>) {
        for started in &mut self.list {
            started.sink.finish(end);
        }
    }

    /// Of all sinks together.
    fn account(&self) -> Account {
        let mut sum = Account::new(Counter::SpansNotWritten);
        for account in self.accounts() {
            sum.taken += account.taken;
            sum.delivered += account.delivered;
            sum.dropped += account.dropped;
            sum.waiting += account.waiting;
        }
        sum
    }
}

impl Account {
    /// Of a sink that was handed nothing.
    pub fn new(dropped_as: Counter) -> Self {
        Self { taken: 0, delivered: 0, dropped: 0, waiting: 0, dropped_as, ended: None, export: None }
    }
}
