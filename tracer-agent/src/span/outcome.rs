//! Outcomes of exchanges in words.

#![forbid(unsafe_code)]

use crate::exchange::Outcome;

/// What a person is told of exchanges that did not come to their end.
pub(super) fn explanation(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete | Outcome::OneWay | Outcome::Left => "",
        Outcome::Timeout => "no response within the time limit",
        Outcome::Reset => "the connection was reset before the response was complete",
        Outcome::NoResponse => "the connection was closed without a response",
        Outcome::Truncated => "the response ended before its announced length",
        Outcome::Lost => "tracer lost bytes of this exchange: its end is not known",
    }
}

/// `error.type` of exchanges that did not come to their end: the whole list.
pub(super) fn failure(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Complete | Outcome::OneWay | Outcome::Left => None,
        Outcome::Timeout => Some("timeout"),
        Outcome::Reset => Some("connection_reset"),
        Outcome::NoResponse => Some("no_response"),
        Outcome::Truncated => Some("truncated"),
        Outcome::Lost => Some("lost"),
    }
}
