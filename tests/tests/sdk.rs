//! Services that trace themselves, with OpenTelemetry's own SDK, which exports to where the agent does.

use std::{collections::BTreeMap, process::Command};

use tracer_tests::{
    Agent, Folder,
    programs::{PYTHON, Program, certificate, curl, free_port},
    receiver::{Received, Receiver},
    root, wait_until,
};

/// Requests of each way.
const REQUESTS: usize = 8;

fn is_agents(span: &Received) -> bool {
    span.resource_attribute("telemetry.sdk.name").as_deref() == Some("tracer")
}

/// nginx, the shop with its SDK, and prices behind it.
struct Chain {
    proxy: Program,
    shop: Program,
    prices: Program,
    receiver: Receiver,
    agent: Agent,
}

impl Chain {
    /// The shop exports if it `exports`.
    fn start(exports: bool, sdk: &str) -> Self {
        let receiver = Receiver::start();
        let endpoint = receiver.http_endpoint();
        let prices = Program::nginx("location / { return 200 '{\"price\": 1}'; }");
        let shop = Program::flask_with_sdk(&prices.url(""), exports.then_some(&endpoint));
        let proxy = Program::nginx(&format!("location / {{ proxy_pass {}; }}", shop.url("")));
        let pids = [proxy.pid(), shop.pid(), prices.pid()].map(|pid| pid.to_string());
        let mut arguments =
            vec!["--otlp-endpoint", &endpoint, "--output", "none", "--propagation", "headers"];
        arguments.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
        let agent = Agent::start_in(&[("TRACER_SDK", sdk)], &arguments);
        Self { proxy, shop, prices, receiver, agent }
    }

    /// Asks through the proxy and directly, with numbers from here on. Returns the spans of these requests, by the
    /// number.
    fn ask(&self, first: usize, expected: usize) -> BTreeMap<usize, Vec<Received>> {
        for n in (first..first + 2 * REQUESTS).step_by(2) {
            curl(&["--fail", &self.proxy.url(&format!("/item/{n}"))]);
            curl(&["--fail", &self.shop.url(&format!("/item/{}", n + 1))]);
        }
        let numbers = first..first + 2 * REQUESTS;
        let number = |span: &Received| {
            let path = ["http.target", "http.url"].into_iter().find_map(|name| span.attribute(name));
            path.unwrap_or_else(|| span.path()).rsplit('/').next().and_then(|n| n.parse::<usize>().ok())
        };
        let of_these = |span: &Received| number(span).filter(|n| numbers.contains(n));
        let spans = self
            .receiver
            .wait_for(|spans| spans.iter().filter(|span| of_these(span).is_some()).count() >= expected);
        let mut requests = BTreeMap::<usize, Vec<Received>>::new();
        for span in spans {
            if let Some(n) = of_these(&span) {
                requests.entry(n).or_default().push(span);
            }
        }
        requests
    }
}

/// Every span of one request is there once, in one trace, below one root.
fn assert_one_tree(spans: &[Received], expected: &[(&str, bool, bool)]) {
    let mut found: Vec<_> =
        spans.iter().map(|span| (span.service.as_str(), span.is_server(), is_agents(span))).collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{spans:#?}");
    let mut ids: Vec<&[u8]> = spans.iter().map(|span| &span.span.span_id[..]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), spans.len());
    assert!(spans.iter().all(|span| span.span.trace_id == spans[0].span.trace_id), "{spans:#?}");
    let above = |span: &Received| ids.contains(&&span.span.parent_span_id[..]);
    assert_eq!(spans.iter().filter(|span| !above(span)).count(), 1, "{spans:#?}");
}

#[test]
fn a_service_that_exports_its_own_spans_has_none_of_them_twice() {
    // What is seen, and made by the agent: the shop tells of itself, nginx cannot.
    let direct = [("nginx", true, true), ("shop", false, false), ("shop", true, false)];
    let proxied = [&[("nginx", false, true), ("nginx", true, true)], &direct[..]].concat();
    for sdk in ["adopt", "suppress"] {
        let chain = Chain::start(true, sdk);
        // It has exported, and the agent has seen it, when nothing of the shop is the agent's any more.
        let mut first = 0;
        wait_until("the agent to know", || {
            first += 1000;
            let requests = chain.ask(first, REQUESTS * 8);
            !requests.values().flatten().any(|span| span.service == "shop" && is_agents(span))
        });
        let requests = chain.ask(100_000, REQUESTS * 8);
        assert_eq!(requests.len(), 2 * REQUESTS);
        for (n, spans) in &requests {
            assert_one_tree(spans, if n % 2 == 0 { &proxied } else { &direct });
        }
        assert!(chain.agent.count("spans.sdk") > 0);
        chain.agent.stop();
    }
}

#[test]
fn the_ids_of_a_service_that_exports_nothing_are_those_of_its_calls() {
    let chain = Chain::start(false, "adopt");
    let requests = chain.ask(0, REQUESTS * 8);
    assert_eq!(requests.len(), 2 * REQUESTS);
    let (call, request) = (("shop", false, true), ("shop", true, true));
    let nginx = [("nginx", false, true), ("nginx", true, true)];
    for (n, spans) in &requests {
        let prices = spans.iter().find(|span| {
            span.attribute("server.port").as_deref() == Some(&chain.prices.port.to_string())
                && span.is_server()
        });
        let parent = &prices.expect("the price service").span.parent_span_id;
        assert!(spans.iter().any(|span| span.service == "shop" && span.span.span_id == *parent));
        if n % 2 == 0 {
            assert_one_tree(spans, &[nginx[0], nginx[1], nginx[1], call, request]);
        }
    }
    chain.agent.stop();
}

/// Asks a shop for pages for which it makes no calls. Returns the spans of each.
fn echoes(shop: &Program, receiver: &Receiver, first: usize) -> Vec<Vec<Received>> {
    let paths: Vec<String> = (first..first + REQUESTS).map(|n| format!("/echo/{n}")).collect();
    for path in &paths {
        curl(&["--fail", &shop.url(path)]);
    }
    let path_of = |span: &Received| span.attribute("http.target").unwrap_or_else(|| span.path());
    let of = |spans: &[Received], path: &String| -> Vec<Received> {
        spans.iter().filter(|span| path_of(span) == *path).cloned().collect()
    };
    // The SDK's come with its next export, and the agent's, if there are some, before or with them.
    let is_whole =
        |spans: &[Received]| paths.iter().all(|path| of(spans, path).iter().any(|span| !is_agents(span)));
    receiver.wait_for(is_whole);
    tracer_tests::let_pass(std::time::Duration::from_millis(700));
    let spans = receiver.spans();
    paths.iter().map(|path| of(&spans, path)).collect()
}

#[test]
fn a_service_that_exports_and_makes_no_calls_is_told_once_and_by_its_own_name() {
    for compression in ["none", "gzip"] {
        let receiver = Receiver::start();
        let endpoint = receiver.http_endpoint();
        let shop = Program::flask_with_sdk_in(
            "http://127.0.0.1:9",
            &[
                ("SHOP_NAME", "corner shop"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ],
        );
        let agent = Agent::tracing(&[shop.pid()], &receiver);
        let mut first = 0;
        wait_until("the agent to know", || {
            first += 1000;
            !echoes(&shop, &receiver, first).iter().flatten().any(is_agents)
        });
        for spans in echoes(&shop, &receiver, 100_000) {
            let found: Vec<_> = spans.iter().map(|span| (span.service.as_str(), is_agents(span))).collect();
            assert_eq!(found, [("corner shop", false)], "{spans:#?}");
        }
        // Whatever it makes of it from now on has the same name.
        let names = |agent: &Agent| agent.status()["services"][0]["name"].as_str().map(str::to_owned);
        assert_eq!(names(&agent).as_deref(), Some("corner shop"));
        agent.stop();
    }
}

#[test]
fn a_call_with_a_header_is_in_its_trace_also_beside_tls() {
    let folder = Folder::new();
    let [certificate, key] = certificate(folder.path());
    let prices = Program::noting();
    let (port, secret) = (free_port(), free_port());
    let app = Program::start("beside_tls", port, |_| {
        let mut command = Command::new(PYTHON);
        command
            .arg(root().join("tests/apps/sdk/beside_tls.py"))
            .args([&port.to_string(), &secret.to_string(), &certificate, &key])
            .env("PRICES_URL", prices.url(""));
        command
    });
    let receiver = Receiver::start();
    let agent = Agent::tracing(&[app.pid(), prices.pid()], &receiver);
    curl(&["--fail", "--insecure", &format!("https://127.0.0.1:{secret}/secret")]);
    for n in 0..REQUESTS {
        let path = format!("/page/{n}");
        let header = curl(&["--fail", &app.url(&path)]);
        let [_, trace, parent, _] = header.split('-').collect::<Vec<_>>()[..] else { panic!("{header}") };
        let spans = receiver.wait_for(|spans| spans.iter().filter(|span| span.path() == path).count() >= 3);
        let spans: Vec<Received> = spans.into_iter().filter(|span| span.path() == path).collect();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let of_trace = || spans.iter().filter(|span| hex(&span.span.trace_id) == trace);
        assert_eq!(of_trace().count(), 2, "the call and the request behind it: {spans:#?}");
        for span in of_trace() {
            assert_eq!(hex(&span.span.parent_span_id), parent, "{span:#?}");
        }
    }
    agent.stop();
}
