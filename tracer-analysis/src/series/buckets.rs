//! Equal stretches of time, and how many requests were open in them.

use crate::corpus::Corpus;

/// Buckets of a stretch of time: enough to tell when something began, few enough that each has some requests.
const MOST_BUCKETS: u64 = 180;

/// Least width of a bucket.
const LEAST_WIDTH_NS: u64 = 1_000_000_000;

/// Equal stretches of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// When the first begins, nanoseconds since 1970.
    pub start_ns: u64,
    /// How long each is.
    pub width_ns: u64,
    /// How many there are.
    pub count: usize,
}

impl Buckets {
    /// Of the time in which the traces of a corpus began. Requests that end later count to the last bucket. None of an empty
    /// corpus.
    pub fn of(corpus: &Corpus) -> Option<Self> {
        let starts = corpus.traces().map(|trace| trace.time(0).start_ns).filter(|start| *start > 0);
        let (first, last) = (starts.clone().min()?, starts.max()?);
        Some(Self::between(first, last))
    }

    fn between(first_ns: u64, last_ns: u64) -> Self {
        let length_ns = last_ns.saturating_sub(first_ns).saturating_add(1);
        let width_ns = length_ns.div_ceil(MOST_BUCKETS).max(LEAST_WIDTH_NS);
        Self { start_ns: first_ns, width_ns, count: length_ns.div_ceil(width_ns).max(1) as usize }
    }

    /// The bucket of a moment; the first of an earlier one, the last of a later one.
    pub fn at(self, ns: u64) -> usize {
        let place = ns.saturating_sub(self.start_ns) / self.width_ns.max(1);
        (place.min(self.count.saturating_sub(1) as u64)) as usize
    }

    /// When a bucket begins, nanoseconds since 1970.
    pub fn begin_ns(self, bucket: usize) -> u64 {
        self.start_ns.saturating_add(self.width_ns.saturating_mul(bucket as u64))
    }

    /// The same, microseconds.
    pub fn begin_us(self, bucket: usize) -> u64 {
        self.begin_ns(bucket) / 1000
    }

    /// Width in seconds.
    pub fn seconds(self) -> f64 {
        self.width_ns as f64 / 1e9
    }
}

/// How many requests were open, bucket by bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// Time within the bucket of those that begin or end there.
    partial_ns: Vec<u64>,
    /// By how many more than in the bucket before were open all the time.
    whole: Vec<i64>,
}

impl Open {
    pub(crate) fn new(buckets: Buckets) -> Self {
        Self { partial_ns: vec![0; buckets.count], whole: vec![0; buckets.count + 1] }
    }

    pub(crate) fn add(&mut self, buckets: Buckets, (start_ns, end_ns): (u64, u64)) {
        let begin = buckets.start_ns;
        let end = buckets.begin_ns(buckets.count);
        let (start_ns, end_ns) = (start_ns.clamp(begin, end), end_ns.clamp(begin, end));
        let (first, last) = (buckets.at(start_ns), buckets.at(end_ns));
        if first == last {
            self.partial_ns[first] = self.partial_ns[first].saturating_add(end_ns.saturating_sub(start_ns));
            return;
        }
        let head_ns = buckets.begin_ns(first + 1).saturating_sub(start_ns);
        self.partial_ns[first] = self.partial_ns[first].saturating_add(head_ns);
        let tail_ns = end_ns.saturating_sub(buckets.begin_ns(last));
        self.partial_ns[last] = self.partial_ns[last].saturating_add(tail_ns);
        self.whole[first + 1] += 1;
        self.whole[last] -= 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.partial_ns.iter_mut().zip(&other.partial_ns) {
            *sum = sum.saturating_add(*more);
        }
        for (sum, more) in self.whole.iter_mut().zip(&other.whole) {
            *sum += more;
        }
    }

    /// The mean of each bucket.
    pub(crate) fn means(&self, buckets: Buckets) -> Vec<f64> {
        let mut whole = 0;
        let means = self.partial_ns.iter().zip(&self.whole).map(|(partial_ns, more)| {
            whole += more;
            whole as f64 + *partial_ns as f64 / buckets.width_ns.max(1) as f64
        });
        means.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn buckets_are_a_second_at_least_and_180_at_most() {
        let short = Buckets::between(5 * SECOND, 5 * SECOND + 10 * SECOND);
        assert_eq!((short.width_ns, short.count), (SECOND, 11));
        let long = Buckets::between(SECOND, 3601 * SECOND);
        assert!(long.count <= 180 && long.width_ns >= 20 * SECOND, "{long:?}");
        assert_eq!((long.at(0), long.at(u64::MAX)), (0, long.count - 1));
        let widest = Buckets::between(0, u64::MAX);
        assert!(widest.count <= 181 && widest.at(u64::MAX) == widest.count - 1, "{widest:?}");
    }

    #[test]
    fn open_requests_are_the_mean_over_each_bucket() {
        let buckets = Buckets { start_ns: 0, width_ns: 100, count: 4 };
        let mut open = Open::new(buckets);
        open.add(buckets, (50, 350));
        open.add(buckets, (110, 120));
        open.add(buckets, (300, u64::MAX));
        open.add(buckets, (90, 10));
        assert_eq!(open.means(buckets), [0.5, 1.1, 1.0, 1.5]);
    }
}
