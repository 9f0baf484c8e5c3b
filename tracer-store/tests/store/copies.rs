//! Spans that come again.

use tracer_model::{
    answer::{ServiceShare, Window},
    span::{Kind, Span, StatusCode, TraceId},
};
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::{
    disk::Scratch,
    spans::{MS, START_UNIX_NS, span},
};

const ALWAYS: Window =
    Window { start_unix_us: START_UNIX_NS / 1000, end_unix_us: START_UNIX_NS / 1000 + 60_000_000 };

/// A request of `shop` to `carts`.
fn trace() -> Vec<Span> {
    let client = Span { kind: Kind::Client, ..span(1, 2, 1, "shop", "GET /c", 0) };
    let server = Span { status: StatusCode::Error, ..span(1, 3, 2, "carts", "GET /c", 0) };
    vec![span(1, 1, 0, "shop", "GET /", 0), client, server]
}

/// Fills a segment, so that the next span comes into another one.
fn fill(store: &Store) {
    store.insert((0..8).map(|id| span(99, 100 + id, 0, "other", "work", 1)).collect());
}

fn expect_once(store: &Store) {
    let found = store.search(&Query::parse("trace:1").expect("a query"), &SearchOptions::default()).traces;
    let [summary] = found.as_slice() else { panic!("one trace, not {found:?}") };
    assert_eq!((summary.spans, summary.errors), (3, 1));
    let share = |service: &str, spans, self_ns, errors| ServiceShare {
        service: service.to_owned(),
        spans,
        self_ns,
        errors,
    };
    assert_eq!(summary.services, [share("carts", 1, MS, 1), share("shop", 2, 0, 0)]);
    let services = store.service_rows(ALWAYS).services;
    let counts: Vec<_> = services.iter().map(|row| (row.service.as_str(), row.red.count)).collect();
    assert_eq!(counts.iter().filter(|of| of.0 != "other").collect::<Vec<_>>(), [&("carts", 1), &("shop", 1)]);
    let carts = store.service("carts", ALWAYS).expect("a service");
    assert_eq!((carts.service.red.count, carts.operations[0].self_ns), (1, MS));
    let edges: Vec<_> = store
        .map(ALWAYS, false)
        .edges
        .into_iter()
        .filter(|edge| edge.to != "service:other")
        .map(|edge| (edge.from, edge.to, edge.red.count))
        .collect();
    let edge = |from: &str, to: &str, count| (from.to_owned(), to.to_owned(), count);
    assert_eq!(edges, [edge("service:shop", "service:carts", 1), edge("outside:outside", "service:shop", 1)]);
    let heatmap = store.heatmap(&Query::parse("trace:1").expect("a query"), ALWAYS, 1, 1, None);
    assert_eq!(heatmap.cells.iter().map(|cell| cell.count).sum::<u32>(), 3);
    assert_eq!(store.rank("carts", "GET /c", Kind::Server, MS), Some((1.0, 1)));
    assert_eq!(store.trace(TraceId(1u128.to_be_bytes()), 9), Some(trace()));
}

#[test]
fn a_span_that_comes_again_counts_once_everywhere() {
    for max_spans_per_segment in [1, 4, 1000] {
        let store = Store::in_memory(Limits { max_spans_per_segment, ..Limits::default() });
        store.insert(trace());
        // At once, and when the segment is sealed.
        store.insert(trace());
        expect_once(&store);
        fill(&store);
        let inserted = store.insert(trace());
        assert_eq!((inserted.stored, inserted.refused), (3, 0));
        expect_once(&store);
        let status = store.status();
        assert_eq!((status.spans, status.duplicate_spans, status.received_spans), (11, 6, 17));
    }
}

#[test]
fn a_copy_that_ends_later_takes_the_place_of_the_one_before() {
    for max_spans_per_segment in [1, 4, 1000] {
        let store = Store::in_memory(Limits { max_spans_per_segment, ..Limits::default() });
        let (first, later) = (span(1, 1, 0, "shop", "GET /", 0), span(1, 1, 0, "shop", "GET /", 0));
        let first = Span { status: StatusCode::Error, ..first };
        let later = Span { end_unix_ns: later.end_unix_ns + 5 * MS, ..later };
        store.insert(vec![first.clone(), span(1, 2, 1, "shop", "work", 0)]);
        let trace_id = first.trace_id;
        let version = store.trace_version(trace_id);
        assert_eq!(store.trace_version(trace_id), version);
        store.insert(vec![later.clone()]);
        let second = store.trace_version(trace_id);
        assert!(version.is_some() && second.is_some() && second != version);
        fill(&store);
        assert_eq!(store.trace_version(trace_id), second);
        // It ended earlier: it tells less.
        store.insert(vec![first]);
        let found =
            store.search(&Query::parse("trace:1").expect("a query"), &SearchOptions::default()).traces;
        assert_eq!((found[0].spans, found[0].errors, found[0].duration_ns), (2, 0, 6 * MS));
        assert_eq!(store.rank("shop", "GET /", Kind::Server, 6 * MS), Some((1.0, 1)));
        let none = store.search(&Query::parse("status:error").expect("a query"), &SearchOptions::default());
        assert_eq!(none.traces.len(), 0);
        let trace = store.trace(TraceId(1u128.to_be_bytes()), 9).expect("a trace");
        assert_eq!(trace, [span(1, 2, 1, "shop", "work", 0), later]);
        assert_eq!((store.status().spans, store.status().duplicate_spans), (10, 2));
    }
}

#[test]
fn both_ends_of_a_call_with_one_id_are_two_spans() {
    let store = Store::in_memory(Limits::default());
    let client = Span { kind: Kind::Client, ..span(1, 2, 0, "shop", "GET /c", 0) };
    store.insert(vec![client.clone(), span(1, 2, 0, "carts", "GET /c", 0), client]);
    assert_eq!((store.trace_spans(TraceId(1u128.to_be_bytes())), store.status().duplicate_spans), (2, 1));
}

#[test]
fn copies_are_no_more_after_a_restart_than_before() {
    let scratch = Scratch::new("copies");
    let limits = || Limits { max_spans_per_segment: 4, ..Limits::default() };
    {
        let store = Store::open(&scratch.0, limits()).expect("a store");
        store.insert(trace());
        fill(&store);
        store.insert(trace());
        store.flush().expect("a disk");
    }
    let store = Store::open(&scratch.0, limits()).expect("a store");
    expect_once(&store);
    store.insert(trace());
    expect_once(&store);
    assert_eq!((store.status().spans, store.status().duplicate_spans), (11, 3));
}

#[test]
fn a_copy_of_a_trace_that_is_full_is_no_refusal() {
    let store = Store::in_memory(Limits { max_spans_per_trace: 3, ..Limits::default() });
    store.insert(trace());
    assert_eq!(store.insert(trace()).refused, 0);
    assert_eq!(store.insert(vec![span(1, 9, 0, "shop", "more", 5)]).refused, 1);
    assert_eq!(store.trace_spans(TraceId(1u128.to_be_bytes())), 3);
}
