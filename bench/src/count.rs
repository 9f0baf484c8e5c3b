//! The agent's own work on recorded traffic, for callgrind: the difference between two numbers of
//! rounds is what a round costs.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tracer_agent::bench::LoadedRecording;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [step, recording, rounds] = &words[..] else { bail!("cargo xtask bench runs this") };
    let (recording, rounds) = (Path::new(recording), rounds.parse().context("a number")?);
    match step.as_str() {
        "events" => events(recording, rounds),
        "unsampled" => unsampled(recording, rounds),
        "otlp" => otlp(recording, rounds),
        _ => bail!("cargo xtask bench runs this"),
    }
}

/// From the kernel's records to spans.
fn events(recording: &Path, rounds: usize) -> Result<()> {
    let replayed = LoadedRecording::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let mut spans = 0;
    for _ in 0..rounds {
        spans = replayed.events_to_spans();
    }
    println!("{spans}");
    Ok(())
}

/// As [`events`], of requests that no span is made of, since they are not sampled.
fn unsampled(recording: &Path, rounds: usize) -> Result<()> {
    let mut replayed =
        LoadedRecording::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let spans = replayed.events_to_spans();
    replayed.sample_nothing();
    for _ in 0..rounds {
        anyhow::ensure!(replayed.events_to_spans() == 0, "a span");
    }
    println!("{spans}");
    Ok(())
}

/// From spans to the bytes of OTLP requests.
fn otlp(recording: &Path, rounds: usize) -> Result<()> {
    let mut replayed =
        LoadedRecording::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let spans = replayed.keep_spans();
    for _ in 0..rounds {
        std::hint::black_box(replayed.spans_to_otlp());
    }
    println!("{spans}");
    Ok(())
}
