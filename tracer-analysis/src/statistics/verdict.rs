//! What a comparison says, and what it could have seen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::Interval;

use super::{
    Estimate,
    special::{critical_value, normal_cdf, normal_quantile},
};

/// What became of a number that is better the less it is, such as a latency or a proportion of errors.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is less than before.
    Better,
    /// It is greater than before.
    Worse,
    /// It changed by no more than the tolerance.
    Unchanged,
    /// The data do not decide.
    #[default]
    NotEnough,
}

impl Verdict {
    /// What a difference says: after less before. The tolerance is the difference that does not matter.
    ///
    /// - `Unchanged`: the whole interval is within the tolerance (the test of equivalence of Schuirmann, "A comparison of the two
    ///   one-sided tests procedure and the power approach", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987)).
    /// - `Worse` or `Better`: the interval leaves out 0, and the difference itself is beyond the tolerance.
    /// - `NotEnough`: everything else, also a difference that is certain but may be too small to matter.
    pub fn of_difference(estimate: Estimate, tolerance: f64) -> Self {
        Self::within(estimate, -tolerance.abs(), tolerance.abs())
    }

    /// What a ratio says: after divided by before. A tolerance of 0.05 is from 1/1.05 to 1.05. The rules are those of
    /// [`of_difference`](Self::of_difference), with 1 in the place of 0.
    pub fn of_ratio(estimate: Estimate, tolerance: f64) -> Self {
        let Interval { low, high } = estimate.interval;
        if !(estimate.value > 0.0 && low >= 0.0) {
            return Self::NotEnough;
        }
        let logarithms =
            Estimate { value: estimate.value.ln(), interval: Interval { low: low.ln(), high: high.ln() } };
        Self::of_difference(logarithms, tolerance.abs().ln_1p())
    }

    fn within(estimate: Estimate, least: f64, most: f64) -> Self {
        let Estimate { value, interval: Interval { low, high } } = estimate;
        if low >= least && high <= most {
            Self::Unchanged
        } else if low > 0.0 && value > most {
            Self::Worse
        } else if high < 0.0 && value < least {
            Self::Better
        } else {
            Self::NotEnough
        }
    }
}

/// The least true difference that is seen with this chance (`power`, such as 0.8), judged by the width of the interval at this
/// confidence. None if the interval says nothing.
///
/// Takes the estimate for normal: its standard error is the interval's half width divided by the critical value. For samples
/// `k` times as large it is divided by the square root of `k`.
pub fn detectable_difference(interval: Interval, tolerance: f64, confidence: f64, power: f64) -> Option<f64> {
    let critical = critical_value(confidence);
    let error = 0.5 * (interval.high - interval.low) / critical;
    (error.is_finite() && error >= 0.0).then(|| {
        (critical * error).max(tolerance.abs()) + normal_quantile(power.clamp(0.5, 0.999_999)) * error
    })
}

/// The least true ratio above 1 that is seen with this chance: [`detectable_difference`] of logarithms. None if the interval
/// says nothing.
pub fn detectable_ratio(interval: Interval, tolerance: f64, confidence: f64, power: f64) -> Option<f64> {
    if interval.low.is_nan() || interval.low <= 0.0 {
        return None;
    }
    let logarithms = Interval { low: interval.low.ln(), high: interval.high.ln() };
    detectable_difference(logarithms, tolerance.abs().ln_1p(), confidence, power).map(f64::exp)
}

/// The chance that a change of a proportion from `before` to `after` is seen with samples of these sizes, by the normal
/// approximation (Fleiss, "Statistical methods for rates and proportions", chapter 4). 0 if a sample is empty.
pub fn proportion_power(before: f64, after: f64, sizes: (u64, u64), confidence: f64) -> f64 {
    let (m, n) = (sizes.0 as f64, sizes.1 as f64);
    if m == 0.0 || n == 0.0 {
        return 0.0;
    }
    let (before, after) = (before.clamp(0.0, 1.0), after.clamp(0.0, 1.0));
    let pooled = (m * before + n * after) / (m + n);
    let null = (pooled * (1.0 - pooled) * (1.0 / m + 1.0 / n)).sqrt();
    let error = (before * (1.0 - before) / m + after * (1.0 - after) / n).sqrt();
    let beyond = (after - before).abs() - critical_value(confidence) * null;
    if error > 0.0 { normal_cdf(beyond / error) } else { f64::from(beyond > 0.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn estimate(low: f64, value: f64, high: f64) -> Estimate {
        Estimate { value, interval: Interval { low, high } }
    }

    #[test]
    fn verdicts_follow_from_the_interval_and_the_tolerance() {
        let of = |low, value, high| Verdict::of_ratio(estimate(low, value, high), 0.05);
        assert_eq!(of(1.04, 1.15, 1.3), Verdict::Worse);
        assert_eq!(of(0.7, 0.8, 0.9), Verdict::Better);
        assert_eq!(of(0.96, 1.0, 1.04), Verdict::Unchanged);
        assert_eq!(of(1.01, 1.03, 1.049), Verdict::Unchanged);
        assert_eq!(of(0.9, 1.1, 1.3), Verdict::NotEnough);
        assert_eq!(of(1.01, 1.04, 1.09), Verdict::NotEnough);
        assert_eq!(of(f64::NAN, 1.0, 1.0), Verdict::NotEnough);
        assert_eq!(of(0.0, 0.0, 0.0), Verdict::NotEnough);
        assert_eq!(Verdict::of_difference(estimate(0.005, 0.03, 0.06), 0.01), Verdict::Worse);
        assert_eq!(Verdict::of_difference(estimate(-0.005, 0.0, 0.005), 0.01), Verdict::Unchanged);
    }

    #[test]
    fn the_least_detectable_change_follows_from_the_width() {
        // A standard error of 0.01: 1.959964 + 0.841621 of it.
        let reach = 0.019_599_639_845;
        let least = detectable_difference(Interval { low: -reach, high: reach }, 0.0, 0.95, 0.8).unwrap();
        assert!((least - 0.028_015_852).abs() < 1e-8, "{least}");
        let ratio = Interval { low: (-reach).exp(), high: reach.exp() };
        assert!((detectable_ratio(ratio, 0.0, 0.95, 0.8).unwrap() - 0.028_015_852_f64.exp()).abs() < 1e-8);
        assert_eq!(detectable_ratio(Interval { low: 0.0, high: 2.0 }, 0.0, 0.95, 0.8), None);
        assert_eq!(detectable_difference(Interval { low: f64::NAN, high: 2.0 }, 0.0, 0.95, 0.8), None);
    }

    #[test]
    fn the_power_of_a_proportion_is_that_of_fleiss() {
        // statsmodels.stats.proportion.power_proportions_2indep(0.05, 0.05, 474)
        let power = proportion_power(0.05, 0.1, (474, 474), 0.95);
        assert!((power - 0.833_183_766).abs() < 1e-6, "{power}");
        assert_eq!(proportion_power(0.1, 0.2, (0, 9), 0.95), 0.0);
        assert_eq!(proportion_power(0.0, 0.0, (9, 9), 0.95), 0.0);
    }

    proptest! {
        #[test]
        fn an_interval_on_both_sides_of_no_change_is_never_worse_nor_better(
            low in -1.0..0.0_f64, high in 0.0..1.0_f64, value in -1.0..1.0_f64, tolerance in 0.0..0.5_f64,
        ) {
            let verdict = Verdict::of_difference(estimate(low, value, high), tolerance);
            prop_assert!(matches!(verdict, Verdict::Unchanged | Verdict::NotEnough));
        }
    }
}
