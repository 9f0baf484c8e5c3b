//! nginx keeps each upstream request with the connection of its client: it is read where nginx writes.

use std::{collections::BTreeMap, thread};

use tracer_tests::{
    Agent, Folder,
    programs::{Program, ask, certificate, curl, free_port},
    receiver::{Received, Receiver},
};

/// The number of a request, and of the call that it causes: `/r/N`, `/c/N/0`.
fn number(span: &Received) -> u32 {
    span.path().split('/').nth(2).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn requests_that_cannot_be_read_take_no_link_from_others_and_get_none() {
    const PLAIN: u32 = 80;
    const SECRET: u32 = 40;
    for headers in [false, true] {
        let folder = Folder::new();
        let [certificate, key] = certificate(folder.path());
        let secret = free_port();
        let backend = Program::backend_on("127.0.0.1");
        let nginx = Program::nginx_rewriting(
            backend.port,
            &format!(
                "listen 127.0.0.1:{secret} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};\
                 location ~ ^/[rs]/(\\d+)$ {{ proxy_pass http://backend/c/$1/0; KEPT }}"
            ),
        );
        let receiver = Receiver::start();
        let mode = if headers { "headers" } else { "off" };
        let agent = Agent::tracing_with(&[nginx.pid(), backend.pid()], &receiver, &["--propagation", mode]);
        // From now on nginx is known to serve what is not read.
        curl(&["--fail", "--insecure", &format!("https://127.0.0.1:{secret}/s/{}", PLAIN + SECRET)]);
        thread::scope(|scope| {
            scope.spawn(|| ask(nginx.port, 0, PLAIN, 8));
            for version in ["--http1.1", "--http2"] {
                scope.spawn(move || {
                    let first = if version == "--http2" { PLAIN } else { PLAIN + SECRET / 2 };
                    // Several at once on one connection.
                    let mut arguments = vec!["--fail", "--insecure", "--parallel", version];
                    let urls: Vec<String> = (first..first + SECRET / 2)
                        .map(|n| format!("https://127.0.0.1:{secret}/s/{n}"))
                        .collect();
                    arguments.extend(urls.iter().map(String::as_str));
                    curl(&arguments);
                });
            }
        });
        // Two ends of each call, and what plain clients asked.
        let expected = (PLAIN * 3 + (SECRET + 1) * 2) as usize;
        let spans = receiver.wait_for(|spans| spans.len() >= expected);
        assert_eq!(spans.len(), expected);
        let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span.span_id[..], span)).collect();
        let calls = spans.iter().filter(|span| span.path().starts_with("/c/") && !span.is_server());
        for call in calls {
            let parent = by_id.get(&call.span.parent_span_id[..]).copied();
            if number(call) >= PLAIN {
                assert!(parent.is_none() && call.span.parent_span_id.is_empty(), "{call:#?}");
                continue;
            }
            let parent = parent.unwrap_or_else(|| panic!("{} hangs on nothing", call.path()));
            assert_eq!((number(parent), parent.is_server()), (number(call), true));
            assert_eq!(call.attribute("tracer.link.evidence").as_deref(), Some("request-structure"));
            assert_eq!(call.span.trace_id, parent.span.trace_id);
        }
        assert_eq!(agent.count("links.other_trace"), 0);
        agent.stop();
    }
}

/// nginx keeps connections to its upstreams that are older than the agent.
#[test]
fn upstream_requests_on_connections_that_are_older_than_the_agent_are_linked() {
    const REQUESTS: u32 = 40;
    let backend = Program::backend_on("127.0.0.1");
    let nginx = Program::nginx_rewriting(
        backend.port,
        "location ~ ^/r/(\\d+)$ { proxy_pass http://backend/c/$1/0; KEPT }",
    );
    ask(nginx.port, 9000, 16, 8);
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[nginx.pid()], &receiver);
    // The first response on each of them tells who is the client.
    ask(nginx.port, 8000, 16, 8);
    ask(nginx.port, 0, REQUESTS, 8);
    let is_counted = |span: &&Received| number(span) < REQUESTS;
    let spans = receiver.wait_for(|spans| spans.iter().filter(is_counted).count() >= 2 * REQUESTS as usize);
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span.span_id[..], span)).collect();
    for call in spans.iter().filter(is_counted).filter(|span| !span.is_server()) {
        let parent = by_id.get(&call.span.parent_span_id[..]).copied();
        let parent = parent.unwrap_or_else(|| panic!("{} hangs on nothing", call.path()));
        assert_eq!((number(parent), parent.is_server()), (number(call), true));
        assert_eq!(call.attribute("tracer.link.evidence").as_deref(), Some("request-structure"));
    }
    assert!(agent.count("connections.joined") > 0, "no connection was older than the agent");
    agent.stop();
}
