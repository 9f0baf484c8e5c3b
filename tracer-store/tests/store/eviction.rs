//! What is let go, and what is not.

use std::collections::HashSet;

use tracer_model::span::{Span, StatusCode, TraceId};
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::spans::{MS, span, text};

const MAX_BYTES: usize = 2 * 1024 * 1024;

fn store() -> Store {
    Store::in_memory(Limits { max_bytes: MAX_BYTES, ..Limits::default() })
}

fn id(trace: u128) -> TraceId {
    TraceId(trace.to_be_bytes())
}

/// A trace of five spans with texts of its own.
fn trace(number: u128) -> Vec<Span> {
    let spans = (1..6u64).map(|place| {
        let mut span = span(number, place, place - 1, "shop", "GET /x", number as u64);
        span.attributes = (0..8)
            .map(|key| (format!("key{key}").into(), text(&format!("{number}-{place}-{key}-value"))))
            .collect();
        span
    });
    spans.collect()
}

/// Looks at every trace that was sent.
fn held(store: &Store, traces: u128) -> HashSet<u128> {
    let mut spans = 0;
    let held: HashSet<u128> = (1..=traces)
        .filter(|number| {
            let found = store.trace(id(*number), usize::MAX);
            spans += found.as_ref().map_or(0, Vec::len) as u64;
            found.is_some()
        })
        .collect();
    let status = store.status();
    assert_eq!(status.traces as usize, held.len());
    assert_eq!(status.spans, spans);
    assert_eq!(status.received_spans - status.evicted_spans, spans);
    held
}

#[test]
fn memory_stays_at_its_bound_and_traces_stay_whole() {
    let store = store();
    for number in 1..=20_000 {
        store.insert(trace(number));
        let status = store.status();
        assert!(status.bytes <= status.max_bytes, "{} of {} bytes", status.bytes, status.max_bytes);
    }
    let held = held(&store, 20_000);
    assert!(held.len() > 1000, "{} traces of the last are there", held.len());
    for number in &held {
        assert_eq!(store.trace(id(*number), usize::MAX), Some(trace(*number)), "trace {number} is whole");
    }
    let newest: HashSet<u128> = (19_500..=20_000).collect();
    assert!(held.is_superset(&newest));
}

#[test]
fn traces_with_errors_and_the_slowest_outlast_others() {
    let store = store();
    let failed: HashSet<u128> = (1..=60).map(|number| number * 7).collect();
    let slow: HashSet<u128> = (1..=10).map(|number| number * 11 + 1000).collect();
    for number in 1..=8_000 {
        let mut spans = trace(number);
        if failed.contains(&number) {
            spans[3].status = StatusCode::Error;
        }
        if slow.contains(&number) {
            spans[2].end_unix_ns += 5_000 * MS + number as u64;
        }
        store.insert(spans);
    }
    let held = held(&store, 8_000);
    assert!(!held.contains(&1) && !held.contains(&1001), "others of that time are gone");
    assert!(held.is_superset(&failed), "errors are there: {:?}", failed.difference(&held));
    assert!(held.is_superset(&slow), "the slowest are there: {:?}", slow.difference(&held));
    for number in failed.iter().chain(&slow) {
        assert_eq!(store.trace_spans(id(*number)), 5);
        assert_eq!(store.trace(id(*number), usize::MAX).map(|spans| spans.len()), Some(5));
    }
    let query = Query::parse("status:error").expect("a query");
    let options = SearchOptions { limit: 1000, ..SearchOptions::default() };
    assert_eq!(store.search(&query, &options).traces.len(), failed.len());
}

#[test]
fn errors_alone_do_not_outgrow_the_bound() {
    let store = store();
    for number in 1..=12_000 {
        let mut spans = trace(number);
        spans[0].status = StatusCode::Error;
        store.insert(spans);
        assert!(store.status().bytes <= MAX_BYTES as u64);
    }
    let held = held(&store, 12_000);
    assert!(held.contains(&12_000) && !held.contains(&1));
    assert!(held.iter().all(|number| store.trace_spans(id(*number)) == 5));
}

#[test]
fn a_trace_that_grows_for_long_stays_whole_while_it_grows_and_goes_whole() {
    let store = store();
    let growing = 1_000_000;
    let mut grown = 0;
    for number in 1..=6_000u128 {
        store.insert(trace(number));
        if number < 3_000 {
            grown += 1;
            let mut tick = span(growing, grown, 0, "shop", "GET /x", number as u64);
            tick.end_unix_ns = tick.start_unix_ns;
            store.insert(vec![tick]);
            assert_eq!(u64::from(store.trace_spans(id(growing))), grown);
        }
    }
    assert_eq!(store.trace(id(growing), usize::MAX).map(|spans| spans.len()), None, "it is gone as a whole");
    assert_eq!(store.services(), ["shop"]);
    assert_eq!(held(&store, 6_000).len() as u64, store.status().traces);
}

#[test]
fn a_trace_that_grows_for_an_hour_is_there_whole_and_each_span_once() {
    let store = store();
    let grows = |second: u64| span(1, second + 1, u64::from(second > 0), "batch", "step", second * 1000);
    for second in 0..3600 {
        store.insert(vec![grows(second)]);
        // Others come and go meanwhile; the last step is sent again.
        store.insert(trace(u128::from(second) + 2));
        store.insert(vec![grows(second)]);
    }
    assert!(store.status().evicted_traces > 100);
    assert_eq!(store.status().duplicate_spans, 3600);
    let found = store.trace(id(1), usize::MAX).expect("a trace");
    let ids: HashSet<_> = found.iter().map(|span| span.span_id).collect();
    assert_eq!((found.len(), ids.len()), (3600, 3600));
    let query = Query::parse("trace.spans>=3600 trace.duration>59m").expect("a query");
    let summaries = store.search(&query, &SearchOptions::default()).traces;
    let [summary] = summaries.as_slice() else { panic!("one trace, not {}", summaries.len()) };
    assert_eq!((summary.spans, summary.duration_ns), (3600, 3599 * 1000 * MS + MS));
}

#[test]
fn a_trace_has_no_more_spans_than_the_limit_says() {
    let store = Store::in_memory(Limits { max_spans_per_trace: 10, ..Limits::default() });
    let spans: Vec<Span> = (1..=12).map(|place| span(1, place, 0, "shop", "x", 0)).collect();
    let inserted = store.insert(spans);
    assert_eq!((inserted.stored, inserted.refused), (10, 2));
    let status = store.status();
    assert_eq!((status.spans, status.received_spans), (10, 12));
    assert_eq!(status.refused.iter().map(|refused| refused.spans).sum::<u64>(), 2);
}

#[test]
fn a_late_span_of_a_trace_that_was_let_go_begins_it_anew_and_is_counted() {
    let store = store();
    (1..=8_000).for_each(|number| {
        store.insert(trace(number));
    });
    let evicted =
        (1..8_000).rev().find(|number| store.trace_spans(id(*number)) == 0).expect("one was let go");
    assert_eq!(store.status().revived_traces, 0);
    store.insert(vec![span(evicted, 9, 1, "shop", "late", 0)]);
    assert_eq!(store.trace_spans(id(evicted)), 1);
    assert_eq!(store.status().revived_traces, 1);
}

#[test]
fn a_late_span_joins_its_trace() {
    let store = Store::in_memory(Limits { max_spans_per_segment: 10, ..Limits::default() });
    (1..=50).for_each(|number| {
        store.insert(trace(number));
    });
    store.insert(vec![span(1, 9, 1, "shop", "late", 0)]);
    let spans = store.trace(id(1), usize::MAX).expect("the trace");
    assert_eq!(spans.len(), 6);
    assert_eq!(&*spans[5].name, "late");
}
