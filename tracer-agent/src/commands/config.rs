//! `tracer config`: print the reference or the JSON Schema of the configuration.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::{ConfigFlags, ConfigOutput},
    outcome::{CommandOutcome, print_json, print_lines},
};
use crate::config::reference;

pub(super) fn run(flags: &ConfigFlags) -> CommandOutcome {
    match flags.what {
        ConfigOutput::Reference => print_lines(&reference::markdown()),
        ConfigOutput::Schema => print_json(&reference::schema()),
    }?;
    Ok(ExitCode::SUCCESS)
}
