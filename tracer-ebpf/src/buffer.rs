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
use tracer_common::{ABSENT, DataHeader, EDGE_END, HEAD_BUDGET, MAX_VECTORS, NoBytes, WORK_SLOTS};

use crate::{
    arch::{Arguments, arguments, first_argument, is_compat},
    layout::{load, offset},
};

/// What a data program works on, one for each hook: too much for the stack, and a program that is
/// preempted by that of another hook keeps its own.
#[map]
pub(crate) static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(WORK_SLOTS, 0);

/// Bytes behind the budget: a bounded offset plus a bounded length stay inside.
const ROOM: usize = HEAD_BUDGET as usize + 64;
/// Entries of an array of `struct iovec` that are read at once.
const PREFETCHED: u64 = 4;

/// A call in the making of its record.
#[repr(C)]
pub(crate) struct Work {
    /// The record: this, and the copied bytes.
    pub(crate) header: DataHeader,
    data: [u8; HEAD_BUDGET as usize + ROOM],
    /// The call's socket, as a number.
    pub(crate) sk: u64,
    /// Not 0 for a socket of the kernel's own.
    pub(crate) kernel_socket: u64,
    /// Not 0 if the call threw away what it took.
    pub(crate) discarded: u64,
    /// The verdict on the connection.
    pub(crate) verdict: u64,
    /// The call's only buffer, or its array of `struct iovec`.
    address: u64,
    /// Number of vectors; 0 if there is one buffer.
    vectors: u64,
    /// The first of them.
    prefetched: [[u64; 2]; PREFETCHED as usize],
    /// The state of [`tracer_gather`].
    gather: Gather,
    /// The state of a head that outgrew the budget.
    pub(crate) open: OpenHead,
    /// Out: not 0 if the bytes that were gathered last end with an empty line.
    pub(crate) ends_head: u64,
    /// The position of the verdict.
    pub(crate) until: u32,
    zero: u32,
}

/// What a call whose head outgrew the budget is cut into.
#[repr(C)]
pub(crate) struct OpenHead {
    /// Where in the call the next piece begins.
    pub(crate) next: u64,
    /// Bytes of the call.
    pub(crate) length: u64,
    /// Where in the next piece its copied bytes begin.
    pub(crate) skip: u64,
    pub(crate) first_position: u32,
    /// The last bytes seen, the newest lowest.
    pub(crate) last_bytes: u32,
    /// Bytes that the head may still take.
    pub(crate) budget: u32,
    /// Records that found no room.
    pub(crate) lost: u32,
    /// `Connection::HEAD_*`.
    pub(crate) head: u32,
    /// Flags of the first piece.
    pub(crate) flags: u32,
}

/// `include/linux/sched.h`: a kernel thread; a worker of io_uring, whose registers are its parent's.
pub(crate) const PF_IO_WORKER: u32 = 0x10;
pub(crate) const PF_KTHREAD: u32 = 0x0020_0000;

/// Finds the buffers of the running system call, if it is about this very socket. Returns a
/// [`NoBytes`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_locate(slot: u64) -> u64 {
    // SAFETY: typed pointers; user memory is read through helpers.
    let reason = unsafe {
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return NoBytes::Fault as u64 };
        locate(&mut *work)
    };
    reason as u64
}

#[inline(always)]
unsafe fn locate(work: &mut Work) -> NoBytes {
    // SAFETY: typed pointers; user memory is read through helpers.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let flags: u32 = load(task, offset!(task_flags));
        if flags & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return NoBytes::IoUring;
        }
        if work.kernel_socket != 0 {
            return NoBytes::KernelSocket;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) {
            return NoBytes::Compat;
        }
        // Completions of io_uring run inside any other system call of the task.
        if offset!(task_io_uring) != u64::from(ABSENT) {
            let ring: u64 = load(task, offset!(task_io_uring));
            if ring != 0 && !leads_to(task, first_argument(registers), work.sk) {
                return NoBytes::IoUring;
            }
        }
        work.vectors = 0;
        let vectors = match arguments(registers) {
            Arguments::Buffer(address) => {
                work.address = address;
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
        let [address, count] = vectors;
        let first = if count < PREFETCHED { count } else { PREFETCHED };
        let to = (&raw mut work.prefetched).cast();
        // The compiler would shift before it compares, and the verifier loses the bound.
        let bytes = core::hint::black_box(first * 16) as u32 & 0x7f;
        if bpf_probe_read_user(to, bytes, address as *const c_void) != 0 {
            return NoBytes::Fault;
        }
        if count == 1 {
            work.address = work.prefetched[0][0];
            return NoBytes::None;
        }
        work.address = address;
        work.vectors = count;
    }
    NoBytes::None
}

/// Why a call that sends pages has no buffer of the process's.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
pub(crate) unsafe fn without_buffer(sk: *const c_void) -> NoBytes {
    // SAFETY: typed pointers.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        if load::<u32>(task, offset!(task_flags)) & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return NoBytes::IoUring;
        }
        let kernel_socket: u8 = load(sk, offset!(sock_kern_sock));
        if u64::from(kernel_socket) & offset!(sock_kern_sock_mask) != 0 {
            return NoBytes::KernelSocket;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) { NoBytes::Compat } else { NoBytes::NoBuffer }
    }
}

/// Whether file descriptor `fd` of the task is the socket: the walk that `fget` and `sock_from_file`
/// make, without their references, so every step is a checked read.
#[inline(always)]
unsafe fn leads_to(task: *const c_void, fd: u64, sk: u64) -> bool {
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
        found == sk
    }
}

#[inline(always)]
unsafe fn read_pointer(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the address and leaves 0 on a fault.
    unsafe { bpf_probe_read_kernel((&raw mut value).cast(), 8, address as *const c_void) };
    value
}

/// What [`tracer_gather`] and its callback share.
#[repr(C)]
struct Gather {
    /// Bytes of the call to pass over, then 0.
    skip: u64,
    /// Bytes put together so far, of `wanted`.
    filled: u64,
    wanted: u64,
    /// Bytes of the call in the vectors behind us, of `length`.
    seen: u64,
    length: u64,
    /// Bytes that are wanted of the call's end.
    tail: u64,
    failed: u64,
}

/// Set in the result of [`tracer_gather`] if the process's memory could not be read.
pub(crate) const GATHER_FAILED: u64 = 1 << 32;

/// Set in the result of [`tracer_gather`] if it has not reached the call's end.
pub(crate) const GATHER_WITHOUT_TAIL: u64 = 1 << 33;

/// Puts `wanted` bytes of the call from `skip` on, and its last `tail` bytes behind them, into the
/// record. Returns how many came together, without the tail.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_gather(slot: u64, skip: u64, wanted: u64, tail: u64) -> u64 {
    if wanted > u64::from(HEAD_BUDGET) || tail > u64::from(EDGE_END) {
        return GATHER_FAILED;
    }
    // SAFETY: the lengths are checked; the helpers check the addresses; the callback has the type that
    // the helper expects.
    unsafe {
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return GATHER_FAILED };
        let work = &mut *work;
        let data: *mut u8 = (&raw mut work.data).cast();
        let length = u64::from(work.header.length);
        if work.vectors == 0 {
            if bpf_probe_read_user(data.cast(), wanted as u32, (work.address + skip) as *const c_void) != 0 {
                return GATHER_FAILED;
            }
            let end = (work.address + length - tail) as *const c_void;
            let behind: *mut u8 = data.add(wanted as usize);
            if tail != 0 && bpf_probe_read_user(behind.cast(), tail as u32, end) != 0 {
                return GATHER_FAILED;
            }
            work.ends_head = ends_head(data, wanted);
            return wanted;
        }
        work.gather = Gather { skip, filled: 0, wanted, seen: 0, length, tail, failed: 0 };
        let count = if work.vectors < u64::from(MAX_VECTORS) { work.vectors as u32 } else { MAX_VECTORS };
        let mut slot = slot;
        bpf_loop(count, gather_vector as *mut c_void, (&raw mut slot).cast(), 0);
        let filled = work.gather.filled;
        if work.gather.failed != 0 || filled > u64::from(HEAD_BUDGET) {
            return GATHER_FAILED;
        }
        work.ends_head = ends_head(data, filled);
        // The end lies in vectors behind the last that is followed.
        if tail != 0 && work.gather.seen < length { filled | GATHER_WITHOUT_TAIL } else { filled }
    }
}

/// Whether `length` bytes end with an empty line.
#[inline(always)]
unsafe fn ends_head(data: *const u8, length: u64) -> u64 {
    if length < 4 || length > u64::from(HEAD_BUDGET) {
        return 0;
    }
    // SAFETY: inside the record's data, by the check.
    let last = unsafe { core::ptr::read_unaligned(data.add(length as usize - 4).cast::<u32>()) };
    u64::from(last == u32::from_le_bytes(*b"\r\n\r\n"))
}

/// One vector of [`tracer_gather`]. Returns 1 to stop.
unsafe extern "C" fn gather_vector(index: u64, slot: *mut u64) -> c_long {
    const HEAD: u64 = HEAD_BUDGET as u64;
    const TAIL: u64 = EDGE_END as u64;
    // SAFETY: `slot` is that of `tracer_gather`; user memory is read through the helper.
    unsafe {
        let Some(work) = WORK.get_ptr_mut(*slot as u32) else { return 1 };
        let work = &mut *work;
        let data: *mut u8 = (&raw mut work.data).cast();
        let seen = work.gather.seen;
        let length = work.gather.length;
        let wanted = work.gather.wanted;
        if seen >= length {
            return 1;
        }
        let [address, mut available] = if index < PREFETCHED {
            work.prefetched[(index & (PREFETCHED - 1)) as usize]
        } else {
            let mut vector = [0u64; 2];
            let entry = work.address + index * 16;
            if bpf_probe_read_user((&raw mut vector).cast(), 16, entry as *const c_void) != 0 {
                work.gather.failed = 1;
                return 1;
            }
            vector
        };
        if available > length - seen {
            available = length - seen;
        }
        let skip = work.gather.skip;
        let filled = work.gather.filled;
        if skip >= available {
            work.gather.skip = skip - available;
        } else if filled < wanted {
            let mut part = available - skip;
            if part > wanted - filled {
                part = wanted - filled;
            }
            if part > HEAD {
                part = HEAD;
            }
            let to = data.add((filled & (HEAD - 1)) as usize);
            if bpf_probe_read_user(to.cast(), part as u32, (address + skip) as *const c_void) != 0 {
                work.gather.failed = 1;
                return 1;
            }
            work.gather.filled = filled + part;
            work.gather.skip = 0;
        }
        // The last bytes of the call may lie in several vectors.
        let end = seen + available;
        work.gather.seen = end;
        let tail = work.gather.tail;
        if tail != 0 && end > length - tail {
            let first = length - tail;
            let begin = if seen > first { seen } else { first };
            let mut part = end - begin;
            if part > TAIL {
                part = TAIL;
            }
            let at = (wanted & (2 * HEAD - 1)) + ((begin - first) & (TAIL - 1));
            if at > HEAD + TAIL {
                return 1;
            }
            let from = (address + (begin - seen)) as *const c_void;
            if bpf_probe_read_user(data.add(at as usize).cast(), part as u32, from) != 0 {
                work.gather.failed = 1;
                return 1;
            }
        } else if tail == 0 && work.gather.filled >= wanted {
            return 1;
        }
    }
    0
}

/// Bytes that one step of [`tracer_find_head_end`] looks at.
const SCAN_STEP: u64 = 64;

#[repr(C)]
struct Scan {
    length: u64,
    /// The last bytes seen, the newest lowest.
    last: u64,
    found: u64,
    slot: u64,
}

/// Looks for the empty line that ends a head in the first `length` bytes that were gathered. `last`
/// holds the bytes before them. Returns the last of them, with bit 32 set if the empty line is there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_find_head_end(slot: u64, length: u64, last: u64) -> u64 {
    let mut scan = Scan { length, last, found: 0, slot };
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        bpf_loop(HEAD_BUDGET / SCAN_STEP as u32, scan_step as *mut c_void, (&raw mut scan).cast(), 0);
    }
    scan.last & u64::from(u32::MAX) | (scan.found & 1) << 32
}

/// One step of [`tracer_find_head_end`], without a branch per byte: the verifier would follow each.
unsafe extern "C" fn scan_step(index: u64, scan: *mut Scan) -> c_long {
    // SAFETY: `scan` is that of `tracer_find_head_end`; reads stay inside the data.
    unsafe {
        let scan = &mut *scan;
        let base = (index * SCAN_STEP) & (u64::from(HEAD_BUDGET) - SCAN_STEP);
        if base >= scan.length || scan.found != 0 {
            return 1;
        }
        let Some(work) = WORK.get_ptr_mut(scan.slot as u32) else { return 1 };
        let block: *const u8 = (&raw const (*work).data).cast::<u8>().add(base as usize);
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
