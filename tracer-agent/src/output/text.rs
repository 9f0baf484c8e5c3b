//! A line per exchange, for people.

use std::io::Write;

use super::escape::{bytes, duration, printable};
use crate::{
    exchange::{ConnectionFacts, Exchange, Outcome, Payload, Role},
    span::{Span, Status, Value},
};

/// Lines that are written in a second before the rest is folded into a count.
const LINES_PER_SECOND: u32 = 200;

/// The state of the lines.
pub(super) struct TextOutput {
    color: bool,
    second: u64,
    lines: u32,
    folded: u64,
    /// Widest service so far, up to a limit: columns stay where they are.
    width: usize,
}

impl TextOutput {
    pub(super) fn new(color: bool) -> Self {
        Self { color, second: 0, lines: 0, folded: 0, width: 8 }
    }

    pub(super) fn line(&mut self, out: &mut Vec<u8>, span: &Span, exchange: &Exchange, facts: &ConnectionFacts) {
        let second = span.end_unix_ns / 1_000_000_000;
        if second > self.second {
            self.tell_folded(out);
            self.second = second;
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines > LINES_PER_SECOND {
            self.folded += 1;
            return;
        }
        let Payload::Http(http) = &exchange.payload;
        let service = printable(&span.resource.service_name, 24);
        self.width = self.width.max(service.chars().count());
        let (dim, normal) = if self.color { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let direction = match facts.role {
            Role::Server => "← in ",
            Role::Client => "→ out",
        };
        let status = match (http.status, exchange.outcome) {
            (Some(status), Outcome::Complete) => status.to_string(),
            (_, Outcome::Timeout) => "timeout".to_owned(),
            (_, Outcome::Reset) => "reset".to_owned(),
            (_, Outcome::NoResponse) => "no reply".to_owned(),
            (_, Outcome::Truncated) => "cut".to_owned(),
            (_, Outcome::Lost) => "lost".to_owned(),
            (None, Outcome::Complete) => "-".to_owned(),
        };
        let paint = match (self.color, &span.status, http.status) {
            (false, ..) => "",
            (true, Status::Error(_), _) => "\x1b[31m",
            (true, Status::Unset, Some(400..)) => "\x1b[33m",
            (true, Status::Unset, _) => "\x1b[32m",
        };
        let method = printable(&String::from_utf8_lossy(http.method()), 8);
        let target = printable(&shown_target(span), 60);
        let taken = duration(exchange.end_ns.saturating_sub(exchange.start_ns));
        let size = http.response_body_bytes.map_or("?".to_owned(), bytes);
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "{dim}{}{normal}  {service:<width$}  {direction}  {method:<6} {target:<32}  {paint}{status:<4}{normal} {taken:>8} {size:>8}  {dim}{}{normal}",
            clock_time(span.end_unix_ns),
            facts.remote,
            width = self.width,
        );
    }

    /// The second in which lines were folded may be the last with any.
    pub(super) fn tick(&mut self, out: &mut Vec<u8>) {
        if self.folded > 0 && crate::clock::unix_seconds() > self.second + 1 {
            self.tell_folded(out);
        }
    }

    /// No more lines come.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.tell_folded(out);
    }

    fn tell_folded(&mut self, out: &mut Vec<u8>) {
        if self.folded > 0 {
            let _ = writeln!(out, "              … and {} more in the same second", self.folded);
            self.folded = 0;
        }
    }
}

/// Path and query, as they are exported: secrets are gone.
fn shown_target(span: &Span) -> String {
    let attribute = |name: &str| {
        span.attributes.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Value::Str(text) => Some(text.as_ref()),
            _ => None,
        })
    };
    if let Some(full) = attribute("url.full") {
        let rest = full.split_once("://").map_or(full, |(_, rest)| rest);
        return rest.find(['/', '?']).map_or("/", |at| &rest[at..]).to_owned();
    }
    let path = attribute("url.path").unwrap_or("-");
    attribute("url.query").map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// Time of day in the local zone, to the millisecond.
pub(super) fn clock_time(unix_ns: u64) -> String {
    let seconds = (unix_ns / 1_000_000_000) as libc::time_t;
    let milliseconds = unix_ns / 1_000_000 % 1_000;
    let offset = crate::clock::local_offset_seconds(seconds);
    let day = (seconds + offset).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", day / 3600, day / 60 % 60, day % 60)
}
