//! What a person or a program sees at once: finished traces or a line per exchange, and a summary at the
//! end.

mod bar;
mod destination;
pub(crate) mod escape;
mod format;
mod json;
mod line_limit;
mod output;
pub(crate) mod row;
pub(crate) mod style;
mod summary;
mod text;
mod waterfall;

use std::{io, time::Duration};

pub use self::{
    destination::{Destination, Style},
    format::Format,
    output::{AtOnce, Output},
    summary::Summary,
};
use self::{style::Palette, waterfall::Waterfall};
use super::{
    Account, Outgoing, SinkEnd, SpanSink,
    outlet::{Ended, Outlet},
    queue::Progress,
};
use crate::{
    ledger::{Counter, Ledger, LedgerSummary},
    span::Span,
};

/// What the terminal's sink is started with.
pub struct TerminalSettings {
    /// What is written.
    pub format: Format,
    /// Where it goes.
    pub out: Box<dyn io::Write + Send>,
    /// How it looks there.
    pub style: Style,
    /// Write a summary at the end.
    pub summary: bool,
}

/// Bytes of output that wait for whoever reads it. At 300 bytes for a line these are 14,000 lines.
const QUEUE_BYTES: usize = 4 << 20;

/// Starts the sink; none if nothing is written.
pub(super) fn start(settings: TerminalSettings) -> Result<Option<Box<dyn SpanSink + Send>>, String> {
    let TerminalSettings { format, out, style, summary } = settings;
    if format == Format::None && !summary {
        return Ok(None);
    }
    let failed = |error: &io::Error| tracing::warn!(%error, "cannot write the output: it ends here");
    let outlet = Outlet::start("tracer-output", QUEUE_BYTES, out, failed)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Some(Box::new(Terminal {
        output: Output::new(format, style, Box::new(outlet.clone())),
        outlet,
        summary: summary.then(Summary::default),
    })))
}

struct Terminal {
    output: Output,
    outlet: Outlet,
    /// What was seen by endpoint, if it is shown at the end.
    summary: Option<Summary>,
}

impl SpanSink for Terminal {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.output.span(span);
        if let Some(summary) = &mut self.summary {
            summary.add(span.span());
        }
    }

    fn tick(&mut self, now_ns: u64) {
        self.output.tick(now_ns);
    }

    fn finish(&mut self, _: Duration) {
        self.output.finish();
    }

    fn conclude(&mut self, end: &SinkEnd<'_>) {
        if let Some(endpoints) = &self.summary {
            self.output.write(&summary(endpoints, end.ledger, end.names));
        }
        self.outlet.close();
    }

    fn give_up(&mut self) {
        self.outlet.finish(std::time::Instant::now());
    }

    fn replace_output(&mut self, out: &mut Option<Box<dyn io::Write + Send>>) {
        if let Some(out) = out.take()
            && !self.outlet.replace(out)
        {
            tracing::warn!("the output has ended before: the file that was opened again gets nothing");
        }
    }

    fn account(&self) -> Account {
        let Progress { taken, delivered, dropped, waiting } = self.outlet.progress();
        Account {
            taken,
            delivered,
            dropped,
            waiting,
            bytes_waiting: self.outlet.bytes_waiting(),
            ended: self.outlet.ended(),
            ..Account::new(Counter::SpansNotWritten)
        }
    }

    fn problem(&self) -> Option<String> {
        let dropped = self.outlet.progress().dropped;
        let missing = match dropped {
            0 => "its end is missing".to_owned(),
            1 => "1 span is missing".to_owned(),
            dropped => format!("{dropped} spans are missing"),
        };
        match (self.outlet.ended(), self.outlet.error()) {
            (Some(Ended::ReaderGone), _) => None,
            (_, Some(error)) => Some(format!("the output is not complete, {missing}: {error}")),
            (_, None) if self.outlet.is_delivered() => None,
            (_, None) => {
                Some(format!("the output is not complete, {missing}: its reader is too slow or has stopped"))
            }
        }
    }
}

/// A trace that is complete as a picture: each of its spans has a row, however many they are.
pub fn picture(spans: &[Span], style: Style) -> String {
    let mut out = Vec::new();
    let columns = (style.columns)().clamp(Output::NARROWEST, Output::WIDEST);
    Waterfall::of_whole_traces(Palette(style.color)).draw(&mut out, spans, columns, |_| false);
    let text = String::from_utf8_lossy(&out);
    if style.ascii { escape::ascii(&text) } else { text.into_owned() }
}

/// The table of endpoints and the ledger in words.
pub fn summary(endpoints: &Summary, ledger: &Ledger, names: &dyn Fn(u32) -> Option<String>) -> String {
    format!("\n{}\n{}", endpoints.table(), LedgerSummary::new(ledger, names))
}
