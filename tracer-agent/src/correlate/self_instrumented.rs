//! Self-instrumented processes: client requests that carry the application's own trace context, and processes
//! that export spans of their own.

use super::{
    contexts::Contexts,
    forwarded::Carries,
    link::{Context, Evidence},
    open::{Key, OpenRequests},
    process::{OwnName, Process},
    rules::Sdk,
    seen::{FirstSeen, Hop},
};
use crate::{
    exchange::{Exchange, Kind},
    trace_context::Incoming,
};

/// A request has come to a process with these contexts.
pub(super) fn received(process: &mut Process, seen: &mut FirstSeen, hop: Hop, carries: Carries<'_>) {
    for context in carries.contexts() {
        process.received.add(context.parent_id);
        seen.add(context.parent_id, hop);
    }
}

/// The context that a client request carries, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnContext<'a> {
    pub(super) context: &'a Incoming,
    maker: Maker,
    /// No other request of this host carried it before, as far as requests are seen. Attempts of one client request may
    /// have one header.
    is_first: bool,
}

/// Who made a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// The application that sends it.
    Application,
    /// The application has just forwarded what a server request in flight came with.
    Caller,
    /// Nobody knows: server requests of the process come unseen, or another process of the host had it before.
    Unknown,
}

impl OwnContext<'_> {
    /// Whether its span is that of the client request.
    pub(super) fn is_of_request(&self) -> bool {
        self.maker == Maker::Application && self.is_first
    }
}

/// The context that a client request carries. A server request that came with it is no caller if it is the client
/// request itself, at its other end.
pub(super) fn own_context<'a>(
    process: &mut Process,
    open: &OpenRequests,
    seen: &mut FirstSeen,
    (other_end, hop): (Option<Key>, Hop),
    carries: Carries<'a>,
) -> Option<OwnContext<'a>> {
    let context = carries.contexts().next()?;
    let is_first = seen.add(context.parent_id, hop);
    let named = Some((context.parent_id, Evidence::Header));
    let came_with_it = |key: Key| {
        other_end != Some(key) && open.get(key).is_some_and(|request| request.context.parent == named)
    };
    let is_elsewhere = !is_first && !process.sent.has(context.parent_id);
    let maker = if !process.is_crowded() && process.in_flight().any(came_with_it) {
        Maker::Caller
    } else if process.is_opaque() || process.is_crowded() || is_elsewhere {
        Maker::Unknown
    } else {
        Maker::Application
    };
    if is_first && maker != Maker::Caller {
        process.sent.add(context.parent_id);
    }
    Some(OwnContext { context, maker, is_first })
}

/// Trace and parent of a client request with a context that was made for it. The server request that it is attributed
/// to is its parent if that is of the same trace: then its application is taken to have spans for server requests too.
pub(super) fn context_of(
    process: &mut Process,
    open: &mut OpenRequests,
    contexts: &Contexts,
    client: Key,
    own: &Incoming,
    attributed_to: Option<(Key, Evidence)>,
) -> Context {
    let parent = attributed_to.and_then(|(server, evidence)| {
        open.get(server).filter(|server| server.context.trace_id == own.trace_id)?;
        process.traces_requests = true;
        open.child_of(server, client, evidence)?.parent
    });
    Context { parent, ..contexts.of_header(own) }
}

/// A client request carries a context whose span may be its own, or that of another request. In both cases the trace is
/// its trace, and the span its parent, or a span around it. If the trace is that of a server request in flight, and no
/// request carried the span before, the application has made one.
pub(super) fn context_below(
    process: &mut Process,
    open: &OpenRequests,
    contexts: &Contexts,
    own: &OwnContext<'_>,
) -> Context {
    let is_of_trace =
        |key: Key| open.get(key).is_some_and(|request| request.context.trace_id == own.context.trace_id);
    let is_new = own.maker == Maker::Unknown && own.is_first;
    if is_new && !process.is_crowded() && process.in_flight().any(is_of_trace) {
        process.traces_requests = true;
    }
    let context = contexts.of_header(own.context);
    Context { parent: Some((own.context.parent_id, Evidence::Header)), ..context }
}

/// Whether no span is made of a client request with such a context.
pub(super) fn is_own_suppressed(sdk: Sdk, own: &OwnContext<'_>) -> bool {
    own.maker == Maker::Application && sdk == Sdk::Suppress
}

/// Whether the application of a client request with such a context has a span of it, if it exports any.
pub(super) fn may_be_exported(own: &OwnContext<'_>) -> bool {
    own.context.is_sampled()
        && match own.maker {
            Maker::Application => true,
            Maker::Caller => false,
            Maker::Unknown => own.is_first,
        }
}

/// Whether no span is made of a request, because its process exports spans. It `may_be_exported`: it is a server request
/// that carries a context that is sampled, or none; or it is a client request, as [`may_be_exported`] tells.
pub(super) fn is_suppressed(process: &Process, sdk: Sdk, kind: Kind, may_be_exported: bool) -> bool {
    process.exports && sdk == Sdk::Suppress || may_be_exported && process.exports_of(kind)
}

/// A client request has ended. If it exported spans, of its process's own, and they were accepted, the process
/// instruments itself. Spans that it forwards are not its own: those of a server request with the same target, and those
/// of several services. Returns the name of its service, if that is new, or none if it turns out to be several services.
pub(super) fn client_closed(
    process: &mut Process,
    open: &OpenRequests,
    client: Key,
    exchange: &Exchange,
) -> Option<Option<String>> {
    if !exchange.payload.exports_spans() || process.is_proxy() {
        return None;
    }
    let client = open.get(client)?;
    let server = client.attributed_to.and_then(|server| open.get(server));
    let exported = exchange.payload.exported_spans().unwrap_or_default();
    if server.is_some_and(|server| server.target == client.target) || exported.service_names.len() > 1 {
        return None;
    }
    process.exports = true;
    // Spans of requests that were seen here.
    let is_proven = exported.spans.iter().any(|span| {
        process.sent.has(span.span_id) || span.parent_id.is_some_and(|parent| process.received.has(parent))
    });
    if !is_proven && (process.receives_exports || process.is_opaque()) {
        return None;
    }
    process.traces_requests |= exported.spans.iter().any(|span| span.is_server);
    let name = exported.service_names.into_iter().next()?;
    let (own, told) = match &process.own_name {
        OwnName::Unknown => (OwnName::One(name.clone()), Some(name)),
        OwnName::One(known) if *known != name => (OwnName::Several, None),
        OwnName::One(_) | OwnName::Several => return None,
    };
    process.own_name = own;
    Some(told)
}
