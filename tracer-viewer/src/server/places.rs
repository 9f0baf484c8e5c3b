//! Places of connections: there are so many of them, and a new connection gets the place of the one that has waited
//! longest for its client.
//!
//! A connection waits for its client while the head of a request has not come, while the body of one does not go on,
//! while an answer is not taken, and between two requests. It does not wait while the server works for it, or while a page
//! follows new traces and there are none. So whoever opens connections and leaves them there loses them to whoever sends
//! a request, and nobody loses an answer that is being made.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::counters::Counters;

/// Bits of an IPv6 address that name a network: whoever has one address of it has them all.
const NETWORK_BITS: u32 = 64;

/// Places of the connections of one address.
pub(crate) struct Places {
    most: usize,
    most_of_peer: usize,
    counters: Arc<Counters>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Counts what happens: the order of waiting.
    clock: u64,
    connections: HashMap<u64, Connection>,
    /// Connections that wait for their clients, by since when.
    waiting: BTreeMap<u64, u64>,
    /// Connections of each host.
    peers: HashMap<IpAddr, usize>,
}

struct Connection {
    peer: Option<IpAddr>,
    /// Since when it waits for its client, by the clock; none if it does not.
    waits_since: Option<u64>,
    must_end: Arc<Notify>,
    opened: Instant,
    requests: u64,
    exchanges: HashMap<u64, Stage>,
}

/// How far a request and its answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The server works at it.
    Works,
    /// The rest of the request must come.
    Receives,
    /// The client must take what was sent to it at this time.
    Sends(Instant),
}

impl Places {
    /// So many places; so many of one other host.
    pub(super) fn new(most: usize, most_of_peer: usize, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { most, most_of_peer, counters, taken: Mutex::default() })
    }

    /// A place for a connection. None if there is none, and no connection waits for its client.
    pub(super) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let peer = peer.map(host_of).filter(|peer| !peer.is_loopback());
        let mut taken = self.lock();
        let of_peer = peer.and_then(|peer| taken.peers.get(&peer)).copied().unwrap_or(0);
        let is_free = (of_peer < self.most_of_peer || self.free(&mut taken, peer))
            && (taken.connections.len() < self.most || self.free(&mut taken, None));
        if !is_free {
            self.counters.refused_connections.inc();
            return None;
        }
        let (id, must_end) = (taken.tick(), Arc::new(Notify::new()));
        if let Some(peer) = peer {
            *taken.peers.entry(peer).or_default() += 1;
        }
        taken.connections.insert(
            id,
            Connection {
                peer,
                waits_since: None,
                must_end: must_end.clone(),
                opened: Instant::now(),
                requests: 0,
                exchanges: HashMap::new(),
            },
        );
        taken.note(id);
        self.counters.connections.inc();
        Some(Place { places: self.clone(), id, must_end })
    }

    /// Ends the connection that has waited longest for its client. False if none waits.
    pub(super) fn make_way(&self) -> bool {
        self.free(&mut self.lock(), None)
    }

    /// The same among those of one host, or of all.
    fn free(&self, taken: &mut Taken, peer: Option<IpAddr>) -> bool {
        let mut waiting = taken.waiting.values().copied();
        let is_of =
            |id: &u64| peer.is_none() || taken.connections.get(id).is_some_and(|one| one.peer == peer);
        let Some(id) = waiting.find(is_of) else { return false };
        if let Some(connection) = taken.remove(id) {
            connection.must_end.notify_one();
            self.counters.displaced_connections.inc();
            self.counters.connections.dec();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Notes whether a connection waits for its client from now on.
    fn note(&mut self, id: u64) {
        let now = self.tick();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(since) = connection.waits_since.take() {
            self.waiting.remove(&since);
        }
        if connection.exchanges.values().all(|stage| *stage != Stage::Works) {
            connection.waits_since = Some(now);
            self.waiting.insert(now, id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(since) = connection.waits_since {
            self.waiting.remove(&since);
        }
        if let Some(peer) = connection.peer
            && let Some(many) = self.peers.get_mut(&peer)
        {
            *many -= 1;
            if *many == 0 {
                self.peers.remove(&peer);
            }
        }
        Some(connection)
    }
}

/// Who is bounded together: an address of IPv4, a network of IPv6.
fn host_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::MAX << NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & network))
        }
        address => address,
    }
}

/// The place of one connection; given back when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    must_end: Arc<Notify>,
}

impl Place {
    /// Waits until the connection must end for another one. Completes once.
    pub(super) async fn given_away(&self) {
        self.must_end.notified().await;
    }

    /// A request has come.
    pub(super) fn exchange(&self) -> Exchange {
        let mut taken = self.places.lock();
        let number = taken.tick();
        if let Some(connection) = taken.connections.get_mut(&self.id) {
            connection.requests += 1;
            connection.exchanges.insert(number, Stage::Works);
        }
        taken.note(self.id);
        Exchange { places: self.places.clone(), connection: self.id, number }
    }

    /// Whether the head of a request has come.
    pub(super) fn has_asked(&self) -> bool {
        self.places.lock().connections.get(&self.id).is_some_and(|connection| connection.requests > 0)
    }

    /// When the client will be late: with its first request, or with taking an answer. None if nothing is awaited of it.
    pub(super) fn due(&self, first_time: Option<Duration>, write_time: Duration) -> Option<Instant> {
        let taken = self.places.lock();
        let connection = taken.connections.get(&self.id)?;
        let first = first_time.filter(|_| connection.requests == 0).map(|time| connection.opened + time);
        let sent = connection.exchanges.values().filter_map(|stage| match stage {
            Stage::Sends(since) => Some(*since + write_time),
            _ => None,
        });
        sent.chain(first).min()
    }

    /// Counts that the connection was ended since its client was too slow.
    pub(super) fn count_slow(&self) {
        self.places.counters.slow_connections.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.places.lock().remove(self.id).is_some() {
            self.places.counters.connections.dec();
        }
    }
}

/// A request and its answer, until both are done with.
pub(super) struct Exchange {
    places: Arc<Places>,
    connection: u64,
    number: u64,
}

impl Exchange {
    /// Tells how far it is.
    pub(super) fn is_at(&self, stage: Stage) {
        let mut taken = self.places.lock();
        let connection = taken.connections.get_mut(&self.connection);
        let Some(known) = connection.and_then(|connection| connection.exchanges.get_mut(&self.number)) else {
            return;
        };
        // Being asked once more whether it goes on is no progress.
        if *known != stage {
            *known = stage;
            taken.note(self.connection);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(connection) = taken.connections.get_mut(&self.connection) {
            connection.exchanges.remove(&self.number);
        }
        taken.note(self.connection);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    fn places(most: usize, most_of_peer: usize) -> Arc<Places> {
        Places::new(most, most_of_peer, Arc::default())
    }

    async fn must_end(place: &Place) -> bool {
        timeout(Duration::ZERO, place.given_away()).await.is_ok()
    }

    #[tokio::test]
    async fn the_connection_that_waited_longest_gives_way() {
        let places = places(2, 2);
        let (first, second) = (places.take(None).unwrap(), places.take(None).unwrap());
        let third = places.take(None).unwrap();
        assert!(must_end(&first).await && !must_end(&second).await && !must_end(&third).await);
        // One that just sent something waits less long.
        drop(second.exchange());
        let fourth = places.take(None).unwrap();
        assert!(must_end(&third).await && !must_end(&second).await && !must_end(&fourth).await);
        assert_eq!((places.counters.displaced_connections.get(), places.counters.connections.get()), (2, 2));
    }

    #[tokio::test]
    async fn connections_that_are_worked_for_keep_their_places() {
        let places = places(2, 2);
        let (first, second) = (places.take(None).unwrap(), places.take(None).unwrap());
        let (one, other) = (first.exchange(), second.exchange());
        assert!(places.take(None).is_none() && !places.make_way());
        assert_eq!(places.counters.refused_connections.get(), 1);
        one.is_at(Stage::Receives);
        other.is_at(Stage::Sends(Instant::now()));
        assert!(places.take(None).is_some());
        assert!(must_end(&first).await && !must_end(&second).await);
        // It has no place any more: what it still does changes nothing.
        drop((one, first));
        assert_eq!(places.counters.connections.get(), 1);
    }

    #[tokio::test]
    async fn progress_puts_a_slow_reader_behind_one_without() {
        let places = places(2, 2);
        let (first, second) = (places.take(None).unwrap(), places.take(None).unwrap());
        let (one, other) = (first.exchange(), second.exchange());
        one.is_at(Stage::Sends(Instant::now()));
        other.is_at(Stage::Sends(Instant::now()));
        one.is_at(Stage::Sends(Instant::now() + Duration::from_nanos(1)));
        assert!(places.make_way() && must_end(&second).await && !must_end(&first).await);
    }

    #[tokio::test]
    async fn one_host_has_its_share_and_this_one_has_all() {
        let places = places(100, 2);
        let (one, other) = ("10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        let (first, second) = (places.take(one).unwrap(), places.take(one).unwrap());
        let stranger = places.take(other).unwrap();
        let _third = places.take(one).unwrap();
        assert!(must_end(&first).await && !must_end(&second).await && !must_end(&stranger).await);
        let local: Vec<_> = (0..10).map(|_| places.take("127.0.0.1".parse().ok()).unwrap()).collect();
        for place in &local {
            assert!(!must_end(place).await);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_host() {
        let host = |text: &str| host_of(text.parse().unwrap()).to_string();
        assert_eq!(host("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!((host("::ffff:10.0.0.1"), host("::1")), ("10.0.0.1".to_owned(), "::1".to_owned()));
    }

    #[test]
    fn a_client_is_due_with_its_first_head_and_with_taking_an_answer() {
        let places = places(2, 2);
        let place = places.take(None).unwrap();
        assert!(place.due(Some(NEVER), NEVER).is_some() && place.due(None, NEVER).is_none());
        let exchange = place.exchange();
        assert!(place.due(Some(NEVER), NEVER).is_none() && place.has_asked());
        let now = Instant::now();
        exchange.is_at(Stage::Sends(now));
        assert_eq!(place.due(Some(NEVER), NEVER), Some(now + NEVER));
        drop(exchange);
        assert_eq!(place.due(Some(NEVER), NEVER), None);
    }
}
