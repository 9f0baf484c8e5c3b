//! Calls that carry the application's own trace context, and processes that export spans of their own.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Carried, Context, Correlator, Evidence, Incoming, Key};
use crate::exchange::{ConnectionFacts, Direction, Exchange, Kind};

/// What is done where an application traces itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Sdk {
    /// A call that carries a trace header of the application's own gets the ids of that header. It gets no span if its
    /// process was seen to export spans itself, nor do that process's requests if their traces go on in such headers.
    #[default]
    Adopt,
    /// Such a call gets no span, nor does anything of a process that was seen to export spans itself.
    Suppress,
}

/// The span ids that went by last.
#[derive(Debug, Default)]
pub(super) struct SpanIds(VecDeque<[u8; 8]>);

impl SpanIds {
    const MOST: usize = 256;

    pub(super) fn has(&self, id: [u8; 8]) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn add(&mut self, id: [u8; 8]) {
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }
}

/// A request as both of its ends know it: the first sequence numbers of client and server, and its offset on
/// the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    client: u32,
    server: u32,
    wire: u64,
}

impl Hop {
    pub(super) fn of(facts: &ConnectionFacts, direction: Direction, wire: u64) -> Self {
        let (client, server) = match direction {
            Direction::Send => (facts.first_sent, facts.first_received),
            Direction::Receive => (facts.first_received, facts.first_sent),
        };
        Self { client, server, wire }
    }
}

/// Where the span ids were seen first that came or left with requests of this host last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    first: FxHashMap<[u8; 8], Hop>,
    order: VecDeque<[u8; 8]>,
}

impl Seen {
    /// As many as a table of 65,536 places holds.
    const MOST: usize = 57_344;

    /// A request carries this id. Returns whether none did so before it.
    pub(super) fn add(&mut self, id: [u8; 8], hop: Hop) -> bool {
        if let Some(first) = self.first.get(&id) {
            return *first == hop;
        }
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.order.push_back(id);
        self.first.insert(id, hop);
        true
    }
}

impl Correlator {
    /// A request has come to a process with these contexts.
    pub(super) fn came(
        &mut self,
        pid: u32,
        hop: Hop,
        incoming: Option<&Incoming>,
        carried: Option<&Carried>,
    ) {
        let others = carried.into_iter().flat_map(|carried| &carried.contexts);
        for context in incoming.into_iter().chain(others) {
            self.process(pid).came.add(context.parent_id);
            self.seen.add(context.parent_id, hop);
        }
    }

    /// The context that a call carries, if its application made that for this call, and has not just passed
    /// on what a request came with, to this process or another of the host; and whether it is the first: attempts
    /// of one call may have one header. Where requests come unseen this is not known.
    pub(super) fn own_header<'a>(
        &mut self,
        pid: u32,
        hop: Hop,
        incoming: Option<&'a Incoming>,
        carried: Option<&'a Carried>,
    ) -> Option<(&'a Incoming, bool)> {
        let other = || carried?.contexts.first();
        let own = incoming.or_else(other)?;
        let is_first = self.seen.add(own.parent_id, hop);
        let process = self.process(pid);
        if process.is_hidden() || process.is_crowded() || !is_first && !process.sent.has(own.parent_id) {
            return None;
        }
        let open: Vec<Key> = process.open().collect();
        let named = Some((own.parent_id, Evidence::Header));
        let is_passed_on = open
            .into_iter()
            .any(|key| self.request(key).is_some_and(|request| request.context.parent == named));
        if is_passed_on {
            return None;
        }
        if is_first {
            self.process(pid).sent.add(own.parent_id);
        }
        Some((own, is_first))
    }

    /// Trace and parent of a call with such a context. The request that it is made for is its parent if that is
    /// of the same trace: then its application is taken to have spans for requests too.
    pub(super) fn context_of_own(
        &mut self,
        call: Call,
        own: &Incoming,
        made_for: Option<(Key, Evidence)>,
    ) -> Context {
        let parent = made_for.and_then(|(request, evidence)| {
            self.request(request).filter(|request| request.context.trace_id == own.trace_id)?;
            self.process(call.unit.pid).continues_traces = true;
            self.child_of(request, call.key, evidence)?.parent
        });
        Context {
            trace_id: own.trace_id,
            parent,
            flags: self.flags_of(own),
            state: own.state.clone(),
            format: own.format,
        }
    }

    /// Whether no span is made of a call with such a context: its application exports one, if that is sampled.
    pub(super) fn is_own_suppressed(&self, pid: u32, own: &Incoming) -> bool {
        let exports = || self.processes.get(&pid).is_some_and(|process| process.exports);
        self.rules.sdk == Sdk::Suppress || own.is_sampled() && exports()
    }

    /// Whether no span is made of a process's call, or request, which came with a context that is sampled or with none.
    pub(super) fn is_suppressed(&self, pid: u32, kind: Kind, is_sampled: bool) -> bool {
        self.processes.get(&pid).is_some_and(|process| {
            let has_its_own = kind == Kind::Serve && is_sampled && process.continues_traces;
            process.exports && (self.rules.sdk == Sdk::Suppress || has_its_own)
        })
    }

    /// A call has ended. If it exported spans, of its process's own, and they were accepted, the process
    /// traces itself. What it passes on of a request for the same is not its own.
    pub(super) fn called(&mut self, call: Key, exchange: &Exchange) {
        if !exchange.exports_spans() {
            return;
        }
        let Some((made_for, target)) = self.request(call).map(|call| (call.made_for, call.target)) else {
            return;
        };
        let is_passed_on = made_for
            .is_some_and(|made_for| self.request(made_for).is_some_and(|request| request.target == target));
        let Some(process) = self.processes.get_mut(&exchange.request_unit.pid) else { return };
        process.exports |= !is_passed_on && !process.is_proxy();
    }
}
