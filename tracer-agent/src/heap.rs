//! The heap of this process.

/// Keeps every thread that begins from now on in one arena of the C library. By default, each thread gets one of its own, and
/// what a search gives back in one arena is of no use to another: under load with searches, the memory of a viewer grew
/// from 55 MiB to 72 MiB, and goes on with 54 (`cargo xtask soak`).
pub(crate) fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator, under its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
