//! Tasks of runtimes: how the kernel programs read them from a process's memory, and what they report.

/// How the goroutine that makes a system call is read in a process that runs a Go program: offsets of fields in Go's own
/// structures, bytes, and two addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "zerocopy", derive(zerocopy::IntoBytes, zerocopy::Immutable))]
#[repr(C)]
pub struct GoPlan {
    /// `runtime.g.goid`.
    pub id: u32,
    /// `runtime.g.parentGoid`; 0 before Go 1.21, which does not have it.
    pub creator: u32,
    /// `runtime.g.startpc`.
    pub start: u32,
    /// `runtime.g.m`.
    pub thread: u32,
    /// `runtime.m.procid`.
    pub thread_id: u32,
    /// `runtime.m.p`, or `oldp` where a system call takes the processor away.
    pub processor: u32,
    /// `runtime.p.goidcache`.
    pub next_id: u32,
    /// `runtime.hchan.recvq`.
    pub receivers: u32,
    /// `runtime.sudog.c`.
    pub channel: u32,
    /// Distance of the channel on which a caller waits from the end of the stack of `net/http`'s write loop; 0 if it is
    /// not known.
    pub written: u32,
    /// Where a goroutine of that loop starts; 0 if the program has none.
    pub write_loop: u64,
    /// Address of `runtime.sched.goidgen`; 0 if it is not known.
    pub last_id: u64,
}

/// A goroutine reads the head of a server request or sends a client request. It comes before the data record of that
/// call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct TaskRecord {
    /// [`Kind::Task`](crate::Kind::Task).
    pub kind: u8,
    /// [`RECEIVE`](crate::RECEIVE) or [`SEND`](crate::SEND).
    pub direction: u8,
    /// Always 0.
    pub zero: u16,
    /// Process, in the initial namespace.
    pub pid: u32,
    /// Time, `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The task; of a request that another one sends for it, the one that waits.
    pub task: u64,
    /// The task that made it; 0 if that is not known.
    pub creator: u64,
    /// Address of the function that it runs.
    pub start: u64,
    /// No task that exists has a higher number; 0 if that is not known.
    pub last_id: u64,
    /// The next task that is made on the same processor gets this number, if its batch is not used up; 0 if that is not
    /// known.
    pub next_id: u64,
}
