//! A comparison as Markdown, for a pull request.

use std::fmt::Write;

use super::{ComparedOperation, ComparisonAnswer, OneSided};
use crate::{
    answer::{EdgeName, OperationName},
    detect::place::{duration, percent},
    statistics::Verdict,
};

/// Rows of a table that are told.
const MOST_ROWS: usize = 20;

/// Most characters of a name.
const MOST_NAME: usize = 100;

/// The comparison in the flavour of Markdown that GitHub reads. Names come from traffic: none makes a table, a link or markup.
pub fn markdown(answer: &ComparisonAnswer) -> String {
    let mut text = format!("### {}: {}\n\n", heading(answer.verdict), plain(&answer.sentence));
    let (before, after) = (&answer.before, &answer.after);
    let _ = writeln!(
        text,
        "{} ({} requests in {:.0} s) → {} ({} requests in {:.0} s)\n",
        plain(&before.name),
        before.requests,
        before.seconds,
        plain(&after.name),
        after.requests,
        after.seconds
    );
    add_operations(&mut text, answer);
    if !answer.calls.is_empty() {
        text += "#### Calls for each request\n\n| request | calls | before | after |\n|---|---|---:|---:|\n";
        for row in answer.calls.iter().take(MOST_ROWS) {
            let (old, new) = row.per_request;
            let (request, call) =
                (operation(&row.operation), format!("{} to {}", plain(&row.call), plain(&row.edge.to)));
            let _ = writeln!(text, "| {request} | {call} | {old:.2} | {new:.2} |");
        }
        text.push('\n');
    }
    for row in answer.queries.iter().take(MOST_ROWS) {
        let parts: Vec<String> = row
            .queries
            .iter()
            .take(3)
            .map(|part| format!("{} {} → {}", plain(&part.query), percent(part.before), percent(part.after)))
            .collect();
        let _ = writeln!(
            text,
            "- {} asks {} for other things: {}",
            plain(&row.edge.from),
            plain(&row.edge.to),
            parts.join(", ")
        );
    }
    add_one_sided(&mut text, "New operations", &answer.new_operations, operation);
    add_one_sided(&mut text, "Lost operations", &answer.lost_operations, operation);
    let edge = |edge: &EdgeName| format!("{} → {}", plain(&edge.from), plain(&edge.to));
    add_one_sided(&mut text, "New calls", &answer.new_edges, edge);
    add_one_sided(&mut text, "Lost calls", &answer.lost_edges, edge);
    let error = |error: &super::ErrorName| format!("{} in {}", plain(&error.error), plain(&error.service));
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
        "{}{same} operations unchanged, {open} without enough data to tell.\n",
        if changed.is_empty() { "" } else { "\n" }
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
    format!("{} {}", plain(&operation.service), plain(&operation.name))
}

/// Text that Markdown shows as it is: signs that could be markup, a link, a mention or a cell's end are entities.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars().take(MOST_NAME.max(text.len().min(400))) {
        match c {
            c if c.is_control() => safe.push(' '),
            '&' | '<' | '>' | '|' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '\\' | '#' | '~' | '!'
            | '@' | '$' => {
                let _ = write!(safe, "&#{};", u32::from(c));
            }
            // An address with a scheme is a link, also without markup.
            ':' if safe.ends_with("http") || safe.ends_with("https") || safe.ends_with("ftp") => {
                safe += "&#58;"
            }
            c => safe.push(c),
        }
    }
    safe.replace("www.", "www&#46;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_markup() {
        for (text, shown) in [
            ("GET /a|b", "GET /a&#124;b"),
            ("<script>", "&#60;script&#62;"),
            ("[x](http://evil)", "&#91;x&#93;&#40;http&#58;//evil&#41;"),
            ("@user #1 &amp;", "&#64;user &#35;1 &#38;amp;"),
            ("a\nb", "a b"),
            ("www.evil", "www&#46;evil"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
