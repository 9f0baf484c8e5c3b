//! Links compared with the truth, which the paths tell: a server request for `/r/N` causes client requests for
//! `/c/N/…`.
//!
//! The proxies rewrite the path, so that no link can be made by comparing the paths of server and client request.

use std::collections::BTreeMap;

use tracer_tests::{
    Agent,
    namespace::in_pid_namespace,
    programs::{Program, ask, go_service},
    receiver::{Received, Receiver},
    wait_until,
};

/// A way to work for requests.
struct Pattern {
    /// As the table calls it.
    name: String,
    program: Program,
    /// Client requests for each server request.
    calls: u32,
    /// The smallest share of client requests that must be linked, with one server request at a time and with eight.
    recall: [f64; 2],
}

/// The links that were found for the client requests of a pattern.
#[derive(Default)]
struct Found {
    calls: u32,
    /// Links by evidence.
    links: BTreeMap<String, u32>,
    right: u32,
    /// The wrong links: the paths of client request and parent.
    wrong: Vec<String>,
}

impl Found {
    fn linked(&self) -> u32 {
        self.links.values().sum()
    }

    fn recall(&self) -> f64 {
        f64::from(self.right) / f64::from(self.calls)
    }

    fn precision(&self) -> Option<f64> {
        (self.linked() > 0).then(|| f64::from(self.right) / f64::from(self.linked()))
    }
}

/// How many numbers of requests belong to one pattern.
const RANGE: u32 = 10_000;
/// Requests at once, how many, the number of the first, and whether the agent still learns. From the fourth on,
/// the way that changes is another.
const PHASES: [(u32, u32, u32, bool); 5] = [
    (1, 20, 0, true),
    (1, 40, 1000, false),
    (8, 120, 2000, true),
    (8, 120, 5000, false),
    (16, 160, 6000, false),
];

/// All, or those whose names begin as the variable `TRACER_PATTERNS` says. `TRACER_NODE` is the executable of Node.
fn patterns(backend: u16) -> Vec<Pattern> {
    let address = format!("127.0.0.1:{backend}");
    let python = |way| Program::of_way(&["/usr/bin/python3", "service.py"], way, &address);
    let framework = |way| Program::of_framework(way, &address);
    let executable = std::env::var("TRACER_NODE").unwrap_or_else(|_| "node".to_owned());
    let node = |way| Program::of_way(&[&executable, "service.js"], way, &address);
    let go_program = go_service("service", &[]);
    let go = |way| Program::of_way(&[&go_program], way, &address);
    let nginx = |server| Program::nginx_rewriting(backend, server);
    let only = std::env::var("TRACER_PATTERNS").unwrap_or_default();
    let pattern = |name: &'static str, program: &dyn Fn() -> Program, calls, recall| {
        name.starts_with(&only).then(|| Pattern { name: name.to_owned(), program: program(), calls, recall })
    };
    let all = [
        pattern("thread per request", &|| python("threads"), 2, [1.0, 1.0]),
        pattern("thread per request, retries", &|| python("retries"), 3, [1.0, 1.0]),
        pattern("thread per request, 8 threads call", &|| python("fan-out"), 8, [1.0, 0.0]),
        pattern("thread per request, call after the answer", &|| python("after"), 1, [0.0, 0.0]),
        pattern("thread pool, connection pool", &|| python("pool"), 2, [1.0, 1.0]),
        pattern("prefork", &|| python("prefork"), 2, [1.0, 1.0]),
        pattern("pool that hands calls over", &|| python("hand-over"), 2, [1.0, 0.0]),
        pattern("pool that helps while it waits", &|| python("helping"), 2, [1.0, 0.0]),
        pattern("pool that begins to hand over", &|| python("changing"), 2, [1.0, 0.0]),
        pattern("one thread, requests interleaved", &|| python("interleaved"), 2, [1.0, 0.0]),
        pattern("asyncio", &|| python("event-loop"), 2, [1.0, 0.99]),
        pattern("asyncio, gather", &|| python("loop, gather"), 4, [1.0, 0.99]),
        pattern("asyncio, a task for each call", &|| python("loop, task"), 2, [1.0, 0.99]),
        pattern("asyncio, TaskGroup", &|| python("loop, group"), 3, [1.0, 0.99]),
        pattern("asyncio, wait_for", &|| python("loop, wait_for"), 2, [1.0, 0.99]),
        pattern("asyncio, wait and shield", &|| python("loop, wait"), 3, [1.0, 0.99]),
        pattern("asyncio, semaphore", &|| python("loop, semaphore"), 2, [1.0, 0.99]),
        // The worker's task is awaited by no other, and answers nothing.
        pattern("asyncio, workers", &|| python("loop, queue"), 2, [1.0, 0.0]),
        // Several tasks await the one that calls.
        pattern("asyncio, task that requests share", &|| python("loop, shared"), 1, [0.0, 0.0]),
        // The task that runs is not the one that is said to.
        pattern("asyncio, overwritten", &|| python("loop, overwritten"), 2, [0.0, 0.0]),
        // Anybody may await what a thread of such a pool does.
        pattern("asyncio, threads call", &|| python("loop, thread"), 2, [0.0, 0.0]),
        pattern("asyncio, call after the answer", &|| python("loop, after"), 1, [0.0, 0.0]),
        // Whether a task works for one request at a time cannot be seen.
        pattern("asyncio, one task for all", &|| python("loop, one task"), 2, [0.0, 0.0]),
        pattern("asyncio, batches", &|| python("loop, batches"), 2, [0.0, 0.0]),
        pattern("aiohttp", &|| framework("aiohttp sequence"), 2, [1.0, 0.99]),
        pattern("aiohttp, gather", &|| framework("aiohttp gather"), 2, [1.0, 0.99]),
        // aiohttp sends them by a task that nobody awaits yet.
        pattern("aiohttp, calls with a body", &|| framework("aiohttp post"), 2, [0.0, 0.0]),
        pattern("aiohttp, uvloop", &|| framework("aiohttp uvloop"), 2, [1.0, 0.99]),
        pattern("FastAPI, httpx", &|| framework("fastapi sequence"), 2, [1.0, 0.99]),
        pattern("FastAPI, httpx, gather", &|| framework("fastapi gather"), 2, [1.0, 0.99]),
        pattern("FastAPI, httpx, uvloop", &|| framework("fastapi uvloop"), 2, [1.0, 0.99]),
        // The endpoint's task is one of a group of anyio's.
        pattern("FastAPI, httpx, middleware", &|| framework("fastapi middleware"), 2, [1.0, 0.99]),
        pattern("FastAPI, endpoints in threads", &|| framework("fastapi threads"), 2, [1.0, 0.99]),
        pattern("Node, callbacks", &|| node("callbacks"), 2, [1.0, 0.95]),
        pattern("Node, promises", &|| node("promises"), 2, [1.0, 0.95]),
        pattern("Node, 8 calls at once", &|| node("fan-out"), 8, [1.0, 0.95]),
        pattern("Node, 4 calls at once", &|| node("four"), 4, [1.0, 0.95]),
        pattern("Node, calls in turn, with a timer, and at once", &|| node("mixed"), 4, [1.0, 0.45]),
        pattern("Node, connection pool", &|| node("pool"), 2, [1.0, 0.95]),
        pattern("Node, 3 connections", &|| node("three"), 2, [1.0, 0.95]),
        pattern("Node, retries", &|| node("retries"), 3, [1.0, 0.0]),
        pattern("Node, a connection for each call", &|| node("closing"), 2, [1.0, 0.45]),
        pattern("Node, call after the body", &|| node("body"), 1, [1.0, 0.95]),
        // A timer, a file or a name in between: what follows is known only by the answer.
        pattern("Node, timers between", &|| node("await"), 3, [1.0, 0.3]),
        pattern("Node, files and names between", &|| node("files"), 2, [1.0, 0.45]),
        pattern("Node, files and names awaited", &|| node("promised"), 2, [1.0, 0.45]),
        pattern("Node, sleeps between", &|| node("sleeps"), 2, [1.0, 0.45]),
        pattern("Node, call after the answer", &|| node("after"), 1, [0.0, 0.0]),
        pattern("Node, another call after the answer", &|| node("after-both"), 2, [0.45, 0.0]),
        // The callback that ends one request's work begins that of another: such processes are found out.
        pattern("Node, limiter", &|| node("limit"), 2, [1.0, 0.0]),
        pattern("Node, limiter for some", &|| node("limit-some"), 2, [1.0, 0.0]),
        pattern("Node, queue of fetch", &|| node("queued"), 2, [1.0, 0.0]),
        pattern("Node, shared call", &|| node("shared"), 1, [1.0, 0.0]),
        pattern("Node, batch of a timer", &|| node("load-timer"), 1, [1.0, 0.0]),
        pattern("Node, batch of a tick", &|| node("load-tick"), 1, [1.0, 0.0]),
        // Only the main thread is read.
        pattern("Node, another thread calls", &|| node("threads"), 1, [1.0, 0.0]),
        pattern("Node, cluster", &|| node("cluster"), 2, [1.0, 0.8]),
        // A few of a thousand callers do not wait yet when their request is sent: they are not known.
        pattern("Go", &|| go("goroutines"), 2, [1.0, 0.97]),
        pattern("Go, 8 calls at once", &|| go("fan-out"), 8, [1.0, 0.97]),
        pattern("Go, 3 connections", &|| go("limits"), 2, [1.0, 0.97]),
        pattern("Go, semaphore", &|| go("semaphore"), 2, [1.0, 0.97]),
        // The goroutines in between make no call: they are not seen.
        pattern("Go, goroutines in goroutines", &|| go("nested"), 4, [1.0, 0.0]),
        pattern("Go, workers", &|| go("workers"), 2, [1.0, 0.0]),
        pattern("Go, workers that a request starts", &|| go("lazy"), 2, [0.0, 0.0]),
        pattern("Go, call after the answer", &|| go("after"), 1, [0.0, 0.0]),
        pattern("Go, goroutines in goroutines, contexts", &|| go("nested-in"), 4, [1.0, 0.97]),
        pattern("Go, workers, contexts", &|| go("workers-in"), 2, [1.0, 0.97]),
        pattern("Go, call after the answer, contexts", &|| go("after-in"), 1, [0.0, 0.0]),
        pattern("Go, timer", &|| go("timer"), 2, [1.0, 0.48]),
        pattern("nginx, connections kept", &|| Program::nginx_before(backend), 1, [1.0, 1.0]),
        pattern(
            "nginx, prefix replaced",
            &|| nginx("location /r/ { proxy_pass http://backend/c/; KEPT }"),
            1,
            [1.0, 1.0],
        ),
        pattern(
            "nginx, a connection for each call",
            &|| nginx("location ~ ^/r/(\\d+)$ { proxy_pass http://backend/c/$1/0; }"),
            1,
            [1.0, 1.0],
        ),
        pattern(
            "nginx, auth_request",
            &|| {
                nginx(
                    "location ~ ^/r/(\\d+)$ { set $n $1; auth_request /auth; proxy_pass http://backend/c/$1/0; KEPT } \
             location = /auth { internal; proxy_pass http://backend/c/$n/1; KEPT }",
                )
            },
            2,
            [1.0, 1.0],
        ),
        pattern(
            "nginx, mirror",
            &|| {
                nginx(
                    "location ~ ^/r/(\\d+)$ { set $n $1; mirror /mirror; proxy_pass http://backend/c/$1/0; KEPT } \
             location = /mirror { internal; proxy_pass http://backend/c/$n/1; }",
                )
            },
            2,
            [1.0, 1.0],
        ),
        // What HAProxy takes more than milliseconds to pass on stays unclear: on a busy machine that happens.
        pattern(
            "nginx, subrequests of a page",
            &|| {
                nginx(
                    "location ~ ^/r/(\\d+)$ { ssi on; default_type text/html; return 200 \
                     '<!--#include virtual=\"/part/$1/0\" --><!--#include virtual=\"/part/$1/1\" -->'; } \
                     location ~ ^/part/(.*)$ { proxy_pass http://backend/c/$1; KEPT }",
                )
            },
            2,
            [1.0, 1.0],
        ),
        pattern("HAProxy, connections kept", &|| Program::haproxy_before(backend), 1, [1.0, 0.95]),
    ];
    all.into_iter().flatten().collect()
}

/// The number of the request that a path belongs to.
fn number(path: &str) -> Option<u32> {
    path.split('/').nth(2)?.parse().ok()
}

/// Compares the links of the client requests whose numbers are in a range with the truth.
fn compare(spans: &[Received], by_id: &BTreeMap<&[u8], usize>, numbers: std::ops::Range<u32>) -> Found {
    let mut found = Found::default();
    for span in spans.iter().filter(|span| !span.is_server()) {
        let path = span.path();
        if !number(&path).is_some_and(|number| numbers.contains(&number)) {
            continue;
        }
        found.calls += 1;
        if span.span.parent_span_id.is_empty() {
            continue;
        }
        let parent = &spans[by_id[&span.span.parent_span_id[..]]];
        let evidence = span.attribute("tracer.link.evidence").expect("each link has its evidence");
        *found.links.entry(evidence.clone()).or_default() += 1;
        if parent.is_server()
            && parent.path().starts_with("/r/")
            && number(&parent.path()) == number(&path)
            && parent.span.trace_id == span.span.trace_id
        {
            found.right += 1;
        } else {
            found.wrong.push(format!("{path} hangs on {} by {evidence}", parent.path()));
        }
    }
    found
}

/// Whether client requests get trace headers: the test runs either way.
fn propagates() -> bool {
    std::env::var("TRACER_PROPAGATION").is_ok_and(|mode| mode == "headers")
}

/// The parent of each server request of the backend is the client request at the other end of its connection.
fn assert_wire(spans: &[Received], by_id: &BTreeMap<&[u8], usize>) {
    for span in spans.iter().filter(|span| span.is_server() && span.path().starts_with("/c/")) {
        let parent = by_id.get(&span.span.parent_span_id[..]).map(|at| &spans[*at]);
        let parent = parent.unwrap_or_else(|| panic!("{} hangs on nothing", span.path()));
        assert_eq!((parent.path(), parent.is_server()), (span.path(), false));
        assert_eq!(parent.span.trace_id, span.span.trace_id, "{}", span.path());
        let evidence = span.attribute("tracer.link.evidence").unwrap_or_default();
        assert!(evidence == "wire" || evidence == "header" && propagates(), "{evidence}");
    }
}

/// Each request has one span, and each call one of either side: a sum of spans does not tell that one is doubled and
/// another one missing.
fn assert_each_is_there_once(spans: &[Received]) {
    // By path: those of clients, and those of servers.
    let mut counts = BTreeMap::<String, [u32; 2]>::new();
    for span in spans {
        counts.entry(span.path()).or_default()[usize::from(span.is_server())] += 1;
    }
    for (path, counts) in counts {
        match path.starts_with("/r/") {
            true => assert_eq!(counts, [0, 1], "{path}"),
            // A call that is tried again has its path more than once.
            false => assert_eq!(counts[0], counts[1], "{path}"),
        }
    }
}

/// asyncio's ways of work in each of the interpreters that the variable `TRACER_PYTHONS` lists, separated by colons.
fn asyncio_patterns(backend: u16) -> Vec<Pattern> {
    /// No version.
    const NEVER: u32 = u32::MAX;
    /// The way, its calls, and the first minor version of Python 3 in which all of them are linked, and that has it.
    const WAYS: [(&str, u32, u32, u32); 11] = [
        ("event-loop", 2, 0, 8),
        ("loop, gather", 4, 0, 8),
        ("loop, task", 2, 0, 8),
        ("loop, group", 3, 0, 11),
        ("loop, wait_for", 2, 0, 8),
        ("loop, wait", 3, 0, 8),
        ("loop, semaphore", 2, 0, 10),
        ("loop, queue", 2, NEVER, 10),
        ("loop, shared", 1, NEVER, 8),
        ("loop, thread", 2, NEVER, 8),
        ("loop, after", 1, NEVER, 8),
    ];
    let address = format!("127.0.0.1:{backend}");
    let interpreters = std::env::var("TRACER_PYTHONS").unwrap_or_default();
    let mut patterns = Vec::new();
    for interpreter in interpreters.split(':').filter(|path| !path.is_empty()) {
        let told = std::process::Command::new(interpreter).arg("--version").output().expect("an interpreter");
        let told = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        let minor = told.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
        for (way, calls, linked, _) in WAYS.into_iter().filter(|(.., since)| *since <= minor) {
            let program = Program::of_way(&[interpreter, "service.py"], way, &address);
            let recall = if linked <= minor { [1.0, 0.99] } else { [0.0, 0.0] };
            patterns.push(Pattern { name: format!("{told}, {way}"), program, calls, recall });
        }
    }
    patterns
}

#[test]
fn asyncio_tasks_of_each_interpreter_that_is_named_are_read() {
    let backend = Program::backend_on("127.0.0.1");
    let patterns = asyncio_patterns(backend.port);
    if !patterns.is_empty() {
        compare_all(&backend, &patterns);
    }
}

#[test]
fn no_link_is_wrong_and_all_that_can_be_known_are_made() {
    let backend = Program::backend_on("127.0.0.1");
    let patterns = patterns(backend.port);
    compare_all(&backend, &patterns);
}

/// A container's processes have other numbers inside than outside.
#[test]
fn services_in_pid_namespaces_are_linked_like_others() {
    let backend = Program::backend_on("127.0.0.1");
    let address = format!("127.0.0.1:{}", backend.port);
    let go_program = go_service("service", &[]);
    let ways: [(&str, &[&str], &str, u32, f64); 6] = [
        ("thread per request", &["/usr/bin/python3", "service.py"], "threads", 2, 1.0),
        ("asyncio, gather", &["/usr/bin/python3", "service.py"], "loop, gather", 4, 0.99),
        ("Node, callbacks", &["node", "service.js"], "callbacks", 2, 0.95),
        ("Go", &[&go_program], "goroutines", 2, 0.97),
        ("Go, 8 goroutines call", &[&go_program], "fan-out", 8, 0.97),
        ("Go, workers, contexts", &[&go_program], "workers-in", 2, 0.97),
    ];
    let mut patterns: Vec<Pattern> = ways
        .into_iter()
        .map(|(name, program, way, calls, recall)| Pattern {
            name: format!("{name}, in a PID namespace"),
            program: in_pid_namespace(|| Program::of_way(program, way, &address)),
            calls,
            recall: [1.0, recall],
        })
        .collect();
    patterns.push(Pattern {
        name: "nginx, in a PID namespace".to_owned(),
        program: in_pid_namespace(|| Program::nginx_before(backend.port)),
        calls: 1,
        recall: [1.0, 1.0],
    });
    compare_all(&backend, &patterns);
}

/// Runs all patterns, and compares their links with the truth.
fn compare_all(backend: &Program, patterns: &[Pattern]) {
    let receiver = Receiver::start();
    let pids: Vec<u32> =
        patterns.iter().map(|pattern| pattern.program.pid()).chain([backend.pid()]).collect();
    let agent = Agent::tracing(&pids, &receiver);
    let mut expected = 0;
    for (index, pattern) in (1..).zip(patterns) {
        for (at_once, count, first, _) in PHASES {
            ask(pattern.program.port, index * RANGE + first, count, at_once);
            // Each request is a span, each call two.
            expected += (count * (1 + 2 * pattern.calls)) as usize;
        }
    }
    wait_until("all spans", || receiver.count() >= expected);
    let spans = receiver.spans();
    assert_eq!(spans.len(), expected);
    assert_each_is_there_once(&spans);
    let by_id = (0..).zip(&spans).map(|(at, span)| (&span.span.span_id[..], at)).collect();
    assert_wire(&spans, &by_id);

    println!("| pattern | at once | calls | links | precision | recall |\n|---|---|---|---|---|---|");
    // What other versions of Node let be known is told in the documentation.
    let is_other_node = std::env::var_os("TRACER_NODE").is_some();
    let mut faults = Vec::new();
    for (index, pattern) in (1..).zip(patterns) {
        for (at_once, count, first, learns) in PHASES {
            let first = index * RANGE + first;
            let found = compare(&spans, &by_id, first..first + count);
            let links: Vec<String> =
                found.links.iter().map(|(evidence, count)| format!("{count} {evidence}")).collect();
            println!(
                "| {} | {at_once}{} | {} | {} | {} | {:.2} |",
                pattern.name,
                if learns { ", learning" } else { "" },
                found.calls,
                links.join(", "),
                found.precision().map_or("—".to_owned(), |precision| format!("{precision:.3}")),
                found.recall(),
            );
            assert_eq!(found.calls, count * pattern.calls, "{}", pattern.name);
            faults.extend(found.wrong.iter().map(|wrong| format!("{}: {wrong}", pattern.name)));
            let is_judged = !learns && at_once <= 8 && !is_other_node;
            if is_judged && found.recall() < pattern.recall[usize::from(at_once > 1)] {
                faults.push(format!("{}: {at_once} at once: recall {:.3}", pattern.name, found.recall()));
            }
        }
    }
    let status = agent.status();
    let services = status["services"].as_array().expect("services");
    for (pattern, profile, why) in [
        ("thread per request", "threads", "overlapping exchanges"),
        ("thread pool, connection pool", "threads", "overlapping exchanges"),
        (
            "pool that hands calls over",
            "unknown",
            "a thread without a request made calls while others were open",
        ),
        (
            "pool that begins to hand over",
            "unknown",
            "a thread without a request made calls while others were open",
        ),
        (
            "one thread, requests interleaved",
            "unknown",
            "a thread read a request while it worked for another",
        ),
        ("asyncio", "tasks", "requests that an asyncio task answered"),
        ("asyncio, batches", "unknown", "an asyncio task worked for requests of several connections at once"),
        ("Go", "goroutines", "requests with their goroutine"),
        ("Node, callbacks", "event-loop", "overlapping responses"),
        ("Node, limiter", "unknown", "a callback that worked for one request answered another"),
        ("HAProxy, connections kept", "proxy", "haproxy"),
    ] {
        let Some(pattern) = patterns.iter().find(|other| other.name == pattern) else { continue };
        if is_other_node && pattern.name.starts_with("Node") {
            continue;
        }
        let service = services.iter().find(|service| service["pid"] == pattern.program.pid());
        let found = &service.expect("its service")["profiles"][0];
        assert_eq!(found["profile"], profile, "{}", pattern.name);
        assert!(found["why"].as_str().is_some_and(|text| text.contains(why)), "{}: {found}", pattern.name);
    }
    assert_eq!(agent.count("links.other_trace"), 0);
    if patterns.iter().any(|pattern| pattern.name == "asyncio, overwritten") {
        assert!(agent.count("tasks.unread") > 0);
    }
    agent.stop();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
