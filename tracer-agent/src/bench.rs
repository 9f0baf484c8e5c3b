//! The agent's stages on recorded traffic, for `cargo xtask bench`.

#![forbid(unsafe_code)]

use std::path::Path;

use crate::{
    agent,
    config::Config,
    event::{
        input::OwnedInput,
        recording::{Reader, lenient},
    },
    ledger::Counter,
    pipeline::{Out, Pipeline},
    process::identity::Host,
    sink::{Account, Outgoing, SpanSink, otlp},
    span::Span,
    trace_context::sample::SamplerName,
};

/// A recording in memory, and the spans that it gave last.
pub struct LoadedRecording {
    inputs: Vec<OwnedInput>,
    config: Config,
    spans: Vec<Span>,
}

impl LoadedRecording {
    /// Reads a recording.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn open(path: &Path) -> Result<Self, String> {
        let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
        let (config, _) = lenient(&reader.preamble().config);
        let mut inputs = Vec::new();
        while let Some(input) = reader.next_input().map_err(|error| error.to_string())? {
            inputs.push(input);
        }
        Ok(Self { inputs, config, spans: Vec::new() })
    }

    /// Feeds all of it to a new pipeline. Returns the number of spans.
    pub fn events_to_spans(&self) -> usize {
        let mut counted = Counted(0);
        self.feed(&mut counted);
        counted.0
    }

    /// As [`Self::events_to_spans`], and keeps the spans for [`Self::spans_to_otlp`].
    pub fn keep_spans(&mut self) -> usize {
        let mut kept = LastSpans(Vec::new());
        self.feed(&mut kept);
        self.spans = kept.0;
        self.spans.len()
    }

    /// The spans that were kept.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// From now on no trace is sampled, whatever its headers say.
    pub fn sample_nothing(&mut self) {
        self.config.sampling.sampler = SamplerName::AlwaysOff;
    }

    fn feed(&self, spans: &mut dyn SpanSink) {
        let mut pipeline: Pipeline = agent::pipeline(&self.config, Host::default(), 1);
        let mut out = Out { spans, feedback: &mut () };
        for input in &self.inputs {
            pipeline.handle(&input.as_input(), &mut out);
        }
    }

    /// Encodes the spans as requests of OTLP. Returns their bytes.
    pub fn spans_to_otlp(&self) -> usize {
        otlp::protobuf_request(&self.spans).len()
    }
}

struct Counted(usize);

impl SpanSink for Counted {
    fn span(&mut self, _: &Outgoing<'_>) {
        self.0 += 1;
    }

    fn account(&self) -> Account {
        Account::new(Counter::SpansNotWritten)
    }
}

struct LastSpans(Vec<Span>);

impl SpanSink for LastSpans {
    fn span(&mut self, span: &Outgoing<'_>) {
        self.0.push(span.span().clone());
    }

    fn account(&self) -> Account {
        Account::new(Counter::SpansNotWritten)
    }
}
