//! `tracer config`: check a configuration file, print the reference or the JSON Schema.

#![forbid(unsafe_code)]

use std::{path::Path, process::ExitCode};

use super::{
    flags::{ConfigCommand, ConfigFlags},
    outcome::{CommandOutcome, Failure, USAGE, print_json, print_lines},
};
use crate::config::{Config, reference};

pub(super) fn run(flags: &ConfigFlags) -> CommandOutcome {
    match &flags.command {
        ConfigCommand::Check { file } => print_lines(&checked(file)?),
        ConfigCommand::Reference => print_lines(&reference::markdown()),
        ConfigCommand::Schema => print_json(&reference::schema()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What there is to say of a file without errors.
fn checked(file: &Path) -> Result<String, Failure> {
    let config = Config::from_file(file).map_err(|error| Failure::new(USAGE, error))?;
    let mut text = format!("{}: no errors\n", file.display());
    if config.select.include.is_empty() {
        text += "select.include is empty: without flags that select processes, nothing is traced.\n";
    }
    for unused in config.unused() {
        text += &format!("{unused}.\n");
    }
    if let Some(reason) = config.export.why_not() {
        text += &format!("Spans are not exported: {reason}.\n");
    }
    Ok(text)
}
