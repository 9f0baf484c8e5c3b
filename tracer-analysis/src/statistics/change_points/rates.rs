//! Levels of proportions.

use std::ops::Range;

use super::{
    super::{Proportion, special::chi_square_upper, two_proportions},
    LEAST_BUCKETS, Series, Split,
};

/// Where a cell is expected to be less than this, its p-value is exact.
const EXACT_BELOW: f64 = 50.0;
/// A pair of neighbours counts as differing by at most so much more than chance lets it, since it may be a change.
const MOST_VARIATION: f64 = 9.0;
/// The estimate of how much buckets vary starts as if so many pairs had varied as independent failures do.
const ASSUMED_PAIRS: f64 = 8.0;

/// Proportions over time.
pub(super) struct Rates {
    buckets: Vec<Proportion>,
    /// The sum of the buckets before each one, and of all.
    sums: Vec<Proportion>,
    /// How many times more the buckets vary than independent failures would.
    variation: f64,
}

impl Rates {
    pub(super) fn new(buckets: &[Proportion]) -> Self {
        let mut sums = vec![Proportion::default()];
        let mut sum = Proportion::default();
        for bucket in buckets {
            sum = sum.and(*bucket);
            sums.push(sum);
        }
        Self { buckets: buckets.to_vec(), sums, variation: variation(buckets) }
    }

    fn sum(&self, interval: Range<usize>) -> Proportion {
        less(self.sums[interval.end], self.sums[interval.start])
    }

    /// The sum of the worse side without its worst bucket.
    fn without_worst(&self, interval: Range<usize>) -> Proportion {
        let sum = self.sum(interval.clone());
        let worst = self.buckets[interval].iter().max_by_key(|bucket| bucket.count.min(bucket.total));
        worst.map_or(sum, |worst| less(sum, Proportion::new(worst.count, worst.total)))
    }

    fn p_value(&self, interval: Range<usize>, at: usize) -> f64 {
        let (before, after) = (self.sum(interval.start..at), self.sum(at..interval.end));
        let (before, after) = if before.value() > after.value() {
            (self.without_worst(interval.start..at), after)
        } else {
            (before, self.without_worst(at..interval.end))
        };
        let (before, after) = (self.thinned(before), self.thinned(after));
        let all = before.and(after);
        let (hits, total) = (all.count as f64, all.total as f64);
        let least = before.total.min(after.total) as f64 * hits.min(total - hits) / total.max(1.0);
        if least < EXACT_BELOW {
            two_proportions(before, after)
        } else {
            chi_square_upper(deviance(before, after), 1.0)
        }
    }

    /// As many as there would be if failures were independent.
    fn thinned(&self, sum: Proportion) -> Proportion {
        let thin = |count: u64| (count as f64 / self.variation).round() as u64;
        Proportion::new(thin(sum.count), thin(sum.total))
    }
}

impl Series for Rates {
    fn len(&self) -> usize {
        self.buckets.len()
    }

    fn best_split(&self, interval: Range<usize>) -> Option<Split> {
        let first = interval.start + LEAST_BUCKETS;
        let last = interval.end.checked_sub(LEAST_BUCKETS)?;
        let strength = |at: usize| deviance(self.sum(interval.start..at), self.sum(at..interval.end));
        let (at, strength) =
            (first..=last).map(|at| (at, strength(at))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Split { at, strength, p_value: self.p_value(interval, at) })
    }

    fn split(&self, interval: Range<usize>, at: usize) -> Split {
        let strength = deviance(self.sum(interval.start..at), self.sum(at..interval.end));
        Split { at, strength, p_value: self.p_value(interval, at) }
    }

    fn level(&self, interval: Range<usize>) -> f64 {
        self.sum(interval).value().unwrap_or_default()
    }
}

fn less(sum: Proportion, part: Proportion) -> Proportion {
    Proportion::new(sum.count.saturating_sub(part.count), sum.total.saturating_sub(part.total))
}

/// Twice the logarithm of how much likelier two proportions are than one.
fn deviance(before: Proportion, after: Proportion) -> f64 {
    let likelihood = |part: Proportion| {
        let (hits, total) = (part.count as f64, part.total as f64);
        let term = |count: f64| if count > 0.0 { count * (count / total).ln() } else { 0.0 };
        term(hits) + term(total - hits)
    };
    (2.0 * (likelihood(before) + likelihood(after) - likelihood(before.and(after)))).max(0.0)
}

/// How much more neighbours differ than they would if failures were independent; 1 at least.
fn variation(buckets: &[Proportion]) -> f64 {
    let (mut sum, mut pairs) = (ASSUMED_PAIRS, ASSUMED_PAIRS);
    for pair in buckets.windows(2) {
        let both = pair[0].and(pair[1]);
        let (Some(first), Some(second), Some(pooled)) = (pair[0].value(), pair[1].value(), both.value())
        else {
            continue;
        };
        let variance = pooled * (1.0 - pooled) * (1.0 / pair[0].total as f64 + 1.0 / pair[1].total as f64);
        if variance > 0.0 {
            sum += ((second - first).powi(2) / variance).min(MOST_VARIATION);
            pairs += 1.0;
        }
    }
    (sum / pairs).max(1.0)
}
