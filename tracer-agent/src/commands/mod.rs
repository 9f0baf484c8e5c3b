//! The commands of `tracer`, one file each.

#![forbid(unsafe_code)]

mod compare;
mod config;
mod distinct;
mod doctor;
mod files;
pub mod flags;
mod map;
mod outcome;
mod reload;
mod replay;
mod report;
mod run;
mod session;
mod slow;
mod source;
mod status;
mod top;
mod trace;
mod traces;
mod view;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use self::{
    flags::{Cli, Command},
    outcome::Failure,
};
use crate::{
    kernel::Switches,
    log::{self, LogFormat},
};

/// Parses the command line and runs the command. Returns the exit code. `switches` are for tests.
pub fn main(switches: &Switches) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match &cli.command {
        None => watch::run(&cli.watch, false, switches),
        Some(Command::Watch(flags)) => watch::run(&flags.trace, false, switches),
        Some(Command::Agent(flags)) => watch::run(&flags.trace, true, switches),
        Some(Command::Run(flags)) => run::run(flags, switches),
        Some(Command::Doctor(flags)) => doctor::run(flags, switches),
        Some(Command::Status(flags)) => status::run(flags),
        Some(Command::Replay(flags)) => replay::run(flags),
        Some(Command::View(flags)) => view::run(flags),
        Some(Command::Traces(flags)) => traces::run(flags),
        Some(Command::Trace(flags)) => trace::run(flags),
        Some(Command::Report(flags)) => report::run(flags),
        Some(Command::Map(flags)) => map::run(flags),
        Some(Command::Compare(flags)) => compare::run(flags),
        Some(Command::Slow(flags)) => slow::run(flags),
        Some(Command::Top(flags)) => top::run(flags),
        Some(Command::Config(flags)) => config::run(flags),
    };
    log::finish();
    outcome.unwrap_or_else(|Failure { message, code }| {
        log::fatal(&message);
        ExitCode::from(code)
    })
}

/// Tells of a command line that cannot be parsed, or prints the help that it asks for.
fn usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let wants_json = arguments.windows(2).any(|pair| pair == ["--log-format", "json"])
        || arguments.iter().any(|argument| argument == "--log-format=json");
    if error.use_stderr() && wants_json {
        log::set_format(LogFormat::Json);
        log::fatal(error.to_string().trim().trim_start_matches("error: "));
    } else {
        // A reader that has gone away is no error.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(outcome::USAGE))
}
