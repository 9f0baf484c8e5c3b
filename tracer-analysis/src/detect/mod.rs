//! What went wrong over time, and where it began.
//!
//! A service is looked at by its own time and its own errors: those without the calls that it waits for, and without failures
//! that it passes on. So who waits for a slow service is no cause.

mod errors;
mod place;
mod queueing;
mod release;
mod repeated;
mod retries;
mod series;
mod slower;
mod stalled;
mod unreachable;

#[cfg(test)]
mod tests;

use crate::{answer::Finding, corpus::Corpus};

use self::series::Series;

/// How likely it is that chance alone makes a finding, over all series together.
const ALPHA: f64 = 0.002;

/// What went wrong in the traces of a corpus, and how many operations, edges and calls were not followed for that, since there
/// are too many.
pub fn findings(corpus: &Corpus) -> (Vec<Finding>, u64) {
    let Some(series) = Series::of(corpus) else { return (Vec::new(), 0) };
    let tried = series.operations.len() * 2 + series.edges.len() * 2 + series.calls.len();
    let alpha = ALPHA / tried.max(1) as f64;
    let stalled = stalled::find(corpus, &series);
    let unreachable = unreachable::find(corpus, &series, alpha);
    let repeated = repeated::find(corpus, &series, alpha);
    let retries = retries::find(corpus, &series, alpha);
    let slower = slower::find(corpus, &series, alpha);
    let queueing = queueing::find(corpus, &series, alpha, &slower);
    let errors = errors::find(corpus, &series, alpha);
    let releases = release::find(corpus, &series);
    ([stalled, unreachable, repeated, retries, slower, queueing, errors, releases].concat(), series.left_out)
}
