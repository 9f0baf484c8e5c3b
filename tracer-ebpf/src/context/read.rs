//! The reading of a server request.

use tracer_common::DataHeader;

use crate::{
    connection::Connection,
    context::{
        process::serves,
        request::{LONG, REQUESTS, Request, claim, claim_again, ends_head, is_method, keep, release},
        thread::set_working,
    },
    ids::ServedRequest,
    memory::user::Buffers,
    runtime,
    select::Current,
};

/// Keeps the head of a request that a process reads: the beginning if `begins` is true, else a later part. `answer_at`
/// is the position at which the response will begin. If the connection `is_closed`, a peer that is gone left the request
/// behind: nothing tells its end, so it does not count as open.
///
/// # Safety
/// `header` describes the running call, and `buffers` are its buffers.
#[inline(always)]
pub(crate) unsafe fn read_request(
    connection: &mut Connection,
    header: &DataHeader,
    buffers: &Buffers,
    answer_at: u32,
    (begins, is_closed): (bool, bool),
) {
    let how = u64::from(begins) | u64::from(is_closed) << 1 | header.task << 2;
    let lengths = buffers.first_length() << 32 | u64::from(header.length);
    let places = u64::from(header.position) << 32 | u64::from(answer_at);
    tracer_request(connection, buffers.first(), lengths, places, how);
}

/// [`read_request`] with packed parameters: the high half of `lengths` is the number of bytes at `from`, the low half
/// that of the whole call. The halves of `places` are the positions of the first byte and of the response. The lowest
/// bits of `how` are `begins` and `is_closed`, the others the task that reads.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_request(
    connection: *mut Connection,
    from: u64,
    lengths: u64,
    places: u64,
    how: u64,
) -> u64 {
    let current = Current::any();
    let (there, length) = (lengths >> 32, lengths as u32);
    let (position, answer_at) = ((places >> 32) as u32, places as u32);
    let (begins, is_closed) = (how & 1 != 0, how & 2 != 0);
    // SAFETY: the verifier passes a live value of that size, or null.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let request = if begins {
            connection.flags &= !Connection::PARTIAL;
            claim(connection)
        } else {
            claim_again(connection)
        };
        let mut is_request = true;
        // Without a slot, the request is counted and its head is not kept.
        if let Some(request) = request {
            let request = &mut *request;
            if begins {
                request.position = position;
                request.answer_at = answer_at;
                request.received = 0;
                request.length = 0;
                request.long = 0;
                request.state = if is_closed { Request::ANSWERED } else { Request::OPEN };
            }
            let is_next = request.received == request.length
                && position == request.position.wrapping_add(request.received);
            let kept = if is_next { keep(connection.number, request, from, there) } else { 0 };
            request.received = request.received.saturating_add(length);
            is_request = !begins || kept < 3 || is_method(request);
            release(request, if is_request { connection.number } else { 0 });
            let goes_on = is_request && kept == length && request.length < LONG && !ends_head(request);
            connection.flags =
                connection.flags & !Connection::PARTIAL | if goes_on { Connection::PARTIAL } else { 0 };
        }
        let slot = connection.request_slot;
        let Some(request) = REQUESTS.get_ptr(slot) else { return 0 };
        let served = ServedRequest {
            // If the bytes are no request, the thread may work for something that is not read.
            connection: if is_request { connection.number } else { 0 },
            position: if begins { position } else { (*request).position },
            slot,
            used: 0,
            shared: 0,
        };
        let task = how >> 2;
        let mut reader = current.of_task(task);
        loop {
            set_working(reader, &served, false);
            if reader == current || !runtime::is_of_thread_too(task) {
                break;
            }
            reader = current;
        }
        if begins && is_request && !is_closed {
            connection.flags |= Connection::SERVING;
            connection.served_by = current.pid();
            serves(current.pid(), &served);
        }
    }
    0
}
