//! Open heads: heads that are longer than the budget.

use core::ffi::{c_long, c_void};

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::{
    EDGE_END, EDGE_WITHOUT_POLICY, FLAG_CONTINUES, FLAG_TURN, HEAD_BUDGET, OPEN_HEAD_BUDGET,
    POLICY_EVERYTHING,
};

use crate::{
    capture::gather::{WORK, output_gathered, tracer_gather},
    connection::Connection,
};

/// Bytes that one step of [`tracer_find_head_end`] processes.
const SCAN_STEP: u64 = 64;

#[repr(C)]
pub(crate) struct Scan {
    pub(crate) length: u64,
    /// The last four bytes seen; the newest is the lowest byte.
    pub(crate) last: u64,
    pub(crate) found: u64,
    pub(crate) slot: u64,
}

/// Searches the first `length` gathered bytes for the empty line that ends a head. `last` contains the four bytes
/// before them. Returns the last four bytes that were searched; bit 32 is set if the empty line was found.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_find_head_end(slot: u64, length: u64, last: u64) -> u64 {
    let mut scan = Scan { length, last, found: 0, slot };
    // SAFETY: the callback has the type that the helper expects.
    unsafe {
        bpf_loop(HEAD_BUDGET / SCAN_STEP as u32, scan_step as *mut c_void, (&raw mut scan).cast(), 0);
    }
    scan.last & u64::from(u32::MAX) | (scan.found & 1) << 32
}

/// One step of [`tracer_find_head_end`]. It has no branch per byte, because the verifier would follow each branch.
unsafe extern "C" fn scan_step(index: u64, scan: *mut Scan) -> c_long {
    // SAFETY: `scan` is that of `tracer_find_head_end`; reads stay inside the data.
    unsafe {
        let scan = &mut *scan;
        let base = (index * SCAN_STEP) & (u64::from(HEAD_BUDGET) - SCAN_STEP);
        if base >= scan.length || scan.found != 0 {
            return 1;
        }
        let Some(work) = WORK.get_ptr_mut(scan.slot as u32) else { return 1 };
        let block: *const u8 = (&raw const (*work).data).cast::<u8>().add(base as usize);
        let mut last = scan.last;
        let mut found = 0u64;
        let mut at = 0u64;
        while at < SCAN_STEP {
            let byte = u64::from(core::ptr::read_volatile(block.add(at as usize)));
            last = (last << 8 | byte) & 0xffff_ffff;
            let two = last & 0xffff ^ 0x0a0a;
            let three = last & 0x00ff_ffff ^ 0x000a_0d0a;
            // Only a zero minus one sets the highest bit here.
            let ends = (two.wrapping_sub(1) | three.wrapping_sub(1)) >> 63;
            let inside = (base + at).wrapping_sub(scan.length) >> 63;
            found |= ends & inside;
            at += 1;
        }
        scan.last = last;
        scan.found |= found;
    }
    0
}

/// Outputs a call with an open head. The call is split into parts of the budget's size, until the head ends or
/// [`OPEN_HEAD_BUDGET`] is used up. If the capture policy copies everything, the end of a head changes nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_open_head(connection: *mut Connection, slot: u64, skip: u64) -> u64 {
    // SAFETY: as in `tracer_data`; the callback has the type that the helper expects.
    unsafe {
        let Some(connection) = connection.as_mut() else { return 0 };
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return 0 };
        let work = &mut *work;
        work.open.next = 0;
        work.open.length = u64::from(work.header.length);
        work.open.skip = skip;
        work.open.first_position = work.header.position;
        work.open.last_bytes = connection.last_bytes;
        work.open.budget = connection.open_budget;
        work.open.lost = connection.lost;
        work.open.head = u32::from(Connection::HEAD_OPEN);
        work.open.flags = u32::from(work.header.flags);
        const PARTS: u32 = OPEN_HEAD_BUDGET / HEAD_BUDGET + 2;
        let mut slot = slot;
        bpf_loop(PARTS, emit_open_part as *mut c_void, (&raw mut slot).cast(), 0);
        connection.last_bytes = work.open.last_bytes;
        connection.open_budget = work.open.budget;
        connection.lost = work.open.lost;
        connection.head = work.open.head as u8;
    }
    0
}

/// Outputs one part for [`tracer_open_head`]. Returns 1 after the last part.
unsafe extern "C" fn emit_open_part(_index: u64, slot: *mut u64) -> c_long {
    // SAFETY: `slot` is that of `tracer_open_head`, which has filled the value.
    unsafe {
        let slot = *slot;
        let Some(work) = WORK.get_ptr_mut(slot as u32) else { return 1 };
        let work = &mut *work;
        let start = work.open.next;
        let whole = work.open.length;
        if start >= whole {
            return 1;
        }
        let left = whole - start;
        let skip = work.open.skip;
        let still_open = work.open.head == u32::from(Connection::HEAD_OPEN);
        // The rest of the call behind the head is one part, of which the edges are copied.
        let mut wanted = left - skip;
        let most = u64::from(if still_open { HEAD_BUDGET } else { EDGE_WITHOUT_POLICY });
        if wanted > most {
            wanted = most;
        }
        let length = if still_open { skip + wanted } else { left };
        let mut tail = length - skip - wanted;
        if tail > u64::from(EDGE_END) {
            tail = u64::from(EDGE_END);
        }
        // `tracer_gather` counts from the start of the call, and takes the call's length from the header.
        work.header.length = whole as u32;
        let gathered = tracer_gather(slot, start + skip, wanted, tail);
        if still_open {
            let filled = gathered & u64::from(u32::MAX);
            let found = tracer_find_head_end(slot, filled, u64::from(work.open.last_bytes));
            work.open.last_bytes = found as u32;
            if found >> 32 != 0 && work.policy < POLICY_EVERYTHING {
                work.open.head = u32::from(Connection::HEAD_COMPLETE);
            } else if work.open.budget <= wanted as u32 {
                work.open.budget = 0;
                work.open.head = u32::from(Connection::HEAD_COMPLETE);
            } else {
                work.open.budget -= wanted as u32;
            }
        }
        let mut flags = work.open.flags as u16;
        if start != 0 {
            flags &= !FLAG_TURN;
        }
        if start + length < whole {
            flags |= FLAG_CONTINUES;
        }
        work.header.flags = flags;
        work.header.position = work.open.first_position.wrapping_add(start as u32);
        work.header.length = length as u32;
        work.header.prefix_offset = skip as u32;
        work.header.lost = work.open.lost;
        work.open.next = start + length;
        work.open.skip = 0;
        if output_gathered(work, gathered, tail) {
            work.open.lost = 0;
        } else {
            work.open.lost += 1;
        }
    }
    0
}
