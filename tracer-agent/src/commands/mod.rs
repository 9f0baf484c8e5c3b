//! The commands of `tracer`, one file each.

#![forbid(unsafe_code)]

mod config;
mod doctor;
pub mod flags;
mod replay;
mod run;
mod session;
mod status;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use self::flags::{Cli, Command};
use crate::{agent::StartError, kernel::Switches, log};

/// Exit codes: see `--help`.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const UNSUPPORTED: u8 = 77;

/// What a command came to: the code to exit with, or an error to show first.
type Outcome = Result<ExitCode, Failure>;

struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Self {
        Self { message: message.to_string(), code }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Unsupported(_) => UNSUPPORTED,
            StartError::Config(_) => USAGE,
            StartError::Other(_) => FAILURE,
        };
        Self::new(code, error)
    }
}

/// Parses the command line and runs the command. Returns the exit code. `switches` are for tests.
pub fn main(switches: &Switches) -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None => watch::run(&cli.watch, false, switches),
        Some(Command::Agent(flags)) => watch::run(&flags.trace, true, switches),
        Some(Command::Run(flags)) => run::run(flags, switches),
        Some(Command::Doctor(flags)) => doctor::run(flags, switches),
        Some(Command::Status(flags)) => status::run(flags),
        Some(Command::Replay(flags)) => replay::run(flags),
        Some(Command::Config(flags)) => config::run(flags),
    };
    log::finish();
    outcome.unwrap_or_else(|Failure { message, code }| {
        eprintln!("tracer: {message}");
        ExitCode::from(code)
    })
}

/// Writes to standard output; a reader that has gone away is no error.
fn print_all(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
