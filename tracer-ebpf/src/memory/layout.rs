//! Typed reads of kernel structures at offsets that come from the running kernel's BTF.
//!
//! The globals are read-only and frozen before the programs load, so the verifier knows their
//! values and checks each access against the type of the pointer, as if they were constants.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::{Offsets, SEND, Seeds, Settings, id_of};

/// Set by the agent before loading.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    tcp_sock_write_seq: 0,
    tcp_sock_copied_seq: 0,
    tcp_sock_rcv_nxt: 0,
    tcp_sock_snd_nxt: 0,
    tcp_sock_bytes_sent: 0,
    tcp_sock_bytes_retrans: 0,
    tcp_sock_bytes_received: 0,
    tcp_sock_icsk_ulp_ops: 0,
    sock_family: 0,
    sock_state: 0,
    sock_num: 0,
    sock_dport: 0,
    sock_daddr: 0,
    sock_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_net: 0,
    sock_type: 0,
    sock_protocol: 0,
    sock_err: 0,
    sock_flags: 0,
    sock_zerocopy: 0,
    sock_tsflags: 0,
    tcp_sock_recverr: 0,
    tcp_sock_recverr_mask: 0,
    inet6_recverr: 0,
    inet6_recverr_mask: 0,
    tcp_sock_pinet6: 0,
    sock_socket: 0,
    sock_user_data: 0,
    sock_wmem_queued: 0,
    sock_sndbuf: 0,
    sock_lock_owned: 0,
    sock_prot: 0,
    sock_memcg: 0,
    proto_memory_pressure: 0,
    memcg_socket_pressure: 0,
    memcg_parent: 0,
    memcg_tcpmem: 0,
    page_counter_usage: 0,
    page_counter_max: 0,
    page_counter_parent: 0,
    tcp_sock_snd_una: 0,
    tcp_sock_bytes_acked: 0,
    tcp_sock_mss_cache: 0,
    tcp_sock_cb_flags: 0,
    tcp_sock_nonagle: 0,
    tcp_sock_nonagle_mask: 0,
    socket_file: 0,
    file_flags: 0,
    sock_kern_sock: 0,
    sock_kern_sock_mask: 0,
    net_inum: 0,
    task_flags: 0,
    task_pid: 0,
    task_tgid: 0,
    task_fsbase: 0,
    task_signal: 0,
    task_files: 0,
    task_io_uring: 0,
    task_reads: 0,
    task_group_leader: 0,
    signal_live: 0,
    files_fdt: 0,
    fdtable_fd: 0,
    fdtable_max_fds: 0,
    file_private_data: 0,
    file_inode: 0,
    file_dentry: 0,
    socket_sk: 0,
    inode_ino: 0,
    inode_sb: 0,
    super_block_dev: 0,
    dentry_name: 0,
    binprm_file: 0,
};

/// Set by the agent before loading.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    wake_bytes: 0,
    report_every_exec: 0,
    propagate: 0,
    sample_above_high: 0,
    sample_above_low: 0,
    sample_by_parent: 0,
    other_contexts: 0,
    seeds: Seeds { span: [0; 2], trace_first: [0; 2], trace_second: [0; 2] },
};

/// The offset of one field: `offset!(sock_num)`.
macro_rules! offset {
    ($field:ident) => {
        $crate::memory::layout::read_offset(|offsets| &raw const (*offsets).$field)
    };
}
pub(crate) use offset;

/// Reads a field of [`OFFSETS`] as memory, so that the compiler does not take the zero for granted.
#[inline(always)]
pub(crate) fn read_offset(field: impl FnOnce(*const Offsets) -> *const u32) -> u64 {
    // SAFETY: the pointer is that of a field of a live static.
    unsafe { core::ptr::read_volatile(field(&raw const OFFSETS)) as u64 }
}

/// [`Settings::wake_bytes`].
#[inline(always)]
pub(crate) fn wake_bytes() -> u64 {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.wake_bytes) as u64 }
}

/// [`Settings::report_every_exec`].
#[inline(always)]
pub(crate) fn report_every_exec() -> bool {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.report_every_exec) != 0 }
}

/// [`Settings::propagate`].
#[inline(always)]
pub(crate) fn propagates() -> bool {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.propagate) != 0 }
}

/// [`Settings::other_contexts`].
#[inline(always)]
pub(crate) fn reads_other_contexts() -> bool {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.other_contexts) != 0 }
}

/// [`Settings::sample_above_high`] and its low half.
#[inline(always)]
pub(crate) fn sample_above() -> u64 {
    // SAFETY: fields of a live static.
    unsafe {
        u64::from(core::ptr::read_volatile(&raw const SETTINGS.sample_above_high)) << 32
            | u64::from(core::ptr::read_volatile(&raw const SETTINGS.sample_above_low))
    }
}

/// [`Settings::sample_by_parent`].
#[inline(always)]
pub(crate) fn samples_by_parent() -> bool {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.sample_by_parent) != 0 }
}

/// [`Settings::seeds`].
#[inline(always)]
fn seeds() -> Seeds {
    // SAFETY: a field of a live static.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS.seeds) }
}

/// The span id of the client request that begins at this position of what a connection sends.
#[inline(always)]
pub(crate) fn span_id(connection: u64, position: u32) -> u64 {
    id_of(whole(seeds().span), connection, SEND, position)
}

/// The trace id of the request that begins at this position of a direction, if it begins a trace.
#[inline(always)]
pub(crate) fn trace_id(connection: u64, direction: u8, position: u32) -> [u64; 2] {
    let Seeds { trace_first, trace_second, .. } = seeds();
    [trace_first, trace_second].map(|seed| id_of(whole(seed), connection, direction, position))
}

#[inline(always)]
fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Loads a value at `offset` of a kernel structure to which the verifier knows `base` to point.
///
/// # Safety
/// `base` must be such a pointer; the verifier refuses the program otherwise, and makes reads
/// through stale pointers return 0.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const c_void, offset: u64) -> T {
    // SAFETY: see above.
    unsafe { core::ptr::read_volatile(base.byte_add(offset as usize).cast::<T>()) }
}

/// A word of the kernel's memory, wherever it is; 0 on a fault.
#[inline(always)]
pub(crate) fn read_word(address: u64) -> u64 {
    let mut word = MaybeUninit::<u64>::uninit();
    // SAFETY: the helper checks the address, and writes the word even if it fails.
    unsafe {
        bpf_probe_read_kernel(word.as_mut_ptr().cast(), 8, address as *const c_void);
        word.assume_init()
    }
}
