//! Runs: what one callback of the event loop does, from what it has read to where it ends. And Node's async ids, which
//! lead from a later callback to the run that has made it.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tracer_common::{RunRecord, STACK_WORDS};

use super::{
    batch::Batch,
    parsers::{Begun, Parsers},
    run::{AsyncIds, Node, Run},
    watcher::Watcher,
};

/// From this id on, ids were made in a run.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The last id before them.
    after: u64,
    /// The last id of which that is sure.
    sure: u64,
    node: Option<Node>,
    /// It has also sent something for another request, which may have made what follows.
    is_mixed: bool,
}

/// What one event loop does.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The callback that has read last, and what was told of that.
    run: Option<(Run, RunRecord)>,
    /// Those of the iteration of the loop.
    batch: Batch,
    /// In the order of their ids.
    marks: VecDeque<Mark>,
    /// The last id that was given out.
    last: u64,
    watcher: Watcher,
    /// Ids of connections themselves, and of their parsers: what has made them is over, but they are used again.
    owned: FxHashMap<u64, u64>,
    parsers: Parsers,
    /// What connections are established for, by the id of the callback that will be told of it.
    connecting: FxHashMap<u64, Node>,
    /// The same where that is not known: the id of the callback that began to establish them.
    begun_by: FxHashMap<u64, u64>,
    /// The phase of the loop in which callbacks read.
    reading_phase: u64,
    /// See [`Runs::made_by`].
    made_by: Option<u64>,
    /// Records that cannot be true.
    unread: u32,
    /// How much there are of them.
    doubtful: u32,
}

impl Runs {
    /// Marks that are remembered.
    const MOST_MARKS: usize = 16_384;
    /// Ids that are remembered.
    const MOST_OWNED: usize = 16_384;
    /// Connections that are being established.
    const MOST_CONNECTING: usize = 4096;
    /// What a record that cannot be true weighs against one that can, and when none is believed any more.
    const DOUBTFUL: u32 = 16;
    const TOO_DOUBTFUL: u32 = 256;

    /// Whether what is read is not what it was taken for.
    pub(super) fn is_unreadable(&self) -> bool {
        self.doubtful >= Self::TOO_DOUBTFUL
    }

    /// Records that could not be true.
    pub(super) fn unread(&self) -> u32 {
        self.unread
    }

    /// Something was read that is not followed: what comes next need not be for what was read before.
    pub(super) fn other(&mut self) {
        self.run = None;
    }

    fn ids(&mut self, record: &RunRecord) -> Option<AsyncIds> {
        let ids = AsyncIds::of(record, self.last).filter(|_| record.phase != 0);
        match ids {
            Some(ids) => {
                self.last = ids.last;
                self.doubtful = self.doubtful.saturating_sub(1);
            }
            None => self.is_wrong(),
        }
        ids
    }

    /// A record cannot be true.
    fn is_wrong(&mut self) {
        self.unread = self.unread.saturating_add(1);
        self.doubtful = self.doubtful.saturating_add(Self::DOUBTFUL);
        self.run = None;
    }

    /// A callback has read from a connection that carries this request.
    pub(super) fn received(&mut self, record: &RunRecord, node: Option<Node>, is_server: bool) {
        let Some(ids) = self.ids(record) else { return };
        // JavaScript has not begun to run.
        if ids.execution != 0 {
            return self.is_wrong();
        }
        self.watcher.learn(record);
        self.reading_phase = record.phase;
        let connection = record.connection;
        if is_server {
            self.parsers.read(connection, ids.last, record.is_turn != 0);
        }
        let run = Run { connection, node, is_server, begin: ids.last };
        self.run = Some((run, *record));
        self.batch.add(run, record);
        self.mark(Mark { after: ids.last, sure: ids.last, node, is_mixed: false });
    }

    fn mark(&mut self, mark: Mark) {
        if self.marks.len() >= Self::MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// The run in which an id was made; it need not be sure.
    fn owner(&self, id: u64) -> Option<Mark> {
        let end = self.marks.partition_point(|mark| mark.after < id);
        self.marks.get(end.checked_sub(1)?).copied()
    }

    /// The request of the run in which an id was surely made.
    fn sure_owner(&self, id: u64) -> Option<Node> {
        self.owner(id).filter(|mark| id <= mark.sure)?.node
    }

    /// Whether a send is made by the callback that has read last. `is_first`: it is the first one on its connection, which
    /// may have been established by another callback.
    fn is_in_run(&self, record: &RunRecord, is_first: bool) -> bool {
        let Some((_, read)) = &self.run else { return false };
        // What it has read is counted after it was told.
        let has_read_nothing = record.reads.wrapping_sub(read.reads) <= 1;
        !is_first
            && has_read_nothing
            && record.phase == read.phase
            && record.turns[0] == read.turns[0]
            && record.stack[STACK_WORDS - 1] == read.stack[STACK_WORDS - 1]
            && self.watcher.is_same(record, read)
    }

    /// The client request upon whose answer the send was made that was told last; none if that is not known.
    pub(super) fn upon(&self) -> Option<Node> {
        self.run.as_ref().filter(|(run, _)| !run.is_server).and_then(|(run, _)| run.node)
    }

    /// The last id that was given out.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The id of the callback that made the send that was told last, if nothing else is known of it: it is for no request
    /// that was read when this id was there already.
    pub(super) fn made_by(&self) -> Option<u64> {
        self.made_by
    }

    /// What was read last from a connection has the whole head of a request.
    pub(super) fn opened(&mut self, connection: u64, node: Node) {
        self.parsers.opened(connection, node);
    }

    /// The request that a send was made for, or upon whose answer; none if that is not known.
    pub(super) fn sent(&mut self, record: &RunRecord, is_first: bool) -> Option<Node> {
        self.made_by = None;
        let ids = self.ids(record)?;
        if let Some(node) = self.connecting.remove(&ids.execution).filter(|_| is_first) {
            self.run = None;
            self.own(ids.trigger, record.connection);
            return Some(node);
        }
        let begun = self.parsers.begun(ids);
        if self.is_in_run(record, is_first)
            && let Some((run, _)) = self.run
        {
            let node = match begun {
                Some(Begun::For(node)) => Some(node),
                Some(Begun::Earlier) => None,
                None => self.in_run(&run, ids),
            };
            self.made_up_to(ids, record, &run, node);
            return node;
        }
        self.run = None;
        match begun {
            Some(Begun::For(node)) => return Some(node),
            Some(Begun::Earlier) => {
                self.made_by = Some(0);
                return None;
            }
            None => (),
        }
        let begun_by = self.begun_by.remove(&ids.execution).filter(|_| is_first);
        self.made_by = begun_by.or_else(|| self.callback(record, ids));
        if let Some(run) = self.batch.made(record, ids) {
            return self.in_run(&run, ids);
        }
        // A connection is established: what triggers it is its handle, which is used as long as it is.
        if is_first && ids.trigger != 0 {
            self.own(ids.trigger, record.connection);
        }
        let made = |id: u64| if id == 0 || self.owned.contains_key(&id) { None } else { self.sure_owner(id) };
        // What is newer than all runs was made by a callback of which nothing is known, or that of the last run: what
        // triggered it may be older.
        let is_newer = self.marks.back().is_some_and(|mark| ids.execution > mark.after);
        made(ids.execution).or_else(|| if is_newer { made(ids.trigger) } else { None })
    }

    /// The id of a callback that nothing that was read has called: of a timer, of an immediate.
    fn callback(&self, record: &RunRecord, ids: AsyncIds) -> Option<u64> {
        let reads_nothing = self.reading_phase != 0 && record.phase != self.reading_phase;
        (reads_nothing && ids.execution != 0).then_some(ids.execution)
    }

    /// The run has made all ids up to this one, and then sent something for this request.
    fn made_up_to(&mut self, ids: AsyncIds, record: &RunRecord, run: &Run, node: Option<Node>) {
        let Some(mark) = self.marks.back_mut() else { return };
        let is_older = ids.execution != 0 && ids.execution <= run.begin;
        mark.is_mixed |= is_older && node != run.node;
        // Without the number of the iteration it may be a later callback of the same socket.
        if record.turns[0] != 0 && !mark.is_mixed {
            mark.sure = mark.sure.max(ids.last);
        }
    }

    /// A connection begins to be established. The callback that is told of the end of that has the id that was given out last.
    pub(super) fn connects(&mut self, record: &RunRecord) {
        let Some(ids) = self.ids(record) else { return };
        let mut node = match self.parsers.begun(ids) {
            Some(Begun::For(node)) => Some(node),
            Some(Begun::Earlier) => return,
            None => None,
        };
        if self.is_in_run(record, false)
            && let Some((run, _)) = self.run
        {
            node = node.or_else(|| self.in_run(&run, ids));
            self.made_up_to(ids, record, &run, node);
        }
        if self.connecting.len() + self.begun_by.len() >= Self::MOST_CONNECTING {
            self.connecting.clear();
            self.begun_by.clear();
        }
        if let Some(node) = node {
            self.connecting.insert(ids.last, node);
        } else if let Some(id) = self.callback(record, ids) {
            self.begun_by.insert(ids.last, id);
        }
    }

    /// A client request is sent. It may become known later for which request.
    pub(super) fn wait(&mut self, record: &RunRecord, client_request: Node) {
        if let Some(ids) = AsyncIds::of(record, self.last) {
            self.parsers.wait(ids, client_request);
        }
    }

    /// A response is sent. Returns the client requests that turn out to be sent for requests of its connection, each with its
    /// request.
    pub(super) fn answers(&mut self, record: &RunRecord) -> Vec<(Node, Node)> {
        match AsyncIds::of(record, self.last) {
            Some(ids) if ids.default != 0 => self.parsers.answers(record.connection, ids.default),
            _ => Vec::new(),
        }
    }

    /// An id is a connection's own.
    fn own(&mut self, id: u64, connection: u64) {
        if self.owned.len() >= Self::MOST_OWNED {
            self.owned.clear();
        }
        self.owned.entry(id).or_insert(connection);
    }

    /// What a callback sends comes from what it has read, unless an id says otherwise.
    fn in_run(&mut self, run: &Run, ids: AsyncIds) -> Option<Node> {
        let id = if ids.execution > run.begin { ids.trigger } else { ids.execution };
        if id == 0 || id > run.begin {
            return run.node;
        }
        let owned_by = self.owned.get(&id).copied();
        if owned_by.is_some() {
            return run.node.filter(|_| owned_by == Some(run.connection));
        }
        if let Some(node) = self.sure_owner(id) {
            return Some(node);
        }
        if run.is_server {
            if self.parsers.is_its(run.connection, id) == Some(false) {
                return None;
            }
            self.parsers.seen(run.connection, id);
            self.own(id, run.connection);
            return run.node;
        }
        let owner = self.owner(id).and_then(|mark| mark.node);
        run.node.filter(|node| owner == Some(*node))
    }
}
