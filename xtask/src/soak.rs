//! `cargo xtask soak`: the viewer under load for minutes, and killed again and again.

use std::process::Command;

use anyhow::Result;

use crate::{compile, setup, stage};

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Spans that are sent into a memory that is much smaller
    #[arg(long, default_value = "2000000")]
    spans: u64,
    /// How often a viewer with a store on disk is killed under load
    #[arg(long, default_value = "50")]
    kills: u32,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    setup::all()?;
    stage::run("setup of an SDK", setup::sdk)?;
    let tracer = compile::agent()?;
    stage::run("soak", || {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(stage::root().join("tests/soak/soak.py")).arg(&tracer);
        command.args([flags.spans.to_string(), flags.kills.to_string()]);
        stage::command(command.env("PYTHONDONTWRITEBYTECODE", "1"))
    })
}
