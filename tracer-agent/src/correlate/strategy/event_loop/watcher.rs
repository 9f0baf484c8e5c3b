//! Which words of the stack tell the watcher of a callback: what `uv__io_poll` has in a register, the callback saves. Where
//! that is depends on how Node was built. It is learned from what is read: there the watcher is known by the descriptor.

use tracer_common::{RunRecord, STACK_WORDS};

/// The words before the return address.
const WORDS: usize = STACK_WORDS - 1;

/// What is known of the words.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    words: [Word; WORDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// It was the watcher of what was read.
    right: u32,
    /// It was not.
    wrong: u32,
}

impl Watcher {
    /// Readings that it takes.
    const ENOUGH: u32 = 8;

    /// A callback has read from a connection.
    pub(super) fn learn(&mut self, record: &RunRecord) {
        if record.watcher == 0 {
            return;
        }
        for (word, found) in self.words.iter_mut().zip(&record.stack) {
            let count = if *found == record.watcher { &mut word.right } else { &mut word.wrong };
            *count = count.saturating_add(1);
        }
    }

    /// Whether a send is made by a callback of the socket that was read. That is not said before it is known which words
    /// tell it.
    pub(super) fn is_same(&self, sent: &RunRecord, read: &RunRecord) -> bool {
        let tells = |word: &Word| word.wrong == 0 && word.right >= Self::ENOUGH;
        let mut its = self.words.iter().zip(&sent.stack).filter(|(word, _)| tells(word)).peekable();
        its.peek().is_some() && its.all(|(_, found)| *found == read.watcher)
    }
}
