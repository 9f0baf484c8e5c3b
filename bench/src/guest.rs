//! The runs inside a guest: each piece of work without the agent and with it.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tracer_tests::{
    programs::{Program, free_port},
    receiver::Receiver,
    root,
};

use crate::{
    drive::Load,
    measure::{bpftool, family, machine, median, processes, resident_kib},
};

/// Runs that count, after one that does not.
const RUNS: usize = 5;
/// As [`RUNS`], with the agent working at the same time.
const SHARED_RUNS: usize = 3;
/// In which the agent comes to rest after each run.
const SETTLE: Duration = Duration::from_millis(1500);

const HELLO: &str = "access_log off; location / { return 200 'hello\n'; }";

/// A piece of work.
struct Work {
    name: &'static str,
    requests: usize,
    /// Starts what is needed.
    begin: fn() -> Result<Scene>,
}

/// What a piece of work needs.
struct Scene {
    programs: Vec<Program>,
    /// The processes whose cost is told; none: all but agent and receiver.
    measured: Vec<u32>,
    /// Requests that one round stands for.
    each: usize,
    drive: Box<dyn FnMut(usize) -> Result<()>>,
}

const WORK: &[Work] = &[
    Work { name: "nginx static, 1 connection", requests: 3000, begin: || nginx(1) },
    Work { name: "nginx static, 16 connections", requests: 4800, begin: || nginx(16) },
    Work { name: "nginx proxy to nginx", requests: 2000, begin: proxy },
    Work { name: "redis GET", requests: 3000, begin: || redis(1) },
    Work { name: "redis GET, 16 pipelined", requests: 16_000, begin: || redis(16) },
    Work { name: "Python that calls nginx", requests: 300, begin: python },
    Work { name: "Go that calls nginx", requests: 600, begin: go },
    Work { name: "Node that calls nginx", requests: 300, begin: node },
    Work { name: "aiohttp that calls nginx", requests: 300, begin: aiohttp },
    Work { name: "bystander: TCP write + read", requests: 5000, begin: || bystander("tcp") },
    Work { name: "bystander: pipe", requests: 10_000, begin: || bystander("pipe") },
    Work { name: "bystander: fork + exec", requests: 100, begin: || bystander("fork") },
];

pub(crate) fn run(out: &Path, agent: &str, ready: u64, filter: &[&str]) -> Result<()> {
    let mut out = fs::File::create(out)?;
    for work in WORK {
        if !filter.is_empty() && !filter.iter().any(|word| work.name.contains(word)) {
            continue;
        }
        let result = one(work, agent, ready).with_context(|| work.name.to_owned())?;
        writeln!(out, "{result}")?;
        println!("{}: done", work.name);
    }
    Ok(())
}

/// One run: nanoseconds for each request.
struct Cost {
    measured: f64,
    machine: f64,
    agent: f64,
}

fn one(work: &Work, agent: &str, ready: u64) -> Result<Value> {
    let mut scene = (work.begin)()?;
    let receiver = Receiver::start();
    let without = runs(work, &mut scene, RUNS, Agent::Absent)?;
    let selected: Vec<u32> = scene.programs.iter().map(Program::pid).collect();
    let mut running = Running::start(agent, ready, &selected, &receiver)?;
    let agent = running.child.id();
    let resident = resident_kib(agent);
    // What the programs in the kernel cost the server. A second process that wants the only CPU costs
    // it something too, whatever it does: so the agent waits.
    let with = runs(work, &mut scene, RUNS, Agent::Waits(agent))?;
    let before = receiver.count();
    let shared = runs(work, &mut scene, SHARED_RUNS, Agent::Works(agent))?;
    let spans = receiver.count() - before;
    let requests = ((SHARED_RUNS + 1) * work.requests) as f64;
    let programs = shares(work, &mut scene)?;
    let maps: u64 = bpftool("map")?.iter().filter_map(|map| map["bytes_memlock"].as_u64()).sum();
    let resident = resident.max(resident_kib(agent));
    running.stop();
    let of = |costs: &[Cost], what: fn(&Cost) -> f64| {
        let (middle, spread) = median(costs.iter().map(what).collect());
        json!({"ns": middle, "spread": spread})
    };
    Ok(json!({
        "work": work.name,
        "requests": work.requests,
        "without": of(&without, |cost| cost.measured),
        "with": of(&with, |cost| cost.measured),
        "machine_without": of(&without, |cost| cost.machine),
        "machine_with": of(&shared, |cost| cost.machine),
        "agent": of(&shared, |cost| cost.agent),
        "spans_per_request": spans as f64 / requests,
        "programs": programs,
        "maps_bytes": maps,
        "resident_kib": resident,
    }))
}

/// What the agent does during a run.
#[derive(Clone, Copy)]
enum Agent {
    Absent,
    /// It is stopped, and goes on when the run is over.
    Waits(u32),
    Works(u32),
}

fn runs(work: &Work, scene: &mut Scene, count: usize, agent: Agent) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for _ in 0..=count {
        let agents = match agent {
            Agent::Absent => Vec::new(),
            Agent::Waits(pid) | Agent::Works(pid) => family(pid),
        };
        let before = (processes(&scene.measured), machine()?, processes(&agents));
        let waits = matches!(agent, Agent::Waits(_));
        if waits {
            signal(&agents, libc::SIGSTOP);
        }
        let outcome = (scene.drive)(work.requests / scene.each);
        let busy = machine()?;
        let measured = processes(&scene.measured) - before.0;
        if waits {
            signal(&agents, libc::SIGCONT);
        }
        outcome?;
        if !agents.is_empty() {
            thread::sleep(SETTLE);
        }
        let all = if waits { busy } else { machine()? } - before.1;
        let agent = processes(&agents) - before.2;
        let of = |ns: u64| ns as f64 / work.requests as f64;
        let measured = if scene.measured.is_empty() { all } else { measured };
        costs.push(Cost { measured: of(measured), machine: of(all), agent: of(agent) });
    }
    costs.remove(0);
    Ok(costs)
}

fn signal(pids: &[u32], signal: libc::c_int) {
    for pid in pids {
        // SAFETY: the agent's processes, children of ours.
        unsafe { libc::kill(*pid as libc::pid_t, signal) };
    }
}

/// Runs of each BPF program for a request, and its nanoseconds with those of measuring it.
fn shares(work: &Work, scene: &mut Scene) -> Result<Value> {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    fs::write(SWITCH, "1")?;
    let before = bpftool("prog")?;
    (scene.drive)(work.requests / scene.each)?;
    let after = bpftool("prog")?;
    fs::write(SWITCH, "0")?;
    let mut shares = Vec::new();
    for program in &after {
        let earlier = before.iter().find(|other| other["id"] == program["id"]);
        let gained = |field: &str| {
            let was = earlier.and_then(|program| program[field].as_u64()).unwrap_or(0);
            (program[field].as_u64().unwrap_or(0) - was) as f64 / work.requests as f64
        };
        if gained("run_cnt") > 0.0 {
            shares.push(json!({
                "name": program["name"],
                "runs": gained("run_cnt"),
                "ns": gained("run_time_ns"),
            }));
        }
    }
    Ok(Value::Array(shares))
}

/// The agent, by its command line.
struct Running {
    child: Child,
}

impl Running {
    /// `{pids}` stands for the selected processes, each behind `--pid`, `{pid}` for the first of
    /// them, `{endpoint}` for where spans go.
    fn start(line: &str, ready: u64, selected: &[u32], receiver: &Receiver) -> Result<Self> {
        let pids: Vec<String> = selected.iter().map(|pid| format!("--pid {pid}")).collect();
        let line = line
            .replace("{pids}", &pids.join(" "))
            .replace("{pid}", &selected.first().map(u32::to_string).unwrap_or_default())
            .replace("{endpoint}", &receiver.http_endpoint());
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start the agent")?;
        thread::sleep(Duration::from_secs(ready));
        Ok(Self { child })
    }

    fn stop(&mut self) {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(host: &str) -> Vec<u8> {
    format!("GET /hello HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

fn load(port: u16, connections: usize, request: Vec<u8>) -> Result<Box<dyn FnMut(usize) -> Result<()>>> {
    let mut load = Load::open(port, connections, &request)?;
    Ok(Box::new(move |rounds| load.run(rounds)))
}

fn nginx(connections: usize) -> Result<Scene> {
    let nginx = Program::nginx(HELLO);
    let drive = load(nginx.port, connections, get("bench"))?;
    Ok(Scene { measured: family(nginx.pid()), programs: vec![nginx], each: 1, drive })
}

fn proxy() -> Result<Scene> {
    let back = Program::nginx(HELLO);
    let front = Program::nginx(&format!(
        "access_log off; location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1; }}",
        back.port
    ));
    let drive = load(front.port, 1, get("bench"))?;
    Ok(Scene { measured: family(front.pid()), programs: vec![front, back], each: 1, drive })
}

fn redis(pipelined: usize) -> Result<Scene> {
    let port = free_port();
    let redis = Program::start("redis", port, |folder| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
        command
    });
    let set = load(port, 1, b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n".to_vec())?;
    drop(set);
    let drive = load(port, 1, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".repeat(pipelined))?;
    Ok(Scene { measured: family(redis.pid()), programs: vec![redis], each: pipelined, drive })
}

fn python() -> Result<Scene> {
    let nginx = Program::nginx(HELLO);
    let url = nginx.url("/hello");
    let port = free_port();
    let python = Program::start("python", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/apps/caller.py")).args([&port.to_string(), &url]);
        command
    });
    let drive = load(port, 1, get("bench"))?;
    Ok(Scene { measured: family(python.pid()), programs: vec![python, nginx], each: 1, drive })
}

/// A service of `tests/apps/labelled`, which makes two calls in turn for a request.
fn labelled(service: impl FnOnce(&str) -> Program) -> Result<Scene> {
    let nginx = Program::nginx(HELLO);
    let service = service(&format!("127.0.0.1:{}", nginx.port));
    let request = b"GET /r/1 HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".to_vec();
    let drive = load(service.port, 1, request)?;
    Ok(Scene { measured: family(service.pid()), programs: vec![service, nginx], each: 1, drive })
}

/// Its program is built outside of the guest.
fn go() -> Result<Scene> {
    let program = root().join("target/go/service").display().to_string();
    labelled(|backend| Program::of_way(&[&program], "goroutines", backend))
}

fn node() -> Result<Scene> {
    labelled(|backend| Program::of_way(&["node", "service.js"], "pool", backend))
}

fn aiohttp() -> Result<Scene> {
    labelled(|backend| Program::of_framework("aiohttp sequence", backend))
}

/// Some nginx is selected, so that the agent works, and has nothing to do.
fn bystander(kind: &'static str) -> Result<Scene> {
    let nginx = Program::nginx(HELLO);
    let me = std::env::current_exe()?;
    let drive = Box::new(move |rounds: usize| {
        let status = Command::new(&me).args(["bystander", kind, &rounds.to_string()]).status()?;
        anyhow::ensure!(status.success(), "the bystander failed");
        Ok(())
    });
    Ok(Scene { measured: Vec::new(), programs: vec![nginx], each: 1, drive })
}
