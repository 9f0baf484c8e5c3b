//! Requests of a service of which a known part is slow for a known reason.

use std::ops::Range;

use tracer_model::{
    facts::Gathered,
    span::{Kind, Span, TraceId, Value},
};

use super::*;
use crate::{samples::Sketch, statistics::random::Random};

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const START_NS: u64 = 1_790_000_000 * S;
const REQUESTS: u64 = 600;

/// A request that a test writes: spans of a trace, times from `START_NS` on.
struct Writer {
    random: Random,
    spans: Vec<Sketch>,
    next: u64,
}

impl Writer {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// About so long.
    fn about(&mut self, ns: u64) -> u64 {
        (ns as f64 * (self.random.normal() * 0.1).exp()) as u64
    }

    /// A call of the shop to the prices, with the request that serves it, from a moment on; when it ends.
    fn call(&mut self, parent: u64, name: &str, at_ns: u64, works_ns: u64) -> u64 {
        let (client, server) = (self.id(), self.id());
        let end_ns = at_ns + works_ns + MS;
        self.spans.push(Sketch::client("shop", name, client, parent, at_ns..end_ns));
        let served = at_ns + MS / 2..end_ns - MS / 2;
        self.spans.push(Sketch::server("prices", name, server, client, served));
        end_ns
    }

    fn query(&mut self, parent: u64, summary: &str, at_ns: u64, works_ns: u64) -> u64 {
        let id = self.id();
        let sketch = Sketch::client("shop", summary, id, parent, at_ns..at_ns + works_ns)
            .with("db.query.summary", Value::Str(summary.into()))
            .with("db.system.name", Value::Str("postgresql".into()))
            .with("server.address", Value::Str("db".into()));
        self.spans.push(sketch);
        at_ns + works_ns
    }

    fn root(&mut self, time: Range<u64>) -> Sketch {
        Sketch::server("shop", "GET /", 1, 0, time)
    }
}

/// Requests that `write` makes, each of its number and its start, ten a second; a few more of another service.
fn traffic(seed: u64, mut write: impl FnMut(&mut Writer, u64, u64)) -> (Corpus, Vec<Vec<Span>>) {
    let mut gathered = Gathered::default();
    let mut traces = Vec::new();
    let mut random = Random::new(seed);
    for number in 0..REQUESTS {
        let at_ns = START_NS + number * S / 10 + random.bits() % (S / 20);
        let mut writer = Writer { random: Random::new(random.bits()), spans: Vec::new(), next: 1 };
        write(&mut writer, number, at_ns);
        let spans: Vec<Span> =
            writer.spans.iter().map(|sketch| sketch.span(u128::from(number) + 1)).collect();
        gathered.add(&spans);
        traces.push(spans);
    }
    (gathered.into(), traces)
}

fn operation() -> OperationName {
    OperationName { service: "shop".to_owned(), name: "GET /".to_owned(), kind: SpanKind::Server }
}

fn over(least_ns: u64) -> SlowSelection {
    SlowSelection::Box { window: None, least_ns, most_ns: None }
}

fn analyzed((corpus, traces): &(Corpus, Vec<Vec<Span>>), selection: SlowSelection) -> SlowAnswer {
    analyze(corpus, &operation(), selection, |ids| {
        let of = |id: &TraceId| {
            traces.iter().find(|spans| spans.first().is_some_and(|span| span.trace_id == *id)).cloned()
        };
        Ok(ids.iter().map(|id| of(id).unwrap_or_default()).collect())
    })
}

fn kinds(answer: &SlowAnswer) -> Vec<SlowDifferenceKind> {
    let mut kinds: Vec<_> = answer.differences.iter().map(|one| one.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn one(answer: &SlowAnswer, kind: SlowDifferenceKind) -> &SlowDifference {
    let found: Vec<_> = answer.differences.iter().filter(|one| one.kind == kind).collect();
    let [one] = found[..] else { panic!("{kind:?}: {:#?}", answer.differences) };
    assert!(one.p_value < 0.005 && !one.slow_exemplars.is_empty() && !one.rest_exemplars.is_empty());
    one
}

/// Every sixth request is slow.
fn is_slow(number: u64) -> bool {
    number % 6 == 5
}

#[test]
fn the_part_that_grew_is_told_and_all_parts_add_up() {
    let answer = analyzed(
        &traffic(1, |writer, number, at_ns| {
            let works_ns = writer.about(if is_slow(number) { 60 * MS } else { 20 * MS });
            let own_ns = writer.about(10 * MS);
            let begin_ns = at_ns + writer.about(5 * MS);
            let end_ns = writer.call(1, "GET /price", begin_ns, works_ns) + own_ns;
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(60 * MS),
    );
    assert_eq!((answer.slow.requests, answer.rest.requests), (100, 500));
    assert_eq!(kinds(&answer), [SlowDifferenceKind::Part]);
    let part = one(&answer, SlowDifferenceKind::Part);
    assert_eq!(part.operation.as_ref().map(|of| of.service.as_str()), Some("prices"));
    assert!((0.9..=1.0).contains(&part.effect), "{}", part.effect);
    assert!(part.sentence.starts_with("work of prices at GET /price takes 6"), "{}", part.sentence);
    let sum: f64 = answer.parts.iter().map(|part| part.explained).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let network = answer.parts.iter().find(|part| part.kind == SlowPartKind::Network).unwrap();
    assert_eq!((network.slow_ns, network.rest_ns), (MS, MS));
    assert!(
        answer.summary.contains("of the difference is work of prices at GET /price"),
        "{}",
        answer.summary
    );
}

#[test]
fn one_query_for_each_of_many_things_is_told_with_its_numbers() {
    let answer = analyzed(
        &traffic(2, |writer, number, at_ns| {
            let mut now_ns = at_ns + writer.about(5 * MS);
            for _ in 0..if is_slow(number) { 20 } else { 2 } {
                let works_ns = writer.about(2 * MS);
                now_ns = writer.query(1, "SELECT items", now_ns, works_ns);
            }
            let end_ns = now_ns + writer.about(MS);
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(25 * MS),
    );
    let repeated = one(&answer, SlowDifferenceKind::RepeatedCalls);
    assert_eq!((repeated.slow, repeated.rest), (20.0, 2.0));
    assert!(repeated.sentence.contains("SELECT items"), "{}", repeated.sentence);
    let part = one(&answer, SlowDifferenceKind::Part);
    assert!(part.sentence.contains("SELECT items") && part.effect > 0.9, "{}", part.sentence);
}

#[test]
fn a_cache_that_is_missed_is_an_extra_call_and_what_it_calls_is_not_told_again() {
    let answer = analyzed(
        &traffic(3, |writer, number, at_ns| {
            let mut now_ns = at_ns + writer.about(5 * MS);
            if is_slow(number) || number % 50 == 0 {
                let works_ns = writer.about(30 * MS);
                let server = writer.next + 2;
                let begin_ns = now_ns;
                now_ns = writer.call(1, "GET /price", now_ns, works_ns);
                writer.query(server, "SELECT prices", begin_ns + MS, 10 * MS);
            }
            let end_ns = now_ns + writer.about(MS);
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(20 * MS),
    );
    let extra = one(&answer, SlowDifferenceKind::ExtraCall);
    assert_eq!((extra.slow, extra.rest), (1.0, 0.0));
    assert!(
        extra.sentence.starts_with("shop at GET / calls prices (GET /price) in 100 % of 1"),
        "{}",
        extra.sentence
    );
}

#[test]
fn calls_that_slow_requests_lack_are_told() {
    let answer = analyzed(
        &traffic(4, |writer, number, at_ns| {
            let mut now_ns = at_ns;
            if is_slow(number) {
                now_ns += writer.about(50 * MS);
            } else {
                now_ns = writer.query(1, "GET cache", now_ns, MS);
            }
            let end_ns = now_ns + writer.about(MS);
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(20 * MS),
    );
    let missing = one(&answer, SlowDifferenceKind::MissingCall);
    assert_eq!((missing.slow, missing.rest), (0.0, 1.0));
}

#[test]
fn calls_one_after_another_are_told_where_the_rest_overlap() {
    let answer = analyzed(
        &traffic(5, |writer, number, at_ns| {
            let begin_ns = at_ns + MS;
            let mut end_ns = begin_ns;
            for _ in 0..4 {
                let works_ns = writer.about(10 * MS);
                let start_ns = if is_slow(number) { end_ns } else { begin_ns };
                end_ns = writer.call(1, "GET /price", start_ns, works_ns).max(end_ns);
            }
            let end_ns = end_ns + writer.about(MS);
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(30 * MS),
    );
    let serial = one(&answer, SlowDifferenceKind::Serial);
    assert!(serial.slow > 0.99 && serial.rest < 0.35, "{serial:?}");
}

#[test]
fn calls_that_fail_and_are_tried_again_are_told() {
    let answer = analyzed(
        &traffic(6, |writer, number, at_ns| {
            let mut now_ns = at_ns + MS;
            if is_slow(number) {
                now_ns = writer.call(1, "GET /price", now_ns, 40 * MS);
                let at = writer.spans.len() - 2;
                writer.spans[at] = writer.spans[at].clone().error("timeout");
            }
            let works_ns = writer.about(5 * MS);
            let end_ns = writer.call(1, "GET /price", now_ns, works_ns) + writer.about(MS);
            let root = writer.root(at_ns..end_ns);
            writer.spans.push(root);
        }),
        over(30 * MS),
    );
    for kind in [SlowDifferenceKind::FailedCalls, SlowDifferenceKind::Retries] {
        let told = one(&answer, kind);
        assert_eq!((told.slow, told.rest), (1.0, 0.0));
    }
}

#[test]
fn a_value_that_slow_requests_have_is_told_once_and_ids_are_not() {
    let answer = analyzed(
        &traffic(7, |writer, number, at_ns| {
            let is_large = is_slow(number);
            let works_ns = writer.about(if is_large { 40 * MS } else { 10 * MS });
            let (tenant, version) = if is_large { ("acme", "2.0") } else { ("other", "1.0") };
            let size = writer.about(if is_large { 50_000 } else { 1000 });
            let root = writer
                .root(at_ns..at_ns + works_ns)
                .with("tenant", Value::Str(tenant.into()))
                .with("plan", Value::Str(if is_large { "large" } else { "small" }.into()))
                .with("request.id", Value::Str(format!("id-{number}").into()))
                .with("http.response.body.size", Value::Int(size as i64))
                .with("process.took_time", Value::Int(works_ns as i64))
                .with("color", Value::Str(["red", "blue"][(number % 2) as usize].into()))
                .resource("service.version", version);
            writer.spans.push(root);
        }),
        over(25 * MS),
    );
    let values: Vec<_> = answer
        .differences
        .iter()
        .filter(|one| one.kind == SlowDifferenceKind::Attribute)
        .map(|one| (one.attribute.as_ref().unwrap().key.as_str(), one.slow, one.rest, one.same.len()))
        .filter(|(key, ..)| *key != "color")
        .collect();
    assert_eq!(values, [("plan", 1.0, 0.0, 2)], "{:#?}", answer.differences);
    let number = one(&answer, SlowDifferenceKind::Number);
    assert_eq!(number.attribute.as_ref().map(|of| of.key.as_str()), Some("http.response.body.size"));
    assert_eq!(answer.attributes_of, 500);
}

#[test]
fn waiting_before_the_start_and_open_requests_are_told() {
    let answer = analyzed(
        &traffic(8, |writer, number, at_ns| {
            let slow = is_slow(number);
            let begin_ns = at_ns + if slow { 30 * MS } else { MS };
            let works_ns = writer.about(if slow { 60 * MS } else { 10 * MS });
            let end_ns = begin_ns + works_ns;
            let client = writer.id();
            writer.spans.push(Sketch::client("front", "GET /", client, 0, at_ns..end_ns + MS));
            let root = Sketch::server("shop", "GET /", 1, client, begin_ns..end_ns);
            writer.spans.push(root);
            if slow {
                // Others are under way.
                for _ in 0..4 {
                    let id = writer.id();
                    writer.spans.push(Sketch::server(
                        "shop",
                        "POST /",
                        id,
                        0,
                        begin_ns - 20 * MS..begin_ns + MS,
                    ));
                }
            }
        }),
        over(30 * MS),
    );
    let delay = one(&answer, SlowDifferenceKind::StartDelay);
    assert_eq!((delay.slow, delay.rest), ((30 * MS) as f64, MS as f64));
    let open = one(&answer, SlowDifferenceKind::OpenRequests);
    assert!(open.slow == 4.0 && open.rest < 0.1, "{open:?}");
    assert!(open.sentence.starts_with("shop has 4 other requests under way"), "{}", open.sentence);
}

#[test]
fn slow_requests_close_together_are_told_with_their_time() {
    let answer = analyzed(
        &traffic(9, |writer, number, at_ns| {
            let works_ns = writer.about(if (300..400).contains(&number) { 60 * MS } else { 20 * MS });
            let root = writer.root(at_ns..at_ns + works_ns);
            writer.spans.push(root);
        }),
        over(40 * MS),
    );
    let bunch = one(&answer, SlowDifferenceKind::Bunched);
    assert_eq!((bunch.slow, bunch.rest), (1.0, 0.0));
    let window = bunch.window.unwrap();
    let seconds = |at_us: u64| (at_us - START_NS / 1000) / 1_000_000;
    assert_eq!((seconds(window.start_unix_us), seconds(window.end_unix_us)), (30, 39));
}

#[test]
fn first_requests_of_new_instances_are_told() {
    let answer = analyzed(
        &traffic(10, |writer, number, at_ns| {
            // An instance for each 60 requests.
            let instance = number / 60;
            let works_ns = writer.about(if number % 60 < 8 { 60 * MS } else { 20 * MS });
            let root = writer
                .root(at_ns..at_ns + works_ns)
                .resource("service.instance.id", &format!("shop-{instance}"));
            writer.spans.push(root);
        }),
        over(40 * MS),
    );
    let cold = one(&answer, SlowDifferenceKind::ColdStart);
    assert!(cold.slow >= 0.9 && cold.rest < 0.05, "{cold:?}");
}

/// Requests whose two calls vary alike, and whose attributes mean nothing.
fn nothing(seed: u64) -> (Corpus, Vec<Vec<Span>>) {
    traffic(seed, |writer, _, at_ns| {
        let mut now_ns = at_ns;
        let scale = (writer.random.normal() * 0.5).exp();
        for name in ["GET /price", "GET /stock"] {
            let works_ns = (10.0 * MS as f64 * scale * (writer.random.normal() * 0.2).exp()) as u64;
            now_ns = writer.call(1, name, now_ns, works_ns);
        }
        let (host, size) = (writer.random.bits() % 4, writer.random.bits() % 1000);
        let root = writer
            .root(at_ns..now_ns)
            .with("http.response.body.size", Value::Int(size as i64))
            .with("tenant", Value::Str(format!("t{}", writer.random.bits() % 5).into()))
            .resource("host.name", &format!("host-{host}"));
        writer.spans.push(root);
    })
}

#[test]
fn nothing_is_claimed_where_slow_requests_are_slow_by_chance() {
    for seed in 1..=40 {
        let answer = analyzed(&nothing(seed), SlowSelection::default());
        assert_eq!(answer.slow.requests, 30);
        assert!(answer.tests > 10);
        let told: Vec<_> = answer.differences.iter().map(|one| one.sentence.as_str()).collect();
        assert_eq!(told, Vec::<&str>::new(), "seed {seed}");
    }
}

#[test]
fn with_too_few_nothing_is_claimed() {
    let traffic = nothing(1);
    let answer = analyzed(&traffic, SlowSelection::Quantile(0.99));
    assert!(answer.differences.is_empty() && answer.parts.is_empty());
    assert_eq!(
        answer.too_little.as_deref(),
        Some(
            "6 slow requests and 594 others are too few to tell a cause from chance: 20 of each are needed at least"
        )
    );
    let nobody = OperationName { name: "GET /none".to_owned(), ..operation() };
    let answer = analyze(&traffic.0, &nobody, SlowSelection::default(), |_| Ok(Vec::new()));
    assert_eq!((answer.slow.requests, answer.rest.requests, answer.too_little.is_some()), (0, 0, true));
}

#[test]
fn without_spans_to_read_all_but_attributes_is_told() {
    let (corpus, _) = nothing(1);
    let answer = analyze(&corpus, &operation(), SlowSelection::default(), |_| Ok(Vec::new()));
    assert!(answer.no_attributes.unwrap().starts_with("the spans of 0 slow requests and 0 others"));
    assert!(!answer.parts.is_empty());
    let answer = analyze(&corpus, &operation(), SlowSelection::default(), |_| Err("it is gone".to_owned()));
    assert_eq!(answer.no_attributes.as_deref(), Some("it is gone"));
}

#[test]
fn odd_times_and_circles_are_no_panic() {
    let mut gathered = Gathered::default();
    let backward = Range { start: u64::MAX, end: 0 };
    let times = [0..u64::MAX, backward, 5..5, u64::MAX..u64::MAX, 0..0, 7..9];
    for number in 0..240_u64 {
        let time = times[number as usize % times.len()].clone();
        let other = times[(number as usize / 6) % times.len()].clone();
        let spans: Vec<Span> = [
            Sketch::new("shop", "GET /", Kind::Server, (1, if number % 2 == 0 { 0 } else { 3 }), time),
            Sketch::client("shop", "GET /price", 2, 1, other.clone()),
            Sketch::server("shop", "GET /", 3, 2, other),
        ]
        .iter()
        .map(|sketch| sketch.span(u128::from(number) + 1))
        .collect();
        gathered.add(&spans);
    }
    let corpus = Corpus::from(gathered);
    for selection in [
        SlowSelection::Quantile(0.5),
        SlowSelection::Quantile(f64::NAN),
        SlowSelection::Quantile(-1.0),
        over(0),
        over(5),
        over(u64::MAX),
        SlowSelection::Box {
            window: Some(Window { start_unix_us: 9, end_unix_us: 1 }),
            least_ns: 9,
            most_ns: Some(1),
        },
    ] {
        let answer = analyze(&corpus, &operation(), selection, |_| Ok(Vec::new()));
        assert!(answer.parts.iter().all(|part| part.explained.is_finite()), "{selection:?}");
        assert!(answer.differences.iter().all(|one| (0.0..=1.0).contains(&one.effect)), "{selection:?}");
    }
    assert!(!operations(&corpus).operations.is_empty());
}

#[test]
fn operations_are_told_by_what_their_slowest_lose() {
    let (corpus, _) = traffic(11, |writer, number, at_ns| {
        let end_ns = writer.call(1, "GET /price", at_ns, if is_slow(number) { 90 * MS } else { 10 * MS });
        let root = writer.root(at_ns..end_ns + 20 * MS);
        writer.spans.push(root);
    });
    let answer = operations(&corpus);
    let told: Vec<_> = answer.operations.iter().map(|one| (&*one.operation.service, one.requests)).collect();
    assert_eq!(told, [("prices", 600), ("shop", 600)]);
    let shop = &answer.operations[1];
    assert_eq!((shop.p50_ns, shop.p95_ns, shop.path_ns), (31 * MS, 111 * MS, 600 * 20 * MS));
}
