//! Identity of requests, and their ids.

use tracer_common::{EVIDENCE_FORWARDED, EVIDENCE_NONE, InjectionOutcome, RANDOM_BITS, SEND};

use crate::{
    http::traceparent::Ids,
    memory::layout::{sample_above, span_id, trace_id},
};

/// Identifies a server request.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ServedRequest {
    /// Number of the connection, 0 for none.
    pub(crate) connection: u64,
    pub(crate) position: u32,
    /// The request's slot in `REQUESTS`.
    pub(crate) slot: u32,
    /// Not 0 once a client request was sent for it, by a proxy.
    pub(crate) used: u32,
    /// Not 0 if the thread read it while it worked for another request.
    pub(crate) shared: u32,
}

impl ServedRequest {
    pub(crate) const NONE: Self = Self { connection: 0, position: 0, slot: 0, used: 0, shared: 0 };
}

/// A client request with its parent and ids: the part of a scratch buffer that `tracer_parent` works with.
#[repr(C)]
pub(crate) struct ClientRequest {
    /// The server request for which the connection was opened, if this is the first client request on it.
    pub(crate) opened_for: ServedRequest,
    /// Not 0 if the connection was opened while the process served no request.
    pub(crate) was_idle: u64,
    /// The key of the connection's other end (see `remote_key`); 0 if it is not known.
    pub(crate) remote: u64,
    /// The parent.
    pub(crate) parent: ServedRequest,
    /// The evidence for the parent.
    pub(crate) evidence: u64,
    /// Trace id and flags of the parent. `span` is the span id in the parent's header, 0 if it has none.
    pub(crate) ids: Ids,
    /// The client request's own header.
    pub(crate) own: Ids,
    /// The context that `tracer_trace_parent` found.
    pub(crate) found: Ids,
    /// Offset and length of the parent's `tracestate` in the scratch buffer; length 0 for none.
    pub(crate) state_begin: u32,
    pub(crate) state_length: u32,
}

/// Trace flags of a request without a known parent: the trace id is random, and it decides about sampling.
#[inline(always)]
pub(crate) fn root_flags(trace_second: u64) -> u64 {
    let random = trace_second.swap_bytes() & ((1 << RANDOM_BITS) - 1);
    2 | u64::from(random >= sample_above())
}

/// The ids of the client request at this position. `found` is the result of `tracer_parent`.
#[inline(always)]
pub(crate) fn ids_of(number: u64, position: u32, client: &ClientRequest, found: u64) -> Ids {
    let span = span_id(number, position);
    if found == CHILD {
        return Ids { trace: client.ids.trace, span, flags: client.ids.flags & 3 };
    }
    let trace = trace_id(number, SEND, position);
    Ids { trace, span, flags: root_flags(trace[1]) }
}

/// The key under which the ids of a client request are filed: the wire positions of its first byte and of its response.
#[inline(always)]
pub(crate) const fn wire_key(position: u32, answer_at: u32) -> u64 {
    (position as u64) << 32 | answer_at as u64
}

/// Result of `tracer_parent`: there is no parent.
pub(crate) const ROOT: u64 = 0;

/// See [`ROOT`]: `client.parent` is the parent.
pub(crate) const CHILD: u64 = 1;

/// See [`ROOT`]: the parent is unknown. The client request gets no header.
pub(crate) const REFUSED: u64 = 2;

/// See [`ROOT`]: the parent's trace context is one that only the agent reads. The client request gets no header.
pub(crate) const OTHER_CONTEXT: u64 = 3;

/// Result within `tracer_parent`: [`ROOT`] if the process serves no request, else [`REFUSED`].
pub(crate) const ROOT_IF_IDLE: u64 = 4;

/// The outcome of a client request that gets no header, by the result of `tracer_parent`.
#[inline(always)]
pub(crate) fn refused(found: u64) -> Option<InjectionOutcome> {
    match found {
        ROOT | CHILD => None,
        OTHER_CONTEXT => Some(InjectionOutcome::OtherContext),
        _ => Some(InjectionOutcome::ParentUnknown),
    }
}

/// The evidence of a client request that forwards the header of its parent.
pub(crate) const FORWARDED: u8 = EVIDENCE_FORWARDED;

/// The evidence of a client request without a parent.
pub(crate) const NONE: u8 = EVIDENCE_NONE;
