//! Hosts that a request may name in its target. A forward proxy passes the request on, with its trace header, to a host
//! that `DESTINATIONS` says nothing of.

use core::ffi::{c_long, c_void};

use aya_ebpf::{helpers::generated::bpf_loop, macros::map, maps::HashMap};
use tracer_common::AUTHORITY_BYTES;

use crate::{
    http::{
        authority::{self, WORDS},
        head::Head,
    },
    memory::words::clear,
    scratch::{Scratch, scratch_at},
};

/// Authorities that the operator lists, in small letters, zero-padded.
#[map]
static PROXIED_HOSTS: HashMap<[u64; WORDS], u8> = HashMap::with_max_entries(1024, 0);

const _: () = assert!(WORDS * 8 == AUTHORITY_BYTES);

const OTHER: u64 = Head::OTHER_HOST as u64;

/// Returns [`Head::OTHER_HOST`] if the target in this scratch buffer names a host that the operator does not list, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_other_host(index: u64) -> u64 {
    let Some(mut scratch) = scratch_at(index) else { return OTHER };
    // SAFETY: a live map value that is the caller's; the callback has the type that the helper expects.
    unsafe {
        let target = authority::target(&(*scratch).text);
        if authority::is_path(target, &(*scratch).text) {
            return 0;
        }
        clear(&raw mut (*scratch).authority);
        let Scratch { authority, text, .. } = &mut *scratch;
        if !authority.begin(target, text) {
            return OTHER;
        }
        bpf_loop(WORDS as u32, step as *mut c_void, (&raw mut scratch).cast(), 0);
        let authority = &(*scratch).authority;
        if authority.is_whole() && PROXIED_HOSTS.get_ptr(&authority.text).is_some() { 0 } else { OTHER }
    }
}

unsafe extern "C" fn step(index: u64, scratch: *mut *mut Scratch) -> c_long {
    // SAFETY: `scratch` is that of `tracer_other_host`.
    let Scratch { authority, text, .. } = unsafe { &mut **scratch };
    c_long::from(authority::step(authority, text, index))
}
