//! Traffic of a chain of services, with one fault at a time: what is found is the cause, and nothing else.

use std::ops::Range;

use tracer_model::facts::Gathered;

use super::*;
use crate::{answer::FindingKind, samples::Sketch, statistics::random::Random};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const START_NS: u64 = 1_790_000_000 * S;
const LENGTH_S: u64 = 90;
const FAULT_S: Range<u64> = 45..80;

fn findings(corpus: &Corpus) -> Vec<Finding> {
    super::findings(corpus).0
}

/// What is wrong with the services while the fault lasts.
#[derive(Clone, Copy, Default)]
struct Fault {
    /// The work of `prices` takes so much longer.
    slow_ns: u64,
    /// Some requests of `prices` wait so long.
    waits_ns: u64,
    /// Part of the requests of `prices` that fail.
    fails: f64,
    /// `prices` answers nothing: `shop` tries three times.
    gives_up: bool,
    /// Nothing listens where `prices` was.
    is_dead: bool,
    /// `shop` asks `prices` so many times for one request.
    repeats: u64,
    /// `prices` stands still from the beginning of the fault on, for so long.
    stands_still_ns: u64,
}

/// Requests of `front` to `shop` to `prices`, twenty a second, some of which fail anyhow.
fn traffic(seed: u64, fault: Fault) -> Corpus {
    let mut random = Random::new(seed);
    let mut gathered = Gathered::default();
    let every_ns = S / 20;
    for number in 0..LENGTH_S * 20 {
        let at_ns = START_NS + number * every_ns + random.bits() % every_ns;
        let is_on = FAULT_S.contains(&((at_ns - START_NS) / S));
        let fault = if is_on { fault } else { Fault::default() };
        let mut trace = Request { random: &mut random, fault, next: 0, spans: Vec::new() };
        trace.front(at_ns);
        let spans: Vec<_> = trace.spans.iter().map(|sketch| sketch.span(u128::from(number) + 1)).collect();
        gathered.add(&spans);
    }
    gathered.into()
}

struct Request<'a> {
    random: &'a mut Random,
    fault: Fault,
    next: u64,
    spans: Vec<Sketch>,
}

impl Request<'_> {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// About so long, with a long tail.
    fn about(&mut self, ns: u64) -> u64 {
        (ns as f64 * (self.random.normal() * 0.4).exp()) as u64
    }

    fn front(&mut self, at_ns: u64) {
        let (root, call) = (self.id(), self.id());
        let begin_ns = at_ns + self.about(2 * MS);
        let (end_ns, has_failed) = self.shop(call, begin_ns);
        let last_ns = end_ns + self.about(MS);
        self.push(Sketch::client("front", "GET /shop", call, root, begin_ns..end_ns), has_failed);
        self.push(Sketch::server("front", "GET /", root, 0, at_ns..last_ns), has_failed);
    }

    fn shop(&mut self, parent: u64, at_ns: u64) -> (u64, bool) {
        let id = self.id();
        let mut now_ns = at_ns + self.about(3 * MS);
        let mut has_failed = self.random.uniform() < 0.005;
        let attempts = if self.fault.gives_up { 3 } else { 1 };
        for _ in 0..self.fault.repeats.max(1) {
            for attempt in 0..attempts {
                if self.fault.is_dead {
                    has_failed = true;
                    break;
                }
                let call = self.id();
                let (end_ns, failed) = self.prices(call, now_ns);
                let end_ns = if self.fault.gives_up { now_ns + 100 * MS } else { end_ns };
                let failed = failed || self.fault.gives_up;
                self.push(Sketch::client("shop", "GET /price", call, id, now_ns..end_ns), failed);
                now_ns = end_ns + MS / 10;
                has_failed |= failed && attempt + 1 == attempts;
                if !failed {
                    break;
                }
            }
        }
        let end_ns = now_ns + self.about(MS);
        self.push(Sketch::server("shop", "GET /shop", id, parent, at_ns..end_ns), has_failed);
        (end_ns, has_failed)
    }

    fn prices(&mut self, parent: u64, at_ns: u64) -> (u64, bool) {
        let id = self.id();
        let mut works_ns = self.about(5 * MS) + self.fault.slow_ns;
        if self.random.uniform() < 0.4 {
            works_ns += self.fault.waits_ns;
        }
        let still_until_ns = START_NS + FAULT_S.start * S + self.fault.stands_still_ns;
        let begin_ns =
            if at_ns < still_until_ns && self.fault.stands_still_ns > 0 { still_until_ns } else { at_ns };
        let end_ns = begin_ns + works_ns + if self.fault.gives_up { S } else { 0 };
        let has_failed = self.random.uniform() < self.fault.fails;
        self.push(Sketch::server("prices", "GET /price", id, parent, begin_ns..end_ns), has_failed);
        (end_ns, has_failed)
    }

    fn push(&mut self, sketch: Sketch, has_failed: bool) {
        self.spans.push(if has_failed { sketch.error("500") } else { sketch });
    }
}

/// Kind, service, and how many seconds after its beginning the fault was seen to begin.
fn found(seed: u64, fault: Fault) -> Vec<(FindingKind, String, i64)> {
    let findings = crate::incident::explain(findings(&traffic(seed, fault)));
    let late_s = |finding: &Finding| {
        (finding.onset_unix_us as i64 - (START_NS / 1000) as i64) / 1_000_000 - FAULT_S.start as i64
    };
    findings.iter().map(|finding| (finding.kind, finding.service.clone(), late_s(finding))).collect()
}

/// The cause is found in each of some runs, no more than so many seconds late.
fn expect(fault: Fault, kind: FindingKind, latest_s: i64) {
    for seed in 1..=5 {
        let found = found(seed, fault);
        let [(what, service, late_s)] = found.as_slice() else { panic!("seed {seed}: {found:?}") };
        assert_eq!((*what, service.as_str()), (kind, "prices"), "seed {seed}");
        assert!((-1..=latest_s).contains(late_s), "seed {seed}: {late_s} s late");
    }
}

#[test]
fn nothing_is_found_in_steady_traffic() {
    for seed in 1..=20 {
        assert_eq!(found(seed, Fault::default()), [], "seed {seed}");
    }
}

#[test]
fn a_service_that_works_longer_is_the_cause_and_not_those_that_wait_for_it() {
    expect(Fault { slow_ns: 8 * MS, ..Fault::default() }, FindingKind::Slower, 2);
}

#[test]
fn requests_that_wait_differ_from_slow_work_by_the_fastest_of_them() {
    expect(Fault { waits_ns: 60 * MS, ..Fault::default() }, FindingKind::Queueing, 6);
}

#[test]
fn a_service_that_fails_is_the_cause_and_not_those_that_pass_it_on() {
    expect(Fault { fails: 0.15, ..Fault::default() }, FindingKind::Errors, 2);
}

#[test]
fn calls_that_are_tried_again_are_a_storm() {
    expect(Fault { gives_up: true, ..Fault::default() }, FindingKind::RetryStorm, 2);
}

#[test]
fn a_dead_dependency_is_named_though_nothing_is_seen_of_it() {
    expect(Fault { is_dead: true, ..Fault::default() }, FindingKind::Unreachable, 2);
}

#[test]
fn a_service_that_stands_still_is_told_with_its_time() {
    expect(Fault { stands_still_ns: 5 * S, ..Fault::default() }, FindingKind::Stalled, 2);
}

#[test]
fn calls_that_are_repeated_for_each_request_are_told_of_who_makes_them() {
    for seed in 1..=5 {
        let found = found(seed, Fault { repeats: 8, ..Fault::default() });
        let told: Vec<_> = found.iter().map(|(kind, service, _)| (*kind, service.as_str())).collect();
        assert_eq!(told, [(FindingKind::RepeatedCalls, "shop")], "seed {seed}");
    }
}

#[test]
fn no_traffic_and_odd_times_are_no_finding() {
    assert_eq!(findings(&Corpus::default()), []);
    let backward = Range { start: u64::MAX, end: 5 };
    let odd = [
        Sketch::server("a", "x", 1, 0, 0..u64::MAX),
        Sketch::server("a", "x", 2, 1, backward.clone()),
        Sketch::client("a", "x", 3, 2, backward),
    ];
    assert_eq!(findings(&crate::samples::corpus(&[&odd])), []);
}

/// Ten operations of `catalog`, of which a second version takes over step by step. It is slower by this factor at one of them,
/// and gets another mix of requests.
fn release(seed: u64, slower: f64, changes_mix: bool) -> Corpus {
    let mut random = Random::new(seed);
    let mut gathered = Gathered::default();
    for number in 0..6000_u64 {
        let at_ns = START_NS + number * 15 * MS;
        let is_new = number > 2000 && (number > 4000 || random.uniform() < 0.5);
        // The slow operations are asked more often in the end.
        let skewed = changes_mix && number > 2000 && random.uniform() < 0.5;
        let operation = if skewed { 7 + random.bits() % 3 } else { random.bits() % 10 };
        let factor = if is_new && operation == 4 { slower } else { 1.0 };
        let work_ns = ((operation + 2) as f64 * MS as f64 * factor * (random.normal() * 0.3).exp()) as u64;
        let name = format!("GET /{operation}");
        let sketch = Sketch::server("catalog", &name, 1, 0, at_ns..at_ns + work_ns)
            .resource("service.version", if is_new { "1.1.0" } else { "1.0.0" });
        gathered.add(&[sketch.span(u128::from(number) + 1)]);
    }
    gathered.into()
}

#[test]
fn a_release_that_made_one_operation_of_ten_slower_is_found_and_a_changed_mix_is_none() {
    let mut found = 0;
    for seed in 1..=20 {
        let regressed = crate::incident::explain(findings(&release(seed, 1.2, false)));
        let told: Vec<_> =
            regressed.iter().map(|finding| (finding.kind, finding.operation.as_deref())).collect();
        found += usize::from(told == [(FindingKind::Regression, Some("GET /4"))]);
        for (name, findings) in [
            ("the same", findings(&release(seed, 1.0, false))),
            ("another mix", findings(&release(seed, 1.0, true))),
        ] {
            assert_eq!(findings, [], "seed {seed}, {name}");
        }
    }
    assert!(found >= 19, "{found} of 20");
}

#[test]
fn of_too_many_operations_the_busiest_are_followed_and_the_others_counted() {
    const MANY: u64 = 6000;
    let mut gathered = Gathered::default();
    for number in 0..MANY * 2 {
        let start = START_NS + number * S / 100;
        // Each second request is for one operation.
        let name = if number % 2 == 0 { "GET /".to_owned() } else { format!("GET /{number}") };
        let far = tracer_model::span::Value::Str(format!("host-{number}").into());
        let trace = [
            Sketch::server("shop", &name, 1, 0, start..start + MS),
            Sketch::client("shop", "GET", 2, 1, start..start + MS / 2).with("server.address", far),
        ];
        let spans: Vec<_> = trace.iter().map(|sketch| sketch.span(u128::from(number) + 1)).collect();
        gathered.add(&spans);
    }
    let corpus: Corpus = gathered.into();
    let series = Series::of(&corpus).expect("there are traces");
    assert_eq!((series.operations.len(), series.edges.len(), series.calls.len()), (2000, 2000, 4000));
    let busiest = corpus.find_operation("shop", "GET /", tracer_model::answer::SpanKind::Server);
    assert!(busiest.is_some_and(|busiest| series.operations.contains_key(&busiest)));
    assert_eq!(super::findings(&corpus).1, (MANY + 1 - 2000) + (2 * MANY - 2000) + (MANY + 1 - 4000));
}
