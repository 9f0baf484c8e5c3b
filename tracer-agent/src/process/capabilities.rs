//! Capabilities of a process.

#![forbid(unsafe_code)]

use std::fs;

/// Bit of `CAP_SYS_PTRACE`, which allows to look at processes of others (`include/uapi/linux/capability.h`).
pub const SYS_PTRACE: u32 = 19;

/// The capabilities in effect, one bit each, as a `status` file of the proc file system tells them.
pub fn effective(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// Whether the agent itself may look at processes of others.
pub fn has_ptrace() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).is_some_and(|mask| mask >> SYS_PTRACE & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_mask_is_read() {
        assert_eq!(effective("CapPrm:\t1\nCapEff:\t0000000000080001\n"), Some(0x80001));
        assert_eq!(effective("CapPrm:\t1\n"), None);
    }
}
