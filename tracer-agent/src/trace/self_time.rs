//! A span's time, and which part of it is its own.

use crate::span::Span;

/// A stretch of time, nanoseconds since 1970: the first is in it, the second is not.
pub type Interval = (u64, u64);

/// A span's time, and the parts of it in which calls that it made were under way.
pub struct SelfTime {
    whole: Interval,
    /// In order, apart from each other, within the whole.
    covered: Vec<Interval>,
}

impl SelfTime {
    /// `children` are in the order of their starts.
    pub fn new<'a>(span: &Span, children: impl Iterator<Item = &'a Span>) -> Self {
        let whole = interval(span);
        let mut covered: Vec<Interval> = Vec::new();
        for child in children {
            let (start, end) = interval(child);
            let (start, end) = (start.max(whole.0), end.min(whole.1));
            match covered.last_mut() {
                _ if start >= end => {}
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => covered.push((start, end)),
            }
        }
        Self { whole, covered }
    }

    /// The span's time.
    pub fn whole(&self) -> Interval {
        self.whole
    }

    /// Time in which no call was under way, nanoseconds.
    pub fn ns(&self) -> u64 {
        length(self.whole) - self.covered.iter().copied().map(length).sum::<u64>()
    }

    /// Time of an interval in which a call was under way, nanoseconds.
    pub fn covered_ns(&self, within: Interval) -> u64 {
        self.covered.iter().map(|part| length(overlap(*part, within))).sum()
    }
}

/// The time of a span; one that ends before it starts has none.
pub fn interval(span: &Span) -> Interval {
    (span.start_unix_ns, span.end_unix_ns.max(span.start_unix_ns))
}

/// How long an interval is, nanoseconds.
pub fn length(interval: Interval) -> u64 {
    interval.1.saturating_sub(interval.0)
}

/// What two intervals share.
pub fn overlap(a: Interval, b: Interval) -> Interval {
    (a.0.max(b.0), a.1.min(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span::SpanKind::{Client, Server},
        trace::tests::span,
    };

    #[test]
    fn time_of_calls_is_counted_once_and_only_within_the_span() {
        let served = span("a", Server, 1, None, (10, 110));
        for (children, own_us) in [
            (&[][..], 100),
            (&[(20, 40), (60, 70)], 70),
            (&[(20, 50), (30, 40), (40, 60)], 60),
            (&[(0, 30), (100, 200)], 70),
            (&[(0, 200)], 0),
            (&[(0, 5), (10, 10), (150, 160)], 100),
        ] {
            let calls: Vec<Span> = children.iter().map(|time| span("a", Client, 2, None, *time)).collect();
            assert_eq!(SelfTime::new(&served, calls.iter()).ns(), own_us * 1_000, "{children:?}");
        }
    }
}
