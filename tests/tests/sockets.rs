//! Sockets used in unusual ways, selection, and connections that were there before.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use tracer_tests::{
    Agent, Folder, count_for, count_of, is_slow, let_pass,
    programs::{PYTHON, Program, curl, free_port, held},
    receiver::{Received, Receiver},
    root, tracer_under_test, wait_until,
};

fn raw_server(mode: &str) -> Program {
    let port = free_port();
    Program::start("raw", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/apps/raw/server.py")).arg(port.to_string()).arg(mode);
        command
    })
}

fn connect(server: &Program) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream
}

/// Sends a request and reads an answer of known length.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    read_answer(stream)
}

fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 65536];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(|n| n.trim().parse::<usize>().expect("a number"))
            });
            if length.is_some_and(|length| body.len() >= length) {
                return text;
            }
        }
        match stream.read(&mut part).expect("an answer") {
            0 => return String::from_utf8_lossy(&answer).into_owned(),
            n => answer.extend_from_slice(&part[..n]),
        }
    }
}

fn find<'a>(spans: &'a [Received], path: &str) -> &'a Received {
    let found: Vec<_> = spans.iter().filter(|span| span.path() == path).collect();
    assert_eq!(found.len(), 1, "{} spans of {path}", found.len());
    found[0]
}

#[test]
fn peeks_dups_pieces_vectors_and_threads_give_one_span_each() {
    let server = raw_server("threads");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    let mut stream = connect(&server);
    let paths = ["/plain", "/dup", "/pieces", "/writev", "/nonblocking", "/thread", "/plain2"];
    for path in paths {
        assert!(ask(&mut stream, path).starts_with("HTTP/1.1 200"), "{path}");
    }
    let spans = receiver.wait_for(|spans| spans.len() >= paths.len());
    assert_eq!(spans.len(), paths.len());
    for (path, size) in [
        ("/plain", 3),
        ("/dup", 3),
        ("/pieces", 3),
        ("/writev", 9_000),
        ("/nonblocking", 3_000_000),
        ("/thread", 3),
        ("/plain2", 3),
    ] {
        let span = find(&spans, path);
        assert_eq!(span.number("http.response.body.size"), Some(size), "{path}");
        assert_eq!(span.number("http.response.status_code"), Some(200), "{path}");
    }
    assert_eq!(agent.count("bytes.lost"), 0);
    agent.stop();
}

#[test]
fn a_child_that_serves_what_its_parent_accepted_is_the_same_service() {
    let server = raw_server("fork");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    for n in 0..10 {
        ask(&mut connect(&server), &format!("/{n}"));
    }
    let spans = receiver.wait_for(|spans| spans.len() >= 10);
    assert_eq!(spans.len(), 10);
    for n in 0..10 {
        let span = find(&spans, &format!("/{n}"));
        assert_eq!(span.resource_attribute("process.pid"), Some(server.pid().to_string()));
        assert!(span.number("process.pid").is_some_and(|pid| pid != i64::from(server.pid())), "the worker's");
    }
    agent.stop();
}

#[test]
fn exchanges_that_fail_say_how() {
    let server = raw_server("threads");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    for path in ["/reset", "/silent", "/cut", "/close", "/upgrade"] {
        let mut stream = connect(&server);
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).expect("sent");
        if path == "/upgrade" {
            let mut head = [0; 69];
            stream.read_exact(&mut head).expect("a head");
            stream.write_all(b"GET /tunnelled HTTP/1.1\r\n\r\n").expect("sent");
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let spans = receiver.wait_for(|spans| spans.len() >= 5);
    assert_eq!(spans.len(), 5, "what goes through a tunnel is no request");
    let error = |path: &str| find(&spans, path).attribute("error.type");
    assert_eq!(error("/silent").as_deref(), Some("no_response"));
    assert_eq!(error("/reset").as_deref(), Some("no_response"), "this end sent the reset");
    assert_eq!(error("/cut").as_deref(), Some("truncated"));
    assert_eq!(error("/close"), None);
    assert_eq!(find(&spans, "/close").number("http.response.body.size"), Some(13));
    assert_eq!(find(&spans, "/upgrade").number("http.response.status_code"), Some(101));
    agent.stop();
}

#[test]
fn bytes_that_are_spliced_away_are_a_gap_and_the_connection_heals() {
    let server = raw_server("threads");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    let mut stream = connect(&server);
    ask(&mut stream, "/before");
    let mut upload = b"POST /splice HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".to_vec();
    upload.resize(upload.len() + 100_000, b'u');
    stream.write_all(&upload).expect("sent");
    read_answer(&mut stream);
    ask(&mut stream, "/after");
    let spans = receiver.wait_for(|spans| spans.len() >= 3);
    assert_eq!(spans.len(), 3);
    // Nobody saw how much of the body had moved when the answer was complete.
    assert_eq!(find(&spans, "/splice").number("http.request.body.size"), None);
    assert_eq!(find(&spans, "/after").number("http.response.status_code"), Some(200));
    wait_until("the gap is counted", || agent.count("bytes.lost") == 100_000);
    agent.stop();
}

#[test]
fn a_connection_that_was_there_before_is_traced_from_the_first_certain_boundary() {
    let server = raw_server("threads");
    let receiver = Receiver::start();
    let mut stream = connect(&server);
    for n in 0..3 {
        ask(&mut stream, &format!("/before-{n}"));
    }
    let agent = Agent::tracing(&[server.pid()], &receiver);
    for n in 0..5 {
        ask(&mut stream, &format!("/after-{n}"));
    }
    let spans = receiver.wait_for(|spans| spans.len() >= 4);
    let paths: Vec<String> = spans.iter().map(Received::path).collect();
    assert_eq!(paths, ["/after-1", "/after-2", "/after-3", "/after-4"]);
    assert!(spans.iter().all(Received::is_server));
    wait_until("the mid-stream connection is counted", || agent.count("connections.joined") == 1);
    agent.stop();
}

#[test]
fn an_upload_joined_in_the_middle_invents_nothing() {
    let server = raw_server("threads");
    let receiver = Receiver::start();
    let fake = b"GET /invented HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = connect(&server);
    stream
        .write_all(format!("POST /splice HTTP/1.1\r\nContent-Length: {}\r\n\r\n", fake.len() * 50).as_bytes())
        .expect("sent");
    stream.write_all(fake).expect("sent");
    let agent = Agent::tracing(&[server.pid()], &receiver);
    for _ in 0..49 {
        stream.write_all(fake).expect("sent");
        // The server reads each part by itself: the time between them is the test's subject.
        let_pass(Duration::from_millis(2));
    }
    read_answer(&mut stream);
    ask(&mut stream, "/real-1");
    ask(&mut stream, "/real-2");
    let spans = receiver.wait_for(|spans| spans.iter().any(|span| span.path() == "/real-2"));
    assert!(
        spans.iter().all(|span| span.path() != "/invented"),
        "{:?}",
        spans.iter().map(Received::path).collect::<Vec<_>>()
    );
    assert!(spans.iter().any(|span| span.path() == "/real-2"));
    agent.stop();
}

#[test]
fn only_the_selected_process_is_seen() {
    let (traced, other) = (raw_server("threads"), raw_server("threads"));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[traced.pid()], &receiver);
    ask(&mut connect(&other), "/not-ours");
    ask(&mut connect(&traced), "/ours");
    ask(&mut connect(&other), "/not-ours-either");
    let spans = receiver.wait_for(|spans| !spans.is_empty());
    let (_, _, log) = agent.stop();
    assert_eq!(receiver.spans().iter().map(Received::path).collect::<Vec<_>>(), ["/ours"], "{log}");
    assert_eq!(spans.len(), 1);
}

#[test]
fn a_process_that_begins_later_is_traced_from_its_first_request() {
    let folder = Folder::new();
    // A copy: no other process of this machine executes it.
    let copy = folder.file("traced-curl");
    let curl_path =
        String::from_utf8(Command::new("sh").args(["-c", "command -v curl"]).output().expect("sh").stdout)
            .expect("a path");
    std::fs::copy(curl_path.trim(), &copy).expect("copied");
    let server = raw_server("threads");
    let exact = copy.to_string_lossy().into_owned();
    for selector in [["--exe", exact.as_str()], ["--exe", "*/traced-curl"]] {
        let receiver = Receiver::start();
        let endpoint = receiver.http_endpoint();
        let agent =
            Agent::start(&[selector[0], selector[1], "--otlp-endpoint", &endpoint, "--output", "none"]);
        for n in 0..20 {
            let output = Command::new(&copy)
                .arg("--silent")
                .arg(server.url(&format!("/{n}")))
                .output()
                .expect("it runs");
            assert!(output.status.success());
            // The others are not selected.
            curl(&[&server.url("/unselected")]);
        }
        let spans = receiver.wait_for(|spans| spans.len() >= 20);
        for n in 0..20 {
            assert_eq!(find(&spans, &format!("/{n}")).service, "traced-curl");
        }
        agent.stop();
        assert_eq!(receiver.count(), 20, "{selector:?}");
    }
}

#[test]
fn whoever_begins_to_listen_on_a_port_is_traced_from_its_first_request() {
    let port = free_port();
    let receiver = Receiver::start();
    let endpoint = receiver.http_endpoint();
    let agent =
        Agent::start(&["--port", &port.to_string(), "--otlp-endpoint", &endpoint, "--output", "none"]);
    let server = Program::start("raw", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/apps/raw/server.py")).arg(port.to_string()).arg("threads");
        command
    });
    ask(&mut connect(&server), "/first");
    let spans = receiver.wait_for(|spans| !spans.is_empty());
    assert_eq!(find(&spans, "/first").attribute("url.path").as_deref(), Some("/first"));
    agent.stop();
}

#[test]
fn io_uring_brings_lengths_and_no_foreign_byte() {
    let folder = Folder::new();
    let recording = folder.file("recording");
    let output = Command::new(tracer_under_test())
        .args(["run", "--output", "text", "--record-raw", "--record"])
        .arg(&recording)
        .arg("--")
        .arg(env!("TRACER_TEST_IO_URING"))
        .output()
        .expect("tracer run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let recorded = std::fs::read(&recording).expect("a recording");
    let plain = zstd::decode_all(&recorded[8..]).expect("zstd");
    let contains = |text: &[u8]| plain.windows(text.len()).any(|window| window == text);
    assert!(!contains(b"PRIVATE-KEY"), "bytes of another buffer were copied");
    assert!(contains(b"/from-the-wire"), "the sender's side, by send, is there");
    assert!(told.contains("moved by io_uring"), "{told}");
}

#[test]
fn long_heads_are_read_whatever_the_size_of_the_reads() {
    let sizes = [512, 1000, 4096];
    let servers = sizes.map(|size| {
        let port = free_port();
        Program::start("reader", port, |_| {
            let mut command = Command::new("/usr/bin/python3");
            command.arg(root().join("tests/apps/raw/reader.py")).args([port.to_string(), size.to_string()]);
            command
        })
    });
    let receiver = Receiver::start();
    let pids: Vec<u32> = servers.iter().map(Program::pid).collect();
    let agent = Agent::tracing(&pids, &receiver);
    let mut expected = Vec::new();
    for (server, size) in servers.iter().zip(sizes) {
        let mut stream = connect(server);
        for length in [4096, 5_000, 9_000, 60_000] {
            let path = format!("/{size}/{length}");
            let mut head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: ");
            head += &"a".repeat(length - head.len() - 4);
            head += "\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("sent");
            let mut answer = [0; 41];
            stream.read_exact(&mut answer).expect("an answer");
            expected.push(path);
        }
    }
    let spans = receiver.wait_for(|spans| spans.len() >= expected.len());
    for path in &expected {
        assert_eq!(find(&spans, path).number("http.response.status_code"), Some(200), "{path}");
    }
    assert_eq!(spans.len(), expected.len());
    agent.stop();
}

#[test]
fn the_end_of_a_stream_is_where_it_is_however_it_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).expect("a request");
                request.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").expect("sent");
        }
    });
    for way in ["half", "zero"] {
        let output = Command::new(tracer_under_test())
            .args(["run", "--output", "json", "--", "/usr/bin/python3"])
            .arg(root().join("tests/apps/raw/ends.py"))
            .args([&port, way])
            .output()
            .expect("tracer run");
        let spans = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{spans}");
        let span = spans.lines().find(|line| line.contains("trace_id")).unwrap_or_default();
        let span: serde_json::Value = serde_json::from_str(span).unwrap_or_default();
        let attributes = &span["attributes"];
        assert_eq!(attributes["http.response.status_code"], 200, "{way}: {spans}");
        assert_eq!(attributes["http.response.body.size"], 5, "{way}: {spans}");
        assert!(attributes["error.type"].is_null(), "{way}: {spans}");
    }
    server.join().expect("the server");
}

#[test]
fn an_answer_that_comes_at_once_hides_no_connections_beginning() {
    const CONNECTIONS: usize = 4000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    // The server does not sleep: its answer arrives while the client's kernel side looks at the request that was sent.
    let server = std::thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_nonblocking(true).expect("set");
            let deadline = Instant::now() + Duration::from_secs(10);
            while stream.read(&mut [0; 1024]).is_err() {
                assert!(Instant::now() < deadline, "no request");
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").expect("sent");
        }
    });
    let output = Command::new(tracer_under_test())
        .args(["run", "--output", "none", "--", "/usr/bin/python3"])
        .arg(root().join("tests/apps/raw/connections.py"))
        .args([&port, &CONNECTIONS.to_string()])
        .output()
        .expect("tracer run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    server.join().expect("the server");
    let seen = format!("{CONNECTIONS} exchanges on {CONNECTIONS} connections");
    assert!(told.contains(&seen) && !told.contains("mid-stream"), "{told}");
}

#[test]
fn traffic_without_sense_loses_no_first_record() {
    let script = root().join("tests/apps/raw/fuzz.py").display().to_string();
    let run = |role: &str, port: u16, seed: &str, more: &[&str]| {
        let mut command = Command::new("/usr/bin/python3");
        command.args([&script, role, &port.to_string(), seed]).args(more);
        command
    };
    let port = free_port();
    let server = Program::start_quiet("fuzz", port, |_| run("server", port, "1", &[]));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    let clients: Vec<_> = ["2", "3"]
        .map(|seed| run("client", port, seed, &["60"]).spawn().expect("a client"))
        .into_iter()
        .collect();
    for mut client in clients {
        assert!(client.wait().expect("our child").success());
    }
    agent.wait_for("an idle agent", |status| status["connections"] == 0);
    let status = agent.status();
    assert!(count_of(&status, "connections.seen") > 1_000, "{:#}", status["totals"]);
    assert_eq!(count_of(&status, "events.lost"), 0, "{:#}", status["totals"]);
    // What the kernel did not show is missing. It skips programs that run already where functions show the data.
    let skipped = count_of(&status, "events.skipped");
    assert!(status["sees_sends_before"] == false || skipped == 0, "{:#}", status["totals"]);
    if skipped == 0 {
        for missing in ["connections.unknown_start", "bytes.lost"] {
            assert_eq!(count_of(&status, missing), 0, "{missing}: {:#}", status["totals"]);
        }
    }
    agent.stop();
}

#[test]
fn connections_that_end_in_an_interrupt_are_seen_while_others_change_their_state() {
    let connections = if is_slow() { 300 } else { 3_000 };
    let folder = Folder::new();
    let begin = folder.file("begin");
    let script = root().join("tests/apps/raw/timeouts.py");
    let mut client = held(&begin, &format!("/usr/bin/python3 {} {connections}", script.display()));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[client.0.id()], &receiver);
    std::fs::write(&begin, "").expect("written");
    let mut said = [0; 5];
    client.0.stdout.as_mut().expect("its output").read_exact(&mut said).expect("it has tried");
    assert_eq!(&said, b"done\n");
    agent.wait_for("the counts", |status| count_of(status, "connections.unreached") >= connections);
    let status = agent.status();
    assert_eq!(count_of(&status, "connections.unreached"), connections);
    assert_eq!(count_of(&status, "events.skipped"), 0, "{:#}", status["totals"]);
    agent.stop();
}

#[test]
fn connections_that_are_reset_while_their_first_bytes_are_read_end() {
    let script = root().join("tests/apps/raw/resets.py").display().to_string();
    let port = free_port();
    let run = |role: &str| {
        let mut command = Command::new(PYTHON);
        command.args([&script, role, &port.to_string()]);
        command
    };
    let server = Program::start_quiet("resets", port, |_| run("server"));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[server.pid()], &receiver);
    let count = if is_slow() { "1000" } else { "15000" };
    let clients = [(); 2].map(|()| run("client").arg(count).spawn().expect("a client"));
    for mut client in clients {
        assert!(client.wait().expect("our child").success());
    }
    agent.wait_for("an idle agent", |status| status["connections"] == 0);
    let status = agent.status();
    let skipped = count_of(&status, "events.skipped");
    assert!(status["sees_sends_before"] == false || skipped == 0, "{:#}", status["totals"]);
    agent.stop();
}

#[test]
fn connections_that_are_not_established_are_counted_by_process_and_reason() {
    let folder = Folder::new();
    let begin = folder.file("begin");
    let script = root().join("tests/apps/raw/unconnected.py");
    let mut client = held(&begin, &format!("/usr/bin/python3 {} {}", script.display(), free_port()));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[client.0.id()], &receiver);
    std::fs::write(&begin, "").expect("written");
    let mut said = [0; 5];
    client.0.stdout.as_mut().expect("its output").read_exact(&mut said).expect("it has tried");
    assert_eq!(&said, b"done\n");
    let counts = |status: &serde_json::Value| {
        ["refused", "abandoned", "unreached"].map(|reason| count_of(status, &format!("connections.{reason}")))
    };
    agent.wait_for("the counts", |status| counts(status) == [3, 2, 1]);
    let status = agent.status();
    let services = status["services"].as_array().expect("services");
    let python = services.iter().find(|service| service["name"] == "unconnected").expect("the client");
    let pid = python["pid"].as_u64().expect("a number") as u32;
    assert_eq!(count_for(&status, pid, "connections.refused"), 3);
    agent.stop();
}
