//! How the agent grows, and that it loses nothing in silence: requests at rising rates, many
//! connections, many processes, short-lived ones, churn. On this machine; it reports, and fails only if a request has no
//! span and the ledger does not explain it, on the client's side or the server's.

use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tracer_tests::{
    Agent, Folder, LONGEST, count_of, eventually, let_pass,
    load::{self, Account, Client, Pace},
    programs::Program,
    receiver::Receiver,
};

use crate::measure::{processes, resident_kib};

type Part = fn() -> Result<()>;

pub(crate) fn run(filter: &[&str]) -> Result<()> {
    raise_limits();
    let parts: [(&str, Part); 6] = [
        ("rates", rates),
        ("processes", selected_processes),
        ("sockets", open_sockets),
        ("short", short_lived),
        ("execs", unselected_execs),
        ("churn", churn),
    ];
    for (name, part) in parts {
        if filter.is_empty() || filter.contains(&name) {
            part().with_context(|| name.to_owned())?;
        }
    }
    Ok(())
}

fn raise_limits() {
    let limit = libc::rlimit { rlim_cur: 65_536, rlim_max: 65_536 };
    // SAFETY: a valid structure; if it is refused, the many connections fail and say so.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
}

fn mib(pid: u32) -> f64 {
    resident_kib(pid) as f64 / 1024.0
}

fn agent(pids: &[u32]) -> Agent {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut arguments = vec!["--output", "none", "--log-level", "error"];
    for pid in &pids {
        arguments.extend(["--pid", pid]);
    }
    Agent::start(&arguments)
}

/// nginx, a client process, and an agent that traces both and exports to a receiver.
struct Loaded {
    server: Program,
    client: Client,
    connections: u32,
    receiver: Receiver,
    agent: Agent,
}

impl Loaded {
    /// Starts all; the connections before the agent if they are `open_before`. Returns also how long the agent took.
    fn start(connections: u32, open_before: bool) -> Result<(Self, Duration)> {
        let server = load::server("");
        let mut command = Command::new(std::env::current_exe()?);
        let mut client = Client::start(command.arg("client"), server.port, connections as usize)?;
        if open_before {
            client.run(Pace::full_speed(0))?;
        }
        let receiver = Receiver::tallying();
        let folder = Folder::new();
        let config = folder.file("tracer.yaml");
        // No span is dropped on its way to the receiver.
        fs::write(&config, "export: {queue_spans: 1000000, queue_bytes: 1GiB}\n")?;
        let config = config.display().to_string();
        let more = ["--config", &config, "--log-level", "error"];
        let begin = Instant::now();
        let agent = Agent::tracing_with(&[client.pid(), server.pid()], &receiver, &more);
        let start = begin.elapsed();
        client.run(Pace::full_speed(0))?;
        Ok((Self { server, client, connections, receiver, agent }, start))
    }

    /// Sends one more request on each connection: a gap is seen by what comes after it.
    fn show_gaps(&mut self) -> Result<()> {
        self.client.run(Pace::full_speed(self.connections))?;
        Ok(())
    }

    /// Waits until the ledger explains each request without a span, and no more spans come; it is an error if it does
    /// not. Returns also how many records were lost.
    fn account(&self) -> Result<(Account, u64)> {
        let (sent, pids) = (self.client.sent(), [self.client.pid(), self.server.pid()]);
        let (mut status, mut outcome, mut spans) = (Value::Null, Ok(()), 0);
        eventually(LONGEST, || {
            status = self.agent.status();
            let account = self.receiver.account(sent);
            let is_quiet = spans == account.spans;
            spans = account.spans;
            outcome = account.check_explained(&status, pids, self.connections);
            account.is_complete() || is_quiet && outcome.is_ok()
        });
        outcome.map_err(anyhow::Error::msg)?;
        Ok((self.receiver.account(sent), count_of(&status, "events.lost")))
    }
}

fn rates() -> Result<()> {
    println!(
        "\nconnections  wanted/s  requests/s   requests  without client span  server span  records lost  agent CPU  \
         memory MiB"
    );
    for connections in [1, 100, 10_000] {
        for rate in [1_000, 10_000, 1_000_000] {
            let (mut loaded, _) = Loaded::start(connections, false)?;
            let agent = loaded.agent.pid();
            let (begin, before) = (Instant::now(), processes(&[agent]));
            let pace = Pace {
                requests: u32::MAX,
                rate: Some(rate),
                time: Duration::from_secs(3),
                reconnects: false,
            };
            let requests = loaded.client.run(pace)?;
            let took = begin.elapsed();
            let cpu = (processes(&[agent]) - before) as f64 / took.as_nanos() as f64;
            loaded.show_gaps()?;
            let (account, lost) = loaded.account()?;
            println!(
                "{connections:>11}  {rate:>8}  {:>10.0}  {requests:>9}  {:>19}  {:>11}  {lost:>12}  {:>8.0}%  {:>10.1}",
                f64::from(requests) / took.as_secs_f64(),
                account.missing[0].len(),
                account.missing[1].len(),
                cpu * 100.0,
                mib(agent)
            );
        }
    }
    Ok(())
}

/// Processes that do nothing.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start(count: usize) -> Result<Self> {
        let mut this = Self(Vec::new());
        for _ in 0..count {
            this.0.push(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?);
        }
        Ok(this)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn selected_processes() -> Result<()> {
    println!("\nselected processes  start ms  memory MiB");
    for count in [1, 100, 1_000] {
        let sleepers = Sleepers::start(count)?;
        let pids: Vec<u32> = sleepers.0.iter().map(Child::id).collect();
        let begin = Instant::now();
        let agent = agent(&pids);
        let start = begin.elapsed();
        // Its memory is that of an agent which has come to rest.
        let_pass(Duration::from_millis(500));
        println!("{count:>18}  {:>8.0}  {:>10.1}", start.as_secs_f64() * 1e3, mib(agent.pid()));
        agent.stop();
    }
    Ok(())
}

fn open_sockets() -> Result<()> {
    println!(
        "\nsockets open before  start ms  memory MiB  then requests  without client span  server span  records lost"
    );
    for count in [1, 1_000, 10_000] {
        let (mut loaded, start) = Loaded::start(count, true)?;
        let pace =
            Pace { requests: u32::MAX, rate: Some(20_000), time: Duration::from_secs(2), reconnects: false };
        // Among them the first request of each connection.
        let requests = loaded.client.run(pace)?;
        loaded.show_gaps()?;
        let (account, lost) = loaded.account()?;
        println!(
            "{count:>19}  {:>8.0}  {:>10.1}  {requests:>13}  {:>19}  {:>11}  {lost:>12}",
            start.as_secs_f64() * 1e3,
            mib(loaded.agent.pid()),
            account.missing[0].len(),
            account.missing[1].len(),
        );
    }
    Ok(())
}

/// A program that starts others which end at once, and prints how many it has started.
fn spawner(rate: u64, time: Duration) -> Command {
    let script = "import os, sys, time
begin, count, rate = time.monotonic(), 0, float(sys.argv[1])
while (now := time.monotonic() - begin) < float(sys.argv[2]):
    while count < now * rate and time.monotonic() - begin < float(sys.argv[2]):
        os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)
        count += 1
    time.sleep(0.001)
print(count)";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script, &rate.to_string(), &time.as_secs().to_string()]);
    command
}

fn short_lived() -> Result<()> {
    const RATE: u64 = 1_000;
    const TIME: Duration = Duration::from_secs(10);
    // The spawner waits for the agent in its first second, and is selected with all that it starts.
    let gate = "import os, sys; sys.stdin.readline(); os.execv(sys.argv[1], sys.argv[1:])";
    let real = spawner(RATE, TIME);
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", gate, "/usr/bin/python3"])
        .args(real.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let agent = agent(&[child.id()]);
    let before = processes(&[agent.pid()]);
    child.stdin.take().context("a pipe")?.write_all(b"\n")?;
    let output = child.wait_with_output()?;
    let count: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("no count")?;
    let cpu = (processes(&[agent.pid()]) - before) as f64 / TIME.as_nanos() as f64;
    let status = agent.status();
    println!(
        "\nshort-lived processes: {count} in {} s ({:.0} a second); agent {:.0} % CPU, {:.1} MiB, {} records lost",
        TIME.as_secs(),
        count as f64 / TIME.as_secs_f64(),
        cpu * 100.0,
        mib(agent.pid()),
        count_of(&status, "events.lost"),
    );
    agent.stop();
    Ok(())
}

/// Processes that no selector names, with selectors that the kernel programs decide, and that the agent must decide.
fn unselected_execs() -> Result<()> {
    const TIME: Duration = Duration::from_secs(10);
    println!("\nunselected execs: selector        wanted/s  execs/s  agent CPU us/exec  records lost");
    for selector in [["--exe", "/srv/nothing"], ["--exe", "/srv/*/nothing"], ["--command", "*nothing*"]] {
        for rate in [1_000, 1_000_000] {
            let agent = Agent::start(&["--output", "none", "--log-level", "error", selector[0], selector[1]]);
            let before = processes(&[agent.pid()]);
            let output = spawner(rate, TIME).stderr(Stdio::inherit()).output()?;
            let count: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("no count")?;
            let cpu = (processes(&[agent.pid()]) - before) as f64;
            println!(
                "{:>34}  {rate:>8}  {:>7.0}  {:>17.1}  {:>12}",
                selector.join(" "),
                count as f64 / TIME.as_secs_f64(),
                cpu / count as f64 / 1e3,
                count_of(&agent.status(), "events.lost"),
            );
            agent.stop();
        }
    }
    Ok(())
}

fn churn() -> Result<()> {
    const RATE: u64 = 5_000;
    const STEP: Duration = Duration::from_secs(20);
    const STEPS: u32 = 6;
    let (mut loaded, _) = Loaded::start(0, false)?;
    let agent = loaded.agent.pid();
    println!("\nchurn: seconds  connections  memory MiB");
    for step in 1..=STEPS {
        loaded.client.run(Pace { requests: u32::MAX, rate: Some(RATE), time: STEP, reconnects: true })?;
        println!(
            "{:>14}  {:>11}  {:>10.1}",
            u64::from(step) * STEP.as_secs(),
            loaded.client.sent(),
            mib(agent)
        );
    }
    let (account, lost) = loaded.account()?;
    println!(
        "{:.0} connections a second; {} without a client span, {} without a server span, {lost} records lost",
        f64::from(account.sent) / (STEP * STEPS).as_secs_f64(),
        account.missing[0].len(),
        account.missing[1].len(),
    );
    Ok(())
}
