//! Moments at which a series changed its level.
//!
//! The search is seeded binary segmentation (Kovács, Bühlmann, Li and Munk, "Seeded binary segmentation: a general methodology
//! for fast and optimal changepoint detection", Biometrika 110 (2023)): a fixed set of intervals, long ones and short ones, in
//! each of which the best split is found; the strongest split is taken, the intervals that contain it are dropped, and so on.
//! Short intervals let a short fault show that ends again. Their total length, hence the cost, is n log n.
//!
//! False alarms are held down by Bonferroni's correction: a p-value counts the splits of all intervals. This is more than it
//! must be, since neighbouring splits are alike; the margin pays for what the p-values take for granted.
//!
//! A level lasts for at least three buckets: a single bucket that stands out is no change, however far it is out.

mod levels;
mod rates;

use std::ops::Range;

use self::{levels::Levels, rates::Rates};
use super::Proportion;

/// Buckets that a level lasts at least.
const LEAST_BUCKETS: usize = 3;
/// Changes that are told of one series; the strongest are.
const MAX_CHANGES: usize = 64;

/// How the numbers of a series are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scale {
    /// By their ratio: durations. Numbers of zero or less are left out.
    #[default]
    Ratio,
    /// As counts, whose spread grows with the square root of their size. Numbers below zero are left out.
    Count,
    /// By their difference.
    Difference,
}

/// A moment at which a level changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// The first bucket of the new level.
    pub index: usize,
    /// The level before, back to the change before this one: the median, or the proportion.
    pub before: f64,
    /// The level from then on, until the next change.
    pub after: f64,
    /// How likely chance alone shows as much anywhere in the series.
    pub p_value: f64,
}

/// The changes of a proportion over buckets of time, in order. A bucket of none is left out.
///
/// `alpha` is how likely one change or more is told of a series that has none. The p-value of a split is that of Fisher's exact
/// test, or of the likelihood ratio when counts are large. Failures come in bursts: how much more the buckets vary than
/// independent failures would is estimated from neighbouring buckets, and counts are divided by it. A split must also hold
/// without the worst bucket of its worse side.
pub fn proportion_changes(buckets: &[Proportion], alpha: f64) -> Vec<ChangePoint> {
    let (places, kept): (Vec<usize>, Vec<Proportion>) =
        buckets.iter().copied().enumerate().filter(|(_, bucket)| bucket.total > 0).unzip();
    changes(&Rates::new(&kept), &places, alpha)
}

/// The changes of a level over buckets of time, in order, such as the median duration or the number of requests. A bucket
/// without a number is left out.
///
/// `alpha` is how likely one change or more is told of a series that has none. Noise is measured by the median of differences
/// between neighbours, which a change does not disturb, and widened for the correlation in time that differences over longer
/// times show. Numbers far out count as four times the noise. A trend that lasts is told as steps. A series of fewer than about
/// thirty buckets shows no change.
pub fn level_changes(buckets: &[Option<f64>], scale: Scale, alpha: f64) -> Vec<ChangePoint> {
    let (places, kept): (Vec<usize>, Vec<f64>) = buckets
        .iter()
        .enumerate()
        .filter_map(|(place, bucket)| Some((place, (*bucket)?)))
        .filter(|(_, value)| match scale {
            Scale::Ratio => value.is_finite() && *value > 0.0,
            Scale::Count => value.is_finite() && *value >= 0.0,
            Scale::Difference => value.is_finite(),
        })
        .unzip();
    changes(&Levels::new(kept, scale), &places, alpha)
}

/// A series whose levels can be compared.
trait Series {
    /// Buckets.
    fn len(&self) -> usize;
    /// The best split of an interval, each side at least [`LEAST_BUCKETS`] long. None if the interval is too short.
    fn best_split(&self, interval: Range<usize>) -> Option<Split>;
    /// How well the interval splits here.
    fn split(&self, interval: Range<usize>, at: usize) -> Split;
    /// The level of an interval.
    fn level(&self, interval: Range<usize>) -> f64;
}

/// Two parts of an interval.
#[derive(Clone, Copy, Debug)]
struct Split {
    /// First bucket of the second part.
    at: usize,
    /// Orders splits of one series.
    strength: f64,
    /// Of this split alone.
    p_value: f64,
}

fn changes(series: &impl Series, places: &[usize], alpha: f64) -> Vec<ChangePoint> {
    let len = series.len();
    let intervals = seeded_intervals(len);
    let tried: usize = intervals.iter().map(|interval| interval.len() + 1 - 2 * LEAST_BUCKETS).sum();
    let limit = alpha / tried.max(1) as f64;
    let mut candidates: Vec<(Range<usize>, Split)> = intervals
        .into_iter()
        .filter_map(|interval| Some((interval.clone(), series.best_split(interval)?)))
        .filter(|(_, split)| split.p_value <= limit)
        .collect();
    candidates.sort_by(|(_, a), (_, b)| b.strength.total_cmp(&a.strength));
    let mut found: Vec<usize> = Vec::new();
    for (interval, split) in candidates {
        if found.len() < MAX_CHANGES && !found.iter().any(|at| interval.start < *at && *at < interval.end) {
            found.push(split.at);
        }
    }
    found.sort_unstable();
    found.dedup();
    refine(series, &mut found);
    keep_certain(series, &mut found, limit);
    told(series, &found, places, tried)
}

/// Intervals of at least two levels' length: each layer's are shorter by the square root of two and overlap by half and more.
fn seeded_intervals(len: usize) -> Vec<Range<usize>> {
    let mut intervals = Vec::new();
    let mut shrunk = 1.0_f64;
    loop {
        let length = len as f64 / shrunk;
        if length < (2 * LEAST_BUCKETS) as f64 {
            return intervals;
        }
        let count = 2 * shrunk.ceil() as usize - 1;
        let shift = if count > 1 { (len as f64 - length) / (count - 1) as f64 } else { 0.0 };
        intervals.extend((0..count).map(|number| {
            let start = number as f64 * shift;
            start as usize..((start + length).ceil() as usize).min(len)
        }));
        shrunk *= std::f64::consts::SQRT_2;
    }
}

/// Moves each change to the best place between its neighbours.
fn refine(series: &impl Series, found: &mut [usize]) {
    for place in 0..found.len() {
        if let Some(split) = series.best_split(around(found, place, series.len())) {
            found[place] = split.at;
        }
    }
}

/// Drops the changes that do not hold between the whole levels beside them. A change that goes makes the levels beside its
/// neighbours longer, so the one before is judged again.
fn keep_certain(series: &impl Series, found: &mut Vec<usize>, limit: f64) {
    let mut place = 0;
    while place < found.len() {
        if series.split(around(found, place, series.len()), found[place]).p_value <= limit {
            place += 1;
        } else {
            found.remove(place);
            place = place.saturating_sub(1);
        }
    }
}

fn told(series: &impl Series, found: &[usize], places: &[usize], tried: usize) -> Vec<ChangePoint> {
    (0..found.len())
        .map(|place| {
            let (at, beside) = (found[place], around(found, place, series.len()));
            ChangePoint {
                index: places[at],
                before: series.level(beside.start..at),
                after: series.level(at..beside.end),
                p_value: (series.split(beside, at).p_value * tried as f64).min(1.0),
            }
        })
        .collect()
}

/// From the change before to the change after.
fn around(found: &[usize], place: usize, len: usize) -> Range<usize> {
    let start = place.checked_sub(1).map_or(0, |before| found[before]);
    start..found.get(place + 1).copied().unwrap_or(len)
}

#[cfg(test)]
mod tests;
