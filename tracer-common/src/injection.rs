//! Trace headers in client requests: what became of them, whose they are, and their ids.

/// The outcome of the injection into a client request: injected, rewritten, or declined with a reason
/// ([`InjectionRecord::outcome`](crate::InjectionRecord::outcome)).
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

/// Bit in a word of `BOUNDARIES`, which also has a connection's [`policy_tag`](crate::policy_tag): the next bytes that
/// are sent, if any, are a request that begins at the position in the low half of the word.
pub const BOUNDARY_HERE: u64 = 1 << 32;
/// See [`BOUNDARY_HERE`]: no request will follow.
pub const BOUNDARY_NEVER: u64 = 1 << 33;

/// Bytes of an inserted `traceparent`: field name with separator, 55 bytes of value, line end.
pub const PARENT_BYTES: u32 = 13 + 55 + 2;
/// Longest `tracestate` that is inserted, bytes: the length that every participant must support (W3C Trace Context).
pub const MAX_STATE: u32 = 512;

/// [`InjectionRecord::evidence`](crate::InjectionRecord::evidence): there is no known parent, the client request begins
/// a trace.
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

/// A 64-bit id for a message by its position, never 0. `direction` ([`RECEIVE`](crate::RECEIVE) or
/// [`SEND`](crate::SEND)) is that of the message's first byte: the positions of the two directions are independent of
/// each other. For connection numbers below 2^31, two messages never mix to the same value, because the mixing function
/// (the finalizer of `SplitMix64`; Steele, Lea, Flood 2014) is a bijection; only the value 0 becomes 1.
#[inline(always)]
pub const fn id_of(seed: u64, connection: u64, direction: u8, position: u32) -> u64 {
    let z = connection << 33 | (direction as u64) << 32 | position as u64;
    let z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let id = z ^ z >> 31;
    if id == 0 { 1 } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RECEIVE, SEND};

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
