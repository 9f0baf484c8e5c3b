//! The callbacks of one iteration of the loop, if all of them have read from sockets that are followed.
//!
//! In one iteration libuv calls back for sockets, one after the other; then for what it could tell at once (a refused connection,
//! a write that is done); then for immediates. It counts the sockets, so that it is known when the immediates run whether
//! another callback was among those that have read. If not, the ids between two of them were made by the first one. The
//! ids after the last one were made by it, or by what comes after the sockets; all that is its own if nothing waited for
//! it when the last one began.

use tracer_common::{RUN_ALONE, RUN_CHECKS, RunRecord};

use super::run::{AsyncIds, Run};

/// What has been read since the loop has begun to call back for sockets.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The iteration, and the sockets that were served before.
    turns: [u64; 2],
    reads: Vec<Read>,
    /// Sockets that were read.
    sockets: u64,
    /// A socket was read twice, which does not happen.
    is_broken: bool,
}

#[derive(Debug)]
struct Read {
    run: Run,
    watcher: u64,
    /// No immediate waited when it began.
    is_alone: bool,
}

impl Batch {
    /// libuv asks for so many at once.
    const MOST: usize = 1024;

    /// A callback has read.
    pub(super) fn add(&mut self, run: Run, record: &RunRecord) {
        if self.turns != record.turns {
            self.reads.clear();
            (self.turns, self.sockets, self.is_broken) = (record.turns, 0, false);
        }
        let last = self.reads.last();
        let continued = last.filter(|last| last.watcher == record.watcher);
        // What it has made since it began waits now.
        let is_alone = record.state & RUN_ALONE != 0
            || continued.is_some_and(|last| last.is_alone && last.run.node == run.node);
        if continued.is_none() {
            self.sockets += 1;
            self.is_broken |= record.watcher == 0
                || self.reads.len() >= Self::MOST
                || self.reads.iter().any(|read| read.watcher == record.watcher);
        }
        if !self.is_broken {
            self.reads.push(Read { run, watcher: record.watcher, is_alone });
        }
    }

    /// The callback that has surely made what sends now, which is an immediate or what one has begun.
    pub(super) fn made(&self, sent: &RunRecord, ids: AsyncIds) -> Option<Run> {
        let [turn, served] = self.turns;
        let is_all = turn != 0
            && sent.state & RUN_CHECKS != 0
            && sent.turns[0] == turn
            && sent.turns[1].wrapping_sub(served) == self.sockets
            && !self.is_broken;
        if !is_all {
            return None;
        }
        let last = self.reads.last()?;
        let is_newer = |id: u64| id > last.run.begin;
        if ids.execution == 0 || is_newer(ids.execution) {
            let earlier = || if is_newer(ids.trigger) { None } else { self.before_last(ids.trigger) };
            return if last.is_alone { Some(last.run) } else { earlier() };
        }
        self.before_last(ids.execution)
    }

    /// The callback that has made an id that was there when the last one began.
    fn before_last(&self, id: u64) -> Option<Run> {
        let after = self.reads.partition_point(|read| read.run.begin < id);
        self.reads.get(after.checked_sub(1)?).map(|read| read.run)
    }
}
