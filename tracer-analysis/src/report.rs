//! All that is wrong in a stretch of time, and where the time goes, in one answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    answer::{Finding, Sample},
    corpus::Corpus,
    detect,
    incident::explain,
    path::{self, Help, HiddenErrors, OperationShare, ServicePathShare, SteadyRepetition},
};

/// Traces that are needed before anything is claimed to be wrong.
pub const LEAST_TRACES: usize = 100;

/// Services, operations and the like that a report tells.
const MOST: usize = 10;

/// What is wrong, where the time goes, and what would help.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// Why nothing is said to be wrong: there is too little data. None if there is enough.
    pub too_little: Option<String>,
    /// What was found, each cause once, by their onsets.
    pub findings: Vec<Finding>,
    /// Operations, edges and calls of one operation below another in which nothing could be found, since there are too many: those
    /// with the fewest requests.
    pub not_followed: u64,
    /// Traces of which the root is there: the time of these is told.
    pub rooted_traces: u64,
    /// Services by their time on the critical paths of these, the most first; 10 at most.
    pub services: Vec<ServicePathShare>,
    /// Operations by the same; 10 at most.
    pub operations: Vec<OperationShare>,
    /// Part of the critical paths that is the way between clients and servers.
    pub network_part: f64,
    /// What would help most if it took half of its time; 10 at most.
    pub help: Vec<Help>,
    /// Failed calls that requests hide which succeed; 10 at most.
    pub hidden_errors: Vec<HiddenErrors>,
    /// Calls that requests make over and over, one after another, whether that began or was always so; 10 at most.
    #[serde(default)]
    pub repeated: Vec<SteadyRepetition>,
}

/// Looks at all traces of a corpus.
pub fn report(corpus: &Corpus) -> ReportAnswer {
    let path = path::analyze(corpus, None);
    let (findings, not_followed) = found(corpus);
    let mut answer = ReportAnswer {
        too_little: too_little(corpus),
        findings,
        not_followed,
        rooted_traces: path.traces,
        network_part: path.network_ns as f64 / path.total_ns.max(1) as f64,
        sample: path.sample,
        services: path.services,
        operations: path.operations,
        help: path.help,
        hidden_errors: path.hidden_errors,
        repeated: path.repeated,
    };
    answer.services.truncate(MOST);
    answer.operations.truncate(MOST);
    answer.hidden_errors.truncate(MOST);
    answer
}

/// What is wrong, each cause once; nothing if there is too little data.
pub fn findings(corpus: &Corpus) -> Vec<Finding> {
    found(corpus).0
}

fn found(corpus: &Corpus) -> (Vec<Finding>, u64) {
    if too_little(corpus).is_some() {
        return (Vec::new(), 0);
    }
    let (findings, left_out) = detect::findings(corpus);
    (explain(findings), left_out)
}

fn too_little(corpus: &Corpus) -> Option<String> {
    (corpus.len() < LEAST_TRACES).then(|| {
        format!(
            "{} traces are too few to tell a fault from chance: {LEAST_TRACES} are needed at least",
            corpus.len()
        )
    })
}
