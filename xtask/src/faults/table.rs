//! The table of all runs.

use super::{judge::Verdict, spans::median};

/// All runs of a scenario.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) done: usize,
    /// Those whose spans show the fault.
    pub(super) shown: usize,
    /// One of each run, if this `tracer` has `report`.
    pub(super) verdicts: Vec<Verdict>,
}

/// Times are medians, and count from the begin of the fault.
const HEADER: &str = "\
| scenario | shows in the spans | found | onset, s | detected after, s | false findings | false incidents |
|---|---|---|---|---|---|---|";

/// A Markdown table with a row for each scenario.
pub(super) fn table(scenarios: &[(&str, Runs)]) -> String {
    let rows = scenarios.iter().map(|(name, runs)| row(name, runs));
    [HEADER.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn row(name: &str, Runs { done, shown, verdicts }: &Runs) -> String {
    if verdicts.is_empty() {
        return format!("| {name} | {shown}/{done} | not judged | | | | |");
    }
    let middle = |of: fn(&Verdict) -> Option<i64>| {
        let times = verdicts.iter().filter_map(of).map(|us| us as f64 / 1e6).collect();
        median(times).map_or("–".to_owned(), |seconds| format!("{seconds:.1}"))
    };
    let count = |of: fn(&Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
    format!(
        "| {name} | {shown}/{done} | {}/{} | {} | {} | {} | {} |",
        count(|verdict| usize::from(verdict.is_right)),
        verdicts.len(),
        middle(|verdict| verdict.onset_us),
        middle(|verdict| verdict.detected_us),
        count(|verdict| verdict.false_findings.len()),
        count(|verdict| verdict.false_incidents.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_what_was_found() {
        let verdict = |is_right, onset_us| Verdict { is_right, onset_us, ..Verdict::default() };
        let verdicts = vec![verdict(true, Some(1_200_000)), verdict(false, None)];
        let runs = Runs { done: 3, shown: 2, verdicts };
        assert_eq!(row("delay", &runs), "| delay | 2/3 | 1/2 | 1.2 | – | 0 | 0 |");
        assert_eq!(row("lock", &Runs::default()), "| lock | 0/0 | not judged | | | | |");
    }
}
