//! Stretches of time in which retries were over the budget: what began them, and whether they go on without it.

use std::{collections::BTreeMap, ops::Range};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Counted, Goodput, Layer, exemplars, paths::Paths, ratio};
use crate::{
    answer::{EdgeName, Exemplar, OperationName},
    corpus::{Corpus, PartyId},
    series::table::{Cell, Edge, Table},
    statistics::{Proportion, proportion_changes},
};

/// How likely it is that chance alone makes a storm.
const ALPHA: f64 = 0.002;

/// Retries of a storm at least.
const LEAST_RETRIES: u64 = 10;

/// A trigger begins at most so many buckets before or after its storm.
const TRIGGER_REACH: usize = 5;

/// A storm that goes on for so many buckets after its trigger feeds itself.
const AFTER_TRIGGER: usize = 5;

/// Requests fall short if fewer than this part of the usual number end.
const SHORT: f64 = 0.7;

/// They are back if this part of it ends.
const BACK: f64 = 0.9;

/// Load is a trigger from this ratio to the usual one on, and errors from this part of the requests on.
const MORE_LOAD: f64 = 1.3;
const MANY_ERRORS: f64 = 0.1;

/// A stretch of time in which retries were over the budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryStorm {
    /// One sentence that says it.
    pub sentence: String,
    /// When it began.
    pub onset_unix_us: u64,
    /// When it ended; none if it goes on.
    pub end_unix_us: Option<u64>,
    /// The edge below which no other one is part of it.
    pub bottom: EdgeName,
    /// All edges that are part of it.
    pub edges: Vec<EdgeName>,
    /// Attempts over the bottom edge.
    pub attempts: u64,
    /// Logical calls over it.
    pub logical_calls: u64,
    /// Part of the logical calls over it that came to a good end.
    pub goodput: f64,
    /// The same before. None if nothing was seen before.
    pub goodput_before: Option<f64>,
    /// The request at the top for which calls multiply most.
    pub top: Option<OperationName>,
    /// Calls over the bottom edge for each request at the top.
    pub amplification: f64,
    /// The same before.
    pub amplification_before: f64,
    /// Who multiplies by how much, from the top to the bottom.
    pub layers: Vec<Layer>,
    /// What began it, if that can be seen.
    pub trigger: Option<Trigger>,
    /// Whether it goes on though its trigger is over: the retries are the load that makes calls fail.
    pub is_self_sustaining: bool,
    /// How likely chance alone shows as much: 1 if retries were over the budget from the beginning on.
    pub p_value: f64,
    /// Traces with the most attempts.
    pub exemplars: Vec<Exemplar>,
}

/// What began a storm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    /// What it was.
    pub kind: TriggerKind,
    /// When it began.
    pub start_unix_us: u64,
    /// When it was over; none if it is not before the storm is.
    pub end_unix_us: Option<u64>,
}

/// What can begin a storm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// The called one answered fewer requests than usual.
    #[default]
    Slower,
    /// The called one failed by itself.
    Errors,
    /// More requests came from outside.
    Load,
}

impl TriggerKind {
    fn words(self, name: &str) -> String {
        match self {
            Self::Slower => format!("{name} answered fewer requests than usual"),
            Self::Errors => format!("{name} failed by itself"),
            Self::Load => "more requests came from outside".to_owned(),
        }
    }
}

struct Episode {
    edge: Edge,
    range: Range<usize>,
    p_value: f64,
}

pub(super) fn find(
    corpus: &Corpus,
    table: &Table,
    edges: &FxHashMap<Edge, Counted>,
    paths: &Paths,
    budget: f64,
) -> Vec<RetryStorm> {
    let alpha = ALPHA / edges.len().max(1) as f64;
    let sorted: BTreeMap<Edge, &Counted> = edges.iter().map(|(edge, of)| (*edge, of)).collect();
    let mut found: Vec<Episode> =
        sorted.into_iter().flat_map(|(edge, of)| episodes(edge, &of.goodput, budget, alpha)).collect();
    found.sort_by_key(|episode| (episode.range.start, episode.edge));
    // Those that overlap are one storm.
    let mut storms: Vec<(Range<usize>, Vec<Episode>)> = Vec::new();
    for episode in found {
        match storms.last_mut().filter(|(range, _)| episode.range.start < range.end) {
            Some((range, of)) => {
                range.end = range.end.max(episode.range.end);
                of.push(episode);
            }
            None => storms.push((episode.range.clone(), vec![episode])),
        }
    }
    storms.into_iter().filter_map(|(range, of)| storm(corpus, table, edges, paths, range, &of)).collect()
}

/// Stretches in which the retries of an edge are over the budget.
fn episodes(edge: Edge, goodput: &[Goodput], budget: f64, alpha: f64) -> Vec<Episode> {
    let retried: Vec<Proportion> =
        goodput.iter().map(|of| Proportion::new(of.retries(), of.attempts)).collect();
    let changes = proportion_changes(&retried, alpha);
    let first = goodput.iter().position(|of| of.attempts > 0).unwrap_or(0);
    let starts =
        std::iter::once((first, 1.0)).chain(changes.iter().map(|change| (change.index, change.p_value)));
    let ends = changes.iter().map(|change| change.index).chain([goodput.len()]);
    let mut found: Vec<Episode> = Vec::new();
    for ((start, p_value), end) in starts.zip(ends) {
        let sum = goodput[start..end].iter().copied().fold(Goodput::default(), Goodput::and);
        if ratio(sum.retries(), sum.attempts) <= budget || sum.retries() < LEAST_RETRIES {
            continue;
        }
        match found.last_mut().filter(|before| before.range.end == start) {
            Some(before) => before.range.end = end,
            None => found.push(Episode { edge, range: start..end, p_value }),
        }
    }
    found
}

fn storm(
    corpus: &Corpus,
    table: &Table,
    edges: &FxHashMap<Edge, Counted>,
    paths: &Paths,
    range: Range<usize>,
    episodes: &[Episode],
) -> Option<RetryStorm> {
    let buckets = table.buckets;
    let sum = |edge: &Edge, range: Range<usize>| {
        let goodput = edges.get(edge).map_or(&[][..], |of| &of.goodput);
        let some = goodput.get(range).unwrap_or_default();
        some.iter().copied().fold(Goodput::default(), Goodput::and)
    };
    let is_bottom = |one: &&Episode| !episodes.iter().any(|other| other.edge.0 == one.edge.1);
    // In a circle, none is at the bottom.
    let bottoms: Vec<&Episode> = episodes.iter().filter(is_bottom).collect();
    let bottoms = if bottoms.is_empty() { episodes.iter().collect() } else { bottoms };
    let bottom = bottoms.into_iter().max_by_key(|one| sum(&one.edge, range.clone()).retries())?;
    let during = sum(&bottom.edge, range.clone());
    let before = sum(&bottom.edge, 0..range.start);
    let amplified = paths.worst_to(corpus, bottom.edge, range.clone());
    let trigger = trigger(table, bottom.edge, &range);
    let goes_on = |over: &Range<usize>| {
        over.end + AFTER_TRIGGER <= range.end
            && !keeps_up(table, bottom.edge.1, over.end..range.end, range.start)
    };
    let is_self_sustaining = trigger.as_ref().is_some_and(|(_, over)| goes_on(over));
    let worst = edges.get(&bottom.edge).map_or(&[][..], |of| &of.worst);
    let mut storm = RetryStorm {
        sentence: String::new(),
        onset_unix_us: buckets.begin_us(range.start),
        end_unix_us: (range.end < buckets.count).then(|| buckets.begin_us(range.end)),
        bottom: EdgeName::of(corpus, bottom.edge.0, bottom.edge.1),
        edges: episodes.iter().map(|of| EdgeName::of(corpus, of.edge.0, of.edge.1)).collect(),
        attempts: during.attempts,
        logical_calls: during.logical_calls,
        goodput: ratio(during.succeeded, during.logical_calls),
        goodput_before: (before.attempts > 0).then(|| ratio(before.succeeded, before.logical_calls)),
        top: amplified.as_ref().map(|of| of.top.clone()),
        amplification: amplified.as_ref().map_or(0.0, |of| of.during),
        amplification_before: amplified.as_ref().map_or(0.0, |of| of.before),
        layers: amplified.map(|of| of.layers).unwrap_or_default(),
        trigger: trigger.map(|(kind, over)| Trigger {
            kind,
            start_unix_us: buckets.begin_us(over.start),
            end_unix_us: (over.end < range.end).then(|| buckets.begin_us(over.end)),
        }),
        is_self_sustaining,
        p_value: episodes.iter().map(|of| of.p_value).fold(1.0, f64::min),
        exemplars: exemplars(corpus, worst),
    };
    storm.sentence = sentence(&storm);
    Some(storm)
}

/// Whether a service answers all that it is asked, more than before, and is slower than that much more load explains: then it is
/// slow by itself, and not since retries fill it.
fn keeps_up(table: &Table, service: PartyId, range: Range<usize>, onset: usize) -> bool {
    const ALL: f64 = 0.95;
    const MORE: f64 = 1.5;
    /// So many times the growth of the load is no effect of it.
    const UNEXPLAINED: f64 = 4.0;
    let Some(served) = table.services.get(service) else { return false };
    let length = range.len().max(1) as f64;
    let (before, during) = (served.sum(0..onset), served.sum(range.clone()));
    // Requests that are still open have no span of their own: their callers' calls tell of them.
    let calls = table.edges.iter().filter(|((_, to), _)| *to == service);
    let asked: u64 = calls.map(|(_, row)| row.sum(range.clone()).requests).sum();
    let load = during.ended as f64 / length / (before.ended as f64 / onset.max(1) as f64).max(1e-9);
    let own = |cell: &Cell| cell.own.quantile_ns(0.5).map(|ns| ns.max(1) as f64);
    let slower = own(&during).zip(own(&before)).map_or(1.0, |(during, before)| during / before);
    during.ended as f64 >= asked as f64 * ALL && load > MORE && slower > load * UNEXPLAINED
}

fn sentence(storm: &RetryStorm) -> String {
    let RetryStorm { bottom, layers, attempts, logical_calls, .. } = storm;
    let retried: Vec<String> = layers
        .iter()
        .filter(|layer| layer.factor > 1.05)
        .map(|layer| format!("{} by {:.1}", layer.from, layer.factor))
        .collect();
    let mut text = format!(
        "{} tries calls to {} again: {attempts} attempts for {logical_calls} calls, {:.0} % of which succeed.",
        bottom.from,
        bottom.to,
        storm.goodput * 100.0
    );
    if let Some(top) = storm.top.as_ref().filter(|_| retried.len() > 1) {
        text += &format!(
            " Each {} makes {:.1} calls to {} instead of {:.1}: {} multiply.",
            top.name,
            storm.amplification,
            bottom.to,
            storm.amplification_before,
            retried.join(", ")
        );
    }
    if storm.is_self_sustaining
        && let Some(trigger) = &storm.trigger
    {
        let seconds =
            trigger.end_unix_us.unwrap_or_default().saturating_sub(trigger.start_unix_us) / 1_000_000;
        text += &format!(
            " It began as {}; that was over after {seconds} s, and the retries go on by themselves.",
            trigger.kind.words(&bottom.to)
        );
    }
    text
}

/// What began a storm, and the buckets of it.
fn trigger(table: &Table, edge: Edge, range: &Range<usize>) -> Option<(TriggerKind, Range<usize>)> {
    let near = range.start.saturating_sub(TRIGGER_REACH)..range.end.min(range.start + TRIGGER_REACH);
    let before = ..range.start.saturating_sub(TRIGGER_REACH);
    // A stretch that begins near the beginning of the storm, in which it is there.
    let stretch = |is_there: &dyn Fn(usize) -> bool, is_over: &dyn Fn(usize) -> bool| {
        let start =
            near.clone().find(|bucket| is_there(*bucket) && is_there((bucket + 1).min(range.end - 1)))?;
        let end = (start..range.end).find(|bucket| is_over(*bucket)).unwrap_or(range.end);
        Some(start..end)
    };
    // The mean of three buckets is steadier than one.
    let smooth = |of: &dyn Fn(usize) -> f64, bucket: usize| {
        let around = bucket.saturating_sub(1)..(bucket + 2).min(range.end);
        let len = around.len().max(1) as f64;
        around.map(of).sum::<f64>() / len
    };
    let served = table.services.get(edge.1);
    if let Some(served) = served {
        let errors = |bucket: usize| ratio(served.cells[bucket].own_errors, served.cells[bucket].requests);
        let is_there = |bucket| errors(bucket) > MANY_ERRORS;
        let usual = self::usual(served.cells[before].iter().map(Cell::failing));
        if usual.is_none_or(|usual| usual < MANY_ERRORS)
            && let Some(found) = stretch(&is_there, &|bucket| smooth(&errors, bucket) < MANY_ERRORS / 2.0)
        {
            return Some((TriggerKind::Errors, found));
        }
        let ended = |bucket: usize| served.cells[bucket].ended as f64;
        if let Some(usual) = self::usual(served.cells[before].iter().map(|cell| cell.ended as f64)) {
            let is_there = |bucket| ended(bucket) < usual * SHORT;
            if let Some(found) = stretch(&is_there, &|bucket| smooth(&ended, bucket) >= usual * BACK) {
                return Some((TriggerKind::Slower, found));
            }
        }
    }
    let roots = |bucket: usize| table.roots[bucket] as f64;
    let usual = usual(table.roots[before].iter().map(|count| *count as f64))?;
    let found = stretch(&|bucket| roots(bucket) > usual * MORE_LOAD, &|bucket| {
        smooth(&roots, bucket) < usual * f64::midpoint(1.0, MORE_LOAD)
    })?;
    Some((TriggerKind::Load, found))
}

impl Cell {
    /// Part of the requests that fail by themselves.
    fn failing(&self) -> f64 {
        ratio(self.own_errors, self.requests)
    }
}

/// The median of at least three.
fn usual(values: impl Iterator<Item = f64>) -> Option<f64> {
    const FEW: usize = 3;
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values.len() >= FEW).then(|| values[values.len() / 2])
}
