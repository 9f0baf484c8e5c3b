//! Prints what the analyses say of recordings: each a file of OTLP's JSON lines.

use std::{collections::BTreeMap, fs::File};

use tracer_analysis::{
    cascade::{self, CascadeOptions},
    corpus::Corpus,
    report,
    retry::{self, RetryOptions},
};
use tracer_model::{facts::Gathered, file::read_file, span::TraceId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let mut traces: BTreeMap<TraceId, Vec<_>> = BTreeMap::new();
        read_file(File::open(&path)?, 4 << 30, &mut |spans| {
            for span in spans {
                traces.entry(span.trace_id).or_default().push(span);
            }
        })?;
        let mut gathered = Gathered::default();
        for spans in traces.values() {
            gathered.add(spans);
        }
        let corpus = Corpus::from(gathered);
        println!("\n=== {path}: {} traces", corpus.len());
        for finding in report::findings(&corpus) {
            println!("finding   {:?} {}", finding.kind, finding.sentence);
        }
        for finding in cascade::candidates(&corpus) {
            println!(
                "candidate {:?} {} {}: {}",
                finding.kind, finding.service, finding.onset_unix_us, finding.sentence
            );
        }
        let retries = retry::analyze(&corpus, &RetryOptions::default());
        println!("retries   {:.3} of {} attempts", retries.retry_ratio, retries.attempts);
        for path in retries.paths.iter().take(3) {
            let layers: Vec<_> = path
                .layers
                .iter()
                .map(|of| format!("{}→{} ×{:.1} (peak {:.1})", of.from, of.to, of.factor, of.peak_factor))
                .collect();
            println!(
                "path      {} {:.2}, peak {:.1}, most {}: {}",
                path.top.name,
                path.amplification,
                path.peak,
                path.most,
                layers.join(", ")
            );
        }
        for storm in retries.storms {
            println!(
                "storm     {}..{:?} self-sustaining {} trigger {:?}: {}",
                storm.onset_unix_us,
                storm.end_unix_us,
                storm.is_self_sustaining,
                storm.trigger,
                storm.sentence
            );
        }
        let cascade = cascade::analyze(&corpus, &CascadeOptions::default());
        for origin in cascade.origins {
            println!(
                "origin    {:?} {}..{:?}: {}",
                origin.kind, origin.onset_unix_us, origin.end_unix_us, origin.sentence
            );
        }
        for hit in cascade.wave {
            println!(
                "hit       {} {} {:?} because of {:?}",
                hit.onset_unix_us, hit.service, hit.signals, hit.because_of
            );
        }
        for of in cascade.changes {
            println!(
                "change    {} {:?} {}..{:?} {:.2} → {:.2}, p {:.1e}",
                of.service, of.signal, of.onset_unix_us, of.end_unix_us, of.before, of.after, of.p_value
            );
        }
        for timeout in cascade.timeouts {
            println!(
                "timeout   {}→{} {} ms: {} of {}",
                timeout.edge.from,
                timeout.edge.to,
                timeout.value_ns / 1_000_000,
                timeout.calls,
                timeout.of
            );
        }
        for mismatch in cascade.mismatches {
            println!("mismatch  {}", mismatch.sentence);
        }
        for wasted in cascade.wasted {
            println!(
                "wasted    {} {} of {}, {} s",
                wasted.service,
                wasted.requests,
                wasted.of,
                wasted.wasted_ns / 1_000_000_000
            );
        }
        for of in cascade.saturated {
            println!(
                "saturated {} open {:.1} → {:.1}, throughput {:.1} → {:.1}, own {}",
                of.service, of.open_before, of.open, of.throughput_before, of.throughput, of.is_own
            );
        }
    }
    Ok(())
}
