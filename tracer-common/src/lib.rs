//! The interface between the kernel programs and the agent: records of the ring, capture policies, counters, limits.
//!
//! Records are `#[repr(C)]`, begin with one byte for their [`Kind`], and have no padding, so no uninitialised kernel
//! memory reaches the ring. The derives of zerocopy prove this when the agent is compiled (feature `zerocopy`). The
//! layout in the kernel programs is the same.
//!
//! New fields are added at the end of a record only. A recording contains the size of each kind
//! ([`Kind::fixed_bytes`]), so a newer agent reads older recordings.

#![no_std]

mod capture_policy;
mod counter;
mod injection;
mod offsets;
mod record;
mod runtime;
mod settings;

pub use self::{
    capture_policy::{
        CapturePolicy, POLICY_BODY, POLICY_EVERYTHING, POLICY_FRAMES, POLICY_HEADS, POLICY_IGNORE,
        POLICY_SLOTS, POLICY_WORDS, policy_index, policy_slot, policy_tag,
    },
    counter::{KERNEL_COUNTERS, KernelCounter},
    injection::{
        BOUNDARY_HERE, BOUNDARY_NEVER, EVIDENCE_CONTEXT, EVIDENCE_FORWARDED, EVIDENCE_GOROUTINE,
        EVIDENCE_NONE, EVIDENCE_PROXY, EVIDENCE_REQUEST_STRUCTURE, EVIDENCE_SOLE_REQUEST, EVIDENCE_UNIT,
        EVIDENCE_VIRTUAL_THREAD, InjectionOutcome, MAX_STATE, PARENT_BYTES, PROFILE_DEFERRED,
        PROFILE_GOROUTINES, PROFILE_NONE, PROFILE_PROXY, PROFILE_SOLE_OWN, PROFILE_SOLE_REQUEST,
        PROFILE_THREADS, RANDOM_BITS, Seeds, id_of,
    },
    offsets::{ABSENT, Offsets},
    record::{
        CLOSE_ALL, CLOSE_EARLY, CLOSE_SEND, CLOSE_UNREAD, CLOSE_UNSEEN, CloseRecord, DataHeader, ExecRecord,
        FLAG_CONTINUES, FLAG_DATAGRAM, FLAG_END, FLAG_PRE_SEND, FLAG_TURN, IDENTITY_NONE, IDENTITY_SEQUENCE,
        IDENTITY_SOCKETS, InjectionRecord, Kind, NoBytes, OPEN_BIRTH, OPEN_CLIENT, OPEN_CLOSED, OPEN_SERVER,
        OpenRecord, ProcessRecord, RECEIVE, SEND, TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_UNIX_MESSAGES,
        TRANSPORT_UNIX_STREAM, UnconnectedRecord, is_close_of_send,
    },
    runtime::{
        GREENLET, GoPlan, GoTask, HAS_GROUP, IN_ATTRIBUTES, JavaPlan, NodePlan, PLAN_WORDS, PythonLayout,
        PythonPlan, PythonSender, PythonTask, PythonWorker, RUN_ALONE, RUN_CHECKS, RUN_CLIENT_REQUEST,
        RUN_CLIENT_RESPONSE, RUN_CONNECT, RUN_OTHER, RUN_SERVER_REQUEST, RUN_SERVER_RESPONSE, RUNTIME_GO,
        RUNTIME_GREENLETS, RUNTIME_JAVA, RUNTIME_NGINX, RUNTIME_NODE, RUNTIME_PYTHON, RunRecord, STACK_WORDS,
        TASK_FACTS, TaskPlan, TaskRecord, UNNUMBERED, VIRTUAL_THREAD,
    },
    settings::{FileKey, RULE_EXCLUDE, RULE_LOOK, RULE_SELECT, Settings},
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

/// Port of iSCSI targets. An initiator hands its socket over to the kernel, which then overwrites the data of a sockmap
/// in it (`iscsi_sw_tcp_conn_set_callbacks`, `drivers/scsi/iscsi_tcp.c`), so that the socket cannot be closed any more.
pub const ISCSI_PORT: u16 = 3260;
