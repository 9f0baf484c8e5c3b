//! Why some requests of an operation are slow: they are compared with the rest.
//!
//! What is compared: the parts of the critical path, the calls below, attributes, waiting, and when the requests came. Each
//! difference has a test; all tests of an answer are corrected together. Slow requests are chosen by their duration, so each part
//! of them is longer on average: a part is told as a difference only if its *share* of the request grew too.

mod attributes;
mod groups;
mod operations;
mod parts;
mod structure;
#[cfg(test)]
mod tests;
mod waiting;

use serde::{Deserialize, Serialize};
use tracer_model::{
    answer::{SpanKind, Window},
    span::{Span, TraceId},
};
use utoipa::ToSchema;

pub use self::operations::{SlowOperation, SlowOperationsAnswer, operations};
use self::{
    groups::{Group, Groups},
    parts::summary,
    structure::CallKey,
};
use crate::{
    answer::{EdgeName, Exemplar, OperationName, Sample},
    corpus::Corpus,
    statistics::{ALPHA, benjamini_hochberg},
    words::{duration, percent},
};

/// Requests of each group that are needed before anything is claimed.
pub const LEAST_REQUESTS: usize = 20;

/// The quantile above which requests are slow, if none is given.
pub const USUAL_QUANTILE: f64 = 0.95;

/// Differences that are told.
const MOST_DIFFERENCES: usize = 30;

/// Which requests are slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlowSelection {
    /// Those that take longer than this quantile of all, from 0 to 1.
    Quantile(f64),
    /// Those of a box of the heatmap.
    Box {
        /// When they begin. None: at any time.
        window: Option<Window>,
        /// How long they take at least, nanoseconds.
        least_ns: u64,
        /// How long they take at most. None: no bound.
        most_ns: Option<u64>,
    },
}

impl Default for SlowSelection {
    fn default() -> Self {
        Self::Quantile(USUAL_QUANTILE)
    }
}

/// Answer of the analysis: how slow requests differ from the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowAnswer {
    /// What was looked at.
    pub sample: Sample,
    /// The operation whose requests are compared.
    pub operation: OperationName,
    /// Why nothing is claimed: there is too little data. None if there is enough.
    pub too_little: Option<String>,
    /// The slow ones.
    pub slow: SlowGroup,
    /// The others.
    pub rest: SlowGroup,
    /// The shortest duration of a slow one, nanoseconds.
    pub least_ns: u64,
    /// One sentence in plain English: how much longer they take, and where most of it goes.
    pub summary: String,
    /// What differs and is not chance, the greatest effect first; 30 at most.
    pub differences: Vec<SlowDifference>,
    /// Tests that were made: their p-values are corrected for so many.
    pub tests: u64,
    /// Parts of the critical path, those that explain most of the difference first; their means add up to those of the groups.
    pub parts: Vec<SlowPart>,
    /// Requests whose attributes were read: some of each group.
    pub attributes_of: u64,
    /// Why attributes were not compared. None if they were.
    pub no_attributes: Option<String>,
}

/// A group of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowGroup {
    /// Requests.
    pub requests: u64,
    /// Those of them that were compared: a sample, evenly spread over time, if there are many.
    pub compared: u64,
    /// Median of their durations, nanoseconds.
    pub p50_ns: u64,
    /// Mean of the durations of those that were compared.
    pub mean_ns: u64,
    /// Some of them.
    pub exemplars: Vec<Exemplar>,
}

/// A way in which slow requests differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowDifference {
    /// What kind of thing it is.
    pub kind: SlowDifferenceKind,
    /// One sentence in plain English that says it, with its numbers.
    pub sentence: String,
    /// How great it is, from 0 to 1: the part of the difference that it explains, the difference of two shares, or Cliff's delta.
    pub effect: f64,
    /// The number of the slow ones: nanoseconds, calls, requests, or a share, as the kind says.
    pub slow: f64,
    /// The same of the rest.
    pub rest: f64,
    /// How likely chance alone shows as much, corrected for the number of tests (Benjamini and Hochberg).
    pub p_value: f64,
    /// Slow requests that were compared.
    pub slow_requests: u64,
    /// Requests of the rest that were compared.
    pub rest_requests: u64,
    /// The operation that it is about, if it is about one.
    pub operation: Option<OperationName>,
    /// The attribute, if it is about one.
    pub attribute: Option<SlowAttribute>,
    /// Its time, if it is about a stretch of time.
    pub window: Option<Window>,
    /// Other attributes that tell the same requests apart: `key=value`.
    pub same: Vec<String>,
    /// Slow requests that show it.
    pub slow_exemplars: Vec<Exemplar>,
    /// Usual requests of the rest.
    pub rest_exemplars: Vec<Exemplar>,
}

/// A value that slow requests have more often or less often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlowAttribute {
    /// Whose it is.
    pub place: SlowAttributePlace,
    /// Key.
    pub key: String,
    /// Value. None for a number that is greater or less.
    pub value: Option<String>,
}

/// Whose attribute it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlowAttributePlace {
    /// The request's span.
    #[default]
    Request,
    /// The resource of that: its instance.
    Resource,
    /// A span below.
    Below,
    /// The resource of a span below.
    BelowResource,
}

/// What kind of difference it is, and what its numbers are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SlowDifferenceKind {
    /// A part of the critical path takes a greater share: means in nanoseconds.
    #[default]
    Part,
    /// One thing is called over and over, one call after another: calls for each request.
    RepeatedCalls,
    /// More calls: calls for each request.
    MoreCalls,
    /// A call that fewer of the rest make: shares of requests.
    ExtraCall,
    /// A call that fewer of the slow ones make: shares of requests.
    MissingCall,
    /// Calls fail: shares of requests.
    FailedCalls,
    /// Calls are tried again: shares of requests.
    Retries,
    /// Calls run one after another: the time in which any is under way, as a part of the sum of their times.
    Serial,
    /// A value of an attribute: shares of requests.
    Attribute,
    /// A number of an attribute: medians.
    Number,
    /// Time from the client's start to the server's: medians in nanoseconds.
    StartDelay,
    /// Requests that were open in the service at the start: means.
    OpenRequests,
    /// Slow ones come close together in time: shares of requests in the stretch.
    Bunched,
    /// First requests of an instance: shares of requests.
    ColdStart,
}

/// A part of the critical paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlowPart {
    /// What it is.
    pub kind: SlowPartKind,
    /// Operation. None for what is left when there are too many.
    pub operation: Option<OperationName>,
    /// Whom it asks, if it is a call.
    pub asked: Option<EdgeName>,
    /// The query, if it asks a database.
    pub query: Option<String>,
    /// Mean time on the critical path of a slow request, nanoseconds; 0 of a request without it.
    pub slow_ns: u64,
    /// The same of the rest.
    pub rest_ns: u64,
    /// Median of the slow requests.
    pub slow_p50_ns: u64,
    /// Median of the rest.
    pub rest_p50_ns: u64,
    /// Slow requests that have it.
    pub slow_requests: u64,
    /// Requests of the rest that have it.
    pub rest_requests: u64,
    /// Part of the difference between the groups' means that it explains; less than 0 if it takes less time in slow requests.
    /// All parts add up to 1.
    pub explained: f64,
    /// How likely chance alone makes its share of the request so different, corrected. 1 if it was not tested.
    pub p_value: f64,
}

/// What a part of a critical path is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SlowPartKind {
    /// The request's own work, or waiting that no span tells.
    #[default]
    Own,
    /// Work below it.
    Work,
    /// A call whose callee has no span: the callee's work and the way.
    Call,
    /// The way between a client and its server, with the time until the server begins.
    Network,
    /// All that is less than the parts that are told.
    Other,
}

/// A difference that was tested, before it is known how many were.
struct Tested {
    difference: SlowDifference,
    /// Whether it is great enough to be told, if it is not chance.
    is_great: bool,
    /// The part that it is about.
    part: Option<usize>,
    /// The calls whose number it is about.
    key: Option<CallKey>,
}

/// The operation of a service and a name; without a kind, the one that serves requests, if there is one.
pub fn resolved(corpus: &Corpus, service: &str, name: &str, kind: Option<SpanKind>) -> OperationName {
    use SpanKind::{Client, Consumer, Internal, Producer, Server, Unspecified};
    let is_there = |kind: &SpanKind| corpus.find_operation(service, name, *kind).is_some();
    let found = || [Server, Consumer, Internal, Unspecified, Client, Producer].into_iter().find(is_there);
    let kind = kind.or_else(found).unwrap_or(Server);
    OperationName { service: service.to_owned(), name: name.to_owned(), kind }
}

/// Compares the slow requests of an operation with the rest. `fetch` reads whole traces by their ids, in this order, for their
/// attributes.
pub fn analyze(
    corpus: &Corpus,
    operation: &OperationName,
    selection: SlowSelection,
    fetch: impl FnOnce(&[TraceId]) -> Result<Vec<Vec<Span>>, String>,
) -> SlowAnswer {
    let mut answer =
        SlowAnswer { sample: Sample::of(corpus), operation: operation.clone(), ..SlowAnswer::default() };
    let code = corpus.find_operation(&operation.service, &operation.name, operation.kind);
    let groups = Groups::of(corpus, code, selection);
    answer.slow = groups.slow.told(corpus);
    answer.rest = groups.rest.told(corpus);
    answer.least_ns = groups.slow.least_ns;
    answer.too_little = too_little(&groups);
    if answer.too_little.is_some() {
        return answer;
    }
    let (parts, mut tested) = parts::compare(&groups);
    answer.parts = parts;
    tested.extend(structure::compare(&groups));
    match attributes::compare(&groups, fetch) {
        Ok((of, found)) => {
            answer.attributes_of = of;
            tested.extend(found);
        }
        Err(why) => answer.no_attributes = Some(why),
    }
    tested.extend(waiting::compare(&groups));
    answer.tests = tested.len() as u64;
    answer.differences = told(&groups, &mut answer.parts, tested);
    answer.summary = summary(&groups, &answer);
    answer
}

/// What differs beyond chance, the greatest first.
fn told(groups: &Groups<'_>, parts: &mut [SlowPart], tested: Vec<Tested>) -> Vec<SlowDifference> {
    let p_values: Vec<f64> = tested.iter().map(|tested| tested.difference.p_value).collect();
    let corrected = benjamini_hochberg(&p_values);
    let mut told: Vec<(SlowDifference, Option<CallKey>)> = Vec::new();
    for (Tested { mut difference, is_great, part, key }, p_value) in tested.into_iter().zip(corrected) {
        if let Some(part) = part.and_then(|part| parts.get_mut(part)) {
            part.p_value = p_value;
        }
        difference.p_value = p_value;
        if is_great && p_value < ALPHA {
            told.push((difference, key));
        }
    }
    let mut told = attributes::merged(structure::topmost(groups, told));
    told.sort_by(|one, other| {
        other.effect.total_cmp(&one.effect).then_with(|| one.sentence.cmp(&other.sentence))
    });
    told.truncate(MOST_DIFFERENCES);
    told
}

fn too_little(groups: &Groups<'_>) -> Option<String> {
    let (slow, rest) = (groups.slow.total, groups.rest.total);
    let few = |group: usize| group < LEAST_REQUESTS;
    (few(slow) || few(rest)).then(|| {
        format!(
            "{slow} slow requests and {rest} others are too few to tell a cause from chance: {LEAST_REQUESTS} of each are needed at \
             least"
        )
    })
}

/// A share for people, always of so many.
fn of(count: usize, total: usize) -> String {
    format!("{} of {total}", share(count as f64 / total.max(1) as f64))
}

fn share(part: f64) -> String {
    percent(part)
}

/// A number of calls for people.
fn number(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn time(ns: f64) -> String {
    duration(ns)
}

/// Exemplars of a difference: those of the slow ones that show it most, and usual ones of the rest.
fn exemplars(groups: &Groups<'_>, slow: &[f64], rest: &[f64], more: bool) -> (Vec<Exemplar>, Vec<Exemplar>) {
    let towards = |value: f64| if more { -value } else { value };
    let middle = groups::median(rest);
    (
        groups.slow.first_by(groups.corpus, slow, towards),
        groups.rest.first_by(groups.corpus, rest, |value| (value - middle).abs()),
    )
}

/// The sizes of both groups.
fn sizes(slow: &Group, rest: &Group) -> (u64, u64) {
    (slow.requests.len() as u64, rest.requests.len() as u64)
}
