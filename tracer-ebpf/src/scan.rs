//! The lines of a request's head, as far as trace headers and the framing behind them depend on them.
//! A head is copied into a [`Room`] and looked at there: one step looks at two words or ends a line, in the
//! loop of a helper, so that the verifier follows it once. All state lives in map memory, whose values the
//! verifier does not guess.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_loop, bpf_probe_read_kernel},
    macros::map,
    maps::Array,
};

use crate::{
    atomic,
    context::{Call, clear},
    masked,
    members::Members,
};

/// Bytes of a head that there is room for; a power of two.
pub(crate) const ROOM: u32 = 16_384;
/// Longest head that is looked at.
pub(crate) const MOST: u32 = ROOM - 32;
/// Zeros before the head: what is read before its first bytes.
const BEFORE: usize = 8;

/// Room to look at a head in. A program may be interrupted by another on its CPU, so it takes one for
/// itself.
#[repr(C)]
pub(crate) struct Room {
    /// Not 0 while it is taken.
    taken: u64,
    pub(crate) scan: Scan,
    pub(crate) call: Call,
    pub(crate) members: Members,
    data: [u8; BEFORE + ROOM as usize + 16],
}

/// Two for each CPU: the agent sets their number.
#[map]
static ROOMS: Array<Room> = Array::with_max_entries(2, 0);

/// Takes a room. None if this CPU's are taken.
#[inline(always)]
pub(crate) fn take_room() -> Option<u64> {
    // SAFETY: a helper without arguments; live map values that everyone changes atomically.
    unsafe {
        let first = 2 * (bpf_get_smp_processor_id() as u64 & 0xffff_ffff);
        if atomic::swap(&raw mut (*room(first)?).taken, 1) == 0 {
            return Some(first);
        }
        (atomic::swap(&raw mut (*room(first + 1)?).taken, 1) == 0).then_some(first + 1)
    }
}

/// Gives a room back.
#[inline(always)]
pub(crate) fn leave_room(index: u64) {
    if let Some(room) = room(index) {
        // SAFETY: a live map value.
        unsafe { core::ptr::write_volatile(&raw mut (*room).taken, 0) };
    }
}

#[inline(always)]
pub(crate) fn room(index: u64) -> Option<*mut Room> {
    ROOMS.get_ptr_mut(index as u32)
}

impl Room {
    /// Copies a head of `length` bytes from kernel memory and looks at it. Returns whether that worked.
    ///
    /// # Safety
    /// `room` is the one with this number, and the caller's; no reference to it is live. `from` may be any
    /// address: the helper checks it.
    #[inline(always)]
    pub(crate) unsafe fn look(room: *mut Self, index: u64, from: u64, length: u32) -> bool {
        if length > MOST {
            return false;
        }
        // SAFETY: the length was checked, and behind it there is room for zeros.
        unsafe {
            let to = (&raw mut (*room).data).cast::<u8>().add(BEFORE);
            let length = masked::length::<0x3fff>(u64::from(length)) as u32;
            if bpf_probe_read_kernel(to.cast(), length, from as *const c_void) != 0 {
                return false;
            }
            let behind = to.add(length as usize).cast::<u64>();
            core::ptr::write_unaligned(behind, 0);
            core::ptr::write_unaligned(behind.add(1), 0);
            (*room).scan.begin(length);
        }
        tracer_scan(index);
        true
    }

    /// Eight bytes from `at` on, the first lowest; zeros behind the head's end.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> u64 {
        // SAFETY: inside of `data`, by the mask.
        unsafe { masked::load(self.data.as_ptr(), at + BEFORE as u64) }
    }

    /// The eight bytes before `at`.
    #[inline(always)]
    fn before(&self, at: u64) -> u64 {
        // SAFETY: as above.
        unsafe { masked::load(self.data.as_ptr(), at) }
    }

    /// Moves up to 1,023 bytes of the head towards its beginning, to less than 1,024 behind that.
    #[inline(always)]
    pub(crate) fn take_forward(&mut self, to: u32, from: u32, length: u32) -> bool {
        // SAFETY: inside of `data`, by the masks; the helper copies forward.
        unsafe {
            let data = (&raw mut self.data).cast::<u8>();
            let to = masked::place(data, BEFORE as u64 + u64::from(to & 1023));
            let from = masked::place(data, BEFORE as u64 + u64::from(from));
            let length = masked::length::<1023>(u64::from(length));
            bpf_probe_read_kernel(to.cast(), length as u32, from.cast()) == 0
        }
    }

    /// Writes eight bytes at `at`.
    #[inline(always)]
    pub(crate) fn put(&mut self, at: u64, value: u64) {
        // SAFETY: as above.
        unsafe { masked::store(self.data.as_mut_ptr(), at + BEFORE as u64, value) };
    }
}

/// Looks at the head in a room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_scan(index: u64) -> u64 {
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        let Some(mut room) = room(index) else { return 0 };
        bpf_loop(MOST / 16 + 256, step as *mut c_void, (&raw mut room).cast(), 0);
    }
    0
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
    /// Fields `tracestate`, and where the values of the first [`STATES`] begin and end.
    pub(crate) states: u32,
    pub(crate) state_begin: [u32; STATES],
    pub(crate) state_end: [u32; STATES],
    zero: u32,
    /// Fields `content-length`.
    lengths: u32,
    /// `Scan::*` bits.
    pub(crate) flags: u32,
    /// What the last of them says.
    pub(crate) body: u64,
}

/// Fields `tracestate` that are one list together; a power of two.
pub(crate) const STATES: usize = 4;

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
    /// A trace context in another form than W3C's.
    pub(crate) const OTHER_CONTEXT: u32 = 64;
    /// The method is CONNECT.
    pub(crate) const CONNECT: u32 = 32;
    /// Bytes without which no request is complete.
    pub(crate) const LEAST: u32 = 16;

    #[inline(always)]
    pub(crate) fn begin(&mut self, length: u32) {
        // SAFETY: a live value, of which any words are one.
        unsafe { clear(core::ptr::from_mut(self)) };
        self.length = length;
    }
}

/// Goes on by two words or a line. Returns 1 when all is known.
unsafe extern "C" fn step(_index: u64, room: *mut *mut Room) -> core::ffi::c_long {
    // SAFETY: `room` is that of `tracer_scan`.
    let room = unsafe { &mut **room };
    let next = u64::from(room.scan.next);
    if room.scan.next >= room.scan.length {
        return 1;
    }
    let mut word = next;
    let mut feeds = line_feeds(room.word(next));
    if feeds == 0 {
        word = next + 8;
        feeds = line_feeds(room.word(word));
        if feeds == 0 {
            room.scan.next += 16;
            return 0;
        }
    }
    let lowest = (feeds & feeds.wrapping_neg()) >> 7;
    let end = word + (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56);
    let ended = line(room, end);
    room.scan.next = end as u32 + 1;
    room.scan.line = end as u32 + 1;
    core::ffi::c_long::from(ended)
}

/// The highest bit of each byte that is a line feed.
#[inline(always)]
const fn line_feeds(word: u64) -> u64 {
    equal(word ^ 0x0a0a_0a0a_0a0a_0a0a)
}

/// The highest bit of each byte that is 0.
#[inline(always)]
const fn equal(x: u64) -> u64 {
    !(((x & LOW_SEVEN) + LOW_SEVEN) | x | LOW_SEVEN)
}

/// The line feed at `end` ends a line. Returns whether it ends the head.
#[inline(always)]
fn line(room: &mut Room, end: u64) -> bool {
    let begin = u64::from(room.scan.line);
    if end < u64::from(Scan::LEAST) - 2 && room.scan.request_line == 0 {
        room.scan.flags |= Scan::NOT_HTTP;
        return true;
    }
    if room.before(end) >> 56 != CR || end == begin {
        room.scan.flags |= Scan::ODD;
    }
    if end - begin <= 1 {
        room.scan.head = end as u32 + 1;
        return true;
    }
    if room.scan.request_line == 0 {
        room.scan.request_line = end as u32 + 1;
        return !request_line(room, end);
    }
    let (first, second) = (room.word(begin), room.word(begin + 8));
    if matches!(first as u8, b' ' | b'\t') {
        room.scan.flags |= Scan::ODD;
    }
    let (first, second) = (first | LOWER, second | LOWER);
    if first == const { word(b"tracepar") } && second & 0xff_ffff == const { word(b"ent\0\0\0\0\0") } {
        let (begin, end) = value(room, begin + 12, end - 1);
        let scan = &mut room.scan;
        scan.parents += if second >> 24 & 0xff == u64::from(b':') { 1 } else { 2 };
        (scan.parent_begin, scan.parent_end) = (begin as u32, end as u32);
    } else if first == const { word(b"tracesta") } && second & 0xff_ffff == const { word(b"te:\0\0\0\0\0") } {
        let (begin, end) = value(room, begin + 11, end - 1);
        let scan = &mut room.scan;
        let at = scan.states as usize & (STATES - 1);
        scan.states += 1;
        // SAFETY: inside of the arrays, by the mask.
        unsafe {
            *scan.state_begin.get_unchecked_mut(at) = begin as u32;
            *scan.state_end.get_unchecked_mut(at) = end as u32;
        }
    } else if first == const { word(b"content-") }
        && second & 0xffff_ffff_ffff == const { word(b"length\0\0") }
    {
        room.scan.lengths += 1;
        let colon = second >> 48 & 0xff == u64::from(b':');
        if room.scan.lengths > 1 || !colon || !content_length(room, begin + 15, end - 1) {
            room.scan.flags |= Scan::ODD;
        }
    } else if first == const { word(b"transfer") } && second == const { word(b"-encodin") } {
        room.scan.flags |= Scan::CHUNKED;
    } else if first == const { word(b"upgrade:") } {
        room.scan.flags |= Scan::UPGRADE;
    } else if first << 8 == const { word(b"\0expect:") } {
        room.scan.flags |= Scan::EXPECT;
    } else if first & 0xff_ffff == const { word(b"b3:\0\0\0\0\0") }
        || first == const { word(b"x-b3-tra") }
        || first == const { word(b"uber-tra") }
        || first == const { word(b"x-datado") }
        || first == const { word(b"x-amzn-t") }
    {
        room.scan.flags |= Scan::OTHER_CONTEXT;
    }
    false
}

/// A field's value without the white space around it, of which up to eight bytes on each side are seen.
#[inline(always)]
fn value(room: &Room, begin: u64, end: u64) -> (u64, u64) {
    let begin = begin + blanks(room.word(begin));
    let end = end - blanks(room.before(end).swap_bytes());
    (begin, if end < begin { begin } else { end })
}

/// How many of the first bytes are spaces or tabs.
#[inline(always)]
fn blanks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let other = !(equal(word ^ 0x20 * ONES) | equal(word ^ 0x09 * ONES)) & 0x80 * ONES;
    let lowest = (other & other.wrapping_neg()) >> 7;
    if other == 0 { 8 } else { lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56 }
}

/// `METHOD target HTTP/1.x`. Returns whether the line is that of a request.
#[inline(always)]
fn request_line(room: &mut Room, end: u64) -> bool {
    let (version, method) = (room.before(end - 1), room.word(0));
    let is_version = version == const { word(b"HTTP/1.1") } || version == const { word(b"HTTP/1.0") };
    if !is_version || !(method as u8).is_ascii_uppercase() {
        room.scan.flags |= Scan::NOT_HTTP;
        return false;
    }
    if method == const { word(b"CONNECT ") } {
        room.scan.flags |= Scan::CONNECT;
    }
    true
}

/// Up to eight digits, behind a space or none. Returns whether that is all there is.
#[inline(always)]
fn content_length(room: &mut Room, begin: u64, end: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (first, last) = (room.word(begin), room.before(end));
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
    room.scan.body = value.wrapping_mul(42_949_672_960_001) >> 32;
    true
}

/// Bytes of a `traceparent` of version 0.
pub(crate) const PARENT_LENGTH: u32 = 55;

/// Reads the value that was found in a room, by the rules of W3C trace context, into [`Call::found`].
/// Returns 1 if it is valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_trace_parent(index: u64) -> u64 {
    let Some(room) = room(index) else { return 0 };
    // SAFETY: a live map value that is the caller's.
    let room = unsafe { &mut *room };
    let begin = u64::from(room.scan.parent_begin);
    let length = room.scan.parent_end.wrapping_sub(room.scan.parent_begin);
    if room.scan.parents != 1 || length < PARENT_LENGTH || length > 512 {
        return 0;
    }
    let mut wrong = 0;
    let mut digits = |digits: u64| {
        let value = tracer_read_hex(digits);
        wrong |= value >> 32;
        value & 0xffff_ffff
    };
    room.call.found.trace[0] = digits(room.word(begin + 3)) | digits(room.word(begin + 11)) << 32;
    room.call.found.trace[1] = digits(room.word(begin + 19)) | digits(room.word(begin + 27)) << 32;
    room.call.found.span = digits(room.word(begin + 36)) | digits(room.word(begin + 44)) << 32;
    // Two digits for four, so that one function reads all.
    let version = room.word(begin);
    let number = digits(version & 0xffff | 0x3030_3030_3030_0000);
    let last = room.word(begin + 48) >> 32;
    room.call.found.flags = digits(last >> 8 & 0xffff | 0x3030_3030_3030_0000) & 3;
    // `-` between all, and what stands around the flags: `-01`, and what comes behind.
    wrong |= (version >> 16 & 0xff ^ u64::from(b'-'))
        | (room.word(begin + 35) & 0xff ^ u64::from(b'-'))
        | (last & 0xff ^ u64::from(b'-'));
    let goes_on = length != PARENT_LENGTH;
    let found = &room.call.found;
    u64::from(
        wrong == 0
            && number & 0xff != 0xff
            && !(goes_on && (number & 0xff == 0 || last >> 24 != u64::from(b'-')))
            && found.trace[0] | found.trace[1] != 0
            && found.span != 0,
    )
}

/// Four bytes, the first lowest, from eight lower-case hexadecimal digits, the first lowest. Bits above the lowest 32
/// are set if anything else is among them. A function of its own: inlined, it would be there seven times.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_read_hex(digits: u64) -> u64 {
    let nibbles = (digits & 0x0f0f_0f0f_0f0f_0f0f) + (digits >> 6 & 0x0101_0101_0101_0101) * 9;
    let bytes = (nibbles & 0x000f_000f_000f_000f) << 4 | nibbles >> 8 & 0x000f_000f_000f_000f;
    let bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    let value = (bytes | bytes >> 16) & 0xffff_ffff;
    // A character that is no digit comes back as another one.
    if hex(value) == digits { value } else { value | 1 << 32 }
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
