//! `cargo xtask collector`: spans through the real OpenTelemetry Collector into the viewer. The Collector is built from its Go
//! modules.

use std::process::Command;

use anyhow::Result;

use crate::{
    compile,
    registry::{self, Package},
    setup, stage,
};

/// All at one release.
const MODULES: &[Package] = &[
    ("go.opentelemetry.io/collector/otelcol", "v0.165.0"),
    ("go.opentelemetry.io/collector/receiver/otlpreceiver", "v0.165.0"),
    ("go.opentelemetry.io/collector/exporter/otlpexporter", "v0.165.0"),
    ("go.opentelemetry.io/collector/exporter/otlphttpexporter", "v0.165.0"),
];

pub(crate) fn run() -> Result<()> {
    setup::all()?;
    setup::collector()?;
    let (tools, sources) = (stage::tools().join("collector"), stage::root().join("tests/collector"));
    let files = ["collector.go", "files.go"].map(|name| sources.join(name));
    let files = files.each_ref().map(std::path::PathBuf::as_path);
    stage::run("Collector", || registry::go(&tools, "auto", &files, MODULES))?;
    let tracer = compile::agent()?;
    stage::run("spans through the Collector", || {
        let mut command = Command::new("unshare");
        command.args(["--net", "/usr/bin/python3"]).arg(sources.join("check.py"));
        stage::command(command.arg(tools.join("service")).arg(&tracer).env("PYTHONDONTWRITEBYTECODE", "1"))
    })
}
