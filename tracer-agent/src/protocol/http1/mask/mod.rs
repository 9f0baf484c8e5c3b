//! What is recorded of HTTP/1: the lines of heads without their secrets ([`mod@line`]), lengths of bodies, sizes of chunks.

mod line;

use std::{collections::VecDeque, sync::Arc};

use self::line::{LineKind, hide, mask_line};
use super::{
    body::{Body, BodyProgress, Chunks},
    head,
    sniff::sniff,
};
use crate::protocol::{
    interface::{Call, Mask, MaskRules, Masking, Sniffed},
    proxy_header::ProxyHeader,
};

/// Longest head that is followed, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most bytes that are looked at again because a line came in segments; what follows of such a line is hidden.
const MAX_WORK: usize = 1 << 20;
/// Most requests that wait for their responses.
const MAX_REQUESTS: usize = 1024;

/// Methods by which a request is known before its first line has come whole.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// HTTP/1's mask in the table of protocols.
pub(super) const MASKING: Masking = Masking {
    begins_with: Masked::begins_with,
    open: |is_birth, rules| Box::new(Masked::new(is_birth, rules)),
};

/// What the first bytes of a message are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// A message's, for certain.
    Message,
    /// Too few to tell; what is there is part of a method or a version, and no secret.
    Prefix,
    /// Something else.
    Other,
}

fn opening(bytes: &[u8]) -> Opening {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = bytes.get(empty..).unwrap_or_default();
    if text.starts_with(b"PROXY ") {
        return Opening::Other;
    }
    match sniff(bytes) {
        Sniffed::Yes { .. } => Opening::Message,
        Sniffed::More => {
            let begins = |method: &&[u8]| {
                text.strip_prefix(*method)
                    .is_some_and(|rest| rest.starts_with(b" /") || rest.starts_with(b" h"))
            };
            let is_short = |method: &&[u8]| method.starts_with(text.strip_suffix(b" ").unwrap_or(text));
            if METHODS.iter().any(begins) {
                Opening::Message
            } else if METHODS.iter().any(is_short) || b"HTTP/1.".starts_with(text.get(..7).unwrap_or(text)) {
                Opening::Prefix
            } else {
                Opening::Other
            }
        }
        Sniffed::No => Opening::Other,
    }
}

/// Whether bytes begin a message where it is not known that one begins: a method that is not known may be the end of a
/// body.
fn certain(bytes: &[u8]) -> bool {
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = bytes.get(empty..).unwrap_or_default();
    let is_known = |method: &&[u8]| text.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" "));
    (text.starts_with(b"HTTP/1.") || METHODS.iter().any(is_known)) && opening(bytes) == Opening::Message
}

/// The mask of one HTTP/1 connection.
struct Masked {
    rules: Arc<MaskRules>,
    directions: [MaskState; 2],
    /// Methods of the requests whose responses have not come.
    requests: VecDeque<Method>,
    /// Responses that came before the requests that they answer: the records of two CPUs.
    early_responses: usize,
}

/// What a response's framing depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Connect,
    Other,
}

/// Where one direction stands.
#[derive(Default)]
struct MaskState {
    phase: MaskPhase,
    /// Nothing has gone by: a PROXY header may come.
    is_birth: bool,
    /// The head so far, as it was.
    head: Vec<u8>,
    /// The line so far, as it was, if it came in several segments.
    line: Vec<u8>,
    /// Bytes of `line` that were looked at again.
    work: usize,
    field: LineKind,
}

#[derive(Default)]
enum MaskPhase {
    /// Nobody knows.
    #[default]
    Unknown,
    /// A message begins with the next byte.
    Start,
    /// `line` is too short to tell.
    Opening,
    /// In a head.
    Head,
    /// In a body.
    Body(Body),
    /// Behind the last message: an upgrade, or a tunnel.
    Tunnel,
}

impl Masked {
    /// Whether bytes are the first of a message of HTTP/1.
    fn begins_with(bytes: &[u8], is_birth: bool) -> bool {
        if !is_birth {
            return certain(bytes);
        }
        match opening(bytes) {
            Opening::Message | Opening::Prefix => true,
            Opening::Other => ProxyHeader::of(bytes) != ProxyHeader::None,
        }
    }

    /// A mask for a connection; `is_birth` tells for each direction whether nothing of it has gone by.
    fn new(is_birth: [bool; 2], rules: Arc<MaskRules>) -> Self {
        let directions = is_birth.map(|is_birth| MaskState {
            phase: if is_birth { MaskPhase::Start } else { MaskPhase::Unknown },
            is_birth,
            ..MaskState::default()
        });
        Self { rules, directions, requests: VecDeque::new(), early_responses: 0 }
    }

    /// Masks the first bytes of a segment. Returns how many.
    fn step(&mut self, direction: usize, bytes: &mut [u8], call: &Call, is_first: bool) -> usize {
        let this = &mut self.directions[direction];
        match &mut this.phase {
            MaskPhase::Unknown if is_first && call.first && certain(bytes) => {
                *this = MaskState { phase: MaskPhase::Start, ..MaskState::default() };
                0
            }
            MaskPhase::Unknown | MaskPhase::Tunnel => zero(bytes),
            MaskPhase::Start | MaskPhase::Opening => this.open(bytes),
            MaskPhase::Head => {
                let (taken, is_complete) = this.head(bytes, &self.rules);
                if is_complete {
                    self.end_of_head(direction);
                }
                taken
            }
            MaskPhase::Body(body) => {
                if body.tentative_end().is_some() {
                    if is_first && certain(bytes) {
                        this.phase = MaskPhase::Start;
                        return 0;
                    }
                    body.revoke();
                }
                match body.mask(bytes, call) {
                    BodyProgress::More => bytes.len(),
                    BodyProgress::Done(taken) => {
                        this.phase = MaskPhase::Start;
                        taken as usize
                    }
                    BodyProgress::Invalid => {
                        this.phase = MaskPhase::Unknown;
                        bytes.len()
                    }
                }
            }
        }
    }

    fn end_of_head(&mut self, direction: usize) {
        let this = &mut self.directions[direction];
        let head = std::mem::take(&mut this.head);
        this.field = LineKind::StartLine;
        let next =
            if head.starts_with(b"HTTP/1.") { self.response(&head) } else { self.request(&head, direction) };
        let next = next.unwrap_or(MaskPhase::Unknown);
        if matches!(next, MaskPhase::Tunnel) {
            self.directions[1 - direction].phase = MaskPhase::Tunnel;
        }
        self.directions[direction].phase = next;
    }

    /// What follows a request's head (RFC 9112 section 6.3).
    fn request(&mut self, head: &[u8], direction: usize) -> Option<MaskPhase> {
        let read = head::request(head, head::scan(head)?)?;
        let method = match head.get(read.method)? {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        if self.early_responses > 0 {
            self.early_responses -= 1;
            let other = &mut self.directions[1 - direction];
            if method == Method::Head && matches!(other.phase, MaskPhase::Body(_)) {
                other.phase = MaskPhase::Start;
            }
        } else if self.requests.len() < MAX_REQUESTS {
            self.requests.push_back(method);
        } else {
            return None;
        }
        match (read.fields.transfer_encoding, read.fields.content_length) {
            (true, _) if read.fields.chunked => Some(MaskPhase::Body(Body::Chunked(Chunks::new()))),
            (true, _) => None,
            (false, None | Some(0)) => Some(MaskPhase::Start),
            (false, Some(size)) => Some(MaskPhase::Body(Body::Length { left: size, size })),
        }
    }

    /// What follows a response's head.
    fn response(&mut self, head: &[u8]) -> Option<MaskPhase> {
        let read = head::response(head, head::scan(head)?)?;
        if read.status < 200 && read.status != 101 {
            return Some(MaskPhase::Start);
        }
        let method = self.requests.pop_front().unwrap_or_else(|| {
            self.early_responses += 1;
            Method::Other
        });
        if read.status == 101 || method == Method::Connect && (200..300).contains(&read.status) {
            return Some(MaskPhase::Tunnel);
        }
        if method == Method::Head || matches!(read.status, 204 | 304) {
            return Some(MaskPhase::Start);
        }
        Some(match (read.fields.transfer_encoding, read.fields.content_length) {
            (true, _) if read.fields.chunked => MaskPhase::Body(Body::Chunked(Chunks::new())),
            (true, _) | (false, None) => MaskPhase::Body(Body::UntilClose { size: 0 }),
            (false, Some(0)) => MaskPhase::Start,
            (false, Some(size)) => MaskPhase::Body(Body::Length { left: size, size }),
        })
    }
}

impl Mask for Masked {
    fn data(&mut self, direction: usize, bytes: &mut [u8], call: &Call) {
        let mut call = *call;
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            at += self.step(direction, rest, &call, at == 0);
            call.first &= at == 0;
        }
    }

    fn skip(&mut self, direction: usize, length: u64, call: &Call) {
        let this = &mut self.directions[direction];
        match &mut this.phase {
            MaskPhase::Unknown | MaskPhase::Tunnel => {}
            _ if length == 0 => {}
            MaskPhase::Body(body) => match body.skip(length, call) {
                BodyProgress::More => {}
                BodyProgress::Done(taken) if taken == length => this.phase = MaskPhase::Start,
                BodyProgress::Done(_) | BodyProgress::Invalid => this.lose(),
            },
            MaskPhase::Start | MaskPhase::Opening | MaskPhase::Head => this.lose(),
        }
    }

    fn gap(&mut self, direction: usize, length: u64) {
        let this = &mut self.directions[direction];
        match &mut this.phase {
            MaskPhase::Unknown | MaskPhase::Tunnel => {}
            MaskPhase::Body(Body::Length { left, .. }) if length < *left => *left -= length,
            MaskPhase::Body(Body::Length { left, .. }) if length == *left => this.phase = MaskPhase::Start,
            MaskPhase::Body(Body::UntilClose { .. }) => {}
            MaskPhase::Body(Body::Chunked(chunks)) => chunks.lose(),
            _ => this.lose(),
        }
    }
}

impl MaskState {
    fn lose(&mut self) {
        *self = Self::default();
    }

    /// At the start of a message. Returns how many bytes it took.
    fn open(&mut self, bytes: &mut [u8]) -> usize {
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        if self.is_birth {
            match ProxyHeader::of(&self.line) {
                ProxyHeader::None => {}
                ProxyHeader::More if self.line.len() <= MAX_HEAD => {
                    self.phase = MaskPhase::Opening;
                    return bytes.len();
                }
                ProxyHeader::More => {
                    self.lose();
                    return zero(bytes);
                }
                ProxyHeader::Bytes(length) => {
                    *self = Self { phase: MaskPhase::Start, ..Self::default() };
                    return length.saturating_sub(before).min(bytes.len());
                }
            }
        }
        let empty = self.line.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty == self.line.len() {
            self.line.clear();
            return bytes.len();
        }
        self.is_birth = false;
        match opening(&self.line) {
            Opening::Message => {
                // What came before belongs to the first line.
                self.line.truncate(before);
                self.line.drain(..empty.min(before));
                self.head.clone_from(&self.line);
                self.phase = MaskPhase::Head;
                empty.saturating_sub(before)
            }
            Opening::Prefix => {
                self.phase = MaskPhase::Opening;
                bytes.len()
            }
            Opening::Other => {
                self.lose();
                zero(bytes)
            }
        }
    }

    /// In a head. Returns how many bytes it took, and whether the head is complete.
    fn head(&mut self, bytes: &mut [u8], rules: &MaskRules) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            if self.head.len() > MAX_HEAD {
                zero(rest);
                self.lose();
                break;
            }
            let end = memchr::memchr(b'\n', rest).map(|end| end + 1);
            let length = end.unwrap_or(rest.len());
            let part = rest.get_mut(..length).unwrap_or_default();
            self.head.extend_from_slice(part);
            let is_empty = self.part(part, end.is_some(), rules);
            at += length;
            if is_empty {
                return (at, true);
            }
        }
        (bytes.len(), false)
    }

    /// A line, or a part of one that goes up to its end if `is_end`. Returns whether the line is empty.
    fn part(&mut self, part: &mut [u8], is_end: bool, rules: &MaskRules) -> bool {
        let is_empty = is_end && matches!((&self.line[..], &*part), ([], b"\n" | b"\r\n") | (b"\r", b"\n"));
        let field = if self.line.is_empty() {
            if !is_end {
                self.line.extend_from_slice(part);
            }
            mask_line(self.field, part, is_end, rules)
        } else {
            // The line is judged as a whole; what was recorded of it stays.
            let before = self.line.len();
            self.line.extend_from_slice(part);
            self.work += self.line.len();
            let mut whole = self.line.clone();
            let field = mask_line(self.field, &mut whole, is_end, rules);
            match whole.get(before..) {
                Some(masked) if self.work <= MAX_WORK => part.copy_from_slice(masked),
                _ => hide(part),
            }
            field
        };
        if is_end {
            self.line.clear();
            self.work = 0;
            self.field = field;
        }
        is_empty
    }
}

fn zero(bytes: &mut [u8]) -> usize {
    bytes.fill(0);
    bytes.len()
}
