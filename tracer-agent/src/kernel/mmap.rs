//! Array maps that the agent and the kernel programs share as memory, and what of the bpf system
//! call aya does not offer.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::Map;

use super::error::KernelError;

/// The words of an array map, in our memory.
pub(super) struct Words {
    start: NonNull<AtomicU64>,
    count: u32,
}

// SAFETY: the memory is shared with the kernel anyway; it is only touched atomically.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps the `count` words of an array that was made mappable.
    pub(super) fn map(map: &Map, count: u32) -> Result<Self, KernelError> {
        let Map::Array(data) = map else {
            return Err(KernelError::Load("a shared map is not an array".to_owned()));
        };
        // SAFETY: a new shared mapping of the map's own size; the kernel checks descriptor and size.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count as usize * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(KernelError::Load(format!("cannot map an array: {}", io::Error::last_os_error())));
        }
        let start = NonNull::new(start.cast()).ok_or(KernelError::Load("mmap gave null".to_owned()))?;
        Ok(Self { start, count })
    }

    /// Words that nobody shares.
    #[cfg(test)]
    pub(super) fn detached(count: u32) -> Self {
        // SAFETY: a new mapping, without a file.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count as usize * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: NonNull::new(start.cast()).expect("not null"), count }
    }

    fn word(&self, index: u32) -> Option<&AtomicU64> {
        // SAFETY: inside the mapping, which lives as long as `self`.
        (index < self.count).then(|| unsafe { self.start.add(index as usize).as_ref() })
    }

    /// The word, 0 outside of the array.
    pub(super) fn load(&self, index: u32) -> u64 {
        self.word(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Sets the word; outside of the array nothing happens.
    pub(super) fn store(&self, index: u32, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Sets bits.
    pub(super) fn set_bits(&self, index: u32, bits: u64) {
        if let Some(word) = self.word(index) {
            word.fetch_or(bits, Ordering::SeqCst);
        }
    }

    /// Clears bits.
    pub(super) fn clear_bits(&self, index: u32, bits: u64) {
        if let Some(word) = self.word(index) {
            word.fetch_and(!bits, Ordering::SeqCst);
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.count as usize * size_of::<u64>());
        }
    }
}

/// `recursion_misses` of a program: `struct bpf_prog_info`, `include/uapi/linux/bpf.h`.
pub(super) fn recursion_misses(program: RawFd) -> Option<u64> {
    const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    /// Offset of the field, and a length that covers it.
    const FIELD: usize = 208;
    const LENGTH: usize = 232;
    #[repr(C)]
    struct MmapAttribute {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0u8; LENGTH];
    let mut attribute =
        MmapAttribute { fd: program.try_into().ok()?, length: LENGTH as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw mut attribute, size_of::<MmapAttribute>())
    };
    if result != 0 {
        return None;
    }
    Some(u64::from_le_bytes(info.get(FIELD..FIELD + 8)?.try_into().ok()?))
}
