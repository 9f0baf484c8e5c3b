//! Hosts that a request may name in its target. A forward proxy passes the request on, with its trace header, to a host
//! that `DESTINATIONS` says nothing of.

use core::ffi::{c_long, c_void};

use aya_ebpf::{helpers::generated::bpf_loop, macros::map, maps::HashMap};
use tracer_common::AUTHORITY_BYTES;

use crate::{
    http::authority::{self, WORDS},
    memory::words::clear,
    scratch::{Scratch, scratch_at},
};

/// Authorities that the operator lists, in small letters, zero-padded.
#[map]
static PROXIED_HOSTS: HashMap<[u64; WORDS], u8> = HashMap::with_max_entries(1024, 0);

const _: () = assert!(WORDS * 8 == AUTHORITY_BYTES);

/// Returns 1 if the target in this scratch buffer is a path, or names a host that the operator lists.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_may_name(index: u64) -> u64 {
    let Some(mut scratch) = scratch_at(index) else { return 0 };
    // SAFETY: a live map value that is the caller's; the callback has the type that the helper expects.
    unsafe {
        let target = authority::target(&(*scratch).text);
        if authority::is_path(target, &(*scratch).text) {
            return 1;
        }
        clear(&raw mut (*scratch).authority);
        let Scratch { authority, text, .. } = &mut *scratch;
        if !authority.begin(target, text) {
            return 0;
        }
        bpf_loop(WORDS as u32, step as *mut c_void, (&raw mut scratch).cast(), 0);
        let authority = &(*scratch).authority;
        u64::from(authority.is_whole() && PROXIED_HOSTS.get_ptr(&authority.text).is_some())
    }
}

unsafe extern "C" fn step(index: u64, scratch: *mut *mut Scratch) -> c_long {
    // SAFETY: `scratch` is that of `tracer_may_name`.
    let Scratch { authority, text, .. } = unsafe { &mut **scratch };
    c_long::from(authority::step(authority, text, index))
}
