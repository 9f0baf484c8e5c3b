//! The interface between the kernel programs and the agent: records of the ring, capture policies, counters, limits.
//!
//! Records are `#[repr(C)]`, begin with one byte for their [`Kind`], and have no padding, so no uninitialised kernel
//! memory reaches the ring. The derives of zerocopy prove this when the agent is compiled (feature `zerocopy`). The
//! layout in the kernel programs is the same.
//!
//! New fields are added at the end of a record only. A recording contains the size of each kind
//! ([`Kind::fixed_bytes`]), so a newer agent reads older recordings.

#![no_std]

mod runtime;

use core::mem::size_of;

pub use self::runtime::{
    GREENLET, GoPlan, GoTask, HAS_GROUP, IN_ATTRIBUTES, JavaPlan, NodePlan, PLAN_WORDS, PythonLayout,
    PythonPlan, PythonSender, PythonTask, PythonWorker, RUN_ALONE, RUN_CHECKS, RUN_CLIENT_REQUEST,
    RUN_CLIENT_RESPONSE, RUN_CONNECT, RUN_OTHER, RUN_SERVER_REQUEST, RUN_SERVER_RESPONSE, RUNTIME_GO,
    RUNTIME_GREENLETS, RUNTIME_JAVA, RUNTIME_NGINX, RUNTIME_NODE, RUNTIME_PYTHON, RunRecord, STACK_WORDS,
    TASK_FACTS, TaskPlan, TaskRecord, UNNUMBERED, VIRTUAL_THREAD,
};

/// Bytes that are copied after a change of direction, before the capture policy is known.
pub const HEAD_BUDGET: u32 = 4096;
/// Bytes that are copied of a head that is not complete after [`HEAD_BUDGET`]: the longest head that is read.
pub const OPEN_HEAD_BUDGET: u32 = 64 * 1024;
/// Bytes that are copied of each system call after the budget, until a capture policy gives the end of the body.
pub const EDGE_WITHOUT_POLICY: u32 = 256;
/// Bytes that are copied from the start of every system call.
pub const EDGE_START: u32 = 16;
/// Bytes that are copied from the end of every system call.
pub const EDGE_END: u32 = 8;
/// I/O vectors of one call that are followed; bytes in later ones count as unseen.
pub const MAX_VECTORS: u32 = 64;
/// Slots of the policy array, and of other arrays that are indexed by the connection number; a power of two.
pub const POLICY_SLOTS: u32 = 1 << 16;
/// Words of the policy array: one for each direction of each slot.
pub const POLICY_WORDS: u32 = 2 * POLICY_SLOTS;
/// Process ids in the selection bitmap: the kernel's own limit (`PID_MAX_LIMIT`).
pub const MAX_PIDS: u32 = 4 * 1024 * 1024;
/// Words of the selection bitmap.
pub const SELECTION_WORDS: u32 = MAX_PIDS / 64;
/// Words of the bitmap of ports whose listeners are selected.
pub const PORT_WORDS: u32 = 65536 / 64;
/// Longest file name that an executable rule can hold, with its terminating zero.
pub const NAME_BYTES: usize = 64;

/// Bytes of a host of `PROXIED_HOSTS`, with at least one zero behind it.
pub const AUTHORITY_BYTES: usize = 128;

/// Data programs that can preempt each other: for each direction, that of IPv4 and that of IPv6.
pub const WORK_SLOTS: u32 = 4;
/// As [`WORK_SLOTS`], if the tracepoints of the socket layer are used: one for each direction.
pub const WORK_SLOTS_OF_TRACEPOINTS: u32 = 2;

/// First byte of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`DataHeader`] and the copied bytes.
    Data = 1,
    /// [`OpenRecord`].
    Open = 2,
    /// [`CloseRecord`].
    Close = 3,
    /// [`ExecRecord`]: a process of interest executed another program.
    Exec = 4,
    /// [`ProcessRecord`]: a selected process forked another one.
    Fork = 5,
    /// [`ProcessRecord`]: the last thread of a selected process ended.
    Exit = 6,
    /// [`ProcessRecord`]: the kernel programs selected a process by the port on which it listens.
    Listen = 7,
    /// [`InjectionRecord`]: the outcome of the injection into a client request.
    Injection = 8,
    /// [`TaskRecord`]: which task of a runtime makes the next call.
    Task = 9,
    /// [`UnconnectedRecord`]: a connection that a selected process wanted to open did not come about.
    Unconnected = 10,
    /// [`RunRecord`]: what the event loop of a process does when it makes the next call.
    Run = 11,
    /// [`ProcessRecord`]: a selected process serves on a socket of a kind that is not read.
    Unread = 12,
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
            8 => Self::Injection,
            9 => Self::Task,
            10 => Self::Unconnected,
            11 => Self::Run,
            12 => Self::Unread,
            _ => return None,
        })
    }

    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Data,
        Self::Open,
        Self::Close,
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::Listen,
        Self::Injection,
        Self::Task,
        Self::Unconnected,
        Self::Run,
        Self::Unread,
    ];

    /// Size of the record's fixed part. A variable number of bytes follows it: stream bytes or a name.
    pub const fn fixed_bytes(self) -> usize {
        match self {
            Self::Data => size_of::<DataHeader>(),
            Self::Open => size_of::<OpenRecord>(),
            Self::Close => size_of::<CloseRecord>(),
            Self::Exec | Self::Fork | Self::Exit | Self::Listen | Self::Unread => size_of::<ProcessRecord>(),
            Self::Injection => size_of::<InjectionRecord>(),
            Self::Task => size_of::<TaskRecord>(),
            Self::Unconnected => size_of::<UnconnectedRecord>(),
            Self::Run => size_of::<RunRecord>(),
        }
    }
}

/// [`DataHeader::direction`] of bytes that the process read.
pub const RECEIVE: u8 = 0;
/// [`DataHeader::direction`] of bytes that the process wrote.
pub const SEND: u8 = 1;

/// [`DataHeader::flags`]: the process has read the end of the peer's stream; `length` may be 0.
pub const FLAG_END: u16 = 1;
/// [`DataHeader::flags`]: the previous system call on the connection had the other direction, or there was none.
pub const FLAG_TURN: u16 = 2;
/// [`DataHeader::flags`]: `start_ns` was taken before the bytes could leave.
pub const FLAG_PRE_SEND: u16 = 4;
/// [`DataHeader::flags`]: further records contain later bytes of the same system call.
pub const FLAG_CONTINUES: u16 = 8;
/// [`DataHeader::flags`]: the record is a message with boundaries of its own (a datagram).
pub const FLAG_DATAGRAM: u16 = 16;

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
    /// [`Kind::Data`].
    pub kind: u8,
    /// [`RECEIVE`] or [`SEND`].
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
    /// Time before the first byte could move, `CLOCK_MONOTONIC`; for a receive, and without [`FLAG_PRE_SEND`], equal
    /// to `time_ns`.
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
    /// [`Kind::Open`].
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
    /// [`Kind::Close`].
    pub kind: u8,
    /// [`CLOSE_SEND`] or [`CLOSE_ALL`], optionally with [`CLOSE_UNREAD`], [`CLOSE_EARLY`] and
    /// [`CLOSE_UNSEEN`].
    pub state: u8,
    /// The socket's error, 0 for an orderly end.
    pub error: u16,
    /// As [`DataHeader::lost`].
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
    /// [`Kind::Unconnected`].
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

/// An exec, fork, exit or listen of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ProcessRecord {
    /// [`Kind::Exec`], [`Kind::Fork`], [`Kind::Exit`], [`Kind::Listen`] or [`Kind::Unread`].
    pub kind: u8,
    /// For an exec or a listen: 1 if the process was selected before, 2 if this event selected it.
    pub selected: u8,
    /// Port, for a listen.
    pub port: u16,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Parent, for a fork.
    pub parent: u32,
    /// Padding, always 0.
    pub zero: u32,
    /// Time, `CLOCK_MONOTONIC`.
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
    /// The part that all process records share.
    pub process: ProcessRecord,
    /// Name of the file without its path, zero-padded. A short-lived process may be gone before the agent can look it
    /// up.
    pub name: [u8; NAME_BYTES],
}

/// The outcome of the injection into a client request: injected, rewritten, or declined with a reason
/// ([`InjectionRecord::outcome`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InjectionOutcome {
    /// A header was inserted behind the request line.
    Pushed = 0,
    /// The request forwards a header of its parent; its parent id was changed to the span of this client request.
    Rewritten = 1,
    /// The request has a header of the application's own.
    OwnHeader = 2,
    /// The socket blocks: it left the sockmap with its first request.
    Blocking = 3,
    /// The socket blocks, and its port is not known to speak HTTP/1.
    UnknownPort = 4,
    /// Earlier bytes waited in the socket, or its send buffer was small.
    QueueNotEmpty = 5,
    /// The boundary of the request was uncertain.
    BoundaryUnknown = 6,
    /// The head would be longer than servers accept with the header.
    HeadTooLong = 7,
    /// The head was sent in more than one message.
    HeadCut = 8,
    /// The head breaks a rule of HTTP/1.
    NotUnderstood = 9,
    /// The bytes that are sent are not HTTP/1.
    NotHttp = 10,
    /// Headers may not go to the destination address.
    Destination = 11,
    /// The connection was upgraded, or is a tunnel.
    Tunnel = 12,
    /// The socket sends without copying (`SO_ZEROCOPY`).
    ZeroCopy = 13,
    /// The socket has an upper layer protocol in the kernel (kTLS, MPTCP).
    UpperLayer = 14,
    /// The socket is in another program's sockmap, another user has its private data or may want it (iSCSI,
    /// `IPV6_ADDRFORM`), another program ended the `sock_ops` callbacks, or an option asks for what a sockmap does not do
    /// (`SO_TIMESTAMPING`, `IP_RECVERR`, `IPV6_RECVERR`).
    InUse = 15,
    /// A process that is not selected sent on the socket.
    ForeignSender = 16,
    /// The agent has not renewed its lease.
    Lease = 17,
    /// The sockmap is full, the kernel refused the socket, or no scratch buffer was free.
    NoSpace = 18,
    /// The bytes of the message cannot be read, because they were spliced.
    Spliced = 19,
    /// The kernel could not make the head readable, or insert space into the message.
    PushFailed = 20,
    /// The connection is older than the agent, or was not seen to be opened.
    NotEntered = 21,
    /// The parent of the client request is known only later, or not at all.
    ParentUnknown = 22,
    /// The parent of the client request carries a trace context that only the agent reads.
    OtherContext = 23,
    /// The request is not the first on its connection, and `FIONREAD` is wrong for sockets in a sockmap on this kernel.
    FirstOnly = 24,
    /// The thread that opened the connection, or its process's first thread, uses io_uring: its sends without copying
    /// would fail.
    IoUring = 25,
    /// Memory for sockets is short: the protocol's, or that of the socket's memory group.
    MemoryPressure = 26,
    /// The socket belongs to the kernel.
    KernelSocket = 27,
    /// The port is not known to speak HTTP/1, and `FIONREAD` is wrong for sockets in a sockmap on this kernel.
    UnknownPortLimited = 28,
    /// The target names another host, which the operator has not listed: the other end is a forward proxy.
    OtherHost = 29,
}

impl InjectionOutcome {
    /// All outcomes; the number of each is its index.
    pub const ALL: [Self; 30] = [
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
        Self::NoSpace,
        Self::Spliced,
        Self::PushFailed,
        Self::NotEntered,
        Self::ParentUnknown,
        Self::OtherContext,
        Self::FirstOnly,
        Self::IoUring,
        Self::MemoryPressure,
        Self::KernelSocket,
        Self::UnknownPortLimited,
        Self::OtherHost,
    ];

    /// The outcome with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// The outcome of the injection into a client request, or into all later ones of a connection. It precedes the data
/// record of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct InjectionRecord {
    /// [`Kind::Injection`].
    pub kind: u8,
    /// A [`InjectionOutcome`].
    pub outcome: u8,
    /// The evidence for the parent: `EVIDENCE_*`.
    pub evidence: u8,
    /// W3C trace flags of the header.
    pub trace_flags: u8,
    /// Process that sends; 0 if the outcome was decided outside a send.
    pub pid: u32,
    /// Number of the connection.
    pub connection: u64,
    /// Position of the request's first byte, in the application's stream.
    pub position: u32,
    /// Bytes that had been inserted into the stream before it.
    pub inserted: u32,
    /// Trace id of the header, if there is one.
    pub trace_id: [u8; 16],
    /// Connection number of the parent; 0 for none. With [`InjectionOutcome::InUse`] and
    /// [`InjectionOutcome::MemoryPressure`], the key in `SOCKETS` of a socket that cannot leave the sockmap by itself.
    pub parent_connection: u64,
    /// Position of the parent's first byte.
    pub parent_position: u32,
    /// 1 if the outcome holds for all later requests of the connection.
    pub lasting: u16,
    /// Bytes that were inserted into this request.
    pub pushed: u16,
    /// See [`DataHeader::task`].
    pub task: u64,
}

/// Bit in a word of `BOUNDARIES`, which also has a connection's [`policy_tag`]: the next bytes that are sent, if any,
/// are a request that begins at the position in the low half of the word.
pub const BOUNDARY_HERE: u64 = 1 << 32;
/// See [`BOUNDARY_HERE`]: no request will follow.
pub const BOUNDARY_NEVER: u64 = 1 << 33;

/// Bytes of an inserted `traceparent`: field name with separator, 55 bytes of value, line end.
pub const PARENT_BYTES: u32 = 13 + 55 + 2;
/// Longest `tracestate` that is inserted, bytes: the length that every participant must support (W3C Trace Context).
pub const MAX_STATE: u32 = 512;

/// [`InjectionRecord::evidence`]: there is no known parent, the client request begins a trace.
pub const EVIDENCE_NONE: u8 = 0;
/// See [`EVIDENCE_NONE`]: the thread worked for exactly this server request.
pub const EVIDENCE_UNIT: u8 = 1;
/// See [`EVIDENCE_NONE`]: the thread of a proxy had read this server request last.
pub const EVIDENCE_PROXY: u8 = 2;
/// See [`EVIDENCE_NONE`]: it was the only open server request of the process.
pub const EVIDENCE_SOLE_REQUEST: u8 = 3;
/// See [`EVIDENCE_NONE`]: the client request carried the header of this server request.
pub const EVIDENCE_FORWARDED: u8 = 4;
/// See [`EVIDENCE_NONE`]: the goroutine that sends it, or waits for its sending, had read this server request.
pub const EVIDENCE_GOROUTINE: u8 = 5;
/// See [`EVIDENCE_NONE`]: nginx keeps it with this server request.
pub const EVIDENCE_REQUEST_STRUCTURE: u8 = 6;
/// See [`EVIDENCE_NONE`]: it carries the context that Go made for this server request.
pub const EVIDENCE_CONTEXT: u8 = 7;
/// See [`EVIDENCE_NONE`]: the virtual thread that sends it had read this server request.
pub const EVIDENCE_VIRTUAL_THREAD: u8 = 8;

/// The rule by which the kernel programs attribute the client requests of a process: none of them has a parent.
pub const PROFILE_NONE: u8 = 0;
/// See [`PROFILE_NONE`]: the parent is the server request that the thread read.
pub const PROFILE_THREADS: u8 = 1;
/// See [`PROFILE_NONE`]: the parent is the server request that the proxy's thread read last, if no other one waits for
/// a client request.
pub const PROFILE_PROXY: u8 = 2;
/// See [`PROFILE_NONE`]: the parent is the only open server request, while there is exactly one.
pub const PROFILE_SOLE_REQUEST: u8 = 3;
/// See [`PROFILE_NONE`]: as [`PROFILE_SOLE_REQUEST`], unless the calling thread has read another server request.
pub const PROFILE_SOLE_OWN: u8 = 4;
/// See [`PROFILE_NONE`]: deferred. The agent attributes client requests after they were sent; they get no header while
/// a server request is open.
pub const PROFILE_DEFERRED: u8 = 5;
/// See [`PROFILE_NONE`]: the parent is the server request of the task (a goroutine, a virtual thread, a client's connection
/// of nginx);
/// without one, as [`PROFILE_DEFERRED`].
pub const PROFILE_GOROUTINES: u8 = 6;

/// Number of trace id bits that decide whether a root is sampled: the last 56.
pub const RANDOM_BITS: u32 = 56;

/// Seeds of the ids that requests get by their positions; kernel programs and agent compute the same ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Seeds {
    /// Seed of span ids; low half first.
    pub span: [u32; 2],
    /// Seed of the first half of trace ids.
    pub trace_first: [u32; 2],
    /// Seed of the second half of trace ids.
    pub trace_second: [u32; 2],
}

/// A 64-bit id for a message by its position, never 0. `direction` ([`RECEIVE`] or [`SEND`]) is that of the message's
/// first byte: the positions of the two directions are independent of each other. For connection numbers below 2^31,
/// two messages never mix to the same value, because the mixing function (the finalizer of `SplitMix64`; Steele, Lea,
/// Flood 2014) is a bijection; only the value 0 becomes 1.
#[inline(always)]
pub const fn id_of(seed: u64, connection: u64, direction: u8, position: u32) -> u64 {
    let z = connection << 33 | (direction as u64) << 32 | position as u64;
    let z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let id = z ^ z >> 31;
    if id == 0 { 1 } else { id }
}

/// The capture policy for one direction of a connection. It is one word of the policy array: the low 32 bits are
/// a position, 3 bits the kind, the rest a tag of the connection's number. The tag keeps two connections apart that
/// share a slot: each reads the other's word as [`CapturePolicy::Heads`], which costs copying and never hides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturePolicy {
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
    /// as [`CapturePolicy::Everything`]: they do not follow frames yet.
    Frames,
}

/// Kind bits of a policy word: see [`CapturePolicy::word`].
pub const POLICY_HEADS: u64 = 0;
/// See [`POLICY_HEADS`].
pub const POLICY_IGNORE: u64 = 1;
/// See [`POLICY_HEADS`].
pub const POLICY_BODY: u64 = 2;
/// See [`POLICY_HEADS`]. This kind and all above it copy everything.
pub const POLICY_EVERYTHING: u64 = 3;
/// See [`POLICY_HEADS`].
pub const POLICY_FRAMES: u64 = 4;

/// The part of a connection's number that a policy word carries, in its place.
pub const fn policy_tag(connection: u64) -> u64 {
    (connection / POLICY_SLOTS as u64) << 35
}

/// The slot of a connection in arrays of [`POLICY_SLOTS`].
pub const fn policy_slot(connection: u64) -> u32 {
    (connection as u32) & (POLICY_SLOTS - 1)
}

/// The index of a direction's word in the policy array.
#[inline(always)]
pub const fn policy_index(connection: u64, direction: u8) -> u32 {
    policy_slot(connection) * 2 + (direction & 1) as u32
}

impl CapturePolicy {
    /// The word that stands for this policy on a direction of `connection`.
    pub const fn word(self, connection: u64) -> u64 {
        let (kind, position) = match self {
            Self::Heads => (POLICY_HEADS, 0),
            Self::Ignore => (POLICY_IGNORE, 0),
            Self::BodyUntil { position } => (POLICY_BODY, position),
            Self::Everything => (POLICY_EVERYTHING, 0),
            Self::Frames => (POLICY_FRAMES, 0),
        };
        policy_tag(connection) | kind << 32 | position as u64
    }
}

/// Index of a per-CPU counter that the kernel programs keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum KernelCounter {
    /// Data and header records that were lost because the ring was full.
    LostData = 0,
    /// Bytes of the system calls of lost data records.
    LostBytes = 1,
    /// Open records that were lost because the ring was full.
    LostOpen = 2,
    /// Close records that were lost because the ring was full.
    LostClose = 3,
    /// Process records that were lost because the ring was full.
    LostProcess = 4,
    /// System calls on other sockets of selected processes (MPTCP, SMC, SCTP), which are not read.
    OtherSocket = 5,
    /// System calls on Unix sockets of selected processes.
    UnixSocket = 6,
    /// Connections with an upper layer protocol in the kernel (kTLS): TCP positions are not those of the data.
    UpperLayer = 7,
    /// Sockets that got no storage, because memory was short.
    NoStorage = 8,
    /// System calls on UDP sockets of selected processes.
    Datagram = 9,
    /// Program runs that the kernel skipped: the program was running already (the agent takes the number from the
    /// programs' statistics), or another could not go on in it.
    Skipped = 10,
    /// Requests that were read or sent in a process whose tasks are read, without a task.
    TaskUnread = 11,
    /// Program runs that the kernel skipped, and that a second program did.
    Nested = 12,
}

/// Port of iSCSI targets. An initiator hands its socket over to the kernel, which then overwrites the data of a sockmap
/// in it (`iscsi_sw_tcp_conn_set_callbacks`, `drivers/scsi/iscsi_tcp.c`), so that the socket cannot be closed any more.
pub const ISCSI_PORT: u16 = 3260;

/// Number of [`KernelCounter`]s.
pub const KERNEL_COUNTERS: u32 = 13;

/// Value in [`Offsets`] for a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of the kernel structures' fields that the programs read. The agent finds them in the kernel's BTF and
/// sets them before it loads the programs.
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
    /// Number of the bit in `sk_flags` (`enum sock_flags`): the socket sends without copying.
    pub sock_zerocopy: u32,
    /// Flags of `SO_TIMESTAMPING`; the lowest 16 bits are read.
    pub sock_tsflags: u32,
    /// Byte of the socket that contains the bit of `IP_RECVERR`.
    pub tcp_sock_recverr: u32,
    /// Mask of the bit in that byte.
    pub tcp_sock_recverr_mask: u32,
    /// Byte that contains the bit of `IPV6_RECVERR`.
    pub inet6_recverr: u32,
    /// Mask of the bit in that byte; 0 in a kernel without IPv6.
    pub inet6_recverr_mask: u32,
    /// Pointer to the structure that contains that byte; [`ABSENT`] if the socket itself does.
    pub tcp_sock_pinet6: u32,
    pub sock_socket: u32,
    pub sock_user_data: u32,
    pub sock_wmem_queued: u32,
    pub sock_sndbuf: u32,
    /// Not 0 while a task holds the socket; interrupts then defer their work.
    pub sock_lock_owned: u32,
    pub sock_prot: u32,
    /// [`ABSENT`] in a kernel without memory groups.
    pub sock_memcg: u32,
    pub proto_memory_pressure: u32,
    /// [`ABSENT`] in a kernel without memory groups.
    pub memcg_socket_pressure: u32,
    /// Where the address of the parent is: `css.parent`, since `css` is the first member of both.
    pub memcg_parent: u32,
    /// [`ABSENT`] in a kernel without limits of TCP's memory (cgroup v1).
    pub memcg_tcpmem: u32,
    pub page_counter_usage: u32,
    pub page_counter_max: u32,
    pub page_counter_parent: u32,
    pub tcp_sock_snd_una: u32,
    pub tcp_sock_bytes_acked: u32,
    pub tcp_sock_mss_cache: u32,
    pub tcp_sock_cb_flags: u32,
    /// Byte that contains the bits `nonagle`.
    pub tcp_sock_nonagle: u32,
    /// Mask of the lowest of them in that byte.
    pub tcp_sock_nonagle_mask: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// Byte that contains the bit `sk_kern_sock`.
    pub sock_kern_sock: u32,
    /// Mask of the bit in that byte.
    pub sock_kern_sock_mask: u32,
    pub net_inum: u32,
    pub task_flags: u32,
    pub task_pid: u32,
    pub task_tgid: u32,
    pub task_fsbase: u32,
    pub task_signal: u32,
    pub task_files: u32,
    /// [`ABSENT`] in a kernel without io_uring.
    pub task_io_uring: u32,
    /// `task_struct.ioac.syscr`: system calls of the thread that have read. [`ABSENT`] in a kernel that does not count them.
    pub task_reads: u32,
    pub task_group_leader: u32,
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

/// Settings of the programs, fixed when they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Number of bytes in the ring above which the reader is woken at once.
    pub wake_bytes: u32,
    /// 1 if every exec of the machine is reported, because only userspace can evaluate a selector.
    pub report_every_exec: u32,
    /// 1 if requests get trace headers.
    pub propagate: u32,
    /// Threshold of the sampler, high half: a root is not sampled if the last [`RANDOM_BITS`] bits of its trace id are
    /// below it.
    pub sample_above_high: u32,
    /// Threshold of the sampler, low half.
    pub sample_above_low: u32,
    /// 1 if the sampled flag of a received header decides; 0 if the trace id decides there too.
    pub sample_by_parent: u32,
    /// 1 if the agent reads trace contexts from other headers than `traceparent`.
    pub other_contexts: u32,
    /// Seeds of the ids.
    pub seeds: Seeds,
}

/// Action of an executable rule when a process executes a matching file: select the process.
pub const RULE_SELECT: u8 = 1;
/// See [`RULE_SELECT`]: exclude the process.
pub const RULE_EXCLUDE: u8 = 2;
/// See [`RULE_SELECT`]: report the exec to userspace, which decides.
pub const RULE_LOOK: u8 = 3;

/// Key of an executable rule that names one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// Inode number.
    pub inode: u64,
    /// Device number in the kernel's encoding (`dev_t` of `super_block.s_dev`).
    pub device: u64,
}

const _: () = {
    assert!(size_of::<DataHeader>() == 64);
    assert!(size_of::<OpenRecord>() == 80);
    assert!(size_of::<CloseRecord>() == 32);
    assert!(size_of::<ProcessRecord>() == 24);
    assert!(size_of::<ExecRecord>() == 24 + NAME_BYTES);
    assert!(size_of::<InjectionRecord>() == 64);
    assert!(size_of::<Offsets>() == 75 * 4);
    assert!(size_of::<Settings>() == 13 * 4);
    assert!(size_of::<FileKey>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_words_of_connections_in_one_slot_differ() {
        let first = 7;
        let second = 7 + u64::from(POLICY_SLOTS);
        assert_eq!(policy_slot(first), policy_slot(second));
        assert_ne!(CapturePolicy::Ignore.word(first), CapturePolicy::Ignore.word(second));
        assert_eq!(CapturePolicy::Heads.word(3), 0);
    }

    #[test]
    fn each_direction_of_each_slot_has_a_word_of_its_own() {
        let last = u64::from(POLICY_SLOTS - 1);
        let indices = [(0, RECEIVE), (0, SEND), (1, RECEIVE), (last, SEND)];
        let indices = indices.map(|(connection, direction)| policy_index(connection, direction));
        assert_eq!(indices, [0, 1, 2, POLICY_WORDS - 1]);
    }

    #[test]
    fn kinds_of_policies_leave_the_tag_alone() {
        let connection = 7 + 5 * u64::from(POLICY_SLOTS);
        let all = [
            CapturePolicy::Heads,
            CapturePolicy::Ignore,
            CapturePolicy::BodyUntil { position: u32::MAX },
            CapturePolicy::Everything,
            CapturePolicy::Frames,
        ];
        for (kind, policy) in all.into_iter().enumerate() {
            let word = policy.word(connection);
            assert_eq!((word ^ policy_tag(connection)) >> 32, kind as u64);
        }
    }

    #[test]
    fn outcomes_stand_at_the_places_of_their_numbers() {
        for (number, outcome) in InjectionOutcome::ALL.into_iter().enumerate() {
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
