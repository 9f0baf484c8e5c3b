//! The outcome of a command: an exit code, or an error that is shown first.

#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use tracer_analysis::source::SourceError;

use crate::{
    agent::StartError,
    client::ClientError,
    outside::{escaped_json, escaped_lines},
};

/// Exit codes: see `--help`.
pub(super) const FAILURE: u8 = 1;
pub(super) const USAGE: u8 = 2;
/// Something was found, and the flags say that this is to fail.
pub(super) const FOUND: u8 = 3;
pub(super) const UNSUPPORTED: u8 = 77;

/// The code to exit with, or an error to show first.
pub(super) type CommandOutcome = Result<ExitCode, Failure>;

/// An error that ends a command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: u8,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl ToString) -> Self {
        Self { message: message.to_string(), code }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::Url(_) | ClientError::Token | ClientError::TlsFile { .. } => USAGE,
            _ => FAILURE,
        };
        Self::new(code, error)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let code = match error {
            SourceError::Address(_) => USAGE,
            SourceError::Answer(_) => FAILURE,
        };
        Self::new(code, error)
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

/// Writes lines for people to standard output; a reader that has gone away is no error.
pub(super) fn print_lines(text: &str) -> Result<(), Failure> {
    print(&escaped_lines(text))
}

/// As [`print_lines`], for a format of other programs, in which escapes would be wrong: they stand on a terminal only.
pub(super) fn print_raw(text: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() { print_lines(text) } else { print(text) }
}

/// As [`print_lines`], for JSON.
pub(super) fn print_json(json: &str) -> Result<(), Failure> {
    print(&escaped_json(json))
}

/// As [`print_lines`], for what holds colours: all that comes from outside is escaped in it already.
pub(super) fn print_drawn(text: &str) -> Result<(), Failure> {
    print(text)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(FAILURE, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
