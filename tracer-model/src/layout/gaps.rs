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
    let set_ups = set_ups(tree, at);
    if named.is_empty() && set_ups.is_empty() {
        return Vec::new();
    }
    let mut gaps = Vec::new();
    // Both are in the order of time.
    let mut set_ups = set_ups.into_iter().peekable();
    for stretch in own(tree, at) {
        while let Some(Stretch { start_ns, end_ns }) =
            set_ups.next_if(|set_up| set_up.end_ns <= stretch.end_ns)
        {
            // A connection that was opened before the stretch was opened ahead: the stretch was something else.
            if end_ns == stretch.end_ns && start_ns >= stretch.start_ns && start_ns < end_ns {
                gaps.push(Gap { start_ns, end_ns, name: "connection set-up".to_owned() });
            }
        }
        for (name, part) in &named {
            let (start_ns, end_ns) = (stretch.start_ns.max(part.start_ns), stretch.end_ns.min(part.end_ns));
            if start_ns < end_ns {
                gaps.push(Gap { start_ns, end_ns, name: (*name).to_owned() });
            }
        }
    }
    gaps
}

/// From `connect` to the first byte, for the client requests below a span that are the first of their connections. Our agent
/// tells it.
fn set_ups(tree: &Tree<'_>, at: usize) -> Vec<Stretch> {
    let set_up = |child: &usize| {
        let Some(Value::Double(seconds)) = tree.span(*child).attribute("tracer.http.connection_setup") else {
            return None;
        };
        let end_ns = tree.time(*child).start_ns;
        // A number that is none, or less than zero, becomes zero.
        let start_ns = end_ns.checked_sub((seconds * 1e9).round() as u64)?;
        Some(Stretch { start_ns, end_ns })
    };
    tree.children(at).iter().filter_map(set_up).collect()
}

/// Stretches of a span with a name, whether a child was under way in them or not.
fn named(tree: &Tree<'_>, calls: &Calls, at: usize) -> Vec<(&'static str, Stretch)> {
    let (span, time) = (tree.span(at), tree.time(at));
    if span.kind == Kind::Client
        && let Some(server) = calls.peer(at)
    {
        // Where the server's time lies in the client's is not always known.
        if calls.network(at).is_none() {
            return Vec::new();
        }
        let server = tree.time(server);
        return vec![
            ("network", Stretch { start_ns: time.start_ns, end_ns: server.start_ns }),
            ("network", Stretch { start_ns: server.end_ns, end_ns: time.end_ns }),
        ];
    }
    let phases = phases(span, |unix_ns| tree.moment_ns(at, unix_ns));
    if !phases.is_empty() {
        return phases;
    }
    let mut named = Vec::new();
    if let Some(request_end_ns) = request_end_ns(span, time) {
        named.push(("waiting for the client", Stretch { start_ns: time.start_ns, end_ns: request_end_ns }));
    }
    let Some(first_byte_ns) = first_byte_ns(span, time) else { return named };
    let waiting = Stretch { start_ns: time.start_ns, end_ns: first_byte_ns };
    let response = Stretch { start_ns: first_byte_ns, end_ns: time.end_ns };
    match span.kind {
        Kind::Client => vec![("waiting for the first byte", waiting), ("receiving the response", response)],
        // Before the first byte, the server works.
        Kind::Server => {
            named.push(("sending the response", response));
            named
        }
        _ => named,
    }
}

/// When the first byte of the response came or went.
fn first_byte_ns(span: &Span, time: Stretch) -> Option<u64> {
    moment_ns(span, time, "tracer.http.time_to_first_byte")
}

/// When the last byte of the request came. Until then a server waited for its client.
fn request_end_ns(span: &Span, time: Stretch) -> Option<u64> {
    moment_ns(span, time, "tracer.http.time_to_request_end").filter(|_| span.kind == Kind::Server)
}

/// A moment of a request. Our agent tells it, in seconds from the first byte of the request.
fn moment_ns(span: &Span, time: Stretch, name: &str) -> Option<u64> {
    let Some(Value::Double(seconds)) = span.attribute(name) else { return None };
    // A number that is none, or less than zero, becomes zero, and a great one the greatest.
    let moment_ns = time.start_ns.saturating_add((seconds * 1e9).round() as u64);
    (*seconds >= 0.0 && moment_ns <= time.end_ns).then_some(moment_ns)
}

/// The phases whose both events are there.
fn phases(span: &Span, moment_ns: impl Fn(u64) -> u64) -> Vec<(&'static str, Stretch)> {
    if span.kind != Kind::Client && span.kind != Kind::Internal || span.events.is_empty() {
        return Vec::new();
    }
    let moment = |name: &str| {
        let event = span.events.iter().find(|event| &*event.name == name)?;
        Some(moment_ns(event.time_unix_ns))
    };
    PHASES
        .iter()
        .filter_map(|(begin, end, name)| {
            Some((*name, Stretch { start_ns: moment(begin)?, end_ns: moment(end)? }))
        })
        .collect()
}
