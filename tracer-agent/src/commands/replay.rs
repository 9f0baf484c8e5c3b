//! `tracer replay`: make spans from a recording.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::ReplayFlags,
    outcome::{CommandOutcome, FAILURE, Failure},
};
use crate::{
    agent,
    sink::terminal::{Destination, Format},
};

pub(super) fn run(flags: &ReplayFlags) -> CommandOutcome {
    let destination = Destination::new(flags.output_file.as_deref(), false);
    let out = destination.open().map_err(|error| Failure::new(FAILURE, error))?;
    let format = flags.output.unwrap_or_else(|| Format::for_people(&destination));
    let style = destination.style(flags.color.resolve(&destination));
    agent::replay(&flags.file, format, out, style).map_err(|error| Failure::new(FAILURE, error))?;
    Ok(ExitCode::SUCCESS)
}
