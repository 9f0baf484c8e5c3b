//! Exports of telemetry that pass through traced processes, where the export of a span must not make the next span, and
//! two agents on one process.

use std::{fs, time::Duration};

use tracer_tests::{
    Agent, Folder, count_for, count_of, let_pass,
    programs::{Program, curl},
    receiver::{Received, Receiver},
    wait_until,
};

/// Several times as long as spans wait for their export.
const SEVERAL_EXPORTS: Duration = Duration::from_secs(3);

/// nginx that serves `/page/`, and passes the rest to the receiver.
fn proxy_before(receiver: &Receiver) -> Program {
    let endpoint = receiver.http_endpoint();
    Program::nginx(&format!(
        "location /page/ {{ return 200 'a page'; }} location / {{ proxy_pass {endpoint}; }}"
    ))
}

fn is_export(span: &Received) -> bool {
    span.path().ends_with("/v1/traces")
}

/// Asks for pages, each when the span of the one before has come: so many exports.
fn ask(proxy: &Program, receiver: &Receiver, spans_of_each: usize) {
    for n in 0..3 {
        let path = format!("/page/{n}");
        curl(&["--fail", &proxy.url(&path)]);
        wait_until("the spans of a page", || {
            receiver.spans().iter().filter(|span| span.path() == path).count() >= spans_of_each
        });
    }
}

/// No requests come any more, and none of the spans is one of an export.
fn assert_silence(receiver: &Receiver) {
    let_pass(SEVERAL_EXPORTS);
    let before = receiver.requests();
    let_pass(SEVERAL_EXPORTS);
    assert_eq!(receiver.requests(), before, "an export makes the next one: {:#?}", receiver.spans().last());
    let exports: Vec<Received> = receiver.spans().into_iter().filter(is_export).collect();
    assert!(exports.is_empty(), "{exports:#?}");
}

#[test]
fn an_export_through_a_traced_proxy_to_a_traced_receiver_makes_no_spans() {
    let receiver = Receiver::start();
    let proxy = proxy_before(&receiver);
    // The receiver is in this process.
    let own = std::process::id();
    let pids = [proxy.pid(), own].map(|pid| pid.to_string());
    let endpoint = proxy.url("");
    let arguments = ["--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pids[0], "--pid", &pids[1]];
    let agent = Agent::start(&arguments);
    ask(&proxy, &receiver, 1);
    assert_silence(&receiver);
    let status = agent.status();
    for (pid, name) in [
        (proxy.pid(), "exchanges.export_received"),
        (proxy.pid(), "exchanges.own_export"),
        (own, "exchanges.export_received"),
    ] {
        assert!(count_for(&status, pid, name) >= 3, "{name}: {:#}", status["services"]);
    }
    agent.stop();
}

#[test]
fn exports_get_spans_if_that_is_configured() {
    let receiver = Receiver::start();
    let proxy = proxy_before(&receiver);
    let folder = Folder::new();
    let config = folder.file("tracer.yaml");
    fs::write(&config, "spans: {otlp_exports: true}\n").expect("written");
    let (endpoint, pid) = (proxy.url(""), proxy.pid().to_string());
    let config = config.display().to_string();
    let arguments = ["--config", &config, "--otlp-endpoint", &endpoint, "--output", "none", "--pid", &pid];
    let agent = Agent::start(&arguments);
    ask(&proxy, &receiver, 1);
    wait_until("spans of exports", || {
        let spans = receiver.spans();
        let exports = || spans.iter().filter(|span| is_export(span));
        exports().any(Received::is_server) && exports().any(|span| !span.is_server())
    });
    agent.stop();
}

#[test]
fn two_agents_that_trace_each_other_fall_silent() {
    let receiver = Receiver::start();
    let proxy = proxy_before(&receiver);
    let folder = Folder::new();
    let config = folder.file("tracer.yaml").display().to_string();
    // The other agent is the process whose command line names this file.
    let select = format!(
        "select: {{include: [{{command: [\"*{config}*\"]}}, {{pid: [{}, {}]}}]}}\n",
        proxy.pid(),
        std::process::id()
    );
    fs::write(&config, select).expect("written");
    let endpoint = proxy.url("");
    let arguments = ["agent", "--config", &config, "--otlp-endpoint", &endpoint, "--output", "none"];
    let agents = [(); 2].map(|()| Agent::start(&arguments));
    ask(&proxy, &receiver, 2);
    assert_silence(&receiver);
    let other = [agents[1].pid(), agents[0].pid()];
    for (agent, other) in agents.iter().zip(other) {
        let status = agent.status();
        assert!(
            count_for(&status, other, "exchanges.own_export") > 0,
            "the other is traced: {:#}",
            status["services"]
        );
    }
}

#[test]
fn an_export_by_grpc_makes_no_spans() {
    let receiver = Receiver::start();
    let page = Program::nginx("location / { return 200 'a page'; }");
    let own = std::process::id();
    let pids = [page.pid(), own].map(|pid| pid.to_string());
    let endpoint = receiver.grpc_endpoint();
    let arguments = [
        "--otlp-endpoint",
        &endpoint,
        "--otlp-protocol",
        "grpc",
        "--output",
        "none",
        "--pid",
        &pids[0],
        "--pid",
        &pids[1],
    ];
    let agent = Agent::start(&arguments);
    ask(&page, &receiver, 1);
    assert_silence(&receiver);
    let status = agent.status();
    let opaque = ["connections.http2", "connections.other"].map(|name| count_for(&status, own, name));
    assert!(opaque.iter().sum::<u64>() > 0, "{:#}", status["services"]);
    agent.stop();
}

/// Spans of the agent that exports there, of one request: nginx's server span and its call, and the server behind it.
fn chain(receiver: &Receiver, path: &str, proxy: &Program) -> [Received; 3] {
    let spans = receiver.wait_for(|spans| spans.iter().filter(|span| span.path() == path).count() >= 3);
    let spans: Vec<Received> = spans.into_iter().filter(|span| span.path() == path).collect();
    assert_eq!(spans.len(), 3, "{path}: {spans:#?}");
    let pid = proxy.pid().to_string();
    let is_of_proxy = |span: &Received| span.resource_attribute("process.pid").as_deref() == Some(&pid);
    let find = |is_server: bool, of_proxy: bool| {
        let found = spans.iter().find(|span| span.is_server() == is_server && is_of_proxy(span) == of_proxy);
        found.unwrap_or_else(|| panic!("{path}: {spans:#?}")).clone()
    };
    [find(true, true), find(false, true), find(true, false)]
}

#[test]
fn the_second_agent_on_a_process_says_so_and_has_the_ids_that_left() {
    let upstream = Program::noting();
    let keeps = "proxy_http_version 1.1; proxy_set_header Connection '';";
    let upstreams = format!("upstream behind {{ server 127.0.0.1:{}; keepalive 4; }}", upstream.port);
    // A connection for each request, and one for all.
    for server in [
        format!("location / {{ proxy_pass {}; }}", upstream.url("")),
        format!("location / {{ proxy_pass http://behind; {keeps} }}"),
    ] {
        for propagation in ["headers", "off"] {
            let proxy = Program::nginx_with(&upstreams, &server);
            let pids = [proxy.pid(), upstream.pid()];
            let receivers = [Receiver::start(), Receiver::start()];
            let first = Agent::tracing_with(&pids, &receivers[0], &["--propagation", "headers"]);
            let second = Agent::tracing_with(&pids, &receivers[1], &["--propagation", propagation]);
            for n in 0..4 {
                let path = format!("/page/{n}");
                curl(&["--fail", &proxy.url(&path)]);
                let [_, sent, _] = chain(&receivers[0], &path, &proxy);
                let [served, call, behind] = chain(&receivers[1], &path, &proxy);
                assert_eq!(call.span.span_id, sent.span.span_id, "{path}: the ids that left");
                assert_eq!(behind.span.parent_span_id, call.span.span_id, "{path}");
                assert_eq!(call.span.parent_span_id, served.span.span_id, "{path}");
                let traces = [served, call, behind].map(|span| span.span.trace_id);
                assert!(traces.iter().all(|trace| *trace == sent.span.trace_id), "{path}");
            }
            second.wait_for("its count", |status| count_of(status, "headers.other_program") == 4);
            assert_eq!(first.count("headers.other_program"), 0);
            let (_, _, log) = second.stop();
            assert_eq!(log.matches("writes trace headers into the requests").count(), 1, "{log}");
            first.stop();
        }
    }
}
