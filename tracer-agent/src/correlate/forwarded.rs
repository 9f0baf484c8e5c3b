//! What requests and calls carry besides a `traceparent`, and calls that carry what a request came with.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::{Call, Carried, Context, Correlator, Evidence, HeaderFormat, Incoming, Key, Request};
use crate::sample::SAMPLED;

impl Correlator {
    /// What a head tells in the configured formats.
    pub(super) fn carried(&self, head: &[u8]) -> Option<Box<Carried>> {
        if self.rules.headers.is_empty() {
            return None;
        }
        let carried = Carried::of(head, self.rules.headers);
        (!carried.is_empty()).then(|| Box::new(carried))
    }

    /// Trace flags of a span with this context.
    pub(super) fn flags_of(&self, incoming: &Incoming) -> u8 {
        let flags = self.rules.sampler.flags(&incoming.trace_id, incoming.flags);
        // Of an id that came nobody says that it is random.
        if incoming.flags.is_some() { flags } else { flags & SAMPLED }
    }

    /// The request that came with what a call carries. A context that was passed on as it came names one
    /// request; a trace, or the id of a request, may be that of several, and of one that has ended.
    pub(super) fn forwarded(
        &mut self,
        call: Call,
        incoming: Option<&Incoming>,
        carried: Option<&Carried>,
    ) -> Forwarded {
        let pid = call.unit.pid;
        if self.process(pid).is_crowded() {
            return Forwarded::Nothing;
        }
        let others = carried.into_iter().flat_map(|carried| &carried.contexts);
        for context in incoming.into_iter().chain(others) {
            let Incoming { trace_id, parent_id, format, .. } = context;
            let all: Vec<Key> = self.process(pid).open().collect();
            match self.only(all, |request| request.came_with(trace_id, Some(parent_id))) {
                // One that has ended came with the same, and may still be worked for.
                Some(_) if self.process(pid).ended.has(hash(&[trace_id, parent_id])) => {
                    return Forwarded::Nothing;
                }
                Some(found) => return Forwarded::From(found, *format),
                None if self.process(pid).came.has(*parent_id) => return Forwarded::FromEnded,
                None => {}
            }
            let is_like = |request: &Request| request.came_with(trace_id, None);
            if let Some(found) = self.only_open(call, hash(&[trace_id]), is_like) {
                return Forwarded::From(found, *format);
            }
        }
        let Some(id) = carried.and_then(|carried| carried.request_id.as_deref()) else {
            return Forwarded::Nothing;
        };
        let has_id = |carried: &Carried| carried.request_id.as_deref() == Some(id);
        match self.only_open(call, hash(&[id]), |request| request.carried.as_deref().is_some_and(has_id)) {
            Some(found) => Forwarded::From(found, Some(HeaderFormat::XRequestId)),
            None => Forwarded::Nothing,
        }
    }

    /// The only request like this for which a process can make a call, if none that came with the same has
    /// ended and may still be worked for.
    fn only_open(&mut self, call: Call, what: [u8; 8], is_like: impl Fn(&Request) -> bool) -> Option<Key> {
        let process = self.process(call.unit.pid);
        if process.is_hidden() || process.ended.has(what) {
            return None;
        }
        let open = process.may_call(call.start_ns).collect();
        self.only(open, is_like)
    }

    fn only(&mut self, open: Vec<Key>, is_like: impl Fn(&Request) -> bool) -> Option<Key> {
        let mut found = None;
        for key in open {
            if is_like(self.request(key)?) && found.replace(key).is_some() {
                return None;
            }
        }
        found
    }

    /// A request has ended: its process may still call with what it came with.
    pub(super) fn ended(&mut self, key: Key) {
        let Some(request) = self.request(key) else { return };
        let Request { context, carried, unit, .. } = request;
        let pid = unit.pid;
        let came = context.parent.filter(|(_, evidence)| *evidence == Evidence::Header);
        let hashes = |trace: &[u8; 16], parent: &[u8; 8]| [hash(&[trace]), hash(&[trace, parent])];
        let mut all: Vec<[u8; 8]> =
            came.iter().flat_map(|(parent, _)| hashes(&context.trace_id, parent)).collect();
        for carried in carried.iter() {
            let contexts = carried.contexts.iter();
            all.extend(contexts.flat_map(|context| hashes(&context.trace_id, &context.parent_id)));
            all.extend(carried.request_id.as_deref().map(|id| hash(&[id])));
        }
        // Its sockets are closed after a process has ended.
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let ended = &mut process.ended;
        for what in all {
            if !ended.has(what) {
                ended.add(what);
            }
        }
    }
}

/// Where what a call carries comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// From this open request; the header that tells.
    From(Key, Option<HeaderFormat>),
    /// From a request that is not open.
    FromEnded,
    /// From no request that is known.
    Nothing,
}

fn hash(parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = FxHasher::default();
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish().to_ne_bytes()
}

impl Request {
    /// Whether it came with this trace id, in any format; and with this id of its caller, if one is given.
    fn came_with(&self, trace_id: &[u8; 16], parent_id: Option<&[u8; 8]>) -> bool {
        let Context { parent, trace_id: own, .. } = &self.context;
        let is_that = |id: &[u8; 8]| parent_id.is_none_or(|parent_id| id == parent_id);
        own == trace_id && parent.is_some_and(|(id, evidence)| evidence == Evidence::Header && is_that(&id))
            || self
                .carried
                .iter()
                .flat_map(|carried| &carried.contexts)
                .any(|context| context.trace_id == *trace_id && is_that(&context.parent_id))
    }
}
