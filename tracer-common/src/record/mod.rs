//! Records of the ring: each begins with one byte for its kind.

mod connection;
mod data;
mod injection;
mod process;

use core::mem::size_of;

pub use self::connection::{
    CLOSE_ALL, CLOSE_EARLY, CLOSE_SEND, CLOSE_UNREAD, CLOSE_UNSEEN, CloseRecord, IDENTITY_NONE,
    IDENTITY_SEQUENCE, IDENTITY_SOCKETS, OPEN_BIRTH, OPEN_CLIENT, OPEN_CLOSED, OPEN_SERVER, OpenRecord,
    TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_UNIX_MESSAGES, TRANSPORT_UNIX_STREAM, UnconnectedRecord,
    is_close_of_send,
};
pub use self::data::{DataHeader, NoBytes};
pub use self::injection::InjectionRecord;
pub use self::process::{ExecRecord, ProcessRecord};
use crate::{RunRecord, TaskRecord};

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
