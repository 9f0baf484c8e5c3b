//! What a person or a program sees at once: finished traces or a line per exchange, and a summary at the
//! end.

#![forbid(unsafe_code)]

mod bar;
mod destination;
mod escape;
mod json;
mod line_limit;
pub(crate) mod row;
mod style;
mod summary;
mod text;
mod waterfall;

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    destination::{Destination, Style},
    summary::Summary,
};
use self::{line_limit::Fold, row::Shown, style::Paint, text::Lines, waterfall::Waterfall};
use crate::{
    exchange::{ConnectionFacts, Exchange},
    span::Span,
    trace::assembly::Waiting,
};

/// What is written of exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A line for people.
    Text,
    /// A picture of each finished trace, for people; a line where it has one span only.
    Tree,
    /// A JSON object on a line.
    Json,
    /// An OTLP request as JSON on a line.
    OtlpJson,
    /// Nothing.
    #[default]
    None,
}

impl Format {
    /// What a person who named no form gets.
    pub fn for_people(destination: &Destination) -> Self {
        if destination.is_terminal() { Self::Tree } else { Self::Text }
    }

    /// Whether people read it: a summary ends it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Text | Self::Tree)
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "tree" => Ok(Self::Tree),
            "json" => Ok(Self::Json),
            "otlp-json" => Ok(Self::OtlpJson),
            "none" => Ok(Self::None),
            other => Err(format!("{other:?} is not one of text, tree, json, otlp-json, none")),
        }
    }
}

/// Writes exchanges and traces.
pub struct Output {
    format: Format,
    style: Style,
    lines: Lines,
    waterfall: Waterfall,
    fold: Fold,
    waiting: Waiting,
    /// `CLOCK_MONOTONIC` of the last tick.
    now_ns: u64,
    out: Box<dyn io::Write + Send>,
    closed: bool,
    buffer: Vec<u8>,
}

impl Output {
    /// Most bytes that wait to be written.
    const BUFFER: usize = 64 * 1024;
    /// Columns that traces are drawn in, whatever the terminal has.
    const NARROWEST: usize = 80;
    const WIDEST: usize = 160;

    /// Writes to `out`.
    pub fn new(format: Format, style: Style, out: Box<dyn io::Write + Send>) -> Self {
        Self {
            format,
            style,
            lines: Lines::new(Paint(style.color)),
            waterfall: Waterfall::new(Paint(style.color)),
            fold: Fold::new(if format == Format::Tree { " traces" } else { "" }),
            waiting: Waiting::default(),
            now_ns: 0,
            out,
            closed: false,
            buffer: Vec::new(),
        }
    }

    /// Whether the reader has gone away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// An exchange has ended.
    pub fn span(&mut self, span: &Span, exchange: &Exchange, facts: &ConnectionFacts) {
        match self.format {
            Format::Text => {
                if self.fold.admits(&mut self.buffer, second(span.end_unix_ns), 1) {
                    self.lines.write(&mut self.buffer, &Shown::of(span, exchange, facts));
                }
            }
            Format::Tree => {
                if let Some(trace) = self.waiting.add(Shown::of(span, exchange, facts)) {
                    self.trace(&trace);
                }
            }
            Format::Json => json::line(&mut self.buffer, span, facts),
            Format::OtlpJson => {
                self.buffer.extend(
                    crate::sink::otlp::json::request(std::slice::from_ref(span)).to_string().into_bytes(),
                );
                self.buffer.push(b'\n');
            }
            Format::None => {}
        }
        if self.buffer.len() >= Self::BUFFER {
            self.flush();
        }
    }

    /// Time has passed: finished traces are drawn, what was folded is counted, and what waits is written.
    pub fn tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        for trace in self.waiting.tick(now_ns) {
            self.trace(&trace);
        }
        self.fold.tick(&mut self.buffer);
        self.flush();
    }

    /// No more exchanges come: all is written.
    pub fn finish(&mut self) {
        for trace in self.waiting.finish() {
            self.trace(&trace);
        }
        self.fold.tell(&mut self.buffer);
        self.flush();
    }

    /// Writes a text that is no exchange, after the last one: the summary.
    pub fn write(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
        self.flush();
    }

    /// A trace as a picture, or as a line if that says all.
    fn trace(&mut self, spans: &[Shown]) {
        let lines = if spans.len() == 1 { 1 } else { waterfall::lines(spans) };
        if !self.fold.admits(&mut self.buffer, second(self.now_ns), lines) {
            return;
        }
        match spans {
            [span] => self.lines.write(&mut self.buffer, span),
            _ => {
                let columns = (self.style.columns)().clamp(Self::NARROWEST, Self::WIDEST);
                self.waterfall.draw(&mut self.buffer, spans, columns);
            }
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.style.ascii && self.format.is_for_people() {
            self.buffer = escape::ascii(&String::from_utf8_lossy(&self.buffer)).into_bytes();
        }
        let written = if self.closed {
            Ok(())
        } else {
            self.out.write_all(&self.buffer).and_then(|()| self.out.flush())
        };
        self.buffer.clear();
        if let Err(error) = written {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(%error, "cannot write the output: it ends here");
            }
        }
    }
}

fn second(ns: u64) -> u64 {
    ns / 1_000_000_000
}
