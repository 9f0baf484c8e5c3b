//! Which requests are slow, and which are the rest.

use std::ops::RangeInclusive;

use super::{SlowGroup, SlowSelection};
use crate::{
    answer::Exemplar,
    corpus::{Corpus, Trace},
    statistics::quantile,
};

/// Requests of a group that are compared: many more show no more.
const MOST_COMPARED: usize = 3000;

/// Exemplars of a group.
const MOST_EXEMPLARS: usize = 3;

/// A request: the span that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Place of its trace.
    pub(super) place: usize,
    /// Place of its span.
    pub(super) at: usize,
    pub(super) start_ns: u64,
    pub(super) duration_ns: u64,
}

impl Request {
    pub(super) fn trace<'a>(&self, corpus: &'a Corpus) -> Trace<'a> {
        corpus.trace(self.place)
    }
}

/// Some requests of a group, by their starts.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) requests: Vec<Request>,
    /// How many there are.
    pub(super) total: usize,
    /// The shortest duration of all.
    pub(super) least_ns: u64,
    p50_ns: u64,
}

impl Group {
    fn of(requests: Vec<Request>) -> Self {
        let mut durations: Vec<f64> = requests.iter().map(|request| request.duration_ns as f64).collect();
        durations.sort_unstable_by(f64::total_cmp);
        Self {
            total: requests.len(),
            least_ns: durations.first().map_or(0, |least| *least as u64),
            p50_ns: quantile(&durations, 0.5).unwrap_or(0.0) as u64,
            requests: evenly(&requests, MOST_COMPARED),
        }
    }

    pub(super) fn mean_ns(&self) -> f64 {
        mean(self.requests.iter().map(|request| request.duration_ns as f64))
    }

    pub(super) fn told(&self, corpus: &Corpus) -> SlowGroup {
        SlowGroup {
            requests: self.total as u64,
            compared: self.requests.len() as u64,
            p50_ns: self.p50_ns,
            mean_ns: self.mean_ns() as u64,
            exemplars: evenly(&self.requests, MOST_EXEMPLARS)
                .iter()
                .map(|request| Exemplar::of(request.trace(corpus), request.at))
                .collect(),
        }
    }

    /// Some requests that begin in a stretch of time.
    pub(super) fn within(&self, corpus: &Corpus, time_ns: RangeInclusive<u64>) -> Vec<Exemplar> {
        let within = self.requests.iter().filter(|request| time_ns.contains(&request.start_ns));
        within.take(MOST_EXEMPLARS).map(|request| Exemplar::of(request.trace(corpus), request.at)).collect()
    }

    /// The requests whose values are the least by an order.
    pub(super) fn first_by(
        &self,
        corpus: &Corpus,
        values: &[f64],
        order: impl Fn(f64) -> f64,
    ) -> Vec<Exemplar> {
        let mut places: Vec<(f64, usize)> =
            values.iter().take(self.requests.len()).map(|value| order(*value)).zip(0..).collect();
        places.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let first = places.iter().take(MOST_EXEMPLARS).map(|(_, place)| self.requests[*place]);
        first.map(|request| Exemplar::of(request.trace(corpus), request.at)).collect()
    }
}

/// The requests of an operation in two groups.
pub(super) struct Groups<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) slow: Group,
    pub(super) rest: Group,
    /// All requests by their starts, and whether each is slow.
    pub(super) all: Vec<(u64, bool)>,
}

impl<'a> Groups<'a> {
    /// Requests of an operation, without those below another one of the same.
    pub(super) fn of(corpus: &'a Corpus, operation: Option<u32>, selection: SlowSelection) -> Self {
        let mut requests: Vec<Request> = Vec::new();
        for trace in corpus.traces().filter(|_| operation.is_some()) {
            let mut at = 0;
            while at < trace.len() {
                if Some(trace.operation(at)) == operation {
                    let start_ns = trace.time(at).start_ns;
                    requests.push(Request {
                        place: trace.place(),
                        at,
                        start_ns,
                        duration_ns: trace.duration_ns(at),
                    });
                    at = trace.after(at);
                } else {
                    at += 1;
                }
            }
        }
        requests.sort_unstable_by_key(|request| (request.start_ns, request.place, request.at));
        let is_slow = chosen(&requests, selection);
        let all = requests.iter().map(|request| (request.start_ns, is_slow(request))).collect();
        let (slow, rest): (Vec<Request>, Vec<Request>) = requests.into_iter().partition(|one| is_slow(one));
        Self { corpus, slow: Group::of(slow), rest: Group::of(rest), all }
    }

    /// A number of each request of both groups: the slow ones, the rest.
    pub(super) fn values(&self, value: impl Fn(&Request) -> f64) -> (Vec<f64>, Vec<f64>) {
        let values = |group: &Group| group.requests.iter().map(&value).collect();
        (values(&self.slow), values(&self.rest))
    }
}

fn chosen(requests: &[Request], selection: SlowSelection) -> impl Fn(&Request) -> bool + use<> {
    let (window, least_ns, most_ns) = match selection {
        SlowSelection::Quantile(q) => {
            let mut durations: Vec<f64> = requests.iter().map(|request| request.duration_ns as f64).collect();
            durations.sort_unstable_by(f64::total_cmp);
            let at = quantile(&durations, if q.is_finite() { q.clamp(0.0, 1.0) } else { 1.0 });
            (None, (at.unwrap_or(0.0) as u64).saturating_add(1), None)
        }
        SlowSelection::Box { window, least_ns, most_ns } => (window, least_ns, most_ns),
    };
    move |request| {
        let at_us = request.start_ns / 1000;
        window.is_none_or(|window| (window.start_unix_us..window.end_unix_us).contains(&at_us))
            && request.duration_ns >= least_ns
            && most_ns.is_none_or(|most_ns| request.duration_ns <= most_ns)
    }
}

/// At most so many, evenly spread.
pub(super) fn evenly<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|place| all[place * all.len() / most]).collect()
}

pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// The median; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 0.5).unwrap_or(0.0)
}
