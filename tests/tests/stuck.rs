//! Whatever takes nothing, tracing goes on, what is missing is counted, and a signal ends the agent.

use std::{
    io::{self, PipeReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer_tests::{
    Folder, count_of,
    programs::{Program, curl},
    receiver::Receiver,
    tracer, wait_until,
};

const ANSWERS: &str = "location / { return 200 \"hello\\n\"; }";
/// Requests whose lines of JSON are more than the output's queue and a pipe hold.
const MANY: u64 = 12_000;
/// `limits.shutdown`, a second, and what a busy machine takes besides.
const DEADLINE: Duration = Duration::from_secs(5 + 1 + 4);

/// An agent whose streams the test chooses.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Folder, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let socket = folder.file("socket");
        let child = Command::new(tracer())
            .args(arguments)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the agent starts");
        let agent = Self { child, socket };
        wait_until("the agent traces", || agent.socket.exists());
        agent
    }

    fn status(&self) -> Value {
        let output = Command::new(tracer())
            .args(["status", "--json", "--socket"])
            .arg(&self.socket)
            .output()
            .expect("tracer status runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn count(&self, name: &str) -> u64 {
        count_of(&self.status(), name)
    }

    /// Ends it with SIGTERM, and tells how long that took.
    fn stop(mut self) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let mut status = None;
        wait_until("the agent ends", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        (status.expect("it has ended"), begin.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A pipe that nobody reads; its reading end must be kept.
fn unread() -> (Stdio, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (writer.into(), reader)
}

fn requests(program: &Program, n: u64) {
    curl(&["--output", "/dev/null", &program.url(&format!("/[1-{n}]"))]);
}

#[test]
fn an_output_that_nobody_reads_does_not_stop_the_tracing_and_a_signal_ends_the_agent() {
    let folder = Folder::new();
    let nginx = Program::nginx(ANSWERS);
    let pid = nginx.pid().to_string();
    let (stdout, _reader) = unread();
    let agent = Agent::start(&folder, &["--pid", &pid, "--output", "json"], stdout, Stdio::null());
    requests(&nginx, MANY);
    wait_until("all requests are seen", || agent.count("exchanges.paired") == MANY);
    wait_until("the ledger knows what is missing", || agent.count("spans.not_written") > 0);
    let (status, taken) = agent.stop();
    assert!(status.success() && taken < DEADLINE, "{status} after {taken:?}");
}

#[test]
fn run_ends_with_its_program_when_nobody_reads_standard_error() {
    let nginx = Program::nginx(ANSWERS);
    let url = nginx.url(&format!("/[1-{MANY}]"));
    let (stderr, _reader) = unread();
    let mut child = Command::new(tracer())
        .args(["run", "--output", "json", "--", "curl", "--silent", "--output", "/dev/null", &url])
        .stdin(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the agent starts");
    let mut status = None;
    wait_until("it ends", || {
        status = child.try_wait().expect("our child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_full_disk_and_a_log_that_nobody_reads_leave_the_export_alone() {
    const REQUESTS: u64 = 50;
    let folder = Folder::new();
    let receiver = Receiver::start();
    let nginx = Program::nginx(ANSWERS);
    let pid = nginx.pid().to_string();
    let endpoint = receiver.http_endpoint();
    let arguments =
        ["--pid", &pid, "--otlp-endpoint", &endpoint, "--output", "json", "--output-file", "/dev/full"];
    let (stderr, _reader) = unread();
    let agent = Agent::start(&folder, &arguments, Stdio::null(), stderr);
    requests(&nginx, REQUESTS);
    wait_until("the receiver has all spans", || receiver.count() as u64 == REQUESTS);
    wait_until("the ledger knows what is missing", || agent.count("spans.not_written") == REQUESTS);
    let (status, taken) = agent.stop();
    assert!(status.success() && taken < DEADLINE, "{status} after {taken:?}");
}
