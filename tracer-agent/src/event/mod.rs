//! What the kernel and the host report, decoded once, and recordings of it.

#![forbid(unsafe_code)]

pub mod input;
pub mod recording;
pub mod wire;

use std::fmt;

use tracer_common::{
    CloseRecord, DataHeader, InjectionRecord, OpenRecord, ProcessRecord, RunRecord, TaskRecord,
    UnconnectedRecord,
};
use zerocopy::Unalign;

pub use self::{
    input::{Input, Tell},
    wire::Malformed,
};

/// What the kernel programs report. Bytes are borrowed from the record.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A syscall moved bytes on a connection.
    Data(Data<'a>),
    /// A connection before its first data.
    Open(OpenEvent<'a>),
    /// A connection, or this end of it, was closed.
    Close(CloseRecord),
    /// A process executed another program.
    Exec(Exec<'a>),
    /// A selected process made another one.
    Fork(ProcessRecord),
    /// The last thread of a selected process ended.
    Exit(ProcessRecord),
    /// A selected process listens on a port, or the port selected the process.
    Listen(ProcessRecord),
    /// A selected process serves on a socket of a kind that is not read.
    Unread(ProcessRecord),
    /// A request got a trace header, or why it got none.
    Injection(InjectionRecord),
    /// Which task of a runtime reads or sends the request that follows.
    Task(TaskRecord),
    /// A connection that a selected process wanted to open did not come about.
    Unconnected(UnconnectedRecord),
    /// What an event loop does when it makes the call that follows.
    Run(Run<'a>),
}

/// Bytes that moved, and those of them that were copied.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    /// The fixed part, where it stands in the record.
    pub fixed: &'a Unalign<DataHeader>,
    /// The copied bytes that begin at the header's `prefix_offset`.
    pub head: &'a [u8],
    /// The copied bytes at the end of the syscall.
    pub tail: &'a [u8],
}

/// What an event loop does.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The record, where it stands in the ring.
    pub fixed: &'a Unalign<RunRecord>,
}

impl Run<'_> {
    /// The record.
    #[inline]
    pub fn record(&self) -> RunRecord {
        self.fixed.get()
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record().fmt(f)
    }
}

impl Data<'_> {
    /// The fixed part.
    #[inline]
    pub fn header(&self) -> DataHeader {
        self.fixed.get()
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, tail, .. } = self;
        let header = self.header();
        f.debug_struct("Data").field("header", &header).field("head", head).field("tail", tail).finish()
    }
}

/// A connection before its first data.
#[derive(Clone, Copy, Debug)]
pub struct OpenEvent<'a> {
    /// The fixed part.
    pub record: OpenRecord,
    /// Name of a Unix socket; empty for IP.
    pub name: &'a [u8],
}

/// A process that executed another program.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The fixed part.
    pub process: ProcessRecord,
    /// Name of the file without its path, zero-padded.
    file: &'a [u8],
}

impl Exec<'_> {
    /// Name of the executed file, without its path.
    pub fn file_name(&self) -> String {
        let name = self.file.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}
