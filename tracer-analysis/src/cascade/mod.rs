//! How a fault went from service to service: where it began, whom it hit when, and what it cost.

mod changes;
mod findings;
mod timeouts;
mod waste;
mod wave;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{answer::Sample, corpus::Corpus, report::LEAST_TRACES, series::table::Table};

pub use self::{
    changes::{LevelChange, Signal},
    findings::candidates,
    timeouts::{DeadlineMismatch, Fingerprint},
    waste::{Saturation, Wasted},
    wave::{Hit, Origin, OriginKind},
};

/// How much is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CascadeOptions {
    /// Entries of each list at most.
    pub most: usize,
}

impl Default for CascadeOptions {
    fn default() -> Self {
        Self { most: 100 }
    }
}

/// How faults went through the services of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CascadeAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Why nothing is claimed: there is too little data. None if there is enough.
    pub too_little: Option<String>,
    /// When the first bucket begins.
    pub start_unix_us: u64,
    /// How long a bucket is: onsets are known no better.
    pub bucket_us: u64,
    /// Where it began.
    pub origins: Vec<Origin>,
    /// Who was hit when, the first one first.
    pub wave: Vec<Hit>,
    /// All changes for the worse, by their onsets.
    pub changes: Vec<LevelChange>,
    /// Durations at which failed calls pile up.
    pub timeouts: Vec<Fingerprint>,
    /// Callers that wait for a shorter time than the called one needs.
    pub mismatches: Vec<DeadlineMismatch>,
    /// Work for callers that had left.
    pub wasted: Vec<Wasted>,
    /// Services in which more requests are open, though no more are answered.
    pub saturated: Vec<Saturation>,
    /// Entries that were left out.
    pub left_out: u64,
}

/// How faults went through the services of a corpus.
pub fn analyze(corpus: &Corpus, options: &CascadeOptions) -> CascadeAnswer {
    let sample = Sample::of(corpus);
    let table = Table::of(corpus).filter(|_| corpus.len() >= LEAST_TRACES);
    let Some(table) = table else {
        let too_little = format!(
            "{} traces are too few to tell a fault from chance: {LEAST_TRACES} are needed at least",
            corpus.len()
        );
        return CascadeAnswer { sample, too_little: Some(too_little), ..CascadeAnswer::default() };
    };
    analyze_with(corpus, options, &table, sample)
}

/// The same, of series that are there already.
fn analyze_with(corpus: &Corpus, options: &CascadeOptions, table: &Table, sample: Sample) -> CascadeAnswer {
    let found = changes::find(corpus, table);
    let (origins, wave) = wave::find(corpus, table, &found);
    let (timeouts, mismatches) = timeouts::find(corpus);
    let mut answer = CascadeAnswer {
        sample,
        too_little: None,
        start_unix_us: table.buckets.begin_us(0),
        bucket_us: table.buckets.width_ns / 1000,
        origins,
        wave,
        changes: found.iter().map(|change| change.told(corpus, table.buckets)).collect(),
        timeouts,
        mismatches,
        wasted: waste::wasted(corpus, table),
        saturated: waste::saturated(corpus, table),
        left_out: 0,
    };
    answer.cut(options.most);
    answer
}

impl CascadeAnswer {
    fn cut(&mut self, most: usize) {
        fn cut<T>(all: &mut Vec<T>, most: usize) -> u64 {
            let left_out = all.len().saturating_sub(most);
            all.truncate(most);
            left_out as u64
        }
        self.left_out = cut(&mut self.origins, most)
            + cut(&mut self.wave, most)
            + cut(&mut self.changes, most)
            + cut(&mut self.timeouts, most)
            + cut(&mut self.mismatches, most)
            + cut(&mut self.wasted, most)
            + cut(&mut self.saturated, most);
    }
}

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
