//! Clocks that differ: by how much spans are moved, and why.
//!
//! A server's span lies within that of its client, since the client waits for it. If the times say otherwise, and the two
//! were not recorded by one clock, the clocks differ for certain. Then the server's span is moved into the middle of its
//! client's, and all spans below it with it. Nothing else is moved: a difference that can be the way on the network, work
//! after the response, or a client that gave up is no difference of clocks.

use std::sync::Arc;

use super::describe::{self, duration};
use crate::{
    answer::Stretch,
    clock::centring_ns,
    span::{Kind, Resource, Span, attribute},
};

/// How spans are moved.
pub(super) struct Skews {
    /// Of each span, by how much, nanoseconds.
    shifts_ns: Vec<i64>,
    /// Of each span whose clock differs from its parent's.
    own: Vec<Option<Own>>,
}

/// A clock that differs from that of the parent.
pub(super) struct Own {
    /// By how much it seems to be ahead, nanoseconds.
    pub(super) skew_ns: i64,
    /// What shows it.
    pub(super) evidence: String,
}

impl Skews {
    /// `times` are those that were sent, `parents` go round in no circle.
    pub(super) fn of(spans: &[&Span], parents: &[Option<usize>], times: &[Stretch]) -> Self {
        let mut servers = vec![0u32; spans.len()];
        for (at, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent.filter(|_| spans[at].kind == Kind::Server) {
                servers[parent] += 1;
            }
        }
        let mut skews = Self { shifts_ns: vec![0; spans.len()], own: spans.iter().map(|_| None).collect() };
        let mut is_known = vec![false; spans.len()];
        let mut path = Vec::new();
        for begin in 0..spans.len() {
            let mut next = Some(begin);
            while let Some(at) = next.filter(|at| !is_known[*at]) {
                path.push(at);
                next = parents[at];
            }
            while let Some(at) = path.pop() {
                is_known[at] = true;
                let Some(parent) = parents[at] else { continue };
                // Two servers' spans are two calls: which of them took which time is not said.
                let is_call = spans[parent].kind == Kind::Client
                    && spans[at].kind == Kind::Server
                    && servers[parent] == 1;
                let own =
                    is_call.then(|| own((spans[parent], times[parent]), (spans[at], times[at]))).flatten();
                let own_ns = own.as_ref().map_or(0, |own| own.skew_ns);
                let shift_ns = i128::from(skews.shifts_ns[parent]) - i128::from(own_ns);
                skews.shifts_ns[at] = possible(shift_ns, times[at]);
                skews.own[at] = own;
            }
        }
        skews
    }

    /// By how much a span is moved, nanoseconds.
    pub(super) fn shift_ns(&self, at: usize) -> i64 {
        self.shifts_ns[at]
    }

    /// The difference of a span's clock from its parent's.
    pub(super) fn own(&self, at: usize) -> Option<&Own> {
        self.own[at].as_ref()
    }
}

/// The nearest shift that leaves a span between the first moment that can be written and the last.
fn possible(shift_ns: i128, time: Stretch) -> i64 {
    let shift_ns = shift_ns.clamp(-i128::from(time.start_ns), i128::from(u64::MAX - time.end_ns));
    shift_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// The difference of the clocks of a client and its server, if it is certain.
fn own((client, client_time): (&Span, Stretch), (server, server_time): (&Span, Stretch)) -> Option<Own> {
    let is_told = |span: &Span| {
        span.start_unix_ns != 0 && span.end_unix_ns >= span.start_unix_ns && describe::end_is_known(span)
    };
    if !is_told(client) || !is_told(server) || is_one_clock(&client.resource, &server.resource) {
        return None;
    }
    // A client that gave up was not there at the server's end: that says nothing of clocks.
    if client.is_error() && server_time.start_ns >= client_time.start_ns {
        return None;
    }
    let length = |time: Stretch| (time.start_ns, time.end_ns - time.start_ns);
    let centring_ns = centring_ns(length(server_time), length(client_time)).filter(|ns| *ns != 0)?;
    let early_ns = client_time.start_ns.saturating_sub(server_time.start_ns);
    let late_ns = server_time.end_ns.saturating_sub(client_time.end_ns);
    let evidence = if early_ns > 0 {
        format!("It begins {} before its client sends the request.", duration(early_ns))
    } else {
        format!("It ends {} after its client has the response.", duration(late_ns))
    };
    Some(Own { skew_ns: i64::try_from(-centring_ns).ok()?, evidence })
}

/// Whether two service instances read one clock: that of their host.
pub(super) fn is_one_clock(one: &Arc<Resource>, other: &Arc<Resource>) -> bool {
    if Arc::ptr_eq(one, other) || one == other {
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
