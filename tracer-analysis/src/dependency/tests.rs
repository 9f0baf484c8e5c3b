use std::ops::Range;

use super::{graph::ServiceGraph, *};
use crate::{
    answer::Interval,
    samples::{Sketch, corpus},
};
use tracer_model::span::{Kind, Value};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// All traces begin after this.
const BEGIN: u64 = 1_700_000_000 * SECOND;

/// A request to shop that calls stock, and a database below that; `failed` as stock answers, and whether shop fails too.
fn order(start: u64, failed: bool, passes: bool) -> Vec<Sketch> {
    let fail = |sketch: Sketch, failed: bool| if failed { sketch.error("500") } else { sketch };
    vec![
        fail(Sketch::server("shop", "GET /order", 1, 0, start..start + 100 * MS), failed && passes),
        fail(Sketch::client("shop", "GET", 2, 1, start + 10 * MS..start + 90 * MS), failed),
        fail(Sketch::server("stock", "GET /level", 3, 2, start + 20 * MS..start + 80 * MS), failed)
            .resource("service.instance.id", "one"),
        Sketch::client("stock", "SELECT", 4, 3, start + 30 * MS..start + 60 * MS)
            .with("db.system.name", Value::Str("postgresql".into()))
            .with("server.address", Value::Str("db".into()))
            .with("server.port", Value::Int(5432)),
    ]
}

fn answer_of(traces: &[Vec<Sketch>]) -> DependenciesAnswer {
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    analyze(&corpus(&traces))
}

fn edge<'a>(answer: &'a DependenciesAnswer, from: &str, to: &str) -> &'a Dependency {
    let is_it = |one: &&Dependency| one.edge.from == from && one.edge.to == to;
    answer.edges.iter().find(is_it).unwrap_or_else(|| panic!("no edge {from} → {to}: {:?}", answer.edges))
}

#[test]
fn edges_tell_calls_failures_and_their_part_of_critical_paths() {
    let traces: Vec<_> = (0..100).map(|n| order(BEGIN + n * SECOND, n % 4 == 0, true)).collect();
    let answer = answer_of(&traces);
    assert_eq!((answer.rooted_traces, answer.edges.len(), answer.left_out), (100, 2, 0));
    let stock = edge(&answer, "shop", "stock");
    assert_eq!((stock.calls, stock.failed_calls, stock.traces), (100, 25, 100));
    assert_eq!(stock.operations, ["GET /level"]);
    assert!((stock.path_part - 0.8).abs() < 1e-9, "80 of 100 ms: {}", stock.path_part);
    assert_eq!(
        (stock.first_unix_us, stock.last_unix_us),
        ((BEGIN + 10 * MS) / 1000, (BEGIN + 99 * SECOND + 10 * MS) / 1000)
    );
    assert_eq!(stock.over_time.iter().sum::<u64>(), 100);
    let database = edge(&answer, "stock", "db:5432");
    assert_eq!((database.edge.to_kind, database.system.as_deref()), (NodeKind::Database, Some("postgresql")));
    assert!((database.path_part - 0.3).abs() < 1e-9, "{}", database.path_part);
    assert_eq!(database.failures.verdict, PassingVerdict::NeverFailed);
    let shop = answer.parties.iter().find(|party| party.name == "shop").expect("shop");
    assert_eq!((shop.requests, shop.entries), (100, 100));
}

#[test]
fn failures_pass_through_or_are_absorbed_or_are_too_few() {
    let verdict = |failed: u64, passes: bool| {
        let traces: Vec<_> = (0..60).map(|n| order(BEGIN + n * SECOND, n < failed, passes)).collect();
        edge(&answer_of(&traces), "shop", "stock").failures
    };
    let passes = verdict(30, true);
    assert_eq!((passes.requests, passes.with_failed_call, passes.failed), (60, 30, 30));
    assert_eq!(passes.verdict, PassingVerdict::Passes);
    assert_eq!(verdict(30, false).verdict, PassingVerdict::Absorbed);
    let few = verdict(2, true);
    assert_eq!(few.verdict, PassingVerdict::NotEnough);
    assert!(few.failing.is_some_and(|Interval { low, high }| low < 0.5 && high == 1.0), "{few:?}");
}

#[test]
fn one_request_with_several_failed_calls_counts_once() {
    let start = BEGIN;
    let call = |id: u64| {
        Sketch::client("shop", "GET", id, 1, start + id..start + id + 1)
            .error("timeout")
            .with("server.address", Value::Str("far".into()))
    };
    let answer = answer_of(&[vec![
        Sketch::server("shop", "GET /", 1, 0, start..start + 100),
        call(2),
        call(3),
        call(4),
    ]]);
    let failures = edge(&answer, "shop", "far").failures;
    assert_eq!((failures.requests, failures.with_failed_call, failures.failed), (1, 1, 0));
}

#[test]
fn an_edge_that_begins_or_ends_is_new_or_gone() {
    let with = |n: u64| order(BEGIN + n * SECOND / 4, false, true);
    let without = |n: u64| {
        let start = BEGIN + n * SECOND / 4;
        vec![Sketch::server("shop", "GET /order", 1, 0, start..start + 100 * MS)]
    };
    let traces: Vec<_> =
        (0..400).map(|n| if (150..250).contains(&n) { with(n) } else { without(n) }).collect();
    let answer = answer_of(&traces);
    let stock = edge(&answer, "shop", "stock");
    assert_eq!(stock.new_since_unix_us, Some(stock.first_unix_us));
    assert_eq!(stock.gone_since_unix_us, Some(stock.last_unix_us));
    // A rare call is neither: two of 400 requests make one.
    let traces: Vec<_> = (0..400).map(|n| if n == 150 || n == 250 { with(n) } else { without(n) }).collect();
    let answer = answer_of(&traces);
    let stock = edge(&answer, "shop", "stock");
    assert_eq!((stock.new_since_unix_us, stock.gone_since_unix_us), (None, None));
    // And one that is there all the time is neither.
    let traces: Vec<_> = (0..400).map(with).collect();
    let answer = answer_of(&traces);
    let stock = edge(&answer, "shop", "stock");
    assert_eq!((stock.new_since_unix_us, stock.gone_since_unix_us), (None, None));
}

#[test]
fn a_service_that_calls_back_is_a_circle_with_its_traces() {
    let start = BEGIN;
    let back = vec![
        Sketch::server("shop", "GET /", 1, 0, start..start + 100),
        Sketch::client("shop", "GET", 2, 1, start + 10..start + 90),
        Sketch::server("stock", "GET /level", 3, 2, start + 20..start + 80),
        Sketch::client("stock", "GET", 4, 3, start + 30..start + 70),
        Sketch::server("shop", "GET /price", 5, 4, start + 40..start + 60),
    ];
    let answer = answer_of(&[back, order(BEGIN, false, true)]);
    let [cycle] = &answer.cycles[..] else { panic!("{:?}", answer.cycles) };
    assert_eq!((cycle.services.join(" "), cycle.traces), ("shop stock".to_owned(), 1));
    let at = cycle.exemplar.as_ref().and_then(|exemplar| exemplar.span_id.clone());
    assert_eq!(at.as_deref(), Some("0000000000000005"));
    assert!(answer_of(&[order(BEGIN, false, true)]).cycles.is_empty());
}

#[test]
fn who_is_needed_by_many_and_has_one_instance_is_a_single_point() {
    let traces: Vec<_> = (0..100).map(|n| order(BEGIN + n * SECOND, n % 4 == 0, true)).collect();
    let answer = answer_of(&traces);
    let names: Vec<_> = answer.single_points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["db:5432", "shop", "stock"]);
    let stock = &answer.single_points[2];
    assert_eq!((stock.part, stock.instances), (1.0, 1));
    assert_eq!(
        stock.sentence,
        "100 % of the requests wait for stock; one instance of it was seen; 25 of 25 requests failed of which a call to it failed."
    );
    // Two instances, or failures that are absorbed, are no single point.
    let several: Vec<Vec<Sketch>> = (0..100)
        .map(|n| {
            let mut trace = order(BEGIN + n * SECOND, n % 4 == 0, true);
            let stock = trace.remove(2);
            trace.insert(2, stock.resource("service.instance.id", ["one", "other"][n as usize % 2]));
            trace
        })
        .collect();
    let is_told =
        |answer: &DependenciesAnswer| answer.single_points.iter().any(|point| point.name == "stock");
    assert!(!is_told(&answer_of(&several)));
    let absorbed: Vec<_> = (0..100).map(|n| order(BEGIN + n * SECOND, n % 4 == 0, false)).collect();
    assert!(!is_told(&answer_of(&absorbed)));
}

#[test]
fn messages_go_by_their_broker_and_servers_below_no_call_have_a_caller() {
    let start = BEGIN;
    let kafka = |sketch: Sketch| sketch.with("messaging.system", Value::Str("kafka".into()));
    let answer = answer_of(&[vec![
        Sketch::server("shop", "POST /", 1, 0, start..start + 100),
        kafka(Sketch::new("shop", "send orders", Kind::Producer, (2, 1), start + 10..start + 20)),
        kafka(Sketch::new("mailer", "process orders", Kind::Consumer, (3, 2), start + 500..start + 600)),
        Sketch::server("plain", "GET /x", 4, 1, start + 30..start + 40),
    ]]);
    let edges: Vec<_> = answer.edges.iter().map(|one| (&*one.edge.from, &*one.edge.to)).collect();
    assert_eq!(edges, [("kafka", "mailer"), ("shop", "kafka"), ("shop", "plain")]);
}

#[test]
fn hostile_times_and_nothing_are_no_fault() {
    assert_eq!(analyze(&corpus(&[])).edges.len(), 0);
    let answer = answer_of(&[
        vec![
            Sketch::server("a", "x", 1, 2, 0..u64::MAX),
            Sketch::client("b", "y", 2, 1, Range { start: u64::MAX, end: 0 }),
            Sketch::server("a", "x", 3, 2, Range { start: 5, end: 1 }),
        ],
        order(1, true, true),
        order(u64::MAX - SECOND, true, false),
    ]);
    assert!(answer.edges.iter().all(|one| one.path_part <= 1.0), "{:?}", answer.edges);
}

#[test]
fn a_service_graph_counts_both_ends() {
    let traces: Vec<_> = (0..10).map(|n| order(BEGIN + n * SECOND, n == 0, true)).collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    let mut graph = ServiceGraph::default();
    graph.add(&corpus(&traces));
    graph.add(&corpus(&traces));
    let told: Vec<_> = graph
        .edges
        .iter()
        .map(|(edge, counts)| {
            (&*edge.client, &*edge.server, edge.connection_type, counts.requests, counts.failed)
        })
        .collect();
    assert_eq!(told, [("shop", "stock", "", 20, 2), ("stock", "db:5432", "database", 20, 0)]);
    let stock = graph.edges.values().next().expect("an edge");
    assert_eq!((stock.client.counts[0], stock.server.counts[0]), (20, 20));
    assert!((stock.client.sum_seconds - 1.6).abs() < 1e-9 && (stock.server.sum_seconds - 1.2).abs() < 1e-9);
}

#[test]
fn calls_of_too_many_edges_are_counted_together() {
    let traces: Vec<Vec<Sketch>> = (0..12_000)
        .map(|number| {
            let far = Value::Str(format!("host-{number}").into());
            vec![Sketch::client("shop", "GET", 1, 0, BEGIN..BEGIN + MS).with("server.address", far)]
        })
        .collect();
    let answer = answer_of(&traces);
    assert_eq!((answer.edges.len(), answer.left_out, answer.omitted_calls), (1000, 9000, 2000));
    assert_eq!((answer.parties.len(), answer.left_out_parties), (5000, 5001));
}
