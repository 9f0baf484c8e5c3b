//! Trace headers in the requests of traced processes: there once or not at all, and nothing else differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tracer_tests::{
    Agent, Folder, TRUST, count_of, knowing, let_pass,
    programs::{Ended, PYTHON, Program, curl, free_port, held, is_valid, run, said_by},
    receiver::{Received, Receiver, doubled},
    root, tracer_under_test, wait_until,
};

/// nginx that writes down each request's path and `traceparent`.
fn noting_paths() -> Program {
    Program::nginx_with(
        "log_format paths '$request_uri $http_traceparent';",
        "access_log paths paths; location / { return 200 'hello'; }",
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn only_sockets_of_traced_processes_are_in_the_map() {
    const SO_COOKIE: u32 = 57;
    let nginx = Program::noting();
    let folder = Folder::new();
    let begin = folder.file("begin");
    let holder = |name: &str| {
        let path = folder.file(name);
        let script = format!(
            "import os, socket, time\nwhile not os.path.exists('{}'): time.sleep(0.05)\n\
             s = socket.create_connection(('127.0.0.1', {}), timeout=60)\n\
             cookie = int.from_bytes(s.getsockopt(socket.SOL_SOCKET, {SO_COOKIE}, 8), 'little')\n\
             open('{2}.new', 'w').write(str(cookie)); os.rename('{2}.new', '{2}')\ntime.sleep(600)",
            begin.display(),
            nginx.port,
            path.display(),
        );
        (Ended(Command::new(PYTHON).args(["-c", &script]).spawn().expect("a process")), path)
    };
    let (traced, stranger) = (holder("traced"), holder("stranger"));
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[traced.0.0.id()], &receiver, &["--propagation", "headers"]);
    fs::write(&begin, "").expect("written");
    wait_until("both connections", || traced.1.exists() && stranger.1.exists());
    let cookie =
        |path: &PathBuf| -> u64 { fs::read_to_string(path).expect("a cookie").parse().expect("a number") };
    assert!(is_in_the_map(&agent, cookie(&traced.1)));
    assert!(!is_in_the_map(&agent, cookie(&stranger.1)));
    agent.stop();
}

/// Whether the socket of this cookie is in the map of sockets whose messages may get headers.
fn is_in_the_map(agent: &Agent, cookie: u64) -> bool {
    // As bpftool shows keys: bytes, the lowest first.
    let bytes = cookie.to_le_bytes().map(|byte| format!("\"0x{byte:02x}\"")).join(",");
    agent.map("SOCKETS").contains(&bytes)
}

#[test]
fn a_socket_that_waits_leaves_the_map_whatever_another_program_does_with_its_calls() {
    let judge = Program::judge();
    let folder = Folder::new();
    let config = knowing(&folder, &[judge.port]);
    let config = config.display().to_string();
    let mut client = Command::new("unshare");
    client.args(["--mount", PYTHON]).arg(root().join("tests/apps/raw/cleared.py"));
    client.arg(judge.port.to_string()).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Ended(client.spawn().expect("a client"));
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--config", &config]);
    fs::write(folder.file("traced"), "").expect("written");
    let mut line = String::new();
    BufReader::new(client.0.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let (cookie, found) = line.trim().split_once(' ').expect("two words");
    assert_eq!(found, "True");
    let cookie = cookie.parse().expect("a number");
    wait_until("the ledger", || agent.count("headers.in_use") == 2);
    wait_until("it leaves", || !is_in_the_map(&agent, cookie));
    drop(client.0.stdin.take());
    assert!(client.0.wait().expect("it ends").success());
    agent.stop();
}

#[test]
fn a_proxy_that_asks_how_much_it_can_read_gets_all_of_an_answer() {
    const BODY: usize = 60_000;
    let port = free_port();
    // The whole answer at once, on a connection that stays.
    let server = format!(
        "import socketserver\nclass All(socketserver.BaseRequestHandler):\n\
         \x20   def handle(self):\n\
         \x20       while self.request.recv(65536): self.request.sendall(\
         b'HTTP/1.1 200 OK\\r\\nContent-Length: {BODY}\\r\\n\\r\\n' + b'x' * {BODY})\n\
         class Server(socketserver.ThreadingTCPServer): daemon_threads = True\n\
         Server(('127.0.0.1', {port}), All).serve_forever()"
    );
    let server = Program::start("server", port, |_| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", &server]);
        command
    });
    let proxy = Program::nginx_before(server.port);
    let folder = Folder::new();
    let config = knowing(&folder, &[port]).display().to_string();
    let receiver = Receiver::start();
    let (endpoint, pid) = (receiver.http_endpoint(), proxy.pid().to_string());
    let arguments = ["--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pid, "--config", &config];
    let agent = Agent::start_in(&[(TRUST, "0")], &arguments);
    for n in 0..20 {
        let answer = curl(&["--fail", &proxy.url(&format!("/r/{n}"))]);
        assert_eq!(answer.len(), BODY, "{n}");
    }
    wait_until("the ledger", || agent.count("headers.pushed") > 0);
    agent.stop();
}

#[test]
fn a_chain_is_one_trace_by_its_headers() {
    let prices = Program::node();
    let shop = Program::flask_asking(&prices.url(""));
    let nginx = Program::nginx(&format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", shop.port));
    let receiver = Receiver::start();
    let pids = [nginx.pid(), shop.pid(), prices.pid()];
    let agent = Agent::tracing_with(&pids, &receiver, &["--propagation", "headers"]);
    thread::scope(|scope| {
        for client in 0..4 {
            let nginx = &nginx;
            scope.spawn(move || {
                for n in 0..25 {
                    curl(&["--fail", &nginx.url(&format!("/item/{}", client * 100 + n))]);
                }
            });
        }
    });
    let spans = receiver.wait_for(|spans| spans.len() >= 500);
    assert_eq!(spans.len(), 500);
    assert_eq!(doubled(&spans), [""; 0]);
    let number = |path: &str| path.rsplit('/').next().and_then(|n| n.parse::<u32>().ok());
    let mut evidence = std::collections::BTreeMap::new();
    for span in &spans {
        let parent = spans.iter().find(|other| other.span.span_id == span.span.parent_span_id);
        let said = span.attribute("tracer.link.evidence").unwrap_or_default();
        if let Some(parent) = parent {
            assert_eq!(parent.span.trace_id, span.span.trace_id);
            assert_eq!(number(&parent.path()), number(&span.path()), "{said}");
        } else {
            assert!(span.service == "nginx" && span.is_server(), "{} {}", span.service, span.path());
        }
        *evidence.entry((span.service.clone(), span.is_server(), said)).or_insert(0) += 1;
    }
    let count = |service: &str, server: bool, said: &str| {
        evidence.get(&(service.to_owned(), server, said.to_owned())).copied().unwrap_or(0)
    };
    assert_eq!(count("nginx", false, "request-structure"), 100, "{evidence:?}");
    assert_eq!(count("shop", true, "header"), 100, "{evidence:?}");
    assert_eq!(count("shop", false, "sole-request"), 100, "{evidence:?}");
    assert_eq!(count("prices", true, "header"), 100, "{evidence:?}");
    wait_until("the ledger", || agent.count("headers.pushed") == 200);
    agent.stop();
}

#[test]
fn programs_that_wait_in_their_calls_get_a_header_on_the_first_request_of_each_connection() {
    let nginx = Program::noting();
    let folder = Folder::new();
    let config = knowing(&folder, &[nginx.port]);
    let url = nginx.url("/x");
    let python = format!(
        "import requests, urllib.request\nfor n in range(3): urllib.request.urlopen('{url}').read()\n\
         s = requests.Session()\nfor n in range(3): s.get('{url}')\n\
         for n in range(3): s.get('{url}', timeout=9)\n"
    );
    let mut begin = 0;
    let mut assert_traced = |command: &[&str], expected: &[bool]| {
        let mut tracer = Command::new(tracer_under_test());
        run(tracer
            .env(TRUST, "1")
            .args(["run", "--output", "none", "--config"])
            .arg(&config)
            .arg("--")
            .args(command));
        let text = nginx.lines("traces", begin + expected.len());
        let with: Vec<bool> = text.lines().skip(begin).map(is_valid).collect();
        assert_eq!(with, expected, "{command:?}");
        begin += expected.len();
    };
    assert_traced(&["wget", "-q", "-O", "/dev/null", &url, &url], &[true, false]);
    // urllib opens a connection for each; a session keeps one, and waits in its calls without a timeout.
    let expected = [true, true, true, true, false, false, false, false, false];
    assert_traced(&[PYTHON, "-c", &python], &expected);
    let fetch = root().join("tests/apps/fetch.js");
    assert_traced(&["node", &fetch.display().to_string(), &url], &[true]);
    assert_traced(&["curl", "-s", &url, &url, &url], &[true, true, true]);
}

#[test]
fn a_trace_that_another_header_tells_is_left_to_that() {
    const SPAN: &str = "b7ad6b7169203331";
    let number = |hex: &str| u64::from_str_radix(hex, 16).expect("a number");
    let (high, low) = TRACE.split_at(16);
    let datadog = format!(
        "x-datadog-trace-id: {}\r\nx-datadog-parent-id: {}\r\nx-datadog-sampling-priority: 1\r\n\
         x-datadog-tags: _dd.p.dm=-1,_dd.p.tid={high}\r\n",
        number(low),
        number(SPAN)
    );
    let told = [
        ("b3", format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\n")),
        ("b3", format!("b3: {TRACE}-{SPAN}-1\r\n")),
        ("jaeger", format!("uber-trace-id: {TRACE}:{SPAN}:0:1\r\n")),
        ("datadog", datadog),
        (
            "xray",
            format!("X-Amzn-Trace-Id: Root=1-{}-{};Parent={SPAN};Sampled=1\r\n", &TRACE[..8], &TRACE[8..]),
        ),
    ];
    let prices = Program::nginx("access_log contexts contexts; location / { return 200 '{\"price\": 1}'; }");
    let shop = Program::flask_asking(&prices.url(""));
    let receiver = Receiver::start();
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    let text = "propagation: {mode: headers}\nlinks: {headers: [b3, jaeger, datadog, xray]}\n";
    fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let agent = Agent::tracing_with(&[shop.pid()], &receiver, &["--config", &config]);
    for (n, (_, fields)) in told.iter().enumerate() {
        ask_in_pieces(shop.port, &format!("/item/{n}"), fields, &[]);
    }
    ask_in_pieces(shop.port, "/item/99", "", &[]);
    let text = prices.lines("contexts", told.len() + 1);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..told.len()], ["- -"; 5]);
    assert!(is_valid(&lines[told.len()][..55]), "{text}");
    wait_until("the ledger", || agent.count("headers.other_context") == told.len() as u64);
    let all = 2 * (told.len() + 1);
    let spans = receiver.wait_for(|spans| spans.len() >= all);
    assert_eq!(spans.len(), all);
    for (n, (format, _)) in told.iter().enumerate() {
        // The call hangs on the request all the same.
        for span in spans.iter().filter(|span| span.path().ends_with(&format!("/{n}"))) {
            assert_eq!(hex(&span.span.trace_id), TRACE, "{format}: {}", span.path());
            if span.is_server() {
                assert_eq!(hex(&span.span.parent_span_id), SPAN, "{format}");
                assert_eq!(span.attribute("tracer.link.evidence").as_deref(), Some("header"));
                assert_eq!(span.attribute("tracer.link.format").as_deref(), Some(*format));
            }
        }
    }
    agent.stop();
}

#[test]
fn a_request_id_that_is_passed_on_names_the_request() {
    for (links, evidence) in
        [("", "request-structure"), ("links: {headers: [x-request-id]}\n", "forwarded-header")]
    {
        let (proxy, _prices) = nginx_and_behind();
        let receiver = Receiver::start();
        let folder = Folder::new();
        let config = folder.file("tracer.yaml");
        fs::write(&config, format!("propagation: {{mode: \"off\"}}\n{links}")).expect("written");
        let config = config.display().to_string();
        let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--config", &config]);
        ask_in_pieces(proxy.port, "/1", "X-Request-Id: 6f1c2d3e4a5b\r\n", &[]);
        let spans = receiver.wait_for(|spans| spans.len() == 2);
        let call = spans.iter().find(|span| !span.is_server()).expect("a call");
        assert_eq!(call.attribute("tracer.link.evidence").as_deref(), Some(evidence));
        agent.stop();
    }
}

#[test]
fn an_answer_on_a_connection_that_is_older_than_the_agent_is_no_request() {
    let nginx = Program::noting();
    let folder = Folder::new();
    let (begin, ready) = (folder.file("begin"), folder.file("ready"));
    let client = format!(
        "import http.client, os, time\n\
         def connect(): return http.client.HTTPConnection('127.0.0.1', {}, timeout=9)\n\
         def ask(on): on.request('GET', '/'); on.getresponse().read()\n\
         old = connect(); ask(old); open('{}', 'w')\n\
         while not os.path.exists('{}'): time.sleep(0.05)\n\
         for n in range(5): ask(old); ask(connect())\n\
         time.sleep(600)",
        nginx.port,
        ready.display(),
        begin.display()
    );
    let client = Ended(Command::new(PYTHON).args(["-c", &client]).spawn().expect("a process"));
    wait_until("the first request", || ready.exists());
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--propagation", "headers"]);
    fs::write(begin, "").expect("written");
    let text = nginx.lines("traces", 11);
    // All on new connections; on the old one when a boundary is certain.
    let new: Vec<bool> = text.lines().skip(2).step_by(2).map(is_valid).collect();
    assert_eq!(new, [true; 5], "{text}");
    agent.wait_for("the ledger", |status| count_of(status, "headers.pushed") >= 5);
    assert_eq!(agent.count("headers.later"), 0);
    agent.stop();
}

#[test]
fn what_finds_no_room_in_the_map_is_counted_and_what_ends_makes_room() {
    const ROOM: usize = 4;
    let nginx = Program::noting();
    // Connections that are held, with a request on each; then the same again.
    let client = format!(
        "import http.client\n\
         for n in range(2):\n\
         \x20   held = [http.client.HTTPConnection('127.0.0.1', {}, timeout=9) for n in range({})]\n\
         \x20   for one in held: one.request('GET', '/'); assert one.getresponse().read() == b'hello\\n'\n\
         \x20   for one in held: one.close()\n",
        nginx.port,
        2 * ROOM
    );
    let folder = Folder::new();
    let begin = folder.file("begin");
    let shell = held(&begin, &format!("{PYTHON} -c \"{client}\""));
    let receiver = Receiver::start();
    let (endpoint, pid) = (receiver.http_endpoint(), shell.0.id().to_string());
    let arguments =
        ["--otlp-endpoint", &endpoint, "--output", "none", "--propagation", "headers", "--pid", &pid];
    let agent = Agent::start_in(&[("TRACER_TEST_SOCKETS", &ROOM.to_string())], &arguments);
    fs::write(begin, "").expect("written");
    let text = nginx.lines("traces", 4 * ROOM);
    let with: Vec<bool> = text.lines().map(is_valid).collect();
    assert_eq!(with, [[true; ROOM], [false; ROOM], [true; ROOM], [false; ROOM]].concat(), "{text}");
    wait_until("the ledger", || agent.count("headers.failed") == 2 * ROOM as u64);
    assert_eq!(agent.count("headers.pushed"), 2 * ROOM as u64);
    agent.stop();
}

#[test]
fn a_slow_request_keeps_its_context_while_thousands_come_and_go() {
    let prices = Program::nginx("access_log contexts contexts; location / { return 200 'hello'; }");
    let busy = Program::nginx("location / { return 200 'hello'; }");
    let folder = Folder::new();
    let config = knowing(&folder, &[prices.port]).display().to_string();
    let (port, done) = (free_port(), folder.file("done"));
    let service = format!(
        "import http.server, os, time, urllib.request\n\
         class Slow(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       while not os.path.exists('{}'): time.sleep(0.05)\n\
         \x20       urllib.request.urlopen('{}').read()\n\
         \x20       self.send_response(204)\n\
         \x20       self.end_headers()\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', {port}), Slow).serve_forever()",
        done.display(),
        prices.url("/x")
    );
    let service = Program::start("slow", port, |_| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", &service]);
        command
    });
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[service.pid(), busy.pid()], &receiver, &["--config", &config]);
    thread::scope(|scope| {
        // A long head has a place of its own.
        let cookie = "c".repeat(3000);
        let fields = format!("Cookie: {cookie}\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
        let slow = scope.spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the service");
            write!(stream, "GET / HTTP/1.1\r\nHost: slow\r\n{fields}\r\n").expect("sent");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(answer, *b"HTTP/1.0 204");
        });
        for n in 0..5000 {
            let mut stream = TcpStream::connect(("127.0.0.1", busy.port)).expect("nginx");
            // Others with long heads, now and then.
            let cookie = if n % 20 == 0 { &cookie[..1500] } else { "" };
            write!(
                stream,
                "GET /{n} HTTP/1.1\r\nHost: busy\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            )
            .expect("sent");
            stream.read_to_end(&mut Vec::new()).expect("an answer");
        }
        fs::write(&done, "").expect("written");
        slow.join().expect("it ends");
    });
    let line = prices.lines("contexts", 1);
    assert!(line.starts_with(&format!("00-{TRACE}-")), "{line}");
    agent.stop();
}

#[test]
fn what_another_process_sends_on_a_connection_that_was_handed_to_it_stays_as_it_is() {
    let judge = Program::judge();
    let folder = Folder::new();
    let script = root().join("tests/apps/raw/passed.py");
    let process = |role: &str| {
        let mut command = Command::new(PYTHON);
        command.arg(&script).args([role, &judge.port.to_string()]).arg(folder.path());
        command
    };
    let opener = Ended(process("opens").spawn().expect("a process"));
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[opener.0.id()], &receiver, &["--propagation", "headers"]);
    fs::write(folder.file("traced"), "").expect("written");
    wait_until("the connection", || folder.file("ready").exists());
    // It is no child of the one that is traced, and not traced itself.
    let said = said_by(&mut process("sends"));
    assert_eq!(said, serde_json::json!({"same": true, "length": 6 * 36, "headers": 1}));
    wait_until("the ledger", || agent.count("headers.pushed") == 1);
    agent.stop();
}

/// A client whose connection is older than the agent.
fn joined_in_an_upload(way: &str) -> Value {
    let judge = Program::judge();
    let folder = Folder::new();
    let mut client = Command::new(PYTHON);
    client.arg(root().join("tests/apps/raw/joined.py")).arg(judge.port.to_string());
    client.arg(way).arg(folder.path()).stdout(Stdio::piped());
    let mut client = Ended(client.spawn().expect("a client"));
    wait_until("half of the upload", || folder.file("half").exists());
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--propagation", "headers"]);
    fs::write(folder.file("traced"), "").expect("written");
    wait_until("its requests", || folder.file("asked").exists());
    agent.signal(libc::SIGKILL);
    drop(agent);
    fs::write(folder.file("gone"), "").expect("written");
    let mut said = String::new();
    client.0.stdout.take().expect("its output").read_to_string(&mut said).expect("UTF-8");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn a_connection_that_is_older_than_the_agent_gets_headers_from_a_certain_boundary_on() {
    let said = joined_in_an_upload("does not wait");
    assert_eq!(said["same"], true);
    // The upload's rest is no request; the first one behind it shows whose connection this is.
    assert_eq!(said["found"], serde_json::json!([0, 0, 1, 1, 1, 1, 1, [0, 0, 0]]));
    assert_eq!(said["headers"], 5);
    let said = joined_in_an_upload("waits");
    assert_eq!(
        said,
        serde_json::json!({"found": [0, 0, 0, 0, 0, 0, 0, [0, 0, 0]], "same": true, "headers": 0})
    );
}

#[test]
fn a_call_without_a_header_is_known_to_its_server_on_the_same_host() {
    const CONNECTIONS: usize = 8;
    const REQUESTS: usize = 25;
    let (proxy, prices) = nginx_and_behind();
    // On one processor, where the proxy goes first whenever there is something to read.
    let workers = fs::read_to_string(format!("/proc/{0}/task/{0}/children", proxy.pid())).expect("workers");
    for worker in workers.split_whitespace() {
        run(Command::new("chrt").args(["--fifo", "--pid", "1", worker]));
        run(Command::new("taskset").args(["--cpu-list", "--pid", "0", worker]));
    }
    let folder = Folder::new();
    let begin = folder.file("begin");
    // Receives that wait: only the first request on each connection has a header.
    let client = format!(
        "import os, requests, time\nwhile not os.path.exists('{}'): time.sleep(0.1)\n\
         for c in range({CONNECTIONS}):\n\
         \x20   s = requests.Session()\n\
         \x20   for n in range({REQUESTS}): s.get('{}-%d-%d' % (c, n))\n\
         \x20   s.close()\ntime.sleep(600)",
        begin.display(),
        proxy.url("/n")
    );
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0", PYTHON, "-c", &client]);
    let client = Ended(command.spawn().expect("a client"));
    let receiver = Receiver::start();
    let config = knowing(&folder, &[proxy.port, prices.port]);
    let config = config.display().to_string();
    let agent = Agent::tracing_with(&[client.0.id(), proxy.pid()], &receiver, &["--config", &config]);
    fs::write(begin, "").expect("written");
    let all = CONNECTIONS * REQUESTS;
    let spans = receiver.wait_for(|spans| spans.len() >= 3 * all);
    assert_eq!(spans.len(), 3 * all);
    let lines: BTreeSet<String> =
        prices.lines("contexts", all).lines().map(|line| line[3..35].to_owned()).collect();
    assert_eq!(lines.len(), all);
    let mut traces = BTreeMap::<String, BTreeSet<String>>::new();
    for span in &spans {
        traces.entry(hex(&span.span.trace_id)).or_default().insert(span.path());
    }
    assert_eq!(traces.len(), all);
    assert!(traces.values().all(|paths| paths.len() == 1), "a trace is of one path");
    assert!(traces.keys().eq(&lines), "what left is what is told");
    wait_until("the ledger", || agent.count("headers.blocking") == (all - CONNECTIONS) as u64);
    assert_eq!(agent.count("links.other_trace"), 0);
    agent.stop();
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A request with these fields that comes in pieces, cut at these places.
fn ask_in_pieces(port: u16, path: &str, fields: &str, cuts: &[usize]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the service");
    stream.set_nodelay(true).expect("an option");
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n{fields}Connection: close\r\n\r\n");
    let mut begin = 0;
    for end in cuts.iter().copied().filter(|cut| *cut < head.len()).chain([head.len()]) {
        stream.write_all(&head.as_bytes()[begin..end]).expect("sent");
        begin = end;
        if end < head.len() {
            // The service reads each piece by itself: the time between them is the test's subject.
            let_pass(Duration::from_millis(15));
        }
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_context_of_a_request_goes_on_with_the_calls_that_it_causes() {
    // A service without tracing: it takes what the specification allows, and forwards nothing itself.
    let prices = Program::nginx("access_log contexts contexts; location / { return 200 '{\"price\": 1}'; }");
    let shop = Program::flask_asking(&prices.url(""));
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[shop.pid()], &receiver, &["--propagation", "headers"]);
    let asked = |fields: &str, cuts: &[usize]| {
        let begin = prices.read("contexts").lines().count();
        println!("{fields:?} cut at {cuts:?}");
        ask_in_pieces(shop.port, "/item/1", fields, cuts);
        let line = prices.lines("contexts", begin + 1).lines().nth(begin).expect("a line").to_owned();
        let (parent, state) = line.split_once(' ').expect("two values");
        (parent.to_owned(), state.to_owned())
    };
    // Each worker's first connection to the price service is made under the agent's eyes.
    let span = "b7ad6b7169203331";
    let same = |(parent, state): (String, String), flags: &str, expected: &str| {
        assert_eq!(&parent[..36], &format!("00-{TRACE}-"), "{parent}");
        assert_ne!(&parent[36..52], span);
        assert_eq!(&parent[52..], &format!("-{flags}"));
        assert_eq!(state, expected);
    };
    let other = |(parent, state): (String, String)| {
        assert!(is_valid(&parent) && !parent.contains(TRACE), "{parent}");
        assert_eq!(state, "-");
    };
    let valid = format!("traceparent: 00-{TRACE}-{span}-01\r\n");
    same(asked(&valid, &[]), "01", "-");
    // Flags: not sampled stays so, the random bit goes along, unknown bits do not.
    same(asked(&valid.replace("-01\r", "-00\r"), &[]), "00", "-");
    same(asked(&valid.replace("-01\r", "-ff\r"), &[]), "03", "-");
    // Versions to come, white space, other letters in the name.
    same(asked(&valid.replace(" 00-", " cc-"), &[]), "01", "-");
    same(asked(&valid.replace(" 00-", " cc-").replace("-01\r", "-01-what-comes\r"), &[]), "01", "-");
    same(asked(&valid.replace("traceparent: ", "TraceParent:"), &[]), "01", "-");
    // What breaks a rule is as if it were not there.
    other(asked("", &[]));
    other(asked(&format!("{valid}{valid}"), &[]));
    for (from, to) in [
        (" 00-", " ff-"),
        (" 00-", " 0-"),
        ("-01\r", "-01-\r"),
        ("-01\r", "-1\r"),
        ("0af7", "0AF7"),
        (TRACE, "00000000000000000000000000000000"),
        (span, "0000000000000000"),
        ("-b7", ".b7"),
        ("7169", "71x9"),
    ] {
        other(asked(&valid.replace(from, to), &[]));
    }
    // The state goes along, bounded; without a parent it means nothing.
    for state in ["a=1", "vendor=value,other=thing", &format!("k={}", "v".repeat(250))] {
        same(asked(&format!("{valid}tracestate: {state}\r\n"), &[]), "01", state);
    }
    let long = ["a", "b", "c"].map(|key| format!("{key}={}", "v".repeat(200))).join(",");
    same(asked(&format!("{valid}tracestate: {long}\r\n"), &[]), "01", "-");
    other(asked("tracestate: a=1\r\n", &[]));
    // Wherever it is cut, and behind kilobytes of other fields.
    let fields = format!("Accept: */*\r\n{valid}tracestate: vendor=value\r\n");
    for first in (5..190).step_by(23) {
        same(asked(&fields, &[first, first + 9]), "01", "vendor=value");
    }
    let long = format!("Cookie: {}\r\n{fields}", "c".repeat(6000));
    same(asked(&long, &[]), "01", "vendor=value");
    same(asked(&long, &[1000, 4000, 6100]), "01", "vendor=value");
    // As far as the kernel programs read a head; what may be behind that is not taken for a trace that begins here.
    let cookies = |count: usize| format!("Cookie: {}\r\n", "c".repeat(3900)).repeat(count) + &fields;
    same(asked(&cookies(4), &[]), "01", "vendor=value");
    assert_eq!(asked(&cookies(5), &[]), ("-".to_owned(), "-".to_owned()));
    agent.stop();
}

#[test]
fn a_trace_is_kept_whole_or_not_at_all() {
    let prices = Program::nginx("access_log contexts contexts; location / { return 200 '{\"price\": 1}'; }");
    let shop = Program::flask_asking(&prices.url(""));
    let nginx = Program::nginx(&format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", shop.port));
    let receiver = Receiver::start();
    let (endpoint, pids) = (receiver.http_endpoint(), [nginx.pid(), shop.pid(), prices.pid()]);
    let pids = pids.map(|pid| pid.to_string());
    let environment =
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
    let mut arguments = vec!["--otlp-endpoint", &endpoint, "--output", "none", "--propagation", "headers"];
    arguments.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    let agent = Agent::start_in(&environment, &arguments);
    const REQUESTS: usize = 100;
    for n in 0..REQUESTS {
        curl(&["--fail", &nginx.url(&format!("/item/{n}"))]);
    }
    // What came with a header follows it.
    for flags in ["00", "01"] {
        for n in 0..5 {
            let header = format!("traceparent: 00-{TRACE}-b7ad6b71692033{n:02}-{flags}");
            curl(&["--fail", "-H", &header, &nginx.url("/item/7")]);
        }
    }
    let all = (REQUESTS as u64 + 10) * 5;
    wait_until("the ledger", || agent.count("spans.not_sampled") + agent.count("spans.queued") == all);
    let queued = usize::try_from(agent.count("spans.queued")).expect("small");
    let spans = receiver.wait_for(|spans| spans.len() >= queued);
    let mut traces = std::collections::BTreeMap::new();
    for span in &spans {
        *traces.entry(span.span.trace_id.clone()).or_insert(0) += 1;
    }
    let sampled: BTreeSet<String> = prices
        .lines("contexts", REQUESTS + 10)
        .lines()
        .filter(|line| line[53..].starts_with("01") || line[53..].starts_with("03"))
        .map(|line| line[3..35].to_owned())
        .collect();
    let kept: BTreeSet<String> =
        traces.keys().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    assert_eq!(kept, sampled, "the header says what was decided");
    assert_eq!(traces.values().filter(|count| **count != 5).collect::<Vec<_>>(), [&25]);
    // By the trace ids: 50 of 100, more or less.
    assert!((25..=75).contains(&(traces.len() - 1)), "{} traces of {REQUESTS}", traces.len());
    agent.stop();
}

/// nginx that passes on to another, and what that one notes of the contexts that it gets.
fn nginx_and_behind() -> (Program, Program) {
    let prices = Program::nginx("access_log contexts contexts; location / { return 200 'hello'; }");
    let proxy = Program::nginx(&format!("location / {{ proxy_pass {}; }}", prices.url("")));
    (proxy, prices)
}

#[test]
fn a_header_that_is_passed_on_names_the_call_and_carries_the_decision() {
    const SPAN: &str = "b7ad6b7169203331";
    // The random bits of this trace are 0.28 of the largest number: a ratio of 0.8 keeps it, one of 0.5 does not.
    for (sampler, came, flags) in [
        ("traceidratio, ratio: 0.8", "02", "03"),
        ("traceidratio, ratio: 0.5", "01", "00"),
        ("parentbased_traceidratio, ratio: 0.5", "01", "01"),
        ("parentbased_always_on", "01", "01"),
        ("parentbased_always_on", "00", "00"),
        ("parentbased_always_off", "03", "03"),
        ("always_off", "01", "00"),
        ("always_on", "00", "01"),
    ] {
        let (proxy, prices) = nginx_and_behind();
        let folder = Folder::new();
        let config = folder.file("tracer.yaml");
        fs::write(&config, format!("propagation: {{mode: headers}}\nsampling: {{sampler: {sampler}}}\n"))
            .expect("written");
        let receiver = Receiver::start();
        let config = config.display().to_string();
        let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--config", &config]);
        ask_in_pieces(proxy.port, "/1", &format!("traceparent: 00-{TRACE}-{SPAN}-{came}\r\n"), &[]);
        let line = prices.lines("contexts", 1);
        let parent = line.split(' ').next().expect("a value");
        assert_eq!((parent.len(), &parent[..3]), (55, "00-"), "{parent}");
        assert_eq!((&parent[3..35], &parent[53..]), (TRACE, flags), "{sampler}, {came}");
        assert_ne!(&parent[36..52], SPAN);
        wait_until("the ledger", || agent.count("headers.forwarded") == 1);
        if flags != "00" {
            let spans = receiver.wait_for(|spans| spans.len() == 2);
            let call = spans.iter().find(|span| !span.is_server()).expect("a call");
            let id: String = call.span.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(id, parent[36..52]);
        }
        agent.stop();
    }
}

#[test]
fn a_header_that_is_not_of_this_version_is_passed_on_as_it_came() {
    let (proxy, prices) = nginx_and_behind();
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--propagation", "headers"]);
    let values = [
        format!("cc-{TRACE}-b7ad6b7169203331-01"),
        format!("cc-{TRACE}-b7ad6b7169203331-01-what-comes"),
        format!("ff-{TRACE}-b7ad6b7169203331-01"),
        "00-0-0-0".to_owned(),
    ];
    for (n, value) in values.iter().enumerate() {
        ask_in_pieces(proxy.port, &format!("/{n}"), &format!("traceparent: {value}\r\n"), &[]);
        let line = prices.lines("contexts", n + 1).lines().nth(n).expect("a line").to_owned();
        assert_eq!(line.split(' ').next(), Some(&value[..]));
    }
    wait_until("the ledger", || agent.count("headers.own") == values.len() as u64);
    agent.stop();
}

#[test]
fn headers_do_not_go_where_the_configuration_denies_it() {
    for (rule, is_sent) in [("allow: [127.0.0.0/8]", true), ("deny: [127.0.0.2/32]", false)] {
        let port = free_port();
        let prices = Program::nginx(&format!(
            "listen 127.0.0.2:{port}; access_log contexts contexts; location / {{ return 200 'hello'; }}"
        ));
        let proxy = Program::nginx(&format!("location / {{ proxy_pass http://127.0.0.2:{port}; }}"));
        let folder = Folder::new();
        let config = folder.file("tracer.yaml");
        fs::write(&config, format!("propagation: {{mode: headers, {rule}}}\n")).expect("written");
        let receiver = Receiver::start();
        let config = config.display().to_string();
        let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--config", &config]);
        ask_in_pieces(proxy.port, "/1", "", &[]);
        let line = prices.lines("contexts", 1);
        assert_eq!(is_valid(line.split(' ').next().expect("a value")), is_sent, "{rule}: {line}");
        let counter = if is_sent { "headers.pushed" } else { "headers.destination" };
        wait_until("the ledger", || agent.count(counter) == 1);
        agent.stop();
    }
}

#[test]
fn a_forward_proxy_gets_no_header_for_a_host_that_is_not_listed() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", proxy.local_addr().expect("an address"));
    // It passes nothing on: what arrives is what would reach the host.
    let arrived = thread::spawn(move || {
        let mut heads = Vec::new();
        loop {
            let (mut stream, _) = proxy.accept().expect("a client");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a head");
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").expect("sent");
            let head = String::from_utf8(head).expect("ASCII");
            if head.starts_with("GET /end ") {
                return heads;
            }
            heads.push(head);
        }
    });
    let script = format!(
        "for target in http://third.example/1 http://LISTED.example/2 http://listed.example:81/3 \
         http://listed.example.third.example/4 http://127.0.0.1:9/5 http://[::1]:9/6; do \
         curl -s --noproxy '' --proxy {url} $target; done; \
         curl -s --noproxy '' --proxy {url} -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' \
         http://third.example/7; curl -s --noproxy '*' {url}/8; curl -s {url}/end"
    );
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    fs::write(&config, "propagation: {mode: headers, proxied_hosts: [Listed.example]}\n").expect("written");
    let config = config.display().to_string();
    let mut tracer = Command::new(tracer_under_test());
    tracer.env(TRUST, "1").args(["run", "--config", &config, "--propagation-proxied-hosts", "127.0.0.1:9"]);
    let output = tracer.args(["--", "sh", "-c", &script]).output().expect("tracer run");
    let said = String::from_utf8_lossy(&output.stderr);
    let heads = arrived.join().expect("it ends");
    let with: Vec<String> = heads
        .iter()
        .filter(|head| head.contains("\r\ntraceparent: "))
        .map(|head| head.split(' ').nth(1).expect("a target").to_owned())
        .collect();
    let expected = ["http://LISTED.example/2", "http://127.0.0.1:9/5", "http://third.example/7", "/8"];
    assert_eq!(with, expected, "{heads:?}");
    assert!(heads[6].contains("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"));
    assert!(said.contains("4  calls without a trace header: their target names another host"), "{said}");
}

#[test]
fn run_adds_headers_and_an_agent_does_not_unless_it_is_told_to() {
    let nginx = Program::noting();
    let url = nginx.url("/x");
    let last = |count: usize| nginx.lines("traces", count).lines().last().map(is_valid);
    let traced = |more: &[&str]| {
        let mut tracer = Command::new(tracer_under_test());
        tracer.env(TRUST, "1").args(["run", "--output", "none"]).args(more).args(["--", "curl", "-s", &url]);
        run(&mut tracer);
    };
    traced(&[]);
    assert_eq!(last(1), Some(true));
    traced(&["--propagation", "off"]);
    assert_eq!(last(2), Some(false));
    let proxy = Program::nginx(&format!("location / {{ proxy_pass {}; }}", nginx.url("")));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[proxy.pid()], &receiver);
    curl(&["--fail", &proxy.url("/x")]);
    assert_eq!(last(3), Some(false));
    assert_eq!(receiver.wait_for(|spans| spans.len() == 2).len(), 2);
    assert!(!agent.status().to_string().contains("headers."));
    agent.stop();
}

#[test]
fn what_is_encrypted_stays_as_it_is() {
    // Without certificates: both know a key.
    const SERVICE: &str = "
        const [tls, http, fs] = [require('tls'), require('http'), require('fs')];
        const [key, ciphers] = [Buffer.from('0123456789abcdef'), 'PSK'];
        const pskCallback = () => process.argv[2] === 'server' ? key : { psk: key, identity: 'one' };
        const options = { port: +process.argv[1], host: '127.0.0.1', ciphers, maxVersion: 'TLSv1.2', pskCallback };
        if (process.argv[2] === 'server') {
            const server = http.createServer((request, response) => response.end(JSON.stringify(request.rawHeaders)));
            tls.createServer(options, socket => server.emit('connection', socket)).listen(options.port, options.host);
        } else {
            const ask = async () => {
                while (!fs.existsSync(process.argv[3])) await new Promise(done => setTimeout(done, 50));
                const createConnection = () => tls.connect({ ...options, checkServerIdentity: () => undefined });
                const all = [];
                for (let n = 0; n < 5; n++) all.push(await new Promise((done, failed) => {
                    const request = http.get({ path: '/' + n, createConnection }, response => {
                        let text = '';
                        response.on('data', more => text += more).on('end', () => done(text));
                    });
                    request.on('error', failed);
                }));
                fs.writeFileSync(process.argv[4], all.join('\\n'));
                setInterval(() => {}, 1000);
            };
            ask();
        }";
    let port = free_port();
    let folder = Folder::new();
    let (begin, answers) = (folder.file("begin"), folder.file("answers"));
    let node = |arguments: &[&str]| {
        let mut command = Command::new("node");
        command.args(["-e", SERVICE, &port.to_string()]).args(arguments);
        command
    };
    let _server = Program::start("server", port, |_| node(&["server"]));
    let paths = [&begin, &answers].map(|path| path.display().to_string());
    let client = Ended(node(&["client", &paths[0], &paths[1]]).spawn().expect("Node"));
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[client.0.id()], &receiver, &["--propagation", "headers"]);
    fs::write(begin, "").expect("written");
    wait_until("the answers", || fs::read_to_string(&answers).is_ok_and(|text| text.lines().count() == 5));
    let text = fs::read_to_string(&answers).expect("read");
    assert!(!text.contains("traceparent") && text.contains("Host"), "{text}");
    wait_until("the ledger", || agent.count("connections.tls") == 5);
    assert_eq!(agent.count("headers.pushed"), 0);
    agent.stop();
}

#[test]
fn what_a_proxy_delays_gets_no_trace_of_another() {
    let behind = noting_paths();
    // Of each kind 20 in a second may pass; the others wait.
    let proxy = Program::nginx_with(
        "limit_req_zone $arg_kind zone=kinds:1m rate=20r/s;",
        &format!("location / {{ limit_req zone=kinds burst=100; proxy_pass {}; }}", behind.url("")),
    );
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--propagation", "headers"]);
    const ALL: usize = 80;
    thread::scope(|scope| {
        for client in 0..8 {
            let port = proxy.port;
            scope.spawn(move || {
                for n in (client..ALL).step_by(8) {
                    ask_in_pieces(port, &format!("/{n}?kind={}", n % 3), "", &[]);
                }
            });
        }
    });
    let spans = receiver.wait_for(|spans| spans.len() >= 2 * ALL);
    let served: BTreeMap<String, String> = spans
        .iter()
        .filter(|span| span.is_server())
        .map(|span| (hex(&span.span.trace_id), span.path()))
        .collect();
    let mut linked = 0;
    for call in spans.iter().filter(|span| !span.is_server()) {
        if let Some(parent) = spans.iter().find(|span| span.span.span_id == call.span.parent_span_id) {
            assert_eq!(parent.path(), call.path());
            linked += 1;
        }
    }
    let mut with = 0;
    for line in behind.read("paths").lines() {
        let (path, header) = line.split_once(' ').expect("two values");
        if header != "-" {
            let path = path.split('?').next().expect("a path");
            assert_eq!(served.get(&header[3..35]).map_or(path, |served| served), path, "{line}");
            with += 1;
        }
    }
    println!("of {ALL} calls {linked} are linked, {with} have a header");
    assert!(linked > ALL / 2, "{linked}");
    agent.stop();
}

/// Threads call for those that read: for `/lost/N` late, for `/kept/N` later still.
const LATE: &str = r"
import http.server, http.client, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def call(self):
        c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[2]))
        c.request('GET', self.path)
        c.getresponse().read()
        c.close()
    def do_GET(self):
        time.sleep({'l': 0.8, 'k': 1.2}.get(self.path[1], 0))
        if self.path[1] != 'w':
            thread = threading.Thread(target=self.call)
            thread.start()
            thread.join()
        try:
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()
        except OSError:
            pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_): pass
Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

/// Sends a request, and resets the connection after a while.
const RESETS: &str = r"
import socket, struct, sys, time
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.sendall(b'GET %s HTTP/1.1\r\nHost: late\r\n\r\n' % sys.argv[2].encode())
time.sleep(0.2)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
";

#[test]
fn what_a_lost_request_calls_later_is_not_for_another() {
    const ROUNDS: u32 = 4;
    let behind = noting_paths();
    let port = free_port();
    let service = Program::start("late", port, |_| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", LATE, &port.to_string(), &behind.port.to_string()]);
        command
    });
    let folder = Folder::new();
    let config = knowing(&folder, &[behind.port, port]).display().to_string();
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[service.pid()], &receiver, &["--config", &config]);
    // Enough for a process to have shown whether it calls of its own accord.
    for n in 0..20 {
        ask_in_pieces(port, &format!("/warm/{n}"), "", &[]);
    }
    for n in 0..ROUNDS {
        run(Command::new(PYTHON).args(["-c", RESETS, &port.to_string(), &format!("/lost/{n}")]));
        ask_in_pieces(port, &format!("/kept/{n}"), "", &[]);
    }
    let spans = receiver.wait_for(|spans| {
        let calls = spans.iter().filter(|span| !span.is_server());
        calls.count() >= 2 * ROUNDS as usize
    });
    for call in spans.iter().filter(|span| !span.is_server()) {
        for other in spans.iter().filter(|other| other.path() != call.path()) {
            assert_ne!(other.span.trace_id, call.span.trace_id, "{} and {}", other.path(), call.path());
        }
    }
    for line in behind.read("paths").lines() {
        let (path, header) = line.split_once(' ').expect("two values");
        for span in spans.iter().filter(|span| header != "-" && span.path() != path) {
            assert_ne!(hex(&span.span.trace_id), header[3..35], "{path}: {}", span.path());
        }
    }
    agent.stop();
}

/// A server that reads a request, and closes the connection after a while.
fn closing_after(wait: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut head = [0; 4096];
                if stream.read(&mut head).is_ok() {
                    // The delay is part of what is tested.
                    let_pass(wait);
                }
            });
        }
    });
    port
}

#[test]
fn what_a_proxy_tries_again_gets_no_trace_of_a_request_that_it_delays() {
    const ALL: usize = 90;
    let behind = noting_paths();
    let failing = closing_after(Duration::from_millis(120));
    let upstream = format!(
        "upstream both {{ server 127.0.0.1:{failing} max_fails=0; server 127.0.0.1:{} max_fails=0; }}",
        behind.port
    );
    let proxy = Program::nginx_with(
        &format!("limit_req_zone $arg_kind zone=kinds:1m rate=6r/s; {upstream}"),
        "location ~ ^/r/(.*)$ { limit_req zone=kinds burst=100; proxy_pass http://both/c/$1; }",
    );
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[proxy.pid()], &receiver, &["--propagation", "headers"]);
    thread::scope(|scope| {
        for client in 0..6 {
            let port = proxy.port;
            scope.spawn(move || {
                for n in (client..ALL).step_by(6) {
                    ask_in_pieces(port, &format!("/r/{n}?kind={}", n % 3), "", &[]);
                }
            });
        }
    });
    let number = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let spans = receiver.wait_for(|spans| {
        // One of a request's calls has an answer, and it is the last.
        let is_answered = |span: &&Received| span.number("http.response.status_code").is_some();
        spans.iter().filter(is_answered).count() >= 2 * ALL
    });
    let served: BTreeMap<String, String> = spans
        .iter()
        .filter(|span| span.is_server())
        .map(|span| (hex(&span.span.trace_id), number(&span.path())))
        .collect();
    let mut linked = 0;
    for call in spans.iter().filter(|span| !span.is_server()) {
        if let Some(parent) = spans.iter().find(|span| span.span.span_id == call.span.parent_span_id) {
            assert_eq!(number(&parent.path()), number(&call.path()));
            linked += 1;
        }
    }
    let mut with = 0;
    for line in behind.read("paths").lines() {
        let (path, header) = line.split_once(' ').expect("two values");
        if header != "-" {
            let path = number(path.split('?').next().expect("a path"));
            assert_eq!(served.get(&header[3..35]).map_or(&*path, |served| &**served), path, "{line}");
            with += 1;
        }
    }
    println!("of {} calls {linked} are linked, {with} have a header", spans.len() - ALL);
    assert!(linked > 0);
    agent.stop();
}
