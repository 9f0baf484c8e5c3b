//! `cargo xtask bench`: what tracing costs, in instructions.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::{
    compile, setup, stage,
    vm::{self, Guest, Kernel, NANOSECONDS_AN_INSTRUCTION, quote},
};

/// What `cargo xtask bench` is told.
#[derive(Args)]
pub(crate) struct Flags {
    /// Write the counts to bench/expected.json
    #[arg(long, conflicts_with_all = ["vm", "growth"])]
    update: bool,
    /// What tracing costs servers, agent and bystanders, counted in a guest
    #[arg(long, conflicts_with = "growth")]
    vm: bool,
    /// What becomes of rising rates, connections, processes and churn, on this machine
    #[arg(long)]
    growth: bool,
    /// With --vm: version of the guest's kernel
    #[arg(long, value_name = "VERSION", default_value = "6.12")]
    kernel: Kernel,
    /// With --vm: another agent's command, with {pids} and {endpoint}
    #[arg(long, value_name = "COMMAND", requires = "vm")]
    agent: Option<String>,
    /// With --vm: seconds that the agent has to start
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    ready: String,
    /// With --vm or --growth: only these pieces of work
    work: Vec<String>,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    if flags.vm {
        guest(flags)
    } else if flags.growth {
        let program = build("tracer-bench", &[])?;
        compile::for_tests()?;
        stage::command(Command::new(program).arg("growth").args(&flags.work).current_dir(stage::root()))
    } else {
        ensure!(flags.work.is_empty(), "only --vm and --growth take names of work: {}", flags.work.join(" "));
        userspace(flags.update)?;
        stage::run("the viewer's store", store)
    }
}

/// Spans with which the store is measured.
const STORE_SPANS: &str = "1000000";

/// What the viewer's store takes for spans and searches. It reports, and nothing fails by a time.
fn store() -> Result<()> {
    let run = ["run", "--quiet", "--release", "--package", "tracer-store", "--example", "measure", "--"];
    println!("\nThe viewer's store in memory, on this machine");
    stage::cargo(&[&run[..], &["--count", STORE_SPANS]].concat())
}

/// Builds one of the bench's programs. Returns its path.
fn build(name: &str, features: &[&str]) -> Result<String> {
    let arguments = ["build", "--quiet", "--release", "--package", "tracer-bench", "--bin", name];
    stage::run("build of the bench", || stage::cargo(&[&arguments, features].concat()))?;
    Ok(stage::target().join("release").join(name).display().to_string())
}

/// Each piece of work in a guest that counts instructions, without the agent and with it.
fn guest(flags: &Flags) -> Result<()> {
    let tracer = stage::target().join("release/tracer").display().to_string();
    let usual = format!("{tracer} {{pids}} --otlp-endpoint {{endpoint}} --output none");
    let (kernel, ready, agent) = (flags.kernel, quote(&flags.ready), flags.agent.as_ref().unwrap_or(&usual));
    let work: Vec<String> = flags.work.iter().map(|word| quote(word)).collect();
    let program = build("tracer-bench", &[])?;
    stage::command(Command::new(&program).arg("prepare"))?;
    vm::setup(&[kernel])?;
    let guest = Guest { kernel, icount: true, limit: Duration::from_mins(60), apart: false };
    let line = format!("{} guest /vm/result {} {ready} {}", quote(&program), quote(agent), work.join(" "));
    let outcome = vm::run(guest, &line)?;
    let result = outcome.folder.read("result").unwrap_or_default();
    print(&result)?;
    ensure!(outcome.status == 0, "the bench failed");
    Ok(())
}

/// Instructions of so many nanoseconds in a guest.
fn instructions(nanoseconds: f64) -> f64 {
    nanoseconds / NANOSECONDS_AN_INSTRUCTION as f64
}

fn print(result: &str) -> Result<()> {
    let results: Vec<Value> = result.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    println!(
        "\nInstructions for a request: of the server, or of all but the agent for bystanders, without and \
         with the programs in the kernel;\nof the agent for a request, spans for a request, and what the \
         whole guest does more, with the agent at work on the same CPU.\n\n\
         {:<31} {:>9} {:>9} {:>7} {:>7} {:>7}  {:>9} {:>8}  {:>9}",
        "work", "without", "with", "added", "%", "spread", "of agent", "spans", "guest +%"
    );
    for result in &results {
        let of = |name: &str| instructions(result[name]["ns"].as_f64().unwrap_or(0.0));
        let spread = |name: &str| result[name]["spread"].as_f64().unwrap_or(0.0) * 100.0;
        let (without, with) = (of("without"), of("with"));
        println!(
            "{:<31} {without:>9.0} {with:>9.0} {:>7.0} {:>6.2}% {:>6.2}%  {:>9.0} {:>8.3}  {:>8.1}%",
            result["work"].as_str().unwrap_or_default(),
            with - without,
            (with / without - 1.0) * 100.0,
            spread("without").max(spread("with")),
            of("agent"),
            result["spans_per_request"].as_f64().unwrap_or(0.0),
            (of("machine_with") / of("machine_without") - 1.0) * 100.0,
        );
    }
    println!("\nRuns of each BPF program for a request, and its instructions (with those of measuring it)");
    for result in &results {
        let mut line = String::new();
        for program in result["programs"].as_array().into_iter().flatten() {
            line += &format!(
                "  {} {:.2} × {:.0}",
                program["name"].as_str().unwrap_or_default(),
                program["runs"].as_f64().unwrap_or(0.0),
                instructions(program["ns"].as_f64().unwrap_or(0.0)) / program["runs"].as_f64().unwrap_or(1.0)
            );
        }
        println!("{:<31}{line}", result["work"].as_str().unwrap_or_default());
    }
    if let Some(last) = results.last() {
        println!(
            "\nBPF maps: {:.1} MiB; agent: {:.1} MiB resident",
            last["maps_bytes"].as_f64().unwrap_or(0.0) / 1024.0 / 1024.0,
            last["resident_kib"].as_f64().unwrap_or(0.0) / 1024.0
        );
    }
    Ok(())
}

/// Recordings on which the agent's own work is counted, and how far a count may be from the expected one. The short ones
/// are mostly the beginning of a pipeline: where `malloc` finds room for that is another matter with each environment, of
/// 5 % and more.
const RECORDINGS: &[(&str, &str, f64)] = &[
    ("keep-alive", "bench/recordings/keepalive.rec", 0.02),
    ("curl", "tests/recordings/curl.rec", 0.2),
    ("node", "tests/recordings/node.rec", 0.2),
    ("python", "tests/recordings/python.rec", 0.2),
];
const EXPECTED: &str = "bench/expected.json";

/// Counts instructions of the agent's stages with callgrind, and compares them with the file.
fn userspace(update: bool) -> Result<()> {
    let program = build("tracer-count", &["--no-default-features"])?;
    setup::counting()?;
    let file = stage::root().join(EXPECTED);
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let (mut counts, mut worse) = (serde_json::Map::new(), Vec::new());
    println!("Instructions of the agent for a span");
    for (recording, path, tolerance) in RECORDINGS {
        for step in ["events", "unsampled", "otlp"] {
            let path = stage::root().join(path);
            let (few, spans) = count(&program, step, &path, 10)?;
            let (many, _) = count(&program, step, &path, 110)?;
            let each = ((many - few) / 100.0 / spans).round();
            println!("  {recording:<10} {step:<9} {each:>7.0}");
            let name = format!("{recording} {step}");
            match expected.get(&name).and_then(Value::as_f64) {
                Some(was) if each < was * (1.0 - tolerance) => {
                    println!("{name}: better than the {was:.0} expected: cargo xtask bench --update");
                }
                Some(was) if each <= was * (1.0 + tolerance) => {}
                was => worse.push(format!("{name}: {each:.0}, expected {:.0}", was.unwrap_or(0.0))),
            }
            counts.insert(name, Value::from(each));
        }
    }
    if update {
        fs::write(&file, serde_json::to_string_pretty(&counts)? + "\n")?;
        return Ok(());
    }
    ensure!(worse.is_empty(), "more instructions than {EXPECTED} says: {}", worse.join("; "));
    Ok(())
}

/// A path as it is from the root on.
fn from_root(path: &Path) -> &Path {
    path.strip_prefix(stage::root()).unwrap_or(path)
}

/// Instructions of a run, and the spans of a round.
fn count(program: &str, step: &str, recording: &Path, rounds: u32) -> Result<(f64, f64)> {
    let out = stage::target().join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(from_root(program.as_ref()))
        .arg(step)
        .arg(from_root(recording))
        // Lengths of paths and variables move the heap, which changes a count by a hundredth.
        .current_dir(stage::root())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .arg(rounds.to_string())
        .output()
        .context("cannot run valgrind")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let spans: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("no number of spans")?;
    let text = fs::read_to_string(&out)?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")))
        .context("callgrind gave no total")?;
    Ok((total.trim().parse()?, spans))
}
