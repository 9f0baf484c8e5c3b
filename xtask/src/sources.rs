//! `cargo xtask sources`: the same spans in ClickHouse and in a store of ours, and behind Jaeger's API; the same answers from
//! each. ClickHouse's current engine runs in process behind a small server of HTTP, with the tables of the Collector's exporter.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    compile,
    programs::{Folder, Program, free_port},
    registry, setup, stage,
};

const ENGINE: &str = "chdb-core==26.9.0\n";
/// Its files have the tables.
const EXPORTER: &str =
    "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter@v0.165.0";

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Spans in each
    #[arg(long, default_value = "1000000")]
    spans: u32,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    setup::all()?;
    let tools = stage::tools().join("clickhouse");
    stage::run("ClickHouse", || registry::pip(&tools, ENGINE))?;
    let tables = stage::run_for("tables of the Collector's exporter", exporter)?;
    let tracer = compile::agent()?;
    let options = ["build", "--release", "--package", "tracer-agent", "--example", "sources"];
    stage::run("comparison", || stage::cargo(&options))?;
    let folder = Folder::new()?;
    let port = free_port()?;
    let mut server = Command::new("/usr/bin/python3");
    server
        .arg(stage::root().join("tests/sources/clickhouse.py"))
        .arg(port.to_string())
        .arg(folder.path().join("clickhouse"))
        .envs([("PYTHONPATH", tools.as_os_str()), ("PYTHONDONTWRITEBYTECODE", "1".as_ref())]);
    let mut server = Program::start("clickhouse", &mut server, folder.path())?;
    server.wait_for_port(port)?;
    for statement in statements(&tables)? {
        ask(port, &statement)?;
    }
    let address = format!("clickhouse://127.0.0.1:{port}/otel");
    let store = folder.path().join("store");
    stage::run("spans beside ClickHouse", || {
        let mut command = Command::new(stage::target().join("release/examples/sources"));
        stage::command(command.arg(&address).arg(&store).arg(flags.spans.to_string()))
    })?;
    stage::run("reports beside ClickHouse", || {
        let ours = report(&tracer, "--store", store.as_os_str().to_str().context("a path")?)?;
        ensure!(ours == report(&tracer, "--source", &address)?, "the reports differ");
        Ok(())
    })
}

fn report(tracer: &Path, flag: &str, value: &str) -> Result<serde_json::Value> {
    let output = Command::new(tracer).args(["report", "--json", flag, value]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The exporter's folder of tables.
fn exporter() -> Result<PathBuf> {
    let output = Command::new("go").args(["mod", "download", "-json", EXPORTER]).output()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).context("go mod download")?;
    let folder = told["Dir"].as_str().with_context(|| format!("go mod download: {}", told["Error"]))?;
    Ok(Path::new(folder).join("internal/sqltemplates"))
}

/// What the exporter asks at its start, with its defaults.
fn statements(tables: &Path) -> Result<Vec<String>> {
    let mut statements = vec!["CREATE DATABASE otel".to_owned()];
    for (file, values) in [
        ("traces_table.sql", &["otel", "otel_traces", "", "MergeTree()", ""][..]),
        ("traces_id_ts_lookup_table.sql", &["otel", "otel_traces", "", "MergeTree()", ""]),
        (
            "traces_id_ts_lookup_mv.sql",
            &["otel", "otel_traces", "", "otel", "otel_traces", "otel", "otel_traces"],
        ),
    ] {
        let text = fs::read_to_string(tables.join(file))?;
        statements.push(filled(&text, values).with_context(|| format!("{file} is not as it was"))?);
    }
    Ok(statements)
}

/// A template of Go's `fmt` with these values for its `%s` and `%q`.
fn filled(template: &str, values: &[&str]) -> Option<String> {
    let mut values = values.iter();
    let mut parts = template.split('%');
    let mut filled = parts.next()?.to_owned();
    for part in parts {
        let value = values.next()?;
        match part.as_bytes().first()? {
            b's' => filled += value,
            b'q' => filled += &format!("\"{value}\""),
            _ => return None,
        }
        filled += &part[1..];
    }
    values.next().is_none().then_some(filled)
}

fn ask(port: u16, statement: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{statement}",
        statement.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.contains(" 200 OK\r\n") {
        bail!("{statement}\n{answer}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_with_exactly_its_values() {
        assert_eq!(filled("a %q.%s;", &["x", "y"]).as_deref(), Some("a \"x\".y;"));
        assert_eq!(filled("a %s", &[]), None);
        assert_eq!(filled("a %s", &["x", "y"]), None);
        assert_eq!(filled("a %d", &["x"]), None);
    }
}
