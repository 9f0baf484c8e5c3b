//! The placement of a new request in its trace: its context, and the server request that it is attributed to.

use super::{
    contexts::Contexts,
    forwarded::{self, Carries, Forwarded},
    link::{Context, Evidence},
    open::{Key, OpenRequests},
    processes::Processes,
    resend::Resends,
    rules::Rules,
    seen::{FirstSeen, Hop},
    self_instrumented,
    strategy::{Attribution, Attributions, ClientRequest},
    withheld::Withheld,
};
use crate::{
    exchange::InjectedHeader,
    trace_context::{Carried, Incoming},
};

/// What becomes known of a request when its head has come.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) context: Context,
    /// See [`super::open::OpenRequest::attributed_to`].
    pub(super) attributed_to: Option<Key>,
    /// See [`super::open::OpenRequest::withheld`].
    pub(super) withheld: Option<Withheld>,
    /// The span id that the application's own header names.
    pub(super) own_id: Option<[u8; 8]>,
    /// See [`super::Link::is_suppressed`].
    pub(super) is_suppressed: bool,
    /// Its application has a span of it, if it exports any.
    pub(super) may_be_exported: bool,
    /// The trace that the injected header names.
    pub(super) sent_trace: Option<[u8; 16]>,
}

impl Placement {
    fn new(context: Context, attributed_to: Option<Key>) -> Self {
        Self {
            context,
            attributed_to,
            withheld: None,
            own_id: None,
            is_suppressed: false,
            may_be_exported: false,
            sent_trace: None,
        }
    }
}

/// Places new requests.
pub(super) struct Placer<'a> {
    pub(super) rules: &'a Rules,
    pub(super) contexts: &'a Contexts,
    pub(super) open: &'a mut OpenRequests,
    pub(super) processes: &'a mut Processes,
    pub(super) seen: &'a mut FirstSeen,
    pub(super) resends: &'a mut Resends,
    /// Of `CLOCK_MONOTONIC`.
    pub(super) now_ns: u64,
}

impl Placer<'_> {
    /// A request has come to a process. `client` is the request at the other end, if that was seen.
    #[inline]
    pub(super) fn received(
        self,
        (pid, key, position, hop): (u32, Key, u32, Hop),
        client: Option<Key>,
        traceparent: Option<Box<Incoming>>,
        others: Option<&Carried>,
    ) -> Placement {
        let carries = Carries { traceparent: traceparent.as_deref(), others };
        if carries.contexts().next().is_some() {
            let process = self.processes.of(pid, self.rules);
            self_instrumented::received(process, self.seen, hop, carries);
        }
        Placement::new(self.contexts.of_received(self.open, key, position, client, traceparent, others), None)
    }

    /// A client request left with an injected header: the kernel programs have attributed it. Its process is
    /// learned from all the same.
    pub(super) fn injected(mut self, client: &ClientRequest<'_>, header: &InjectedHeader) -> Placement {
        let (context, attributed_to) = self.contexts.of_injected(self.open, client.key, header);
        let process = self.processes.of(client.unit.pid, self.rules);
        let withheld = match attributed_to.filter(|_| process.is_proxy()) {
            _ if client.is_late => Withheld::Late,
            Some(server) => {
                process.attributed(client, server);
                Withheld::Left
            }
            None => self.attribute(client).err().unwrap_or(Withheld::Left),
        };
        let placement = Placement::new(context, attributed_to);
        Placement { sent_trace: Some(header.trace_id), withheld: Some(withheld), ..placement }
    }

    /// A client request left as its application made it.
    pub(super) fn sent(
        mut self,
        client: &ClientRequest<'_>,
        position: u32,
        hop: Hop,
        carries: Carries<'_>,
    ) -> Placement {
        let (key, pid) = (client.key, client.unit.pid);
        let process = self.processes.of(pid, self.rules);
        let own =
            self_instrumented::own_context(process, self.open, self.seen, (client.other_end, hop), carries);
        let source = match client.is_late {
            // The server requests in flight now need not be those in flight when it was sent.
            true => Forwarded::FromEnded,
            false => forwarded::source(process, self.open, client, carries),
        };
        let (found, format) = match source {
            Forwarded::From(server, format) => {
                process.attributed(client, server);
                (Ok((server, Evidence::ForwardedHeader)), format)
            }
            Forwarded::FromEnded if client.is_late => (Err(Withheld::Late), None),
            Forwarded::FromEnded => (Err(Withheld::Earlier), None),
            Forwarded::Nothing => (self.attribute(client), None),
        };
        // Without a parent although a server request is known, the application has put it into another trace.
        let withheld = Some(found.err().unwrap_or(Withheld::OwnTrace));
        let found = found.ok();
        let process = self.processes.of(pid, self.rules);
        let sdk = self.rules.sdk;
        let is_suppressed = own.is_some_and(|own| self_instrumented::is_own_suppressed(sdk, &own));
        let may_be_exported = own.is_some_and(|own| self_instrumented::may_be_exported(&own));
        process.begins(client.start_ns, own.is_some_and(|own| own.is_of_request()));
        if let Some(own) = own.filter(|own| own.is_of_request()) {
            let (open, contexts) = (&mut *self.open, self.contexts);
            let context = self_instrumented::context_of(process, open, contexts, key, own.context, found);
            let placement = Placement::new(context, found.map(|(server, _)| server));
            let own_id = Some(own.context.parent_id);
            return Placement { own_id, is_suppressed, may_be_exported, withheld, ..placement };
        }
        // Without a proof, a server request of another trace did not cause what carries this one.
        let is_of_trace = |server: Key| {
            own.is_none_or(|own| {
                self.open.get(server).is_some_and(|it| it.context.trace_id == own.context.trace_id)
            })
        };
        let found =
            found.filter(|(server, evidence)| *evidence == Evidence::ForwardedHeader || is_of_trace(*server));
        let context = found.and_then(|(server, evidence)| self.open.child_of(server, key, evidence));
        let placement = match (context, found, own) {
            (Some(context), Some((server, _)), _) => {
                Placement::new(Context { format, ..context }, Some(server))
            }
            (.., Some(own)) => {
                let context = self_instrumented::context_below(process, self.open, self.contexts, &own);
                Placement::new(context, None)
            }
            _ => Placement::new(self.contexts.root(key, position, carries.decision()), None),
        };
        Placement { is_suppressed, may_be_exported, withheld, ..placement }
    }

    /// The server request of a client request, by what is known of its process.
    fn attribute(&mut self, client: &ClientRequest<'_>) -> Result<(Key, Evidence), Withheld> {
        let pid = client.unit.pid;
        let process = self.processes.of(pid, self.rules);
        let Attributions { this, withheld, candidate, earlier, has_decided, .. } =
            process.attribute(client, self.rules.sole_request);
        let news = process.newly_shown();
        attribute_later(self.open, self.resends, earlier);
        if has_decided {
            self.processes.decided();
        }
        if let Some(server) = candidate.and_then(|(server, _)| self.open.get_mut(server)) {
            server.is_awaited = true;
        }
        if let Some(shown) = news {
            let known = self.processes.shown(pid, shown, self.rules, self.now_ns);
            attribute_later(self.open, self.resends, known);
        }
        self.processes.tell(pid, self.rules, self.now_ns);
        this.ok_or(withheld.unwrap_or(Withheld::Ambiguous))
    }
}

/// The server requests of earlier client requests are known now. A client request follows if nothing of its
/// descendants has been told yet.
#[inline]
pub(super) fn attribute_later(
    open: &mut OpenRequests,
    resends: &mut Resends,
    attributions: Vec<Attribution>,
) {
    for Attribution { client_request, server_request, evidence } in attributions {
        if open.attribute(client_request, server_request, evidence)
            && let Some(client) = open.get(client_request)
        {
            resends.attributed(server_request, client_request, client);
        }
    }
}
