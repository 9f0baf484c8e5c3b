//! Where a span stands in the time of its trace, as a bar.

use crate::trace::self_time::{Interval, SelfTime, length, overlap};

/// The bar in so many cells that stand for all of a trace's time: `█` where the time is mostly the
/// span's own, `─` where it is mostly that of its calls.
pub(super) fn bar(time: &SelfTime, trace: Interval, cells: usize) -> String {
    let whole = time.whole();
    let total = u128::from(length(trace));
    let wide = cells as u128;
    // Cells begin where rounding down puts them.
    let begin = |cell: usize| trace.0 + (total * cell as u128 / wide) as u64;
    let scaled = |time: u64| u128::from(time.saturating_sub(trace.0)) * wide;
    let first = scaled(whole.0).checked_div(total).unwrap_or(0).min(wide - 1) as usize;
    let last = scaled(whole.1).div_ceil(total.max(1)).min(wide) as usize;
    let mut text = " ".repeat(first);
    for cell in first..last.max(first + 1) {
        let seen = overlap(whole, (begin(cell), begin(cell + 1)));
        text.push(if time.covered_ns(seen) > length(seen) / 2 { '─' } else { '█' });
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        span::{
            Span,
            SpanKind::{Client, Server},
        },
        trace::{self_time::interval, tests::span},
    };

    fn at(start_us: u64, end_us: u64) -> Span {
        span("a", Server, 1, None, (start_us, end_us))
    }

    fn own(served: &Span, children: &[(u64, u64)]) -> SelfTime {
        let children: Vec<Span> = children.iter().map(|time| span("a", Client, 2, None, *time)).collect();
        SelfTime::new(served, children.iter())
    }

    #[test]
    fn bars_are_to_scale_and_have_a_cell_at_least() {
        let trace = interval(&at(0, 100));
        let bar = |time: (u64, u64), children: &[(u64, u64)]| {
            super::bar(&own(&at(time.0, time.1), children), trace, 10)
        };
        assert_eq!(bar((0, 100), &[]), "██████████");
        assert_eq!(bar((0, 100), &[(20, 50), (81, 99)]), "██───███──");
        assert_eq!(bar((30, 60), &[]), "   ███");
        assert_eq!(bar((30, 61), &[]), "   ████");
        assert_eq!(bar((50, 50), &[]), "     █");
        assert_eq!(bar((100, 100), &[]), "         █");
        assert_eq!(bar((99, 100), &[]), "         █");
        let instant = at(5, 5);
        assert_eq!(super::bar(&own(&instant, &[]), interval(&instant), 10), "█");
    }

    proptest! {
        #[test]
        fn any_times_give_a_bar_within_its_column(
            times in prop::collection::vec(any::<(u64, u64)>(), 1..8),
            near in any::<bool>(),
            cells in 1..200usize,
        ) {
            let scale = if near { 1_000 } else { u64::MAX };
            let mut spans: Vec<Span> = times
                .iter()
                .map(|(start, end)| Span {
                    start_unix_ns: start % scale,
                    end_unix_ns: end % scale,
                    ..at(0, 0)
                })
                .collect();
            spans[1..].sort_by_key(|span| span.start_unix_ns);
            let all = |pick: fn(&Interval) -> u64| spans.iter().map(interval).map(move |part| pick(&part));
            let trace = (all(|part| part.0).min().expect("one"), all(|part| part.1).max().expect("one"));
            let own = SelfTime::new(&spans[0], spans[1..].iter());
            prop_assert!(own.ns() <= spans[0].duration_ns());
            let bar = super::bar(&own, trace, cells);
            prop_assert!(bar.chars().count() <= cells && !bar.trim().is_empty(), "{bar:?}");
        }
    }
}
