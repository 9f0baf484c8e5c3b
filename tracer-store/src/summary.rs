//! A trace in a few words, told from columns: no spans are built but the root.

use std::collections::HashMap;

use tracer_model::{
    answer::{ServiceShare, TraceSummary},
    span::{Attribute, SpanId, TraceId, Value},
};

use crate::segment::Segment;

/// What is told of a span.
struct Row {
    span_id: u64,
    parent: u64,
    start: u64,
    end: u64,
    service: usize,
    is_error: bool,
}

/// Gathers a trace from the segments in which it lies.
#[derive(Default)]
pub(crate) struct Summarizer {
    rows: Vec<Row>,
    services: Vec<String>,
    root: Option<Root>,
}

struct Root {
    /// Earlier ones come first, those without a parent before all others.
    rank: (bool, u64),
    service: String,
    name: String,
    attributes: Vec<Attribute>,
}

impl Summarizer {
    /// Takes the spans that a segment has of a trace.
    pub(crate) fn add(&mut self, segment: &Segment, trace: u16) {
        let mut root_row = None;
        for row in segment.rows_of(trace) {
            let head = segment.head_of(row);
            let service = self.service(segment.service_of(head));
            let (start, end) = (segment.start[row], segment.end[row].max(segment.start[row]));
            let (span_id, parent, is_error) =
                (segment.span_id[row], segment.parent[row], segment.is_error(row));
            let rank = (parent != 0, start);
            let best = root_row.map(|(rank, _)| rank).or(self.root.as_ref().map(|root| root.rank));
            if best.is_none_or(|best| rank < best) {
                root_row = Some((rank, row));
            }
            self.rows.push(Row { span_id, parent, start, end, service, is_error });
        }
        if let Some((rank, row)) = root_row {
            let head = segment.head_of(row);
            self.root = Some(Root {
                rank,
                service: segment.service_of(head).to_owned(),
                name: segment.names[head.name as usize].to_string(),
                attributes: segment.row_attributes(row),
            });
        }
    }

    fn service(&mut self, name: &str) -> usize {
        self.services.iter().position(|known| known == name).unwrap_or_else(|| {
            self.services.push(name.to_owned());
            self.services.len() - 1
        })
    }

    /// The summary; none if there was no span.
    pub(crate) fn finish(self, trace_id: TraceId, matched: Option<SpanId>) -> Option<TraceSummary> {
        let root = self.root?;
        let start = self.rows.iter().map(|row| row.start).min()?;
        let end = self.rows.iter().map(|row| row.end).max()?;
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
        shares.sort_by(|a, b| (b.self_ns, &a.service).cmp(&(a.self_ns, &b.service)));
        Some(TraceSummary {
            trace_id: trace_id.hex(),
            root_target: target(&root.attributes).unwrap_or_else(|| root.name.clone()),
            http_status: http_status(&root.attributes),
            root_service: root.service,
            root_name: root.name,
            has_root: !root.rank.0,
            start_unix_us: start / 1000,
            duration_ns: end - start,
            spans: u32::try_from(self.rows.len()).unwrap_or(u32::MAX),
            errors: shares.iter().map(|share| share.errors).sum(),
            services: shares,
            matched_span_id: matched.map(SpanId::hex),
        })
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

/// Method and target of a request. None if the attributes tell none.
fn target(attributes: &[Attribute]) -> Option<String> {
    let method = text(attributes, &["http.request.method", "http.method"]);
    let target = text(attributes, &["url.path", "http.target", "url.full", "http.url", "http.route"]);
    match (method, target) {
        (Some(method), Some(target)) => Some(format!("{method} {target}")),
        (None, target) => {
            let other = ["db.query.summary", "db.query.text", "db.statement", "messaging.destination.name"];
            target.or_else(|| text(attributes, &other)).map(str::to_owned)
        }
        (Some(_), None) => None,
    }
}

fn http_status(attributes: &[Attribute]) -> Option<u16> {
    let is_status = |key: &str| matches!(key, "http.response.status_code" | "http.status_code");
    let (_, value) = attributes.iter().find(|(key, _)| is_status(key))?;
    match value {
        Value::Int(status) => u16::try_from(*status).ok(),
        Value::Str(status) => status.parse().ok(),
        _ => None,
    }
}

/// The first text that is not empty of one of the keys, earlier keys first.
pub(crate) fn text<'of>(attributes: &'of [Attribute], keys: &[&str]) -> Option<&'of str> {
    keys.iter().find_map(|key| {
        attributes.iter().find_map(|(name, value)| match value {
            Value::Str(text) if **name == **key && !text.is_empty() => Some(&**text),
            _ => None,
        })
    })
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
