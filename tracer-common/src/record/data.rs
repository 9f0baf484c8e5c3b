//! Bytes of a connection, or the reason why there are none.

use core::mem::size_of;

/// The reason why no bytes of a system call were copied ([`DataHeader::reason`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoBytes {
    /// Bytes were copied, or the capture policy left them out.
    None = 0,
    /// io_uring moved the bytes: they are not in the buffers of the system call.
    IoUring = 1,
    /// The system call has no buffer of its own: sendfile, splice, sendmmsg, recvmmsg.
    NoBuffer = 2,
    /// The process's memory could not be read.
    Fault = 3,
    /// The socket belongs to the kernel.
    KernelSocket = 4,
    /// The call discarded the bytes that it read (`MSG_TRUNC`).
    Discarded = 5,
    /// The process runs in 32-bit mode.
    Compat = 6,
}

impl NoBytes {
    /// The reason with this number.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::IoUring,
            2 => Self::NoBuffer,
            3 => Self::Fault,
            4 => Self::KernelSocket,
            5 => Self::Discarded,
            6 => Self::Compat,
            _ => return None,
        })
    }
}

/// One send or receive on a connection. The copied bytes follow: the prefix of `prefix_length` bytes, which begins
/// `prefix_offset` bytes behind the first, then the last `tail_length` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct DataHeader {
    /// [`Kind::Data`](crate::Kind::Data).
    pub kind: u8,
    /// [`RECEIVE`](crate::RECEIVE) or [`SEND`](crate::SEND).
    pub direction: u8,
    /// `FLAG_*`.
    pub flags: u16,
    /// Length of the prefix, the copied bytes from `prefix_offset` on.
    pub prefix_length: u16,
    /// Copied bytes from the end of the call.
    pub tail_length: u8,
    /// A [`NoBytes`].
    pub reason: u8,
    /// Number of the connection.
    pub connection: u64,
    /// Time at which the last byte moved, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Time before the first byte could move, `CLOCK_MONOTONIC`; for a receive, and without
    /// [`FLAG_PRE_SEND`](crate::FLAG_PRE_SEND), equal to `time_ns`.
    pub start_ns: u64,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Thread, in the initial namespace.
    pub tid: u32,
    /// TCP sequence number of the first byte.
    pub position: u32,
    /// Bytes that the call moved; if it is split into several records, those of this record.
    pub length: u32,
    /// Offset of the prefix in those bytes.
    pub prefix_offset: u32,
    /// Records of this connection that were lost, because the ring was full, since the last one that was not.
    pub lost: u32,
    /// The runtime's task that made the call (a goroutine, a coroutine); 0 if it is not known.
    pub task: u64,
}

const _: () = {
    assert!(size_of::<DataHeader>() == 64);
};
