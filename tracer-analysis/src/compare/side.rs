//! One side of a comparison, and its requests.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tracer_model::answer::Window;

use super::ComparedSide;
use crate::{
    answer::{OperationName, Sample},
    corpus::{Corpus, Trace},
    series::table::{has_failed_call, own_ns},
};

/// One side of a comparison.
#[derive(Clone)]
pub struct Side<'a> {
    /// Where its traces are.
    pub corpus: &'a Corpus,
    /// What it is, for people.
    pub name: String,
    /// When its traces begin. None of all.
    pub window: Option<Window>,
    /// Only requests that this version of a service served: service and version. None of all.
    pub version: Option<(String, String)>,
}

impl<'a> Side<'a> {
    /// All of a corpus.
    pub fn new(corpus: &'a Corpus, name: impl Into<String>) -> Self {
        Self { corpus, name: name.into(), window: None, version: None }
    }

    /// The traces of its window.
    pub(super) fn traces(&self) -> impl Iterator<Item = Trace<'a>> + '_ {
        let is_meant = |trace: &Trace<'_>| {
            self.window.is_none_or(|window| {
                let start_us = trace.time(0).start_ns / 1000;
                start_us >= window.start_unix_us && start_us < window.end_unix_us
            })
        };
        self.corpus.traces().filter(is_meant)
    }

    /// What is looked at.
    fn sample(&self) -> Sample {
        if self.window.is_none() {
            return Sample::of(self.corpus);
        }
        let mut sample = Sample {
            omitted_traces: self.corpus.omitted_traces,
            incomplete: self.corpus.incomplete.clone(),
            ..Sample::default()
        };
        let mut extent_ns: Option<(u64, u64)> = None;
        for trace in self.traces() {
            sample.traces += 1;
            sample.spans += trace.len() as u64;
            sample.broken_traces += u64::from(!trace.is_whole());
            let start_ns = trace.time(0).start_ns;
            let end_ns = (0..trace.len()).map(|at| trace.time(at).end_ns).max().unwrap_or(start_ns);
            let (first, last) = extent_ns.unwrap_or((start_ns, end_ns));
            extent_ns = Some((first.min(start_ns), last.max(end_ns)));
        }
        let (first_ns, last_ns) = extent_ns.unwrap_or_default();
        sample.window = Window { start_unix_us: first_ns / 1000, end_unix_us: last_ns / 1000 };
        sample
    }

    /// Whether a span was made by what is compared.
    pub(super) fn has(&self, trace: Trace<'_>, at: usize) -> bool {
        self.version.as_ref().is_none_or(|(service, version)| {
            let maker = &trace.facts(at).maker;
            *maker.service == **service && *maker.version == **version
        })
    }
}

/// A request that was served.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) trace: u32,
    pub(super) at: u32,
    pub(super) own_ns: u64,
    pub(super) duration_ns: u64,
    pub(super) has_failed: bool,
    /// It failed, and no call below it did.
    pub(super) has_failed_itself: bool,
    /// Whether its end was seen.
    pub(super) is_timed: bool,
}

/// Requests of a side, by operation.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) by_operation: BTreeMap<OperationName, Vec<Request>>,
    /// First and last start, nanoseconds.
    extent_ns: Option<(u64, u64)>,
    count: u64,
}

impl Requests {
    pub(super) fn of(side: &Side<'_>) -> Self {
        let mut by_code: FxHashMap<u32, Vec<Request>> = FxHashMap::default();
        let mut requests = Self::default();
        for trace in side.traces() {
            for at in (0..trace.len()).filter(|at| trace.serves(*at) && side.has(trace, *at)) {
                let start_ns = trace.time(at).start_ns;
                let (first, last) = requests.extent_ns.unwrap_or((start_ns, start_ns));
                requests.extent_ns = Some((first.min(start_ns), last.max(start_ns)));
                requests.count += 1;
                let has_failed = trace.is_error(at);
                by_code.entry(trace.operation(at)).or_default().push(Request {
                    trace: u32::try_from(trace.place()).unwrap_or(u32::MAX),
                    at: u32::try_from(at).unwrap_or(u32::MAX),
                    own_ns: own_ns(trace, at),
                    duration_ns: trace.duration_ns(at),
                    has_failed,
                    has_failed_itself: has_failed && !has_failed_call(trace, at),
                    is_timed: trace.facts(at).end_known,
                });
            }
        }
        requests.by_operation = by_code
            .into_iter()
            .map(|(operation, requests)| (OperationName::of(side.corpus, operation), requests))
            .collect();
        requests
    }

    pub(super) fn told(&self, side: &Side<'_>) -> ComparedSide {
        ComparedSide {
            name: side.name.clone(),
            sample: side.sample(),
            requests: self.count,
            seconds: self.extent_ns.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9),
        }
    }
}
