//! Trace headers in the requests that selected processes send. A socket that such a process opened enters
//! a map when its connection is established ([`tracer_sock_ops`]); each message on it then passes
//! [`tracer_sk_msg`] before its bytes can leave. Where anything is in doubt the message stays as it is,
//! and the agent is told why.
//!
//! What this relies on, and what it avoids: `docs/architecture.md`, "Headers".

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops, sk_msg_md,
    },
    btf_maps::SkStorage,
    helpers::generated::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_loop, bpf_map_delete_elem, bpf_msg_pop_data,
        bpf_msg_pull_data, bpf_msg_push_data, bpf_sk_storage_get, bpf_skc_to_tcp_sock, bpf_sock_hash_update,
        bpf_sock_ops_cb_flags_set,
    },
    macros::{btf_map, map, sk_msg, sock_ops},
    maps::{Array, LpmTrie, SockHash, lpm_trie::Key},
    programs::{SkMsgContext, SockOpsContext},
};
use tracer_common::{
    BOUNDARY_HERE, BOUNDARY_NEVER, HeaderOutcome, HeaderRecord, KernelCounter, Kind, MAX_STATE, PARENT_BYTES,
    PORT_WORDS, SEND, VERDICT_SLOTS, verdict_slot, verdict_tag,
};

use crate::{
    connection::{self, Connection},
    context::{self, CHILD, Call, FORWARDED, Ids, NONE, Place, clear, copy, ids_of, refused, tracer_parent},
    io,
    layout::{load, offset},
    masked,
    ring::{count, reserve, submit_flags},
    scan::{self, Room, Scan, hex, tracer_trace_parent},
    select::Current,
};

/// What is known of a connection that a selected process opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Outgoing {
    /// Its key in [`SOCKETS`].
    key: u64,
    /// What the thread worked for that opened it.
    opened_for: Place,
    /// The request that its last call was made for.
    serves: Place,
    /// Position in the stream, pushed bytes included, at which the next request begins.
    boundary: u32,
    /// Position of the request that was looked at last, and how many bytes were to be pushed into it.
    request_at: u32,
    /// `Outgoing::*`: how it stands with the map.
    place: u8,
    /// Not 0 while `boundary` is certain.
    is_certain: u8,
    /// Not 0 if headers may go to the other end.
    is_allowed: u8,
    /// A [`HeaderOutcome`] that was told and holds for all that follows, plus one; 0 for none.
    told: u8,
    /// Not 0 once a request was looked at.
    has_sent: u8,
    /// Not 0 until its first call, if it was opened while its process served no request.
    was_idle: u8,
    /// Not 0 if the call that is sent is kept for the other end.
    is_filed: u8,
    zero: [u8; 5],
}

impl Outgoing {
    /// Not in the map; or the agent has put it in, and it was not looked at.
    const OUT: u8 = 0;
    /// In the map.
    const IN: u8 = 1;
    /// In the map, to leave it within the send that runs.
    const LEAVING: u8 = 2;
}

#[btf_map]
static OUTGOING: SkStorage<Outgoing> = SkStorage::new();

/// Sockets whose messages pass [`tracer_sk_msg`], by cookie. The agent puts those in that were open
/// before it.
#[map]
static SOCKETS: SockHash<u64> = SockHash::with_max_entries(16_384, 0);

/// Positions at which the agent knows a request to begin: one word per connection, by the slot of its
/// verdict. The position in the application's stream in the low half, a bit that says that there is one,
/// and the tag of its number.
#[map]
static BOUNDARIES: Array<u64> = Array::with_max_entries(VERDICT_SLOTS, BPF_F_MMAPABLE);

/// Ports that are known to speak HTTP/1, one bit each: blocking sockets enter the map only for them. A
/// blocking receive that comes before the first send would not survive a signal in the map.
#[map]
static HTTP_PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, BPF_F_MMAPABLE);

/// Until when headers may be pushed, `CLOCK_MONOTONIC`: the agent renews it. Behind it, not 0 if no socket may
/// receive while it is in the map: the agent has found that the kernel tells wrongly what can be read there.
#[map]
static LEASE: Array<u64> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Address ranges, as IPv6 or mapped into it: 1 if headers may go there.
#[map]
static DESTINATIONS: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(1024, 0);

/// `tcp_current_mss` asks for the length of header options: a send begins with it, before anything else.
/// `include/uapi/linux/bpf.h`.
const BPF_WRITE_HDR_TCP_CURRENT_MSS: u32 = 1;
/// `__SK_PASS`.
const PASS: u32 = 1;
/// `__SK_DROP`: the send fails.
const DROP: u32 = 0;
/// `include/net/tcp_states.h`.
const TCP_CLOSE: u32 = 7;
/// `include/uapi/asm-generic/fcntl.h`.
const O_NONBLOCK: u32 = 0x800;
const AF_INET6: u16 = 10;
/// Longest head with the header in it: servers take 8 KiB.
const MOST: u32 = 7680;
const CREATE: u64 = 1;

#[inline(always)]
unsafe fn find<'a>(sk: *mut c_void, create: u64) -> Option<&'a mut Outgoing> {
    // SAFETY: the helper checks the socket; the value lives as long as the program runs.
    unsafe {
        bpf_sk_storage_get((&raw const OUTGOING).cast_mut().cast(), sk, core::ptr::null_mut(), create)
            .cast::<Outgoing>()
            .as_mut()
    }
}

/// A selected process opens a connection.
///
/// # Safety
/// `sk` is a socket that the kernel passed to the program.
#[inline(always)]
pub(crate) unsafe fn opened(sk: *mut c_void, current: Current) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(outgoing) = find(sk, CREATE) else { return };
        // `tracer_sock_ops` takes a socket out of the map that was connected before.
        outgoing.key = 0;
        context::of_thread(current, &mut outgoing.opened_for);
        outgoing.was_idle = u8::from(context::is_idle(current.pid()));
        outgoing.serves = Place::NONE;
        outgoing.place = Outgoing::OUT;
        outgoing.is_certain = 0;
        outgoing.is_allowed = 0;
        outgoing.told = 0;
        outgoing.has_sent = 0;
        outgoing.is_filed = 0;
    }
}

/// A connection that this process opened is closed, and the answer of its call has not come.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn unanswered(sk: *mut c_void, process: u32) {
    // SAFETY: as the caller's.
    unsafe {
        let Some(outgoing) = find(sk, 0) else { return };
        // What it was opened for is left where its calls get no header.
        let is_sent = outgoing.serves.connection != 0;
        let place = if is_sent { &mut outgoing.serves } else { &mut outgoing.opened_for };
        context::waits_again(place, process);
        // Once: another call may be on its way by the time that all of the connection is closed.
        place.connection = 0;
    }
}

/// The request that the last call on a connection was made for.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn served_by<'a>(sk: *mut c_void) -> Option<&'a Place> {
    // SAFETY: as the caller's.
    unsafe { find(sk, 0).map(|outgoing| &outgoing.serves) }
}

/// A selected process is in a send, of which no byte is in the stream yet. If a call without a header begins
/// here, its ids are kept for the other end before that can read it.
///
/// # Safety
/// As [`opened`]; `outgoing` is the socket's.
#[inline(always)]
unsafe fn leaves(ops: *mut bpf_sock_ops, sk: *mut c_void, outgoing: &mut Outgoing) {
    const KNOWN: u8 = Connection::HEADED | Connection::UPPER_LAYER;
    // SAFETY: as the caller's.
    unsafe {
        let Some(connection) = connection::find(sk) else { return };
        if outgoing.is_filed != 0
            || connection.turn == SEND + 1
            || !connection.is_outgoing()
            || connection.flags & KNOWN != 0
        {
            return;
        }
        // The agent reads nothing of it, so it carries no request that a server looks for.
        if io::is_ignored(connection.number) {
            if outgoing.place == Outgoing::OUT {
                call_back(ops, false);
            }
            return;
        }
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        // Else it is an interrupt that asks, of whatever task.
        if tcp.is_null() || load::<u32>(tcp, offset!(sock_lock_owned)) == 0 {
            return;
        }
        let Some(current) = Current::selected_task() else { return };
        let wire: u32 = load(tcp, offset!(tcp_sock_write_seq));
        let position = wire.wrapping_sub(connection.inserted);
        let answer_at = load(tcp, offset!(tcp_sock_copied_seq));
        let done =
            context::file_call(connection.number, position, wire, answer_at, current, &mut outgoing.serves);
        outgoing.is_filed = u8::from(done);
    }
}

/// A send has failed: what is sent there in the end may be another call.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn not_sent(sk: *mut c_void) {
    // SAFETY: as the caller's.
    if let Some(outgoing) = unsafe { find(sk, 0) } {
        outgoing.is_filed = 0;
    }
}

/// The first send of a client request was done: the next one is another.
///
/// # Safety
/// As [`opened`].
#[inline(always)]
pub(crate) unsafe fn sent(sk: *mut c_void, connection: &mut Connection) {
    if connection.flags & Connection::HEADED != 0 {
        connection.flags &= !Connection::HEADED;
        return;
    }
    // SAFETY: as the caller's.
    if let Some(outgoing) = unsafe { find(sk, 0) } {
        outgoing.is_filed = 0;
    }
}

/// Tells the agent of a request that has a header. Field by field: the compiler would
/// clear a whole record byte by byte.
#[inline(always)]
unsafe fn tell(connection: &Connection, record: Told) -> bool {
    let Some(mut entry) = reserve::<HeaderRecord>() else {
        count(KernelCounter::LostData, 1);
        return false;
    };
    // SAFETY: every field of the record; the trace id stands at a multiple of eight.
    unsafe {
        let to = entry.as_mut_ptr();
        (&raw mut (*to).kind).write_volatile(Kind::Header as u8);
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

/// What a [`HeaderRecord`] tells.
struct Told {
    outcome: HeaderOutcome,
    evidence: u8,
    pid: u32,
    position: u32,
    inserted: u32,
    ids: Ids,
    parent_connection: u64,
    parent_position: u32,
    pushed: u32,
}

/// A request gets no header. Returns whether the agent hears of it.
#[inline(always)]
fn refuse(
    connection: &Connection,
    pid: u32,
    position: u32,
    outcome: HeaderOutcome,
    lasting: bool,
    key: u64,
) -> bool {
    let places = u64::from(pid) << 32 | u64::from(position);
    tracer_refuse(connection.number, places, outcome as u64, u64::from(lasting), key) != 0
}

/// [`refuse`], once for all that refuse: process and position are in the halves of `places`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_refuse(number: u64, places: u64, outcome: u64, lasting: u64, key: u64) -> u64 {
    let Some(mut entry) = reserve::<HeaderRecord>() else {
        count(KernelCounter::LostData, 1);
        return 0;
    };
    // SAFETY: every field of the record, by words.
    unsafe {
        let to = entry.as_mut_ptr();
        clear(to);
        (*to).kind = Kind::Header as u8;
        (*to).outcome = outcome as u8;
        (*to).evidence = NONE;
        (*to).pid = (places >> 32) as u32;
        (*to).connection = number;
        (*to).position = places as u32;
        (*to).parent_connection = key;
        (*to).lasting = lasting as u16;
    }
    entry.submit(submit_flags(false));
    1
}

/// Nothing that follows on this connection gets one. Returns whether the agent hears of it.
#[inline(always)]
fn refuse_all(
    outgoing: &mut Outgoing,
    connection: &Connection,
    pid: u32,
    position: u32,
    why: HeaderOutcome,
) -> bool {
    if outgoing.told != 0 {
        return true;
    }
    outgoing.told = why as u8 + 1;
    let key = if matches!(why, HeaderOutcome::InUse) { outgoing.key } else { 0 };
    refuse(connection, pid, position, why, true, key)
}

/// Called for every TCP connection below the cgroup when it is established, and inside of each send and at the end
/// on a socket that is in the map. The current task may be a stranger: everything goes by the socket's storage.
#[sock_ops]
pub fn tracer_sock_ops(ctx: SockOpsContext) -> u32 {
    let ops = ctx.ops;
    // SAFETY: the context's own fields; the verifier checks the socket.
    unsafe {
        let op = (*ops).op;
        if op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
            && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
            && op != BPF_SOCK_OPS_TCP_CONNECT_CB
            && op != BPF_SOCK_OPS_STATE_CB
        {
            return 1;
        }
        let sk = (*ops).__bindgen_anon_2.sk.cast::<c_void>();
        if sk.is_null() {
            return 1;
        }
        let Some(outgoing) = find(sk, 0) else { return 1 };
        if op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB {
            established(ops, sk, outgoing);
            return 1;
        }
        if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
            // The end of an earlier connection (`connect` to AF_UNSPEC) has left it there.
            outgoing.key = bpf_get_socket_cookie(ops.cast());
            leave(outgoing);
            return 1;
        }
        if op == BPF_SOCK_OPS_STATE_CB {
            // In the map a second send after a reset would fail with the first one's error.
            if (*ops).__bindgen_anon_1.args[1] == TCP_CLOSE {
                leave(outgoing);
            }
            return 1;
        }
        if outgoing.place == Outgoing::LEAVING {
            outgoing.place = Outgoing::OUT;
            leave(outgoing);
        }
        if (*ops).__bindgen_anon_1.args[0] != BPF_WRITE_HDR_TCP_CURRENT_MSS {
            return 1;
        }
        if outgoing.place == Outgoing::IN && waits_unseen(sk) {
            outgoing.place = Outgoing::OUT;
            leave(outgoing);
        }
        // In the map, and at a certain place, it is `tracer_sk_msg` that keeps them.
        if outgoing.place == Outgoing::OUT || outgoing.is_certain == 0 {
            leaves(ops, sk, outgoing);
        }
    }
    1
}

/// Whether a send that [`tracer_sk_msg`] does not see runs on a socket that may not receive in the map: it began
/// before the connection was established.
#[inline(always)]
unsafe fn waits_unseen(sk: *mut c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        !tcp.is_null()
            && load::<u32>(tcp, offset!(sock_lock_owned)) != 0
            && (leaves_at_once() || is_blocking(tcp))
    }
}

/// Asks to be called inside of each send and when the connection ends, or not inside of sends any more. What others
/// ask for stays.
#[inline(always)]
unsafe fn call_back(ops: *mut bpf_sock_ops, on: bool) {
    // SAFETY: the context's own field.
    unsafe {
        let known = (*ops).bpf_sock_ops_cb_flags;
        let flags = if on {
            known | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG
        } else {
            known & !BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG
        };
        bpf_sock_ops_cb_flags_set(ops, flags as i32);
    }
}

/// Whether [`call_back`] still holds.
#[inline(always)]
unsafe fn is_called_back(tcp: *const c_void) -> bool {
    // SAFETY: as the caller's.
    let flags: u8 = unsafe { load(tcp, offset!(tcp_sock_cb_flags)) };
    u32::from(flags) & BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG != 0
}

#[inline(always)]
unsafe fn leave(outgoing: &Outgoing) {
    let mut key = outgoing.key;
    // SAFETY: our own map. A socket that the kernel has taken out already is fine.
    unsafe { bpf_map_delete_elem((&raw const SOCKETS).cast_mut().cast(), (&raw mut key).cast()) };
}

#[inline(always)]
unsafe fn established(ops: *mut bpf_sock_ops, sk: *mut c_void, outgoing: &mut Outgoing) {
    // SAFETY: as the caller's.
    unsafe {
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return;
        }
        let Some(connection) = connection::find(sk) else { return };
        // In the map or not: what is sent without a header is filed in this callback.
        call_back(ops, true);
        let position: u32 = load(tcp, offset!(tcp_sock_write_seq));
        if load::<u64>(tcp, offset!(sock_user_data)) != 0 {
            refuse_all(outgoing, connection, 0, position, HeaderOutcome::InUse);
            return;
        }
        if let Err(why) = may_enter(tcp, outgoing) {
            refuse_all(outgoing, connection, 0, position, why);
            return;
        }
        if (is_blocking(tcp) || leaves_at_once())
            && !is_http_port(u16::from_be(load(tcp, offset!(sock_dport))))
        {
            refuse_all(outgoing, connection, 0, position, HeaderOutcome::UnknownPort);
            return;
        }
        // Bytes that left with the SYN are a part of something.
        outgoing.is_certain = u8::from(
            position == load::<u32>(tcp, offset!(tcp_sock_snd_una))
                && load::<u64>(tcp, offset!(tcp_sock_bytes_acked)) <= 1,
        );
        outgoing.boundary = position;
        outgoing.key = bpf_get_socket_cookie(ops.cast());
        let map = (&raw const SOCKETS).cast_mut().cast();
        if bpf_sock_hash_update(ops, map, (&raw mut outgoing.key).cast(), 0) != 0 {
            refuse_all(outgoing, connection, 0, position, HeaderOutcome::NoRoom);
            return;
        }
        outgoing.place = Outgoing::IN;
    }
}

#[inline(always)]
unsafe fn may_enter(tcp: *const c_void, outgoing: &mut Outgoing) -> Result<(), HeaderOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if !has_lease() {
            return Err(HeaderOutcome::Lease);
        }
        if load::<u64>(tcp, offset!(tcp_sock_icsk_ulp_ops)) != 0 {
            return Err(HeaderOutcome::UpperLayer);
        }
        if sends_without_copying(tcp) {
            return Err(HeaderOutcome::ZeroCopy);
        }
        outgoing.is_allowed = u8::from(is_allowed(tcp));
        if outgoing.is_allowed == 0 {
            return Err(HeaderOutcome::Destination);
        }
    }
    Ok(())
}

#[inline(always)]
fn has_lease() -> bool {
    // SAFETY: a live map value; a helper without arguments.
    LEASE.get_ptr(0).is_some_and(|until| unsafe { core::ptr::read_volatile(until) > bpf_ktime_get_ns() })
}

#[inline(always)]
fn leaves_at_once() -> bool {
    // SAFETY: a live map value.
    LEASE.get_ptr(1).is_some_and(|word| unsafe { core::ptr::read_volatile(word) } != 0)
}

#[inline(always)]
fn is_http_port(port: u16) -> bool {
    HTTP_PORTS
        .get_ptr(u32::from(port) / 64)
        // SAFETY: a live map value.
        .is_some_and(|word| unsafe { core::ptr::read_volatile(word) } >> (port % 64) & 1 != 0)
}

/// `sock_flag(sk, SOCK_ZEROCOPY)`.
#[inline(always)]
unsafe fn sends_without_copying(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe { load::<u64>(sk, offset!(sock_flags)) >> (offset!(sock_zerocopy) & 63) & 1 != 0 }
}

/// Whether the socket's file lacks `O_NONBLOCK`, or there is none.
#[inline(always)]
unsafe fn is_blocking(sk: *const c_void) -> bool {
    // SAFETY: as the caller's; the verifier makes reads through null return 0.
    unsafe {
        let socket: *const c_void = load(sk, offset!(sock_socket));
        if socket.is_null() {
            return true;
        }
        let file: *const c_void = load(socket, offset!(socket_file));
        file.is_null() || load::<u32>(file, offset!(file_flags)) & O_NONBLOCK == 0
    }
}

/// Whether headers may go to the other end of a connection.
#[inline(always)]
unsafe fn is_allowed(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        let mut address = [0u8; 16];
        if load::<u16>(sk, offset!(sock_family)) == AF_INET6 {
            let (local, remote): ([u64; 2], [u64; 2]) =
                (load(sk, offset!(sock_v6_rcv_saddr)), load(sk, offset!(sock_v6_daddr)));
            if local[0] == remote[0] && local[1] == remote[1] {
                return true;
            }
            address = core::mem::transmute::<[u64; 2], [u8; 16]>(remote);
        } else {
            let (local, remote): (u32, u32) =
                (load(sk, offset!(sock_rcv_saddr)), load(sk, offset!(sock_daddr)));
            if local == remote {
                return true;
            }
            address[10] = 0xff;
            address[11] = 0xff;
            address[12..].copy_from_slice(&remote.to_ne_bytes());
        }
        DESTINATIONS.get(Key::new(128, address)).is_some_and(|allowed| *allowed != 0)
    }
}

/// Runs in the sender's thread, with the socket locked, before the bytes of a send can leave.
#[sk_msg]
pub fn tracer_sk_msg(ctx: SkMsgContext) -> u32 {
    // SAFETY: the context's own fields; the verifier checks the socket.
    unsafe {
        let msg = ctx.msg;
        let sk = (*msg).__bindgen_anon_3.sk.cast::<c_void>();
        if sk.is_null() {
            return PASS;
        }
        let Some(connection) = connection::find(sk) else { return PASS };
        let Some(outgoing) = find(sk, CREATE) else { return PASS };
        let tcp: *const c_void = bpf_skc_to_tcp_sock(sk).cast_const().cast();
        if tcp.is_null() {
            return PASS;
        }
        message(msg, tcp, outgoing, connection)
    }
}

#[inline(always)]
unsafe fn message(
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
            outgoing.place = Outgoing::LEAVING;
            refuse_all(outgoing, connection, 0, position, HeaderOutcome::ForeignSender);
            return PASS;
        };
        let pid = current.pid();
        if outgoing.told != 0 {
            outgoing.place = Outgoing::LEAVING;
            return PASS;
        }
        // What decides for good.
        let only_first = leaves_at_once();
        let blocking = only_first || is_blocking(tcp);
        let leaving = if only_first { HeaderOutcome::OnlyFirst } else { HeaderOutcome::Blocking };
        if outgoing.place == Outgoing::OUT {
            // It was open before the agent, which takes it out of the map when it hears of this.
            let why = if blocking { Err(leaving) } else { may_enter(tcp, outgoing) };
            if let Err(why) = why {
                if !refuse_all(outgoing, connection, pid, position, why) {
                    outgoing.told = 0;
                }
                return PASS;
            }
            outgoing.place = Outgoing::IN;
        }
        if blocking {
            // Another program has ended the calls in one of which it would leave.
            if !is_called_back(tcp) {
                if !refuse_all(outgoing, connection, pid, position, HeaderOutcome::InUse) {
                    outgoing.told = 0;
                }
                return PASS;
            }
            outgoing.place = Outgoing::LEAVING;
        }
        if sends_without_copying(tcp) || load::<u64>(tcp, offset!(tcp_sock_icsk_ulp_ops)) != 0 {
            let why =
                if sends_without_copying(tcp) { HeaderOutcome::ZeroCopy } else { HeaderOutcome::UpperLayer };
            outgoing.place = Outgoing::LEAVING;
            refuse_all(outgoing, connection, pid, position, why);
            return PASS;
        }
        let size = (*msg).size;
        let again = outgoing.has_sent != 0 && outgoing.request_at == at;
        if !again && !(outgoing.is_certain != 0 && outgoing.boundary == at) {
            // Positions come again.
            outgoing.has_sent = 0;
            // The agent may know that a request begins here.
            if outgoing.is_certain != 0 {
                let inside = outgoing.boundary.wrapping_sub(at);
                if (inside as i32) > 0 && inside >= size {
                    return PASS;
                }
                outgoing.is_certain = 0;
                return PASS;
            }
            match boundary(connection.number, position) {
                Boundary::Here => (),
                Boundary::Unknown => return PASS,
                Boundary::Never => {
                    outgoing.place = Outgoing::LEAVING;
                    refuse_all(outgoing, connection, pid, position, HeaderOutcome::Tunnel);
                    return PASS;
                }
            }
        }
        // From here on a request begins; where the next does is certain only if all goes well. What was known
        // of an earlier one that was not sent, or had no turn of its own, is not this one's.
        connection.flags &= !Connection::HEADED;
        outgoing.is_filed = 0;
        outgoing.request_at = at;
        outgoing.has_sent = 1;
        outgoing.is_certain = 0;
        if !has_lease() {
            refuse(connection, pid, position, HeaderOutcome::Lease, false, 0);
            return PASS;
        }
        let verdict = match request(msg, tcp, outgoing, connection, current, at, size) {
            Ok(verdict) => verdict,
            Err(outcome @ (HeaderOutcome::NotHttp | HeaderOutcome::Tunnel)) => {
                outgoing.place = Outgoing::LEAVING;
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
        verdict
    }
}

/// What the agent knows of a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Unknown,
    /// A request begins here, if anything does.
    Here,
    /// No request will follow on the connection.
    Never,
}

#[inline(always)]
unsafe fn boundary(number: u64, position: u32) -> Boundary {
    let Some(word) = BOUNDARIES.get_ptr_mut(verdict_slot(number)) else { return Boundary::Unknown };
    // SAFETY: a live map value. What is used or passed means nothing later: positions come again.
    unsafe {
        let known = core::ptr::read_volatile(word);
        if known == verdict_tag(number) | BOUNDARY_NEVER {
            return Boundary::Never;
        }
        if known >> 32 != (verdict_tag(number) | BOUNDARY_HERE) >> 32 {
            return Boundary::Unknown;
        }
        let ahead = (known as u32).wrapping_sub(position) as i32;
        if ahead > 0 {
            return Boundary::Unknown;
        }
        core::ptr::write_volatile(word, 0);
        if ahead != 0 {
            return Boundary::Unknown;
        }
    }
    Boundary::Here
}

/// A message that begins with a request. `at` is its place in the stream.
#[inline(always)]
unsafe fn request(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
) -> Result<u32, HeaderOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if (*msg).__bindgen_anon_1.data as usize == (*msg).__bindgen_anon_2.data_end as usize {
            return Err(HeaderOutcome::Spliced);
        }
        if size < Scan::LEAST {
            return Err(HeaderOutcome::HeadCut);
        }
        let length = if size > MOST { MOST } else { size };
        if bpf_msg_pull_data(msg, 0, length, 0) != 0 {
            return Err(HeaderOutcome::PushFailed);
        }
        let index = scan::take_room().ok_or(HeaderOutcome::NoRoom)?;
        let outcome = match scan::room(index) {
            Some(room) => in_room(msg, tcp, outgoing, connection, current, at, size, room, index),
            None => Err(HeaderOutcome::NoRoom),
        };
        scan::leave_room(index);
        outcome
    }
}

/// As [`request`], with room to look at heads in.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
unsafe fn in_room(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
    room: *mut Room,
    index: u64,
) -> Result<u32, HeaderOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        let length = if size > MOST { MOST } else { size };
        if !Room::look(room, index, (*msg).__bindgen_anon_1.data as u64, length) {
            return Err(HeaderOutcome::PushFailed);
        }
        let Scan { head, request_line, flags, parents, parent_begin, states, body, .. } = (*room).scan;
        if flags & Scan::NOT_HTTP != 0 {
            return Err(HeaderOutcome::NotHttp);
        }
        if head == 0 {
            return Err(if size > MOST { HeaderOutcome::HeadTooLong } else { HeaderOutcome::HeadCut });
        }
        if flags & Scan::ODD != 0 {
            return Err(HeaderOutcome::NotUnderstood);
        }
        if flags & Scan::CONNECT != 0 {
            return Err(HeaderOutcome::Tunnel);
        }
        // What follows an upgrade, chunks or an expectation, the agent says.
        let end = u64::from(head) + body;
        let follows = flags & (Scan::CHUNKED | Scan::UPGRADE | Scan::EXPECT) == 0
            && end < 1 << 30
            && u64::from(size) <= end;
        outgoing.is_certain = u8::from(follows);
        outgoing.boundary = at.wrapping_add(end as u32);
        (*room).call.own.span = 0;
        // Of other versions nobody knows what else would have to change.
        let is_plain = (*room).scan.parent_end.wrapping_sub(parent_begin) == scan::PARENT_LENGTH
            && (*room).word(u64::from(parent_begin)) as u16 == u16::from_le_bytes(*b"00");
        if parents != 0 && tracer_trace_parent(index) != 0 && is_plain {
            let Call { found, own, .. } = &mut (*room).call;
            copy(found, own);
        }
        copy(&outgoing.opened_for, &mut (*room).call.opened_for);
        (*room).call.was_idle = u64::from(outgoing.was_idle);
        outgoing.opened_for.connection = 0;
        outgoing.was_idle = 0;
        let found = tracer_parent(index, current.both());
        copy(&(*room).call.parent, &mut outgoing.serves);
        if outgoing.serves.connection != 0 {
            connection.flags |= Connection::CALLS;
        }
        let position = at.wrapping_sub(connection.inserted);
        let ids = ids_of(connection.number, position, &(*room).call, found);
        let headed = give(
            msg,
            tcp,
            outgoing,
            connection,
            current,
            at,
            size,
            room,
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
            let wire = context::wire_key(at, load(tcp, offset!(tcp_sock_copied_seq)));
            context::file(room, wire, &ids, found);
            outgoing.is_filed = 1;
        }
        headed
    }
}

/// Gives a request its header, or makes the one that it has its own.
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
    room: *mut Room,
    head: u32,
    request_line: u32,
    flags: u32,
    parents: u32,
    parent_begin: u32,
    states: u32,
    found: u64,
    ids: &Ids,
) -> Result<u32, HeaderOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        if parents != 0 {
            // What carries a header of its own is linked by that, whatever the agent will know.
            let call = &(*room).call;
            let is_forwarded = found == CHILD
                && call.own.span != 0
                && call.own.span == call.ids.span
                && call.own.trace[0] == call.ids.trace[0]
                && call.own.trace[1] == call.ids.trace[1];
            connection.flags |= Connection::HEADED;
            if !is_forwarded {
                return Err(HeaderOutcome::OwnHeader);
            }
            // As for a push: an end of the send within the line would leave half of it.
            if !has_room(tcp, head) {
                return Err(HeaderOutcome::QueueNotEmpty);
            }
            rewrite(msg, parent_begin, ids)?;
            told_of(
                connection,
                current,
                at,
                ids,
                &(*room).call.parent,
                HeaderOutcome::Rewritten,
                FORWARDED,
                0,
            );
            return Ok(PASS);
        }
        if flags & Scan::OTHER_CONTEXT != 0 {
            return Err(HeaderOutcome::OwnHeader);
        }
        if let Some(outcome) = refused(found) {
            return Err(outcome);
        }
        // The state goes along unless the application sends one.
        let state = if states == 0 && found == CHILD { (*room).call.state_length } else { 0 };
        push(msg, tcp, outgoing, connection, current, at, size, room, head, request_line, state, ids)
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
unsafe fn told_of(
    connection: &Connection,
    current: Current,
    at: u32,
    ids: &Ids,
    parent: &Place,
    outcome: HeaderOutcome,
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

/// Whether a head of this length is sent at once. When the send buffer fills, the kernel forgets what was pushed
/// and the application sends it again: nothing may wait, and the head must fit twice, with what the kernel adds
/// for each segment.
#[inline(always)]
unsafe fn has_room(tcp: *const c_void, length: u32) -> bool {
    /// A bound for an `sk_buff` with its shared information.
    const ADDED: u32 = 1024;
    // SAFETY: as the caller's.
    unsafe {
        let segment: u32 = load(tcp, offset!(tcp_sock_mss_cache));
        segment != 0
            && load::<u32>(tcp, offset!(sock_wmem_queued)) == 0
            && load::<u32>(tcp, offset!(sock_sndbuf)) >= 2 * length + length / segment * ADDED
    }
}

/// The request forwards the `traceparent` of the request which it is made for: it is made to name this call.
#[inline(always)]
unsafe fn rewrite(msg: *mut sk_msg_md, begin: u32, ids: &Ids) -> Result<(), HeaderOutcome> {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        // Behind `00-`, the trace id and a dash.
        let place = data + (core::hint::black_box(u64::from(begin) + 36) & 0x1fff) as usize;
        if place + 19 > end {
            return Err(HeaderOutcome::PushFailed);
        }
        // With the span's last digits a dash and the flags.
        let last = hex(ids.span >> 32);
        masked::set::<0>(place, hex(ids.span));
        masked::set::<8>(place, last);
        masked::set::<11>(place, last >> 24 | word(b"\0\0\0\0\0-00") | (ids.flags & 3) << 56);
    }
    Ok(())
}

/// Pushes headers in behind the request line: `state` bytes of a `tracestate` among them.
///
/// What was wrong in `bpf_msg_push_data` (`net/core/filter.c`) does not happen here, and so no kernel is refused
/// for it:
/// - "Several fixes to bpf_msg_push_data" (15ab0548e310; 6.13, 6.12.2, 6.1.120): a push behind the last byte is
///   refused, elements are counted wrongly around one. Ours is inside of the first element.
/// - "fix tail fragment offset in bpf_msg_push_data" (f72eed9b84fb; 7.1, 7.0.12 and others of June 2026): what is
///   behind a push into an element other than the first comes from a wrong place. Ours is the first: the head
///   was pulled into one.
/// - "reject overflowing copy + len" (2026): for lengths near 4 GiB.
/// - Pages that are spliced in stand there writable: such a message has no data to look at, and is left alone.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a structure for them would live on a small stack")]
unsafe fn push(
    msg: *mut sk_msg_md,
    tcp: *const c_void,
    outgoing: &mut Outgoing,
    connection: &mut Connection,
    current: Current,
    at: u32,
    size: u32,
    room: *mut Room,
    head: u32,
    begin: u32,
    state: u32,
    ids: &Ids,
) -> Result<u32, HeaderOutcome> {
    // SAFETY: as the caller's.
    unsafe {
        let state = core::hint::black_box(state) & (2 * MAX_STATE - 1);
        let mut pushed = PARENT_BYTES;
        if state != 0 {
            pushed += STATE_NAME + state + 2;
        }
        if head + pushed > MOST {
            return Err(HeaderOutcome::HeadTooLong);
        }
        if !has_room(tcp, head + pushed) {
            return Err(HeaderOutcome::QueueNotEmpty);
        }
        let begin = core::hint::black_box(begin) & 0x1fff;
        if bpf_msg_push_data(msg, begin, pushed, 0) != 0 {
            return Err(HeaderOutcome::PushFailed);
        }
        // One segment instead of three; what is there now is not initialised, and must not leave so.
        let all = if size <= MOST { size } else { head } + pushed;
        let written = bpf_msg_pull_data(msg, 0, all, 0) == 0
            && write(msg, begin, ids)
            && (state == 0 || write_state(msg, begin + PARENT_BYTES, &*room, state));
        if !written {
            return if bpf_msg_pop_data(msg, begin, pushed, 0) == 0 {
                Err(HeaderOutcome::PushFailed)
            } else {
                // Rather an error than bytes that nobody meant.
                Ok(DROP)
            };
        }
        let evidence = if (*room).call.parent.connection == 0 { NONE } else { (*room).call.evidence as u8 };
        told_of(connection, current, at, ids, &(*room).call.parent, HeaderOutcome::Pushed, evidence, pushed);
        connection.flags |= Connection::HEADED;
        connection.push = pushed;
        connection.push_at = at;
        outgoing.boundary = outgoing.boundary.wrapping_add(pushed);
    }
    Ok(PASS)
}

const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// `tracestate: `.
const STATE_NAME: u32 = 12;

struct Copy {
    msg: *mut sk_msg_md,
    room: *const Room,
    from: u64,
    to: u64,
    length: u64,
    failed: u64,
}

/// Eight bytes of a state, the last ones as often as need be.
unsafe extern "C" fn copy_state(index: u64, copy: *mut Copy) -> core::ffi::c_long {
    // SAFETY: `copy` is that of `write_state`; the verifier follows the check against the end.
    unsafe {
        let copy = &mut *copy;
        let mut at = index * 8;
        if at >= copy.length {
            return 1;
        }
        if at + 8 > copy.length {
            at = copy.length.wrapping_sub(8);
        }
        if !put(copy.msg, copy.to + at, (*copy.room).word(copy.from + at)) {
            copy.failed = 1;
            return 1;
        }
    }
    0
}

/// Writes eight bytes of a message.
#[inline(always)]
unsafe fn put(msg: *mut sk_msg_md, at: u64, value: u64) -> bool {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let place = data + (core::hint::black_box(at) & 0x1fff) as usize;
        if place + 8 > end {
            return false;
        }
        masked::set::<0>(place, value);
    }
    true
}

/// Writes the line of a state, at least eight bytes long.
#[inline(always)]
unsafe fn write_state(msg: *mut sk_msg_md, begin: u32, room: &Room, length: u32) -> bool {
    // SAFETY: as the callees'.
    unsafe {
        let begin = u64::from(begin);
        let behind = begin + u64::from(STATE_NAME);
        let end = behind + u64::from(length);
        // The line's end goes first, the state's last bytes before it then: whole words each.
        let written = put(msg, begin, word(b"tracesta"))
            && put(msg, begin + 4, word(b"estate: "))
            && put(msg, end - 6, word(b"      \r\n"));
        let from = u64::from(room.call.state_begin);
        let mut copy = Copy { msg, room, from, to: behind, length: u64::from(length), failed: 0 };
        bpf_loop(MAX_STATE / 8, copy_state as *mut c_void, (&raw mut copy).cast(), 0);
        written && copy.failed == 0
    }
}

#[inline(always)]
unsafe fn write(msg: *mut sk_msg_md, begin: u32, ids: &Ids) -> bool {
    // SAFETY: the verifier follows the check against the end.
    unsafe {
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        let place = data + (core::hint::black_box(u64::from(begin)) & 0x1fff) as usize;
        if place + PARENT_BYTES as usize > end {
            return false;
        }
        masked::set::<0>(place, word(b"tracepar"));
        masked::set::<8>(place, word(b"ent: 00-"));
        masked::set::<16>(place, hex(ids.trace[0]));
        masked::set::<24>(place, hex(ids.trace[0] >> 32));
        masked::set::<32>(place, hex(ids.trace[1]));
        masked::set::<40>(place, hex(ids.trace[1] >> 32));
        masked::set::<61>(place, word(b"-----00\r") | (ids.flags & 3) << 48);
        masked::set::<49>(place, hex(ids.span));
        masked::set::<57>(place, hex(ids.span >> 32));
        *(place as *mut u8).add(48) = b'-';
        *(place as *mut u8).add(69) = b'\n';
    }
    true
}
