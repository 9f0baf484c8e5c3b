//! Self-instrumented processes: client requests that carry the application's own trace context, and processes
//! that export spans of their own.

use super::{
    contexts::Contexts,
    forwarded::Carries,
    link::{Context, Evidence},
    open::{Key, OpenRequests},
    process::Process,
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

/// The context that a client request carries, if its application made that for it, and has not just forwarded
/// what a request came with, to this process or another one of the host; and whether it is the first with it:
/// attempts of one client request may have one header. Where server requests come unseen this is not known.
pub(super) fn own_context<'a>(
    process: &mut Process,
    open: &OpenRequests,
    seen: &mut FirstSeen,
    hop: Hop,
    carries: Carries<'a>,
) -> Option<(&'a Incoming, bool)> {
    let own = carries.contexts().next()?;
    let is_first = seen.add(own.parent_id, hop);
    if process.is_opaque() || process.is_crowded() || !is_first && !process.sent.has(own.parent_id) {
        return None;
    }
    let named = Some((own.parent_id, Evidence::Header));
    let is_forwarded =
        process.in_flight().any(|key| open.get(key).is_some_and(|request| request.context.parent == named));
    if is_forwarded {
        return None;
    }
    if is_first {
        process.sent.add(own.parent_id);
    }
    Some((own, is_first))
}

/// Trace and parent of a client request with such a context. The server request that it is attributed to is its
/// parent if that is of the same trace: then its application is taken to have spans for server requests too.
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
        process.continues_traces = true;
        open.child_of(server, client, evidence)?.parent
    });
    Context {
        trace_id: own.trace_id,
        parent,
        flags: contexts.flags_of(own),
        state: own.state.clone(),
        format: own.format,
    }
}

/// Whether no span is made of a client request with such a context: its application exports one, if that is
/// sampled.
pub(super) fn is_own_suppressed(process: &Process, sdk: Sdk, own: &Incoming) -> bool {
    sdk == Sdk::Suppress || own.is_sampled() && process.exports
}

/// Whether no span is made of a process's request, which carries a context that is sampled, or none.
pub(super) fn is_suppressed(process: &Process, sdk: Sdk, kind: Kind, is_sampled: bool) -> bool {
    let has_its_own = kind == Kind::Serve && is_sampled && process.continues_traces;
    process.exports && (sdk == Sdk::Suppress || has_its_own)
}

/// A client request has ended. If it exported spans, of its process's own, and they were accepted, the process
/// instruments itself. Spans that it forwards, of a server request with the same target, are not its own.
pub(super) fn client_closed(process: &mut Process, open: &OpenRequests, client: Key, exchange: &Exchange) {
    if !exchange.payload.exports_spans() || process.is_proxy() {
        return;
    }
    let Some(client) = open.get(client) else { return };
    let server = client.attributed_to.and_then(|server| open.get(server));
    let is_forwarded = server.is_some_and(|server| server.target == client.target);
    process.exports |= !is_forwarded;
}
