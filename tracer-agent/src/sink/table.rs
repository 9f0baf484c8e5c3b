//! All sinks, and those that are configured.

use std::{io, sync::Arc, time::Duration};

use tracer_store::Store;

use super::{
    Account, ExportStatistics, Outgoing, SinkEnd, SpanSink,
    otlp::{self, ExportConfig},
    outlet::Ended,
    store, terminal,
};
use crate::ledger::{Counter, Ledger};

/// What sinks are started with. Each takes its own part.
#[derive(Default)]
pub struct SinkSettings {
    /// Export by OTLP.
    pub export: ExportConfig,
    /// What is written for people and programs.
    pub terminal: Option<terminal::TerminalSettings>,
    /// The store that the viewer shows.
    pub store: Option<Arc<Store>>,
}

/// Starts a sink; none if it is not configured.
pub type StartSink = fn(&mut SinkSettings) -> Result<Option<Box<dyn SpanSink + Send>>, String>;

/// All sinks, in the order in which they are handed a span.
pub const SINKS: &[StartSink] = &[
    |settings| otlp::start(&settings.export),
    |settings| settings.terminal.take().map_or(Ok(None), terminal::start),
    |settings| store::start(settings.store.take()),
];

/// The sinks that are configured.
#[derive(Default)]
pub struct Sinks {
    list: Vec<Started>,
}

struct Started {
    sink: Box<dyn SpanSink + Send>,
    /// Dropped spans that the ledger knows of.
    counted: u64,
    /// The same, of spans that a server took which is no OTLP receiver by its answers.
    unconfirmed: u64,
}

impl Sinks {
    /// Starts those that are configured.
    ///
    /// # Errors
    /// A configuration cannot be used, or there is no thread to have.
    pub fn start(table: &[StartSink], settings: &mut SinkSettings) -> Result<Self, String> {
        let mut list = Vec::new();
        for start in table {
            list.extend(start(settings)?.map(|sink| Started { sink, counted: 0, unconfirmed: 0 }));
        }
        Ok(Self { list })
    }

    fn accounts(&self) -> impl Iterator<Item = Account> {
        self.list.iter().map(|started| started.sink.account())
    }

    /// Adds the spans that were dropped since the last time to the ledger.
    pub fn count_dropped(&mut self, ledger: &mut Ledger) {
        for Started { sink, counted, unconfirmed } in &mut self.list {
            let account = sink.account();
            ledger.add(0, account.dropped_as, account.dropped.saturating_sub(*counted));
            *counted = account.dropped;
            let all = account.export.map_or(0, |export| export.unconfirmed);
            ledger.add(0, Counter::SpansUnconfirmed, all.saturating_sub(*unconfirmed));
            *unconfirmed = all;
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

    /// What is not on another host by now counts as dropped.
    pub fn give_up_export(&mut self) {
        for started in &mut self.list {
            if started.sink.account().export.is_some() {
                started.sink.give_up();
            }
        }
    }

    /// What is not delivered by now counts as dropped, whatever a sink's thread still does.
    pub fn give_up(&mut self) {
        for started in &mut self.list {
            started.sink.give_up();
        }
    }

    /// Whether spans are on their way to another host.
    pub fn is_exporting(&self) -> bool {
        self.accounts().any(|account| account.export.is_some() && account.waiting > 0)
    }

    /// Bytes that are on their way to files, pipes and terminals of this host.
    pub fn bytes_waiting(&self) -> usize {
        self.accounts().map(|account| account.bytes_waiting).sum()
    }

    /// Why what was written on this host is not complete, if it is not.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.list.iter().filter_map(|started| started.sink.problem())
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

    fn finish(&mut self, time_left: Duration) {
        for started in &mut self.list {
            started.sink.finish(time_left);
        }
    }

    fn conclude(&mut self, end: &SinkEnd<'_>) {
        for started in &mut self.list {
            started.sink.conclude(end);
        }
    }

    fn replace_output(&mut self, out: &mut Option<Box<dyn io::Write + Send>>) {
        for started in &mut self.list {
            started.sink.replace_output(out);
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
            sum.bytes_waiting += account.bytes_waiting;
        }
        sum
    }
}
