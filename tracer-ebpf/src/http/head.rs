//! The lines of a request's head, as far as trace headers and the framing behind them depend on them. One step
//! looks at two words or ends a line, in the loop of a helper, so that the verifier follows it once.

use super::{Text, word};

/// What was found of a head so far. The value stands in map memory, whose contents the verifier does not guess.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Head {
    /// Bytes that are there, at least [`Self::LEAST`].
    pub(crate) length: u32,
    /// The next byte to look at, and where its line begins.
    pub(crate) next: u32,
    pub(crate) line: u32,
    /// Bytes of the request line with its end; 0 until that was seen.
    pub(crate) request_line: u32,
    /// Bytes of the head with its empty line; 0 until that was seen.
    pub(crate) head: u32,
    /// Fields `traceparent`, and where the value of the last begins and ends.
    pub(crate) parents: u32,
    pub(crate) parent_begin: u32,
    pub(crate) parent_end: u32,
    /// Fields `tracestate`, and where the values of the first [`STATES`] begin and end.
    pub(crate) states: u32,
    pub(crate) state_begin: [u32; STATES],
    pub(crate) state_end: [u32; STATES],
    pub(crate) zero: u32,
    /// Fields `content-length`.
    pub(crate) lengths: u32,
    /// `Head::*` bits.
    pub(crate) flags: u32,
    /// What the last of them says.
    pub(crate) body: u64,
}

/// Fields `tracestate` that are one list together; a power of two.
pub(crate) const STATES: usize = 4;

const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
pub(super) const LOWER: u64 = 0x2020_2020_2020_2020;
const CR: u64 = 13;
const SPACE: u64 = 32;
const COLON: u64 = 58;
const HYPHEN: u64 = 45;

impl Head {
    /// It does not begin as a request of HTTP/1 does.
    pub(crate) const NOT_HTTP: u32 = 1;
    /// Something breaks a rule, or could be read in two ways.
    pub(crate) const ODD: u32 = 2;
    /// `transfer-encoding`: only its chunks tell where the body ends.
    pub(crate) const CHUNKED: u32 = 4;
    /// `upgrade`: what follows may be another protocol.
    pub(crate) const UPGRADE: u32 = 8;
    /// `expect`: the body may never come.
    pub(crate) const EXPECT: u32 = 16;
    /// A trace context in another form than W3C's.
    pub(crate) const OTHER_CONTEXT: u32 = 64;
    /// The target names a host that the operator does not list: see `propagate::third_party`.
    #[cfg(target_arch = "bpf")]
    pub(crate) const OTHER_HOST: u32 = 128;
    /// The method is CONNECT.
    pub(crate) const CONNECT: u32 = 32;
    /// Bytes without which no request is complete.
    pub(crate) const LEAST: u32 = 16;
}

/// Goes on by two words or a line. Returns whether all is known.
#[inline(always)]
pub(crate) fn step(head: &mut Head, text: &impl Text) -> bool {
    let next = u64::from(head.next);
    if head.next >= head.length {
        return true;
    }
    let mut word = next;
    let mut feeds = line_feeds(text.word(next));
    if feeds == 0 {
        word = next + 8;
        feeds = line_feeds(text.word(word));
        if feeds == 0 {
            head.next += 16;
            return false;
        }
    }
    let lowest = (feeds & feeds.wrapping_neg()) >> 7;
    let end = word + (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56);
    let ended = line(head, text, end);
    head.next = end as u32 + 1;
    head.line = end as u32 + 1;
    ended
}

/// The highest bit of each byte that is a line feed.
#[inline(always)]
const fn line_feeds(word: u64) -> u64 {
    equal(word ^ 0x0a0a_0a0a_0a0a_0a0a)
}

/// The highest bit of each byte that is 0.
#[inline(always)]
pub(super) const fn equal(x: u64) -> u64 {
    !(((x & LOW_SEVEN) + LOW_SEVEN) | x | LOW_SEVEN)
}

/// The line feed at `end` ends a line. Returns whether it ends the head.
#[inline(always)]
fn line(head: &mut Head, text: &impl Text, end: u64) -> bool {
    let begin = u64::from(head.line);
    if end < u64::from(Head::LEAST) - 2 && head.request_line == 0 {
        head.flags |= Head::NOT_HTTP;
        return true;
    }
    if text.before(end) >> 56 != CR || end == begin {
        head.flags |= Head::ODD;
    }
    if end - begin <= 1 {
        head.head = end as u32 + 1;
        return true;
    }
    if head.request_line == 0 {
        head.request_line = end as u32 + 1;
        return !request_line(head, text, end);
    }
    let (raw_first, raw_second) = (text.word(begin), text.word(begin + 8));
    if matches!(raw_first as u8, b' ' | b'\t') {
        head.flags |= Head::ODD;
    }
    // This makes letters small, and signs of control characters too: those are compared as they came.
    let (first, second) = (raw_first | LOWER, raw_second | LOWER);
    if first == const { word(b"tracepar") } && second & 0xff_ffff == const { word(b"ent\0\0\0\0\0") } {
        let after = raw_second >> 24 & 0xff;
        if after == COLON {
            let (begin, end) = value(head, text, begin + 12, end - 1);
            head.parents += 1;
            (head.parent_begin, head.parent_end) = (begin as u32, end as u32);
        } else if !(0x21..0x7f).contains(&after) {
            // White space before the colon, or a control character, is read in two ways. Any other sign belongs to a
            // longer name, which is another field's.
            head.flags |= Head::ODD;
        }
    } else if first == const { word(b"tracesta") }
        && second & 0xff_ffff == const { word(b"te:\0\0\0\0\0") }
        && raw_second >> 16 & 0xff == COLON
    {
        let (begin, end) = value(head, text, begin + 11, end - 1);
        let at = head.states as usize & (STATES - 1);
        head.states += 1;
        if let (Some(state_begin), Some(state_end)) =
            (head.state_begin.get_mut(at), head.state_end.get_mut(at))
        {
            (*state_begin, *state_end) = (begin as u32, end as u32);
        }
    } else if first == const { word(b"content-") }
        && second & 0xffff_ffff_ffff == const { word(b"length\0\0") }
    {
        head.lengths += 1;
        let is_plain = raw_first >> 56 == HYPHEN && raw_second >> 48 & 0xff == COLON;
        if head.lengths > 1 || !is_plain || !content_length(head, text, begin + 15, end - 1) {
            head.flags |= Head::ODD;
        }
    } else if first == const { word(b"transfer") } && second == const { word(b"-encodin") } {
        head.flags |= Head::CHUNKED;
    } else if first == const { word(b"upgrade:") } {
        head.flags |= Head::UPGRADE;
    } else if first << 8 == const { word(b"\0expect:") } {
        head.flags |= Head::EXPECT;
    } else if first & 0xff_ffff == const { word(b"b3:\0\0\0\0\0") }
        || first == const { word(b"x-b3-tra") }
        || first == const { word(b"uber-tra") }
        || first == const { word(b"x-datado") }
        || first == const { word(b"x-amzn-t") }
    {
        head.flags |= Head::OTHER_CONTEXT;
    }
    false
}

/// A field's value without the white space around it, of which up to eight bytes on each side are seen. Readers differ
/// in what else they take for white space: a value that begins or ends with a control character is odd.
#[inline(always)]
fn value(head: &mut Head, text: &impl Text, begin: u64, end: u64) -> (u64, u64) {
    let begin = begin + blanks(text.word(begin));
    let end = end - blanks(text.before(end).swap_bytes());
    if end <= begin {
        return (begin, begin);
    }
    if text.word(begin) & 0xff <= SPACE || text.before(end) >> 56 <= SPACE {
        head.flags |= Head::ODD;
    }
    (begin, end)
}

/// How many of the first bytes are spaces or tabs.
#[inline(always)]
fn blanks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let other = !(equal(word ^ (0x20 * ONES)) | equal(word ^ (0x09 * ONES))) & (0x80 * ONES);
    let lowest = (other & other.wrapping_neg()) >> 7;
    if other == 0 { 8 } else { lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56 }
}

/// `METHOD target HTTP/1.x`. Returns whether the line is that of a request.
#[inline(always)]
fn request_line(head: &mut Head, text: &impl Text, end: u64) -> bool {
    let (version, method) = (text.before(end - 1), text.word(0));
    let is_version = version == const { word(b"HTTP/1.1") } || version == const { word(b"HTTP/1.0") };
    if !is_version || !(method as u8).is_ascii_uppercase() {
        head.flags |= Head::NOT_HTTP;
        return false;
    }
    if method == const { word(b"CONNECT ") } {
        head.flags |= Head::CONNECT;
    }
    true
}

/// Up to eight digits, behind a space or none. Returns whether that is all there is.
#[inline(always)]
fn content_length(head: &mut Head, text: &impl Text, begin: u64, end: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (first, last) = (text.word(begin), text.before(end));
    let begin = begin + u64::from(first & 0xff == u64::from(b' '));
    let digits = end.wrapping_sub(begin);
    if digits.wrapping_sub(1) > 7 {
        return false;
    }
    // Zeros before them, the first digit lowest.
    let mask = u64::MAX << (((8 - digits) * 8) & 63);
    let padded = last & mask | (0x30 * ONES) & !mask;
    // A digit has the upper half 3, and still has it with six more.
    let wrong = ((padded + 6 * ONES) ^ (0x30 * ONES)) | (padded ^ (0x30 * ONES));
    if wrong & (0xf0 * ONES) != 0 {
        return false;
    }
    // Pairs, then fours, then all.
    let value = ((padded & (0x0f * ONES)).wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let value = (value.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    head.body = value.wrapping_mul(42_949_672_960_001) >> 32;
    true
}
