//! What a span waited for in its own time, where the data says it.

use super::{calls::Calls, own_time::own, tree::Tree};
use crate::{
    answer::{Gap, Stretch},
    span::{Kind, Span, Value},
};

/// Events that begin and end a phase of a client's request, and what it is. The first are those of Go's `otelhttptrace`
/// without spans of its own, the others those of OpenTelemetry's instrumentation of browsers.
const PHASES: [(&str, &str, &str); 7] = [
    ("http.dns.start", "http.dns.done", "name lookup"),
    ("http.connect.start", "http.connect.done", "connection set-up"),
    ("http.tls.start", "http.tls.done", "TLS handshake"),
    ("domainLookupStart", "domainLookupEnd", "name lookup"),
    ("connectStart", "connectEnd", "connection set-up"),
    ("requestStart", "responseStart", "waiting for the first byte"),
    ("responseStart", "responseEnd", "receiving the response"),
];

/// Stretches of a span's own time with a name.
pub(super) fn of(tree: &Tree<'_>, calls: &Calls, at: usize) -> Vec<Gap> {
    let named = named(tree, calls, at);
    if named.is_empty() {
        return Vec::new();
    }
    let mut gaps = Vec::new();
    for stretch in own(tree, at) {
        for (name, part) in &named {
            let (start_ns, end_ns) = (stretch.start_ns.max(part.start_ns), stretch.end_ns.min(part.end_ns));
            if start_ns < end_ns {
                gaps.push(Gap { start_ns, end_ns, name: (*name).to_owned() });
            }
        }
    }
    gaps
}

/// Stretches of a span with a name, whether a child was under way in them or not.
fn named(tree: &Tree<'_>, calls: &Calls, at: usize) -> Vec<(&'static str, Stretch)> {
    let (span, time) = (tree.span(at), tree.time(at));
    if span.kind == Kind::Client
        && let Some(server) = calls.peer(at)
    {
        // Where the server's time lies in the client's is not known if their clocks differ.
        if !calls.is_exact(at) {
            return Vec::new();
        }
        let server = tree.time(server);
        return vec![
            ("network", Stretch { start_ns: time.start_ns, end_ns: server.start_ns }),
            ("network", Stretch { start_ns: server.end_ns, end_ns: time.end_ns }),
        ];
    }
    let phases = phases(span, tree.first_unix_ns());
    if !phases.is_empty() {
        return phases;
    }
    let Some(first_byte_ns) = first_byte_ns(span, time) else { return Vec::new() };
    let waiting = Stretch { start_ns: time.start_ns, end_ns: first_byte_ns };
    let response = Stretch { start_ns: first_byte_ns, end_ns: time.end_ns };
    match span.kind {
        Kind::Client => vec![("waiting for the first byte", waiting), ("receiving the response", response)],
        // Before the first byte, the server works.
        Kind::Server => vec![("sending the response", response)],
        _ => Vec::new(),
    }
}

/// When the first byte of the response came or went. Our agent tells it, in seconds from the first byte of the request.
fn first_byte_ns(span: &Span, time: Stretch) -> Option<u64> {
    let Some(Value::Double(seconds)) = span.attribute("tracer.http.time_to_first_byte") else { return None };
    // A number that is none, or less than zero, becomes zero, and a great one the greatest.
    let first_byte_ns = time.start_ns.saturating_add((seconds * 1e9).round() as u64);
    (*seconds >= 0.0 && first_byte_ns <= time.end_ns).then_some(first_byte_ns)
}

/// The phases whose both events are there.
fn phases(span: &Span, first_unix_ns: u64) -> Vec<(&'static str, Stretch)> {
    if span.kind != Kind::Client && span.kind != Kind::Internal || span.events.is_empty() {
        return Vec::new();
    }
    let moment = |name: &str| {
        let event = span.events.iter().find(|event| &*event.name == name)?;
        Some(event.time_unix_ns.saturating_sub(first_unix_ns))
    };
    PHASES
        .iter()
        .filter_map(|(begin, end, name)| {
            Some((*name, Stretch { start_ns: moment(begin)?, end_ns: moment(end)? }))
        })
        .collect()
}
