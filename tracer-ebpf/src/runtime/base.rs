//! What all runtimes are read with: plans, the parts of an exchange, reads of the process's memory.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
};
use tracer_common::{
    GoPlan, JavaPlan, KernelCounter, Kind, NodePlan, PLAN_WORDS, PythonPlan, RECEIVE, SEND, TASK_FACTS,
    TaskRecord,
};

use crate::{
    memory::arch::is_compat,
    ring::{count, reserve, submit_flags},
    select::Current,
};

/// How the tasks of a process are read.
#[repr(C)]
pub(super) struct Plan {
    /// `RUNTIME_*`.
    pub(super) runtime: u64,
    /// What it takes to read its tasks.
    words: [u64; PLAN_WORDS],
}

impl Plan {
    /// Of a Go program.
    #[inline(always)]
    pub(super) fn go(&self) -> *const GoPlan {
        (&raw const self.words).cast()
    }

    /// Of a Python program.
    #[inline(always)]
    pub(super) fn python(&self) -> *const PythonPlan {
        (&raw const self.words).cast()
    }

    /// Of a Java program.
    #[inline(always)]
    pub(super) fn java(&self) -> *const JavaPlan {
        (&raw const self.words).cast()
    }

    /// Of a program that Node runs.
    #[inline(always)]
    pub(super) fn node(&self) -> *const NodePlan {
        (&raw const self.words).cast()
    }
}

/// The part of an exchange that a call begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A process reads a server request.
    ServerRequest,
    /// It sends the response to one.
    ServerResponse,
    /// It sends a client request.
    ClientRequest,
    /// It reads the response to one.
    ClientResponse,
}

impl Part {
    #[inline(always)]
    fn direction(self) -> u8 {
        if matches!(self, Self::ServerRequest | Self::ClientResponse) { RECEIVE } else { SEND }
    }
}

/// The registers of the running system call, if 64-bit code makes it.
#[inline(always)]
pub(super) unsafe fn registers() -> Option<*const pt_regs> {
    // SAFETY: helpers without side effects; the verifier knows what they return.
    unsafe {
        let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
        let registers = bpf_task_pt_regs(task.cast_mut().cast()) as *const pt_regs;
        (!is_compat(registers)).then_some(registers)
    }
}

/// Tells the agent about a task.
#[inline(always)]
pub(super) fn tell(
    runtime: u64,
    current: Current,
    part: Part,
    now: u64,
    task: u64,
    facts: [u64; TASK_FACTS],
) {
    let Some(mut space) = reserve::<TaskRecord>() else {
        count(KernelCounter::LostData, 1);
        return;
    };
    space.write(TaskRecord {
        kind: Kind::Task as u8,
        direction: part.direction(),
        runtime: runtime as u8,
        zero: 0,
        pid: current.pid(),
        time_ns: now,
        task,
        facts,
    });
    space.submit(submit_flags(false));
}

/// Reads words of the process's memory, with one call of a helper; zeros if they cannot all be read.
#[inline(always)]
pub(super) fn words<const N: usize>(base: u64, offset: u32) -> [u64; N] {
    let mut words = MaybeUninit::<[u64; N]>::uninit();
    let address = base.wrapping_add(i64::from(offset as i32) as u64);
    // SAFETY: the helper checks the address, and writes all words: zeros if it fails.
    unsafe {
        bpf_probe_read_user(words.as_mut_ptr().cast(), 8 * N as u32, address as *const c_void);
        words.assume_init()
    }
}

/// Reads a word of the process's memory; 0 if it cannot be read.
#[inline(always)]
pub(super) fn word(base: u64, offset: u32) -> u64 {
    tracer_word(base.wrapping_add(i64::from(offset as i32) as u64))
}

/// Reads the word at this address of the process's memory; 0 if it cannot be read. It is a function of its own, because
/// it is called often.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tracer_word(address: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the address, and writes zeros if it fails.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const c_void) };
    value
}
