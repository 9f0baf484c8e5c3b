//! Exported symbols of an executable or a library.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
};

use object::{
    LittleEndian, ReadCache, ReadRef,
    elf::{FileHeader64, PT_LOAD, SHT_DYNSYM, SectionHeader64, Sym64},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

/// An exported object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Where it is in memory.
    pub(super) address: u64,
}

/// The symbols of these names in a file whose beginning is mapped at `begin`; none if the file is no ELF file of 64 bits.
///
/// # Errors
/// The file cannot be read.
pub(super) fn find<const N: usize>(
    file: &File,
    begin: u64,
    names: [&[u8]; N],
) -> io::Result<Option<[Option<Symbol>; N]>> {
    /// A file that is larger is not looked at.
    const MOST_BYTES: u64 = 4 << 30;
    /// Where an ELF header tells the number of program headers, and that of sections (elf(5)).
    const COUNTS_AT: [usize; 2] = [56, 60];
    /// Of a file with more of either, or that tells their number elsewhere, none is read.
    const ENTRIES: Range<u16> = 1..4096;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.size() > MOST_BYTES {
        return Ok(None);
    }
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    // A file may claim tables of any length.
    let is_plain =
        COUNTS_AT.iter().all(|at| ENTRIES.contains(&u16::from_le_bytes([head[*at], head[*at + 1]])));
    if !head.starts_with(b"\x7fELF\x02\x01") || !is_plain {
        return Ok(None);
    }
    Ok(read(&ReadCache::new(file), begin, names))
}

fn read<const N: usize>(
    data: &ReadCache<&File>,
    begin: u64,
    names: [&[u8]; N],
) -> Option<[Option<Symbol>; N]> {
    /// Tables that are larger are not read.
    const MOST_BYTES: u64 = 8 << 20;
    let end = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
    let sections: &[SectionHeader64<LittleEndian>] = header.section_headers(end, data).ok()?;
    let table = sections.iter().find(|section| section.sh_type(end) == SHT_DYNSYM)?;
    let texts = sections.get(usize::try_from(table.sh_link(end)).ok()?)?;
    let bytes_of = |section: &SectionHeader64<LittleEndian>| {
        let (offset, size) = section.file_range(end)?;
        (size <= MOST_BYTES).then(|| data.read_bytes_at(offset, size).ok())?
    };
    let (table, texts) = (bytes_of(table)?, bytes_of(texts)?);
    let segments = header.program_headers(end, data).ok()?;
    let loaded = segments.iter().filter(|segment| segment.p_type(end) == PT_LOAD);
    let first = loaded.map(|segment| segment.p_vaddr(end)).min()? & !0xfff;
    let base = begin.wrapping_sub(first);
    let count = table.len() / size_of::<Sym64<LittleEndian>>();
    let (symbols, _) = object::slice_from_bytes::<Sym64<LittleEndian>>(table, count).ok()?;
    let mut found = [None; N];
    for symbol in symbols {
        let value = symbol.st_value.get(end);
        let Some(text) = texts.get(symbol.st_name.get(end) as usize..).filter(|_| value != 0) else {
            continue;
        };
        for (name, found) in names.iter().zip(&mut found) {
            if text.starts_with(name) && text.get(name.len()) == Some(&0) {
                *found = Some(Symbol { address: base.wrapping_add(value) });
            }
        }
    }
    Some(found)
}
