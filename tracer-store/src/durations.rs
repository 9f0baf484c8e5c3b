//! Durations counted: exact while they are few, in buckets when they are many.

/// Sub-buckets of each power of two: a bucket is at most 1/32 of its duration wide.
const SUB_BITS: u32 = 5;

/// Durations that are kept one by one before they are counted in buckets.
const MAX_EXACT: usize = 1024;

/// The same where durations are kept for long.
const MAX_KEPT: usize = 64;

/// Counts of durations, in buckets of at most a thirty-second of the duration.
#[derive(Clone, Default)]
pub(crate) struct Buckets {
    /// Bucket of the first count.
    first: usize,
    counts: Vec<u32>,
}

/// Bucket of a duration.
fn bucket(duration_ns: u64) -> usize {
    let exponent = 63 - (duration_ns | 1).leading_zeros();
    match exponent.checked_sub(SUB_BITS) {
        None => duration_ns as usize,
        Some(shift) => ((shift as usize) << SUB_BITS) + (duration_ns >> shift) as usize,
    }
}

/// The middle of a bucket.
fn middle_ns(bucket: usize) -> u64 {
    let sub = 1 << SUB_BITS;
    if bucket < 2 * sub {
        return bucket as u64;
    }
    let shift = bucket / sub - 1;
    (((bucket % sub + sub) as u64) << shift) + (1 << shift >> 1)
}

impl Buckets {
    pub(crate) fn add(&mut self, duration_ns: u64) {
        self.add_many(duration_ns, 1);
    }

    fn add_many(&mut self, duration_ns: u64, count: u32) {
        let bucket = bucket(duration_ns);
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - bucket));
            self.first = bucket;
        }
        if bucket - self.first >= self.counts.len() {
            self.counts.resize(bucket - self.first + 1, 0);
        }
        self.counts[bucket - self.first] += count;
    }

    pub(crate) fn remove(&mut self, duration_ns: u64) {
        let place = bucket(duration_ns).checked_sub(self.first);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count = count.saturating_sub(1);
        }
    }

    /// How many took no longer, to the width of a bucket, and how many there are.
    pub(crate) fn no_longer(&self, duration_ns: u64) -> (u64, u64) {
        let places = (bucket(duration_ns) + 1).saturating_sub(self.first).min(self.counts.len());
        let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum();
        (sum(&self.counts[..places]), sum(&self.counts))
    }

    fn nth(&self, nth: u64) -> u64 {
        let mut before = 0;
        for (place, count) in self.counts.iter().enumerate() {
            before += u64::from(*count);
            if before > nth {
                return middle_ns(self.first + place);
            }
        }
        0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }
}

/// Durations of which percentiles are wanted.
#[derive(Clone, Default)]
pub(crate) struct Durations {
    count: u64,
    exact: Vec<u64>,
    buckets: Buckets,
}

impl Durations {
    pub(crate) fn add(&mut self, duration_ns: u64) {
        self.count += 1;
        if self.buckets.counts.is_empty() {
            self.exact.push(duration_ns);
            if self.exact.len() <= MAX_EXACT {
                return;
            }
            for duration_ns in std::mem::take(&mut self.exact) {
                self.buckets.add(duration_ns);
            }
        } else {
            self.buckets.add(duration_ns);
        }
    }

    /// Takes less memory from now on: of more than a few, only buckets are kept.
    pub(crate) fn shrink(&mut self) {
        if self.exact.len() > MAX_KEPT {
            for duration_ns in std::mem::take(&mut self.exact) {
                self.buckets.add(duration_ns);
            }
        }
        self.exact.shrink_to_fit();
        self.buckets.counts.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.exact.capacity() * size_of::<u64>() + self.buckets.bytes()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Counts others in.
    pub(crate) fn absorb(&mut self, others: Self) {
        others.exact.into_iter().for_each(|duration_ns| self.add(duration_ns));
        if others.buckets.counts.is_empty() {
            return;
        }
        std::mem::take(&mut self.exact).into_iter().for_each(|duration_ns| self.buckets.add(duration_ns));
        for (place, count) in others.buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.buckets.add_many(middle_ns(others.buckets.first + place), *count);
            self.count += u64::from(*count);
        }
    }

    /// The shortest durations than which 50, 95 and 99 of 100 took no longer; 0 if there are none.
    pub(crate) fn percentiles_ns(&mut self) -> [u64; 3] {
        self.exact.sort_unstable();
        [50, 95, 99].map(|percent: u64| {
            let nth = (self.count * percent).div_ceil(100).saturating_sub(1);
            if self.buckets.counts.is_empty() {
                self.exact.get(nth as usize).copied().unwrap_or(0)
            } else {
                self.buckets.nth(nth)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Buckets, Durations, bucket, middle_ns};

    #[test]
    fn a_bucket_is_a_thirty_second_wide_at_most() {
        for duration_ns in [0, 1, 31, 32, 63, 64, 65, 1000, 123_456_789, u64::MAX / 2, u64::MAX] {
            let middle = middle_ns(bucket(duration_ns));
            assert!(middle.abs_diff(duration_ns) <= duration_ns / 32, "{duration_ns} lies at {middle}");
        }
        assert!((1..10_000u64).all(|duration_ns| bucket(duration_ns) - bucket(duration_ns - 1) <= 1));
    }

    #[test]
    fn few_durations_have_exact_percentiles_and_many_have_near_ones() {
        let mut few = Durations::default();
        (1..=100).for_each(|duration_ns| few.add(duration_ns * 1_000_003));
        assert_eq!(few.percentiles_ns(), [50 * 1_000_003, 95 * 1_000_003, 99 * 1_000_003]);
        let mut many = Durations::default();
        (1..=100_000).for_each(|duration_ns| many.add(duration_ns));
        for (found, exact) in many.percentiles_ns().into_iter().zip([50_000, 95_000, 99_000]) {
            assert!(found.abs_diff(exact) <= exact / 32, "{found} for {exact}");
        }
    }

    #[test]
    fn what_is_removed_counts_no_more() {
        let mut buckets = Buckets::default();
        [500, 100, 900].into_iter().for_each(|duration_ns| buckets.add(duration_ns));
        assert_eq!(buckets.no_longer(500), (2, 3));
        buckets.remove(100);
        assert_eq!(buckets.no_longer(500), (1, 2));
        assert_eq!(buckets.no_longer(1), (0, 2));
    }
}
