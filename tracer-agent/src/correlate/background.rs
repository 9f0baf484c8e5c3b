//! Background requests: client requests that a process sends of its own accord (timers, health checks, work
//! after an answer).

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    link::Evidence,
    open::Key,
    programs::{CALLED, CalledForRequests},
    strategy::ClientRequest,
};

/// The addresses that background requests went to. Another client request to the same address may be one too,
/// whatever server request is in flight.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// Server requests so far. Client requests before the first belong to the process's start.
    served: u32,
    /// Addresses, with the client requests to them since that could have been for a server request.
    remotes: FxHashMap<u64, u32>,
    /// Addresses that were called for a server request, surely, or for one before which the process was at rest.
    called_for_requests: FxHashSet<u64>,
    /// The same of all processes of its program: workers do the same work.
    called_by_program: CalledForRequests,
    /// The last server request before which the process was at rest.
    after_rest: Option<Key>,
    unseen: Unseen,
}

/// Server requests that are not known.
#[derive(Debug, Default)]
struct Unseen {
    /// When the process had the last one of which the end will not be known: its client has gone, or it was not seen.
    lost_ns: Option<u64>,
    /// Connections whose requests are not understood, and when the last of them was read, which is not answered.
    undecoded: Vec<(u64, u64)>,
    /// When the last one was answered.
    answered_ns: Option<u64>,
}

/// Server requests after which a process that sends background requests will have done so with none in flight.
const KNOWN: u32 = 16;
/// Client requests for server requests after which an address is trusted again: what was taken for a background
/// request may have been for a server request from before the agent.
const TRUSTED: u32 = 1024;
/// Addresses that are remembered. A process with more of them is not trusted at all.
const REMOTES: usize = 64;
/// A process that had no server request in flight for so long is at rest: what it leaves behind after a response has
/// begun by then, as a rule. The kernel programs use the same time.
const REST_NS: u64 = 100_000_000;
/// How long a process may work for a server request that is not known, if nothing shows that it is answered.
const UNSEEN_NS: u64 = 10_000_000_000;
/// Connections with such requests that are told apart.
const UNDECODED: usize = 64;

impl Unseen {
    fn is_at(&self, time_ns: u64) -> bool {
        let is_recent = |since_ns: u64| time_ns.saturating_sub(since_ns) < UNSEEN_NS;
        self.lost_ns.is_some_and(is_recent)
            || self.answered_ns.is_some_and(|answered_ns| time_ns < answered_ns)
            || self.undecoded.iter().any(|(_, since_ns)| is_recent(*since_ns))
    }

    fn read(&mut self, connection: u64, time_ns: u64) {
        if let Some((_, since_ns)) = self.undecoded.iter_mut().find(|(other, _)| *other == connection) {
            *since_ns = time_ns.max(*since_ns);
            return;
        }
        self.undecoded.retain(|(_, since_ns)| time_ns.saturating_sub(*since_ns) < UNSEEN_NS);
        if self.undecoded.len() < UNDECODED {
            self.undecoded.push((connection, time_ns));
        } else {
            self.lost_ns = self.lost_ns.max(Some(time_ns));
        }
    }

    fn answered(&mut self, connection: u64, time_ns: u64) {
        self.undecoded.retain(|(other, _)| *other != connection);
        self.answered_ns = self.answered_ns.max(Some(time_ns));
    }
}

impl Background {
    /// A server request has come. The process has had none in flight for `idle_ns`; none if it has one.
    pub(super) fn serves(&mut self, request: Key, idle_ns: Option<u64>) {
        self.served = self.served.saturating_add(1);
        // What comes beside a request may leave work behind that outlasts it.
        self.after_rest = idle_ns.is_some_and(|idle_ns| idle_ns >= REST_NS).then_some(request);
    }

    /// Whether a client request to this address, while this server request alone is in flight, is work of an earlier one
    /// as likely as not: the process was not at rest before, and no request before which it was has called the address.
    pub(super) fn may_be_earlier(&self, server: Key, remote: u64) -> bool {
        self.after_rest != Some(server)
            && !self.called_for_requests.contains(&remote)
            && !self.called_by_program.has(remote)
    }

    /// What other processes of the program call for their requests counts too.
    pub(super) fn share(&mut self, called: CalledForRequests) {
        self.called_by_program = called;
    }

    /// A client request to this address is for this server request, by this evidence.
    pub(super) fn called_for(&mut self, (server, evidence): (Key, Evidence), remote: u64) {
        let is_certain = evidence != Evidence::SoleRequest || self.after_rest == Some(server);
        if is_certain && !self.called_for_requests.contains(&remote) {
            if self.called_for_requests.len() >= CALLED {
                self.called_for_requests.clear();
            }
            self.called_for_requests.insert(remote);
            self.called_by_program.add(remote);
        }
    }

    /// Whether enough was served for background requests to have shown.
    pub(super) fn is_known(&self) -> bool {
        self.served >= KNOWN
    }

    /// Whether the process sends background requests.
    pub(super) fn is_suspicious(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// The process may work for a server request that is not known.
    pub(super) fn works_unseen(&mut self, time_ns: u64) {
        // Requests are not told in the order in which they were lost.
        self.unseen.lost_ns = self.unseen.lost_ns.max(Some(time_ns));
    }

    /// The process works for what it has read from a connection, and is not understood.
    pub(super) fn works_undecoded(&mut self, connection: u64, time_ns: u64) {
        self.unseen.read(connection, time_ns);
    }

    /// What was so read from a connection is answered.
    pub(super) fn undecoded_answered(&mut self, connection: u64, time_ns: u64) {
        self.unseen.answered(connection, time_ns);
    }

    /// Whether the process may still work for a server request that is not known.
    pub(super) fn is_at_unseen(&self, time_ns: u64) -> bool {
        self.unseen.is_at(time_ns)
    }

    /// A client request to this address was a background request.
    pub(super) fn calls(&mut self, remote: u64) {
        if self.remotes.len() < REMOTES {
            self.remotes.insert(remote, 0);
        }
    }

    /// Whether a client request may be a background request, or for a server request that is not known, also if
    /// one is in flight.
    pub(super) fn may_be(&mut self, client: &ClientRequest<'_>, is_serving: bool) -> bool {
        if self.is_at_unseen(client.start_ns) {
            return true;
        }
        if !is_serving {
            if self.served > 0 {
                self.calls(client.remote);
            }
            return true;
        }
        if self.remotes.is_empty() {
            return false;
        }
        if let Some(count) = self.remotes.get_mut(&client.remote) {
            *count += 1;
            if *count >= TRUSTED {
                self.remotes.remove(&client.remote);
            }
            return true;
        }
        self.remotes.len() >= REMOTES
    }
}
