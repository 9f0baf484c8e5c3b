//! HTTP/1.0 and HTTP/1.1 (RFC 9112): messages from bytes and lengths, and which response answers which
//! request.

mod body;
#[cfg(test)]
mod export_tests;
mod head;
#[cfg(test)]
mod kernel_tests;
mod mask;
mod message;
mod pairing;
mod parser;
mod resync;
mod segment;
mod sniff;
mod tentative;
#[cfg(test)]
mod tests;

use std::hash::Hasher;

use bytes::Bytes;
use rustc_hash::FxHasher;

use self::{
    body::{Body, BodyProgress, Chunks},
    head::Scanned,
    message::{Collected, MessageReader, Phase},
    pairing::{Pending, PipelinedRequests, unit_of_head},
    resync::Resync,
    segment::SegmentOf,
    tentative::Tentative,
};
use super::interface::{self, Call, Next, Protocol, Role, Side, Start, Yield};
use crate::{
    exchange::{Opened, Outcome},
    ledger::Counter,
    protocol::http::{Head, Signal, attempt},
    short_bytes::ShortBytes,
    trace_context::{Carried, HeaderFormats, Incoming},
};

/// HTTP/1.0 and HTTP/1.1 in the table of protocols.
pub(super) static PROTOCOL: Protocol = Protocol {
    name: "HTTP/1",
    sniff: sniff::sniff,
    server_may_begin: false,
    open: Some(|role, start, limits| {
        let interface::Limits { exchange_timeout_ns, formats } = *limits;
        let limits = Limits { exchange_timeout_ns, formats, ..Limits::default() };
        Box::new(Http1::new(start, role, limits))
    }),
    mask: Some(mask::MASKING),
    opaque_counter: Counter::ConnectionsOther,
};

/// Bounds of a connection's parser.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request waits for its response, nanoseconds.
    pub exchange_timeout_ns: u64,
    /// Longest head, bytes.
    pub head_bytes: usize,
    /// Most requests that wait for their responses.
    pub pipelined: usize,
    /// Most bytes of their heads, the last one's excluded.
    pub pipelined_bytes: usize,
    /// How often in a row the boundary of messages may be lost before the connection is given up.
    pub resyncs: u32,
    /// Formats of trace contexts that are read besides `traceparent`.
    pub formats: HeaderFormats,
    /// How long a body whose framing is not known must be silent to have ended, nanoseconds.
    pub quiet_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchange_timeout_ns: 300_000_000_000,
            head_bytes: 64 * 1024,
            pipelined: 1024,
            pipelined_bytes: 1 << 20,
            resyncs: 8,
            formats: HeaderFormats::default(),
            quiet_ns: 1_000_000_000,
        }
    }
}

/// An HTTP/1 connection.
pub struct Http1 {
    role: Role,
    limits: Limits,
    request: MessageReader,
    response: MessageReader,
    queue: PipelinedRequests,
    /// The boundary of messages is not certain.
    resync: Option<Resync>,
    /// What may be the first exchange since the connection was joined.
    tentative: Option<Tentative<Self>>,
    /// Nothing more is read.
    done: bool,
    losses: u32,
    /// The first request may have a PROXY header before it.
    at_birth: bool,
    /// The side that moved last.
    last_side: Option<Side>,
    /// The request of the response in progress was not seen.
    is_unowned: bool,
    /// Exports of spans whose bodies were kept.
    exports_read: u8,
}

impl Http1 {
    /// A parser for a connection that begins here, or that is seen from mid-stream on; `role` is that of the selected process.
    pub fn new(start: Start, role: Role, limits: Limits) -> Self {
        let resync = (start == Start::MidStream).then(Resync::joined);
        Self { resync, at_birth: start == Start::Birth, ..Self::certain(role, limits) }
    }

    /// A parser for a connection of which the next byte begins a message.
    fn certain(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            request: MessageReader::default(),
            response: MessageReader::default(),
            queue: PipelinedRequests::new(role.of_request()),
            resync: None,
            tentative: None,
            done: false,
            losses: 0,
            at_birth: false,
            last_side: None,
            is_unowned: false,
            exports_read: 0,
        }
    }

    /// Exports of spans on one connection whose bodies are read: their process makes the same again and again.
    const MOST_EXPORTS: u8 = 64;

    /// Whether the bytes that come next on the request side are wanted whatever they are: those of an export of spans,
    /// or of what follows one.
    fn reads_exports(&self) -> bool {
        let is_exporter = (1..Self::MOST_EXPORTS).contains(&self.exports_read);
        is_exporter && (!matches!(self.request.phase, Phase::Body(_)) || self.queue.wants_body())
    }

    fn reader(&mut self, side: Side) -> &mut MessageReader {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Bytes of a side, copied or not, in a connection whose boundaries are known.
    fn feed(&mut self, side: Side, mut segment: SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) {
        let mut call = *call;
        while segment.length() > 0 && !self.done {
            if self.resync.is_some() {
                return;
            }
            let rest = segment.length() as u64;
            let at = self.reader(side).offset;
            let taken = match self.reader(side).phase {
                Phase::Start | Phase::Head => self.feed_head(side, &segment, &call, out),
                Phase::Body(_) => self.feed_body(side, &segment, &call, out),
            };
            self.reader(side).offset = at + taken.min(rest);
            segment = segment.from(taken.min(rest));
            call.first = false;
        }
    }

    /// Returns how many bytes of the segment it took.
    fn feed_head(&mut self, side: Side, segment: &SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) -> u64 {
        let SegmentOf::Bytes(bytes) = *segment else {
            // A head that was not copied.
            self.lose(call.end_ns, Counter::ExchangesUnparsed, out);
            return segment.length() as u64;
        };
        let limit = self.limits.head_bytes;
        let with_prefix = side == Side::Request && self.at_birth;
        match self.reader(side).collect(bytes, call, limit, with_prefix) {
            Collected::More => bytes.len() as u64,
            Collected::TooLong => {
                self.lose(call.end_ns, Counter::ExchangesUnparsed, out);
                bytes.len() as u64
            }
            Collected::Complete { head, scanned, taken } => {
                match side {
                    Side::Request => self.request_head(head, scanned, call, out),
                    Side::Response => self.response_head(head, scanned, call, out),
                }
                taken as u64
            }
        }
    }

    fn request_head(&mut self, bytes: Bytes, scanned: Scanned, call: &Call, out: &mut Vec<Yield>) {
        let Some(read) = head::request(&bytes, scanned) else { return self.not_http(call.end_ns, out) };
        if read.fields.transfer_encoding && !read.fields.chunked
            || self.queue.len() >= self.limits.pipelined
            || self.queue.bytes() >= self.limits.pipelined_bytes
        {
            return self.not_http(call.end_ns, out);
        }
        self.at_birth = false;
        let body = match (read.fields.chunked, read.fields.content_length) {
            (true, _) => Some(Body::Chunked(Chunks::new())),
            (false, Some(size)) if size > 0 => Some(Body::Length { left: size, size }),
            _ => None,
        };
        let request = &mut self.request;
        let (begin, offset) = (request.begin, request.begin_offset);
        let pending = Pending::new(bytes, &read, begin, offset, call, body.is_some());
        request.phase = body.map_or(Phase::Start, Phase::Body);
        let exported = pending.exported();
        let bytes = pending.head();
        let head = Head(bytes);
        let incoming = read.noted.has_trace_context().then(|| Incoming::of(&head)).flatten();
        let carried = read.noted.may_link().then(|| Carried::of(&head, self.limits.formats)).flatten();
        out.push(Yield::Opened(Opened {
            kind: self.role.of_request(),
            unit: unit_of_head(&begin, call),
            start_ns: begin.start_ns,
            offset,
            target: hash(bytes.get(..read.target.end).unwrap_or_default()).max(1),
            is_export: exported.is_some(),
            asked: ShortBytes::part(bytes, read.target.clone()),
            incoming: incoming.map(Box::new),
            carried: carried.map(Box::new),
            attempt: read.noted.has_attempt().then(|| attempt(bytes)).flatten(),
            injection: None,
            inserted: 0,
            is_lengthened: false,
            is_late: false,
        }));
        let is_read = self.role == Role::Client
            && self.exports_read < Self::MOST_EXPORTS
            && exported == Some(Signal::Traces);
        self.queue.push(pending);
        if is_read {
            self.exports_read += 1;
            self.queue.keep_body();
        }
    }

    fn response_head(&mut self, bytes: Bytes, scanned: Scanned, call: &Call, out: &mut Vec<Yield>) {
        let Some(read) = head::response(&bytes, scanned) else { return self.not_http(call.end_ns, out) };
        let head_length = bytes.len() as u64;
        self.response.phase = Phase::Start;
        let (begin, begin_offset) = (self.response.begin, self.response.begin_offset);
        let Some(pending) = self.queue.front() else {
            out.push(Yield::Count(Counter::ExchangesUnpaired, 1));
            if !self.request.is_body_lost() {
                return self.lose(call.end_ns, Counter::ExchangesUnparsed, out);
            }
            // The head of its request went by uncopied, behind the body before it. Without the method nobody knows
            // whether the response has a body.
            if read.status >= 200 {
                self.is_unowned = true;
                self.response.phase = Phase::Body(Body::lost());
            }
            return;
        };
        pending.responded(begin_offset);
        let is_head = pending.is_method(b"HEAD");
        let is_connect = pending.is_method(b"CONNECT");
        if read.status < 200 && read.status != 101 {
            return;
        }
        let tunnel = read.status == 101 || is_connect && (200..300).contains(&read.status);
        let by = begin.unit;
        pending.answer(bytes, read.status, begin);
        let (offset, pid) = pending.origin();
        out.push(Yield::Answered { kind: self.role.of_request(), offset, pid, by });
        if tunnel {
            self.queue.complete(call.end_ns, None, Outcome::Complete, out);
            out.push(Yield::Count(Counter::ConnectionsTunnel, 1));
            out.push(Yield::Changed {
                next: Next::Opaque,
                request_offset: self.request.offset,
                response_offset: begin_offset + head_length,
            });
            self.done = true;
            return;
        }
        let none = is_head || matches!(read.status, 204 | 304);
        let body = match (read.fields.transfer_encoding, read.fields.content_length) {
            _ if none => None,
            (true, _) if read.fields.chunked => Some(Body::Chunked(Chunks::new())),
            (true, _) | (false, None) => Some(Body::UntilClose { size: 0 }),
            (false, Some(0)) => None,
            (false, Some(size)) => Some(Body::Length { left: size, size }),
        };
        match body {
            Some(body) => self.response.phase = Phase::Body(body),
            None => self.complete(call.end_ns, Some(0), out),
        }
    }

    /// Returns how many bytes of the segment it took.
    fn feed_body(&mut self, side: Side, segment: &SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) -> u64 {
        let length = segment.length() as u64;
        let Phase::Body(body) = &mut self.reader(side).phase else { return length };
        if body.tentative_end().is_some() {
            if segment.begins_message(side) {
                self.end_body(side, out);
                return 0;
            }
            body.revoke();
        }
        let Phase::Body(body) = &mut self.reader(side).phase else { return 0 };
        let progress = match *segment {
            SegmentOf::Bytes(bytes) => body.data(bytes, call),
            SegmentOf::Unseen(length) => body.skip(length, call),
        };
        let size = body.size();
        if side == Side::Request {
            let taken = match progress {
                BodyProgress::Done(taken) => taken as usize,
                BodyProgress::More => segment.length(),
                BodyProgress::Invalid => 0,
            };
            self.queue.body_moved(segment.bytes().map(|bytes| bytes.get(..taken).unwrap_or(bytes)));
        }
        let reader = self.reader(side);
        reader.last_ns = call.end_ns;
        reader.has_gap = false;
        match (progress, side) {
            (BodyProgress::Invalid, _) => {
                self.lose(call.end_ns, Counter::ExchangesUnparsed, out);
                length
            }
            (BodyProgress::More, Side::Request) => {
                self.queue.request_moved(call.end_ns);
                length
            }
            (BodyProgress::More, Side::Response) => {
                self.queue.response_moved(call.end_ns);
                length
            }
            (BodyProgress::Done(taken), Side::Request) => {
                self.request.phase = Phase::Start;
                self.queue.request_done(call.end_ns, size);
                taken
            }
            (BodyProgress::Done(taken), Side::Response) => {
                self.response.phase = Phase::Start;
                self.complete(call.end_ns, size, out);
                taken
            }
        }
    }

    /// A body that may have ended has: at its last byte.
    fn end_body(&mut self, side: Side, out: &mut Vec<Yield>) {
        if side == Side::Response && std::mem::take(&mut self.is_unowned) {
            self.response.phase = Phase::Start;
            return;
        }
        let reader = self.reader(side);
        let Phase::Body(body) = &reader.phase else { return };
        let (end_ns, size) = (body.tentative_end().unwrap_or(reader.last_ns), body.size());
        let outcome = if reader.has_gap { Outcome::Lost } else { Outcome::Complete };
        reader.phase = Phase::Start;
        reader.has_gap = false;
        match side {
            Side::Request => self.queue.request_done(end_ns, size),
            Side::Response => {
                self.losses = 0;
                self.queue.complete(end_ns.max(self.queue.last_response_ns()), size, outcome, out);
            }
        }
    }

    /// A body whose framing was lost from sight, and this side moves again after the other one did. A message that
    /// begins here ends the body before it, if the messages so far say that the next one is due.
    #[cold]
    fn follow_turn(&mut self, side: Side, segment: &SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) {
        match side {
            // Every request is answered. A body that is still under way begins no call with a whole head, unless it
            // is made to.
            Side::Request => {
                if self.queue.is_empty() && segment.is_request_head() {
                    self.end_body(side, out);
                }
            }
            // The next request was sent after the response's last byte was seen, or before.
            Side::Response => {
                let is_due = self.queue.len() > usize::from(!self.is_unowned) || self.request.is_body_lost();
                if is_due && segment.begins_message(side) {
                    self.end_body(side, out);
                } else if is_due && !self.is_unowned {
                    // The rest of the response, or the answer to the next request: nobody knows.
                    self.lose(call.end_ns, Counter::ExchangesUnparsed, out);
                }
            }
        }
    }

    /// The other side goes on, or time has passed: what may have ended has.
    fn settle(&mut self, side: Side, out: &mut Vec<Yield>) {
        if let Phase::Body(body) = &self.reader(side).phase
            && body.tentative_end().is_some()
        {
            self.end_body(side, out);
        }
    }

    /// The response of the first request is complete, and was seen to be.
    fn complete(&mut self, end_ns: u64, size: Option<u64>, out: &mut Vec<Yield>) {
        self.losses = 0;
        self.queue.complete(end_ns, size, Outcome::Complete, out);
    }

    /// Bytes at a boundary that are no message of HTTP/1.
    fn not_http(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        if self.at_birth {
            out.push(Yield::Count(Counter::ExchangesUnparsed, 1));
            out.push(Yield::Count(Counter::ConnectionsGivenUp, 1));
            self.done = true;
        } else {
            self.lose(now_ns, Counter::ExchangesUnparsed, out);
        }
    }

    /// The boundary of messages is lost: what is open cannot be completed.
    fn lose(&mut self, now_ns: u64, counter: Counter, out: &mut Vec<Yield>) {
        self.is_unowned = false;
        out.push(Yield::Count(counter, 1));
        self.queue.abandon(now_ns, Outcome::Lost, Outcome::Lost, out);
        self.request.restart();
        self.response.restart();
        self.resync = Some(Resync::default());
        self.at_birth = false;
        self.losses += 1;
        if self.losses > self.limits.resyncs {
            out.push(Yield::Count(Counter::ConnectionsGivenUp, 1));
            self.done = true;
        }
    }

    /// A segment on a connection whose boundaries are not known. Returns whether they are now, with this
    /// segment the first of a request.
    fn look_for_boundary(
        &mut self,
        side: Side,
        segment: &SegmentOf<'_>,
        call: &Call,
        out: &mut Vec<Yield>,
    ) -> bool {
        let Some(resync) = &mut self.resync else { return true };
        let may_be_first = side == Side::Request
            && resync.may_be_between_exchanges()
            && !resync.is_late(side, segment, call);
        let found = resync.take(side, segment, call, self.limits.head_bytes);
        if found {
            // A head that is cut may be something else.
            self.tentative.take_if(|_| !segment.is_request_head());
            self.settle_tentative(out);
            self.leave_resync();
            return true;
        }
        if self.tentative.as_mut().is_some_and(|tentative| !tentative.take(side, *segment, call)) {
            self.tentative = None;
        }
        if self.tentative.is_none() {
            self.count_before_boundary(0, out);
            if may_be_first && call.first && segment.is_request_head() {
                let mut reader = Self::certain(self.role, self.limits);
                reader.request.offset = self.request.offset;
                reader.response.offset = self.response.offset;
                let mut tentative = Tentative::new(reader);
                self.tentative = tentative.take(side, *segment, call).then_some(tentative);
            }
        }
        false
    }

    /// The request side was silent since a response was complete: the exchange before is told, if it was read.
    fn settle_tentative(&mut self, out: &mut Vec<Yield>) {
        let whole = self.tentative.take().filter(|tentative| tentative.complete_ns().is_some());
        self.count_before_boundary(u64::from(whole.is_some()), out);
        out.extend(whole.into_iter().flat_map(Tentative::into_yields));
    }

    /// The exchanges that went by unreported, but for as many as are told all the same.
    fn count_before_boundary(&mut self, told: u64, out: &mut Vec<Yield>) {
        let messages = self.resync.as_mut().map_or(0, Resync::take_messages).saturating_sub(told);
        if messages > 0 {
            out.push(Yield::Count(Counter::ExchangesBeforeBoundary, messages));
        }
    }

    fn leave_resync(&mut self) {
        self.resync = None;
        self.request.restart();
        self.response.restart();
    }

    /// Whether a boundary is certain but for the request side's silence, which `Tentative` waits for.
    fn awaits_silence(&self) -> bool {
        self.resync.as_ref().is_some_and(Resync::is_at_boundary)
            && self.tentative.as_ref().is_some_and(|tentative| tentative.complete_ns().is_some())
    }

    fn segment(&mut self, side: Side, segment: SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) {
        if self.done {
            return;
        }
        let offset = self.reader(side).offset;
        let after = offset + segment.length() as u64;
        if side == Side::Request && self.queue.len() == 1 {
            self.settle(Side::Response, out);
        }
        let turned = self.last_side.replace(side).is_some_and(|last| last != side);
        if turned && call.first && self.reader(side).is_body_lost() {
            self.follow_turn(side, &segment, call, out);
        }
        if self.resync.is_none() || self.look_for_boundary(side, &segment, call, out) {
            self.feed(side, segment, call, out);
        }
        // Whatever was made of it, the segment has gone by.
        self.reader(side).offset = after;
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}
