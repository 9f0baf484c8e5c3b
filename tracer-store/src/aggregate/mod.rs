//! Numbers of many spans: told by scanning columns, segment by segment, whenever they are asked for.

mod change;
mod heatmap;
mod map;
mod peer;
mod services;

use tracer_model::answer::{Red, SpanKind, Window};
use tracer_model::span::Kind;

use crate::{durations::Durations, segment::Segment};

pub(crate) use heatmap::heatmap;
pub(crate) use map::map;
pub(crate) use services::{service, service_rows};

/// Spans counted for rate, errors and duration.
#[derive(Clone, Default)]
struct Tally {
    durations: Durations,
    errors: u64,
}

impl Tally {
    fn add(&mut self, duration_ns: u64, is_error: bool) {
        self.durations.add(duration_ns);
        self.errors += u64::from(is_error);
    }

    fn absorb(&mut self, other: Self) {
        self.durations.absorb(other.durations);
        self.errors += other.errors;
    }

    fn count(&self) -> u64 {
        self.durations.count()
    }

    /// The numbers of so many microseconds.
    fn red(&mut self, length_us: u64) -> Red {
        let [p50_ns, p95_ns, p99_ns] = self.durations.percentiles_ns();
        let count = self.durations.count();
        Red { count, rate: rate(count, length_us), errors: self.errors, p50_ns, p95_ns, p99_ns }
    }
}

fn rate(count: u64, length_us: u64) -> f64 {
    if length_us == 0 { 0.0 } else { count as f64 * 1e6 / length_us as f64 }
}

fn length_us(window: Window) -> u64 {
    window.end_unix_us.saturating_sub(window.start_unix_us)
}

/// Columns of equal width, the last of which may reach beyond the window.
fn column_us(window: Window, columns: u32) -> u64 {
    length_us(window).div_ceil(u64::from(columns.max(1))).max(1)
}

/// Rows of a segment that start in a window and are held.
fn rows_within(segment: &Segment, window: Window) -> impl Iterator<Item = usize> {
    let (from, to) = crate::segment::filter::window_ns(window);
    let is_open = to == u64::MAX;
    let overlaps = segment.max_start >= from && (segment.min_start < to || is_open);
    let has_gone = segment.has_gone();
    let rows = 0..if overlaps { segment.rows() } else { 0 };
    rows.filter(move |row| {
        let start = segment.start[*row];
        start >= from && (start < to || is_open) && !(has_gone && segment.is_gone(segment.trace[*row]))
    })
}

/// One number for a span of a trace, unlike those of other spans as far as chance can tell. It is random where the
/// ids are; ids that somebody makes alike are counted together, and nothing else happens.
fn span_key(segment: &Segment, row: usize, span_id: u64) -> u64 {
    let trace_id = u128::from_be_bytes(segment.traces[usize::from(segment.trace[row])].0);
    span_id.wrapping_add((trace_id as u64).rotate_left(32)).wrapping_add((trace_id >> 64) as u64)
}

/// Things by the keys of spans. The keys are random already: a hash that is quick and keyed will do.
type BySpan<T> = hashbrown::HashMap<u64, T>;

fn answer_kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Unspecified => SpanKind::Unspecified,
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}
