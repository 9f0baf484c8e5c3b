//! Insertions and searches beside each other.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tracer_model::{
    answer::Window,
    span::{Span, TraceId},
};
use tracer_store::{Limits, Order, Query, SearchOptions, Store};

use crate::spans::{START_UNIX_NS, span, text};

fn trace(number: u64) -> Vec<Span> {
    let spans = (1..=4).map(|place| {
        let mut span = span(u128::from(number), place, place - 1, "shop", "GET /x", number);
        span.attributes = vec![("url.path".into(), text(&format!("/orders/{number}/{place}")))];
        span
    });
    spans.collect()
}

/// Each answer is of whole traces, while traces come and go.
#[test]
fn searches_beside_insertions_and_evictions_tell_whole_traces() {
    const TRACES: u64 = 20_000;
    let store = Store::in_memory(Limits { max_bytes: 1024 * 1024, ..Limits::default() });
    let is_done = AtomicBool::new(false);
    let searches = thread::scope(|scope| {
        let searcher = scope.spawn(|| {
            let mut searches = 0;
            while !is_done.load(Ordering::Relaxed) || searches == 0 {
                searches += 1;
                let order = if searches % 2 == 0 { Order::Newest } else { Order::Slowest };
                let query = Query::parse("service:shop orders").expect("a query");
                let found = store.search(&query, &SearchOptions { order, ..SearchOptions::default() }).traces;
                // A trace that is let go meanwhile is left out, or was told before that.
                assert!(found.iter().all(|trace| trace.spans <= 4 && trace.root_service == "shop"));
                let window = Window { start_unix_us: START_UNIX_NS / 1000, end_unix_us: u64::MAX / 1000 };
                store.map(window, true);
                store.service("shop", window);
                store.heatmap(&query, window, 10, 10, None);
                store.complete("url.path=/orders/", 17);
                store.status();
            }
            searches
        });
        for number in 1..=TRACES {
            assert_eq!(store.insert(trace(number)).stored, 4);
        }
        is_done.store(true, Ordering::Relaxed);
        searcher.join().expect("no search panics")
    });
    assert!(searches > 0);
    let newest = TraceId(u128::from(TRACES).to_be_bytes());
    assert_eq!(store.trace(newest, usize::MAX), Some(trace(TRACES)));
    assert!(store.status().evicted_traces > 0);
}
