//! Runs that are kept: the spans of each, what was done when, and an index for people.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    load::Seen,
    run::Run,
    scenarios::{self, Fault, Scenario},
    shows::Window,
};

/// Keeps a run with what was measured in its spans, and writes the index again.
pub(super) fn keep(
    folder: &Path,
    spans: &Path,
    scenario: &Scenario,
    run: &Run,
    measured: &str,
) -> Result<()> {
    let name = match run.repetition {
        1 => scenario.name.to_owned(),
        repetition => format!("{}-{repetition}", scenario.name),
    };
    fs::copy(spans, folder.join(format!("{name}.jsonl")))
        .with_context(|| format!("cannot keep the spans in {}", folder.display()))?;
    let facts = json!({
        "scenario": scenario.name,
        "repetition": run.repetition,
        "began_unix_us": run.window.began_us,
        "ended_unix_us": run.window.ended_us,
        "answered": run.load.answered,
        "failed": run.load.failed,
        "late": run.load.late,
        "measured": measured,
        "incidents": run.incidents,
    });
    fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&facts)?)?;
    write_index(folder)
}

/// The files of spans in a folder with the runs that they are of, by name.
pub(super) fn list(folder: &Path) -> Result<Vec<(PathBuf, Value)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    let mut runs = Vec::new();
    for path in paths {
        if let Ok(text) = fs::read_to_string(path.with_extension("json")) {
            let facts = serde_json::from_str(&text).with_context(|| format!("beside {}", path.display()))?;
            runs.push((path, facts));
        }
    }
    Ok(runs)
}

/// The run that these facts are of.
pub(super) fn run_of(facts: &Value) -> Run {
    let number = |name: &str| facts[name].as_u64().unwrap_or_default();
    Run {
        repetition: u32::try_from(number("repetition")).unwrap_or_default(),
        window: Window { began_us: number("began_unix_us"), ended_us: number("ended_unix_us") },
        load: Seen { answered: number("answered"), failed: number("failed"), late: number("late") },
        incidents: Some(facts["incidents"].clone()).filter(|incidents| !incidents.is_null()),
    }
}

fn write_index(folder: &Path) -> Result<()> {
    let mut text = String::from(
        "# Recordings\n\nEach is of nginx → shop (Python) → catalog (Node), stock (Go); catalog → stock → depot (Go). Catalog and \
         stock ask PostgreSQL, which is not traced. Times are unix, in µs.\n",
    );
    for (path, facts) in list(folder)? {
        let run = run_of(&facts);
        let mut scenarios = scenarios::all(run.repetition).into_iter();
        if let Some(scenario) = scenarios.find(|scenario| facts["scenario"] == scenario.name) {
            text += &entry(&path, &scenario, &run, facts["measured"].as_str().unwrap_or_default());
        }
    }
    Ok(fs::write(folder.join("INDEX.md"), text)?)
}

fn entry(path: &Path, scenario: &Scenario, run: &Run, measured: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Window { began_us, ended_us } = run.window;
    let when = match scenario.fault {
        Fault::None => "none".to_owned(),
        _ => format!("from {began_us} to {ended_us}"),
    };
    let right = scenario.finding.map_or("none at all".to_owned(), |finding| {
        let edge = finding.edge.map_or(String::new(), |(from, to)| format!(", edge {from} → {to}"));
        let operations = match finding.operations {
            [] => "any".to_owned(),
            words => words.join(", "),
        };
        let kinds = finding.kinds.join(" or ");
        format!("{} ({kinds}: service {}, operation {operations}{edge})", finding.says, finding.service)
    });
    format!(
        "\n## {name}\n- {}\n- fault: {when}\n- right finding: {right}\n- spans: {measured}\n\
         - load: {} requests a second; {} answered, {} failed, {} sent late\n",
        scenario.about, scenario.per_second, run.load.answered, run.load.failed, run.load.late
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_a_run_are_read_back() {
        let facts = json!({"repetition": 3, "began_unix_us": 5, "ended_unix_us": 9, "answered": 7, "incidents": null});
        let run = run_of(&facts);
        assert_eq!((run.repetition, run.window.began_us, run.window.ended_us), (3, 5, 9));
        assert_eq!((run.load.answered, run.incidents), (7, None));
    }
}
