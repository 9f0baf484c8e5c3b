//! Saved traces: OTLP JSON line by line, as `tracer --output otlp-json` and the Collector's file exporter write it, one OTLP
//! JSON document, Jaeger's JSON, an answer of Jaeger's `/api/v3/traces`; each as it is, or compressed with gzip or zstd.

mod sink;
mod source;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, IgnoredAny},
};
use serde_json::{error::Category, value::RawValue};

use self::{sink::Sink, source::Source, stream::Decoders};
use crate::{
    jaeger::{self, JaegerError},
    otlp::{Decoded, JsonDecoder, OtlpError},
    span::Span,
};

/// Bytes of a file, decompressed, if nothing else is wanted. Its spans take about as much again.
pub const MAX_BYTES: u64 = 1 << 30;

/// A file's spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// What form the file has.
    pub format: Format,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Spans that were refused: why, and how many.
    pub refused: Vec<(&'static str, u64)>,
    /// What a reader must know of the file, in words: that it is cut, lines without spans.
    pub notes: Vec<String>,
}

/// Form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OTLP JSON, one request or one on each line.
    Otlp,
    /// Jaeger's JSON.
    Jaeger,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Otlp => "OTLP JSON",
            Self::Jaeger => "Jaeger JSON",
        })
    }
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the file: {0}")]
    Read(io::Error),
    /// It is compressed, and what is compressed is broken.
    #[error("cannot decompress the file ({compression}): {error}")]
    Compression {
        /// `gzip` or `zstd`.
        compression: &'static str,
        /// What is wrong.
        error: io::Error,
    },
    /// It has too many bytes.
    #[error(
        "the file has more than {max_bytes} bytes (decompressed), which is the limit; split it by its lines"
    )]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error(
        "the file has no traces that can be read: {what}. It must be OTLP JSON (a request, or one on each line) or \
         Jaeger's JSON, as it is or compressed with gzip or zstd"
    )]
    NoTraces {
        /// What it seems to be.
        what: &'static str,
    },
    /// A line is not what it should be.
    #[error("line {line}{}: {reason}", in_column(*column))]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Number of the byte in it, from 1; 0 if it is the line as a whole.
        column: usize,
        /// What is wrong.
        reason: String,
    },
}

impl FileError {
    /// An error of JSON that begins on a line.
    fn json(first_line: usize, error: &serde_json::Error) -> Self {
        let reason = error.to_string();
        // The place stands at the end of the text, and counts from the beginning of what was read.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason).to_owned();
        Self::Line { line: first_line + error.line().saturating_sub(1), column: error.column(), reason }
    }
}

fn in_column(column: usize) -> String {
    if column == 0 { String::new() } else { format!(", column {column}") }
}

/// What a file was.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSummary {
    /// What form it has.
    pub format: Format,
    /// Spans that were taken.
    pub spans: u64,
    /// Spans that were refused: why, and how many.
    pub refused: Vec<(&'static str, u64)>,
    /// What a reader must know of the file, in words: that it is cut, lines without spans.
    pub notes: Vec<String>,
}

/// Opens a file of at most so many bytes, decompressed. A last line that is cut is left out, and a note says so.
pub fn open_file(reader: impl Read, max_bytes: u64) -> Result<Opened, FileError> {
    let mut spans = Vec::new();
    let FileSummary { format, refused, notes, .. } =
        read_file(reader, max_bytes, &mut |some| spans.extend(some))?;
    Ok(Opened { format, spans, refused, notes })
}

/// Reads a file of at most so many bytes, decompressed, and gives its spans away while it reads. It takes as much memory as
/// the largest line; of a document over several lines, or on a long one, as much as some ten thousand spans, or the largest
/// trace of Jaeger's JSON.
///
/// Of a file that is broken, the spans before the break have been given away when the error comes.
pub fn read_file(
    reader: impl Read,
    max_bytes: u64,
    take: &mut dyn FnMut(Vec<Span>),
) -> Result<FileSummary, FileError> {
    let mut source = Source::new(reader, max_bytes)?;
    let mut sink = Sink::new(take);
    let result = document(&mut source, &mut sink);
    // What stopped the source is the cause of whatever else seems wrong.
    if let Some(failure) = source.failure.take() {
        return Err(failure);
    }
    let (kind, mut notes) = result?;
    let (spans, refused) = sink.finish();
    // A file without spans is no error: a sender may well write one.
    if spans == 0 && refused.is_empty() && notes.is_empty() {
        notes.push("The file has no spans.".to_owned());
    }
    if source.is_cut {
        notes.insert(0, "The file is cut: its compressed data has no end.".to_owned());
    }
    Ok(FileSummary { format: kind.format(), spans, refused, notes })
}

/// Fields that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(alias = "resource_spans")]
    resource_spans: Option<IgnoredAny>,
    result: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
    spans: Option<IgnoredAny>,
    #[serde(alias = "resource_metrics")]
    resource_metrics: Option<IgnoredAny>,
    #[serde(alias = "resource_logs")]
    resource_logs: Option<IgnoredAny>,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Otlp,
    OtlpInResult,
    Jaeger,
}

impl Kind {
    fn of(text: &[u8]) -> Result<Result<Self, FileError>, serde_json::Error> {
        if text.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice::<Vec<IgnoredAny>>(text)?;
            return Ok(Ok(Self::Jaeger));
        }
        let shape: Shape = serde_json::from_slice(text)?;
        Ok(if shape.resource_spans.is_some() {
            Ok(Self::Otlp)
        } else if shape.result.is_some() {
            Ok(Self::OtlpInResult)
        } else if shape.data.is_some() || shape.spans.is_some() {
            Ok(Self::Jaeger)
        } else if shape.resource_metrics.is_some() || shape.resource_logs.is_some() {
            // Spans may follow on other lines.
            Ok(Self::Otlp)
        } else {
            Err(FileError::NoTraces { what: "it is JSON of another kind" })
        })
    }
}

/// Longest first line that is read to see whether it is a document of its own.
const MOST_FIRST_LINE: u64 = 4 << 20;

fn document(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<(Kind, Vec<String>), FileError> {
    let mut first_line = 1;
    source.skip(b"\xef\xbb\xbf");
    while let Some(byte) = source.peek() {
        if !byte.is_ascii_whitespace() {
            break;
        }
        first_line += usize::from(byte == b'\n');
        source.consume(1);
    }
    match source.peek() {
        None => return Err(FileError::Empty),
        Some(b'{' | b'[') => {}
        Some(_) => return Err(FileError::NoTraces { what: "it does not begin as JSON does" }),
    }
    let mut line = Vec::new();
    source.by_ref().take(MOST_FIRST_LINE).read_until(b'\n', &mut line).map_err(FileError::Read)?;
    if line.len() as u64 == MOST_FIRST_LINE {
        return documents(&line, source, first_line, sink);
    }
    // A line that is a document of its own is one of several; a document over several lines begins with one that is none.
    match Kind::of(&line) {
        Ok(kind) => lines(line, source, first_line, kind?, sink),
        Err(error) if error.classify() == Category::Eof => documents(&line, source, first_line, sink),
        Err(error) => Err(FileError::json(first_line, &error)),
    }
}

/// A document over several lines, or on a long one, and those that follow it.
fn documents(
    begin: &[u8],
    source: &mut Source<'_>,
    first_line: usize,
    sink: &mut Sink<'_>,
) -> Result<(Kind, Vec<String>), FileError> {
    let mut reader = serde_json::Deserializer::from_reader(begin.chain(source));
    let mut found = None;
    let mut decoders = Decoders::new();
    loop {
        let seed = stream::Document { decoders: &mut decoders, sink, found: &mut found };
        seed.deserialize(&mut reader).map_err(|error| match error.classify() {
            Category::Eof => FileError::Line {
                line: first_line,
                column: 0,
                reason: "the document that begins here has no end: the file is cut".to_owned(),
            },
            _ => FileError::json(first_line, &error),
        })?;
        if reader.end().is_ok() {
            break;
        }
    }
    let kind = found.ok_or(FileError::NoTraces { what: "it is JSON of another kind" })?;
    Ok((kind, Vec::new()))
}

/// Documents of one kind, each on a line.
fn lines(
    mut line: Vec<u8>,
    source: &mut Source<'_>,
    first_line: usize,
    kind: Kind,
    sink: &mut Sink<'_>,
) -> Result<(Kind, Vec<String>), FileError> {
    let mut notes = Vec::new();
    let mut decoder = JsonDecoder::new();
    let mut without_spans = 0;
    for number in first_line.. {
        let text = line.trim_ascii();
        if !text.is_empty() {
            match decode(text, kind, &mut decoder) {
                Ok(of_line) => {
                    without_spans += usize::from(of_line == Decoded::default());
                    sink.append(of_line);
                }
                // Who wrote it was stopped while it wrote.
                Err(Problem::Json(error)) if error.is_eof() && source.has_only_blanks() => {
                    notes.push(format!("Line {number}, the last, is cut. It was left out."));
                    break;
                }
                Err(problem) => return Err(problem.at(number)),
            }
        }
        line.clear();
        if source.read_until(b'\n', &mut line).map_err(FileError::Read)? == 0 {
            break;
        }
    }
    if without_spans > 0 {
        let have = if without_spans == 1 { "line has" } else { "lines have" };
        notes.push(format!("{without_spans} {have} no spans."));
    }
    Ok((kind, notes))
}

impl Kind {
    fn format(self) -> Format {
        if self == Self::Jaeger { Format::Jaeger } else { Format::Otlp }
    }
}

/// What is wrong with a document.
enum Problem {
    Json(serde_json::Error),
    Other(String),
}

impl Problem {
    fn at(self, line: usize) -> FileError {
        match self {
            Self::Json(error) => FileError::json(line, &error),
            Self::Other(reason) => FileError::Line { line, column: 0, reason },
        }
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<OtlpError> for Problem {
    fn from(error: OtlpError) -> Self {
        match error {
            OtlpError::Json(error) => Self::Json(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<JaegerError> for Problem {
    fn from(error: JaegerError) -> Self {
        match error {
            JaegerError::Json(error) => Self::Json(error),
            other @ JaegerError::NoTraces => Self::Other(other.to_string()),
        }
    }
}

fn decode(text: &[u8], kind: Kind, decoder: &mut JsonDecoder) -> Result<Decoded, Problem> {
    /// The envelope of Jaeger's gateway.
    #[derive(Deserialize)]
    struct Gateway<'a> {
        #[serde(borrow)]
        result: &'a RawValue,
    }
    Ok(match kind {
        Kind::Otlp => decoder.decode(text)?,
        Kind::OtlpInResult => {
            let gateway: Gateway<'_> = serde_json::from_slice(text)?;
            decoder.decode(gateway.result.get().as_bytes())?
        }
        Kind::Jaeger => jaeger::decode(text)?,
    })
}
