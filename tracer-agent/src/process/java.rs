//! Processes that run Java on HotSpot: where its memory has the virtual thread that runs on a thread.
//!
//! `libjvm` exports a table of the fields of its own structures, for debuggers. `java.lang.Thread` is not in it: two of its
//! fields are found by their values in all threads of the process. `eetop` is the address of the thread's `JavaThread`,
//! and `tid` is a small number that no two threads share.
//!
//! A handle has the address of its object. With generational ZGC it has bits behind the address, of which those that are
//! set tell whether the address is valid.

#![forbid(unsafe_code)]

use std::{fs::File, io};

use rustc_hash::FxHashSet;
use tracer_common::JavaPlan;

use super::{
    memory::{Memory, ProcessMemory},
    python::{Mapping, mappings},
    symbols,
};

/// Why no virtual threads are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JavaError {
    /// The process is gone, may not be looked at, or has not loaded HotSpot yet.
    #[error("HotSpot is not in its memory")]
    NoMachine,
    /// It is older than virtual threads.
    #[error("its Java has no virtual threads")]
    NoVirtualThreads,
    /// Nothing else in its threads is as it is in those of Java.
    #[error("its threads are not as they are known")]
    UnknownThreads,
}

/// A process, as far as it is looked at.
pub(super) struct Process<'a> {
    /// `/proc/PID/maps`.
    pub(super) maps: &'a str,
    /// Opens the file of a mapping.
    pub(super) open: &'a dyn Fn(&Mapping<'_>) -> io::Result<File>,
    pub(super) memory: &'a ProcessMemory,
}

/// Finds where a process that runs Java has what is read of it.
pub(super) fn plan(process: &Process<'_>) -> Result<JavaPlan, JavaError> {
    let table = table(process).ok_or(JavaError::NoMachine)?;
    let fields = Fields::read(process.memory, table).ok_or(JavaError::NoVirtualThreads)?;
    fields.plan(process.memory).ok_or(JavaError::UnknownThreads)
}

/// Whether a text that ends with a zero byte is this one.
fn is_text(memory: &impl Memory, address: u64, text: &str) -> bool {
    let mut bytes = [0; 48];
    let Some(read) = bytes.get_mut(..=text.len()) else { return false };
    memory.read(address, read) && read.strip_suffix(&[0]) == Some(text.as_bytes())
}

/// The address of HotSpot's table of fields (`gHotSpotVMStructs`).
fn table(process: &Process<'_>) -> Option<u64> {
    let mut machines = mappings(process.maps).filter(|mapping| mapping.path.ends_with("/libjvm.so"));
    machines.find_map(|mapping| {
        let file = (process.open)(&mapping).ok()?;
        let [table, stride] =
            symbols::find(&file, mapping.begin, [b"gHotSpotVMStructs", b"gHotSpotVMStructEntryArrayStride"])
                .ok()??;
        let is_known = process.memory.word(stride?.address)? == Fields::STRIDE;
        is_known.then(|| process.memory.pointer(table?.address)).flatten()
    })
}

/// What the table tells: offsets of fields, and the address of a static one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    os_thread: u64,
    pthread: u64,
    own: u64,
    running: u64,
    /// Address of `ThreadsSMRSupport::_java_thread_list`.
    list: u64,
    length: u64,
    threads: u64,
    /// Address of `ZGlobalsForVMStructs::_instance_p`; 0 in a HotSpot without ZGC.
    z_globals: u64,
    /// Of generational ZGC: where its globals have the addresses of the mask and of the shift of handles.
    bad_mask: u64,
    shift: u64,
}

/// What tells the address in a handle of generational ZGC: see [`JavaPlan`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Colours {
    bad_mask: u64,
    shift: u64,
}

impl Colours {
    /// The address of the object to which a handle leads, if it is valid.
    fn object(self, memory: &impl Memory, handle: u64) -> Option<u64> {
        let content = memory.pointer(handle)?;
        if self.bad_mask == 0 {
            return Some(content);
        }
        let is_valid = content & memory.word(self.bad_mask)? == 0;
        let shift = u32::try_from(memory.word(self.shift)?).ok()?;
        content.checked_shr(shift).filter(|address| is_valid && *address != 0)
    }
}

impl Fields {
    /// Bytes of an entry: names of type and field, the field's type, whether it is static, offset, address.
    const STRIDE: u64 = 48;
    /// Entries that are looked at.
    const MOST: u64 = 16_384;
    /// Threads that are looked at, and how many it takes to tell their fields.
    const MOST_THREADS: usize = 1024;
    const FEWEST_THREADS: usize = 4;

    /// Reads the table; none if a field is missing.
    fn read(memory: &impl Memory, table: u64) -> Option<Self> {
        let mut fields = Self::default();
        for number in 0..Self::MOST {
            let mut entry = [0; Self::STRIDE as usize];
            if !memory.read(table.checked_add(number * Self::STRIDE)?, &mut entry) {
                break;
            }
            let word = |at: usize| {
                let bytes = entry.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
                bytes.copied().map_or(0, u64::from_le_bytes)
            };
            let [of, name, offset, address] = [word(0), word(8), word(32), word(40)];
            if of == 0 {
                break;
            }
            let names = [
                (&["JavaThread", "Thread"][..], "_osthread", &mut fields.os_thread, offset),
                (&["OSThread"], "_pthread_id", &mut fields.pthread, offset),
                (&["JavaThread"], "_threadObj", &mut fields.own, offset),
                (&["JavaThread"], "_vthread", &mut fields.running, offset),
                (&["ThreadsSMRSupport"], "_java_thread_list", &mut fields.list, address),
                (&["ThreadsList"], "_length", &mut fields.length, offset),
                (&["ThreadsList"], "_threads", &mut fields.threads, offset),
                (&["ZGlobalsForVMStructs"], "_instance_p", &mut fields.z_globals, address),
                (&["ZGlobalsForVMStructs"], "_ZPointerLoadBadMask", &mut fields.bad_mask, offset),
                (&["ZGlobalsForVMStructs"], "_ZPointerLoadShift", &mut fields.shift, offset),
            ];
            for (types, field, place, value) in names {
                if is_text(memory, name, field) && types.iter().any(|text| is_text(memory, of, text)) {
                    *place = value;
                }
            }
        }
        let Self { os_thread, pthread, own, running, list, length, threads, .. } = fields;
        [os_thread, pthread, own, running, list, length, threads].iter().all(|it| *it != 0).then_some(fields)
    }

    /// How handles have addresses; none if that cannot be told. The globals are set if the collector is used.
    fn colours(&self, memory: &impl Memory) -> Option<Colours> {
        let globals = if self.z_globals == 0 { 0 } else { memory.word(self.z_globals)? };
        if globals == 0 || self.bad_mask == 0 && self.shift == 0 {
            return Some(Colours::default());
        }
        let address = |offset: u64| memory.pointer(globals.checked_add(offset)?);
        Some(Colours { bad_mask: address(self.bad_mask)?, shift: address(self.shift)? })
    }

    /// Threads, each with its `java.lang.Thread`.
    fn all_threads(&self, memory: &impl Memory, colours: Colours) -> Option<Vec<(u64, u64)>> {
        let list = memory.pointer(self.list)?;
        let count = memory.word(list.checked_add(self.length)?)? as u32 as usize;
        let threads = memory.pointer(list.checked_add(self.threads)?)?;
        let thread = |index: usize| {
            let thread = memory.pointer(threads.checked_add(8 * index as u64)?)?;
            let handle = memory.pointer(thread.checked_add(self.own)?)?;
            Some((thread, colours.object(memory, handle)?))
        };
        // One that begins or ends has none. The handles of some may not be valid now.
        Some((0..count.min(Self::MOST_THREADS)).filter_map(thread).collect())
    }

    fn plan(&self, memory: &impl Memory) -> Option<JavaPlan> {
        /// Where `java.lang.Thread` may have the fields, behind the head of an object.
        const PLACES: std::ops::Range<u64> = 1..24;
        /// No program has made so many threads, and addresses are larger.
        const MOST_IDS: u64 = 1 << 31;
        let colours = self.colours(memory)?;
        let threads = self.all_threads(memory, colours)?;
        if threads.len() < Self::FEWEST_THREADS {
            return None;
        }
        let values = |place: u64| -> Option<Vec<u64>> {
            threads.iter().map(|(_, object)| memory.word(object.checked_add(8 * place)?)).collect()
        };
        let (mut native, mut ids) = (Vec::new(), Vec::new());
        for place in PLACES {
            let Some(values) = values(place) else { continue };
            if values.iter().zip(&threads).all(|(value, (thread, _))| value == thread) {
                native.push(place);
                continue;
            }
            let different: FxHashSet<_> = values.iter().filter(|id| (1..MOST_IDS).contains(*id)).collect();
            if different.len() == threads.len() {
                ids.push(place);
            }
        }
        let ([native], [id]) = (&native[..], &ids[..]) else { return None };
        let offset = |offset: u64| u32::try_from(offset).ok();
        Some(JavaPlan {
            bad_mask: colours.bad_mask,
            shift: colours.shift,
            os_thread: offset(self.os_thread)?,
            pthread: offset(self.pthread)?,
            own: offset(self.own)?,
            running: offset(self.running)?,
            id: offset(8 * id)?,
            native: offset(8 * native)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Memory made of words.
    #[derive(Clone, Default)]
    struct Fake {
        words: BTreeMap<u64, u64>,
    }

    impl Fake {
        fn text(&mut self, at: u64, text: &str) -> u64 {
            let mut bytes = text.as_bytes().to_vec();
            bytes.push(0);
            for (index, part) in (0..).zip(bytes.chunks(8)) {
                let mut word = [0; 8];
                word[..part.len()].copy_from_slice(part);
                self.words.insert(at + 8 * index, u64::from_le_bytes(word));
            }
            at
        }

        /// Of the table of fields: type and name, offset and address.
        fn entry(&mut self, index: u64, [of, name]: [&str; 2], [offset, address]: [u64; 2]) {
            let of = self.text(0x1000 + 0x100 * index, of);
            let name = self.text(0x1080 + 0x100 * index, name);
            self.words_at(TABLE + Fields::STRIDE * index, [of, name, 0, 0, offset, address]);
        }

        /// The table ends with this entry.
        fn end(&mut self, index: u64) {
            self.words_at(TABLE + Fields::STRIDE * index, [0; 6]);
        }

        fn words_at(&mut self, address: u64, words: [u64; 6]) {
            self.words.extend((address..).step_by(8).zip(words));
        }
    }

    impl Memory for Fake {
        fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
            (address..).zip(bytes).all(|(at, byte)| {
                let word = self.words.get(&(at & !7));
                word.map(|word| *byte = word.to_le_bytes()[at as usize & 7]).is_some()
            })
        }
    }

    const TABLE: u64 = 0x10_000;
    const LIST: u64 = 0x20_000;
    const OBJECTS: u64 = 0x50_000;
    /// That of [`machine`], if its objects have the thread and the number in the second and the third word.
    const PLAN: JavaPlan = JavaPlan {
        bad_mask: 0,
        shift: 0,
        os_thread: 0x310,
        pthread: 8,
        own: 0x378,
        running: 0x380,
        id: 24,
        native: 16,
    };

    /// A process with five threads whose objects have these words from the second on.
    fn machine(object: impl Fn(u64, u64) -> [u64; 4]) -> Fake {
        let mut fake = Fake::default();
        let fields = [
            ("Thread", "_osthread", 0x310, 0),
            ("OSThread", "_pthread_id", 8, 0),
            ("Other", "_threadObj", 0x111, 0),
            ("JavaThread", "_threadObj", 0x378, 0),
            ("JavaThread", "_vthread", 0x380, 0),
            ("ThreadsSMRSupport", "_java_thread_list", 0, LIST),
            ("ThreadsList", "_length", 8, 0),
            ("ThreadsList", "_threads", 16, 0),
        ];
        for (index, (of, name, offset, address)) in (0..).zip(fields) {
            fake.entry(index, [of, name], [offset, address]);
        }
        fake.end(fields.len() as u64);
        fake.words.extend([(LIST, LIST + 8), (LIST + 16, 5), (LIST + 24, LIST + 0x100)]);
        for number in 0..5 {
            let (thread, handle, at) =
                (0x30_000 + 0x1000 * number, 0x40_000 + 8 * number, OBJECTS + 0x100 * number);
            fake.words.extend([(LIST + 0x100 + 8 * number, thread), (thread + 0x378, handle), (handle, at)]);
            for (place, word) in (1..).zip(object(number, thread)) {
                fake.words.insert(at + 8 * place, word);
            }
        }
        fake
    }

    fn found(fake: &Fake) -> Option<JavaPlan> {
        Fields::read(fake, TABLE)?.plan(fake)
    }

    #[test]
    fn fields_are_found_by_the_table_and_by_their_values() {
        let fake = machine(|number, thread| [0x4_7600, thread, 9 + number, 0]);
        assert_eq!(found(&fake), Some(PLAN));
    }

    #[test]
    fn handles_of_generational_zgc_have_addresses_by_its_globals() {
        const Z: u64 = 0x60_000;
        /// Beyond the last entry of the table.
        const NEXT: u64 = 8;
        let mut fake = machine(|number, thread| [0x4_7600, thread, 9 + number, 0]);
        let fields = [("_instance_p", 0, Z), ("_ZPointerLoadBadMask", 16, 0), ("_ZPointerLoadShift", 24, 0)];
        for (index, (name, offset, address)) in (NEXT..).zip(fields) {
            fake.entry(index, ["ZGlobalsForVMStructs", name], [offset, address]);
        }
        fake.end(NEXT + 3);
        fake.words.insert(Z, 0);
        assert_eq!(found(&fake), Some(PLAN), "another collector is used");

        fake.words.extend([(Z, Z + 8), (Z + 24, Z + 0x100), (Z + 32, Z + 0x108)]);
        fake.words.extend([(Z + 0x100, 0xe000), (Z + 0x108, 13)]);
        assert_eq!(found(&fake), None, "these handles have no bits");
        for handle in (0x40_000..0x40_028).step_by(8) {
            let address = fake.words[&handle];
            fake.words.insert(handle, address << 13 | 0x1000);
        }
        assert_eq!(found(&fake), Some(JavaPlan { bad_mask: Z + 0x100, shift: Z + 0x108, ..PLAN }));
        // One of the five is not valid now; then two are, and four threads are too few.
        fake.words.insert(0x40_000, OBJECTS << 14 | 0x2000);
        assert!(found(&fake).is_some());
        fake.words.insert(0x40_008, (OBJECTS + 0x100) << 14 | 0x2000);
        assert_eq!(found(&fake), None);
    }

    #[test]
    fn what_is_not_certain_gives_no_plan() {
        // Two fields that may be the number.
        assert_eq!(found(&machine(|number, thread| [100 + number, thread, 9 + number, 0])), None);
        // Numbers that two threads share, or that are too large.
        assert_eq!(found(&machine(|number, thread| [7, thread, 9 + number / 2, 0])), None);
        assert_eq!(found(&machine(|number, thread| [7, thread, (9 + number) << 32, 0])), None);
        // Objects that do not name their thread.
        assert_eq!(found(&machine(|number, thread| [7, thread + 8 * number, 9 + number, 0])), None);
    }

    #[test]
    fn a_java_without_virtual_threads_and_a_table_without_end_give_no_plan() {
        let whole = machine(|number, thread| [7, thread, 9 + number, 0]);
        for missing in 0..8 {
            let mut fake = whole.clone();
            fake.text(0x1080 + 0x100 * missing, "_other");
            assert_eq!(found(&fake).is_none(), missing != 2, "{missing}");
        }
        let mut fake = whole;
        fake.words.insert(LIST + 16, u64::from(u32::MAX));
        assert!(found(&fake).is_some(), "threads that are not there are left out");
        fake.words.insert(LIST + 24, u64::MAX - 4);
        assert_eq!(found(&fake), None);
        let mut endless = Fake::default();
        let (of, name) = (endless.text(0x1000, "JavaThread"), endless.text(0x1080, "_x"));
        for entry in 0..2 * Fields::MOST {
            for (at, word) in (0..).zip([of, name, 0, 0, 8, 0]) {
                endless.words.insert(TABLE + Fields::STRIDE * entry + 8 * at, word);
            }
        }
        assert_eq!(found(&endless), None);
    }
}
