//! The kernel programs: they select, place bytes by TCP position, take times and copy the heads of
//! messages. Everything else is userspace's.
//!
//! Layouts of kernel structures are not compiled in: [`layout`] reads their offsets from globals
//! that the agent sets from the running kernel's BTF.

#![no_std]
#![no_main]
#![expect(internal_features, reason = "atomics of this target: see `atomic`")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod arch;
mod atomic;
mod buffer;
mod connection;
mod context;
mod io;
mod layout;
mod masked;
mod members;
mod process;
mod propagate;
mod ring;
mod scan;
mod select;
mod short;

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
