//! Measures the store: `cargo run --release -p tracer-store --example measure -- --count 1000000`.
//!
//! `--max-bytes N` bounds the memory (without it, all spans fit). `--store DIRECTORY` measures the store on disk.

#![forbid(unsafe_code)]

mod traffic;

use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tracer_model::{answer::Window, span::Span};
use tracer_store::{Limits, Order, Query, SearchOptions, Store};

use self::traffic::{START_UNIX_NS, TRACE_EVERY_NS, Traffic};

/// Spans of an insertion: what an exporter sends at once.
const BATCH_SPANS: usize = 500;

/// Searches of each kind.
const ROUNDS: usize = 40;

struct Options {
    count: usize,
    max_bytes: usize,
    directory: Option<PathBuf>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { count: 1_000_000, max_bytes: 4 << 30, directory: None };
    let mut arguments = env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} takes a value"))?;
        let number = || value.parse().map_err(|_| format!("{name} takes a number, and `{value}` is none"));
        match name.as_str() {
            "--count" => options.count = number()?,
            "--max-bytes" => options.max_bytes = number()?,
            "--store" => options.directory = Some(value.into()),
            _ => return Err(format!("there is no option {name}; only --count, --max-bytes, --store")),
        }
    }
    Ok(options)
}

/// Memory of this process that is its own; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}

/// Processor time of this thread: what the work takes on a core of its own, whatever else the machine does.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

fn measure(name: &str, mut work: impl FnMut(usize) -> usize) {
    let (mut found, mut times, mut processor) = (0, Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (start, before) = (Instant::now(), on_processor());
        found = work(round);
        processor.push(on_processor() - before);
        times.push(start.elapsed());
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("| {name} | {:.2} | {:.2} | {found} |", ms(p95(processor)), ms(p95(times)));
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let limits = Limits { max_bytes: options.max_bytes, ..Limits::default() };
    let store = match &options.directory {
        None => Store::in_memory(limits),
        Some(directory) => match Store::open(directory, limits) {
            Ok(store) => store,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        },
    };
    insert(&store, options.count);
    let large = Traffic::new().trace(1 << 40, 5_000);
    let large_id = large[0].trace_id;
    store.insert(large);
    println!("\n| search | p95 on the processor, ms | p95 by the clock, ms | found |\n|---|---|---|---|");
    searches(&store, options.count);
    measure("trace of 5,000 spans", |_| store.trace(large_id, usize::MAX).map_or(0, |spans| spans.len()));
    aggregates(&store);
    ExitCode::SUCCESS
}

fn insert(store: &Store, count: usize) {
    let mut traffic = Traffic::new();
    let before = resident_bytes();
    let (mut inserting, mut processor, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut sent = 0;
    let mut number = 0;
    while sent < count {
        let mut batch: Vec<Span> = Vec::with_capacity(BATCH_SPANS);
        while batch.len() < BATCH_SPANS {
            batch.extend(traffic.trace(number, 10));
            number += 1;
        }
        sent += batch.len();
        let (start, before) = (Instant::now(), on_processor());
        store.insert(batch);
        let took = start.elapsed();
        processor += on_processor() - before;
        inserting += took;
        longest = longest.max(took);
    }
    let start = Instant::now();
    if let Err(error) = store.flush() {
        println!("{error}");
    }
    let flushed = start.elapsed();
    let status = store.status();
    let grown = resident_bytes().saturating_sub(before);
    println!("| measure | value |\n|---|---|");
    println!("| spans inserted | {sent} |");
    println!("| spans a second of one processor | {:.0} |", sent as f64 / processor.as_secs_f64());
    println!("| spans a second by the clock | {:.0} |", sent as f64 / inserting.as_secs_f64());
    println!("| longest insertion of {BATCH_SPANS} | {:.2} ms |", longest.as_secs_f64() * 1000.0);
    println!("| flush at the end | {:.2} ms |", flushed.as_secs_f64() * 1000.0);
    println!("| spans held | {} |", status.spans);
    println!("| spans let go | {} |", status.evicted_spans);
    println!("| bytes a span | {:.1} |", status.bytes as f64 / status.spans as f64);
    println!("| memory counted | {:.1} MiB |", status.bytes as f64 / 1048576.0);
    println!("| memory resident | {:.1} MiB |", grown as f64 / 1048576.0);
    if let Some(problem) = status.problem {
        println!("| problem | {problem} |");
    }
}

fn searches(store: &Store, count: usize) {
    let some_trace = Traffic::new().trace(0, 1)[0].trace_id.hex();
    let middle = START_UNIX_NS / 1000 + count as u64 / 20 * TRACE_EVERY_NS / 1000;
    let second = Window { start_unix_us: middle, end_unix_us: middle + 1_000_000 };
    let kinds: [(&str, String, Option<Window>, Order); 30] = [
        ("anything", String::new(), None, Order::Newest),
        ("anything, slowest", String::new(), None, Order::Slowest),
        ("trace id", format!("trace:{some_trace}"), None, Order::Newest),
        ("service", "service:orders".into(), None, Order::Newest),
        ("service, slowest", "service:orders".into(), None, Order::Slowest),
        ("service absent", "service:nothing".into(), None, Order::Newest),
        ("operation", "operation:\"POST /orders\"".into(), None, Order::Newest),
        ("kind", "kind:client".into(), None, Order::Newest),
        ("status", "status:error".into(), None, Order::Newest),
        ("duration", "duration>40ms".into(), None, Order::Newest),
        ("duration absent", "duration>10m".into(), None, Order::Newest),
        ("time", String::new(), Some(second), Order::Newest),
        ("attribute equals, frequent", "http.request.method=GET".into(), None, Order::Newest),
        ("attribute equals, rare", "enduser.id=user-77".into(), None, Order::Newest),
        ("attribute equals, absent", "enduser.id=nobody".into(), None, Order::Newest),
        ("attribute exists", "client.port=*".into(), None, Order::Newest),
        ("attribute begins, absent", "url.full=https://*".into(), None, Order::Newest),
        ("attribute as number", "http.response.status_code>=500".into(), None, Order::Newest),
        ("text frequent", "orders".into(), None, Order::Newest),
        ("text rare", "/orders/77777".into(), None, Order::Newest),
        ("text absent", "nowhere-at-all".into(), None, Order::Newest),
        ("service in another case", "service:ORDERS".into(), None, Order::Newest),
        ("OR, both absent", "enduser.id=nobody OR duration>10m".into(), None, Order::Newest),
        ("anything, most errors", String::new(), None, Order::Errors),
        ("trace's duration, absent", "trace.duration>10m".into(), None, Order::Newest),
        ("trace's spans", "trace.spans>100".into(), None, Order::Newest),
        ("trace's errors", "trace.errors>0".into(), None, Order::Newest),
        ("calls, frequent", "calls:frontend>orders".into(), None, Order::Newest),
        ("calls, absent", "calls:mail>carts".into(), None, Order::Newest),
        ("no calls", "-calls:*>*".into(), None, Order::Newest),
    ];
    for (name, query, window, order) in kinds {
        match Query::parse(&query) {
            Ok(query) => measure(name, |_| {
                let options = SearchOptions { limit: 20, window, order, deadline: None };
                store.search(&query, &options).traces.len()
            }),
            Err(error) => println!("{query}: {error}"),
        }
    }
}

fn aggregates(store: &Store) {
    let status = store.status();
    let window = Window { start_unix_us: status.oldest_unix_us, end_unix_us: u64::MAX / 4000 };
    measure("heatmap of all", |_| store.heatmap(&Query::default(), window, 60, 20, None).cells.len());
    measure("services of all", |_| store.service_rows(window).services.len());
    measure("one service of all", |_| store.service("orders", window).map_or(0, |of| of.operations.len()));
    measure("map of all", |_| store.map(window, false).edges.len());
    measure("rank of a span", |_| {
        let kind = tracer_model::span::Kind::Server;
        store.rank("orders", "POST /orders", kind, 3_000_000).map_or(0, |(_, count)| count as usize)
    });
    measure("completion of a key", |_| store.complete("http.", 5).suggestions.len());
    let status = store.status();
    println!("\nBytes a span after that: {:.1}", status.bytes as f64 / status.spans as f64);
}
