//! What a receiver's answer means: the OTLP specification's sections on failures and throttling.

use std::time::Duration;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The receiver says that it took the spans, but for so many. Without `confirmed` its answer is not that of an OTLP
    /// receiver.
    Taken { rejected: u64, confirmed: bool },
    /// Try again, after this time if the receiver said one.
    Again { error: String, after: Option<Duration> },
    /// The request is too large.
    TooLarge,
    /// Never try this again.
    Refused { error: String },
}
