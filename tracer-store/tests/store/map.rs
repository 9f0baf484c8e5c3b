//! The map of services, told from spans of each kind of call.

use tracer_model::{
    answer::{Change, MapAnswer, Window},
    span::{Kind, Span, StatusCode, Value},
};
use tracer_store::{Limits, Store};

use crate::spans::{MS, START_UNIX_NS, span, text};

fn with(mut span: Span, kind: Kind, attributes: &[(&str, Value)]) -> Span {
    span.kind = kind;
    span.attributes = attributes.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
    span
}

/// A request from outside: shop calls carts over HTTP, carts a database, shop an unknown host and a queue that mail
/// reads.
fn request(trace: u128, at_ms: u64) -> Vec<Span> {
    let database = [
        ("db.system.name", text("postgresql")),
        ("server.address", text("db")),
        ("server.port", Value::Int(5432)),
    ];
    let queue = [("messaging.system", text("kafka"))];
    vec![
        with(span(trace, 1, 0, "shop", "GET /", at_ms), Kind::Server, &[]),
        with(span(trace, 2, 1, "shop", "GET /c", at_ms), Kind::Client, &[("server.address", text("carts"))]),
        with(span(trace, 3, 2, "carts", "GET /c", at_ms), Kind::Server, &[]),
        with(span(trace, 4, 3, "carts", "SELECT", at_ms), Kind::Client, &database),
        with(
            span(trace, 5, 1, "shop", "GET /p", at_ms),
            Kind::Client,
            &[("server.address", text("10.0.0.9"))],
        ),
        with(span(trace, 6, 1, "shop", "send", at_ms), Kind::Producer, &queue),
        with(span(trace, 7, 6, "mail", "receive", at_ms), Kind::Consumer, &queue),
        // Work inside of a service is no call, even if it serves.
        with(span(trace, 8, 1, "shop", "inner", at_ms), Kind::Internal, &[]),
        with(span(trace, 9, 8, "shop", "GET /inner", at_ms), Kind::Server, &[]),
        with(span(trace, 10, 8, "stock", "GET /s", at_ms), Kind::Server, &[]),
    ]
}

fn window(start_ms: u64, end_ms: u64) -> Window {
    let us = |ms: u64| (START_UNIX_NS + ms * MS) / 1000;
    Window { start_unix_us: us(start_ms), end_unix_us: us(end_ms) }
}

fn edges(map: &MapAnswer) -> Vec<(&str, &str, u64)> {
    map.edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.red.count)).collect()
}

#[test]
fn each_kind_of_call_is_an_edge() {
    for max_spans_per_segment in [3, 1000] {
        let store = Store::in_memory(Limits { max_spans_per_segment, ..Limits::default() });
        // Children come before their parents.
        store.insert(request(1, 0).into_iter().rev().collect());
        store.insert(request(2, 5));
        let map = store.map(window(0, 1000), false);
        let mut edges = edges(&map);
        edges.sort_unstable();
        assert_eq!(
            edges,
            [
                ("broker:kafka", "service:mail", 2),
                ("outside:outside", "service:shop", 2),
                ("service:carts", "database:db:5432", 2),
                ("service:shop", "broker:kafka", 2),
                ("service:shop", "peer:10.0.0.9", 2),
                ("service:shop", "service:carts", 2),
                ("service:shop", "service:stock", 2),
            ]
        );
        let node = |id: &str| map.nodes.iter().find(|node| node.id == id).map(|node| node.red.count);
        assert_eq!(node("service:shop"), Some(4), "the requests that it served");
        assert_eq!(node("database:db:5432"), Some(2));
        assert_eq!(node("broker:kafka"), Some(2));
        assert_eq!(map.nodes.len(), 8);
    }
}

#[test]
fn a_comparison_tells_what_changed() {
    let store = Store::in_memory(Limits::default());
    store.insert(request(1, 0));
    let mut later = request(2, 100);
    later.retain(|span| *span.name != *"send" && *span.name != *"receive");
    later[2].end_unix_ns += 50 * MS;
    later[3].status = StatusCode::Error;
    later.push(with(span(2, 11, 1, "shop", "GET /n", 100), Kind::Client, &[("server.address", text("new"))]));
    store.insert(later);
    let map = store.map(window(100, 200), true);
    assert_eq!(map.before, Some(window(0, 100)));
    let node = |id: &str| map.nodes.iter().find(|node| node.id == id).and_then(|node| node.change);
    assert_eq!(node("service:carts"), Some(Change::Slower));
    assert_eq!(node("database:db:5432"), Some(Change::MoreErrors));
    assert_eq!(node("broker:kafka"), Some(Change::Lost));
    assert_eq!(node("peer:new"), Some(Change::New));
    assert_eq!(node("service:stock"), None);
}
