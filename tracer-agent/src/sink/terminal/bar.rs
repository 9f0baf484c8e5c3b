//! Where a span stands in the time of its trace, and which part of it is its own.

use super::row::Shown;

/// A part of time, nanoseconds since 1970: the first is in it, the second is not.
pub(super) type Part = (u64, u64);

/// A span's time, and the parts of it in which calls that it made were under way.
pub(super) struct Own {
    whole: Part,
    /// In order, apart from each other, within the whole.
    covered: Vec<Part>,
}

impl Own {
    /// `children` are in the order of their starts.
    pub(super) fn new<'a>(span: &Shown, children: impl Iterator<Item = &'a Shown>) -> Self {
        let whole = part(span);
        let mut covered: Vec<Part> = Vec::new();
        for child in children {
            let (start, end) = part(child);
            let (start, end) = (start.max(whole.0), end.min(whole.1));
            match covered.last_mut() {
                _ if start >= end => {}
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => covered.push((start, end)),
            }
        }
        Self { whole, covered }
    }

    /// Time in which no call was under way.
    pub(super) fn ns(&self) -> u64 {
        length(self.whole) - self.covered.iter().copied().map(length).sum::<u64>()
    }

    /// The bar in so many cells that stand for all of a trace's time: `█` where the time is mostly the
    /// span's own, `─` where it is mostly that of its calls.
    pub(super) fn bar(&self, trace: Part, cells: usize) -> String {
        let total = u128::from(length(trace));
        let wide = cells as u128;
        // Cells begin where rounding down puts them.
        let begin = |cell: usize| trace.0 + (total * cell as u128 / wide) as u64;
        let place = |time: u64| u128::from(time.saturating_sub(trace.0)) * wide;
        let first = place(self.whole.0).checked_div(total).unwrap_or(0).min(wide - 1) as usize;
        let last = place(self.whole.1).div_ceil(total.max(1)).min(wide) as usize;
        let mut text = " ".repeat(first);
        for cell in first..last.max(first + 1) {
            let seen = overlap(self.whole, (begin(cell), begin(cell + 1)));
            let covered = self.covered.iter().map(|part| length(overlap(*part, seen))).sum::<u64>();
            text.push(if covered > length(seen) / 2 { '─' } else { '█' });
        }
        text
    }
}

/// The time of a span; one that ends before it starts has none.
pub(super) fn part(span: &Shown) -> Part {
    (span.start_unix_ns, span.end_unix_ns.max(span.start_unix_ns))
}

fn length(part: Part) -> u64 {
    part.1.saturating_sub(part.0)
}

fn overlap(a: Part, b: Part) -> Part {
    (a.0.max(b.0), a.1.min(b.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::row::tests::shown, *};
    use crate::span::SpanKind::{Client, Server};

    fn at(start_us: u64, end_us: u64) -> Shown {
        shown("a", Server, 1, None, (start_us, end_us))
    }

    fn own(span: &Shown, children: &[(u64, u64)]) -> Own {
        let children: Vec<Shown> = children.iter().map(|time| shown("a", Client, 2, None, *time)).collect();
        Own::new(span, children.iter())
    }

    #[test]
    fn time_of_calls_is_counted_once_and_only_within_the_span() {
        let span = at(10, 110);
        for (children, own_us) in [
            (&[][..], 100),
            (&[(20, 40), (60, 70)], 70),
            (&[(20, 50), (30, 40), (40, 60)], 60),
            (&[(0, 30), (100, 200)], 70),
            (&[(0, 200)], 0),
            (&[(0, 5), (10, 10), (150, 160)], 100),
        ] {
            assert_eq!(own(&span, children).ns(), own_us * 1_000, "{children:?}");
        }
    }

    #[test]
    fn bars_are_to_scale_and_have_a_cell_at_least() {
        let trace = part(&at(0, 100));
        let bar =
            |span: (u64, u64), children: &[(u64, u64)]| own(&at(span.0, span.1), children).bar(trace, 10);
        assert_eq!(bar((0, 100), &[]), "██████████");
        assert_eq!(bar((0, 100), &[(20, 50), (81, 99)]), "██───███──");
        assert_eq!(bar((30, 60), &[]), "   ███");
        assert_eq!(bar((30, 61), &[]), "   ████");
        assert_eq!(bar((50, 50), &[]), "     █");
        assert_eq!(bar((100, 100), &[]), "         █");
        assert_eq!(bar((99, 100), &[]), "         █");
        let instant = at(5, 5);
        assert_eq!(own(&instant, &[]).bar(part(&instant), 10), "█");
    }

    proptest! {
        #[test]
        fn any_times_give_a_bar_within_its_column(
            times in prop::collection::vec(any::<(u64, u64)>(), 1..8),
            near in any::<bool>(),
            cells in 1..200usize,
        ) {
            let scale = if near { 1_000 } else { u64::MAX };
            let mut spans: Vec<Shown> = times
                .iter()
                .map(|(start, end)| Shown {
                    start_unix_ns: start % scale,
                    end_unix_ns: end % scale,
                    ..at(0, 0)
                })
                .collect();
            spans[1..].sort_by_key(|span| span.start_unix_ns);
            let all = |pick: fn(&Part) -> u64| spans.iter().map(part).map(move |part| pick(&part));
            let trace = (all(|part| part.0).min().expect("one"), all(|part| part.1).max().expect("one"));
            let own = Own::new(&spans[0], spans[1..].iter());
            prop_assert!(own.ns() <= spans[0].duration_ns());
            let bar = own.bar(trace, cells);
            prop_assert!(bar.chars().count() <= cells && !bar.trim().is_empty(), "{bar:?}");
        }
    }
}
