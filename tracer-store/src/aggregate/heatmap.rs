//! How many spans took how long, over time.

use std::{sync::RwLock, time::Instant};

use tracer_model::answer::{Heatmap, HeatmapCell, Window};

use super::column_us;
use crate::{
    engine::Engine,
    query::Query,
    search::{OUT_OF_TIME, is_over, segments_for},
    segment::filter::window_ns,
    whole::Wholes,
};

/// Most columns and rows of a heatmap.
const MAX_CELLS_EACH_WAY: u32 = 1000;

/// Steps of each power of two in which durations are counted before the rows are known.
const STEPS: u32 = 8;

/// Powers of two above the shortest duration that is told apart: up to five days.
const POWERS: u32 = 39;

/// Durations below are not told apart.
const SHORTEST_NS: f64 = 1000.0;

pub(crate) fn heatmap(
    engine: &RwLock<Engine>,
    query: &Query,
    window: Window,
    columns: u32,
    rows: u32,
    deadline: Option<Instant>,
) -> Heatmap {
    let columns = columns.clamp(1, MAX_CELLS_EACH_WAY);
    let column_us = column_us(window, columns);
    let bounds: Vec<u64> = (0..=STEPS * POWERS)
        .map(|step| (SHORTEST_NS * (f64::from(step) / f64::from(STEPS)).exp2()).ceil() as u64)
        .collect();
    let mut counts = vec![(0u32, 0u32); columns as usize * bounds.len()];
    let mut answer =
        Heatmap { start_unix_us: window.start_unix_us, column_us, columns, ..Heatmap::default() };
    let mut selected = Vec::new();
    let (from_ns, _) = window_ns(window);
    let wholes = Wholes::new(engine, query, deadline);
    if !wholes.is_whole {
        answer.incomplete = Some(OUT_OF_TIME.to_owned());
    }
    for shared in segments_for(engine, query).into_iter().rev() {
        if is_over(deadline) {
            answer.incomplete = Some(OUT_OF_TIME.to_owned());
            break;
        }
        let met = wholes.of(engine, &shared);
        let segment = shared.read();
        segment.select(query, &met, Some(window), &mut selected);
        for row in selected.iter().map(|row| usize::from(*row)) {
            let column = (segment.start[row] - from_ns) / 1000 / column_us;
            let duration_ns = segment.duration_ns(row);
            let step = bounds.partition_point(|bound| *bound <= duration_ns).saturating_sub(1);
            if let Some(count) = counts.get_mut(column as usize * bounds.len() + step) {
                count.0 += 1;
                count.1 += u32::from(segment.is_error(row));
            }
        }
    }
    fold(&mut answer, &counts, &bounds, rows.clamp(1, MAX_CELLS_EACH_WAY) as usize);
    answer
}

/// Puts fine steps together, as many in each row, so that the rows span what there is.
fn fold(answer: &mut Heatmap, counts: &[(u32, u32)], bounds: &[u64], rows: usize) {
    let steps = |(place, count): (usize, &(u32, u32))| (count.0 > 0).then_some(place % bounds.len());
    let used = counts.iter().enumerate().filter_map(steps);
    let (first, last) = used.fold((usize::MAX, 0), |(first, last), step| (first.min(step), last.max(step)));
    if first > last {
        return;
    }
    let steps_each = (last - first + 1).div_ceil(rows);
    answer.row_ns = bounds[first..=last].iter().step_by(steps_each).copied().collect();
    for (column, of_column) in counts.chunks(bounds.len()).enumerate() {
        for (row, of_row) in of_column[first..=last].chunks(steps_each).enumerate() {
            let count = of_row.iter().map(|count| count.0).sum();
            let errors = of_row.iter().map(|count| count.1).sum();
            if count > 0 {
                answer.cells.push(HeatmapCell { column: column as u32, row: row as u32, count, errors });
            }
        }
    }
}
