//! The beginning and the end of a connection.

use core::mem::size_of;

/// [`OpenRecord::flags`]: this end called `connect`.
pub const OPEN_CLIENT: u8 = 1;
/// [`OpenRecord::flags`]: this end accepted the connection.
pub const OPEN_SERVER: u8 = 2;
/// [`OpenRecord::flags`]: no byte had moved before; both positions are those of the first byte.
pub const OPEN_BIRTH: u8 = 4;
/// [`OpenRecord::flags`]: the kernel has closed the connection, and the process reads what had come. No close record
/// follows.
pub const OPEN_CLOSED: u8 = 8;

/// [`OpenRecord::transport`]: TCP. Addresses are IP addresses, positions TCP sequence numbers.
pub const TRANSPORT_TCP: u8 = 0;
/// [`OpenRecord::transport`]: a Unix stream socket. `local_address` and `remote_address` begin with the numbers of
/// the two sockets (`u64`), the socket's name follows the record, and positions count from the first byte.
pub const TRANSPORT_UNIX_STREAM: u8 = 1;
/// [`OpenRecord::transport`]: a Unix socket that preserves message boundaries; see [`TRANSPORT_UNIX_STREAM`].
pub const TRANSPORT_UNIX_MESSAGES: u8 = 2;
/// [`OpenRecord::transport`]: UDP. Positions count the bytes of all datagrams.
pub const TRANSPORT_UDP: u8 = 3;

/// [`OpenRecord::identity`]: `send_first` and `receive_first` identify the connection; the other end has them swapped.
pub const IDENTITY_SEQUENCE: u8 = 0;
/// [`OpenRecord::identity`]: the numbers of the two sockets identify the connection at both ends.
pub const IDENTITY_SOCKETS: u8 = 1;
/// [`OpenRecord::identity`]: the other end cannot be identified.
pub const IDENTITY_NONE: u8 = 2;

/// A connection, reported before its first data record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct OpenRecord {
    /// [`Kind::Open`](crate::Kind::Open).
    pub kind: u8,
    /// `OPEN_*`.
    pub flags: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Process whose system call caused the record.
    pub pid: u32,
    /// Number of the connection.
    pub connection: u64,
    /// Time of `connect`, or of the first system call that was seen.
    pub time_ns: u64,
    /// Sequence number of the first byte that this end sent on the connection.
    pub send_first: u32,
    /// Sequence number of the first byte that this end received on the connection.
    pub receive_first: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Port of this end.
    pub local_port: u16,
    /// Port of the other end.
    pub remote_port: u16,
    /// Address of this end; an IPv4 address is in the first four bytes.
    pub local_address: [u8; 16],
    /// Address of the other end.
    pub remote_address: [u8; 16],
    /// `TRANSPORT_*`.
    pub transport: u8,
    /// `IDENTITY_*`.
    pub identity: u8,
    /// Bytes of the socket's name that follow the record; 0 for IP.
    pub name_bytes: u16,
    /// Always 0.
    pub zero: u32,
}

/// [`CloseRecord::state`]: this end has sent its last byte.
pub const CLOSE_SEND: u8 = 1;
/// [`CloseRecord::state`]: the connection is closed in both directions.
pub const CLOSE_ALL: u8 = 2;

/// Bit in [`CloseRecord::state`]: received bytes wait in the socket, and the process may still read them.
pub const CLOSE_UNREAD: u8 = 4;

/// A flag of a [`CloseRecord`]'s state: the process had let go of the socket before this, and before
/// its peer ended the stream.
pub const CLOSE_EARLY: u8 = 8;

/// A flag of a [`CloseRecord`]'s state: no record told the end, and the socket is gone. The agent makes such a record;
/// its positions are not known.
pub const CLOSE_UNSEEN: u8 = 16;

/// Whether a [`CloseRecord`]'s state is [`CLOSE_SEND`], whatever its flags.
pub const fn is_close_of_send(state: u8) -> bool {
    state & (CLOSE_SEND | CLOSE_ALL) == CLOSE_SEND
}

/// A connection, or the send direction of this end, was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct CloseRecord {
    /// [`Kind::Close`](crate::Kind::Close).
    pub kind: u8,
    /// [`CLOSE_SEND`] or [`CLOSE_ALL`], optionally with [`CLOSE_UNREAD`], [`CLOSE_EARLY`] and
    /// [`CLOSE_UNSEEN`].
    pub state: u8,
    /// The socket's error, 0 for an orderly end.
    pub error: u16,
    /// As [`DataHeader::lost`](crate::DataHeader::lost).
    pub lost: u32,
    /// Number of the connection.
    pub connection: u64,
    /// Time, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Sequence number behind the last byte written.
    pub send_end: u32,
    /// Sequence number behind the last byte read; a FIN that was read is no byte.
    pub receive_end: u32,
}

/// The end of a connection that was not established. It never had an [`OpenRecord`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct UnconnectedRecord {
    /// [`Kind::Unconnected`](crate::Kind::Unconnected).
    pub kind: u8,
    /// Padding, always 0.
    pub zero: u8,
    /// The socket's error; 0 if the process closed the socket first.
    pub error: u16,
    /// Process that called `connect`.
    pub pid: u32,
    /// Time, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

const _: () = {
    assert!(size_of::<OpenRecord>() == 80);
    assert!(size_of::<CloseRecord>() == 32);
};
