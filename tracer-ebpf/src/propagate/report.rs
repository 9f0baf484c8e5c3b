//! Records for the agent: the outcomes of injections.

use tracer_common::{InjectionOutcome, InjectionRecord, KernelCounter, Kind};

use crate::{
    connection::Connection,
    http::traceparent::Ids,
    ids::{NONE, ServedRequest},
    memory::words::clear,
    propagate::outgoing::Outgoing,
    ring::{FORCE_WAKEUP, count, reserve, submit_flags},
    select::Current,
};

/// Outputs the record of a request with an inserted or rewritten header. The fields are written one by one, because the
/// compiler would clear a whole record byte by byte.
#[inline(always)]
unsafe fn tell(connection: &Connection, record: Told) -> bool {
    let Some(mut entry) = reserve::<InjectionRecord>() else {
        count(KernelCounter::LostData, 1);
        return false;
    };
    // SAFETY: every field of the record is written; the trace id is at a multiple of eight.
    unsafe {
        let to = entry.as_mut_ptr();
        (&raw mut (*to).kind).write_volatile(Kind::Injection as u8);
        (&raw mut (*to).outcome).write_volatile(record.outcome as u8);
        (&raw mut (*to).evidence).write_volatile(record.evidence);
        (&raw mut (*to).trace_flags).write_volatile(record.ids.flags as u8);
        (&raw mut (*to).pid).write_volatile(record.pid);
        (&raw mut (*to).connection).write_volatile(connection.number);
        (&raw mut (*to).position).write_volatile(record.position);
        (&raw mut (*to).inserted).write_volatile(record.inserted);
        let trace: *mut u64 = (&raw mut (*to).trace_id).cast();
        trace.write_volatile(record.ids.trace[0]);
        trace.add(1).write_volatile(record.ids.trace[1]);
        (&raw mut (*to).parent_connection).write_volatile(record.parent_connection);
        (&raw mut (*to).parent_position).write_volatile(record.parent_position);
        (&raw mut (*to).lasting).write_volatile(0);
        (&raw mut (*to).pushed).write_volatile(record.pushed as u16);
        (&raw mut (*to).task).write_volatile(0);
    }
    entry.submit(submit_flags(false));
    true
}

/// The values of a [`InjectionRecord`].
pub(crate) struct Told {
    pub(crate) outcome: InjectionOutcome,
    pub(crate) evidence: u8,
    pub(crate) pid: u32,
    pub(crate) position: u32,
    pub(crate) inserted: u32,
    pub(crate) ids: Ids,
    pub(crate) parent_connection: u64,
    pub(crate) parent_position: u32,
    pub(crate) pushed: u32,
}

/// Outputs the record of a request without a header. Returns whether the ring had space.
#[inline(always)]
pub(crate) fn refuse(
    connection: &Connection,
    pid: u32,
    position: u32,
    outcome: InjectionOutcome,
    lasting: bool,
    key: u64,
) -> bool {
    let places = u64::from(pid) << 32 | u64::from(position);
    tracer_refuse(connection.number, places, outcome as u64, u64::from(lasting), key) != 0
}

/// Reports, once, that no request of a connection outside the sockmap gets a header. `why` is the number of the outcome,
/// plus one.
#[inline(always)]
pub(crate) fn refuse_as(outgoing: &mut Outgoing, connection: &Connection, position: u32, why: u8) {
    if outgoing.refused == 0 {
        outgoing.refused = why;
        tracer_refuse(connection.number, u64::from(position), u64::from(why) - 1, 1, outgoing.key);
    }
}

/// [`refuse`] with packed parameters: the halves of `places` are process and position.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_refuse(number: u64, places: u64, outcome: u64, lasting: u64, key: u64) -> u64 {
    let Some(mut entry) = reserve::<InjectionRecord>() else {
        count(KernelCounter::LostData, 1);
        return 0;
    };
    // SAFETY: every byte of the record is cleared by words, then its fields are written.
    unsafe {
        let to = entry.as_mut_ptr();
        clear(to);
        (*to).kind = Kind::Injection as u8;
        (*to).outcome = outcome as u8;
        (*to).evidence = NONE;
        (*to).pid = (places >> 32) as u32;
        (*to).connection = number;
        (*to).position = places as u32;
        (*to).parent_connection = key;
        (*to).lasting = lasting as u16;
    }
    // A socket that only the agent can take out of the sockmap waits for it.
    entry.submit(if key != 0 { FORCE_WAKEUP } else { submit_flags(false) });
    1
}

/// Reports, once, that no later request of this connection gets a header. Returns whether the agent was told, now or
/// before.
#[inline(always)]
pub(crate) fn refuse_all(
    outgoing: &mut Outgoing,
    connection: &Connection,
    pid: u32,
    position: u32,
    why: InjectionOutcome,
) -> bool {
    if outgoing.refused != 0 {
        return true;
    }
    outgoing.refused = why as u8 + 1;
    let key = if matches!(why, InjectionOutcome::InUse | InjectionOutcome::MemoryPressure) {
        outgoing.key
    } else {
        0
    };
    refuse(connection, pid, position, why, true, key)
}

/// Reports a request with an inserted or rewritten header.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
pub(crate) unsafe fn told_of(
    connection: &Connection,
    current: Current,
    at: u32,
    ids: &Ids,
    parent: &ServedRequest,
    outcome: InjectionOutcome,
    evidence: u8,
    pushed: u32,
) {
    let is_known = parent.connection != 0;
    let record = Told {
        outcome,
        evidence,
        pid: current.pid(),
        position: at.wrapping_sub(connection.inserted),
        inserted: connection.inserted,
        ids: *ids,
        parent_connection: parent.connection,
        parent_position: if is_known { parent.position } else { 0 },
        pushed,
    };
    // SAFETY: as the caller's.
    unsafe { tell(connection, record) };
}
