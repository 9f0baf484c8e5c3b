//! Goroutines: the kernel programs read which one makes a call, and which one made it.
//!
//! A goroutine that has read a server request works for it until it is answered. A goroutine that was made while the
//! request was open works for it too, if its kind (the function that it runs) does: a worker that one request starts for
//! all later ones is of a kind that also calls when nothing above it has a request.

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_common::{GoTask, PROFILE_GOROUTINES, RECEIVE, SEND, TaskRecord};

use super::{Attribution, Attributions, ClientRequest, ServerRequest, Strategy, its_request};
use crate::{
    correlate::{
        link::Evidence,
        open::Key,
        profile::{Doubt, Profile},
        programs::Shown,
        withheld::Withheld,
    },
    exchange::Unit,
};

/// What is known of a process's goroutines.
#[derive(Debug, Default)]
pub(crate) struct Goroutines {
    /// Server requests that a goroutine has read.
    read: u32,
    /// Server requests in a row whose goroutine was not read.
    unread: u32,
    /// Goroutines do not work on what they read.
    doubt: Option<Doubt>,
    goroutines: FxHashMap<u64, Goroutine>,
    /// By goroutine, the one that serves the request whose context its last client request carries, and whether it made
    /// that client request itself.
    contexts: FxHashMap<u64, (u64, bool)>,
    /// By goroutine, the last head that it read.
    heads: FxHashMap<u64, Moment>,
    /// Goroutines that have answered what others had read.
    answered: FxHashSet<u64>,
    /// A goroutine has sent a client request after its answer, or one that was made for an answered request has.
    goes_on: bool,
    /// When the server requests in flight were read.
    births: FxHashMap<Key, Moment>,
    numbers: Numbers,
    kinds: FxHashMap<u64, Kind>,
    /// Client requests that wait until their goroutine's kind is trusted: when each was sent, the server request that
    /// it is for then, and the kind. With [`SOLE`], if nothing tells that but that it was the only one in flight.
    held: FxHashMap<Key, (u64, Key, u64)>,
}

/// Mark of a kind. Functions have lower addresses.
const SOLE: u64 = 1 << 63;

#[derive(Clone, Copy, Debug)]
struct Goroutine {
    creator: u64,
    start: u64,
    /// When it was first seen.
    since_ns: u64,
}

/// A time, and what tells later goroutines from earlier ones.
#[derive(Clone, Copy, Debug)]
struct Moment {
    time_ns: u64,
    /// No goroutine of that time has a higher number.
    last_id: u64,
}

/// The goroutines that run one function.
#[derive(Debug, Default)]
struct Kind {
    /// Server requests that were open when goroutines made for them sent client requests, until there are enough.
    shown: FxHashSet<Key>,
    /// One sent a client request when no goroutine above it had a server request, or had one before the other's time.
    is_outside: bool,
}

/// Where a client request comes from.
enum Source {
    /// A goroutine made for this server request.
    Request(Key),
    /// No server request in flight.
    Outside,
    /// A goroutine made by one that serves this server request, before it or for it.
    Unclear(Key),
    /// That is not known.
    Unknown,
}

impl Goroutines {
    /// Server requests that show what a kind of goroutines does.
    pub(crate) const ENOUGH: usize = 16;
    /// Server requests in a row whose goroutine is not read: the process's memory is laid out in another way.
    const MOST_UNREAD: u32 = 64;
    /// Goroutines between a client request and its server request.
    const LONGEST_CHAIN: usize = 8;
    /// Goroutines that are remembered.
    const MOST: usize = 65_536;
    /// Kinds that are remembered.
    const MOST_KINDS: usize = 4096;
    /// Client requests that wait, and for how long at most.
    const MOST_HELD: usize = 4096;
    const LONGEST_HELD_NS: u64 = 60_000_000_000;

    /// Whether a goroutine has read or answered server requests, as far as is remembered.
    fn serves(&self, task: u64) -> bool {
        self.heads.contains_key(&task) || self.answered.contains(&task)
    }

    /// Follows the goroutines above one to a server request.
    fn source(&self, client: &ClientRequest<'_>, in_flight: &[ServerRequest]) -> Source {
        let mut chain = [0; Self::LONGEST_CHAIN];
        let mut task = client.unit.task;
        for length in 0..Self::LONGEST_CHAIN {
            let Some(goroutine) = self.goroutines.get(&task) else { return Source::Unknown };
            chain[length] = task;
            task = goroutine.creator;
            if task == 0 {
                return Source::Unknown;
            }
            if let Ok(Some(request)) = its_request(task, client.start_ns, in_flight) {
                let Some(birth) = self.births.get(&request.key) else { return Source::Unknown };
                let is_younger = |id: &u64| *id > birth.last_id || self.numbers.was(*id, birth.time_ns);
                let is_older = |id: &u64| {
                    let was_seen = |goroutine: &Goroutine| goroutine.since_ns < birth.time_ns;
                    self.goroutines.get(id).is_some_and(was_seen)
                        || self.numbers.was_given_out(*id, birth.time_ns)
                };
                let chain = || chain.iter().take(length + 1);
                return match (chain().all(is_younger), chain().any(is_older)) {
                    (true, _) => Source::Request(request.key),
                    (false, true) => Source::Outside,
                    // Its number is one that a processor had taken before.
                    (false, false) => Source::Unclear(request.key),
                };
            }
            if self.heads.contains_key(&task) {
                return Source::Outside;
            }
        }
        Source::Unknown
    }

    /// What is attributed once a kind is trusted.
    fn give(&mut self, start: u64) -> Vec<Attribution> {
        let mut its: Vec<_> = self.held.extract_if(|_, (.., kind)| *kind & !SOLE == start).collect();
        its.sort_unstable_by_key(|(client, (at_ns, ..))| (*at_ns, client.connection, client.offset));
        let attribution = |(client_request, (_, server_request, kind))| Attribution {
            client_request,
            server_request,
            evidence: if kind & SOLE == 0 { Evidence::GoroutineChild } else { Evidence::SoleRequest },
        };
        its.into_iter().map(attribution).collect()
    }

    /// The attribution of a client request whose goroutine has read no server request.
    fn by_ancestry(&mut self, client: &ClientRequest<'_>, in_flight: &[ServerRequest]) -> Attributions {
        let source = self.source(client, in_flight);
        let Some(start) = self.goroutines.get(&client.unit.task).map(|goroutine| goroutine.start) else {
            return Attributions::default();
        };
        if self.kinds.len() >= Self::MOST_KINDS && !self.kinds.contains_key(&start) {
            return Attributions::default();
        }
        let kind = self.kinds.entry(start).or_default();
        let refused = Attributions {
            withheld: Some(Withheld::OtherThread),
            is_certain: true,
            ..Attributions::default()
        };
        if matches!(source, Source::Outside) {
            self.goes_on = true;
            let has_decided = !std::mem::replace(&mut kind.is_outside, true);
            if has_decided {
                kind.shown = FxHashSet::default();
                self.held.retain(|_, (.., kind)| *kind & !SOLE != start);
            }
            return Attributions { has_decided, ..refused };
        }
        if kind.is_outside {
            return refused;
        }
        let was_trusted = kind.shown.len() >= Self::ENOUGH;
        let key = match source {
            Source::Request(key) => key,
            // Until its kind is trusted, it may be the work of an earlier request.
            Source::Unclear(key) if !was_trusted => {
                let is_sole = in_flight.len() == 1;
                let candidate = is_sole.then_some((key, start | SOLE));
                return Attributions { candidate, is_certain: true, ..Attributions::default() };
            }
            _ => return Attributions::default(),
        };
        if !was_trusted {
            kind.shown.insert(key);
        }
        if kind.shown.len() < Self::ENOUGH {
            return Attributions { candidate: Some((key, start)), ..Attributions::default() };
        }
        let earlier = if was_trusted { Vec::new() } else { self.give(start) };
        let this = Some((key, Evidence::GoroutineChild));
        Attributions { this, earlier, has_decided: !was_trusted, ..Attributions::default() }
    }
}

impl Strategy for Goroutines {
    fn renewed(&self) -> Box<dyn Strategy> {
        Box::new(Self::default())
    }

    fn profile(&self) -> Profile {
        match self.doubt {
            Some(doubt) => Profile::Unknown(doubt),
            None => Profile::Goroutines { requests: self.read },
        }
    }

    fn hold(&mut self, client_request: Key, (server, kind): (Key, u64), at_ns: u64) -> bool {
        if self.held.len() >= Self::MOST_HELD {
            self.held.retain(|_, (since_ns, ..)| at_ns.saturating_sub(*since_ns) < Self::LONGEST_HELD_NS);
        }
        let has_room = self.held.len() < Self::MOST_HELD;
        if has_room {
            self.held.insert(client_request, (at_ns, server, kind));
        }
        has_room
    }

    fn release(&mut self) {
        self.held = FxHashMap::default();
    }

    fn may_attribute_later(&self, client_request: Key) -> bool {
        !self.held.is_empty() && self.held.contains_key(&client_request)
    }

    fn shown(&self) -> Option<Shown> {
        self.doubt.is_some().then_some(Shown::Doubted)
    }

    fn kernel_rule(&self) -> Option<u8> {
        (self.doubt.is_none() && self.read > 0).then_some(PROFILE_GOROUTINES)
    }

    fn task_rule(&self) -> Option<u8> {
        self.kernel_rule()
    }

    /// What is known of a goroutine does not tell of those whose ancestors are not known.
    fn leaves_others(&self) -> bool {
        true
    }

    fn task(&mut self, record: &TaskRecord) {
        let TaskRecord { task, time_ns, .. } = *record;
        let GoTask { creator, start, last_id, next_id, serving } = GoTask::from_facts(record.facts);
        if self.goroutines.len() >= Self::MOST && !self.goroutines.contains_key(&task) {
            self.goroutines.clear();
            self.heads.clear();
            self.contexts.clear();
        }
        // The caller is not known: there is nothing else to tell of it.
        if start == 0 {
            self.contexts.insert(task, (serving, false));
            return;
        }
        if record.direction == SEND && (serving != 0 || self.contexts.contains_key(&task)) {
            self.contexts.insert(task, (serving, true));
        }
        self.goroutines.entry(task).or_insert(Goroutine { creator, start, since_ns: time_ns });
        self.numbers.add(last_id, next_id, time_ns);
        if record.direction == RECEIVE && last_id != 0 {
            self.heads.insert(task, Moment { time_ns, last_id });
        }
    }

    /// A goroutine that serves a connection goes on with the last request of it when that is answered. One that is not known
    /// may be such a one, where there are any.
    fn may_work_for(&self, unit: Unit, request: &ServerRequest) -> bool {
        match unit.task {
            0 => !self.goes_on,
            task => task == request.unit.task || !self.serves(task),
        }
    }

    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]) {
        let task = request.unit.task;
        if task == 0 {
            self.unread = self.unread.saturating_add(1);
            if self.unread >= Self::MOST_UNREAD {
                self.doubt.get_or_insert(Doubt::Unread);
                self.release();
            }
            return;
        }
        self.unread = 0;
        self.read = self.read.saturating_add(1);
        if let Some(birth) = self.heads.get(&task) {
            self.births.insert(request.key, *birth);
        }
        let is_other =
            |other: &ServerRequest| other.unit.task == task && other.key.connection != request.key.connection;
        if others.iter().any(is_other) {
            self.doubt.get_or_insert(Doubt::Interleaved);
            self.release();
        }
    }

    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution> {
        self.births.remove(&request.key);
        let by = answered_by.map_or(0, |unit| unit.task);
        if by != 0 && request.unit.task != 0 && by != request.unit.task {
            if self.answered.len() >= Self::MOST {
                self.answered.clear();
            }
            self.answered.insert(by);
            self.doubt.get_or_insert(Doubt::AnsweredElsewhere);
            self.release();
        }
        Vec::new()
    }

    fn works_unseen(&mut self, _unit: Unit) {}

    fn attribute(&mut self, client: &ClientRequest<'_>, in_flight: &mut [ServerRequest]) -> Attributions {
        let task = client.unit.task;
        self.goes_on |= self.serves(task) && !in_flight.iter().any(|request| request.unit.task == task);
        if task == 0 || self.doubt.is_some() {
            return Attributions::default();
        }
        let own = match its_request(task, client.start_ns, in_flight) {
            Ok(own) => own.map(|request| request.key),
            Err(doubt) => {
                self.doubt = Some(doubt);
                self.release();
                return Attributions::default();
            }
        };
        let (serving, is_caller) = self.contexts.get(&task).copied().unwrap_or((0, true));
        let own = own.filter(|_| is_caller);
        let of_context = (serving != 0).then_some(serving).and_then(|serving| {
            let its = its_request(serving, client.start_ns, in_flight).ok()?;
            its.map(|request| request.key)
        });
        let this = match (own, of_context) {
            // It has read one request, and works for another: it may work for both.
            (Some(own), Some(other)) if own != other => {
                let withheld = Some(Withheld::Several);
                return Attributions { withheld, is_certain: true, ..Attributions::default() };
            }
            (Some(key), _) => Some((key, Evidence::Goroutine)),
            (None, Some(key)) => Some((key, Evidence::Context)),
            (None, None) => return self.by_ancestry(client, in_flight),
        };
        Attributions { this, ..Attributions::default() }
    }
}

/// Which numbers goroutines had at some time. A processor takes sixteen at once, and gives them out in their order.
#[derive(Debug, Default)]
struct Numbers {
    /// By batch, when each of its numbers was seen to be the next, first and last.
    batches: FxHashMap<u64, [[u64; 2]; Self::BATCH as usize]>,
    /// Numbers before the first batch.
    shift: u64,
}

impl Numbers {
    const BATCH: u64 = 16;
    /// Batches that are remembered.
    const MOST: usize = 4096;

    fn place(&self, id: u64) -> (u64, usize) {
        let at = id.wrapping_sub(1 + self.shift);
        (at / Self::BATCH, (at % Self::BATCH) as usize)
    }

    /// At this time, the next goroutine on a processor was to get this number.
    fn add(&mut self, last_id: u64, next_id: u64, time_ns: u64) {
        if next_id == 0 || last_id == 0 {
            return;
        }
        self.shift = last_id % Self::BATCH;
        let (batch, index) = self.place(next_id);
        // The first of a batch may be the end of the one before, which is used up.
        if index == 0 {
            return;
        }
        if self.batches.len() >= Self::MOST {
            let oldest = batch.saturating_sub(Self::MOST as u64 / 2);
            self.batches.retain(|other, _| *other >= oldest);
            if self.batches.len() >= Self::MOST {
                self.batches.clear();
            }
        }
        let seen = self.batches.entry(batch).or_default();
        if let Some([first_ns, last_ns]) = seen.get_mut(index) {
            *first_ns = if *first_ns == 0 { time_ns } else { time_ns.min(*first_ns) };
            *last_ns = time_ns.max(*last_ns);
        }
    }

    /// Whether no goroutine had this number at `time_ns`, as far as was seen.
    fn was(&self, id: u64, time_ns: u64) -> bool {
        let (batch, index) = self.place(id);
        let seen = self.batches.get(&batch);
        seen.is_some_and(|seen| {
            seen.iter().take(index + 1).any(|[_, last_ns]| *last_ns >= time_ns && *last_ns > 0)
        })
    }

    /// Whether a goroutine had got this number before `time_ns`, as far as was seen.
    fn was_given_out(&self, id: u64, time_ns: u64) -> bool {
        let (batch, index) = self.place(id);
        let seen = self.batches.get(&batch);
        seen.is_some_and(|seen| {
            seen.iter().skip(index + 1).any(|[first_ns, _]| *first_ns <= time_ns && *first_ns > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_a_processor_had_not_given_out_was_unused() {
        let mut unused = Numbers::default();
        // Batches are 1 to 16, 17 to 32 and so on; at 50 a processor had given out those before 20.
        unused.add(64, 20, 50);
        for id in 20..=32 {
            assert!(unused.was(id, 50) && unused.was(id, 40), "{id}");
            assert!(!unused.was(id, 51), "{id}: later it may have been used");
        }
        assert!(!unused.was(19, 40) && !unused.was(33, 40) && !unused.was(4, 40));
        // The first of a batch may be the end of the one before.
        unused.add(64, 33, 60);
        assert!(!unused.was(33, 50));
        // Later it gives out 20 to 24.
        unused.add(64, 25, 70);
        assert!(unused.was(25, 70) && !unused.was(24, 70) && unused.was(24, 50));
    }

    #[test]
    fn a_number_before_the_next_one_of_its_batch_was_given_out() {
        let mut numbers = Numbers::default();
        numbers.add(64, 20, 50);
        numbers.add(64, 25, 70);
        // Records come in any order.
        numbers.add(64, 20, 55);
        assert!(numbers.was_given_out(19, 50) && !numbers.was_given_out(19, 49));
        assert!(!numbers.was_given_out(20, 69) && numbers.was_given_out(24, 70));
        assert!(
            !numbers.was_given_out(25, 70)
                && !numbers.was_given_out(16, 70)
                && !numbers.was_given_out(33, 70)
        );
    }

    #[test]
    fn what_is_remembered_of_batches_is_bounded() {
        let mut unused = Numbers::default();
        for batch in 0..10_000 {
            unused.add(160_000, batch * 16 + 5, batch + 1);
        }
        assert!(unused.batches.len() <= Numbers::MOST);
        assert!(unused.was(9_999 * 16 + 5, 10_000));
    }
}
