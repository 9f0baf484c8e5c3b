//! The first exchange on a connection that was joined between two exchanges, as it seems.
//!
//! A connection that is older than the agent is mostly idle when it is joined: the first bytes are a whole head, and
//! that is a request. The bytes of a body can look the same. So the exchange is read, and told only when all of it was
//! as it is with a request: the response began after the request's last byte, was complete with a system call, and the
//! request side was silent until the next request, the end, or for a while. Each other course discards it.

use super::segment::SegmentOf;
use crate::{
    exchange::Outcome,
    protocol::interface::{Call, Side, Yield},
};

/// What reads the exchange, as if its boundary were certain.
pub(super) trait Reader {
    /// The next segment of a side.
    fn read(&mut self, side: Side, segment: SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>);
    /// Whether no message of a side is under way.
    fn is_between(&self, side: Side) -> bool;
    /// Whether it has lost sight of the messages.
    fn is_lost(&self) -> bool;
    /// Bytes of memory that its messages take.
    fn retained_bytes(&self) -> usize;
}

/// An exchange that is told if it proves to be one.
pub(super) struct Tentative<R> {
    reader: Box<R>,
    /// What it is told by.
    yields: Vec<Yield>,
    /// When its response was complete.
    complete_ns: Option<u64>,
    /// Memory that its messages took at most: they are in `yields` when they are complete.
    most_bytes: usize,
}

impl<R: Reader> Tentative<R> {
    /// The exchange of a request that begins here with a whole head.
    pub(super) fn new(reader: R) -> Self {
        Self { reader: Box::new(reader), yields: Vec::new(), complete_ns: None, most_bytes: 0 }
    }

    /// The next segment of a side. Returns whether it is still as an exchange is.
    pub(super) fn take(&mut self, side: Side, segment: SegmentOf<'_>, call: &Call) -> bool {
        if segment.length() == 0 {
            return true;
        }
        self.most_bytes = self.most_bytes.max(self.reader.retained_bytes());
        let is_begun = !self.yields.is_empty();
        let is_request_whole = is_begun && self.reader.is_between(Side::Request);
        let is_expected = match side {
            Side::Request => !is_request_whole,
            Side::Response => {
                let begins = self.reader.is_between(Side::Response) && !self.is_answered();
                is_request_whole && self.complete_ns.is_none() && (!begins || call.first)
            }
        };
        if !is_expected {
            return false;
        }
        self.reader.read(side, segment, call, &mut self.yields);
        if self.reader.is_lost() {
            return false;
        }
        // Of a request it opened one; of its response, it answered that, and ended it with the call.
        let mut opened = 0;
        for made in &self.yields {
            match made {
                Yield::Opened(_) => opened += 1,
                Yield::Answered { .. } => {}
                Yield::Exchange(exchange) if exchange.outcome == Outcome::Complete && call.after == 0 => {
                    self.complete_ns = Some(exchange.end_ns);
                }
                Yield::Exchange(_) | Yield::Changed { .. } | Yield::Count(..) => return false,
            }
        }
        opened == 1
    }

    /// Bytes of memory that its messages take.
    pub(super) fn retained_bytes(&self) -> usize {
        self.most_bytes.max(self.reader.retained_bytes())
    }

    fn is_answered(&self) -> bool {
        self.yields.iter().any(|made| matches!(made, Yield::Answered { .. }))
    }

    /// When its response was complete, if it is.
    pub(super) fn complete_ns(&self) -> Option<u64> {
        self.complete_ns
    }

    /// It was an exchange.
    pub(super) fn into_yields(mut self) -> Vec<Yield> {
        for made in &mut self.yields {
            if let Yield::Opened(opened) = made {
                opened.is_late = true;
            }
        }
        self.yields
    }
}
