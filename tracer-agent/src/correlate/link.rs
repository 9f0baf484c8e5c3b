//! What is said of a span's place in its trace, and how that is known.

use super::withheld::Withheld;
use crate::trace_context::HeaderFormat;

/// How a parent is known, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The request came with a valid `traceparent`, or with a context in another format that is configured.
    Header,
    /// Both ends of one connection within this host were seen, byte for byte.
    Wire,
    /// The client request carries the trace id, or the `x-request-id`, of a server request that its process has
    /// in flight, and of no other.
    ForwardedHeader,
    /// The thread that sent the client request was working for exactly this server request, in a process whose
    /// threads work so.
    Unit,
    /// The client request carries the context that Go's `net/http` made for this server request.
    Context,
    /// The goroutine that sent the client request, or waited for its sending, was working for this server request.
    Goroutine,
    /// It was sent for a goroutine that was made while this server request was open, by the one that works for it.
    GoroutineChild,
    /// The virtual thread of Java that sent the client request was working for this server request.
    VirtualThread,
    /// The asyncio task that sent the client request, or one that awaited it, answered this server request.
    Task,
    /// nginx keeps the client request with the connection of this server request.
    RequestStructure,
    /// A callback of the event loop that works for this server request sent it.
    EventLoop,
    /// A proxy sent the client request for this server request.
    Proxy,
    /// It was the only server request that the process had in flight.
    SoleRequest,
}

impl Evidence {
    pub(super) const ALL: [Self; 13] = [
        Self::Header,
        Self::Wire,
        Self::ForwardedHeader,
        Self::Unit,
        Self::Context,
        Self::Goroutine,
        Self::GoroutineChild,
        Self::VirtualThread,
        Self::Task,
        Self::RequestStructure,
        Self::EventLoop,
        Self::Proxy,
        Self::SoleRequest,
    ];

    /// The value of `tracer.link.evidence`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Wire => "wire",
            Self::ForwardedHeader => "forwarded-header",
            Self::Unit => "unit",
            Self::Context => "context",
            Self::Goroutine => "goroutine",
            Self::GoroutineChild => "goroutine-child",
            Self::VirtualThread => "virtual-thread",
            Self::Task => "task",
            Self::RequestStructure => "request-structure",
            Self::EventLoop => "event-loop",
            Self::Proxy => "proxy",
            Self::SoleRequest => "sole-request",
        }
    }

    /// The evidence of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|evidence| evidence.name() == name)
    }

    /// Whether it is the runtime's own word about this one call: it holds whatever else the process does.
    pub(super) const fn is_of_task(self) -> bool {
        matches!(
            self,
            Self::Context
                | Self::Goroutine
                | Self::GoroutineChild
                | Self::VirtualThread
                | Self::RequestStructure
        )
    }

    /// Whether the parent is a span of another process.
    const fn is_remote(self) -> bool {
        matches!(self, Self::Header | Self::Wire)
    }
}

/// A span's place in its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Trace, never zero.
    pub trace_id: [u8; 16],
    /// Span, never zero.
    pub span_id: [u8; 8],
    /// Parent, and how it is known; none for a root.
    pub parent: Option<([u8; 8], Evidence)>,
    /// OTLP flags: see [`crate::span::Span::flags`].
    pub flags: u32,
    /// W3C `tracestate`, as it came.
    pub trace_state: String,
    /// Format of the header that named ids or parent, if that is not `traceparent`.
    pub format: Option<HeaderFormat>,
    /// No span is wanted: the application exports its own.
    pub is_suppressed: bool,
    /// Ordinal of the resend that a client request is; none if it is none, or if that is not proven.
    pub resend: Option<u32>,
    /// Another program wrote the trace header that left with the request.
    pub has_other_header: bool,
    /// The trace header that left with the request names another trace: the parent became known too late.
    pub has_left_in_other_trace: bool,
    /// Of a client request without a parent: why it has none.
    pub withheld: Option<Withheld>,
}

/// OTLP span flags: whether the parent is remote is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

impl Link {
    /// The link of a span with this id and context.
    pub(super) fn new(span_id: [u8; 8], context: Context) -> Self {
        let Context { trace_id, parent, flags, state, format } = context;
        let is_remote = parent.is_some_and(|(_, evidence)| evidence.is_remote());
        let flags = u32::from(flags) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
        Self { trace_id, span_id, parent, flags, trace_state: state, format, ..Self::default() }
    }
}

/// Trace and parent of a request.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) trace_id: [u8; 16],
    pub(super) parent: Option<([u8; 8], Evidence)>,
    /// W3C trace flags.
    pub(super) flags: u8,
    /// W3C `tracestate`.
    pub(super) state: String,
    /// See [`Link::format`].
    pub(super) format: Option<HeaderFormat>,
}
