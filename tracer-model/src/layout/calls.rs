//! Both ends of a call, and the network between them.

use super::{skew::is_one_clock, tree::Tree};
use crate::{answer::Network, span::Kind};

/// Calls whose both ends are there.
pub(super) struct Calls {
    /// Of each span.
    ends: Vec<End>,
}

/// A span as one end of a call.
#[derive(Clone, Copy, Default)]
struct End {
    /// The other one.
    peer: Option<usize>,
    /// Of a client's end.
    network: Option<Network>,
}

impl Calls {
    pub(super) fn of(tree: &Tree<'_>) -> Self {
        let mut ends = vec![End::default(); tree.len()];
        for client in (0..tree.len()).filter(|at| tree.span(*at).kind == Kind::Client) {
            let mut servers =
                tree.children(client).iter().copied().filter(|at| tree.span(*at).kind == Kind::Server);
            // Two servers' spans are two calls: which of them took which time is not said.
            let (Some(server), None) = (servers.next(), servers.next()) else { continue };
            ends[client] = End { peer: Some(server), network: network(tree, client, server) };
            ends[server] = End { peer: Some(client), network: None };
        }
        Self { ends }
    }

    pub(super) fn peer(&self, at: usize) -> Option<usize> {
        self.ends[at].peer
    }

    /// Of a client's end, if the times of both ends tell it.
    pub(super) fn network(&self, at: usize) -> Option<Network> {
        self.ends[at].network
    }
}

/// The time between both ends. Where clocks differ, the server's span was moved into its client's.
fn network(tree: &Tree<'_>, client: usize, server: usize) -> Option<Network> {
    let (client_time, server_time) = (tree.time(client), tree.time(server));
    let request_ns = server_time.start_ns.checked_sub(client_time.start_ns);
    let response_ns = client_time.end_ns.checked_sub(server_time.end_ns);
    match (request_ns, response_ns) {
        (Some(request_ns), Some(response_ns)) => Some(Network { request_ns, response_ns }),
        // The server's last write may be seen after its client's last read.
        _ if is_one_clock(&tree.span(client).resource, &tree.span(server).resource) => {
            Some(Network { request_ns: request_ns.unwrap_or(0), response_ns: response_ns.unwrap_or(0) })
        }
        _ => None,
    }
}
