//! A counter of the ledger, as the status tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ledger::{Counter, meaning_of};

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

/// A line of the status.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:>12}  {}", self.count, meaning_of(self.count, &self.meaning))
    }
}
