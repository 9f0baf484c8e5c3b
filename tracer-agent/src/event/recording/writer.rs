//! Writing a recording.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{Facts, MAGIC, Masks, Preamble, RecordingError, create, frame};
use crate::{
    event::{Input, Malformed},
    process::name::reduced,
};

/// Writes a recording.
pub struct Writer {
    out: zstd::Encoder<'static, BufWriter<Box<dyn Write + Send>>>,
    path: PathBuf,
    /// None records all bytes as they are.
    masks: Option<Masks>,
    /// Takes the place of the digests of programs, from which words of a command line could be guessed: programs that
    /// differ still do.
    digests: RandomState,
    /// The frame that is put together; its memory serves again.
    bytes: Vec<u8>,
    flushed_ns: u64,
}

impl Writer {
    /// Longest time, by ticks, that what was written is not in the file: a reader gets all before it if the agent
    /// is killed.
    const FLUSH_NS: u64 = 1_000_000_000;

    /// Creates the file, readable by its owner only. `masks` hide secrets at equal length; without them all bytes
    /// are recorded as they are.
    ///
    /// # Errors
    /// The file cannot be written, or is no regular file.
    pub fn create(path: &Path, preamble: &Preamble, masks: Option<Masks>) -> Result<Self, RecordingError> {
        Self::to(Box::new(create(path)?), path, preamble, masks)
    }

    /// As [`Writer::create`], into what was opened already; `path` is for messages.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn to(
        out: Box<dyn Write + Send>,
        path: &Path,
        preamble: &Preamble,
        masks: Option<Masks>,
    ) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Io { path: path.to_owned(), source };
        let mut file = BufWriter::new(out);
        file.write_all(MAGIC).map_err(failed)?;
        let out = zstd::Encoder::new(file, 3).map_err(failed)?;
        let mut this = Self {
            out,
            path: path.to_owned(),
            masks,
            digests: RandomState::new(),
            bytes: Vec::new(),
            flushed_ns: 0,
        };
        serde_json::to_writer(&mut this.bytes, preamble).map_err(|error| failed(error.into()))?;
        this.frame(frame::PREAMBLE)?;
        this.out.flush().map_err(failed)?;
        Ok(this)
    }

    /// Adds what the pipeline is told.
    ///
    /// # Errors
    /// The file cannot be written; it ends with what was written before.
    pub fn write(&mut self, input: &Input<'_>) -> Result<(), RecordingError> {
        self.bytes.clear();
        let kind = match input {
            Input::Event(event) => {
                event.encode(&mut self.bytes);
                if let Some(masks) = &mut self.masks {
                    masks.apply(event, &mut self.bytes);
                }
                frame::RECORD
            }
            // Its bytes may hold anything.
            Input::Malformed(malformed) => {
                self.bytes.extend(match malformed {
                    Malformed::Empty => [0, 0],
                    Malformed::UnknownKind(kind) => [1, *kind],
                    Malformed::Cut(kind) => [2, *kind as u8],
                });
                frame::MALFORMED
            }
            Input::Facts { facts, rule } => {
                let mut facts = Facts { facts: (**facts).clone(), rule: rule.map(str::to_owned) };
                if self.masks.is_some() {
                    facts.facts.command_line = reduced(&facts.facts);
                    facts.facts.program = facts.facts.program.map(|program| self.digests.hash_one(program));
                }
                serde_json::to_writer(&mut self.bytes, &facts).map_err(|error| self.failed(error.into()))?;
                frame::FACTS
            }
            Input::Tasks { pid, tasks } => {
                serde_json::to_writer(&mut self.bytes, &(pid, tasks))
                    .map_err(|error| self.failed(error.into()))?;
                frame::TASKS
            }
            Input::Remembered(programs) => {
                let mut programs = programs.to_vec();
                if self.masks.is_some() {
                    programs.iter_mut().for_each(|it| it.program = self.digests.hash_one(it.program));
                }
                serde_json::to_writer(&mut self.bytes, &programs)
                    .map_err(|error| self.failed(error.into()))?;
                frame::REMEMBERED
            }
            Input::Listening { pid, ports } => {
                self.bytes.extend(pid.to_le_bytes());
                self.bytes.extend(ports.iter().flat_map(|port| port.to_le_bytes()));
                frame::LISTENING
            }
            Input::Clock { offset_ns } => self.number(frame::CLOCK, offset_ns.to_le_bytes()),
            Input::Tick { now_ns } => self.number(frame::TICK, now_ns.to_le_bytes()),
            Input::Counters(values) => {
                self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                frame::COUNTERS
            }
            Input::Excluded { pid } => self.number(frame::EXCLUDED, pid.to_le_bytes()),
            Input::SelectedLate { pid } => self.number(frame::LATE, pid.to_le_bytes()),
            Input::AttachFailed { pid } => self.number(frame::FAILED, pid.to_le_bytes()),
        };
        self.frame(kind)?;
        if let Input::Tick { now_ns } = *input {
            if let Some(masks) = &mut self.masks {
                masks.tick(now_ns);
            }
            if now_ns.saturating_sub(self.flushed_ns) >= Self::FLUSH_NS {
                self.flushed_ns = now_ns;
                self.out.flush().map_err(|source| self.failed(source))?;
            }
        }
        Ok(())
    }

    /// Completes the file: without this a reader reports it as cut.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.bytes.clear();
        self.frame(frame::END)?;
        let path = self.path;
        let failed = |source| RecordingError::Io { path: path.clone(), source };
        self.out.finish().and_then(|mut file| file.flush()).map_err(failed)
    }

    fn number<const N: usize>(&mut self, kind: u8, bytes: [u8; N]) -> u8 {
        self.bytes.extend(bytes);
        kind
    }

    /// Writes the bytes that were put together as a frame.
    fn frame(&mut self, kind: u8) -> Result<(), RecordingError> {
        let [a, b, c, d] = (self.bytes.len() as u32).to_le_bytes();
        self.out
            .write_all(&[kind, a, b, c, d])
            .and_then(|()| self.out.write_all(&self.bytes))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RecordingError {
        RecordingError::Io { path: self.path.clone(), source }
    }
}
