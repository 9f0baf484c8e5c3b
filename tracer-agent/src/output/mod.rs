//! What a person or a program sees at once: a line per exchange, and a summary at the end.

#![forbid(unsafe_code)]

mod escape;
mod json;
mod ledger_text;
mod summary;
mod text;

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::text::TextOutput;
pub use self::{ledger_text::write_ledger, summary::Summary};
use crate::{
    exchange::{ConnectionFacts, Exchange},
    span::Span,
};

/// What is written for each exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A line for people.
    Text,
    /// A JSON object on a line.
    Json,
    /// An OTLP request as JSON on a line.
    OtlpJson,
    /// Nothing.
    #[default]
    None,
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "otlp-json" => Ok(Self::OtlpJson),
            "none" => Ok(Self::None),
            other => Err(format!("{other:?} is not one of text, json, otlp-json, none")),
        }
    }
}

/// Writes a line per exchange.
pub struct Output {
    format: Format,
    text: TextOutput,
    out: Box<dyn io::Write + Send>,
    closed: bool,
    buffer: Vec<u8>,
}

impl Output {
    /// Most bytes that wait to be written.
    const BUFFER: usize = 64 * 1024;

    /// Writes to `out`.
    pub fn new(format: Format, color: bool, out: Box<dyn io::Write + Send>) -> Self {
        Self { format, text: TextOutput::new(color), out, closed: false, buffer: Vec::new() }
    }

    /// Whether the reader has gone away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// An exchange has ended.
    pub fn span(&mut self, span: &Span, exchange: &Exchange, facts: &ConnectionFacts) {
        match self.format {
            Format::Text => self.text.line(&mut self.buffer, span, exchange, facts),
            Format::Json => json::line(&mut self.buffer, span, facts),
            Format::OtlpJson => {
                self.buffer.extend(
                    crate::export::json::request(std::slice::from_ref(span)).to_string().into_bytes(),
                );
                self.buffer.push(b'\n');
            }
            Format::None => {}
        }
        if self.buffer.len() >= Self::BUFFER {
            self.flush();
        }
    }

    /// Time has passed: folded lines are counted, and what waits is written.
    pub fn tick(&mut self) {
        self.text.tick(&mut self.buffer);
        self.flush();
    }

    /// Writes a text that is no exchange, after the last one: the summary.
    pub fn write(&mut self, text: &str) {
        self.text.finish(&mut self.buffer);
        self.buffer.extend_from_slice(text.as_bytes());
        self.flush();
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
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
