//! Where the spans of a file go, some at a time.

use std::mem;

use crate::{otlp::Decoded, span::Span};

/// Spans that are given away at once.
const BATCH: usize = 1000;

pub(super) struct Sink<'take> {
    take: &'take mut dyn FnMut(Vec<Span>),
    /// Spans that are not given away yet, and what was refused.
    waiting: Decoded,
    spans: u64,
}

impl<'take> Sink<'take> {
    pub(super) fn new(take: &'take mut dyn FnMut(Vec<Span>)) -> Self {
        Self { take, waiting: Decoded::default(), spans: 0 }
    }

    pub(super) fn append(&mut self, decoded: Decoded) {
        self.waiting.append(decoded);
        if self.waiting.spans.len() >= BATCH {
            self.give();
        }
    }

    pub(super) fn refuse(&mut self, reason: &'static str) {
        self.waiting.refuse(reason);
    }

    fn give(&mut self) {
        let spans = mem::take(&mut self.waiting.spans);
        self.spans += spans.len() as u64;
        (self.take)(spans);
    }

    /// How many spans there were, and what was refused.
    pub(super) fn finish(mut self) -> (u64, Vec<(&'static str, u64)>) {
        if !self.waiting.spans.is_empty() {
            self.give();
        }
        (self.spans, self.waiting.refused)
    }
}
