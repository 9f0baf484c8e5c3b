//! The commands of `tracer`, one file each.

#![forbid(unsafe_code)]

mod config;
mod doctor;
pub mod flags;
mod outcome;
mod replay;
mod run;
mod session;
mod status;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use self::{
    flags::{Cli, Command},
    outcome::Failure,
};
use crate::{kernel::Switches, log, outside::escaped_lines};

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
        eprintln!("tracer: {}", escaped_lines(&message));
        ExitCode::from(code)
    })
}
