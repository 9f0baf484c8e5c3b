//! Tests and estimates that the analyses decide by.
//!
//! Pure functions over numbers, none of which knows a span. Values that are not finite are left out; a sample that is too small
//! gives no answer instead of a wrong one. All tests are two-sided, and take the values for independent of each other.

mod change_points;
mod multiple;
mod proportions;
mod quantiles;
pub mod random;
mod ranks;
pub mod special;
mod tables;
mod verdict;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::Interval;

pub use self::{
    change_points::{ChangePoint, Scale, level_changes, proportion_changes},
    multiple::benjamini_hochberg,
    proportions::{Proportion, proportion_difference, two_proportions},
    quantiles::{QuantileChange, quantile, quantile_change},
    ranks::{RankTest, mann_whitney, overall_ratio},
    tables::{Homogeneity, homogeneity, jensen_shannon},
    verdict::{Verdict, detectable_difference, detectable_ratio, proportion_power},
};

/// How often a statement may be wrong though nothing changed. Half of the one percent that is promised: the intervals are
/// approximate, and the other half is their margin (measured by `examples/power.rs`).
pub const ALPHA: f64 = 0.005;

/// The confidence of the intervals that verdicts are made of.
pub const CONFIDENCE: f64 = 1.0 - ALPHA;

/// A number that was estimated, and where it lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Estimate {
    /// The best guess.
    pub value: f64,
    /// Where the true one lies, with the confidence that was asked for.
    pub interval: Interval,
}

/// The finite values, in order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}
