//! Finding a certain boundary on a connection that is seen from mid-stream on.
//!
//! A body can look like a message, so a message's look proves nothing. Certain is this: a response
//! began with a call, right after the direction had changed; its framing ended exactly with the bytes
//! that were sent; while it went by, the request side was silent; and then the request side begins a
//! call. If the response had been misread, its length would be wrong; if the request side had been in
//! the middle of a body, it would have gone on. An error response proves less, since a server may send
//! one before it has read a body.

use super::{
    body::{Body, BodyProgress, Chunks},
    head,
    message::{Collected, MessageReader, Phase},
    segment::SegmentOf,
};
use crate::protocol::interface::{Call, Side};

/// What is known so far.
#[derive(Default)]
pub(super) struct Resync {
    last: Option<Side>,
    state: ResyncState,
    reader: MessageReader,
    messages: u64,
    /// A request was seen, and no response since.
    has_request: bool,
    /// The connection was joined, and nothing was missed since. No request was under way then, as far as is known.
    is_joined: bool,
    /// When the last segment of the response side moved.
    response_ns: u64,
}

#[derive(Default, PartialEq)]
enum ResyncState {
    /// No response has begun in sight.
    #[default]
    Watching,
    /// One has.
    Following,
    /// It ended where it should.
    Boundary,
}

impl Resync {
    /// A connection that was joined, perhaps between two exchanges.
    pub(super) fn joined() -> Self {
        Self { is_joined: true, ..Self::default() }
    }

    /// Bytes were missed: all begins anew.
    pub(super) fn gap(&mut self) {
        self.reset();
        self.last = None;
        self.is_joined = false;
        // Its response is in what was missed, or nobody will know that it is this one's.
        self.messages += u64::from(std::mem::take(&mut self.has_request));
    }

    /// A request was under way when the connection was joined.
    pub(super) fn set_joined_within(&mut self) {
        self.is_joined = false;
    }

    /// Whether the next segment, if it is of the request side, may be the first of a request: nothing says that one is
    /// under way.
    pub(super) fn may_be_between_exchanges(&self) -> bool {
        self.is_joined && self.last != Some(Side::Request)
    }

    /// Whether a segment comes late: bytes before it on its side were missing, and the responses did not wait for them. It
    /// does not follow the response that was taken last.
    pub(super) fn is_late(&self, side: Side, segment: &SegmentOf<'_>, call: &Call) -> bool {
        side == Side::Request && segment.length() > 0 && call.end_ns < self.response_ns
    }

    /// Whether a response has ended where it should, and nothing has moved since.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.state == ResyncState::Boundary
    }

    /// Bytes of memory that the head in progress takes.
    pub(super) fn retained_bytes(&self) -> usize {
        self.reader.retained_bytes()
    }

    /// Messages that went by without being reported.
    pub(super) fn take_messages(&mut self) -> u64 {
        std::mem::take(&mut self.messages)
    }

    /// Takes a segment. Returns whether it is the certain start of a request.
    pub(super) fn take(&mut self, side: Side, segment: &SegmentOf<'_>, call: &Call, limit: usize) -> bool {
        let turned = self.last == Some(Side::Request);
        self.last = Some(side);
        if side == Side::Request {
            if segment.length() == 0 {
                return false;
            }
            // A head that is cut proves itself later: nothing is reported before it is complete.
            let found = self.state == ResyncState::Boundary
                && call.first
                && segment.may_begin_message(side)
                && !self.is_late(side, segment, call);
            self.reset();
            if call.first && segment.begins_message(side) {
                self.messages += u64::from(std::mem::replace(&mut self.has_request, !found));
            }
            return found;
        }
        self.response_ns = call.end_ns;
        match self.state {
            ResyncState::Watching if turned && call.first && segment.begins_message(side) => {
                self.messages += 1;
                self.has_request = false;
                self.state = ResyncState::Following;
            }
            ResyncState::Following => {}
            ResyncState::Watching | ResyncState::Boundary => {
                self.reset();
                return false;
            }
        }
        self.follow(*segment, *call, limit);
        false
    }

    fn reset(&mut self) {
        self.state = ResyncState::Watching;
        self.reader.restart();
    }

    fn follow(&mut self, mut segment: SegmentOf<'_>, mut call: Call, limit: usize) {
        while segment.length() > 0 {
            let taken = match &mut self.reader.phase {
                Phase::Start | Phase::Head => {
                    let SegmentOf::Bytes(bytes) = segment else { return self.reset() };
                    match self.reader.collect(bytes, &call, limit, false) {
                        Collected::More => return,
                        Collected::TooLong => return self.reset(),
                        Collected::Complete { head, scanned, taken } => {
                            let Some(read) = head::response(&head, scanned) else { return self.reset() };
                            if read.fields.close || read.status >= 400 || read.status == 101 {
                                return self.reset();
                            }
                            self.reader.phase =
                                match (read.status, read.fields.chunked, read.fields.content_length) {
                                    (100..200, ..) => Phase::Start,
                                    (204 | 304, ..) => Phase::Body(Body::Length { left: 0, size: 0 }),
                                    (_, true, _) => Phase::Body(Body::Chunked(Chunks::new())),
                                    (_, _, Some(size)) if !read.fields.transfer_encoding => {
                                        Phase::Body(Body::Length { left: size, size })
                                    }
                                    _ => return self.reset(),
                                };
                            taken as u64
                        }
                    }
                }
                Phase::Body(body) => {
                    let progress = match segment {
                        SegmentOf::Bytes(bytes) => body.data(bytes, &call),
                        SegmentOf::Unseen(length) => body.skip(length, &call),
                    };
                    match progress {
                        BodyProgress::More => segment.length() as u64,
                        BodyProgress::Done(taken) if taken == segment.length() as u64 => return self.reach(),
                        // Bytes behind the end of the response: it was none.
                        BodyProgress::Done(_) | BodyProgress::Invalid => return self.reset(),
                    }
                }
            };
            segment = segment.from(taken);
            call.first = false;
        }
        if matches!(self.reader.phase, Phase::Body(Body::Length { left: 0, .. })) {
            self.reach();
        }
    }

    fn reach(&mut self) {
        self.reset();
        self.state = ResyncState::Boundary;
    }
}
