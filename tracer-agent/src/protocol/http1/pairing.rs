//! Requests that wait for their responses, in order, and the exchanges that come of them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::head::RequestHead;
use crate::{
    exchange::{Exchange, Kind, Outcome, Payload, Unit},
    protocol::{
        http::{HttpExchange, Signal},
        interface::{Call, Yield},
    },
};

/// A request, and what of its response has come.
pub(super) struct Pending {
    /// What is known so far; shared with the exchange once that is reported, and not changed after it.
    http: Arc<HttpExchange>,
    unit: Unit,
    start_ns: u64,
    offset: u64,
    request_end_ns: u64,
    /// The body is still under way.
    body_open: bool,
    /// The first bytes of the body, if they are kept.
    body: Option<Vec<u8>>,
    response: Option<ResponseStart>,
    /// Offset of the first byte of its first response: that may be an interim one.
    response_offset: Option<u64>,
    /// It was given up and reported; its response must not be taken for another's.
    reported: bool,
}

#[derive(Clone, Copy)]
struct ResponseStart {
    unit: Unit,
    start_ns: u64,
    last_ns: u64,
}

impl Pending {
    pub(super) fn new(
        head: Bytes,
        read: &RequestHead,
        begin: Call,
        offset: u64,
        end: &Call,
        has_body: bool,
    ) -> Self {
        let http = HttpExchange {
            request_head: head,
            method: read.method.clone(),
            target: read.target.clone(),
            noted: read.noted,
            minor_version: read.minor_version,
            response_head: None,
            status: None,
            export_body: None,
            request_body_bytes: (!has_body).then_some(0),
            response_body_bytes: None,
        };
        Self {
            http: Arc::new(http),
            unit: unit_of_head(&begin, end),
            start_ns: begin.start_ns,
            offset,
            request_end_ns: end.end_ns,
            body_open: has_body,
            body: None,
            response: None,
            response_offset: None,
            reported: false,
        }
    }

    /// Where it begins, and which process moved its first byte.
    pub(super) fn origin(&self) -> (u64, u32) {
        (self.offset, self.unit.pid)
    }

    /// Head of the request.
    pub(super) fn head(&self) -> &Bytes {
        &self.http.request_head
    }

    /// See [`HttpExchange::exported`].
    pub(super) fn exported(&self) -> Option<Signal> {
        self.http.exported()
    }

    pub(super) fn is_method(&self, method: &[u8]) -> bool {
        self.http.method() == method
    }

    /// A response to it, maybe an interim one, begins at this offset.
    pub(super) fn responded(&mut self, offset: u64) {
        self.response_offset.get_or_insert(offset);
    }

    /// The head of its final response has come; `begin` is the call with its first byte.
    pub(super) fn answer(&mut self, head: Bytes, status: u16, begin: Call) {
        if let Some(http) = Arc::get_mut(&mut self.http) {
            http.response_head = Some(head);
            http.status = Some(status);
        }
        let (unit, start_ns) = (begin.unit, begin.start_ns);
        self.response = Some(ResponseStart { unit, start_ns, last_ns: begin.end_ns });
    }

    fn exchange(&self, kind: Kind, end_ns: u64, outcome: Outcome) -> Exchange {
        Exchange {
            kind,
            request_unit: self.unit,
            response_unit: self.response.map(|answer| answer.unit),
            start_ns: self.start_ns,
            request_end_ns: self.request_end_ns,
            response_start_ns: self.response.map(|answer| answer.start_ns),
            end_ns: end_ns.max(self.start_ns),
            outcome,
            request_offset: self.offset,
            attached: None,
            payload: Arc::clone(&self.http) as Arc<dyn Payload>,
        }
    }

    /// The bytes of the body that are kept are all that will be.
    fn keep_part(&mut self) {
        if let Some(body) = self.body.take()
            && let Some(http) = Arc::get_mut(&mut self.http)
        {
            http.export_body = Some(Bytes::from(body));
        }
    }

    /// Reports it as ended without a complete response, and leaves a placeholder.
    fn give_up(&mut self, kind: Kind, end_ns: u64, outcome: Outcome, out: &mut Vec<Yield>) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        out.push(Yield::Exchange(self.exchange(kind, end_ns, outcome)));
        self.response = None;
    }
}

/// Who has moved a head: the thread that began, and the task that ended. Go's server reads the first byte of a request
/// in another goroutine, if it comes while the one before is worked on.
pub(super) fn unit_of_head(begin: &Call, end: &Call) -> Unit {
    let task = if end.unit.task == 0 { begin.unit.task } else { end.unit.task };
    Unit { task, ..begin.unit }
}

/// Requests in the order in which they were sent; responses come in the same.
pub(super) struct PipelinedRequests {
    /// The process's part in all of them.
    kind: Kind,
    waiting: VecDeque<Pending>,
    /// Bytes of their heads.
    bytes: usize,
    /// Bodies were kept of some.
    has_bodies: bool,
    /// The last request that was answered, on a connection whose requests have bodies: the other end may have read its
    /// head in the middle of a read.
    answered: Option<Box<Answered>>,
    keeps_answered: bool,
}

struct Answered {
    offset: u64,
    head: Bytes,
    response_offset: u64,
}

impl PipelinedRequests {
    /// Bytes of a body that are kept.
    const MOST_BODY: usize = 16 * 1024;

    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            waiting: VecDeque::new(),
            bytes: 0,
            has_bodies: false,
            answered: None,
            keeps_answered: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of the heads that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Requests that were not yielded as exchanges.
    pub(super) fn unreported(&self) -> u64 {
        self.waiting.iter().filter(|pending| !pending.reported).count() as u64
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.bytes += pending.http.request_head.len();
        self.keeps_answered |= pending.body_open;
        self.waiting.push_back(pending);
    }

    /// The request that is being answered.
    pub(super) fn front(&mut self) -> Option<&mut Pending> {
        self.waiting.front_mut()
    }

    /// Where the request begins whose first response begins at `response`, and its head. The next response begins at
    /// `next`, or later if `may_be_later`.
    pub(super) fn request_of(&self, response: u64, next: u64, may_be_later: bool) -> Option<(u64, &Bytes)> {
        if let Some(answered) = self.answered.as_ref().filter(|it| it.response_offset == response) {
            return Some((answered.offset, &answered.head));
        }
        let pending = self.waiting.front().filter(|it| self.waiting.len() == 1 && !it.reported)?;
        let is_its = match pending.response_offset {
            Some(offset) => offset == response,
            None => next == response || may_be_later && next < response,
        };
        is_its.then_some((pending.offset, pending.head()))
    }

    /// Memory is short: forgets the request that was answered last.
    pub(super) fn forget_answered(&mut self) {
        self.answered = None;
    }

    /// Bytes of memory that the heads which wait and the bodies which are kept take.
    pub(super) fn retained_bytes(&self) -> usize {
        let bytes = self.bytes + self.answered.as_ref().map_or(0, |it| it.head.len() + size_of::<Answered>());
        if !self.has_bodies {
            return bytes;
        }
        let body = |pending: &Pending| {
            pending.body.as_ref().map_or(0, Vec::capacity)
                + pending.http.export_body.as_ref().map_or(0, Bytes::len)
        };
        bytes + self.waiting.iter().map(body).sum::<usize>()
    }

    /// Keeps the first bytes of the last request's body.
    pub(super) fn keep_body(&mut self) {
        if let Some(pending) = self.waiting.back_mut().filter(|pending| pending.body_open) {
            pending.body = Some(Vec::new());
            self.has_bodies = true;
        }
    }

    /// Whether more bytes of the last request's body are wanted.
    pub(super) fn wants_body(&self) -> bool {
        let body = self.waiting.back().filter(|pending| pending.body_open).and_then(|it| it.body.as_ref());
        body.is_some_and(|body| body.len() < Self::MOST_BODY)
    }

    /// Bytes of the last request's body moved; none if they were not copied.
    pub(super) fn body_moved(&mut self, bytes: Option<&[u8]>) {
        let Some(pending) = self.waiting.back_mut() else { return };
        let Some(body) = pending.body.as_mut().filter(|body| body.len() < Self::MOST_BODY) else { return };
        match bytes {
            Some(bytes) => {
                let room = Self::MOST_BODY - body.len();
                body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            // What follows belongs nowhere.
            None => pending.keep_part(),
        }
    }

    /// More of the last request's body moved.
    pub(super) fn request_moved(&mut self, end_ns: u64) {
        if let Some(pending) = self.waiting.back_mut()
            && pending.body_open
        {
            pending.request_end_ns = end_ns;
        }
    }

    /// The last request's body is complete.
    pub(super) fn request_done(&mut self, end_ns: u64, size: Option<u64>) {
        if let Some(pending) = self.waiting.back_mut()
            && pending.body_open
        {
            pending.body_open = false;
            pending.request_end_ns = end_ns;
            pending.keep_part();
            if let Some(http) = Arc::get_mut(&mut pending.http) {
                http.request_body_bytes = size;
            }
        }
    }

    /// More of the response moved.
    pub(super) fn response_moved(&mut self, end_ns: u64) {
        if let Some(answer) = self.waiting.front_mut().and_then(|pending| pending.response.as_mut()) {
            answer.last_ns = end_ns;
        }
    }

    /// When the last byte of the response in progress moved.
    pub(super) fn last_response_ns(&self) -> u64 {
        self.waiting.front().and_then(|pending| pending.response.as_ref()).map_or(0, |answer| answer.last_ns)
    }

    /// When the last byte of the last request moved, as far as seen.
    pub(super) fn last_request_ns(&self) -> u64 {
        self.waiting.back().map_or(0, |pending| pending.request_end_ns)
    }

    /// The first request's response is complete; `Outcome::Lost` if its end went by unseen.
    pub(super) fn complete(
        &mut self,
        end_ns: u64,
        size: Option<u64>,
        outcome: Outcome,
        out: &mut Vec<Yield>,
    ) {
        if let Some(mut pending) = self.pop()
            && !pending.reported
        {
            if let Some(http) = Arc::get_mut(&mut pending.http) {
                http.response_body_bytes = size;
            }
            out.push(Yield::Exchange(pending.exchange(self.kind, end_ns, outcome)));
            if let Some(response_offset) = pending.response_offset.filter(|_| self.keeps_answered) {
                let (offset, head) = (pending.offset, pending.head().clone());
                self.answered = Some(Box::new(Answered { offset, head, response_offset }));
            }
        }
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.waiting.pop_front()?;
        self.bytes -= pending.http.request_head.len();
        Some(pending)
    }

    /// No response comes any more. The outcomes are those of a request without a response and of one whose response has
    /// begun.
    pub(super) fn abandon(&mut self, now_ns: u64, without: Outcome, within: Outcome, out: &mut Vec<Yield>) {
        self.bytes = 0;
        for mut pending in self.waiting.drain(..) {
            let outcome = if pending.response.is_some() { within } else { without };
            let end_ns = now_ns.max(pending.response.as_ref().map_or(0, |answer| answer.last_ns));
            pending.give_up(self.kind, end_ns, outcome, out);
        }
    }

    /// Reports requests that have waited too long.
    pub(super) fn time_out(&mut self, now_ns: u64, limit_ns: u64, out: &mut Vec<Yield>) {
        for pending in &mut self.waiting {
            // A response that has begun may stream for hours, and so may the request's body.
            if pending.response.is_none() && now_ns.saturating_sub(pending.request_end_ns) >= limit_ns {
                pending.give_up(self.kind, now_ns, Outcome::Timeout, out);
            }
        }
    }
}
