//! Nothing is missing in silence: what was seen, skipped, lost, and why, by process.

#![forbid(unsafe_code)]

mod counters;
mod counts;
mod singular;
mod text;

pub use self::{
    counters::Counter,
    counts::{Counts, Ledger},
    singular::meaning_of,
    text::LedgerSummary,
};
