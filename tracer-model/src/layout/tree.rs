//! The tree of a trace's spans, whatever their ids and times say.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use super::skew::Skews;
use crate::{
    answer::Stretch,
    span::{Kind, Span},
};

/// Spans of a trace, each at its place, and which lies below which.
pub(super) struct Tree<'a> {
    spans: Vec<&'a Span>,
    /// When each was under way, from the trace's first moment on, by one clock.
    times: Vec<Stretch>,
    skews: Skews,
    first_unix_ns: u64,
    last_ns: u64,
    parents: Vec<Option<usize>>,
    /// Children of all spans, those of one span together and by their starts.
    children: Vec<usize>,
    /// Where in `children` those of each span lie.
    families: Vec<Range<usize>>,
    roots: Vec<usize>,
    pub(super) oddities: Oddities,
}

/// What is odd in a trace, and was put right to draw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    /// Spans that came again, and are shown once.
    pub(super) duplicates: usize,
    /// Spans whose parent is not there.
    pub(super) orphans: usize,
    /// Parents that are not there.
    pub(super) missing_parents: usize,
    /// Circles of spans that lie below each other, a span that names itself among them.
    pub(super) cycles: usize,
    /// Spans that end before they start.
    pub(super) backward: usize,
    /// Spans that do not say when they start.
    pub(super) undated: usize,
}

/// Spans with one id that are looked at to find a parent. Two are usual: both ends of a call, as Zipkin's clients name them.
const ALIKE: usize = 8;

impl<'a> Tree<'a> {
    /// Puts spans into a tree. Each is in it once, of its copies one ([`Span::identity`]).
    pub(super) fn new(all: &'a [Span]) -> Self {
        let mut oddities = Oddities::default();
        let spans = without_duplicates(all, &mut oddities);
        let mut times = sent_times(&spans, &mut oddities);
        let ids = Ids::of(&spans);
        let mut missing = Vec::new();
        let mut parents: Vec<Option<usize>> = (0..spans.len())
            .map(|at| {
                let parent = ids.parent(&spans, at);
                if let Parent::Missing(id) = parent {
                    missing.push(id);
                }
                if parent == Parent::Itself {
                    oddities.cycles += 1;
                }
                parent.place()
            })
            .collect();
        oddities.orphans = missing.len();
        missing.sort_unstable();
        missing.dedup();
        oddities.missing_parents = missing.len();
        oddities.cycles += cut_cycles(&mut parents, &times);
        let skews = Skews::of(&spans, &parents, &times);
        let (first_unix_ns, last_ns) = correct(&mut times, &skews);
        let (children, families, roots) = families(&parents, &spans, &times);
        Self { spans, times, skews, first_unix_ns, last_ns, parents, children, families, roots, oddities }
    }

    /// Spans.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn span(&self, at: usize) -> &'a Span {
        self.spans[at]
    }

    /// When a span was under way, from the trace's first moment on, by one clock. Never backward.
    pub(super) fn time(&self, at: usize) -> Stretch {
        self.times[at]
    }

    pub(super) fn first_unix_ns(&self) -> u64 {
        self.first_unix_ns
    }

    /// How spans were moved, since clocks differ.
    pub(super) fn skews(&self) -> &Skews {
        &self.skews
    }

    /// A moment that a span tells, from the trace's first moment on. Before that it is 0.
    pub(super) fn moment_ns(&self, at: usize, unix_ns: u64) -> u64 {
        unix_ns.saturating_add_signed(self.skews.shift_ns(at)).saturating_sub(self.first_unix_ns)
    }

    /// The trace's last moment.
    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.parents[at]
    }

    /// Children by their starts.
    pub(super) fn children(&self, at: usize) -> &[usize] {
        &self.children[self.families[at].clone()]
    }

    /// The root: the earliest span without a parent; the earliest whose parent is missing, if there is none such. None of an
    /// empty trace.
    pub(super) fn root(&self) -> Option<usize> {
        let true_root = self.roots.iter().find(|at| self.spans[**at].parent_span_id.is_none());
        true_root.or(self.roots.first()).copied()
    }

    /// The spans to be drawn, and how deep each lies: a parent before its children, children by their starts. Of more than
    /// `most`, the deepest are left out.
    pub(super) fn waterfall(&self, most: usize) -> Vec<(usize, u32)> {
        let is_shown = self.shown(most);
        let mut order = Vec::with_capacity(self.len().min(most));
        let mut stack: Vec<(usize, u32)> = self.roots.iter().rev().map(|root| (*root, 0)).collect();
        while let Some((at, depth)) = stack.pop() {
            if is_shown.as_ref().is_some_and(|is_shown| !is_shown[at]) {
                continue;
            }
            order.push((at, depth));
            stack.extend(self.children(at).iter().rev().map(|child| (*child, depth + 1)));
        }
        order
    }

    /// Which spans are among the first `most`, level by level; none if all are.
    fn shown(&self, most: usize) -> Option<Vec<bool>> {
        if self.len() <= most {
            return None;
        }
        let mut is_shown = vec![false; self.len()];
        let mut level = self.roots.clone();
        let mut left = most;
        while left > 0 && !level.is_empty() {
            let mut next = Vec::new();
            for at in level.into_iter().take(left) {
                is_shown[at] = true;
                left -= 1;
                next.extend_from_slice(self.children(at));
            }
            level = next;
        }
        Some(is_shown)
    }
}

/// The spans without the copies of one ([`Span::identity`]). A sender that does not know whether its request arrived sends it
/// again.
fn without_duplicates<'a>(all: &'a [Span], oddities: &mut Oddities) -> Vec<&'a Span> {
    let key = |at: usize| {
        let (_, kind, start_ns, name, service) = all[at].identity();
        (id(&all[at]), start_ns, kind as u8, name, service)
    };
    let mut by_identity: Vec<usize> = (0..all.len()).collect();
    // The ids of most spans tell them apart.
    by_identity.sort_unstable_by(|one, other| {
        let by_id = id(&all[*one]).cmp(&id(&all[*other]));
        by_id.then_with(|| {
            let (one_end, other_end) = (all[*one].end_unix_ns, all[*other].end_unix_ns);
            (key(*one), Reverse(one_end), one).cmp(&(key(*other), Reverse(other_end), other))
        })
    });
    by_identity.dedup_by(|other, one| id(&all[*other]) == id(&all[*one]) && key(*other) == key(*one));
    oddities.duplicates = all.len() - by_identity.len();
    by_identity.sort_unstable();
    by_identity.into_iter().map(|at| &all[at]).collect()
}

/// When each span was under way since 1970, as it was sent.
fn sent_times(spans: &[&Span], oddities: &mut Oddities) -> Vec<Stretch> {
    spans
        .iter()
        .map(|span| {
            let (start_ns, end_ns) = (span.start_unix_ns, span.end_unix_ns);
            if start_ns == 0 {
                oddities.undated += 1;
                // What has an end stands there.
                return Stretch { start_ns: end_ns, end_ns };
            }
            oddities.backward += usize::from(end_ns < start_ns);
            Stretch { start_ns, end_ns: end_ns.max(start_ns) }
        })
        .collect()
}

/// Moves spans to one clock, and counts their times from the first moment on. Tells that moment since 1970, and the last one.
fn correct(times: &mut [Stretch], skews: &Skews) -> (u64, u64) {
    for (at, time) in times.iter_mut().enumerate() {
        time.start_ns = time.start_ns.saturating_add_signed(skews.shift_ns(at));
        time.end_ns = time.end_ns.saturating_add_signed(skews.shift_ns(at));
    }
    let first = times.iter().map(|time| time.start_ns).filter(|start| *start != 0).min().unwrap_or(0);
    let mut last = 0;
    for time in times {
        time.start_ns = time.start_ns.saturating_sub(first);
        time.end_ns = time.end_ns.saturating_sub(first);
        last = last.max(time.end_ns);
    }
    (first, last)
}

fn id(span: &Span) -> u64 {
    u64::from_be_bytes(span.span_id.0)
}

/// Places of spans by their ids. Sorted, not hashed: the ids come from outside.
struct Ids(Vec<(u64, usize)>);

/// The parent of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    At(usize),
    None,
    Itself,
    Missing(u64),
}

impl Parent {
    fn place(self) -> Option<usize> {
        match self {
            Self::At(at) => Some(at),
            _ => None,
        }
    }
}

impl Ids {
    fn of(spans: &[&Span]) -> Self {
        let mut ids: Vec<_> = spans.iter().enumerate().map(|(at, span)| (id(span), at)).collect();
        ids.sort_unstable();
        Self(ids)
    }

    /// The first few spans with an id.
    fn alike(&self, id: u64) -> impl Iterator<Item = usize> + Clone {
        let begin = self.0.partition_point(|(other, _)| *other < id);
        self.0[begin..].iter().take_while(move |(other, _)| *other == id).take(ALIKE).map(|(_, at)| *at)
    }

    fn parent(&self, spans: &[&Span], at: usize) -> Parent {
        let span = spans[at];
        // Both ends of a call may have one id. Then the server's lies below the client's.
        if span.kind == Kind::Server {
            let client =
                self.alike(id(span)).find(|other| *other != at && spans[*other].kind == Kind::Client);
            if let Some(client) = client {
                return Parent::At(client);
            }
        }
        let Some(parent) = span.parent_span_id else { return Parent::None };
        if parent == span.span_id {
            return Parent::Itself;
        }
        let parent = u64::from_be_bytes(parent.0);
        let mut alike = self.alike(parent);
        let Some(first) = alike.next() else { return Parent::Missing(parent) };
        if alike.next().is_none() {
            return Parent::At(first);
        }
        // What a server did lies below its end of the call, what its client did beside it below the client's.
        let best = self.alike(parent).max_by_key(|other| {
            let candidate = spans[*other];
            let is_same =
                Arc::ptr_eq(&candidate.resource, &span.resource) || candidate.resource == span.resource;
            (is_same, candidate.kind == Kind::Server, Reverse(*other))
        });
        Parent::At(best.unwrap_or(first))
    }
}

/// Makes a root of the earliest span of each circle of parents. Returns how many there were.
fn cut_cycles(parents: &mut [Option<usize>], times: &[Stretch]) -> usize {
    const UNSEEN: usize = usize::MAX;
    let mut cycles = 0;
    // The walk that first came by each span.
    let mut walks = vec![UNSEEN; parents.len()];
    for begin in 0..parents.len() {
        let mut at = begin;
        while walks[at] == UNSEEN {
            walks[at] = begin;
            match parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        // Back at a span of this walk that is no root: a circle.
        if walks[at] == begin && parents[at].is_some() {
            let mut earliest = at;
            let mut each = at;
            while let Some(parent) = parents[each].filter(|parent| *parent != at) {
                each = parent;
                if (times[each].start_ns, each) < (times[earliest].start_ns, earliest) {
                    earliest = each;
                }
            }
            parents[earliest] = None;
            cycles += 1;
        }
    }
    cycles
}

/// Children, those of one span together; where those of each lie; roots. All by start, then the longer before the shorter.
fn families(
    parents: &[Option<usize>],
    spans: &[&Span],
    times: &[Stretch],
) -> (Vec<usize>, Vec<Range<usize>>, Vec<usize>) {
    let key = |at: usize| (times[at].start_ns, Reverse(times[at].end_ns), spans[at].span_id, at);
    let mut by_start: Vec<usize> = (0..parents.len()).collect();
    by_start.sort_unstable_by_key(|at| key(*at));
    let mut families = vec![0..0; parents.len()];
    for parent in parents.iter().flatten() {
        families[*parent].end += 1;
    }
    let mut begin = 0;
    for family in &mut families {
        let count = family.end;
        *family = begin..begin;
        begin += count;
    }
    let mut children = vec![0; begin];
    let mut roots = Vec::new();
    for at in by_start {
        match parents[at] {
            Some(parent) => {
                children[families[parent].end] = at;
                families[parent].end += 1;
            }
            None => roots.push(at),
        }
    }
    (children, families, roots)
}
