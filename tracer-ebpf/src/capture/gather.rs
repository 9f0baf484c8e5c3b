//! The gathered way: the record of a system call is put together in per-CPU memory, from any number of the process's
//! buffers, and output at its exact length.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_loop, bpf_probe_read_user, bpf_task_pt_regs},
    macros::map,
    maps::PerCpuArray,
};
use tracer_common::{
    ABSENT, DataHeader, EDGE_END, HEAD_BUDGET, KernelCounter, MAX_VECTORS, NoBytes, WORK_SLOTS,
};

use crate::{
    memory::{
        arch::{Arguments, arguments, first_argument, is_compat},
        atomic,
        layout::{load, offset},
        user::{PF_IO_WORKER, PF_KTHREAD, leads_to},
    },
    ring::{count, output_bytes},
};

/// Working memory of the data programs, too large for the stack.
#[map]
pub(crate) static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(WORK_SLOTS, 0);

/// Takes an entry of [`WORK`], which the caller gives back: [`Work::taken`]. A program is never interrupted by itself, so
/// the one that a single hook leads to has an entry of its own. If two hooks do (`is_shared`), it is interrupted once at
/// most.
#[inline(always)]
pub(crate) fn take_work(direction: u8, is_shared: bool) -> Option<u32> {
    let first = u32::from(direction);
    if !is_shared {
        return Some(first);
    }
    // SAFETY: live map values of this CPU that everyone changes atomically.
    unsafe {
        if atomic::swap(&raw mut (*WORK.get_ptr_mut(first)?).taken, 1) == 0 {
            return Some(first);
        }
        let second = first + 2;
        (atomic::swap(&raw mut (*WORK.get_ptr_mut(second)?).taken, 1) == 0).then_some(second)
    }
}

/// Spare bytes behind the budget, so that a bounded offset plus a bounded length stay inside `data`.
const SPACE: usize = HEAD_BUDGET as usize + 64;

/// Number of `struct iovec` entries that are read at once.
const PREFETCHED: u64 = 4;

/// A system call whose record is being made.
#[repr(C)]
pub(crate) struct Work {
    /// Start of the record. The copied bytes follow in `data`.
    pub(crate) header: DataHeader,
    pub(crate) data: [u8; HEAD_BUDGET as usize + SPACE],
    /// The call's socket, as a number.
    pub(crate) sk: u64,
    /// Not 0 if the socket belongs to the kernel.
    pub(crate) kernel_socket: u64,
    /// Not 0 if the call discarded the bytes that it read.
    pub(crate) discarded: u64,
    /// Kind of the capture policy (`POLICY_*`).
    pub(crate) policy: u64,
    /// Address of the call's only buffer, or of its `struct iovec` array.
    pub(crate) address: u64,
    /// Number of vectors; 0 if there is only one buffer.
    pub(crate) vectors: u64,
    /// The first vectors.
    pub(crate) prefetched: [[u64; 2]; PREFETCHED as usize],
    /// The state of [`tracer_gather`].
    pub(crate) gather: Gather,
    /// The state of `tracer_open_head`.
    pub(crate) open: OpenHead,
    /// Output of [`tracer_gather`]: not 0 if the gathered bytes end with an empty line.
    pub(crate) ends_head: u64,
    /// Position of the capture policy.
    pub(crate) until: u32,
    pub(crate) zero: u32,
    /// Not 0 while a program has the entry.
    pub(crate) taken: u64,
}

/// State of a call whose head exceeds the budget: the call is split into several records, its parts.
#[repr(C)]
pub(crate) struct OpenHead {
    /// Offset in the call at which the next part begins.
    pub(crate) next: u64,
    /// Bytes of the call.
    pub(crate) length: u64,
    /// Offset in the next part at which its copied bytes begin.
    pub(crate) skip: u64,
    pub(crate) first_position: u32,
    /// The last four bytes seen; the newest is the lowest byte.
    pub(crate) last_bytes: u32,
    /// Bytes of the head that may still be copied.
    pub(crate) budget: u32,
    /// Lost records.
    pub(crate) lost: u32,
    /// `Connection::HEAD_*`.
    pub(crate) head: u32,
    /// Flags of the first part.
    pub(crate) flags: u32,
}

/// Finds the buffers of the running system call, if the call uses this socket. Returns a [`NoBytes`] as a number.
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
        // Completions of io_uring run inside other system calls of the task.
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
        // Without the black box, the compiler shifts before it compares, and the verifier loses the bound.
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

/// State that [`tracer_gather`] and its callback share.
#[repr(C)]
pub(crate) struct Gather {
    /// Bytes of the call that are still to be skipped.
    pub(crate) skip: u64,
    /// Bytes copied so far, of `wanted`.
    pub(crate) filled: u64,
    pub(crate) wanted: u64,
    /// Bytes of the call in the vectors that were processed, of `length`.
    pub(crate) seen: u64,
    pub(crate) length: u64,
    /// Bytes wanted from the end of the call.
    pub(crate) tail: u64,
    pub(crate) failed: u64,
}

/// Bit in the result of [`tracer_gather`]: the memory of the process could not be read.
pub(crate) const GATHER_FAILED: u64 = 1 << 32;

/// Bit in the result of [`tracer_gather`]: the end of the call was not reached.
pub(crate) const GATHER_WITHOUT_TAIL: u64 = 1 << 33;

/// Copies `wanted` bytes of the call from `skip` on into the record, and the last `tail` bytes of the call behind them.
/// Returns the number of copied bytes without the tail.
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
        // The end of the call is in vectors beyond `MAX_VECTORS`.
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

/// Processes one vector for [`tracer_gather`]. Returns 1 to stop the loop.
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
        // The last bytes of the call can be in several vectors.
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

/// Outputs the bytes of [`tracer_gather`] as a record. `gathered` is its result.
#[inline(always)]
pub(crate) fn output_gathered(work: &mut Work, gathered: u64, tail: u64) -> bool {
    if gathered & GATHER_FAILED != 0 {
        return output(work, 0, 0, NoBytes::Fault as u8);
    }
    let head = gathered & u64::from(u32::MAX);
    let tail = if gathered & GATHER_WITHOUT_TAIL != 0 { 0 } else { tail };
    output(work, head, tail, NoBytes::None as u8)
}

/// Outputs the record in a [`Work`]: its header, then `head` bytes of prefix and `tail` bytes. Returns whether the ring
/// had space.
#[inline(always)]
pub(crate) fn output(work: &mut Work, mut head: u64, mut tail: u64, reason: u8) -> bool {
    if head > u64::from(HEAD_BUDGET) {
        head = 0;
    }
    if tail > u64::from(EDGE_END) {
        tail = 0;
    }
    work.header.prefix_length = head as u16;
    work.header.tail_length = tail as u8;
    work.header.reason = reason;
    let size = size_of::<DataHeader>() as u64 + head + tail;
    // The query of the ring's fill level costs a helper call, so only some small records make it.
    let ask = head > 256 || work.header.time_ns >> 6 & 15 == 0;
    if output_bytes((&raw const work.header).cast(), size, ask) {
        return true;
    }
    count(KernelCounter::LostData, 1);
    count(KernelCounter::LostBytes, u64::from(work.header.length));
    false
}
