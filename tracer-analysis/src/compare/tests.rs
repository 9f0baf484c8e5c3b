use std::ops::Range;

use tracer_model::{facts::Gathered, span::Value};

use tracer_model::answer::Window;

use super::{deployments::DeploymentKind, *};
use crate::{corpus::Corpus, samples::Sketch, statistics::random::Random};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const BEGIN: u64 = 1_700_000_000 * SECOND;
const OPERATIONS: u64 = 10;

/// What a version of the shop does.
#[derive(Clone, Copy)]
struct Release<'a> {
    version: &'a str,
    /// The operation `GET /0` is so many times as slow.
    slower: f64,
    /// Part of the requests that fail by themselves, and how.
    failing: f64,
    error: &'a str,
    /// Calls to the stock for each request.
    calls: u64,
    /// Of ten queries, those that are for prices; the others are for levels.
    prices: u64,
    /// More of the first, slow operation.
    heavy: bool,
    /// Operations that are there.
    operations: u64,
}

const USUAL: Release<'_> = Release {
    version: "1",
    slower: 1.0,
    failing: 0.01,
    error: "500",
    calls: 1,
    prices: 5,
    heavy: false,
    operations: OPERATIONS,
};

struct Traffic {
    random: Random,
    gathered: Gathered,
    traces: u128,
}

impl Traffic {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), gathered: Gathered::default(), traces: 0 }
    }

    /// Twenty requests a second, each tenth of a second two.
    fn add(&mut self, seconds: Range<u64>, release: &Release<'_>) {
        for number in seconds.start * 20..seconds.end * 20 {
            self.request(BEGIN + number * SECOND / 20, release);
        }
    }

    fn request(&mut self, start: u64, release: &Release<'_>) {
        self.traces += 1;
        let random = &mut self.random;
        let of = if release.heavy && random.uniform() < 0.5 { 0 } else { random.bits() % release.operations };
        let usual = if of == 0 { 40e6 } else { 5e6 };
        let factor = if of == 0 { release.slower } else { 1.0 };
        let own = (usual * factor * (0.4 * random.normal()).exp()) as u64;
        let calls = release.calls * 3 * MS;
        let name = format!("GET /{of}");
        let server = Sketch::server("shop", &name, 1, 0, start..start + own + calls)
            .resource("service.version", release.version)
            .resource("service.instance.id", release.version);
        let has_failed = random.uniform() < release.failing;
        let mut spans = vec![if has_failed { server.error(release.error) } else { server }];
        for call in 0..release.calls {
            let from = start + call * 3 * MS;
            let query = if random.bits() % 10 < release.prices { "SELECT prices" } else { "SELECT levels" };
            spans.push(
                Sketch::client("shop", "query", 2 + call, 1, from..from + 3 * MS)
                    .resource("service.version", release.version)
                    .resource("service.instance.id", release.version)
                    .with("db.system.name", Value::Str("postgresql".into()))
                    .with("server.address", Value::Str("db".into()))
                    .with("db.query.summary", Value::Str(query.into())),
            );
        }
        let spans: Vec<_> = spans.iter().map(|sketch| sketch.span(self.traces)).collect();
        self.gathered.add(&spans);
    }
}

fn corpus_of(seed: u64, seconds: u64, release: &Release<'_>) -> Corpus {
    let mut traffic = Traffic::new(seed);
    traffic.add(0..seconds, release);
    traffic.gathered.into()
}

/// The comparison of usual traffic with that of a release, 60 s each.
fn compared(seed: u64, release: &Release<'_>) -> ComparisonAnswer {
    let (before, after) = (corpus_of(2 * seed, 60, &USUAL), corpus_of(2 * seed + 1, 60, release));
    analyze(&Side::new(&before, "before"), &Side::new(&after, "after"))
}

#[test]
fn a_slower_operation_of_ten_is_told_and_nothing_else() {
    for seed in 0..10 {
        let answer = compared(seed, &Release { slower: 1.5, ..USUAL });
        assert_eq!(answer.verdict, Verdict::Worse, "{}", answer.sentence);
        let worse: Vec<_> = answer
            .operations
            .iter()
            .filter(|row| row.verdict != Verdict::Unchanged && row.verdict != Verdict::NotEnough)
            .map(|row| (row.operation.name.as_str(), row.verdict))
            .collect();
        assert_eq!(worse, [("GET /0", Verdict::Worse)]);
        assert!(
            answer.sentence.starts_with("1 operation became worse: shop GET /0: "),
            "{}",
            answer.sentence
        );
        assert!(answer.sentence.contains("its own time is "), "{}", answer.sentence);
        assert!(answer.calls.is_empty() && answer.queries.is_empty(), "seed {seed}: {:?}", answer.calls);
        assert_eq!(answer.operations[0].exemplars.len(), 2);
    }
}

#[test]
fn neither_the_same_nor_another_mix_of_requests_is_a_change() {
    // With more runs it measures how often the comparison is wrong.
    let runs =
        std::env::var("TRACER_ANALYSIS_TEST_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(30);
    let mut wrong = Vec::new();
    for seed in 0..runs {
        for heavy in [false, true] {
            let answer = compared(seed, &Release { heavy, ..USUAL });
            if !matches!(answer.verdict, Verdict::Unchanged | Verdict::NotEnough)
                || !answer.queries.is_empty()
            {
                wrong.push((seed, heavy, answer.sentence));
            }
            assert!(answer.new_errors.is_empty() && answer.lost_edges.is_empty());
        }
    }
    println!("{} of {} comparisons are wrong", wrong.len(), 2 * runs);
    assert!(wrong.len() as u64 <= (2 * runs).div_ceil(100), "{wrong:?}");
}

#[test]
fn much_of_the_same_is_unchanged_and_little_decides_nothing() {
    let (before, after) = (corpus_of(1, 1500, &USUAL), corpus_of(2, 1500, &USUAL));
    let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
    assert_eq!(answer.verdict, Verdict::Unchanged, "{}", answer.sentence);
    assert_eq!(
        answer.sentence,
        "Nothing changed by more than 10 % or 200 µs, in operations with 100 % of the requests."
    );
    let (before, after) = (corpus_of(1, 5, &USUAL), corpus_of(2, 5, &USUAL));
    let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
    assert_eq!(answer.verdict, Verdict::NotEnough, "{}", answer.sentence);
    assert!(answer.operations[0].sentence.ends_with("too few requests; each side needs 50."));
}

#[test]
fn a_better_release_is_better() {
    let answer = compared(3, &Release { slower: 0.5, ..USUAL });
    assert_eq!(answer.verdict, Verdict::Better);
    assert!(answer.sentence.starts_with("1 operation became better: shop GET /0"), "{}", answer.sentence);
}

#[test]
fn own_failures_and_their_new_kind_are_told() {
    let answer = compared(4, &Release { failing: 0.2, error: "timeout", ..USUAL });
    assert_eq!(answer.verdict, Verdict::Worse);
    let worst = &answer.operations[0];
    assert_eq!(
        (worst.own_failures.verdict, worst.own_time.verdict == Verdict::Worse),
        (Verdict::Worse, false)
    );
    assert!(worst.sentence.contains("of its requests fail instead of"), "{}", worst.sentence);
    let [new] = &answer.new_errors[..] else { panic!("{:?}", answer.new_errors) };
    assert_eq!((new.what.error.as_str(), new.is_certain), ("timeout", true));
    let [lost] = &answer.lost_errors[..] else { panic!("{:?}", answer.lost_errors) };
    assert_eq!(lost.what.error.as_str(), "500");
}

#[test]
fn more_calls_for_each_request_and_another_mix_of_queries_are_told() {
    let answer = compared(5, &Release { calls: 10, prices: 9, ..USUAL });
    assert_eq!(answer.verdict, Verdict::Worse);
    let worst = &answer.calls[0];
    assert_eq!((worst.edge.to.as_str(), worst.call.as_str()), ("db", "SELECT prices"));
    assert!((worst.per_request.0 - 0.5).abs() < 0.2 && (worst.per_request.1 - 9.0).abs() < 0.5, "{worst:?}");
    let [queries] = &answer.queries[..] else { panic!("{:?}", answer.queries) };
    assert!((queries.queries[0].before - 0.5).abs() < 0.1 && queries.divergence > 0.1, "{queries:?}");
    // The time in which it calls is not its own.
    assert!(answer.operations.iter().all(|row| row.verdict != Verdict::Worse), "{:?}", answer.operations[0]);
    assert!(answer.sentence.starts_with("shop GET /"), "{}", answer.sentence);
}

#[test]
fn what_is_there_on_one_side_only_is_certain_if_the_other_has_enough() {
    let answer = compared(6, &Release { operations: 9, ..USUAL });
    let [lost] = &answer.lost_operations[..] else { panic!("{:?}", answer.lost_operations) };
    assert_eq!((lost.what.name.as_str(), lost.is_certain), ("GET /9", true));
    assert!(answer.new_operations.is_empty());
    let (before, after) = (corpus_of(1, 60, &USUAL), corpus_of(2, 1, &USUAL));
    let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
    assert!(answer.lost_operations.iter().all(|lost| !lost.is_certain), "{:?}", answer.lost_operations);
    let answer = compared(7, &Release { calls: 0, ..USUAL });
    let [lost] = &answer.lost_edges[..] else { panic!("{:?}", answer.lost_edges) };
    assert_eq!((lost.what.to.as_str(), lost.is_certain), ("db", true));
}

#[test]
fn sides_are_windows_and_versions_of_one_corpus() {
    let mut traffic = Traffic::new(8);
    traffic.add(0..60, &USUAL);
    traffic.add(60..120, &Release { version: "2", slower: 2.0, ..USUAL });
    let corpus: Corpus = traffic.gathered.into();
    let window = |from: u64, to: u64| {
        let us = |second: u64| (BEGIN + second * SECOND) / 1000;
        Some(Window { start_unix_us: us(from), end_unix_us: us(to) })
    };
    let side = |window| Side { window, ..Side::new(&corpus, "") };
    let answer = analyze(&side(window(0, 60)), &side(window(60, 120)));
    assert_eq!((answer.before.requests, answer.after.requests), (1200, 1200));
    assert_eq!(answer.operations[0].operation.name, "GET /0");
    let side = |version: &str| Side {
        version: Some(("shop".to_owned(), version.to_owned())),
        ..Side::new(&corpus, "")
    };
    assert_eq!(analyze(&side("1"), &side("2")).operations, answer.operations);
    let none = analyze(&side("1"), &side("3"));
    assert_eq!((none.verdict, none.after.requests), (Verdict::NotEnough, 0));
    assert_eq!(none.sentence, "One side has no requests: nothing can be compared.");
}

#[test]
fn releases_are_told_by_how_they_went_with_their_changes() {
    let mut traffic = Traffic::new(9);
    traffic.add(0..100, &USUAL);
    let second = Release { version: "2", slower: 1.6, ..USUAL };
    // Rolling: for ten seconds both serve.
    traffic.add(90..200, &second);
    traffic.add(200..260, &Release { version: "3", ..USUAL });
    traffic.add(210..260, &second);
    let answer = deployments::find(&traffic.gathered.into());
    let told: Vec<_> = answer
        .deployments
        .iter()
        .map(|one| (&*one.old_version, &*one.new_version, one.kind, one.instances))
        .collect();
    assert_eq!(told, [("2", "3", DeploymentKind::Together, 1), ("1", "2", DeploymentKind::Rolling, 1)]);
    let verdicts: Vec<_> = answer
        .deployments
        .iter()
        .map(|one| one.comparison.as_ref().map(|comparison| comparison.verdict))
        .collect();
    assert_eq!(verdicts, [Some(Verdict::Better), Some(Verdict::Worse)]);
    let rolling = &answer.deployments[1];
    assert_eq!(rolling.first_seen_unix_us, (BEGIN + 90 * SECOND) / 1000);
    let share = |second: u64| {
        let bucket = (second * SECOND / 1000).div_euclid(answer.bucket_us) as usize;
        rolling.share_over_time[bucket]
    };
    assert_eq!((share(10), share(95), share(150)), (Some(0.0), Some(0.5), Some(1.0)));
}

#[test]
fn values_that_differ_from_request_to_request_are_no_versions() {
    let mut traffic = Traffic::new(10);
    for n in 0..40 {
        traffic.add(n..n + 1, &Release { version: &format!("{n}"), ..USUAL });
    }
    let answer = deployments::find(&traffic.gathered.into());
    assert_eq!((answer.deployments.len(), answer.services_of_too_many), (0, vec!["shop".to_owned()]));
    let answer = deployments::find(&corpus_of(1, 5, &USUAL));
    assert_eq!(answer.services_of_one_version, ["shop"]);
}

#[test]
fn nothing_and_hostile_times_are_compared_without_a_fault() {
    let nothing = Corpus::default();
    let answer = analyze(&Side::new(&nothing, "a"), &Side::new(&nothing, "b"));
    assert_eq!(answer.verdict, Verdict::NotEnough);
    let odd = crate::samples::corpus(&[
        &[
            Sketch::server("a", "x", 1, 2, 0..u64::MAX),
            Sketch::client("a", "y", 2, 1, Range { start: u64::MAX, end: 0 }),
        ],
        &[Sketch::server("a", "x", 3, 3, Range { start: 5, end: 1 })],
    ]);
    let answer = analyze(&Side::new(&odd, "a"), &Side::new(&odd, "b"));
    assert_eq!(answer.operations.len(), 1);
    assert!(deployments::find(&odd).deployments.is_empty());
}

/// Requests of `shop` to `stock`, one each 50 ms; the stock takes about so long, and fails so.
fn chain(seed: u64, number: u64, stock_ns: f64, error: Option<&str>) -> Corpus {
    let mut random = Random::new(seed);
    let mut gathered = Gathered::default();
    for request in 0..number {
        let start = BEGIN + request * SECOND / 20;
        let took = (stock_ns * (0.2 * random.normal()).exp()) as u64;
        let fails = |sketch: Sketch, error: Option<&str>| match error {
            Some(error) => sketch.error(error),
            None => sketch,
        };
        let passed_on = error.map(|_| "502");
        let trace = [
            fails(Sketch::server("shop", "GET /", 1, 0, start..start + 2 * MS + took), passed_on),
            fails(Sketch::client("shop", "GET", 2, 1, start + MS..start + MS + took), error),
            fails(Sketch::server("stock", "GET /level", 3, 2, start + MS..start + MS + took), error),
        ];
        let spans: Vec<_> = trace.iter().map(|sketch| sketch.span(u128::from(request) + 1)).collect();
        gathered.add(&spans);
    }
    gathered.into()
}

#[test]
fn a_tenth_of_a_millisecond_does_not_matter_and_half_a_one_does() {
    let before = chain(1, 500, 300_000.0, None);
    for (stock_ns, verdict, told) in [
        (400_000.0, Verdict::Unchanged, "stock GET /level: unchanged within 200 µs."),
        (800_000.0, Verdict::Worse, "stock GET /level: its own time is "),
    ] {
        let after = chain(2, 500, stock_ns, None);
        let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
        let row = answer.operations.iter().find(|row| row.operation.service == "stock").unwrap();
        assert_eq!(row.verdict, verdict, "{}", row.sentence);
        assert!(row.sentence.starts_with(told), "{}", row.sentence);
    }
}

#[test]
fn failures_that_are_passed_on_are_no_new_kind() {
    let (before, after) = (chain(1, 200, 5e6, None), chain(2, 200, 5e6, Some("503")));
    let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
    let [new] = &answer.new_errors[..] else { panic!("{:?}", answer.new_errors) };
    assert_eq!((&*new.what.service, &*new.what.error, new.count), ("stock", "503", 200));
    let shop = answer.operations.iter().find(|row| row.operation.service == "shop").unwrap();
    assert_eq!((shop.failures.failed, shop.own_failures.failed), ((0, 200), (0, 0)));
    assert_eq!((shop.failures.verdict, shop.own_failures.verdict), (Verdict::Worse, Verdict::NotEnough));
}

#[test]
fn a_service_that_answers_nothing_any_more_is_gone_for_certain_if_others_go_on() {
    let before = chain(1, 200, 5e6, None);
    let alone = |requests: u128| {
        let mut gathered = Gathered::default();
        for request in 1..=requests {
            let start = BEGIN + request as u64 * SECOND;
            gathered.add(&[Sketch::server("shop", "GET /", 1, 0, start..start + MS).span(request)]);
        }
        Corpus::from(gathered)
    };
    for (requests, is_certain) in [(200, true), (5, false)] {
        let after = alone(requests);
        let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
        let [lost] = &answer.lost_operations[..] else { panic!("{:?}", answer.lost_operations) };
        assert_eq!((&*lost.what.service, lost.is_certain), ("stock", is_certain));
    }
}

#[test]
fn a_short_disturbance_of_one_side_is_no_change() {
    for (seed, is_first) in [(1, true), (2, false), (3, true), (4, false)] {
        let usual = chain(seed, 600, 5e6, None);
        let mut random = Random::new(seed + 10);
        let mut gathered = Gathered::default();
        for request in 0..600_u64 {
            let start = BEGIN + request * SECOND / 20;
            let slow = if (240..300).contains(&request) { 20.0 } else { 1.0 };
            let took = (5e6 * slow * (0.2 * random.normal()).exp()) as u64;
            gathered.add(&[Sketch::server("stock", "GET /level", 3, 0, start..start + took)
                .span(u128::from(request) + 1)]);
        }
        let disturbed = Corpus::from(gathered);
        let (one, other) = if is_first { (&disturbed, &usual) } else { (&usual, &disturbed) };
        let answer = analyze(&Side::new(one, "before"), &Side::new(other, "after"));
        let row = answer.operations.iter().find(|row| row.operation.service == "stock").unwrap();
        assert!(row.own_time.p95_ratio.is_some_and(|ratio| ratio.value > 2.0 || ratio.value < 0.5));
        assert!(matches!(row.verdict, Verdict::Unchanged | Verdict::NotEnough), "{}", row.sentence);
    }
}

#[test]
fn what_is_too_much_to_be_told_apart_is_counted_and_not_claimed_to_be_gone() {
    let many = |from: u64| -> Corpus {
        let mut gathered = Gathered::default();
        for number in 0..12_000 {
            let start = BEGIN + number * MS;
            // One operation in all traces, and one of each trace's own.
            let name = format!("GET /{}", from + number);
            let spans = [
                Sketch::server("shop", "GET /", 1, 0, start..start + MS).span(u128::from(number) + 1),
                Sketch::server("shop", &name, 2, 0, start..start + MS).span(u128::from(number) + 1),
            ];
            gathered.add(&spans);
        }
        gathered.into()
    };
    let (before, after) = (many(0), many(100_000));
    let answer = analyze(&Side::new(&before, "before"), &Side::new(&after, "after"));
    assert!(answer.omitted > 2000, "{}", answer.omitted);
    assert!(answer.lost_operations.iter().chain(&answer.new_operations).all(|one| !one.is_certain));
    assert_eq!((answer.new_operations.len(), answer.operations.len()), (200, 1));
}

#[test]
fn the_sample_of_a_side_is_that_of_its_window() {
    let corpus = corpus_of(1, 60, &USUAL);
    let us = |second: u64| (BEGIN + second * SECOND) / 1000;
    let side = |from: u64, to: u64| Side {
        window: Some(Window { start_unix_us: us(from), end_unix_us: us(to) }),
        ..Side::new(&corpus, "")
    };
    let answer = analyze(&side(0, 10), &side(10, 40));
    assert_eq!((answer.before.sample.traces, answer.after.sample.traces), (200, 600));
    assert_eq!(answer.after.sample.window.start_unix_us, us(10));
}
