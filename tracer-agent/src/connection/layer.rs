//! A layer above the transport, TLS for one, whose bytes are told decrypted. They have offsets of their own. On the
//! wire they stand where the record stands that carried them.

use std::collections::VecDeque;

use super::{duplex::Duplex, stream::Stream};
use crate::exchange::Direction;

/// The decrypted streams of a connection.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) duplex: Duplex,
    positions: [Positions; 2],
}

/// Where the bytes of one direction stand on the wire.
#[derive(Debug, Default)]
struct Positions {
    /// Offset behind the last byte that came.
    end: u64,
    /// Records that carried them: offset of the first byte, and offset of the record on the wire.
    records: VecDeque<(u64, u64)>,
    /// First bytes of messages whose exchange is open: offset, and offset on the wire.
    open: VecDeque<(u64, u64)>,
}

impl Layer {
    /// A layer of which nothing has come yet. It may begin in the middle of a connection.
    pub(super) fn new() -> Self {
        let stream = || Stream::new(0, true);
        Self { duplex: Duplex::new(stream(), stream()), positions: Default::default() }
    }

    /// Bytes come that a record carried which begins at `wire`. Returns their offset.
    pub(super) fn carry(&mut self, direction: Direction, wire: u64, length: u64) -> u64 {
        self.positions[direction.index()].carry(wire, length)
    }

    /// The offset on the wire of a message that begins an exchange. It stays the same until
    /// [`Layer::close`].
    pub(super) fn open(&mut self, direction: Direction, offset: u64) -> u64 {
        self.positions[direction.index()].open(offset)
    }

    /// The offset on the wire of the message that begins at this offset.
    pub(super) fn wire_of(&self, direction: Direction, offset: u64) -> u64 {
        self.positions[direction.index()].wire_of(offset)
    }

    /// As [`Layer::wire_of`], of an exchange that has ended.
    pub(super) fn close(&mut self, direction: Direction, offset: u64) -> u64 {
        let positions = &mut self.positions[direction.index()];
        let wire = positions.wire_of(offset);
        positions.open.retain(|(open, _)| *open != offset);
        wire
    }
}

impl Positions {
    /// Records that are remembered, in one direction.
    const MAX_RECORDS: usize = 1024;
    /// Messages that are remembered, in one direction.
    const MAX_OPEN: usize = 4096;

    fn carry(&mut self, wire: u64, length: u64) -> u64 {
        let offset = self.end;
        self.end += length;
        // A record is longer than what it carries. Another read of the same record goes on where that stands.
        let goes_on = self.records.back().is_some_and(|record| wire <= position(*record, offset));
        if !goes_on {
            if self.records.len() >= Self::MAX_RECORDS {
                self.records.pop_front();
            }
            self.records.push_back((offset, wire));
        }
        offset
    }

    /// Each byte has an offset on the wire of its own: it stands as far behind the record's begin as behind the first
    /// byte that the record carried.
    fn wire_of(&self, offset: u64) -> u64 {
        if let Some((_, wire)) = self.open.iter().find(|(open, _)| *open == offset) {
            return *wire;
        }
        let at = self.records.partition_point(|(first, _)| *first <= offset);
        let record = self.records.get(at.saturating_sub(1));
        record.map_or(offset, |record| position(*record, offset))
    }

    fn open(&mut self, offset: u64) -> u64 {
        let wire = self.wire_of(offset);
        if self.open.len() >= Self::MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back((offset, wire));
        wire
    }
}

/// Where a byte stands, by the record that carried it.
fn position((first, wire): (u64, u64), offset: u64) -> u64 {
    wire.saturating_add(offset).saturating_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Direction = Direction::Send;

    #[test]
    fn bytes_stand_where_their_record_stands() {
        let mut layer = Layer::new();
        assert_eq!(layer.carry(SEND, 500, 100), 0);
        assert_eq!(layer.carry(SEND, 622, 50), 100);
        assert_eq!(layer.carry(Direction::Receive, 9, 5), 0, "directions count apart");
        let wire = [0, 99, 100, 149].map(|offset| layer.wire_of(SEND, offset));
        assert_eq!(wire, [500, 599, 622, 671]);
    }

    #[test]
    fn a_record_that_is_read_in_parts_gives_each_byte_an_offset_of_its_own() {
        let mut layer = Layer::new();
        layer.carry(SEND, 500, 10);
        layer.carry(SEND, 500, 10);
        // Told late: the order of the bytes counts.
        layer.carry(SEND, 505, 10);
        let wire = [9, 10, 20].map(|offset| layer.wire_of(SEND, offset));
        assert_eq!(wire, [509, 510, 520]);
    }

    #[test]
    fn a_message_keeps_its_offset_as_long_as_its_exchange_is_open() {
        let mut layer = Layer::new();
        layer.carry(SEND, 0, 10);
        layer.carry(SEND, 1_000, 10);
        assert_eq!(layer.open(SEND, 12), 1_002);
        for record in 0..2 * Positions::MAX_RECORDS as u64 {
            layer.carry(SEND, 2_000 + 100 * record, 1);
        }
        assert_eq!(layer.wire_of(SEND, 12), 1_002);
        assert_eq!(layer.close(SEND, 12), 1_002);
        assert_ne!(layer.wire_of(SEND, 12), 1_002, "its record is forgotten");
    }
}
