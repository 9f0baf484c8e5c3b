//! What the kernel programs and the agent share: the records in the ring, the verdicts that go
//! back, the names of counters and the limits of both.
//!
//! Records are `#[repr(C)]`, begin with one byte that tells their [`Kind`], and have no padding:
//! every byte of kernel memory that reaches the ring was written on purpose. The derives of zerocopy prove it
//! where the agent is compiled (feature `zerocopy`); the layout is the same in the kernel programs.
//!
//! A record grows at its end only. Recordings tell the size of each kind ([`Kind::fixed_bytes`]), so a newer agent
//! reads older ones.

#![no_std]

use core::mem::size_of;

/// Bytes of a message that are copied after a change of direction, before the verdict is known.
pub const HEAD_BUDGET: u32 = 4096;
/// Bytes of a head that is still open after [`HEAD_BUDGET`]: the longest head that is read.
pub const OPEN_HEAD_BUDGET: u32 = 64 * 1024;
/// Bytes copied of each call after the budget, until a verdict says where the body ends.
pub const EDGE_WITHOUT_VERDICT: u32 = 256;
/// Bytes copied from the start of every call.
pub const EDGE_START: u32 = 16;
/// Bytes copied from the end of every call.
pub const EDGE_END: u32 = 8;
/// I/O vectors of one call that are followed; bytes in later ones count as unseen.
pub const MAX_VECTORS: u32 = 64;
/// Slots of the verdict array, and of others that are found by a connection's number; a power of two.
pub const VERDICT_SLOTS: u32 = 1 << 16;
/// Words of the verdict array: one for each direction of each slot.
pub const VERDICT_WORDS: u32 = 2 * VERDICT_SLOTS;
/// Process ids that the selection bitmap covers: the kernel's own limit (`PID_MAX_LIMIT`).
pub const MAX_PIDS: u32 = 4 * 1024 * 1024;
/// Words of the selection bitmap.
pub const SELECTION_WORDS: u32 = MAX_PIDS / 64;
/// Words of the bitmap of ports whose listeners are selected.
pub const PORT_WORDS: u32 = 65536 / 64;
/// Longest file name that an executable rule can hold, with its terminating zero.
pub const NAME_BYTES: usize = 64;

/// Data programs that may interrupt each other: one for each hook.
pub const WORK_SLOTS: u32 = 4;
/// As [`WORK_SLOTS`], where the tracepoints of the socket layer are used.
pub const WORK_SLOTS_OF_TRACEPOINTS: u32 = 2;

/// First byte of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`DataHeader`] and the bytes that were copied.
    Data = 1,
    /// [`OpenRecord`].
    Open = 2,
    /// [`CloseRecord`].
    Close = 3,
    /// [`ExecRecord`]: a process of interest executed another program.
    Exec = 4,
    /// [`ProcessRecord`]: a selected process made another one.
    Fork = 5,
    /// [`ProcessRecord`]: the last thread of a selected process ended.
    Exit = 6,
    /// [`ProcessRecord`]: a process was selected in the kernel because of the port it listens on.
    Listen = 7,
    /// [`HeaderRecord`]: a request got a trace header, or why none can.
    Header = 8,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::Open,
            3 => Self::Close,
            4 => Self::Exec,
            5 => Self::Fork,
            6 => Self::Exit,
            7 => Self::Listen,
            8 => Self::Header,
            _ => return None,
        })
    }

    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Data, Self::Open, Self::Close, Self::Exec, Self::Fork, Self::Exit, Self::Listen, Self::Header];

    /// Size of the record's fixed part. Bytes of variable number follow it: those of a stream, or a name.
    pub const fn fixed_bytes(self) -> usize {
        match self {
            Self::Data => size_of::<DataHeader>(),
            Self::Open => size_of::<OpenRecord>(),
            Self::Close => size_of::<CloseRecord>(),
            Self::Exec | Self::Fork | Self::Exit | Self::Listen => size_of::<ProcessRecord>(),
            Self::Header => size_of::<HeaderRecord>(),
        }
    }
}

/// [`DataHeader::direction`] of bytes that the process read.
pub const RECEIVE: u8 = 0;
/// [`DataHeader::direction`] of bytes that the process wrote.
pub const SEND: u8 = 1;

/// [`DataHeader::flags`]: the peer's end of the stream was read; `length` may be 0.
pub const FLAG_END: u16 = 1;
/// [`DataHeader::flags`]: this call changed the direction of the connection.
pub const FLAG_TURN: u16 = 2;
/// [`DataHeader::flags`]: `start_ns` was taken before the bytes could leave.
pub const FLAG_PRE_SEND: u16 = 4;
/// [`DataHeader::flags`]: further records carry later bytes of the same call.
pub const FLAG_CONTINUES: u16 = 8;
/// [`DataHeader::flags`]: the record is a message with boundaries of its own (a datagram).
pub const FLAG_DATAGRAM: u16 = 16;

/// Why a call that moved bytes brought none of them ([`DataHeader::reason`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NoBytes {
    /// They are there, or policy left them out.
    None = 0,
    /// io_uring moved them: the buffer is not the system call's.
    IoUring = 1,
    /// The system call has no buffer of its own: sendfile, splice, sendmmsg, recvmmsg.
    NoBuffer = 2,
    /// The process's memory could not be read.
    Fault = 3,
    /// A socket of the kernel's own.
    KernelSocket = 4,
    /// The call discarded what it read (`MSG_TRUNC`).
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

/// One send or receive on a connection. The copied bytes follow: `head_length` bytes that begin
/// `head_offset` bytes into the call, then the call's last `tail_length` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct DataHeader {
    /// [`Kind::Data`].
    pub kind: u8,
    /// [`RECEIVE`] or [`SEND`].
    pub direction: u8,
    /// `FLAG_*`.
    pub flags: u16,
    /// Copied bytes from `head_offset` on.
    pub head_length: u16,
    /// Copied bytes from the end of the call.
    pub tail_length: u8,
    /// A [`NoBytes`].
    pub reason: u8,
    /// Number of the connection.
    pub connection: u64,
    /// When the last byte moved, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// When the first byte could move, `CLOCK_MONOTONIC`; equal to `time_ns` for a receive.
    pub start_ns: u64,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Thread, in the initial namespace.
    pub tid: u32,
    /// TCP sequence number of the first byte.
    pub position: u32,
    /// Bytes that the call moved.
    pub length: u32,
    /// Where in the call the copied bytes begin.
    pub head_offset: u32,
    /// Records of this connection that found no room in the ring since the last one that did.
    pub lost: u32,
    /// The runtime's own task that made the call (a goroutine, a coroutine), 0 if none is known.
    pub task: u64,
}

/// [`OpenRecord::flags`]: this end called `connect`.
pub const OPEN_CLIENT: u8 = 1;
/// [`OpenRecord::flags`]: this end accepted the connection.
pub const OPEN_SERVER: u8 = 2;
/// [`OpenRecord::flags`]: not a byte had moved before: both positions are those of the first byte.
pub const OPEN_BIRTH: u8 = 4;

/// [`OpenRecord::transport`]: TCP. Addresses are IP addresses, positions TCP sequence numbers.
pub const TRANSPORT_TCP: u8 = 0;
/// [`OpenRecord::transport`]: a Unix stream socket. `local_address` and `remote_address` begin with the numbers of
/// the two sockets (`u64`), the socket's name follows the record, and positions count from the first byte.
pub const TRANSPORT_UNIX_STREAM: u8 = 1;
/// [`OpenRecord::transport`]: a Unix socket that keeps the boundaries of messages; see [`TRANSPORT_UNIX_STREAM`].
pub const TRANSPORT_UNIX_MESSAGES: u8 = 2;
/// [`OpenRecord::transport`]: UDP. Positions count the bytes of all datagrams.
pub const TRANSPORT_UDP: u8 = 3;

/// [`OpenRecord::identity`]: `send_first` and `receive_first` are the same at the other end, the other way round.
pub const IDENTITY_SEQUENCE: u8 = 0;
/// [`OpenRecord::identity`]: the numbers of the two sockets identify the connection at both ends.
pub const IDENTITY_SOCKETS: u8 = 1;
/// [`OpenRecord::identity`]: the other end cannot be told.
pub const IDENTITY_NONE: u8 = 2;

/// A connection before its first data record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct OpenRecord {
    /// [`Kind::Open`].
    pub kind: u8,
    /// `OPEN_*`.
    pub flags: u8,
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Process whose call made the record.
    pub pid: u32,
    /// Number of the connection.
    pub connection: u64,
    /// When `connect` was called, or the first byte moved.
    pub time_ns: u64,
    /// Sequence number of the first byte that this end ever sent.
    pub send_first: u32,
    /// Sequence number of the first byte that this end ever received.
    pub receive_first: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Port of this end.
    pub local_port: u16,
    /// Port of the other end.
    pub remote_port: u16,
    /// Address of this end; an IPv4 address takes the first four bytes.
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
/// [`CloseRecord::state`]: the connection is gone.
pub const CLOSE_ALL: u8 = 2;

/// Set in [`CloseRecord::state`]: the process has not read all that came; it may still do so.
pub const CLOSE_UNREAD: u8 = 4;

/// A connection, or this end of it, was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct CloseRecord {
    /// [`Kind::Close`].
    pub kind: u8,
    /// [`CLOSE_SEND`] or [`CLOSE_ALL`], and maybe [`CLOSE_UNREAD`].
    pub state: u8,
    /// The socket's error, 0 for an orderly end.
    pub error: u16,
    /// Records of this connection that found no room in the ring since the last one that did.
    pub lost: u32,
    /// Number of the connection.
    pub connection: u64,
    /// When.
    pub time_ns: u64,
    /// Sequence number behind the last byte written.
    pub send_end: u32,
    /// Sequence number behind the last byte read.
    pub receive_end: u32,
}

/// Something happened to a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ProcessRecord {
    /// [`Kind::Exec`], [`Kind::Fork`], [`Kind::Exit`] or [`Kind::Listen`].
    pub kind: u8,
    /// For an exec or a listen: 1 if the process was selected already, 2 if this selected it.
    pub selected: u8,
    /// Port, for a listen.
    pub port: u16,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Parent, for a fork.
    pub parent: u32,
    /// Padding, always 0.
    pub zero: u32,
    /// When.
    pub time_ns: u64,
}

/// A [`Kind::Exec`]: the process, and the file that it executes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ExecRecord {
    /// What is common to all process records.
    pub process: ProcessRecord,
    /// Name of the file without its path, zero-padded: short-lived processes are gone when the agent
    /// looks for them.
    pub name: [u8; NAME_BYTES],
}

/// What became of the trace header of a request that a selected process sends
/// ([`HeaderRecord::outcome`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeaderOutcome {
    /// Pushed in behind the request line.
    Pushed = 0,
    /// The header that the process forwarded now names the span of this call.
    Rewritten = 1,
    /// The request has a header of the application's own.
    OwnHeader = 2,
    /// The socket is blocking: it left the map with its first request.
    Blocking = 3,
    /// A blocking socket to a port that is not known to speak HTTP/1.
    UnknownPort = 4,
    /// Bytes that were sent before still waited in the socket.
    QueueNotEmpty = 5,
    /// It is not certain that a request begins here.
    BoundaryUnknown = 6,
    /// With the header the head would be longer than servers take.
    HeadTooLong = 7,
    /// The head came in more than one message.
    HeadCut = 8,
    /// The head breaks a rule of HTTP/1.
    NotUnderstood = 9,
    /// What is sent is not HTTP/1.
    NotHttp = 10,
    /// The address is not one that headers may go to.
    Destination = 11,
    /// The connection was upgraded, or is a tunnel.
    Tunnel = 12,
    /// The socket sends without copying (`SO_ZEROCOPY`).
    ZeroCopy = 13,
    /// An upper layer protocol sits in the kernel (kTLS, MPTCP).
    UpperLayer = 14,
    /// Somebody else's sockmap, or another user of the socket's private data.
    InUse = 15,
    /// A process that is not selected sends on the socket.
    ForeignSender = 16,
    /// The agent has not renewed its lease.
    Lease = 17,
    /// The map of sockets is full, the kernel refused the socket, or there was no room to look at the head.
    NoRoom = 18,
    /// The message's bytes cannot be read: they were spliced.
    Spliced = 19,
    /// The kernel could not make room in the message.
    PushFailed = 20,
    /// The connection is older than the agent, or was not seen to be opened.
    NotEntered = 21,
    /// For which request the call is made is known only later, or not at all.
    Later = 22,
    /// The request that it is made for came with a trace context that only the agent reads.
    OtherContext = 23,
    /// Not the first on its connection, and the kernel tells wrongly what can be read in the map.
    OnlyFirst = 24,
}

impl HeaderOutcome {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 25] = [
        Self::Pushed,
        Self::Rewritten,
        Self::OwnHeader,
        Self::Blocking,
        Self::UnknownPort,
        Self::QueueNotEmpty,
        Self::BoundaryUnknown,
        Self::HeadTooLong,
        Self::HeadCut,
        Self::NotUnderstood,
        Self::NotHttp,
        Self::Destination,
        Self::Tunnel,
        Self::ZeroCopy,
        Self::UpperLayer,
        Self::InUse,
        Self::ForeignSender,
        Self::Lease,
        Self::NoRoom,
        Self::Spliced,
        Self::PushFailed,
        Self::NotEntered,
        Self::Later,
        Self::OtherContext,
        Self::OnlyFirst,
    ];

    /// The outcome with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// A request of a selected process got a trace header; or none, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct HeaderRecord {
    /// [`Kind::Header`].
    pub kind: u8,
    /// A [`HeaderOutcome`].
    pub outcome: u8,
    /// How the parent is known: `EVIDENCE_*`.
    pub evidence: u8,
    /// W3C trace flags of the header.
    pub trace_flags: u8,
    /// Process that sends, 0 if the outcome was decided elsewhere.
    pub pid: u32,
    /// Number of the connection.
    pub connection: u64,
    /// Position of the request's first byte, in the application's stream.
    pub position: u32,
    /// Bytes that had been pushed into the stream before it.
    pub inserted: u32,
    /// Trace id of the header, if there is one.
    pub trace_id: [u8; 16],
    /// The request that this one is made for: number of its connection, 0 for none. With
    /// [`HeaderOutcome::InUse`] the key of the socket in `SOCKETS` if it cannot leave by itself.
    pub parent_connection: u64,
    /// Position of that request's first byte.
    pub parent_position: u32,
    /// 1 if the outcome holds for all that follows on the connection.
    pub lasting: u16,
    /// Bytes that were pushed into this request.
    pub pushed: u16,
    /// See [`DataHeader::task`].
    pub task: u64,
}

/// In a word of `BOUNDARIES`, with a connection's [`verdict_tag`]: a request begins at the position in its low
/// half, if anything is sent.
pub const BOUNDARY_HERE: u64 = 1 << 32;
/// See [`BOUNDARY_HERE`]: no request will follow.
pub const BOUNDARY_NEVER: u64 = 1 << 33;

/// Bytes of a `traceparent` that is pushed: the field's name, 55 bytes of value, and the line's end.
pub const PARENT_BYTES: u32 = 13 + 55 + 2;
/// Longest `tracestate` that goes along, bytes: what everyone must carry.
pub const MAX_STATE: u32 = 512;

/// [`HeaderRecord::evidence`]: no parent is known, the call begins a trace.
pub const EVIDENCE_NONE: u8 = 0;
/// See [`EVIDENCE_NONE`]: the thread worked for exactly this request.
pub const EVIDENCE_UNIT: u8 = 1;
/// See [`EVIDENCE_NONE`]: a proxy's thread had read this request last.
pub const EVIDENCE_PROXY: u8 = 2;
/// See [`EVIDENCE_NONE`]: the only request that the process had open.
pub const EVIDENCE_SOLE_REQUEST: u8 = 3;
/// See [`EVIDENCE_NONE`]: the call carried the header that this request came with.
pub const EVIDENCE_FORWARDED: u8 = 4;

/// How the kernel programs link the calls of a process: it is not told.
pub const PROFILE_NONE: u8 = 0;
/// See [`PROFILE_NONE`]: a thread works for the request that it read.
pub const PROFILE_THREADS: u8 = 1;
/// See [`PROFILE_NONE`]: a thread works for the request that it read last.
pub const PROFILE_PROXY: u8 = 2;
/// See [`PROFILE_NONE`]: all work is for the only open request, as long as there is just one.
pub const PROFILE_SOLE_REQUEST: u8 = 3;
/// See [`PROFILE_NONE`]: the same, if the calling thread has read it, or never read a request.
pub const PROFILE_SOLE_OWN: u8 = 4;
/// See [`PROFILE_NONE`]: the agent knows better, but later. Calls get no header while a request is open.
pub const PROFILE_LATER: u8 = 5;

/// Bits of a random trace id that decide whether a root is sampled: the last 56.
pub const RANDOM_BITS: u32 = 56;

/// Seeds of the ids that requests get by their place: kernel programs and agent make the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Seeds {
    /// Of span ids; low half first.
    pub span: [u32; 2],
    /// Of the first half of trace ids.
    pub trace_first: [u32; 2],
    /// Of the second half.
    pub trace_second: [u32; 2],
}

/// An id of 64 bits for a message by its position, never 0. `direction` ([`RECEIVE`] or [`SEND`]) is that of the
/// message's first byte: positions of the two directions are independent of each other. Connection, direction and
/// position are one to one with the ids for connection numbers below 2^31: the mixing function (the finalizer of
/// `SplitMix64`; Steele, Lea, Flood 2014) is a bijection.
#[inline(always)]
pub const fn id_of(seed: u64, connection: u64, direction: u8, position: u32) -> u64 {
    let z = connection << 33 | (direction as u64) << 32 | position as u64;
    let z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let id = z ^ z >> 31;
    if id == 0 { 1 } else { id }
}

/// The capture policy for one direction of a connection. It is one word of the verdict array: the low 32 bits are
/// a position, 3 bits the kind, the rest a tag of the connection's number. The tag keeps two connections apart that
/// share a slot: each reads the other's word as [`Verdict::Heads`], which costs copying and never hides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Copy the heads of messages. Every connection begins so.
    Heads,
    /// Copy nothing more, and send no records.
    Ignore,
    /// The bytes before `position` are a body.
    BodyUntil {
        /// Sequence number behind the body's last byte.
        position: u32,
    },
    /// Copy all bytes, up to [`OPEN_HEAD_BUDGET`] of each system call.
    Everything,
    /// Copy the headers of HTTP/2 frames and the header blocks, wherever they stand. The kernel programs treat it
    /// as [`Verdict::Everything`]: they do not follow frames yet.
    Frames,
}

/// Kind bits of a verdict word: see [`Verdict::word`].
pub const VERDICT_HEADS: u64 = 0;
/// See [`VERDICT_HEADS`].
pub const VERDICT_IGNORE: u64 = 1;
/// See [`VERDICT_HEADS`].
pub const VERDICT_BODY: u64 = 2;
/// See [`VERDICT_HEADS`]. This kind and all above it copy everything.
pub const VERDICT_EVERYTHING: u64 = 3;
/// See [`VERDICT_HEADS`].
pub const VERDICT_FRAMES: u64 = 4;

/// The part of a connection's number that a verdict word carries, in its place.
pub const fn verdict_tag(connection: u64) -> u64 {
    (connection / VERDICT_SLOTS as u64) << 35
}

/// The slot of a connection in arrays of [`VERDICT_SLOTS`].
pub const fn verdict_slot(connection: u64) -> u32 {
    (connection as u32) & (VERDICT_SLOTS - 1)
}

/// The index of a direction's word in the verdict array.
#[inline(always)]
pub const fn verdict_index(connection: u64, direction: u8) -> u32 {
    verdict_slot(connection) * 2 + (direction & 1) as u32
}

impl Verdict {
    /// The word that stands for this verdict on a direction of `connection`.
    pub const fn word(self, connection: u64) -> u64 {
        let (kind, position) = match self {
            Self::Heads => (VERDICT_HEADS, 0),
            Self::Ignore => (VERDICT_IGNORE, 0),
            Self::BodyUntil { position } => (VERDICT_BODY, position),
            Self::Everything => (VERDICT_EVERYTHING, 0),
            Self::Frames => (VERDICT_FRAMES, 0),
        };
        verdict_tag(connection) | kind << 32 | position as u64
    }
}

/// Index of a per-CPU counter that the kernel programs keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KernelCounter {
    /// Data records that found no room in the ring.
    LostData = 0,
    /// Bytes of those.
    LostBytes = 1,
    /// Open records that found no room in the ring.
    LostOpen = 2,
    /// Close records that found no room in the ring.
    LostClose = 3,
    /// Process records that found no room in the ring.
    LostProcess = 4,
    /// Calls on a selected process's sockets of a kind that is not read (MPTCP, SMC, SCTP).
    OtherSocket = 5,
    /// Calls on a selected process's Unix sockets.
    UnixSocket = 6,
    /// Connections with an upper layer protocol in the kernel (kTLS): positions are not the data's.
    UpperLayer = 7,
    /// Sockets that got no storage: memory was short.
    NoStorage = 8,
    /// Calls on a selected process's UDP sockets.
    Datagram = 9,
    /// Calls that the kernel skipped because the program was running already; filled in by the agent
    /// from the programs' own statistics.
    Skipped = 10,
}

/// Number of [`KernelCounter`]s.
pub const KERNEL_COUNTERS: u32 = 11;

/// [`Offsets`] of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Where the kernel keeps what the programs read: byte offsets in its structures, found in its BTF
/// and set before the programs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "each name is structure and field")]
pub struct Offsets {
    pub tcp_sock_write_seq: u32,
    pub tcp_sock_copied_seq: u32,
    pub tcp_sock_rcv_nxt: u32,
    pub tcp_sock_snd_nxt: u32,
    pub tcp_sock_bytes_sent: u32,
    pub tcp_sock_bytes_retrans: u32,
    pub tcp_sock_bytes_received: u32,
    pub tcp_sock_icsk_ulp_ops: u32,
    pub sock_family: u32,
    pub sock_state: u32,
    pub sock_num: u32,
    pub sock_dport: u32,
    pub sock_daddr: u32,
    pub sock_rcv_saddr: u32,
    pub sock_v6_daddr: u32,
    pub sock_v6_rcv_saddr: u32,
    pub sock_net: u32,
    pub sock_type: u32,
    pub sock_protocol: u32,
    pub sock_err: u32,
    pub sock_flags: u32,
    /// Bit of `sk_flags` (`enum sock_flags`): the socket sends without copying.
    pub sock_zerocopy: u32,
    pub sock_socket: u32,
    pub sock_user_data: u32,
    pub sock_wmem_queued: u32,
    pub sock_sndbuf: u32,
    /// Not 0 while a task holds the socket; interrupts then wait.
    pub sock_lock_owned: u32,
    pub tcp_sock_snd_una: u32,
    pub tcp_sock_bytes_acked: u32,
    pub tcp_sock_mss_cache: u32,
    pub tcp_sock_cb_flags: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// Byte that holds the bit `sk_kern_sock`.
    pub sock_kern_sock: u32,
    /// The bit in that byte.
    pub sock_kern_sock_mask: u32,
    pub net_inum: u32,
    pub task_flags: u32,
    pub task_pid: u32,
    pub task_tgid: u32,
    pub task_signal: u32,
    pub task_files: u32,
    /// [`ABSENT`] in a kernel without io_uring.
    pub task_io_uring: u32,
    pub signal_live: u32,
    pub files_fdt: u32,
    pub fdtable_fd: u32,
    pub fdtable_max_fds: u32,
    pub file_private_data: u32,
    pub file_inode: u32,
    pub file_dentry: u32,
    pub socket_sk: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub super_block_dev: u32,
    pub dentry_name: u32,
    pub binprm_file: u32,
}

/// What the programs are told once, before they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Bytes in the ring at which the reader is woken at once.
    pub wake_bytes: u32,
    /// 1 if every exec of the machine is reported, because a selector needs userspace to judge.
    pub report_every_exec: u32,
    /// 1 if requests get trace headers.
    pub propagate: u32,
    /// Roots whose last [`RANDOM_BITS`] bits of the trace id are below it are not sampled; high half.
    pub sample_above_high: u32,
    /// Its low half.
    pub sample_above_low: u32,
    /// 1 if a request that came with a header is sampled as that says; else by its trace id too.
    pub sample_by_parent: u32,
    /// 1 if the agent takes other headers than `traceparent` for the context of a request.
    pub other_contexts: u32,
    /// Ids.
    pub seeds: Seeds,
}

/// What an executable rule does when a process executes a matching file.
pub const RULE_SELECT: u8 = 1;
/// See [`RULE_SELECT`].
pub const RULE_EXCLUDE: u8 = 2;
/// See [`RULE_SELECT`]: userspace is told, and decides.
pub const RULE_LOOK: u8 = 3;

/// Key of an executable rule that names one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// Inode number.
    pub inode: u64,
    /// Device number as the kernel keeps it (`dev_t` of `super_block.s_dev`).
    pub device: u64,
}

const _: () = {
    assert!(size_of::<DataHeader>() == 64);
    assert!(size_of::<OpenRecord>() == 80);
    assert!(size_of::<CloseRecord>() == 32);
    assert!(size_of::<ProcessRecord>() == 24);
    assert!(size_of::<ExecRecord>() == 24 + NAME_BYTES);
    assert!(size_of::<HeaderRecord>() == 64);
    assert!(size_of::<Offsets>() == 55 * 4);
    assert!(size_of::<Settings>() == 13 * 4);
    assert!(size_of::<FileKey>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_words_of_connections_in_one_slot_differ() {
        let first = 7;
        let second = 7 + u64::from(VERDICT_SLOTS);
        assert_eq!(verdict_slot(first), verdict_slot(second));
        assert_ne!(Verdict::Ignore.word(first), Verdict::Ignore.word(second));
        assert_eq!(Verdict::Heads.word(3), 0);
    }

    #[test]
    fn each_direction_of_each_slot_has_a_word_of_its_own() {
        let last = u64::from(VERDICT_SLOTS - 1);
        let indices = [(0, RECEIVE), (0, SEND), (1, RECEIVE), (last, SEND)];
        let indices = indices.map(|(connection, direction)| verdict_index(connection, direction));
        assert_eq!(indices, [0, 1, 2, VERDICT_WORDS - 1]);
    }

    #[test]
    fn kinds_of_verdicts_leave_the_tag_alone() {
        let connection = 7 + 5 * u64::from(VERDICT_SLOTS);
        let all = [
            Verdict::Heads,
            Verdict::Ignore,
            Verdict::BodyUntil { position: u32::MAX },
            Verdict::Everything,
            Verdict::Frames,
        ];
        for (kind, verdict) in all.into_iter().enumerate() {
            let word = verdict.word(connection);
            assert_eq!((word ^ verdict_tag(connection)) >> 32, kind as u64);
        }
    }

    #[test]
    fn outcomes_stand_at_the_places_of_their_numbers() {
        for (number, outcome) in HeaderOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
    }

    #[test]
    fn ids_differ_by_connection_direction_position_and_seed() {
        let ids = [
            id_of(1, 1, RECEIVE, 1),
            id_of(1, 1, SEND, 1),
            id_of(1, 1, RECEIVE, 2),
            id_of(1, 2, RECEIVE, 1),
            id_of(2, 1, RECEIVE, 1),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(*id != 0 && !ids[..n].contains(id));
        }
    }
}
