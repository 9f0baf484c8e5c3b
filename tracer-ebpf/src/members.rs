//! The members of a `tracestate`, by the rules of W3C trace context level 2 (section 3.3.1): a list that breaks
//! one is as if absent. One step looks at one byte, in the loop of a helper; the state lives in map memory, as
//! that of a scan does.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::MAX_STATE;

use crate::scan::{Room, room};

/// What was seen of a list.
#[repr(C)]
pub(crate) struct Members {
    begin: u32,
    length: u32,
    /// `Members::*`.
    part: u32,
    /// Bytes of the key or value that is looked at.
    bytes: u32,
    /// Bytes of the value up to its last that is not blank.
    value: u32,
    /// Members so far.
    count: u32,
    /// Not 0 once the list breaks a rule.
    is_wrong: u32,
    /// Not 0 if the value has a tab behind it.
    has_tab: u32,
}

impl Members {
    /// Before a key.
    const BETWEEN: u32 = 0;
    const KEY: u32 = 1;
    const VALUE: u32 = 2;
    /// Most of a list.
    const MOST: u32 = 32;
    /// Longest key or value.
    const LONGEST: u32 = 256;
}

/// Whether the list of `length` bytes in a room, from `begin` on, breaks no rule; two members with one key are
/// not looked for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_members(index: u64, begin: u64, length: u64) -> u64 {
    let Some(mut found) = room(index) else { return 0 };
    // SAFETY: a live map value that is the caller's; the callback has the type that the helper expects.
    unsafe {
        (*found).members = Members {
            begin: begin as u32,
            length: length as u32,
            part: Members::BETWEEN,
            bytes: 0,
            value: 0,
            count: 0,
            is_wrong: 0,
            has_tab: 0,
        };
        bpf_loop(MAX_STATE + 1, step as *mut c_void, (&raw mut found).cast(), 0);
        u64::from((*found).members.is_wrong == 0)
    }
}

/// The next byte; the list ends as a member does. Returns 1 when all is known.
unsafe extern "C" fn step(index: u64, room: *mut *mut Room) -> core::ffi::c_long {
    // SAFETY: `room` is that of `tracer_members`.
    let room = unsafe { &mut **room };
    let at = index as u32;
    let is_end = at >= room.members.length;
    let byte = if is_end { b',' } else { room.word(u64::from(room.members.begin + at)) as u8 };
    let members = &mut room.members;
    let is_blank = byte == b' ' || byte == b'\t';
    let is_plain = byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut is_right = true;
    match members.part {
        Members::BETWEEN => {
            if !is_blank && byte != b',' {
                members.part = Members::KEY;
                members.bytes = 1;
                members.count += 1;
                is_right = is_plain && members.count <= Members::MOST;
            }
        }
        Members::KEY => {
            members.bytes += 1;
            if byte == b'=' {
                members.part = Members::VALUE;
                members.bytes = 0;
                members.value = 0;
                members.has_tab = 0;
            } else {
                let is_sign = matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
                is_right = (is_plain || is_sign) && members.bytes <= Members::LONGEST;
            }
        }
        _ => {
            members.bytes += 1;
            if byte == b',' {
                members.part = Members::BETWEEN;
                is_right = members.value != 0 && members.value <= Members::LONGEST;
            } else if byte == b'\t' {
                members.has_tab = 1;
            } else if byte != b' ' {
                members.value = members.bytes;
                is_right = byte.is_ascii_graphic() && byte != b'=' && members.has_tab == 0;
            }
        }
    }
    members.is_wrong |= u32::from(!is_right);
    core::ffi::c_long::from(is_end || !is_right)
}
