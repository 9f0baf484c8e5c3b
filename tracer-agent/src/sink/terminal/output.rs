//! Spans as text, in chunks.

use std::{
    borrow::Cow,
    io,
    sync::{Arc, OnceLock},
};

use super::{
    destination::Style,
    escape,
    format::Format,
    json,
    line_limit::LineLimit,
    row::Row,
    style::Palette,
    text::TextLines,
    waterfall::{self, Waterfall},
};
use crate::{
    outside::escaped_json,
    sink::{Outgoing, encode, outlet::Outlet},
    span::Span,
    trace::assembly::Assembly,
};

/// Takes chunks of text.
pub trait ChunkWriter {
    /// Takes a chunk that holds so many spans.
    fn take(&mut self, chunk: Vec<u8>, spans: u64);
}

impl ChunkWriter for Outlet {
    fn take(&mut self, chunk: Vec<u8>, spans: u64) {
        // What does not fit is counted there.
        let _ = self.push(chunk, spans);
    }
}

/// Writes at once, and waits as long as that takes: for a replay.
pub struct AtOnce {
    out: Box<dyn io::Write + Send>,
    error: Arc<OnceLock<io::Error>>,
}

impl AtOnce {
    /// Writes to `out`, until that fails: `error` then tells why.
    pub fn new(out: Box<dyn io::Write + Send>, error: Arc<OnceLock<io::Error>>) -> Self {
        Self { out, error }
    }
}

impl ChunkWriter for AtOnce {
    fn take(&mut self, chunk: Vec<u8>, _: u64) {
        if self.error.get().is_none()
            && let Err(error) = self.out.write_all(&chunk).and_then(|()| self.out.flush())
        {
            self.error.get_or_init(|| error);
        }
    }
}

/// Turns exchanges and traces into text.
pub struct Output {
    format: Format,
    style: Style,
    lines: TextLines,
    waterfall: Waterfall,
    limit: LineLimit,
    assembly: Assembly,
    /// `CLOCK_MONOTONIC` of the last tick.
    now_ns: u64,
    out: Box<dyn ChunkWriter + Send>,
    chunk: Vec<u8>,
    /// In the chunk.
    spans: u64,
}

impl Output {
    /// Largest chunk, but for its last line or trace.
    const CHUNK: usize = 64 * 1024;
    /// Columns that traces are drawn in, whatever the terminal has.
    pub(super) const NARROWEST: usize = 80;
    pub(super) const WIDEST: usize = 160;

    /// Hands its chunks to `out`.
    pub fn new(format: Format, style: Style, out: Box<dyn ChunkWriter + Send>) -> Self {
        Self {
            format,
            style,
            lines: TextLines::new(Palette(style.color)),
            waterfall: Waterfall::new(Palette(style.color)),
            limit: LineLimit::new(if format == Format::Tree { " traces" } else { "" }),
            assembly: Assembly::default(),
            now_ns: 0,
            out,
            chunk: Vec::new(),
            spans: 0,
        }
    }

    /// An exchange has ended.
    pub fn span(&mut self, outgoing: &Outgoing<'_>) {
        let span = outgoing.span();
        match self.format {
            Format::Text => {
                if self.limit.admits(&mut self.chunk, second(span.end_unix_ns), 1) {
                    self.lines.write(&mut self.chunk, &Row::of(span));
                    self.spans += 1;
                }
            }
            Format::Tree => {
                if let Some(trace) = self.assembly.add(span.clone()) {
                    self.trace(&trace);
                }
            }
            Format::Json => {
                json::line(&mut self.chunk, span);
                self.spans += 1;
            }
            Format::OtlpJson => {
                let group = (&*span.resource, vec![&**outgoing.otlp_json()]);
                encode::json::request(&mut self.chunk, &[group]);
                self.chunk.push(b'\n');
                self.spans += 1;
            }
            Format::None => {}
        }
        if self.chunk.len() >= Self::CHUNK {
            self.flush();
        }
    }

    /// Time has passed: finished traces are drawn, what was beyond the limit is counted, and what waits is
    /// handed on.
    pub fn tick(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        for trace in self.assembly.tick(now_ns) {
            self.trace(&trace);
        }
        self.limit.tick(&mut self.chunk);
        self.flush();
    }

    /// No more exchanges come: all is handed on.
    pub fn finish(&mut self) {
        for trace in self.assembly.finish() {
            self.trace(&trace);
        }
        self.limit.tell(&mut self.chunk);
        self.flush();
    }

    /// Writes a text that is no exchange, after the last one: the summary.
    pub fn write(&mut self, text: &str) {
        self.chunk.extend_from_slice(text.as_bytes());
        self.flush();
    }

    /// A trace as a picture, or as a line if that says all: a line names no trace and no parent.
    fn trace(&mut self, spans: &[Span]) {
        let alone = match spans {
            [span] if !self.assembly.is_part(span) => Some(span),
            _ => None,
        };
        let lines = if alone.is_some() { 1 } else { waterfall::lines(spans) };
        if !self.limit.admits(&mut self.chunk, second(self.now_ns), lines) {
            return;
        }
        match alone {
            Some(span) => {
                self.lines.write(&mut self.chunk, &Row::of(span));
                self.waterfall.add_line(span);
            }
            None => {
                let columns = (self.style.columns)().clamp(Self::NARROWEST, Self::WIDEST);
                let Self { assembly, waterfall, chunk, .. } = self;
                waterfall.draw(chunk, spans, columns, |id| assembly.has_come_out(id));
            }
        }
        self.spans += spans.len() as u64;
    }

    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let room = self.chunk.len().min(Self::CHUNK);
        let mut chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(room));
        if self.style.ascii && self.format.is_for_people() {
            chunk = escape::ascii(&String::from_utf8_lossy(&chunk)).into_bytes();
        }
        if !self.format.is_for_people()
            && let Ok(json) = std::str::from_utf8(&chunk)
            && let Cow::Owned(escaped) = escaped_json(json)
        {
            chunk = escaped.into_bytes();
        }
        self.out.take(chunk, std::mem::take(&mut self.spans));
    }
}

fn second(ns: u64) -> u64 {
    ns / 1_000_000_000
}
