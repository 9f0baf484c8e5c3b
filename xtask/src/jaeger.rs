//! `cargo xtask jaeger`: the viewer beside the real Jaeger, which is built from its Go module. The same traces are sent to both,
//! and both are asked the same; Jaeger's own types read the viewer's answers; and both are measured taking spans.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    compile,
    programs::{Folder, Program, free_port},
    registry::{self, Package},
    setup, stage,
};

const JAEGER: Package = ("github.com/jaegertracing/jaeger/cmd/jaeger", "v1.76.0");
/// Within Jaeger's, so that Go lets the client use its internal types.
const MODULE: &str = "github.com/jaegertracing/jaeger/check";
/// Traces that Jaeger's store keeps while answers are compared: as many as one answer of the viewer has at most.
const FEW_TRACES: u32 = 10_000;
/// And while both are measured: all that are sent.
const MANY_TRACES: u32 = 1_000_000;

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Spans that are sent to measure what each takes for them; 0 measures nothing
    #[arg(long, default_value = "300000")]
    spans: u32,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    setup::all()?;
    stage::run("setup of an SDK", setup::sdk)?;
    let tools = stage::run_for("Jaeger", installed)?;
    let tracer = compile::agent()?;
    let folder = Folder::new()?;
    stage::run("answers beside Jaeger's", || {
        let jaeger = Server::jaeger(&tools, FEW_TRACES, &folder)?;
        let viewer = Server::viewer(&tracer, &[], &folder)?;
        let ports = [&jaeger, &viewer].map(|server| [server.otlp, server.query].map(|port| port.to_string()));
        let script = stage::root().join("tests/jaeger/compare.py");
        stage::command(python().arg(script).args(ports.concat()))?;
        stage::command(Command::new(tools.join("service")).arg(format!("http://127.0.0.1:{}", viewer.query)))
    })?;
    if flags.spans == 0 {
        return Ok(());
    }
    stage::run("spans beside Jaeger", || {
        let jaeger = Server::jaeger(&tools, MANY_TRACES, &folder)?;
        // As much room as Jaeger has, which counts traces.
        let viewer = Server::viewer(&tracer, &["--memory", "8GiB"], &folder)?;
        let servers = [("tracer", &viewer), ("Jaeger", &jaeger)]
            .map(|(name, server)| format!("{name}:{}:{}", server.program.pid(), server.otlp));
        let script = stage::root().join("bench/viewer_beside_jaeger.py");
        stage::command(python().arg(script).arg(flags.spans.to_string()).args(servers))
    })
}

fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Builds Jaeger and the client, once. Returns their folder.
fn installed() -> Result<PathBuf> {
    let folder = stage::tools().join("jaeger");
    registry::go_tool(&folder, MODULE, JAEGER, &[&stage::root().join("tests/jaeger/client.go")])?;
    Ok(folder)
}

/// A server that takes OTLP over HTTP on one port and answers on another.
struct Server {
    program: Program,
    otlp: u16,
    query: u16,
}

impl Server {
    /// Jaeger, with its store in memory.
    fn jaeger(tools: &Path, traces: u32, folder: &Folder) -> Result<Self> {
        let (otlp, query, grpc) = (free_port()?, free_port()?, free_port()?);
        let mut text = fs::read_to_string(stage::root().join("tests/jaeger/config.yaml"))?;
        for (name, value) in
            [("{traces}", traces), ("{otlp}", otlp.into()), ("{http}", query.into()), ("{grpc}", grpc.into())]
        {
            text = text.replace(name, &value.to_string());
        }
        let file = folder.path().join("jaeger.yaml");
        fs::write(&file, text)?;
        let mut command = Command::new(tools.join("program"));
        let mut program = Program::start("jaeger", command.arg("--config").arg(file), folder.path())?;
        for port in [otlp, query] {
            program.wait_for_port(port)?;
        }
        Ok(Self { program, otlp, query })
    }

    /// `tracer view`.
    fn viewer(tracer: &Path, more: &[&str], folder: &Folder) -> Result<Self> {
        let (otlp, query, grpc) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new(tracer);
        command.arg("view").args(more);
        for (flag, port) in [("--listen", query), ("--otlp-http", otlp), ("--otlp-grpc", grpc)] {
            command.args([flag, &format!("127.0.0.1:{port}")]);
        }
        let mut program = Program::start("viewer", &mut command, folder.path())?;
        for port in [otlp, query] {
            program.wait_for_port(port)?;
        }
        Ok(Self { program, otlp, query })
    }
}
