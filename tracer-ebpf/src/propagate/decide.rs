//! The decision for a message: whether it begins a request, and which header the request gets.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::{bpf_ktime_get_ns, bpf_msg_pull_data},
};
use tracer_common::InjectionOutcome;

use crate::{
    connection::Connection,
    context::{filed::file, parent::tracer_parent},
    http::{
        Text as _,
        head::Head,
        traceparent::{Ids, PARENT_LENGTH},
    },
    ids::{CHILD, ClientRequest, FORWARDED, ids_of, refused, wire_key},
    memory::{
        layout::{load, offset},
        words::copy,
    },
    propagate::{
        admit::{has_lease, is_blocking, is_called_back, is_unfit, leaves_at_once, may_enter, remote_key},
        framing::{Boundary, boundary},
        outgoing::{Outgoing, State},
        report::{refuse, refuse_all, told_of},
        third_party::tracer_other_host,
        write::{LONGEST_WITH_HEADER, PASS, has_space, push, rewrite},
    },
    scratch::{Scratch, give_back, scratch_at, take_scratch, tracer_trace_parent},
    select::Current,
};

/// Decides about a message before its bytes can leave.
#[inline(always)]
pub(crate) unsafe fn message(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
) -> u32 {
    // SAFETY: as the caller's.
    unsafe {
        let now = bpf_ktime_get_ns();
        if connection.pre_first_ns == 0 {
            connection.pre_first_ns = now;
        }
        connection.pre_last_ns = now;
        let at: u32 = load(tcp, offset!(tcp_sock_write_seq));
        connection.settle_push(at);
        let position = at.wrapping_sub(connection.inserted);
        let Some(current) = Current::selected() else {
            outgoing.is_certain = 0;
            outgoing.state = State::Leaving;
            refuse_all(outgoing, connection, 0, position, InjectionOutcome::ForeignSender);
            return PASS;
        };
        let pid = current.pid();
        // `kept_out` is set late if the socket could not be taken out at once.
        if outgoing.refused | outgoing.kept_out != 0 {
            outgoing.state = State::Leaving;
            return PASS;
        }
        // From here on: reasons that hold for all later requests of the connection.
        let first_only = leaves_at_once();
        let blocking = first_only || is_blocking(tcp);
        let leaving = if first_only { InjectionOutcome::FirstOnly } else { InjectionOutcome::Blocking };
        if outgoing.state == State::Outside {
            // The agent has put a pre-existing socket into the sockmap. It removes the socket when it gets this record.
            let why = if blocking { Err(leaving) } else { may_enter(tcp, outgoing) };
            if let Err(why) = why {
                if !refuse_all(outgoing, connection, pid, position, why) {
                    outgoing.refused = 0;
                }
                return PASS;
            }
            outgoing.state = State::Inside;
        }
        if blocking {
            // The socket would leave within a callback, but another program has disabled the callbacks.
            if !is_called_back(tcp) {
                if !refuse_all(outgoing, connection, pid, position, InjectionOutcome::InUse) {
                    outgoing.refused = 0;
                }
                return PASS;
            }
            outgoing.state = State::Leaving;
        }
        if let Some(why) = is_unfit(tcp) {
            outgoing.state = State::Leaving;
            refuse_all(outgoing, connection, pid, position, why);
            return PASS;
        }
        let size = (*msg).size;
        let again = outgoing.has_sent != 0 && outgoing.request_at == at;
        if !again && !(outgoing.is_certain != 0 && outgoing.boundary == at) {
            // Reset, because positions wrap around.
            outgoing.has_sent = 0;
            // Nothing begins inside a request whose end is known. A message beyond that end makes the end uncertain.
            if outgoing.is_certain != 0 {
                let inside = outgoing.boundary.wrapping_sub(at);
                if (inside as i32) > 0 && inside >= size {
                    return PASS;
                }
                outgoing.is_certain = 0;
                return PASS;
            }
            // The agent may know that a request begins here.
            match boundary(connection.number, position) {
                Boundary::Here => (),
                Boundary::Unknown => return PASS,
                Boundary::Never => {
                    outgoing.state = State::Leaving;
                    refuse_all(outgoing, connection, pid, position, InjectionOutcome::Tunnel);
                    return PASS;
                }
            }
        }
        // A request begins here. The position of the next request becomes certain only if the head is understood. The
        // state of an earlier request is cleared, which was not sent or had no turn of its own.
        connection.flags &= !Connection::HEADED;
        outgoing.is_filed = 0;
        outgoing.request_at = at;
        outgoing.has_sent = 1;
        outgoing.is_certain = 0;
        if !has_lease() {
            refuse(connection, pid, position, InjectionOutcome::Lease, false, 0);
            return PASS;
        }
        let policy = match request(msg, tcp, outgoing, connection, current, at, size) {
            Ok(policy) => policy,
            Err(outcome @ (InjectionOutcome::NotHttp | InjectionOutcome::Tunnel)) => {
                outgoing.state = State::Leaving;
                refuse_all(outgoing, connection, pid, position, outcome);
                PASS
            }
            Err(outcome) => {
                refuse(connection, pid, position, outcome, false, 0);
                PASS
            }
        };
        if blocking {
            refuse_all(outgoing, connection, pid, position.wrapping_add(1), leaving);
        }
        policy
    }
}

/// Handles a message that begins with a request. `at` is its position on the wire.
#[inline(always)]
unsafe fn request(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
) -> Result<u32, InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if (*msg).__bindgen_anon_1.data as usize == (*msg).__bindgen_anon_2.data_end as usize {
            return Err(InjectionOutcome::Spliced);
        }
        if size < Head::LEAST {
            return Err(InjectionOutcome::HeadCut);
        }
        let length = if size > LONGEST_WITH_HEADER { LONGEST_WITH_HEADER } else { size };
        if bpf_msg_pull_data(msg, 0, length, 0) != 0 {
            return Err(InjectionOutcome::PushFailed);
        }
        let index = take_scratch().ok_or(InjectionOutcome::NoSpace)?;
        let outcome = match scratch_at(index) {
            Some(scratch) => in_scratch(msg, tcp, outgoing, connection, current, at, size, scratch, index),
            None => Err(InjectionOutcome::NoSpace),
        };
        give_back(index);
        outcome
    }
}

/// As [`request`], with the scratch buffer that it has taken.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
unsafe fn in_scratch(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
    scratch: *mut Scratch,
    index: u64,
) -> Result<u32, InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        let length = if size > LONGEST_WITH_HEADER { LONGEST_WITH_HEADER } else { size };
        if !Scratch::look(scratch, index, (*msg).__bindgen_anon_1.data as u64, length) {
            return Err(InjectionOutcome::PushFailed);
        }
        let Head { head, request_line, flags, parents, parent_begin, states, body, .. } = (*scratch).head;
        if flags & Head::NOT_HTTP != 0 {
            return Err(InjectionOutcome::NotHttp);
        }
        if head == 0 {
            return Err(if size > LONGEST_WITH_HEADER {
                InjectionOutcome::HeadTooLong
            } else {
                InjectionOutcome::HeadCut
            });
        }
        if flags & Head::ODD != 0 {
            return Err(InjectionOutcome::NotUnderstood);
        }
        if flags & Head::CONNECT != 0 {
            return Err(InjectionOutcome::Tunnel);
        }
        // A forward proxy passes the request on to the host that its target names. The text is not there any more once the
        // parent was looked for.
        let flags = flags | tracer_other_host(index) as u32;
        // After an upgrade, a chunked body or an expectation, only the agent knows where the next request begins.
        let end = u64::from(head) + body;
        let follows = flags & (Head::CHUNKED | Head::UPGRADE | Head::EXPECT) == 0
            && end < 1 << 30
            && u64::from(size) <= end;
        outgoing.is_certain = u8::from(follows);
        outgoing.boundary = at.wrapping_add(end as u32);
        (*scratch).client.own.span = 0;
        // A `traceparent` of another version can have further parts that would have to change.
        let is_plain = (*scratch).head.parent_end.wrapping_sub(parent_begin) == PARENT_LENGTH
            && (*scratch).text.word(u64::from(parent_begin)) as u16 == u16::from_le_bytes(*b"00");
        if parents != 0 && tracer_trace_parent(index) != 0 && is_plain {
            let ClientRequest { found, own, .. } = &mut (*scratch).client;
            copy(found, own);
        }
        copy(&outgoing.opened_for, &mut (*scratch).client.opened_for);
        (*scratch).client.was_idle = u64::from(outgoing.was_idle);
        (*scratch).client.remote = remote_key(tcp);
        outgoing.opened_for.connection = 0;
        outgoing.was_idle = 0;
        let found = tracer_parent(index, current.both());
        copy(&(*scratch).client.parent, &mut outgoing.serves);
        if outgoing.serves.connection != 0 {
            connection.flags |= Connection::ATTRIBUTED;
        }
        let position = at.wrapping_sub(connection.inserted);
        let ids = ids_of(connection.number, position, &(*scratch).client, found);
        let headed = give(
            msg,
            tcp,
            outgoing,
            connection,
            current,
            at,
            size,
            scratch,
            head,
            request_line,
            flags,
            parents,
            parent_begin,
            states,
            found,
            &ids,
        );
        if headed.is_err() && connection.flags & Connection::HEADED == 0 {
            let wire = wire_key(at, load(tcp, offset!(tcp_sock_copied_seq)));
            file(scratch, wire, &ids, found);
            outgoing.is_filed = 1;
        }
        headed
    }
}

/// Inserts a header into a request, or rewrites the header that the request forwards.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
unsafe fn give(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
    scratch: *mut Scratch,
    head: u32,
    request_line: u32,
    flags: u32,
    parents: u32,
    parent_begin: u32,
    states: u32,
    found: u64,
    ids: &Ids,
) -> Result<u32, InjectionOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if parents != 0 {
            // A request with a header of its own is linked by that header.
            let client = &(*scratch).client;
            let is_forwarded = found == CHILD
                && client.own.span != 0
                && client.own.span == client.ids.span
                && client.own.trace[0] == client.ids.trace[0]
                && client.own.trace[1] == client.ids.trace[1];
            connection.flags |= Connection::HEADED;
            if !is_forwarded {
                return Err(InjectionOutcome::OwnHeader);
            }
            if flags & Head::OTHER_HOST != 0 {
                return Err(InjectionOutcome::OtherHost);
            }
            // As for an insertion: a send that ends within the line would send a part of the change.
            if !has_space(tcp, head) {
                return Err(InjectionOutcome::QueueNotEmpty);
            }
            rewrite(msg, parent_begin, ids)?;
            told_of(
                connection,
                current,
                at,
                ids,
                &(*scratch).client.parent,
                InjectionOutcome::Rewritten,
                FORWARDED,
                0,
            );
            return Ok(PASS);
        }
        if flags & Head::OTHER_CONTEXT != 0 {
            return Err(InjectionOutcome::OwnHeader);
        }
        if flags & Head::OTHER_HOST != 0 {
            return Err(InjectionOutcome::OtherHost);
        }
        if let Some(outcome) = refused(found) {
            return Err(outcome);
        }
        // The `tracestate` of the parent is inserted too, unless the application sends one.
        let state = if states == 0 && found == CHILD { (*scratch).client.state_length } else { 0 };
        push(msg, tcp, outgoing, connection, current, at, size, scratch, head, request_line, state, ids)
    }
}
