//! The `tracer` command with the switches of the tests, which it reads from its environment.

#![forbid(unsafe_code)]

use std::{env::var, process::ExitCode};

use tracer_agent::{commands, kernel::Switches};

fn main() -> ExitCode {
    commands::main(&Switches {
        trust_fionread: var("TRACER_TEST_TRUST_FIONREAD").is_ok_and(|value| value == "1"),
        function_hooks: var("TRACER_TEST_DATA_HOOKS").is_ok_and(|value| value == "functions"),
        without_pre_send: var("TRACER_TEST_WITHOUT_PRE_SEND").is_ok(),
        without_tasks: var("TRACER_TEST_WITHOUT_TASKS").is_ok(),
        sockets: var("TRACER_TEST_SOCKETS").ok().and_then(|text| text.parse().ok()),
    })
}
