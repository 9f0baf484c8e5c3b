//! Filed ids: the trace context of a client request without a header is stored for the other end, which may be on this
//! host.

use aya_ebpf::{helpers::generated::bpf_map_update_elem, macros::map, maps::LruHashMap};

use crate::{http::traceparent::Ids, ids::REFUSED, memory::words::copy, scratch::Scratch};

/// The ids of client requests without a header, by [`wire_key`](crate::ids::wire_key). The span id is 0 if the parent
/// of the client request is unknown.
#[map]
pub(crate) static FILED: LruHashMap<u64, Ids> = LruHashMap::with_max_entries(8192, 0);

/// Files the ids of a client request. `found` is the result of [`tracer_parent`](super::parent::tracer_parent).
///
/// # Safety
/// The caller has taken the scratch buffer.
#[inline(always)]
pub(crate) unsafe fn file(scratch: *mut Scratch, wire: u64, ids: &Ids, found: u64) {
    // SAFETY: as the caller's; the helper copies key and value.
    unsafe {
        copy(ids, &mut (*scratch).client.own);
        if found >= REFUSED {
            (*scratch).client.own.span = 0;
        }
        bpf_map_update_elem(
            (&raw const FILED).cast_mut().cast(),
            (&raw const wire).cast(),
            (&raw const (*scratch).client.own).cast(),
            0,
        );
    }
}
