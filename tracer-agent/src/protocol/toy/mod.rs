//! A protocol for tests only: it shows what a new protocol takes, which is this folder, its `mod` line and its line in
//! the table.
//!
//! A frame is its length (four bytes, little-endian), a kind, a number and a text: a subject, and a line
//! `name=value` for each field. The client publishes (`p`) and asks (`q`); the server pushes (`e`), also before the
//! client has sent anything, and answers (`a`) in any order: an answer has the number of its question.

mod message;
mod tests;

use std::sync::Arc;

use self::message::{Fields, Message};
use super::{Call, End, Limits, Parser, Protocol, Role, Side, Start, Want, Yield, sniff::Sniffed};
use crate::{
    exchange::{Exchange, Kind, Opened, Outcome},
    ledger::Counter,
    trace_context::{Carried, Incoming},
};

pub(super) static PROTOCOL: Protocol = Protocol {
    name: "toy",
    sniff,
    server_may_begin: true,
    mask: None,
    open: Some(|role, _: Start, limits| Box::new(Toy::new(role, *limits))),
    opaque_counter: Counter::ConnectionsOther,
};

/// Bytes of the length.
const PREFIX: usize = 4;
/// Fewest bytes behind the length: kind and number.
const LEAST: usize = 2;
/// Most bytes behind the length.
const MOST: usize = 200;

fn sniff(bytes: &[u8]) -> Sniffed {
    let (length, rest) = bytes.split_at(bytes.len().min(PREFIX));
    let fits = length.iter().enumerate().all(|(at, byte)| match at {
        0 => (LEAST..=MOST).contains(&usize::from(*byte)),
        _ => *byte == 0,
    });
    match rest.first() {
        _ if !fits => Sniffed::No,
        None => Sniffed::More,
        Some(b'p' | b'q') => Sniffed::Yes { sender: Side::Request },
        Some(b'e' | b'a') => Sniffed::Yes { sender: Side::Response },
        Some(_) => Sniffed::No,
    }
}

/// A connection.
struct Toy {
    role: Role,
    limits: Limits,
    request: Frames,
    response: Frames,
    questions: Vec<Question>,
    /// Frames are no longer told apart.
    is_lost: bool,
}

/// Bytes of one side that are no whole frame yet.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    /// Offset of the first of them.
    offset: u64,
    /// The system call that moved the first of them.
    begin: Call,
}

/// A question that waits for its answer.
struct Question {
    number: u8,
    exchange: Exchange,
    message: Message,
}

/// A whole frame.
struct Frame {
    kind: u8,
    number: u8,
    text: Vec<u8>,
    offset: u64,
    begin: Call,
}

impl Frames {
    fn push(&mut self, bytes: &[u8], call: &Call) {
        if self.bytes.is_empty() {
            self.begin = *call;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, if all of it has come; an error if it cannot be one.
    fn next(&mut self, call: &Call) -> Result<Option<Frame>, ()> {
        let Some(length) = self.bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(LEAST..=MOST).contains(&length) {
            return Err(());
        }
        let Some([_, _, _, _, kind, number, text @ ..]) = self.bytes.get(..PREFIX + length) else {
            return Ok(None);
        };
        let frame = Frame {
            kind: *kind,
            number: *number,
            text: text.to_vec(),
            offset: self.offset,
            begin: self.begin,
        };
        self.bytes.drain(..PREFIX + length);
        self.offset += (PREFIX + length) as u64;
        self.begin = *call;
        Ok(Some(frame))
    }
}

impl Toy {
    fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            request: Frames::default(),
            response: Frames::default(),
            questions: Vec::new(),
            is_lost: false,
        }
    }

    fn frames(&mut self, side: Side) -> &mut Frames {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// The process's part in a message that nobody answers.
    fn kind_of_message(&self, side: Side) -> Kind {
        match (side, self.role) {
            (Side::Request, Role::Client) | (Side::Response, Role::Server) => Kind::Publish,
            (Side::Request, Role::Server) | (Side::Response, Role::Client) => Kind::Consume,
        }
    }

    fn frame(&mut self, side: Side, frame: &Frame, end: &Call, out: &mut Vec<Yield>) {
        match (side, frame.kind) {
            (Side::Request, b'p') => self.message(side, "publish", frame, end, out),
            (Side::Response, b'e') => self.message(side, "push", frame, end, out),
            (Side::Request, b'q') => {
                let message = Message::new("ask", &frame.text);
                let exchange = self.begin(self.role.of_request(), frame, end, &message, out);
                self.questions.push(Question { number: frame.number, exchange, message });
            }
            (Side::Response, b'a') => self.answer(frame, end, out),
            _ => self.lose(end.end_ns, out),
        }
    }

    /// A message that nobody answers begins and ends.
    fn message(&self, side: Side, verb: &'static str, frame: &Frame, end: &Call, out: &mut Vec<Yield>) {
        let message = Message::new(verb, &frame.text);
        let mut exchange = self.begin(self.kind_of_message(side), frame, end, &message, out);
        exchange.outcome = Outcome::OneWay;
        exchange.attached = message::attached(&frame.text, end.end_ns);
        exchange.payload = Arc::new(message);
        out.push(Yield::Exchange(exchange));
    }

    /// Tells that an exchange begins, which has no answer yet.
    fn begin(
        &self,
        kind: Kind,
        frame: &Frame,
        end: &Call,
        message: &Message,
        out: &mut Vec<Yield>,
    ) -> Exchange {
        let fields = Fields(&frame.text);
        out.push(Yield::Opened(Opened {
            kind,
            unit: frame.begin.unit,
            start_ns: frame.begin.start_ns,
            offset: frame.offset,
            target: frame
                .text
                .iter()
                .fold(1, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(*byte))
                .max(1),
            incoming: Incoming::of(&fields).map(Box::new),
            carried: Carried::of(&fields, self.limits.formats).map(Box::new),
            attempt: None,
            is_export: false,
            injection: None,
            inserted: 0,
            is_lengthened: false,
            asked: crate::short_bytes::ShortBytes::default(),
            is_late: false,
        }));
        Exchange {
            kind,
            request_unit: frame.begin.unit,
            response_unit: None,
            start_ns: frame.begin.start_ns,
            request_end_ns: end.end_ns,
            response_start_ns: None,
            end_ns: end.end_ns,
            outcome: Outcome::NoResponse,
            request_offset: frame.offset,
            attached: None,
            payload: Arc::new(message.clone()),
        }
    }

    fn answer(&mut self, frame: &Frame, end: &Call, out: &mut Vec<Yield>) {
        let Some(at) = self.questions.iter().position(|question| question.number == frame.number) else {
            return out.push(Yield::Count(Counter::ExchangesUnpaired, 1));
        };
        let Question { mut exchange, mut message, .. } = self.questions.remove(at);
        out.push(Yield::Answered {
            kind: exchange.kind,
            offset: exchange.request_offset,
            pid: exchange.request_unit.pid,
            by: frame.begin.unit,
        });
        message.is_refused = frame.text == b"no";
        exchange.response_unit = Some(frame.begin.unit);
        exchange.response_start_ns = Some(frame.begin.start_ns);
        exchange.end_ns = end.end_ns;
        exchange.outcome = Outcome::Complete;
        exchange.payload = Arc::new(message);
        out.push(Yield::Exchange(exchange));
    }

    /// Ends the questions that were asked before `limit_ns`.
    fn end_questions(&mut self, limit_ns: u64, outcome: Outcome, now_ns: u64, out: &mut Vec<Yield>) {
        self.questions.retain(|question| {
            let is_open = question.exchange.request_end_ns > limit_ns;
            if !is_open {
                out.push(Yield::Exchange(Exchange {
                    end_ns: now_ns.max(question.exchange.start_ns),
                    outcome,
                    ..question.exchange.clone()
                }));
            }
            is_open
        });
    }

    fn lose(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        self.is_lost = true;
        self.end_questions(u64::MAX, Outcome::Lost, now_ns, out);
    }
}

impl Parser for Toy {
    fn data(&mut self, side: Side, bytes: &[u8], call: &Call, out: &mut Vec<Yield>) {
        self.frames(side).push(bytes, call);
        while !self.is_lost {
            match self.frames(side).next(call) {
                Ok(Some(frame)) => self.frame(side, &frame, call, out),
                Ok(None) => return,
                Err(()) => self.lose(call.end_ns, out),
            }
        }
    }

    fn skip(&mut self, _: Side, length: u64, call: &Call, out: &mut Vec<Yield>) {
        if length > 0 {
            self.lose(call.end_ns, out);
        }
    }

    fn gap(&mut self, _: Side, _: u64, now_ns: u64, out: &mut Vec<Yield>) {
        self.lose(now_ns, out);
    }

    fn end(&mut self, side: Side, end: End, now_ns: u64, out: &mut Vec<Yield>) {
        if side == Side::Response {
            self.close(end, now_ns, out);
        }
    }

    fn close(&mut self, end: End, now_ns: u64, out: &mut Vec<Yield>) {
        let outcome = match end {
            End::Closed | End::Early => Outcome::NoResponse,
            End::Reset => Outcome::Reset,
            End::Left => Outcome::Left,
            End::Unseen => Outcome::Lost,
        };
        self.end_questions(u64::MAX, outcome, now_ns, out);
    }

    fn tick(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        if let Some(limit_ns) = now_ns.checked_sub(self.limits.exchange_timeout_ns) {
            self.end_questions(limit_ns, Outcome::Timeout, now_ns, out);
        }
    }

    fn is_ready(&self, _: Side) -> bool {
        true
    }

    fn want(&self, _: Side) -> Want {
        if self.is_lost { Want::Nothing } else { Want::Everything }
    }

    fn is_idle(&self) -> bool {
        self.questions.is_empty()
    }

    fn open_exchanges(&self) -> u64 {
        self.questions.len() as u64
    }

    fn retained_bytes(&self) -> usize {
        self.request.bytes.len() + self.response.bytes.len()
    }

    fn release(&mut self, now_ns: u64, out: &mut Vec<Yield>) {
        self.lose(now_ns, out);
        self.request = Frames::default();
        self.response = Frames::default();
    }
}
