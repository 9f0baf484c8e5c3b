//! Spans that nobody would make, but somebody sends.

use std::sync::Arc;

use tracer_model::{
    answer::Window,
    span::{Span, StatusCode, TraceId, Value},
};
use tracer_store::{Limits, Query, SearchOptions, Store};

use crate::spans::{MS, span, text};

fn id(trace: u128) -> TraceId {
    TraceId(trace.to_be_bytes())
}

fn comes_back(spans: Vec<Span>) {
    let store = Store::in_memory(Limits::default());
    let trace_id = spans[0].trace_id;
    assert_eq!(store.insert(spans.clone()).refused, 0);
    assert_eq!(store.trace(trace_id, usize::MAX), Some(spans));
}

#[test]
fn odd_text_is_kept_and_found() {
    let texts =
        ["\u{0}\u{1b}[31m", "\u{202e}evil", "<script>", "\"quoted\\", "", " ", "a\nb", "*", "-x", "😀"];
    let store = Store::in_memory(Limits::default());
    for (place, odd) in texts.into_iter().enumerate() {
        let mut span = span(place as u128 + 1, 1, 0, "shop", odd, 0);
        span.attributes = vec![("odd".into(), text(odd)), (odd.into(), text("value"))];
        store.insert(vec![span.clone()]);
        assert_eq!(store.trace(span.trace_id, 9), Some(vec![span]));
    }
    for (place, odd) in texts.into_iter().enumerate() {
        let quoted = odd.replace('\\', "\\\\").replace('"', "\\\"");
        for query in
            [format!("odd=\"{quoted}\""), format!("\"{quoted}\"=value"), format!("name:\"{quoted}\"")]
        {
            let query = Query::parse(&query).expect(&query);
            let found = store.search(&query, &SearchOptions::default()).traces;
            let found: Vec<String> = found.into_iter().map(|trace| trace.trace_id).collect();
            assert_eq!(found, [id(place as u128 + 1).hex()], "{query}");
        }
    }
}

#[test]
fn long_values_and_many_attributes_come_back() {
    let mut long = span(1, 1, 0, "shop", "x", 0);
    long.attributes = vec![("long".into(), text(&"é".repeat(500_000)))];
    let mut wide = span(1, 2, 1, "shop", "x", 0);
    wide.attributes = (0..10_000).map(|key| (Arc::from(format!("key{key}")), Value::Int(key))).collect();
    let mut deep = Value::Int(1);
    for _ in 0..100 {
        deep = Value::Array(vec![deep]);
    }
    let mut nested = span(1, 3, 1, "shop", "x", 0);
    nested.attributes = vec![("deep".into(), deep)];
    comes_back(vec![long, wide, nested]);
}

#[test]
fn spans_each_unlike_all_others_stay_within_the_bound() {
    let max_bytes = 4 * 1024 * 1024;
    let store = Store::in_memory(Limits { max_bytes, max_operations: 100, ..Limits::default() });
    for number in 0..3_000u64 {
        let mut odd =
            span(u128::from(number) + 1, 1, 0, &format!("service{number}"), &format!("name{number}"), number);
        odd.attributes =
            (0..50).map(|key| (format!("key{number}-{key}").into(), text(&format!("{number}")))).collect();
        odd.status_message = format!("message {number}").into();
        store.insert(vec![odd]);
        assert!(store.status().bytes <= max_bytes as u64);
    }
    assert!(store.status().evicted_spans > 0);
    assert!(store.services().len() <= 100);
}

#[test]
fn a_span_that_is_too_large_is_refused_and_counted() {
    let store = Store::in_memory(Limits { max_span_bytes: 10_000, ..Limits::default() });
    let mut large = span(1, 1, 0, "shop", "x", 0);
    large.attributes = vec![("large".into(), text(&"x".repeat(10_000)))];
    let inserted = store.insert(vec![large, span(2, 1, 0, "shop", "x", 0)]);
    assert_eq!((inserted.stored, inserted.refused), (1, 1));
    assert_eq!(store.trace_spans(id(2)), 1);
    assert_eq!(store.status().refused.len(), 1);
}

#[test]
fn cycles_duplicates_and_impossible_times_are_told_without_end() {
    let mut backwards = span(1, 4, 9, "shop", "x", 0);
    backwards.end_unix_ns = 0;
    let mut endless = span(1, 5, 0, "shop", "x", 0);
    (endless.start_unix_ns, endless.end_unix_ns) = (0, u64::MAX);
    let spans = vec![
        span(1, 1, 2, "shop", "x", 0),
        span(1, 2, 1, "shop", "x", 0),
        span(1, 3, 3, "shop", "x", 0),
        backwards,
        endless,
    ];
    comes_back(spans.clone());
    let store = Store::in_memory(Limits::default());
    store.insert(spans.clone());
    store.insert(spans);
    let found = store.search(&Query::default(), &SearchOptions::default()).traces;
    assert_eq!((found[0].spans, found[0].duration_ns), (5, u64::MAX));
    for window in [Window::default(), Window { start_unix_us: 0, end_unix_us: u64::MAX }] {
        store.map(window, true);
        store.service("shop", window);
        store.service_rows(window);
        store.heatmap(&Query::default(), window, u32::MAX, u32::MAX, None);
    }
}

#[test]
fn traces_of_any_size_come_back_whole() {
    for count in [1, 2, 5_000, 50_000] {
        let spans: Vec<Span> =
            (1..=count).map(|place| span(1, place, place / 2, "shop", "x", place)).collect();
        let store = Store::in_memory(Limits::default());
        store.insert(spans.clone());
        let summary = store.search(&Query::default(), &SearchOptions::default()).traces.remove(0);
        assert_eq!((u64::from(summary.spans), summary.duration_ns), (count, count * MS));
        assert!(store.trace(id(1), usize::MAX) == Some(spans), "a trace of {count} spans");
    }
}

#[test]
fn readers_of_changes_are_told_what_they_lost() {
    let store = Store::in_memory(Limits::default());
    let mut changes = store.subscribe();
    store.insert(vec![span(1, 1, 0, "shop", "x", 0), span(1, 2, 1, "shop", "x", 0)]);
    assert_eq!(changes.try_recv(), Ok(id(1)));
    assert!(changes.try_recv().is_err(), "a trace is told once for each insertion");
    (1..=5_000).for_each(|trace| {
        store.insert(vec![span(trace, 9, 1, "shop", "x", 0)]);
    });
    let lost = changes.try_recv();
    assert_eq!(lost, Err(tokio::sync::broadcast::error::TryRecvError::Lagged(5_000 - 4_096)));
}

#[test]
fn completion_tells_keys_values_and_operators() {
    let store = Store::in_memory(Limits::default());
    for number in 0..300u64 {
        let mut span = span(u128::from(number) + 1, 1, 0, "shop", "GET /x", 0);
        let route = if number.is_multiple_of(3) { "/a b" } else { "/c" };
        span.attributes = vec![
            ("http.route".into(), text(route)),
            ("user".into(), text(&format!("u{number}"))),
            ("empty key \"".into(), Value::Bool(true)),
        ];
        span.status = StatusCode::Ok;
        store.insert(vec![span]);
    }
    let texts = |text: &str, at: u32| {
        let answer = store.complete(text, at);
        let texts: Vec<String> =
            answer.suggestions.iter().map(|suggestion| suggestion.text.clone()).collect();
        (answer.from, answer.to, texts)
    };
    assert_eq!(texts("ser", 3).2, ["service:", "service.name=", "user="]);
    assert_eq!(texts("-http.ro", 8), (1, 8, vec!["http.route=".to_owned()]));
    assert_eq!(texts("x http.route=/", 14), (13, 14, vec!["/c".to_owned(), "\"/a b\"".to_owned()]));
    assert_eq!(texts("http.route=\"/a b\" y", 14).2, ["\"/a b\""]);
    assert_eq!(texts("service:", 8).2, ["shop"]);
    assert_eq!(texts("calls:", 6), (6, 6, vec!["shop>".to_owned()]));
    assert_eq!(texts("a calls:shop>s", 14), (13, 14, vec!["shop".to_owned()]));
    assert_eq!(texts("trace.e", 7).2, ["trace.errors>"]);
    assert_eq!(texts("kind:s", 6).2, ["unspecified", "server", "consumer"]);
    assert_eq!(texts("user=u299", 9).2, ["u299"]);
    assert_eq!(store.complete("http.route=/c", 13).suggestions[0].detail, "200 spans");
    assert!(texts("http.route", 10).2.contains(&"http.route!=".to_owned()));
    for at in 0..60 {
        store.complete("-\"äé\\\" x\"=\"😀 y\" :=!< \"open", at);
    }
}

#[test]
fn a_span_without_a_time_does_not_hide_when_the_others_began() {
    let store = Store::in_memory(Limits::default());
    let mut timeless = span(1, 1, 0, "shop", "GET /", 0);
    (timeless.start_unix_ns, timeless.end_unix_ns) = (0, 0);
    let told = span(2, 1, 0, "shop", "GET /", 7);
    store.insert(vec![timeless.clone()]);
    assert_eq!(store.status().oldest_unix_us, 0);
    store.insert(vec![told.clone()]);
    assert_eq!(store.status().oldest_unix_us, told.start_unix_ns / 1000);
    assert_eq!(store.trace(timeless.trace_id, 9), Some(vec![timeless]), "it is kept");
}
