//! Trace headers that another program, such as a second agent, writes into a client request after its process has
//! sent it. The other end of the connection shows them.

use super::{
    link::Context,
    open::{Key, OpenRequests},
};

/// A request arrived with this span id in its `traceparent`, which says this of its trace; `client` is the same request
/// as it was sent. If neither its process nor this agent wrote that header, another program did: the client request has
/// the ids that left.
pub(super) fn arrived(open: &mut OpenRequests, client: Key, span_id: [u8; 8], header: &Context) {
    let trace_id = header.trace_id;
    let Some(request) = open.get(client) else { return };
    let is_known = request.sent_trace.is_some()
        || request.traceparent == Some(span_id)
        || request.span_id == span_id
        || request.has_own_id;
    if is_known {
        return;
    }
    let (old_id, old_trace, server) = (request.span_id, request.context.trace_id, request.attributed_to);
    if old_trace != trace_id {
        // The server request that it was sent for is a root here: nothing else tells its trace.
        let root = server.filter(|server| open.get(*server).is_some_and(|it| it.context.parent.is_none()));
        if !root.is_some_and(|root| open.move_to(root, trace_id)) && open.move_to(client, trace_id) {
            set(open, client, |context| context.parent = None);
        }
    }
    let Some(request) = open.get_mut(client).filter(|request| request.context.trace_id == trace_id) else {
        return;
    };
    request.span_id = span_id;
    request.context.flags = header.flags;
    request.context.state.clone_from(&header.state);
    request.has_own_id = true;
    request.has_other_header = true;
    for child in request.children.clone() {
        set(open, child, |context| {
            if let Some((parent, _)) = &mut context.parent
                && *parent == old_id
            {
                *parent = span_id;
            }
        });
    }
}

fn set(open: &mut OpenRequests, key: Key, change: impl FnOnce(&mut Context)) {
    if let Some(request) = open.get_mut(key) {
        change(&mut request.context);
    }
}
