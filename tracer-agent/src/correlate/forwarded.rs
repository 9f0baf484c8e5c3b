//! What requests carry to link them, and client requests that carry what a server request came with.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::{
    link::Evidence,
    open::{Key, OpenRequest, OpenRequests},
    process::Process,
    strategy::ClientRequest,
};
use crate::trace_context::{Carried, HeaderFormat, Incoming};

/// The contexts and ids that one request carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carries<'a> {
    pub(super) traceparent: Option<&'a Incoming>,
    /// In the other formats that are configured.
    pub(super) others: Option<&'a Carried>,
}

impl<'a> Carries<'a> {
    /// All contexts, the strongest first.
    pub(super) fn contexts(self) -> impl Iterator<Item = &'a Incoming> {
        self.traceparent.into_iter().chain(self.others.into_iter().flat_map(|others| &others.contexts))
    }

    /// The id that the request itself has, by its `x-request-id`.
    fn request_id(self) -> Option<&'a [u8]> {
        self.others?.request_id.as_deref()
    }

    /// Whether its sender samples its trace, or has left that to others.
    pub(super) fn is_sampled(self) -> bool {
        self.contexts().next().is_none_or(Incoming::is_sampled)
    }

    /// The sender's decision on sampling, if it carries that and no ids.
    pub(super) fn decision(self) -> Option<bool> {
        self.others?.sampled
    }
}

/// Where a client request has from what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// From this server request, in flight; the format that tells.
    From(Key, Option<HeaderFormat>),
    /// From a server request that has ended, or may have.
    FromEnded,
    /// From no server request that is known.
    Nothing,
}

/// The server request that came with what a client request carries. A context that was forwarded as it came
/// names one request; a trace, or the id of a request, may be that of several, and of one that has ended.
pub(super) fn source(
    process: &Process,
    open: &OpenRequests,
    client: &ClientRequest<'_>,
    carries: Carries<'_>,
) -> Forwarded {
    if process.is_crowded() {
        return Forwarded::Nothing;
    }
    for Incoming { trace_id, parent_id, format, .. } in carries.contexts() {
        let others = process.in_flight().filter(|key| client.other_end != Some(*key));
        match only(open, others, |request| came_with(request, trace_id, Some(parent_id))) {
            // One that has ended came with the same, and its process may still work for it.
            Some(_) if process.ended.has(hash(&[trace_id, parent_id])) => return Forwarded::Nothing,
            Some(found) => return Forwarded::From(found, *format),
            None if client.other_end.is_none() && process.received.has(*parent_id) => {
                return Forwarded::FromEnded;
            }
            None => {}
        }
        let is_like = |request: &OpenRequest| came_with(request, trace_id, None);
        if let Some(found) = only_in_flight(process, open, client, hash(&[trace_id]), is_like) {
            return Forwarded::From(found, *format);
        }
    }
    let Some(id) = carries.request_id() else { return Forwarded::Nothing };
    let has_id = |carried: &Carried| carried.request_id.as_deref() == Some(id);
    let is_like = |request: &OpenRequest| request.carried.as_deref().is_some_and(has_id);
    match only_in_flight(process, open, client, hash(&[id]), is_like) {
        Some(found) => Forwarded::From(found, Some(HeaderFormat::XRequestId)),
        None => Forwarded::Nothing,
    }
}

/// The only server request like this for which a process can send a client request, if none that came with the
/// same has ended, for which the process may still work.
fn only_in_flight(
    process: &Process,
    open: &OpenRequests,
    client: &ClientRequest<'_>,
    what: [u8; 8],
    is_like: impl Fn(&OpenRequest) -> bool,
) -> Option<Key> {
    if process.is_opaque() || process.ended.has(what) {
        return None;
    }
    let others = process.unanswered(client.start_ns).filter(|key| client.other_end != Some(*key));
    only(open, others, is_like)
}

fn only(
    open: &OpenRequests,
    keys: impl Iterator<Item = Key>,
    is_like: impl Fn(&OpenRequest) -> bool,
) -> Option<Key> {
    let mut found = None;
    for key in keys {
        if is_like(open.get(key)?) && found.replace(key).is_some() {
            return None;
        }
    }
    found
}

/// A server request has ended: its process may still forward what it came with.
#[inline]
pub(super) fn ended(process: &mut Process, request: &OpenRequest) {
    let came = request.context.parent.filter(|(_, evidence)| *evidence == Evidence::Header);
    if came.is_some() || request.carried.is_some() {
        remember(process, request, came.map(|(parent, _)| parent));
    }
}

/// Remembers the contexts and ids that a server request came with.
fn remember(process: &mut Process, request: &OpenRequest, came: Option<[u8; 8]>) {
    let OpenRequest { context, carried, .. } = request;
    let hashes = |trace: &[u8; 16], parent: &[u8; 8]| [hash(&[trace]), hash(&[trace, parent])];
    let mut all: Vec<[u8; 8]> = came.iter().flat_map(|parent| hashes(&context.trace_id, parent)).collect();
    for carried in carried.iter() {
        let contexts = carried.contexts.iter();
        all.extend(contexts.flat_map(|context| hashes(&context.trace_id, &context.parent_id)));
        all.extend(carried.request_id.as_deref().map(|id| hash(&[id])));
    }
    for what in all {
        if !process.ended.has(what) {
            process.ended.add(what);
        }
    }
}

/// Whether a request came with this trace id, in any format; and with this id of its caller, if one is given.
fn came_with(request: &OpenRequest, trace_id: &[u8; 16], parent_id: Option<&[u8; 8]>) -> bool {
    let is_that = |id: &[u8; 8]| parent_id.is_none_or(|parent_id| id == parent_id);
    let came = request.context.parent.filter(|(_, evidence)| *evidence == Evidence::Header);
    request.context.trace_id == *trace_id && came.is_some_and(|(id, _)| is_that(&id))
        || request
            .carried
            .iter()
            .flat_map(|carried| &carried.contexts)
            .any(|context| context.trace_id == *trace_id && is_that(&context.parent_id))
}

fn hash(parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = FxHasher::default();
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish().to_ne_bytes()
}
