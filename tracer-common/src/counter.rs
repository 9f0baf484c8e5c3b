//! Counters of the kernel programs.

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

/// Number of [`KernelCounter`]s.
pub const KERNEL_COUNTERS: u32 = 13;
