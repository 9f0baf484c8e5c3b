//! The interface of the ways in which processes work on requests.
//!
//! A [`Strategy`] hears what the units of one process do (they read server requests, send client requests, read
//! responses, answer) and says which client request was sent for which server request. It may say so at once,
//! or with any later event, up to the moment at which the server request is answered.
//!
//! A strategy that is not proven for its process, or that met a contradiction (an event that its way of working
//! rules out), attributes nothing and returns no [`Strategy::kernel_rule`]. The process then falls back to the
//! sole-request rule.

pub(super) mod choose;
pub(super) mod event_loop;
pub(super) mod goroutines;
pub(super) mod proxy;
mod rewrites;
pub(super) mod tasks;
pub(super) mod threads;
pub(super) mod virtual_threads;

use std::fmt;

use tracer_common::{RunRecord, TaskRecord};

use crate::short_bytes::ShortBytes;

use super::{
    link::Evidence,
    open::{AnswerOf, Key},
    profile::{Doubt, Profile},
    programs::Shown,
    withheld::Withheld,
};
use crate::exchange::{Kind, Unit};

/// A server request that is in flight: its head was read, the last byte of its response was not written.
#[derive(Debug)]
pub(super) struct ServerRequest {
    pub(super) key: Key,
    /// Who read it.
    pub(super) unit: Unit,
    pub(super) start_ns: u64,
    /// See [`crate::exchange::Opened::target`].
    pub(super) target: u64,
    /// See [`crate::exchange::Opened::asked`].
    pub(super) asked: ShortBytes,
    /// Another server request was in flight at the same time.
    pub(super) overlaps: bool,
    /// Its response has begun: what the process does now need not be for it.
    pub(super) is_answered: bool,
    /// Its thread sent a client request.
    pub(super) has_called: bool,
    /// Its thread read a server request of another connection.
    pub(super) is_interleaved: bool,
}

/// A client request, or a message that the process publishes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRequest<'a> {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// Who sent it.
    pub(super) unit: Unit,
    pub(super) start_ns: u64,
    /// When its connection was opened, if it is the connection's first request.
    pub(super) connect_ns: Option<u64>,
    /// See [`crate::endpoint::Endpoint::address_hash`].
    pub(super) remote: u64,
    /// See [`crate::exchange::Opened::target`].
    pub(super) target: u64,
    /// See [`crate::exchange::Opened::asked`].
    pub(super) asked: &'a ShortBytes,
    /// See [`crate::exchange::Opened::is_late`].
    pub(super) is_late: bool,
    /// The same request as it was received, if that was seen first: its process need not be another one.
    pub(super) other_end: Option<Key>,
    /// It left without ids: its place in a trace may become known later.
    pub(super) may_wait: bool,
}

impl ClientRequest<'_> {
    /// When the work on it began.
    pub(super) fn begin_ns(&self) -> u64 {
        self.connect_ns.unwrap_or(self.start_ns)
    }
}

/// The server request that a task has read and that is in flight: of several on one connection the first, since they are
/// answered in order.
fn its_request(task: u64, at_ns: u64, in_flight: &[ServerRequest]) -> Result<Option<&ServerRequest>, Doubt> {
    let mut first: Option<&ServerRequest> = None;
    for request in in_flight.iter().filter(|it| it.unit.task == task && it.start_ns <= at_ns) {
        match first {
            Some(other) if other.key.connection != request.key.connection => return Err(Doubt::Interleaved),
            Some(other) if other.key.offset < request.key.offset => {}
            _ => first = Some(request),
        }
    }
    Ok(first)
}

/// A client request was sent for a server request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attribution {
    pub(super) client_request: Key,
    pub(super) server_request: Key,
    pub(super) evidence: Evidence,
}

/// What becomes known when a client request is sent.
#[derive(Debug, Default)]
pub(super) struct Attributions {
    /// The server request that it was sent for.
    pub(super) this: Option<(Key, Evidence)>,
    /// If that is not known, why.
    pub(super) withheld: Option<Withheld>,
    /// No other rule may attribute it.
    pub(super) is_certain: bool,
    /// It is a background request: it was sent for no server request that is in flight.
    pub(super) is_background: bool,
    /// The server request that it was sent for if the strategy turns out to be right, and what of it has to.
    pub(super) candidate: Option<(Key, u64)>,
    /// Earlier client requests.
    pub(super) earlier: Vec<Attribution>,
    /// Client requests that were held need not wait any more.
    pub(super) has_decided: bool,
}

/// One way of working on requests, and what is known of one process that works so.
pub(super) trait Strategy: fmt::Debug + Send {
    /// The strategy of another process of the same program, of which nothing is known yet.
    fn renewed(&self) -> Box<dyn Strategy>;

    fn profile(&self) -> Profile;

    /// Another process of the same program has proven the strategy. Returns what that makes known.
    fn inherit(&mut self) -> Vec<Attribution> {
        Vec::new()
    }

    /// A client request, sent at this time, waits for the strategy to be proven or contradicted. Returns whether it may.
    fn hold(&mut self, _client_request: Key, _candidate: (Key, u64), _at_ns: u64) -> bool {
        false
    }

    /// No client request waits any more.
    fn release(&mut self) {}

    /// Another process of the same program has contradicted the strategy: what was inherited or learned counts no more,
    /// and is learned anew.
    fn withdraw(&mut self) {}

    /// What this process itself has shown of the strategy. What it inherited is not its own.
    fn shown(&self) -> Option<Shown> {
        None
    }

    /// How the kernel programs may attribute client requests (`PROFILE_*`); none if the strategy attributes
    /// none itself, because it is not proven or has met a contradiction.
    fn kernel_rule(&self) -> Option<u8>;

    /// As [`Strategy::kernel_rule`], in a process that has connections that are not read: only what a task tells of itself
    /// holds there.
    fn task_rule(&self) -> Option<u8> {
        None
    }

    /// Whether other rules may attribute what it does not, although it is proven.
    fn leaves_others(&self) -> bool {
        self.kernel_rule().is_none()
    }

    /// A task of the process reads or sends the request that comes next.
    fn task(&mut self, _record: &TaskRecord) {}

    /// The event loop of the process makes the call that comes next. Returns how much of it cannot be true.
    fn run(&mut self, _record: &RunRecord) -> u32 {
        0
    }

    /// Whether client requests that were held need not wait any more, since this was asked last.
    fn take_decided(&mut self) -> bool {
        false
    }

    /// Whether client requests can be attributed to server requests that have ended.
    fn attributes_later(&self) -> bool {
        false
    }

    /// Whether the process is a proxy.
    fn is_proxy(&self) -> bool {
        false
    }

    /// Whether [`Strategy::answer_read`] concerns it.
    fn needs_reads(&self) -> bool {
        false
    }

    /// Whether a unit reads server requests. Such a unit may still be at work on one that has ended.
    fn reads_requests(&self, _unit: Unit) -> bool {
        false
    }

    /// Whether units that read requests may work for what others have read, as far as is known.
    fn may_be_shared(&self) -> bool {
        true
    }

    /// Whether a unit may work for this server request, as far as is known of units. One that has read others, or that is
    /// older than the work on it, does not.
    fn may_work_for(&self, _unit: Unit, _request: &ServerRequest) -> bool {
        true
    }

    /// Whether this unit works for the server request that it has read, and has not answered, as far as is known: a thread
    /// that waits for its calls. An event loop may go on with an earlier one meanwhile.
    fn works_for_its_own(&self, _unit: Unit, _request: &ServerRequest) -> bool {
        false
    }

    /// Whether it may become known later which server request this client request was sent for. Its span waits
    /// for that.
    fn may_attribute_later(&self, _client_request: Key) -> bool {
        false
    }

    /// A unit has read the head of a server request; `others` are in flight.
    fn server_opened(&mut self, request: &ServerRequest, others: &mut [ServerRequest]);

    /// The first byte of the response to a server request was written, by this unit.
    fn server_answered(&mut self, _request: &ServerRequest, _by: Unit) -> Vec<Attribution> {
        Vec::new()
    }

    /// Whether client requests wait that may turn out to be for this server request, which is answered.
    fn awaits(&self, _server_request: Key) -> bool {
        false
    }

    /// A server request has ended. `answered_by` wrote the response; none if it did not get a whole one.
    fn server_closed(&mut self, request: &ServerRequest, answered_by: Option<Unit>) -> Vec<Attribution>;

    /// A unit may work for a request that is not known.
    fn works_unseen(&mut self, unit: Unit);

    /// A unit has read bytes of a response.
    fn answer_read(&mut self, _unit: Unit, _answer: AnswerOf, _time_ns: u64) {}

    /// A client request, which this unit sent, will get no response. `server_request` is that which it was sent
    /// for, if that is known.
    fn client_unanswered(
        &mut self,
        _unit: Unit,
        _client_request: Key,
        _server_request: Option<Key>,
        _time_ns: u64,
    ) {
    }

    /// A client request is sent, and other evidence tells for which server request.
    fn attributed(&mut self, _client_request: &ClientRequest<'_>, _server_request: Key) {}

    /// A client request is sent.
    fn attribute(
        &mut self,
        client_request: &ClientRequest<'_>,
        in_flight: &mut [ServerRequest],
    ) -> Attributions;
}
