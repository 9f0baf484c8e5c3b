//! `tracer replay`: make spans from a recording.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    distinct,
    flags::ReplayFlags,
    outcome::{CommandOutcome, FAILURE, Failure},
};
use crate::{
    agent,
    sink::terminal::{Destination, Format},
};

pub(super) fn run(flags: &ReplayFlags) -> CommandOutcome {
    let destination = Destination::new(flags.output_file.as_deref(), false);
    let format = flags.output.unwrap_or_else(|| destination.format_for_people());
    distinct::check(&[("recording", Some(&flags.file)), ("output", destination.path(format))])?;
    if format == Format::None && flags.output_file.is_some() {
        eprintln!("tracer: --output-file is ignored: the output is none");
    }
    let style = destination.style(flags.color.resolve(&destination));
    agent::replay(&flags.file, format, || destination.open(format), style)
        .map_err(|error| Failure::new(FAILURE, error))?;
    Ok(ExitCode::SUCCESS)
}
