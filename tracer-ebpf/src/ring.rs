//! The ring: records for the agent, and what is counted when there is no space.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_reserve},
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use tracer_common::{KERNEL_COUNTERS, KernelCounter, ProcessRecord};

use crate::memory::layout::wake_bytes;

/// The size is the agent's to set.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(KERNEL_COUNTERS, 0);

const BPF_RB_AVAIL_DATA: u64 = 0;

const BPF_RB_NO_WAKEUP: u64 = 1;

/// Submits a record and wakes the reader at once.
pub(crate) const FORCE_WAKEUP: u64 = 2;

/// Adds `n` to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: KernelCounter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a live map value of this CPU.
        unsafe { *value += n };
    }
}

/// Scratch for a record, or nothing: the caller counts the loss.
#[inline(always)]
pub(crate) fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    EVENTS.reserve::<T>(0)
}

/// Space for a record of `size` bytes, which the verifier must know, or null. The caller submits it.
#[inline(always)]
pub(crate) fn reserve_bytes(size: u64) -> *mut c_void {
    // SAFETY: our own map.
    unsafe { bpf_ringbuf_reserve((&raw const EVENTS).cast_mut().cast(), size, 0) }
}

/// Sends `size` bytes as one record. Returns whether there was space.
#[inline(always)]
pub(crate) fn output_bytes(data: *const c_void, size: u64, ask: bool) -> bool {
    // SAFETY: the verifier checks that so many bytes are there.
    unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), data.cast_mut(), size, submit_flags(ask))
            == 0
    }
}

/// How to submit a record: the reader polls by time, and is woken only when the ring fills. Asking
/// how full it is costs a helper call, so small records ask now and then.
#[inline(always)]
pub(crate) fn submit_flags(ask: bool) -> u64 {
    if ask && EVENTS.query(BPF_RB_AVAIL_DATA) > wake_bytes() { FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

/// Sends a process record, with the time filled in. The reader is woken at once: what it has to look
/// up may be gone soon.
#[inline(always)]
pub(crate) fn report(record: ProcessRecord) {
    let Some(mut entry) = reserve::<ProcessRecord>() else {
        count(KernelCounter::LostProcess, 1);
        return;
    };
    // SAFETY: a helper without arguments.
    entry.write(ProcessRecord { time_ns: unsafe { bpf_ktime_get_ns() }, ..record });
    entry.submit(FORCE_WAKEUP);
}
