//! The kernel programs: they select, give bytes their TCP position, take times and copy the heads of
//! messages. Everything else is userspace's.
//!
//! Layouts of kernel structures are not compiled in: [`memory::layout`] reads their offsets from globals
//! that the agent sets from the running kernel's BTF.

#![no_std]
#![no_main]
#![expect(internal_features, reason = "atomics of this target: see `memory::atomic`")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod capture;
mod connection;
mod context;
mod hooks;
mod http;
mod ids;
mod memory;
mod policy;
mod propagate;
mod ring;
mod runtime;
mod scratch;
mod select;

/// BPF helpers for GPL-compatible programs only are used (`bpf_probe_read_user`, storage).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the build checks that no program contains a call to it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
