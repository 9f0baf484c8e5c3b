//! The traces that an analysis looks at: in columns, each trace as a tree.

mod build;
mod dictionary;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use tracer_model::{
    answer::{NodeKind, SpanKind, Stretch},
    critical::{Family, is_awaited},
    facts::Facts,
    span::{Kind, SpanId, TraceId},
};

pub use self::dictionary::{Dictionary, Operation, Party, PartyId};

/// No row, no code.
const NONE: u32 = u32::MAX;

/// Whole traces. The rows of one stand together in the order of the waterfall: a parent before its children, children by
/// their starts.
#[derive(Default)]
pub struct Corpus {
    /// Names by code.
    pub dictionary: Dictionary,
    facts: Vec<Facts>,
    /// Of each facts, the codes of its operation, of the party that made it, and of the one that it asked.
    codes: Vec<FactCodes>,
    traces: Vec<TraceRows>,
    span_id: Vec<u64>,
    parent: Vec<u32>,
    /// Where the rows below each end.
    after: Vec<u32>,
    start_ns: Vec<u64>,
    end_ns: Vec<u64>,
    fact: Vec<u32>,
    /// Of each row, whom it asked, if it is another party than its attributes name: the one whose span answers.
    asked: Vec<PartyId>,
    /// Traces that were left out since there were too many spans.
    pub omitted_traces: u64,
    /// Why not all was looked at. None if all was.
    pub incomplete: Option<String>,
}

#[derive(Clone, Copy)]
struct FactCodes {
    operation: u32,
    party: PartyId,
    peer: PartyId,
}

struct TraceRows {
    trace_id: TraceId,
    first: usize,
    end: usize,
    /// Parents that are missing.
    missing_parents: u32,
}

impl Corpus {
    /// Traces.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Spans of all traces.
    pub fn spans(&self) -> usize {
        self.span_id.len()
    }

    /// The trace at a place, in the order of their first moments.
    pub fn trace(&self, place: usize) -> Trace<'_> {
        Trace { corpus: self, place, rows: &self.traces[place] }
    }

    /// Each trace.
    pub fn traces(&self) -> impl ExactSizeIterator<Item = Trace<'_>> + Clone {
        (0..self.traces.len()).map(|place| self.trace(place))
    }

    /// First and last moment of all spans, nanoseconds since 1970. None without spans.
    pub fn extent_ns(&self) -> Option<(u64, u64)> {
        let first = self.start_ns.iter().copied().filter(|start| *start > 0).min()?;
        Some((first, self.end_ns.iter().copied().max().unwrap_or(first)))
    }

    /// The code of an operation, told by its names. None if no span is of it.
    pub fn find_operation(&self, service: &str, name: &str, kind: SpanKind) -> Option<u32> {
        let service = self.dictionary.find_service(service)?;
        let is_it = |operation: &Operation| {
            operation.service == service && *operation.name == *name && SpanKind::from(operation.kind) == kind
        };
        let place = self.dictionary.operations().iter().position(is_it)?;
        u32::try_from(place).ok()
    }

    /// Services whose spans say more than one version of them.
    pub fn services_of_several_versions(&self) -> BTreeSet<PartyId> {
        let mut versions: BTreeSet<(PartyId, &str)> = BTreeSet::new();
        for (facts, codes) in self.facts.iter().zip(&self.codes) {
            if !facts.maker.version.is_empty() {
                versions.insert((codes.party, &facts.maker.version));
            }
        }
        let services: Vec<PartyId> = versions.into_iter().map(|(service, _)| service).collect();
        services.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
    }

    /// Memory of the columns.
    pub fn bytes(&self) -> usize {
        self.span_id.capacity() * 44 + self.traces.capacity() * size_of::<TraceRows>()
    }
}

/// One trace of a corpus. Its spans are told by their places, from 0 on.
#[derive(Clone, Copy)]
pub struct Trace<'a> {
    corpus: &'a Corpus,
    place: usize,
    rows: &'a TraceRows,
}

impl<'a> Trace<'a> {
    /// The corpus that it is of.
    pub fn corpus(self) -> &'a Corpus {
        self.corpus
    }

    /// Its place in the corpus.
    pub fn place(self) -> usize {
        self.place
    }

    /// Its id.
    pub fn id(self) -> TraceId {
        self.rows.trace_id
    }

    /// Spans.
    pub fn len(self) -> usize {
        self.rows.end - self.rows.first
    }

    /// Whether it has none: it never is.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is known to be missing: it has one root, and each parent is there.
    pub fn is_whole(self) -> bool {
        self.rows.missing_parents == 0 && self.after(0) == self.len() && self.is_true_root(0)
    }

    /// Parents that spans name and that are not there.
    pub fn missing_parents(self) -> u32 {
        self.rows.missing_parents
    }

    /// The root: the earliest span without a parent; the earliest whose parent is missing, if there is none such.
    pub fn root(self) -> usize {
        self.roots().find(|at| self.is_true_root(*at)).unwrap_or(0)
    }

    /// Whether the root is there: a span without a parent.
    pub fn has_root(self) -> bool {
        self.is_true_root(self.root())
    }

    /// Spans that lie below none.
    pub fn roots(self) -> impl Iterator<Item = usize> + use<'a> {
        self.siblings(0, self.len())
    }

    /// Whether a span says that it has no parent.
    fn is_true_root(self, at: usize) -> bool {
        self.corpus.parent[self.row(at)] == NONE
    }

    /// The parent of a span. None for a root, and if it is missing.
    pub fn parent(self, at: usize) -> Option<usize> {
        let parent = self.corpus.parent[self.row(at)];
        // What is at or after the span says only that the parent is missing.
        (parent != NONE && (parent as usize) < at).then_some(parent as usize)
    }

    /// Where the spans below a span end: they follow it.
    pub fn after(self, at: usize) -> usize {
        self.corpus.after[self.row(at)] as usize
    }

    /// Children by their starts.
    pub fn children(self, at: usize) -> impl Iterator<Item = usize> + use<'a> {
        self.siblings(at + 1, self.after(at))
    }

    fn siblings(self, first: usize, end: usize) -> impl Iterator<Item = usize> + use<'a> {
        let mut next = first;
        std::iter::from_fn(move || {
            let at = next;
            (at < end).then(|| {
                next = self.after(at);
                at
            })
        })
    }

    /// When a span was under way, nanoseconds since 1970. Never backward. Where clocks differ for certain, by its client's
    /// clock.
    pub fn time(self, at: usize) -> Stretch {
        let row = self.row(at);
        Stretch { start_ns: self.corpus.start_ns[row], end_ns: self.corpus.end_ns[row] }
    }

    /// From start to end.
    pub fn duration_ns(self, at: usize) -> u64 {
        let time = self.time(at);
        time.end_ns - time.start_ns
    }

    /// What it says of itself.
    pub fn facts(self, at: usize) -> &'a Facts {
        &self.corpus.facts[self.fact(at)]
    }

    /// The code of its operation: service, name and kind ([`Dictionary::operation`]).
    pub fn operation(self, at: usize) -> u32 {
        self.corpus.codes[self.fact(at)].operation
    }

    /// The service that made it.
    pub fn service(self, at: usize) -> PartyId {
        self.corpus.codes[self.fact(at)].party
    }

    /// Whom a request that it made went to: the service whose span answers it, else the peer that its attributes name. None of
    /// a span that asks nobody.
    pub fn asked(self, at: usize) -> Option<PartyId> {
        let asked = self.corpus.asked[self.row(at)];
        let asked = if asked.is_none() { self.corpus.codes[self.fact(at)].peer } else { asked };
        (!asked.is_none()).then_some(asked)
    }

    /// The peer that its attributes name. None if they name nobody.
    pub fn peer(self, at: usize) -> Option<PartyId> {
        let peer = self.corpus.codes[self.fact(at)].peer;
        (!peer.is_none()).then_some(peer)
    }

    /// Of a request that a span made: the span that served it, if it is there and the only one.
    pub fn server(self, at: usize) -> Option<usize> {
        if !self.asks(at) {
            return None;
        }
        let mut servers = self.children(at).filter(|child| self.serves(*child));
        servers.next().filter(|_| servers.next().is_none())
    }

    /// Whether it stands for a request that it made.
    pub fn asks(self, at: usize) -> bool {
        matches!(self.facts(at).kind, Kind::Client | Kind::Producer)
    }

    /// Whether it stands for a request that it served.
    pub fn serves(self, at: usize) -> bool {
        matches!(self.facts(at).kind, Kind::Server | Kind::Consumer)
    }

    /// Whether it has an error.
    pub fn is_error(self, at: usize) -> bool {
        self.facts(at).is_error
    }

    /// Its id.
    pub fn span_id(self, at: usize) -> SpanId {
        SpanId(self.corpus.span_id[self.row(at)].to_be_bytes())
    }

    /// Whether its parent waited for it ([`is_awaited`]). A root is awaited.
    pub fn is_awaited(self, at: usize) -> bool {
        let of = |at: usize| (self.facts(at).kind, self.time(at));
        self.parent(at).is_none_or(|parent| is_awaited(of(at), of(parent)))
    }

    fn row(self, at: usize) -> usize {
        assert!(at < self.len(), "a span of the trace");
        self.rows.first + at
    }

    fn fact(self, at: usize) -> usize {
        self.corpus.fact[self.row(at)] as usize
    }
}

impl Family for Trace<'_> {
    fn time(&self, at: usize) -> Stretch {
        Trace::time(*self, at)
    }

    fn awaited(&self, at: usize) -> impl Iterator<Item = usize> {
        let trace = *self;
        trace.children(at).filter(move |child| trace.is_awaited(*child))
    }
}

/// Whether a party is one of whose work there are spans.
pub fn is_service(kind: NodeKind) -> bool {
    kind == NodeKind::Service
}
