//! Counts and latencies by endpoint, at the end.

use std::fmt::Write;

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;

use super::escape::{duration, printable};
use crate::span::{Span, SpanKind, Status};

/// Endpoints that are told apart; the rest is one line.
const MAX_ENDPOINTS: usize = 500;
/// Lines that are shown.
const MAX_LINES: usize = 40;

/// What was seen, by service, direction and name.
#[derive(Default)]
pub struct Summary {
    endpoints: FxHashMap<(String, bool, String), Endpoint>,
    first_ns: u64,
    last_ns: u64,
    spans: u64,
}

struct Endpoint {
    count: u64,
    errors: u64,
    latency: Histogram<u64>,
}

impl Summary {
    /// Counts a span.
    pub fn add(&mut self, span: &Span) {
        self.spans += 1;
        if self.first_ns == 0 || span.start_unix_ns < self.first_ns {
            self.first_ns = span.start_unix_ns;
        }
        self.last_ns = self.last_ns.max(span.end_unix_ns);
        let service = &span.resource.service_name;
        let is_server = span.kind == SpanKind::Server;
        let mut key = (service.clone(), is_server, span.name.to_string());
        if !self.endpoints.contains_key(&key) && self.endpoints.len() >= MAX_ENDPOINTS {
            key = ("(other)".to_owned(), is_server, "(other)".to_owned());
        }
        let endpoint = self.endpoints.entry(key).or_insert_with(Endpoint::new);
        endpoint.count += 1;
        endpoint.errors += u64::from(matches!(span.status, Status::Error(_)));
        endpoint.latency.saturating_record((span.end_unix_ns - span.start_unix_ns) / 1000);
    }

    /// Spans that were counted.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if self.endpoints.is_empty() {
            return "No request was seen.\n".to_owned();
        }
        let seconds = ((self.last_ns - self.first_ns) as f64 / 1e9).max(0.001);
        let mut rows: Vec<_> = self.endpoints.iter().collect();
        rows.sort_by(|a, b| (&a.0.0, !a.0.1, b.1.count, &a.0.2).cmp(&(&b.0.0, !b.0.1, a.1.count, &b.0.2)));
        let names: Vec<String> = rows.iter().map(|((_, _, name), _)| printable(name, 44)).collect();
        let services: Vec<String> = rows.iter().map(|((service, _, _), _)| printable(service, 24)).collect();
        let width = |list: &[String], least: usize| list.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(least);
        let (name_width, service_width) = (width(&names, 8), width(&services, 7));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<service_width$}  dir  {:<name_width$}  {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8}",
            "service", "endpoint", "count", "per s", "errors", "p50", "p95", "p99", "max"
        );
        for (index, ((_, is_server, _), endpoint)) in rows.iter().enumerate().take(MAX_LINES) {
            let at = |quantile| duration(endpoint.latency.value_at_quantile(quantile) * 1000);
            let _ = writeln!(
                text,
                "{:<service_width$}  {:<3}  {:<name_width$}  {:>8} {:>8.1} {:>7} {:>8} {:>8} {:>8} {:>8}",
                services[index],
                if *is_server { "in" } else { "out" },
                names[index],
                endpoint.count,
                endpoint.count as f64 / seconds,
                endpoint.errors,
                at(0.5),
                at(0.95),
                at(0.99),
                duration(endpoint.latency.max() * 1000),
            );
        }
        if rows.len() > MAX_LINES {
            let rest: u64 = rows.iter().skip(MAX_LINES).map(|(_, endpoint)| endpoint.count).sum();
            let _ = writeln!(text, "… and {} more endpoints with {rest} requests", rows.len() - MAX_LINES);
        }
        text
    }
}

impl Endpoint {
    fn new() -> Self {
        Self { count: 0, errors: 0, latency: new_histogram() }
    }
}

/// Microseconds up to an hour, two digits: a few kilobytes each.
fn new_histogram() -> Histogram<u64> {
    const HOUR_US: u64 = 3_600_000_000;
    // The bounds are constants that the type accepts; a plain one stands in should that ever change.
    Histogram::new_with_max(HOUR_US, 2).unwrap_or_else(|_| Histogram::new(1).unwrap_or_else(|_| unreachable!("1 digit is valid")))
}
