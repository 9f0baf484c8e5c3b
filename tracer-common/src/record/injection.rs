//! What became of the trace header of a client request.

use core::mem::size_of;

/// The outcome of the injection into a client request, or into all later ones of a connection. It precedes the data
/// record of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct InjectionRecord {
    /// [`Kind::Injection`](crate::Kind::Injection).
    pub kind: u8,
    /// A [`InjectionOutcome`](crate::InjectionOutcome).
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
    /// Connection number of the parent; 0 for none. With [`InjectionOutcome::InUse`](crate::InjectionOutcome::InUse)
    /// and [`InjectionOutcome::MemoryPressure`](crate::InjectionOutcome::MemoryPressure), the key in `SOCKETS` of a
    /// socket that cannot leave the sockmap by itself.
    pub parent_connection: u64,
    /// Position of the parent's first byte.
    pub parent_position: u32,
    /// 1 if the outcome holds for all later requests of the connection.
    pub lasting: u16,
    /// Bytes that were inserted into this request.
    pub pushed: u16,
    /// See [`DataHeader::task`](crate::DataHeader::task).
    pub task: u64,
}

const _: () = {
    assert!(size_of::<InjectionRecord>() == 64);
};
