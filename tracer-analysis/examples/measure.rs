//! Measures the analyses over a store: `cargo run --release -p tracer-analysis --example measure -- 1000000`.

#![forbid(unsafe_code)]

#[path = "../../tracer-store/examples/measure/traffic.rs"]
mod traffic;

use std::{env, time::Instant};

use tracer_analysis::{
    cascade::{self, CascadeOptions},
    compare::{self, Side},
    corpus::Corpus,
    dependency::{self, graph::ServiceGraph},
    path, report,
    retry::{self, RetryOptions},
    slow::{self, SlowSelection},
    source::Source,
};
use tracer_model::answer::Window;
use tracer_store::{Limits, Store};

use self::traffic::{START_UNIX_NS, TRACE_EVERY_NS, Traffic};

const ROUNDS: usize = 5;

fn main() {
    let count = env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let store = Store::in_memory(Limits { max_bytes: 4 << 30, ..Limits::default() });
    let mut traffic = Traffic::new();
    for number in 0..count / 10 {
        store.insert(traffic.trace(number, 10));
    }
    let end_ns = START_UNIX_NS + count * TRACE_EVERY_NS;
    let always = Window { start_unix_us: START_UNIX_NS / 1000, end_unix_us: end_ns / 1000 };
    println!("| step | best of {ROUNDS}, ms |\n|---|---|");
    let gathered = timed("spans gathered from the store", || store.gather(always, usize::MAX, None));
    let corpus = timed("the same as a corpus", || Corpus::from(gathered.clone()));
    let findings = timed("findings", || report::findings(&corpus));
    let path = timed("critical paths, what would help", || path::analyze(&corpus, None));
    timed("retries", || retry::analyze(&corpus, &RetryOptions::default()));
    timed("cascades", || cascade::analyze(&corpus, &CascadeOptions::default()));
    let dependencies = timed("dependencies", || dependency::analyze(&corpus));
    timed("service graph", || ServiceGraph::default().add(&corpus));
    let half = |name: &str, window: Window| Side { window: Some(window), ..Side::new(&corpus, name) };
    let (first_ns, last_ns) = corpus.extent_ns().unwrap_or_default();
    let middle_us = (first_ns + last_ns) / 2000;
    let before = half("before", Window { end_unix_us: middle_us, ..always });
    let after = half("after", Window { start_unix_us: middle_us, ..always });
    let compared = timed("two halves compared", || compare::analyze(&before, &after));
    let list = timed("operations", || slow::operations(&corpus));
    if let Some(first) = list.operations.first() {
        timed("slow requests of one operation against the rest", || {
            slow::analyze(&corpus, &first.operation, SlowSelection::default(), |ids| {
                store.traces(ids).map_err(|error| error.to_string())
            })
        });
    }
    timed("deployments", || compare::deployments::find(&corpus));
    println!(
        "| edges | {} |\n| compared operations | {} |",
        dependencies.edges.len(),
        compared.operations.len()
    );
    println!("| findings | {} |\n| operations | {} |", findings.len(), path.operations.len());
    println!("| spans | {} |\n| bytes a span | {} |", corpus.spans(), corpus.bytes() / corpus.spans().max(1));
}

fn timed<T>(name: &str, mut work: impl FnMut() -> T) -> T {
    let mut best = f64::INFINITY;
    let mut last = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        last = Some(work());
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    println!("| {name} | {best:.1} |");
    last.expect("there is a round")
}
