//! Injected trace headers harm no stream: client and server see the same as without the agent, also when the agent is
//! stopped, killed or started again.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use tracer_tests::{
    Agent, Folder, LONGEST, TRUST, count_of, eventually, is_slow, knowing, let_pass,
    programs::{Disturbed, Ended, PYTHON, Program, curl, disturbed, free_port, held, is_valid, run},
    receiver::Receiver,
    root, tracer_under_test, wait_until,
};

/// Takes the values that an injected header may change out of the scenarios.
fn take(scenarios: &mut Value, name: &str) -> Vec<(String, Value)> {
    let scenarios = scenarios.as_object_mut().expect("scenarios");
    let of = |(scenario, result): (&String, &mut Value)| {
        Some((scenario.clone(), result.as_object_mut()?.remove(name)?))
    };
    scenarios.iter_mut().filter_map(of).collect()
}

/// Waits for the line that a client prints at its end. Its process stays, and so does the agent that traces it.
fn waited_for(mut client: Ended) -> (Ended, Value) {
    let mut line = String::new();
    BufReader::new(client.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    (client, serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

/// Why some of the requests that `harm.py` sends have no header.
const REASONS: &[&str] = &[
    "headers.blocking",
    "headers.boundary",
    "headers.cut",
    "headers.in_use",
    "headers.odd",
    "headers.own",
    "headers.queue",
    "headers.too_long",
    "headers.tunnel",
    "headers.zero_copy",
];
/// As [`REASONS`], wherever headers are given.
const REASONS_ALWAYS: &[&str] = &["headers.io_uring"];
/// As [`REASONS`], where TCP's memory can be limited (cgroup v1).
const REASONS_OF_MEMORY: &[&str] = &["headers.memory"];
/// As [`REASONS`], where only first requests get one.
const REASONS_OF_FIRST: &[&str] = &["headers.only_first"];

#[test]
fn nothing_that_a_client_or_a_server_can_see_changes_but_for_the_header() {
    let judge = Program::judge();
    let folder = Folder::new();
    let config = knowing(&folder, &[judge.port]).display().to_string();
    let begin = folder.file("begin");
    let client = root().join("tests/apps/raw/harm.py");
    let command = format!("{PYTHON} {} {}", client.display(), judge.port);
    // As it is where later requests can have headers too, and as it is on this kernel.
    let modes = [("1", REASONS), ("0", REASONS_OF_FIRST)];
    let modes = &modes[..if is_slow() { 1 } else { 2 }];
    let with = modes.iter().map(|(trust, reasons)| {
        let _ = fs::remove_file(&begin);
        let client = held(&begin, &command);
        let pid = client.0.id().to_string();
        let arguments = ["--output", "none", "--pid", &pid, "--config", &config];
        let agent = Agent::start_in(&[(TRUST, trust)], &arguments);
        fs::write(&begin, "").expect("written");
        let (_client, with) = waited_for(client);
        let has_limits = Path::new("/sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes").exists();
        let more = if has_limits { REASONS_OF_MEMORY } else { &[] };
        for reason in reasons.iter().chain(REASONS_ALWAYS).chain(more) {
            wait_until(reason, || agent.count(reason) > 0);
        }
        assert_counted_for_python(&agent.status());
        wait_until("an empty map", || sockets_in_the_map(&agent) == 0);
        agent.stop();
        with
    });
    let with: Vec<Value> = with.collect();
    let (_, mut without) = waited_for(held(&begin, &command));
    for name in ["headers", "found"] {
        take(&mut without, name);
    }
    let is_blind = is_blind_to_options();
    for (mut with, all) in with.into_iter().zip([true, false]) {
        take(&mut with, "found");
        let found = take(&mut with, "headers");
        for (scenario, result) in without.as_object().expect("scenarios") {
            if is_blind && OPTIONS.iter().any(|name| scenario.starts_with(name)) {
                println!("{scenario}: not compared, since this kernel shows no options of sockets");
                continue;
            }
            assert_eq!(&with[scenario], result, "{scenario}");
        }
        check_headers(&found, all);
    }
}

/// Scenarios that set an option once they are connected, which only kernels that show options let the agent know.
const OPTIONS: &[&str] = &[
    "late zero copy",
    "repaired",
    "converted",
    "first tls",
    "first espintcp",
    "late stamped",
    "late unreachable",
];

/// Whether this kernel shows no options of sockets: see `tracer doctor`.
fn is_blind_to_options() -> bool {
    run(Command::new(tracer_under_test()).arg("doctor")).contains("security_socket_setsockopt")
}

/// The reasons are counted for the process.
fn assert_counted_for_python(status: &Value) {
    let services = status["services"].as_array().into_iter().flatten();
    let counts: Vec<&Value> = services
        .filter(|service| service["executable"].as_str().is_some_and(|path| path.contains("python")))
        .flat_map(|service| service["counts"].as_array().into_iter().flatten())
        .collect();
    assert!(counts.iter().any(|count| count["name"] == "headers.own"), "{counts:?}");
}

/// How many sockets are in the map of those whose messages may get headers.
fn sockets_in_the_map(agent: &Agent) -> usize {
    let text = agent.map("SOCKETS");
    let entries: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    entries.as_array().unwrap_or_else(|| panic!("{text}")).len()
}

/// How many requests of each scenario had a header; `all` if later ones on a connection can have one.
fn check_headers(found: &[(String, Value)], all: bool) {
    let headers = |name: &str| {
        let found = found.iter().find(|(scenario, _)| scenario == name).expect("the scenario");
        found.1.as_u64().expect("a number")
    };
    if all {
        assert_eq!(headers("ask waiting"), 50);
        assert_eq!(headers("segments"), 10);
        assert_eq!(headers("inquired waiting"), 3);
    } else {
        assert!(headers("ask waiting") > 0 && headers("segments") > 0);
    }
    // A blocking socket leaves the map with its first request.
    for name in
        ["ask", "lures", "sendfile", "upload", "upgrade", "small 4608", "small 16384", "urgent", "inquired"]
    {
        assert_eq!(headers(&format!("{name} blocking")), 1, "{name}");
    }
    assert_eq!(headers("draining"), 1);
    assert_eq!(headers("upgrade waiting"), 1);
    if all {
        assert_eq!(headers("long waiting"), 3, "heads of up to 7,680 bytes with the header");
    }
    assert_eq!(headers("reconnected"), 1);
    for name in [
        "connect waiting",
        "connect blocking",
        "twice blocking",
        "twice waiting",
        "folded blocking",
        "folded waiting",
        "bare blocking",
        "bare waiting",
        "own blocking",
        "own waiting",
        "other protocol blocking",
        "other protocol waiting",
        "zero copy",
        "late zero copy waiting",
        "late zero copy blocking",
        "iscsi",
        "ring",
        "ring of another thread",
        "short of memory",
        "stamped by option waiting",
        "stamped by option blocking",
        "stamped by message waiting",
        "stamped by message blocking",
        "late stamped by option waiting",
        "late stamped by option blocking",
        "late stamped by message waiting",
        "late stamped by message blocking",
        "unreachable by IPv4",
        "unreachable by IPv6",
        "late unreachable by IPv4",
        "late unreachable by IPv6",
    ] {
        assert_eq!(headers(name), 0, "{name}");
    }
    for sndbuf in [4608, 16384, 0] {
        for size in [120, 200, 900, 5000] {
            assert!(headers(&format!("flood {sndbuf} {size}")) > 0, "{sndbuf} {size}");
        }
    }
}

/// A kernel, and each later one.
type Release = (u32, u32);
const ANY: Release = (0, 0);

/// The scenario of `known.py`, what comes of it without the agent, and what comes of it with the agent, by the first kernel
/// on which it does.
type Difference = (&'static str, &'static str, &'static [(Release, &'static str)]);

/// The known differences of docs/traces.md. A difference that has gone fails the test too.
#[rustfmt::skip]
const KNOWN: &[Difference] = &[
    ("no urgent data waiting", r#""EINVAL""#, &[(ANY, r#""EAGAIN""#)]),
    ("no urgent data waiting, after a send", r#""EINVAL""#, &[(ANY, r#""EAGAIN""#)]),
    ("no urgent data blocking", r#""EINVAL""#, &[(ANY, r#""EAGAIN""#)]),
    // A blocking socket has left with its first send.
    ("no urgent data blocking, after a send", r#""EINVAL""#, &[(ANY, r#""EINVAL""#)]),
    ("zero bytes", r#"["EAGAIN", "EPIPE"]"#, &[(ANY, "[0, 0]")]),
    ("zero bytes, after a send", r#"["EAGAIN", "EPIPE"]"#, &[(ANY, "[0, 0]")]),
    ("reset", r#"["ECONNRESET", 0]"#, &[(ANY, r#"["EAGAIN", "ECONNRESET"]"#)]),
    ("shut down", "[0, 0]", &[(ANY, r#"["EAGAIN", 0]"#)]),
    ("interrupted blocking", r#""EINTR""#, &[(ANY, r#""EAGAIN""#)]),
    ("interrupted blocking, restart", "6", &[(ANY, r#""EAGAIN""#)]),
    ("interrupted waiting", r#""EINTR""#, &[(ANY, r#""EAGAIN""#)]),
    ("interrupted waiting, restart", "6", &[(ANY, r#""EAGAIN""#)]),
    ("invalid message waiting", r#"["EINVAL", "EINVAL"]"#, &[(ANY, "[true, true]")]),
    ("invalid message blocking", r#"["EINVAL", "EINVAL"]"#, &[(ANY, r#"[true, "EINVAL"]"#)]),
    ("stamp of a message waiting", "[true, true]", &[(ANY, "[false, false]")]),
    ("stamp of a message blocking", "[true, true]", &[(ANY, "[false, true]")]),
    ("unreadable", r#""EFAULT""#, &[(ANY, r#""EFAULT""#), ((6, 18), "0")]),
    ("unreadable, long", r#""EFAULT""#, &[(ANY, r#""EFAULT""#), ((6, 18), r#""ENOSPC""#)]),
    ("unreadable in part", r#""a part""#, &[(ANY, r#""EFAULT""#), ((6, 18), "0")]),
    // Python's name of EOPNOTSUPP.
    ("late ring", r#""all""#, &[(ANY, r#""ENOTSUP""#)]),
    ("multiplexed", r#""attached""#, &[(ANY, r#""EALREADY""#)]),
    // The length of the inserted line.
    ("counted", "0", &[(ANY, "70")]),
];

/// The running kernel.
fn release() -> Release {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = text.split('.').map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a major number"), numbers.next().expect("a minor number"))
}

#[test]
fn what_a_sockmap_changes_for_a_client_is_what_the_documentation_says() {
    let folder = Folder::new();
    let port = free_port();
    let config = knowing(&folder, &[port]).display().to_string();
    let begin = folder.file("begin");
    let command = format!("{PYTHON} {} {port}", root().join("tests/apps/raw/known.py").display());
    let client = held(&begin, &command);
    let pid = client.0.id().to_string();
    // As it is where a socket that does not block stays in the sockmap.
    let arguments = ["--output", "none", "--pid", &pid, "--config", &config];
    let agent = Agent::start_in(&[(TRUST, "1")], &arguments);
    fs::write(&begin, "").expect("written");
    let (_client, found_with) = waited_for(client);
    agent.stop();
    let (_client, found_without) = waited_for(held(&begin, &command));
    let here = release();
    let mut wrong = Vec::new();
    for (name, without, with) in KNOWN {
        if found_without[name].is_null() {
            println!("{name}: this kernel has no such operation");
            continue;
        }
        let (_, with) = with.iter().rfind(|(first, _)| *first <= here).expect("one for any kernel");
        for (way, expected, found) in [("without", without, &found_without), ("with", with, &found_with)] {
            let expected: Value = serde_json::from_str(expected).expect("JSON");
            if found[name] != expected {
                wrong.push(format!("{name}: {} {way} the agent instead of {expected}", found[name]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<&str> = KNOWN.iter().map(|(name, ..)| *name).collect();
    let found = found_without.as_object().expect("scenarios").keys().map(String::as_str).collect();
    assert_eq!(listed, found, "each scenario has its line");
}

#[test]
fn at_full_speed_every_request_has_one_header_or_is_counted_with_its_reason() {
    /// Connections of wrk. At its end it leaves one request open on each; a client that exits gets no span for it.
    const OPEN: u64 = 8;
    let nginx = Program::noting();
    let receiver = Receiver::start();
    let url = nginx.url("/load");
    let folder = Folder::new();
    let (begin, done) = (folder.file("begin"), folder.file("done"));
    let seconds = std::env::var("TRACER_LOAD_SECONDS").unwrap_or_else(|_| "5".to_owned());
    let wrk = format!("wrk -t 1 -c {OPEN} -d {seconds}s {url} >/dev/null; touch {}", done.display());
    let load = held(&begin, &wrk);
    let config = folder.file("tracer.yaml");
    // No span is dropped on its way to the receiver.
    let text = "propagation: {mode: headers}\nexport: {queue_spans: 1000000, queue_bytes: 1GiB}\n";
    fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let agent = Agent::tracing_with(&[load.0.id()], &receiver, &["--config", &config]);
    fs::write(begin, "").expect("written");
    let time = Duration::from_secs(seconds.parse().expect("a number of seconds"));
    assert!(eventually(time + LONGEST, || done.exists()), "the load does not end");
    let lines = || nginx.read("traces").lines().map(str::to_owned).collect::<Vec<_>>();
    // What the server wrote down when its clients had gone.
    let mut count = 0;
    wait_until("the last line", || std::mem::replace(&mut count, lines().len()) == count && count > 0);
    let lines = lines();
    let (with, without): (Vec<_>, Vec<_>) = lines.iter().partition(|line| *line != "-");
    for line in &with {
        assert!(is_valid(line), "{line}");
    }
    let spans: BTreeSet<&str> = with.iter().map(|line| &line[36..52]).collect();
    assert_eq!(spans.len(), with.len(), "every header names another span");
    println!("{} requests, {} with a header", lines.len(), with.len());
    assert!(with.len() > without.len(), "{} of {}", with.len(), lines.len());
    let (all, with) = (lines.len() as u64, with.len() as u64);
    let mut lost = 0;
    agent.wait_for("the ledger", |status| {
        let (told, pushed) = (told(status), count_of(status, "headers.pushed"));
        // What the ring had no room for is counted as that: a record tells of one request. What has a header and is not
        // counted so is among those of which nothing is told.
        lost = count_of(status, "events.lost");
        told <= all && pushed <= with && with - pushed <= all - told && all - told <= lost
    });
    drop(load);
    agent.stop();
    let received = receiver.spans();
    let received: BTreeSet<String> = received
        .iter()
        .map(|span| span.span.span_id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let unknown: Vec<_> = spans.iter().filter(|id| !received.contains(**id)).collect();
    assert!(
        unknown.len() as u64 <= lost + OPEN,
        "{} headers name no span, {lost} records lost: {unknown:?}",
        unknown.len()
    );
}

#[test]
fn headers_end_with_the_lease_and_with_the_agent_and_harm_nobody() {
    let nginx = Program::noting();
    let folder = Folder::new();
    let failures = folder.file("failures");
    let script = format!(
        "while :; do curl -sf {} >/dev/null || echo failed >>{}; sleep 0.02; done",
        nginx.url("/x"),
        failures.display()
    );
    let client = Ended(Command::new("sh").args(["-c", &script]).spawn().expect("a shell"));
    let stranger = |path: &str| curl(&["--fail", &nginx.url(path)]);
    let receiver = Receiver::start();
    let last = |count: usize| {
        let begin = nginx.read("traces").lines().count();
        wait_until("requests", || nginx.read("traces").lines().count() >= begin + count + 2);
        // The first may have been sent before.
        nginx.read("traces").lines().skip(begin + 1).take(count).map(str::to_owned).collect::<Vec<_>>()
    };
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--propagation", "headers"]);
    assert!(last(20).iter().all(|line| is_valid(line)), "{:?}", last(20));
    // It stands still: no byte is changed once the lease has run out. That takes time, which is the test's subject.
    agent.signal(libc::SIGSTOP);
    let_pass(Duration::from_millis(2500));
    assert!(last(20).iter().all(|line| line == "-"));
    agent.signal(libc::SIGCONT);
    wait_until("headers again", || last(5).iter().all(|line| is_valid(line)));
    // Another process beside the selected one is left alone.
    let strangers = Program::nginx("access_log traces noting; location / { return 200; }");
    for n in 0..20 {
        curl(&["--fail", &strangers.url(&format!("/{n}"))]);
    }
    stranger("/one-more");
    wait_until("the strangers' lines", || strangers.read("traces").lines().count() >= 20);
    assert!(strangers.read("traces").lines().all(|line| line == "-"));
    agent.signal(libc::SIGKILL);
    drop(agent);
    assert!(last(5).iter().all(|line| line == "-"));
    // Another comes, while the client goes on.
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--propagation", "headers"]);
    assert!(last(5).iter().all(|line| is_valid(line)));
    agent.stop();
    assert!(last(5).iter().all(|line| line == "-"));
    assert!(!failures.exists(), "{}", fs::read_to_string(&failures).unwrap_or_default());
}

#[test]
fn programs_that_wait_in_their_calls_get_their_answers_whatever_stops_them() {
    let judge = Program::judge();
    let url = judge.url("/ask/slow");
    let folder = Folder::new();
    let config = knowing(&folder, &[judge.port]).display().to_string();
    let (agent, tracer) =
        (["run", "--output", "none", "--config", &config, "--"], tracer_under_test().display().to_string());
    let outer: Vec<&str> = [&tracer[..]].into_iter().chain(agent).collect();
    let session = format!(
        "import requests\ns = requests.Session()\nfor n in range(3): print(s.get('{url}').text, flush=True)"
    );
    let urllib = format!(
        "import urllib.request\nfor n in range(3): print(urllib.request.urlopen('{url}').read(), flush=True)"
    );
    // With a header on the first request of each connection.
    let clients = [
        (vec!["wget", "-q", "-O", "-", &url, &url], 2, 1),
        (vec![PYTHON, "-c", &session], 3, 1),
        (vec![PYTHON, "-c", &urllib], 3, 3),
    ];
    thread::scope(|scope| {
        for (client, answers, headers) in &clients {
            let outer = &outer;
            scope.spawn(move || {
                let expected = |headers| Disturbed { status: Some(0), answers: *answers, headers };
                assert_eq!(disturbed(&[], client), expected(0), "{client:?}");
                for trust in &["1", "0"][..if is_slow() { 1 } else { 2 }] {
                    let trust = format!("{TRUST}={trust}");
                    let outer = [&["env", &trust], &outer[..]].concat();
                    assert_eq!(disturbed(&outer, client), expected(*headers), "{client:?}");
                }
            });
        }
    });
}

/// The server of `flood.c`.
fn flood_server() -> Program {
    let port = free_port();
    Program::start("flood", port, |_| {
        let mut command = Command::new(env!("TRACER_TEST_FLOOD"));
        command.args(["serve", &port.to_string()]);
        command
    })
}

/// The most requests that are sent before a response is read.
const AT_ONCE: u64 = 8;
/// Connections that send at the same time, each in its own way. The agent cannot follow one more.
const CONNECTIONS: u64 = 8;

/// The command line of its client with so many connections.
fn flood(server: &Program, connections: u64, more: &str) -> String {
    format!("{} ask {} {connections} {more}", env!("TRACER_TEST_FLOOD"), server.port)
}

#[test]
fn a_hundred_thousand_requests_in_all_and_their_answers_are_the_same_but_for_the_header() {
    // For each connection.
    let usual = if is_slow() { 400 } else { 6250 };
    let each: u64 = std::env::var("TRACER_REQUESTS").map_or(usual, |text| text.parse().expect("a number"));
    let server = flood_server();
    let folder = Folder::new();
    let config = knowing(&folder, &[server.port]).display().to_string();
    let begin = folder.file("begin");
    let command = flood(&server, CONNECTIONS, &each.to_string());
    let receiver = Receiver::start();
    let endpoint = receiver.http_endpoint();
    let traced = |trust: &str| {
        let _ = fs::remove_file(&begin);
        let client = held(&begin, &command);
        let pid = client.0.id().to_string();
        let arguments =
            ["--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pid, "--config", &config];
        let agent = Agent::start_in(&[(TRUST, trust)], &arguments);
        fs::write(&begin, "").expect("written");
        let (_client, said) = waited_for(client);
        let pushed = said["headers"].as_u64().expect("a number");
        agent.wait_for(&format!("the ledger of {said}"), |status| {
            let lost = count_of(status, "events.lost");
            let (told, count) = (told(status), count_of(status, "headers.pushed"));
            let all = CONNECTIONS * each;
            // What the ring had no room for is counted as that: a record may be of all that is sent at once, and what
            // is beside it is not understood without it.
            let most = lost * 2 * AT_ONCE;
            // What has a header and is not counted so is among those of which nothing is told.
            told <= all && count <= pushed && all - told <= most && pushed - count <= all - told
        });
        println!("{} requests, {pushed} with a header", said["requests"]);
        agent.stop();
        said
    };
    let with = ["1", "0"].map(traced);
    let (_, mut without) = waited_for(held(&begin, &command));
    assert_eq!(without["wrong"], 0);
    without["headers"] = Value::Null;
    // On a busy guest the agent may be too late to renew its lease.
    let least = if is_slow() { CONNECTIONS } else { CONNECTIONS * each / 4 };
    for (mut with, least) in with.into_iter().zip([least, CONNECTIONS]) {
        assert!(with["headers"].take().as_u64().is_some_and(|count| count >= least), "{with}");
        assert_eq!(with, without);
    }
}

/// The number of requests for which the agent counted that they got a header, or why not.
fn told(status: &Value) -> u64 {
    let named = status["totals"].as_array().into_iter().flatten();
    let headers = named.filter(|count| count["name"].as_str().is_some_and(|n| n.starts_with("headers.")));
    headers.filter_map(|count| count["count"].as_u64()).sum()
}

#[test]
fn agents_that_stand_still_die_and_come_again_change_no_stream() {
    let server = flood_server();
    let folder = Folder::new();
    let config = knowing(&folder, &[server.port]).display().to_string();
    let (begin, done) = (folder.file("begin"), folder.file("done"));
    // A busy guest leaves an agent no time to start.
    let (connections, pause_us, rounds) = if is_slow() {
        (5, 100_000, &["1", "1", "1"][..])
    } else {
        (CONNECTIONS + 1, 1000, &["1", "1", "1", "0"][..])
    };
    let command = flood(&server, connections, &format!("0 {} {pause_us}", done.display()));
    let client = held(&begin, &command);
    fs::write(&begin, "").expect("written");
    let receiver = Receiver::start();
    let (endpoint, pid) = (receiver.http_endpoint(), client.0.id().to_string());
    let arguments = ["--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pid, "--config", &config];
    for (round, trust) in rounds.iter().enumerate() {
        let agent = Agent::start_in(&[(TRUST, trust)], &arguments);
        wait_until("headers", || agent.count("headers.pushed") > 30);
        match round % 3 {
            0 => drop(agent.stop()),
            1 => {
                agent.signal(libc::SIGSTOP);
                // Longer than the lease: the time is the test's subject.
                let_pass(Duration::from_millis(2500));
                agent.signal(libc::SIGCONT);
                let before = agent.count("headers.pushed");
                wait_until("headers again", || agent.count("headers.pushed") > before);
            }
            // SIGKILL, by its end.
            _ => drop(agent),
        }
    }
    fs::write(&done, "").expect("written");
    let (_client, said) = waited_for(client);
    println!("{said}");
    let (wrong, twice, errors) = (&said["wrong"], &said["twice"], &said["errors"]);
    assert_eq!((wrong, twice, errors), (&0.into(), &0.into(), &serde_json::json!({})), "{said}");
    assert!(said["headers"].as_u64().is_some_and(|count| count > 90), "{said}");
}
