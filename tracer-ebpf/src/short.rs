//! The short way of a call's bytes: all of them, from one buffer or two, straight into the ring. Most
//! messages of most services go it; whatever it does not take goes the long way
//! ([`crate::io::tracer_data`]), which misses nothing.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_probe_read_user, bpf_ringbuf_submit, bpf_task_pt_regs,
    },
};
use tracer_common::{ABSENT, DataHeader, NoBytes};

use crate::{
    arch::{Arguments, arguments, is_compat},
    buffer::{PF_IO_WORKER, PF_KTHREAD},
    connection::Connection,
    context::copy,
    layout::{load, offset},
    ring::{reserve_bytes, submit_flags},
};

/// Longest call that goes the short way, bytes.
pub(crate) const LONGEST: u32 = 1024;

/// Where the bytes of a call are: `first_length` of them at `first`, the rest at `second`.
pub(crate) struct Buffers {
    first: u64,
    first_length: u64,
    second: u64,
}

impl Buffers {
    /// Address of the first.
    #[inline(always)]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Bytes in the first.
    #[inline(always)]
    pub(crate) fn first_length(&self) -> u64 {
        self.first_length
    }
}

/// The buffers of the running system call, `length` bytes. None if they are to be looked for the long
/// way: more than two, none, or somebody else's.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
pub(crate) unsafe fn buffers(sk: *const c_void, length: u64) -> Option<Buffers> {
    // SAFETY: typed pointers; user memory is read through helpers.
    unsafe {
        let kernel_socket: u8 = load(sk, offset!(sock_kern_sock));
        if u64::from(kernel_socket) & offset!(sock_kern_sock_mask) != 0 {
            return None;
        }
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        if load::<u32>(task, offset!(task_flags)) & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return None;
        }
        if offset!(task_io_uring) != u64::from(ABSENT) && load::<u64>(task, offset!(task_io_uring)) != 0 {
            return None;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) {
            return None;
        }
        let [address, count] = match arguments(registers) {
            Arguments::Buffer(first) => return Some(Buffers { first, first_length: length, second: 0 }),
            Arguments::None => return None,
            Arguments::Vectors(address, count) => [address, count],
            // `msg_iov` and `msg_iovlen` of struct user_msghdr.
            Arguments::Message(address) => {
                let mut vectors = [0u64; 2];
                if bpf_probe_read_user((&raw mut vectors).cast(), 16, (address + 16) as *const c_void) != 0 {
                    return None;
                }
                vectors
            }
        };
        if count == 0 || count > 2 {
            return None;
        }
        // The helper writes what it is asked for, even when it fails; filling all of it would be a loop.
        let mut vectors = MaybeUninit::<[u64; 4]>::uninit();
        let to: *mut u64 = vectors.as_mut_ptr().cast();
        let bytes = if count == 1 { 16 } else { 32 };
        core::ptr::write_volatile(to.add(2), 0);
        core::ptr::write_volatile(to.add(3), 0);
        if bpf_probe_read_user(to.cast(), bytes, address as *const c_void) != 0 {
            return None;
        }
        let [first, first_length, second, second_length] = vectors.assume_init();
        if first_length >= length {
            return Some(Buffers { first, first_length: length, second: 0 });
        }
        // The application may have changed the array since: what does not add up is not followed.
        if length - first_length > second_length {
            return None;
        }
        Some(Buffers { first, first_length, second })
    }
}

/// Sends the record of a call whose every byte is copied. Returns whether there was space in the ring,
/// and notes in `connection` whether the bytes end a head.
///
/// # Safety
/// `header` tells of the running call, whose buffers these are; its length is at most [`LONGEST`].
#[inline(always)]
pub(crate) unsafe fn output(connection: &mut Connection, header: &DataHeader, buffers: &Buffers) -> bool {
    // SAFETY: as the caller's. Each branch bounds both lengths by the capacity of its record. Every record is
    // at least a header long, and is submitted once.
    unsafe {
        let length = u64::from(header.length);
        let first = buffers.first_length;
        let filled = if first == length {
            if length <= 128 {
                fill::<128, 128, 0>(length, buffers)
            } else {
                fill::<1024, 1024, 0>(length, buffers)
            }
        } else if first <= 256 && length - first <= 256 {
            fill::<512, 256, 256>(length, buffers)
        } else {
            fill::<2048, 1024, 1024>(length, buffers)
        };
        // The header is written once for all sizes.
        let Filled { record, content } = filled;
        let Some(to) = record.as_mut() else { return false };
        copy(header, to);
        if content == Content::Unreadable {
            to.head_length = 0;
            to.reason = NoBytes::Fault as u8;
        } else if content == Content::EndsHead {
            connection.head = Connection::HEAD_COMPLETE;
        }
        // Asking how full the ring is costs a helper call, so small records ask now and then.
        bpf_ringbuf_submit(record.cast(), submit_flags(header.time_ns >> 6 & 15 == 0));
    }
    true
}

/// A record with its bytes, but without its header.
struct Filled {
    /// Null if there was no space.
    record: *mut DataHeader,
    content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The process's memory could not be read.
    Unreadable,
    Bytes,
    /// The last bytes are an empty line.
    EndsHead,
}

/// Reserves a record with capacity for `FIRST` bytes and `SECOND` behind them, and copies the bytes.
#[inline(always)]
unsafe fn fill<const CAPACITY: u64, const FIRST: u64, const SECOND: u64>(
    length: u64,
    buffers: &Buffers,
) -> Filled {
    let first = buffers.first_length;
    // SAFETY: the record is live until it is submitted; the helper checks the addresses; lengths are
    // checked right before each use, for the verifier too.
    unsafe {
        let record: *mut DataHeader = reserve_bytes(size_of::<DataHeader>() as u64 + CAPACITY).cast();
        if record.is_null() {
            return Filled { record, content: Content::Unreadable };
        }
        let data: *mut u8 = record.add(1).cast();
        let mut failed = !read(data, first, FIRST, buffers.first);
        if SECOND != 0 && !failed {
            let at = core::hint::black_box(first);
            failed = at > FIRST || !read(data.add(at as usize), length - first, SECOND, buffers.second);
        }
        if failed {
            return Filled { record, content: Content::Unreadable };
        }
        // The compiler would check one register and use another.
        let last = core::hint::black_box(length.wrapping_sub(4));
        let ends_head = last <= FIRST + SECOND - 4
            && core::ptr::read_unaligned(data.add(last as usize).cast::<u32>())
                == u32::from_le_bytes(*b"\r\n\r\n");
        Filled { record, content: if ends_head { Content::EndsHead } else { Content::Bytes } }
    }
}

/// Reads the process's memory. Returns false if that fails, or if it is more than `most` bytes.
#[inline(always)]
unsafe fn read(to: *mut u8, length: u64, most: u64, from: u64) -> bool {
    // The compiler would check one register and pass another.
    let length = core::hint::black_box(length);
    // SAFETY: the caller has room for `most` bytes; the helper checks the address.
    length <= most && unsafe { bpf_probe_read_user(to.cast(), length as u32, from as *const c_void) == 0 }
}
