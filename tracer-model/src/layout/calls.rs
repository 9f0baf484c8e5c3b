//! Both ends of a call, the network between them, and clocks that differ.

use super::tree::Tree;
use crate::{
    answer::Network,
    span::{Kind, Resource, attribute},
};

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
    /// Of a server's end: by how much its clock seems to be ahead of the client's.
    clock_skew_ns: Option<i64>,
    /// Of a client's end: the clocks tell where in its time the server's lies.
    is_exact: bool,
}

impl Calls {
    pub(super) fn of(tree: &Tree<'_>) -> Self {
        let mut ends = vec![End::default(); tree.len()];
        for client in (0..tree.len()).filter(|at| tree.span(*at).kind == Kind::Client) {
            let mut servers =
                tree.children(client).iter().copied().filter(|at| tree.span(*at).kind == Kind::Server);
            // Two servers' spans are two calls: which of them took which time is not said.
            let (Some(server), None) = (servers.next(), servers.next()) else { continue };
            let call = Call::of(tree, client, server);
            ends[client] =
                End { peer: Some(server), network: call.network, is_exact: call.is_exact, ..End::default() };
            ends[server] = End { peer: Some(client), clock_skew_ns: call.clock_skew_ns, ..End::default() };
        }
        Self { ends }
    }

    pub(super) fn peer(&self, at: usize) -> Option<usize> {
        self.ends[at].peer
    }

    pub(super) fn network(&self, at: usize) -> Option<Network> {
        self.ends[at].network
    }

    pub(super) fn clock_skew_ns(&self, at: usize) -> Option<i64> {
        self.ends[at].clock_skew_ns
    }

    /// Whether the clocks of a client's end and of its server's tell where in its time the server's lies.
    pub(super) fn is_exact(&self, at: usize) -> bool {
        self.ends[at].is_exact
    }
}

/// What the times of both ends say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Call {
    network: Option<Network>,
    clock_skew_ns: Option<i64>,
    is_exact: bool,
}

impl Call {
    fn of(tree: &Tree<'_>, client: usize, server: usize) -> Self {
        let (client_time, server_time) = (tree.time(client), tree.time(server));
        let (client, server) = (tree.span(client), tree.span(server));
        let request_ns = server_time.start_ns.checked_sub(client_time.start_ns);
        let response_ns = client_time.end_ns.checked_sub(server_time.end_ns);
        if let (Some(request_ns), Some(response_ns)) = (request_ns, response_ns) {
            let network = Some(Network { request_ns, response_ns });
            return Self { network, clock_skew_ns: None, is_exact: true };
        }
        if is_one_clock(&client.resource, &server.resource) {
            // The server's last write may be seen after its client's last read.
            let network =
                Network { request_ns: request_ns.unwrap_or(0), response_ns: response_ns.unwrap_or(0) };
            return Self { network: Some(network), clock_skew_ns: None, is_exact: true };
        }
        // A client that gave up was not there at the server's end: that says nothing of clocks.
        if client.is_error() && request_ns.is_some() {
            return Self::default();
        }
        let (client_ns, server_ns) =
            (client_time.end_ns - client_time.start_ns, server_time.end_ns - server_time.start_ns);
        // Without the server's time, what is left was on the way: half there and half back is the best guess.
        let Some(way_ns) = client_ns.checked_sub(server_ns) else { return Self::default() };
        let centred_ns = client_time.start_ns.saturating_add(way_ns / 2);
        let skew_ns = i128::from(server_time.start_ns) - i128::from(centred_ns);
        let network = Network { request_ns: way_ns / 2, response_ns: way_ns - way_ns / 2 };
        Self { network: Some(network), clock_skew_ns: i64::try_from(skew_ns).ok(), is_exact: false }
    }
}

/// Whether two service instances read one clock: that of their host.
fn is_one_clock(one: &Resource, other: &Resource) -> bool {
    if one == other {
        return true;
    }
    for name in ["host.id", "host.name"] {
        let of = |resource: &Resource| {
            attribute(&resource.attributes, name).map(|value| value.to_text().into_owned())
        };
        if let (Some(one), Some(other)) = (of(one), of(other)) {
            return one == other;
        }
    }
    false
}
