//! `tracer config`: print the reference or the JSON Schema of the configuration.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::{ConfigFlags, ConfigOutput},
    outcome::{CommandOutcome, print_all},
};
use crate::config::reference;

pub(super) fn run(flags: &ConfigFlags) -> CommandOutcome {
    print_all(&match flags.what {
        ConfigOutput::Reference => reference::markdown(),
        ConfigOutput::Schema => reference::schema(),
    })?;
    Ok(ExitCode::SUCCESS)
}
