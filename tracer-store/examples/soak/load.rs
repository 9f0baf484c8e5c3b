//! Spans come in beside searches, and memory stays at its bound.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tracer_model::answer::Window;
use tracer_store::{Limits, Order, Query, SearchOptions, Store};

use crate::traffic::{START_UNIX_NS, Traffic};

/// Spans of an insertion.
const BATCH_SPANS: usize = 500;

/// What the process may take besides what the store counts: a part of the bound, and what searches, the allocator and the
/// program itself take.
const MORE_PART: f64 = 0.25;
const MORE_BYTES: u64 = 48 << 20;

/// Stops of a search that is asked beside insertions.
const SEARCH_TIME: Duration = Duration::from_secs(2);

/// What does not hold.
pub fn run(spans: u64, max_bytes: usize) -> Vec<String> {
    let store = Store::in_memory(Limits { max_bytes, ..Limits::default() });
    let is_done = AtomicBool::new(false);
    let mut failures = Vec::new();
    let start = Instant::now();
    let begin_bytes = resident_bytes();
    let (searches, slowest) = thread::scope(|scope| {
        let searcher = scope.spawn(|| search(&store, &is_done));
        failures = insert(&store, spans, max_bytes, begin_bytes);
        is_done.store(true, Ordering::Relaxed);
        searcher.join().unwrap_or_default()
    });
    let status = store.status();
    println!(
        "{} spans in {:.1} s beside {searches} searches (the slowest {:.0} ms); {} are held, {} were let go",
        status.received_spans,
        start.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        status.spans,
        status.evicted_spans,
    );
    if status.spans + status.evicted_spans + status.duplicate_spans != status.received_spans {
        failures.push(format!("each span is held or counted: {status:?}"));
    }
    if searches == 0 {
        failures.push("searches are answered beside insertions".to_owned());
    }
    failures
}

fn insert(store: &Store, spans: u64, max_bytes: usize, begin_bytes: u64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut traffic = Traffic::new();
    let (mut sent, mut number, mut next_line) = (0, 0, 0);
    while sent < spans {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        while batch.len() < BATCH_SPANS {
            batch.extend(traffic.trace(number, 10));
            number += 1;
        }
        // Some senders send again.
        let again = if number % 100 == 0 { batch.clone() } else { Vec::new() };
        sent += batch.len() as u64;
        store.insert(batch);
        store.insert(again);
        if sent < next_line {
            continue;
        }
        next_line += (spans / 20).max(1);
        let (counted, resident) = (store.status().bytes, resident_bytes().saturating_sub(begin_bytes));
        println!("{sent} spans: {} MiB counted, {} MiB resident", counted >> 20, resident >> 20);
        let most = max_bytes as u64 + (max_bytes as f64 * MORE_PART) as u64 + MORE_BYTES;
        if counted > max_bytes as u64 {
            failures.push(format!("{counted} bytes are counted, and {max_bytes} may be"));
        }
        if resident > most {
            failures.push(format!("{resident} bytes are resident, and {most} may be"));
        }
    }
    failures
}

/// Searches until all came in. Tells how often, and how long the slowest took.
fn search(store: &Store, is_done: &AtomicBool) -> (u64, Duration) {
    let queries =
        ["service:orders", "status:error", "trace.errors>0", "calls:frontend>orders", "/orders/77777"];
    let window = Window { start_unix_us: START_UNIX_NS / 1000, end_unix_us: u64::MAX / 1000 };
    let (mut searches, mut slowest) = (0, Duration::ZERO);
    while !is_done.load(Ordering::Relaxed) {
        for text in queries {
            let start = Instant::now();
            let deadline = Some(start + SEARCH_TIME);
            if let Ok(query) = Query::parse(text) {
                let options = SearchOptions { deadline, order: Order::Newest, ..SearchOptions::default() };
                store.search(&query, &options);
            }
            store.map_until(window, false, deadline);
            store.service_until("orders", window, deadline);
            searches += 1;
            slowest = slowest.max(start.elapsed());
        }
    }
    (searches, slowest)
}

/// Memory of this process that is its own; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}
