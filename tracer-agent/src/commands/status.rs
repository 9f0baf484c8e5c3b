//! `tracer status`: ask the running agent.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{
    flags::StatusFlags,
    outcome::{CommandOutcome, FAILURE, Failure, print_json, print_lines},
};
use crate::agent::status;

pub(super) fn run(flags: &StatusFlags) -> CommandOutcome {
    let status = status::ask(&flags.socket).map_err(|error| {
        let path = flags.socket.display();
        Failure::new(
            FAILURE,
            format!(
                "no agent answers on {path}: {error}; is it running, and are you its user? \
                 Without --socket only `tracer agent` answers"
            ),
        )
    })?;
    if flags.json {
        print_json(&format!("{}\n", serde_json::to_string_pretty(&status).unwrap_or_default()))?;
    } else {
        print_lines(&status.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
