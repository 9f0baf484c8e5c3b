//! What a thread works for: the request that it has read, until the first byte of the answer is sent.
//! The rules of links that the agent knows, as far as they can be decided before a call leaves.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_loop, bpf_map_update_elem, bpf_probe_read_kernel, bpf_probe_read_user},
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use tracer_common::{
    DataHeader, EVIDENCE_FORWARDED, EVIDENCE_NONE, EVIDENCE_PROXY, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT,
    HeaderOutcome, MAX_STATE, PROFILE_LATER, PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST,
    PROFILE_THREADS, RANDOM_BITS,
};

use crate::{
    atomic,
    connection::Connection,
    layout::{sample_above, samples_by_parent, span_id, trace_id},
    scan::{self, Bytes, Scan},
    select::Current,
    short::Buffers,
};

/// A request that is served: the last of its connection.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Request {
    /// Ids in the order of their bytes.
    pub(crate) trace: [u64; 2],
    pub(crate) span: u64,
    /// The span that the request's own header names; 0 if it has none.
    pub(crate) incoming: u64,
    /// Where it begins.
    pub(crate) position: u32,
    /// `Request::*`.
    state: u16,
    /// W3C trace flags.
    pub(crate) flags: u16,
    /// Bytes of the `tracestate` that it came with, in [`STATES`]; 0 for none.
    pub(crate) state_length: u32,
    zero: u32,
}

impl Request {
    /// Its answer has begun.
    const ANSWERED: u16 = 0;
    /// It is worked for.
    const OPEN: u16 = 1;
    /// More than it came: what is done now need not be for it.
    const UNCERTAIN: u16 = 2;
}

/// A request by its place.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Place {
    /// Number of the connection, 0 for none.
    pub(crate) connection: u64,
    pub(crate) position: u32,
    /// Whether a call was made for it since it was read: a proxy makes one.
    used: u16,
    /// The thread read it while it worked for another.
    shared: u16,
}

impl Place {
    pub(crate) const NONE: Self = Self { connection: 0, position: 0, used: 0, shared: 0 };
}

/// What a process serves.
#[repr(C)]
struct Serving {
    /// Requests that are open.
    open: u64,
    /// How many were opened.
    opened: u64,
    /// The last of them.
    last: Place,
}

/// Requests by the number of their connection.
#[map]
static REQUESTS: LruHashMap<u64, Request> = LruHashMap::with_max_entries(16_384, 0);

/// A `tracestate`.
#[repr(C)]
pub(crate) struct State(pub(crate) [u8; MAX_STATE as usize]);

/// Those of requests, by the number of their connection.
#[map]
pub(crate) static STATES: LruHashMap<u64, State> = LruHashMap::with_max_entries(1024, 0);

/// A head that is not complete: what was found so far, and its last line.
#[repr(C)]
struct Partial {
    scan: Scan,
    /// Where the request begins, and how far behind it the line.
    position: u32,
    base: u32,
    /// Bytes of the line.
    length: u32,
    zero: u32,
    line: [u8; LINE as usize],
}

/// Longest line that is put together from two reads.
const LINE: u32 = 1024;

/// Heads that are not complete, by the number of their connection.
#[map]
static PARTIAL: LruHashMap<u64, Partial> = LruHashMap::with_max_entries(1024, 0);

/// What each thread reads or goes on with.
#[map]
static WORKING: LruHashMap<u32, Place> = LruHashMap::with_max_entries(16_384, 0);

#[map]
static SERVING: LruHashMap<u32, Serving> = LruHashMap::with_max_entries(4_096, 0);

/// How processes work (`PROFILE_*`): the agent says it.
#[map]
static PROFILES: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 1);

/// The head that is looked at, one for each hook of receives.
#[map]
static HEADS: PerCpuArray<Head> = PerCpuArray::with_max_entries(3, 0);

/// Bytes of a head that are looked at.
const MOST: u32 = 16_384;

#[repr(C)]
struct Head {
    data: [u8; MOST as usize + LINE as usize + 64],
    scan: Scan,
    partial: Partial,
    state: State,
    /// Where the request begins, how far behind it the data, and how many bytes of it are read.
    position: u32,
    base: u32,
    received: u64,
    /// Not 0 if all that was read is in the data.
    is_whole: u64,
    /// What is put into maps: the stack is small.
    request: Request,
    place: Place,
    serving: Serving,
}

struct Memory(*const u8);

impl Bytes for Memory {
    #[inline(always)]
    unsafe fn word(&self, at: u64) -> Option<u64> {
        let at = core::hint::black_box(at);
        if at > u64::from(MOST + LINE) {
            return None;
        }
        // SAFETY: inside `Head::data`, by the check.
        Some(unsafe { core::ptr::read_unaligned(self.0.add(at as usize).cast::<u64>()) })
    }
}

unsafe extern "C" fn step(_index: u64, head: *mut *mut Head) -> core::ffi::c_long {
    // SAFETY: `head` is that of `tracer_request`.
    unsafe {
        let head = *head;
        let memory = Memory((&raw const (*head).data).cast());
        core::ffi::c_long::from(scan::step(&mut (*head).scan, &memory))
    }
}

/// Looks at the head that a process reads, if it is one: at its beginning, or (`begins` is false) at its
/// rest. `slot` is that of the hook.
///
/// # Safety
/// `buffers` are those of the running call, of which `header` tells.
#[inline(always)]
pub(crate) unsafe fn read(
    connection: &mut Connection,
    current: Current,
    header: &DataHeader,
    buffers: &Buffers,
    slot: u32,
    begins: bool,
) {
    let length = buffers.first_length();
    let length = core::hint::black_box(if length > u64::from(MOST) { u64::from(MOST) } else { length });
    if length > u64::from(MOST) {
        return;
    }
    // SAFETY: lengths are checked or cut right before their use; the helpers check the addresses.
    let read = unsafe {
        let Some(head) = HEADS.get_ptr_mut(slot) else { return };
        let head = &mut *head;
        let to: *mut u8 = (&raw mut head.data).cast();
        let mut known = 0;
        if begins {
            connection.flags &= !Connection::PARTIAL;
            head.position = header.position;
            head.base = 0;
            head.scan.begin(length as u32);
        } else {
            let Some(partial) = PARTIAL.get_ptr(connection.number) else { return };
            known = core::hint::black_box((*partial).length) & (LINE - 1);
            if bpf_probe_read_kernel(to.cast(), known, (&raw const (*partial).line).cast()) != 0 {
                return;
            }
            head.position = (*partial).position;
            head.base = (*partial).base;
            head.scan = (*partial).scan;
            head.scan.resume(known + length as u32);
        }
        head.received = u64::from(header.position.wrapping_sub(head.position)) + u64::from(header.length);
        head.is_whole = u64::from(length == u64::from(header.length));
        let to = to.add(known as usize);
        bpf_probe_read_user(to.cast(), length as u32, buffers.first() as *const c_void) == 0
    };
    if read {
        tracer_request(connection, u64::from(slot), current.both(), u64::from(begins));
    }
}

/// A request was read, or more of its head, which stands in the head of `slot`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_request(connection: *mut Connection, slot: u64, current: u64, begins: u64) -> u64 {
    // SAFETY: the verifier passes a live value of that size, or null; the callback has the type that the
    // helper expects.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let Some(head) = HEADS.get_ptr_mut(slot as u32) else { return 0 };
        let head = &mut *head;
        let number = connection.number;
        if head.scan.length >= Scan::LEAST {
            let mut place: *mut Head = head;
            bpf_loop(Scan::steps(MOST + LINE), step as *mut c_void, (&raw mut place).cast(), 0);
        }
        let scan = &mut head.scan;
        if scan.flags & Scan::NOT_HTTP != 0 || begins != 0 && !head.data[0].is_ascii_uppercase() {
            return 0;
        }
        let request = &mut head.request;
        if begins != 0 {
            request.trace = trace_id(number, head.position);
            request.incoming = 0;
            request.flags = root_flags(request.trace[1]);
            request.span = span_id(number, head.position);
            request.position = head.position;
            request.state_length = 0;
            connection.request_left = u64::MAX;
        } else {
            let Some(known) = REQUESTS.get_ptr(number) else { return 0 };
            copy(&*known, request);
            if request.position != head.position {
                return 0;
            }
        }
        let memory = Memory((&raw const head.data).cast());
        if scan.parents == 1
            && scan.parent_end != 0
            && let Some(parent) = scan::parent(scan, &memory)
        {
            request.trace = parent.trace;
            request.incoming = parent.span;
            request.flags = if samples_by_parent() {
                parent.flags as u16
            } else {
                parent.flags as u16 & 2 | root_flags(parent.trace[1]) & 1
            };
        } else if scan.parents > 1 {
            request.trace = trace_id(number, head.position);
            request.incoming = 0;
            request.flags = root_flags(request.trace[1]);
        }
        request.state_length = match (scan.states, scan.state_end) {
            // It came in a read before.
            (1, 0) => request.state_length,
            (1, end) => keep_state(&mut head.state, &head.data, number, scan.state_begin, end),
            _ => 0,
        };
        (scan.parent_end, scan.state_end) = (0, 0);
        // Until all of the head is seen, its header may still come; and what is behind it may be another.
        request.state = Request::UNCERTAIN;
        connection.flags &= !Connection::PARTIAL;
        if scan.head != 0 {
            if request.incoming == 0 {
                request.state_length = 0;
            }
            let expected = u64::from(head.base) + u64::from(scan.head) + scan.body;
            if scan.flags & Scan::CHUNKED != 0 {
                request.state = Request::OPEN;
            } else if head.received <= expected {
                connection.request_left = expected - head.received;
                request.state = Request::OPEN;
            }
        } else if head.is_whole != 0 && head.received < u64::from(MOST) {
            let line = core::hint::black_box(scan.line) & (MOST - 1);
            // Of a long line the beginning tells enough.
            let rest = scan.length.wrapping_sub(line);
            let length = core::hint::black_box(if rest < LINE { rest } else { LINE - 1 }) & (LINE - 1);
            let from = (&raw const head.data).cast::<u8>().add(line as usize);
            if line == scan.line
                && bpf_probe_read_kernel((&raw mut head.partial.line).cast(), length, from.cast()) == 0
            {
                head.partial.scan = *scan;
                head.partial.position = head.position;
                head.partial.base = head.base + line + (rest - length);
                head.partial.length = length;
                if insert((&raw const PARTIAL).cast(), &raw const number, &raw const head.partial) == 0 {
                    connection.flags |= Connection::PARTIAL;
                }
            }
        }
        match REQUESTS.get_ptr_mut(number) {
            Some(known) => copy(request, &mut *known),
            None => {
                if insert((&raw const REQUESTS).cast(), &raw const number, &raw const *request) != 0 {
                    return 0;
                }
            }
        }
        let (process, thread) = ((current >> 32) as u32, current as u32);
        head.place = Place { connection: number, position: head.position, ..Place::NONE };
        worked_for(thread, head);
        if begins != 0 {
            connection.flags |= Connection::SERVING;
            connection.served_by = process;
            serves(process, head);
        }
    }
    0
}

/// Keeps a `tracestate` for the calls that are made for its request. Returns its length, 0 if it is too
/// long.
#[inline(always)]
unsafe fn keep_state(
    state: &mut State,
    data: &[u8; MOST as usize + LINE as usize + 64],
    number: u64,
    begin: u32,
    end: u32,
) -> u32 {
    /// The shortest that is written: spaces behind a value are no part of it.
    const LEAST: u32 = 8;
    let length = core::hint::black_box(end.wrapping_sub(begin)) & (2 * MAX_STATE - 1);
    if begin + length != end || begin >= MOST || length == 0 || length > MAX_STATE {
        return 0;
    }
    // SAFETY: lengths are checked; offsets are cut to what is there.
    unsafe {
        core::ptr::write_unaligned((&raw mut state.0).cast::<u64>(), 0x2020_2020_2020_2020);
        let from = data.as_ptr().add((begin & (MOST - 1)) as usize);
        if bpf_probe_read_kernel((&raw mut state.0).cast(), length, from.cast()) != 0
            || insert((&raw const STATES).cast(), &raw const number, &raw const *state) != 0
        {
            return 0;
        }
    }
    if length < LEAST { LEAST } else { length }
}

/// Trace flags of a request without a known parent: a random trace id, sampled by it.
#[inline(always)]
pub(crate) fn root_flags(trace_second: u64) -> u16 {
    let random = trace_second.swap_bytes() & ((1 << RANDOM_BITS) - 1);
    2 | u16::from(random >= sample_above())
}

/// Copies a value of whole words: the compiler would do it byte by byte.
#[inline(always)]
fn copy<T: Copy>(from: &T, to: &mut T) {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: inside both values.
        unsafe { core::ptr::write_volatile(to.add(word), core::ptr::read_volatile(from.add(word))) };
        word += 1;
    }
}

/// Puts a value into a map from where it stands.
#[inline(always)]
unsafe fn insert<K, V>(map: *const c_void, key: *const K, value: *const V) -> i64 {
    // SAFETY: as the caller's; the helper copies both.
    unsafe { bpf_map_update_elem(map.cast_mut(), key.cast(), value.cast(), 0) }
}

/// The thread works for the request in `head` now.
#[inline(always)]
unsafe fn worked_for(thread: u32, head: &Head) {
    // SAFETY: a live map value, that of this thread.
    unsafe {
        let Some(known) = WORKING.get_ptr_mut(thread) else {
            // Without room its calls have no parent.
            insert((&raw const WORKING).cast(), &raw const thread, &raw const head.place);
            return;
        };
        let shared = is_open(&*known) && (*known).connection != head.place.connection;
        copy(&head.place, &mut *known);
        (*known).shared = u16::from(shared);
    }
}

/// The process serves one request more.
#[inline(always)]
unsafe fn serves(process: u32, head: &mut Head) {
    // SAFETY: a live map value; counts are changed atomically, and readers check them twice.
    unsafe {
        let Some(serving) = SERVING.get_ptr_mut(process) else {
            head.serving = Serving { open: 1, opened: 1, last: head.place };
            insert((&raw const SERVING).cast(), &raw const process, &raw const head.serving);
            return;
        };
        atomic::add(&raw mut (*serving).open, 1);
        atomic::add(&raw mut (*serving).opened, 1);
        copy(&head.place, &mut (*serving).last);
    }
}

/// More was read of a connection that is served.
#[inline(always)]
pub(crate) unsafe fn read_more(connection: &mut Connection, length: u32) {
    let left = connection.request_left;
    if left == u64::MAX {
        return;
    }
    connection.request_left = left.saturating_sub(u64::from(length));
    if u64::from(length) > left
        && let Some(request) = REQUESTS.get_ptr_mut(connection.number)
    {
        // SAFETY: a live map value.
        unsafe { (*request).state = Request::UNCERTAIN };
    }
}

/// The first byte of the answer was sent, or there will be none.
#[inline(always)]
pub(crate) unsafe fn answered(connection: &mut Connection) {
    connection.flags &= !Connection::SERVING;
    // SAFETY: live map values.
    unsafe {
        if let Some(request) = REQUESTS.get_ptr_mut(connection.number) {
            (*request).state = Request::ANSWERED;
        }
        if let Some(serving) = SERVING.get_ptr_mut(connection.served_by)
            && (*serving).open != 0
        {
            atomic::add(&raw mut (*serving).open, u64::MAX);
        }
    }
}

/// A proxy read an answer to a call: it goes on with the request that the call was made for.
#[inline(always)]
pub(crate) unsafe fn resume(thread: u32, place: Place) {
    // SAFETY: a live map value, that of this thread.
    unsafe {
        if let Some(known) = WORKING.get_ptr_mut(thread) {
            *known = Place { used: 0, shared: 0, ..place };
        }
    }
}

/// Whether the request at this place is still worked for.
#[inline(always)]
unsafe fn is_open(place: &Place) -> bool {
    // SAFETY: a live map value.
    match REQUESTS.get_ptr(place.connection) {
        Some(request) => unsafe {
            (*request).state != Request::ANSWERED && (*request).position == place.position
        },
        None => false,
    }
}

/// The request that a thread works for when it opens a connection: a proxy's first call on it is for it.
#[inline(always)]
pub(crate) unsafe fn of_thread(current: Current) -> Place {
    // SAFETY: a live map value.
    unsafe {
        match (PROFILES.get(&current.pid()), WORKING.get_ptr(current.tid())) {
            (Some(&PROFILE_PROXY), Some(place)) => *place,
            _ => Place::NONE,
        }
    }
}

/// A parent of a call, and how it is known.
pub(crate) struct Parent {
    pub(crate) place: Place,
    pub(crate) request: Request,
    pub(crate) evidence: u8,
}

/// Whether a process serves no request now.
#[inline(always)]
pub(crate) unsafe fn is_idle(process: u32) -> bool {
    // SAFETY: a live map value.
    SERVING.get_ptr(process).is_none_or(|serving| unsafe { read_now(&raw const (*serving).open) == 0 })
}

/// The request that a call of this thread is for, if that is certain. `opened_for` is that of a connection
/// that carries its first call; `was_idle` says that this connection was opened while the process had no
/// request. An error if the agent will know better.
#[inline(always)]
pub(crate) unsafe fn parent_of(
    current: Current,
    opened_for: Option<Place>,
    was_idle: bool,
) -> Result<Option<Parent>, HeaderOutcome> {
    // SAFETY: live map values; what another thread may change meanwhile is checked again.
    unsafe {
        let Some(profile) = PROFILES.get(&current.pid()).copied() else { return Ok(None) };
        let (place, evidence) = match profile {
            PROFILE_THREADS => {
                let Some(place) = WORKING.get_ptr(current.tid()) else { return Ok(None) };
                if (*place).shared != 0 {
                    return Ok(None);
                }
                (*place, EVIDENCE_UNIT)
            }
            PROFILE_PROXY => {
                let working = WORKING.get_ptr_mut(current.tid());
                let place = match (opened_for, working) {
                    (Some(place), _) => place,
                    (None, Some(place)) if (*place).used == 0 => *place,
                    _ => return Ok(None),
                };
                if let Some(working) = working
                    && (*working).connection == place.connection
                {
                    (*working).used = 1;
                }
                (place, EVIDENCE_PROXY)
            }
            PROFILE_SOLE_REQUEST | PROFILE_SOLE_OWN => {
                let Some(serving) = SERVING.get_ptr(current.pid()) else { return Ok(None) };
                let (open, opened) =
                    (read_now(&raw const (*serving).open), read_now(&raw const (*serving).opened));
                let place = (*serving).last;
                if open == 0 {
                    return Ok(None);
                }
                let is_sole = open == 1
                    && read_now(&raw const (*serving).open) == 1
                    && read_now(&raw const (*serving).opened) == opened;
                // A thread that reads requests may still be at its last one.
                let is_free = profile == PROFILE_SOLE_REQUEST
                    || WORKING.get_ptr(current.tid()).is_none_or(|own| {
                        (*own).connection == place.connection && (*own).position == place.position
                    });
                if !is_sole || !is_free || was_idle {
                    return Err(HeaderOutcome::Later);
                }
                (place, EVIDENCE_SOLE_REQUEST)
            }
            PROFILE_LATER if !is_idle(current.pid()) => return Err(HeaderOutcome::Later),
            _ => return Ok(None),
        };
        if place.connection == 0 {
            return Ok(None);
        }
        let Some(request) = REQUESTS.get_ptr(place.connection) else { return Ok(None) };
        let request = *request;
        if request.state != Request::OPEN || request.position != place.position {
            return Ok(None);
        }
        Ok(Some(Parent { place, request, evidence }))
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
