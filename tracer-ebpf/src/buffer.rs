//! The process's memory that a system call moved: where it is, and how it gets into a record.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs,
    },
    macros::map,
    maps::PerCpuArray,
};
use tracer_common::{ABSENT, EDGE_END, HEAD_BUDGET, MAX_VECTORS, NoBytes};

use crate::{
    arch::{Arguments, arguments, first_argument, is_compat},
    layout::{load, offset},
};

/// Where bytes of several buffers are put together: the head first, the last bytes of the call at
/// [`TAIL_AT`]. One for each direction, so that a program that is preempted by the other keeps its.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// Twice the budget: a masked offset plus a bounded length stay inside.
const SCRATCH_BYTES: usize = 2 * HEAD_BUDGET as usize + 16;
/// Where in the scratch the call's last bytes are put.
const TAIL_AT: u64 = 2 * HEAD_BUDGET as u64;

#[repr(C)]
pub(crate) struct Scratch([u8; SCRATCH_BYTES]);

/// Where the bytes of a call are.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Source {
    /// The only buffer, if `vectors` is 0.
    pub(crate) address: u64,
    /// Array of `struct iovec`.
    pub(crate) vectors: u64,
    /// Its length.
    pub(crate) count: u64,
}

impl Source {
    pub(crate) const EMPTY: Self = Self { address: 0, vectors: 0, count: 0 };
}

/// `include/linux/sched.h`: a kernel thread; a worker of io_uring, whose registers are its parent's.
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x0020_0000;

/// Finds the buffers of the running system call, if it is about this very socket. Returns a
/// [`NoBytes`].
///
/// # Safety
/// `sk` is the socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn locate(sk: *const c_void, source: &mut Source) -> NoBytes {
    // SAFETY: typed pointers; user memory is read through helpers.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let flags: u32 = load(task, offset!(task_flags));
        if flags & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return NoBytes::IoUring;
        }
        let kern_sock: u8 = load(sk, offset!(sock_kern_sock));
        if u64::from(kern_sock) & offset!(sock_kern_sock_mask) != 0 {
            return NoBytes::KernelSocket;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) {
            return NoBytes::Compat;
        }
        // Completions of io_uring run inside any other system call of the task.
        if offset!(task_io_uring) != u64::from(ABSENT) {
            let ring: u64 = load(task, offset!(task_io_uring));
            if ring != 0 && !leads_to(task, first_argument(registers), sk) {
                return NoBytes::IoUring;
            }
        }
        let vectors = match arguments(registers) {
            Arguments::Buffer(address) => {
                source.address = address;
                return NoBytes::None;
            }
            Arguments::None => return NoBytes::NoBuffer,
            Arguments::Vectors(address, count) => [address, count],
            // `msg_iov` and `msg_iovlen` of struct user_msghdr.
            Arguments::Message(address) => {
                let mut vectors = [0u64; 2];
                if bpf_probe_read_user((&raw mut vectors).cast(), 16, (address + 16) as *const c_void) != 0 {
                    return NoBytes::Fault;
                }
                vectors
            }
        };
        if vectors[1] == 1 {
            let mut vector = [0u64; 2];
            if bpf_probe_read_user((&raw mut vector).cast(), 16, vectors[0] as *const c_void) != 0 {
                return NoBytes::Fault;
            }
            source.address = vector[0];
            return NoBytes::None;
        }
        source.vectors = vectors[0];
        source.count = vectors[1];
    }
    NoBytes::None
}

/// Whether file descriptor `fd` of the task is the socket: the walk that `fget` and `sock_from_file`
/// make, without their references, so every step is a checked read.
#[inline(always)]
unsafe fn leads_to(task: *const c_void, fd: u64, sk: *const c_void) -> bool {
    // SAFETY: typed loads up to the table, checked reads behind it.
    unsafe {
        let files: *const c_void = load(task, offset!(task_files));
        let table: *const c_void = load(files, offset!(files_fdt));
        let max: u32 = load(table, offset!(fdtable_max_fds));
        let fd = fd & 0xffff_ffff;
        if fd >= u64::from(max) {
            return false;
        }
        let slots: u64 = load(table, offset!(fdtable_fd));
        let file = read_pointer(slots + fd * 8);
        let socket = read_pointer(file + offset!(file_private_data));
        let found = read_pointer(socket + offset!(socket_sk));
        found == sk as u64
    }
}

#[inline(always)]
unsafe fn read_pointer(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the address and leaves 0 on a fault.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const c_void) };
    value
}

/// What [`gather`] and its callback share.
#[repr(C)]
struct Gather {
    vectors: u64,
    count: u64,
    /// Bytes of the call to pass over, then 0.
    skip: u64,
    /// Bytes put into the scratch so far, of `wanted`.
    filled: u64,
    wanted: u64,
    /// Bytes of the call in the vectors behind us, of `length`.
    seen: u64,
    length: u64,
    direction: u32,
    failed: u32,
}

/// Puts `wanted` bytes from `skip` on, and the last [`EDGE_END`] of the call's `length` bytes, into
/// the scratch. Returns how many came together and whether all memory could be read.
#[inline(always)]
pub(crate) fn gather(source: &Source, skip: u64, wanted: u64, length: u64, direction: u8) -> (u64, bool) {
    let (start, count) =
        if source.vectors == 0 { (source.address, 0) } else { (source.vectors, source.count) };
    let result = tracer_gather(start, count << 1 | u64::from(direction & 1), skip, wanted, length);
    (result & u64::from(u32::MAX), result >> 32 == 0)
}

/// [`gather`] for the verifier: a global function, which it checks once and not for every path to
/// it. `count_direction` is the number of vectors, 0 if `start` is the only buffer, and the direction
/// in its lowest bit. Returns the bytes gathered, with bit 32 set if memory could not be read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_gather(
    start: u64,
    count_direction: u64,
    skip: u64,
    wanted: u64,
    length: u64,
) -> u64 {
    const FAILED: u64 = 1 << 32;
    let direction = count_direction as u32 & 1;
    let count = count_direction >> 1;
    if wanted > u64::from(HEAD_BUDGET) {
        return FAILED;
    }
    if count == 0 {
        let Some(scratch) = SCRATCH.get_ptr_mut(direction) else { return FAILED };
        let scratch: *mut u8 = scratch.cast();
        // SAFETY: the lengths are checked; the helpers check the addresses.
        let failed = unsafe {
            let from = (start + skip) as *const c_void;
            let mut failed = bpf_probe_read_user(scratch.cast(), wanted as u32, from) != 0;
            if length >= u64::from(EDGE_END) {
                let end = (start + length - u64::from(EDGE_END)) as *const c_void;
                failed |= bpf_probe_read_user(scratch.add(TAIL_AT as usize).cast(), EDGE_END, end) != 0;
            }
            failed
        };
        return if failed { FAILED } else { wanted };
    }
    let mut state =
        Gather { vectors: start, count, skip, filled: 0, wanted, seen: 0, length, direction, failed: 0 };
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        bpf_loop(MAX_VECTORS, gather_vector as *mut c_void, (&raw mut state).cast(), 0);
    }
    if state.failed != 0 { FAILED } else { state.filled & u64::from(u32::MAX) }
}

/// One vector of [`gather`]. Returns 1 to stop.
unsafe extern "C" fn gather_vector(index: u64, state: *mut Gather) -> c_long {
    const HEAD: u64 = HEAD_BUDGET as u64;
    const TAIL: u64 = EDGE_END as u64;
    // SAFETY: `state` is that of `gather`; user memory is read through the helper.
    unsafe {
        let state = &mut *state;
        if index >= state.count || state.seen >= state.length {
            return 1;
        }
        let Some(scratch) = SCRATCH.get_ptr_mut(state.direction & 1) else { return 1 };
        let scratch: *mut u8 = scratch.cast();
        let mut vector = [0u64; 2];
        let entry = state.vectors + index * 16;
        if bpf_probe_read_user((&raw mut vector).cast(), 16, entry as *const c_void) != 0 {
            state.failed = 1;
            return 1;
        }
        let [address, mut available] = vector;
        let left = state.length - state.seen;
        if available > left {
            available = left;
        }
        if state.skip >= available {
            state.skip -= available;
        } else if state.filled < state.wanted {
            let at = state.filled & (HEAD - 1);
            let mut part = available - state.skip;
            if part > state.wanted - state.filled {
                part = state.wanted - state.filled;
            }
            if part > HEAD {
                part = HEAD;
            }
            let from = (address + state.skip) as *const c_void;
            if bpf_probe_read_user(scratch.add(at as usize).cast(), part as u32, from) != 0 {
                state.failed = 1;
                return 1;
            }
            state.filled += part;
            state.skip = 0;
        }
        // The last bytes of the call may lie in several vectors.
        let end = state.seen + available;
        if state.length >= TAIL && end > state.length - TAIL {
            let first = state.length - TAIL;
            let begin = if state.seen > first { state.seen } else { first };
            let at = (begin - first) & (TAIL - 1);
            let mut part = end - begin;
            if part > TAIL {
                part = TAIL;
            }
            let from = (address + (begin - state.seen)) as *const c_void;
            if bpf_probe_read_user(scratch.add((TAIL_AT + at) as usize).cast(), part as u32, from) != 0 {
                state.failed = 1;
                return 1;
            }
        }
        state.seen = end;
    }
    0
}

/// Copies what [`gather`] put together into a record: `head` bytes, then `tail`.
///
/// # Safety
/// `data` has room for `head + tail` bytes, which the verifier can prove.
#[inline(always)]
pub(crate) unsafe fn copy_gathered(data: *mut u8, head: u64, tail: u64, direction: u8) -> bool {
    let Some(scratch) = SCRATCH.get_ptr_mut(u32::from(direction)) else { return false };
    let scratch: *const u8 = scratch.cast_const().cast();
    // SAFETY: see above; the scratch is larger than both.
    unsafe {
        bpf_probe_read_kernel(data.cast(), head as u32, scratch.cast()) == 0
            && bpf_probe_read_kernel(
                data.add(head as usize).cast(),
                tail as u32,
                scratch.add(TAIL_AT as usize).cast(),
            ) == 0
    }
}

/// Copies from the only buffer of a call of `length` bytes: `head` bytes from `skip` on, then the
/// last `tail`.
///
/// # Safety
/// As [`copy_gathered`].
#[inline(always)]
pub(crate) unsafe fn copy_buffer(
    data: *mut u8,
    address: u64,
    skip: u64,
    head: u64,
    tail: u64,
    length: u64,
) -> bool {
    // SAFETY: see above; the helper checks the addresses.
    unsafe {
        bpf_probe_read_user(data.cast(), head as u32, (address + skip) as *const c_void) == 0
            && (tail == 0
                || bpf_probe_read_user(
                    data.add(head as usize).cast(),
                    tail as u32,
                    (address + length - tail) as *const c_void,
                ) == 0)
    }
}

/// Bytes that one step of [`find_head_end`] looks at.
const SCAN_STEP: u64 = 64;

#[repr(C)]
struct Scan {
    length: u64,
    /// The last bytes seen, the newest lowest.
    last: u64,
    found: u64,
    direction: u32,
    zero: u32,
}

/// Looks for the empty line that ends a head in the first `length` bytes of the scratch. `last`
/// holds the bytes before them and then the last of them.
#[inline(always)]
pub(crate) fn find_head_end(length: u64, last: &mut u32, direction: u8) -> bool {
    let result = tracer_find_head_end(length, u64::from(*last), u64::from(direction & 1));
    *last = result as u32;
    result >> 32 != 0
}

/// [`find_head_end`] for the verifier, which checks it once. Returns the last bytes, with bit 32 set
/// if the empty line is there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_find_head_end(length: u64, last: u64, direction: u64) -> u64 {
    let mut scan = Scan { length, last, found: 0, direction: direction as u32 & 1, zero: 0 };
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        bpf_loop(HEAD_BUDGET / SCAN_STEP as u32, scan_step as *mut c_void, (&raw mut scan).cast(), 0);
    }
    scan.last & u64::from(u32::MAX) | (scan.found & 1) << 32
}

/// One step of [`find_head_end`], without a branch per byte: the verifier would follow each.
unsafe extern "C" fn scan_step(index: u64, scan: *mut Scan) -> c_long {
    // SAFETY: `scan` is that of `find_head_end`; reads stay inside the scratch.
    unsafe {
        let scan = &mut *scan;
        let base = (index * SCAN_STEP) & (u64::from(HEAD_BUDGET) - SCAN_STEP);
        if base >= scan.length || scan.found != 0 {
            return 1;
        }
        let Some(scratch) = SCRATCH.get_ptr_mut(scan.direction & 1) else { return 1 };
        let block: *const u8 = scratch.cast_const().cast::<u8>().add(base as usize);
        let mut last = scan.last;
        let mut found = 0u64;
        let mut at = 0u64;
        while at < SCAN_STEP {
            let byte = u64::from(core::ptr::read_volatile(block.add(at as usize)));
            last = (last << 8 | byte) & 0xffff_ffff;
            let two = last & 0xffff ^ 0x0a0a;
            let three = last & 0x00ff_ffff ^ 0x000a_0d0a;
            // A zero minus one has the highest bit set; nothing else here does.
            let ends = (two.wrapping_sub(1) | three.wrapping_sub(1)) >> 63;
            let inside = (base + at).wrapping_sub(scan.length) >> 63;
            found |= ends & inside;
            at += 1;
        }
        scan.last = last;
        scan.found |= found;
    }
    0
}
