//! Two samples compared by ranks, whatever their distribution.

use crate::answer::Interval;

use super::{
    Estimate, sorted,
    special::{critical_value, normal_two_sided},
};

/// Up to so many values in both samples the p-value is exact.
const EXACT_UP_TO: usize = 20;

/// A ratio is estimated from at least so many values of each sample.
const LEAST_FOR_RATIO: usize = 10;
/// Halves the range of possible factors to a part in a million million.
const BISECTIONS: usize = 45;

/// Two samples, compared by ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTest {
    /// Pairs of a value of each sample of which that of `after` is greater; equal pairs count half.
    pub u: f64,
    /// How likely it is that chance alone orders the samples so well.
    pub p_value: f64,
    /// How likely a value of `after` is greater than one of `before`; equal ones count half. 0.5 if neither is greater.
    pub superiority: f64,
    /// Where that lies.
    pub superiority_interval: Interval,
}

impl RankTest {
    /// Cliff's delta, from -1 (all of `after` below all of `before`) to 1.
    pub fn cliffs_delta(&self) -> f64 {
        2.0 * self.superiority - 1.0
    }
}

/// The test of Mann and Whitney ("On a test of whether one of two random variables is stochastically larger than the other",
/// Annals of Mathematical Statistics 18 (1947)). None if a sample is empty.
///
/// The p-value is exact for samples of at most 20 values together without ties; else it is that of the normal approximation with
/// corrections for ties and continuity. It assumes that the two distributions are equal if neither is greater: samples that only
/// spread differently reject a little more often than they should.
///
/// The interval is the fifth method of Newcombe ("Confidence intervals for an effect size measure based on the Mann–Whitney
/// statistic. Part 2", Statistics in Medicine 25 (2006)): it takes the variance at its own ends, hence stays within 0 and 1 and is
/// right at the ends too. With many ties it is wider than it must be.
pub fn mann_whitney(before: &[f64], after: &[f64], confidence: f64) -> Option<RankTest> {
    let (before, after) = (sorted(before), sorted(after));
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let (m, n) = (before.len() as f64, after.len() as f64);
    let Ranked { u, ties } = rank(&before, &after);
    let p_value = if ties == 0.0 && before.len() + after.len() <= EXACT_UP_TO {
        exact_p_value(before.len(), after.len(), u)
    } else {
        let total = m + n;
        let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        if variance > 0.0 {
            normal_two_sided(((u - 0.5 * m * n).abs() - 0.5).max(0.0) / variance.sqrt())
        } else {
            1.0
        }
    };
    let superiority = u / (m * n);
    Some(RankTest {
        u,
        p_value,
        superiority,
        superiority_interval: superiority_interval(superiority, m, n, critical_value(confidence)),
    })
}

/// How many times greater the values of `after` are than those of `before`, as a whole: the median of the ratios of all pairs,
/// which is the estimate of Hodges and Lehmann ("Estimates of location based on rank tests", Annals of Mathematical Statistics 34
/// (1963)) on the scale of logarithms. Its interval holds the factors that the test of Mann and Whitney does not reject, by the
/// normal approximation.
///
/// Where one distribution is the other times a factor, it needs about two thirds of the values that the ratio of medians needs
/// for the same answer. Where only a part of the values grew, such as the slowest tenth, it hardly moves: see
/// [`quantile_change`](super::quantile_change).
///
/// Values of zero or less are left out. None if fewer than ten are left of a sample.
pub fn overall_ratio(before: &[f64], after: &[f64], confidence: f64) -> Option<Estimate> {
    let logarithms = |values: &[f64]| {
        let mut values = sorted(values);
        values.retain(|value| *value > 0.0);
        values.iter_mut().for_each(|value| *value = value.ln());
        values
    };
    let (before, after) = (logarithms(before), logarithms(after));
    if before.len().min(after.len()) < LEAST_FOR_RATIO {
        return None;
    }
    let (m, n) = (before.len() as f64, after.len() as f64);
    let (middle, error) = (0.5 * m * n, (m * n * (m + n + 1.0) / 12.0).sqrt());
    let reach = critical_value(confidence) * error + 0.5;
    let ratio = |pairs: f64| shift(&before, &after, pairs).exp();
    Some(Estimate {
        value: ratio(middle),
        interval: Interval {
            low: ratio((middle - reach).max(0.0)),
            high: ratio((middle + reach).min(m * n)),
        },
    })
}

/// The least difference that at least so many pairs are at most apart, by bisection; both samples are sorted.
fn shift(before: &[f64], after: &[f64], pairs: f64) -> f64 {
    let (Some(first), Some(last)) = (before.first(), before.last()) else {
        return 0.0;
    };
    let mut low = after.first().map_or(0.0, |value| value - last);
    let mut high = after.last().map_or(0.0, |value| value - first);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if pairs_within(before, after, middle) >= pairs {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// How many pairs are at most so far apart: after less before.
fn pairs_within(before: &[f64], after: &[f64], distance: f64) -> f64 {
    let mut reached = 0;
    let mut pairs = 0.0;
    for value in before {
        while after.get(reached).is_some_and(|other| other - value <= distance) {
            reached += 1;
        }
        pairs += reached as f64;
    }
    pairs
}

struct Ranked {
    u: f64,
    /// Sum of t³ - t over all groups of t equal values.
    ties: f64,
}

/// Walks through both sorted samples, one value after the other.
fn rank(before: &[f64], after: &[f64]) -> Ranked {
    let (mut i, mut j) = (0, 0);
    let mut ranked = Ranked { u: 0.0, ties: 0.0 };
    while i < before.len() || j < after.len() {
        let value = match (before.get(i), after.get(j)) {
            (Some(&a), Some(&b)) => a.min(b),
            (Some(&a), None) => a,
            (None, Some(&b)) => b,
            (None, None) => break,
        };
        let mine = before[i..].iter().take_while(|&&other| other == value).count();
        let theirs = after[j..].iter().take_while(|&&other| other == value).count();
        ranked.u += theirs as f64 * (i as f64 + 0.5 * mine as f64);
        let equal = (mine + theirs) as f64;
        ranked.ties += equal * equal * equal - equal;
        i += mine;
        j += theirs;
    }
    ranked
}

/// Of all orders of the two samples, how many have a `u` at least so far from its mean.
fn exact_p_value(m: usize, n: usize, u: f64) -> f64 {
    // ways[k][u]: the subsets of k ranks, of those seen so far, whose statistic is u.
    let mut ways = vec![vec![0.0_f64; m * n + 1]; n + 1];
    ways[0][0] = 1.0;
    for rank in 0..m + n {
        for k in (1..=n.min(rank + 1)).rev() {
            let step = rank + 1 - k;
            for sum in step..=m * n {
                let more = ways[k - 1][sum - step];
                ways[k][sum] += more;
            }
        }
    }
    let mean = 0.5 * (m * n) as f64;
    let distance = (u - mean).abs();
    let all: f64 = ways[n].iter().sum();
    let far: f64 = ways[n]
        .iter()
        .enumerate()
        .filter(|&(sum, _)| (sum as f64 - mean).abs() >= distance)
        .map(|(_, ways)| ways)
        .sum();
    (far / all).min(1.0)
}

fn superiority_interval(estimate: f64, m: f64, n: f64, z: f64) -> Interval {
    let spread = 0.5 * (m + n) - 1.0;
    let outside = |theta: f64| {
        let shape = 1.0 + spread * ((1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta));
        (theta - estimate).powi(2) > z * z * theta * (1.0 - theta) * shape / (m * n)
    };
    let end = |mut inner: f64, mut outer: f64| {
        for _ in 0..60 {
            let middle = 0.5 * (inner + outer);
            if outside(middle) {
                outer = middle;
            } else {
                inner = middle;
            }
        }
        0.5 * (inner + outer)
    };
    Interval { low: end(estimate, 0.0), high: end(estimate, 1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::random::Random;

    #[test]
    fn small_samples_are_judged_exactly() {
        // scipy.stats.mannwhitneyu(after, before, method="exact")
        let before = [1.1, 2.3, 0.4, 5.6, 3.3, 2.2];
        let after = [4.4, 6.1, 2.9, 7.7, 8.0, 3.9, 9.2];
        let test = mann_whitney(&before, &after, 0.95).unwrap();
        assert_eq!(test.u, 38.0);
        assert!((test.p_value - 0.013_986_013_986_013_986).abs() < 1e-15, "{}", test.p_value);
        // Of the 20 orders of three and three, two are as far out.
        assert!(
            (mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], 0.95).unwrap().p_value - 0.1).abs() < 1e-15
        );
    }

    #[test]
    fn ties_are_corrected_for() {
        // scipy.stats.mannwhitneyu(after, before, method="asymptotic"); the interval: the equation solved by scipy.optimize.brentq
        let before = [1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0, 5.0, 9.0, 10.0, 11.0, 2.0];
        let after = [2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.0, 12.0, 15.0, 4.0];
        let test = mann_whitney(&before, &after, 0.95).unwrap();
        assert_eq!(test.u, 105.0);
        assert!((test.p_value - 0.145_459_442_299_141_57).abs() < 1e-12, "{}", test.p_value);
        assert!((test.cliffs_delta() - 0.346_153_846_153_846_1).abs() < 1e-12);
        assert!((test.superiority_interval.low - 0.443_839_798_559_538_5).abs() < 1e-9, "{test:?}");
        assert!((test.superiority_interval.high - 0.835_960_517_176_653_4).abs() < 1e-9, "{test:?}");
    }

    #[test]
    fn the_overall_ratio_is_the_median_of_all_ratios() {
        let mut random = Random::new(11);
        let sample = |random: &mut Random, len: usize, median: f64| -> Vec<f64> {
            (0..len).map(|_| median * (0.5 * random.normal()).exp()).collect()
        };
        let (before, after) = (sample(&mut random, 31, 1e6), sample(&mut random, 37, 1.2e6));
        let mut ratios: Vec<f64> = before.iter().flat_map(|a| after.iter().map(move |b| b / a)).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let estimate = overall_ratio(&before, &after, 0.95).unwrap();
        assert!((estimate.value / ratios[31 * 37 / 2] - 1.0).abs() < 1e-9, "{estimate:?}");
        // The interval is where the test starts to reject.
        for end in [estimate.interval.low, estimate.interval.high] {
            let at = |factor: f64| {
                let moved: Vec<f64> = before.iter().map(|value| value * end * factor).collect();
                mann_whitney(&moved, &after, 0.95).unwrap().p_value
            };
            assert!(
                (at(0.999) - 0.05).signum() != (at(1.001) - 0.05).signum() || (at(1.0) - 0.05).abs() < 0.003
            );
        }
        assert_eq!(overall_ratio(&[1.0; 9], &after, 0.95), None);
        assert_eq!(overall_ratio(&[0.0; 90], &after, 0.95), None);
        let same = overall_ratio(&[2.0; 20], &[3.0; 20], 0.95).unwrap();
        assert!((same.value - 1.5).abs() < 1e-9 && (same.interval.low - 1.5).abs() < 1e-9, "{same:?}");
    }

    #[test]
    fn samples_without_a_difference_or_without_values_claim_nothing() {
        assert_eq!(mann_whitney(&[], &[1.0], 0.95), None);
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0], 0.95), None);
        let test = mann_whitney(&[3.0; 30], &[3.0; 40], 0.95).unwrap();
        assert_eq!((test.p_value, test.superiority), (1.0, 0.5));
    }

    #[test]
    fn complete_separation_has_an_interval() {
        let before: Vec<f64> = (0..50).map(f64::from).collect();
        let after: Vec<f64> = (100..150).map(f64::from).collect();
        let interval = mann_whitney(&before, &after, 0.95).unwrap().superiority_interval;
        assert!(interval.low > 0.9 && interval.low < 1.0 && interval.high > 0.999_999, "{interval:?}");
    }

    proptest! {
        #[test]
        fn exchanged_samples_give_the_opposite(
            before in prop::collection::vec(-9_i8..9, 1..30),
            after in prop::collection::vec(-9_i8..9, 1..30),
        ) {
            let numbers = |values: &[i8]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (before, after) = (numbers(&before), numbers(&after));
            let one = mann_whitney(&before, &after, 0.9).unwrap();
            let other = mann_whitney(&after, &before, 0.9).unwrap();
            prop_assert!((one.superiority + other.superiority - 1.0).abs() < 1e-12);
            prop_assert!((one.p_value - other.p_value).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&one.p_value));
            let Interval { low, high } = one.superiority_interval;
            prop_assert!(0.0 <= low && low <= one.superiority && one.superiority <= high && high <= 1.0);
        }
    }
}
