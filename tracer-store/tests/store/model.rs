//! What the store must tell, told the slow way.

use std::collections::{BTreeMap, HashSet};

use tracer_model::{
    answer::{Heatmap, Window},
    span::{Kind, Span, StatusCode, TraceId},
};
use tracer_store::{Order, Query};

#[derive(Default)]
pub struct Model {
    pub spans: Vec<Span>,
}

pub fn is_within(span: &Span, window: Option<Window>) -> bool {
    window.is_none_or(|window| {
        (window.start_unix_us * 1000..window.end_unix_us * 1000).contains(&span.start_unix_ns)
    })
}

impl Model {
    pub fn trace(&self, trace_id: TraceId) -> Vec<Span> {
        self.spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    pub fn start_and_duration(&self, trace_id: TraceId) -> (u64, u64) {
        let spans = self.trace(trace_id);
        let start = spans.iter().map(|span| span.start_unix_ns).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.end_unix_ns.max(span.start_unix_ns)).max().unwrap_or(0);
        (start, end - start)
    }

    fn found<'of>(&'of self, query: &'of Query, window: Option<Window>) -> impl Iterator<Item = &'of Span> {
        self.spans.iter().filter(move |span| query.meets(span) && is_within(span, window))
    }

    /// Traces found, the best first, with what they are ordered by.
    pub fn search(&self, query: &Query, window: Option<Window>, order: Order) -> Vec<(u64, TraceId)> {
        let found: HashSet<TraceId> = self.found(query, window).map(|span| span.trace_id).collect();
        let mut found: Vec<(u64, TraceId)> = found
            .into_iter()
            .map(|trace_id| {
                let (start, duration) = self.start_and_duration(trace_id);
                (if order == Order::Newest { start } else { duration }, trace_id)
            })
            .collect();
        found.sort_unstable();
        found.reverse();
        found
    }

    pub fn operations(&self, service: &str) -> Vec<(String, Kind)> {
        let of_service = self.spans.iter().filter(|span| span.resource.service_name() == service);
        let mut all: Vec<(String, Kind)> =
            of_service.map(|span| (span.name.to_string(), span.kind)).collect();
        all.sort_unstable_by(|a, b| (&a.0, a.1 as u8).cmp(&(&b.0, b.1 as u8)));
        all.dedup();
        all
    }

    /// Of each service: count, errors, median and 95th percentile of what it serves; else asks; else does.
    pub fn services(&self, window: Window) -> BTreeMap<String, (u64, u64, u64, u64)> {
        let mut parts: BTreeMap<String, [Vec<&Span>; 3]> = BTreeMap::new();
        for span in self.spans.iter().filter(|span| is_within(span, Some(window))) {
            let role = match span.kind {
                Kind::Server | Kind::Consumer => 0,
                Kind::Client | Kind::Producer => 1,
                Kind::Internal | Kind::Unspecified => 2,
            };
            parts.entry(span.resource.service_name().to_owned()).or_default()[role].push(span);
        }
        let numbers = |parts: [Vec<&Span>; 3]| {
            let spans = parts.into_iter().find(|spans| !spans.is_empty()).unwrap_or_default();
            let mut durations: Vec<u64> = spans.iter().map(|span| span.duration_ns()).collect();
            durations.sort_unstable();
            let percentile = |percent: usize| durations[(durations.len() * percent).div_ceil(100) - 1];
            let errors = spans.iter().filter(|span| span.status == StatusCode::Error).count();
            (spans.len() as u64, errors as u64, percentile(50), percentile(95))
        };
        parts.into_iter().map(|(service, parts)| (service, numbers(parts))).collect()
    }

    /// Counts and errors of the cells of a heatmap whose rows and columns are known.
    pub fn cells(&self, query: &Query, window: Window, of: &Heatmap) -> BTreeMap<(u32, u32), (u32, u32)> {
        let mut cells = BTreeMap::new();
        for span in self.found(query, Some(window)) {
            let column = (span.start_unix_ns - of.start_unix_us * 1000) / 1000 / of.column_us;
            let row = of.row_ns.partition_point(|bound| *bound <= span.duration_ns()).saturating_sub(1);
            let cell: &mut (u32, u32) = cells.entry((column as u32, row as u32)).or_default();
            cell.0 += 1;
            cell.1 += u32::from(span.status == StatusCode::Error);
        }
        cells
    }
}
