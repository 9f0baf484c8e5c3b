//! How a connection drives the reading: bytes, gaps, ends, and the time.

#![forbid(unsafe_code)]

use super::{
    Http1,
    body::{Body, BodyProgress},
    head,
    message::Phase,
    resync::Resync,
    segment::SegmentOf,
    tentative::{Reader, Tentative},
};
use crate::{
    exchange::Outcome,
    ledger::Counter,
    protocol::interface::{Call, End, Parser, Role, SentRequest, Side, Want, Yield},
};

impl Reader for Http1 {
    fn read(&mut self, side: Side, segment: SegmentOf<'_>, call: &Call, out: &mut Vec<Yield>) {
        self.segment(side, segment, call, out);
    }

    fn is_between(&self, side: Side) -> bool {
        match side {
            Side::Request => !self.request.is_busy(),
            Side::Response => !self.response.is_busy(),
        }
    }

    fn is_lost(&self) -> bool {
        self.done || self.resync.is_some() || self.request.is_body_lost()
    }

    fn retained_bytes(&self) -> usize {
        Parser::retained_bytes(self)
    }
}

impl Parser for Http1 {
    fn data(&mut self, side: Side, bytes: &[u8], call: &Call, out: &mut Vec<Yield>) {
        self.segment(side, SegmentOf::Bytes(bytes), call, out);
    }

    fn skip(&mut self, side: Side, length: u64, call: &Call, out: &mut Vec<Yield>) {
        self.segment(side, SegmentOf::Unseen(length), call, out);
    }

    fn gap(&mut self, side: Side, length: u64, now_ns: u64, out: &mut Vec<Yield>) {
        if self.done {
            return;
        }
        if let Some(resync) = &mut self.resync {
            resync.gap();
            self.tentative = None;
            self.count_before_boundary(0, out);
            self.reader(side).offset += length;
            return;
        }
        let waiting = self.queue.len();
        if side == Side::Request {
            self.queue.body_moved(None);
        }
        let reader = self.reader(side);
        reader.offset += length;
        let (mut inside, mut done) = (true, None);
        match &mut reader.phase {
            Phase::Body(Body::Length { left, .. }) if length < *left => *left -= length,
            Phase::Body(Body::Length { left, size }) if length == *left => {
                *left = 0;
                done = Some(*size);
            }
            Phase::Body(Body::UntilClose { size }) => *size += length,
            Phase::Body(Body::Chunked(chunks)) => {
                chunks.lose();
                reader.has_gap = true;
                // The gap may hold its end and the next response.
                inside = side == Side::Request || waiting <= 1;
            }
            _ => inside = false,
        }
        if let Some(size) = done {
            reader.phase = Phase::Start;
            match side {
                // It ended while nobody saw it: after the last byte that was seen, and before now.
                Side::Request => {
                    let end_ns = self.request.last_ns.max(self.queue.last_request_ns());
                    self.queue.request_done(end_ns, Some(size));
                }
                Side::Response => {
                    let end_ns = self.response.last_ns.max(self.queue.last_response_ns());
                    self.queue.complete(end_ns, Some(size), Outcome::Lost, out);
                }
            }
        }
        if !inside {
            self.lose(now_ns, Counter::ExchangesUnparsed, out);
        }
    }

    fn end(&mut self, side: Side, end: End, now_ns: u64, out: &mut Vec<Yield>) {
        if end == End::Closed && self.awaits_silence() {
            self.settle_tentative(out);
            self.leave_resync();
        }
        if self.done || self.resync.is_some() {
            return;
        }
        self.settle(side, out);
        if side == Side::Response {
            self.end_response(end, now_ns, out);
        }
    }

    fn close(&mut self, end: End, now_ns: u64, out: &mut Vec<Yield>) {
        if end == End::Closed && self.awaits_silence() {
            self.settle_tentative(out);
            self.leave_resync();
        }
        if self.done || self.resync.is_some() {
            self.tentative = None;
            self.count_before_boundary(0, out);
            return;
        }
        self.settle(Side::Request, out);
        self.settle(Side::Response, out);
        if matches!(self.request.phase, Phase::Head) {
            // The head of a request that never became whole.
            out.push(Yield::Count(Counter::ExchangesUnparsed, 1));
        }
        self.end_response(end, now_ns, out);
        self.done = true;
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        let complete_ns = self.tentative.as_ref().and_then(Tentative::complete_ns);
        let is_quiet = complete_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) >= self.limits.quiet_ns);
        if is_quiet && self.awaits_silence() {
            self.settle_tentative(out);
            self.leave_resync();
        }
        for side in [Side::Request, Side::Response] {
            if let Phase::Body(body) = &self.reader(side).phase
                && body.tentative_end().is_some_and(|end| now_ns.saturating_sub(end) >= self.limits.quiet_ns)
            {
                self.end_body(side, out);
            }
        }
        self.queue.time_out(now_ns, self.limits.exchange_timeout_ns, out);
    }

    fn is_ready(&self, side: Side) -> bool {
        match side {
            Side::Request => true,
            Side::Response => {
                self.done
                    || self.resync.is_some()
                    || !self.queue.is_empty()
                    || self.response.is_busy()
                    // A server's receive is recorded before the response that it causes: the request was hidden.
                    || self.role == Role::Server && self.request.is_body_lost()
            }
        }
    }

    fn want(&self, side: Side) -> Want {
        let reader = match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        };
        match &reader.phase {
            _ if self.done => Want::Nothing,
            _ if side == Side::Request && self.reads_exports() => Want::Everything,
            Phase::Body(Body::Length { left, .. }) => Want::BodyUntil(reader.offset.saturating_add(*left)),
            _ => Want::Heads,
        }
    }

    fn is_idle(&self) -> bool {
        self.done || !self.awaits_silence() && (self.resync.is_some() || self.queue.is_empty())
    }

    fn open_exchanges(&self) -> u64 {
        self.queue.unreported()
    }

    fn retained_bytes(&self) -> usize {
        let readers = self.request.retained_bytes() + self.response.retained_bytes();
        let resync = self.resync.as_ref().map_or(0, Resync::retained_bytes);
        let tentative = self.tentative.as_ref().map_or(0, Tentative::retained_bytes);
        readers + self.queue.retained_bytes() + resync + tentative
    }

    fn release(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        self.queue.forget_answered();
        if let Some(resync) = &mut self.resync {
            resync.gap();
            self.tentative = None;
        } else if !self.done && Parser::retained_bytes(self) > 0 {
            // The messages were not lost sight of.
            self.losses = self.losses.saturating_sub(1);
            self.lose(now_ns, Counter::ExchangesForgotten, out);
        }
    }
    fn first_byte(&mut self, side: Side) {
        // The server has never answered: a request was under way when the connection was joined.
        if let Some(resync) = &mut self.resync
            && side == Side::Response
        {
            resync.set_joined_within();
            self.tentative = None;
        }
    }

    fn lacks_request(&self, next: &[u8]) -> bool {
        // A response without a request has an end that nobody knows, unless the next one begins.
        let is_over = !self.response.is_busy()
            || self.is_unowned && SegmentOf::Bytes(next).begins_message(Side::Response);
        self.role == Role::Server
            && self.request.is_body_lost()
            && self.queue.is_empty()
            && is_over
            && !self.done
            && self.resync.is_none()
    }

    fn request_of(&self, response: u64) -> Option<SentRequest> {
        if self.role != Role::Client || self.done || self.resync.is_some() {
            return None;
        }
        let is_busy = self.response.is_busy();
        let next = if is_busy { self.response.begin_offset } else { self.response.offset };
        let (offset, head) = self.queue.request_of(response, next, !is_busy)?;
        Some(SentRequest { offset, length: head.len() as u64, head: head.clone() })
    }

    fn supply_request(&mut self, request: &SentRequest, call: &Call, out: &mut Vec<Yield>) -> bool {
        // What is not known to have been read may be behind this response; what was read before has its own.
        let Some(behind) = self.request.offset.checked_sub(request.offset + request.length) else {
            return false;
        };
        if request.offset <= self.request.begin_offset {
            return false;
        }
        let Some(scanned) = head::scan(&request.head) else { return false };
        let call = Call { start_ns: self.request.last_ns, end_ns: self.request.last_ns, ..*call };
        self.end_body(Side::Request, out);
        (self.request.begin, self.request.begin_offset) = (call, request.offset);
        self.request_head(request.head.clone(), scanned, &call, out);
        // Of its body, this much has gone by.
        if let Phase::Body(body) = &mut self.request.phase
            && behind > 0
        {
            let progress = body.skip(behind, &call);
            let size = body.size();
            self.queue.body_moved(None);
            if let BodyProgress::Done(_) = progress {
                self.request.phase = Phase::Start;
                self.queue.request_done(call.end_ns, size);
            }
        }
        true
    }

    fn is_answered(&self) -> bool {
        self.resync.as_ref().is_some_and(Resync::is_at_boundary)
            || self.tentative.as_ref().is_some_and(|tentative| tentative.complete_ns().is_some())
    }
}

impl Http1 {
    /// No more of the response side comes.
    fn end_response(&mut self, end: End, now_ns: u64, out: &mut Vec<Yield>) {
        // A server that closes first, or leaves the rest of a request unread, ends its response as it is.
        let is_servers = self.role == Role::Server && matches!(end, End::Left | End::Early);
        let end = if is_servers { End::Closed } else { end };
        if let Phase::Body(Body::UntilClose { size }) = &self.response.phase
            && end == End::Closed
        {
            let size = *size;
            let end_ns = self.queue.last_response_ns().max(self.response.last_ns);
            self.response.restart();
            self.complete(end_ns, Some(size), out);
        }
        if self.response.is_body_lost() && !self.is_unowned && end == End::Closed {
            // Whether the last byte was that of the response, its uncopied framing would tell.
            let end_ns = self.queue.last_response_ns().max(self.response.last_ns);
            self.queue.complete(end_ns, None, Outcome::Lost, out);
        }
        self.response.restart();
        // A client that closes before its response has begun has waited in vain.
        let (without, within) = match end {
            End::Closed => (Outcome::NoResponse, Outcome::Truncated),
            End::Reset => (Outcome::Reset, Outcome::Reset),
            End::Left => (Outcome::Left, Outcome::Left),
            End::Early => (Outcome::NoResponse, Outcome::Left),
            End::Unseen => (Outcome::Lost, Outcome::Lost),
        };
        self.queue.abandon(now_ns, without, within, out);
    }
}
