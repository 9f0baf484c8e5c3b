//! The context of a new request: from what it carries, from the other end, from the header that was injected
//! into it, or as a root.

use tracer_common::{
    EVIDENCE_CONTEXT, EVIDENCE_GOROUTINE, EVIDENCE_PROXY, EVIDENCE_REQUEST_STRUCTURE, EVIDENCE_SOLE_REQUEST,
    EVIDENCE_UNIT, EVIDENCE_VIRTUAL_THREAD,
};

use super::{
    forwarded::Carries,
    ids::Ids,
    link::{Context, Evidence},
    open::{Key, OpenRequests},
};
use crate::{
    exchange::{Direction, InjectedHeader},
    trace_context::sample::{RANDOM, SAMPLED, Sampler},
    trace_context::{Carried, Incoming},
};

/// Makes contexts and their ids.
#[derive(Debug)]
pub(super) struct Contexts {
    ids: Ids,
    sampler: Sampler,
}

impl Contexts {
    pub(super) fn new(ids: Ids, sampler: Sampler) -> Self {
        Self { ids, sampler }
    }

    /// The span id of the request that begins at this position.
    pub(super) fn span_id(&self, key: Key, position: u32) -> [u8; 8] {
        self.ids.span_id(key.connection, key.direction, position)
    }

    /// The context of a request without a parent. `decision` on sampling is its sender's, if there is one.
    pub(super) fn root(&self, key: Key, position: u32, decision: Option<bool>) -> Context {
        let trace_id = self.ids.trace_id(key.connection, key.direction, position);
        let flags = decision.map(|is_sampled| if is_sampled { RANDOM | SAMPLED } else { RANDOM });
        let flags = self.sampler.flags(&trace_id, flags);
        Context { trace_id, parent: None, flags, state: String::new(), format: None }
    }

    /// The trace flags of a span that continues this context.
    pub(super) fn flags_of(&self, incoming: &Incoming) -> u8 {
        let flags = self.sampler.flags(&incoming.trace_id, incoming.flags);
        // The sender of such an id does not say that it is random.
        if incoming.flags.is_some() { flags } else { flags & SAMPLED }
    }

    /// The context that a header carries, without a parent.
    pub(super) fn of_header(&self, header: &Incoming) -> Context {
        Context {
            trace_id: header.trace_id,
            parent: None,
            flags: self.flags_of(header),
            state: header.state.clone(),
            format: header.format,
        }
    }

    /// The context of a request that comes to a process. `client` is the request at the other end, if that was
    /// seen.
    #[inline]
    pub(super) fn of_received(
        &self,
        open: &mut OpenRequests,
        key: Key,
        position: u32,
        client: Option<Key>,
        traceparent: Option<Box<Incoming>>,
        others: Option<&Carried>,
    ) -> Context {
        let other = || others?.contexts.first().cloned().map(Box::new);
        if let Some(incoming) = traceparent.or_else(other) {
            // The header of a client request that is seen here: the trace is that of the client request.
            let is_its_own = |client| open.get(client).is_some_and(|it| it.span_id == incoming.parent_id);
            let evidence = client.and_then(|client| match is_its_own(client) {
                true => Some((client, Evidence::Header)),
                // The header is that of a client request further up.
                false => open.passes_on(client, incoming.parent_id).then_some((client, Evidence::Wire)),
            });
            if let Some((client, evidence)) = evidence
                && let Some(context) = open.child_of(client, key, evidence)
            {
                return Context { format: incoming.format, ..context };
            }
            return Context {
                trace_id: incoming.trace_id,
                parent: Some((incoming.parent_id, Evidence::Header)),
                flags: self.flags_of(&incoming),
                state: incoming.state,
                format: incoming.format,
            };
        }
        let carries = Carries { traceparent: None, others };
        client
            .and_then(|client| open.child_of(client, key, Evidence::Wire))
            .unwrap_or_else(|| self.root(key, position, carries.decision()))
    }

    /// The context of a client request by the header that was injected into it, and the server request that it
    /// is attributed to.
    pub(super) fn of_injected(
        &self,
        open: &mut OpenRequests,
        key: Key,
        header: &InjectedHeader,
    ) -> (Context, Option<Key>) {
        let evidence = match header.evidence {
            EVIDENCE_UNIT => Evidence::Unit,
            EVIDENCE_PROXY => Evidence::Proxy,
            EVIDENCE_GOROUTINE => Evidence::Goroutine,
            EVIDENCE_CONTEXT => Evidence::Context,
            EVIDENCE_VIRTUAL_THREAD => Evidence::VirtualThread,
            EVIDENCE_REQUEST_STRUCTURE => Evidence::RequestStructure,
            EVIDENCE_SOLE_REQUEST => Evidence::SoleRequest,
            _ => Evidence::ForwardedHeader,
        };
        let parent = header.parent.map(|(connection, position)| {
            (open.server_request_at(connection, position), connection, position)
        });
        if let Some((Some(parent), ..)) = parent
            && let Some(context) = open.child_of(parent, key, evidence)
        {
            return (context, Some(parent));
        }
        // The server request was not seen, or its span is made already: its position gives its id.
        let parent = parent.map(|(_, connection, position)| {
            (self.ids.span_id(connection, Direction::Receive, position), evidence)
        });
        let (trace_id, flags) = (header.trace_id, header.flags);
        (Context { trace_id, parent, flags, state: String::new(), format: None }, None)
    }
}
