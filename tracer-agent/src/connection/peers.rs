//! Which connections are the two ends of one: both may be on this host.

use rustc_hash::FxHashMap;

use crate::endpoint::PeerIdentity;

/// All connections whose other end can be told, by their identity.
#[derive(Debug, Default)]
pub(super) struct Peers {
    ends: FxHashMap<PeerIdentity, u64>,
    /// Ends whose connection is gone, since the last tick and since the one before it: the records of the other
    /// end may still be on their way.
    departed: [Vec<(PeerIdentity, u64)>; 2],
}

impl Peers {
    /// Ends of connections that are gone which are still found; more are forgotten at once.
    const MAX_DEPARTED: usize = 16_384;

    /// Adds one end. Returns the number of the connection at the other end.
    pub(super) fn add(&mut self, identity: PeerIdentity, number: u64) -> Option<u64> {
        let opposite = identity.opposite()?;
        self.ends.insert(identity, number);
        self.ends.get(&opposite).copied().filter(|other| *other != number)
    }

    /// The connection of this end is gone; it is found until the second tick from now.
    pub(super) fn depart(&mut self, identity: PeerIdentity, number: u64) {
        if identity == PeerIdentity::Unknown {
            return;
        }
        if self.departed[0].len() < Self::MAX_DEPARTED {
            self.departed[0].push((identity, number));
        } else {
            self.forget(identity, number);
        }
    }

    fn forget(&mut self, identity: PeerIdentity, number: u64) {
        // It may be a later connection's by now.
        if self.ends.get(&identity) == Some(&number) {
            self.ends.remove(&identity);
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.departed.swap(0, 1);
        let mut gone = std::mem::take(&mut self.departed[0]);
        for (identity, number) in gone.drain(..) {
            self.forget(identity, number);
        }
        // The memory serves again.
        self.departed[0] = gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: PeerIdentity = PeerIdentity::Sequence { sent: 1, received: 2 };
    const SERVER: PeerIdentity = PeerIdentity::Sequence { sent: 2, received: 1 };

    #[test]
    fn the_second_end_finds_the_first() {
        let mut peers = Peers::default();
        assert_eq!(peers.add(CLIENT, 10), None);
        assert_eq!(peers.add(SERVER, 11), Some(10));
        assert_eq!(peers.add(PeerIdentity::Sockets { own: 1, other: 2 }, 12), None, "another kind of socket");
        assert_eq!(peers.add(PeerIdentity::Sockets { own: 2, other: 1 }, 13), Some(12));
    }

    #[test]
    fn an_end_that_cannot_be_told_finds_nothing() {
        let mut peers = Peers::default();
        assert_eq!(peers.add(PeerIdentity::Unknown, 10), None);
        assert_eq!(peers.add(PeerIdentity::Unknown, 11), None);
    }

    #[test]
    fn an_end_that_is_gone_is_found_for_a_while_and_a_later_one_stays() {
        let mut peers = Peers::default();
        peers.add(CLIENT, 10);
        peers.depart(CLIENT, 10);
        peers.tick();
        assert_eq!(peers.add(SERVER, 11), Some(10));
        peers.tick();
        assert_eq!(peers.add(SERVER, 12), None);
        peers.add(CLIENT, 13);
        peers.depart(CLIENT, 10);
        peers.tick();
        peers.tick();
        assert_eq!(peers.add(SERVER, 14), Some(13));
    }
}
