//! Steps of the work, with the seconds that each took.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where tools are built that no package registry has as they are needed.
pub(crate) fn tools() -> PathBuf {
    root().join(".tools")
}

/// Runs a step and says how long it took.
pub(crate) fn run(name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    let outcome = step();
    println!("stage {name}: {:.1} s", begin.elapsed().as_secs_f64());
    outcome.with_context(|| format!("stage {name}"))
}

/// Runs a step that makes something, and says how long it took.
pub(crate) fn run_for<T>(name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut made = None;
    run(name, || {
        made = Some(step()?);
        Ok(())
    })?;
    made.with_context(|| format!("stage {name} made nothing"))
}

/// Runs cargo on the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    command(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(arguments))
}

/// Runs a command; its failure is an error.
pub(crate) fn command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command; its output is part of the error if it fails, and is not shown otherwise.
pub(crate) fn silent(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} failed: {}\n{out}{err}", output.status);
    }
    Ok(())
}
