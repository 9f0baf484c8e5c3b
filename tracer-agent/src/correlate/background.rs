//! Calls that a process makes of its own accord: timers, health checks, work after an answer.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::process::Call;

/// Where such calls went. Another call to the same address may be one too, whatever request is open.
#[derive(Debug, Default)]
pub(super) struct Accord {
    /// Requests that were served. What comes before the first is the process's start.
    served: u32,
    /// Addresses, with the calls to them since that could have been for a request.
    remotes: FxHashMap<SocketAddr, u32>,
    /// When the process last had a request that is not known: one whose client has gone, or not seen.
    unseen_ns: Option<u64>,
}

/// Requests after which a process that calls of its own accord will have done so with none open.
const KNOWN: u32 = 16;
/// Calls for requests after which an address is trusted again: what was taken for the process's own
/// accord may have been for a request that came before the agent.
const TRUSTED: u32 = 1024;
/// Addresses that are remembered. A process with more of them is not trusted at all.
const REMOTES: usize = 64;
/// How long a process may work for a request that is not known.
const UNSEEN_NS: u64 = 10_000_000_000;

impl Accord {
    pub(super) fn serves(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// Whether enough was served for such calls to have shown.
    pub(super) fn is_known(&self) -> bool {
        self.served >= KNOWN
    }

    /// Whether the process calls of its own accord.
    pub(super) fn is_suspicious(&self) -> bool {
        !self.remotes.is_empty()
    }

    pub(super) fn works_unseen(&mut self, time_ns: u64) {
        // Requests are not told in the order in which they were lost.
        self.unseen_ns = self.unseen_ns.max(Some(time_ns));
    }

    /// Whether the process may still work for a request that is not known.
    pub(super) fn is_at_unseen(&self, time_ns: u64) -> bool {
        self.unseen_ns.is_some_and(|unseen_ns| time_ns.saturating_sub(unseen_ns) < UNSEEN_NS)
    }

    /// Whether a call may be the process's own, or for a request that is not known, also if one is open.
    pub(super) fn called(&mut self, call: Call, is_request_open: bool) -> bool {
        if self.is_at_unseen(call.start_ns) {
            return true;
        }
        if !is_request_open {
            if self.served > 0 && self.remotes.len() < REMOTES {
                self.remotes.insert(call.remote, 0);
            }
            return true;
        }
        if self.remotes.is_empty() {
            return false;
        }
        if let Some(calls) = self.remotes.get_mut(&call.remote) {
            *calls += 1;
            if *calls >= TRUSTED {
                self.remotes.remove(&call.remote);
            }
            return true;
        }
        self.remotes.len() >= REMOTES
    }
}
