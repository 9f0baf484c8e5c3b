//! Scratch buffers: memory in which a program looks at a head, too much for its stack. Functions that take the number
//! of one are verified once each.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_loop, bpf_probe_read_kernel},
    macros::map,
    maps::Array,
};
use tracer_common::MAX_STATE;

use crate::{
    http::{
        TextMut,
        authority::Authority,
        head::{self, Head},
        traceparent,
        tracestate::{self, Members},
    },
    ids::ClientRequest,
    memory::{
        atomic,
        words::{bounded, bounded_length, clear, load_bounded, store_bounded},
    },
};

/// Bytes of a head for which there is capacity; a power of two.
pub(crate) const CAPACITY: u32 = 16_384;
/// Longest head that is looked at.
pub(crate) const LONGEST_HEAD: u32 = CAPACITY - 32;
/// Zeros before the head: what is read before its first bytes.
const BEFORE: usize = 8;

/// A scratch buffer. A program may be interrupted by another on its CPU, so it takes one for itself.
#[repr(C)]
pub(crate) struct Scratch {
    /// Not 0 while it is taken.
    taken: u64,
    pub(crate) head: Head,
    pub(crate) client: ClientRequest,
    members: Members,
    pub(crate) authority: Authority,
    pub(crate) text: Text,
}

/// Two for each CPU: the agent sets their number.
#[map]
static SCRATCH: Array<Scratch> = Array::with_max_entries(2, 0);

/// Takes a scratch buffer. None if those of this CPU are taken.
#[inline(always)]
pub(crate) fn take_scratch() -> Option<u64> {
    // SAFETY: a helper without arguments; live map values that everyone changes atomically.
    unsafe {
        let first = 2 * (bpf_get_smp_processor_id() as u64 & 0xffff_ffff);
        if atomic::swap(&raw mut (*scratch_at(first)?).taken, 1) == 0 {
            return Some(first);
        }
        (atomic::swap(&raw mut (*scratch_at(first + 1)?).taken, 1) == 0).then_some(first + 1)
    }
}

/// Gives a scratch buffer back.
#[inline(always)]
pub(crate) fn give_back(index: u64) {
    if let Some(scratch) = scratch_at(index) {
        // SAFETY: a live map value.
        unsafe { core::ptr::write_volatile(&raw mut (*scratch).taken, 0) };
    }
}

#[inline(always)]
pub(crate) fn scratch_at(index: u64) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(index as u32)
}

impl Scratch {
    /// Copies a head of `length` bytes from kernel memory and looks at it. Returns whether that worked.
    ///
    /// # Safety
    /// `scratch` is the one with this number, and the caller's; no reference to it is live. `from` may be any
    /// address: the helper checks it.
    #[inline(always)]
    pub(crate) unsafe fn look(scratch: *mut Self, index: u64, from: u64, length: u32) -> bool {
        if length > LONGEST_HEAD {
            return false;
        }
        // SAFETY: the length was checked, and there is capacity for zeros behind it.
        unsafe {
            let to = (&raw mut (*scratch).text).cast::<u8>().add(BEFORE);
            let length = bounded_length::<0x3fff>(u64::from(length)) as u32;
            if bpf_probe_read_kernel(to.cast(), length, from as *const c_void) != 0 {
                return false;
            }
            let behind = to.add(length as usize).cast::<u64>();
            core::ptr::write_unaligned(behind, 0);
            core::ptr::write_unaligned(behind.add(1), 0);
            clear(&raw mut (*scratch).head);
            (*scratch).head.length = length;
        }
        tracer_scan(index);
        true
    }
}

/// The bytes of a head, with zeros around them.
#[repr(C)]
pub(crate) struct Text([u8; BEFORE + CAPACITY as usize + 16]);

impl crate::http::Text for Text {
    #[inline(always)]
    fn word(&self, at: u64) -> u64 {
        // SAFETY: inside of the bytes, by the mask.
        unsafe { load_bounded(self.0.as_ptr(), at + BEFORE as u64) }
    }

    #[inline(always)]
    fn before(&self, at: u64) -> u64 {
        // SAFETY: as above.
        unsafe { load_bounded(self.0.as_ptr(), at) }
    }
}

impl TextMut for Text {
    #[inline(always)]
    fn put(&mut self, at: u64, value: u64) {
        // SAFETY: as above.
        unsafe { store_bounded(self.0.as_mut_ptr(), at + BEFORE as u64, value) };
    }

    #[inline(always)]
    fn take_forward(&mut self, to: u32, from: u32, length: u32) -> bool {
        // SAFETY: inside of the bytes, by the masks; the helper copies forward.
        unsafe {
            let data = self.0.as_mut_ptr();
            let to = bounded(data, BEFORE as u64 + u64::from(to & 1023));
            let from = bounded(data, BEFORE as u64 + u64::from(from));
            let length = bounded_length::<1023>(u64::from(length));
            bpf_probe_read_kernel(to.cast(), length as u32, from.cast()) == 0
        }
    }
}

/// Looks at the head in a scratch buffer.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_scan(index: u64) -> u64 {
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        let Some(mut scratch) = scratch_at(index) else { return 0 };
        bpf_loop(LONGEST_HEAD / 16 + 256, scan_step as *mut c_void, (&raw mut scratch).cast(), 0);
    }
    0
}

unsafe extern "C" fn scan_step(_index: u64, scratch: *mut *mut Scratch) -> c_long {
    // SAFETY: `scratch` is that of `tracer_scan`.
    let scratch = unsafe { &mut **scratch };
    c_long::from(head::step(&mut scratch.head, &scratch.text))
}

/// Reads the `traceparent` that was found in a scratch buffer into [`ClientRequest::found`]. Returns 1 if it is valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_trace_parent(index: u64) -> u64 {
    let Some(scratch) = scratch_at(index) else { return 0 };
    // SAFETY: a live map value that is the caller's.
    let scratch = unsafe { &mut *scratch };
    u64::from(traceparent::read(&scratch.head, &scratch.text, &mut scratch.client.found))
}

/// Whether the `tracestate` of `length` bytes in a scratch buffer, from `begin` on, breaks no rule.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_tracestate(index: u64, begin: u64, length: u64) -> u64 {
    let Some(mut scratch) = scratch_at(index) else { return 0 };
    // SAFETY: a live map value that is the caller's; the callback has the type that the helper expects.
    unsafe {
        (*scratch).members = Members::new(begin as u32, length as u32);
        bpf_loop(MAX_STATE + 1, member_step as *mut c_void, (&raw mut scratch).cast(), 0);
        u64::from((*scratch).members.is_valid())
    }
}

unsafe extern "C" fn member_step(index: u64, scratch: *mut *mut Scratch) -> c_long {
    // SAFETY: `scratch` is that of `tracer_tracestate`.
    let scratch = unsafe { &mut **scratch };
    c_long::from(tracestate::step(&mut scratch.members, &scratch.text, index))
}
