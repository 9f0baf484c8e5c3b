//! What is shown of a service or an operation, which of them, and in which order.

use std::cmp::Ordering;

use tracer_model::answer::{Red, ServiceAnswer, ServicesAnswer, SpanKind};

use super::super::flags::SortKey;

/// A service, or an operation of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// As it came: it is escaped where it is drawn.
    pub(super) name: String,
    /// Of an operation.
    pub(super) kind: Option<SpanKind>,
    pub(super) red: Red,
}

impl Row {
    /// Part of its spans with an error: 0 to 1.
    pub(super) fn error_part(&self) -> f64 {
        if self.red.count == 0 { 0.0 } else { self.red.errors as f64 / self.red.count as f64 }
    }
}

/// The services of an answer. Those without a span in the window are none of it.
pub(super) fn of_services(answer: &ServicesAnswer) -> Vec<Row> {
    let services = answer.services.iter().filter(|row| row.red.count > 0);
    services.map(|row| Row { name: row.service.clone(), kind: None, red: row.red }).collect()
}

/// The operations of an answer.
pub(super) fn of_operations(answer: &ServiceAnswer) -> Vec<Row> {
    let operations = answer.operations.iter().filter(|row| row.red.count > 0);
    operations.map(|row| Row { name: row.name.clone(), kind: Some(row.kind), red: row.red }).collect()
}

/// By what rows are sorted, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) key: SortKey,
    /// The other way round than one expects: the least first, names from Z to A.
    pub(super) is_reversed: bool,
}

impl Sort {
    pub(super) fn new(key: SortKey) -> Self {
        Self { key, is_reversed: false }
    }

    /// By this key from now on; the other way round if it is by this key already.
    pub(super) fn choose(&mut self, key: SortKey) {
        *self = Self { key, is_reversed: self.key == key && !self.is_reversed };
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let by_name = || (&a.name, a.kind).cmp(&(&b.name, b.kind));
        let order = match self.key {
            SortKey::Rate => b.red.rate.total_cmp(&a.red.rate),
            SortKey::Errors => {
                b.error_part().total_cmp(&a.error_part()).then(b.red.errors.cmp(&a.red.errors))
            }
            SortKey::P50 => b.red.p50_ns.cmp(&a.red.p50_ns),
            SortKey::P95 => b.red.p95_ns.cmp(&a.red.p95_ns),
            SortKey::P99 => b.red.p99_ns.cmp(&a.red.p99_ns),
            SortKey::Name => by_name(),
        };
        let order = if self.is_reversed { order.reverse() } else { order };
        // Rows that are equal stay where they are from answer to answer.
        order.then_with(by_name)
    }
}

/// The rows whose names hold the filter, whatever the case of its letters, in their order.
pub(super) fn shown<'a>(rows: &'a [Row], filter: &str, sort: Sort) -> Vec<&'a Row> {
    let filter = filter.to_lowercase();
    let mut rows: Vec<&Row> = rows.iter().filter(|row| row.name.to_lowercase().contains(&filter)).collect();
    rows.sort_by(|a, b| sort.compare(a, b));
    rows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn row(name: &str, rate: f64, errors: u64, p95_ms: u64) -> Row {
        let red = Red {
            count: (rate * 60.0) as u64,
            rate,
            errors,
            p50_ns: p95_ms * 500_000,
            p95_ns: p95_ms * 1_000_000,
            p99_ns: p95_ms * 2_000_000,
        };
        Row { name: name.to_owned(), kind: None, red }
    }

    fn names(rows: &[Row], filter: &str, sort: Sort) -> Vec<String> {
        shown(rows, filter, sort).iter().map(|row| row.name.clone()).collect()
    }

    #[test]
    fn rows_are_sorted_by_what_was_chosen_and_equal_ones_by_name() {
        let rows = [row("b", 1.0, 6, 9), row("a", 1.0, 0, 7), row("c", 10.0, 7, 8)];
        for (key, expected) in [
            (SortKey::Rate, ["c", "a", "b"]),
            // Of a hundred: one of ten is more than seven of six hundred.
            (SortKey::Errors, ["b", "c", "a"]),
            (SortKey::P50, ["b", "c", "a"]),
            (SortKey::P95, ["b", "c", "a"]),
            (SortKey::P99, ["b", "c", "a"]),
            (SortKey::Name, ["a", "b", "c"]),
        ] {
            assert_eq!(names(&rows, "", Sort::new(key)), expected, "{key:?}");
        }
        let mut sort = Sort::new(SortKey::Rate);
        sort.choose(SortKey::Rate);
        assert_eq!(names(&rows, "", sort), ["a", "b", "c"]);
        sort.choose(SortKey::Name);
        assert_eq!(names(&rows, "", sort), ["a", "b", "c"]);
        sort.choose(SortKey::Name);
        assert_eq!(names(&rows, "", sort), ["c", "b", "a"]);
    }

    #[test]
    fn a_filter_is_a_part_of_a_name_whatever_its_case() {
        let rows = [row("Shop", 1.0, 0, 1), row("shipping", 2.0, 0, 1), row("ÉTÉ", 3.0, 0, 1)];
        let by_name = Sort::new(SortKey::Name);
        assert_eq!(names(&rows, "SH", by_name), ["Shop", "shipping"]);
        assert_eq!(names(&rows, "été", by_name), ["ÉTÉ"]);
        assert_eq!(names(&rows, "none", by_name).len(), 0);
    }
}
