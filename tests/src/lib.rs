//! What end-to-end tests share: the agent, programs nobody here wrote, and a real OTLP receiver.

pub mod labelled;
pub mod load;
pub mod namespace;
pub mod programs;
pub mod receiver;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::receiver::Receiver;

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The agent's binary: `cargo xtask test` builds it.
pub fn tracer() -> PathBuf {
    if let Some(path) = std::env::var_os("TRACER_BIN") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = target.join("release/tracer");
    assert!(path.exists(), "{} is not there: run `cargo xtask build`", path.display());
    path
}

/// The agent with the switches of the tests, which it reads from `TRACER_TEST_*` variables. `cargo xtask test`
/// builds it beside [`tracer`].
pub fn tracer_under_test() -> PathBuf {
    let path = tracer().with_file_name("tracer-under-test");
    assert!(path.exists(), "{} is not there: run `cargo xtask test`", path.display());
    path
}

/// A temporary folder, removed at its end.
pub struct Folder(TempDir);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("tracer-test-").tempdir().expect("a temporary folder"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// Set to 1, the agent gives headers to later requests of a connection too on a kernel that misleads who reads in
/// a sockmap: what the tests start does not ask it.
pub const TRUST: &str = "TRACER_TEST_TRUST_FIONREAD";

/// A configuration that injects headers and says that these ports speak HTTP/1.
pub fn knowing(folder: &Folder, ports: &[u16]) -> PathBuf {
    let path = folder.file("tracer.yaml");
    fs::write(&path, format!("propagation: {{mode: headers, http_ports: {ports:?}}}\n")).expect("written");
    path
}

/// The longest wait for a condition. It is long because guests and busy machines are slow.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Whether the machine is a slow guest, where tests send fewer requests.
pub fn is_slow() -> bool {
    std::env::var_os("TRACER_TEST_SLOW").is_some()
}

/// The time between two polls of a condition.
const POLL: Duration = Duration::from_millis(10);

/// Polls until `done`, for at most `deadline`. Returns whether it was done in time.
pub fn eventually(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// Waits until `done`, for at most [`LONGEST`]; later than that, the test fails.
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(eventually(LONGEST, done), "waited in vain: {what}");
}

/// Time passes, where that is the subject of a test. Waiting for something is [`wait_until`].
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// A running agent.
pub struct Agent {
    child: Child,
    folder: Folder,
}

impl Agent {
    /// Starts it with these arguments, and waits until it traces.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// As [`Self::start`], with variables in its environment.
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let output = fs::File::create(folder.file("output")).expect("a file");
        let log = fs::File::create(folder.file("log")).expect("a file");
        let mut child = Command::new(tracer_under_test())
            .args(arguments)
            .env(TRUST, "1")
            .envs(environment.iter().copied())
            .arg("--socket")
            .arg(folder.file("socket"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        let log = || fs::read_to_string(folder.file("log")).unwrap_or_default();
        let is_ready = eventually(LONGEST, || {
            let ended = child.try_wait().expect("our child");
            assert!(ended.is_none(), "the agent ended at once: {}", log());
            folder.file("socket").exists()
        });
        assert!(is_ready, "the agent does not start: {}", log());
        Self { child, folder }
    }

    /// Starts it on processes, with spans sent to a receiver.
    pub fn tracing(pids: &[u32], receiver: &Receiver) -> Self {
        Self::tracing_with(pids, receiver, &[])
    }

    /// As [`Self::tracing`], with more arguments.
    pub fn tracing_with(pids: &[u32], receiver: &Receiver, more: &[&str]) -> Self {
        let endpoint = receiver.http_endpoint();
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut arguments = vec!["--otlp-endpoint", &endpoint, "--output", "none"];
        for pid in &pids {
            arguments.extend(["--pid", pid]);
        }
        arguments.extend(more);
        Self::start(&arguments)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The entries of its map of this name, as bpftool shows them. Other agents may have maps of that name too.
    pub fn map(&self, name: &str) -> String {
        let list = |arguments: &[&str]| -> Vec<u8> {
            let output =
                Command::new("bpftool").arg("--json").args(arguments).output().expect("bpftool runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let maps: Value = serde_json::from_slice(&list(&["map", "show"])).expect("JSON");
        let own: BTreeSet<u64> = fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))
            .expect("it runs")
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter_map(|info| info.lines().find_map(|it| it.strip_prefix("map_id:")?.trim().parse().ok()))
            .collect();
        let is_it =
            |map: &&Value| map["name"] == name && map["id"].as_u64().is_some_and(|id| own.contains(&id));
        let map = maps.as_array().into_iter().flatten().find(is_it).expect("a map of its own");
        String::from_utf8(list(&["map", "dump", "id", &map["id"].to_string()])).expect("UTF-8")
    }

    /// The socket on which it answers.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("socket")
    }

    /// What `tracer status --json` says.
    pub fn status(&self) -> Value {
        let output = Command::new(tracer())
            .args(["status", "--json", "--socket"])
            .arg(self.folder.file("socket"))
            .output()
            .expect("tracer status runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A counter of the totals.
    pub fn count(&self, name: &str) -> u64 {
        count_of(&self.status(), name)
    }

    /// Waits until its status `fits`, as [`wait_until`].
    pub fn wait_for(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) {
        let mut status = Value::Null;
        let fitted = eventually(LONGEST, || {
            status = self.status();
            fits(&status)
        });
        assert!(fitted, "waited in vain: {what}: {:#}", status["totals"]);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Ends it with SIGTERM. Returns its exit status, output and log.
    pub fn stop(mut self) -> (ExitStatus, String, String) {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().expect("our child");
        (status, self.read("output"), self.read("log"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.file(name)).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if thread::panicking() {
            let how = ended.map_or_else(|| "runs".to_owned(), |status| format!("had ended, {status}"));
            eprintln!("the agent {how}; its log:\n{}", self.read("log"));
        }
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A counter of the totals in a status.
pub fn count_of(status: &Value, name: &str) -> u64 {
    let totals = status["totals"].as_array().cloned().unwrap_or_default();
    totals.iter().find(|count| count["name"] == name).and_then(|count| count["count"].as_u64()).unwrap_or(0)
}

/// A counter of the service whose first process is `pid`, in a status.
pub fn count_for(status: &Value, pid: u32, name: &str) -> u64 {
    let services = status["services"].as_array().cloned().unwrap_or_default();
    let counts = services
        .iter()
        .find(|service| service["pid"] == pid)
        .and_then(|service| service["counts"].as_array());
    let counts = counts.into_iter().flatten();
    counts.filter(|count| count["name"] == name).filter_map(|count| count["count"].as_u64()).sum()
}
