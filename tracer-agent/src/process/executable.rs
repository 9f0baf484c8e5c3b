//! What tells one executable from another: its build id (`NT_GNU_BUILD_ID`, which linkers write), or the file itself.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

/// Identity of the executable behind a link of `/proc`: the same for the same build, in any place; of a file without a
/// build id, the same as long as the file is not replaced or written.
///
/// # Errors
/// The process is gone, or its executable may not be read.
pub(super) fn identity(link: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(link)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(build_id(&file).unwrap_or_else(|| {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        format!("{}:{}:{seconds}.{nanoseconds}", metadata.dev(), metadata.ino()).into_bytes()
    }))
}

/// The build id of a 64-bit little-endian ELF file (elf(5)), if it has one.
pub(super) fn build_id(file: &File) -> Option<Vec<u8>> {
    /// Program headers that are looked at.
    const HEADERS: u16 = 64;
    /// Size of a program header.
    const HEADER_BYTES: u64 = 56;
    const NOTE: u32 = 4;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry_bytes, entries) = (u64_at(&head, 32)?, u16_at(&head, 54)?, u16_at(&head, 56)?);
    if u64::from(entry_bytes) != HEADER_BYTES {
        return None;
    }
    (0..entries.min(HEADERS)).find_map(|entry| {
        let mut header = [0; HEADER_BYTES as usize];
        let at = table.checked_add(u64::from(entry) * HEADER_BYTES)?;
        file.read_exact_at(&mut header, at).ok()?;
        (u32_at(&header, 0)? == NOTE).then_some(())?;
        note(file, u64_at(&header, 8)?, u64_at(&header, 32)?)
    })
}

/// The build id among the notes in a part of a file.
fn note(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    /// Bytes of notes that are looked at.
    const MOST_NOTES: u64 = 4096;
    /// Longest build id.
    const MOST_ID: usize = 64;
    const GNU_BUILD_ID: u32 = 3;
    let mut notes = vec![0; length.min(MOST_NOTES) as usize];
    file.read_exact_at(&mut notes, offset).ok()?;
    let mut rest = &notes[..];
    loop {
        let (name_bytes, id_bytes, kind) = (u32_at(rest, 0)?, u32_at(rest, 4)?, u32_at(rest, 8)?);
        let padded = |bytes: u32| (bytes as usize).checked_next_multiple_of(4);
        let id_at = padded(name_bytes)?.checked_add(12)?;
        let id = rest.get(id_at..id_at.checked_add(id_bytes as usize)?)?;
        if kind == GNU_BUILD_ID && rest.get(12..16) == Some(b"GNU\0") && (1..=MOST_ID).contains(&id.len()) {
            return Some(id.to_vec());
        }
        rest = rest.get(id_at.checked_add(padded(id_bytes)?)?..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// A file of this test's own, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("tracer-elf-{}-{name}", std::process::id()));
            fs::write(&path, bytes).expect("written");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// An ELF file with one program header, of notes.
    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        file[64..68].copy_from_slice(&4_u32.to_le_bytes());
        file[72..80].copy_from_slice(&120_u64.to_le_bytes());
        file[96..104].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        file.extend(notes);
        file
    }

    fn note(name: &[u8], kind: u32, id: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len() as u32, id.len() as u32, kind] {
            note.extend(number.to_le_bytes());
        }
        for part in [name, id] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn a_build_id_is_the_identity_in_any_place() {
        let notes = [note(b"Go\0\0", 4, b"other"), note(b"GNU\0", 3, b"\x01\x02\x03\x04\x05")].concat();
        let [one, two] = ["one", "two"].map(|name| Scratch::new(name, &elf(&notes)));
        assert_eq!(identity(&one.0).expect("readable"), b"\x01\x02\x03\x04\x05");
        assert_eq!(identity(&one.0).expect("readable"), identity(&two.0).expect("readable"));
    }

    #[test]
    fn without_a_build_id_the_file_is_the_identity() {
        let plain = elf(&note(b"Go\0\0", 4, b"other"));
        let [one, two] = ["three", "four"].map(|name| Scratch::new(name, &plain));
        let of = |file: &Scratch| identity(&file.0).expect("readable");
        assert_eq!(of(&one), of(&one));
        assert_ne!(of(&one), of(&two));
        assert!(identity(&std::env::temp_dir()).is_err(), "a directory");
    }

    #[test]
    fn no_file_makes_it_fail() {
        let whole = elf(&note(b"GNU\0", 3, b"\x01\x02\x03\x04"));
        for cut in 0..whole.len() {
            let file = Scratch::new("cut", &whole[..cut]);
            assert!(identity(&file.0).is_ok(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            let file = Scratch::new("changed", &bytes);
            assert!(identity(&file.0).is_ok(), "changed at {at}");
        }
    }
}
