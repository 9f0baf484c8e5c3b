//! HotROD, the demonstration of Jaeger: four services with OpenTelemetry's SDK in them, whose own spans are the truth.
//! It is not built here. To measure:
//!
//! ```text
//! go mod init hotrod && go get -tool github.com/jaegertracing/jaeger/examples/hotrod@v1.76.0
//! go build -o hotrod github.com/jaegertracing/jaeger/examples/hotrod
//! HOTROD=$PWD/hotrod cargo test -p tracer-tests --test hotrod -- --ignored --nocapture --test-threads=1
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use tracer_tests::{
    Agent, let_pass,
    programs::{Program, free_port},
    receiver::{Received, Receiver},
    wait_until,
};

/// Requests to the front end, each of which makes 11 calls by HTTP and one by gRPC.
const REQUESTS: usize = 48;
/// Requests at the same time.
const AT_ONCE: usize = 4;
/// Until the batches of all its exporters are there, each of which holds one second.
const AFTER: Duration = Duration::from_secs(3);
const SERVICES: [&str; 4] = ["frontend", "customer", "driver", "route"];

/// HotROD, in one process or in four.
struct HotRod {
    programs: Vec<Program>,
    frontend: u16,
}

impl HotRod {
    fn start(commands: &[&str], receiver: &Receiver) -> Self {
        let ports = SERVICES.map(|_| free_port());
        let executable = PathBuf::from(std::env::var_os("HOTROD").expect("HOTROD names the executable"));
        let start = |command: &&str| {
            let port =
                SERVICES.iter().position(|service| service == command).map_or(ports[0], |at| ports[at]);
            Program::start(command, port, |_| {
                let mut program = Command::new(&executable);
                program.arg(command).env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint());
                for (service, port) in SERVICES.iter().zip(ports) {
                    program.arg(format!("--{service}-service-hostname=127.0.0.1"));
                    program.arg(format!("--{service}-service-port={port}"));
                }
                program.arg("--fix-db-query-delay=20ms").arg("--fix-disable-db-conn-mutex");
                program
            })
        };
        let programs = commands.iter().rev().map(start).collect();
        let listens = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        wait_until("all services to listen", || ports.iter().all(listens));
        Self { programs, frontend: ports[0] }
    }

    fn pids(&self) -> Vec<u32> {
        self.programs.iter().map(Program::pid).collect()
    }

    /// Sends requests. Returns their trace ids, as the answers tell them.
    fn ask(&self, count: usize) -> BTreeSet<String> {
        let url = format!("http://127.0.0.1:{}/dispatch?customer=123", self.frontend);
        let ask = || {
            let output = Command::new("curl").args(["-s", "-D", "-", &url]).output().expect("curl runs");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let field = text.lines().find_map(|line| line.strip_prefix("Traceresponse: ")).expect("traced");
            field.split('-').nth(1).expect("a trace id").to_owned()
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..AT_ONCE)
                .map(|_| scope.spawn(|| (0..count / AT_ONCE).map(|_| ask()).collect::<Vec<_>>()))
                .collect();
            clients.into_iter().flat_map(|client| client.join().expect("answered")).collect()
        })
    }
}

fn is_agents(span: &Received) -> bool {
    span.resource_attribute("telemetry.sdk.name").as_deref() == Some("tracer")
}

fn trace_of(span: &Received) -> String {
    span.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_http(span: &Received) -> bool {
    span.attribute("http.request.method").is_some()
}

/// The spans of some requests.
#[derive(Debug, Default)]
struct Account {
    /// Of HTTP requests and calls, by HotROD itself.
    own: usize,
    /// By the agent, in the traces of these requests: what it names is there twice.
    twice: BTreeMap<String, usize>,
    /// By the agent, in traces that HotROD does not know.
    foreign: BTreeMap<String, usize>,
}

fn measure(name: &str, commands: &[&str], headers: bool) {
    let receiver = Receiver::start();
    let hotrod = HotRod::start(commands, &receiver);
    let mode = if headers { "headers" } else { "off" };
    let agent = Agent::tracing_with(&hotrod.pids(), &receiver, &["--propagation", mode]);
    // Some of its answers are errors, after fewer calls: it plays that its store is slow.
    let has_answered = |spans: &[Received], traces: &BTreeSet<String>| {
        let roots = spans.iter().filter(|span| !is_agents(span) && span.span.parent_span_id.is_empty());
        roots.filter(|span| traces.contains(&trace_of(span))).count() >= traces.len()
    };
    // The first requests end before the agent has seen that their process exports spans of them.
    let first = hotrod.ask(AT_ONCE);
    receiver.wait_for(|spans| has_answered(spans, &first));
    let_pass(AFTER);
    let begin = receiver.count();
    let later = hotrod.ask(REQUESTS);
    receiver.wait_for(|spans| has_answered(spans, &later));
    let_pass(AFTER);
    let status = agent.status();
    let spans = receiver.spans();
    let own: BTreeSet<String> = spans.iter().filter(|span| !is_agents(span)).map(trace_of).collect();
    let mut accounts = [Account::default(), Account::default()];
    for (at, span) in spans.iter().enumerate() {
        let trace = trace_of(span);
        let account = &mut accounts
            [usize::from(if own.contains(&trace) { later.contains(&trace) } else { at >= begin })];
        let kind = if span.is_server() { "server" } else { "client" };
        let what = format!("{} {kind} {} in {}", span.span.name, span.path(), span.service);
        match (is_agents(span), own.contains(&trace)) {
            (false, _) => account.own += usize::from(is_http(span)),
            (true, true) => *account.twice.entry(what).or_default() += 1,
            (true, false) => *account.foreign.entry(what).or_default() += 1,
        }
    }
    println!("{name}, headers {mode}: first {} requests, then {}: {accounts:#?}", first.len(), later.len());
    println!("{:#}", status["totals"]);
    let names: BTreeSet<&str> =
        spans.iter().filter(|span| is_agents(span)).map(|span| &*span.service).collect();
    println!("services of the agent: {names:?}");
    agent.stop();
    let [first, account] = accounts;
    assert!(first.twice.is_empty() && first.foreign.is_empty(), "{first:#?}");
    // The front end's own, and the call of the customer service at both ends, at least.
    assert!(account.own >= REQUESTS * 3, "{account:#?}");
    assert!(account.twice.is_empty() && account.foreign.is_empty(), "{account:#?}");
}

#[test]
#[ignore = "needs HotROD, which nothing here builds"]
fn hotrod_in_one_process_has_no_request_twice_and_no_foreign_trace() {
    for headers in [false, true] {
        measure("one process", &["all"], headers);
    }
}

#[test]
#[ignore = "needs HotROD, which nothing here builds"]
fn hotrod_in_four_processes_has_no_request_twice_and_no_foreign_trace() {
    for headers in [false, true] {
        measure("four processes", &SERVICES, headers);
    }
}
