//! Builds of `target/release/tracer`, and of the binary that tests start in its place.

use anyhow::Result;

use crate::{ebpf, pages, stage};

/// The agent.
pub(crate) fn release() -> Result<()> {
    ebpf::build(false)?;
    pages::build()?;
    stage::run("build", || stage::cargo(&["build", "--release", "--package", "tracer-agent"]))
}

/// The agent, and the agent with the switches of the tests, which most end-to-end tests start.
pub(crate) fn for_tests() -> Result<()> {
    ebpf::build(false)?;
    pages::build()?;
    let both = ["build", "--release", "--package", "tracer-agent", "--package", "tracer-under-test"];
    stage::run("build", || stage::cargo(&both))
}
