//! Calls between services: those of a segment, kept while it does not change, and those of traces that lie in several.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use tracer_model::{
    answer::{NodeKind, Window},
    peer::Peer,
    span::TraceId,
};

use super::{
    Tally,
    kin::{Kin, Other, Role},
    peer::Peers,
};
use crate::{
    line::Shared,
    query::Pattern,
    search::is_over,
    segment::{Segment, filter::window_ns},
};

/// Who calls a service from outside of what is traced.
pub(crate) const OUTSIDE: &str = "outside";

/// Spans of traces that lie in several segments that are looked at together.
const MOST_SPREAD: usize = 1 << 18;

/// Requests that are alike, and the traces that have some.
pub(crate) struct Alike {
    pub(super) own: Peer,
    pub(super) other: Option<Peer>,
    pub(super) role: Role,
    pub(super) tally: Tally,
    /// Codes of the traces in the segment, ascending; none if it was not asked for them.
    traces: Vec<u16>,
}

impl Alike {
    /// Whether it is a call from one to another.
    fn is_call(&self, from: &Pattern, to: &Pattern) -> bool {
        self.other.as_ref().is_some_and(|other| {
            let (caller, called) =
                if self.role == Role::Asked { (&self.own, other) } else { (other, &self.own) };
            from.meets(&caller.name) && to.meets(&called.name)
        })
    }
}

/// What a segment tells of traces that lie in it alone.
pub(crate) struct Local {
    version: u32,
    rows: usize,
    /// Of each head, the own time of its spans together.
    pub(super) own_ns: Vec<u64>,
    pub(super) alike: Vec<Alike>,
}

impl Local {
    pub(crate) fn is_of(&self, segment: &Segment) -> bool {
        self.version == segment.version && self.rows == segment.rows()
    }

    /// Of a segment as it is.
    pub(crate) fn of(segment: &Segment) -> Self {
        let kin = kin_of(segment);
        let mut own_ns = vec![0u64; segment.heads.len()];
        for (spot, own) in kin.spots.iter().zip(kin.own_ns()) {
            let of_head = &mut own_ns[usize::from(segment.head[usize::from(spot.row)])];
            *of_head = of_head.saturating_add(own);
        }
        let mut alike = alike(segment, &kin, 0..kin.spots.len(), None, true);
        alike.iter_mut().for_each(|alike| alike.tally.shrink());
        Self { version: segment.version, rows: segment.rows(), own_ns, alike }
    }

    /// Codes of the traces that have a call.
    pub(crate) fn traces_with(&self, from: &Pattern, to: &Pattern) -> impl Iterator<Item = u16> {
        let calls = self.alike.iter().filter(move |alike| alike.is_call(from, to));
        calls.flat_map(|alike| alike.traces.iter().copied())
    }

    pub(crate) fn bytes(&self) -> usize {
        let of_alike = |alike: &Alike| {
            size_of::<Alike>()
                + alike.traces.capacity() * 2
                + alike.tally.bytes()
                + alike.own.name.len()
                + alike.other.as_ref().map_or(0, |other| other.name.len())
        };
        size_of::<Self>() + self.own_ns.capacity() * 8 + self.alike.iter().map(of_alike).sum::<usize>()
    }
}

/// Spans of the traces that lie in a segment alone.
pub(super) fn kin_of(segment: &Segment) -> Kin {
    let mut kin = Kin::default();
    let is_alone = |row: &usize| segment.is_held(*row) && !segment.is_spread(segment.trace[*row]);
    kin.add(segment, 0, (0..segment.rows()).filter(is_alone));
    kin.settle();
    kin
}

/// Requests of a segment that start in a window, told by spans at these places.
pub(super) fn alike(
    segment: &Segment,
    kin: &Kin,
    places: impl Iterator<Item = usize>,
    window: Option<Window>,
    with_traces: bool,
) -> Vec<Alike> {
    let (from, to) = window.map_or((0, u64::MAX), window_ns);
    let mut peers = Peers::new(segment);
    let mut counted: hashbrown::HashMap<(u32, Other, Role), (Tally, Vec<u16>)> = hashbrown::HashMap::new();
    for at in places {
        let row = usize::from(kin.spots[at].row);
        let start = segment.start[row];
        if start < from || start >= to && to != u64::MAX {
            continue;
        }
        let resource = segment.head_of(row).resource;
        let peer = || peers.of(segment, row).map(|peer| (peer, peers.all[peer as usize].kind));
        kin.tell(at, peer, |other, role| {
            let (tally, traces) = counted.entry((resource, other, role)).or_default();
            tally.add(segment.duration_ns(row), segment.is_error(row));
            let trace = segment.trace[row];
            if with_traces && role != Role::Node && traces.last() != Some(&trace) {
                traces.push(trace);
            }
        });
    }
    let told = counted.into_iter().map(|((resource, other, role), (tally, mut traces))| {
        traces.sort_unstable();
        traces.dedup();
        traces.shrink_to_fit();
        let own = Peer::service(segment.resources.all[resource as usize].service_name());
        let other = match other {
            Other::Nobody => None,
            Other::Service(code) => Some(Peer::service(kin.service(code))),
            Other::Peer(code) => Some(peers.all[code as usize].clone()),
            Other::Outside => Some(Peer { kind: NodeKind::Outside, name: OUTSIDE.to_owned(), system: None }),
        };
        Alike { own, other, role, tally, traces }
    });
    told.collect()
}

/// Traces that lie in several segments, a part of them at a time: their number has no bound but the store's. Says
/// whether it came to the end before the deadline.
pub(super) fn each_spread(
    segments: &[Arc<Shared>],
    deadline: Option<Instant>,
    mut told: impl FnMut(&Kin),
) -> bool {
    let spread: usize = segments.iter().map(|shared| shared.read().spread_rows().count()).sum();
    let parts = spread.div_ceil(MOST_SPREAD) as u64;
    let keys = RandomState::new();
    for part in 0..parts {
        let mut kin = Kin::default();
        for (place, shared) in segments.iter().enumerate() {
            if is_over(deadline) {
                return false;
            }
            let segment = shared.read();
            let is_in_part = |row: &usize| {
                let trace = segment.traces[usize::from(segment.trace[*row])];
                parts == 1 || keys.hash_one(trace) % parts == part
            };
            kin.add(&segment, place as u32, segment.spread_rows().filter(is_in_part));
        }
        kin.settle();
        told(&kin);
    }
    true
}

/// The places of some spans in the order of their segments, those of one segment together.
pub(super) fn by_segment(kin: &Kin) -> Vec<usize> {
    let mut places: Vec<usize> = (0..kin.spots.len()).collect();
    places.sort_unstable_by_key(|at| (kin.spots[*at].segment, kin.spots[*at].row));
    places
}

/// Requests that start in a window, of spans in several segments.
pub(super) fn alike_of(
    segments: &[Arc<Shared>],
    kin: &Kin,
    window: Option<Window>,
    with_traces: bool,
    mut told: impl FnMut(&Segment, Alike),
) {
    let places = by_segment(kin);
    for of_segment in places.chunk_by(|one, other| kin.spots[*one].segment == kin.spots[*other].segment) {
        let segment = segments[kin.spots[of_segment[0]].segment as usize].read();
        for alike in alike(&segment, kin, of_segment.iter().copied(), window, with_traces) {
            told(&segment, alike);
        }
    }
}

/// Traces with a call, of those that lie in several segments.
pub(crate) fn spread_traces_with(
    segments: &[Arc<Shared>],
    calls: &[(&Pattern, &Pattern)],
    deadline: Option<Instant>,
    mut found: impl FnMut(usize, TraceId),
) -> bool {
    each_spread(segments, deadline, |kin| find_calls(segments, kin, calls, &mut found))
}

/// Whether one trace has each of these calls.
pub(crate) fn trace_has(places: &[(Arc<Shared>, u16)], calls: &[(&Pattern, &Pattern)]) -> Vec<bool> {
    let segments: Vec<Arc<Shared>> = places.iter().map(|(shared, _)| Arc::clone(shared)).collect();
    let mut kin = Kin::default();
    for (place, (shared, trace)) in places.iter().enumerate() {
        let segment = shared.read();
        kin.add(&segment, place as u32, segment.rows_of(*trace).into_iter());
    }
    kin.settle();
    let mut has = vec![false; calls.len()];
    find_calls(&segments, &kin, calls, &mut |call, _| has[call] = true);
    has
}

fn find_calls(
    segments: &[Arc<Shared>],
    kin: &Kin,
    calls: &[(&Pattern, &Pattern)],
    found: &mut impl FnMut(usize, TraceId),
) {
    alike_of(segments, kin, None, true, |segment, alike| {
        for (place, (from, to)) in calls.iter().enumerate() {
            if alike.is_call(from, to) {
                alike.traces.iter().for_each(|trace| found(place, segment.traces[usize::from(*trace)]));
            }
        }
    });
}
