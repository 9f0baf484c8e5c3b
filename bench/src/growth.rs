//! How the agent grows, and that it loses nothing in silence: requests at rising rates, many
//! connections, many processes, short-lived ones, churn. On this machine; it reports, and fails only if
//! a request is missing without being counted.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tracer_tests::{Agent, count_of, programs::Program};

use crate::measure::{processes, resident_kib};

/// `keepalive_timeout` is long, so that nginx closes no connection by itself.
const HELLO: &str = "access_log off; keepalive_timeout 1h; location / { return 200 'hello\n'; }";
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

type Part = fn() -> Result<()>;

pub(crate) fn run(filter: &[&str]) -> Result<()> {
    raise_limits();
    let parts: [(&str, Part); 5] = [
        ("rates", rates),
        ("processes", selected_processes),
        ("sockets", open_sockets),
        ("short", short_lived),
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

/// What became of requests: spans, and records that were lost and counted.
struct Account {
    spans: u64,
    lost: u64,
}

/// Waits until spans and counted losses are as many as the requests, or nothing more comes.
fn account(agent: &Agent, requests: u64) -> Account {
    let begin = Instant::now();
    loop {
        let status = agent.status();
        let n = |name| count_of(&status, name);
        let account = Account { spans: n("spans.queued"), lost: n("events.lost") };
        if account.spans >= requests || begin.elapsed() > Duration::from_secs(3) {
            return account;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

impl Account {
    /// A lost record may cost an exchange; nothing else may.
    fn check(&self, requests: u64) -> Result<()> {
        ensure!(
            self.spans + self.lost >= requests && self.spans <= requests,
            "{requests} requests, {} spans, {} records counted as lost",
            self.spans,
            self.lost
        );
        Ok(())
    }
}

fn mib(pid: u32) -> f64 {
    resident_kib(pid) as f64 / 1024.0
}

fn nginx() -> Program {
    // Its descriptors come from our limit.
    Program::nginx(&HELLO.replace('\n', "\\n"))
}

fn agent(pids: &[u32]) -> Agent {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut arguments = vec!["--output", "none", "--log-level", "error"];
    for pid in &pids {
        arguments.extend(["--pid", pid]);
    }
    Agent::start(&arguments)
}

/// Many connections, of which any may be waited for.
struct Clients {
    streams: Vec<TcpStream>,
    epoll: i32,
    idle: Vec<usize>,
}

impl Clients {
    fn connect(port: u16, count: usize) -> Result<Self> {
        // SAFETY: no pointers.
        let epoll = unsafe { libc::epoll_create1(0) };
        ensure!(epoll >= 0, "no epoll");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut streams = Vec::new();
        for index in 0..count {
            let stream = TcpStream::connect(address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
            // SAFETY: both descriptors are open, the event is ours.
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event) };
            streams.push(stream);
        }
        Ok(Self { idle: (0..count).collect(), streams, epoll })
    }

    /// Sends so many requests a second for a while, as far as connections are idle. Returns how many.
    fn load(&mut self, rate: u64, time: Duration) -> Result<u64> {
        let begin = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        let mut buffer = [0; 4096];
        // SAFETY: zeroed events are valid.
        let mut events: [libc::epoll_event; 256] = unsafe { std::mem::zeroed() };
        while begin.elapsed() < time || answered < sent {
            let due = (begin.elapsed().min(time).as_secs_f64() * rate as f64) as u64;
            while sent < due
                && begin.elapsed() < time
                && let Some(index) = self.idle.pop()
            {
                self.streams[index].write_all(REQUEST)?;
                sent += 1;
            }
            // SAFETY: room for 256 events.
            let ready = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 256, 1) };
            for event in events.iter().take(ready.max(0) as usize) {
                let index = event.u64 as usize;
                let length = self.streams[index].read(&mut buffer)?;
                ensure!(length > 0, "nginx closed a connection");
                if buffer[..length].ends_with(b"hello\n") {
                    answered += 1;
                    self.idle.push(index);
                }
            }
            ensure!(begin.elapsed() < time + Duration::from_secs(30), "nginx does not answer");
        }
        Ok(sent)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // SAFETY: ours, and closed once.
        unsafe { libc::close(self.epoll) };
    }
}

fn rates() -> Result<()> {
    println!(
        "\nconnections  wanted/s  requests/s   requests      spans  records lost  agent CPU  memory MiB"
    );
    for connections in [1, 100, 10_000] {
        for rate in [1_000, 10_000, 1_000_000] {
            let nginx = nginx();
            let agent = agent(&[nginx.pid()]);
            let mut clients = Clients::connect(nginx.port, connections)?;
            let (begin, before) = (Instant::now(), processes(&[agent.pid()]));
            let requests = clients.load(rate, Duration::from_secs(3))?;
            let took = begin.elapsed();
            let account = account(&agent, requests);
            let cpu = (processes(&[agent.pid()]) - before) as f64 / took.as_nanos() as f64;
            println!(
                "{connections:>11}  {rate:>8}  {:>10.0}  {requests:>9}  {:>9}  {:>12}  {:>8.0}%  {:>10.1}",
                requests as f64 / took.as_secs_f64(),
                account.spans,
                account.lost,
                cpu * 100.0,
                mib(agent.pid())
            );
            account.check(requests)?;
            agent.stop();
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
        thread::sleep(Duration::from_millis(500));
        println!("{count:>18}  {:>8.0}  {:>10.1}", start.as_secs_f64() * 1e3, mib(agent.pid()));
        agent.stop();
    }
    Ok(())
}

fn open_sockets() -> Result<()> {
    println!("\nsockets open before  start ms  memory MiB  then requests  spans  records lost");
    for count in [1, 1_000, 10_000] {
        let nginx = nginx();
        let mut clients = Clients::connect(nginx.port, count)?;
        let begin = Instant::now();
        let agent = agent(&[nginx.pid()]);
        let start = begin.elapsed();
        // The first request of each connection that was there before.
        let requests = clients.load(20_000, Duration::from_secs(2))?;
        let account = account(&agent, requests);
        println!(
            "{count:>19}  {:>8.0}  {:>10.1}  {requests:>13}  {:>5}  {:>12}",
            start.as_secs_f64() * 1e3,
            mib(agent.pid()),
            account.spans,
            account.lost
        );
        account.check(requests)?;
        agent.stop();
    }
    Ok(())
}

fn short_lived() -> Result<()> {
    const RATE: u64 = 1_000;
    const TIME: Duration = Duration::from_secs(10);
    let script = "import os, sys, time
begin, count, rate = time.monotonic(), 0, float(sys.argv[1])
while (now := time.monotonic() - begin) < float(sys.argv[2]):
    while count < now * rate:
        os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)
        count += 1
    time.sleep(0.001)
print(count)";
    let spawner = |time: Duration| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script, &RATE.to_string(), &time.as_secs().to_string()]);
        command
    };
    // The spawner waits for the agent in its first second, and is selected with all that it starts.
    let gate = "import os, sys; sys.stdin.readline(); os.execv(sys.argv[1], sys.argv[1:])";
    let real = spawner(TIME);
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

fn churn() -> Result<()> {
    const RATE: u64 = 5_000;
    const TIME: Duration = Duration::from_secs(120);
    const STEP: Duration = Duration::from_secs(20);
    let nginx = nginx();
    let agent = agent(&[nginx.pid()]);
    println!("\nchurn: seconds  connections  memory MiB");
    let (begin, mut count) = (Instant::now(), 0u64);
    let mut next = STEP;
    let mut buffer = [0; 4096];
    while begin.elapsed() < TIME {
        while count < (begin.elapsed().as_secs_f64() * RATE as f64) as u64 && begin.elapsed() < TIME {
            let mut stream = TcpStream::connect(("127.0.0.1", nginx.port))?;
            stream.write_all(LAST_REQUEST)?;
            while stream.read(&mut buffer)? > 0 {}
            count += 1;
        }
        if begin.elapsed() >= next {
            println!("{:>14}  {count:>11}  {:>10.1}", next.as_secs(), mib(agent.pid()));
            next += STEP;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let account = account(&agent, count);
    println!(
        "{:>14}  {count:>11}  {:>10.1}  ({:.0} connections a second)  {} spans, {} records lost",
        TIME.as_secs(),
        mib(agent.pid()),
        count as f64 / TIME.as_secs_f64(),
        account.spans,
        account.lost
    );
    account.check(count)?;
    agent.stop();
    Ok(())
}
