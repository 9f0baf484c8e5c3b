//! `tracer status`: ask the running agent.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::StatusFlags,
    outcome::{CommandOutcome, print_json, print_lines},
};
use crate::{
    agent::status::{PATH, StatusReport},
    client::Client,
};

pub(super) fn run(flags: &StatusFlags) -> CommandOutcome {
    let status: StatusReport = Client::of_agent(&flags.socket)?.get(PATH, &[])?;
    if flags.json {
        print_json(&format!("{}\n", serde_json::to_string_pretty(&status).unwrap_or_default()))?;
    } else {
        print_lines(&status.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
