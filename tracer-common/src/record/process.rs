//! The life of processes.

use core::mem::size_of;

use crate::NAME_BYTES;

/// An exec, fork, exit or listen of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct ProcessRecord {
    /// [`Kind::Exec`](crate::Kind::Exec), [`Kind::Fork`](crate::Kind::Fork), [`Kind::Exit`](crate::Kind::Exit),
    /// [`Kind::Listen`](crate::Kind::Listen) or [`Kind::Unread`](crate::Kind::Unread).
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

/// A [`Kind::Exec`](crate::Kind::Exec): the process, and the file that it executes.
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

const _: () = {
    assert!(size_of::<ProcessRecord>() == 24);
    assert!(size_of::<ExecRecord>() == 24 + NAME_BYTES);
};
