//! The memory of the process that makes a system call: which buffers belong to the call.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
};
use tracer_common::{ABSENT, NoBytes};

use crate::memory::{
    arch::{Arguments, arguments, is_compat},
    layout::{load, offset, read_word},
};

/// `include/linux/sched.h`: a kernel thread; a worker of io_uring, whose registers are its parent's.
pub(crate) const PF_IO_WORKER: u32 = 0x10;

pub(crate) const PF_KTHREAD: u32 = 0x0020_0000;

/// Whether the running thread is a worker of io_uring, or it or its process's first thread has used io_uring.
#[inline(always)]
pub(crate) unsafe fn uses_io_uring() -> bool {
    // SAFETY: typed pointers.
    unsafe {
        if offset!(task_io_uring) == u64::from(ABSENT) {
            return false;
        }
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let leader: *const c_void = load(task, offset!(task_group_leader));
        load::<u32>(task, offset!(task_flags)) & PF_IO_WORKER != 0
            || load::<u64>(task, offset!(task_io_uring)) != 0
            || load::<u64>(leader, offset!(task_io_uring)) != 0
    }
}

/// Whether the socket belongs to the kernel.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
pub(crate) unsafe fn is_of_kernel(sk: *const c_void) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        let byte: u8 = load(sk, offset!(sock_kern_sock));
        u64::from(byte) & offset!(sock_kern_sock_mask) != 0
    }
}

/// Why a call that sends pages has no buffer of the process's.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
pub(crate) unsafe fn without_buffer(sk: *const c_void) -> NoBytes {
    // SAFETY: typed pointers.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        if load::<u32>(task, offset!(task_flags)) & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return NoBytes::IoUring;
        }
        if is_of_kernel(sk) {
            return NoBytes::KernelSocket;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) { NoBytes::Compat } else { NoBytes::NoBuffer }
    }
}

/// Whether file descriptor `fd` of the task is the socket: the walk that `fget` and `sock_from_file`
/// make, without their references, so every step is a checked read.
#[inline(always)]
pub(crate) unsafe fn leads_to(task: *const c_void, fd: u64, sk: u64) -> bool {
    // SAFETY: typed loads up to the table, checked reads behind it.
    unsafe {
        let files: *const c_void = load(task, offset!(task_files));
        let table: *const c_void = load(files, offset!(files_fdt));
        let max: u32 = load(table, offset!(fdtable_max_fds));
        let fd = fd & 0xffff_ffff;
        if fd >= u64::from(max) {
            return false;
        }
        let slots: u64 = load(table, offset!(fdtable_fd));
        let file = read_word(slots + fd * 8);
        let socket = read_word(file + offset!(file_private_data));
        let found = read_word(socket + offset!(socket_sk));
        found == sk
    }
}

/// Where the bytes of a call are: `first_length` of them at `first`, the rest at `second`.
pub(crate) struct Buffers {
    pub(crate) first: u64,
    pub(crate) first_length: u64,
    pub(crate) second: u64,
}

impl Buffers {
    /// Address of the first.
    #[inline(always)]
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Whether the first begins with these bytes.
    #[inline(always)]
    pub(crate) fn begin_with(&self, expected: [u8; 7]) -> bool {
        const BYTES: u64 = 7;
        let mut found = [0u8; 8];
        // SAFETY: the helper writes into this frame, and checks the address.
        let is_read = self.first_length >= BYTES
            && unsafe {
                bpf_probe_read_user((&raw mut found).cast(), BYTES as u32, self.first as *const c_void)
            } == 0;
        let [a, b, c, d, e, f, g] = expected;
        is_read && u64::from_le_bytes(found) == u64::from_le_bytes([a, b, c, d, e, f, g, 0])
    }

    /// Bytes in the first.
    #[inline(always)]
    pub(crate) fn first_length(&self) -> u64 {
        self.first_length
    }
}

/// The buffers of the running system call, `length` bytes. None if they are to be looked for the long
/// way: more than two, none, or somebody else's.
///
/// # Safety
/// `sk` is the hook's own socket.
#[inline(always)]
pub(crate) unsafe fn buffers_of_call(sk: *const c_void, length: u64) -> Option<Buffers> {
    // SAFETY: typed pointers; user memory is read through helpers.
    unsafe {
        if is_of_kernel(sk) {
            return None;
        }
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        if load::<u32>(task, offset!(task_flags)) & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return None;
        }
        if offset!(task_io_uring) != u64::from(ABSENT) && load::<u64>(task, offset!(task_io_uring)) != 0 {
            return None;
        }
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        if is_compat(registers) {
            return None;
        }
        let [address, count] = match arguments(registers) {
            Arguments::Buffer(first) => return Some(Buffers { first, first_length: length, second: 0 }),
            Arguments::None => return None,
            Arguments::Vectors(address, count) => [address, count],
            // `msg_iov` and `msg_iovlen` of struct user_msghdr.
            Arguments::Message(address) => {
                let mut vectors = [0u64; 2];
                if bpf_probe_read_user((&raw mut vectors).cast(), 16, (address + 16) as *const c_void) != 0 {
                    return None;
                }
                vectors
            }
        };
        if count == 0 || count > 2 {
            return None;
        }
        // The helper writes what it is asked for, even when it fails; filling all of it would be a loop.
        let mut vectors = MaybeUninit::<[u64; 4]>::uninit();
        let to: *mut u64 = vectors.as_mut_ptr().cast();
        let bytes = if count == 1 { 16 } else { 32 };
        core::ptr::write_volatile(to.add(2), 0);
        core::ptr::write_volatile(to.add(3), 0);
        if bpf_probe_read_user(to.cast(), bytes, address as *const c_void) != 0 {
            return None;
        }
        let [first, first_length, second, second_length] = vectors.assume_init();
        if first_length >= length {
            return Some(Buffers { first, first_length: length, second: 0 });
        }
        // The application may have changed the array since: what does not add up is not followed.
        if length - first_length > second_length {
            return None;
        }
        Some(Buffers { first, first_length, second })
    }
}
