//! The requests that are served, and the heads that are kept of them. A head is kept as it came, and looked at when a
//! client request is made for it: a service that makes none pays for a copy.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::Array,
};

use crate::{
    connection::Connection,
    context::ids::ServedRequest,
    memory::{atomic, words::bounded},
    scratch::{CAPACITY, LONGEST_HEAD},
};

/// A request that is served: the last of its connection.
#[repr(C)]
pub(crate) struct Request {
    /// Number of its connection; 0 if there is none, [`BUSY`] while the rest is written.
    pub(crate) number: u64,
    /// Positions of its first byte and of its response; both ends of the connection know both.
    pub(crate) position: u32,
    pub(crate) answer_at: u32,
    /// `Request::*`, set atomically: a reset may come in an interrupt, on another processor.
    pub(crate) state: u32,
    /// Bytes that were read since it began.
    pub(crate) received: u32,
    /// Bytes of the head that are kept, and where: 0 for `data`, else the slot in [`LONG_HEADS`] plus one.
    pub(crate) length: u32,
    pub(crate) long: u32,
    pub(crate) data: [u8; SHORT as usize],
}

impl Request {
    /// The process works for it: no bit is set.
    pub(crate) const OPEN: u32 = 0;
    /// A proxy has made a client request for it.
    pub(crate) const CALLED: u32 = 1;
    /// Its response has begun.
    pub(crate) const ANSWERED: u32 = 2;
}

/// A program writes it.
pub(crate) const BUSY: u64 = u64::MAX;

/// Bytes of a head that are kept with its request.
const SHORT: u32 = 992;

/// Longest head that is kept.
pub(crate) const LONG: u32 = LONGEST_HEAD;

/// Longest piece of a head that comes in several.
const PIECE: u32 = 8192;

/// How many slots are tried before one that is in use is taken.
const TRIES: u32 = 4;

/// Requests that are kept; a power of two.
const REQUEST_SLOTS: u64 = 4096;

/// Heads longer than [`SHORT`] that are kept; a power of two.
const LONG_SLOTS: u64 = 128;

/// Requests; a connection keeps its slot until others need it.
#[map]
pub(crate) static REQUESTS: Array<Request> = Array::with_max_entries(REQUEST_SLOTS as u32, 0);

#[repr(C)]
pub(crate) struct LongHead {
    /// As [`Request::number`].
    pub(crate) number: u64,
    /// Where its request begins.
    pub(crate) position: u64,
    pub(crate) data: [u8; (CAPACITY + PIECE) as usize],
}

#[map]
pub(crate) static LONG_HEADS: Array<LongHead> = Array::with_max_entries(LONG_SLOTS as u32, 0);

/// How many slots of requests, and of long heads, were given out.
#[map]
static GIVEN: Array<u64> = Array::with_max_entries(2, 0);

/// A slot for the request that begins on a connection; no other program writes it until it is released.
#[inline(always)]
pub(crate) unsafe fn claim(connection: &mut Connection) -> Option<*mut Request> {
    // SAFETY: live map values; the number is changed atomically.
    unsafe {
        let known = REQUESTS.get_ptr_mut(connection.request_slot)?;
        if core::ptr::read_volatile(&raw const (*known).number) == connection.number {
            let was = atomic::swap(&raw mut (*known).number, BUSY);
            return (was != BUSY).then_some(known);
        }
        // An open request keeps its slot if one of the next is free.
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

/// The slot of the request whose head goes on.
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

#[inline(always)]
pub(crate) fn release(request: &mut Request, number: u64) {
    // SAFETY: a live map value.
    unsafe { core::ptr::write_volatile(&raw mut request.number, number) };
}

/// Appends the bytes that were read to the head that is kept. Returns how many were appended.
#[inline(always)]
pub(crate) unsafe fn keep(number: u64, request: &mut Request, from: u64, there: u64) -> u32 {
    let from = from as *const c_void;
    // SAFETY: lengths and places are cut right before their use; the helpers check the addresses.
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
        // A long one, or one in pieces.
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

/// The slot of a request's long head, with the bytes that are kept; no other program writes it until it is released.
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

/// Whether the kept bytes begin as a request does: three capital letters, and not those of a response. On a connection
/// that is older than the agent it is not known which end serves.
#[inline(always)]
pub(crate) unsafe fn is_method(request: &Request) -> bool {
    // SAFETY: inside of `data`, which is aligned for it.
    let first = unsafe { (&raw const request.data).cast::<u32>().read() };
    first & 0x60_6060 == 0x40_4040 && first != u32::from_le_bytes(*b"HTTP")
}

/// Whether the kept bytes end with an empty line. For long heads that is not known.
#[inline(always)]
pub(crate) unsafe fn ends_head(request: &Request) -> bool {
    let last = core::hint::black_box(request.length.wrapping_sub(4));
    request.long == 0
        && last <= SHORT - 4
        // SAFETY: inside of `data`, by the check.
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
        // SAFETY: a live map value; what is written into another's only makes that uncertain.
        unsafe {
            if core::ptr::read_volatile(&raw const (*request).number) == connection.number {
                (*request).received = (*request).received.saturating_add(length);
            }
        }
    }
}
