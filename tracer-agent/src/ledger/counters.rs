//! What the ledger counts.

use tracer_common::InjectionOutcome;

macro_rules! counters {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// What the ledger counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Counter { $(#[doc = $meaning] $variant,)* }

        impl Counter {
            /// All counters, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that programs see: `area.what`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a person reads.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

counters! {
    BytesSeen "bytes.seen" "bytes that moved on traced connections";
    BytesCopied "bytes.copied" "of these bytes, those that were copied to the agent";
    BytesSkipped "bytes.skipped" "of these bytes, those that were left out on purpose: bodies";
    BytesLost "bytes.lost" "bytes that moved unseen: a splice, a full ring, or another process";
    BytesOverlapping "bytes.overlapping" "bytes reported twice: several threads on one socket at once";
    BytesIoUring "bytes.io_uring" "bytes moved by io_uring: lengths only";
    BytesNoBuffer "bytes.no_buffer" "bytes moved by sendfile, splice, sendmmsg or recvmmsg: lengths only";
    BytesFault "bytes.fault" "bytes whose memory could not be read";
    BytesOtherReason "bytes.other_reason" "bytes not copied: a kernel socket, a discarding read or a 32-bit call";
    Connections "connections.seen" "connections with traffic";
    ConnectionsMidStream "connections.joined" "connections seen from mid-stream on: traced from the first certain boundary";
    ConnectionsTls "connections.tls" "connections that speak TLS: not read";
    ConnectionsHttp2 "connections.http2" "connections that speak HTTP/2: not read";
    ConnectionsFastCgi "connections.fastcgi" "connections that speak FastCGI: not read";
    ConnectionsUwsgi "connections.uwsgi" "connections that speak uwsgi: not read";
    ConnectionsAjp "connections.ajp" "connections that speak AJP: not read";
    ConnectionsMySql "connections.mysql" "connections that speak MySQL: not read";
    ConnectionsOther "connections.other" "connections whose protocol is not known";
    ConnectionsTunnel "connections.tunnel" "connections that became a tunnel: an upgrade or CONNECT";
    ConnectionsGivenUp "connections.given_up" "connections whose messages were lost sight of again and again: no longer read";
    ConnectionsUnknownStart "connections.unknown_start" "connections whose first record was lost";
    ConnectionsEndUnseen "connections.end_unseen" "connections whose end was not seen: their last requests and bytes may be missing";
    ConnectionsEvicted "connections.evicted" "connections forgotten because the table was full";
    ConnectionsRefused "connections.refused" "connections that were not established: the other end refused them";
    ConnectionsUnreached "connections.unreached" "connections that were not established: nobody answered, or there was no way";
    ConnectionsAbandoned "connections.abandoned" "connections that were not established: the process closed them first";
    ExchangesPaired "exchanges.paired" "requests with their response";
    ExchangesUnanswered "exchanges.unanswered" "requests that never got a complete response";
    ExchangesResponseUnseen "exchanges.response_unseen" "requests whose responses were not seen";
    ExchangesEndUnseen "exchanges.end_unseen" "requests whose response ended unseen: left out of the percentiles";
    ExchangesOpen "exchanges.open" "requests whose end was not seen: tracer ended before, or forgot their connection";
    ExchangesOneWay "exchanges.one_way" "messages that nobody answers";
    ExchangesUnpaired "exchanges.unpaired" "responses without a request";
    ExchangesUnparsed "exchanges.unparsed" "messages that could not be understood";
    ExchangesForgotten "exchanges.forgotten" "messages given up to stay within limits.message_memory";
    ExchangesBeforeBoundary "exchanges.before_boundary" "messages seen before a boundary was certain: not reported";
    ExchangesOwnExport "exchanges.own_export" "OTLP exports that services sent or passed on: no spans (spans.otlp_exports)";
    ExchangesExportReceived "exchanges.export_received" "OTLP exports that services received: no spans (spans.otlp_exports)";
    EventsLost "events.lost" "records for which the ring had no space";
    TasksUnread "tasks.unread" "calls of Go programs and of Node whose goroutine or callback could not be read";
    EventsSkipped "events.skipped" "calls that the kernel did not show: a program was running already";
    SocketsUnix "sockets.unix" "calls on Unix sockets: not read yet";
    SocketsDatagram "sockets.datagram" "calls on UDP sockets: not read yet";
    SocketsOther "sockets.other" "calls on sockets of other kinds (MPTCP, SCTP, SMC): not read";
    ConnectionsUpperLayer "connections.upper_layer" "connections with TLS in the kernel: not read";
    EventsMalformed "events.malformed" "records that the agent could not read";
    EventsExcluded "events.excluded" "records of processes that a selector excludes";
    SelectedLate "process.selected_late" "processes that ran before they were selected";
    AttachFailed "process.attach_failed" "processes that could not be traced";
    LinksOtherTrace "links.other_trace" "calls whose trace header left with another trace than their span has: what caused them was seen too late";
    LinksMade "links.made" "calls with a parent";
    LinksNoRequest "links.no_request" "calls without a parent: the process had no request in flight (a timer, a health check, work after a response)";
    LinksLearning "links.learning" "calls without a parent: several requests were in flight, and how the process works is not known yet";
    LinksSeveral "links.several" "calls without a parent: several requests were in flight, and nothing told which of them made the call";
    LinksOtherThread "links.other_thread" "calls without a parent: who made them had no request in flight, or several";
    LinksAmbiguous "links.ambiguous" "calls without a parent: they fit none of the proxy's requests in flight, or several";
    LinksEarlier "links.earlier" "calls without a parent: the request in flight was answered, or they may be for an earlier one";
    LinksBackground "links.background" "calls without a parent: the process calls their address also when it has no request in flight";
    LinksUnseen "links.unseen" "calls without a parent: the process may have worked for a request that is not known (an old connection, a client that left)";
    LinksOpaque "links.opaque" "calls without a parent: the process has connections that are not read (TLS, HTTP/2)";
    LinksOff "links.off" "calls without a parent: links.sole_request is off";
    LinksOwnTrace "links.own_trace" "calls without a parent: their own trace header names a trace that no request in flight has";
    LinksLate "links.late" "calls without a parent: they became certain only when they were over: the first on an old connection";
    LinksLeft "links.left" "calls without a parent: their trace header left before the parent was known";
    HeadersPushed "headers.pushed" "calls that a trace header was added to";
    HeadersForwarded "headers.forwarded" "calls whose forwarded trace header was made to name them";
    HeadersOwn "headers.own" "calls without one of ours: they carry the application's own trace header";
    HeadersBlocking "headers.blocking" "calls without a trace header: later request of a blocking socket; non-blocking sockets get more";
    HeadersUnknownPort "headers.unknown_port" "calls without a trace header: first request of a blocking socket to a port not known to speak HTTP/1 (--propagation-http-ports names ports)";
    HeadersUnknownPortLimited "headers.unknown_port_limited" "calls without a trace header: port not known to speak HTTP/1 (--propagation-http-ports names ports), on a kernel with a wrong FIONREAD (tracer doctor)";
    HeadersQueue "headers.queue" "calls without a trace header: send queue not empty, or small";
    HeadersBoundary "headers.boundary" "calls without a trace header: boundary unknown";
    HeadersTooLong "headers.too_long" "calls without a trace header: head too long";
    HeadersCut "headers.cut" "calls without a trace header: head not in one message";
    HeadersOdd "headers.odd" "calls without a trace header: head not understood";
    HeadersNotHttp "headers.not_http" "calls without a trace header: connection began with something else";
    HeadersDestination "headers.destination" "calls without a trace header: destination not allowed";
    HeadersTunnel "headers.tunnel" "calls without a trace header: upgraded connection or tunnel";
    HeadersZeroCopy "headers.zero_copy" "calls without a trace header: socket sends without copying";
    HeadersOtherProgram "headers.other_program" "calls into which another agent or program wrote a trace header: their spans have its ids where the other end is traced too";
    HeadersInUse "headers.in_use" "calls without a trace header: an upper layer protocol, the kernel or another program has the socket, or an option asks for timestamps of sends or for errors of routers";
    HeadersForeign "headers.foreign" "calls without a trace header: a process that is not selected sends on the socket";
    HeadersLease "headers.lease" "calls without a trace header: the agent was late";
    HeadersFailed "headers.failed" "calls without a trace header: no space, or spliced bytes";
    HeadersOtherContext "headers.other_context" "calls without a trace header: their request's trace is told by another header";
    HeadersLater "headers.later" "calls without a trace header: when they were sent, the request that they were made for was not known yet";
    HeadersOnlyFirst "headers.only_first" "calls without a trace header: later request of a connection, on a kernel with a wrong FIONREAD (tracer doctor)";
    HeadersIoUring "headers.io_uring" "calls without a trace header: the caller uses io_uring, whose zero-copy sends would fail";
    HeadersMemory "headers.memory" "calls without a trace header: memory for sockets is short (tcp_mem, or the limits of the memory group)";
    HeadersKernelSocket "headers.kernel_socket" "calls without a trace header: the socket is the kernel's own";
    HeadersOtherHost "headers.other_host" "calls without a trace header: their target names another host, for a forward proxy (propagation.proxied_hosts lists hosts)";
    HeadersNotEntered "headers.not_entered" "calls without a trace header: connection not seen to be opened";
    SpansUnnamed "spans.unnamed" "spans named by their method alone: the service has too many different paths";
    SpansNotSampled "spans.not_sampled" "spans that the sampler left out";
    SpansSdk "spans.sdk" "spans left out: the application makes its own";
    SpansQueued "spans.queued" "spans made, for the output and the exporter";
    SpansNotExported "spans.not_exported" "spans that the OTLP receiver did not get";
    SpansUnconfirmed "spans.unconfirmed" "spans that went to a server whose answers are not those of an OTLP receiver";
    SpansNotWritten "spans.not_written" "spans missing from the output: it took too little, or failed";
    SpansNotStored "spans.not_stored" "spans missing from the viewer: its store took too little";
    EventsNotRecorded "events.not_recorded" "events missing from the recording: its file took too little, or failed";
    MessagesLost "log.lost" "messages missing from the log: standard error took too little";
}

impl Counter {
    /// What counts calls by their links.
    pub const LINKS: &[Self] = &[
        Self::LinksMade,
        Self::LinksNoRequest,
        Self::LinksLearning,
        Self::LinksSeveral,
        Self::LinksOtherThread,
        Self::LinksAmbiguous,
        Self::LinksEarlier,
        Self::LinksBackground,
        Self::LinksUnseen,
        Self::LinksOpaque,
        Self::LinksOff,
        Self::LinksOwnTrace,
        Self::LinksLate,
        Self::LinksLeft,
    ];

    /// What counts calls whose trace header came to this.
    pub const fn of_header(outcome: InjectionOutcome) -> Self {
        match outcome {
            InjectionOutcome::Pushed => Self::HeadersPushed,
            InjectionOutcome::Rewritten => Self::HeadersForwarded,
            InjectionOutcome::OwnHeader => Self::HeadersOwn,
            InjectionOutcome::Blocking => Self::HeadersBlocking,
            InjectionOutcome::UnknownPort => Self::HeadersUnknownPort,
            InjectionOutcome::QueueNotEmpty => Self::HeadersQueue,
            InjectionOutcome::BoundaryUnknown => Self::HeadersBoundary,
            InjectionOutcome::HeadTooLong => Self::HeadersTooLong,
            InjectionOutcome::HeadCut => Self::HeadersCut,
            InjectionOutcome::NotUnderstood => Self::HeadersOdd,
            InjectionOutcome::NotHttp => Self::HeadersNotHttp,
            InjectionOutcome::Destination => Self::HeadersDestination,
            InjectionOutcome::Tunnel => Self::HeadersTunnel,
            InjectionOutcome::ZeroCopy => Self::HeadersZeroCopy,
            InjectionOutcome::UpperLayer | InjectionOutcome::InUse => Self::HeadersInUse,
            InjectionOutcome::ForeignSender => Self::HeadersForeign,
            InjectionOutcome::Lease => Self::HeadersLease,
            InjectionOutcome::NoSpace | InjectionOutcome::Spliced | InjectionOutcome::PushFailed => {
                Self::HeadersFailed
            }
            InjectionOutcome::ParentUnknown => Self::HeadersLater,
            InjectionOutcome::OtherContext => Self::HeadersOtherContext,
            InjectionOutcome::FirstOnly => Self::HeadersOnlyFirst,
            InjectionOutcome::IoUring => Self::HeadersIoUring,
            InjectionOutcome::MemoryPressure => Self::HeadersMemory,
            InjectionOutcome::KernelSocket => Self::HeadersKernelSocket,
            InjectionOutcome::UnknownPortLimited => Self::HeadersUnknownPortLimited,
            InjectionOutcome::OtherHost => Self::HeadersOtherHost,
            InjectionOutcome::NotEntered => Self::HeadersNotEntered,
        }
    }
}
