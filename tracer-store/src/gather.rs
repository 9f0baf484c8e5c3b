//! Spans of whole traces for analyses. No lock is held while more than one segment is looked at.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Instant,
};

use rustc_hash::FxBuildHasher;
use tracer_model::{
    answer::Window,
    facts::{FactRow, FactTable, Facts, Gathered, Maker},
    peer::Peer,
    span::{Kind, TraceId},
};

use crate::{
    engine::Engine,
    line::Shared,
    search::{OUT_OF_TIME, is_over, read},
    segment::{Segment, SlotKind, filter::window_ns},
};

/// Whole traces that begin in a window; of more than `max_spans` spans, those of the newest segments.
pub(crate) fn gather(
    engine: &RwLock<Engine>,
    window: Window,
    max_spans: usize,
    deadline: Option<Instant>,
) -> Gathered {
    let (from, to) = window_ns(window);
    let is_within = |rows: &[FactRow]| {
        let begins = rows.iter().map(|row| row.start_ns).min().unwrap_or(0);
        begins >= from && (begins < to || to == u64::MAX)
    };
    let mut gathered = Gathered::default();
    let mut spread: Vec<(TraceId, FactRow)> = Vec::new();
    // Rows of traces that lie in several segments, of segments that were left out.
    let mut oldest_taken = 0;
    let segments = read(engine).segments();
    for shared in segments.iter().rev() {
        let segment = shared.read();
        if is_over(deadline) {
            gathered.incomplete = Some(OUT_OF_TIME.to_owned());
            oldest_taken = segment.number + 1;
            break;
        }
        let overlaps = segment.max_start >= from && (segment.min_start < to || to == u64::MAX);
        let taken = gathered.rows.len() + spread.len();
        if taken + segment.rows() > max_spans && taken > 0 && overlaps {
            oldest_taken = segment.number + 1;
            break;
        }
        let mut codes = FactCodes::new(&segment);
        if overlaps {
            let alone = segment.alone_rows();
            let alone = alone.chunk_by(|one, other| trace_of(&segment, *one) == trace_of(&segment, *other));
            for trace in alone {
                let begin = gathered.rows.len();
                gathered.rows.extend(
                    trace.iter().map(|row| codes.row(&segment, usize::from(*row), &mut gathered.facts)),
                );
                if is_within(&gathered.rows[begin..]) {
                    gathered.end_trace(segment.traces[usize::from(trace_of(&segment, trace[0]))]);
                } else {
                    gathered.rows.truncate(begin);
                }
            }
        }
        spread.extend(segment.spread_rows().map(|row| {
            let trace = segment.traces[usize::from(segment.trace[row])];
            (trace, codes.row(&segment, row, &mut gathered.facts))
        }));
    }
    if oldest_taken > 0 {
        let is_left_out = |shared: &&Arc<Shared>| shared.number < oldest_taken;
        for shared in segments.iter().filter(is_left_out) {
            let segment = shared.read();
            let overlaps = segment.max_start >= from && (segment.min_start < to || to == u64::MAX);
            gathered.omitted_traces += if overlaps { segment.traces.len() as u64 } else { 0 };
        }
    }
    // In the order in which they came, the spans of a trace.
    spread.reverse();
    spread.sort_by_key(|(trace, _)| *trace);
    for trace in spread.chunk_by(|one, other| one.0 == other.0) {
        let is_whole = || {
            let engine = read(engine);
            let places = engine.traces.get(trace[0].0).into_iter().flat_map(|trace| trace.places());
            places.map(|place| place.segment).min().is_none_or(|oldest| oldest >= oldest_taken)
        };
        let begin = gathered.rows.len();
        gathered.rows.extend(trace.iter().map(|(_, row)| *row));
        if is_within(&gathered.rows[begin..]) && (oldest_taken == 0 || is_whole()) {
            gathered.end_trace(trace[0].0);
        } else {
            gathered.rows.truncate(begin);
        }
    }
    gathered
}

fn trace_of(segment: &Segment, row: u16) -> u16 {
    segment.trace[usize::from(row)]
}

/// Codes of the facts of a segment's rows, told once for each head and template where that can be.
struct FactCodes {
    makers: Vec<Option<Arc<Maker>>>,
    /// Of each key, whether facts are told by it, and whether a peer is.
    tells: Vec<(bool, bool)>,
    /// Of each template, whether a key by which facts are told is loose, and one by which a peer is.
    by_row: Vec<(bool, bool)>,
    known: HashMap<(u16, u16), u32, FxBuildHasher>,
}

impl FactCodes {
    fn new(segment: &Segment) -> Self {
        let tells: Vec<(bool, bool)> = segment
            .keys
            .iter()
            .map(|key| (Facts::KEYS.contains(&&*key.name), Peer::KEYS.contains(&&*key.name)))
            .collect();
        let by_row = (0..segment.templates()).map(|template| {
            let mut by_row = (false, false);
            for slot in segment.slots(template) {
                if let SlotKind::Loose(key) = slot.kind() {
                    by_row = (by_row.0 || tells[key].0, by_row.1 || tells[key].1);
                }
            }
            by_row
        });
        Self {
            makers: vec![None; segment.resources.all.len()],
            by_row: by_row.collect(),
            tells,
            known: HashMap::default(),
        }
    }

    fn row(&mut self, segment: &Segment, row: usize, table: &mut FactTable) -> FactRow {
        FactRow {
            span_id: segment.span_id[row],
            parent: segment.parent[row],
            start_ns: segment.start[row],
            end_ns: segment.end[row],
            facts: self.code(segment, row, table),
        }
    }

    fn code(&mut self, segment: &Segment, row: usize, table: &mut FactTable) -> u32 {
        let (head, template) = (segment.head[row], segment.template[row]);
        let (facts_differ, peers_differ) = self.by_row[usize::from(template)];
        let has_peer = Facts::have_peer(segment.head_of(row).kind);
        let differs = facts_differ || peers_differ && has_peer;
        if let Some(code) = self.known.get(&(head, template)).filter(|_| !differs) {
            return *code;
        }
        let facts = self.facts(segment, row, has_peer, table);
        let code = table.code(facts);
        if !differs {
            self.known.insert((head, template), code);
        }
        code
    }

    fn facts(&mut self, segment: &Segment, row: usize, has_peer: bool, table: &mut FactTable) -> Facts {
        let head = segment.head_of(row);
        let resource = head.resource as usize;
        let maker =
            self.makers[resource].get_or_insert_with(|| table.maker(&segment.resources.all[resource]));
        let is_told = |key: usize| self.tells[key].0 || self.tells[key].1 && has_peer;
        let attributes = segment.wanted_attributes(row, is_told);
        let kind: Kind = head.kind;
        Facts::new(maker, &segment.names[head.name as usize], kind, head.status, &attributes)
    }
}
