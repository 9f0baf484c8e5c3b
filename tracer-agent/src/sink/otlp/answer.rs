//! What a receiver's answer means: the OTLP specification's sections on failures and throttling.

use std::time::Duration;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The spans arrived, but for so many.
    Taken { rejected: u64 },
    /// Try again, after this time if the receiver said one.
    Again { error: String, after: Option<Duration> },
    /// The request is too large.
    TooLarge,
    /// Never try this again.
    Refused { error: String },
}
