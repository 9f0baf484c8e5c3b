//! Levels of numbers.

use std::ops::Range;

use super::{
    super::{quantile, sorted, special::student_two_sided},
    LEAST_BUCKETS, Scale, Series, Split,
};

/// A number counts as at most so many times the noise away from the level.
const FURTHEST: f64 = 4.0;
/// The median distance of a standard normal variable from 0.
const NORMAL_MEDIAN: f64 = 0.674_489_750_196_081_7;
/// Noise is measured over at least so many buckets.
const NOISE_BUCKETS: usize = 32;
/// Differences over these times, in buckets, show the noise without the correlation of neighbours.
const LONGER: Range<usize> = 4..9;
/// A correlation above this would hide all changes.
const MOST_CORRELATION: f64 = 0.6;
/// Durations vary by a hundredth at least, or are taken to: a level that is the same to the last digit says little.
const LEAST_RATIO_NOISE: f64 = 0.01;
/// The standard deviation of the square root of a count.
const LEAST_COUNT_NOISE: f64 = 0.5;

/// Numbers over time.
pub(super) struct Levels {
    /// As they were given.
    values: Vec<f64>,
    /// The same on a scale on which the noise is even.
    scaled: Vec<f64>,
    /// The standard deviation of the noise of a mean, times the square root of its buckets.
    noise: f64,
    /// By how much correlation widens what neighbours' differences show.
    widening: f64,
    /// Degrees of freedom of the noise.
    degrees: f64,
}

impl Levels {
    pub(super) fn new(values: Vec<f64>, scale: Scale) -> Self {
        let scaled: Vec<f64> = match scale {
            Scale::Ratio => values.iter().map(|value| value.ln()).collect(),
            Scale::Count => values.iter().map(|value| value.sqrt()).collect(),
            Scale::Difference => values.clone(),
        };
        let least = match scale {
            Scale::Ratio => LEAST_RATIO_NOISE,
            Scale::Count => LEAST_COUNT_NOISE,
            Scale::Difference => 1e-9 * scaled.iter().fold(0.0_f64, |most, value| most.max(value.abs())),
        };
        let neighbours = neighbours_noise(&scaled);
        let correlation = correlation(&scaled, neighbours);
        let widening = (1.0 + correlation).sqrt() / (1.0 - correlation);
        let noise = (neighbours * widening).max(least).max(f64::MIN_POSITIVE);
        // The median of absolute differences is about a third as efficient as the standard deviation.
        let degrees = (scaled.len() as f64 / 3.0).max(1.0);
        Self { values, scaled, noise, widening, degrees }
    }

    /// The noise in and around an interval; where it is greater than elsewhere, that counts.
    fn noise(&self, interval: &Range<usize>) -> f64 {
        let missing = NOISE_BUCKETS.saturating_sub(interval.len());
        let start = interval.start.saturating_sub(missing.div_ceil(2));
        let end = (interval.end + missing.div_ceil(2)).min(self.scaled.len());
        if end - start < NOISE_BUCKETS {
            return self.noise;
        }
        self.noise.max(median_difference(&self.scaled[start..end], 1..2) * self.widening)
    }

    /// How far each bucket is from the median of the interval, in standard deviations.
    fn distances(&self, interval: &Range<usize>) -> impl Iterator<Item = f64> {
        let part = &self.scaled[interval.clone()];
        let (level, noise) = (median(part), self.noise(interval));
        part.iter().map(move |value| ((value - level) / noise).clamp(-FURTHEST, FURTHEST))
    }

    fn judged(&self, at: usize, strength: f64) -> Split {
        Split { at, strength, p_value: student_two_sided(strength, self.degrees) }
    }
}

impl Series for Levels {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn best_split(&self, interval: Range<usize>) -> Option<Split> {
        let len = interval.len();
        if len < 2 * LEAST_BUCKETS {
            return None;
        }
        let sums: Vec<f64> = self
            .distances(&interval)
            .scan(0.0, |sum, distance| {
                *sum += distance;
                Some(*sum)
            })
            .collect();
        (LEAST_BUCKETS..=len - LEAST_BUCKETS)
            .map(|first| (first, strength(sums[first - 1], sums[len - 1], first, len)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(first, strength)| self.judged(interval.start + first, strength))
    }

    fn split(&self, interval: Range<usize>, at: usize) -> Split {
        let first = at - interval.start;
        let (mut part, mut all) = (0.0, 0.0);
        for (place, distance) in self.distances(&interval).enumerate() {
            all += distance;
            if place < first {
                part += distance;
            }
        }
        self.judged(at, strength(part, all, first, interval.len()))
    }

    fn level(&self, interval: Range<usize>) -> f64 {
        median(&self.values[interval])
    }
}

/// How far the sum of the first buckets is from what it would be at one level, in standard deviations.
fn strength(part: f64, all: f64, first: usize, len: usize) -> f64 {
    let (first, len) = (first as f64, len as f64);
    let spread = (first * (len - first) / len).sqrt();
    if spread > 0.0 { (part - all * first / len).abs() / spread } else { 0.0 }
}

/// The standard deviation that differences between neighbours show.
fn neighbours_noise(values: &[f64]) -> f64 {
    let noise = median_difference(values, 1..2);
    if noise > 0.0 {
        return noise;
    }
    // Most neighbours are equal; the mean square of their differences tells how much the others vary.
    let squares: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (0.5 * squares / values.len().max(1) as f64).sqrt()
}

/// The correlation of neighbours, 0 if it is negative or there are too few to tell.
fn correlation(values: &[f64], neighbours: f64) -> f64 {
    let longer = median_difference(values, LONGER);
    if values.len() < NOISE_BUCKETS || longer <= 0.0 {
        return 0.0;
    }
    (1.0 - (neighbours / longer).powi(2)).clamp(0.0, MOST_CORRELATION)
}

/// The standard deviation of normal noise whose differences over these times have this median.
fn median_difference(values: &[f64], times: Range<usize>) -> f64 {
    let differences: Vec<f64> = times
        .flat_map(|time| {
            values.iter().zip(values.iter().skip(time)).map(|(first, second)| (second - first).abs())
        })
        .collect();
    median(&differences) / (NORMAL_MEDIAN * std::f64::consts::SQRT_2)
}

fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5).unwrap_or_default()
}
