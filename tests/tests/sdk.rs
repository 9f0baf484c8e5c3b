//! Services that trace themselves, with OpenTelemetry's own SDK, which exports to where the agent does.

use std::collections::BTreeMap;

use tracer_tests::{
    Agent,
    programs::{Program, curl},
    receiver::{Received, Receiver},
    wait_until,
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
