//! The lines of a request's head, as far as trace headers and the framing behind them depend on them.
//! One step looks at a word or ends a line; [`step`] runs in the loop of a helper, so that the verifier
//! follows it once. The state lives in map memory, whose values the verifier does not guess.

/// Where the bytes of a head are.
pub(crate) trait Bytes {
    /// Eight bytes from `at` on, the first lowest. None if they are not all there.
    ///
    /// # Safety
    /// What the implementation reads is live.
    unsafe fn word(&self, at: u64) -> Option<u64>;
}

/// What was found so far.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Scan {
    /// Bytes that are there, at least [`Self::LEAST`].
    pub(crate) length: u32,
    /// The next byte to look at, and where its line begins.
    next: u32,
    pub(crate) line: u32,
    /// Bytes of the request line with its end; 0 until that was seen.
    pub(crate) request_line: u32,
    /// Bytes of the head with its empty line; 0 until that was seen.
    pub(crate) head: u32,
    /// Fields `traceparent`, and where the value of the last begins and ends.
    pub(crate) parents: u32,
    pub(crate) parent_begin: u32,
    pub(crate) parent_end: u32,
    /// Fields `tracestate`, and where the value of the last begins and ends.
    pub(crate) states: u32,
    pub(crate) state_begin: u32,
    pub(crate) state_end: u32,
    zero: u32,
    /// Fields `content-length`.
    lengths: u32,
    /// `Scan::*` bits.
    pub(crate) flags: u32,
    /// What the last of them says.
    pub(crate) body: u64,
}

const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const LOWER: u64 = 0x2020_2020_2020_2020;
const CR: u64 = 13;

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

impl Scan {
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
    /// The method is CONNECT.
    pub(crate) const CONNECT: u32 = 32;
    /// Bytes without which no request is complete.
    pub(crate) const LEAST: u32 = 16;
    /// Steps that the longest head takes: its words, and its lines.
    pub(crate) const fn steps(bytes: u32) -> u32 {
        bytes / 8 + 256
    }

    /// The last line goes on: its beginning, and what follows, are `length` bytes now.
    #[inline(always)]
    pub(crate) fn resume(&mut self, length: u32) {
        self.length = length;
        self.next = 0;
        self.line = 0;
    }

    #[inline(always)]
    pub(crate) fn begin(&mut self, length: u32) {
        const { assert!(size_of::<Self>() % 8 == 0 && align_of::<Self>() == 8) };
        let words = core::ptr::from_mut(self).cast::<u64>();
        let mut word = 0;
        while word < size_of::<Self>() / 8 {
            // SAFETY: inside the value. The compiler would zero it byte by byte.
            unsafe { core::ptr::write_volatile(words.add(word), 0) };
            word += 1;
        }
        self.length = length;
    }
}

/// Goes on by a word or a line. Returns whether all is known.
///
/// # Safety
/// As [`Bytes::word`].
#[inline(always)]
pub(crate) unsafe fn step(scan: &mut Scan, bytes: &impl Bytes) -> bool {
    let next = u64::from(scan.next);
    if scan.next >= scan.length {
        return true;
    }
    // Most words hold no end of a line: two are looked at where both are there.
    if scan.next + 16 <= scan.length {
        // SAFETY: as the caller's.
        let (Some(first), Some(second)) = (unsafe { (bytes.word(next), bytes.word(next + 8)) }) else {
            scan.flags |= Scan::ODD;
            return true;
        };
        if line_feeds(first) | line_feeds(second) == 0 {
            scan.next += 16;
            return false;
        }
    }
    // SAFETY: as the caller's.
    let Some(found) = (unsafe { word_at(scan, bytes, next) }) else {
        scan.flags |= Scan::ODD;
        return true;
    };
    let feeds = line_feeds(found);
    if feeds == 0 {
        scan.next += 8;
        return false;
    }
    let lowest = (feeds & feeds.wrapping_neg()) >> 7;
    let end = next + (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56);
    // SAFETY: as the caller's.
    let ended = unsafe { line(scan, bytes, end) };
    scan.next = end as u32 + 1;
    scan.line = end as u32 + 1;
    ended
}

/// The highest bit of each byte that is a line feed.
#[inline(always)]
const fn line_feeds(word: u64) -> u64 {
    let x = word ^ 0x0a0a_0a0a_0a0a_0a0a;
    !(((x & LOW_SEVEN) + LOW_SEVEN) | x | LOW_SEVEN)
}

/// The word at `at`, with zeros for what is behind the end.
#[inline(always)]
unsafe fn word_at(scan: &Scan, bytes: &impl Bytes, at: u64) -> Option<u64> {
    let length = u64::from(scan.length);
    // SAFETY: as the caller's.
    unsafe {
        if at + 8 <= length {
            bytes.word(at)
        } else if at < length {
            Some(bytes.word(length - 8)? >> ((at + 8 - length) * 8))
        } else {
            Some(0)
        }
    }
}

/// The line feed at `end` ends a line. Returns whether it ends the head.
#[inline(always)]
unsafe fn line(scan: &mut Scan, bytes: &impl Bytes, end: u64) -> bool {
    let begin = u64::from(scan.line);
    if end < u64::from(Scan::LEAST) - 2 && scan.request_line == 0 {
        scan.flags |= Scan::NOT_HTTP;
        return true;
    }
    // SAFETY: as the caller's.
    unsafe {
        // Of a line that goes on, what is before it is not there any more.
        let before = if end >= 8 {
            bytes.word(end - 8)
        } else {
            bytes.word(0).map(|word| word << ((8 - end) * 8 & 63))
        };
        let Some(before) = before else { return true };
        if before >> 56 != CR || end == begin {
            scan.flags |= Scan::ODD;
        }
        if end - begin <= 1 {
            scan.head = end as u32 + 1;
            return true;
        }
        if scan.request_line == 0 {
            scan.request_line = end as u32 + 1;
            return !request_line(scan, bytes, end);
        }
        let (Some(first), Some(second)) = (word_at(scan, bytes, begin), word_at(scan, bytes, begin + 8))
        else {
            return true;
        };
        if matches!(first as u8, b' ' | b'\t') {
            scan.flags |= Scan::ODD;
        }
        let (first, second) = (first | LOWER, second | LOWER);
        if first == const { word(b"tracepar") } && second & 0xff_ffff == const { word(b"ent\0\0\0\0\0") } {
            // Behind the colon, and a space if there is one.
            let space = second >> 32 & 0xff == u64::from(b' ');
            scan.parents += if second >> 24 & 0xff == u64::from(b':') { 1 } else { 2 };
            scan.parent_begin = begin as u32 + 12 + u32::from(space);
            scan.parent_end = end as u32 - 1;
        } else if first == const { word(b"tracesta") }
            && second & 0xff_ffff == const { word(b"te:\0\0\0\0\0") }
        {
            let space = second >> 24 & 0xff == u64::from(b' ');
            scan.states += 1;
            scan.state_begin = begin as u32 + 11 + u32::from(space);
            scan.state_end = end as u32 - 1;
        } else if first == const { word(b"content-") }
            && second & 0xffff_ffff_ffff == const { word(b"length\0\0") }
        {
            scan.lengths += 1;
            let colon = second >> 48 & 0xff == u64::from(b':');
            if scan.lengths > 1 || !colon || !content_length(scan, bytes, begin + 15, end - 1) {
                scan.flags |= Scan::ODD;
            }
        } else if first == const { word(b"transfer") } && second == const { word(b"-encodin") } {
            scan.flags |= Scan::CHUNKED;
        } else if first == const { word(b"upgrade:") } {
            scan.flags |= Scan::UPGRADE;
        } else if first << 8 == const { word(b"\0expect:") } {
            scan.flags |= Scan::EXPECT;
        }
    }
    false
}

/// `METHOD target HTTP/1.x`. Returns whether the line is that of a request.
#[inline(always)]
unsafe fn request_line(scan: &mut Scan, bytes: &impl Bytes, end: u64) -> bool {
    // SAFETY: as the caller's.
    let found = unsafe { (bytes.word(end - 9), bytes.word(0)) };
    let (Some(version), Some(method)) = found else { return false };
    let is_version = version == const { word(b"HTTP/1.1") } || version == const { word(b"HTTP/1.0") };
    if !is_version || !(method as u8).is_ascii_uppercase() {
        scan.flags |= Scan::NOT_HTTP;
        return false;
    }
    if method == const { word(b"CONNECT ") } {
        scan.flags |= Scan::CONNECT;
    }
    true
}

/// Up to eight digits, behind a space or none. Returns whether that is all there is.
#[inline(always)]
unsafe fn content_length(scan: &mut Scan, bytes: &impl Bytes, begin: u64, end: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // SAFETY: as the caller's; behind a request line there are more than eight bytes.
    let (first, last) = unsafe { (word_at(scan, bytes, begin), bytes.word(end.wrapping_sub(8))) };
    let (Some(first), Some(last)) = (first, last) else { return false };
    let begin = begin + u64::from(first & 0xff == u64::from(b' '));
    let digits = end.wrapping_sub(begin);
    if digits.wrapping_sub(1) > 7 {
        return false;
    }
    // Zeros before them, the first digit lowest.
    let mask = u64::MAX << ((8 - digits) * 8 & 63);
    let text = last & mask | 0x30 * ONES & !mask;
    let over = (text + 6 * ONES) | text;
    if over & 0xf0 * ONES != 0x30 * ONES {
        return false;
    }
    // Pairs, then fours, then all.
    let value = ((text & 0x0f * ONES).wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let value = (value.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    scan.body = value.wrapping_mul(42_949_672_960_001) >> 32;
    true
}

/// A valid `traceparent`: its ids in the order of its bytes, and its flags.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TraceParent {
    pub(crate) trace: [u64; 2],
    pub(crate) span: u64,
    pub(crate) flags: u64,
}

/// Bytes of a `traceparent` of version 0.
const PARENT_LENGTH: u32 = 55;

/// Reads the value that was found, by the rules of W3C trace context. None if it is not valid.
///
/// # Safety
/// As [`Bytes::word`].
#[inline(always)]
pub(crate) unsafe fn parent(scan: &Scan, bytes: &impl Bytes) -> Option<TraceParent> {
    let begin = u64::from(scan.parent_begin);
    let length = scan.parent_end.wrapping_sub(scan.parent_begin);
    if scan.parents != 1 || length < PARENT_LENGTH || length > 512 {
        return None;
    }
    // SAFETY: as the caller's.
    unsafe {
        let version = bytes.word(begin)?;
        // Two digits for four, so that one function reads all.
        let number = read_hex(version & 0xffff | 0x3030_3030_3030_0000)?;
        if number & 0xff == 0xff || version >> 16 & 0xff != u64::from(b'-') {
            return None;
        }
        let trace = [
            read_hex(bytes.word(begin + 3)?)? | read_hex(bytes.word(begin + 11)?)? << 32,
            read_hex(bytes.word(begin + 19)?)? | read_hex(bytes.word(begin + 27)?)? << 32,
        ];
        let span = read_hex(bytes.word(begin + 36)?)? | read_hex(bytes.word(begin + 44)?)? << 32;
        // `-` before the span, and what stands around the flags: `-01`, and what comes behind.
        let dash = bytes.word(begin + 35)? & 0xff;
        let last = bytes.word(begin + 48)? >> 32;
        let flags = read_hex(last >> 8 & 0xffff | 0x3030_3030_3030_0000)?;
        if dash != u64::from(b'-') || last & 0xff != u64::from(b'-') {
            return None;
        }
        if length != PARENT_LENGTH && (number & 0xff == 0 || last >> 24 != u64::from(b'-')) {
            return None;
        }
        if trace[0] | trace[1] == 0 || span == 0 {
            return None;
        }
        Some(TraceParent { trace, span, flags: flags & 3 })
    }
}

/// Four bytes, the first lowest, from eight digits, the first lowest; lower case only.
#[inline(always)]
fn read_hex(digits: u64) -> Option<u64> {
    let nibbles = (digits & 0x0f0f_0f0f_0f0f_0f0f) + (digits >> 6 & 0x0101_0101_0101_0101) * 9;
    let bytes = (nibbles & 0x000f_000f_000f_000f) << 4 | nibbles >> 8 & 0x000f_000f_000f_000f;
    let bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    let value = (bytes | bytes >> 16) & 0xffff_ffff;
    // Whatever is no digit comes back as another one.
    (hex(value) == digits).then_some(value)
}

/// Eight digits for four bytes, the first lowest in both.
#[inline(always)]
pub(crate) fn hex(value: u64) -> u64 {
    let spread = (value & 0xffff_ffff | value << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = spread >> 4 & 0x000f_000f_000f_000f | (spread & 0x000f_000f_000f_000f) << 8;
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + letters * 0x27
}
