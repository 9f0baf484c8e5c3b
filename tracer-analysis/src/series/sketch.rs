//! Durations, counted by their logarithms: each quantile within seven percent, in memory that does not grow.

/// Parts that each power of two has.
const PARTS: u32 = 8;

/// Counted durations, by classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// Class and count, in the order of the classes.
    counts: Vec<(u16, u32)>,
    total: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, ns: u64) {
        self.count(class(ns), 1);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (class, count) in &other.counts {
            self.count(*class, *count);
        }
    }

    fn count(&mut self, class: u16, more: u32) {
        self.total = self.total.saturating_add(u64::from(more));
        // Those of one bucket are few, and the last is the most likely.
        match self.counts.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(more),
            Err(at) => self.counts.insert(at, (class, more)),
        }
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration that this part of all is not above, nanoseconds. None without durations.
    pub(crate) fn quantile_ns(&self, part: f64) -> Option<u64> {
        let rank = (self.total as f64 * part).ceil().max(1.0) as u64;
        let mut sum = 0;
        for (class, count) in &self.counts {
            sum += u64::from(*count);
            if sum >= rank {
                return Some(middle_ns(*class));
            }
        }
        None
    }
}

fn class(ns: u64) -> u16 {
    let ns = ns.max(u64::from(PARTS));
    let power = 63 - ns.leading_zeros();
    let part = (ns >> (power - 3)) as u32 & (PARTS - 1);
    (power * PARTS + part) as u16
}

/// The middle of a class.
fn middle_ns(class: u16) -> u64 {
    let (power, part) = (u32::from(class) / PARTS, u64::from(class) % u64::from(PARTS));
    let width = 1u64 << (power - 3);
    (u64::from(PARTS) + part) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_seven_percent() {
        let mut durations = Durations::default();
        for ns in 1..=10_000 {
            durations.add(ns * 1000);
        }
        for part in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = part * 1e7;
            let told = durations.quantile_ns(part).unwrap() as f64;
            assert!((told / exact - 1.0).abs() < 0.07, "{part}: {told} instead of {exact}");
        }
        assert_eq!(durations.total(), 10_000);
    }

    #[test]
    fn two_sketches_together_are_one_of_both_and_extremes_are_no_panic() {
        let (mut one, mut other, mut both) = Default::default();
        for ns in [0, 1, 7, 8, 1000, u64::MAX] {
            Durations::add(&mut one, ns);
            Durations::add(&mut other, ns / 3);
            Durations::add(&mut both, ns);
            Durations::add(&mut both, ns / 3);
        }
        one.merge(&other);
        assert_eq!(one, both);
        assert_eq!(Durations::default().quantile_ns(0.5), None);
        assert!(both.quantile_ns(1.0).unwrap() > u64::MAX / 2);
    }
}
