//! When output has colours.

#![forbid(unsafe_code)]

use clap::ValueEnum;

use crate::sink::terminal::Destination;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to use them there.
    pub fn resolve(self, destination: &Destination) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                destination.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        }
    }
}
