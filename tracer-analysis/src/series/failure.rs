//! Why a request failed, as far as its span says.

use serde::{Deserialize, Serialize};
use tracer_model::facts::Facts;
use utoipa::ToSchema;

/// Why a request failed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The caller ended it at a limit of time.
    Timeout,
    /// The connection was refused, reset, or could not be made.
    Connection,
    /// The connection ended without a response.
    NoResponse,
    /// A response with a status of 5xx.
    Server,
    /// A response that asks for fewer requests: 429.
    TooMany,
    /// A response that blames the request: another status of 4xx. It is no reason to try again.
    Refused,
    /// Another reason, or none that is told.
    #[default]
    Other,
}

impl Failure {
    /// How many there are.
    pub(crate) const COUNT: usize = 7;
    /// All, each at its place.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Timeout,
        Self::Connection,
        Self::NoResponse,
        Self::Server,
        Self::TooMany,
        Self::Refused,
        Self::Other,
    ];

    /// Why a span failed. None if it did not.
    pub fn of(facts: &Facts) -> Option<Self> {
        let status = facts.http_status.or_else(|| facts.error_type.as_deref()?.parse().ok());
        match status {
            Some(408 | 504) => return Some(Self::Timeout),
            Some(429) => return Some(Self::TooMany),
            Some(500..=599) => return Some(Self::Server),
            Some(400..=499) if facts.is_error => return Some(Self::Refused),
            _ if !facts.is_error => return None,
            _ => {}
        }
        let told = facts.error_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| told.contains(word));
        Some(if says(&["timeout", "timed_out", "timedout", "deadline", "etimedout"]) {
            Self::Timeout
        } else if says(&["no_response", "eof", "aborted", "cancel", "hang up"]) {
            Self::NoResponse
        } else if says(&["connect", "refused", "reset", "unavailable", "unreachable", "broken_pipe"]) {
            Self::Connection
        } else {
            Self::Other
        })
    }

    /// Whether a caller may try again after it.
    pub fn may_be_tried_again(self) -> bool {
        self != Self::Refused
    }

    /// Whether the caller left without a response.
    pub fn is_without_response(self) -> bool {
        matches!(self, Self::Timeout | Self::NoResponse)
    }

    /// In words, after a number of calls.
    pub fn words(self) -> &'static str {
        match self {
            Self::Timeout => "timed out",
            Self::Connection => "found no connection",
            Self::NoResponse => "ended without a response",
            Self::Server => "were answered with 5xx",
            Self::TooMany => "were answered with 429",
            Self::Refused => "were answered with 4xx",
            Self::Other => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sketch, corpus};

    #[test]
    fn the_status_and_the_type_of_the_error_say_why_a_request_failed() {
        let told = |error: &str| {
            let corpus = corpus(&[&[Sketch::client("shop", "GET", 1, 0, 0..10).error(error)]]);
            Failure::of(corpus.trace(0).facts(0))
        };
        assert_eq!(told("timeout"), Some(Failure::Timeout));
        assert_eq!(told("java.net.SocketTimeoutException"), Some(Failure::Timeout));
        assert_eq!(told("connection_reset"), Some(Failure::Connection));
        assert_eq!(told("ECONNREFUSED"), Some(Failure::Connection));
        assert_eq!(told("no_response"), Some(Failure::NoResponse));
        assert_eq!(told("503"), Some(Failure::Server));
        assert_eq!(told("429"), Some(Failure::TooMany));
        assert_eq!(told("404"), Some(Failure::Refused));
        assert_eq!(told("ValueError"), Some(Failure::Other));
        let fine = corpus(&[&[Sketch::client("shop", "GET", 1, 0, 0..10)]]);
        assert_eq!(Failure::of(fine.trace(0).facts(0)), None);
    }
}
