//! What a thread works for: the request that it has read, until the first byte of the answer is sent.
//! The rules of links that the agent knows, as far as they can be decided before a call leaves.
//!
//! Of a request that is read only the head is kept, as it came; it is looked at when a call is made for
//! it. A service that makes none pays for a copy.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{
        bpf_ktime_get_ns, bpf_map_delete_elem, bpf_map_update_elem, bpf_probe_read_kernel,
        bpf_probe_read_user,
    },
    macros::map,
    maps::{Array, HashMap, LruHashMap},
};
use tracer_common::{
    DataHeader, EVIDENCE_FORWARDED, EVIDENCE_NONE, EVIDENCE_PROXY, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT,
    HeaderOutcome, MAX_STATE, PROFILE_LATER, PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST,
    PROFILE_THREADS, RANDOM_BITS, RECEIVE, SEND,
};

use crate::{
    atomic,
    connection::Connection,
    layout::{reads_other_contexts, sample_above, samples_by_parent, span_id, trace_id},
    masked,
    members::tracer_members,
    scan::{self, ROOM, Room, Scan, tracer_trace_parent},
    select::Current,
    short::Buffers,
};

/// A request that is served: the last of its connection.
#[repr(C)]
struct Request {
    /// Number of its connection; 0 if there is none, [`BUSY`] while the rest is written.
    number: u64,
    /// Where it begins, and where the answer will: both ends of the connection know both.
    position: u32,
    answer_at: u32,
    /// `Request::*`, set atomically: a reset may come in an interrupt, on another processor.
    state: u32,
    /// Bytes that were read since it began.
    received: u32,
    /// Bytes of the head that are kept, and where: 0 for here, or the place in [`LONG_HEADS`] plus one.
    length: u32,
    long: u32,
    data: [u8; SHORT as usize],
}

impl Request {
    /// It is worked for: no bit is set.
    const OPEN: u32 = 0;
    /// A proxy has called for it.
    const CALLED: u32 = 1;
    /// Its answer has begun.
    const ANSWERED: u32 = 2;
}

/// Somebody writes it.
const BUSY: u64 = u64::MAX;
/// Bytes of a head that are kept with its request.
const SHORT: u32 = 992;
/// Longest head that is kept.
const LONG: u32 = scan::MOST;
/// Longest piece of a head that comes in several.
const PIECE: u32 = 8192;
/// How many places are looked at before one is taken that is in use.
const TRIES: u32 = 4;
/// How long a process may work for a request that was lost, as the agent reckons.
const UNSEEN_NS: u64 = 10_000_000_000;
/// Requests that are kept; a power of two.
const REQUEST_SLOTS: u64 = 4096;
/// Heads longer than [`SHORT`] that are kept; a power of two.
const LONG_SLOTS: u64 = 128;

/// Requests; each connection has a place of its own, until others need it.
#[map]
static REQUESTS: Array<Request> = Array::with_max_entries(REQUEST_SLOTS as u32, 0);

#[repr(C)]
struct LongHead {
    /// As [`Request::number`].
    number: u64,
    /// Where its request begins.
    position: u64,
    data: [u8; (ROOM + PIECE) as usize],
}

#[map]
static LONG_HEADS: Array<LongHead> = Array::with_max_entries(LONG_SLOTS as u32, 0);

/// How many places of requests, and of long heads, were given away.
#[map]
static GIVEN: Array<u64> = Array::with_max_entries(2, 0);

/// A request by its place.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Place {
    /// Number of the connection, 0 for none.
    pub(crate) connection: u64,
    pub(crate) position: u32,
    /// Its place in [`REQUESTS`].
    slot: u32,
    /// Whether a call was made for it since it was read: a proxy makes one.
    used: u32,
    /// The thread read it while it worked for another.
    shared: u32,
}

impl Place {
    pub(crate) const NONE: Self = Self { connection: 0, position: 0, slot: 0, used: 0, shared: 0 };
}

/// What a thread reads or goes on with.
#[repr(C)]
struct Working {
    /// Process in the high half, thread in the low; 0 for nobody, [`BUSY`] while somebody writes.
    thread: u64,
    place: Place,
}

/// Threads that are remembered, by the last bits of their ids; a power of two.
const THREAD_SLOTS: u32 = 32_768;

#[map]
static WORKING: Array<Working> = Array::with_max_entries(THREAD_SLOTS, 0);

/// What a process serves.
#[repr(C)]
struct Serving {
    /// Requests that are open.
    open: u64,
    /// How many were opened.
    opened: u64,
    /// How many of the open ones no proxy has called for.
    waiting: u64,
    /// When one was lost last, that may still be worked for; 0 if none was.
    lost_ns: u64,
    /// The last of them.
    last: Place,
}

#[map]
static SERVING: LruHashMap<u32, Serving> = LruHashMap::with_max_entries(4_096, 0);

/// How processes work (`PROFILE_*`): the agent says it.
#[map]
static PROFILES: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 1);

/// What a call would carry that has no header, by where it begins on the wire and where its answer will: the
/// other end may be on this host. Without a span if that is not known.
#[map]
static CALLS: LruHashMap<u64, Ids> = LruHashMap::with_max_entries(8192, 0);

/// The ids of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ids {
    /// In the order of their bytes.
    pub(crate) trace: [u64; 2],
    pub(crate) span: u64,
    /// W3C trace flags.
    pub(crate) flags: u64,
}

impl Ids {
    pub(crate) const NONE: Self = Self { trace: [0; 2], span: 0, flags: 0 };
}

/// What is asked and found of a call: the part of a [`Room`] that [`tracer_parent`] works with.
#[repr(C)]
pub(crate) struct Call {
    /// The request that its connection was opened for, if this is its first call.
    pub(crate) opened_for: Place,
    /// Not 0 if the connection was opened while the process served no request.
    pub(crate) was_idle: u64,
    /// The request that it is made for.
    pub(crate) parent: Place,
    /// How that is known.
    pub(crate) evidence: u64,
    /// Trace and flags of that request. `span` is that of its own header, 0 if it has none.
    pub(crate) ids: Ids,
    /// The call's own header.
    pub(crate) own: Ids,
    /// What [`scan::tracer_trace_parent`] found.
    pub(crate) found: Ids,
    /// Where the `tracestate` of that request is in the room, and its length; 0 for none.
    pub(crate) state_begin: u32,
    pub(crate) state_length: u32,
}

/// Keeps the head that a process reads, if it is one: its beginning, or (`begins` is false) more of it.
/// `answer_at` is where the answer will begin.
///
/// # Safety
/// `buffers` are those of the running call, of which `header` tells.
#[inline(always)]
pub(crate) unsafe fn read(
    connection: &mut Connection,
    header: &DataHeader,
    buffers: &Buffers,
    answer_at: u32,
    begins: bool,
) {
    let lengths = buffers.first_length() << 32 | u64::from(header.length);
    let places = u64::from(header.position) << 32 | u64::from(answer_at);
    tracer_request(connection, buffers.first(), lengths, places, u64::from(begins));
}

/// [`read`]: of what was read, the high half of `lengths` bytes are at `from`; `places` are where that
/// begins and where the answer will.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_request(
    connection: *mut Connection,
    from: u64,
    lengths: u64,
    places: u64,
    begins: u64,
) -> u64 {
    let current = Current::any();
    let (there, length) = (lengths >> 32, lengths as u32);
    let (position, answer_at) = ((places >> 32) as u32, places as u32);
    let begins = begins != 0;
    // SAFETY: the verifier passes a live value of that size, or null.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let request = if begins {
            connection.flags &= !Connection::PARTIAL;
            claim(connection)
        } else {
            claim_again(connection)
        };
        let mut is_request = true;
        // Without a place nothing is known of a request, but that there is one.
        if let Some(request) = request {
            let request = &mut *request;
            if begins {
                request.position = position;
                request.answer_at = answer_at;
                request.received = 0;
                request.length = 0;
                request.long = 0;
                request.state = Request::OPEN;
            }
            let is_next = request.received == request.length
                && position == request.position.wrapping_add(request.received);
            let kept = if is_next { keep(connection.number, request, from, there) } else { 0 };
            request.received = request.received.saturating_add(length);
            is_request = !begins || kept < 3 || is_method(request);
            release(request, if is_request { connection.number } else { 0 });
            let goes_on = is_request && kept == length && request.length < LONG && !ends_head(request);
            connection.flags =
                connection.flags & !Connection::PARTIAL | if goes_on { Connection::PARTIAL } else { 0 };
        }
        let slot = connection.request_slot;
        let Some(request) = REQUESTS.get_ptr(slot) else { return 0 };
        let place = Place {
            // Whatever else it is, the thread may work for that now.
            connection: if is_request { connection.number } else { 0 },
            position: if begins { position } else { (*request).position },
            slot,
            used: 0,
            shared: 0,
        };
        worked_for(current, &place, false);
        if begins && is_request {
            connection.flags |= Connection::SERVING;
            connection.served_by = current.pid();
            serves(current.pid(), &place);
        }
    }
    0
}

/// A place for the request that begins on a connection, to be written by nobody else.
#[inline(always)]
unsafe fn claim(connection: &mut Connection) -> Option<*mut Request> {
    // SAFETY: live map values; the number is changed atomically.
    unsafe {
        let known = REQUESTS.get_ptr_mut(connection.request_slot)?;
        if core::ptr::read_volatile(&raw const (*known).number) == connection.number {
            let was = atomic::swap(&raw mut (*known).number, BUSY);
            return (was != BUSY).then_some(known);
        }
        // What is open keeps its place if another is near.
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

/// The place of the request whose head goes on.
#[inline(always)]
unsafe fn claim_again(connection: &Connection) -> Option<*mut Request> {
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
fn release(request: &mut Request, number: u64) {
    // SAFETY: a live map value.
    unsafe { core::ptr::write_volatile(&raw mut request.number, number) };
}

/// Keeps what was read of a head, behind what is there. Returns how much.
#[inline(always)]
unsafe fn keep(number: u64, request: &mut Request, from: u64, there: u64) -> u32 {
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
            let to = masked::place(data, u64::from(at)).cast();
            let done = length <= u64::from(PIECE) && bpf_probe_read_user(to, length as u32, from) == 0;
            if done { core::cmp::min(length as u32, LONG.saturating_sub(at)) } else { 0 }
        };
        request.length += kept;
        core::ptr::write_volatile(&raw mut (*long).number, number);
        kept
    }
}

/// The place of a request's long head, with what is kept of it, to be written by nobody else.
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

/// Whether what is kept begins as a request does: three capital letters, and not those of an answer. Of a connection that
/// is older than the agent it is not known who serves.
#[inline(always)]
unsafe fn is_method(request: &Request) -> bool {
    // SAFETY: inside of `data`, which is aligned for it.
    let first = unsafe { (&raw const request.data).cast::<u32>().read() };
    first & 0x60_6060 == 0x40_4040 && first != u32::from_le_bytes(*b"HTTP")
}

/// Whether what is kept ends as a head does. Of long ones it is not known.
#[inline(always)]
unsafe fn ends_head(request: &Request) -> bool {
    let last = core::hint::black_box(request.length.wrapping_sub(4));
    request.long == 0
        && last <= SHORT - 4
        // SAFETY: inside of `data`, by the check.
        && unsafe { core::ptr::read_unaligned((&raw const request.data).cast::<u8>().add(last as usize).cast::<u32>()) }
            == u32::from_le_bytes(*b"\r\n\r\n")
}

/// Trace flags of a request without a known parent: a random trace id, sampled by it.
#[inline(always)]
pub(crate) fn root_flags(trace_second: u64) -> u64 {
    let random = trace_second.swap_bytes() & ((1 << RANDOM_BITS) - 1);
    2 | u64::from(random >= sample_above())
}

/// Copies a value of whole words: the compiler would do it byte by byte.
#[inline(always)]
pub(crate) fn copy<T: Copy>(from: &T, to: &mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside both values.
        unsafe { core::ptr::write_volatile(to.add(word), core::ptr::read_volatile(from.add(word))) };
        word += 1;
    }
}

/// Clears a value of whole words: as [`copy`].
///
/// # Safety
/// `to` is live memory of that size.
#[inline(always)]
pub(crate) unsafe fn clear<T>(to: *mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside of the value.
        unsafe { to.cast::<u64>().add(word).write_volatile(0) };
        word += 1;
    }
}

/// Where it is kept what a thread works for; another thread may be there.
#[inline(always)]
fn slot_of(current: Current) -> Option<*mut Working> {
    WORKING.get_ptr_mut(current.tid() & (THREAD_SLOTS - 1))
}

/// Copies what a thread works for. Returns whether that is known.
#[inline(always)]
unsafe fn working(current: Current, to: &mut Place) -> bool {
    let Some(working) = slot_of(current) else { return false };
    // SAFETY: a live map value: all of it is this thread's if it says so before and behind.
    unsafe {
        let thread = &raw const (*working).thread;
        if read_now(thread) != current.both() {
            return false;
        }
        copy(&(*working).place, to);
        read_now(thread) == current.both()
    }
}

/// Whether it is known that a thread works for another request than this.
#[inline(always)]
unsafe fn works_for_another(current: Current, place: &Place) -> bool {
    let Some(working) = slot_of(current) else { return false };
    // SAFETY: as in `working`.
    unsafe {
        let thread = &raw const (*working).thread;
        if read_now(thread) != current.both() {
            return false;
        }
        let known = &(*working).place;
        let connection = core::ptr::read_volatile(&raw const known.connection);
        let position = core::ptr::read_volatile(&raw const known.position);
        read_now(thread) == current.both() && (connection != place.connection || position != place.position)
    }
}

/// The thread works for this request now, which it has read; or (`again`) goes on with it.
#[inline(always)]
unsafe fn worked_for(current: Current, place: &Place, again: bool) {
    let Some(working) = slot_of(current) else { return };
    // SAFETY: a live map value; the thread is changed atomically, and nobody writes while it is busy.
    unsafe {
        let thread = &raw mut (*working).thread;
        let was = atomic::swap(thread, BUSY);
        if was == BUSY {
            return;
        }
        let known = &mut (*working).place;
        let shared =
            !again && was == current.both() && known.connection != place.connection && is_open(known);
        copy(place, known);
        known.used = 0;
        known.shared = u32::from(shared);
        core::ptr::write_volatile(thread, current.both());
    }
}

/// The thread is gone; with `process`, so is its process.
#[inline(always)]
pub(crate) fn gone(current: Current, process: bool) {
    // SAFETY: live map values; the helper copies the key.
    unsafe {
        if let Some(working) = slot_of(current)
            && read_now(&raw const (*working).thread) == current.both()
        {
            core::ptr::write_volatile(&raw mut (*working).thread, 0);
        }
        if process {
            let pid = current.pid();
            bpf_map_delete_elem((&raw const SERVING).cast_mut().cast(), (&raw const pid).cast());
        }
    }
}

/// The process serves one request more.
#[inline(always)]
unsafe fn serves(process: u32, place: &Place) {
    // SAFETY: a live map value; counts are changed atomically, and readers check them twice.
    unsafe {
        let serving = match SERVING.get_ptr_mut(process) {
            Some(serving) => serving,
            None => {
                let serving = Serving { open: 1, opened: 1, waiting: 1, lost_ns: 0, last: *place };
                let made = bpf_map_update_elem(
                    (&raw const SERVING).cast_mut().cast(),
                    (&raw const process).cast(),
                    (&raw const serving).cast(),
                    u64::from(BPF_NOEXIST),
                );
                if made == 0 {
                    return;
                }
                // Another thread was first.
                let Some(serving) = SERVING.get_ptr_mut(process) else { return };
                serving
            }
        };
        atomic::add(&raw mut (*serving).open, 1);
        atomic::add(&raw mut (*serving).opened, 1);
        atomic::add(&raw mut (*serving).waiting, 1);
        copy(place, &mut (*serving).last);
    }
}

/// More was read of a connection that is served.
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

/// The connection is gone before the first byte of the answer: the process may not know, and go on.
#[inline(always)]
pub(crate) unsafe fn lost(connection: &mut Connection) {
    // SAFETY: a live map value, written before the request is counted down.
    unsafe {
        if let Some(serving) = SERVING.get_ptr_mut(connection.served_by) {
            core::ptr::write_volatile(&raw mut (*serving).lost_ns, bpf_ktime_get_ns());
        }
        answered(connection);
    }
}

/// A call for this request has ended without an answer: a proxy may make another.
#[inline(always)]
pub(crate) unsafe fn waits_again(place: &Place, process: u32) {
    // SAFETY: live map values, changed atomically.
    unsafe {
        if place.connection != 0
            && let Some(request) = REQUESTS.get_ptr_mut(place.slot)
            && core::ptr::read_volatile(&raw const (*request).number) == place.connection
            && (*request).position == place.position
            && atomic::clear_half(&raw mut (*request).state, Request::CALLED) == Request::CALLED
            && let Some(serving) = SERVING.get_ptr_mut(process)
        {
            atomic::add(&raw mut (*serving).waiting, 1);
        }
    }
}

/// The first byte of the answer was sent, or there will be none.
#[inline(always)]
pub(crate) unsafe fn answered(connection: &mut Connection) {
    connection.flags &= !(Connection::SERVING | Connection::PARTIAL);
    // SAFETY: live map values.
    unsafe {
        // If that is not known any more, calls for others are refused until none is open.
        let mut waits = false;
        if let Some(request) = REQUESTS.get_ptr_mut(connection.request_slot)
            && core::ptr::read_volatile(&raw const (*request).number) == connection.number
        {
            let was = atomic::set_half(&raw mut (*request).state, Request::ANSWERED);
            if was & Request::ANSWERED != 0 {
                return;
            }
            waits = was == Request::OPEN;
            if let Some(long) = LONG_HEADS.get_ptr_mut((*request).long.wrapping_sub(1))
                && core::ptr::read_volatile(&raw const (*long).number) == connection.number
            {
                core::ptr::write_volatile(&raw mut (*long).number, 0);
            }
        }
        if let Some(serving) = SERVING.get_ptr_mut(connection.served_by)
            && (*serving).open != 0
        {
            if atomic::add(&raw mut (*serving).open, u64::MAX) == 1 {
                // What was counted of requests that lost their places is forgotten.
                core::ptr::write_volatile(&raw mut (*serving).waiting, 0);
            } else if waits {
                atomic::add(&raw mut (*serving).waiting, u64::MAX);
            }
        }
    }
}

/// A proxy read an answer to a call: it goes on with the request that the call was made for.
#[inline(always)]
pub(crate) unsafe fn resume(current: Current, place: &Place) {
    // SAFETY: as the callee's.
    unsafe { worked_for(current, place, true) };
}

/// Whether the request at this place is still worked for.
#[inline(always)]
unsafe fn is_open(place: &Place) -> bool {
    // SAFETY: a live map value.
    match REQUESTS.get_ptr(place.slot) {
        Some(request) => unsafe {
            core::ptr::read_volatile(&raw const (*request).number) == place.connection
                && (*request).position == place.position
                && core::ptr::read_volatile(&raw const (*request).state) & Request::ANSWERED == 0
        },
        None => false,
    }
}

/// The request that a thread works for when it opens a connection: a proxy's first call on it is for it.
#[inline(always)]
pub(crate) unsafe fn of_thread(current: Current, to: &mut Place) {
    // SAFETY: as the callee's.
    unsafe {
        if PROFILES.get(&current.pid()) != Some(&PROFILE_PROXY) || !calls_for(current, to) {
            to.connection = 0;
        }
    }
}

/// A proxy calls: for the request that its thread read last, if it has not called for that since, and if
/// no other waits for its call, which may be delayed.
#[inline(always)]
unsafe fn calls_for(current: Current, place: &mut Place) -> bool {
    // SAFETY: live map values.
    unsafe {
        if !working(current, place) || place.used != 0 || place.connection == 0 || !is_open(place) {
            return false;
        }
        let Some(request) = REQUESTS.get_ptr_mut(place.slot) else { return false };
        let Some(serving) = SERVING.get_ptr_mut(current.pid()) else { return false };
        let waits = (*request).state == Request::OPEN;
        if read_now(&raw const (*serving).waiting) != u64::from(waits) {
            return false;
        }
        if waits {
            let was = atomic::set_half(&raw mut (*request).state, Request::CALLED);
            if was & Request::ANSWERED != 0 {
                return false;
            }
            if was == Request::OPEN {
                atomic::add(&raw mut (*serving).waiting, u64::MAX);
            }
        }
        // If the place is another thread's now, that one's next call is not certain.
        if let Some(working) = slot_of(current) {
            core::ptr::write_volatile(&raw mut (*working).place.used, 1);
        }
    }
    true
}

/// Whether a process serves no request now.
#[inline(always)]
pub(crate) unsafe fn is_idle(process: u32) -> bool {
    // SAFETY: a live map value.
    SERVING.get_ptr(process).is_none_or(|serving| unsafe { read_now(&raw const (*serving).open) == 0 })
}

/// What [`tracer_parent`] returns: no request is known, `call.parent` is it, or, above, the
/// [`HeaderOutcome`] of a call without a header.
pub(crate) const ROOT: u64 = 0;
pub(crate) const CHILD: u64 = 1;
const REFUSED: u64 = 2;
const OTHER_CONTEXT: u64 = 3;
/// Within [`tracer_parent`]: none is known, and there is none if the process serves none.
const ROOT_IF_IDLE: u64 = 4;

/// The outcome in what [`tracer_parent`] returned.
#[inline(always)]
pub(crate) fn refused(found: u64) -> Option<HeaderOutcome> {
    match found {
        ROOT | CHILD => None,
        OTHER_CONTEXT => Some(HeaderOutcome::OtherContext),
        _ => Some(HeaderOutcome::Later),
    }
}

/// The request that a call of this `thread` is for, if that is certain, and what came with it. The call
/// stands in the room; `call.parent` is none unless this returns [`CHILD`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_parent(index: u64, thread: u64) -> u64 {
    let Some(room) = scan::room(index) else { return ROOT };
    // SAFETY: a live map value that is the caller's; no reference to it outlives a call.
    unsafe {
        (*room).call.state_length = 0;
        let mut found = candidate(&mut (*room).call, Current::of(thread));
        if found == CHILD {
            found = context(room, index);
        }
        if found == ROOT_IF_IDLE {
            found = if is_idle(Current::of(thread).pid()) { ROOT } else { REFUSED };
        }
        if found != CHILD {
            (*room).call.parent.connection = 0;
        }
        found
    }
}

/// The request that a call is for, by the way its process works.
#[inline(always)]
unsafe fn candidate(call: &mut Call, current: Current) -> u64 {
    // SAFETY: live map values; what another thread may change meanwhile is checked again.
    unsafe {
        call.parent.connection = 0;
        // Of a process that was just made nothing is known yet.
        let profile = PROFILES.get(&current.pid()).copied().unwrap_or(PROFILE_LATER);
        match profile {
            PROFILE_THREADS => {
                if !working(current, &mut call.parent) {
                    // What another thread has taken the place of is not known.
                    let is_taken =
                        slot_of(current).is_some_and(|working| read_now(&raw const (*working).thread) != 0);
                    return if is_taken { ROOT_IF_IDLE } else { ROOT };
                }
                if call.parent.shared != 0 {
                    return ROOT;
                }
                call.evidence = u64::from(EVIDENCE_UNIT);
            }
            PROFILE_PROXY => {
                if call.opened_for.connection != 0 {
                    copy(&call.opened_for, &mut call.parent);
                } else if !calls_for(current, &mut call.parent) {
                    return ROOT_IF_IDLE;
                }
                call.evidence = u64::from(EVIDENCE_PROXY);
            }
            PROFILE_SOLE_REQUEST | PROFILE_SOLE_OWN => {
                let Some(serving) = SERVING.get_ptr(current.pid()) else { return ROOT };
                let (open, opened) =
                    (read_now(&raw const (*serving).open), read_now(&raw const (*serving).opened));
                copy(&(*serving).last, &mut call.parent);
                if open == 0 {
                    return ROOT;
                }
                let is_sole = open == 1
                    && read_now(&raw const (*serving).open) == 1
                    && read_now(&raw const (*serving).opened) == opened;
                // A thread that reads requests may still be at its last one.
                let is_free = profile == PROFILE_SOLE_REQUEST || !works_for_another(current, &call.parent);
                // Behind the counts: one that was counted down because it was lost is seen to be.
                let is_lost =
                    bpf_ktime_get_ns() < read_now(&raw const (*serving).lost_ns).wrapping_add(UNSEEN_NS);
                if !is_sole || !is_free || is_lost || call.was_idle != 0 {
                    return REFUSED;
                }
                call.evidence = u64::from(EVIDENCE_SOLE_REQUEST);
            }
            PROFILE_LATER => return ROOT_IF_IDLE,
            _ => return ROOT,
        }
        // A thread that has read something else may work for that.
        if call.parent.connection == 0 { ROOT_IF_IDLE } else { CHILD }
    }
}

/// What came with the request `call.parent` in a room.
#[inline(always)]
unsafe fn context(room: *mut Room, index: u64) -> u64 {
    /// The shortest that is written: spaces behind a value are no part of it.
    const LEAST: u32 = 8;
    // SAFETY: live map values, of which it is checked at the end that they were this request's all along.
    unsafe {
        let Place { connection: number, position, slot, .. } = (*room).call.parent;
        if !is_open(&(*room).call.parent) {
            // It was answered; or others needed its place, and then it may be open.
            let was_lost = REQUESTS
                .get_ptr(slot)
                .is_some_and(|request| core::ptr::read_volatile(&raw const (*request).number) != number);
            return if was_lost { ROOT_IF_IDLE } else { ROOT };
        }
        let Some(request) = REQUESTS.get_ptr(slot) else { return ROOT };
        let mut from = &raw const (*request).data as u64;
        let length = (*request).length;
        if (*request).long != 0 {
            let Some(long) = LONG_HEADS.get_ptr((*request).long - 1) else { return REFUSED };
            from = &raw const (*long).data as u64;
        }
        if !Room::look(room, index, from, length) {
            return REFUSED;
        }
        if (*room).scan.flags & Scan::NOT_HTTP != 0 {
            return ROOT;
        }
        // What can be read in two ways is not passed on.
        if (*room).scan.flags & Scan::ODD != 0 {
            return REFUSED;
        }
        // Until all of the head is seen, its header may still come; and what is behind it may be another.
        let expected = u64::from((*room).scan.head) + (*room).scan.body;
        if (*room).scan.head == 0
            || (*room).scan.flags & Scan::CHUNKED == 0 && u64::from((*request).received) > expected
        {
            return REFUSED;
        }
        match (*room).scan.parents == 1 && tracer_trace_parent(index) != 0 {
            true => {
                let Call { found, ids, .. } = &mut (*room).call;
                copy(found, ids);
                if !samples_by_parent() {
                    ids.flags = ids.flags & 2 | root_flags(ids.trace[1]) & 1;
                }
                let (begin, length) = state(room);
                if length != 0
                    && length <= MAX_STATE
                    && tracer_members(index, u64::from(begin), u64::from(length)) != 0
                {
                    (*room).call.state_begin = begin;
                    (*room).call.state_length = length;
                    if length < LEAST {
                        let kept = (1 << (length * 8 & 63)) - 1;
                        let word = (*room).word(u64::from(begin));
                        (*room).put(u64::from(begin), word & kept | 0x2020_2020_2020_2020 & !kept);
                        (*room).call.state_length = LEAST;
                    }
                }
            }
            false if reads_other_contexts() && (*room).scan.flags & Scan::OTHER_CONTEXT != 0 => {
                return OTHER_CONTEXT;
            }
            false => {
                let wire = wire_key(position, (*request).answer_at);
                match CALLS.get(&wire) {
                    // The other end is a call of this host, of which nobody knows yet what it is for.
                    Some(ids) if ids.span == 0 => return REFUSED,
                    // It has no header, or none that is one.
                    Some(ids) => copy(ids, &mut (*room).call.ids),
                    None => {
                        (*room).call.ids.trace = trace_id(number, RECEIVE, position);
                        (*room).call.ids.flags = root_flags((*room).call.ids.trace[1]);
                    }
                }
                (*room).call.ids.span = 0;
            }
        }
        if let Some(long) = LONG_HEADS.get_ptr((*request).long.wrapping_sub(1))
            && ((*long).number != number || (*long).position != u64::from(position))
        {
            return REFUSED;
        }
        if is_open(&(*room).call.parent) { CHILD } else { REFUSED }
    }
}

/// Where the `tracestate` of the head in a room begins, and its length; 0 for none. Several fields are put
/// together, over what came before them in the head.
#[inline(always)]
unsafe fn state(room: *mut Room) -> (u32, u32) {
    // SAFETY: as the caller's; places are cut to what is there.
    unsafe {
        let Scan { states, state_begin, state_end, .. } = (*room).scan;
        if states == 1 {
            return (state_begin[0], state_end[0].wrapping_sub(state_begin[0]));
        }
        if states as usize > scan::STATES {
            return (0, 0);
        }
        let mut all = 0;
        let mut field = 0;
        while field < scan::STATES {
            let length = state_end[field].wrapping_sub(state_begin[field]);
            // One without members, or none.
            if field < states as usize && length != 0 {
                if length > MAX_STATE || all > MAX_STATE {
                    return (0, 0);
                }
                if all != 0 {
                    (*room).put(u64::from(all), u64::from(b','));
                    all += 1;
                }
                if !(*room).take_forward(all, state_begin[field], length) {
                    return (0, 0);
                }
                all += length;
            }
            field += 1;
        }
        (0, all)
    }
}

/// The ids of a call at this place, by what [`tracer_parent`] found.
#[inline(always)]
pub(crate) fn ids_of(number: u64, position: u32, call: &Call, found: u64) -> Ids {
    let span = span_id(number, position);
    if found == CHILD {
        return Ids { trace: call.ids.trace, span, flags: call.ids.flags & 3 };
    }
    let trace = trace_id(number, SEND, position);
    Ids { trace, span, flags: root_flags(trace[1]) }
}

#[inline(always)]
pub(crate) const fn wire_key(position: u32, answer_at: u32) -> u64 {
    (position as u64) << 32 | answer_at as u64
}

/// A call leaves without a header: what it would have carried is kept for the other end, which may be here.
/// `wire` is where it begins and where its answer will, `thread` makes it, `serves` becomes the request that it
/// is for. Returns 1 if that was done.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_file_call(
    number: u64,
    position: u64,
    wire: u64,
    thread: u64,
    serves: *mut Place,
) -> u64 {
    let Some(index) = scan::take_room() else { return 0 };
    let Some(room) = scan::room(index) else { return 0 };
    // SAFETY: a live map value that is ours; the helper copies key and value.
    unsafe {
        (*room).call.opened_for.connection = 0;
        (*room).call.was_idle = 0;
        let found = tracer_parent(index, thread);
        if let Some(serves) = serves.as_mut() {
            copy(&(*room).call.parent, serves);
        }
        let ids = ids_of(number, position as u32, &(*room).call, found);
        file(room, wire, &ids, found);
    }
    scan::leave_room(index);
    1
}

/// Keeps what a call without a header would have carried. Returns whether there was room to find that out.
#[inline(always)]
pub(crate) fn file_call(
    number: u64,
    position: u32,
    wire: u32,
    answer_at: u32,
    thread: Current,
    serves: &mut Place,
) -> bool {
    tracer_file_call(number, u64::from(position), wire_key(wire, answer_at), thread.both(), serves) != 0
}

/// [`file_call`], of what [`tracer_parent`] has `found`.
///
/// # Safety
/// The room is the caller's.
#[inline(always)]
pub(crate) unsafe fn file(room: *mut Room, wire: u64, ids: &Ids, found: u64) {
    // SAFETY: as the caller's; the helper copies key and value.
    unsafe {
        copy(ids, &mut (*room).call.own);
        if found >= REFUSED {
            (*room).call.own.span = 0;
        }
        bpf_map_update_elem(
            (&raw const CALLS).cast_mut().cast(),
            (&raw const wire).cast(),
            (&raw const (*room).call.own).cast(),
            0,
        );
    }
}

#[inline(always)]
unsafe fn read_now(value: *const u64) -> u64 {
    // SAFETY: a live map value.
    unsafe { core::ptr::read_volatile(value) }
}

/// How a call that carries the header of its request is linked.
pub(crate) const FORWARDED: u8 = EVIDENCE_FORWARDED;
/// A call without a parent.
pub(crate) const NONE: u8 = EVIDENCE_NONE;
