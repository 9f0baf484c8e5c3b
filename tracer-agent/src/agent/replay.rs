//! A recording, told to the same pipeline.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use super::pipeline::pipeline;
use crate::{
    config::Config,
    event::{
        Input,
        recording::{Reader, lenient},
    },
    ledger::Counter,
    pipeline::{Out, Pipeline},
    process::identity::Host,
    sink::{
        Account, Outgoing, SpanSink,
        terminal::{AtOnce, Format, Output, Style, Summary, summary},
    },
};

/// Feeds a recording through the same pipeline. It waits for whoever reads the output. `open` is called once the file
/// has proved to be a recording.
///
/// # Errors
/// The recording cannot be read; what came before the damage was written. The output cannot be written.
pub fn replay(
    path: &Path,
    format: Format,
    open: impl FnOnce() -> Result<Box<dyn io::Write + Send>, String>,
    style: Style,
) -> Result<(), String> {
    let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
    let out = open()?;
    let write_error = Arc::new(OnceLock::new());
    let output = Output::new(format, style, Box::new(AtOnce::new(out, Arc::clone(&write_error))));
    let mut sink = Replayed { output, summary: Summary::default() };
    let (pipeline, outcome) = feed(&mut reader, path, &mut sink, || write_error.get().is_some());
    sink.output.finish();
    let text = summary(&sink.summary, pipeline.ledger(), &|pid| pipeline.service_name(pid));
    match format.is_for_people() {
        true => sink.output.write(&text),
        // A program reads the output.
        false => eprint!("{text}"),
    }
    tell_unusable(&reader, path);
    match write_error.get() {
        // Whoever has read enough closes the pipe.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write the output: {error}"))
        }
        _ => outcome,
    }
}

/// Feeds a recording through the same pipeline into a sink that waits for nobody.
///
/// # Errors
/// The recording cannot be read; what came before the damage has reached the sink.
pub fn replay_into(path: &Path, sink: &mut dyn SpanSink) -> Result<(), String> {
    let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
    let (_, outcome) = feed(&mut reader, path, sink, || false);
    tell_unusable(&reader, path);
    outcome
}

/// The pipeline once it has got all of the recording, or what came before the damage, or before `is_over`.
fn feed(
    reader: &mut Reader,
    path: &Path,
    sink: &mut dyn SpanSink,
    is_over: impl Fn() -> bool,
) -> (Pipeline, Result<(), String>) {
    let preamble = reader.preamble().clone();
    let (config, ignored) = lenient::<Config>(&preamble.config);
    if !ignored.is_empty() {
        let keys = ignored.join(", ");
        eprintln!("tracer: {}: this version ignores of its configuration: {keys}", path.display());
    }
    let (host, _) = lenient::<Host>(&preamble.host);
    let mut pipeline = pipeline(&config, host, preamble.seed);
    let mut out = Out { spans: sink, feedback: &mut () };
    let mut now_ns = 0;
    let outcome = loop {
        if is_over() {
            break Ok(());
        }
        match reader.next_input() {
            Ok(Some(input)) => {
                let input = input.as_input();
                if let Input::Tick { now_ns: tick } = input {
                    now_ns = tick;
                }
                pipeline.handle(&input, &mut out);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    pipeline.finish(now_ns, &mut out);
    (pipeline, outcome)
}

fn tell_unusable(reader: &Reader, path: &Path) {
    if !reader.unusable().is_empty() {
        eprintln!("tracer: {}: this version cannot use {}", path.display(), reader.unusable());
    }
}

struct Replayed {
    output: Output,
    summary: Summary,
}

impl SpanSink for Replayed {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.output.span(span);
        self.summary.add(span.span());
    }

    fn tick(&mut self, now_ns: u64) {
        self.output.tick(now_ns);
    }

    fn account(&self) -> Account {
        // Nothing is dropped: a replay waits.
        Account::new(Counter::SpansNotWritten)
    }
}
