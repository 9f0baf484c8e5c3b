//! The rows as a table: which columns there are, and how wide they are.

use std::fmt::Write;

use tracer_model::answer::SpanKind;

use super::{
    super::flags::SortKey,
    rows::{Row, Sort},
};
use crate::sink::terminal::{
    escape::{columns, duration, fit, printable},
    style::{DIM, Palette, RED},
};

/// Columns of a rate, a part of a hundred, and a duration.
const RATE: usize = 9;
const ERRORS: usize = 8;
const TIME: usize = 8;
/// Columns of the kind of an operation.
const KIND: usize = 8;
/// Most characters of a name, and the fewest columns that it has.
const LONGEST_NAME: usize = 120;
const SHORTEST_NAME: usize = 8;

/// What is special about a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Dim,
    Error,
}

/// Widths of the columns, which fit the terminal.
pub(super) struct Table {
    sort: Sort,
    /// Rows have kinds: they are operations.
    has_kinds: bool,
    /// There is room for the kinds, and for the part of requests with an error.
    shows_kinds: bool,
    shows_errors: bool,
    name: usize,
    times: Vec<SortKey>,
}

impl Table {
    pub(super) fn new(rows: &[&Row], sort: Sort, has_kinds: bool, width: usize) -> Self {
        const TIMES: [SortKey; 3] = [SortKey::P50, SortKey::P95, SortKey::P99];
        let mut room = width.saturating_sub(RATE + TIME + SHORTEST_NAME);
        let mut takes = |columns: usize| {
            let fits = columns <= room;
            room -= if fits { columns } else { 0 };
            fits
        };
        // What says most comes first, where there is little room.
        let shows_errors = takes(ERRORS);
        let shows_kinds = has_kinds && takes(KIND + 1);
        let sorted = if TIMES.contains(&sort.key) { sort.key } else { SortKey::P95 };
        let times = if takes(2 * TIME) { TIMES.to_vec() } else { vec![sorted] };
        let longest = rows.iter().map(|row| columns(&name(row))).max().unwrap_or(0).max(30);
        Self { sort, has_kinds, shows_kinds, shows_errors, name: longest.min(SHORTEST_NAME + room), times }
    }

    /// The heads of the columns; the one by which they are sorted has a mark.
    pub(super) fn head(&self) -> String {
        let marked = |key: SortKey, title: &str| match (self.sort.key == key, self.sort.is_reversed) {
            (false, _) => title.to_owned(),
            (true, is_reversed) => format!("{title}{}", if is_reversed { '▲' } else { '▼' }),
        };
        let title = if self.has_kinds { "operation" } else { "service" };
        let mut text = fit(&marked(SortKey::Name, title), self.name);
        if self.shows_kinds {
            text += &format!(" {:<KIND$}", "kind");
        }
        text += &format!("{:>RATE$}", marked(SortKey::Rate, "req/s"));
        if self.shows_errors {
            text += &format!("{:>ERRORS$}", marked(SortKey::Errors, "errors"));
        }
        for key in &self.times {
            text += &format!("{:>TIME$}", marked(*key, time_title(*key)));
        }
        text
    }

    /// The cells of a row, which stand side by side.
    pub(super) fn row(&self, row: &Row) -> Vec<(String, Look)> {
        let mut cells = vec![(fit(&name(row), self.name), Look::Plain)];
        if self.shows_kinds {
            cells.push((format!(" {:<KIND$}", row.kind.map_or("", kind_name)), Look::Dim));
        }
        cells.push((format!("{:>RATE$}", rate(row.red.rate)), Look::Plain));
        let look = if row.red.errors > 0 { Look::Error } else { Look::Dim };
        if self.shows_errors {
            cells.push((format!("{:>ERRORS$}", errors(row)), look));
        }
        for key in &self.times {
            let ns = match key {
                SortKey::P50 => row.red.p50_ns,
                SortKey::P99 => row.red.p99_ns,
                _ => row.red.p95_ns,
            };
            cells.push((format!("{:>TIME$}", duration(ns)), Look::Plain));
        }
        cells
    }

    /// All of it as lines.
    pub(super) fn text(&self, rows: &[&Row], palette: Palette) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", palette.text(DIM, &self.head()));
        for row in rows {
            for (cell, look) in self.row(row) {
                text += &match look {
                    Look::Plain => cell,
                    Look::Dim => palette.text(DIM, &cell),
                    Look::Error => palette.text(RED, &cell),
                };
            }
            text.push('\n');
        }
        text
    }
}

fn name(row: &Row) -> String {
    printable(&row.name, LONGEST_NAME)
}

fn time_title(key: SortKey) -> &'static str {
    match key {
        SortKey::P50 => "p50",
        SortKey::P99 => "p99",
        _ => "p95",
    }
}

fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// Three digits at least of what is small.
fn rate(rate: f64) -> String {
    match rate {
        ..10.0 => format!("{rate:.2}"),
        ..100.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

fn errors(row: &Row) -> String {
    let percent = row.error_part() * 100.0;
    match percent {
        _ if row.red.errors == 0 => "-".to_owned(),
        ..0.1 => "<0.1%".to_owned(),
        ..10.0 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rows::tests::row, *};

    fn rows() -> [Row; 3] {
        let operation = Row { kind: Some(SpanKind::Internal), ..row("GET /orders/{id}", 1234.0, 0, 3) };
        [row("shop", 12.34, 7, 150), row(&"価".repeat(200), 0.5, 30, 99_000), operation]
    }

    #[test]
    fn a_table_fits_its_terminal_and_columns_stand_below_each_other() {
        let rows = rows();
        let rows: Vec<&Row> = rows.iter().collect();
        for width in [20, 30, 40, 60, 80, 120, 200] {
            for has_kinds in [false, true] {
                let table = Table::new(&rows, Sort::new(SortKey::P95), has_kinds, width);
                let text = table.text(&rows, Palette(false));
                let widths: Vec<usize> = text.lines().map(columns).collect();
                assert!(widths.iter().all(|line| *line == widths[0]), "{width}:\n{text}");
                assert!(widths[0] <= width.max(25), "{width}: {widths:?}\n{text}");
                assert_eq!(text.contains("p50"), width >= 60, "{width}:\n{text}");
                assert_eq!(text.contains("errors"), width >= 40, "{width}:\n{text}");
                assert_eq!(text.contains("kind"), has_kinds && width >= 60, "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn a_narrow_table_shows_the_time_by_which_it_is_sorted() {
        let rows = rows();
        let rows: Vec<&Row> = rows.iter().collect();
        let head = |key, width| Table::new(&rows, Sort::new(key), true, width).head();
        assert_eq!(head(SortKey::P99, 40), "operation          req/s  errors    p99▼");
        assert!(head(SortKey::Rate, 40).ends_with(" req/s▼  errors     p95"));
        assert_eq!(head(SortKey::P50, 20), "operati…    req/s    p50▼");
    }

    #[test]
    fn numbers_are_short_and_the_sorted_column_is_marked() {
        let rows = rows();
        let rows: Vec<&Row> = rows.iter().collect();
        let text =
            Table::new(&rows[..1], Sort::new(SortKey::Errors), false, 80).text(&rows[..1], Palette(false));
        assert_eq!(
            text,
            "service                           req/s errors▼     p50     p95     p99\n\
             shop                               12.3    0.9%  75.0ms   150ms   300ms\n"
        );
        let reversed = Sort { key: SortKey::Name, is_reversed: true };
        assert!(Table::new(&rows, reversed, true, 80).head().starts_with("operation▲ "));
        assert_eq!([0.0, 9.994, 12.34, 1234.5].map(rate), ["0.00", "9.99", "12.3", "1234"]);
    }

    #[test]
    fn names_from_traffic_control_no_terminal() {
        let hostile = row("\u{1b}]0;x\u{7}\r\n\u{202e}", 1.0, 0, 1);
        let text =
            Table::new(&[&hostile], Sort::new(SortKey::Rate), false, 120).text(&[&hostile], Palette(false));
        assert!(!text.replace('\n', "").chars().any(crate::outside::controls), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }
}
