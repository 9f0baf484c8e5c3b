//! Bytes that wait for the request to which they are the response: it is known at the other end only.

use tracer_common::DataHeader;

use super::{super::ConnectionOutput, Entry};
use crate::{
    exchange::{Direction, Unit},
    protocol::{
        Call, Role, SentRequest, Side,
        sniff::{Recognition, sniff},
    },
};

impl Entry {
    /// Whether its next response is that of a request whose head went by uncopied, and the other end may know that; see
    /// [`Parser::lacks_request`](crate::protocol::Parser::lacks_request).
    pub(in crate::connection) fn lacks_request(&self, next: &[u8]) -> bool {
        self.facts.peer.is_some()
            && self.session.role() == Some(Role::Server)
            && self.layer.is_none()
            && self.session.lacks_request(next)
    }

    /// What this end sends waits for the other end's word of the request.
    pub(in crate::connection) fn await_request(&mut self) {
        self.transport.duplex.await_request();
    }

    /// Where the response begins that waits for the other end's word of its request, and who sends it.
    pub(in crate::connection) fn awaiting_request(&self) -> Option<(u64, Unit)> {
        let duplex = &self.transport.duplex;
        let response = duplex.stream(Direction::Send).first_held().filter(|_| duplex.is_awaiting_request());
        response.map(|segment| (segment.offset, segment.unit))
    }

    /// The response that waits for its request waits no longer.
    pub(in crate::connection) fn await_no_request(&mut self, now_ns: u64, out: &mut dyn ConnectionOutput) {
        self.transport.duplex.await_no_request();
        self.drive(now_ns, out);
        self.settle(out);
    }

    /// The request that this end has sent and whose response begins at this offset, as far as is known. Its offset and
    /// length are those on the wire.
    pub(in crate::connection) fn request_of(&self, response: u64) -> Option<SentRequest> {
        let request = self.session.request_of(response).filter(|_| self.layer.is_none())?;
        let inserted = self.inserted_before(request.offset);
        let within = self.inserted_before(request.offset + request.length).wrapping_sub(inserted);
        Some(SentRequest {
            offset: request.offset + u64::from(inserted),
            length: request.length + u64::from(within),
            ..request
        })
    }

    /// A read begins with `head`. If that is a request, the one before has its response: its client has told what it
    /// will tell.
    pub(in crate::connection) fn await_no_request_before(
        &mut self,
        header: &DataHeader,
        head: &[u8],
        out: &mut dyn ConnectionOutput,
    ) {
        if matches!(sniff(head), Recognition::Found(_, Side::Request)) {
            self.await_no_request(header.time_ns, out);
        }
    }

    /// The request that the next response is for, as the other end sent it; `unit` sends that response. Returns whether
    /// it can be that request.
    pub(in crate::connection) fn supply_request(
        &mut self,
        request: SentRequest,
        unit: Unit,
        out: &mut dyn ConnectionOutput,
    ) -> bool {
        // A thread that answers is the one that has read, as far as is known.
        let call = Call { unit, first: true, ..Call::default() };
        let is_taken = self.session.supply_request(request, &call);
        self.settle(out);
        is_taken
    }
}
