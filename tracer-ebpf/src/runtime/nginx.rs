//! Requests of nginx.
//!
//! Where nginx writes, a register that calls preserve holds the connection (`ngx_connection_t`): its fd is that of the
//! call. While it serves a request, the connection's data is the request (`ngx_http_request_t`), which begins with a
//! signature and names the client's connection. All of these fields have the same places in all versions.

use aya_ebpf::bindings::pt_regs;
use tracer_common::KernelCounter;

use super::base::{word, words};
use crate::{memory::arch::first_argument, ring::count};

/// `NGX_HTTP_MODULE` ("HTTP"), the first word of a request.
const SIGNATURE: u32 = 0x5054_5448;
/// Where a connection has its fd (with the half of another field).
const FD: u32 = 24;
/// No client's connection is task 0.
pub(super) const CLIENT: u64 = 1 << 40;

/// Whether a task is a client's connection.
#[inline(always)]
pub(super) fn is_client(task: u64) -> bool {
    task >> 32 == CLIENT >> 32
}

/// The client's connection on which the running call reads or answers a request: its fd, and [`CLIENT`].
#[inline(always)]
pub(super) unsafe fn client(registers: *const pt_regs) -> u64 {
    // SAFETY: the caller's registers.
    CLIENT | u64::from(unsafe { first_argument(registers) } as u32)
}

/// The client's connection for which the running call sends an upstream request; 0 if it is not known.
#[inline(always)]
pub(super) unsafe fn sending_task(registers: *const pt_regs) -> u64 {
    // SAFETY: the caller's registers; user memory is read through helpers.
    unsafe {
        let fd = first_argument(registers) as u32;
        let places = [
            (*registers).rbx,
            (*registers).rbp,
            (*registers).r12,
            (*registers).r13,
            (*registers).r14,
            (*registers).r15,
        ];
        for connection in places {
            let client = tracer_nginx_client(connection, u64::from(fd));
            if client != 0 {
                return client;
            }
        }
        count(KernelCounter::TaskUnread, 1);
        0
    }
}

/// The client's connection of the request that nginx keeps with a connection, if that is one and has this fd; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_nginx_client(connection: u64, fd: u64) -> u64 {
    if word(connection, FD) as u32 != fd as u32 {
        return 0;
    }
    let [signature, client] = words(word(connection, 0), 0);
    if signature as u32 != SIGNATURE {
        return 0;
    }
    CLIENT | word(client, FD) & 0xffff_ffff
}
