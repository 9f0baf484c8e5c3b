//! `tracer traces`: a list of traces.

#![forbid(unsafe_code)]

use std::{fmt::Write, process::ExitCode};

use time::OffsetDateTime;
use tracer_model::answer::{SearchAnswer, TraceSummary};

use super::{
    flags::TracesFlags,
    outcome::{CommandOutcome, print_drawn, print_json},
    source::{LEAST_DIGITS, Search, Source},
};
use crate::{
    clock,
    outside::escaped_lines,
    sink::terminal::{
        Destination, Style,
        escape::{ascii, columns, duration, fit, printable},
        row::{Tone, clock_time},
        style::{DIM, Palette, RED},
    },
};

pub(super) fn run(flags: &TracesFlags) -> CommandOutcome {
    let source = Source::open(&flags.source)?;
    let search = Search {
        query: query(&flags.query, flags.error),
        since_us: flags.since.map(|since| clock::unix_ns().saturating_sub(since.as_ns()) / 1000),
        limit: flags.limit as usize,
        slowest_first: flags.slow,
    };
    let answer = source.search(&search)?;
    if flags.json {
        for trace in &answer.traces {
            print_json(&format!("{}\n", serde_json::to_string(trace).unwrap_or_default()))?;
        }
    } else if !answer.traces.is_empty() {
        let destination = Destination::new(None, false);
        let style = destination.style(flags.color.resolve(&destination));
        print_drawn(&table(&answer.traces, style, clock::unix_ns()))?;
    }
    for note in notes(&answer, &search, &source.name()) {
        eprintln!("tracer: {}", escaped_lines(&note));
    }
    Ok(ExitCode::SUCCESS)
}

/// The words as one query.
fn query(words: &[String], only_errors: bool) -> String {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if only_errors {
        words.push("status:error");
    }
    words.join(" ")
}

/// What a person must know beside the list.
fn notes(answer: &SearchAnswer, search: &Search, source: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if answer.traces.is_empty() && answer.incomplete.is_none() {
        let asks_for_all = search.query.is_empty() && search.since_us.is_none();
        notes.push(match asks_for_all {
            true => format!("{source} has no trace yet"),
            false => format!("no trace of {source} meets this: ask for fewer words, or a longer time"),
        });
        if !answer.empty_terms.is_empty() {
            notes.push(format!("no span meets {}, whatever else is asked", answer.empty_terms.join(", or ")));
        }
    }
    if answer.has_more {
        notes.push(format!("there are more than {}: raise --limit, or add words", answer.traces.len()));
    }
    notes.extend(answer.incomplete.clone());
    notes
}

/// Heads of columns, which are as wide at least.
const TOOK: &str = "  took";
const STATUS: &str = "status";
const SPANS: &str = "spans";
const ERRORS: &str = "errors";
const SERVICE: &str = "service";
const TARGET: &str = "target";
/// From this width on columns stand two apart.
const ROOMY: usize = 100;
/// Below this width there is no room for the number of spans.
const NARROW: usize = 80;
/// What service and target need besides a whole id.
const FOR_TEXTS: usize = 36;
/// Most columns of a service's name, and of a target.
const SERVICE_WIDTH: usize = 24;
const TARGET_WIDTH: usize = 120;
/// Digits of a whole id.
const WHOLE_ID: usize = 32;

/// Widths of the columns.
struct Grid {
    gap: usize,
    has_dates: bool,
    took: usize,
    spans: usize,
    errors: usize,
    service: usize,
    target: usize,
    id: usize,
}

impl Grid {
    fn new(traces: &[TraceSummary], width: usize, now_ns: u64) -> Self {
        let gap = if width >= ROOMY { 2 } else { 1 };
        let widest = |of: &dyn Fn(&TraceSummary) -> usize| traces.iter().map(of).max().unwrap_or(0);
        let has_dates = traces.iter().any(|trace| day(trace.start_unix_us) != day(now_ns / 1000));
        let took = widest(&|trace| columns(&duration(trace.duration_ns))).max(TOOK.len());
        let spans = if width < NARROW { 0 } else { widest(&|trace| digits(trace.spans)).max(SPANS.len()) };
        let errors = widest(&|trace| digits(trace.errors)).max(ERRORS.len());
        let mut grid = Self { gap, has_dates, took, spans, errors, service: 0, target: 0, id: 0 };
        let left = width.saturating_sub(grid.texts_at() + 2 * gap);
        grid.id = if left >= WHOLE_ID + FOR_TEXTS { WHOLE_ID } else { distinct_digits(traces) };
        let left = left.saturating_sub(grid.id);
        let service = widest(&|trace| columns(&service(trace))).max(SERVICE.len());
        grid.service = service.min((left / 3).max(SERVICE.len()));
        let target = widest(&|trace| columns(&target(trace))).max(TARGET.len());
        grid.target = target.min(left.saturating_sub(grid.service)).max(TARGET.len());
        grid
    }

    fn start(&self) -> usize {
        if self.has_dates { "12-31 23:59:59".len() } else { "23:59:59.999".len() }
    }

    /// Where the service begins.
    fn texts_at(&self) -> usize {
        let Self { gap, took, spans, errors, .. } = self;
        let spans = if *spans > 0 { spans + gap } else { 0 };
        self.start() + gap + took + gap + STATUS.len() + gap + spans + errors + gap
    }
}

/// The traces as lines with a heading, as wide as the style's terminal.
fn table(traces: &[TraceSummary], style: Style, now_ns: u64) -> String {
    let palette = Palette(style.color);
    let grid = Grid::new(traces, (style.columns)(), now_ns);
    let Grid { took, spans, errors, .. } = grid;
    let mut text = String::new();
    let mut line = |cells: [String; 8]| {
        let cells: Vec<String> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", cells.join(&" ".repeat(grid.gap)));
    };
    let dim = |head: String| palette.text(DIM, &head);
    let right = |text: &str, width: usize| if width == 0 { String::new() } else { format!("{text:>width$}") };
    line([
        dim(fit("started", grid.start())),
        dim(right(TOOK, took)),
        dim(STATUS.to_owned()),
        dim(right(SPANS, spans)),
        dim(right(ERRORS, errors)),
        dim(fit(SERVICE, grid.service)),
        dim(fit(TARGET, grid.target)),
        dim("trace".to_owned()),
    ]);
    for trace in traces {
        let failed = right(&trace.errors.to_string(), errors);
        line([
            dim(fit(&start(trace.start_unix_us, grid.has_dates), grid.start())),
            right(&duration(trace.duration_ns), took),
            status(trace, palette),
            right(&trace.spans.to_string(), spans),
            if trace.errors > 0 { palette.text(RED, &failed) } else { failed },
            fit(&service(trace), grid.service),
            fit(&target(trace), grid.target),
            printable(trace.trace_id.get(..grid.id).unwrap_or(&trace.trace_id), WHOLE_ID),
        ]);
    }
    if style.ascii { ascii(&text) } else { text }
}

fn service(trace: &TraceSummary) -> String {
    printable(&trace.root_service, SERVICE_WIDTH)
}

fn target(trace: &TraceSummary) -> String {
    printable(&trace.root_target, TARGET_WIDTH)
}

fn status(trace: &TraceSummary, palette: Palette) -> String {
    let Some(status) = trace.http_status else { return fit("-", STATUS.len()) };
    let tone = match status {
        500.. => Tone::Error,
        400.. => Tone::Odd,
        _ => Tone::Fine,
    };
    palette.status(tone, &fit(&status.to_string(), STATUS.len()))
}

fn digits(number: u32) -> usize {
    number.to_string().len()
}

/// Digits of ids that tell these traces from each other.
fn distinct_digits(traces: &[TraceSummary]) -> usize {
    let mut ids: Vec<&str> = traces.iter().map(|trace| trace.trace_id.as_str()).collect();
    ids.sort_unstable();
    let shared = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    ids.windows(2).map(|pair| shared(pair) + 1).max().unwrap_or(0).clamp(LEAST_DIGITS, WHOLE_ID)
}

/// Seconds since 1970, as a clock in the local zone counts them.
fn local_seconds(unix_us: u64) -> i64 {
    let seconds = i64::try_from(unix_us / 1_000_000).unwrap_or(i64::MAX / 2);
    seconds.saturating_add(clock::local_offset_seconds(seconds))
}

fn day(unix_us: u64) -> i64 {
    local_seconds(unix_us).div_euclid(86_400)
}

fn start(unix_us: u64, with_date: bool) -> String {
    if !with_date {
        return clock_time(unix_us.saturating_mul(1000));
    }
    match OffsetDateTime::from_unix_timestamp(local_seconds(unix_us)) {
        Ok(at) => {
            let month = u8::from(at.month());
            format!("{month:02}-{:02} {:02}:{:02}:{:02}", at.day(), at.hour(), at.minute(), at.second())
        }
        // A moment that no calendar has.
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 1_700_000_000_000_000_000;

    fn trace(id: u128, service: &str, target: &str) -> TraceSummary {
        TraceSummary {
            trace_id: format!("{id:032x}"),
            root_service: service.to_owned(),
            root_target: target.to_owned(),
            start_unix_us: NOW_NS / 1000,
            duration_ns: 12_300_000,
            spans: 7,
            http_status: Some(200),
            ..TraceSummary::default()
        }
    }

    fn drawn(traces: &[TraceSummary], columns: fn() -> usize) -> String {
        table(traces, Style { color: false, ascii: false, columns }, NOW_NS)
    }

    fn some() -> [TraceSummary; 3] {
        let failed = TraceSummary {
            errors: 3,
            http_status: Some(503),
            duration_ns: 1_234_000_000,
            ..trace(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, "shop", "GET /orders/42")
        };
        let batch =
            TraceSummary { http_status: None, spans: 1234, ..trace(0x1234_5678 << 96, "batch", "nightly") };
        [
            failed,
            batch,
            trace(0xabcd_ef01 << 96, "a-service-with-a-long-name", &format!("GET /{}", "価".repeat(90))),
        ]
    }

    #[test]
    fn a_table_is_as_wide_as_its_terminal_and_has_the_same_columns_in_each_line() {
        for (width, columns_of) in [(60, (|| 60) as fn() -> usize), (80, || 80), (120, || 120), (200, || 200)]
        {
            let text = drawn(&some(), columns_of);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 4, "{text}");
            assert!(lines.iter().all(|line| columns(line) <= width), "{width}:\n{text}");
            let at = |line: &str, what: &str| columns(line.split(what).next().unwrap_or_default());
            let service = at(lines[0], "service");
            assert_eq!(
                (at(lines[1], "shop"), at(lines[2], "batch"), at(lines[3], "a-ser")),
                (service, service, service)
            );
            assert_eq!(at(lines[1], "4bf92f35"), at(lines[0], "trace"), "{text}");
            assert_eq!(text.contains("4bf92f3577b34da6a3ce929d0e0e4736"), width >= 120, "{text}");
            assert_eq!(lines[0].contains("spans"), width >= 80, "{text}");
        }
    }

    #[test]
    fn a_list_of_nothing_names_the_terms_that_nothing_meets() {
        let answer = SearchAnswer { empty_terms: vec!["service:shpo".to_owned()], ..SearchAnswer::default() };
        let search = Search {
            query: "service:shpo status:error".to_owned(),
            since_us: None,
            limit: 20,
            slowest_first: false,
        };
        assert_eq!(
            notes(&answer, &search, "the viewer"),
            [
                "no trace of the viewer meets this: ask for fewer words, or a longer time",
                "no span meets service:shpo, whatever else is asked"
            ]
        );
    }

    #[test]
    fn a_row_says_when_how_long_how_and_what() {
        let text = drawn(&some(), || 120);
        let row = text.lines().nth(1).unwrap_or_default();
        // The time of day depends on the zone of the machine.
        let shown: Vec<&str> = row.split_whitespace().skip(1).collect();
        let expected =
            ["1.23s", "503", "7", "3", "shop", "GET", "/orders/42", "4bf92f3577b34da6a3ce929d0e0e4736"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn ids_are_as_long_as_tells_them_apart() {
        let near = [trace(0x1234_5678_9aaa << 80, "a", "b"), trace(0x1234_5678_9abb << 80, "a", "b")];
        assert_eq!(distinct_digits(&near), 11);
        assert_eq!(distinct_digits(&near[..1]), 8);
        assert_eq!(distinct_digits(&[near[0].clone(), near[0].clone()]), 32);
    }

    #[test]
    fn traces_of_another_day_have_a_date() {
        let old = TraceSummary { start_unix_us: NOW_NS / 1000 - 100 * 86_400_000_000, ..trace(1, "a", "b") };
        let text = drawn(&[old, TraceSummary { start_unix_us: u64::MAX, ..trace(2, "a", "b") }], || 80);
        assert!(text.lines().nth(1).is_some_and(|row| row.starts_with("08-0")), "{text}");
        assert!(
            text.lines()
                .nth(2)
                .is_some_and(|row| row.starts_with("-  ") || row.starts_with(char::is_numeric)),
            "{text}"
        );
    }

    #[test]
    fn names_from_traffic_control_no_terminal() {
        let hostile = "\u{1b}[2J\r\n\u{202e}\u{9b}31m";
        let text = drawn(&[trace(1, hostile, hostile)], || 120);
        assert!(!text.replace('\n', "").chars().any(crate::outside::controls), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn words_are_one_query() {
        let words = ["service:shop".to_owned(), "duration>1s".to_owned()];
        assert_eq!(query(&words, true), "service:shop duration>1s status:error");
        assert_eq!(query(&[], false), "");
    }
}
