//! What the kernel side remembers of a connection. It lives in the socket's own storage, which the kernel frees with
//! the socket.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::SkStorage,
    helpers::generated::bpf_sk_storage_get,
    macros::{btf_map, map},
    maps::Array,
};
use tracer_common::KernelCounter;

use crate::{
    memory::{
        atomic,
        layout::{load, offset},
    },
    ring::count,
};

/// `include/net/tcp_states.h`.
pub(crate) mod state {
    pub(crate) const SYN_SENT: i32 = 2;
    pub(crate) const FIN_WAIT1: i32 = 4;
    pub(crate) const FIN_WAIT2: i32 = 5;
    pub(crate) const TIME_WAIT: i32 = 6;
    pub(crate) const CLOSE: i32 = 7;
    pub(crate) const LAST_ACK: i32 = 9;
    pub(crate) const LISTEN: i32 = 10;
    pub(crate) const CLOSING: i32 = 11;
}

pub(crate) const AF_INET6: u16 = 10;

const STORAGE_CREATE: u64 = 1;

/// What the kernel side remembers of a connection.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Connection {
    /// Given at creation, never used twice; 0 in storage that is new.
    pub(crate) number: u64,
    /// When this end called `connect`; 0 if it did not, or nobody saw it.
    pub(crate) connect_ns: u64,
    /// When the first and the last part of the send in progress could leave; 0 if unknown.
    pub(crate) pre_first_ns: u64,
    pub(crate) pre_last_ns: u64,
    /// Bytes still to copy of the message that began at the last change of direction.
    pub(crate) budget: u32,
    /// Bytes still to copy of a head that outgrew the budget.
    pub(crate) open_budget: u32,
    /// End of the last body after which the budget was filled again.
    pub(crate) body_end: u32,
    /// Records that found no space since the last one that did.
    pub(crate) lost: u32,
    /// Direction of the last call plus one; 0 before the first.
    pub(crate) turn: u8,
    /// `Connection::HEAD_*`: what is known of the head that began at the last change of direction.
    pub(crate) head: u8,
    /// `Connection::*` bits.
    pub(crate) flags: u8,
    /// `Connection::ROLE_*`: what is known of who opened it, if bytes had moved before its first record.
    pub(crate) role: u8,
    /// The process that reads the request which is served, or that opened the connection.
    pub(crate) served_by: u32,
    /// Slot of the request that is served: see `context::request`.
    pub(crate) request_slot: u32,
    /// Bytes that were pushed into what is sent; positions that the agent gets leave them out.
    pub(crate) inserted: u32,
    /// Bytes pushed into the send at this position, which may still fail.
    pub(crate) push: u32,
    pub(crate) push_at: u32,
    /// The last bytes of an open head, the newest lowest: its empty line may be cut.
    pub(crate) last_bytes: u32,
    pub(crate) zero_behind: u32,
}

impl Connection {
    /// Nothing is known.
    pub(crate) const HEAD_UNKNOWN: u8 = 0;
    /// It outgrew the budget and is not complete.
    pub(crate) const HEAD_OPEN: u8 = 1;
    /// Its empty line was seen.
    pub(crate) const HEAD_COMPLETE: u8 = 2;
    /// The budget ended with a call, and it may go on in the next.
    pub(crate) const HEAD_SPENT: u8 = 3;
    /// The agent has its open record.
    pub(crate) const ANNOUNCED: u8 = 1;
    /// Its bytes are not the stream's: an upper layer protocol sits in the kernel.
    pub(crate) const UPPER_LAYER: u8 = 2;
    /// These bits tell that nothing is left to find out: [`Self::ANNOUNCED`] alone.
    pub(crate) const SETTLED: u8 = Self::ANNOUNCED | Self::UPPER_LAYER;
    /// The process has read the end of the stream.
    pub(crate) const ENDED: u8 = 4;
    /// A request was read of it whose answer has not begun.
    pub(crate) const SERVING: u8 = 8;
    /// The head of the request that is read is not complete.
    pub(crate) const PARTIAL: u8 = 32;
    /// Its client requests have known parents.
    pub(crate) const ATTRIBUTED: u8 = 16;
    /// The call that is sent has a trace header.
    pub(crate) const HEADED: u8 = 64;
    /// The task that reads its requests is known.
    pub(crate) const TASK_KNOWN: u8 = 128;
    /// It is known from its first byte on: the process that is traced opened it if `connect_ns` is there.
    pub(crate) const ROLE_SEEN: u8 = 0;
    /// Bytes had moved before.
    pub(crate) const ROLE_UNKNOWN: u8 = 1;
    /// Bytes had moved before, and the process that is traced has received an HTTP response on it.
    pub(crate) const ROLE_CLIENT: u8 = 2;

    /// Whether a process that is traced opened it.
    #[inline(always)]
    pub(crate) fn is_outgoing(&self) -> bool {
        self.connect_ns != 0
    }

    /// Whether a process that is traced is the client of it, as far as is known.
    #[inline(always)]
    pub(crate) fn is_client(&self) -> bool {
        self.is_outgoing() || self.role == Self::ROLE_CLIENT
    }

    /// The stream has come to `written`: the bytes pushed into the last send have left, or nothing has.
    #[inline(always)]
    pub(crate) fn settle_push(&mut self, written: u32) {
        if self.push != 0 {
            if written != self.push_at {
                self.inserted = self.inserted.wrapping_add(self.push);
            }
            self.push = 0;
        }
    }
}

#[btf_map]
static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// The number of the connection that was created last.
#[map]
static LAST_NUMBER: Array<u64> = Array::with_max_entries(1, 0);

/// The storage of a socket that has some.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn find<'a>(sk: *mut c_void) -> Option<&'a mut Connection> {
    // SAFETY: the helper checks the socket; the value lives as long as the program runs.
    unsafe {
        bpf_sk_storage_get((&raw const CONNECTIONS).cast_mut().cast(), sk, core::ptr::null_mut(), 0)
            .cast::<Connection>()
            .as_mut()
    }
}

/// The storage of a socket, new if it has none.
///
/// # Safety
/// See [`find`].
#[inline(always)]
pub(crate) unsafe fn find_or_create<'a>(sk: *mut c_void) -> Option<&'a mut Connection> {
    // SAFETY: see `find`; the kernel zeroes new storage.
    let connection = unsafe {
        bpf_sk_storage_get(
            (&raw const CONNECTIONS).cast_mut().cast(),
            sk,
            core::ptr::null_mut(),
            STORAGE_CREATE,
        )
        .cast::<Connection>()
        .as_mut()
    };
    let Some(connection) = connection else {
        count(KernelCounter::NoStorage, 1);
        return None;
    };
    if connection.number == 0 {
        connection.number = next_number()?;
    }
    Some(connection)
}

#[inline(always)]
pub(crate) fn next_number() -> Option<u64> {
    let last = LAST_NUMBER.get_ptr_mut(0)?;
    // SAFETY: a live map value, changed only here.
    Some(unsafe { atomic::add(last, 1) } + 1)
}

/// Bit of `sk_flags` (`enum sock_flags`): the peer's FIN was received. No state tells that: a socket
/// that was closed by it may still hold bytes that the process has not read, and the FIN behind them.
const SOCK_DONE: u64 = 1;

/// Whether the peer's FIN has been received.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn has_received_fin(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe { load::<u64>(sk, offset!(sock_flags)) >> SOCK_DONE & 1 != 0 }
}

/// Whether the process has let go of the socket: bit `SOCK_DEAD` of `sk_flags`.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn is_let_go(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe { load::<u64>(sk, offset!(sock_flags)) & 1 != 0 }
}

#[inline(always)]
pub(crate) fn has_sent_fin(state: i32) -> bool {
    matches!(state, state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING | state::TIME_WAIT)
}
