//! Server requests and their heads. A head is kept unparsed, and parsed when a client request is sent for it. A service
//! that sends no client requests pays for a copy only.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::Array,
};

use crate::{
    connection::Connection,
    ids::ServedRequest,
    memory::{atomic, words::bounded},
    scratch::{CAPACITY, LONGEST_HEAD},
};

/// A server request: the last of its connection.
#[repr(C)]
pub(crate) struct Request {
    /// Connection number; 0 for a free slot, [`BUSY`] while a program writes the other fields.
    pub(crate) number: u64,
    /// Positions of the first byte and of the response; both ends of the connection know both.
    pub(crate) position: u32,
    pub(crate) answer_at: u32,
    /// `Request::*` bits, set atomically, because a reset can be handled in an interrupt on another CPU.
    pub(crate) state: u32,
    /// Bytes that were read since the request began.
    pub(crate) received: u32,
    /// Bytes of the head that are kept.
    pub(crate) length: u32,
    /// Location of the head: 0 for `data`, else the slot in [`LONG_HEADS`] plus one.
    pub(crate) long: u32,
    pub(crate) data: [u8; SHORT as usize],
}

impl Request {
    /// The process works for the request: no bit is set.
    pub(crate) const OPEN: u32 = 0;
    /// A proxy has sent a client request for it.
    pub(crate) const CALLED: u32 = 1;
    /// The response has begun.
    pub(crate) const ANSWERED: u32 = 2;
}

/// Value of a number while a program writes the entry.
pub(crate) const BUSY: u64 = u64::MAX;

/// Bytes of a head that are kept in the request's own slot.
const SHORT: u32 = 992;

/// Longest head that is kept.
pub(crate) const LONG: u32 = LONGEST_HEAD;

/// Longest part of a head that arrives in several reads, after the first part.
const PIECE: u32 = 8192;

/// Number of slots that are tried; the last one is taken even if it is in use.
const TRIES: u32 = 4;

/// Number of requests that are kept; a power of two.
const REQUEST_SLOTS: u64 = 4096;

/// Number of heads longer than [`SHORT`] that are kept; a power of two.
const LONG_SLOTS: u64 = 128;

/// The requests. A connection keeps its slot until another connection takes it.
#[map]
pub(crate) static REQUESTS: Array<Request> = Array::with_max_entries(REQUEST_SLOTS as u32, 0);

/// A head that is longer than [`SHORT`], or that arrives in several reads.
#[repr(C)]
pub(crate) struct LongHead {
    /// As [`Request::number`].
    pub(crate) number: u64,
    /// Position of the request.
    pub(crate) position: u64,
    pub(crate) data: [u8; (CAPACITY + PIECE) as usize],
}

#[map]
pub(crate) static LONG_HEADS: Array<LongHead> = Array::with_max_entries(LONG_SLOTS as u32, 0);

/// Numbers of request slots and of long head slots that were given out.
#[map]
static GIVEN: Array<u64> = Array::with_max_entries(2, 0);

/// Takes a slot for the request that begins on a connection. No other program writes it until it is released.
#[inline(always)]
pub(crate) unsafe fn claim(connection: &mut Connection) -> Option<*mut Request> {
    // SAFETY: live map values; the number is changed atomically.
    unsafe {
        let known = REQUESTS.get_ptr_mut(connection.request_slot)?;
        if core::ptr::read_volatile(&raw const (*known).number) == connection.number {
            let was = atomic::swap(&raw mut (*known).number, BUSY);
            return (was != BUSY).then_some(known);
        }
        // An open request keeps its slot if one of the next slots is free.
        let mut tries = 0;
        let new = loop {
            let given = atomic::add(GIVEN.get_ptr_mut(0)?, 1);
            connection.request_slot = (given & (REQUEST_SLOTS - 1)) as u32;
            let new = REQUESTS.get_ptr_mut(connection.request_slot)?;
            tries += 1;
            if tries == TRIES || (*new).number == 0 || (*new).state & Request::ANSWERED != 0 {
                break new;
            }
        };
        let was = atomic::swap(&raw mut (*new).number, BUSY);
        (was != BUSY).then_some(new)
    }
}

/// Takes the slot of the connection's request again, for a later part of its head.
#[inline(always)]
pub(crate) unsafe fn claim_again(connection: &Connection) -> Option<*mut Request> {
    // SAFETY: as `claim`'s.
    unsafe {
        let known = REQUESTS.get_ptr_mut(connection.request_slot)?;
        if core::ptr::read_volatile(&raw const (*known).number) != connection.number {
            return None;
        }
        let was = atomic::swap(&raw mut (*known).number, BUSY);
        if was == connection.number {
            return Some(known);
        }
        if was != BUSY {
            release(&mut *known, was);
        }
        None
    }
}

/// Releases a slot: `number` is its connection number from now on, 0 for a free slot.
#[inline(always)]
pub(crate) fn release(request: &mut Request, number: u64) {
    // SAFETY: a live map value.
    unsafe { core::ptr::write_volatile(&raw mut request.number, number) };
}

/// Appends the bytes that were read to the kept head. Returns the number of appended bytes.
#[inline(always)]
pub(crate) unsafe fn keep(number: u64, request: &mut Request, from: u64, there: u64) -> u32 {
    let from = from as *const c_void;
    // SAFETY: lengths and offsets are bounded right before their use; the helpers check the addresses.
    unsafe {
        if request.length == 0 && there <= u64::from(SHORT) {
            let length = core::hint::black_box(there);
            if length > u64::from(SHORT)
                || bpf_probe_read_user((&raw mut request.data).cast(), length as u32, from) != 0
            {
                return 0;
            }
            request.length = length as u32;
            return length as u32;
        }
        // A long head, or one that arrives in several reads.
        let Some(long) = long_head(number, request) else { return 0 };
        let data: *mut u8 = (&raw mut (*long).data).cast();
        let at = request.length;
        let kept = if at == 0 {
            let length = core::hint::black_box(core::cmp::min(there, u64::from(LONG)));
            let done =
                length <= u64::from(LONG) && bpf_probe_read_user(data.cast(), length as u32, from) == 0;
            (&raw mut request.data).cast::<u32>().write(data.cast::<u32>().read());
            if done { length as u32 } else { 0 }
        } else {
            let length = core::hint::black_box(core::cmp::min(there, u64::from(PIECE)));
            let to = bounded(data, u64::from(at)).cast();
            let done = length <= u64::from(PIECE) && bpf_probe_read_user(to, length as u32, from) == 0;
            if done { core::cmp::min(length as u32, LONG.saturating_sub(at)) } else { 0 }
        };
        request.length += kept;
        core::ptr::write_volatile(&raw mut (*long).number, number);
        kept
    }
}

/// Takes the slot of a request's long head, and copies the kept bytes into a new one. No other program writes it until
/// its number is set again.
#[inline(always)]
unsafe fn long_head(number: u64, request: &mut Request) -> Option<*mut LongHead> {
    // SAFETY: live map values; the number is changed atomically; the helper checks the length.
    unsafe {
        if request.long != 0 {
            let long = LONG_HEADS.get_ptr_mut(request.long - 1)?;
            let was = atomic::swap(&raw mut (*long).number, BUSY);
            if was == number && (*long).position == u64::from(request.position) {
                return Some(long);
            }
            if was != BUSY {
                core::ptr::write_volatile(&raw mut (*long).number, was);
            }
            return None;
        }
        let mut tries = 0;
        let (long, given) = loop {
            let given = atomic::add(GIVEN.get_ptr_mut(1)?, 1) & (LONG_SLOTS - 1);
            let long = LONG_HEADS.get_ptr_mut(given as u32)?;
            tries += 1;
            if tries == TRIES || (*long).number == 0 {
                break (long, given);
            }
        };
        if atomic::swap(&raw mut (*long).number, BUSY) == BUSY {
            return None;
        }
        request.long = given as u32 + 1;
        (*long).position = u64::from(request.position);
        let known = core::hint::black_box(request.length);
        if known > SHORT
            || bpf_probe_read_kernel((&raw mut (*long).data).cast(), known, (&raw const request.data).cast())
                != 0
        {
            core::ptr::write_volatile(&raw mut (*long).number, 0);
            return None;
        }
        Some(long)
    }
}

/// Whether the kept bytes begin like a request: three capital letters, and not `HTTP`, the start of a response. On a
/// mid-stream connection it is not known which end serves.
#[inline(always)]
pub(crate) unsafe fn is_method(request: &Request) -> bool {
    // SAFETY: inside `data`, which is aligned for it.
    let first = unsafe { (&raw const request.data).cast::<u32>().read() };
    first & 0x60_6060 == 0x40_4040 && first != u32::from_le_bytes(*b"HTTP")
}

/// Whether the kept bytes end with an empty line. Always false for long heads.
#[inline(always)]
pub(crate) unsafe fn ends_head(request: &Request) -> bool {
    let last = core::hint::black_box(request.length.wrapping_sub(4));
    request.long == 0
        && last <= SHORT - 4
        // SAFETY: inside `data`, by the check.
        && unsafe { core::ptr::read_unaligned((&raw const request.data).cast::<u8>().add(last as usize).cast::<u32>()) }
            == u32::from_le_bytes(*b"\r\n\r\n")
}

/// Whether the request is still open.
#[inline(always)]
pub(crate) unsafe fn is_open(served: &ServedRequest) -> bool {
    // SAFETY: a live map value.
    match REQUESTS.get_ptr(served.slot) {
        Some(request) => unsafe {
            core::ptr::read_volatile(&raw const (*request).number) == served.connection
                && (*request).position == served.position
                && core::ptr::read_volatile(&raw const (*request).state) & Request::ANSWERED == 0
        },
        None => false,
    }
}

/// Counts further bytes of a request.
#[inline(always)]
pub(crate) unsafe fn read_more(connection: &Connection, length: u32) {
    if let Some(request) = REQUESTS.get_ptr_mut(connection.request_slot) {
        // SAFETY: a live map value. If another request has taken the slot, the added length only makes it uncertain.
        unsafe {
            if core::ptr::read_volatile(&raw const (*request).number) == connection.number {
                (*request).received = (*request).received.saturating_add(length);
            }
        }
    }
}
