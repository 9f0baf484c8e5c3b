//! All that is wrong in a stretch of time, in one answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::{Finding, Sample},
    corpus::Corpus,
    detect,
    incident::explain,
};

/// Traces that an analysis needs before it claims anything.
pub const LEAST_TRACES: usize = 100;

/// What is wrong, and what would help.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Why nothing is claimed: there is too little data. None if there is enough.
    pub too_little: Option<String>,
    /// What was found, each cause once, by their onsets.
    pub findings: Vec<Finding>,
}

/// Looks at all traces of a corpus.
pub fn report(corpus: &Corpus) -> ReportAnswer {
    let sample = Sample::of(corpus);
    if corpus.len() < LEAST_TRACES {
        let too_little = format!(
            "{} traces are too few to tell a fault from chance: {LEAST_TRACES} are needed at least",
            corpus.len()
        );
        return ReportAnswer { sample, too_little: Some(too_little), ..ReportAnswer::default() };
    }
    ReportAnswer { sample, findings: findings(corpus), ..ReportAnswer::default() }
}

/// What is wrong, each cause once.
pub fn findings(corpus: &Corpus) -> Vec<Finding> {
    explain(detect::findings(corpus))
}
