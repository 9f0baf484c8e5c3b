use super::*;
use crate::samples::{Sketch, corpus};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

#[test]
fn an_edge_is_told_by_its_caller_and_an_operation_by_its_server() {
    let begin = 100 * SECOND;
    let left = [
        Sketch::server("shop", "GET /", 1, 0, begin..begin + 200 * MS),
        Sketch::client("shop", "GET", 2, 1, begin..begin + 150 * MS).error("timeout"),
        Sketch::server("stock", "GET /level", 3, 2, begin..begin + 2500 * MS),
    ];
    let later = begin + 2 * SECOND;
    let fine = [
        Sketch::server("shop", "GET /", 1, 0, later..later + 20 * MS),
        Sketch::client("shop", "GET", 2, 1, later..later + 10 * MS),
        Sketch::server("stock", "GET /level", 3, 2, later..later + 9 * MS),
    ];
    let answer = analyze(&corpus(&[&left, &fine]), &SeriesOptions::default());
    assert_eq!((answer.start_unix_us, answer.bucket_us), (begin / 1000, 1_000_000));
    assert_eq!(answer.roots, [1, 0, 1]);
    let edge = &answer.edges[0];
    assert_eq!((edge.edge.from.as_str(), edge.edge.to.as_str(), edge.requests), ("shop", "stock", 2));
    let first = &edge.points[0];
    assert_eq!((first.requests, first.errors, first.abandoned), (1, 1, 1));
    assert_eq!(first.failures, [FailureCount { failure: Failure::Timeout, count: 1 }]);
    assert_eq!((first.ended, edge.points[2].ended, edge.points[2].errors), (1, 1, 0));
    let stock = answer.services.iter().find(|of| of.service == "stock").unwrap();
    assert_eq!((stock.points[0].requests, stock.points[0].errors, stock.points[0].abandoned), (1, 0, 1));
    let open: Vec<f64> = stock.points.iter().map(|point| point.open).collect();
    assert!((open[0] - 1.0).abs() < 1e-9 && (open[1] - 1.0).abs() < 1e-9, "{open:?}");
    assert!((open[2] - 0.509).abs() < 1e-9, "{open:?}");
    assert_eq!((stock.points[0].ended, stock.points[2].ended), (0, 2));
    let p50_ns = first.p50_ns.unwrap() as f64;
    assert!((p50_ns / 150e6 - 1.0).abs() < 0.07, "{p50_ns}");
}

#[test]
fn the_rarest_are_left_out_and_counted() {
    let traces: Vec<[Sketch; 1]> = (0..10)
        .map(|number| [Sketch::server("shop", &format!("GET /{}", number / 2), 1, 0, SECOND..2 * SECOND)])
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(|trace| trace.as_slice()).collect();
    let answer = analyze(&corpus(&traces), &SeriesOptions { most: 2 });
    assert_eq!((answer.operations.len(), answer.services.len(), answer.left_out), (2, 1, 3));
    let requests: u64 = answer.services[0].points.iter().map(|point| point.requests).sum();
    assert_eq!(requests, 10);
}

#[test]
fn nothing_is_no_series() {
    let answer = analyze(&corpus(&[]), &SeriesOptions::default());
    assert_eq!(answer, SeriesAnswer::default());
}

#[test]
fn hostile_times_are_no_panic() {
    let backward = |start, end| std::ops::Range { start, end };
    let traces = [
        vec![Sketch::server("shop", "GET /", 1, 0, 0..u64::MAX)],
        vec![
            Sketch::server("shop", "GET /", 1, 0, backward(u64::MAX, 0)),
            Sketch::client("shop", "a", 2, 1, backward(5, 1)),
        ],
    ];
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    let answer = analyze(&corpus(&traces), &SeriesOptions::default());
    assert_eq!(answer.operations[0].requests, 2);
}
