//! Which of a service's calls have a parent, and why the others have none.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::count::Count;
use crate::ledger::{Counter, Counts};

/// Which of a service's calls have a parent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct LinksStatus {
    /// Calls whose end was told.
    pub calls: u64,
    /// Those of them with a parent.
    pub linked: u64,
    /// Why the others have none, the most frequent reason first.
    pub unlinked: Vec<Count>,
}

impl LinksStatus {
    /// What the ledger tells of a service.
    pub fn of(counts: &Counts) -> Self {
        let all = Counter::LINKS.iter().map(|counter| (*counter, counts.get(*counter)));
        let linked = counts.get(Counter::LinksMade);
        let reasons = all.filter(|(counter, count)| *counter != Counter::LinksMade && *count > 0);
        let mut unlinked: Vec<Count> = reasons.map(|(counter, count)| Count::of(counter, count)).collect();
        unlinked.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        let calls = linked + unlinked.iter().map(|reason| reason.count).sum::<u64>();
        Self { calls, linked, unlinked }
    }

    /// Whether a counter is told here.
    pub fn tells(count: &Count) -> bool {
        Counter::LINKS.iter().any(|counter| counter.name() == count.name)
    }
}

impl fmt::Display for LinksStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.calls == 0 {
            return Ok(());
        }
        // Rounded down: all of them are 100 %, and nothing less.
        let share = u128::from(self.linked) * 100 / u128::from(self.calls);
        writeln!(f, "  links: {} of {} calls have a parent ({share} %)", self.linked, self.calls)?;
        for reason in &self.unlinked {
            writeln!(f, "{reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_linked_calls_and_every_reason_are_told() {
        let mut counts = Counts::default();
        assert_eq!(LinksStatus::of(&counts).to_string(), "");
        counts.add(Counter::LinksMade, 199);
        assert_eq!(LinksStatus::of(&counts).to_string(), "  links: 199 of 199 calls have a parent (100 %)\n");
        counts.add(Counter::LinksUnseen, 1);
        let text = LinksStatus::of(&counts).to_string();
        assert!(
            text.starts_with("  links: 199 of 200 calls have a parent (99 %)\n             1  call without a parent: the process may have worked"),
            "{text}"
        );
        counts.add(Counter::LinksLearning, 3);
        let links = LinksStatus::of(&counts);
        let names: Vec<&str> = links.unlinked.iter().map(|reason| reason.name.as_str()).collect();
        assert_eq!((links.calls, names), (203, vec!["links.learning", "links.unseen"]));
        assert!(links.unlinked.iter().all(LinksStatus::tells));
    }
}
