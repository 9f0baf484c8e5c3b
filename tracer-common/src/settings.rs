//! What the programs are told when they are loaded.

use core::mem::size_of;

use crate::Seeds;

/// Settings of the programs, fixed when they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Number of bytes in the ring above which the reader is woken at once.
    pub wake_bytes: u32,
    /// 1 if every exec of the machine is reported, because only userspace can evaluate a selector.
    pub report_every_exec: u32,
    /// 1 if requests get trace headers.
    pub propagate: u32,
    /// Threshold of the sampler, high half: a root is not sampled if the last [`RANDOM_BITS`](crate::RANDOM_BITS) bits
    /// of its trace id are below it.
    pub sample_above_high: u32,
    /// Threshold of the sampler, low half.
    pub sample_above_low: u32,
    /// 1 if the sampled flag of a received header decides; 0 if the trace id decides there too.
    pub sample_by_parent: u32,
    /// 1 if the agent reads trace contexts from other headers than `traceparent`.
    pub other_contexts: u32,
    /// Seeds of the ids.
    pub seeds: Seeds,
}

/// Action of an executable rule when a process executes a matching file: select the process.
pub const RULE_SELECT: u8 = 1;
/// See [`RULE_SELECT`]: exclude the process.
pub const RULE_EXCLUDE: u8 = 2;
/// See [`RULE_SELECT`]: report the exec to userspace, which decides.
pub const RULE_LOOK: u8 = 3;

/// Key of an executable rule that names one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    /// Inode number.
    pub inode: u64,
    /// Device number in the kernel's encoding (`dev_t` of `super_block.s_dev`).
    pub device: u64,
}

const _: () = {
    assert!(size_of::<Settings>() == 13 * 4);
    assert!(size_of::<FileKey>() == 16);
};
