//! Everything that is done with the project: `cargo xtask help`.

mod acyclic;
mod bench;
mod cost;
mod demo;
mod ebpf;
mod guest;
mod programs;
mod record;
mod setup;
mod stage;
mod vm;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  demo      set everything up, build, trace a small system of real programs, check the spans
  test      set everything up and run all tests (root: they use eBPF); words behind it filter
  test --vm the end-to-end tests that are about the kernel, inside Debian's kernels 6.1 and 6.12
  build     set up what building needs, and build target/release/tracer
  setup     set everything up: Debian packages, eBPF toolchain, bpf-linker, an SDK for tests
  ebpf      build the kernel programs only
  record    make the recordings that the parser's tests replay: all, or those named
  cost      what tracing costs nginx and the agent, on this machine (reports only)
  bench     count the agent's instructions for a span, and compare them with bench/expected.json
  bench --vm  count what tracing costs servers, agent and bystanders, in a guest
  bench --growth  what becomes of rising rates, connections, processes and churn, on this machine
  vm        boot a Debian kernel in QEMU: vm [--kernel 6.1|6.12|5.10] [--icount] -- COMMAND
  acyclic   check that no modules import each other in a circle
  docs      write the configuration reference again";

fn main() {
    if let Err(error) = run() {
        eprintln!("xtask: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    std::env::set_current_dir(stage::root())?;
    match command.as_str() {
        "setup" => setup::all().and_then(|()| setup::sdk()),
        "ebpf" => setup::building().and_then(|()| ebpf::build(false)),
        "build" => build(),
        "test" => test(&rest),
        "demo" => {
            setup::all()?;
            compile_release()?;
            stage::run("demo", demo::run)
        }
        "record" => {
            setup::all()?;
            compile_release()?;
            stage::run("record", || record::run(&rest))
        }
        "cost" => {
            setup::all()?;
            compile_release()?;
            stage::run("cost", cost::run)
        }
        "acyclic" => acyclic::run(),
        "docs" => docs(),
        "bench" => {
            setup::all()?;
            compile_release()?;
            bench::run(&rest)
        }
        "vm" => {
            let status = vm::command(&rest)?;
            std::process::exit(status.code().unwrap_or(1));
        }
        "ebpf-lint" => setup::building().and_then(|()| ebpf::build(true)),
        "" | "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("there is no command {other:?}\n\n{HELP}"),
    }
}

fn build() -> Result<()> {
    setup::building()?;
    compile_release()?;
    let binary = stage::target().join("release/tracer");
    let size = std::fs::metadata(&binary)?.len();
    println!("{} ({:.1} MB)", binary.display(), size as f64 / 1e6);
    Ok(())
}

fn compile_release() -> Result<()> {
    ebpf::build(false)?;
    stage::run("build", || stage::cargo(&["build", "--release", "--package", "tracer-agent"]))
}

/// The agent with the switches of the tests, which most end-to-end tests start.
fn compile_under_test() -> Result<()> {
    stage::run("build of the agent for tests", || {
        stage::cargo(&["build", "--release", "--package", "tracer-under-test"])
    })
}

fn docs() -> Result<()> {
    ebpf::build(false)?;
    stage::cargo(&["build", "--package", "tracer-agent"])?;
    for (what, file) in [("reference", "docs/configuration.md"), ("schema", "docs/config.schema.json")] {
        let made = std::process::Command::new(stage::target().join("debug/tracer"))
            .args(["config", what])
            .output()?;
        std::fs::write(file, made.stdout)?;
    }
    Ok(())
}

fn test(arguments: &[String]) -> Result<()> {
    let guests = arguments.first().is_some_and(|word| word == "--vm");
    let filter: Vec<&str> = arguments.iter().skip(usize::from(guests)).map(String::as_str).collect();
    setup::all()?;
    compile_release()?;
    compile_under_test()?;
    if guests {
        return guest::test(&filter);
    }
    stage::run("setup of an SDK", setup::sdk)?;
    // Always of the whole workspace: with other packages dependencies have other features, and are built again.
    let cargo = |targets: &[&str], options: &[&str]| {
        let fixed = [&["test", "--workspace"], targets, &["--"], options];
        stage::cargo(&[&fixed.concat()[..], &filter[..]].concat())
    };
    stage::run("unit tests", || {
        cargo(&["--lib", "--bins"], &[])?;
        cargo(&["--doc"], &[])
    })?;
    // One after the other: they share the machine's two cores with the programs that they start.
    stage::run("end-to-end tests", || cargo(&["--test", "*"], &["--test-threads=1"]))?;
    if !filter.is_empty() {
        return Ok(());
    }
    // With headers it is the kernel programs that make the links.
    stage::run("links of calls with headers", || {
        let mut test = std::process::Command::new("cargo");
        test.args(["test", "--workspace", "--test", "labelled"]);
        stage::command(test.env("TRACER_PROPAGATION", "headers"))
    })
}
