//! Numbers of many spans: told by scanning columns, segment by segment, whenever they are asked for. What needs the
//! parents of spans is kept for each segment.

pub(crate) mod calls;
mod change;
mod heatmap;
mod kin;
mod map;
mod peer;
mod services;

use tracer_model::answer::{Red, SpanKind, Window};
use tracer_model::span::Kind;

use crate::{durations::Durations, segment::Segment};

pub(crate) use calls::OUTSIDE;
pub(crate) use heatmap::heatmap;
pub(crate) use kin::{asks, serves};
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

    fn shrink(&mut self) {
        self.durations.shrink();
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.durations.bytes()
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
        start >= from && (start < to || is_open) && (!has_gone || segment.is_held(*row))
    })
}

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
