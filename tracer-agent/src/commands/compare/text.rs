//! What changed, for people at a terminal.

#![forbid(unsafe_code)]

use std::fmt::Write;

use tracer_analysis::{
    compare::{ComparedOperation, ComparedSide, ComparisonAnswer, OneSided},
    statistics::Verdict,
};

use super::words;
use crate::sink::terminal::{
    Style,
    escape::{ascii, columns, printable},
    row::clock_time,
    style::{BOLD, DIM, GREEN, Palette, RED, YELLOW},
};

/// Characters of a name, and of a sentence.
const MOST_NAME: usize = 60;
const MOST_TEXT: usize = 400;

/// Operations, and rows of each other kind.
const MOST_OPERATIONS: usize = 30;
const MOST_ROWS: usize = 10;

/// The comparison in words.
pub(super) fn told(answer: &ComparisonAnswer, style: Style) -> String {
    let palette = Palette(style.color);
    let mut text = String::new();
    for (head, side) in [("before", &answer.before), ("after", &answer.after)] {
        let _ = writeln!(text, "{}  {}", palette.text(DIM, &format!("{head:<6}")), looked_at(side));
    }
    let color = color_of(answer.verdict);
    let _ = writeln!(
        text,
        "\n{} {}",
        palette.text(color, &format!("● {}:", words::verdict(answer.verdict))),
        palette.text(BOLD, &printable(&answer.sentence, MOST_TEXT))
    );
    operations(&mut text, answer, palette);
    let mut section = Section { text: &mut text, palette };
    section.add(
        "Calls for each request",
        answer.calls.iter().map(|row| {
            format!(
                "{} {} → {}: {:.2} instead of {:.2} calls of {}",
                name(&row.operation.service),
                name(&row.operation.name),
                name(&row.edge.to),
                row.per_request.1,
                row.per_request.0,
                name(&row.call)
            )
        }),
    );
    section.add(
        "Queries asked in other proportions",
        answer.queries.iter().map(|row| {
            let parts = row.queries.iter().take(3).map(|part| {
                format!(
                    "{} {:.0} % instead of {:.0} %",
                    name(&part.query),
                    part.after * 100.0,
                    part.before * 100.0
                )
            });
            let parts: Vec<String> = parts.collect();
            format!("{} → {}: {}", name(&row.edge.from), name(&row.edge.to), parts.join(", "))
        }),
    );
    let operation =
        |one: &tracer_analysis::answer::OperationName| format!("{} {}", name(&one.service), name(&one.name));
    let edge = |one: &tracer_analysis::answer::EdgeName| format!("{} → {}", name(&one.from), name(&one.to));
    let error =
        |one: &tracer_analysis::compare::ErrorName| format!("{}: {}", name(&one.service), name(&one.error));
    section.one_sided("New operations", &answer.new_operations, operation);
    section.one_sided("Operations that are gone", &answer.lost_operations, operation);
    section.one_sided("New calls", &answer.new_edges, edge);
    section.one_sided("Calls that are gone", &answer.lost_edges, edge);
    section.one_sided("New kinds of failures", &answer.new_errors, error);
    section.one_sided("Kinds of failures that are gone", &answer.lost_errors, error);
    if answer.left_out > 0 {
        let _ = writeln!(text, "\n{} more rows are left out: there are too many", answer.left_out);
    }
    if style.ascii { ascii(&text) } else { text }
}

fn name(text: &str) -> String {
    printable(text, MOST_NAME)
}

fn looked_at(side: &ComparedSide) -> String {
    let sample = &side.sample;
    let time = |unix_us: u64| clock_time(unix_us.saturating_mul(1000));
    let mut text = format!(
        "{}: {}, of {} traces from {} to {}",
        name(&side.name),
        words::requests(side),
        sample.traces,
        time(sample.window.start_unix_us),
        time(sample.window.end_unix_us)
    );
    if sample.omitted_traces > 0 {
        let _ = write!(text, "; {} traces were left out: there are too many spans", sample.omitted_traces);
    }
    if let Some(incomplete) = &sample.incomplete {
        let _ = write!(text, "; {}", printable(incomplete, MOST_TEXT));
    }
    text
}

fn color_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => RED,
        Verdict::Better | Verdict::Unchanged => GREEN,
        Verdict::NotEnough => YELLOW,
    }
}

/// What changed operation by operation, in columns; the others are counted.
fn operations(text: &mut String, answer: &ComparisonAnswer, palette: Palette) {
    let changed = |row: &&ComparedOperation| matches!(row.verdict, Verdict::Worse | Verdict::Better);
    let rows: Vec<&ComparedOperation> = answer.operations.iter().filter(changed).collect();
    let cells = |row: &&ComparedOperation| -> [String; 6] {
        let (time, ratio, is_tail) = words::told_time(&row.own_time);
        [
            words::verdict(row.verdict).to_owned(),
            format!("{} {}", name(&row.operation.service), name(&row.operation.name)),
            format!("{} → {}", row.requests.0, row.requests.1),
            format!("{}{}", if is_tail { "p95 " } else { "" }, words::times(time)),
            words::change(ratio),
            words::failures(&row.own_failures, row.requests),
        ]
    };
    if !rows.is_empty() {
        let head = ["", "OPERATION", "REQUESTS", "OWN TIME", "CHANGE", "OWN FAILURES"].map(str::to_owned);
        let told: Vec<[String; 6]> = rows.iter().take(MOST_OPERATIONS).map(cells).collect();
        let width =
            |column: usize| told.iter().chain([&head]).map(|row| columns(&row[column])).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let line = |row: &[String; 6]| {
            let padded = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                let space = " ".repeat(width.saturating_sub(columns(cell)));
                if column < 2 { format!("{cell}{space}") } else { format!("{space}{cell}") }
            });
            padded.collect::<Vec<String>>().join("  ")
        };
        let _ = writeln!(text, "\n{}", palette.text(DIM, line(&head).trim_end()));
        for (cells, row) in told.iter().zip(&rows) {
            let line = line(cells);
            let (verdict, rest) = line.split_at(widths[0].min(line.len()));
            let _ = writeln!(text, "{}{rest}", palette.text(color_of(row.verdict), verdict));
        }
        if rows.len() > MOST_OPERATIONS {
            let _ = writeln!(text, "and {} more that changed", rows.len() - MOST_OPERATIONS);
        }
    }
    let counted = words::counted(answer);
    if !counted.is_empty() {
        let _ = writeln!(text, "\n{}", counted.join("\n"));
    }
}

/// Lists under a head.
struct Section<'a> {
    text: &'a mut String,
    palette: Palette,
}

impl Section<'_> {
    fn add(&mut self, head: &str, rows: impl ExactSizeIterator<Item = String>) {
        let count = rows.len();
        if count == 0 {
            return;
        }
        let _ = writeln!(self.text, "\n{}", self.palette.text(BOLD, head));
        for row in rows.take(MOST_ROWS) {
            let _ = writeln!(self.text, "  {row}");
        }
        if count > MOST_ROWS {
            let _ = writeln!(self.text, "  and {} more", count - MOST_ROWS);
        }
    }

    fn one_sided<T>(&mut self, head: &str, rows: &[OneSided<T>], told: impl Fn(&T) -> String) {
        let row = |row: &OneSided<T>| {
            let chance = if row.is_certain { "" } else { "; chance may explain it" };
            let trace = row.exemplar.as_ref().map_or(String::new(), |exemplar| {
                format!(", trace {}", printable(&exemplar.trace_id, MOST_NAME))
            });
            format!("{} ({} times{trace}{chance})", told(&row.what), row.count)
        };
        self.add(head, rows.iter().map(row));
    }
}
