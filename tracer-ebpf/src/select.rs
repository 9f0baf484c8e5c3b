//! Which processes are traced: one bit each.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task_btf},
    macros::map,
    maps::{Array, HashMap},
};
use tracer_common::{FileKey, MAX_PIDS, NAME_BYTES, PORT_WORDS, RULE_EXCLUDE, RULE_SELECT, SELECTION_WORDS};

use crate::memory::{
    atomic,
    layout::{load, offset},
};

/// One bit per process id of the initial namespace; the agent maps it and sets bits too.
#[map]
static SELECTED: Array<u64> = Array::with_max_entries(SELECTION_WORDS, BPF_F_MMAPABLE);

/// One bit per TCP port: whoever listens there is selected.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, BPF_F_MMAPABLE);

/// Executables by device and inode, with what to do when one is executed (`RULE_*`).
#[map]
static FILES: HashMap<FileKey, u8> = HashMap::with_max_entries(1024, 0);

/// Executables by file name, zero-padded.
#[map]
static NAMES: HashMap<[u8; NAME_BYTES], u8> = HashMap::with_max_entries(1024, 0);

/// A thread that is selected: process in the high half, thread in the low.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current(u64);

impl Current {
    /// The running thread, if its process is selected.
    #[inline(always)]
    pub(crate) fn selected() -> Option<Self> {
        let current = Self::any();
        is_selected(current.pid()).then_some(current)
    }

    /// The running thread.
    #[inline(always)]
    pub(crate) fn any() -> Self {
        Self(bpf_get_current_pid_tgid())
    }

    /// As [`Self::selected`], in programs that may not ask for it by the helper (before 6.10: `sock_ops`).
    #[inline(always)]
    pub(crate) fn selected_task() -> Option<Self> {
        // SAFETY: a helper without arguments; the verifier knows what it returns.
        let (pid, tgid): (u32, u32) = unsafe {
            let task: *const c_void = bpf_get_current_task_btf().cast_const().cast();
            (load(task, offset!(task_pid)), load(task, offset!(task_tgid)))
        };
        is_selected(tgid).then_some(Self(u64::from(tgid) << 32 | u64::from(pid)))
    }

    /// What [`Self::both`] returned.
    #[inline(always)]
    pub(crate) fn of(both: u64) -> Self {
        Self(both)
    }

    /// The unit in the place of this thread in a process whose tasks are read; this thread if `task` is 0.
    #[inline(always)]
    pub(crate) fn of_task(self, task: u64) -> Self {
        // Tasks of different processes have the same numbers, and share no slots then.
        let mixed = task as u32 ^ self.pid().wrapping_mul(0x9e37_79b1);
        // No process has a number with the highest bit.
        if task == 0 { self } else { Self(self.0 >> 32 << 32 | 1 << 63 | u64::from(mixed)) }
    }

    /// Process in the high half, thread in the low.
    #[inline(always)]
    pub(crate) fn both(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn pid(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        self.0 as u32
    }
}

/// Whether the process's bit is set.
#[inline(always)]
pub(crate) fn is_selected(pid: u32) -> bool {
    match SELECTED.get_ptr(pid / 64) {
        // SAFETY: a live map value; a torn read is impossible for one word.
        Some(word) => (unsafe { core::ptr::read_volatile(word) }) >> (pid % 64) & 1 != 0,
        None => false,
    }
}

/// Sets or clears the process's bit. 64 processes share a word, so both are atomic.
#[inline(always)]
pub(crate) fn set_selected(pid: u32, selected: bool) {
    if pid >= MAX_PIDS {
        return;
    }
    if let Some(word) = SELECTED.get_ptr_mut(pid / 64) {
        let bit = 1u64 << (pid % 64);
        // SAFETY: a live map value that everyone changes atomically.
        unsafe {
            if selected {
                atomic::set(word, bit);
            } else {
                atomic::keep(word, !bit);
            }
        }
    }
}

/// Whether a listener on `port` selects its process.
#[inline(always)]
pub(crate) fn is_port_selected(port: u16) -> bool {
    match PORTS.get_ptr(u32::from(port) / 64) {
        // SAFETY: as in `is_selected`.
        Some(word) => (unsafe { core::ptr::read_volatile(word) }) >> (port % 64) & 1 != 0,
        None => false,
    }
}

/// What the rules say of an executable: `RULE_*`, or 0.
#[inline(always)]
pub(crate) fn rule_for(file: &FileKey, name: &[u8; NAME_BYTES]) -> u8 {
    // SAFETY: values are single bytes; a concurrent change is harmless.
    let by_file = unsafe { FILES.get(file) }.copied().unwrap_or(0);
    // SAFETY: as above.
    let by_name = unsafe { NAMES.get(name) }.copied().unwrap_or(0);
    if by_file == RULE_EXCLUDE || by_name == RULE_EXCLUDE {
        RULE_EXCLUDE
    } else if by_file == RULE_SELECT || by_name == RULE_SELECT {
        RULE_SELECT
    } else {
        by_name
    }
}
