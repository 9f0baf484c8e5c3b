//! How long the analyses of series, retries and cascades take over a million spans.

use std::{sync::Arc, time::Instant};

use tracer_analysis::{
    cascade::{self, CascadeOptions},
    corpus::Corpus,
    retry::{self, RetryOptions},
    series::{self, SeriesOptions},
    statistics::random::Random,
};
use tracer_model::{
    facts::{FactRow, Facts, Gathered, Maker},
    span::{Attribute, Kind, StatusCode, TraceId, Value},
};

const SPANS: usize = 1_000_000;
const LAYERS: usize = 5;

fn main() {
    let mut gathered = Gathered::default();
    let mut random = Random::new(1);
    let fact = |gathered: &mut Gathered, layer: usize, operation: u64, kind: Kind, fails: bool| {
        let maker = Arc::new(Maker {
            service: format!("service-{layer}").into(),
            host: "host".into(),
            ..Maker::default()
        });
        let status = if fails { StatusCode::Error } else { StatusCode::Unset };
        let error: [Attribute; 1] = [("error.type".into(), Value::Str("503".into()))];
        let attributes = if fails { &error[..] } else { &[] };
        let name = format!("GET /{operation}").into();
        let facts = Facts::new(&maker, &name, kind, status, attributes);
        gathered.facts.code(facts)
    };
    let mut trace = 0u64;
    while gathered.rows.len() < SPANS {
        trace += 1;
        let mut start_ns = 1_700_000_000_000_000_000 + trace * 30_000_000;
        let mut parent = 0;
        let operation = random.bits() % 20;
        for layer in 0..LAYERS {
            let attempts = if random.uniform() < 0.05 { 2 } else { 1 };
            for attempt in 1..=attempts {
                let fails = attempt < attempts;
                let duration_ns = 1_000_000 * (LAYERS - layer) as u64 + random.bits() % 1_000_000;
                for (kind, id) in [(Kind::Client, 1), (Kind::Server, 2)] {
                    let span_id = (layer as u64 * 10 + attempt) * 10 + id;
                    let above = if id == 1 { parent } else { span_id - 1 };
                    let facts = fact(&mut gathered, layer + id as usize - 1, operation, kind, fails);
                    let end_ns = start_ns + duration_ns;
                    gathered.rows.push(FactRow { span_id, parent: above, start_ns, end_ns, facts });
                }
                start_ns += if fails { duration_ns } else { 100_000 };
                if !fails {
                    parent = (layer as u64 * 10 + attempt) * 10 + 2;
                }
            }
        }
        gathered.end_trace(TraceId(u128::from(trace).to_be_bytes()));
    }
    let corpus = Corpus::from(gathered);
    println!("{} spans, {} traces", corpus.spans(), corpus.len());
    let begin = Instant::now();
    let edges = series::analyze(&corpus, &SeriesOptions::default()).edges.len();
    println!("series   {:>6.0} ms, {edges} edges", begin.elapsed().as_secs_f64() * 1e3);
    let begin = Instant::now();
    let retries = retry::analyze(&corpus, &RetryOptions::default());
    println!(
        "retries  {:>6.0} ms, {:.3} of all attempts",
        begin.elapsed().as_secs_f64() * 1e3,
        retries.retry_ratio
    );
    let begin = Instant::now();
    let changes = cascade::analyze(&corpus, &CascadeOptions::default()).changes.len();
    println!("cascades {:>6.0} ms, {changes} changes", begin.elapsed().as_secs_f64() * 1e3);
}
