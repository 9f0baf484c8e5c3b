//! The end-to-end tests that are about the kernel, inside guests.

use std::{path::PathBuf, process::Command, sync::Mutex, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    stage,
    vm::{self, Guest, Kernel, quote},
};

/// The test programs that are about the kernel.
const PROGRAMS: &[&str] = &["spans", "sockets", "load", "links", "headers", "harm"];

/// Tests of these programs that take a guest too long: two say nothing of the kernel, and one needs an agent that starts
/// quickly beside a busy client.
const SKIPPED: &[&str] = &["an_event_loop_is_linked", "threads_are_linked_once", "agents_that_stand_still"];

/// A kernel, the environment that chooses how it is used, and the test programs: headers are pushed and links
/// made by the same programs whatever shows the data.
const RUNS: &[(Kernel, &str, &[&str])] = &[
    (Kernel::V6_1, "", PROGRAMS),
    (Kernel::V6_12, "", PROGRAMS),
    (Kernel::V6_12, "TRACER_TEST_DATA_HOOKS=functions", &["spans", "sockets"]),
];

/// Runs them in every guest. Words narrow the tests down, as with `cargo test`.
pub(crate) fn test(filter: &[&str]) -> Result<()> {
    vm::setup(&[Kernel::V5_10, Kernel::V6_1, Kernel::V6_12])?;
    let programs = build()?;
    stage::run("kernel 5.10 is refused", refused)?;
    // Each guest has one thread of its own, and the machine two cores.
    let runs = Mutex::new(RUNS.iter());
    let work = || -> Result<()> {
        loop {
            let Some((kernel, environment, chosen)) = runs.lock().map_or(None, |mut runs| runs.next()) else {
                return Ok(());
            };
            let programs = programs.iter().filter(|(name, _)| chosen.contains(&name.as_str()));
            one(*kernel, environment, &line(programs, environment, filter))?;
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    Ok(())
}

/// Runs the tests in one guest.
fn one(kernel: Kernel, environment: &str, line: &str) -> Result<()> {
    let name = format!("tests on {} {environment}", kernel.name());
    stage::run(name.trim_end(), || {
        let guest = Guest { kernel, icount: false, limit: Duration::from_mins(40), apart: true };
        let outcome = vm::run(guest, line)?;
        println!("\n{} {environment}:\n{}", kernel.name(), outcome.output);
        ensure!(outcome.status == 0, "tests failed");
        Ok(())
    })
}

/// The agent below its floor: it names the reason, and exits as it should.
fn refused() -> Result<()> {
    let guest = Guest { kernel: Kernel::V5_10, icount: false, limit: Duration::from_mins(5), apart: false };
    let tracer = quote(&stage::target().join("release/tracer").display().to_string());
    let line = format!(
        "{tracer} run -- true 2>/vm/run; echo $? >>/vm/run; {tracer} doctor >/vm/doctor; echo $? >>/vm/doctor"
    );
    let outcome = vm::run(guest, &line)?;
    let run = outcome.folder.read("run")?;
    ensure!(run.starts_with("tracer: Linux 5.10 is too old") && run.ends_with("\n77\n"), "it said: {run}");
    let doctor = outcome.folder.read("doctor")?;
    ensure!(
        doctor.contains("✗ kernel") && doctor.contains("6.1 or later") && doctor.ends_with("\n77\n"),
        "the doctor said: {doctor}"
    );
    Ok(())
}

/// The test programs: name and path.
fn build() -> Result<Vec<(String, PathBuf)>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--quiet", "--package", "tracer-tests", "--no-run", "--message-format=json"])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cannot build the tests");
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        let is_test = message["target"]["kind"][0] == "test";
        if let (true, Some(name), Some(path)) =
            (is_test, message["target"]["name"].as_str(), message["executable"].as_str())
        {
            programs.push((name.to_owned(), path.into()));
        }
    }
    Ok(programs)
}

/// The shell's line that runs the tests, with an exit status that is 0 if all passed. What they print has the guest's
/// seconds before it.
fn line<'a>(
    programs: impl Iterator<Item = &'a (String, PathBuf)>,
    environment: &str,
    filter: &[&str],
) -> String {
    let mut line = format!("export {environment} TRACER_TEST_SLOW=1 TRACER_BIN=");
    line += &quote(&stage::target().join("release/tracer").display().to_string());
    if let Ok(requests) = std::env::var("TRACER_REQUESTS") {
        line += &format!(" TRACER_REQUESTS={}", quote(&requests));
    }
    line += "\n{\n";
    let mut words: Vec<String> = filter.iter().map(|word| quote(word)).collect();
    if words.is_empty() {
        words.extend(SKIPPED.iter().flat_map(|name| ["--skip".to_owned(), quote(name)]));
    }
    for (_, path) in programs {
        let path = quote(&path.display().to_string());
        line += &format!("{path} --test-threads=1 {} 2>&1 || echo >/tmp/failed\n", words.join(" "));
    }
    line +=
        "} | while IFS= read -r line; do read seconds rest </proc/uptime; echo \"$seconds $line\"; done\n";
    line + "[ ! -e /tmp/failed ]"
}
