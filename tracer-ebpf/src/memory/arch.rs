//! What differs between architectures: system call numbers and where their arguments are.

use aya_ebpf::bindings::pt_regs;

/// The buffers of a system call that moves bytes on a socket.
#[derive(Clone, Copy)]
pub(crate) enum Arguments {
    /// One buffer: its address. How much of it was used is the call's result.
    Buffer(u64),
    /// An array of `struct iovec`: address and count.
    Vectors(u64, u64),
    /// A `struct user_msghdr`: its address.
    Message(u64),
    /// None that belongs to the socket.
    None,
}

/// x86-64: `arch/x86/entry/syscalls/syscall_64.tbl`, arguments in rdi, rsi, rdx.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn arguments(registers: *const pt_regs) -> Arguments {
    // SAFETY: the caller has it from bpf_task_pt_regs.
    let (number, second, third) = unsafe { ((*registers).orig_rax, (*registers).rsi, (*registers).rdx) };
    match number {
        // read, write, sendto, recvfrom
        0 | 1 | 44 | 45 => Arguments::Buffer(second),
        // sendmsg, recvmsg
        46 | 47 => Arguments::Message(second),
        // readv, writev, preadv2, pwritev2
        19 | 20 | 327 | 328 => Arguments::Vectors(second, third),
        _ => Arguments::None,
    }
}

/// The first argument of the system call: a file descriptor.
#[inline(always)]
pub(crate) unsafe fn first_argument(registers: *const pt_regs) -> u64 {
    // SAFETY: the caller has it from bpf_task_pt_regs.
    unsafe { (*registers).rdi }
}

/// Whether the task came from 32-bit code, whose system calls have other numbers: its code segment
/// is not `__USER_CS` (`arch/x86/include/asm/segment.h`).
#[inline(always)]
pub(crate) unsafe fn is_compat(registers: *const pt_regs) -> bool {
    const USER_CS: u64 = 0x33;
    // SAFETY: the caller has it from bpf_task_pt_regs.
    unsafe { (*registers).cs & 0xffff != USER_CS }
}
