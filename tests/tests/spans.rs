//! Each request of real clients to real servers is a span, once, and right.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use tracer_tests::{
    Agent,
    programs::{Program, curl, free_port, run},
    receiver::{Received, Receiver},
    root, wait_until,
};

/// The spans of a path, by kind.
fn of_path<'a>(spans: &'a [Received], path: &str, server: bool) -> Vec<&'a Received> {
    spans.iter().filter(|span| span.path() == path && span.is_server() == server).collect()
}

fn one<'a>(spans: &'a [Received], path: &str, server: bool) -> &'a Received {
    let found = of_path(spans, path, server);
    assert_eq!(found.len(), 1, "{} spans of {path}", found.len());
    found[0]
}

const LOGGING: &str = "access_log FOLDER/access plain; location /echo { return 200 \"some text\\n\"; } location /gone { return 410; } location /file { alias FOLDER; }";

#[test]
fn every_request_of_every_client_to_every_server_is_there_once() {
    let nginx = Program::nginx(LOGGING);
    let flask = Program::flask();
    let node = Program::node();
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), flask.pid(), node.pid()], &receiver);
    let mut expected: BTreeMap<String, (&str, i64)> = BTreeMap::new();
    for (name, server) in [("nginx", &nginx), ("flask", &flask), ("node", &node)] {
        let urls = |client: &str| -> Vec<String> {
            (0..5).map(|n| server.url(&format!("/echo/{name}-{client}-{n}"))).collect()
        };
        for client in ["curl", "python", "fetch"] {
            let urls = urls(client);
            match client {
                "curl" => drop(run(Command::new("curl").args(["--silent", "--show-error"]).args(&urls))),
                "python" => drop(run(Command::new("/usr/bin/python3")
                    .arg(root().join("tests/apps/client.py"))
                    .args(&urls))),
                _ => drop(run(Command::new("node").arg(root().join("tests/apps/fetch.js")).args(&urls))),
            }
            for n in 0..5 {
                expected.insert(format!("/echo/{name}-{client}-{n}"), ("GET", 200));
            }
        }
    }
    for (method, path) in [("PUT", "/gone/put"), ("DELETE", "/gone/delete"), ("BREW", "/echo/brew")] {
        curl(&["--request", method, &nginx.url(path), "--output", "/dev/null"]);
    }
    curl(&["--head", &nginx.url("/echo/head")]);
    expected.extend([
        ("/gone/put".to_owned(), ("PUT", 410)),
        ("/gone/delete".to_owned(), ("DELETE", 410)),
        ("/echo/brew".to_owned(), ("_OTHER", 200)),
        ("/echo/head".to_owned(), ("HEAD", 200)),
    ]);
    let spans = receiver.wait_for(|spans| spans.len() >= expected.len());
    for (path, (method, status)) in &expected {
        let span = one(&spans, path, true);
        assert_eq!(span.attribute("http.request.method").as_deref(), Some(*method), "{path}");
        assert_eq!(span.number("http.response.status_code"), Some(*status), "{path}");
    }
    assert_eq!(spans.len(), expected.len(), "and no others");
    // Sizes are those of nginx's own log.
    let served = spans.iter().filter(|span| span.service == "nginx").count();
    let log = nginx.lines("access", served);
    assert_eq!(log.lines().count(), served);
    for line in log.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let span = one(&spans, fields[1], true);
        assert_eq!(
            span.number("http.response.body.size").map(|size| size.to_string()).as_deref(),
            Some(fields[3]),
            "{line}"
        );
    }
    let services: BTreeMap<&str, usize> = spans.iter().fold(BTreeMap::new(), |mut map, span| {
        *map.entry(span.service.as_str()).or_default() += 1;
        map
    });
    assert_eq!(services, BTreeMap::from([("nginx", 19), ("prices", 15), ("shop", 15)]));
    let (status, ..) = agent.stop();
    assert!(status.success());
}

#[test]
fn a_handler_that_sleeps_takes_that_long_and_lies_inside_of_its_client() {
    let flask = Program::flask();
    let node = Program::node();
    let receiver = Receiver::start();
    let script = format!(
        "curl -s {0}/slow?a >/dev/null; {py} {client} {0}/slow?b; node {fetch} {1}/slow?c; curl -s {0}/echo/fast >/dev/null",
        flask.url(""),
        node.url(""),
        py = "/usr/bin/python3",
        client = root().join("tests/apps/client.py").display(),
        fetch = root().join("tests/apps/fetch.js").display(),
    );
    let agent = Agent::tracing(&[flask.pid(), node.pid()], &receiver);
    let clients = Receiver::start();
    let status = Command::new(tracer_tests::tracer())
        .args([
            "run",
            "--output",
            "none",
            "--otlp-endpoint",
            &clients.http_endpoint(),
            "--",
            "sh",
            "-c",
            &script,
        ])
        .stdout(std::process::Stdio::null())
        .status()
        .expect("tracer run");
    assert!(status.success());
    // A send that is seen only after it was done may look later than its receive, whose time another
    // agent has.
    let is_exact = agent.status()["sees_sends_before"] == true;
    let servers = receiver.wait_for(|spans| spans.len() >= 4);
    let clients = clients.wait_for(|spans| spans.len() >= 4);
    assert_eq!((servers.len(), clients.len()), (4, 4));
    for server in &servers {
        let query = server.attribute("url.query").unwrap_or_default();
        let is_same = |client: &&Received| {
            client.path() == server.path()
                && client.attribute("url.full").is_some_and(|url| url.ends_with(&query))
        };
        let client = clients.iter().find(is_same).expect("the client's side of it");
        assert!(!client.is_server() && server.is_server());
        if server.path() == "/slow" {
            assert!(server.duration_ns() >= 50_000_000, "{} ns", server.duration_ns());
        }
        // Two agents measure the offset of the clocks each for itself.
        const SLACK: u64 = 200_000;
        let (inner, outer) = (&server.span, &client.span);
        if is_exact {
            assert!(outer.start_time_unix_nano <= inner.start_time_unix_nano + SLACK, "{query}");
            assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano + SLACK, "{query}");
        }
    }
    agent.stop();
}

#[test]
fn a_proxy_has_both_sides_and_the_servers_interval_lies_inside_of_its_clients() {
    // As it is, and as on a kernel that shows sends only after they were done.
    for environment in [&[][..], &[("TRACER_TEST_WITHOUT_PRE_SEND", "1")]] {
        let flask = Program::flask();
        let nginx = Program::nginx(&format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", flask.port));
        let receiver = Receiver::start();
        let (endpoint, pids) = (receiver.http_endpoint(), [nginx.pid().to_string(), flask.pid().to_string()]);
        let arguments =
            ["--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pids[0], "--pid", &pids[1]];
        let agent = Agent::start_in(environment, &arguments);
        for n in 0..50 {
            curl(&[&nginx.url(&format!("/echo/{n}"))]);
        }
        let spans = receiver.wait_for(|spans| spans.len() >= 150);
        assert_eq!(spans.len(), 150);
        for n in 0..50 {
            let path = format!("/echo/{n}");
            let client = one(&spans, &path, false);
            let servers = of_path(&spans, &path, true);
            let inner = servers.iter().find(|span| span.service == "shop").expect("the shop's");
            let outer = servers.iter().find(|span| span.service == "nginx").expect("nginx's");
            assert!(
                client.span.start_time_unix_nano <= inner.span.start_time_unix_nano,
                "{path} {environment:?}"
            );
            assert!(
                inner.span.end_time_unix_nano <= client.span.end_time_unix_nano,
                "{path} {environment:?}"
            );
            assert!(
                outer.span.start_time_unix_nano <= client.span.start_time_unix_nano,
                "{path} {environment:?}"
            );
            assert!(
                client.span.end_time_unix_nano <= outer.span.end_time_unix_nano,
                "{path} {environment:?}"
            );
        }
        agent.stop();
    }
}

#[test]
fn every_one_of_a_hundred_short_lived_clients_has_its_span() {
    let nginx = Program::nginx(LOGGING);
    let receiver = Receiver::start();
    let script = format!(
        "for n in $(seq 100); do curl -sf {}/$n >/dev/null || echo $n: $? >&2; done",
        nginx.url("/echo")
    );
    let endpoint = receiver.http_endpoint();
    let output = Command::new(tracer_tests::tracer())
        .args(["run", "--output", "none", "--otlp-endpoint", &endpoint, "--", "sh", "-c", &script])
        .output()
        .expect("tracer run");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let spans = receiver.wait_for(|spans| spans.len() >= 100);
    let paths: BTreeSet<String> = spans.iter().map(Received::path).collect();
    let served = nginx.lines("access", 100).lines().count();
    assert_eq!((spans.len(), paths.len(), served), (100, 100, 100), "{paths:?} {log}");
    for n in 1..=100 {
        let span = one(&spans, &format!("/echo/{n}"), false);
        assert_eq!((span.service.as_str(), span.number("http.response.status_code")), ("curl", Some(200)));
    }
}

#[test]
fn a_valid_traceparent_gives_trace_and_parent_also_behind_sixty_kilobytes_of_head() {
    let nginx = Program::nginx("large_client_header_buffers 8 80k; location / { return 204; }");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid()], &receiver);
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (path, filler) in [("/short", 1), ("/2k", 2_000), ("/4k", 4_000), ("/10k", 10_000), ("/60k", 60_000)]
    {
        let filler = format!("x-filler: {}", "f".repeat(filler));
        curl(&["--header", &filler, "--header", parent, "--header", "tracestate: a=1", &nginx.url(path)]);
    }
    curl(&["--header", "traceparent: 00-bad", &nginx.url("/bad")]);
    let spans = receiver.wait_for(|spans| spans.len() >= 6);
    assert_eq!(spans.len(), 6);
    for path in ["/short", "/2k", "/4k", "/10k", "/60k"] {
        let span = one(&spans, path, true);
        assert_eq!(span.span.trace_id[..2], [0x0a, 0xf7], "{path}");
        assert_eq!(span.span.parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31], "{path}");
        assert_eq!((span.span.trace_state.as_str(), span.span.flags & 0x301), ("a=1", 0x301), "{path}");
        assert_eq!(span.attribute("tracer.link.evidence").as_deref(), Some("header"));
    }
    let bad = one(&spans, "/bad", true);
    assert!(bad.span.parent_span_id.is_empty() && bad.attribute("tracer.link.evidence").is_none());
    agent.stop();
}

#[test]
fn large_answers_by_sendfile_and_by_chunks_have_their_sizes_and_ends() {
    let nginx = Program::nginx("location / { }");
    std::fs::write(nginx.path("large"), vec![b'x'; 5_000_000]).expect("written");
    let flask = Program::flask();
    let node = Program::node();
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), flask.pid(), node.pid()], &receiver);
    curl(&[
        "--output",
        "/dev/null",
        &nginx.url("/large"),
        "--output",
        "/dev/null",
        &nginx.url("/large?again"),
    ]);
    curl(&["--output", "/dev/null", &flask.url("/blob/3000000")]);
    curl(&["--output", "/dev/null", &node.url("/chunked")]);
    curl(&["--output", "/dev/null", &flask.url("/stream")]);
    curl(&["--output", "/dev/null", "--http1.0", &flask.url("/stream?close")]);
    let spans = receiver.wait_for(|spans| spans.len() >= 6);
    assert_eq!(spans.len(), 6);
    let size = |path: &str| one(&spans, path, true).number("http.response.body.size");
    let large = of_path(&spans, "/large", true);
    assert_eq!(large.len(), 2);
    assert!(large.iter().all(|span| span.number("http.response.body.size") == Some(5_000_000)));
    assert_eq!(size("/blob/3000000"), Some(3_000_000));
    assert_eq!(size("/chunked"), Some(12_004));
    for span in of_path(&spans, "/stream", true) {
        assert_eq!(span.number("http.response.body.size"), Some(35), "{span:?}");
    }
    // The last chunk of the Node answer comes 10 ms after the first.
    assert!(one(&spans, "/chunked", true).duration_ns() >= 9_000_000);
    agent.stop();
}

#[test]
fn ipv6_and_mapped_addresses_are_seen() {
    let port = tracer_tests::programs::free_port();
    let node = Program::node_on("::", port);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[node.pid()], &receiver);
    curl(&[&format!("http://[::1]:{port}/echo/six")]);
    curl(&[&format!("http://127.0.0.1:{port}/echo/mapped")]);
    let spans = receiver.wait_for(|spans| spans.len() >= 2);
    let peer = |path: &str| one(&spans, path, true).attribute("network.peer.address");
    assert_eq!(peer("/echo/six").as_deref(), Some("::1"));
    assert_eq!(peer("/echo/mapped").as_deref(), Some("127.0.0.1"));
    assert_eq!(one(&spans, "/echo/six", true).attribute("server.address").as_deref(), Some("::1"));
    agent.stop();
}

#[test]
fn ten_requests_in_one_write_are_ten_spans_each_with_its_own_answer() {
    const WRITES: usize = 40;
    const EACH: usize = 10;
    let nginx = Program::nginx("location / { return 200 \"$uri\\n\"; } location /gone { return 410; }");
    let node = Program::node();
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), node.pid()], &receiver);
    let mut expected = BTreeMap::new();
    for (name, port) in [("nginx", nginx.port), ("node", node.port)] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        for write in 0..WRITES {
            let mut requests = String::new();
            for n in 0..EACH {
                let folder = if name == "nginx" && n % 3 == 1 { "gone" } else { "echo" };
                let path = format!("/{folder}/{name}-{write}-{n}");
                requests += &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
                expected.insert(path, if folder == "gone" { 410 } else { 200 });
            }
            stream.write_all(requests.as_bytes()).expect("a write");
            let mut answers = 0;
            let mut bytes = Vec::new();
            while answers < EACH {
                let mut part = [0; 16384];
                let length = stream.read(&mut part).expect("an answer");
                assert!(length > 0, "{name} closed after {answers} answers");
                bytes.extend_from_slice(&part[..length]);
                answers = bytes.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
            }
        }
    }
    let spans = receiver.wait_for(|spans| spans.len() >= expected.len());
    assert_eq!(spans.len(), expected.len());
    for (path, status) in &expected {
        assert_eq!(one(&spans, path, true).number("http.response.status_code"), Some(*status), "{path}");
    }
    agent.stop();
}

/// Runs a program of `tests/apps/` under `tracer run`. Returns what was said on standard error, the account of losses
/// among it.
fn run_traced(program: &str, arguments: &[&str], receiver: &Receiver) -> String {
    let output = Command::new(tracer_tests::tracer())
        .args(["run", "--output", "text", "--propagation", "off"])
        .args(["--otlp-endpoint", &receiver.http_endpoint(), "--", "/usr/bin/python3"])
        .arg(root().join("tests/apps").join(program))
        .args(arguments)
        .output()
        .expect("tracer run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// 40 uploads, in a mode of `tests/apps/uploads.py`: their spans, and what was said.
fn uploads(mode: &[&str]) -> (Vec<Received>, String) {
    let receiver = Receiver::start();
    let said = run_traced("uploads.py", &[&["40"], mode].concat(), &receiver);
    let spans = receiver.wait_for(|spans| spans.iter().filter(|span| !span.is_server()).count() >= 40);
    (spans, said)
}

#[test]
fn uploads_whose_chunks_are_read_in_large_pieces_each_have_both_spans() {
    let (spans, said) = uploads(&[]);
    for number in 0..40 {
        for server in [false, true] {
            one(&spans, &format!("/uploads/{number}"), server);
        }
    }
    assert_eq!(spans.len(), 80, "{said}");
}

#[test]
fn uploads_that_are_answered_before_they_are_read_each_have_both_spans() {
    let (spans, said) = uploads(&["early"]);
    for number in 0..40 {
        one(&spans, &format!("/uploads/{number}"), false);
    }
    let servers = spans.iter().filter(|span| span.is_server());
    assert!(servers.clone().all(|span| !span.path().ends_with("fake")), "{said}");
    assert_eq!(servers.count(), 40, "{said}");
    assert_eq!(spans.len(), 80, "{said}");
}

/// Time that a response of `tests/apps/raw/slow.py` takes.
const SLOW: Duration = Duration::from_millis(300);

#[test]
fn a_proxy_that_splices_has_no_span_that_is_too_short_and_its_checks_are_no_errors() {
    let port = free_port();
    let backend = Program::start("slow", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root().join("tests/apps/raw/slow.py")).arg(port.to_string());
        command
    });
    let proxy = Program::haproxy_that_splices(backend.port);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[proxy.pid(), backend.pid()], &receiver);
    for n in 0..4 {
        curl(&[&proxy.url(&format!("/slow/{n}"))]);
    }
    let is_check = |span: &&Received| span.attribute("http.request.method").as_deref() == Some("OPTIONS");
    let spans = receiver.wait_for(|spans| {
        let mut checks = spans.iter().filter(is_check);
        checks.clone().any(Received::is_server) && checks.any(|span| !span.is_server())
    });
    for check in spans.iter().filter(is_check) {
        assert_eq!(check.attribute("error.type"), None);
        assert_eq!(check.attribute("http.response.status_code").as_deref(), Some("200"));
    }
    // That bytes were spliced is seen with the next bytes, or at the connection's end.
    drop(proxy);
    let spans = receiver.wait_for(|spans| spans.iter().filter(|span| !is_check(span)).count() >= 12);
    let unknown = |span: &&Received| span.attribute("tracer.http.end_unknown").is_some();
    for n in 0..4 {
        let path = format!("/slow/{n}");
        assert_eq!(
            (of_path(&spans, &path, true).len(), of_path(&spans, &path, false).len()),
            (2, 1),
            "{path}"
        );
        for span in spans.iter().filter(|span| span.path() == path) {
            assert_eq!(span.attribute("error.type"), None, "{path}");
            let is_whole = u128::from(span.duration_ns()) >= SLOW.as_nanos();
            assert!(is_whole || unknown(&span) && !span.is_server(), "{path}: {} ns", span.duration_ns());
        }
    }
    assert!(agent.count("bytes.lost") > 0, "HAProxy splices");
    wait_until("each end that was not seen is counted", || {
        agent.count("exchanges.end_unseen") == receiver.spans().iter().filter(unknown).count() as u64
    });
    agent.stop();
}

#[test]
fn a_client_that_leaves_its_answer_unread_has_a_span_and_nothing_ends_in_silence() {
    let receiver = Receiver::start();
    let said = run_traced("unread.py", &[], &receiver);
    let spans = receiver.wait_for(|spans| spans.len() >= 8);
    for (name, status) in
        [("none", None), ("head", Some("200")), ("part", Some("200")), ("rest", Some("200"))]
    {
        let path = format!("/unread/{name}");
        let client = one(&spans, &path, false);
        assert_eq!(
            client.attribute("tracer.http.response_unread").as_deref(),
            Some("true"),
            "{path}: {said}"
        );
        assert_eq!(client.attribute("error.type"), None, "{path}");
        assert_eq!(client.attribute("http.response.status_code").as_deref(), status, "{path}");
        // Of this one the server could not send all.
        if name == "rest" {
            continue;
        }
        let server = one(&spans, &path, true);
        assert_eq!(server.attribute("http.response.status_code").as_deref(), Some("200"));
        assert_eq!(server.attribute("error.type"), None, "the server has answered in full");
    }
    // The last request: its end is a span, or counted, on both sides.
    let ended = spans.iter().filter(|span| span.path() == "/unread/open").count();
    assert!(
        ended == 2
            || said.contains(if ended == 1 {
                "1  request whose end was not seen"
            } else {
                "2  requests whose end was not seen"
            }),
        "{said}"
    );
}

#[test]
fn a_request_that_is_read_after_its_clients_reset_ends_and_is_nobodys_parent() {
    let backend = Program::nginx("location / { return 200 fine; }");
    let port = free_port();
    let late = Program::start("late", port, |_| {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(root().join("tests/apps/raw/late.py"))
            .args([port, backend.port].map(|it| it.to_string()));
        command
    });
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[late.pid()], &receiver);
    let script = "import socket, sys\n\
                  c = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
                  c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0] + [0] * 4))\n\
                  c.sendall(b'GET /left HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
                  c.close()\n";
    let client = Command::new("/usr/bin/python3").args(["-c", script, &port.to_string()]).status();
    assert!(client.expect("it runs").success());
    let spans = receiver.wait_for(|spans| spans.len() >= 3);
    let left = of_path(&spans, "/left", true);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].attribute("error.type").as_deref(), Some("connection_reset"));
    for n in 0..2 {
        let calls = of_path(&spans, &format!("/own/{n}"), false);
        assert_eq!(calls.len(), 1);
        assert!(calls[0].span.parent_span_id.is_empty(), "the request is over");
    }
    agent.stop();
}
