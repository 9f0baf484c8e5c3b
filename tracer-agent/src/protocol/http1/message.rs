//! One direction: where in a message it stands, and the head that it collects.

use bytes::Bytes;

use super::{
    body::Body,
    head::{self, Scanned},
};
use crate::protocol::{interface::Call, proxy_header::ProxyHeader};

/// Where a direction stands.
#[derive(Clone, Debug, Default)]
pub(super) enum Phase {
    /// Between messages.
    #[default]
    Start,
    /// In a head.
    Head,
    /// In a body.
    Body(Body),
}

/// What became of bytes of a head.
pub(super) enum Collected {
    /// The head goes on.
    More,
    /// It is complete: `taken` bytes of the segment belong to it.
    Complete { head: Bytes, scanned: Scanned, taken: usize },
    /// It is longer than any that is read.
    TooLong,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct MessageReader {
    pub(super) phase: Phase,
    /// Bytes that have gone by.
    pub(super) offset: u64,
    /// The call with the message's first byte.
    pub(super) begin: Call,
    /// Offset of that byte.
    pub(super) begin_offset: u64,
    /// When the last byte of a body moved.
    pub(super) last_ns: u64,
    /// Bytes went by unseen since then.
    pub(super) has_gap: bool,
    /// The head so far, when it came in several segments.
    buffer: Vec<u8>,
}

impl MessageReader {
    /// Forgets the message in progress.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Start;
        self.has_gap = false;
        self.buffer = Vec::new();
    }

    /// Bytes of memory that the head so far takes.
    pub(super) fn retained_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether a message is in progress.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Start)
    }

    /// Whether it is in a body whose framing was lost from sight.
    pub(super) fn is_body_lost(&self) -> bool {
        matches!(&self.phase, Phase::Body(body) if body.is_lost())
    }

    /// Adds bytes to the head. Empty lines before it do not belong to it (RFC 9112 section 2.2), nor
    /// does a PROXY header, where one may be.
    pub(super) fn collect(
        &mut self,
        bytes: &[u8],
        call: &Call,
        limit: usize,
        with_prefix: bool,
    ) -> Collected {
        let mut at = 0;
        if matches!(self.phase, Phase::Start) && self.buffer.is_empty() {
            if with_prefix && ProxyHeader::of(bytes) != ProxyHeader::None {
                return self.collect_prefix(bytes, call, limit);
            }
            at = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if at == bytes.len() {
                return Collected::More;
            }
            self.start(call, self.offset + at as u64);
        } else if matches!(self.phase, Phase::Start) {
            return self.collect_prefix(bytes, call, limit);
        }
        let rest = bytes.get(at..).unwrap_or_default();
        if self.buffer.is_empty() {
            // The usual case: all of it at once.
            if let Some(scanned) = head::scan(rest) {
                let end = scanned.end;
                if end > limit {
                    return Collected::TooLong;
                }
                let head = Bytes::copy_from_slice(rest.get(..end).unwrap_or_default());
                return Collected::Complete { head, scanned, taken: at + end };
            }
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(rest);
        match head::end_of_head(&self.buffer, before) {
            Some(end) if end <= limit => {
                self.buffer.truncate(end);
                let head = Bytes::from(std::mem::take(&mut self.buffer));
                let taken = at + end.saturating_sub(before);
                match head::scan(&head) {
                    Some(scanned) => Collected::Complete { head, scanned, taken },
                    // `end_of_head` has seen its end.
                    None => Collected::TooLong,
                }
            }
            None if self.buffer.len() <= limit => Collected::More,
            _ => Collected::TooLong,
        }
    }

    fn start(&mut self, call: &Call, offset: u64) {
        self.phase = Phase::Head;
        self.begin = *call;
        self.begin_offset = offset;
    }

    /// The bytes may be a PROXY header: they are kept until that is known.
    fn collect_prefix(&mut self, bytes: &[u8], call: &Call, limit: usize) -> Collected {
        let before = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        let skip = match ProxyHeader::of(&self.buffer) {
            ProxyHeader::More => {
                return if self.buffer.len() <= limit { Collected::More } else { Collected::TooLong };
            }
            ProxyHeader::Bytes(length) => length,
            ProxyHeader::None => 0,
        };
        let whole = std::mem::take(&mut self.buffer);
        let base = self.offset - before as u64;
        let rest = whole.get(skip..).unwrap_or_default();
        let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = rest.get(empty..).unwrap_or_default();
        if rest.is_empty() {
            return Collected::More;
        }
        self.start(call, base + (skip + empty) as u64);
        match head::scan(rest) {
            Some(scanned) if scanned.end <= limit => {
                let head = Bytes::copy_from_slice(rest.get(..scanned.end).unwrap_or_default());
                let taken = (skip + empty + scanned.end).saturating_sub(before);
                Collected::Complete { head, scanned, taken }
            }
            None if rest.len() <= limit => {
                self.buffer = rest.to_vec();
                Collected::More
            }
            _ => Collected::TooLong,
        }
    }
}
