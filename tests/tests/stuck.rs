//! Whatever takes nothing, tracing goes on, what is missing is counted, and a signal ends the agent.

use std::{
    io::{self, PipeReader, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer_tests::{
    Folder, count_of, let_pass,
    programs::{Program, curl, free_port},
    receiver::Receiver,
    root, tracer, wait_until,
};

const ANSWERS: &str = "location / { return 200 \"hello\\n\"; }";
/// Requests whose lines of JSON are more than the output's queue and a pipe hold.
const MANY: u64 = 12_000;
/// The second that a blocked output gets at the end, and what a busy machine takes besides: less than
/// `limits.shutdown`, which only exports have.
const DEADLINE: Duration = Duration::from_millis(1_000 + 3_500);

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

    /// CPU time that it has used.
    fn cpu_seconds(&self) -> f64 {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // In user mode and in the kernel, as in proc_pid_stat(5): the list begins with the third field.
        let ticks: f64 =
            [14, 15].map(|number| fields[number - 3].parse::<f64>().expect("a number")).iter().sum();
        ticks / TICKS_A_SECOND
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
    let log = folder.file("log");
    let stderr = std::fs::File::create(&log).expect("created");
    let agent = Agent::start(&folder, &["--pid", &pid, "--output", "json"], stdout, stderr.into());
    requests(&nginx, MANY);
    wait_until("all requests are seen", || agent.count("exchanges.paired") == MANY);
    wait_until("the ledger knows what is missing", || agent.count("spans.not_written") > 0);
    let (status, taken) = agent.stop();
    assert!(status.code() == Some(1) && taken < DEADLINE, "{status} after {taken:?}");
    let log = std::fs::read_to_string(log).expect("text");
    assert!(log.contains("the output is not complete") && log.contains("its reader is too slow"), "{log}");
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
    assert!(status.code() == Some(1) && taken < DEADLINE, "{status} after {taken:?}");
}

#[test]
fn a_second_agent_on_the_socket_is_refused_and_names_the_first() {
    let folder = Folder::new();
    let nginx = Program::nginx(ANSWERS);
    let pid = nginx.pid().to_string();
    let agent = Agent::start(&folder, &["--pid", &pid, "--output", "none"], Stdio::null(), Stdio::null());
    let second = Command::new(tracer())
        .args(["--pid", &pid, "--output", "none", "--socket"])
        .arg(&agent.socket)
        .output()
        .expect("it runs");
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("process {} answers there already", agent.child.id())), "{message}");
    let missing = folder.file("none").join("socket");
    let refused = Command::new(tracer())
        .args(["--pid", &pid, "--output", "none", "--socket"])
        .arg(&missing)
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(!folder.file("none").exists());
}

/// A disk of so many KiB in a folder.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, kib: u32) -> Self {
        std::fs::create_dir(&path).expect("created");
        let size = format!("size={kib}k");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        assert!(status.expect("mount runs").success());
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn without_a_free_descriptor_the_status_socket_waits_and_answers_when_there_is_one() {
    let program = Program::nginx(ANSWERS);
    let folder = Folder::new();
    let log = folder.file("log");
    let file = std::fs::File::create(&log).expect("a file");
    let pid = program.pid().to_string();
    let agent = Agent::start(&folder, &["--pid", &pid, "--output", "none"], Stdio::null(), Stdio::from(file));
    let limit = |most: &str| {
        let done = Command::new("prlimit")
            .args(["--pid", &agent.child.id().to_string(), &format!("--nofile={most}:")])
            .status();
        assert!(done.expect("prlimit runs").success());
    };
    let refused =
        || std::fs::read_to_string(&log).unwrap_or_default().contains("cannot answer on the status");
    limit("3");
    // The call that waits has its descriptor already.
    let first = UnixStream::connect(&agent.socket).expect("connected");
    let client = UnixStream::connect(&agent.socket).expect("connected");
    wait_until("accept fails", refused);
    drop(first);
    let before = agent.cpu_seconds();
    // Meanwhile the agent has nothing else to do; a loop would take all of it.
    let_pass(Duration::from_secs(2));
    let spent = agent.cpu_seconds() - before;
    assert!(spent < 0.5, "{spent} s of 2");
    limit("1024");
    drop(client);
    assert!(agent.status()["uptime_seconds"].is_number());
}

#[test]
fn a_recording_on_a_full_disk_says_so_and_is_replayed_up_to_its_end() {
    let folder = Folder::new();
    let disk = Disk::mount(folder.file("disk"), 32);
    let (record, log) = (disk.0.join("a.rec"), folder.file("log"));
    let nginx = Program::nginx(ANSWERS);
    let pid = nginx.pid().to_string();
    let stderr = std::fs::File::create(&log).expect("created");
    let arguments = ["--pid", &pid, "--output", "none", "--record", record.to_str().expect("text")];
    let agent = Agent::start(&folder, &arguments, Stdio::null(), stderr.into());
    requests(&nginx, 10);
    wait_until("the requests are seen", || agent.count("exchanges.paired") >= 10);
    wait_until("the disk is full", || {
        requests(&nginx, 500);
        agent.count("events.not_recorded") > 0
    });
    let (status, _) = agent.stop();
    let log = std::fs::read_to_string(log).expect("text");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("is not complete: No space left on device"), "{log}");
    let replay =
        Command::new(tracer()).args(["replay", "--output", "json"]).arg(&record).output().expect("it runs");
    let (spans, said) = (String::from_utf8_lossy(&replay.stdout), String::from_utf8_lossy(&replay.stderr));
    assert_eq!(replay.status.code(), Some(1), "{said}");
    assert!(said.contains("is cut at byte"), "{said}");
    assert!(spans.lines().count() >= 10, "{said}");
}

#[test]
fn a_replay_that_cannot_be_written_says_so() {
    let recording = tracer_tests::root().join("tests/recordings/curl.rec");
    for arguments in [&["--output-file", "/dev/full"][..], &[]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let replay = Command::new(tracer())
            .args(["replay", "--output", "json"])
            .args(arguments)
            .arg(&recording)
            .stdout(full)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&replay.stderr);
        assert_eq!(replay.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot write the output: No space left on device"), "{said}");
    }
}

#[test]
fn clients_that_never_end_their_heads_cannot_fill_the_agents_memory() {
    const CLIENTS: usize = 800;
    const HEAD_BYTES: usize = 60_000;
    const BOUND: u64 = 4 << 20;
    let folder = Folder::new();
    let config = folder.file("config");
    std::fs::write(&config, format!("limits:\n  message_memory: {BOUND}\n")).expect("written");
    let port = free_port();
    let server = Program::start("swallow", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/apps/raw/swallow.py")).arg(port.to_string());
        command
    });
    let pid = server.pid().to_string();
    let config = config.to_string_lossy();
    let agent = Agent::start(
        &folder,
        &["agent", "--pid", &pid, "--output", "none", "--config", &config],
        Stdio::null(),
        Stdio::null(),
    );
    let before = resident_bytes(agent.child.id());
    let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
    head.resize(HEAD_BYTES, b'x');
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        client.write_all(&head).expect("sent");
        clients.push(client);
    }
    let all = (CLIENTS * HEAD_BYTES) as u64;
    wait_until("every byte is seen", || agent.count("bytes.seen") + agent.count("bytes.lost") >= all);
    let grown = resident_bytes(agent.child.id()).saturating_sub(before);
    assert!(grown < all / 2, "{grown} bytes more, for {all} of heads");
    let kept = BOUND / HEAD_BYTES as u64 + 1;
    wait_until("those given up are counted", || agent.count("exchanges.forgotten") >= CLIENTS as u64 - kept);
    drop(clients);
    wait_until("each is counted once", || {
        agent.count("exchanges.forgotten") + agent.count("exchanges.unparsed") == CLIENTS as u64
    });
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
}

/// Memory of a process that is in use now.
fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
