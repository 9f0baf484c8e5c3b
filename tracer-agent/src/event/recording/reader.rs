//! Reading a recording, of this version or another.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use tracer_common::{KERNEL_COUNTERS, Kind};

use super::{Damage, Facts, MAGIC, MAX_FRAME, Preamble, RecordingError, VERSION, frame, lenient};
use crate::event::{Malformed, input::OwnedInput};

/// Reads a recording.
pub struct Reader {
    input: zstd::Decoder<'static, BufReader<File>>,
    path: PathBuf,
    /// Bytes of the frames that were read whole.
    offset: u64,
    preamble: Preamble,
    unusable: Unusable,
    done: bool,
}

/// What a reader has passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusable {
    /// Frames of unknown kinds, or with a content that cannot be read, by kind.
    pub frames: BTreeMap<u8, u64>,
    /// Kernel records of unknown kinds, by kind.
    pub records: BTreeMap<u8, u64>,
}

impl Unusable {
    /// Whether nothing was passed over.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.records.is_empty()
    }
}

impl fmt::Display for Unusable {
    /// `3 kernel records of kind 9, 1 frame of kind 12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records.iter().map(|(kind, count)| ("kernel record", kind, count));
        let frames = self.frames.iter().map(|(kind, count)| ("frame", kind, count));
        for (index, (name, kind, count)) in records.chain(frames).enumerate() {
            let (before, plural) = (if index > 0 { ", " } else { "" }, if *count == 1 { "" } else { "s" });
            write!(f, "{before}{count} {name}{plural} of kind {kind}")?;
        }
        Ok(())
    }
}

impl Reader {
    /// Opens a recording and reads its preamble.
    ///
    /// # Errors
    /// It cannot be read, or is no recording that this version reads.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(RecordingError::NotARecording(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordingError::NotARecording(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
        let mut this = Self {
            input: zstd::Decoder::with_buffer(file).map_err(failed)?,
            path: path.to_owned(),
            offset: 0,
            preamble: Preamble::default(),
            unusable: Unusable::default(),
            done: false,
        };
        let (kind, bytes) = this.frame()?;
        if kind != frame::PREAMBLE {
            return Err(this.damaged(Damage::NoPreamble));
        }
        this.preamble =
            serde_json::from_slice(&bytes).map_err(|error| this.damaged(Damage::Preamble(error)))?;
        if !(1..=VERSION).contains(&this.preamble.version) {
            return Err(RecordingError::Version { path: this.path, found: this.preamble.version });
        }
        Ok(this)
    }

    /// What it was made with.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// What was passed over so far.
    pub fn unusable(&self) -> &Unusable {
        &self.unusable
    }

    /// The next input; none at the end.
    ///
    /// # Errors
    /// The recording is cut or damaged; all inputs before were given.
    pub fn next_input(&mut self) -> Result<Option<OwnedInput>, RecordingError> {
        while !self.done {
            let (kind, bytes) = self.frame()?;
            if kind == frame::END {
                self.done = true;
                self.expect_end()?;
            } else if kind == frame::RECORD {
                match bytes.first() {
                    Some(byte) if Kind::from_byte(*byte).is_none() => {
                        *self.unusable.records.entry(*byte).or_default() += 1;
                    }
                    _ => return Ok(Some(OwnedInput::Record(self.preamble.records.fit(bytes)))),
                }
            } else if let Some(input) = input(kind, &bytes) {
                return Ok(Some(input));
            } else {
                *self.unusable.frames.entry(kind).or_default() += 1;
            }
        }
        Ok(None)
    }

    /// Whether the file ends behind the recording; its last bytes, a checksum, may be cut.
    fn expect_end(&mut self) -> Result<(), RecordingError> {
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            _ => Err(RecordingError::GoesOn(self.path.clone())),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), RecordingError> {
        let mut head = [0; 5];
        self.exact(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > MAX_FRAME {
            return Err(self.damaged(Damage::TooLong(length)));
        }
        let mut bytes = vec![0; length as usize];
        self.exact(&mut bytes)?;
        self.offset += (head.len() + bytes.len()) as u64;
        Ok((kind, bytes))
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), RecordingError> {
        self.input.read_exact(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                RecordingError::Cut { path: self.path.clone(), offset: self.offset }
            } else {
                self.damaged(Damage::Stream(error))
            }
        })
    }

    fn damaged(&self, reason: Damage) -> RecordingError {
        RecordingError::Damaged { path: self.path.clone(), offset: self.offset, reason }
    }
}

/// What a frame tells, other than a record. What follows the bytes that this version reads is left out.
fn input(kind: u8, bytes: &[u8]) -> Option<OwnedInput> {
    let pid = || start(bytes).map(u32::from_le_bytes);
    Some(match kind {
        frame::FACTS => {
            let recorded = serde_json::from_slice(bytes).ok()?;
            let (Facts { facts, rule }, _) = lenient(&recorded);
            // Without its pid nothing can be made of it.
            (facts.pid != 0).then(|| OwnedInput::Facts(Box::new(facts), rule))?
        }
        frame::TASKS => {
            let (pid, tasks) = serde_json::from_slice(bytes).ok()?;
            OwnedInput::Tasks(pid, tasks)
        }
        frame::REMEMBERED => OwnedInput::Remembered(serde_json::from_slice(bytes).ok()?),
        frame::LISTENING => {
            let ports = bytes.get(4..)?.chunks_exact(2).filter_map(start).map(u16::from_le_bytes);
            OwnedInput::Listening(pid()?, ports.collect())
        }
        frame::CLOCK => OwnedInput::Clock(i64::from_le_bytes(start(bytes)?)),
        frame::TICK => OwnedInput::Tick(u64::from_le_bytes(start(bytes)?)),
        frame::COUNTERS => {
            let mut values = [0; KERNEL_COUNTERS as usize];
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(8)) {
                *value = start(bytes).map(u64::from_le_bytes)?;
            }
            OwnedInput::Counters(values)
        }
        frame::EXCLUDED => OwnedInput::Excluded(pid()?),
        frame::LATE => OwnedInput::SelectedLate(pid()?),
        frame::FAILED => OwnedInput::AttachFailed(pid()?),
        frame::MALFORMED => OwnedInput::Malformed(match *bytes {
            [1, kind, ..] => Malformed::UnknownKind(kind),
            [2, kind, ..] => Kind::from_byte(kind).map_or(Malformed::UnknownKind(kind), Malformed::Cut),
            _ => Malformed::Empty,
        }),
        _ => return None,
    })
}

fn start<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}
