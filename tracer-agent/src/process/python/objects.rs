//! Objects of CPython in the memory of a process: dictionaries, strings, classes.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use tracer_common::PythonLayout;

use crate::process::memory::{Memory as _, ProcessMemory};

/// The memory of a process, of which only so much is read, and only for so long.
pub(super) struct Memory<'a> {
    process: &'a ProcessMemory,
    bytes_left: usize,
    pub(super) until: Instant,
}

impl<'a> Memory<'a> {
    /// Bytes that are read in all.
    const MOST_BYTES: usize = 4 << 20;
    const LONGEST: Duration = Duration::from_millis(200);

    pub(super) fn of(process: &'a ProcessMemory) -> Self {
        Self { process, bytes_left: Self::MOST_BYTES, until: Instant::now() + Self::LONGEST }
    }

    pub(super) fn read(&mut self, address: u64, bytes: &mut [u8]) -> Option<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes.len())?;
        (Instant::now() < self.until && self.process.read(address, bytes)).then_some(())
    }

    pub(super) fn word(&mut self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Some(u64::from_le_bytes(word))
    }

    /// A word that is an address.
    pub(super) fn pointer(&mut self, address: u64) -> Option<u64> {
        self.word(address).filter(|pointer| *pointer != 0)
    }

    /// The value of a key in a dictionary whose keys are strings of ASCII.
    pub(super) fn look_up(&mut self, layout: &PythonLayout, dictionary: u64, name: &[u8]) -> Option<u64> {
        self.look_up_all(layout, dictionary, [name])?[0]
    }

    /// The values of keys in a dictionary whose keys are strings of ASCII. None if it cannot be read.
    pub(super) fn look_up_all<const N: usize>(
        &mut self,
        layout: &PythonLayout,
        dictionary: u64,
        names: [&[u8]; N],
    ) -> Option<[Option<u64>; N]> {
        /// Entries that are looked at: the dictionary of modules has a few thousand.
        const MOST: u64 = 65_536;
        /// `PyDictObject.ma_keys`; behind it are the values of dictionaries that share keys.
        const KEYS: u64 = 32;
        const ENTRY_BYTES: u64 = 24;
        let keys = self.pointer(dictionary.checked_add(KEYS)?)?;
        if self.word(dictionary.checked_add(KEYS + 8)?)? != 0 {
            return None;
        }
        let count = self.word(keys.checked_add(layout.entries.into())?)?.min(MOST);
        let form = self.word(keys.checked_add(8)?)?;
        // Before 3.11 the number of places; then its logarithm, that of the bytes of the places, and whether entries have
        // no hash.
        let indices = u64::from(layout.first) - 8;
        let (places_bytes, has_hash) = if u64::from(layout.eight) == 8 {
            let width = match form {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                0x1_0000..=0xffff_ffff => 4,
                _ => return None,
            };
            (form * width, true)
        } else {
            (1u64.checked_shl((form >> 8 & 0xff) as u32)?, form >> 16 & 0xff == 0)
        };
        let first = keys.checked_add(indices)?.checked_add(places_bytes)?;
        let entry_bytes = if has_hash { ENTRY_BYTES } else { ENTRY_BYTES - 8 };
        let mut entries = vec![0; usize::try_from(count * entry_bytes).ok()?];
        self.read(first, &mut entries)?;
        let mut found = [None; N];
        for entry in entries.chunks_exact(usize::try_from(entry_bytes).ok()?) {
            let word = |from_end: usize| {
                let at = entry.len() - from_end;
                entry.get(at..).and_then(|rest| rest.first_chunk().copied()).map(u64::from_le_bytes)
            };
            let (key, value) = (word(16)?, word(8)?);
            if key == 0 || value == 0 {
                continue;
            }
            let length = self.length(key);
            for (name, found) in names.iter().zip(&mut found) {
                if length == Some(name.len() as u64) && self.has_text(layout, key, name) {
                    *found = Some(value);
                }
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        Some(found)
    }

    /// What a class has under a name.
    pub(super) fn of_class(&mut self, layout: &PythonLayout, class: u64, name: &[u8]) -> Option<u64> {
        /// `PyTypeObject.tp_dict`.
        const DICTIONARY: u64 = 264;
        let dictionary = self.pointer(class.checked_add(DICTIONARY)?)?;
        self.look_up(layout, dictionary, name)
    }

    /// Where in an object a slot of its class is (`__slots__`).
    pub(super) fn slot(&mut self, layout: &PythonLayout, class: u64, name: &[u8]) -> Option<u32> {
        /// `PyMemberDescrObject.d_member`, and `PyMemberDef.offset`.
        const MEMBER: u64 = 40;
        const OFFSET: u64 = 16;
        const LARGEST: u64 = 4096;
        let member = self.of_class(layout, class, name)?;
        if !self.is_named(member, b"member_descriptor")? {
            return None;
        }
        let definition = self.pointer(member.checked_add(MEMBER)?)?;
        let offset = self.word(definition.checked_add(OFFSET)?)?;
        u32::try_from(offset).ok().filter(|offset| u64::from(*offset) <= LARGEST)
    }

    /// Where an attribute of the objects of a class is, from where their attributes are counted. None before there was an
    /// object. `keys_at` is `PyHeapTypeObject.ht_cached_keys`.
    pub(super) fn attribute(
        &mut self,
        layout: &PythonLayout,
        keys_at: u64,
        class: u64,
        name: &[u8],
    ) -> Option<u32> {
        /// What a dictionary's keys are if objects share them.
        const SHARED: u64 = 2;
        const ENTRY_BYTES: u64 = 16;
        const MOST: u64 = 64;
        let keys = self.pointer(class.checked_add(keys_at)?)?;
        let form = self.word(keys.checked_add(8)?)?;
        if form >> 16 & 0xff != SHARED {
            return None;
        }
        let count = self.word(keys.checked_add(layout.entries.into())?)?.min(MOST);
        let first =
            keys.checked_add(u64::from(layout.first) - 8 + 1u64.checked_shl((form >> 8 & 0xff) as u32)?)?;
        let number = (0..count).find(|number| {
            let key = first.checked_add(number * ENTRY_BYTES).and_then(|at| self.pointer(at));
            key.is_some_and(|key| self.is_text(layout, key, name))
        })?;
        Some(u32::from(layout.first_attribute) + number as u32 * 8)
    }

    /// The length of an object that is a string.
    pub(super) fn length(&mut self, object: u64) -> Option<u64> {
        /// `PyASCIIObject.length`.
        const LENGTH: u64 = 16;
        self.word(object.checked_add(LENGTH)?)
    }

    /// Whether an object is this string.
    pub(super) fn is_text(&mut self, layout: &PythonLayout, object: u64, text: &[u8]) -> bool {
        self.length(object) == Some(text.len() as u64) && self.has_text(layout, object, text)
    }

    /// Whether a string of this length is this one.
    pub(super) fn has_text(&mut self, layout: &PythonLayout, object: u64, text: &[u8]) -> bool {
        let mut head = [0; 96];
        let text_at = usize::from(layout.text);
        let Some(all) = head.get_mut(..text_at + text.len() + 1) else { return false };
        if self.read(object, all).is_none() {
            return false;
        }
        all.get(text_at..).is_some_and(|found| found.strip_suffix(&[0]) == Some(text))
    }

    /// Whether the type of an object has this name.
    pub(super) fn is_named(&mut self, object: u64, name: &[u8]) -> Option<bool> {
        let kind = self.pointer(object.checked_add(8)?)?;
        self.type_is_named(kind, name)
    }

    /// Whether a type has this name.
    pub(super) fn type_is_named(&mut self, kind: u64, name: &[u8]) -> Option<bool> {
        /// `PyTypeObject.tp_name`.
        const NAME: u64 = 24;
        let at = self.pointer(kind.checked_add(NAME)?)?;
        let mut bytes = [0; 32];
        let bytes = bytes.get_mut(..name.len() + 1)?;
        self.read(at, bytes)?;
        Some(bytes.strip_suffix(&[0]) == Some(name))
    }
}
