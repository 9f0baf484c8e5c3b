//! The two ends of a connection within this host.

use rustc_hash::FxHashMap;

use crate::exchange::ConnectionFacts;

/// The first sequence numbers that an end of a connection sent and received. The other end has the same, the
/// other way round; address translation does not change them.
pub(super) type Ends = (u32, u32);

/// Connections by their ends.
#[derive(Debug, Default)]
pub(super) struct Peers(FxHashMap<Ends, u64>);

impl Peers {
    pub(super) fn ends(facts: &ConnectionFacts) -> Ends {
        (facts.first_sent, facts.first_received)
    }

    pub(super) fn insert(&mut self, ends: Ends, connection: u64) {
        self.0.insert(ends, connection);
    }

    /// The other end of a connection.
    pub(super) fn of(&self, (sent, received): Ends, connection: u64) -> Option<u64> {
        self.0.get(&(received, sent)).copied().filter(|other| *other != connection)
    }

    pub(super) fn remove(&mut self, ends: Ends, connection: u64) {
        if self.0.get(&ends) == Some(&connection) {
            self.0.remove(&ends);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
