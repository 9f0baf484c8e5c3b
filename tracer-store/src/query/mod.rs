//! The language in which spans are asked for.
//!
//! A query is a list of terms, separated by blanks. A span meets it if it meets every term.
//!
//! | term | what it asks of a span |
//! |---|---|
//! | `service:checkout`, `service:check*` | its service |
//! | `operation:"GET /x"`, also `name:` | its name |
//! | `kind:server` | its kind: `unspecified`, `internal`, `server`, `client`, `producer`, `consumer` |
//! | `status:error` | its status: `unset`, `ok`, `error` |
//! | `trace:4bf9…` | the trace that it belongs to |
//! | `duration>100ms` | its duration; also `>=`, `<`, `<=`; units `ns`, `us`, `ms`, `s`, `m` |
//! | `key=value` | an attribute; of a list, any entry |
//! | `key!=value` | that it has the attribute, with another value |
//! | `key=prefix*` | how an attribute begins |
//! | `key=*` | that it has the attribute |
//! | `key>5` | an attribute as a number; also `>=`, `<`, `<=` |
//! | `word` | text in its name, its service or its target, whatever the case of its letters |
//! | `-term` | that it does not meet the term |
//!
//! Keys, values and words may stand in double quotes, where `\"` is a quote and `\\` a backslash. Attributes are the
//! span's own; those of its resource count where the span has none of that name.

mod fold;
mod matches;
mod parse;
mod print;

use thiserror::Error;
use tracer_model::span::{Kind, StatusCode, TraceId};

pub use fold::Needle;
pub(crate) use matches::{TARGET_KEYS, compare, value_meets};
pub(crate) use print::{key_text, value_text};

/// Longest query that is read.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Most terms that a query may have.
pub const MAX_TERMS: usize = 64;

/// What is asked of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Terms that must all be met by one span. No terms: any span.
    pub terms: Vec<Term>,
}

/// One thing that is asked of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Whether the condition must not be met.
    pub is_negated: bool,
    /// The condition.
    pub condition: Condition,
}

/// What a term asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The service.
    Service(Pattern),
    /// The name.
    Operation(Pattern),
    /// The kind.
    Kind(Kind),
    /// The status.
    Status(StatusCode),
    /// The trace.
    Trace(TraceId),
    /// The duration, nanoseconds.
    Duration(Comparison, u64),
    /// An attribute.
    Attribute {
        /// Its name.
        key: String,
        /// What its value must be.
        test: Test,
    },
    /// Text in name, service or target.
    Text(Needle),
}

/// A text, or how one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// Text that begins with this.
    Prefix(String),
}

impl Pattern {
    /// Whether a text is meant.
    pub fn meets(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }
}

/// What is asked of the value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// That there is one.
    Exists,
    /// That it is this.
    Equals(String),
    /// That there is one, and that it is not this.
    Differs(String),
    /// That its text begins so.
    Prefix(String),
    /// That it is a number that compares so.
    Compares(Comparison, f64),
}

/// How two numbers must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether the left number compares so with the right one.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Why a query cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct QueryError {
    /// What is wrong, and what to write instead.
    pub message: String,
    /// First character that is wrong, counted in UTF-16 units, as JavaScript counts.
    pub at_utf16: u32,
}

pub(crate) const KINDS: [(&str, Kind); 6] = [
    ("unspecified", Kind::Unspecified),
    ("internal", Kind::Internal),
    ("server", Kind::Server),
    ("client", Kind::Client),
    ("producer", Kind::Producer),
    ("consumer", Kind::Consumer),
];

pub(crate) const STATUSES: [(&str, StatusCode); 3] =
    [("unset", StatusCode::Unset), ("ok", StatusCode::Ok), ("error", StatusCode::Error)];

/// Fields of a span, which are asked for with a colon.
pub(crate) const FIELDS: [&str; 6] = ["service", "operation", "name", "kind", "status", "trace"];

/// Place of a byte of a text, counted in UTF-16 units.
pub(crate) fn utf16_at(text: &str, byte: usize) -> u32 {
    let units: usize =
        text.char_indices().take_while(|(at, _)| *at < byte).map(|(_, char)| char.len_utf16()).sum();
    u32::try_from(units).unwrap_or(u32::MAX)
}
