//! What tracing costs, on this machine: nginx and wrk on one core, the agent on the other, in pairs of
//! runs without and with the agent. It reports; it judges nothing.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    programs::{Folder, Program, free_port},
    stage,
};

const RUNS: usize = 3;

pub(crate) fn run() -> Result<()> {
    let folder = Folder::new()?;
    let port = free_port()?;
    let nginx = nginx(folder.path(), port)?;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", nginx.pid()))?;
    let worker: u32 = children.split_whitespace().next().context("nginx has no worker")?.parse()?;
    let mut pin = Command::new("taskset");
    stage::command(pin.args(["-pc", "0", &worker.to_string()]).stdout(Stdio::null()))?;
    println!("CPU time of nginx for a request without and with the agent, of the agent for a span (µs)");
    println!("connections  without    with  agent  agent+OTLP  memory MiB  spans/requests  lost");
    for connections in [1, 64] {
        for _ in 0..RUNS {
            let (_, without) = load(worker, port, connections)?;
            let traced = traced(&folder, &nginx, worker, port, connections, &[])?;
            // Nobody listens on port 9: spans are encoded and queued, and the oldest dropped.
            let encoded = traced_with_otlp(&folder, &nginx, worker, port, connections)?;
            println!(
                "{connections:>11}  {without:>7.2} {:>7.2} {:>6.2} {:>11.2} {:>11.0}  {}/{}  {}",
                traced.server_us,
                traced.agent_us,
                encoded.agent_us,
                traced.memory_mib,
                traced.spans,
                traced.requests,
                traced.lost
            );
        }
    }
    Ok(())
}

struct Traced {
    requests: u64,
    server_us: f64,
    agent_us: f64,
    memory_mib: f64,
    spans: u64,
    lost: u64,
}

fn nginx(folder: &Path, port: u16) -> Result<Program> {
    let text = format!(
        "daemon off; pid {0}/pid; error_log {0}/error.log; worker_processes 1; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
         uwsgi_temp_path {0}/d; scgi_temp_path {0}/e; keepalive_requests 100000000;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"hello\\n\"; }} }} }}\n",
        folder.display()
    );
    fs::write(folder.join("nginx.conf"), text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    let mut nginx = Program::start("nginx", &mut command, folder)?;
    nginx.wait_for_port(port)?;
    Ok(nginx)
}

/// Requests, and the server's microseconds for each.
fn load(worker: u32, port: u16, connections: u32) -> Result<(u64, f64)> {
    let before = cpu_seconds(worker)?;
    let output = Command::new("taskset")
        .args([
            "-c",
            "0",
            "wrk",
            "-t1",
            &format!("-c{connections}"),
            "-d4s",
            &format!("http://127.0.0.1:{port}/x"),
        ])
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("requests in")).context("wrk says nothing")?;
    let requests: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    Ok((requests, (cpu_seconds(worker)? - before) / requests as f64 * 1e6))
}

fn traced_with_otlp(
    folder: &Folder,
    nginx: &Program,
    worker: u32,
    port: u16,
    connections: u32,
) -> Result<Traced> {
    traced(folder, nginx, worker, port, connections, &["--otlp-endpoint", "http://127.0.0.1:9"])
}

fn traced(
    folder: &Folder,
    nginx: &Program,
    worker: u32,
    port: u16,
    connections: u32,
    more: &[&str],
) -> Result<Traced> {
    let tracer = stage::target().join("release/tracer");
    let socket = folder.path().join("tracer.sock");
    let mut command = Command::new("taskset");
    command
        .args(["-c", "1"])
        .arg(&tracer)
        .args(["--pid", &nginx.pid().to_string(), "--output", "none", "--log-level", "off", "--socket"])
        .arg(&socket)
        .args(more);
    let mut agent = command.spawn().context("cannot start the agent")?;
    let begin = Instant::now();
    while !socket.exists() {
        if begin.elapsed() > Duration::from_secs(20) {
            bail!("the agent did not start");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let before = cpu_seconds(agent.id())?;
    let (requests, server_us) = load(worker, port, connections)?;
    // The status is brought up to date every second.
    thread::sleep(Duration::from_millis(1500));
    let agent_us = (cpu_seconds(agent.id())? - before) / requests as f64 * 1e6;
    let memory_mib = resident_mib(agent.id())?;
    let output = Command::new(&tracer).args(["status", "--json", "--socket"]).arg(&socket).output()?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    // SAFETY: our own child, not reaped yet.
    unsafe { libc::kill(agent.id() as libc::pid_t, libc::SIGTERM) };
    agent.wait()?;
    let count = |name: &str| {
        let totals = status["totals"].as_array().cloned().unwrap_or_default();
        totals
            .iter()
            .find(|count| count["name"] == name)
            .and_then(|count| count["count"].as_u64())
            .unwrap_or(0)
    };
    let (spans, lost) = (count("spans.queued"), count("events.lost"));
    Ok(Traced { requests, server_us, agent_us, memory_mib, spans, lost })
}

/// CPU time of a process: fields 14 and 15 of its stat file, in clock ticks.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // SAFETY: a constant that always exists.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok((ticks(11) + ticks(12)) / per_second)
}

fn resident_mib(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse::<f64>()? / 1024.0)
}
