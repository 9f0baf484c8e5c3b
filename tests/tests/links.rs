//! Spans become traces: each link that is made is right, and those that can be known are made.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use tracer_tests::{
    Agent, Folder, let_pass,
    programs::{PYTHON, Program, curl, free_port, run},
    receiver::{Received, Receiver, doubled},
    root,
};

/// A link that must exist: spans of this service, kind and path have this parent, by this evidence.
struct Link<'a> {
    service: &'a str,
    is_server: bool,
    prefix: &'a str,
    evidence: &'a str,
    /// Service, kind and path of the parent.
    parent: (&'a str, bool, &'a str),
}

/// The number at the end of a path: every request of a chain has the same.
fn number(span: &Received) -> Option<u32> {
    span.path().rsplit('/').next()?.parse().ok()
}

fn by_id(spans: &[Received]) -> BTreeMap<&[u8], &Received> {
    spans.iter().map(|span| (&span.span.span_id[..], span)).collect()
}

/// No link may join requests of different numbers, whatever its evidence; and no span is there twice.
fn assert_no_link_is_wrong(spans: &[Received]) {
    assert_eq!(doubled(spans), [""; 0]);
    let all = by_id(spans);
    for span in spans.iter().filter(|span| !span.span.parent_span_id.is_empty()) {
        let parent = all[&span.span.parent_span_id[..]];
        assert_eq!(span.span.trace_id, parent.span.trace_id, "one trace");
        assert_eq!(number(span), number(parent), "{} hangs on {}", span.path(), parent.path());
    }
}

/// How many spans have the link, and how many spans could have it.
fn found(spans: &[Received], link: &Link<'_>) -> (usize, usize) {
    let all = by_id(spans);
    let those: Vec<_> = spans
        .iter()
        .filter(|span| {
            span.service == link.service
                && span.is_server() == link.is_server
                && span.path().starts_with(link.prefix)
        })
        .collect();
    let linked = those.iter().filter(|span| {
        let Some(parent) = all.get(&span.span.parent_span_id[..]) else { return false };
        let (service, is_server, prefix) = link.parent;
        assert_eq!(span.attribute("tracer.link.evidence").as_deref(), Some(link.evidence));
        assert_eq!((parent.service.as_str(), parent.is_server()), (service, is_server));
        parent.path().starts_with(prefix)
    });
    (linked.count(), those.len())
}

/// Sends `count` requests from `at_once` clients. Their numbers begin with `first`, and no two are the same.
fn ask(url: &str, first: u32, count: u32, at_once: u32) {
    thread::scope(|scope| {
        for client in 0..at_once {
            scope.spawn(move || {
                for n in (client..count).step_by(at_once as usize) {
                    curl(&["--fail", &format!("{url}/{}", first + n)]);
                }
            });
        }
    });
}

const OF_NGINX: Link<'_> = Link {
    service: "nginx",
    is_server: false,
    prefix: "/item",
    evidence: "request-structure",
    parent: ("nginx", true, "/item"),
};
const OF_SHOP: Link<'_> = Link {
    service: "shop",
    is_server: true,
    prefix: "/item",
    evidence: "wire",
    parent: ("nginx", false, "/item"),
};
const OF_CALL: Link<'_> = Link {
    service: "shop",
    is_server: false,
    prefix: "/price",
    evidence: "sole-request",
    parent: ("shop", true, "/item"),
};
const OF_PRICES: Link<'_> = Link {
    service: "prices",
    is_server: true,
    prefix: "/price",
    evidence: "wire",
    parent: ("shop", false, "/price"),
};

#[test]
fn a_request_through_proxy_and_workers_is_one_trace_without_any_header() {
    let prices = Program::node();
    let shop = Program::flask_asking(&prices.url(""));
    let nginx = Program::nginx(&format!("location / {{ proxy_pass http://127.0.0.1:{}; }}", shop.port));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), shop.pid(), prices.pid()], &receiver);
    ask(&nginx.url("/item"), 1000, 20, 1);
    ask(&nginx.url("/item"), 2000, 80, 8);
    let spans = receiver.wait_for(|spans| spans.len() >= 500);
    assert_eq!(spans.len(), 500);
    assert_no_link_is_wrong(&spans);
    for link in [OF_NGINX, OF_SHOP, OF_CALL, OF_PRICES] {
        assert_eq!(found(&spans, &link), (100, 100), "{} {}", link.service, link.evidence);
    }
    let roots: Vec<_> = spans.iter().filter(|span| span.span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 100);
    assert!(roots.iter().all(|span| span.service == "nginx" && span.is_server()));
    agent.stop();
}

#[test]
fn a_proxy_that_cuts_the_beginning_of_targets_off_is_linked() {
    let prices = Program::node();
    let nginx =
        Program::nginx(&format!("location /fast/ {{ proxy_pass http://127.0.0.1:{}/; }}", prices.port));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid(), prices.pid()], &receiver);
    ask(&nginx.url("/fast/price"), 1000, 200, 8);
    let spans = receiver.wait_for(|spans| spans.len() >= 600);
    assert_eq!(spans.len(), 600);
    assert_no_link_is_wrong(&spans);
    let link = Link {
        service: "nginx",
        is_server: false,
        prefix: "/price",
        evidence: "request-structure",
        parent: ("nginx", true, "/fast"),
    };
    assert_eq!(found(&spans, &link), (200, 200));
    agent.stop();
}

#[test]
fn threads_are_linked_once_they_are_known_to_work_for_one_request_each() {
    let prices = Program::node();
    let service = Program::asking("/usr/bin/python3", "threads.py", &prices.url(""));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid(), prices.pid()], &receiver);
    ask(&service.url("/work"), 1000, 100, 8);
    let mut spans = receiver.wait_for(|spans| spans.len() >= 300);
    assert_eq!(spans.len(), 300);
    assert_no_link_is_wrong(&spans);
    // Client requests that were sent before the agent knew wait for that.
    assert_eq!(unlinked(&spans), 0);
    assert_eq!(agent.count("links.learning"), 0);
    // Once the agent knows how the service works, all client requests are linked.
    ask(&service.url("/work"), 5000, 100, 8);
    let all = receiver.wait_for(|spans| spans.len() >= 600);
    assert_no_link_is_wrong(&all);
    spans = all.into_iter().filter(|span| number(span).is_some_and(|number| number >= 5000)).collect();
    let name = service_name(&spans);
    let link = calls_for_work(&name, "unit");
    assert_eq!(found(&spans, &link), (100, 100));
    agent.stop();
}

#[test]
fn what_was_learned_of_a_program_outlives_the_agent() {
    let prices = Program::node();
    let service = Program::asking("/usr/bin/python3", "threads.py", &prices.url(""));
    let state = Folder::new();
    let state = state.path().to_str().expect("text");
    for first in [1000, 5000] {
        let receiver = Receiver::start();
        let pids = [service.pid(), prices.pid()];
        let agent = Agent::tracing_with(&pids, &receiver, &["--state-directory", state]);
        ask(&service.url("/work"), first, 100, 8);
        let spans = receiver.wait_for(|spans| spans.len() >= 300);
        assert_no_link_is_wrong(&spans);
        assert_eq!(spans.len(), 300);
        // The second agent needs no learning, and no waiting. On a slow machine the first one waits too long.
        if first == 5000 {
            assert_eq!(unlinked(&spans), 0);
            let name = service_name(&spans);
            assert_eq!(found(&spans, &calls_for_work(&name, "unit")), (100, 100));
        }
        agent.stop();
    }
    let kept = std::fs::read_to_string(format!("{state}/threads.json")).expect("kept");
    assert!(kept.starts_with("{\"version\":1,\"threads\":[{\"program\":"), "{kept}");
}

/// Client requests without a parent.
fn unlinked(spans: &[Received]) -> usize {
    spans.iter().filter(|span| !span.is_server() && span.span.parent_span_id.is_empty()).count()
}

/// The link of that service's client requests to its server requests.
fn calls_for_work<'a>(name: &'a str, evidence: &'a str) -> Link<'a> {
    Link { service: name, is_server: false, prefix: "/price", evidence, parent: (name, true, "/work") }
}

/// The name of the service between client and price service.
fn service_name(spans: &[Received]) -> String {
    let span = spans.iter().find(|span| span.path().starts_with("/work")).expect("a span of it");
    span.service.clone()
}

#[test]
fn an_event_loop_is_linked_or_its_calls_say_why_not() {
    let prices = Program::node();
    let service = Program::asking("node", "gateway.js", &prices.url(""));
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid(), prices.pid()], &receiver);
    ask(&service.url("/work"), 1000, 20, 1);
    let spans = receiver.wait_for(|spans| spans.len() >= 60);
    let name = service_name(&spans);
    let link = calls_for_work(&name, "sole-request");
    assert_eq!(found(&spans, &link), (20, 20));
    ask(&service.url("/work"), 2000, 200, 8);
    let spans = receiver.wait_for(|spans| spans.len() >= 660);
    assert_eq!(spans.len(), 660);
    assert_no_link_is_wrong(&spans);
    // The callbacks are known after some requests.
    let its = || spans.iter().filter(|span| span.service == name && !span.is_server());
    let (calls, unlinked) = (its().count(), its().filter(|span| span.span.parent_span_id.is_empty()).count());
    let linked = calls - unlinked;
    assert!(linked >= 100, "{linked} of {calls}");
    agent.wait_for("the share of its calls that are linked", |status| {
        let services = status["services"].as_array().cloned().unwrap_or_default();
        services.iter().any(|told| {
            let links = &told["links"];
            let reasons = links["unlinked"].as_array().cloned().unwrap_or_default();
            let unlinked: u64 = reasons.iter().filter_map(|reason| reason["count"].as_u64()).sum();
            told["pid"] == service.pid()
                && links["calls"] == calls as u64
                && links["linked"] == linked as u64
                && unlinked == (calls - linked) as u64
        })
    });
    agent.stop();
}

#[test]
fn a_connection_from_before_the_agent_is_dark_for_its_first_request_only() {
    const REQUESTS: usize = 31;
    let prices = Program::node();
    let service = Program::asking("node", "gateway.js", &prices.url(""));
    let mut stream = TcpStream::connect(("127.0.0.1", service.port)).expect("it listens");
    let mut ask_kept = |n: usize| {
        let head = format!("GET /work/{n} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).expect("an answer") > 0);
    };
    ask_kept(999);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid(), prices.pid()], &receiver);
    (1000..1000 + REQUESTS).for_each(&mut ask_kept);
    // The request and its call, at three ends.
    let spans = receiver.wait_for(|spans| spans.len() >= 3 * REQUESTS);
    assert_eq!(spans.len(), 3 * REQUESTS);
    assert_no_link_is_wrong(&spans);
    let name = service_name(&spans);
    let link = calls_for_work(&name, "sole-request");
    assert_eq!(found(&spans, &link), (REQUESTS - 1, REQUESTS));
    assert_eq!(agent.count("exchanges.before_boundary"), 0);
    agent.stop();
}

/// Asks a service for `/work/N`, N from 2000 to 2059, in turn over one connection of MPTCP.
const OVER_MPTCP: &str = r"
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
client.connect(('127.0.0.1', int(sys.argv[1])))
answers = client.makefile('rb')
for number in range(2000, 2060):
    client.sendall(b'GET /work/%d HTTP/1.1\r\nHost: x\r\n\r\n' % number)
    length = 0
    while (line := answers.readline()).strip():
        if line.lower().startswith(b'content-length:'):
            length = int(line.split(b':')[1])
    answers.read(length)";

#[test]
fn calls_for_requests_over_mptcp_are_linked_to_no_other_request() {
    let receiver = Receiver::start();
    let prices = Program::node();
    let port = free_port();
    let service = Program::start("multipath", port, |_| {
        let mut command = Command::new(PYTHON);
        command
            .arg(root().join("tests/apps/threads.py"))
            .env("PORT", port.to_string())
            .env("PRICES_URL", prices.url(""))
            .env("MULTIPATH", "1");
        command
    });
    let agent = Agent::tracing(&[service.pid(), prices.pid()], &receiver);
    // A request over TCP is in flight all the time, and no other one is seen.
    let held = service.url("/hold/1");
    let held = thread::spawn(move || curl(&[&held]));
    let_pass(Duration::from_millis(300));
    run(Command::new(PYTHON).args(["-c", OVER_MPTCP, &port.to_string()]));
    curl(&[&service.url("/release/3")]);
    held.join().expect("an answer");
    // The two over TCP, and the calls at both ends.
    let spans = receiver.wait_for(|spans| spans.len() >= 2 + 60 * 2);
    assert_eq!(spans.len(), 122);
    assert_no_link_is_wrong(&spans);
    assert!(agent.count("sockets.other") > 0);
    agent.stop();
}

/// A service that sends a client request for each server request, through urllib3 with retries and redirects.
const RETRIES: &str = "
import http.server, sys, urllib3
pool = urllib3.PoolManager(retries=urllib3.Retry(5, backoff_factor=0), timeout=9)
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pool.request('GET', sys.argv[2] + self.path).data
        self.send_response(204)
        self.end_headers()
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Service).serve_forever()";

#[test]
fn attempts_of_one_call_are_counted_where_they_are_proven() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let backend = listener.local_addr().expect("an address").port();
    // The first two connections are closed without a response; /old redirects to /new.
    thread::spawn(move || {
        for (n, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            let answer = match head[..length].starts_with(b"GET /old") {
                true => "302 Found\r\nLocation: /new",
                false => "200 OK",
            };
            if n >= 2 {
                let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    let port = free_port();
    let service = Program::start("retries", port, |_| {
        let mut command = Command::new(PYTHON);
        command.args(["-c", RETRIES, &port.to_string(), &format!("http://127.0.0.1:{backend}")]);
        command
    });
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid()], &receiver);
    for path in ["/again", "/again", "/old"] {
        curl(&["--fail", &service.url(path)]);
    }
    let spans = receiver.wait_for(|spans| spans.len() >= 9);
    let mut calls: Vec<_> = spans.iter().filter(|span| !span.is_server()).collect();
    calls.sort_by_key(|call| call.span.start_time_unix_nano);
    let found: Vec<_> = calls
        .iter()
        .map(|call| {
            (call.path(), call.number("http.response.status_code"), call.number("http.request.resend_count"))
        })
        .collect();
    let expected = [
        ("/again", None, None),
        ("/again", None, Some(1)),
        ("/again", Some(200), Some(2)),
        ("/again", Some(200), None),
        ("/old", Some(302), None),
        ("/new", Some(200), Some(1)),
    ];
    assert_eq!(found, expected.map(|(path, status, resend)| (path.to_owned(), status, resend)));
    agent.stop();
}
