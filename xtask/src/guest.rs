//! The end-to-end tests that are about the kernel, inside guests.

use std::{path::PathBuf, process::Command, sync::Mutex, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    stage,
    vm::{self, Guest, Kernel, quote},
};

/// Tests of these programs that take a guest too long: they say little of the kernel that others do not, or need an
/// agent that starts quickly beside a busy client, or a program that the guests do not have (HAProxy).
const SKIPPED: &[&str] = &[
    "a_chain_is_one_trace",
    "a_handler_that_sleeps",
    "a_proxy_has_both_sides",
    "a_proxy_that_cuts",
    "a_proxy_that_splices",
    "a_slow_request_keeps",
    "a_trace_is_kept_whole",
    "a_trace_that_another_header_tells",
    "agents_that_come_and_go",
    "an_event_loop_is_linked",
    "threads_are_linked_once",
    "uploads_through_real_servers",
    "what_was_learned",
];

/// And on 6.12, where calls are seen as on 6.18: tests of how they are linked.
const SKIPPED_LINKS: &[&str] = &[
    "a_call_without_a_header",
    "a_header_that_is_passed_on",
    "what_a_lost_request",
    "what_a_proxy_delays",
    "what_a_proxy_tries_again",
];

/// What one guest runs.
struct Run {
    kernel: Kernel,
    /// The environment that chooses how the kernel is used.
    environment: &'static str,
    /// Test programs.
    programs: &'static [&'static str],
    /// Besides [`SKIPPED`].
    skipped: &'static [&'static str],
}

impl Run {
    const fn new(kernel: Kernel, programs: &'static [&'static str]) -> Self {
        Self { kernel, environment: "", programs, skipped: &[] }
    }

    /// The shell's line that runs the tests, with an exit status that is 0 if all passed. What they print has the
    /// guest's seconds before it.
    fn line(&self, programs: &[(String, PathBuf)], filter: &[&str]) -> String {
        let mut line = format!("export {} TRACER_TEST_SLOW=1 TRACER_BIN=", self.environment);
        line += &quote(&stage::target().join("release/tracer").display().to_string());
        if let Ok(requests) = std::env::var("TRACER_REQUESTS") {
            line += &format!(" TRACER_REQUESTS={}", quote(&requests));
        }
        line += "\n{\n";
        let mut words: Vec<String> = filter.iter().map(|word| quote(word)).collect();
        if words.is_empty() {
            let skipped = SKIPPED.iter().chain(self.skipped);
            words.extend(skipped.flat_map(|name| ["--skip".to_owned(), quote(name)]));
        }
        for (_, path) in programs.iter().filter(|(name, _)| self.programs.contains(&name.as_str())) {
            let path = quote(&path.display().to_string());
            line += &format!("{path} --test-threads=1 {} 2>&1 || echo >/tmp/failed\n", words.join(" "));
        }
        line += "} | while IFS= read -r line; do read seconds rest </proc/uptime; echo \"$seconds $line\"; done\n";
        line + "[ ! -e /tmp/failed ]"
    }
}

/// On 6.12 data is seen as on 6.18, so that what is tested there is what moves bytes, who adds some, and the other hooks
/// for data. The longest go first: two guests run at a time.
const RUNS: &[Run] = &[
    Run::new(Kernel::V6_1, &["headers", "harm"]),
    Run { skipped: SKIPPED_LINKS, ..Run::new(Kernel::V6_12, &["headers", "harm"]) },
    Run::new(Kernel::V6_1, &["load", "spans"]),
    Run::new(Kernel::V6_1, &["sockets", "links"]),
    Run { environment: "TRACER_TEST_DATA_HOOKS=functions", ..Run::new(Kernel::V6_12, &["sockets"]) },
];

/// Runs them in every guest. Words narrow the tests down, as with `cargo test`.
pub(crate) fn test(filter: &[&str]) -> Result<()> {
    vm::setup(&[Kernel::V5_10, Kernel::V6_1, Kernel::V6_12])?;
    let programs = build()?;
    // Each guest has one thread of its own, and the machine two cores.
    let runs = Mutex::new(RUNS.iter());
    let work = |is_first: bool| -> Result<()> {
        if is_first {
            stage::run("kernel 5.10 is refused", refused)?;
        }
        loop {
            let Some(run) = runs.lock().map_or(None, |mut runs| runs.next()) else { return Ok(()) };
            let name = format!("{} on {} {}", run.programs.join(", "), run.kernel.name(), run.environment);
            one(run.kernel, name.trim_end(), &run.line(&programs, filter))?;
        }
    };
    std::thread::scope(|scope| {
        let workers = [true, false].map(|is_first| scope.spawn(move || work(is_first)));
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    Ok(())
}

/// Runs the tests in one guest.
fn one(kernel: Kernel, name: &str, line: &str) -> Result<()> {
    stage::run(name, || {
        let guest = Guest { kernel, icount: false, limit: Duration::from_mins(40), apart: true };
        let outcome = vm::run(guest, line)?;
        println!("\n{name}:\n{}", outcome.output);
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
        .args(["test", "--quiet", "--workspace", "--test", "*", "--no-run", "--message-format=json"])
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
