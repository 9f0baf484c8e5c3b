//! The outcome of a command: an exit code, or an error that is shown first.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use crate::agent::StartError;

/// Exit codes: see `--help`.
pub(super) const FAILURE: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const UNSUPPORTED: u8 = 77;

/// The code to exit with, or an error to show first.
pub(super) type CommandOutcome = Result<ExitCode, Failure>;

/// An error that ends a command.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: u8,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl ToString) -> Self {
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

/// Writes to standard output; a reader that has gone away is no error.
pub(super) fn print_all(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(FAILURE, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
