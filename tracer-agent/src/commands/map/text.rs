//! Dependencies in words.

#![forbid(unsafe_code)]

use std::fmt::Write;

use tracer_analysis::dependency::{
    DependenciesAnswer, Dependency, PassingVerdict,
    check::{DependencyCheck, UndeclaredEdge, UnusedEdge},
};

use crate::sink::terminal::{
    Style,
    escape::{ascii, columns, duration, printable},
    row::clock_time,
    style::{BOLD, DIM, GREEN, Palette, RED, YELLOW},
};

/// Most characters of a name, and of a sentence.
const MOST_NAME: usize = 60;
const MOST_TEXT: usize = 300;

/// All that is known, for people.
pub(super) fn map(answer: &DependenciesAnswer, style: Style) -> String {
    let palette = Palette(style.color);
    let mut text = looked_at(answer, palette);
    if answer.edges.is_empty() {
        text += "\nno service calls another one, as far as these traces tell\n";
    } else {
        text.push('\n');
        table(&mut text, &answer.edges, palette);
        if answer.left_out > 0 {
            let _ = writeln!(text, "and {} edges with fewer calls", answer.left_out);
        }
        if answer.omitted_calls > 0 {
            let _ = writeln!(text, "and {} calls of further edges, which are too many", answer.omitted_calls);
        }
    }
    let head = |text: &mut String, head: &str| {
        let _ = writeln!(text, "\n{}", palette.text(BOLD, head));
    };
    let changed: Vec<&Dependency> = answer
        .edges
        .iter()
        .filter(|edge| edge.new_since_unix_us.is_some() || edge.gone_since_unix_us.is_some())
        .collect();
    if !changed.is_empty() {
        head(&mut text, "New and gone");
    }
    for edge in changed {
        let name = edge_name(&edge.edge.from, &edge.edge.to);
        if let Some(since) = edge.new_since_unix_us {
            let _ = writeln!(text, "  {name}: since {}, not before", time(since));
        }
        if let Some(since) = edge.gone_since_unix_us {
            let _ = writeln!(text, "  {name}: none since {}", time(since));
        }
    }
    if !answer.cycles.is_empty() {
        head(&mut text, "Circles");
    }
    for cycle in &answer.cycles {
        let names: Vec<String> = cycle.services.iter().map(|name| printable(name, MOST_NAME)).collect();
        let _ = write!(text, "  {}", names.join(", "));
        let _ = match (&cycle.exemplar, cycle.traces) {
            (Some(exemplar), traces) => writeln!(
                text,
                ": {traces} traces come back to a service that waits for them, such as {}",
                printable(&exemplar.trace_id, MOST_NAME)
            ),
            (None, _) => writeln!(text, ": no trace comes back to a service that waits for it"),
        };
    }
    if !answer.single_points.is_empty() {
        head(&mut text, "Single points");
    }
    for point in &answer.single_points {
        let _ = writeln!(text, "  {}", printable(&point.sentence, MOST_TEXT));
    }
    finished(&text, style)
}

/// What differs from a declared architecture, for people.
pub(super) fn differences(check: &DependencyCheck, answer: &DependenciesAnswer, style: Style) -> String {
    let palette = Palette(style.color);
    let mut text = looked_at(answer, palette);
    for UndeclaredEdge { edge, calls, first_unix_us, operations, exemplar } in &check.undeclared {
        let operation =
            operations.first().map_or(String::new(), |name| format!(" ({})", printable(name, MOST_NAME)));
        let trace = exemplar.as_ref().map_or(String::new(), |exemplar| {
            format!(", trace {}", printable(&exemplar.trace_id, MOST_NAME))
        });
        let _ = writeln!(
            text,
            "{}  {}: {calls} calls{operation}, the first at {}{trace}",
            palette.text(RED, "undeclared"),
            edge_name(&edge.from, &edge.to),
            time(*first_unix_us),
        );
    }
    for UnusedEdge { edge, caller_requests, is_caller_seen } in &check.unused {
        let why = match (is_caller_seen, caller_requests) {
            (false, _) => "there is nothing of the caller".to_owned(),
            (true, 0) => "the caller served no request that was seen".to_owned(),
            (true, requests) => format!("the caller served {requests} requests and made no such call"),
        };
        let name = edge_name(&edge.from, &edge.to);
        let _ = writeln!(text, "{}      {name}: {why}", palette.text(YELLOW, "unused"));
    }
    if check.not_compared > 0 {
        let _ = writeln!(
            text,
            "{}  {} edges with the fewest calls: there are too many",
            palette.text(RED, "not compared"),
            check.not_compared
        );
    }
    let ignored = if check.ignored > 0 { format!(", {} ignored", check.ignored) } else { String::new() };
    let _ = writeln!(text, "{} {} edges as declared{ignored}", palette.text(GREEN, "✓"), check.as_declared);
    finished(&text, style)
}

fn finished(text: &str, style: Style) -> String {
    if style.ascii { ascii(text) } else { text.to_owned() }
}

fn looked_at(answer: &DependenciesAnswer, palette: Palette) -> String {
    let sample = &answer.sample;
    let mut text = format!("{} traces, {} spans", sample.traces, sample.spans);
    if sample.traces > 0 {
        let (from, to) = (time(sample.window.start_unix_us), time(sample.window.end_unix_us));
        let _ = write!(text, ", {from} to {to}");
    }
    if sample.omitted_traces > 0 {
        let _ = write!(text, "; {} traces were left out: there are too many spans", sample.omitted_traces);
    }
    if let Some(incomplete) = &sample.incomplete {
        let _ = write!(text, "; {}", printable(incomplete, MOST_TEXT));
    }
    format!("{}\n", palette.text(DIM, &text))
}

fn edge_name(from: &str, to: &str) -> String {
    format!("{} → {}", printable(from, MOST_NAME), printable(to, MOST_NAME))
}

fn time(unix_us: u64) -> String {
    clock_time(unix_us.saturating_mul(1000))
}

/// The edges in columns.
fn table(text: &mut String, edges: &[Dependency], palette: Palette) {
    let row = |edge: &Dependency| {
        let part = |part: f64| format!("{:.1} %", part * 100.0);
        let failures = match edge.failures.verdict {
            PassingVerdict::NeverFailed => "–",
            PassingVerdict::Passes => "pass through",
            PassingVerdict::Absorbed => "absorbed",
            PassingVerdict::NotEnough => "too few to tell",
        };
        [
            edge_name(&edge.edge.from, &edge.edge.to),
            edge.calls.to_string(),
            part(edge.failed_calls as f64 / edge.calls.max(1) as f64),
            edge.p50_ns.map_or_else(|| "–".to_owned(), duration),
            edge.p95_ns.map_or_else(|| "–".to_owned(), duration),
            part(edge.path_part),
            failures.to_owned(),
        ]
    };
    let head = ["CALLS", "NUMBER", "FAILED", "MEDIAN", "P95", "OF ALL TIME", "FAILURES"].map(str::to_owned);
    let rows: Vec<[String; 7]> = edges.iter().map(row).collect();
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| columns(&row[column])).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut line = |row: &[String; 7], is_head: bool| {
        let mut drawn = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column].saturating_sub(columns(cell)));
            // Names and the last column stand at the left.
            let _ = match column {
                0 => write!(drawn, "{cell}{space}"),
                6 => write!(drawn, "  {cell}"),
                _ => write!(drawn, "  {space}{cell}"),
            };
        }
        let drawn = if is_head { palette.text(DIM, &drawn) } else { drawn };
        let _ = writeln!(text, "{drawn}");
    };
    line(&head, true);
    rows.iter().for_each(|row| line(row, false));
}
