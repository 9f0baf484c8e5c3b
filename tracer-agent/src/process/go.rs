//! Go programs: which version built one, and where its runtime keeps what tells goroutines apart. All of it is in the
//! executable, stripped or not: the version in `.go.buildinfo`, the functions in `.gopclntab`.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
};

use object::{
    LittleEndian, ReadCache, ReadRef,
    elf::{ET_EXEC, FileHeader64, PT_LOAD, SectionHeader64},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};
use tracer_common::{GoPlan, TaskPlan};

use super::tasks::TaskProgram;
use crate::task_runtime::TaskRuntime;

/// What is the same in all programs of some minor versions of Go 1. The offsets are those of the structures' debugging
/// information (DWARF) in programs that each version built.
const LAYOUTS: [(Range<u32>, GoPlan); 6] = [
    // Before 1.21, not all contexts begin with the one above.
    (18..21, GoPlan { creator: 0, start: 312, context: 0, ..LAYOUT_1_21 }),
    (21..22, LAYOUT_1_21),
    (22..23, GoPlan { written: 96, ..LAYOUT_1_21 }),
    (
        23..25,
        GoPlan {
            id: 160,
            creator: 280,
            start: 304,
            next_id: 376,
            receivers: 64,
            written: 96,
            context: 256,
            ..LAYOUT_1_21
        },
    ),
    (
        25..26,
        GoPlan {
            running: 184,
            processor: 216,
            next_id: 376,
            receivers: 64,
            written: 96,
            context: 256,
            ..LAYOUT_1_21
        },
    ),
    (
        26..28,
        GoPlan {
            creator: 280,
            start: 304,
            running: 184,
            processor: 208,
            next_id: 384,
            receivers: 64,
            channel: 88,
            written: 96,
            context: 256,
            ..LAYOUT_1_21
        },
    ),
];

const LAYOUT_1_21: GoPlan = GoPlan {
    id: 152,
    creator: 272,
    start: 296,
    running: 192,
    processor: 224,
    next_id: 384,
    receivers: 56,
    channel: 80,
    written: 128,
    context: 240,
    write_loop: 0,
    last_id: 0,
};

/// The program in an executable; none if Go did not build it. Addresses in it are moved by `base` when it runs,
/// if the file allows that.
///
/// # Errors
/// The file cannot be read.
pub fn read(file: &File, base: impl FnOnce() -> Option<u64>) -> io::Result<Option<TaskProgram>> {
    /// An executable that is larger is not looked at.
    const MOST_BYTES: u64 = 4 << 30;
    /// Where an ELF header tells the number of program headers, and that of sections (elf(5)).
    const SEGMENTS_AT: usize = 56;
    const SECTIONS_AT: usize = 60;
    /// Of a file with more of either, or that tells their number elsewhere, none is read.
    const ENTRIES: Range<u16> = 1..4096;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.size() > MOST_BYTES {
        return Ok(None);
    }
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    // A file may claim tables of any length.
    let entries = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let is_plain = [SEGMENTS_AT, SECTIONS_AT].iter().all(|at| ENTRIES.contains(&entries(*at)));
    if !head.starts_with(b"\x7fELF\x02\x01") || !is_plain {
        return Ok(None);
    }
    let cache = ReadCache::new(file);
    let Some(elf) = Elf::parse(&cache) else { return Ok(None) };
    let Some(info) = build_info(&elf) else { return Ok(None) };
    let Some(version) = version(info) else { return Ok(None) };
    let plan = plan(&elf, &version, base);
    let program = TaskProgram::new(TaskRuntime::Go, version, plan.map(TaskPlan::Go));
    Ok(Some(TaskProgram { has_sdk: has_sdk(info), ..program }))
}

type Data<'d> = &'d ReadCache<&'d File>;

/// The parts of an executable that are looked at. Its symbols are not read: there may be any number.
struct Elf<'d> {
    header: &'d FileHeader64<LittleEndian>,
    sections: &'d [SectionHeader64<LittleEndian>],
    /// The names of the sections.
    names: &'d [u8],
    data: Data<'d>,
}

impl<'d> Elf<'d> {
    fn parse(data: Data<'d>) -> Option<Self> {
        /// Names of sections that are longer, together, are not read.
        const MOST_BYTES: u64 = 64 << 10;
        let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
        let sections = header.section_headers(LittleEndian, data).ok()?;
        let names = sections.get(usize::from(header.e_shstrndx.get(LittleEndian)))?;
        let size = names.sh_size(LittleEndian);
        let names = bytes_of(data, names, 0, size.min(MOST_BYTES))?;
        Some(Self { header, sections, names, data })
    }

    fn section(&self, name: &[u8]) -> Option<&'d SectionHeader64<LittleEndian>> {
        self.sections.iter().find(|section| {
            let rest = self.names.get(section.sh_name(LittleEndian) as usize..);
            rest.is_some_and(|rest| rest.split(|byte| *byte == 0).next() == Some(name))
        })
    }

    /// Address of the first byte that is loaded.
    fn first_address(&self) -> Option<u64> {
        let segments = self.header.program_headers(LittleEndian, self.data).ok()?;
        let loaded = segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD);
        loaded.map(|segment| segment.p_vaddr(LittleEndian)).min()
    }
}

/// Bytes of a section, from `at` on.
fn bytes_of<'d>(
    data: Data<'d>,
    section: &SectionHeader64<LittleEndian>,
    at: u64,
    length: u64,
) -> Option<&'d [u8]> {
    let (offset, size) = section.file_range(LittleEndian)?;
    let end = at.checked_add(length)?;
    (end <= size).then(|| data.read_bytes_at(offset.checked_add(at)?, length).ok())?
}

/// What Go notes in a program that it builds (`.go.buildinfo`, Go 1.18 and later): a header, the version, the modules.
fn build_info<'d>(elf: &Elf<'d>) -> Option<&'d [u8]> {
    /// More is not looked at.
    const MOST_BYTES: u64 = 1 << 20;
    const MAGIC: &[u8] = b"\xff Go buildinf:";
    let section = elf.section(b".go.buildinfo")?;
    let bytes = bytes_of(elf.data, section, 0, section.sh_size(LittleEndian).min(MOST_BYTES))?;
    bytes.get(memchr::memmem::find(bytes, MAGIC)?..)
}

/// The version of Go that built a program.
fn version(info: &[u8]) -> Option<String> {
    /// Flag: the version follows the header.
    const INLINE: u8 = 2;
    const HEADER_BYTES: usize = 32;
    if info.get(15)? & INLINE == 0 {
        return None;
    }
    let length = usize::from(*info.get(HEADER_BYTES)?);
    let version = info.get(HEADER_BYTES + 1..)?.get(..length).filter(|_| length < 128)?;
    Some(std::str::from_utf8(version).ok()?.strip_prefix("go")?.to_owned())
}

/// Whether OpenTelemetry's SDK is one of the modules of a program.
fn has_sdk(info: &[u8]) -> bool {
    memchr::memmem::find(info, b"\tgo.opentelemetry.io/otel/sdk\t").is_some()
}

/// The minor version: 26 of `1.26.8`, `1.26rc1` or `1.26-custom`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

fn plan(elf: &Elf<'_>, version: &str, base: impl FnOnce() -> Option<u64>) -> Option<GoPlan> {
    let minor = minor(version)?;
    let (_, layout) = LAYOUTS.iter().find(|(versions, _)| versions.contains(&minor))?;
    let base = match elf.header.e_type(LittleEndian) {
        ET_EXEC => 0,
        _ => base()?.wrapping_sub(elf.first_address()? & !0xfff),
    };
    let functions = Functions::read(elf)?;
    let moved = |address: u64| address.wrapping_add(base);
    Some(GoPlan {
        write_loop: functions.write_loop().map_or(0, moved),
        last_id: functions.last_id().map_or(0, moved),
        ..*layout
    })
}

/// The functions of a program that are asked for, from its `.gopclntab`.
struct Functions<'d> {
    data: Data<'d>,
    text: &'d SectionHeader64<LittleEndian>,
    /// Address and end of each.
    newproc: Option<Range<u64>>,
    write_loop: Option<u64>,
    /// The closures of `dialConn`, one of which starts the write loop.
    of_dial: Vec<Range<u64>>,
}

impl<'d> Functions<'d> {
    /// Reads the table of Go 1.18 and later (`src/internal/abi/symtab.go`, `src/debug/gosym/pclntab.go`).
    fn read(elf: &Elf<'d>) -> Option<Self> {
        /// A table that is longer is not looked at.
        const MOST_BYTES: u64 = 128 << 20;
        /// Of Go 1.18 and 1.19, and of later versions.
        const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
        /// Closures of one function that are looked at: it has seven.
        const MOST_CLOSURES: usize = 64;
        let table = elf.section(b".gopclntab").or_else(|| elf.section(b".data.rel.ro.gopclntab"))?;
        let text = elf.section(b".text")?;
        let size = table.sh_size(LittleEndian);
        if size > MOST_BYTES {
            return None;
        }
        let table = bytes_of(elf.data, table, 0, size)?;
        let word = |index: usize| u64_at(table, 8 + 8 * index);
        if !MAGICS.contains(&u32_at(table, 0)?) || table.get(7) != Some(&8) {
            return None;
        }
        let count = word(0)?;
        let names = table.get(usize::try_from(word(3)?).ok()?..)?;
        let entries = table.get(usize::try_from(word(7)?).ok()?..)?;
        let begin = match word(2)? {
            // The linker leaves the address to the loader.
            0 => text.sh_addr(LittleEndian).checked_add(offset_of_code(elf.data, text, entries)?)?,
            address => address,
        };
        let mut found = Self { data: elf.data, text, newproc: None, write_loop: None, of_dial: Vec::new() };
        for index in 0..usize::try_from(count).ok()? {
            let entry = |at: usize| u32_at(entries, 8 * index + at);
            let (start, info, end) = (entry(0)?, entry(4)?, entry(8)?);
            let name = u32_at(entries, usize::try_from(info).ok()?.checked_add(4)?)?;
            let name = names.get(usize::try_from(name).ok()?..)?;
            let range = begin.wrapping_add(start.into())..begin.wrapping_add(end.into());
            if name.starts_with(b"runtime.newproc1\0") {
                found.newproc = Some(range);
            } else if name.starts_with(b"net/http.(*persistConn).writeLoop\0") {
                found.write_loop = Some(range.start);
            } else if name.starts_with(b"net/http.(*Transport).dialConn.")
                && found.of_dial.len() < MOST_CLOSURES
            {
                found.of_dial.push(range);
            }
        }
        Some(found)
    }

    fn code(&self, range: &Range<u64>) -> Option<&'d [u8]> {
        /// None of the functions that are looked at is longer.
        const MOST_BYTES: u64 = 1 << 20;
        let length = range.end.checked_sub(range.start).filter(|length| *length <= MOST_BYTES)?;
        let at = range.start.checked_sub(self.text.sh_addr(LittleEndian))?;
        bytes_of(self.data, self.text, at, length)
    }

    /// Where a goroutine of the write loop starts: in the closure that calls it.
    fn write_loop(&self) -> Option<u64> {
        const CALL: u8 = 0xe8;
        let write_loop = self.write_loop?;
        let calls = |range: &&Range<u64>| {
            let Some(code) = self.code(range) else { return false };
            memchr::memchr_iter(CALL, code).any(|at| {
                let distance = u32_at(code, at + 1).map(|distance| i64::from(distance as i32));
                let next = range.start.wrapping_add(at as u64 + 5);
                distance.is_some_and(|distance| next.wrapping_add_signed(distance) == write_loop)
            })
        };
        self.of_dial.iter().find(calls).map(|range| range.start)
    }

    /// Address of `runtime.sched.goidgen`: `newproc1` takes sixteen numbers at once from it.
    fn last_id(&self) -> Option<u64> {
        let range = self.newproc.as_ref()?;
        let code = self.code(range)?;
        (0..code.len()).find_map(|at| {
            // A move of the constant 16, the address relative to the next instruction, an atomic addition.
            let [16, 0, 0, 0, 0x48 | 0x4c, 0x8d, form, distance @ .., 0xf0, 0x48..=0x4f, 0x0f, 0xc1] =
                code.get(at..)?.first_chunk::<15>()?
            else {
                return None;
            };
            let distance = i32::from_le_bytes(*distance);
            (form & 0xc7 == 5)
                .then_some(range.start.wrapping_add(at as u64 + 11).wrapping_add_signed(distance.into()))
        })
    }
}

/// How far from the beginning of the section Go's code begins: the C linker puts code of its own before it, if it links the
/// program. Most functions of Go begin with a comparison of the stack pointer, and there alone.
fn offset_of_code(data: Data<'_>, text: &SectionHeader64<LittleEndian>, entries: &[u8]) -> Option<u64> {
    /// Bytes of code, and functions, that are looked at.
    const MOST_BYTES: u64 = 512 << 10;
    const MOST_FUNCTIONS: usize = 1024;
    /// Where the code begins at most, and what it is aligned to.
    const LARGEST: usize = 64 << 10;
    const ALIGNED: usize = 16;
    /// Of ten functions, so many begin so: six or seven do, and one at any other place.
    const MOST_OF_TEN: usize = 4;
    let code = bytes_of(data, text, 0, text.sh_size(LittleEndian).min(MOST_BYTES))?;
    let begins = |at: usize| {
        // `cmp rsp, [r14+16]`, or `lea r12, [rsp-N]` for a large frame.
        code.get(at..).is_some_and(|code| {
            code.starts_with(&[0x49, 0x3b, 0x66, 0x10]) || code.starts_with(&[0x4c, 0x8d, 0x64, 0x24])
        })
    };
    let functions: Vec<usize> = (0..MOST_FUNCTIONS)
        .map_while(|index| u32_at(entries, 8 * index))
        .filter_map(|start| usize::try_from(start).ok())
        .take_while(|start| start + LARGEST < code.len())
        .collect();
    let is_there = |offset: &usize| {
        let count = functions.iter().filter(|start| begins(*start + offset)).count();
        !functions.is_empty() && count * 10 >= functions.len() * MOST_OF_TEN
    };
    // A program with little code has no others to look at.
    let found = (0..LARGEST).step_by(ALIGNED).find(is_there).or(functions.is_empty().then_some(0));
    found.map(|offset| offset as u64)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
