//! A line per exchange, for people.

use std::io::Write;

use super::escape::{bytes, duration, printable};
use crate::{
    exchange::{ConnectionFacts, Exchange, Outcome, Payload, Role},
    span::{Span, Status, ValueRef},
};

/// Lines that are written in a second before the rest is folded into a count.
const LINES_PER_SECOND: u32 = 200;

/// Most characters of a service's name.
const SERVICE_WIDTH: usize = 16;
/// Characters of the target: a line of a connection within the host stays within 120.
const TARGET_WIDTH: usize = 30;

/// The state of the lines.
pub(super) struct TextOutput {
    color: bool,
    second: u64,
    lines: u32,
    folded: u64,
    /// Lines were folded since the last tick.
    is_folding: bool,
    /// Widest service so far, up to a limit: columns stay where they are.
    width: usize,
}

impl TextOutput {
    pub(super) fn new(color: bool) -> Self {
        Self { color, second: 0, lines: 0, folded: 0, is_folding: false, width: 8 }
    }

    pub(super) fn line(
        &mut self,
        out: &mut Vec<u8>,
        span: &Span,
        exchange: &Exchange,
        facts: &ConnectionFacts,
    ) {
        let second = span.end_unix_ns / 1_000_000_000;
        if second > self.second {
            self.tell_folded(out);
            self.second = second;
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines > LINES_PER_SECOND {
            self.folded += 1;
            self.is_folding = true;
            return;
        }
        let Payload::Http(http) = &exchange.payload;
        let service = printable(&span.resource.service_name, SERVICE_WIDTH - 1);
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
        let method = printable(&String::from_utf8_lossy(http.method()), 7);
        let target = printable(&shown_target(span), TARGET_WIDTH - 1);
        let taken = duration(exchange.end_ns.saturating_sub(exchange.start_ns));
        let size = http.response_body_bytes.map_or("?".to_owned(), bytes);
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "{dim}{}{normal}  {service:<width$}  {direction}  {method:<6} {target:<TARGET_WIDTH$} {paint}{status:<8}{normal} {taken:>8} {size:>8}  {dim}{}{normal}",
            clock_time(span.end_unix_ns),
            facts.remote,
            width = self.width,
        );
    }

    /// Time has passed. While lines go on being folded, their count waits for the next second.
    pub(super) fn tick(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_folding) {
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
        span.attributes.get(name).and_then(|value| match value {
            ValueRef::Str(text) => Some(text),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        correlate::Link,
        exchange::{HttpExchange, Noted, Unit},
        span::{
            Resource,
            build::{Clock, SpanBuilder, SpanConfig},
        },
    };

    /// Writes an exchange that ended `end_ms` after the clock's zero.
    fn write(text: &mut TextOutput, role: Role, request: &str, status: Option<u16>, end_ms: u64) -> String {
        let outcome = if status.is_some() { Outcome::Complete } else { Outcome::NoResponse };
        let method = 0..request.find(' ').expect("a method");
        let target = method.end + 1..request.rfind(' ').expect("a version");
        let exchange = Exchange {
            request_unit: Unit { pid: 1, tid: 1 },
            response_unit: None,
            start_ns: end_ms * 1_000_000,
            request_end_ns: end_ms * 1_000_000,
            response_start_ns: None,
            end_ns: end_ms * 1_000_000 + 1_200_000,
            outcome,
            request_offset: 0,
            payload: Payload::Http(Box::new(HttpExchange {
                method,
                target,
                noted: Noted::of(request.as_bytes()),
                minor_version: 1,
                request_head: Bytes::from(request.to_owned()),
                response_head: None,
                status,
                request_body_bytes: Some(0),
                response_body_bytes: status.map(|_| 5_300),
            })),
        };
        let facts = ConnectionFacts {
            number: 1,
            role,
            local: "127.0.0.1:8080".parse().expect("an address"),
            remote: "127.0.0.1:51234".parse().expect("an address"),
            netns: 1,
            connect_ns: None,
            first_sent: 0,
            first_received: 0,
        };
        let resource = Arc::new(Resource { service_name: "shop".to_owned(), pid: 1, attributes: Vec::new() });
        let mut builder = SpanBuilder::new(SpanConfig::default());
        let span = builder.build(
            &exchange,
            &facts,
            &resource,
            &Clock { offset_ns: 0 },
            Link::default(),
            &mut |_, _| {},
        );
        let mut out = Vec::new();
        text.line(&mut out, &span.expect("a span"), &exchange, &facts);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_stay_where_they_are_whatever_traffic_says() {
        let mut text = TextOutput::new(false);
        let lines = [
            write(&mut text, Role::Server, "GET /orders/42?token=abc HTTP/1.1", Some(200), 1),
            write(&mut text, Role::Client, "DELETE /a\u{1b}[31m HTTP/1.1", None, 2),
            write(&mut text, Role::Server, &format!("GET /{} HTTP/1.1", "x".repeat(300)), Some(500), 3),
        ];
        // The time of day depends on the zone of the machine.
        let shown: Vec<&str> = lines.iter().map(|line| &line[12..]).collect();
        assert_eq!(
            shown,
            [
                "  shop      ← in   GET    /orders/42?token=REDACTED      200         1.2ms    5300B  127.0.0.1:51234\n",
                "  shop      → out  DELETE /a\\u{1b}[31m                   no reply    1.2ms        ?  127.0.0.1:51234\n",
                "  shop      ← in   GET    /xxxxxxxxxxxxxxxxxxxxxxxxxxxx… 500         1.2ms    5300B  127.0.0.1:51234\n",
            ]
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 120));
    }

    #[test]
    fn more_lines_than_a_person_reads_become_one_count() {
        let mut text = TextOutput::new(false);
        let mut written = String::new();
        for _ in 0..LINES_PER_SECOND + 50 {
            written += &write(&mut text, Role::Server, "GET / HTTP/1.1", Some(200), 100);
        }
        let mut out = Vec::new();
        text.tick(&mut out);
        assert!(out.is_empty(), "the second may not be over");
        written += &write(&mut text, Role::Server, "GET / HTTP/1.1", Some(200), 1_100);
        assert_eq!(written.lines().count(), LINES_PER_SECOND as usize + 2);
        assert_eq!(written.matches("… and 50 more in the same second").count(), 1);
        text.tick(&mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_count_does_not_wait_for_traffic_that_has_stopped() {
        let mut text = TextOutput::new(false);
        for _ in 0..LINES_PER_SECOND + 1 {
            write(&mut text, Role::Server, "GET / HTTP/1.1", Some(200), 100);
        }
        let mut out = Vec::new();
        text.tick(&mut out);
        text.tick(&mut out);
        assert_eq!(out, "              … and 1 more in the same second\n".as_bytes());
    }
}
