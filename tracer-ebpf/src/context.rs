//! What a thread works for: the request that it has read, until the first byte of the answer is sent.
//! The rules of links that the agent knows, as far as they can be decided before a call leaves.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_loop, bpf_map_update_elem, bpf_probe_read_user},
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use tracer_common::{
    DataHeader, EVIDENCE_FORWARDED, EVIDENCE_NONE, EVIDENCE_PROXY, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT,
    PROFILE_PROXY, PROFILE_SOLE_REQUEST, PROFILE_THREADS, RANDOM_BITS,
};

use crate::{
    atomic,
    connection::Connection,
    layout::{sample_above, span_id, trace_id},
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
    data: [u8; MOST as usize + 64],
    scan: Scan,
    /// What is put into maps: the stack is small.
    request: Request,
    place: Place,
    serving: Serving,
}

struct Memory(*const u8);

impl Bytes for Memory {
    #[inline(always)]
    unsafe fn word(&self, at: u64) -> Option<u64> {
        // SAFETY: inside `Head::data`, by the mask.
        Some(unsafe {
            core::ptr::read_unaligned(self.0.add((at & u64::from(MOST - 1)) as usize).cast::<u64>())
        })
    }
}

unsafe extern "C" fn step(_index: u64, slot: *mut u64) -> core::ffi::c_long {
    // SAFETY: `slot` is that of `look`.
    unsafe {
        let Some(head) = HEADS.get_ptr_mut(*slot as u32) else { return 1 };
        let memory = Memory((&raw const (*head).data).cast());
        core::ffi::c_long::from(scan::step(&mut (*head).scan, &memory))
    }
}

/// Looks at the head that a process reads, if it is one. `slot` is that of the hook.
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
) {
    let length = buffers.first_length();
    let length = core::hint::black_box(if length > u64::from(MOST) { u64::from(MOST) } else { length });
    if length < u64::from(Scan::LEAST) || length > u64::from(MOST) {
        return;
    }
    // SAFETY: the length is checked; the helper checks the address.
    let read = unsafe {
        let Some(head) = HEADS.get_ptr_mut(slot) else { return };
        (*head).scan.begin(length as u32);
        let to: *mut c_void = (&raw mut (*head).data).cast();
        bpf_probe_read_user(to, length as u32, buffers.first() as *const c_void) == 0
    };
    if read {
        tracer_request(connection, u64::from(slot), header.position, header.length, current.both());
    }
}

/// A request was read, whose first bytes are in the head of `slot`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_request(
    connection: *mut Connection,
    slot: u64,
    position: u32,
    length: u32,
    current: u64,
) -> u64 {
    // SAFETY: the verifier passes a live value of that size, or null; the callback has the type that the
    // helper expects.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let mut at = slot;
        bpf_loop(Scan::steps(MOST), step as *mut c_void, (&raw mut at).cast(), 0);
        let Some(head) = HEADS.get_ptr_mut(slot as u32) else { return 0 };
        let head = &mut *head;
        let scan = &head.scan;
        if scan.request_line == 0 || scan.flags & Scan::NOT_HTTP != 0 {
            return 0;
        }
        let number = connection.number;
        let mut state = Request::OPEN;
        // Until all of the head is seen, its header may still come.
        let expected = u64::from(scan.head) + scan.body;
        if scan.head == 0 || scan.flags & Scan::CHUNKED == 0 && u64::from(length) > expected {
            state = Request::UNCERTAIN;
        }
        connection.request_left =
            if scan.flags & Scan::CHUNKED != 0 { u64::MAX } else { expected.saturating_sub(length.into()) };
        let memory = Memory((&raw const head.data).cast());
        let request = &mut head.request;
        match scan::parent(scan, &memory) {
            Some(parent) => {
                request.trace = parent.trace;
                request.incoming = parent.span;
                request.flags = parent.flags as u16;
            }
            None => {
                request.trace = trace_id(number, position);
                request.incoming = 0;
                request.flags = root_flags(request.trace[1]);
            }
        }
        request.span = span_id(number, position);
        request.position = position;
        request.state = state;
        match REQUESTS.get_ptr_mut(number) {
            Some(known) => *known = *request,
            None => {
                if insert((&raw const REQUESTS).cast(), &raw const number, &raw const *request) != 0 {
                    return 0;
                }
            }
        }
        let (process, thread) = ((current >> 32) as u32, current as u32);
        connection.flags |= Connection::SERVING;
        connection.served_by = process;
        head.place = Place { connection: number, position, ..Place::NONE };
        worked_for(thread, head);
        serves(process, head);
    }
    0
}

/// Trace flags of a request without a known parent: a random trace id, sampled by it.
#[inline(always)]
pub(crate) fn root_flags(trace_second: u64) -> u16 {
    let random = trace_second.swap_bytes() & ((1 << RANDOM_BITS) - 1);
    2 | u16::from(random >= sample_above())
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
        *known = head.place;
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
        (*serving).last = head.place;
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

/// The request that a call of this thread is for, if that is certain. `opened_for` is that of a connection
/// that carries its first call.
#[inline(always)]
pub(crate) unsafe fn parent_of(current: Current, opened_for: Option<Place>) -> Option<Parent> {
    // SAFETY: live map values; what another thread may change meanwhile is checked again.
    unsafe {
        let profile = PROFILES.get(&current.pid()).copied()?;
        let (place, evidence) = match profile {
            PROFILE_THREADS => {
                let place = &*WORKING.get_ptr(current.tid())?;
                if place.shared != 0 {
                    return None;
                }
                (*place, EVIDENCE_UNIT)
            }
            PROFILE_PROXY => {
                let working = WORKING.get_ptr_mut(current.tid());
                let place = match opened_for {
                    Some(place) => place,
                    None => {
                        let place = working?;
                        if (*place).used != 0 {
                            return None;
                        }
                        *place
                    }
                };
                if let Some(working) = working
                    && (*working).connection == place.connection
                {
                    (*working).used = 1;
                }
                (place, EVIDENCE_PROXY)
            }
            PROFILE_SOLE_REQUEST => {
                let serving = SERVING.get_ptr(current.pid())?;
                let (open, opened) =
                    (read_now(&raw const (*serving).open), read_now(&raw const (*serving).opened));
                let place = (*serving).last;
                if open != 1
                    || read_now(&raw const (*serving).open) != 1
                    || read_now(&raw const (*serving).opened) != opened
                {
                    return None;
                }
                (place, EVIDENCE_SOLE_REQUEST)
            }
            _ => return None,
        };
        if place.connection == 0 {
            return None;
        }
        let request = *REQUESTS.get_ptr(place.connection)?;
        if request.state != Request::OPEN || request.position != place.position {
            return None;
        }
        Some(Parent { place, request, evidence })
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
