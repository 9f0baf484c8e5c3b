//! Bytes that another program has inserted into a connection.

use tracer_common::{DataHeader, FLAG_TURN};

use super::{
    super::{ConnectionOutput, stream::BOTH},
    Entry,
};
use crate::{
    exchange::Direction,
    ledger::Counter,
    protocol::{
        Protocol, Side,
        sniff::{Recognition, sniff},
    },
};

impl Entry {
    /// Bytes that another program has inserted into the request that begins with this record, which moved before it as
    /// it seems: the position that the kernel tells is that behind the call, without the length that its process gave.
    /// Only at a place where nothing else can have moved unseen: the first bytes of a connection whose beginning was
    /// seen, or a request after a response on a connection on which that has happened before.
    pub(super) fn inserted_by_another(&self, header: &DataHeader, offset: u64, head: &[u8]) -> Option<u32> {
        /// A line with a `traceparent` takes 69 bytes or more, one with a `b3` of all ids 56. Less is a request that
        /// another process has sent.
        const LEAST: u64 = 56;
        /// Lines with a `traceparent`, and with a `tracestate` of the longest length that must be passed on.
        const MOST: u64 = 600;
        let duplex = &self.transport.duplex;
        let sent = duplex.stream(Direction::Send);
        let bytes = offset.checked_sub(sent.next()).filter(|bytes| (LEAST..=MOST).contains(bytes))?;
        let is_first = !self.has_moved_unannounced
            && !sent.is_started()
            && !duplex.stream(Direction::Receive).is_started();
        let is_next =
            self.is_lengthened && header.flags & FLAG_TURN != 0 && self.session.is_between_exchanges();
        let is_request =
            || matches!(sniff(head), Recognition::Found(Protocol { open: Some(_), .. }, Side::Request));
        // Bytes before this record may be those of a record that was lost.
        let is_inserted = header.lost == 0
            && self.facts.connect_ns.is_some()
            && self.layer.is_none()
            && (is_first || is_next)
            && sent.is_quiet()
            && is_request();
        is_inserted.then_some(bytes as u32)
    }

    /// Another program has inserted so many bytes into the request that comes next.
    #[cold]
    pub(super) fn follow_insertion(&mut self, bytes: u32) {
        if !self.transport.duplex.stream(Direction::Send).is_started() {
            BOTH.iter().for_each(|direction| self.transport.duplex.stream_mut(*direction).begin());
            self.session.restart(true);
            self.is_unclear = false;
            self.assumed_inserted = bytes;
        }
        self.is_lengthened = true;
        self.transport.insert(bytes);
    }

    /// What is received shows that exchanges went by unseen: the bytes were theirs, and nobody inserted any.
    #[cold]
    pub(super) fn revoke_insertion(&mut self, out: &mut dyn ConnectionOutput) {
        self.is_lengthened = false;
        let bytes = self.transport.revoke_insertion();
        out.count(self.pid, Counter::BytesLost, u64::from(bytes));
        out.not_lengthened(self.facts.number);
    }
}
