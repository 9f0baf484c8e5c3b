//! What a message says, and what its span tells of it.

use std::{any::Any, borrow::Cow};

use crate::{
    exchange::{Attached, Attribute, ExchangeEvent, Payload},
    trace_context::{Carrier, Incoming},
};

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    verb: &'static str,
    subject: String,
    /// The answer refuses what was asked.
    pub(super) is_refused: bool,
}

impl Message {
    pub(super) fn new(verb: &'static str, text: &[u8]) -> Self {
        let subject = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Self { verb, subject: String::from_utf8_lossy(subject).into_owned(), is_refused: false }
    }
}

impl Payload for Message {
    fn operation(&self) -> Cow<'_, str> {
        format!("{} {}", self.verb, self.subject).into()
    }

    fn attributes(&self, add: &mut dyn FnMut(&'static str, Attribute<'_>)) {
        add("messaging.destination.name", Attribute::Str(&self.subject));
    }

    fn error(&self) -> Option<Cow<'_, str>> {
        self.is_refused.then(|| "refused".into())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The fields of a message's text.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Carrier for Fields<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'\n').filter_map(move |line| {
            let (field, rest) = line.split_at_checked(name.len())?;
            field.eq_ignore_ascii_case(name.as_bytes()).then(|| rest.strip_prefix(b"="))?
        })
    }
}

/// The events that a message tells (`event=`), and the contexts that it belongs to (`link=`).
pub(super) fn attached(text: &[u8], time_ns: u64) -> Option<Box<Attached>> {
    let fields = Fields(text);
    let events = fields.values("event").map(|name| ExchangeEvent {
        time_ns,
        name: String::from_utf8_lossy(name).into_owned().into(),
        attributes: vec![("of".into(), "a message".into())],
    });
    let links = fields
        .values("link")
        .filter_map(|context| Incoming::of(&Fields(&[&b"traceparent="[..], context].concat())));
    let attached = Attached { events: events.collect(), links: links.collect() };
    (attached != Attached::default()).then(|| Box::new(attached))
}
