//! Codes for what comes again and again.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::{HashTable, hash_table::Entry};

/// Finds the code of something by its hash. What the codes stand for lies elsewhere.
///
/// Traffic chooses what is hashed: the hash is keyed, so that nobody can make many things meet in one place.
#[derive(Default)]
pub(crate) struct Codes {
    table: HashTable<(u32, u32)>,
}

impl Codes {
    /// The code of what hashes so and is equal, or the next code, which it has from now on; and whether it is new.
    pub(crate) fn find_or_add(
        &mut self,
        hash: u32,
        next: usize,
        is_equal: impl Fn(usize) -> bool,
    ) -> (u32, bool) {
        let is_it = |(other, code): &(u32, u32)| *other == hash && is_equal(*code as usize);
        match self.table.entry(spread(hash), is_it, |(hash, _)| spread(*hash)) {
            Entry::Occupied(entry) => (entry.get().1, false),
            Entry::Vacant(entry) => {
                let code = u32::try_from(next).unwrap_or(u32::MAX);
                entry.insert((hash, code));
                (code, true)
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Half of a keyed hash: with the comparison that follows it is enough.
pub(crate) fn short_hash(keys: &RandomState, of: impl Hash) -> u32 {
    keys.hash_one(of) as u32
}

/// Texts, one after the other in one buffer.
#[derive(Default)]
pub(crate) struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Strings {
    pub(crate) fn intern(&mut self, codes: &mut Codes, keys: &RandomState, text: &str) -> u32 {
        let (code, is_new) =
            codes.find_or_add(short_hash(keys, text), self.ends.len(), |code| self.get(code) == text);
        if is_new {
            self.text.push_str(text);
            self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        }
        code
    }

    pub(crate) fn get(&self, code: usize) -> &str {
        let start = code.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[code] as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// All texts, without anything between them.
    pub(crate) fn all(&self) -> &str {
        &self.text
    }

    /// Code of the text in which a byte of all texts lies, and the end of that text.
    pub(crate) fn at(&self, byte: usize) -> (usize, usize) {
        let code = self.ends.partition_point(|end| *end as usize <= byte);
        (code, self.ends.get(code).map_or(0, |end| *end as usize))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// A set of codes.
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn new(codes: usize) -> Self {
        Self(vec![0; codes.div_ceil(64)])
    }

    pub(crate) fn has(&self, code: usize) -> bool {
        self.0.get(code / 64).is_some_and(|word| word >> (code % 64) & 1 == 1)
    }

    /// Whether it was not there before.
    pub(crate) fn add(&mut self, code: usize) -> bool {
        if code / 64 >= self.0.len() {
            self.0.resize(code / 64 + 1, 0);
        }
        let is_new = !self.has(code);
        self.0[code / 64] |= 1 << (code % 64);
        is_new
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}
