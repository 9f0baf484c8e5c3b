//! Quantiles, and how they differ between two samples.

use crate::answer::Interval;

use super::{Estimate, random::Random, sorted};

/// Replicates of the bootstrap: at a confidence of 0.995, twenty lie beyond each end.
const REPLICATES: usize = 8_000;
/// A quantile is compared only if at least so many values of each sample are expected on each side of it.
const LEAST_ON_EACH_SIDE: f64 = 5.0;
/// Any; always the same.
const SEED: u64 = 0x7ace;

/// A quantile of two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileChange {
    /// That of the first.
    pub before: f64,
    /// That of the second.
    pub after: f64,
    /// How much greater the second is.
    pub difference: Estimate,
    /// How many times greater the second is. None if the first is zero or less, or may be.
    pub ratio: Option<Estimate>,
}

/// The quantile of values in ascending order, `q` from 0 to 1: 0.5 is the median. None without values.
///
/// Interpolates linearly between two values: definition 7 of Hyndman and Fan ("Sample quantiles in statistical packages", The
/// American Statistician 50 (1996)), as R and NumPy do.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = Place::of(sorted.len(), q);
    let (low, high) = (sorted[place.index], sorted[(place.index + 1).min(last)]);
    Some(between(low, high, place.fraction))
}

/// How the quantile `q` of a sample differs from that of another one, which are in any order.
///
/// The intervals are those of the percentile bootstrap (Efron and Tibshirani, "An introduction to the bootstrap" (1993),
/// chapter 13). A replicate is not drawn value by value: the places of its order statistics in the sample are those of uniform
/// order statistics, which are beta variables, so each costs the same however large the sample is. The answer is the same each
/// time.
///
/// None if fewer than five values of a sample are expected on either side of the quantile. Values are taken for independent; if
/// they are correlated in time, the intervals are too narrow.
pub fn quantile_change(before: &[f64], after: &[f64], q: f64, confidence: f64) -> Option<QuantileChange> {
    let (before, after) = (sorted(before), sorted(after));
    let least = before.len().min(after.len()) as f64;
    if q.is_nan() || least * q.min(1.0 - q) < LEAST_ON_EACH_SIDE {
        return None;
    }
    let (first, second) = (quantile(&before, q)?, quantile(&after, q)?);
    let mut random = Random::new(SEED);
    let mut differences = Vec::with_capacity(REPLICATES);
    let mut ratios = Vec::with_capacity(REPLICATES);
    for _ in 0..REPLICATES {
        let (a, b) = (replicate(&before, q, &mut random), replicate(&after, q, &mut random));
        differences.push(b - a);
        if a > 0.0 {
            ratios.push(b / a);
        }
    }
    let ratio = (first > 0.0 && ratios.len() == REPLICATES)
        .then(|| Estimate { value: second / first, interval: percentiles(ratios, confidence) });
    let difference = Estimate { value: second - first, interval: percentiles(differences, confidence) };
    Some(QuantileChange { before: first, after: second, difference, ratio })
}

/// Where a quantile lies in a sorted sample: between this index and the next.
struct Place {
    index: usize,
    fraction: f64,
}

impl Place {
    fn of(len: usize, q: f64) -> Self {
        let last = len.saturating_sub(1);
        let position = if q.is_nan() { 0.0 } else { q.clamp(0.0, 1.0) * last as f64 };
        Self { index: (position as usize).min(last), fraction: position.fract() }
    }
}

/// The quantile of a sample that is drawn from this one with replacement.
fn replicate(sorted: &[f64], q: f64, random: &mut Random) -> f64 {
    let len = sorted.len();
    let place = Place::of(len, q);
    let above = (len - place.index - 1) as f64;
    // Of `len` uniform variables, the one at `index` is a beta variable; the next one is the least of those above it.
    let (x, y) = (random.gamma((place.index + 1) as f64), random.gamma(above + 1.0));
    let low = x / (x + y);
    let value = |uniform: f64| sorted[((uniform * len as f64) as usize).min(len - 1)];
    if place.fraction == 0.0 || above == 0.0 {
        return value(low);
    }
    let high = low + (1.0 - low) * (1.0 - random.uniform().powf(1.0 / above));
    between(value(low), value(high), place.fraction)
}

fn between(low: f64, high: f64, fraction: f64) -> f64 {
    low.mul_add(1.0 - fraction, high * fraction)
}

fn percentiles(mut values: Vec<f64>, confidence: f64) -> Interval {
    values.sort_unstable_by(f64::total_cmp);
    let tail = 0.5 * (1.0 - confidence.clamp(0.0, 1.0));
    Interval {
        low: quantile(&values, tail).unwrap_or_default(),
        high: quantile(&values, 1.0 - tail).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::CONFIDENCE;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([3, 1, 4, 1, 5, 9, 2, 6], [0, 0.25, 0.5, 0.9, 1])
        let values = sorted(&[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]);
        for (q, theirs) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.5), (0.9, 6.9), (1.0, 9.0)] {
            assert!((quantile(&values, q).unwrap() - theirs).abs() < 1e-12, "{q}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    /// The mean and the standard deviation.
    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, (squares / values.len() as f64).sqrt())
    }

    #[test]
    fn replicates_are_spread_like_those_drawn_value_by_value() {
        let mut random = Random::new(5);
        let values = sorted(&(0..21).map(|_| random.normal().exp()).collect::<Vec<_>>());
        for q in [0.5, 0.73] {
            let fast: Vec<f64> = (0..20_000).map(|_| replicate(&values, q, &mut random)).collect();
            let slow: Vec<f64> = (0..20_000)
                .map(|_| {
                    let drawn: Vec<f64> =
                        (0..21).map(|_| values[(random.uniform() * 21.0) as usize]).collect();
                    quantile(&sorted(&drawn), q).unwrap()
                })
                .collect();
            let (fast, slow) = (moments(&fast), moments(&slow));
            assert!((fast.0 / slow.0 - 1.0).abs() < 0.01, "{fast:?} {slow:?}");
            assert!((fast.1 / slow.1 - 1.0).abs() < 0.03, "{fast:?} {slow:?}");
        }
    }

    #[test]
    fn a_slower_sample_is_told_with_its_ratio_each_time_the_same() {
        let mut random = Random::new(9);
        let before: Vec<f64> = (0..2000).map(|_| 1e6 * (0.5 * random.normal()).exp()).collect();
        let after: Vec<f64> = (0..2000).map(|_| 1.25e6 * (0.5 * random.normal()).exp()).collect();
        let change = quantile_change(&before, &after, 0.5, CONFIDENCE).unwrap();
        let ratio = change.ratio.unwrap();
        assert!(
            ratio.interval.low > 1.1 && ratio.interval.low < 1.25 && ratio.interval.high > 1.25,
            "{ratio:?}"
        );
        assert!(change.difference.interval.low > 0.0);
        // The standard error of the logarithm of each median is 0.5 * 1.2533 / sqrt(2000).
        let width = (ratio.interval.high / ratio.interval.low).ln();
        let normal = 2.0 * 2.807 * 2.0_f64.sqrt() * 0.5 * 1.2533 / 2000.0_f64.sqrt();
        assert!((width / normal - 1.0).abs() < 0.15, "{width} {normal}");
        assert_eq!(quantile_change(&before, &after, 0.5, CONFIDENCE), Some(change));
    }

    #[test]
    fn samples_too_small_for_the_quantile_claim_nothing() {
        let few: Vec<f64> = (0..99).map(f64::from).collect();
        assert_eq!(quantile_change(&few, &few, 0.99, CONFIDENCE), None);
        assert!(quantile_change(&few, &few, 0.9, CONFIDENCE).is_some());
        assert_eq!(quantile_change(&few, &[], 0.5, CONFIDENCE), None);
        assert_eq!(quantile_change(&few, &few, f64::NAN, CONFIDENCE), None);
        assert_eq!(quantile_change(&[0.0; 50], &few, 0.5, CONFIDENCE).unwrap().ratio, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn intervals_hold_their_estimate(
            before in prop::collection::vec(0.001..1e9_f64, 10..60),
            after in prop::collection::vec(0.001..1e9_f64, 10..60),
        ) {
            let change = quantile_change(&before, &after, 0.5, CONFIDENCE).unwrap();
            for Estimate { value, interval } in [change.difference, change.ratio.unwrap()] {
                prop_assert!(interval.low <= value && value <= interval.high);
            }
        }
    }
}
