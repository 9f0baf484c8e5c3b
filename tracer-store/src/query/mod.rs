//! The language in which spans are asked for.
//!
//! A query is a list of terms, separated by blanks. A span meets it if it meets every term. Between lists of terms stands
//! `OR`: a span meets the query if it meets every term of one list.
//!
//! | term | what it asks of a span |
//! |---|---|
//! | `service:checkout`, `service:check*` | its service, whatever the case of its letters; `service:=Checkout` is exact |
//! | `operation:"GET /x"`, also `name:` | its name, in the same way |
//! | `kind:server` | its kind: `unspecified`, `internal`, `server`, `client`, `producer`, `consumer` |
//! | `status:error` | its status: `unset`, `ok`, `error` |
//! | `trace:4bf9…` | the trace that it belongs to; `trace:4bf9*` by how its id begins |
//! | `duration>100ms` | its duration; also `>=`, `<`, `<=`; units `ns`, `us`, `ms`, `s`, `m` |
//! | `key=value` | an attribute; of a list, any entry |
//! | `key!=value` | that it has the attribute, with another value |
//! | `key=prefix*` | how an attribute begins |
//! | `key=*` | that it has the attribute |
//! | `key>5` | an attribute as a number; also `>=`, `<`, `<=` |
//! | `word` | text in its name, its service or its target, whatever the case of its letters |
//! | `-term` | that it does not meet the term |
//! | `service!=checkout` | the same as `-service:checkout`; so for each field with a colon |
//! | `trace.duration>1s`, `trace.spans>100`, `trace.errors=0` | its whole trace |
//! | `calls:front>checkout` | that in its trace, one service calls another: the calls that the map draws; `*` is anybody |
//!
//! Keys, values and words may stand in double quotes, where `\"` is a quote and `\\` a backslash. Attributes are the
//! span's own; those of its resource count where the span has none of that name.

mod fold;
mod matches;
mod nearest;
mod parse;
mod print;
mod value;

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

impl Query {
    /// The trace that a span must belong to, if the query names one.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        self.terms.iter().find_map(|term| match term.condition {
            Condition::Trace(trace_id) if !term.is_negated => Some(trace_id),
            _ => None,
        })
    }
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
    /// The trace, by how its id begins.
    TraceBegins(IdPrefix),
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
    /// The duration of its trace, nanoseconds.
    TraceDuration(Comparison, u64),
    /// How many spans its trace has.
    TraceSpans(Comparison, u64),
    /// How many of them have an error.
    TraceErrors(Comparison, u64),
    /// That its trace has a call.
    Calls {
        /// Who calls: a service, a broker, or `outside`.
        from: Pattern,
        /// Who is called: a service, or a peer by its address.
        to: Pattern,
    },
    /// That every term of one of these lists is met. It is what `OR` makes of a query: its only term.
    Any(Vec<Vec<Term>>),
}

impl Condition {
    /// Whether it asks of the whole trace, so that all spans of a trace meet it or none.
    pub(crate) fn is_of_trace(&self) -> bool {
        matches!(
            self,
            Self::TraceDuration(..) | Self::TraceSpans(..) | Self::TraceErrors(..) | Self::Calls { .. }
        )
    }
}

/// The first hexadecimal digits of a trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    /// Their value.
    digits: u128,
    /// How many they are, from 1 to 31.
    count: u8,
}

impl IdPrefix {
    /// The digits that a text is; none if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_prefix = (1..=31).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = u128::from_str_radix(text, 16).ok().filter(|_| is_prefix)?;
        Some(Self { digits, count: text.len() as u8 })
    }

    /// Whether an id begins so.
    pub fn meets(self, id: TraceId) -> bool {
        u128::from_be_bytes(id.0) >> (128 - 4 * u32::from(self.count)) == self.digits
    }
}

impl std::fmt::Display for IdPrefix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:0width$x}", self.digits, width = usize::from(self.count))
    }
}

/// A text, or how one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// Text that begins with this.
    Prefix(String),
    /// This text, whatever the case of its letters.
    Like(String),
    /// Text that begins with this, whatever the case of its letters.
    LikePrefix(String),
}

impl Pattern {
    /// Whether a text is meant.
    pub fn meets(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Like(like) => {
                text == like
                    || text.eq_ignore_ascii_case(like)
                    || !(text.is_ascii() && like.is_ascii()) && text.to_lowercase() == like.to_lowercase()
            }
            Self::LikePrefix(prefix) => {
                text.starts_with(prefix.as_str()) || text.to_lowercase().starts_with(&prefix.to_lowercase())
            }
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
    /// `=`
    Equal,
}

impl Comparison {
    /// Whether the left number compares so with the right one.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "=",
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
    /// The same place, counted in bytes.
    pub at_byte: usize,
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

/// Fields, which are asked for with a colon.
pub(crate) const FIELDS: [&str; 7] = ["service", "operation", "name", "kind", "status", "trace", "calls"];

/// Fields that are numbers, which are compared.
pub(crate) const NUMBERS: [&str; 4] = ["duration", "trace.duration", "trace.spans", "trace.errors"];

/// Words between terms.
pub(crate) const WORDS: [&str; 2] = ["OR", "AND"];

/// Place of a byte of a text, counted in UTF-16 units.
pub(crate) fn utf16_at(text: &str, byte: usize) -> u32 {
    let units: usize =
        text.char_indices().take_while(|(at, _)| *at < byte).map(|(_, char)| char.len_utf16()).sum();
    u32::try_from(units).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_its_digits_and_with_no_others() {
        let id = TraceId(0x0bf9_0000_0000_0000_0000_0000_0000_00a1_u128.to_be_bytes());
        let whole = id.hex();
        let meets = |text: &str| IdPrefix::parse(text).map(|prefix| prefix.meets(id));
        for text in ["0", "0b", "0bF9", &whole[..31]] {
            assert_eq!(meets(text), Some(true), "{text}");
        }
        for text in ["b", "0bf8", "00"] {
            assert_eq!(meets(text), Some(false), "{text}");
        }
        for text in ["", "+b", "0x1", "é", &whole] {
            assert_eq!(meets(text), None, "{text}");
        }
    }
}
