//! Why a program did not start.

#![forbid(unsafe_code)]

use std::io;

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such program (a shell says 127).
    #[error("cannot run {0:?}: there is no such program")]
    NotFound(String),
    /// It may not be executed (a shell says 126).
    #[error("cannot run {program:?} ({found}): {source}")]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// The file that was found, and the user if it is another.
        found: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The user of `--user` or `SUDO_UID` cannot be used.
    #[error("{0}")]
    User(String),
    /// There is no terminal of its own for a program of another user.
    #[error(
        "cannot make the terminal that a program of another user needs: {0}. Redirect its standard streams, \
         and run `tracer` without a terminal (setsid)"
    )]
    Terminal(io::Error),
    /// Something else.
    #[error("cannot start {0:?}: {1}")]
    Other(String, io::Error),
}

impl LaunchError {
    /// What a shell would return.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable { .. } => 126,
            Self::User(_) => 2,
            Self::Terminal(_) | Self::Other(..) => 1,
        }
    }
}
