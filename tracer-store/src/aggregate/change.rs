//! How numbers differ from those of the window before.

use tracer_model::answer::{Change, Red};

/// Differences of less are not told.
const LEAST_NS: u64 = 1_000_000;

/// What changed most.
pub(super) fn change(now: &Red, before: &Red) -> Option<Change> {
    match (now.count, before.count) {
        (0, 0) => return None,
        (_, 0) => return Some(Change::New),
        (0, _) => return Some(Change::Lost),
        _ => {}
    }
    let error_part = |red: &Red| red.errors as f64 / red.count as f64;
    if error_part(now) >= error_part(before) + 0.01 {
        return Some(Change::MoreErrors);
    }
    let (now_ns, before_ns) = (now.p95_ns, before.p95_ns);
    if now_ns >= before_ns.saturating_add(LEAST_NS.max(before_ns / 2)) {
        return Some(Change::Slower);
    }
    let is_faster = before_ns >= now_ns.saturating_add(LEAST_NS.max(before_ns.div_ceil(3)));
    is_faster.then_some(Change::Faster)
}

#[cfg(test)]
mod tests {
    use super::change;
    use tracer_model::answer::{Change, Red};

    fn red(count: u64, errors: u64, p95_ms: u64) -> Red {
        Red { count, errors, p95_ns: p95_ms * 1_000_000, ..Red::default() }
    }

    #[test]
    fn what_changed_most_is_told() {
        assert_eq!(change(&red(1, 0, 5), &red(0, 0, 0)), Some(Change::New));
        assert_eq!(change(&red(0, 0, 0), &red(1, 0, 5)), Some(Change::Lost));
        assert_eq!(change(&red(100, 2, 50), &red(100, 1, 5)), Some(Change::MoreErrors));
        assert_eq!(change(&red(100, 1, 15), &red(100, 1, 10)), Some(Change::Slower));
        assert_eq!(change(&red(100, 1, 14), &red(100, 1, 10)), None);
        assert_eq!(change(&red(100, 1, 20), &red(100, 1, 30)), Some(Change::Faster));
        assert_eq!(change(&red(100, 1, 21), &red(100, 1, 30)), None);
        assert_eq!(change(&red(100, 1, 0), &red(100, 1, 0)), None);
    }
}
