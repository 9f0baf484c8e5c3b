//! What the store must tell, told the slow way.

use std::collections::{BTreeMap, HashMap, HashSet};

use tracer_model::{
    answer::{Heatmap, Window},
    span::{Kind, Span, SpanId, StatusCode, TraceId},
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
    /// Takes a span. Of its copies, the one that ends last is held.
    pub fn add(&mut self, span: Span) {
        let is_copy = |held: &Span| held.trace_id == span.trace_id && held.identity() == span.identity();
        match self.spans.iter().position(is_copy) {
            Some(place) if self.spans[place].end_unix_ns >= span.end_unix_ns => {}
            Some(place) => {
                self.spans.remove(place);
                self.spans.push(span);
            }
            None => self.spans.push(span),
        }
    }

    pub fn trace(&self, trace_id: TraceId) -> Vec<Span> {
        self.spans.iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    pub fn start_and_duration(&self, trace_id: TraceId) -> (u64, u64) {
        let spans = self.trace(trace_id);
        let start = spans.iter().map(|span| span.start_unix_ns).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.end_unix_ns.max(span.start_unix_ns)).max().unwrap_or(0);
        (start, end - start)
    }

    fn traces(&self) -> HashMap<TraceId, Vec<Span>> {
        let mut traces: HashMap<TraceId, Vec<Span>> = HashMap::new();
        for span in &self.spans {
            traces.entry(span.trace_id).or_default().push(span.clone());
        }
        traces
    }

    fn found<'of>(&'of self, query: &'of Query, window: Option<Window>) -> impl Iterator<Item = &'of Span> {
        let text = query.to_string();
        let asks_of_traces = text.contains("trace.") || text.contains("calls:");
        let traces = if asks_of_traces { self.traces() } else { HashMap::new() };
        self.spans.iter().filter(move |span| {
            let trace = traces.get(&span.trace_id).map_or(&[][..], Vec::as_slice);
            query.meets(span, trace) && is_within(span, window)
        })
    }

    /// Whether a span of a trace meets a query.
    pub fn meets(&self, query: &Query, trace: &str, span: SpanId) -> bool {
        let spans = TraceId::parse(trace).map_or_else(Vec::new, |trace_id| self.trace(trace_id));
        spans.iter().any(|of| of.span_id == span && query.meets(of, &spans))
    }

    /// Traces found, the best first, with what they are ordered by.
    pub fn search(&self, query: &Query, window: Option<Window>, order: Order) -> Vec<(u64, TraceId)> {
        let found: HashSet<TraceId> = self.found(query, window).map(|span| span.trace_id).collect();
        let mut found: Vec<(u64, TraceId)> = found
            .into_iter()
            .map(|trace_id| {
                let (start, duration) = self.start_and_duration(trace_id);
                let spans = self.trace(trace_id);
                let key = match order {
                    Order::Newest => start,
                    Order::Slowest => duration,
                    Order::Errors => spans.iter().filter(|span| span.is_error()).count() as u64,
                    Order::Spans => spans.len() as u64,
                };
                (key, trace_id)
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
