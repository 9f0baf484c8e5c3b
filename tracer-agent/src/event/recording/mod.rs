//! Recordings: the stream of everything that the pipeline is told, in the order in which it was told.
//! The same recording gives the same spans, on any machine and without a kernel.
//!
//! A file is [`MAGIC`], then one zstd stream of frames: a byte that tells what it is, its length as a
//! little-endian `u32`, its bytes. The first frame is the preamble, as JSON. A frame or a record that a reader does
//! not know is skipped and counted, a record that is longer or shorter than the reader's is fitted
//! ([`RecordSizes`]): additions need no new [`VERSION`].

mod lenient;
mod mask;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracer_common::Kind;

use crate::{
    private_file::{self, CreateError},
    process::facts::ProcessFacts,
};

pub use self::{
    lenient::lenient,
    mask::Masks,
    reader::{Reader, Unusable},
    writer::Writer,
};

/// First bytes of a recording.
pub const MAGIC: &[u8; 8] = b"TRACER\x01\n";
/// Version of the frames. Version 1 did not tell the sizes of the kernel's records.
pub const VERSION: u32 = 2;
/// Longest frame: a preamble with a large configuration.
const MAX_FRAME: u32 = 16 << 20;

/// What a recording was made with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Preamble {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Seed of the ids.
    pub seed: u64,
    /// What is the same for all processes of the host; see [`lenient()`].
    pub host: serde_json::Value,
    /// The effective configuration; see [`lenient()`].
    pub config: serde_json::Value,
    /// Sizes of the kernel's records.
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
pub enum RecordingError {
    /// The file cannot be opened, read or written.
    #[error("recording {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A recording cannot be written to what is there.
    #[error("recording {path}: it is {found}; a recording is written to a regular file of its own")]
    Target {
        /// Which.
        path: PathBuf,
        /// What is there.
        found: &'static str,
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
    /// It ends before its end: the agent was killed, or could not write on.
    #[error(
        "{path} is cut at byte {offset} of its uncompressed content: the agent was killed, or could not write on; {}",
        if *offset == 0 { "nothing was recorded" } else { "all that was recorded before was replayed" }
    )]
    Cut {
        /// Which.
        path: PathBuf,
        /// Where the last complete frame ends.
        offset: u64,
    },
    /// Something stands behind its end.
    #[error(
        "{0} goes on behind the end of its recording: what is there was ignored; recordings are replayed one by one"
    )]
    GoesOn(PathBuf),
    /// Its content makes no sense from here on.
    #[error("{path} is damaged at byte {offset} of its uncompressed content: {reason}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: Damage,
    },
}

/// Why the content of a recording makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The first frame is another.
    #[error("it does not begin with a preamble")]
    NoPreamble,
    /// The preamble is no JSON of this kind.
    #[error("its preamble cannot be read: {0}")]
    Preamble(serde_json::Error),
    /// A frame's length is beyond any.
    #[error("a frame of {0} bytes")]
    TooLong(u32),
    /// The compressed stream is broken.
    #[error(transparent)]
    Stream(io::Error),
}

/// Makes the file of a recording.
///
/// # Errors
/// See [`private_file::create`].
pub fn create(path: &Path) -> Result<File, RecordingError> {
    private_file::create(path).map_err(|error| match error {
        CreateError::Io(source) => RecordingError::Io { path: path.to_owned(), source },
        CreateError::Found(found) => RecordingError::Target { path: path.to_owned(), found },
        error @ CreateError::Foreign => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, error);
            RecordingError::Io { path: path.to_owned(), source }
        }
    })
}

/// What a frame holds.
mod frame {
    pub(super) const PREAMBLE: u8 = 0;
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
    /// A record of the ring that was no event: a byte that tells why, and the kind.
    pub(super) const MALFORMED: u8 = 11;
    pub(super) const REMEMBERED: u8 = 12;
    pub(super) const TASKS: u8 = 13;
}

/// Facts of a process as a frame holds them.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    facts: ProcessFacts,
    rule: Option<String>,
}
