//! A corpus from gathered spans: trees from ids, and one clock.

use std::{cmp::Reverse, ops::Range};

use rustc_hash::FxHashMap;
use tracer_model::{
    answer::NodeKind,
    clock::centring_ns,
    facts::{FactRow, Facts, Gathered},
    span::{Kind, TraceId},
};

use super::{Corpus, FactCodes, NONE, Operation, PartyId, TraceRows};

/// Spans with one id that are looked at to find a parent. Two are usual: both ends of a call, as Zipkin's clients name them.
const ALIKE: usize = 8;

impl From<Gathered> for Corpus {
    fn from(gathered: Gathered) -> Self {
        let Gathered { facts, rows, traces, omitted_traces, incomplete } = gathered;
        let mut corpus = Self { omitted_traces, incomplete, ..Self::default() };
        corpus.facts = facts.all().to_vec();
        corpus.codes = corpus
            .facts
            .iter()
            .map(|facts| {
                let party = corpus.dictionary.add_service(&facts.maker.service);
                let operation = Operation { service: party, name: facts.name.clone(), kind: facts.kind };
                FactCodes {
                    operation: corpus.dictionary.add_operation(operation),
                    party,
                    peer: facts.peer.as_ref().map_or(PartyId::NONE, |peer| corpus.dictionary.add_peer(peer)),
                }
            })
            .collect();
        // Every column has its memory at once.
        let spans = rows.len();
        corpus.span_id.reserve_exact(spans);
        corpus.parent.reserve_exact(spans);
        corpus.after.reserve_exact(spans);
        corpus.start_ns.reserve_exact(spans);
        corpus.end_ns.reserve_exact(spans);
        corpus.fact.reserve_exact(spans);
        corpus.asked.reserve_exact(spans);
        corpus.traces.reserve_exact(traces.len());
        let mut ranges: Vec<(u64, TraceId, Range<usize>)> = Vec::with_capacity(traces.len());
        let mut begin = 0;
        for (trace_id, end) in traces {
            let first = rows[begin..end].iter().map(|row| row.start_ns).min();
            if let Some(first) = first {
                ranges.push((first, trace_id, begin..end));
            }
            begin = end;
        }
        ranges.sort_unstable_by_key(|(first, trace_id, _)| (*first, *trace_id));
        let mut tree = Tree::default();
        for (_, trace_id, range) in ranges {
            tree.grow(&rows[range], &corpus.facts);
            corpus.add(trace_id, &tree);
        }
        corpus.name_addresses();
        corpus
    }
}

impl Corpus {
    /// Calls that nobody answered went to the service that answers others to the same address, if it is one alone.
    fn name_addresses(&mut self) {
        let mut answering: FxHashMap<PartyId, PartyId> = FxHashMap::default();
        for row in 0..self.span_id.len() {
            let (asked, peer) = (self.asked[row], self.codes[self.fact[row] as usize].peer);
            if asked.is_none() || peer.is_none() || self.dictionary.party(peer).kind != NodeKind::Peer {
                continue;
            }
            let known = answering.entry(peer).or_insert(asked);
            if *known != asked {
                *known = PartyId::NONE;
            }
        }
        for row in 0..self.span_id.len() {
            let peer = self.codes[self.fact[row] as usize].peer;
            if self.asked[row].is_none()
                && let Some(service) = answering.get(&peer)
            {
                self.asked[row] = *service;
            }
        }
    }

    fn add(&mut self, trace_id: TraceId, tree: &Tree) {
        let first = self.span_id.len();
        let mut places = vec![0; tree.rows.len()];
        for (place, at) in tree.order.iter().enumerate() {
            places[*at as usize] = place as u32;
        }
        for (place, at) in tree.order.iter().enumerate() {
            let at = *at as usize;
            let row = &tree.rows[at];
            self.span_id.push(row.span_id);
            self.parent.push(match tree.parents[at] {
                Parent::At(parent) => places[parent as usize],
                Parent::None => NONE,
                // Its own place: it has one that is not there.
                Parent::Missing => place as u32,
            });
            self.after.push(0);
            self.start_ns.push(row.start_ns);
            self.end_ns.push(row.end_ns);
            self.fact.push(row.facts);
            self.asked.push(PartyId::NONE);
        }
        for at in (0..tree.rows.len()).rev() {
            // What is below a span was told before it.
            let row = first + at;
            self.after[row] = self.after[row].max(at as u32 + 1);
            let (parent, after) = (self.parent[row], self.after[row]);
            if parent != NONE && (parent as usize) < at {
                let above = first + parent as usize;
                self.after[above] = self.after[above].max(after);
                if is_server(&self.facts[self.fact[row] as usize]) {
                    self.asked[above] = self.codes[self.fact[row] as usize].party;
                }
            }
        }
        self.traces.push(TraceRows {
            trace_id,
            first,
            end: self.span_id.len(),
            missing_parents: tree.missing,
        });
        for at in first..self.span_id.len() {
            // Only who asks is answered.
            if !matches!(self.facts[self.fact[at] as usize].kind, Kind::Client | Kind::Producer) {
                self.asked[at] = PartyId::NONE;
            }
        }
    }
}

fn is_server(facts: &Facts) -> bool {
    matches!(facts.kind, Kind::Server | Kind::Consumer)
}

/// The parent of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    At(u32),
    None,
    Missing,
}

/// One trace as a tree. Used again and again, so that its memory is.
#[derive(Default)]
struct Tree {
    rows: Vec<FactRow>,
    parents: Vec<Parent>,
    /// Parents that are missing.
    missing: u32,
    /// Rows in the order of the waterfall.
    order: Vec<u32>,
    ids: Vec<(u64, u32)>,
    by_start: Vec<u32>,
    children: Vec<u32>,
    families: Vec<Range<usize>>,
    stack: Vec<u32>,
    seen: Vec<u32>,
    missing_ids: Vec<u64>,
}

impl Tree {
    fn grow(&mut self, rows: &[FactRow], facts: &[Facts]) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.drop_copies(facts);
        for row in &mut self.rows {
            // One that does not say when it starts stands at its end.
            if row.start_ns == 0 {
                row.start_ns = row.end_ns;
            }
            row.end_ns = row.end_ns.max(row.start_ns);
        }
        self.find_parents(facts);
        self.cut_circles();
        self.put_in_order();
        self.correct_clocks(facts);
    }

    /// Of a span that came again, the copy that ends last is it.
    fn drop_copies(&mut self, facts: &[Facts]) {
        let key = |row: &FactRow| {
            let of = &facts[row.facts as usize];
            (row.span_id, row.start_ns, of.kind as u8)
        };
        self.rows.sort_by_key(|row| (key(row), Reverse(row.end_ns)));
        self.rows.dedup_by(|other, one| {
            let (of_one, of_other) = (&facts[one.facts as usize], &facts[other.facts as usize]);
            let is_same = one.facts == other.facts
                || of_one.name == of_other.name && of_one.maker.service == of_other.maker.service;
            key(other) == key(one) && is_same
        });
    }

    fn find_parents(&mut self, facts: &[Facts]) {
        self.ids.clear();
        self.ids.extend(self.rows.iter().enumerate().map(|(at, row)| (row.span_id, at as u32)));
        // They are in the order of ids already.
        self.missing_ids.clear();
        self.parents.clear();
        for at in 0..self.rows.len() {
            let parent = self.parent_of(at, facts);
            if parent == Parent::Missing {
                self.missing_ids.push(self.rows[at].parent);
            }
            self.parents.push(parent);
        }
        self.missing_ids.sort_unstable();
        self.missing_ids.dedup();
        self.missing = u32::try_from(self.missing_ids.len()).unwrap_or(u32::MAX);
    }

    fn alike(&self, id: u64) -> impl Iterator<Item = usize> + '_ {
        let begin = self.ids.partition_point(|(other, _)| *other < id);
        let alike = self.ids[begin..].iter().take_while(move |(other, _)| *other == id).take(ALIKE);
        alike.map(|(_, at)| *at as usize)
    }

    fn parent_of(&self, at: usize, facts: &[Facts]) -> Parent {
        let row = &self.rows[at];
        let of = |at: usize| &facts[self.rows[at].facts as usize];
        // Both ends of a call may have one id. Then the server's lies below the client's.
        if of(at).kind == Kind::Server {
            let client =
                self.alike(row.span_id).find(|other| *other != at && of(*other).kind == Kind::Client);
            if let Some(client) = client {
                return Parent::At(client as u32);
            }
        }
        if row.parent == 0 {
            return Parent::None;
        }
        if row.parent == row.span_id {
            return Parent::Missing;
        }
        // What a server did lies below its end of the call, what its client did beside it below the client's.
        let best = self.alike(row.parent).max_by_key(|other| {
            let is_same = of(*other).maker == of(at).maker;
            (is_same, of(*other).kind == Kind::Server, Reverse(*other))
        });
        best.map_or(Parent::Missing, |best| Parent::At(best as u32))
    }

    /// Makes a root of the earliest span of each circle of parents.
    fn cut_circles(&mut self) {
        self.seen.clear();
        self.seen.resize(self.rows.len(), NONE);
        for begin in 0..self.rows.len() {
            let mut at = begin;
            while self.seen[at] == NONE {
                self.seen[at] = begin as u32;
                match self.parents[at] {
                    Parent::At(parent) => at = parent as usize,
                    _ => break,
                }
            }
            if self.seen[at] != begin as u32 || !matches!(self.parents[at], Parent::At(_)) {
                continue;
            }
            let (mut earliest, mut each) = (at, at);
            while let Parent::At(parent) = self.parents[each] {
                each = parent as usize;
                if each == at {
                    break;
                }
                if (self.rows[each].start_ns, each) < (self.rows[earliest].start_ns, earliest) {
                    earliest = each;
                }
            }
            self.parents[earliest] = Parent::Missing;
            self.missing = self.missing.saturating_add(1);
        }
    }

    fn put_in_order(&mut self) {
        let rows = &self.rows;
        self.by_start.clear();
        self.by_start.extend(0..rows.len() as u32);
        self.by_start.sort_unstable_by_key(|at| {
            let row = &rows[*at as usize];
            (row.start_ns, Reverse(row.end_ns), row.span_id, *at)
        });
        self.families.clear();
        self.families.resize(rows.len(), 0..0);
        for parent in &self.parents {
            if let Parent::At(parent) = parent {
                self.families[*parent as usize].end += 1;
            }
        }
        let mut begin = 0;
        for family in &mut self.families {
            let count = family.end;
            *family = begin..begin;
            begin += count;
        }
        self.children.clear();
        self.children.resize(begin, 0);
        self.stack.clear();
        for at in &self.by_start {
            match self.parents[*at as usize] {
                Parent::At(parent) => {
                    let family = &mut self.families[parent as usize];
                    self.children[family.end] = *at;
                    family.end += 1;
                }
                _ => self.stack.push(*at),
            }
        }
        self.stack.reverse();
        self.order.clear();
        while let Some(at) = self.stack.pop() {
            self.order.push(at);
            let family = self.families[at as usize].clone();
            self.stack.extend(self.children[family].iter().rev());
        }
    }

    /// A server's span that does not lie within its client's, and was recorded by another clock, is moved into the middle of it,
    /// with all below it.
    fn correct_clocks(&mut self, facts: &[Facts]) {
        let of = |rows: &[FactRow], at: usize| &facts[rows[at].facts as usize];
        let mut shifts: Vec<i128> = Vec::new();
        for place in 0..self.order.len() {
            let at = self.order[place] as usize;
            let Parent::At(parent) = self.parents[at] else { continue };
            let parent = parent as usize;
            let inherited = shifts.get(parent).copied().unwrap_or(0);
            let (server, client) = (of(&self.rows, at), of(&self.rows, parent));
            let is_call = client.kind == Kind::Client && server.kind == Kind::Server;
            let own = if is_call && !is_one_clock(client, server) {
                // The client was moved already.
                let moved = self.rows[parent];
                let client_row = FactRow {
                    start_ns: shifted(moved.start_ns, -inherited),
                    end_ns: shifted(moved.end_ns, -inherited),
                    ..moved
                };
                self.skew_ns((client, &client_row), (server, &self.rows[at]), parent, facts)
            } else {
                0
            };
            let shift = inherited + own;
            if shift != 0 {
                shifts.resize(self.rows.len(), 0);
                shifts[at] = shift;
                let row = &mut self.rows[at];
                row.start_ns = shifted(row.start_ns, shift);
                row.end_ns = shifted(row.end_ns, shift).max(row.start_ns);
            }
        }
    }

    /// By how much a server's span must be moved, if that is certain.
    fn skew_ns(
        &self,
        (client, client_row): (&Facts, &FactRow),
        (server, server_row): (&Facts, &FactRow),
        parent: usize,
        facts: &[Facts],
    ) -> i128 {
        let servers = self.children[self.families[parent].clone()].iter();
        let servers =
            servers.filter(|at| facts[self.rows[**at as usize].facts as usize].kind == Kind::Server);
        // Two servers' spans are two calls: which of them took which time is not said.
        if servers.count() != 1 || !client.end_known || !server.end_known {
            return 0;
        }
        if client.is_error && server_row.start_ns >= client_row.start_ns {
            return 0;
        }
        let length = |row: &FactRow| (row.start_ns, row.end_ns - row.start_ns);
        centring_ns(length(server_row), length(client_row)).unwrap_or(0)
    }
}

fn shifted(moment_ns: u64, by_ns: i128) -> u64 {
    (i128::from(moment_ns) + by_ns).clamp(0, i128::from(u64::MAX)) as u64
}

/// Whether two instances read one clock: that of their host.
fn is_one_clock(one: &Facts, other: &Facts) -> bool {
    one.maker == other.maker || !one.maker.host.is_empty() && one.maker.host == other.maker.host
}
