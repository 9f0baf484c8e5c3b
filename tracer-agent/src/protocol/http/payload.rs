//! An HTTP exchange as the payload of an exchange of any protocol.

#![forbid(unsafe_code)]

use std::{any::Any, borrow::Cow};

use super::{exchange::HttpExchange, otlp::Signal, resend};
use crate::exchange::{Attribute, ConnectionFacts, Exchange, ExportedSpans, Outcome, Payload, Repeatable};

impl Payload for HttpExchange {
    fn operation(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.method())
    }

    // `span/http.rs` describes it.
    fn attributes(&self, _: &mut dyn FnMut(&'static str, Attribute<'_>)) {}

    fn error(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn retained_bytes(&self) -> usize {
        let others = [&self.response_head, &self.export_body];
        self.request_head.len() + others.into_iter().flatten().map(bytes::Bytes::len).sum::<usize>()
    }

    fn exports_spans(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
            && self.exported() == Some(Signal::Traces)
    }

    fn exported_spans(&self) -> Option<ExportedSpans> {
        self.exported_spans()
    }

    fn may_be_repeated(&self, outcome: Outcome) -> bool {
        resend::may_be_followed(self, outcome)
    }

    fn repeatable(&self, exchange: &Exchange, facts: &ConnectionFacts) -> Option<Box<dyn Repeatable>> {
        Some(Box::new(resend::HttpRepeatable::of(self, exchange, facts)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
