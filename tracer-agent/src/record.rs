//! Recordings: the stream of everything that the pipeline is told, in the order in which it was told.
//! The same recording gives the same spans, on any machine and without a kernel.
//!
//! A file is [`MAGIC`], then one zstd stream of frames: a byte that tells what it is, its length as a
//! little-endian `u32`, its bytes. The first frame is the header, as JSON.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tracer_common::{DataHeader, FLAG_TURN, KERNEL_COUNTERS, Kind};

use crate::{pipeline::Input, process::facts::ProcessFacts};

/// First bytes of a recording.
pub const MAGIC: &[u8; 8] = b"TRACER\x01\n";
/// Version of the frames. Version 1 did not tell the sizes of the kernel's records.
pub const VERSION: u32 = 2;
/// Longest frame: a header with a large configuration.
const MAX_FRAME: u32 = 16 << 20;

/// What a recording was made with.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Seed of the ids.
    pub seed: u64,
    /// What is the same for all processes of the host.
    pub host: serde_json::Value,
    /// The effective configuration.
    pub config: serde_json::Value,
    /// Sizes of the kernel's records.
    #[serde(default)]
    pub records: RecordSizes,
}

/// Bytes of the fixed part of each kind of record ([`Kind::fixed_bytes`]), by the kind's number.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RecordSizes(BTreeMap<u8, usize>);

impl Default for RecordSizes {
    /// Those of version 1.
    fn default() -> Self {
        Self([(1, 56), (2, 72), (3, 32), (4, 24), (5, 24), (6, 24), (7, 24), (8, 56)].into())
    }
}

impl RecordSizes {
    /// Those of this agent.
    pub fn current() -> Self {
        Self(Kind::ALL.into_iter().map(|kind| (kind as u8, kind.fixed_bytes())).collect())
    }

    /// A record with the fixed part that this agent knows: what a longer one has behind it is left out, what a
    /// shorter one lacks is zero. A record of an unknown kind, or one that is cut, stays as it is.
    fn fit(&self, mut record: Vec<u8>) -> Vec<u8> {
        let Some((kind, recorded)) = record.first().and_then(|byte| {
            let kind = Kind::from_byte(*byte)?;
            Some((kind, *self.0.get(byte)?))
        }) else {
            return record;
        };
        let known = kind.fixed_bytes();
        if recorded != known && record.len() >= recorded {
            let grown = known.saturating_sub(recorded);
            record.splice(known.min(recorded)..recorded, std::iter::repeat_n(0, grown));
        }
        record
    }
}

/// What can be wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened, read or written.
    #[error("recording {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a recording.
    #[error("{0} is not a recording of tracer")]
    NotARecording(PathBuf),
    /// It was made by another version.
    #[error("{path} has format {found}, this tracer reads {VERSION}")]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It is cut or damaged.
    #[error("{path} is damaged at byte {offset} of its uncompressed content: {reason}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// What a frame holds.
mod frame {
    pub(super) const HEADER: u8 = 0;
    pub(super) const RECORD: u8 = 1;
    pub(super) const FACTS: u8 = 2;
    pub(super) const LISTENING: u8 = 3;
    pub(super) const CLOCK: u8 = 4;
    pub(super) const TICK: u8 = 5;
    pub(super) const COUNTERS: u8 = 6;
    pub(super) const EXCLUDED: u8 = 7;
    pub(super) const LATE: u8 = 8;
    pub(super) const FAILED: u8 = 9;
    pub(super) const END: u8 = 10;
}

/// Facts of a process as a frame holds them.
#[derive(Serialize, Deserialize)]
struct Facts {
    facts: ProcessFacts,
    rule: Option<String>,
}

/// Writes a recording.
pub struct Writer {
    out: zstd::Encoder<'static, BufWriter<Box<dyn Write + Send>>>,
    path: PathBuf,
    masks: Option<Masks>,
}

impl Writer {
    /// Creates the file, readable by its owner only. Values of sensitive header fields are masked at
    /// equal length unless `raw`.
    pub fn create(path: &Path, header: &Header, raw: bool) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        Self::to(Box::new(file), path, header, raw)
    }

    /// Writes to `out`; errors name the path.
    pub fn to(
        out: Box<dyn Write + Send>,
        path: &Path,
        header: &Header,
        raw: bool,
    ) -> Result<Self, RecordError> {
        /// Bytes that are handed on at once.
        const CHUNK: usize = 32 * 1024;
        let failed = |source| RecordError::Io { path: path.to_owned(), source };
        let mut file = BufWriter::with_capacity(CHUNK, out);
        file.write_all(MAGIC).map_err(failed)?;
        let out = zstd::Encoder::new(file, 3).map_err(failed)?;
        let mut this = Self { out, path: path.to_owned(), masks: (!raw).then(Masks::default) };
        let header = serde_json::to_vec(header).map_err(|error| failed(error.into()))?;
        this.frame(frame::HEADER, &header)?;
        Ok(this)
    }

    /// Adds what the pipeline is told.
    pub fn write(&mut self, input: &Input<'_>) -> Result<(), RecordError> {
        match input {
            Input::Record(bytes) => match &mut self.masks {
                Some(masks) => {
                    let masked = masks.apply(bytes);
                    self.frame(frame::RECORD, &masked)
                }
                None => self.frame(frame::RECORD, bytes),
            },
            Input::Facts { facts, rule } => {
                let facts = Facts { facts: (**facts).clone(), rule: rule.map(str::to_owned) };
                let json = serde_json::to_vec(&facts).map_err(|error| self.failed(error.into()))?;
                self.frame(frame::FACTS, &json)
            }
            Input::Listening { pid, ports } => {
                let mut bytes = pid.to_le_bytes().to_vec();
                bytes.extend(ports.iter().flat_map(|port| port.to_le_bytes()));
                self.frame(frame::LISTENING, &bytes)
            }
            Input::Clock { offset_ns } => self.frame(frame::CLOCK, &offset_ns.to_le_bytes()),
            Input::Tick { now_ns } => self.frame(frame::TICK, &now_ns.to_le_bytes()),
            Input::Counters(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                self.frame(frame::COUNTERS, &bytes)
            }
            Input::Excluded { pid } => self.frame(frame::EXCLUDED, &pid.to_le_bytes()),
            Input::SelectedLate { pid } => self.frame(frame::LATE, &pid.to_le_bytes()),
            Input::AttachFailed { pid } => self.frame(frame::FAILED, &pid.to_le_bytes()),
        }
    }

    /// Completes the file: without this a reader reports it as cut.
    pub fn finish(mut self) -> Result<(), RecordError> {
        self.frame(frame::END, &[])?;
        let path = self.path;
        let failed = |source| RecordError::Io { path: path.clone(), source };
        self.out.finish().and_then(|mut file| file.flush()).map_err(failed)
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> Result<(), RecordError> {
        let length = bytes.len() as u32;
        self.out
            .write_all(&[kind])
            .and_then(|()| self.out.write_all(&length.to_le_bytes()))
            .and_then(|()| self.out.write_all(bytes))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RecordError {
        RecordError::Io { path: self.path.clone(), source }
    }
}

/// Reads a recording.
pub struct Reader {
    input: zstd::Decoder<'static, BufReader<File>>,
    path: PathBuf,
    offset: u64,
    header: Header,
    done: bool,
}

/// An input that owns its bytes.
#[derive(Debug)]
pub enum OwnedInput {
    /// See [`Input::Record`].
    Record(Vec<u8>),
    /// See [`Input::Facts`].
    Facts(Box<ProcessFacts>, Option<String>),
    /// See [`Input::Listening`].
    Listening(u32, Vec<u16>),
    /// See [`Input::Clock`].
    Clock(i64),
    /// See [`Input::Tick`].
    Tick(u64),
    /// See [`Input::Counters`].
    Counters([u64; KERNEL_COUNTERS as usize]),
    /// See [`Input::Excluded`].
    Excluded(u32),
    /// See [`Input::SelectedLate`].
    SelectedLate(u32),
    /// See [`Input::AttachFailed`].
    AttachFailed(u32),
}

impl OwnedInput {
    /// The input as the pipeline takes it.
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Self::Record(bytes) => Input::Record(bytes),
            Self::Facts(facts, rule) => Input::Facts { facts, rule: rule.as_deref() },
            Self::Listening(pid, ports) => Input::Listening { pid: *pid, ports },
            Self::Clock(offset_ns) => Input::Clock { offset_ns: *offset_ns },
            Self::Tick(now_ns) => Input::Tick { now_ns: *now_ns },
            Self::Counters(values) => Input::Counters(*values),
            Self::Excluded(pid) => Input::Excluded { pid: *pid },
            Self::SelectedLate(pid) => Input::SelectedLate { pid: *pid },
            Self::AttachFailed(pid) => Input::AttachFailed { pid: *pid },
        }
    }
}

impl Reader {
    /// Opens a recording and reads its header.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(RecordError::NotARecording(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordError::NotARecording(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        let input = zstd::Decoder::with_buffer(file).map_err(failed)?;
        let header = Header {
            version: 0,
            agent: String::new(),
            kernel: String::new(),
            seed: 0,
            host: serde_json::Value::Null,
            config: serde_json::Value::Null,
            records: RecordSizes::default(),
        };
        let mut this = Self { input, path: path.to_owned(), offset: 0, header, done: false };
        let (kind, bytes) = this.frame()?;
        if kind != frame::HEADER {
            return Err(this.damaged("it does not begin with a header"));
        }
        this.header = serde_json::from_slice(&bytes).map_err(|error| this.damaged(&error.to_string()))?;
        if !(1..=VERSION).contains(&this.header.version) {
            return Err(RecordError::Version { path: this.path, found: this.header.version });
        }
        Ok(this)
    }

    /// What it was made with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next input; none at the end.
    pub fn next_input(&mut self) -> Result<Option<OwnedInput>, RecordError> {
        if self.done {
            return Ok(None);
        }
        let (kind, bytes) = self.frame()?;
        let input = match kind {
            frame::RECORD => Some(OwnedInput::Record(self.header.records.fit(bytes))),
            frame::FACTS => serde_json::from_slice::<Facts>(&bytes)
                .ok()
                .map(|Facts { facts, rule }| OwnedInput::Facts(Box::new(facts), rule)),
            frame::LISTENING => bytes.split_first_chunk::<4>().map(|(pid, ports)| {
                let ports =
                    ports.chunks_exact(2).filter_map(|port| Some(u16::from_le_bytes(port.try_into().ok()?)));
                OwnedInput::Listening(u32::from_le_bytes(*pid), ports.collect())
            }),
            frame::CLOCK => array(&bytes).map(|bytes| OwnedInput::Clock(i64::from_le_bytes(bytes))),
            frame::TICK => array(&bytes).map(|bytes| OwnedInput::Tick(u64::from_le_bytes(bytes))),
            frame::COUNTERS => {
                let mut values = [0; KERNEL_COUNTERS as usize];
                for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(8)) {
                    *value = bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
                }
                Some(OwnedInput::Counters(values))
            }
            frame::EXCLUDED => array(&bytes).map(|bytes| OwnedInput::Excluded(u32::from_le_bytes(bytes))),
            frame::LATE => array(&bytes).map(|bytes| OwnedInput::SelectedLate(u32::from_le_bytes(bytes))),
            frame::FAILED => array(&bytes).map(|bytes| OwnedInput::AttachFailed(u32::from_le_bytes(bytes))),
            frame::END => {
                self.done = true;
                return Ok(None);
            }
            _ => None,
        };
        input.map(Some).ok_or_else(|| self.damaged(&format!("a frame of kind {kind} makes no sense")))
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), RecordError> {
        let mut head = [0; 5];
        self.exact(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > MAX_FRAME {
            return Err(self.damaged(&format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        self.exact(&mut bytes)?;
        Ok((kind, bytes))
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), RecordError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it is cut")),
            Err(error) => Err(self.damaged(&error.to_string())),
        }
    }

    fn damaged(&self, reason: &str) -> RecordError {
        RecordError::Damaged { path: self.path.clone(), offset: self.offset, reason: reason.to_owned() }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Masks the values of sensitive header fields, also when a value is cut into several records.
#[derive(Default)]
struct Masks {
    lines: FxHashMap<(u64, u8), Line>,
}

/// Where in a line a stream stands.
#[derive(Clone)]
enum Line {
    /// In what may be a field name, so far.
    Name(Vec<u8>),
    /// In a value that is masked.
    Secret,
    /// In anything else.
    Rest,
}

impl Masks {
    /// Fields whose values never reach a recording.
    const FIELDS: [&[u8]; 6] =
        [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization", b"x-api-key", b"x-auth-token"];
    /// Streams that are followed at once.
    const MAX_STREAMS: usize = 65536;

    fn apply(&mut self, record: &[u8]) -> Vec<u8> {
        let mut record = record.to_vec();
        let Some((header, _)) = crate::pipeline::data_header(&record) else {
            if record.first() == Some(&(Kind::Close as u8))
                && let Some(connection) = record.get(8..16).and_then(|bytes| bytes.try_into().ok())
            {
                let connection = u64::from_le_bytes(connection);
                self.lines.remove(&(connection, 0));
                self.lines.remove(&(connection, 1));
            }
            return record;
        };
        let start = size_of::<DataHeader>();
        let end = start + usize::from(header.head_length) + usize::from(header.tail_length);
        let key = (header.connection, header.direction);
        if self.lines.len() >= Self::MAX_STREAMS {
            self.lines.clear();
        }
        let line = self.lines.entry(key).or_insert(Line::Name(Vec::new()));
        if header.flags & FLAG_TURN != 0 {
            *line = Line::Name(Vec::new());
        }
        for byte in record.get_mut(start..end).unwrap_or_default() {
            *line = match (std::mem::replace(line, Line::Rest), *byte) {
                (_, b'\n') => Line::Name(Vec::new()),
                (Line::Name(name), b':')
                    if Self::FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field)) =>
                {
                    Line::Secret
                }
                (Line::Name(mut name), other) if name.len() < 32 && other != b':' => {
                    name.push(other);
                    Line::Name(name)
                }
                (Line::Secret, other) => {
                    if !matches!(other, b'\r' | b' ' | b'\t') {
                        *byte = b'*';
                    }
                    Line::Secret
                }
                _ => Line::Rest,
            };
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(connection: u64, flags: u16, bytes: &[u8]) -> Vec<u8> {
        let header = DataHeader {
            kind: Kind::Data as u8,
            flags,
            head_length: bytes.len() as u16,
            connection,
            length: bytes.len() as u32,
            ..DataHeader::default()
        };
        let mut record = zerocopy::IntoBytes::as_bytes(&header).to_vec();
        record.extend_from_slice(bytes);
        record
    }

    fn header() -> Header {
        Header {
            version: VERSION,
            agent: "test".to_owned(),
            kernel: "test".to_owned(),
            seed: 7,
            host: serde_json::Value::Null,
            config: serde_json::Value::Null,
            records: RecordSizes::current(),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tracer-record-{}-{name}", std::process::id()))
    }

    #[test]
    fn sensitive_values_are_masked_at_equal_length_even_when_cut() {
        let mut masks = Masks::default();
        let first = masks.apply(&data(1, FLAG_TURN, b"GET / HTTP/1.1\r\nAuthorization: Bea"));
        let second = masks.apply(&data(1, 0, b"rer abc\r\nAccept: x\r\nCOOKIE: a=b"));
        let text = [&first[size_of::<DataHeader>()..], &second[size_of::<DataHeader>()..]].concat();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "GET / HTTP/1.1\r\nAuthorization: ****** ***\r\nAccept: x\r\nCOOKIE: ***"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let path = scratch("round-trip");
        let mut writer = Writer::create(&path, &header(), true).expect("a temporary file");
        let record = data(3, 0, b"bytes");
        writer.write(&Input::Record(&record)).expect("written");
        writer.write(&Input::Listening { pid: 4, ports: &[80, 8080] }).expect("written");
        writer.write(&Input::Clock { offset_ns: -5 }).expect("written");
        writer.write(&Input::Tick { now_ns: 6 }).expect("written");
        writer.finish().expect("written");
        let mut reader = Reader::open(&path).expect("a recording");
        assert_eq!(reader.header(), &header());
        let mut inputs = Vec::new();
        while let Some(input) = reader.next_input().expect("whole") {
            inputs.push(input);
        }
        assert!(matches!(&inputs[0], OwnedInput::Record(bytes) if *bytes == record));
        assert!(matches!(&inputs[1], OwnedInput::Listening(4, ports) if *ports == [80, 8080]));
        assert!(matches!(inputs[2], OwnedInput::Clock(-5)));
        assert!(matches!(inputs[3], OwnedInput::Tick(6)));
        assert_eq!(inputs.len(), 4);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn records_of_other_versions_get_the_fixed_part_of_this_one() {
        let record = data(3, 0, b"bytes");
        let fixed = size_of::<DataHeader>();
        let sizes = |bytes| RecordSizes([(Kind::Data as u8, bytes)].into());
        let shorter = [&record[..fixed - 8], b"bytes"].concat();
        assert_eq!(sizes(fixed - 8).fit(shorter), record);
        let longer = [&record[..fixed], &[7; 16], b"bytes"].concat();
        assert_eq!(sizes(fixed + 16).fit(longer), record);
        assert_eq!(sizes(fixed).fit(record.clone()), record);
        for length in 0..fixed {
            assert!(sizes(fixed + 16).fit(record[..length].to_vec()).len() == length, "cut records stay cut");
        }
        assert_eq!(RecordSizes::default().fit(vec![99, 1, 2]), [99, 1, 2]);
    }

    #[test]
    fn a_cut_or_damaged_file_is_an_error_with_its_offset() {
        let path = scratch("cut");
        let mut writer = Writer::create(&path, &header(), true).expect("a temporary file");
        writer.write(&Input::Tick { now_ns: 6 }).expect("written");
        writer.finish().expect("written");
        let whole = std::fs::read(&path).expect("readable");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            let outcome = Reader::open(&path).and_then(|mut reader| {
                while reader.next_input()?.is_some() {}
                Ok(())
            });
            assert!(outcome.is_err() || length + 4 >= whole.len(), "cut at {length} went unnoticed");
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x55;
            std::fs::write(&path, &bad).expect("written");
            let _ = Reader::open(&path).and_then(|mut reader| {
                while reader.next_input()?.is_some() {}
                Ok(())
            });
        }
        std::fs::remove_file(path).expect("removed");
    }
}
