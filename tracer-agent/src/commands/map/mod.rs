//! `tracer map`: who depends on whom, and whether that is as declared.

#![forbid(unsafe_code)]

mod declared;
mod text;

use std::process::ExitCode;

use tracer_analysis::dependency::{
    check::{DependencyCheck, check},
    export::{dot, mermaid},
};

use super::{
    flags::{MapFlags, MapFormat},
    outcome::{CommandOutcome, FAILURE, FOUND, Failure, USAGE, print_drawn, print_json, print_raw},
    source::Source,
};
use crate::sink::terminal::Destination;

pub(super) fn run(flags: &MapFlags) -> CommandOutcome {
    let declared = flags.check.as_deref().map(declared::read).transpose()?;
    if declared.is_some() && !matches!(flags.format, MapFormat::Text | MapFormat::Json) {
        return Err(Failure::new(USAGE, "--check tells differences as text or as json: leave --format out"));
    }
    let source = Source::open_or_files(&flags.source, &flags.files)?;
    let window = flags.since.map(|since| source.window(since.as_ns() / 1000)).transpose()?;
    if flags.format == MapFormat::Metrics {
        print_raw(&source.service_graph(window)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = source.dependencies(window)?;
    let destination = Destination::new(None, false);
    let style = destination.style(flags.color.resolve(&destination));
    if let Some(declared) = declared {
        if answer.sample.traces == 0 {
            let message = format!("{} has no traces here: nothing can be compared", source.name());
            return Err(Failure::new(FAILURE, message));
        }
        let differences = check(&answer, &declared);
        match flags.format {
            MapFormat::Json => print_json(&json_line(&differences))?,
            _ => print_drawn(&text::differences(&differences, &answer, style))?,
        }
        return Ok(outcome_of(&differences));
    }
    match flags.format {
        MapFormat::Json => print_json(&json_line(&answer))?,
        MapFormat::Mermaid => print_raw(&mermaid(&answer))?,
        MapFormat::Dot => print_raw(&dot(&answer))?,
        MapFormat::Yaml => print_json(&declared::write(&answer))?,
        MapFormat::Text | MapFormat::Metrics => print_drawn(&text::map(&answer, style))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn outcome_of(differences: &DependencyCheck) -> ExitCode {
    if differences.is_met() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

fn json_line(answer: &impl serde::Serialize) -> String {
    format!("{}\n", serde_json::to_string(answer).unwrap_or_default())
}
