//! Full speed, and no harm: every request has a span on both sides or the ledger explains the loss, every stream
//! arrives as it was sent, and an agent that is killed hurts nobody.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer_tests::{
    Agent, Folder, LONGEST, count_of, eventually, is_slow,
    load::{self, Account, Client, Pace},
    programs::{Program, curl, run},
    receiver::Receiver,
    wait_until,
};

const HELLO: &str = "access_log off; location / { return 200 \"hello\\n\"; }";

/// The client process of [`Loaded`]: this very program, which runs this test alone.
#[test]
#[ignore = "no test: a process that other tests start"]
fn load_client() {
    load::serve().expect("commands and responses");
}

/// nginx, a client that asks it numbered requests, and an agent that traces both.
struct Loaded {
    server: Program,
    client: Client,
    receiver: Receiver,
    agent: Agent,
}

impl Loaded {
    /// Starts all, with more lines of configuration for the agent.
    fn start(connections: usize, more: &str) -> Self {
        let server = load::server("");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "load_client", "--ignored", "--nocapture", "--test-threads=1"]);
        let client = Client::start(&mut command, server.port, connections).expect("the client starts");
        let receiver = Receiver::tallying();
        let folder = Folder::new();
        let config = folder.file("tracer.yaml");
        // No span is dropped on its way to the receiver.
        let text = format!("export: {{queue_spans: 1000000, queue_bytes: 1GiB}}\n{more}");
        std::fs::write(&config, text).expect("written");
        let config = config.display().to_string();
        let agent = Agent::tracing_with(&[client.pid(), server.pid()], &receiver, &["--config", &config]);
        Self { server, client, receiver, agent }
    }

    /// Sends so many requests at full speed. The receiver takes no time from them.
    fn run(&mut self, requests: u32) {
        self.receiver.hold();
        self.client.run(Pace::full_speed(requests)).expect("a response to each request");
        self.receiver.release();
    }

    fn pids(&self) -> [u32; 2] {
        [self.client.pid(), self.server.pid()]
    }

    /// Waits until `check` accepts what became of the requests, and checks again behind the agent's end, when all
    /// spans have come. Returns the last account and the agent's status.
    fn end(self, check: impl Fn(&Account, &Value) -> Result<(), String>) -> (Account, Value) {
        let sent = self.client.sent();
        let account = || self.receiver.account(sent);
        let mut status = Value::Null;
        eventually(LONGEST, || {
            status = self.agent.status();
            check(&account(), &status).is_ok()
        });
        let log = self.agent.stop().2;
        let account = account();
        println!("{account}; {} records lost", count_of(&status, "events.lost"));
        if let Err(fault) = check(&account, &status) {
            panic!("{fault}\n{status:#}\n{log}");
        }
        (account, status)
    }
}

/// Requests of one load.
fn requests() -> u32 {
    if is_slow() { 2_000 } else { 40_000 }
}

/// wrk at work until it is asked for its report; it does not outlive a test that fails.
struct Wrk(Option<Child>);

impl Wrk {
    fn start(url: &str) -> Self {
        let load = Command::new("wrk")
            .args(["--threads", "1", "--connections", "8", "--duration", "10m", url])
            .stdout(Stdio::piped())
            .spawn();
        Self(Some(load.expect("wrk starts")))
    }

    /// Ends it. Returns what it says of its requests so far.
    fn report(mut self) -> String {
        let child = self.0.take().expect("it runs");
        // SAFETY: our own child.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
        let report = child.wait_with_output().expect("wrk's report").stdout;
        String::from_utf8_lossy(&report).into_owned()
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pin(pid: u32, cpu: &str) {
    run(Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", cpu, &pid.to_string()]));
    // The worker too.
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        run(Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", cpu, child]));
    }
}

#[test]
fn a_request_without_a_span_is_explained_by_the_ledger_of_its_side() {
    for connections in [1, 64] {
        let mut loaded = Loaded::start(connections, "");
        loaded.run(requests());
        // A gap is seen by what comes after it: on each connection, with the agent awake.
        loaded.run(connections as u32);
        let pids = loaded.pids();
        loaded.end(|account, status| account.check_explained(status, pids, connections as u32));
    }
}

#[test]
fn with_a_core_of_its_own_the_agent_loses_nothing() {
    for connections in [1, 64] {
        let mut loaded = Loaded::start(connections, "");
        for pid in loaded.pids() {
            pin(pid, "0");
        }
        pin(loaded.agent.pid(), "1");
        loaded.run(requests());
        let (_, status) = loaded.end(|account, _| account.check_complete());
        for lost in
            ["events.lost", "bytes.lost", "exchanges.unpaired", "exchanges.unparsed", "events.malformed"]
        {
            assert_eq!(count_of(&status, lost), 0, "{lost}");
        }
    }
}

/// Sends requests until all of them have their spans again. Returns the number from which on they have.
fn heal(loaded: &mut Loaded, connections: u32) -> u32 {
    // So slowly that the ring has room; on a slow machine that may need another round.
    let mut rate = 500;
    loop {
        let lost = loaded.agent.count("events.lost");
        let healed = loaded.client.sent() + 10 * connections;
        let slowly = Pace { rate: Some(rate), ..Pace::full_speed(20 * connections) };
        loaded.client.run(slowly).expect("a response to each request");
        let sent = loaded.client.sent();
        // The first requests behind a gap may be needed to find a boundary; the later ones are whole.
        let is_whole = || loaded.receiver.account(sent).is_whole_from(healed);
        let loses = || loaded.agent.count("events.lost") > lost;
        wait_until("the connections heal, or more is lost", || is_whole() || loses());
        if is_whole() {
            break healed;
        }
        rate /= 2;
        assert!(rate > 30, "the ring has never room: {}", loaded.receiver.account(sent));
    }
}

#[test]
fn a_ring_that_is_too_small_loses_nothing_in_silence_and_the_streams_heal() {
    const CONNECTIONS: u32 = 16;
    let mut loaded = Loaded::start(CONNECTIONS as usize, "limits:\n  ring: 64KiB\n");
    // On a connection whose first record is lost, nothing is known of what was before.
    loaded.run(CONNECTIONS);
    let seen = loaded.client.sent();
    wait_until("the first requests", || loaded.receiver.account(seen).is_complete());
    // Nobody reads the ring for a while.
    loaded.agent.signal(libc::SIGSTOP);
    loaded.run(5_000);
    loaded.agent.signal(libc::SIGCONT);
    wait_until("the losses are counted", || loaded.agent.count("events.lost") > 0);
    let healed = heal(&mut loaded, CONNECTIONS);
    let pids = loaded.pids();
    let (account, _) = loaded.end(|account, status| {
        if !account.is_whole_from(healed) {
            return Err(format!("a request from {healed} on has no span: {account}"));
        }
        account.check_explained(status, pids, CONNECTIONS)
    });
    assert!(account.missing.iter().all(|missing| missing.len() > 1_000), "the ring had room: {account}");
}

/// An agent that gets little time: what is lost is lost in the middle of exchanges, again and again.
#[test]
fn connections_heal_whatever_was_lost_of_them_and_nothing_is_linked_wrongly() {
    const CONNECTIONS: u32 = 64;
    let mut loaded = Loaded::start(CONNECTIONS as usize, "limits:\n  ring: 64KiB\n");
    let mut healed = 0;
    for _ in 0..3 {
        loaded.receiver.hold();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (agent, over) = (&loaded.agent, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    agent.signal(libc::SIGSTOP);
                    thread::sleep(Duration::from_millis(20));
                    agent.signal(libc::SIGCONT);
                    thread::sleep(Duration::from_millis(3));
                }
            });
            loaded.client.run(Pace::full_speed(requests() / 4)).expect("a response to each request");
            over.store(true, Ordering::Relaxed);
        });
        loaded.receiver.release();
        healed = heal(&mut loaded, CONNECTIONS);
    }
    let pids = loaded.pids();
    loaded.end(|account, status| {
        assert!(account.is_whole_from(healed), "{account}");
        account.check_explained(status, pids, CONNECTIONS)
    });
}

#[test]
fn connections_whose_close_the_ring_had_no_space_for_are_ended_and_counted() {
    const CONNECTIONS: usize = 100;
    let server = load::server("");
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    std::fs::write(&config, "limits:\n  ring: 64KiB\n").expect("written");
    let (receiver, config) = (Receiver::tallying(), config.display().to_string());
    let agent = Agent::tracing_with(&[server.pid()], &receiver, &["--config", &config]);
    let connect = || TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    let ask = |mut stream: &TcpStream| {
        stream.write_all(b"GET /load/1 HTTP/1.1\r\nHost: load\r\n\r\n").expect("sent");
        assert!(stream.read(&mut [0; 1024]).expect("an answer") > 0);
    };
    let stays = connect();
    let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    streams.iter().chain([&stays]).for_each(ask);
    agent.wait_for("all are known", |status| status["connections"] == CONNECTIONS + 1);
    // Nobody reads the ring: it is full before they are closed.
    agent.signal(libc::SIGSTOP);
    (0..1_000).for_each(|_| ask(&stays));
    drop(streams);
    // The server has closed them all when it answers again.
    (0..100).for_each(|_| ask(&stays));
    agent.signal(libc::SIGCONT);
    agent.wait_for("those that are gone are ended", |status| {
        status["connections"] == 1 && count_of(status, "connections.end_unseen") >= CONNECTIONS as u64 / 2
    });
    ask(&stays);
    agent.wait_for("the other one stays", |status| status["connections"] == 1);
    agent.stop();
}

#[test]
fn the_status_tells_what_was_moved_until_now() {
    let server = Program::nginx(HELLO);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    // Behind the first look at the counters of a second.
    for n in 1..4 {
        curl(&[&server.url("/")]);
        let begin = Instant::now();
        wait_until("the bytes are counted", || {
            count_of(&agent.status(), "exchanges.paired") == n && agent.count("bytes.seen") >= n * 200
        });
        assert!(begin.elapsed() < Duration::from_millis(700) || is_slow(), "{:?}", begin.elapsed());
    }
    agent.stop();
}

/// Bytes that differ from each other and are the same each time.
fn body(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ length as u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// A hash of bytes: FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Uploads with writes of changing sizes to a server that sends everything back, and compares.
fn echo_round(length: usize) -> (u64, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut received = Vec::new();
        let mut part = vec![0; 70_000];
        while received.len() < length {
            let n = stream.read(&mut part).expect("bytes");
            assert!(n > 0, "the stream is cut");
            received.extend_from_slice(&part[..n]);
        }
        stream.write_all(&received).expect("sent");
        hash(&received)
    });
    let sent = body(length);
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut rest = &sent[..];
    let mut size = 1;
    while !rest.is_empty() {
        size = (size * 7 + 3) % 65_521 + 1;
        let (now, later) = rest.split_at(size.min(rest.len()));
        stream.write_all(now).expect("sent");
        rest = later;
    }
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read");
    assert_eq!(hash(&back), hash(&sent), "{length} bytes came back changed");
    (server.join().expect("the server"), hash(&sent))
}

#[test]
fn streams_arrive_as_they_were_sent() {
    // The streams are this test's own: the agent traces this very process.
    let pid = std::process::id().to_string();
    let lengths = [1, 100, 4_095, 4_096, 4_097, 65_536, 1_000_003, 50 << 20];
    let without: Vec<_> = lengths.iter().map(|length| echo_round(*length)).collect();
    let agent = Agent::start(&["--pid", &pid, "--output", "none"]);
    let with: Vec<_> = lengths.iter().map(|length| echo_round(*length)).collect();
    assert_eq!(without, with);
    assert!(agent.count("bytes.seen") > 0, "they were traced");
    agent.stop();
}

#[test]
fn uploads_through_real_servers_have_the_same_hash_with_and_without_the_agent() {
    let flask = Program::flask();
    let nginx = Program::nginx(&format!(
        "location / {{ proxy_pass http://127.0.0.1:{}; proxy_request_buffering off; }}",
        flask.port
    ));
    let folder = tracer_tests::Folder::new();
    let upload = |length: usize| {
        let file = folder.file("body");
        std::fs::write(&file, body(length)).expect("written");
        curl(&["--data-binary", &format!("@{}", file.display()), &nginx.url(&format!("/upload?{length}"))])
    };
    let lengths = [0, 1, 5_000, 300_000, 20 << 20];
    let without: Vec<String> = lengths.iter().map(|length| upload(*length)).collect();
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), flask.pid()], &receiver);
    let with: Vec<String> = lengths.iter().map(|length| upload(*length)).collect();
    assert_eq!(without, with);
    let spans = receiver.wait_for(|spans| spans.len() >= 3 * lengths.len());
    assert_eq!(spans.len(), 3 * lengths.len());
    for length in lengths {
        let sizes: Vec<Option<i64>> = spans
            .iter()
            .filter(|span| {
                span.attribute("url.query")
                    .or(span.attribute("url.full"))
                    .is_some_and(|text| text.rsplit('?').next() == Some(&length.to_string()))
            })
            .map(|span| span.number("http.request.body.size"))
            .collect();
        assert_eq!(sizes, [Some(length as i64); 3], "{length}");
    }
    agent.stop();
}

#[test]
fn agents_that_come_and_go_under_load_harm_no_request() {
    let nginx = Program::nginx(HELLO);
    let load = Wrk::start(&nginx.url("/load"));
    let pid = nginx.pid().to_string();
    for round in 0..6 {
        let agent = Agent::start(&["--pid", &pid, "--output", "none"]);
        wait_until("it traces", || agent.count("connections.seen") > 0);
        if round % 2 == 0 {
            agent.stop();
        } else {
            // SIGKILL, by its end.
            drop(agent);
        }
    }
    let report = load.report();
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

#[test]
fn an_agent_that_is_killed_leaves_no_program_behind() {
    /// Two of the agent's, as the kernel cuts their names; data is seen by one hook or the other.
    const PROGRAMS: [&str; 3] = ["name sock_send_lengt", "name inet_sendmsg", "name inet_sock_set_s"];
    let names = || {
        let output = run(Command::new("bpftool").args(["prog", "show"]));
        output.lines().filter(|line| PROGRAMS.iter().any(|name| line.contains(name))).count()
    };
    let nginx = Program::nginx(HELLO);
    let before = names();
    let agent = Agent::start(&["--pid", &nginx.pid().to_string(), "--output", "none"]);
    assert_eq!(names(), before + 2);
    agent.signal(libc::SIGKILL);
    drop(agent);
    wait_until("the kernel has let them go", || names() == before);
}

#[test]
fn what_is_seen_before_sigterm_is_sent() {
    let flask = Program::flask();
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[flask.pid()], &receiver);
    for n in 0..10 {
        curl(&[&flask.url(&format!("/echo/{n}"))]);
    }
    let begin = Instant::now();
    let (status, ..) = agent.stop();
    assert!(status.success() && begin.elapsed() < Duration::from_secs(5));
    assert_eq!(receiver.count(), 10);
}
