//! Counts and latencies by endpoint, at the end.

use std::{collections::HashMap, fmt::Write};

use hdrhistogram::Histogram;

use super::escape::{duration, printable};
use crate::{
    route::earns_name,
    span::{Span, Status, semconv},
};

/// Endpoints that are told apart; the rest is one line of each direction.
const MAX_ENDPOINTS: usize = 500;
/// Endpoints that join the rest when there are more: those that are used least.
const FOLDED: usize = MAX_ENDPOINTS / 4;
/// Service and endpoint of the rest.
const OTHER: &str = "(other)";
/// Lines that are shown.
const MAX_LINES: usize = 40;

/// Less than this is too short for a rate, seconds.
const SHORTEST_FOR_RATE: f64 = 1.0;

/// What was seen, by service, direction and name. Traffic chooses names, so they are hashed with a
/// secret key.
#[derive(Default)]
pub struct Summary {
    endpoints: HashMap<EndpointKey, EndpointRow>,
    first_ns: u64,
    last_ns: u64,
    spans: u64,
    /// Those whose end was not seen: they have no duration.
    unended: u64,
}

/// Service, whether it is the server, and the span's name.
type EndpointKey = (String, bool, String);

struct EndpointRow {
    count: u64,
    errors: u64,
    /// Responses that show that the endpoint exists.
    earned: u64,
    /// Microseconds.
    latency: Histogram<u32>,
    shortest_ns: u64,
    longest_ns: u64,
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
        let is_server = span.kind.is_incoming();
        let key = (service.clone(), is_server, span.name.to_string());
        if self.endpoints.len() >= MAX_ENDPOINTS && !self.endpoints.contains_key(&key) {
            self.fold_least_used();
        }
        let endpoint = self.endpoints.entry(key).or_insert_with(EndpointRow::new);
        endpoint.count += 1;
        let status = span.int(semconv::HTTP_RESPONSE_STATUS_CODE);
        endpoint.earned += u64::from(status.is_none_or(|status| earns_name(u16::try_from(status).ok())));
        endpoint.errors += u64::from(matches!(span.status, Status::Error(_)));
        if !span.has_known_end() {
            self.unended += 1;
            return;
        }
        let taken_ns = span.duration_ns();
        endpoint.shortest_ns = endpoint.shortest_ns.min(taken_ns);
        endpoint.longest_ns = endpoint.longest_ns.max(taken_ns);
        // Bounded, so that the histogram cannot grow without end; the shortest and the longest are kept exactly.
        let _ = endpoint.latency.record((taken_ns / 1000).min(DAY_US));
    }

    /// The endpoints that are used least join the rest. Requests that were refused count less than all others, so that
    /// a client that tries paths displaces nothing that is used.
    #[cold]
    fn fold_least_used(&mut self) {
        let is_other = |(service, _, name): &EndpointKey| service == OTHER && name == OTHER;
        let mut used: Vec<(u64, u64, EndpointKey)> = self
            .endpoints
            .iter()
            .filter(|(key, _)| !is_other(key))
            .map(|(key, endpoint)| (endpoint.earned, endpoint.count, key.clone()))
            .collect();
        used.sort_unstable();
        for (.., key) in used.into_iter().take(FOLDED) {
            let Some(folded) = self.endpoints.remove(&key) else { continue };
            let rest = (OTHER.to_owned(), key.1, OTHER.to_owned());
            self.endpoints.entry(rest).or_insert_with(EndpointRow::new).add(&folded);
        }
    }

    /// Spans that were counted.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if self.endpoints.is_empty() {
            return "There are no spans.\n".to_owned();
        }
        let seconds = self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9;
        let rate = |count: u64| {
            if seconds < SHORTEST_FOR_RATE {
                "-".to_owned()
            } else {
                format!("{:.1}", count as f64 / seconds)
            }
        };
        let mut rows: Vec<_> = self.endpoints.iter().collect();
        rows.sort_by(|a, b| (&a.0.0, !a.0.1, b.1.count, &a.0.2).cmp(&(&b.0.0, !b.0.1, a.1.count, &b.0.2)));
        let names: Vec<String> = rows.iter().map(|((_, _, name), _)| printable(name, 44)).collect();
        let services: Vec<String> = rows.iter().map(|((service, _, _), _)| printable(service, 24)).collect();
        let width = |list: &[String], least: usize| {
            list.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(least)
        };
        let (name_width, service_width) = (width(&names, 8), width(&services, 7));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<service_width$}  dir  {:<name_width$}  {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8}",
            "service", "endpoint", "count", "per s", "errors", "p50", "p95", "p99", "max"
        );
        for (index, ((_, is_server, _), endpoint)) in rows.iter().enumerate().take(MAX_LINES) {
            let at = |quantile| {
                if endpoint.latency.is_empty() {
                    return "-".to_owned();
                }
                let us = endpoint.latency.value_at_quantile(quantile);
                // The histogram knows the longest only as one of its class.
                let is_longest = us >= endpoint.latency.max();
                let ns = if is_longest { endpoint.longest_ns } else { us.saturating_mul(1000) };
                duration(ns.max(endpoint.shortest_ns).min(endpoint.longest_ns))
            };
            let _ = writeln!(
                text,
                "{:<service_width$}  {:<3}  {:<name_width$}  {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8}",
                services[index],
                if *is_server { "in" } else { "out" },
                names[index],
                endpoint.count,
                rate(endpoint.count),
                endpoint.errors,
                at(0.5),
                at(0.95),
                at(0.99),
                if endpoint.latency.is_empty() { "-".to_owned() } else { duration(endpoint.longest_ns) },
            );
        }
        if rows.len() > MAX_LINES {
            let rest: u64 = rows.iter().skip(MAX_LINES).map(|(_, endpoint)| endpoint.count).sum();
            let _ = writeln!(text, "… and {} more endpoints with {rest} requests", rows.len() - MAX_LINES);
        }
        match self.unended {
            0 => {}
            1 => text += "1 span whose end was not seen is counted, and left out of the times.\n",
            more => {
                let _ = writeln!(
                    text,
                    "{more} spans whose ends were not seen are counted, and left out of the times."
                );
            }
        }
        text
    }
}

impl EndpointRow {
    fn new() -> Self {
        Self {
            count: 0,
            errors: 0,
            earned: 0,
            latency: new_histogram(),
            shortest_ns: u64::MAX,
            longest_ns: 0,
        }
    }

    /// Counts what another one has counted.
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.earned += other.earned;
        self.shortest_ns = self.shortest_ns.min(other.shortest_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
    }
}

/// Longest that is told apart, microseconds.
const DAY_US: u64 = 86_400_000_000;

/// Two digits of microseconds; it grows with what it holds, to some kilobytes.
fn new_histogram() -> Histogram<u32> {
    const DIGITS: u8 = 2;
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("up to five digits are valid"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::span::{Resource, SpanKind};

    fn span(name: &str, kind: SpanKind, start_ms: u64, taken_us: u64, status: Status) -> Span {
        let start_unix_ns = 1_000_000_000_000 + start_ms * 1_000_000;
        Span {
            resource: Arc::new(Resource { service_name: "shop".to_owned(), pid: 1, attributes: Vec::new() }),
            trace_id: [1; 16],
            span_id: [1; 8],
            parent_span_id: None,
            flags: 0,
            trace_state: String::new(),
            name: name.to_owned().into(),
            kind,
            local: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            peer: std::net::SocketAddr::from(([127, 0, 0, 1], 51234)).into(),
            start_unix_ns,
            end_unix_ns: start_unix_ns + taken_us * 1000,
            attributes: crate::span::Attributes::default(),
            attachments: None,
            status,
        }
    }

    #[test]
    fn endpoints_have_their_counts_rates_errors_and_latencies() {
        let mut summary = Summary::default();
        for index in 0..100 {
            let status = if index < 2 { Status::Error(String::new()) } else { Status::Unset };
            summary.add(&span("GET /orders/{id}", SpanKind::Server, index * 20, 1000 + index, status));
        }
        summary.add(&span("POST /pay", SpanKind::Client, 0, 2_000_000, Status::Unset));
        assert_eq!(
            summary.table(),
            "service  dir  endpoint             count    per s  errors      p50      p95      p99      max\n\
             shop     in   GET /orders/{id}       100     50.0       2    1.1ms    1.1ms    1.1ms    1.1ms\n\
             shop     out  POST /pay                1      0.5       0    2.00s    2.00s    2.00s    2.00s\n"
        );
    }

    #[test]
    fn one_request_has_no_rate_and_its_latency_is_exact() {
        let mut summary = Summary::default();
        summary.add(&span("GET /a", SpanKind::Server, 0, 999, Status::Unset));
        assert!(summary.table().contains("       1        -       0    999µs    999µs    999µs    999µs"));
    }

    #[test]
    fn percentiles_lie_between_the_shortest_and_the_longest() {
        let mut summary = Summary::default();
        let mut exact = span("GET /a", SpanKind::Server, 0, 191, Status::Unset);
        exact.end_unix_ns += 700;
        summary.add(&exact);
        assert!(summary.table().contains("    192µs    192µs    192µs    192µs\n"), "{}", summary.table());
        exact.end_unix_ns -= 91_000;
        summary.add(&exact);
        assert!(summary.table().contains("    101µs    192µs    192µs    192µs\n"), "{}", summary.table());
    }

    #[test]
    fn the_number_of_endpoints_is_bounded_and_nothing_is_left_out() {
        let mut summary = Summary::default();
        for index in 0..2 * MAX_ENDPOINTS {
            summary.add(&span(&format!("GET /{index}"), SpanKind::Server, 0, 1, Status::Unset));
        }
        assert!(summary.endpoints.len() <= MAX_ENDPOINTS + 1, "{}", summary.endpoints.len());
        assert_eq!(summary.endpoints.values().map(|endpoint| endpoint.count).sum::<u64>(), 1000);
        assert!(summary.table().lines().count() <= MAX_LINES + 2);
    }

    #[test]
    fn endpoints_that_a_scanner_tries_displace_none_that_is_used() {
        let mut summary = Summary::default();
        // Found by the scanner first, and each more often than the service's own.
        for index in 0..MAX_ENDPOINTS {
            for _ in 0..5 {
                let mut span = span(&format!("GET /{index}"), SpanKind::Server, 0, 1, Status::Unset);
                span.attributes.int(semconv::HTTP_RESPONSE_STATUS_CODE, 404);
                summary.add(&span);
            }
        }
        for index in 0..3 * MAX_ENDPOINTS {
            summary.add(&span(&format!("GET /{}", index % 40), SpanKind::Client, 0, 1, Status::Unset));
            summary.add(&span(&format!("GET /once/{index}"), SpanKind::Client, 0, 1, Status::Unset));
        }
        let kept = |index: u64| {
            let key = ("shop".to_owned(), false, format!("GET /{index}"));
            summary.endpoints.get(&key).map_or(0, |endpoint| endpoint.count)
        };
        let fewest = (0..40).map(kept).min();
        assert!(fewest >= Some(30), "{fewest:?} of 37");
        let all = 5 * MAX_ENDPOINTS as u64 + 6 * MAX_ENDPOINTS as u64;
        assert_eq!(summary.endpoints.values().map(|endpoint| endpoint.count).sum::<u64>(), all);
    }

    #[test]
    fn a_span_whose_end_was_not_seen_counts_and_has_no_time() {
        let mut summary = Summary::default();
        let mut unended = span("GET /a", SpanKind::Client, 0, 1, Status::Unset);
        unended.attributes.bool(semconv::TRACER_HTTP_END_UNKNOWN, true);
        summary.add(&unended);
        let text = summary.table();
        assert!(text.contains("  1        -       0        -        -        -        -\n"), "{text}");
        assert!(
            text.ends_with("1 span whose end was not seen is counted, and left out of the times.\n"),
            "{text}"
        );
        summary.add(&span("GET /a", SpanKind::Client, 0, 304_000, Status::Unset));
        summary.add(&unended);
        let text = summary.table();
        assert!(text.contains("  3        -       0    304ms    304ms    304ms    304ms\n"), "{text}");
        assert!(text.contains("\n2 spans whose ends were not seen are counted"), "{text}");
    }
}
