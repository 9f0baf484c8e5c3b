//! The memory of another process, as far as it is there: a read makes the kernel fetch no page. Whoever lets the kernel
//! fetch a page of a file system that does not answer stops the process itself, which needs the same lock.

#![forbid(unsafe_code)]

use std::{fs::File, ops::Range, os::unix::fs::FileExt};

/// The memory of a process, or what stands for it in tests.
pub(super) trait Memory {
    /// Fills `bytes` with what is at an address. Returns whether all of it is there.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool;

    /// The same, with zeros for what is not there. Returns whether the rest could be read.
    fn read_present(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.read(address, bytes)
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// A pointer that is not null.
    fn pointer(&self, address: u64) -> Option<u64> {
        self.word(address).filter(|pointer| *pointer != 0)
    }
}

/// The memory of a process.
#[derive(Debug)]
pub(super) struct ProcessMemory {
    memory: File,
    /// What is known of each page: `/proc/PID/pagemap`.
    pages: File,
}

impl ProcessMemory {
    /// Bytes of a page's entry, and the bit of a page that is in memory (proc_pid_pagemap(5)).
    const ENTRY_BYTES: usize = 8;
    const PRESENT: u64 = 1 << 63;
    /// Of x86-64, the only architecture whose tasks are read.
    const PAGE_BYTES: u64 = 4096;

    /// The memory of a process: its `/proc/PID/mem` and its `/proc/PID/pagemap`.
    pub(super) fn new(memory: File, pages: File) -> Self {
        Self { memory, pages }
    }

    /// A file in place of a memory, all of which is there.
    #[cfg(test)]
    pub(super) fn whole(memory: File) -> Self {
        use std::{io::Write, os::fd::AsFd, sync::atomic};
        static MADE: atomic::AtomicU64 = atomic::AtomicU64::new(0);
        let number = MADE.fetch_add(1, atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tracer-pagemap-{}-{number}", std::process::id()));
        let mut pages = File::options().read(true).write(true).create_new(true).open(&path).expect("created");
        let bytes = rustix::fs::fstat(memory.as_fd()).expect("a file").st_size as u64;
        let count = bytes.div_ceil(Self::PAGE_BYTES) as usize;
        pages.write_all(&vec![0xff; count * Self::ENTRY_BYTES]).expect("written");
        std::fs::remove_file(path).expect("removed");
        Self { memory, pages }
    }

    /// The addresses from `address` on, in pieces whose pages are in memory or are not. None if that cannot be told.
    fn pieces(&self, address: u64, length: usize) -> Option<Vec<(Range<u64>, bool)>> {
        let end = address.checked_add(length as u64).filter(|end| i64::try_from(*end).is_ok())?;
        let first = address / Self::PAGE_BYTES;
        let count = usize::try_from(end.div_ceil(Self::PAGE_BYTES) - first).ok()?;
        let mut entries = vec![0; count * Self::ENTRY_BYTES];
        self.pages.read_exact_at(&mut entries, first * Self::ENTRY_BYTES as u64).ok()?;
        let mut pieces: Vec<(Range<u64>, bool)> = Vec::new();
        for (page, entry) in (first..).zip(entries.chunks_exact(Self::ENTRY_BYTES)) {
            let is_there = u64::from_ne_bytes(entry.first_chunk().copied()?) & Self::PRESENT != 0;
            let piece = (page * Self::PAGE_BYTES).max(address)..((page + 1) * Self::PAGE_BYTES).min(end);
            match pieces.last_mut() {
                Some((last, was_there)) if *was_there == is_there => last.end = piece.end,
                _ => pieces.push((piece, is_there)),
            }
        }
        Some(pieces)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.pieces(address, bytes.len()).is_some_and(|pieces| {
            pieces.iter().all(|(_, is_there)| *is_there) && self.memory.read_exact_at(bytes, address).is_ok()
        })
    }

    fn read_present(&self, address: u64, bytes: &mut [u8]) -> bool {
        bytes.fill(0);
        let Some(pieces) = self.pieces(address, bytes.len()) else { return false };
        pieces.into_iter().filter(|(_, is_there)| *is_there).all(|(piece, _)| {
            let part = (piece.start - address) as usize..(piece.end - address) as usize;
            let Some(part) = bytes.get_mut(part) else { return false };
            self.memory.read_exact_at(part, piece.start).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::process::facts::Proc;

    const PAGE: usize = 4096;

    /// A process whose memory is a file, with the pages that are there.
    fn fake(name: &str, memory: &[u8], there: &[bool]) -> (PathBuf, ProcessMemory) {
        let root = std::env::temp_dir().join(format!("tracer-memory-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("created");
        fs::write(root.join("7/mem"), memory).expect("written");
        let entries = there.iter().flat_map(|it| (u64::from(*it) << 63 | 0x1234).to_ne_bytes());
        fs::write(root.join("7/pagemap"), entries.collect::<Vec<u8>>()).expect("written");
        let memory = Proc::at(&root).memory(7).expect("opened");
        (root, memory)
    }

    #[test]
    fn only_pages_that_are_in_memory_are_read() {
        let bytes: Vec<u8> = (0..4 * PAGE).map(|at| (at / PAGE) as u8 + 1).collect();
        let (root, memory) = fake("pages", &bytes, &[true, false, true, true]);
        let mut found = [0; 8];
        assert!(memory.read(PAGE as u64 - 8, &mut found) && found == [1; 8]);
        assert!(!memory.read(PAGE as u64 - 4, &mut found), "a part is not there");
        assert!(!memory.read(PAGE as u64, &mut found));
        assert!(memory.read(3 * PAGE as u64 - 4, &mut found) && found == [3, 3, 3, 3, 4, 4, 4, 4]);
        assert!(!memory.read(4 * PAGE as u64, &mut found), "behind the end");
        assert!(!memory.read(u64::MAX - 4, &mut found));
        let mut all = vec![9; 2 * PAGE + 8];
        assert!(memory.read_present(PAGE as u64 - 4, &mut all));
        assert_eq!(all[..4], [1; 4]);
        assert!(all[4..4 + PAGE].iter().all(|byte| *byte == 0));
        assert!(all[4 + PAGE..2 * PAGE + 4].iter().all(|byte| *byte == 3));
        assert_eq!(all[2 * PAGE + 4..], [4; 4]);
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn what_this_process_has_never_touched_is_not_read() {
        let memory = Proc::default().memory(std::process::id()).expect("our own");
        let touched = [7u8; 64];
        let mut found = [0; 64];
        assert!(memory.read(touched.as_ptr() as u64, &mut found));
        assert_eq!(found, touched);
        let untouched: Vec<u8> = vec![0; 64 << 20];
        assert!(!memory.read(untouched.as_ptr() as u64 + (32 << 20), &mut found));
    }
}
