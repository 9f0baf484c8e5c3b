//! Which words of the stack tell the socket of a callback: what `uv__io_poll` had in registers, which the callback saves.
//! Where that is depends on how Node was built. It is learned from what is read: such a word is the same for each
//! connection, and another one for another connection.

use tracer_common::{RunRecord, STACK_WORDS};

use rustc_hash::FxHashMap;

/// The words before the return address.
const WORDS: usize = STACK_WORDS - 1;

/// What is known of the words.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// By connection, the words when it was read.
    known: FxHashMap<u64, [u64; WORDS]>,
    /// The last connection that was read, and its words.
    last: Option<(u64, [u64; WORDS])>,
    words: [Word; WORDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// It was the same when its connection was read again.
    same: u32,
    /// It was not.
    changed: u32,
    /// It was another one than that of the connection that was read before.
    distinct: u32,
    /// It was the same as that of another connection.
    equal: u32,
}

impl Word {
    /// Readings that it takes.
    const ENOUGH: u32 = 4;

    fn tells(&self) -> bool {
        // A connection can have the memory of an earlier one.
        self.changed == 0
            && self.same >= Self::ENOUGH
            && self.distinct >= Self::ENOUGH
            && self.equal <= self.distinct / 8
    }
}

impl Watcher {
    /// Connections that are remembered.
    const MOST: usize = 4096;

    fn words_of(record: &RunRecord) -> [u64; WORDS] {
        record.stack.first_chunk().copied().unwrap_or_default()
    }

    /// A callback has read from a connection.
    pub(super) fn learn(&mut self, record: &RunRecord) {
        let words = Self::words_of(record);
        if self.known.len() >= Self::MOST && !self.known.contains_key(&record.connection) {
            self.known.clear();
        }
        let known = self.known.insert(record.connection, words);
        let is_after_another = self.last.is_some_and(|(connection, _)| connection != record.connection);
        let before = self.last.replace((record.connection, words));
        for (index, word) in self.words.iter_mut().enumerate() {
            match known {
                Some(known) if known[index] != words[index] => word.changed = word.changed.saturating_add(1),
                Some(_) if is_after_another => word.same = word.same.saturating_add(1),
                _ => {}
            }
            if let Some((connection, before)) = before
                && connection != record.connection
            {
                let count = if before[index] == words[index] { &mut word.equal } else { &mut word.distinct };
                *count = count.saturating_add(1);
            }
        }
    }

    /// Whether two records are of callbacks of one socket. That is not said before it is known which words tell it.
    pub(super) fn is_same(&self, one: &RunRecord, other: &RunRecord) -> bool {
        let mut its = (0..WORDS).filter(|index| self.words[*index].tells()).peekable();
        its.peek().is_some() && its.all(|index| one.stack[index] == other.stack[index])
    }
}
