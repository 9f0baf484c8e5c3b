//! Whether the parent of an exchange, and whether it has a span at all, is known for good.

#![forbid(unsafe_code)]

use super::{
    Correlator, LONGEST_CHAIN, LeftOut,
    open::{Above, Key, OpenRequest},
    self_instrumented,
};
use crate::exchange::{ConnectionFacts, Direction, Exchange};

impl Correlator {
    /// Whether the parent of an exchange, or of what caused it, may still become known. The record of a client
    /// request comes after it was sent, by as much as the scheduler likes; a strategy may know later.
    pub fn is_unsettled(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        let key = Key::of(facts, exchange);
        // The other end's may be late too.
        if self.has_late && self.open.get(key).is_some_and(|request| request.is_late) {
            return true;
        }
        if self.may_be_exported(key) {
            return true;
        }
        match self.open.above(key) {
            Above::Request(above) => self.is_any_unsettled(above),
            Above::ToCome => true,
            Above::Nothing => self.may_attribute_later(key),
        }
    }

    /// As [`Correlator::is_unsettled`], for what caused it.
    #[inline(never)]
    fn is_any_unsettled(&self, mut key: Key) -> bool {
        for _ in 1..LONGEST_CHAIN {
            key = match self.open.above(key) {
                Above::Request(above) => above,
                Above::ToCome => return true,
                Above::Nothing => return self.may_attribute_later(key),
            };
            if self.may_be_exported(key) {
                return true;
            }
        }
        false
    }

    /// Whether the other end of a client request is traced here, and has not shown the request. A server that answers
    /// before it has read the whole head, with a 400 for one that is too long, may read the rest after its client is done.
    pub fn awaits_other_end(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        exchange.kind.is_outgoing()
            && facts.peer.is_some()
            && self.open.get(Key::of(facts, exchange)).is_some_and(|request| !request.is_met)
    }

    fn may_attribute_later(&self, key: Key) -> bool {
        key.direction == Direction::Send
            && self
                .open
                .get(key)
                .and_then(|client| self.processes.get(client.unit.pid))
                .is_some_and(|process| process.may_attribute_later(key))
    }

    /// Whether it may turn out that the application exports a span of a request.
    #[inline]
    fn may_be_exported(&self, key: Key) -> bool {
        if !self.has_instruments {
            return false;
        }
        let Some(request) = self.open.get(key).filter(|request| request.may_be_exported) else {
            return false;
        };
        let process = self.processes.get(request.unit.pid);
        process.is_some_and(|process| !process.exports_of(request.kind))
    }

    /// Whether a request has no span although it was to have one: it has turned out that the application exports one.
    pub(super) fn is_exported(&self, request: &OpenRequest) -> bool {
        let process = self.processes.get(request.unit.pid).filter(|_| request.may_be_exported);
        process.is_some_and(|process| {
            self_instrumented::is_suppressed(process, self.rules.sdk, request.kind, true)
        })
    }

    /// Whether it has turned out that the application exports a span of a request, and that of the request that caused it.
    #[inline(never)]
    pub(super) fn exported_later(&self, key: Key) -> (bool, Option<LeftOut>) {
        let Some(request) = self.open.get(key) else { return (false, None) };
        let server = request.attributed_to.and_then(|server| self.open.get(server));
        let left_out = server
            .filter(|server| !server.is_suppressed && !server.has_own_id && self.is_exported(server))
            .map(|server| LeftOut { id: server.span_id, above: server.context.parent.map(|(id, _)| id) });
        (self.is_exported(request), left_out)
    }

    /// As [`Correlator::is_unsettled`], if what is missing is how a process works. That can take long.
    pub fn is_held(&self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        let mut key = Key::of(facts, exchange);
        for _ in 0..LONGEST_CHAIN {
            if self.may_be_exported(key) {
                return true;
            }
            match self.open.above(key) {
                Above::Request(above) => key = above,
                Above::ToCome => return false,
                Above::Nothing => return self.may_attribute_later(key),
            }
        }
        false
    }
}
