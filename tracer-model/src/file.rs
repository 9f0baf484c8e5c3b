//! Saved traces: OTLP JSON line by line, as `tracer --output otlp-json` and the Collector's file exporter write it, one OTLP
//! JSON document, Jaeger's JSON, an answer of Jaeger's `/api/v3/traces`; each as it is, or compressed with gzip or zstd.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read},
};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{error::Category, value::RawValue};

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

/// Opens a file of at most so many bytes, decompressed. A last line that is cut is left out, and a note says so.
pub fn open_file(reader: impl Read, max_bytes: u64) -> Result<Opened, FileError> {
    let (bytes, is_cut) = read(reader, max_bytes)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut opened = document(bytes)?;
    if is_cut {
        opened.notes.insert(0, "The file is cut: its compressed data has no end.".to_owned());
    }
    Ok(opened)
}

/// The bytes, decompressed, and whether the compressed data ended too early.
fn read(reader: impl Read, max_bytes: u64) -> Result<(Vec<u8>, bool), FileError> {
    let mut reader = BufReader::new(reader);
    let begin = reader.fill_buf().map_err(FileError::Read)?;
    let mut bytes = Vec::new();
    let (compression, result) = if begin.starts_with(&[0x1f, 0x8b]) {
        (Some("gzip"), MultiGzDecoder::new(reader).take(max_bytes + 1).read_to_end(&mut bytes))
    } else if begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::Decoder::with_buffer(reader);
        (Some("zstd"), decoder.and_then(|decoder| decoder.take(max_bytes + 1).read_to_end(&mut bytes)))
    } else {
        (None, reader.take(max_bytes + 1).read_to_end(&mut bytes))
    };
    let is_cut = match (result, compression) {
        (Ok(_), _) => false,
        (Err(error), None) => return Err(FileError::Read(error)),
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => true,
        (Err(error), Some(compression)) => return Err(FileError::Compression { compression, error }),
    };
    if bytes.len() as u64 > max_bytes {
        return Err(FileError::TooLarge { max_bytes });
    }
    Ok((bytes, is_cut))
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

fn document(bytes: &[u8]) -> Result<Opened, FileError> {
    let begin = bytes.len() - bytes.trim_ascii_start().len();
    match bytes.get(begin) {
        None => return Err(FileError::Empty),
        Some(b'{' | b'[') => {}
        Some(_) => return Err(FileError::NoTraces { what: "it does not begin as JSON does" }),
    }
    let first_line = bytes[..begin].iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = &bytes[begin..];
    let line_end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    // A line that is a document of its own is one of several; a document over several lines begins with one that is none.
    let on_lines = match Kind::of(&text[..line_end]) {
        Ok(kind) => Some(kind?),
        Err(error) if error.classify() == Category::Eof => None,
        Err(error) => return Err(FileError::json(first_line, &error)),
    };
    if let Some(kind) = on_lines {
        return lines(text, first_line, kind);
    }
    let kind = Kind::of(text).map_err(|error| match error.classify() {
        Category::Eof => FileError::Line {
            line: first_line,
            column: 0,
            reason: "the document that begins here has no end: the file is cut".to_owned(),
        },
        _ => FileError::json(first_line, &error),
    })??;
    let mut opened = Opened::new(kind);
    let decoded = decode(text, kind, &mut JsonDecoder::new()).map_err(|problem| problem.at(first_line))?;
    (opened.spans, opened.refused) = (decoded.spans, decoded.refused);
    opened.note_emptiness();
    Ok(opened)
}

/// Documents of one kind, each on a line.
fn lines(text: &[u8], first_line: usize, kind: Kind) -> Result<Opened, FileError> {
    let mut opened = Opened::new(kind);
    let mut decoder = JsonDecoder::new();
    let mut decoded = Decoded::default();
    let mut without_spans = 0;
    let last = text.trim_ascii_end().len();
    let mut begin = 0;
    for (number, line) in (first_line..).zip(text.split(|byte| *byte == b'\n')) {
        let end = begin + line.len();
        begin = end + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match decode(line, kind, &mut decoder) {
            Ok(of_line) => {
                without_spans += usize::from(of_line == Decoded::default());
                decoded.append(of_line);
            }
            // Who wrote it was stopped while it wrote.
            Err(Problem::Json(error)) if end >= last && error.is_eof() => {
                opened.notes.push(format!("Line {number}, the last, is cut. It was left out."));
            }
            Err(problem) => return Err(problem.at(number)),
        }
    }
    if without_spans > 0 {
        let have = if without_spans == 1 { "line has" } else { "lines have" };
        opened.notes.push(format!("{without_spans} {have} no spans."));
    }
    (opened.spans, opened.refused) = (decoded.spans, decoded.refused);
    opened.note_emptiness();
    Ok(opened)
}

impl Opened {
    fn new(kind: Kind) -> Self {
        let format = if kind == Kind::Jaeger { Format::Jaeger } else { Format::Otlp };
        Self { format, spans: Vec::new(), refused: Vec::new(), notes: Vec::new() }
    }

    /// A file without spans is no error: a sender may well write one.
    fn note_emptiness(&mut self) {
        if self.spans.is_empty() && self.refused.is_empty() && self.notes.is_empty() {
            self.notes.push("The file has no spans.".to_owned());
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::{
        otlp::encode_json,
        samples::{resource, span},
    };

    fn open(bytes: &[u8]) -> Result<Opened, FileError> {
        open_file(bytes, MAX_BYTES)
    }

    fn spans(ids: std::ops::RangeInclusive<u64>) -> Vec<Span> {
        ids.map(|id| Span { resource: resource("shop"), ..span(id, 1_000_000, 2_000_000) }).collect()
    }

    /// Each span on a line.
    fn lines_of(spans: &[Span]) -> String {
        spans.iter().map(|span| encode_json(std::slice::from_ref(span)) + "\n").collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn otlp_lines_are_read_and_equal_resources_shared() {
        let spans = spans(1..=3);
        let text = format!("\u{feff}\n{}\r\n\n", lines_of(&spans));
        let opened = open(text.as_bytes()).unwrap();
        assert_eq!(opened, Opened { format: Format::Otlp, spans, refused: Vec::new(), notes: Vec::new() });
        assert!(std::sync::Arc::ptr_eq(&opened.spans[0].resource, &opened.spans[2].resource));
    }

    #[test]
    fn one_document_over_several_lines_is_read() {
        let spans = spans(1..=2);
        let json: serde_json::Value = serde_json::from_str(&encode_json(&spans)).unwrap();
        let opened = open(serde_json::to_string_pretty(&json).unwrap().as_bytes()).unwrap();
        assert_eq!((opened.format, opened.spans), (Format::Otlp, spans));
    }

    #[test]
    fn jaegers_answers_are_read_in_each_form() {
        let spans = spans(1..=2);
        let trace = serde_json::to_string(&jaeger::trace_of(&spans)).unwrap();
        let pretty: serde_json::Value = serde_json::from_str(&trace).unwrap();
        for text in [
            serde_json::to_string(&jaeger::Answer::of(vec![jaeger::trace_of(&spans)])).unwrap(),
            format!("{{\"data\":{trace}}}"),
            format!("[{trace}]"),
            trace.clone(),
            serde_json::to_string_pretty(&pretty).unwrap(),
        ] {
            let opened = open(text.as_bytes()).unwrap();
            assert_eq!((opened.format, opened.notes.len()), (Format::Jaeger, 0), "{text}");
            assert_eq!(opened.spans, spans, "{text}");
        }
        let opened = open(jaeger::api_v3(&spans).as_bytes()).unwrap();
        assert_eq!((opened.format, opened.spans), (Format::Otlp, spans));
    }

    #[test]
    fn compressed_files_are_read_also_in_several_parts() {
        let (first, second) = (spans(1..=2), spans(3..=3));
        let all = spans(1..=3);
        let texts = [lines_of(&first), lines_of(&second)];
        let gzip: Vec<u8> = texts.iter().flat_map(|text| gzip(text.as_bytes())).collect();
        let zstd: Vec<u8> =
            texts.iter().flat_map(|text| zstd::encode_all(text.as_bytes(), 1).unwrap()).collect();
        assert_eq!(open(&gzip).unwrap().spans, all);
        assert_eq!(open(&zstd).unwrap().spans, all);
    }

    #[test]
    fn a_last_line_that_is_cut_is_left_out_with_a_note() {
        let text = lines_of(&spans(1..=3));
        for end in [text.len() - 2, text.len() - 60] {
            for ending in ["", "\n"] {
                let opened = open(format!("{}{ending}", &text[..end]).as_bytes()).unwrap();
                assert_eq!(opened.spans, spans(1..=2));
                assert_eq!(opened.notes, ["Line 3, the last, is cut. It was left out."]);
            }
        }
    }

    #[test]
    fn compressed_data_that_is_cut_gives_what_is_there() {
        let text = lines_of(&spans(1..=500));
        for bytes in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
            let opened = open(&bytes[..bytes.len() - 6]).unwrap();
            assert_eq!(opened.notes[0], "The file is cut: its compressed data has no end.");
            assert!(opened.spans.len() <= 500);
        }
    }

    #[test]
    fn a_wrong_line_in_the_middle_is_an_error_with_its_place() {
        let good = lines_of(&spans(1..=1));
        for (line, message) in [
            ("{\"resourceSpans\":[}\n", "line 2, column 19: expected value"),
            ("{\"resourceSpans\":5}\n", "line 2, column 18: invalid type: integer `5`, expected a sequence"),
            ("{\"resourceSpans\":[\n", "line 2, column 18: EOF while parsing a list"),
        ] {
            let error = open(format!("{good}{line}{good}").as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn what_is_no_trace_is_told_from_what_is() {
        for (text, message) in [
            ("", "the file is empty"),
            (" \n\t", "the file is empty"),
            ("time,name\n1,a\n", "it does not begin as JSON does"),
            ("{\"a\":1}", "it is JSON of another kind"),
            ("{\n\"resourceSpans\": [", "line 1: the document that begins here has no end: the file is cut"),
            ("{\n\"resourceSpans\": ]\n}", "line 2, column 18: expected value"),
            ("{\"data\":[\"a service\"]}", "line 1, column 20: invalid type: string \"a service\""),
        ] {
            let error = open(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let metrics = open(b"{\"resourceMetrics\":[]}").unwrap();
        assert_eq!((metrics.spans.len(), metrics.notes), (0, vec!["1 line has no spans.".to_owned()]));
        assert!(matches!(
            open(&[0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            Err(FileError::Compression { .. })
        ));
    }

    #[test]
    fn a_file_that_unfolds_to_too_much_is_refused() {
        let text = format!("{{\"resourceSpans\":[{}]}}", " ".repeat(10_000_000));
        let error = open_file(&*gzip(text.as_bytes()), 1_000_000).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { max_bytes: 1_000_000 }));
        assert!(open_file(&*gzip(text.as_bytes()), text.len() as u64).is_ok());
    }
}
