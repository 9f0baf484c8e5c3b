//! A counter of the ledger, as the status tells it.

use serde::{Deserialize, Serialize};

use crate::ledger::Counter;

/// A counter that is not zero.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Count {
    /// Name of the counter.
    pub name: String,
    /// What it counts.
    pub meaning: String,
    /// How many.
    pub count: u64,
}

impl Count {
    /// The count of this counter.
    pub fn of(counter: Counter, count: u64) -> Self {
        Self { name: counter.name().to_owned(), meaning: counter.meaning().to_owned(), count }
    }
}
