//! Everything that is done with the project: `cargo xtask help`.

mod acyclic;
mod bench;
mod collector;
mod compile;
mod cost;
mod demo;
mod ebpf;
mod faults;
mod frameworks;
mod guest;
mod jaeger;
mod links;
mod pages;
mod programs;
mod record;
mod registry;
mod screenshots;
mod setup;
mod soak;
mod sources;
mod stage;
mod versions;
mod vm;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

/// Sets up, builds, tests, measures and demonstrates the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set everything up, build, trace a small system of real programs, show its traces on a page, and check the spans
    Demo(demo::Flags),
    /// Take the pictures of the viewer that the README shows, from real traffic
    Screenshots,
    /// Set everything up and run all tests (root: they use eBPF)
    Test(TestFlags),
    /// Set up what building needs, and build target/release/tracer
    Build,
    /// Set everything up: Debian packages, eBPF toolchain, bpf-linker, an SDK for tests
    Setup,
    /// Build the kernel programs only
    Ebpf,
    /// Build the viewer's pages only (npm); with --check, check their types, style and behaviour, in a browser too
    Pages {
        /// Check them
        #[arg(long)]
        check: bool,
    },
    /// Make the recordings that the parsers' tests replay: all, or those named
    Record {
        /// Names of recordings
        names: Vec<String>,
    },
    /// Measure what tracing costs nginx and the agent, on this machine (reports only)
    Cost,
    /// Measure the links of services of real frameworks, which are installed from package registries: all, or those named
    Frameworks(links::Names),
    /// Measure the links in versions of Go, Node, Python and Java, which are installed from package registries: all, or
    /// those named
    Versions(links::Names),
    /// Send spans through the real OpenTelemetry Collector, which is built from its Go modules, into the viewer
    Collector,
    /// Keep the viewer under load: many spans into little memory, and kills of one with a store on disk
    Soak(soak::Flags),
    /// Put faults into a chain of real programs under load, and judge what the analysis says of them
    Faults(faults::Flags),
    /// Put the same spans into ClickHouse and into a store, and compare what analyses tell of both
    Sources(sources::Flags),
    /// Compare the viewer with the real Jaeger, which is built from its Go module: answers, and spans a second
    Jaeger(jaeger::Flags),
    /// Count the agent's instructions for a span, and compare them with bench/expected.json
    Bench(bench::Flags),
    /// Run a command in a guest: a Debian kernel in QEMU
    Vm(vm::Flags),
    /// Check that no modules import each other in a circle
    Acyclic,
    /// Write the configuration reference and the JSON Schema again
    Docs,
    /// Check the kernel programs for warnings
    EbpfLint,
}

#[derive(Args)]
struct TestFlags {
    /// The end-to-end tests that depend on the kernel, inside Debian's kernels 6.1 and 6.12
    #[arg(long)]
    vm: bool,
    /// Only tests whose names contain one of these words; options of the test harness may follow them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

fn main() {
    let cli = Cli::parse();
    if let Err(error) = run(cli.command) {
        eprintln!("xtask: {error:#}");
        std::process::exit(1);
    }
}

fn run(command: Command) -> Result<()> {
    std::env::set_current_dir(stage::root())?;
    match command {
        Command::Setup => setup::all().and_then(|()| setup::sdk()),
        Command::Ebpf => setup::building().and_then(|()| ebpf::build(false)),
        Command::Build => build(),
        Command::Pages { check: true } => pages::check(),
        Command::Pages { check: false } => pages::build(),
        Command::Test(flags) => test(&flags),
        Command::Demo(flags) => {
            setup::all()?;
            compile::release()?;
            stage::run("demo", || demo::run(&flags))
        }
        Command::Screenshots => {
            setup::all()?;
            setup::browser()?;
            compile::release()?;
            stage::run("screenshots", screenshots::run)
        }
        Command::Record { names } => {
            setup::all()?;
            compile::release()?;
            stage::run("record", || record::run(&names))
        }
        Command::Cost => {
            setup::all()?;
            compile::release()?;
            stage::run("cost", cost::run)
        }
        Command::Frameworks(names) => frameworks::run(&names),
        Command::Versions(names) => versions::run(&names),
        Command::Collector => collector::run(),
        Command::Soak(flags) => soak::run(&flags),
        Command::Faults(flags) => faults::run(&flags),
        Command::Sources(flags) => sources::run(&flags),
        Command::Jaeger(flags) => jaeger::run(&flags),
        Command::Acyclic => acyclic::run(),
        Command::Docs => docs(),
        Command::Bench(flags) => {
            setup::all()?;
            compile::release()?;
            bench::run(&flags)
        }
        Command::Vm(flags) => {
            let status = vm::command(&flags)?;
            std::process::exit(status.code().unwrap_or(1));
        }
        Command::EbpfLint => setup::building().and_then(|()| ebpf::build(true)),
    }
}

fn build() -> Result<()> {
    setup::building()?;
    compile::release()?;
    let binary = stage::target().join("release/tracer");
    let size = std::fs::metadata(&binary)?.len();
    println!("{} ({:.1} MB)", binary.display(), size as f64 / 1e6);
    Ok(())
}

fn docs() -> Result<()> {
    ebpf::build(false)?;
    stage::cargo(&["build", "--package", "tracer-agent"])?;
    for (what, file) in [("reference", "docs/configuration.md"), ("schema", "docs/config.schema.json")] {
        let made = std::process::Command::new(stage::target().join("debug/tracer"))
            .args(["config", what])
            .output()?;
        ensure!(made.status.success(), "`tracer config {what}` failed");
        std::fs::write(file, made.stdout)?;
    }
    Ok(())
}

fn test(flags: &TestFlags) -> Result<()> {
    let filter: Vec<&str> = flags.words.iter().map(String::as_str).collect();
    setup::all()?;
    compile::for_tests()?;
    if flags.vm {
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
    // With headers it is the kernel programs that make the links, where they are certain at the send.
    const BY_KERNEL: &str = "thread;prefork;pool;one;gevent;Java;Go;nginx;HAProxy;asyncio, gather;FastAPI, httpx;aiohttp, c;Node, callbacks";
    stage::run("links of calls with headers", || {
        let mut test = std::process::Command::new("cargo");
        test.args(["test", "--workspace", "--test", "labelled", "no_link"]);
        stage::command(test.env("TRACER_PROPAGATION", "headers").env("TRACER_PATTERNS", BY_KERNEL))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn options_of_the_test_harness_go_to_it() {
        let Command::Test(flags) = parse("xtask test no_link_is_wrong --nocapture") else { panic!("test") };
        assert_eq!(
            (flags.vm, &flags.words[..]),
            (false, &["no_link_is_wrong".into(), "--nocapture".into()][..])
        );
        let Command::Test(flags) = parse("xtask test --vm a_hundred") else { panic!("test") };
        assert_eq!((flags.vm, &flags.words[..]), (true, &["a_hundred".into()][..]));
    }

    #[test]
    fn every_command_that_the_documents_show_is_known() {
        for line in [
            "xtask bench --update",
            "xtask bench --growth rates churn",
            "xtask bench --vm --kernel 6.1 nginx",
            "xtask vm --kernel 5.10 --icount -- uname -r",
            "xtask record small",
            "xtask frameworks express fast",
            "xtask versions node",
            "xtask ebpf-lint",
            "xtask jaeger --spans 0",
            "xtask collector",
            "xtask sources --spans 10000",
            "xtask soak --spans 10000 --kills 2",
            "xtask faults --only delay --repeat 1 --seconds 60 --keep recordings",
        ] {
            parse(line);
        }
        for line in ["xtask bench --vm --growth", "xtask vm uname", "xtask vm --kernel 4.0 -- true", "xtask"]
        {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
