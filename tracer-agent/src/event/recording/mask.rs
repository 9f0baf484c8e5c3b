//! What is recorded of the bytes of connections. A protocol's [`Mask`] hides its secrets; of a connection of a
//! protocol without one, or not recognised yet, only lengths are recorded: its bytes become zero. So do bytes that
//! come in another order than they moved in.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use tracer_common::{CLOSE_ALL, FLAG_CONTINUES, FLAG_END, OPEN_BIRTH, RECEIVE, RunRecord, SEND};
use zerocopy::{FromBytes as _, Unalign};

use crate::{
    event::{Data, Event},
    exchange::Unit,
    protocol::{
        Call,
        mask::{self, Mask, MaskRules},
    },
};

/// The masks of all connections.
pub struct Masks {
    connections: FxHashMap<u64, MaskedConnection>,
    /// Connections that were closed since the last turn, and since the one before it: what a process reads after
    /// that is recorded too.
    closed: [Vec<u64>; 2],
    turned_ns: u64,
    rules: Arc<MaskRules>,
    /// What hides words of a process's memory.
    words: RandomState,
}

/// One connection.
struct MaskedConnection {
    streams: [MaskedStream; 2],
    /// None while the protocol is not known.
    mask: Option<Box<dyn Mask>>,
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct MaskedStream {
    /// Position of the next byte, if it is known.
    next: Option<u32>,
    /// Nothing has gone by.
    is_birth: bool,
    /// The record before was not the end of its syscall.
    continues: bool,
}

impl Masks {
    /// Connections that are followed at once; of more only lengths are recorded.
    const MAX: usize = 65_536;
    /// How long a connection that was closed is followed, at least: longer than the pipeline does.
    const CLOSED_NS: u64 = 15_000_000_000;

    /// None yet.
    pub fn new(rules: MaskRules) -> Self {
        Self {
            connections: FxHashMap::default(),
            closed: [Vec::new(), Vec::new()],
            turned_ns: 0,
            rules: Arc::new(rules),
            words: RandomState::new(),
        }
    }

    /// Masks an event's `record`.
    pub(super) fn apply(&mut self, event: &Event<'_>, record: &mut [u8]) {
        match event {
            Event::Open(open) => {
                let open = &open.record;
                let is_birth = open.flags & OPEN_BIRTH != 0;
                let stream =
                    |first| MaskedStream { next: is_birth.then_some(first), is_birth, continues: false };
                if self.connections.len() < Self::MAX {
                    // Two threads may have met it at once: the first counts.
                    self.connections.entry(open.connection).or_insert_with(|| MaskedConnection {
                        streams: [stream(open.receive_first), stream(open.send_first)],
                        mask: None,
                    });
                }
            }
            Event::Close(close) if close.state & CLOSE_ALL != 0 => self.closed[0].push(close.connection),
            Event::Data(data) => {
                let copied = data.head.len() + data.tail.len();
                let Some(bytes) = record.len().checked_sub(copied).and_then(|at| record.get_mut(at..)) else {
                    return;
                };
                match self.connections.get_mut(&data.header().connection) {
                    Some(connection) => connection.data(data, bytes, &self.rules),
                    None => keep_signature(bytes),
                }
            }
            Event::Close(_)
            | Event::Exec(_)
            | Event::Fork(_)
            | Event::Exit(_)
            | Event::Listen(_)
            | Event::Unread(_)
            | Event::Injection(_)
            | Event::Task(_)
            | Event::Unconnected(_) => {}
            Event::Run(_) => {
                if let Ok((run, _)) = Unalign::<RunRecord>::mut_from_prefix(record) {
                    run.set(self.without_memory(run.get()));
                }
            }
        }
    }

    /// What was read of the memory of a process, with other words in the place of its words: equal ones for equal ones.
    fn without_memory(&self, run: RunRecord) -> RunRecord {
        let other = |word: u64| if word == 0 { 0 } else { self.words.hash_one(word) };
        RunRecord { phase: other(run.phase), watcher: other(run.watcher), stack: run.stack.map(other), ..run }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.turned_ns) >= Self::CLOSED_NS {
            self.turned_ns = now_ns;
            self.closed.swap(0, 1);
            for number in self.closed[0].drain(..) {
                self.connections.remove(&number);
            }
        }
    }
}

impl MaskedConnection {
    /// Masks the copied bytes of a record.
    fn data(&mut self, data: &Data<'_>, bytes: &mut [u8], rules: &Arc<MaskRules>) {
        let (header, head) = (data.header(), data.head);
        if header.flags & FLAG_END != 0 {
            return bytes.fill(0);
        }
        let direction = usize::from(header.direction & 1);
        let is_birth = [RECEIVE, SEND].map(|direction| self.streams[usize::from(direction)].is_birth);
        let stream = &mut self.streams[direction];
        let first = !std::mem::replace(&mut stream.continues, header.flags & FLAG_CONTINUES != 0);
        let end = header.position.wrapping_add(header.length);
        // Positions wrap: the nearer way around counts.
        let distance = header.position.wrapping_sub(stream.next.unwrap_or(header.position)) as i32;
        if distance < 0 {
            // It was passed over before, or comes again.
            let beyond = end.wrapping_sub(stream.next.unwrap_or(end)) as i32;
            if beyond > 0 {
                stream.next = Some(end);
                self.gap(direction, beyond as u64);
            }
            return bytes.fill(0);
        }
        stream.next = Some(end);
        stream.is_birth = false;
        if distance > 0 {
            self.gap(direction, distance as u64);
        }
        if self.mask.is_none() && header.prefix_offset == 0 && first && distance == 0 {
            self.mask = mask::of(head, direction, is_birth, rules);
        }
        let Some(mask) = &mut self.mask else { return keep_signature(bytes) };
        let (head, tail) = bytes.split_at_mut(head.len());
        let mut left = u64::from(header.length);
        let skipped = u64::from(header.prefix_offset).min(left);
        let middle = left.saturating_sub(skipped + (head.len() + tail.len()) as u64);
        let mut call = Call {
            start_ns: header.start_ns,
            end_ns: header.time_ns,
            unit: Unit { pid: header.pid, tid: header.tid, ..Unit::default() },
            after: 0,
            first,
        };
        let more = u64::from(header.flags & FLAG_CONTINUES != 0);
        let (prefix_length, tail_length) = (head.len() as u64, tail.len() as u64);
        for (bytes, length) in
            [(None, skipped), (Some(head), prefix_length), (None, middle), (Some(tail), tail_length)]
        {
            if length == 0 {
                continue;
            }
            left = left.saturating_sub(length);
            call.after = left + more;
            match bytes {
                Some(bytes) => mask.data(direction, bytes, &call),
                None => mask.skip(direction, length, &call),
            }
            call.first = false;
        }
    }

    fn gap(&mut self, direction: usize, length: u64) {
        match &mut self.mask {
            Some(mask) => mask.gap(direction, length),
            // It cannot be told any more where in a message a later byte stands.
            None => self.streams[direction].is_birth = false,
        }
    }
}

/// Leaves what tells a protocol that is counted and not read.
fn keep_signature(bytes: &mut [u8]) {
    let kept = mask::signature(bytes);
    bytes.get_mut(kept..).unwrap_or_default().fill(0);
}
