//! Trace and span ids, derived from the position of a request. The kernel programs, which inject headers before
//! the agent has seen anything, derive the same ids.

use tracer_common::{RECEIVE, Seeds, id_of};

use crate::exchange::Direction;

/// Makes the ids of requests. Ids need to be spread well, not to be secret; those of one agent differ as
/// long as its connections do.
#[derive(Clone, Debug)]
pub struct Ids([u64; 3]);

impl Ids {
    /// The same seed gives the same ids. It is spread by `SplitMix64` (Steele, Lea, Flood: Fast Splittable
    /// Pseudorandom Number Generators, 2014).
    pub fn new(seed: u64) -> Self {
        // No connection has the number 0.
        Self(std::array::from_fn(|n| id_of(seed, 0, RECEIVE, n as u32)))
    }

    /// The seeds as the kernel programs take them.
    pub fn seeds(&self) -> Seeds {
        let [span, trace_first, trace_second] = self.0.map(|seed| [seed as u32, (seed >> 32) as u32]);
        Seeds { span, trace_first, trace_second }
    }

    /// The span id of the message that begins at this position of a connection's direction, never zero.
    pub fn span_id(&self, connection: u64, direction: Direction, position: u32) -> [u8; 8] {
        id_of(self.0[0], connection, direction.code(), position).to_le_bytes()
    }

    /// The trace id that it begins, if it has no parent; never zero, and all its bits are random.
    pub fn trace_id(&self, connection: u64, direction: Direction, position: u32) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&id_of(self.0[1], connection, direction.code(), position).to_le_bytes());
        id[8..].copy_from_slice(&id_of(self.0[2], connection, direction.code(), position).to_le_bytes());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_position_give_the_same_ids_and_others_others() {
        use Direction::{Receive, Send};
        let ids = |seed, connection, direction, position| {
            let ids = Ids::new(seed);
            (ids.trace_id(connection, direction, position), ids.span_id(connection, direction, position))
        };
        assert_eq!(ids(7, 1, Send, 2), ids(7, 1, Send, 2));
        let all = [
            ids(7, 1, Send, 2),
            ids(7, 1, Receive, 2),
            ids(8, 1, Send, 2),
            ids(7, 2, Send, 2),
            ids(7, 1, Send, 3),
            ids(0, 1, Receive, 0),
        ];
        for (n, (trace, span)) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|(other, _)| other != trace));
            assert!(all[..n].iter().all(|(_, other)| other != span));
            assert_ne!((*trace, *span), ([0; 16], [0; 8]));
        }
    }
}
