//! Commands that ask: the host, a running agent, a recording, or about the configuration.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{color::Color, select::parse_pid};
use crate::{agent::status::usual_socket, sink::terminal::Format};

/// Flags of `tracer doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorFlags {
    /// Why is this process not traced?
    #[arg(long, value_name = "N", value_parser = parse_pid)]
    pub pid: Option<u32>,
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Socket of the running agent.
    #[arg(long, value_name = "PATH", default_value_os_t = usual_socket())]
    pub socket: PathBuf,
}

/// Flags of `tracer status`.
#[derive(Clone, Debug, Args)]
pub struct StatusFlags {
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Socket of the running agent.
    #[arg(long, value_name = "PATH", default_value_os_t = usual_socket())]
    pub socket: PathBuf,
}

/// Flags of `tracer replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayFlags {
    /// The recording.
    pub file: PathBuf,
    /// text, tree, json, otlp-json or none [default: tree on a terminal, else text].
    #[arg(long, value_name = "FORM")]
    pub output: Option<Format>,
    /// Write the output to a file.
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Colours in the output: auto, always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// Flags of `tracer config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigFlags {
    #[command(subcommand)]
    /// What to do.
    pub command: ConfigCommand,
}

/// What `tracer config` does.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file: exit code 0, or 2 with its errors, 64 at most. An error of the YAML syntax, a key
    /// that stands twice and an error by an alias are told alone.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print the reference, as Markdown.
    Reference,
    /// Print the JSON Schema.
    Schema,
}
