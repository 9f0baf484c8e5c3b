//! The direct way: all bytes of a system call are copied from one or two buffers into a record that is reserved in the
//! ring. Most messages of most services take this way. Every other call goes through [`super::gather`].

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_ringbuf_submit};
use tracer_common::{DataHeader, NoBytes};

use crate::{
    connection::Connection,
    memory::{user::Buffers, words::copy},
    ring::{reserve_bytes, submit_flags},
};

/// Longest system call that takes the direct way, bytes.
pub(crate) const LONGEST_DIRECT: u32 = 1024;

/// Outputs the record of a call with all of its bytes. Returns whether the ring had space. Sets
/// [`Connection::HEAD_COMPLETE`] if the bytes end a head.
///
/// # Safety
/// `header` describes the running call, and `buffers` are its buffers; its length is at most [`LONGEST_DIRECT`].
#[inline(always)]
pub(crate) unsafe fn output_direct(
    connection: &mut Connection,
    header: &DataHeader,
    buffers: &Buffers,
) -> bool {
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
        // The header is written here once, for all record sizes: fewer instructions.
        let Filled { record, content } = filled;
        let Some(to) = record.as_mut() else { return false };
        copy(header, to);
        if content == Content::Unreadable {
            to.prefix_length = 0;
            to.reason = NoBytes::Fault as u8;
        } else if content == Content::EndsHead {
            connection.head = Connection::HEAD_COMPLETE;
        }
        // The query of the ring's fill level costs a helper call, so only some small records make it.
        bpf_ringbuf_submit(record.cast(), submit_flags(header.time_ns >> 6 & 15 == 0));
    }
    true
}

/// A reserved record with its bytes, but without its header.
pub(crate) struct Filled {
    /// Null if the ring had no space.
    pub(crate) record: *mut DataHeader,
    pub(crate) content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The memory of the process could not be read.
    Unreadable,
    /// Bytes that do not end a head.
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
    // SAFETY: the record is live until it is submitted; the helper checks the addresses; lengths are checked right
    // before each use, for the verifier too.
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

/// Reads `length` bytes of the process's memory. Returns false if that fails, or if `length` exceeds `most`.
#[inline(always)]
unsafe fn read(to: *mut u8, length: u64, most: u64, from: u64) -> bool {
    // The compiler would check one register and pass another.
    let length = core::hint::black_box(length);
    // SAFETY: the caller has capacity for `most` bytes; the helper checks the address.
    length <= most && unsafe { bpf_probe_read_user(to.cast(), length as u32, from as *const c_void) == 0 }
}
