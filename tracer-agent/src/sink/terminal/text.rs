//! A line per exchange, for people.

use std::io::Write;

use super::{
    escape::{bytes, columns, fit},
    row::{Row, clock_time},
    style::{DIM, Palette},
};
use crate::span::SpanKind;

/// Most columns of a service's name.
const SERVICE_WIDTH: usize = 16;
/// Columns of the method; few methods are longer.
const METHOD_WIDTH: usize = 6;
/// Columns of the target: a line of a connection within the host stays within 120.
const TARGET_WIDTH: usize = 30;

/// The lines' columns.
pub(super) struct TextLines {
    palette: Palette,
    /// Widest service so far, up to a limit: columns stay where they are.
    width: usize,
}

impl TextLines {
    pub(super) fn new(palette: Palette) -> Self {
        Self { palette, width: 8 }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, row: &Row<'_>) {
        let service = row.service(SERVICE_WIDTH);
        self.width = self.width.max(columns(&service)).min(SERVICE_WIDTH);
        let direction = match row.span.kind {
            SpanKind::Server | SpanKind::Consumer => "← in ",
            SpanKind::Client | SpanKind::Producer => "→ out",
            SpanKind::Internal => "·    ",
        };
        let request = match row.method.as_str() {
            "" => fit(&row.target, METHOD_WIDTH + 1 + TARGET_WIDTH),
            method => format!("{method:<METHOD_WIDTH$} {}", fit(&row.target, TARGET_WIDTH)),
        };
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "{}  {}  {direction}  {request} {} {:>8} {:>8}  {}",
            self.palette.text(DIM, &clock_time(row.span.end_unix_ns)),
            fit(&service, self.width),
            self.palette.status(row.tone, &format!("{:<8}", row.status)),
            row.duration(),
            row.body_bytes.map_or("?".to_owned(), |size| bytes(size.unsigned_abs())),
            self.palette.text(DIM, &row.span.peer.to_string()),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        correlate::Link,
        exchange::{ConnectionFacts, Connector, Exchange, Kind, Outcome, Unit},
        protocol::http::{HttpExchange, Noted},
        span::{
            Resource,
            build::{Clock, SpanBuilder, SpanConfig},
        },
    };

    /// Writes an exchange that ended `end_ms` after the clock's zero.
    fn write(lines: &mut TextLines, kind: Kind, request: &str, status: Option<u16>, end_ms: u64) -> String {
        let outcome = if status.is_some() { Outcome::Complete } else { Outcome::NoResponse };
        let method = 0..request.find(' ').expect("a method");
        let target = method.end + 1..request.rfind(' ').expect("a version");
        let exchange = Exchange {
            kind,
            request_unit: Unit::thread(1, 1),
            response_unit: None,
            start_ns: end_ms * 1_000_000,
            request_end_ns: end_ms * 1_000_000,
            response_start_ns: None,
            end_ns: end_ms * 1_000_000 + 1_200_000,
            outcome,
            request_offset: 0,
            attached: None,
            payload: Arc::new(HttpExchange {
                method,
                target,
                noted: Noted::of(request.as_bytes()),
                minor_version: 1,
                request_head: Bytes::from(request.to_owned()),
                response_head: None,
                status,
                export_body: None,
                request_body_bytes: Some(0),
                response_body_bytes: status.map(|_| 5_300),
            }),
        };
        let facts = ConnectionFacts {
            number: 1,
            connector: Connector::Unknown,
            local: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            remote: std::net::SocketAddr::from(([127, 0, 0, 1], 51_234)).into(),
            identity: crate::endpoint::PeerIdentity::Unknown,
            peer: None,
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
        lines.write(&mut out, &Row::of(&span.expect("a span")));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_stay_where_they_are_whatever_traffic_says() {
        let mut text = TextLines::new(Palette(false));
        let lines = [
            write(&mut text, Kind::Serve, "GET /orders/42?token=abc HTTP/1.1", Some(200), 1),
            write(&mut text, Kind::Call, "DELETE /a\u{1b}[31m HTTP/1.1", None, 2),
            write(&mut text, Kind::Serve, &format!("GET /{} HTTP/1.1", "x".repeat(300)), Some(500), 3),
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
}
