//! Two sides of traffic side by side: two windows, two versions of a service, or two stores.
//!
//! Operations are compared one by one, so another mix of requests is no change. An operation is judged by its own time and by the
//! failures that it makes itself: who waits for a slow service, or passes its failures on, did not change.

mod calls;
pub mod deployments;
mod differences;
mod markdown;
mod operations;
mod side;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{markdown::markdown, side::Side};
use crate::{
    answer::{EdgeName, Exemplar, OperationName, Sample},
    statistics::{ALPHA, Estimate, Verdict},
    words::duration,
};

/// A change of times that does not matter: a tenth, or a fifth of a millisecond if that is more. Times of some µs change by a tenth
/// with the load of a machine. A tenth of the calls for each request does not matter either.
pub const TOLERANCE: f64 = 0.1;
/// See [`TOLERANCE`].
pub const TIME_TOLERANCE_NS: f64 = 200_000.0;
/// The same of 95th percentiles: so long may a request wait for a processor that is busy.
pub const TAIL_TOLERANCE_NS: f64 = 1_000_000.0;
/// A difference of the proportions of failures that does not matter.
pub const FAILURE_TOLERANCE: f64 = 0.01;

/// The chance with which the least change that is told would be seen.
pub const POWER: f64 = 0.8;

/// How often chance alone may change one of the five things that are judged: own times, their 95th percentiles, own failures,
/// calls for each request, and mixes of queries. Together that is [`ALPHA`].
const ALPHA_OF_EACH: f64 = ALPHA / 5.0;

/// Rows of each kind that are told.
const MOST_ROWS: usize = 200;

/// What changed from one side to the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonAnswer {
    /// The side that is compared with.
    pub before: ComparedSide,
    /// The side that is judged.
    pub after: ComparedSide,
    /// What became of it all.
    pub verdict: Verdict,
    /// The same in one sentence.
    pub sentence: String,
    /// Operations that are there on both sides, the worst first; 200 at most.
    pub operations: Vec<ComparedOperation>,
    /// Calls that a request makes, where that changed, the worst first; 200 at most.
    pub calls: Vec<ComparedCalls>,
    /// Queries of a database that are asked for in other proportions, the most different first; 200 at most.
    pub queries: Vec<ComparedQueries>,
    /// Operations that the first side has not.
    pub new_operations: Vec<OneSided<OperationName>>,
    /// Operations that the second side has not.
    pub lost_operations: Vec<OneSided<OperationName>>,
    /// Calls that the first side has not.
    pub new_edges: Vec<OneSided<EdgeName>>,
    /// Calls that the second side has not.
    pub lost_edges: Vec<OneSided<EdgeName>>,
    /// Kinds of failures that the first side has not.
    pub new_errors: Vec<OneSided<ErrorName>>,
    /// Kinds of failures that the second side has not.
    pub lost_errors: Vec<OneSided<ErrorName>>,
    /// Rows that were left out, since there were too many.
    pub left_out: u64,
    /// Calls and requests of things that were too many to be told apart. If there are some, nothing is certain of what one side
    /// seems not to have.
    pub omitted: u64,
}

/// One side of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedSide {
    /// What it is, for people.
    pub name: String,
    /// The traces of its window; of a version, also what is not of it.
    pub sample: Sample,
    /// Requests that were compared.
    pub requests: u64,
    /// Time in which they came, seconds.
    pub seconds: f64,
}

/// An operation on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedOperation {
    /// The operation.
    pub operation: OperationName,
    /// Requests before and after.
    pub requests: (u64, u64),
    /// The time in which no call of it was under way: it is judged by this.
    pub own_time: ComparedTime,
    /// From start to end, with what it waits for.
    pub duration: ComparedTime,
    /// Requests that fail without a failed call below them: it is judged by this too.
    pub own_failures: ComparedFailures,
    /// All requests that fail.
    pub failures: ComparedFailures,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub sentence: String,
    /// Slow or failed requests of the second side, and a usual one of the first.
    pub exemplars: Vec<Exemplar>,
}

/// Times on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedTime {
    /// Medians before and after, nanoseconds.
    pub p50_ns: (f64, f64),
    /// 95th percentiles, nanoseconds.
    pub p95_ns: (f64, f64),
    /// How many times as long they are, all values taken together, with 99.5 % confidence. None of too few requests.
    pub ratio: Option<Estimate>,
    /// How likely chance alone orders the values so well (Mann–Whitney), corrected for all operations.
    pub p_value: f64,
    /// How many times as long the 95th percentile is (bootstrap), with a confidence that is corrected for all operations. None of
    /// too few requests.
    pub p95_ratio: Option<Estimate>,
    /// Whether medians and 95th percentiles differ in most of ten parts of the time too; else a short disturbance may be all.
    pub is_lasting: (bool, bool),
    /// A ratio of medians less 1 that does not matter: 0.1, or 0.2 ms of the median if that is more.
    pub tolerance: f64,
    /// What became of it.
    pub verdict: Verdict,
    /// A ratio that would have been seen with a chance of 80 %. None of too few requests.
    pub detectable_ratio: Option<f64>,
}

impl ComparedTime {
    /// Whether the 95th percentile changed as the verdict says, and all values taken together did not.
    pub fn is_of_tail_only(&self) -> bool {
        let is_whole = self.is_lasting.0
            && self.p_value < ALPHA_OF_EACH
            && self.ratio.is_some_and(|ratio| Verdict::of_ratio(ratio, self.tolerance) == self.verdict);
        matches!(self.verdict, Verdict::Worse | Verdict::Better) && !is_whole
    }
}

/// Failures on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedFailures {
    /// Failed requests before and after.
    pub failed: (u64, u64),
    /// Part of the requests that fail after, less that before (Newcombe), with 99.5 % confidence.
    pub difference: Option<Estimate>,
    /// How likely chance alone makes the parts differ so much, corrected for all operations.
    pub p_value: f64,
    /// What became of them.
    pub verdict: Verdict,
    /// A difference that would have been seen with a chance of 80 %.
    pub detectable_difference: Option<f64>,
}

/// Calls that a request of an operation makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedCalls {
    /// The operation that is served.
    pub operation: OperationName,
    /// Who is called.
    pub edge: EdgeName,
    /// The query, or the name of the call.
    pub call: String,
    /// Calls for each request, before and after.
    pub per_request: (f64, f64),
    /// Requests before and after.
    pub requests: (u64, u64),
    /// How many more there are, with 99.5 % confidence.
    pub difference: Estimate,
    /// How likely chance alone makes as much, corrected for all calls.
    pub p_value: f64,
    /// What became of it.
    pub verdict: Verdict,
    /// A request of the second side.
    pub exemplar: Option<Exemplar>,
}

/// Queries that a service asks a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedQueries {
    /// Who asks whom.
    pub edge: EdgeName,
    /// How far the mixes are apart, from 0 (alike) to 1 (none in common): Jensen–Shannon, bits.
    pub divergence: f64,
    /// How likely chance alone makes as much (chi-square), corrected for all.
    pub p_value: f64,
    /// The queries whose parts differ most, with their parts before and after; 10 at most.
    pub queries: Vec<QueryPart>,
}

/// The part of a query among all of an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueryPart {
    /// The query in a few words.
    pub query: String,
    /// Its part before.
    pub before: f64,
    /// Its part after.
    pub after: f64,
}

/// Something that is there on one side only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OneSided<T> {
    /// It.
    pub what: T,
    /// How often it is there.
    pub count: u64,
    /// Whether the other side has so many requests that chance does not explain that it is not there.
    pub is_certain: bool,
    /// A trace with it.
    pub exemplar: Option<Exemplar>,
}

/// A kind of failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct ErrorName {
    /// Whose requests fail.
    pub service: String,
    /// `error.type`, else the status.
    pub error: String,
}

/// Compares the second side with the first.
pub fn analyze(before: &Side<'_>, after: &Side<'_>) -> ComparisonAnswer {
    let (first, second) = (side::Requests::of(before), side::Requests::of(after));
    let mut answer = ComparisonAnswer {
        before: first.told(before),
        after: second.told(after),
        ..ComparisonAnswer::default()
    };
    let not_compared;
    (answer.operations, not_compared) = operations::compare(before, after, &first, &second);
    calls::compare(before, after, &first, &second, &mut answer);
    differences::find(before, after, &mut answer);
    (answer.verdict, answer.sentence) = overall(&answer);
    answer.left_out =
        not_compared + cut(&mut answer.operations) + cut(&mut answer.calls) + cut(&mut answer.queries);
    for one_sided in [&mut answer.new_operations, &mut answer.lost_operations] {
        answer.left_out += cut(one_sided);
    }
    for one_sided in [&mut answer.new_edges, &mut answer.lost_edges] {
        answer.left_out += cut(one_sided);
    }
    for one_sided in [&mut answer.new_errors, &mut answer.lost_errors] {
        answer.left_out += cut(one_sided);
    }
    answer
}

/// What became of the operations alone.
pub(crate) fn operations(before: &Side<'_>, after: &Side<'_>) -> Vec<ComparedOperation> {
    operations::compare(before, after, &side::Requests::of(before), &side::Requests::of(after)).0
}

fn cut<T>(rows: &mut Vec<T>) -> u64 {
    let left_out = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    left_out as u64
}

/// What became of it all.
fn overall(answer: &ComparisonAnswer) -> (Verdict, String) {
    /// Part of the requests whose operations must be unchanged, if all is to be.
    const MOST: f64 = 0.9;
    let of = |verdict: Verdict| answer.operations.iter().filter(move |one| one.verdict == verdict);
    let count = |verdict: Verdict| of(verdict).count();
    let all = answer.after.requests.max(1) as f64;
    let unchanged = of(Verdict::Unchanged).map(|one| one.requests.1).sum::<u64>() as f64 / all;
    let more_calls = answer.calls.iter().filter(|one| one.verdict == Verdict::Worse).count();
    let verdict = if count(Verdict::Worse) + more_calls > 0 {
        Verdict::Worse
    } else if count(Verdict::Better) > 0 {
        Verdict::Better
    } else if unchanged >= MOST {
        Verdict::Unchanged
    } else {
        Verdict::NotEnough
    };
    let operations = |verdict: Verdict| match count(verdict) {
        1 => "1 operation".to_owned(),
        many => format!("{many} operations"),
    };
    let mut sentence = match verdict {
        Verdict::Worse if count(Verdict::Worse) > 0 => {
            let worst = answer.operations.first().map_or("", |worst| worst.sentence.as_str());
            format!("{} became worse: {worst}", operations(Verdict::Worse))
        }
        Verdict::Worse => {
            let worst = &answer.calls[0];
            format!(
                "{} {} makes {:.1} calls of {} to {} for each request instead of {:.1}.",
                worst.operation.service,
                worst.operation.name,
                worst.per_request.1,
                worst.call,
                worst.edge.to,
                worst.per_request.0
            )
        }
        Verdict::Better => {
            let best = of(Verdict::Better).next().map_or("", |best| best.sentence.as_str());
            format!("{} became better: {best}", operations(Verdict::Better))
        }
        Verdict::Unchanged => format!(
            "Nothing changed by more than {:.0} % or {}, in operations with {:.0} % of the requests.",
            TOLERANCE * 100.0,
            duration(TIME_TOLERANCE_NS),
            unchanged * 100.0
        ),
        Verdict::NotEnough => {
            "There are too few requests to say that nothing changed, and nothing is seen to have changed."
                .to_owned()
        }
    };
    if answer.before.requests == 0 || answer.after.requests == 0 {
        sentence = "One side has no requests: nothing can be compared.".to_owned();
    }
    (verdict, sentence)
}
