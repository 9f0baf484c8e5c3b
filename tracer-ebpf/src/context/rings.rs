//! Processes that use io_uring. A socket that enters a sockmap can never again send without copying by io_uring: the
//! kernel clears its `SOCK_SUPPORT_ZC` (`sock_replace_proto`, `include/net/sock.h`) and sets it at no other time than
//! the socket's birth.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC},
    helpers::generated::bpf_map_update_elem,
    macros::map,
    maps::HashMap,
};

/// Processes of which a thread has made a ring. The agent adds those that have one already.
#[map]
pub(crate) static RINGS: HashMap<u32, u8> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Sockets that a process opens from now on stay out of the sockmap.
#[inline(always)]
pub(crate) fn has_made_a_ring(process: u32) {
    let made = 1u8;
    // SAFETY: the helper copies both. In a full map a process is not remembered.
    unsafe {
        bpf_map_update_elem(
            (&raw const RINGS).cast_mut().cast(),
            (&raw const process).cast(),
            (&raw const made).cast(),
            u64::from(BPF_ANY),
        );
    }
}

/// Whether any thread of a process has made a ring.
#[inline(always)]
pub(crate) fn has_a_ring(process: u32) -> bool {
    RINGS.get_ptr(process).is_some()
}
