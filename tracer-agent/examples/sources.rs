//! Puts the same spans into ClickHouse and into a store of ours, and compares what both tell:
//! `cargo run --release -p tracer-agent --example sources -- clickhouse://127.0.0.1:8123/otel DIRECTORY 1000000`.

#![forbid(unsafe_code)]

#[path = "../../tracer-store/examples/measure/traffic.rs"]
mod traffic;

use std::{collections::HashMap, env, fs, path::Path, time::Instant};

use serde_json::{Map, Value as Json, json};
use tracer_agent::client::{Remote, TlsFiles};
use tracer_analysis::{
    corpus::Corpus,
    report,
    source::{
        self, Source,
        http::{Http, Question, Server},
    },
};
use tracer_model::{
    answer::Window,
    facts::{Facts, Gathered},
    span::{Attribute, Event, Kind, Link, Span, StatusCode, TraceId, Value},
};
use tracer_store::{Limits, Store};

use self::traffic::{START_UNIX_NS, TRACE_EVERY_NS, Traffic};

const SPANS_A_TRACE: u64 = 10;
/// Traces of one insert.
const TRACES_A_PART: u64 = 2000;
/// Whole traces that are compared.
const WHOLE: u64 = 200;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, directory, count] = &arguments[..] else {
        return Err("sources ADDRESS DIRECTORY SPANS".into());
    };
    let traces = count.parse::<u64>()? / SPANS_A_TRACE;
    let store = Store::open(Path::new(directory), Limits { max_bytes: 4 << 30, ..Limits::default() })?;
    let server = server_of(address)?;
    let inserts = Remote::new(&server, &TlsFiles::default())?;
    let mut traffic = Traffic::new();
    for part in 0..traces.div_ceil(TRACES_A_PART) {
        let numbers = part * TRACES_A_PART..((part + 1) * TRACES_A_PART).min(traces);
        let spans: Vec<Span> = numbers.flat_map(|number| varied(number, traffic.trace(number, 10))).collect();
        let mut statement = "INSERT INTO otel.otel_traces FORMAT JSONEachRow\n".to_owned();
        for span in &spans {
            statement += &format!("{}\n", row(span));
        }
        let question = Question { target: "/".to_owned(), body: Some(statement), headers: Vec::new() };
        inserts.ask(&question, &mut |_| Ok(())).map_err(|error| format!("{error:?}"))??;
        store.insert(spans);
    }
    store.flush()?;
    let clickhouse =
        source::open(address, None, &|server| Ok(Box::new(Remote::new(server, &TlsFiles::default())?)))?;
    compare(&store, clickhouse.as_ref(), traces)
}

/// What both sources tell, with the time that each takes.
fn compare(store: &Store, clickhouse: &dyn Source, traces: u64) -> Outcome<()> {
    let ours: &dyn Source = store;
    println!("| step | our store, ms | ClickHouse, ms |\n|---|---|---|");
    let (one, other) = both("extent", || ours.extent(), || clickhouse.extent())?;
    let (one, other) = (one.ok_or("no spans")?, other.ok_or("no spans")?);
    same("starts", &one.start_unix_us, &other.start_unix_us)?;
    let all = Window { start_unix_us: 0, end_unix_us: u64::MAX };
    let (one, other) =
        both("all traces", || ours.gather(all, usize::MAX), || clickhouse.gather(all, usize::MAX))?;
    same("what was left out", &(0, None), &(other.omitted_traces, other.incomplete.clone()))?;
    same_traces(&one, &other)?;
    let length = traces * TRACE_EVERY_NS / 1000;
    let start_unix_us = START_UNIX_NS / 1000 + length / 4;
    let quarter = Window { start_unix_us, end_unix_us: start_unix_us + length / 4 };
    let (few, fewer) = both(
        "traces of a quarter",
        || ours.gather(quarter, usize::MAX),
        || clickhouse.gather(quarter, usize::MAX),
    )?;
    same_traces(&few, &fewer)?;
    let (time, part) = seconds(|| clickhouse.gather(all, one.rows.len() / 10));
    let part = part?;
    println!("| a tenth of the traces | | {:.0} |", time * 1000.0);
    same("traces", &(one.traces.len() as u64), &(part.traces.len() as u64 + part.omitted_traces))?;
    if part.rows.len() > one.rows.len() / 10 || part.rows.len() < one.rows.len() / 20 {
        return Err(format!("{} spans instead of a tenth", part.rows.len()).into());
    }
    let ids: Vec<TraceId> =
        one.traces.iter().step_by((traces / WHOLE).max(1) as usize).map(|trace| trace.0).collect();
    let (some, same_ones) = both("whole traces, 200", || ours.traces(&ids), || clickhouse.traces(&ids))?;
    same(
        "spans",
        &some.iter().map(|spans| texts(spans)).collect::<Vec<_>>(),
        &same_ones.iter().map(|spans| texts(spans)).collect(),
    )?;
    let (time, overview) = seconds(|| clickhouse.overview(all));
    let overview = overview?.ok_or("no overview")?;
    println!("| overview: counts by operation and minute | | {:.0} |", time * 1000.0);
    same(
        "spans by operation",
        &(one.rows.len() as u64),
        &overview.operations.iter().map(|row| row.spans).sum(),
    )?;
    same("spans by minute", &(one.rows.len() as u64), &overview.minutes.iter().map(|row| row.spans).sum())?;
    let spans = one.rows.len();
    let reports = [one, other].map(|gathered| report::report(&Corpus::from(gathered)));
    same("reports", &serde_json::to_value(&reports[0])?, &serde_json::to_value(&reports[1])?)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "{spans} spans, the same traces and the same report from both; {peak} (the store's memory among it)"
    );
    Ok(())
}

fn both<T>(
    name: &str,
    ours: impl FnOnce() -> Result<T, source::SourceError>,
    theirs: impl FnOnce() -> Result<T, source::SourceError>,
) -> Outcome<(T, T)> {
    let ((our_s, ours), (their_s, theirs)) = (seconds(ours), seconds(theirs));
    println!("| {name} | {:.0} | {:.0} |", our_s * 1000.0, their_s * 1000.0);
    Ok((ours?, theirs?))
}

fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = Instant::now();
    let made = work();
    (begin.elapsed().as_secs_f64(), made)
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, one: &T, other: &T) -> Outcome<()> {
    if one == other {
        return Ok(());
    }
    let (one, other): (String, String) =
        (format!("{one:?}").chars().take(2000).collect(), format!("{other:?}").chars().take(2000).collect());
    Err(format!("{name} differ:\n{one}\n{other}").into())
}

/// The same traces with the same spans, in any order.
fn same_traces(one: &Gathered, other: &Gathered) -> Outcome<()> {
    let mut codes: HashMap<Facts, usize> = HashMap::new();
    let mut rows = |gathered: &Gathered| {
        let codes: Vec<usize> = gathered
            .facts
            .all()
            .iter()
            .map(|facts| {
                let next = codes.len();
                *codes.entry(facts.clone()).or_insert(next)
            })
            .collect();
        let mut rows = Vec::with_capacity(gathered.rows.len());
        let mut begin = 0;
        for (trace, end) in &gathered.traces {
            rows.extend(gathered.rows[begin..*end].iter().map(|row| {
                (*trace, row.span_id, row.parent, row.start_ns, row.end_ns, codes[row.facts as usize])
            }));
            begin = *end;
        }
        rows.sort_unstable();
        rows
    };
    let (one, other) = (rows(one), rows(other));
    same("spans", &one.len(), &other.len())?;
    let first = one.iter().zip(&other).find(|(one, other)| one != other);
    if let Some((one, other)) = first {
        let facts = |code: usize| codes.iter().find(|(_, of)| **of == code).map(|(facts, _)| facts.clone());
        return Err(format!("{one:?} {:?}\n{other:?} {:?}", facts(one.5), facts(other.5)).into());
    }
    Ok(())
}

/// Spans in words, with text for each value as the exporter makes it.
fn texts(spans: &[Span]) -> Vec<String> {
    let map = |attributes: &[Attribute]| {
        let mut told: Vec<String> =
            attributes.iter().map(|(key, value)| format!("{key}={}", value.to_text())).collect();
        told.sort();
        told.join(",")
    };
    let mut told: Vec<String> = spans
        .iter()
        .map(|span| {
            let events: Vec<String> = span
                .events
                .iter()
                .map(|event| format!("{} {} {}", event.time_unix_ns, event.name, map(&event.attributes)))
                .collect();
            let links: Vec<String> =
                span.links.iter().map(|link| format!("{:?} {:?}", link.trace_id, link.span_id)).collect();
            format!(
                "{:?} {:?} {} {:?} {} {} {:?} {} {} | {} | {events:?} {links:?}",
                span.span_id,
                span.parent_span_id,
                span.name,
                span.kind,
                span.start_unix_ns,
                span.end_unix_ns,
                span.status,
                span.scope.name,
                map(&span.resource.attributes),
                map(&span.attributes),
            )
        })
        .collect();
    told.sort();
    told
}

/// Spans that tell more: databases, messages, resends, events, links, and times that run backward.
fn varied(number: u64, mut spans: Vec<Span>) -> Vec<Span> {
    let text = |text: &str| Value::Str(text.into());
    if number.is_multiple_of(7) {
        let query = format!("SELECT *\n  FROM carts WHERE note = 'it''s \\ {number}'");
        spans[3]
            .attributes
            .extend([("db.system.name".into(), text("postgresql")), ("db.query.text".into(), text(&query))]);
        spans[6].attributes.push(("http.request.resend_count".into(), Value::Int((number % 3) as i64)));
        spans[6].status = StatusCode::Error;
        spans[6].attributes.push(("error.type".into(), text("timeout")));
        spans[7].attributes.push(("tracer.http.end_unknown".into(), Value::Bool(true)));
    }
    if number % 50 == 3 {
        spans[9].end_unix_ns = spans[9].start_unix_ns - 1000;
        spans[8].kind = Kind::Producer;
        spans[8].attributes.push(("messaging.system".into(), text("kafka")));
        let event = Event {
            time_unix_ns: spans[8].start_unix_ns + 5,
            name: "sent \"it\"\u{1f980}".into(),
            attributes: vec![("size".into(), Value::Int(9))],
            dropped_attributes: 0,
        };
        spans[8].events.push(event);
        let (trace_id, span_id) = (spans[0].trace_id, spans[0].span_id);
        let attributes = Vec::new();
        spans[8].links.push(Link {
            trace_id,
            span_id,
            trace_state: "".into(),
            attributes,
            dropped_attributes: 0,
            flags: 0,
        });
    }
    spans
}

/// A row as the Collector's exporter writes it.
fn row(span: &Span) -> Json {
    let time = |unix_ns: u64| format!("{}.{:09}", unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let map = |attributes: &[Attribute]| {
        let text = |(key, value): &Attribute| (key.to_string(), Json::String(value.to_text().into_owned()));
        Json::Object(attributes.iter().map(text).collect::<Map<_, _>>())
    };
    json!({
        "Timestamp": time(span.start_unix_ns),
        "TraceId": span.trace_id.hex(),
        "SpanId": span.span_id.hex(),
        "ParentSpanId": span.parent_span_id.map_or_else(String::new, |id| id.hex()),
        "TraceState": &*span.trace_state,
        "SpanName": &*span.name,
        "SpanKind": format!("{:?}", span.kind),
        "ServiceName": span.service_name(),
        "ResourceAttributes": map(&span.resource.attributes),
        "ScopeName": &*span.scope.name,
        "ScopeVersion": &*span.scope.version,
        "SpanAttributes": map(&span.attributes),
        // A column without a sign: the exporter writes a negative duration so too.
        "Duration": span.end_unix_ns.wrapping_sub(span.start_unix_ns),
        "StatusCode": format!("{:?}", span.status),
        "StatusMessage": &*span.status_message,
        "Events.Timestamp": span.events.iter().map(|event| time(event.time_unix_ns)).collect::<Vec<_>>(),
        "Events.Name": span.events.iter().map(|event| &*event.name).collect::<Vec<_>>(),
        "Events.Attributes": span.events.iter().map(|event| map(&event.attributes)).collect::<Vec<_>>(),
        "Links.TraceId": span.links.iter().map(|link| link.trace_id.hex()).collect::<Vec<_>>(),
        "Links.SpanId": span.links.iter().map(|link| link.span_id.hex()).collect::<Vec<_>>(),
        "Links.TraceState": span.links.iter().map(|link| &*link.trace_state).collect::<Vec<_>>(),
        "Links.Attributes": span.links.iter().map(|link| map(&link.attributes)).collect::<Vec<_>>(),
    })
}

/// The server of an address of this test, which has neither user nor path.
fn server_of(address: &str) -> Outcome<Server> {
    let authority = address.strip_prefix("clickhouse://").and_then(|rest| rest.split('/').next());
    let authority = authority.ok_or("an address such as clickhouse://127.0.0.1:8123/otel")?.to_owned();
    Ok(Server { is_tls: false, authority, prefix: String::new(), login: None })
}
