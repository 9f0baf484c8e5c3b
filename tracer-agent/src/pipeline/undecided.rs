//! Exchanges whose spans wait until it is known how a process works: the parents of its client requests depend on that.

use std::collections::VecDeque;

use crate::exchange::{ConnectionFacts, Exchange};

/// Exchanges that wait, the one that ended first at the front.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    waiting: VecDeque<UndecidedExchange>,
    /// Memory of their payloads.
    bytes: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct UndecidedExchange {
    until_ns: u64,
    bytes: usize,
    facts: ConnectionFacts,
    exchange: Exchange,
}

impl Undecided {
    /// Exchanges that wait.
    const MOST: usize = 4096;
    /// How long each waits: long enough for a service under load to show how it works, and short enough for whoever
    /// looks at a trace, and for collectors that wait for a trace's last span.
    const LONGEST_NS: u64 = 10_000_000_000;

    /// Holds at most so much memory of payloads.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, ..Self::default() }
    }

    /// Takes an exchange, if there is room for it.
    pub(super) fn take(&mut self, facts: &ConnectionFacts, exchange: &Exchange) -> bool {
        let bytes = exchange.payload.retained_bytes();
        if self.waiting.len() >= Self::MOST || self.bytes + bytes > self.most_bytes {
            return false;
        }
        self.bytes += bytes;
        let until_ns = exchange.end_ns.saturating_add(Self::LONGEST_NS);
        let (facts, exchange) = (facts.clone(), exchange.clone());
        self.waiting.push_back(UndecidedExchange { until_ns, bytes, facts, exchange });
        true
    }

    /// Gives back those that have waited long enough, and those that `may_go`; all of them in the order in which they
    /// came.
    pub(super) fn give(
        &mut self,
        now_ns: u64,
        mut may_go: impl FnMut(&ConnectionFacts, &Exchange) -> bool,
    ) -> Vec<(ConnectionFacts, Exchange)> {
        let mut given = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(first) = self.waiting.pop_front() else { break };
            if first.until_ns <= now_ns || may_go(&first.facts, &first.exchange) {
                self.bytes -= first.bytes;
                given.push((first.facts, first.exchange));
            } else {
                self.waiting.push_back(first);
            }
        }
        given
    }

    /// Whether one has waited long enough.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.waiting.front().is_some_and(|first| first.until_ns <= now_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use bytes::Bytes;

    use super::*;
    use crate::{
        endpoint::{Endpoint, PeerIdentity},
        exchange::{Connector, Kind, Outcome, Unit},
        protocol::http::{HttpExchange, Noted},
    };

    fn facts(number: u64) -> ConnectionFacts {
        let address = Endpoint::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        ConnectionFacts {
            number,
            connector: Connector::Local,
            local: address.clone(),
            remote: address,
            identity: PeerIdentity::Sequence { sent: 1, received: 2 },
            peer: None,
            netns: 1,
            connect_ns: None,
            first_sent: 1,
            first_received: 2,
        }
    }

    /// An exchange that ended then, with a head of that many bytes.
    fn exchange(end_ns: u64, head_bytes: usize) -> Exchange {
        let payload = HttpExchange {
            request_head: Bytes::from(vec![b'x'; head_bytes]),
            method: 0..0,
            target: 0..0,
            noted: Noted::default(),
            minor_version: 1,
            response_head: None,
            status: Some(200),
            export_body: None,
            request_body_bytes: None,
            response_body_bytes: None,
        };
        Exchange {
            kind: Kind::Call,
            request_unit: Unit::thread(1, 1),
            response_unit: None,
            start_ns: 0,
            request_end_ns: 0,
            response_start_ns: None,
            end_ns,
            outcome: Outcome::Complete,
            request_offset: 0,
            attached: None,
            payload: Arc::new(payload),
        }
    }

    fn numbers(given: &[(ConnectionFacts, Exchange)]) -> Vec<u64> {
        given.iter().map(|(facts, _)| facts.number).collect()
    }

    #[test]
    fn exchanges_go_when_they_may_or_after_a_time_in_their_order() {
        let mut held = Undecided::new(1000);
        for number in 1..=4 {
            assert!(held.take(&facts(number), &exchange(number, 1)));
        }
        assert_eq!(numbers(&held.give(10, |facts, _| facts.number % 2 == 0)), [2, 4]);
        assert!(!held.is_due(Undecided::LONGEST_NS));
        assert!(held.is_due(Undecided::LONGEST_NS + 1));
        assert_eq!(numbers(&held.give(Undecided::LONGEST_NS + 1, |_, _| false)), [1]);
        assert_eq!(numbers(&held.give(u64::MAX, |_, _| false)), [3]);
        assert_eq!(held.bytes, 0);
    }

    #[test]
    fn number_and_memory_are_bounded() {
        let mut held = Undecided::new(1000);
        assert!(held.take(&facts(1), &exchange(1, 600)));
        assert!(!held.take(&facts(2), &exchange(2, 600)));
        assert_eq!(held.give(u64::MAX, |_, _| false).len(), 1);
        assert!(held.take(&facts(2), &exchange(2, 600)));
        for number in 1..Undecided::MOST as u64 {
            assert!(held.take(&facts(number), &exchange(3, 0)));
        }
        assert!(!held.take(&facts(9), &exchange(3, 0)));
    }
}
