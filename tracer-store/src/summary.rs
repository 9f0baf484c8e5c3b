//! A trace in a few words, told from columns: no span is built but the root.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use tracer_model::{
    answer::{ServiceShare, TraceSummary},
    layout::summarize,
    span::{Span, SpanId},
};

use crate::segment::Segment;

/// Services of a summary. A trace has few, unless somebody makes up their names.
const MAX_SERVICES: usize = 64;

/// What is told of a span.
struct Row {
    span_id: u64,
    parent: u64,
    start: u64,
    end: u64,
    service: usize,
    is_error: bool,
    /// Where it lies: which of the segments that were added, and its row.
    place: (usize, usize),
}

/// Gathers a trace from the segments in which it lies.
#[derive(Default)]
pub(crate) struct Summarizer {
    rows: Vec<Row>,
    services: Vec<String>,
    segments: usize,
}

impl Summarizer {
    /// Takes the spans that a segment has of a trace.
    pub(crate) fn add(&mut self, segment: &Segment, trace: u16) {
        for row in segment.rows_of(trace) {
            let service = self.service(segment.service_of(segment.head_of(row)));
            let (start, end) = (segment.start[row], segment.end[row].max(segment.start[row]));
            let (span_id, parent, is_error) =
                (segment.span_id[row], segment.parent[row], segment.is_error(row));
            let place = (self.segments, row);
            self.rows.push(Row { span_id, parent, start, end, service, is_error, place });
        }
        self.segments += 1;
    }

    fn service(&mut self, name: &str) -> usize {
        self.services.iter().position(|known| known == name).unwrap_or_else(|| {
            self.services.push(name.to_owned());
            self.services.len() - 1
        })
    }

    /// Where the root lies: the earliest span without a parent; else the earliest whose parent is not here; else, of a
    /// trace that goes round in circles, the earliest. None if there are no spans.
    pub(crate) fn root(&self) -> Option<(usize, usize)> {
        let first = |rows: &mut dyn Iterator<Item = &Row>| {
            // As where it is drawn: the earliest, of those the longest.
            rows.min_by_key(|row| (row.start, Reverse(row.end), row.span_id)).map(|row| row.place)
        };
        let true_root = first(&mut self.rows.iter().filter(|row| row.parent == 0));
        true_root
            .or_else(|| {
                let ids: HashSet<u64> = self.rows.iter().map(|row| row.span_id).collect();
                first(&mut self.rows.iter().filter(|row| !ids.contains(&row.parent)))
            })
            .or_else(|| first(&mut self.rows.iter()))
    }

    /// The summary.
    pub(crate) fn finish(self, root: &Span, matched: Option<SpanId>) -> TraceSummary {
        let start = self.rows.iter().map(|row| row.start).min().unwrap_or(0);
        let end = self.rows.iter().map(|row| row.end).max().unwrap_or(start);
        let mut shares: Vec<ServiceShare> = self
            .services
            .into_iter()
            .map(|service| ServiceShare { service, ..ServiceShare::default() })
            .collect();
        let spans: Vec<Stretch> =
            self.rows.iter().map(|row| (row.span_id, row.parent, row.start, row.end)).collect();
        for (row, self_ns) in self.rows.iter().zip(self_times(&spans)) {
            let share = &mut shares[row.service];
            share.spans += 1;
            share.errors += u32::from(row.is_error);
            share.self_ns = share.self_ns.saturating_add(self_ns);
        }
        let errors = shares.iter().map(|share| share.errors).sum();
        shares.sort_by(|a, b| (b.self_ns, &a.service).cmp(&(a.self_ns, &b.service)));
        shares.truncate(MAX_SERVICES);
        TraceSummary {
            start_unix_us: start / 1000,
            duration_ns: end - start,
            spans: u32::try_from(self.rows.len()).unwrap_or(u32::MAX),
            errors,
            services: shares,
            matched_span_id: matched.map(SpanId::hex),
            // What the root says is told in the same words as where the trace is drawn.
            ..summarize(std::slice::from_ref(root))
        }
    }
}

/// A span: its id, its parent's, start, end.
pub(crate) type Stretch = (u64, u64, u64, u64);

/// Of each span, the time in which none of its children was under way.
pub(crate) fn self_times(spans: &[Stretch]) -> Vec<u64> {
    let places: HashMap<u64, usize> = spans.iter().enumerate().map(|(place, span)| (span.0, place)).collect();
    let mut children: Vec<(usize, u64, u64)> = Vec::with_capacity(spans.len());
    for (place, (_, parent, start, end)) in spans.iter().enumerate() {
        // A span that says to be its own parent has none.
        if let Some(parent) = places.get(parent).copied().filter(|parent| *parent != place) {
            children.push((parent, *start, *end));
        }
    }
    let stretches: Vec<(u64, u64)> = spans.iter().map(|(.., start, end)| (*start, *end)).collect();
    uncovered(&stretches, children)
}

/// Of each stretch, start and end, the time that its children do not cover. A child is the place of its parent, its
/// start and its end.
pub(crate) fn uncovered(stretches: &[(u64, u64)], mut children: Vec<(usize, u64, u64)>) -> Vec<u64> {
    children.sort_unstable();
    let mut times: Vec<u64> = stretches.iter().map(|(start, end)| end.saturating_sub(*start)).collect();
    let mut covered = (usize::MAX, 0);
    for (parent, start, end) in children {
        let (parent_start, parent_end) = stretches[parent];
        let covered_to = if covered.0 == parent { covered.1 } else { parent_start };
        let (from, to) = (start.max(covered_to), end.min(parent_end));
        times[parent] -= to.saturating_sub(from).min(times[parent]);
        covered = (parent, covered_to.max(to));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::self_times;

    #[test]
    fn time_of_children_is_not_ones_own_and_counts_once() {
        let spans = [
            (1, 0, 0, 100),
            // Two children that overlap, and one that outlasts its parent.
            (2, 1, 10, 40),
            (3, 1, 30, 50),
            (4, 1, 90, 200),
            (5, 2, 0, 1000),
        ];
        assert_eq!(self_times(&spans), [50, 0, 20, 110, 1000]);
    }

    #[test]
    fn cycles_and_duplicates_end() {
        let spans = [(1, 2, 0, 10), (2, 1, 0, 10), (3, 3, 0, 10), (3, 3, 5, 10)];
        assert_eq!(self_times(&spans), [0, 0, 10, 0]);
    }
}
