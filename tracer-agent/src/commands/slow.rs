//! `tracer slow`: why some requests of an operation are slow, in words.

#![forbid(unsafe_code)]

use std::{fmt::Write, process::ExitCode};

use tracer_analysis::{
    answer::{EdgeName, Exemplar, OperationName},
    slow::{SlowAnswer, SlowOperationsAnswer, SlowPart, SlowPartKind, SlowSelection},
};

use super::{
    flags::SlowFlags,
    outcome::{CommandOutcome, FAILURE, Failure, print_drawn, print_json},
    source::Source,
};
use crate::sink::terminal::{
    Destination, Style,
    escape::{ascii, duration, printable},
    style::{BOLD, DIM, Palette, YELLOW},
};

/// Most characters of a text from outside, and of a name.
const MOST_TEXT: usize = 400;
const MOST_NAME: usize = 80;

/// Lines of a list.
const MOST_PARTS: usize = 8;
const MOST_OPERATIONS: usize = 25;

/// Exemplars that are told.
const MOST_EXEMPLARS: usize = 3;

pub(super) fn run(flags: &SlowFlags) -> CommandOutcome {
    let source = Source::open_or_files(&flags.source, &flags.files)?;
    let window = flags.since.map(|since| source.window(since.as_ns() / 1000)).transpose()?;
    let destination = Destination::new(None, false);
    let style = destination.style(flags.color.resolve(&destination));
    let (json, text) = match (&flags.service, &flags.operation) {
        (Some(service), Some(operation)) => {
            let selection = match flags.over {
                Some(over) => SlowSelection::Box { window: None, least_ns: over.as_ns(), most_ns: None },
                None => SlowSelection::Quantile(flags.quantile),
            };
            let answer = source.slow((service, operation), selection, window)?;
            if answer.slow.requests + answer.rest.requests == 0 {
                let message = format!(
                    "{} has no request of {} at {}: `tracer slow` without --operation lists operations",
                    source.name(),
                    printable(service, MOST_NAME),
                    printable(operation, MOST_NAME)
                );
                return Err(Failure::new(FAILURE, message));
            }
            (serde_json::to_string(&answer), told(&answer, flags.over.map(|over| over.as_ns()), style))
        }
        (service, _) => {
            let mut answer = source.operations(window)?;
            if let Some(service) = service {
                answer.operations.retain(|one| one.operation.service == *service);
            }
            (serde_json::to_string(&answer), listed(&answer, style))
        }
    };
    if flags.json {
        print_json(&format!("{}\n", json.unwrap_or_default()))?;
    } else {
        print_drawn(&if style.ascii { ascii(&text) } else { text })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Operations in words.
fn listed(answer: &SlowOperationsAnswer, style: Style) -> String {
    let palette = Palette(style.color);
    if answer.operations.is_empty() {
        return "there are no requests, as far as these traces tell\n".to_owned();
    }
    let head = format!(
        "{:>9} {:>9} {:>9} {:>9} {:>8}  operation",
        "requests", "median", "95th %", "99th %", "spread"
    );
    let mut text = format!("{}\n", palette.text(DIM, &head));
    for one in answer.operations.iter().take(MOST_OPERATIONS) {
        let _ = writeln!(
            text,
            "{:>9} {:>9} {:>9} {:>9} {:>8}  {}{}",
            one.requests,
            duration(one.p50_ns),
            duration(one.p95_ns),
            duration(one.p99_ns),
            format!("{:.1}×", one.spread),
            name(&one.operation),
            if one.is_enough { "" } else { "  (too few to compare)" }
        );
    }
    let left = answer.omitted + answer.operations.len().saturating_sub(MOST_OPERATIONS) as u64;
    if left > 0 {
        let _ = writeln!(text, "and {left} operations that lose less");
    }
    text += "\nsay why, for one of them: tracer slow --service NAME --operation NAME\n";
    text
}

/// The answer in words.
fn told(answer: &SlowAnswer, over_ns: Option<u64>, style: Style) -> String {
    let palette = Palette(style.color);
    let mut text = format!(
        "{}\n{} requests take {} or more, {} less\n",
        palette.text(BOLD, &name(&answer.operation)),
        answer.slow.requests,
        duration(over_ns.unwrap_or(answer.least_ns)),
        answer.rest.requests
    );
    if let Some(too_little) = &answer.too_little {
        let _ = writeln!(text, "\n{too_little}");
        return text;
    }
    let _ = writeln!(text, "{}", printable(&answer.summary, MOST_TEXT));
    for difference in &answer.differences {
        let sentence = palette.text(BOLD, &printable(&difference.sentence, MOST_TEXT));
        let _ = writeln!(text, "\n{} {sentence}", palette.text(YELLOW, "●"));
        let mut line = |head: &str, line: &str| {
            let _ = writeln!(text, "  {}  {line}", palette.text(DIM, &format!("{head:<8}")));
        };
        let chance = if difference.p_value < 1e-6 {
            "less than 0.000001".to_owned()
        } else {
            format!("{:.6}", difference.p_value)
        };
        line(
            "measure",
            &format!(
                "effect {:.2}, by chance {chance}; {} slow requests and {} others",
                difference.effect, difference.slow_requests, difference.rest_requests
            ),
        );
        if !difference.same.is_empty() {
            let same: Vec<String> = difference.same.iter().map(|one| printable(one, MOST_NAME)).collect();
            line("same", &same.join(", "));
        }
        for (head, exemplars) in
            [("slow", &difference.slow_exemplars), ("others", &difference.rest_exemplars)]
        {
            if !exemplars.is_empty() {
                line(head, &traces(exemplars));
            }
        }
    }
    let _ = writeln!(text, "\n{}", palette.text(BOLD, "Where the difference is (critical paths, means)"));
    for part in answer.parts.iter().take(MOST_PARTS) {
        let _ = writeln!(
            text,
            "  {:>7}  {:>8} instead of {:>8}  {}",
            format!("{:.1} %", part.explained * 100.0),
            duration(part.slow_ns),
            duration(part.rest_ns),
            part_name(part)
        );
    }
    if let Some(why) = &answer.no_attributes {
        let _ = writeln!(text, "\nattributes were not compared: {}", printable(why, MOST_TEXT));
    }
    text
}

fn traces(exemplars: &[Exemplar]) -> String {
    let ids: Vec<String> =
        exemplars.iter().take(MOST_EXEMPLARS).map(|one| printable(&one.trace_id, MOST_NAME)).collect();
    ids.join(" ")
}

fn part_name(part: &SlowPart) -> String {
    let operation = part.operation.as_ref().map_or_else(String::new, name);
    let to = |asked: &Option<EdgeName>| {
        asked.as_ref().map_or_else(String::new, |edge| printable(&edge.to, MOST_NAME))
    };
    match part.kind {
        SlowPartKind::Own => format!("{operation}: its own work"),
        SlowPartKind::Work => operation,
        SlowPartKind::Call => match &part.query {
            Some(query) => format!("{operation} → {}: {}", to(&part.asked), printable(query, MOST_NAME)),
            None => format!("{operation} → {}", to(&part.asked)),
        },
        SlowPartKind::Network => format!("{operation} → {}: the way and the wait", to(&part.asked)),
        SlowPartKind::Other => "all else".to_owned(),
    }
}

fn name(operation: &OperationName) -> String {
    format!("{} {}", printable(&operation.service, MOST_NAME), printable(&operation.name, MOST_NAME))
}
