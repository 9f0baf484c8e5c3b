//! Builds of `target/release/tracer`, and of the binary that tests start in its place.

use std::path::PathBuf;

use anyhow::Result;

use crate::{ebpf, pages, stage};

/// The agent.
pub(crate) fn release() -> Result<()> {
    ebpf::build(false)?;
    pages::build()?;
    stage::run("build", || stage::cargo(&["build", "--release", "--package", "tracer-agent"]))
}

/// The agent that `TRACER_BIN` names, or else the one that this builds.
pub(crate) fn agent() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRACER_BIN") {
        return Ok(path.into());
    }
    release()?;
    Ok(stage::target().join("release/tracer"))
}

/// The agent, and the agent with the switches of the tests, which most end-to-end tests start.
pub(crate) fn for_tests() -> Result<()> {
    ebpf::build(false)?;
    pages::build()?;
    let both = ["build", "--release", "--package", "tracer-agent", "--package", "tracer-under-test"];
    stage::run("build", || stage::cargo(&both))
}
