//! The agent's own work on recorded traffic, for callgrind: the difference between two numbers of
//! rounds is what a round costs.

use std::path::Path;

use anyhow::{Context, Result};
use tracer_agent::bench::Replayed;

/// From the kernel's records to spans.
pub(crate) fn events(recording: &Path, rounds: usize) -> Result<()> {
    let replayed = Replayed::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let mut spans = 0;
    for _ in 0..rounds {
        spans = replayed.events_to_spans();
    }
    println!("{spans}");
    Ok(())
}

/// As [`events`], of requests that no span is made of, since they are not sampled.
pub(crate) fn unsampled(recording: &Path, rounds: usize) -> Result<()> {
    let mut replayed = Replayed::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let spans = replayed.events_to_spans();
    replayed.sample_nothing();
    for _ in 0..rounds {
        anyhow::ensure!(replayed.events_to_spans() == 0, "a span");
    }
    println!("{spans}");
    Ok(())
}

/// From spans to the bytes of OTLP requests.
pub(crate) fn otlp(recording: &Path, rounds: usize) -> Result<()> {
    let mut replayed = Replayed::open(recording).map_err(anyhow::Error::msg).context("the recording")?;
    let spans = replayed.keep_spans();
    for _ in 0..rounds {
        std::hint::black_box(replayed.spans_to_otlp());
    }
    println!("{spans}");
    Ok(())
}
