//! Room for what clients make the server hold: answers that are on their way, and requests that are coming in. Its bytes
//! are bounded, also while clients are slow: who does not keep pace gives way to whoever needs room.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::Notify;

/// Bytes that a client must take or send in the time after which it gives way. Less is no progress: a socket whose reader
/// has stopped still takes some now and then.
const PACE_BYTES: u32 = 256 * 1024;

/// Room that many share.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    give_way_time: Duration,
    counts: Counts,
    state: Mutex<State>,
}

/// What is counted of a room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Bytes that are held.
    pub(crate) held: Gauge,
    /// Holders that gave way.
    pub(crate) displaced: Counter,
    /// Those who found no room.
    pub(crate) refused: Counter,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    last_id: u64,
    leases: HashMap<u64, Lent>,
    /// Leases whose clients must do something, by until when.
    waiting: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Lent {
    bytes: usize,
    /// Until when its client must do something.
    due: Option<Instant>,
    held: Arc<Held>,
}

/// What a lease is for.
#[derive(Debug, Default)]
struct Held {
    /// Whether it had to give way.
    has_ended: AtomicBool,
    end: Notify,
    /// Parts of an answer that are to be sent: gone at once when it gives way.
    parts: Mutex<VecDeque<Bytes>>,
}

impl Held {
    fn clear(&self) {
        // Each part gives its room back: not while this is locked.
        let parts = std::mem::take(&mut *self.parts());
        drop(parts);
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Room of so many bytes. A holder whose client does not keep pace for `give_way_time` gives way.
    pub(crate) fn new(most: usize, give_way_time: Duration, counts: Counts) -> Self {
        Self(Arc::new(Inner { most, give_way_time, counts, state: Mutex::default() }))
    }

    /// A share, empty as yet.
    pub(crate) fn lease(&self) -> Lease {
        let (mut state, held) = (self.0.lock(), Arc::new(Held::default()));
        state.last_id += 1;
        let id = state.last_id;
        state.leases.insert(id, Lent { bytes: 0, due: None, held: held.clone() });
        Lease { room: self.0.clone(), id, held }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the lease whose client is latest, if one is late. What it held.
    fn end_latest(&self, state: &mut State, except: u64) -> Option<Arc<Held>> {
        let now = Instant::now();
        let (_, id) = state.waiting.iter().find(|(due, id)| *due <= now && *id != except).copied()?;
        let held = self.remove(state, id)?.held;
        held.has_ended.store(true, Ordering::Release);
        held.end.notify_one();
        self.counts.displaced.inc();
        Some(held)
    }

    fn remove(&self, state: &mut State, id: u64) -> Option<Lent> {
        let lent = state.leases.remove(&id)?;
        if let Some(due) = lent.due {
            state.waiting.remove(&(due, id));
        }
        state.used -= lent.bytes;
        self.tell(state);
        Some(lent)
    }

    fn tell(&self, state: &State) {
        self.counts.held.set(i64::try_from(state.used).unwrap_or(i64::MAX));
    }
}

/// A share of the room; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    room: Arc<Inner>,
    id: u64,
    held: Arc<Held>,
}

impl Lease {
    /// Takes more room. False if there is none: the holder must give up. Whoever is alone may take more than there is.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        let mut gone = Vec::new();
        let is_taken = self.try_grow(bytes, &mut gone);
        // Not while the room is locked, to which the parts are given back.
        for held in gone {
            held.clear();
        }
        is_taken
    }

    fn try_grow(&self, bytes: usize, gone: &mut Vec<Arc<Held>>) -> bool {
        let mut state = self.room.lock();
        loop {
            let Some(own) = state.leases.get(&self.id).map(|lent| lent.bytes) else { return false };
            if state.used.saturating_add(bytes) <= self.room.most || state.used == own {
                break;
            }
            match self.room.end_latest(&mut state, self.id) {
                Some(held) => gone.push(held),
                None => {
                    self.room.counts.refused.inc();
                    return false;
                }
            }
        }
        state.used += bytes;
        if let Some(lent) = state.leases.get_mut(&self.id) {
            lent.bytes += bytes;
        }
        self.room.tell(&state);
        true
    }

    /// Gives some of it back.
    pub(crate) fn shrink(&self, bytes: usize) {
        let mut state = self.room.lock();
        let Some(lent) = state.leases.get_mut(&self.id) else { return };
        let bytes = bytes.min(lent.bytes);
        lent.bytes -= bytes;
        state.used -= bytes;
        self.room.tell(&state);
    }

    /// The pace of one client, from now on.
    pub(crate) fn pace(&self) -> Pace {
        let give_way_time = self.room.give_way_time;
        Pace { due: Instant::now() + give_way_time, give_way_time }
    }

    /// The client must do something, as its pace says. Of several clients the best counts.
    pub(crate) fn awaits(&self, pace: &Pace) {
        self.note(|due| Some(due.map_or(pace.due, |due| due.max(pace.due))));
    }

    /// The client has done its part.
    pub(crate) fn works(&self) {
        self.note(|_| None);
    }

    fn note(&self, change: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let mut state = self.room.lock();
        let Some(lent) = state.leases.get_mut(&self.id) else { return };
        let before = lent.due;
        let after = change(before);
        lent.due = after;
        if let Some(due) = before {
            state.waiting.remove(&(due, self.id));
        }
        if let Some(due) = after {
            state.waiting.insert((due, self.id));
        }
    }

    /// Whether it had to give way.
    pub(crate) fn has_ended(&self) -> bool {
        self.held.has_ended.load(Ordering::Acquire)
    }

    /// Waits until it has to give way. Completes once.
    pub(crate) async fn ended(&self) {
        self.held.end.notified().await;
    }

    /// Adds a part of an answer.
    pub(crate) fn push(&self, part: Bytes) {
        self.held.parts().push_back(part);
    }

    /// A part of the answer, which stays there.
    pub(crate) fn part(&self, at: usize) -> Option<Bytes> {
        self.held.parts().get(at).cloned()
    }

    /// Drops the parts that are left.
    pub(crate) fn clear(&self) {
        self.held.clear();
    }

    /// Takes the next part of the answer.
    pub(crate) fn pop(&self) -> Option<Bytes> {
        self.held.parts().pop_front()
    }
}

/// How one client keeps up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Until when it must do something.
    due: Instant,
    give_way_time: Duration,
}

impl Pace {
    /// The client has taken or sent so many bytes: that gives it time, and never more than `give_way_time` ahead.
    pub(crate) fn did(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(PACE_BYTES);
        let won = self.give_way_time * bytes / PACE_BYTES;
        self.due = (self.due + won).min(Instant::now() + self.give_way_time);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        self.room.remove(&mut state, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(most: usize, give_way_time: Duration) -> Room {
        Room::new(most, give_way_time, Counts::default())
    }

    #[test]
    fn room_is_bounded_and_given_back() {
        let room = room(100, Duration::ZERO);
        let (one, other) = (room.lease(), room.lease());
        assert!(one.grow(60) && other.grow(40) && !other.grow(1));
        one.shrink(1);
        assert!(other.grow(1) && !other.grow(1));
        assert_eq!(room.0.counts.held.get(), 100);
        drop(one);
        assert!(other.grow(59));
        drop(other);
        let Counts { held, displaced, refused } = &room.0.counts;
        assert_eq!((held.get(), displaced.get(), refused.get()), (0, 0, 2));
    }

    /// A pace that ended so many milliseconds ago.
    fn late(lease: &Lease, ms: u64) -> Pace {
        Pace { due: Instant::now() - Duration::from_millis(ms), ..lease.pace() }
    }

    #[test]
    fn the_one_that_is_latest_gives_way() {
        let room = room(100, Duration::from_secs(3600));
        let leases: Vec<_> = (0..4).map(|_| room.lease()).collect();
        assert!(leases[..3].iter().all(|lease| lease.grow(30)));
        leases[0].awaits(&late(&leases[0], 2));
        leases[1].awaits(&late(&leases[1], 1));
        assert!(leases[3].grow(30));
        let ended: Vec<_> = leases.iter().map(Lease::has_ended).collect();
        assert_eq!(ended, [true, false, false, false]);
        assert!(!leases[0].grow(1), "it has ended");
        leases[1].works();
        assert!(!leases[3].grow(30), "nobody is late");
        assert_eq!(room.0.counts.displaced.get(), 1);
    }

    #[test]
    fn nobody_gives_way_before_its_time() {
        let room = room(100, Duration::from_secs(3600));
        let (one, other) = (room.lease(), room.lease());
        assert!(one.grow(100));
        one.awaits(&one.pace());
        assert!(!other.grow(1) && !one.has_ended());
        // One of several clients that keeps up is enough.
        one.awaits(&late(&one, 1));
        assert!(!other.grow(1) && !one.has_ended());
    }

    #[test]
    fn a_little_now_and_then_is_no_pace() {
        let lease = room(100, Duration::from_secs(1)).lease();
        let mut slow = late(&lease, 10_000);
        slow.did(PACE_BYTES as usize);
        assert!(slow.due < Instant::now(), "a second was won, and ten were lost");
        let mut quick = lease.pace();
        quick.did(usize::MAX);
        assert!(quick.due <= Instant::now() + Duration::from_secs(1), "nothing is won ahead");
    }

    #[test]
    fn whoever_is_alone_may_take_more_than_there_is() {
        let room = room(100, Duration::from_secs(3600));
        let (one, other) = (room.lease(), room.lease());
        assert!(one.grow(1000) && one.grow(1000) && !other.grow(1));
        drop(one);
        assert!(other.grow(1));
    }

    #[tokio::test]
    async fn the_end_of_a_lease_is_told() {
        let room = room(1, Duration::ZERO);
        let (one, other) = (room.lease(), room.lease());
        assert!(one.grow(1));
        one.awaits(&one.pace());
        assert!(other.grow(1));
        one.ended().await;
    }
}
