//! `tracer report`: what is wrong, in words.

#![forbid(unsafe_code)]

use std::{fmt::Write, process::ExitCode};

use tracer_analysis::{
    answer::{Exemplar, Finding, OperationName, Sample},
    report::ReportAnswer,
};

use super::{
    flags::ReportFlags,
    outcome::{CommandOutcome, FOUND, print_drawn, print_json},
    source::Source,
};
use crate::sink::terminal::{
    Destination, Style,
    escape::{ascii, duration, printable},
    row::clock_time,
    style::{BOLD, DIM, Palette, RED},
};

/// Most characters of a text from outside.
const MOST_TEXT: usize = 400;

/// Most characters of a name.
const MOST_NAME: usize = 80;

/// Lines of a list.
const MOST_LINES: usize = 5;

/// Exemplars of a finding that are told.
const MOST_EXEMPLARS: usize = 3;

pub(super) fn run(flags: &ReportFlags) -> CommandOutcome {
    let source = Source::open_or_files(&flags.source, &flags.files)?;
    let window = flags.since.map(|since| source.window(since.as_ns() / 1000)).transpose()?;
    let answer = source.report(window)?;
    if flags.json {
        print_json(&format!("{}\n", serde_json::to_string(&answer).unwrap_or_default()))?;
    } else {
        let destination = Destination::new(None, false);
        print_drawn(&told(&answer, destination.style(flags.color.resolve(&destination))))?;
    }
    let has_failed = flags.fail_on_finding && !answer.findings.is_empty();
    Ok(if has_failed { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// The report in words.
fn told(answer: &ReportAnswer, style: Style) -> String {
    let palette = Palette(style.color);
    let mut text = format!("{}\n", palette.text(DIM, &looked_at(&answer.sample)));
    if let Some(too_little) = &answer.too_little {
        let _ = writeln!(text, "\n{too_little}");
    } else if answer.findings.is_empty() {
        text += "\nnothing is wrong, as far as these traces tell\n";
    }
    if answer.not_followed > 0 {
        let _ = writeln!(
            text,
            "\n{} operations and edges with the fewest requests were not looked at for faults: there are too many",
            answer.not_followed
        );
    }
    for finding in &answer.findings {
        add_finding(&mut text, finding, palette);
    }
    add_times(&mut text, answer, palette);
    if style.ascii { ascii(&text) } else { text }
}

/// Where the time goes, and what would help.
fn add_times(text: &mut String, answer: &ReportAnswer, palette: Palette) {
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let name = |operation: &OperationName| {
        format!("{} {}", printable(&operation.service, MOST_NAME), printable(&operation.name, MOST_NAME))
    };
    let head = |text: &mut String, head: &str| {
        let _ = writeln!(text, "\n{}", palette.text(BOLD, head));
    };
    if !answer.services.is_empty() {
        head(text, "Where the time of requests goes (critical paths)");
        for share in answer.services.iter().take(MOST_LINES) {
            let service = printable(&share.service, MOST_NAME);
            let _ = writeln!(text, "  {:>7}  {service}", percent(share.part));
        }
        if answer.network_part > 0.0 {
            let _ = writeln!(text, "  {:>7}  on the way between services", percent(answer.network_part));
        }
    }
    if !answer.help.is_empty() {
        head(text, "What would help most, if it took half of its time");
        for help in answer.help.iter().take(MOST_LINES) {
            let _ = writeln!(
                text,
                "  {:>7}  {}: the median of {} requests {} instead of {}, the 95th percentile {} instead of {}",
                format!("-{}", percent(help.part)),
                name(&help.operation),
                help.traces,
                duration(help.helped_p50_ns),
                duration(help.p50_ns),
                duration(help.helped_p95_ns),
                duration(help.p95_ns),
            );
        }
    }
    if !answer.repeated.is_empty() {
        head(text, "One call for each of many things (N+1)");
        for repeated in answer.repeated.iter().take(MOST_LINES) {
            let _ = writeln!(text, "  {}", printable(&repeated.sentence, MOST_TEXT));
        }
    }
    if !answer.hidden_errors.is_empty() {
        head(text, "Failed calls below requests that succeed");
        for hidden in answer.hidden_errors.iter().take(MOST_LINES) {
            let _ = writeln!(
                text,
                "  {} of {} calls of {} to {}, in {} requests",
                hidden.calls,
                hidden.of,
                printable(&hidden.edge.from, MOST_NAME),
                printable(&hidden.edge.to, MOST_NAME),
                hidden.requests
            );
        }
    }
}

fn looked_at(sample: &Sample) -> String {
    let time = |unix_us: u64| clock_time(unix_us.saturating_mul(1000));
    let mut text = format!("{} traces, {} spans", sample.traces, sample.spans);
    if sample.traces > 0 {
        let _ =
            write!(text, ", {} to {}", time(sample.window.start_unix_us), time(sample.window.end_unix_us));
    }
    for (count, words) in [
        (sample.broken_traces, "have parts missing"),
        (sample.omitted_traces, "were left out: there are too many spans"),
    ] {
        if count > 0 {
            let _ = write!(text, "; {count} traces {words}");
        }
    }
    if let Some(incomplete) = &sample.incomplete {
        let _ = write!(text, "; {incomplete}");
    }
    text
}

fn add_finding(text: &mut String, finding: &Finding, palette: Palette) {
    let time = |unix_us: u64| clock_time(unix_us.saturating_mul(1000));
    let end = finding.end_unix_us.map_or_else(|| "it goes on".to_owned(), time);
    let when = format!("{} – {end}", time(finding.onset_unix_us));
    let sentence = palette.text(BOLD, &printable(&finding.sentence, MOST_TEXT));
    let _ = writeln!(text, "\n{} {sentence}", palette.text(RED, "●"));
    let mut line = |head: &str, line: &str| {
        let _ = writeln!(text, "  {}  {line}", palette.text(DIM, &format!("{head:<8}")));
    };
    line("when", &when);
    if finding.of > 0 {
        line("extent", &format!("{} of {} requests", finding.affected, finding.of));
    }
    if !finding.services.is_empty() {
        let services: Vec<String> =
            finding.services.iter().map(|service| printable(service, MOST_TEXT)).collect();
        line("felt by", &services.join(", "));
    }
    for evidence in &finding.evidence {
        line("shown by", &printable(evidence, MOST_TEXT));
    }
    for next in &finding.next {
        line("look at", &printable(next, MOST_TEXT));
    }
    if !finding.exemplars.is_empty() {
        let trace = |exemplar: &Exemplar| printable(&exemplar.trace_id, MOST_TEXT);
        let traces: Vec<String> = finding.exemplars.iter().take(MOST_EXEMPLARS).map(trace).collect();
        line("traces", &traces.join(" "));
    }
}
