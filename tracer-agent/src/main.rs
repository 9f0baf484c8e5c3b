//! The `tracer` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracer_agent::commands::main(&tracer_agent::kernel::Switches::default())
}
