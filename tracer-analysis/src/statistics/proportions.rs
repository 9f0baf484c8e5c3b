//! Parts of a whole, such as the failed of all requests.

use crate::answer::Interval;

use super::{
    Estimate,
    special::{chi_square_upper, critical_value},
};

/// Where a cell of a two-by-two table is expected to be less than this, its p-value is exact.
const EXACT_BELOW: f64 = 50.0;

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proportion {
    /// Those that are meant; counted as `total` if more.
    pub count: u64,
    /// All.
    pub total: u64,
}

impl Proportion {
    /// So many of so many.
    pub fn new(count: u64, total: u64) -> Self {
        Self { count: count.min(total), total }
    }

    /// From 0 to 1. None of none.
    pub fn value(self) -> Option<f64> {
        (self.total > 0).then(|| self.hits() / self.total as f64)
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count.min(self.total).saturating_add(other.count.min(other.total)),
            total: self.total.saturating_add(other.total),
        }
    }

    /// Where the true proportion lies: the interval of Wilson ("Probable inference, the law of succession, and statistical
    /// inference", Journal of the American Statistical Association 22 (1927)). From 0 to 1 if there is nothing.
    pub fn interval(self, confidence: f64) -> Interval {
        let Some(p) = self.value() else {
            return Interval { low: 0.0, high: 1.0 };
        };
        let n = self.total as f64;
        let z = critical_value(confidence);
        let middle = p + 0.5 * z * z / n;
        let reach = z * (p * (1.0 - p) / n + 0.25 * (z / n).powi(2)).sqrt();
        let whole = 1.0 + z * z / n;
        Interval {
            low: if p == 0.0 { 0.0 } else { ((middle - reach) / whole).clamp(0.0, 1.0) },
            high: if p == 1.0 { 1.0 } else { ((middle + reach) / whole).clamp(0.0, 1.0) },
        }
    }

    fn hits(self) -> f64 {
        self.count.min(self.total) as f64
    }

    fn misses(self) -> f64 {
        (self.total - self.count.min(self.total)) as f64
    }
}

/// How much greater the second proportion is, with the hybrid score interval of Newcombe (method 10 of "Interval estimation for
/// the difference between independent proportions", Statistics in Medicine 17 (1998)). None if one of them is of nothing.
///
/// Assumes that each request fails or not by itself. Failures that come in bursts make the interval too narrow.
pub fn proportion_difference(before: Proportion, after: Proportion, confidence: f64) -> Option<Estimate> {
    let (first, second) = (before.value()?, after.value()?);
    let (a, b) = (before.interval(confidence), after.interval(confidence));
    let value = second - first;
    let low = value - (second - b.low).hypot(a.high - first);
    let high = value + (b.high - second).hypot(first - a.low);
    Some(Estimate { value, interval: Interval { low: low.max(-1.0), high: high.min(1.0) } })
}

/// How likely chance alone makes two proportions differ so much: the test of Fisher if a cell of the table is expected to be less
/// than 50, else the chi-square test of Pearson without correction (which is the score test). 1 if one of them is of nothing.
pub fn two_proportions(before: Proportion, after: Proportion) -> f64 {
    let (m, n) = (before.total as f64, after.total as f64);
    let (hits, misses) = (before.hits() + after.hits(), before.misses() + after.misses());
    if m == 0.0 || n == 0.0 || hits == 0.0 || misses == 0.0 {
        return 1.0;
    }
    let least = m.min(n) * (hits.min(misses) / (m + n));
    if least < EXACT_BELOW {
        return fisher(before, after);
    }
    let pooled = hits / (m + n);
    let difference = after.hits() / n - before.hits() / m;
    chi_square_upper(difference * difference / (pooled * (1.0 - pooled) * (1.0 / m + 1.0 / n)), 1.0)
}

/// The exact two-sided test of Fisher: of all tables with the same margins, those that are at most as likely.
///
/// Each table's weight comes from its neighbour's, starting at the likeliest one, which has weight 1. The tables are told apart by
/// the cell that is expected to be the least, so they are few.
fn fisher(before: Proportion, after: Proportion) -> f64 {
    let (small, large) = if before.total <= after.total { (before, after) } else { (after, before) };
    let (m, n) = (small.total as f64, large.total as f64);
    let (mut hits, mut seen) = (small.hits() + large.hits(), small.hits());
    if hits > small.misses() + large.misses() {
        (hits, seen) = (small.misses() + large.misses(), small.misses());
    }
    let most = hits.min(m);
    let mode = ((hits + 1.0) * ((m + 1.0) / (m + n + 2.0))).floor().min(most);
    // How much likelier k + 1 is than k.
    let step = |k: f64| (m - k) / (k + 1.0) * ((hits - k) / (n - hits + k + 1.0));
    let mut weights = vec![(mode, 1.0_f64)];
    let (mut k, mut weight) = (mode, 1.0);
    while k < most && weight > f64::MIN_POSITIVE {
        weight *= step(k);
        k += 1.0;
        weights.push((k, weight));
    }
    let (mut k, mut weight) = (mode, 1.0);
    while k > 0.0 && weight > f64::MIN_POSITIVE {
        k -= 1.0;
        weight /= step(k);
        weights.push((k, weight));
    }
    let observed = weights.iter().find(|(k, _)| *k == seen).map_or(f64::MIN_POSITIVE, |(_, weight)| *weight);
    let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let unlikely: f64 =
        weights.iter().map(|(_, weight)| *weight).filter(|weight| *weight <= observed * (1.0 + 1e-7)).sum();
    (unlikely / all).clamp(f64::MIN_POSITIVE, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(ours: f64, theirs: f64, within: f64) {
        assert!((ours - theirs).abs() <= within, "{ours} is not {theirs}");
    }

    #[test]
    fn intervals_are_those_of_newcombes_tables() {
        // Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        let interval = Proportion::new(81, 263).interval(0.95);
        near(interval.low, 0.2553, 5e-5);
        near(interval.high, 0.3662, 5e-5);
        let interval = Proportion::new(0, 20).interval(0.95);
        near(interval.low, 0.0, 0.0);
        near(interval.high, 0.1611, 5e-5);
        // Newcombe 1998, "Interval estimation for the difference", table II, method 10.
        let estimate = proportion_difference(Proportion::new(48, 80), Proportion::new(56, 70), 0.95).unwrap();
        near(estimate.interval.low, 0.0524, 5e-5);
        near(estimate.interval.high, 0.3339, 5e-5);
        let estimate = proportion_difference(Proportion::new(0, 20), Proportion::new(10, 10), 0.95).unwrap();
        near(estimate.interval.low, 0.6791, 5e-5);
        near(estimate.interval.high, 1.0, 0.0);
    }

    #[test]
    fn small_tables_are_judged_by_fishers_test() {
        // scipy.stats.fisher_exact; the first is the table of the article on the test in Wikipedia.
        let test = |a, b, c, d| two_proportions(Proportion::new(a, a + b), Proportion::new(c, c + d));
        near(test(1, 9, 11, 3), 0.002_759_456_185_220_083_6, 1e-14);
        near(test(0, 100, 5, 95), 0.059_383_210_468_586_585, 1e-13);
        near(test(3, 7, 3, 7), 1.0, 1e-13);
        near(test(2, 1_000_000, 12, 1_000_000), 0.012_939_153_218_209_558, 1e-9);
    }

    #[test]
    fn large_tables_are_judged_by_pearsons_test() {
        // scipy.stats.chi2_contingency([[60, 1940], [120, 1880]], correction=False)
        near(
            two_proportions(Proportion::new(60, 2000), Proportion::new(120, 2000)),
            4.732_997_268_162_334e-6,
            1e-15,
        );
    }

    #[test]
    fn nothing_of_nothing_claims_nothing() {
        let (none, some) = (Proportion::default(), Proportion::new(3, 9));
        assert_eq!(none.value(), None);
        assert_eq!(none.interval(0.95), Interval { low: 0.0, high: 1.0 });
        assert_eq!(proportion_difference(none, some, 0.95), None);
        assert_eq!(two_proportions(none, some), 1.0);
        assert_eq!(two_proportions(Proportion::new(0, 9), Proportion::new(0, 5)), 1.0);
        assert_eq!(Proportion::new(9, 3).value(), Some(1.0));
    }

    proptest! {
        #[test]
        fn any_counts_give_chances_and_intervals(
            a in prop_oneof![0..60_u64, any::<u64>()],
            b in prop_oneof![0..60_u64, any::<u64>()],
            c in prop_oneof![0..60_u64, any::<u64>()],
            d in prop_oneof![0..60_u64, any::<u64>()],
        ) {
            let (before, after) = (Proportion { count: a, total: b }, Proportion { count: c, total: d });
            let p_value = two_proportions(before, after);
            prop_assert!((0.0..=1.0).contains(&p_value), "{p_value}");
            if let Some(Estimate { value, interval }) = proportion_difference(before, after, 0.995) {
                prop_assert!(-1.0 <= interval.low && interval.low <= value + 1e-12);
                prop_assert!(value <= interval.high + 1e-12 && interval.high <= 1.0);
            }
            let back = two_proportions(after, before);
            prop_assert!((p_value - back).abs() <= 1e-6 * p_value.max(back) + 1e-12, "{p_value} {back}");
        }
    }
}
