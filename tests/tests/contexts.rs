//! W3C trace context through services that know nothing of it: each makes one call for each request, and what
//! leaves with that call is what the specification wants of whoever takes part in a trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use tracer_tests::{
    Agent, Folder, TRUST, count_for, knowing,
    programs::{Disturbed, Program, disturbed, free_port, run},
    receiver::Receiver,
    root, tracer_under_test, wait_until,
};

/// A server that keeps the heads that it gets.
struct Backend {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || Self::answer(stream, &kept));
            }
        });
        Self { port, heads }
    }

    fn answer(mut stream: TcpStream, kept: &Mutex<Vec<String>>) {
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => head.extend_from_slice(&buffer[..length]),
            }
        }
        kept.lock().expect("no panic").push(String::from_utf8(head).expect("UTF-8"));
        // Each call has a connection of its own: a socket that waits gets no second header.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().expect("no panic"))
    }
}

/// A program of `tests/apps/contexts`.
fn service(name: &str, command: &[&str], backend: u16) -> Program {
    let port = free_port();
    Program::start(name, port, |_| {
        let mut program = Command::new(command[0]);
        program
            .args(&command[1..])
            .current_dir(root().join("tests/apps/contexts"))
            .env("PORT", port.to_string())
            .env("BACKEND", format!("http://127.0.0.1:{backend}/called"));
        program
    })
}

fn go() -> String {
    let folder = root().join("target/go");
    let program = folder.join("context").display().to_string();
    run(Command::new("go")
        .args(["build", "-o", &program, "service.go"])
        .current_dir(root().join("tests/apps/contexts"))
        .envs([("GO111MODULE", "off"), ("CGO_ENABLED", "0")])
        .env("GOCACHE", folder.join("cache")));
    program
}

/// A request with these fields, on a connection of its own.
fn ask(port: u16, fields: &str) {
    ask_for(port, "/asked", fields);
}

fn ask_for(port: u16, path: &str, fields: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the service");
    let head = format!("GET {path} HTTP/1.1\r\nHost: service\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

/// What the call of such a request carries.
enum Expected {
    /// The same trace, with these flags and this state.
    Same(&'static str, &'static str),
    /// A trace that begins here.
    Other,
}

/// Requests before the cases.
const WARM: usize = 20;
/// Calls of the request behind them.
const CALLS: usize = 3;
const VALID: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A `tracestate` of so many members.
fn numbered(members: u32) -> String {
    more(0, members)
}

/// Its members from one on to another.
fn more(first: u32, end: u32) -> String {
    (first..end).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",")
}

/// The same list without blanks around its members.
fn members(state: &str) -> String {
    let members = state.split(',').map(|member| member.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty()).collect::<Vec<_>>().join(",")
}

/// Every byte that a key, and that a value, may have.
const KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyz_-*/@";
const VALUE: &str =
    " !\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

/// Fields of requests, and what is expected of their calls: W3C Trace Context, level 2.
fn cases() -> Vec<(String, Expected)> {
    use Expected::{Other, Same};
    let with = |from: &str, to: &str| VALID.replace(from, to);
    let state = |state: &str| format!("{VALID}tracestate: {state}\r\n");
    vec![
        (String::new(), Other),
        (VALID.to_owned(), Same("01", "")),
        (with("-01\r", "-00\r"), Same("00", "")),
        (with("-01\r", "-03\r"), Same("03", "")),
        (with("-01\r", "-ff\r"), Same("03", "")),
        (with("traceparent", "TraceParent"), Same("01", "")),
        (with("traceparent: ", "TRACEPARENT:"), Same("01", "")),
        (with(" 00-", " cc-"), Same("01", "")),
        (with(" 00-", " cc-").replace("-01\r", "-01-what-the-future-brings\r"), Same("01", "")),
        (with(" 00-", " cc-").replace("-01\r", "-01.what\r"), Other),
        (with(" 00-", " ff-"), Other),
        (with("-01\r", "-01-extra\r"), Other),
        (with("-01\r", "-1\r"), Other),
        (with("-01\r", "-0x\r"), Other),
        (with(" 00-", " 0-"), Other),
        (with("0af7", "0AF7"), Other),
        (with("0af7", "0ag7"), Other),
        (with("9c-", "-"), Other),
        (with(TRACE, "00000000000000000000000000000000"), Other),
        (with(SPAN, "0000000000000000"), Other),
        (with(SPAN, "b7ad6b716920333"), Other),
        (with("-b7", "_b7"), Other),
        (format!("{VALID}{VALID}"), Other),
        (format!("{VALID}{}", with("b7ad", "b7ae")), Other),
        (state("a=1"), Same("01", "a=1")),
        (state("vendor=value,other@tenant=thing"), Same("01", "vendor=value,other@tenant=thing")),
        (state(&format!("k={}", "v".repeat(520))), Same("01", "")),
        (state(""), Same("01", "")),
        (state(" \t"), Same("01", "")),
        (state(" \t a=1,b=2\t "), Same("01", "a=1,b=2")),
        (format!("{}tracestate: b=2\r\n", state("a=1")), Same("01", "a=1,b=2")),
        (
            format!("{}TraceState:c=3 \r\ntracestate: \r\ntracestate: d=4\r\n", state("a=1,b=2")),
            Same("01", "a=1,b=2,c=3,d=4"),
        ),
        (format!("tracestate: a=1\r\nAccept: */*\r\n{VALID}tracestate: b=2\r\n"), Same("01", "a=1,b=2")),
        // Keys and values: as long as they may be, and what breaks their rules.
        (state("0a_-*/@z=!v w~"), Same("01", "0a_-*/@z=!v w~")),
        (state(" a=1 \t, b=2"), Same("01", "a=1 \t, b=2")),
        (state(&numbered(32)), Same("01", numbered(32).leak())),
        (state(&numbered(33)), Same("01", "")),
        (state(&format!("{}=1", "k".repeat(256))), Same("01", format!("{}=1", "k".repeat(256)).leak())),
        (state(&format!("{}=1", "k".repeat(257))), Same("01", "")),
        (state(&format!("k={}", "v".repeat(256))), Same("01", format!("k={}", "v".repeat(256)).leak())),
        (state(&format!("k={}", "v".repeat(257))), Same("01", "")),
        (state("a"), Same("01", "")),
        (state("a=1,b"), Same("01", "")),
        (state("a=1,=2"), Same("01", "")),
        (state("a=1,b="), Same("01", "")),
        (state("a=,b=2"), Same("01", "")),
        (state("A=1"), Same("01", "")),
        (state("@a=1"), Same("01", "")),
        (state("a =1"), Same("01", "")),
        (state("a.b=1"), Same("01", "")),
        (state("a=b=c"), Same("01", "")),
        (state("a=1\t2"), Same("01", "")),
        (with(" 00-", "   00-"), Same("01", "")),
        (with(" 00-", " \t00-"), Same("01", "")),
        (with("-01\r", "-01 \r"), Same("01", "")),
        (with("-01\r", "-01\t\r"), Same("01", "")),
        ("tracestate: a=1\r\n".to_owned(), Other),
        // Members with one key are passed on as they came.
        (state("a=1,a=2"), Same("01", "a=1,a=2")),
        (format!("{}tracestate: a=1\r\n", state("a=1")), Same("01", "a=1,a=1")),
        (
            format!("{}tracestate: {}\r\n", state(&numbered(16)), more(16, 32)),
            Same("01", numbered(32).leak()),
        ),
        (format!("{}tracestate: {}\r\n", state(&numbered(16)), more(16, 33)), Same("01", "")),
        // All of it is longer than what is passed on.
        (state(&["a", "b", "c"].map(|key| format!("{key}={}", "v".repeat(200))).join(",")), Same("01", "")),
        (state(&format!("{KEY}={VALUE}")), Same("01", format!("{KEY}={VALUE}").leak())),
        // Other fields have like names.
        (with("traceparent", "trace-parent"), Other),
        (with("traceparent", "trace.parent"), Other),
        (with("traceparent", "traceparents"), Other),
        (format!("{VALID}trace-state: a=1\r\n"), Same("01", "")),
        (format!("{VALID}trace.state: a=1\r\ntracestates: a=1\r\n"), Same("01", "")),
        (with(" 00-", " 000-"), Other),
        (with(" 00-", " .0-"), Other),
        (with(" 00-", " 0.-"), Other),
        (with("-01\r", "-01.\r"), Other),
        (with("-01\r", "-.0\r"), Other),
        (with("-01\r", "-001\r"), Other),
        (with("traceparent: 00-", "traceparent: "), Other),
        (with("0af7", "0af"), Other),
        (with("0af7", "0af77"), Other),
        (with(SPAN, "b7ad6b71692033311"), Other),
        (with("-b7", "b7"), Other),
        ("traceparent:\r\n".to_owned(), Other),
    ]
}

/// The trace headers of a head, and the rest.
fn split(head: &str) -> (Vec<&str>, Vec<&str>, String) {
    let value = |name: &str| -> Vec<&str> {
        head.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    };
    let is_trace = |line: &&str| line.starts_with("traceparent: ") || line.starts_with("tracestate: ");
    let rest: Vec<&str> = head.split("\r\n").filter(|line| !is_trace(line)).collect();
    (value("traceparent"), value("tracestate"), rest.join("\r\n"))
}

fn check(name: &str, fields: &str, expected: &Expected, plain: &str, head: &str) {
    let (parents, states, rest) = split(head);
    let said = format!("{name}, asked with {fields:?}: {head:?}");
    assert_eq!(rest, plain, "{said}");
    let [parent] = parents[..] else { panic!("{said}") };
    let parts: Vec<&str> = parent.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{said}") };
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    assert!(trace.len() == 32 && span.len() == 16 && is_hex(trace) && is_hex(span), "{said}");
    assert_ne!(span, SPAN, "{said}");
    match expected {
        Expected::Same(wanted, state) => {
            assert_eq!((trace, flags), (TRACE, *wanted), "{said}");
            // Spaces behind a value are no part of it.
            assert_eq!(states.concat().trim_end(), *state, "{said}");
        }
        Expected::Other => {
            assert_ne!(trace, TRACE, "{said}");
            assert!(states.is_empty(), "{said}");
        }
    }
}

#[test]
fn calls_of_services_without_tracing_carry_what_the_specification_wants() {
    let backend = Backend::start();
    let go = go();
    let services = [
        service("aiohttp", &["/usr/bin/python3", "service_aio.py"], backend.port),
        service("Node, fetch", &["node", "service.js", "fetch"], backend.port),
        service("Node, http", &["node", "service.js", "http"], backend.port),
        service("Go", &[&go], backend.port),
        service("Java, HttpClient", &["java", "Service.java", "client"], backend.port),
        service("Java, HttpURLConnection", &["java", "Service.java", "connection"], backend.port),
        service("Ruby", &["ruby", "service.rb"], backend.port),
    ];
    let names =
        ["aiohttp", "Node, fetch", "Node, http", "Go", "Java, HttpClient", "Java, HttpURLConnection", "Ruby"];
    let only = |name: &str| {
        wait_until(name, || !backend.heads.lock().expect("no panic").is_empty());
        let heads = backend.take();
        assert_eq!(heads.len(), 1, "{name}: {heads:?}");
        heads[0].clone()
    };
    // What each sends without an agent.
    let plain: Vec<String> = services
        .iter()
        .zip(names)
        .map(|(service, name)| {
            ask(service.port, VALID);
            only(name)
        })
        .collect();
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    let text = format!("propagation: {{mode: headers, http_ports: [{}]}}\n", backend.port);
    fs::write(&config, text).expect("written");
    let receiver = Receiver::start();
    let pids: Vec<u32> = services.iter().map(Program::pid).collect();
    let config = config.display().to_string();
    let agent = Agent::tracing_with(&pids, &receiver, &["--config", &config]);
    // What was sent with each call, by its span's id.
    let mut states = BTreeMap::new();
    let mut asked_again = 0;
    for ((service, name), plain) in services.iter().zip(names).zip(&plain) {
        assert!(!plain.to_lowercase().contains("traceparent"), "{name}: {plain}");
        // A process whose threads read what others work for is trusted after sixteen requests.
        for _ in 0..WARM {
            ask(service.port, "");
            only(name);
        }
        wait_until("the agent knows how the service works", || {
            count_for(&agent.status(), service.pid(), "exchanges.paired") >= 2 * WARM as u64
        });
        for (fields, expected) in cases() {
            ask(service.port, &fields);
            let mut head = only(name);
            // Of a few of a thousand calls of Go the caller does not wait yet when they leave: those have no header.
            for _ in 0..3 {
                if name != "Go" || head.contains("traceparent: ") {
                    break;
                }
                ask(service.port, &fields);
                head = only(name);
                asked_again += usize::from(!matches!(expected, Expected::Same("00", _)));
            }
            check(name, &fields, &expected, plain, &head);
            let (parents, sent, _) = split(&head);
            states.insert(parents[0][36..52].to_owned(), sent.concat());
        }
        // Each call of one request is a span of its own, in one trace.
        ask_for(service.port, &format!("/asked/{CALLS}"), &format!("{VALID}tracestate: a=1\r\n"));
        wait_until(name, || backend.heads.lock().expect("no panic").len() == CALLS);
        let mut ids = BTreeSet::new();
        let heads = backend.take();
        let is_without = |head: &&String| name == "Go" && !head.contains("traceparent: ");
        let without = heads.iter().filter(is_without).count();
        assert!(without <= 1, "{name}: {heads:?}");
        for head in heads.iter().filter(|head| !is_without(head)) {
            check(name, "several calls", &Expected::Same("01", "a=1"), plain, head);
            ids.insert(split(head).0[0][36..52].to_owned());
        }
        assert_eq!(ids.len(), CALLS - without, "{name}");
    }
    // What the caller does not sample is no span.
    let sampled = cases().iter().filter(|(_, expected)| !matches!(expected, Expected::Same("00", _))).count();
    let expected = names.len() * (2 * (WARM + sampled) + 1 + CALLS) + 2 * asked_again;
    let spans = receiver.wait_for(|spans| spans.len() >= expected);
    assert_eq!(spans.len(), expected);
    let mut known = 0;
    for call in spans.iter().filter(|span| !span.is_server()) {
        let id: String = call.span.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(sent) = states.get(&id) {
            assert_eq!(call.span.trace_state, members(sent), "{}", call.service);
            known += 1;
        }
    }
    assert_eq!(known, names.len() * sampled);
    agent.stop();
}

#[test]
fn a_declined_offer_of_another_protocol_keeps_no_header_from_the_next_request() {
    // Java's client asks for HTTP/2 on the way; nginx goes on with HTTP/1.
    let nginx = Program::nginx("access_log traces noting; location / { return 200; }");
    let client = service("Java, HttpClient", &["java", "Service.java", "client"], nginx.port);
    let receiver = Receiver::start();
    let agent = Agent::tracing_with(&[client.pid()], &receiver, &["--propagation", "headers"]);
    for n in 1..=5 {
        ask(client.port, "");
        // The agent has to see that the connection does not speak the protocol that was offered: with the response.
        wait_until("the client request", || agent.count("exchanges.paired") >= 2 * n);
    }
    let lines = nginx.lines("traces", 5);
    assert_eq!(lines.lines().count(), 5);
    assert!(lines.lines().all(|line| line.starts_with("00-")), "{lines}");
    wait_until("the ledger", || agent.count("headers.pushed") == 5);
    agent.stop();
}

#[test]
fn a_java_program_that_waits_in_its_calls_gets_its_answers_whatever_stops_it() {
    let judge = Program::judge();
    let folder = Folder::new();
    let config = knowing(&folder, &[judge.port]).display().to_string();
    let source = root().join("tests/apps/raw/Waits.java").display().to_string();
    let (url, tracer) = (judge.url("/ask/slow"), tracer_under_test().display().to_string());
    let client = ["java", &source, &url];
    let trust = format!("{TRUST}=1");
    let outer = ["env", &trust, &tracer, "run", "--output", "none", "--config", &config, "--"];
    let expected = |headers| Disturbed { status: Some(0), answers: 2, headers };
    assert_eq!(disturbed(&[], &client), expected(0));
    assert_eq!(disturbed(&outer, &client), expected(1));
}
