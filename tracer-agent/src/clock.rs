//! Clocks of this machine. The only place that asks for the time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, the clock of the kernel programs, nanoseconds.
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// Unix time, nanoseconds.
pub fn unix_ns() -> u64 {
    read(ClockId::Realtime)
}

/// `CLOCK_BOOTTIME` in the ticks of `/proc/PID/stat` (`USER_HZ`, 100 a second on all architectures that are here).
pub fn boot_ticks() -> u64 {
    read(ClockId::Boottime) / 10_000_000
}

/// Processor time of this thread, nanoseconds.
pub fn thread_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// Processor time of this process, nanoseconds.
pub fn process_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// Unix time minus `CLOCK_MONOTONIC`, nanoseconds: the best of a few readings.
pub fn offset_ns() -> i64 {
    const READINGS: usize = 5;
    let mut best = (u64::MAX, 0);
    for _ in 0..READINGS {
        let before = monotonic_ns();
        let unix = read(ClockId::Realtime);
        let after = monotonic_ns();
        let middle = before + (after - before) / 2;
        if after - before < best.0 {
            best = (after - before, unix as i64 - middle as i64);
        }
    }
    best.1
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32).as_nanos() as u64
}

/// Seconds east of Greenwich at a moment, in the zone of this machine.
#[expect(unsafe_code, reason = "localtime_r has no safe binding in the crates that are here")]
pub fn local_offset_seconds(unix_seconds: libc::time_t) -> libc::c_long {
    // SAFETY: an all-zero tm is valid; localtime_r fills it.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const unix_seconds, &raw mut local).is_null() { 0 } else { local.tm_gmtoff }
    }
}
