//! A comparison as Markdown, for a pull request.
//!
//! Text from traffic stands in code spans: there it is no markup, no link, and no mention of anybody. Entities do not stop
//! GitHub's mentions, which it looks for in the text of the finished page.

use std::fmt::Write;

use super::{ComparedOperation, ComparisonAnswer, OneSided};
use crate::{
    answer::{EdgeName, OperationName},
    statistics::Verdict,
    words::{duration, percent},
};

/// Rows of a table that are told.
const MOST_ROWS: usize = 20;

/// Most characters of a name.
const MOST_NAME: usize = 80;

/// The comparison in the flavour of Markdown that GitHub reads.
pub fn markdown(answer: &ComparisonAnswer) -> String {
    let (before, after) = (&answer.before, &answer.after);
    let mut text =
        format!("### {}: {} → {}\n\n", heading(answer.verdict), code(&before.name), code(&after.name));
    let _ = writeln!(
        text,
        "{} requests in {:.0} s before, {} requests in {:.0} s after.\n",
        before.requests, before.seconds, after.requests, after.seconds
    );
    for side in [before, after] {
        if side.sample.omitted_traces > 0 || side.sample.incomplete.is_some() {
            let _ = writeln!(text, "Not all traces of {} were looked at.\n", code(&side.name));
        }
    }
    if before.requests == 0 || after.requests == 0 {
        return text + "One side has no requests: nothing can be compared.\n";
    }
    add_operations(&mut text, answer);
    if !answer.calls.is_empty() {
        text += "#### Calls for each request\n\n| request | calls | before | after |\n|---|---|---:|---:|\n";
        for row in answer.calls.iter().take(MOST_ROWS) {
            let (old, new) = row.per_request;
            let (request, call) =
                (operation(&row.operation), format!("{} to {}", code(&row.call), code(&row.edge.to)));
            let _ = writeln!(text, "| {request} | {call} | {old:.2} | {new:.2} |");
        }
        text.push('\n');
    }
    for row in answer.queries.iter().take(MOST_ROWS) {
        let parts: Vec<String> = row
            .queries
            .iter()
            .take(3)
            .map(|part| format!("{} {} → {}", code(&part.query), percent(part.before), percent(part.after)))
            .collect();
        let _ = writeln!(
            text,
            "- {} asks {} for other things: {}",
            code(&row.edge.from),
            code(&row.edge.to),
            parts.join(", ")
        );
    }
    add_one_sided(&mut text, "New operations", &answer.new_operations, operation);
    add_one_sided(&mut text, "Lost operations", &answer.lost_operations, operation);
    let edge = |edge: &EdgeName| format!("{} → {}", code(&edge.from), code(&edge.to));
    add_one_sided(&mut text, "New calls", &answer.new_edges, edge);
    add_one_sided(&mut text, "Lost calls", &answer.lost_edges, edge);
    let error = |error: &super::ErrorName| format!("{} in {}", code(&error.error), code(&error.service));
    add_one_sided(&mut text, "New failures", &answer.new_errors, error);
    add_one_sided(&mut text, "Lost failures", &answer.lost_errors, error);
    text
}

fn heading(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "Worse",
        Verdict::Better => "Better",
        Verdict::Unchanged => "Unchanged",
        Verdict::NotEnough => "Not enough data",
    }
}

fn add_operations(text: &mut String, answer: &ComparisonAnswer) {
    let is_changed = |row: &&ComparedOperation| matches!(row.verdict, Verdict::Worse | Verdict::Better);
    let changed: Vec<&ComparedOperation> = answer.operations.iter().filter(is_changed).collect();
    if !changed.is_empty() {
        *text += "| | operation | own time, median | p95 | fails by itself | change |\n|---|---|---:|---:|---:|---:|\n";
    }
    for row in changed.iter().take(MOST_ROWS) {
        let time = &row.own_time;
        let change = time.ratio.map_or(String::new(), |ratio| {
            let of = |ratio: f64| (ratio - 1.0) * 100.0;
            let (low, high) = (of(ratio.interval.low), of(ratio.interval.high));
            format!("{:+.0} % ({low:+.0} to {high:+.0})", of(ratio.value))
        });
        let failing = |failed: u64, of: u64| percent(failed as f64 / of.max(1) as f64);
        let _ = writeln!(
            text,
            "| {} | {} | {} → {} | {} → {} | {} → {} | {change} |",
            heading(row.verdict).to_lowercase(),
            operation(&row.operation),
            duration(time.p50_ns.0),
            duration(time.p50_ns.1),
            duration(time.p95_ns.0),
            duration(time.p95_ns.1),
            failing(row.own_failures.failed.0, row.requests.0),
            failing(row.own_failures.failed.1, row.requests.1),
        );
    }
    if changed.len() > MOST_ROWS {
        let _ = writeln!(text, "\nand {} more operations", changed.len() - MOST_ROWS);
    }
    let count = |verdict: Verdict| answer.operations.iter().filter(|row| row.verdict == verdict).count();
    let (same, open) = (count(Verdict::Unchanged), count(Verdict::NotEnough));
    let _ = writeln!(
        text,
        "{}{same} {} unchanged, {open} without enough data to tell.\n",
        if changed.is_empty() { "" } else { "\n" },
        if same == 1 { "operation" } else { "operations" }
    );
}

fn add_one_sided<T>(text: &mut String, head: &str, rows: &[OneSided<T>], name: impl Fn(&T) -> String) {
    let certain: Vec<&OneSided<T>> = rows.iter().filter(|row| row.is_certain).collect();
    let rest = rows.len() - certain.len();
    if certain.is_empty() {
        return;
    }
    let names: Vec<String> =
        certain.iter().take(MOST_ROWS).map(|row| format!("{} ({})", name(&row.what), row.count)).collect();
    let more = certain.len().saturating_sub(MOST_ROWS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let rest = if rest > 0 { format!("; {rest} too rare to tell") } else { String::new() };
    let _ = writeln!(text, "- {head}: {}{more}{rest}", names.join(", "));
}

fn operation(operation: &OperationName) -> String {
    format!("{} {}", code(&operation.service), code(&operation.name))
}

/// Text as a code span, in a table too.
///
/// A vertical bar would end the cell also in a code span, and a backslash before it is read in different ways after another one:
/// it is shown as control characters are.
fn code(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (place, c) in text.chars().enumerate() {
        match c {
            _ if place >= MOST_NAME => {
                shown.push('…');
                break;
            }
            '|' => shown.extend(c.escape_unicode()),
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    if shown.trim().is_empty() {
        return "(no name)".to_owned();
    }
    // The fence is longer than each run of its own characters within; one space on each side is not shown.
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{space}{shown}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        answer::Interval,
        compare::{ComparedFailures, ComparedSide, ComparedTime, ErrorName},
        statistics::Estimate,
    };

    fn answer(service: &str, name: &str) -> ComparisonAnswer {
        let ratio = Estimate { value: 1.14, interval: Interval { low: 1.11, high: 1.18 } };
        let side = |name: &str, requests| ComparedSide {
            name: name.into(),
            requests,
            seconds: 100.0,
            ..ComparedSide::default()
        };
        let changed = ComparedOperation {
            operation: OperationName {
                service: service.into(),
                name: name.into(),
                ..OperationName::default()
            },
            requests: (100, 120),
            own_time: ComparedTime {
                p50_ns: (41_000_000.0, 47_000_000.0),
                p95_ns: (42_000_000.0, 48_000_000.0),
                ratio: Some(ratio),
                ..ComparedTime::default()
            },
            own_failures: ComparedFailures { failed: (0, 6), ..ComparedFailures::default() },
            verdict: Verdict::Worse,
            ..ComparedOperation::default()
        };
        let same = ComparedOperation { verdict: Verdict::Unchanged, ..ComparedOperation::default() };
        ComparisonAnswer {
            before: side("catalog@1.0.0", 1000),
            after: side("catalog@1.1.0", 1200),
            verdict: Verdict::Worse,
            operations: vec![changed, same],
            new_errors: vec![OneSided {
                what: ErrorName { service: service.into(), error: "500".into() },
                count: 6,
                is_certain: true,
                exemplar: None,
            }],
            ..ComparisonAnswer::default()
        }
    }

    #[test]
    fn a_pull_request_gets_a_table_of_what_changed_and_a_count_of_the_rest() {
        assert_eq!(
            markdown(&answer("catalog", "GET /similar/{id}")),
            "### Worse: `catalog@1.0.0` → `catalog@1.1.0`\n\
             \n\
             1000 requests in 100 s before, 1200 requests in 100 s after.\n\
             \n\
             | | operation | own time, median | p95 | fails by itself | change |\n\
             |---|---|---:|---:|---:|---:|\n\
             | worse | `catalog` `GET /similar/{id}` | 41 ms → 47 ms | 42 ms → 48 ms | 0 % → 5.0 % | +14 % (+11 to +18) |\n\
             \n\
             1 operation unchanged, 0 without enough data to tell.\n\
             \n\
             - New failures: `500` in `catalog` (6)\n"
        );
    }

    #[test]
    fn names_are_code_and_stay_in_their_cell() {
        for (text, shown) in [
            ("GET /a", "`GET /a`"),
            ("GET /a|b\\|c", "`GET /a\\u{7c}b\\\\u{7c}c`"),
            ("a`b``c", "```a`b``c```"),
            ("`a", "`` `a ``"),
            ("a\n\n# b\u{202e}", "`a\\u{a}\\u{a}# b\\u{202e}`"),
            ("", "(no name)"),
        ] {
            assert_eq!(code(text), shown);
        }
    }

    /// Text outside of code spans, by the rule of CommonMark: a run of backticks is closed by the next run of its length.
    fn outside_of_code(line: &str) -> String {
        let run = |text: &str| text.len() - text.trim_start_matches('`').len();
        let (mut outside, mut rest) = (String::new(), line);
        while let Some(begin) = rest.find('`') {
            outside += &rest[..begin];
            let inner = &rest[begin..];
            let fence = run(inner);
            let mut at = fence;
            loop {
                let next = at + inner[at..].find('`').expect("each span is closed");
                at = next + run(&inner[next..]);
                if at - next == fence {
                    break;
                }
            }
            rest = &inner[at..];
        }
        outside + rest
    }

    proptest! {
        #[test]
        fn no_name_is_markup(
            service in "[ -~|`\\\\\n@<#é]{0,20}|[|`\\\\]{0,6}", name in "[ -~|`\\\\\n@<#é]{0,20}|[|`\\\\]{0,6}",
        ) {
            let text = markdown(&answer(&service, &name));
            let usual = markdown(&answer("a", "b"));
            prop_assert_eq!(text.lines().count(), usual.lines().count());
            for (line, usual) in text.lines().zip(usual.lines()) {
                let shown = outside_of_code(line).replace("(no name)", "");
                prop_assert_eq!(&shown, &outside_of_code(usual), "{}", line);
                prop_assert_eq!(line.matches('|').count(), usual.matches('|').count(), "{}", line);
            }
        }
    }
}
