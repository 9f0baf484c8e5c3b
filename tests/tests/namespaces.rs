//! Calls from one network namespace into another: through address translation, by IPv6, on ports that are
//! used again, on connections that are older than the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
};

use tracer_tests::{
    Agent, Folder,
    namespace::Namespace,
    programs::{Program, ask, free_port, held, is_valid},
    receiver::{Received, Receiver},
    tracer, wait_until,
};

/// A client's namespace and a server's. By IPv4 the client calls an address that is not the server's, and
/// the server sees one that is not the client's.
struct World {
    client: Namespace,
    /// In the server's.
    backend: Program,
    _server: Namespace,
}

/// What the client calls, and whom the server then sees.
const CALLED: &str = "10.77.0.50";
const SEEN: &str = "10.77.0.9";

impl World {
    fn new() -> Self {
        let (client, server) = (Namespace::new(), Namespace::new());
        client.connect(&server);
        for address in ["10.77.0.1/24", "10.77.0.9/24", "fd77::1/64 nodad"] {
            client.ip(&format!("address add {address} dev eth0"));
        }
        for address in ["10.77.0.2/24", "fd77::2/64 nodad"] {
            server.ip(&format!("address add {address} dev eth0"));
        }
        client.nft(&format!(
            "table ip nat {{ chain output {{ type nat hook output priority -100; ip daddr {CALLED} dnat to 10.77.0.2; }};\n\
             chain leave {{ type nat hook postrouting priority 100; ip daddr 10.77.0.2 snat to {SEEN}; }}; }}"
        ));
        let backend = server.enter(|| Program::backend_on("::"));
        Self { client, backend, _server: server }
    }

    /// A service of the client's namespace that calls the backend at this address.
    fn service(&self, way: &str, host: &str) -> Program {
        let backend = format!("{host}:{}", self.backend.port);
        self.client.enter(|| Program::of_way(&["/usr/bin/python3", "service.py"], way, &backend))
    }

    fn ask(&self, service: &Program, first: u32, count: u32, at_once: u32) {
        self.client.enter(|| ask(service.port, first, count, at_once));
    }
}

/// The requests that the backend got, each with the call that it hangs on, if any.
fn requests(spans: &[Received]) -> Vec<(&Received, Option<&Received>)> {
    let by_id: BTreeMap<&[u8], &Received> = spans.iter().map(|span| (&span.span.span_id[..], span)).collect();
    let of_backend = spans.iter().filter(|span| span.is_server() && span.path().starts_with("/c/"));
    of_backend.map(|span| (span, by_id.get(&span.span.parent_span_id[..]).copied())).collect()
}

/// A request hangs on the call that caused it.
fn assert_right(request: &Received, call: &Received) {
    assert_eq!((call.path(), call.is_server()), (request.path(), false));
    assert_eq!(request.attribute("tracer.link.evidence").as_deref(), Some("wire"));
    assert_eq!(request.span.trace_id, call.span.trace_id);
}

#[test]
fn calls_into_another_namespace_are_linked_whatever_happens_to_addresses_and_ports() {
    let world = World::new();
    let translated = world.service("threads", CALLED);
    let direct = world.service("threads", "[fd77::2]");
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[translated.pid(), direct.pid(), world.backend.pid()], &receiver);
    world.ask(&translated, 0, 20, 4);
    world.ask(&direct, 1000, 20, 4);
    // Each of these ports carries dozens of connections, one soon after the other.
    world.client.set("net/ipv4/ip_local_port_range", "40000 40031");
    world.client.set("net/ipv4/tcp_max_tw_buckets", "0");
    world.ask(&translated, 10_000, 1000, 8);
    let expected = (20 + 20 + 1000) * 5;
    wait_until("all spans", || receiver.count() >= expected);
    let spans = receiver.spans();
    let requests = requests(&spans);
    assert_eq!((spans.len(), requests.len()), (expected, expected / 5 * 2));
    let mut ports = BTreeSet::new();
    for (request, call) in &requests {
        ports.extend(request.number("network.peer.port").filter(|port| (40_000..=40_031).contains(port)));
        let call = call.unwrap_or_else(|| panic!("{} hangs on nothing", request.path()));
        assert_right(request, call);
        let ends = (call.attribute("server.address"), request.attribute("network.peer.address"));
        let is_direct = call.resource_attribute("process.pid") == Some(direct.pid().to_string());
        let (called, seen) = if is_direct { ("fd77::2", "fd77::1") } else { (CALLED, SEEN) };
        assert_eq!(ends, (Some(called.to_owned()), Some(seen.to_owned())));
    }
    assert!(ports.len() > 8, "{ports:?}");
    agent.stop();
}

/// nginx that writes down the `traceparent` of what comes to any address of its namespace.
fn noting_everywhere() -> Program {
    let port = free_port();
    Program::nginx(&format!("listen [::]:{port} ipv6only=off; access_log traces noting; return 200;"))
        .listening_on(port)
}

#[test]
fn headers_go_to_this_host_and_to_private_addresses_unless_others_are_allowed() {
    let (client, server) = (Namespace::new(), Namespace::new());
    client.connect(&server);
    for (namespace, host) in [(&client, 1), (&server, 2)] {
        for address in
            ["10.77.0.HOST/24", "198.51.100.HOST/24", "fd77::HOST/64 nodad", "2001:db8::HOST/64 nodad"]
        {
            let address = address.replace("HOST", &host.to_string());
            namespace.ip(&format!("address add {address} dev eth0"));
        }
    }
    let near = client.enter(noting_everywhere);
    let far = server.enter(noting_everywhere);
    // To the other host by private and by public addresses, and to its own by public ones.
    let urls = [
        (&far, "10.77.0.2"),
        (&far, "198.51.100.2"),
        (&far, "[fd77::2]"),
        (&far, "[2001:db8::2]"),
        (&near, "198.51.100.1"),
        (&near, "[2001:db8::1]"),
    ];
    let folder = Folder::new();
    for (rule, expected) in [
        ("", [true, false, true, false, true, true]),
        (", allow: [\"198.51.100.0/24\", \"2001:db8::/32\"]", [false, true, false, true, true, true]),
    ] {
        let config = folder.file("tracer.yaml");
        fs::write(&config, format!("propagation: {{mode: headers{rule}}}\n")).expect("written");
        let (begin, done) = (folder.file("begin"), folder.file("done"));
        let calls: Vec<String> =
            urls.iter().map(|(program, host)| format!("curl -gsf http://{host}:{}/", program.port)).collect();
        let calls = format!("{{ {}; }} >/dev/null; touch {}", calls.join("; "), done.display());
        let shell = client.enter(|| held(&begin, &calls));
        let before = [&near, &far].map(|program| program.read("traces").lines().count());
        let receiver = Receiver::start();
        let config = config.display().to_string();
        let pids = [shell.0.id(), near.pid(), far.pid()];
        let agent = Agent::tracing_with(&pids, &receiver, &["--config", &config]);
        fs::write(&begin, "").expect("written");
        wait_until("the calls", || done.exists());
        let after = |program: &Program, before: usize| -> Vec<bool> {
            program.read("traces").lines().skip(before).map(is_valid).collect()
        };
        wait_until("the lines", || after(&far, before[1]).len() == 4 && after(&near, before[0]).len() == 2);
        assert_eq!([after(&far, before[1]), after(&near, before[0])].concat(), expected, "{rule:?}");
        let denied = expected.iter().filter(|is_sent| !**is_sent).count() as u64;
        wait_until("the ledger", || agent.count("headers.destination") == denied);
        assert_eq!(agent.count("headers.pushed"), 6 - denied);
        // Each request hangs on its call, with a header and without one.
        let spans = receiver.wait_for(|spans| spans.len() >= 2 * urls.len());
        assert_eq!(spans.len(), 2 * urls.len());
        let mut evidence = BTreeMap::new();
        for request in spans.iter().filter(|span| span.is_server()) {
            let call = spans.iter().find(|span| span.span.span_id == request.span.parent_span_id);
            let call = call.unwrap_or_else(|| panic!("{request:?} hangs on nothing"));
            assert_eq!((call.is_server(), &call.span.trace_id), (false, &request.span.trace_id));
            *evidence.entry(request.attribute("tracer.link.evidence").unwrap_or_default()).or_insert(0) += 1;
        }
        assert_eq!(
            evidence,
            BTreeMap::from([("header".to_owned(), 6 - denied), ("wire".to_owned(), denied)])
        );
        agent.stop();
        for file in [begin, done] {
            fs::remove_file(file).expect("removed");
        }
    }
}

#[test]
fn a_connection_that_is_older_than_the_agent_gives_the_right_link_or_none() {
    let world = World::new();
    let service = world.service("pool", CALLED);
    world.ask(&service, 0, 40, 8);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[service.pid(), world.backend.pid()], &receiver);
    world.ask(&service, 1000, 100, 8);
    // Connections seen from mid-stream on give no span before a boundary is certain.
    wait_until("most spans", || receiver.count() >= 400);
    let (_, _, log) = agent.stop();
    let spans = receiver.spans();
    let requests = requests(&spans);
    let mut linked = 0;
    for (request, call) in &requests {
        if let Some(call) = call {
            assert_right(request, call);
            linked += 1;
        }
    }
    println!("{linked} of {} requests are linked\n{log}", requests.len());
    assert!(linked * 2 > requests.len(), "{linked} of {}", requests.len());
}

#[test]
fn an_agent_that_cannot_try_its_headers_says_so_and_adds_none() {
    // Its requests to itself go nowhere.
    let world = Namespace::new();
    world.ip("link set lo down");
    let traced = |more: &[&str]| {
        let mut command = Command::new(tracer());
        command.args(["run", "--output", "none"]).args(more).args(["--", "true"]);
        world.enter(|| command.output().expect("tracer runs"))
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let output = traced(&[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("requests get no trace headers"), "{}", said(&output));
    assert!(said(&output).contains("they could not be tried"), "{}", said(&output));
    // Whoever asks for them is not left without.
    let output = traced(&["--propagation", "headers"]);
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("they could not be tried"), "{}", said(&output));
}
