//! A segment of one side of a connection, copied or not.

#![forbid(unsafe_code)]

use super::{head, sniff::sniff_message};
use crate::protocol::interface::{Side, Sniffed};

/// A segment of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum SegmentOf<'a> {
    Bytes(&'a [u8]),
    Unseen(u64),
}

impl SegmentOf<'_> {
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Unseen(length) => usize::try_from(*length).unwrap_or(usize::MAX),
        }
    }

    /// Its bytes, if they were copied.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unseen(_) => None,
        }
    }

    pub(super) fn from(self, taken: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.get(taken as usize..).unwrap_or_default()),
            Self::Unseen(length) => Self::Unseen(length.saturating_sub(taken)),
        }
    }

    /// Whether it looks like the start of a message of this side.
    pub(super) fn begins_message(&self, side: Side) -> bool {
        self.recognised(side) == Some(true)
    }

    /// Whether it begins with a whole head of a request.
    pub(super) fn is_request_head(&self) -> bool {
        let Self::Bytes(bytes) = self else { return false };
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let bytes = bytes.get(empty..).unwrap_or_default();
        head::scan(bytes).is_some_and(|scanned| head::request(bytes, scanned).is_some())
    }

    /// Whether it may be the start of a message of this side, as far as its bytes tell.
    pub(super) fn may_begin_message(&self, side: Side) -> bool {
        self.recognised(side) != Some(false)
    }

    /// None if there are too few bytes to tell.
    fn recognised(&self, side: Side) -> Option<bool> {
        let Self::Bytes(bytes) = self else { return Some(false) };
        match sniff_message(bytes) {
            Sniffed::More => None,
            Sniffed::Yes { sender } => Some(sender == side),
            Sniffed::No => Some(false),
        }
    }
}
