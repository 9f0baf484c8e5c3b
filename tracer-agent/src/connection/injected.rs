//! Trace headers that were injected into the client requests of a connection, or why there is none.

use std::collections::VecDeque;

use tracer_common::{InjectionOutcome, InjectionRecord};

use crate::exchange::{InjectedHeader, Injection};

/// Those of one connection, from the records of the kernel programs.
#[derive(Debug, Default)]
pub(super) struct Injected {
    /// Records of requests that were not seen yet.
    pending: VecDeque<InjectionRecord>,
    /// What holds for all requests from a position on.
    lasting: Option<(u32, InjectionOutcome)>,
    /// Positions of requests that a header was pushed into, and the bytes pushed before and behind each.
    pushes: VecDeque<(u32, u32, u32)>,
}

impl Injected {
    /// Requests that wait for their bytes, and pushes that are remembered.
    pub(super) const MOST: usize = 64;

    pub(super) fn add(&mut self, record: InjectionRecord) {
        let Some(outcome) = InjectionOutcome::from_byte(record.outcome) else { return };
        if record.lasting != 0 {
            self.lasting = Some((record.position, outcome));
            return;
        }
        // A send that failed is looked at again.
        self.pending.retain(|known| known.position != record.position);
        self.pushes.retain(|(position, ..)| *position != record.position);
        if self.pending.len() >= Self::MOST {
            self.pending.pop_front();
        }
        if self.pushes.len() >= Self::MOST {
            self.pushes.pop_front();
        }
        if outcome == InjectionOutcome::Pushed {
            let behind = record.inserted.wrapping_add(u32::from(record.pushed));
            self.pushes.push_back((record.position, record.inserted, behind));
        }
        self.pending.push_back(record);
    }

    /// What became of the header of the request at this position.
    pub(super) fn take(&mut self, position: u32) -> Injection {
        if let Some(at) = self.pending.iter().position(|record| record.position == position) {
            let record = self.pending.remove(at);
            self.pending.drain(..at);
            if let Some((record, outcome)) =
                record.and_then(|record| Some((record, InjectionOutcome::from_byte(record.outcome)?)))
            {
                let is_sent = matches!(outcome, InjectionOutcome::Pushed | InjectionOutcome::Rewritten);
                let sent = is_sent.then(|| InjectedHeader {
                    trace_id: record.trace_id,
                    flags: record.trace_flags,
                    evidence: record.evidence,
                    parent: (record.parent_connection != 0)
                        .then_some((record.parent_connection, record.parent_position)),
                });
                return Injection { outcome, sent };
            }
        }
        let outcome = match self.lasting {
            // With a known port, the first request would have got one; the later ones would not.
            Some((from, InjectionOutcome::UnknownPort)) if is_behind(position, from) => {
                InjectionOutcome::Blocking
            }
            Some((from, InjectionOutcome::UnknownPortLimited)) if is_behind(position, from) => {
                InjectionOutcome::FirstOnly
            }
            Some((from, outcome)) if position == from || is_behind(position, from) => outcome,
            _ => InjectionOutcome::BoundaryUnknown,
        };
        Injection { outcome, sent: None }
    }

    /// Bytes that were pushed into the stream before this position.
    pub(super) fn inserted_before(&self, position: u32) -> u32 {
        match self.pushes.iter().rev().find(|(at, ..)| is_behind(position, *at)) {
            Some((_, _, behind)) => *behind,
            None => self.pushes.front().map_or(0, |(_, before, _)| *before),
        }
    }
}

/// Whether a position is behind another one; positions wrap around.
fn is_behind(position: u32, other: u32) -> bool {
    position != other && position.wrapping_sub(other) < u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use tracer_common::{EVIDENCE_PROXY, PARENT_BYTES};

    use super::*;

    fn record(position: u32, outcome: InjectionOutcome) -> InjectionRecord {
        let pushed = if outcome == InjectionOutcome::Pushed { PARENT_BYTES as u16 } else { 0 };
        InjectionRecord { position, outcome: outcome as u8, pushed, ..InjectionRecord::default() }
    }

    #[test]
    fn an_unknown_port_is_the_reason_of_the_first_request_only() {
        let reasons = [
            (InjectionOutcome::UnknownPort, InjectionOutcome::Blocking),
            (InjectionOutcome::UnknownPortLimited, InjectionOutcome::FirstOnly),
        ];
        for (first, later) in reasons {
            let mut injected = Injected::default();
            injected.add(InjectionRecord { lasting: 1, ..record(u32::MAX - 9, first) });
            assert_eq!(injected.take(u32::MAX - 9).outcome, first);
            assert_eq!(injected.take(90).outcome, later);
        }
    }

    #[test]
    fn each_request_has_its_own_and_what_lasts_holds_behind() {
        let mut injected = Injected::default();
        let parent = InjectionRecord {
            evidence: EVIDENCE_PROXY,
            parent_connection: 7,
            parent_position: 9,
            ..record(u32::MAX - 10, InjectionOutcome::Pushed)
        };
        injected.add(parent);
        injected.add(InjectionRecord { inserted: PARENT_BYTES, ..record(20, InjectionOutcome::Pushed) });
        injected.add(InjectionRecord { lasting: 1, ..record(21, InjectionOutcome::Blocking) });
        let first = injected.take(u32::MAX - 10);
        assert_eq!(first.outcome, InjectionOutcome::Pushed);
        assert_eq!(first.sent.and_then(|sent| sent.parent), Some((7, 9)));
        assert_eq!(injected.inserted_before(u32::MAX - 10), 0);
        assert_eq!(injected.inserted_before(20), PARENT_BYTES);
        assert_eq!(injected.inserted_before(21), 2 * PARENT_BYTES);
        assert_eq!(injected.take(10).outcome, InjectionOutcome::BoundaryUnknown);
        assert_eq!(injected.take(20).outcome, InjectionOutcome::Pushed);
        assert_eq!(injected.take(500).outcome, InjectionOutcome::Blocking);
    }

    #[test]
    fn a_send_that_is_made_again_counts_once() {
        let mut injected = Injected::default();
        injected.add(record(5, InjectionOutcome::Pushed));
        injected.add(record(5, InjectionOutcome::QueueNotEmpty));
        assert_eq!(injected.inserted_before(50), 0);
        assert_eq!(injected.take(5).outcome, InjectionOutcome::QueueNotEmpty);
    }
}
