use super::{
    simulated::{BEGIN_NS, Effect, MS, SECOND, Simulation},
    *,
};
use crate::samples::{Sketch, corpus};

fn simulated(seed: u64, fault: &dyn Fn(&str, u64) -> Effect) -> Simulation<'_> {
    Simulation { seed, seconds: 120, rate: 20, attempts: 1, timeout_ns: None, fault }
}

fn wave_of(fault: &dyn Fn(&str, u64) -> Effect) -> CascadeAnswer {
    analyze(&simulated(1, fault).corpus(), &CascadeOptions::default())
}

fn origins(answer: &CascadeAnswer) -> Vec<(&str, OriginKind)> {
    answer.origins.iter().map(|origin| (origin.service.as_str(), origin.kind)).collect()
}

fn hits(answer: &CascadeAnswer) -> Vec<&str> {
    answer.wave.iter().map(|hit| hit.service.as_str()).collect()
}

/// The second, from the beginning, that a moment is in.
fn second(unix_us: u64) -> u64 {
    (unix_us * 1000 - BEGIN_NS) / SECOND
}

#[test]
fn the_slow_service_at_the_bottom_is_the_origin_and_the_wave_goes_up() {
    let answer = wave_of(&|service, second| {
        let slower = if service == "depot" && second >= 60 { 10.0 } else { 1.0 };
        Effect { slower, ..Effect::default() }
    });
    assert_eq!(origins(&answer), [("depot", OriginKind::Slower)]);
    assert_eq!(hits(&answer), ["depot", "stock", "shop", "front"]);
    assert_eq!(answer.wave[2].because_of, ["stock"]);
    assert_eq!(answer.origins[0].reaches, ["stock", "shop", "front"]);
    assert!(second(answer.origins[0].onset_unix_us).abs_diff(60) <= 1, "{answer:?}");
    assert_eq!(answer.origins[0].end_unix_us, None);
    assert!(
        answer.origins[0].sentence.contains("times as long; because of it, stock, then shop"),
        "{}",
        answer.origins[0].sentence
    );
}

#[test]
fn a_service_that_fails_for_a_while_is_the_origin_with_its_end() {
    let answer = wave_of(&|service, second| {
        let errors = if service == "stock" && (40..70).contains(&second) { 0.4 } else { 0.01 };
        Effect { errors, ..Effect::default() }
    });
    assert_eq!(origins(&answer), [("stock", OriginKind::Errors)]);
    assert_eq!(hits(&answer), ["stock", "shop", "front"]);
    let origin = &answer.origins[0];
    assert!(second(origin.onset_unix_us).abs_diff(40) <= 1, "{origin:?}");
    assert!(second(origin.end_unix_us.unwrap()).abs_diff(70) <= 1, "{origin:?}");
}

#[test]
fn a_dead_party_is_the_origin_though_it_has_no_spans_of_its_fault() {
    let answer = wave_of(&|service, second| Effect {
        is_dead: service == "mail" && second >= 50,
        ..Effect::default()
    });
    assert!(origins(&answer).contains(&("mail", OriginKind::Unreachable)), "{answer:?}");
    assert!(answer.wave.iter().any(|hit| hit.service == "shop" && hit.because_of.contains(&"mail".into())));
    assert!(!hits(&answer).contains(&"stock"), "{answer:?}");
}

#[test]
fn a_stopped_service_stands_still() {
    let answer = wave_of(&|service, second| {
        let stands_until = (service == "depot" && (60..66).contains(&second)).then_some(66);
        Effect { stands_until, ..Effect::default() }
    });
    assert_eq!(origins(&answer), [("depot", OriginKind::Stalled)]);
    assert!(second(answer.origins[0].onset_unix_us).abs_diff(60) <= 1, "{answer:?}");
    assert!(second(answer.origins[0].end_unix_us.unwrap()).abs_diff(66) <= 1, "{answer:?}");
}

#[test]
fn a_machine_that_paused_is_no_service_that_stood_still() {
    let traces: Vec<[Sketch; 3]> = (0..2400_u64)
        .filter(|number| !(1200..1320).contains(number))
        .map(|number| {
            let start = BEGIN_NS + number * 50 * MS;
            // The last ones before the pause end after it.
            let end = start + if (1190..1200).contains(&number) { 7 * SECOND } else { 10 * MS };
            [
                Sketch::server("shop", "GET /", 1, 0, start..end),
                Sketch::client("shop", "GET", 2, 1, start..end),
                Sketch::server("stock", "GET /level", 3, 2, start..end),
            ]
        })
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(|trace| trace.as_slice()).collect();
    let answer = analyze(&corpus(&traces), &CascadeOptions::default());
    assert!(answer.changes.iter().all(|change| change.signal != Signal::Standstill), "{:?}", answer.changes);
}

#[test]
fn steady_random_traffic_is_no_wave() {
    for seed in 0..8 {
        let simulation = Simulation { seconds: 3600, rate: 1, ..simulated(seed, &|_, _| Effect::default()) };
        let answer = analyze(&simulation.corpus(), &CascadeOptions::default());
        assert!(answer.changes.is_empty() && answer.saturated.is_empty(), "{seed}: {answer:?}");
        assert!(answer.wave.is_empty() && answer.timeouts.is_empty(), "{seed}: {answer:?}");
    }
}

#[test]
fn another_mix_of_operations_is_no_change() {
    let traces: Vec<[Sketch; 1]> = (0..2400_u64)
        .map(|number| {
            let start_ns = BEGIN_NS + number * 50 * MS;
            // The slow operation is asked for by a tenth of the requests, then by half of them.
            let is_slow = number % if number < 1200 { 10 } else { 2 } == 0;
            let (name, duration_ns) = if is_slow { ("GET /slow", 400 * MS) } else { ("GET /fast", 5 * MS) };
            [Sketch::server("shop", name, 1, 0, start_ns..start_ns + duration_ns + number % 7 * MS / 10)]
        })
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(|trace| trace.as_slice()).collect();
    let answer = analyze(&corpus(&traces), &CascadeOptions::default());
    assert_eq!(answer.changes, []);
}

#[test]
fn failed_calls_that_end_at_one_duration_tell_the_limit_of_time() {
    let simulation = Simulation {
        attempts: 3,
        timeout_ns: Some(150 * MS),
        ..simulated(1, &|service, second| Effect {
            slower: if service == "depot" && second >= 60 { 100.0 } else { 1.0 },
            ..Effect::default()
        })
    };
    let answer = analyze(&simulation.corpus(), &CascadeOptions::default());
    let told: Vec<_> =
        answer.timeouts.iter().map(|of| (of.edge.from.as_str(), of.edge.to.as_str(), of.value_ns)).collect();
    assert_eq!(told, [("stock", "depot", 150 * MS)]);
    assert_eq!(answer.timeouts[0].calls, answer.timeouts[0].of);
    let mismatch = &answer.mismatches[0];
    assert_eq!((mismatch.timeout_ns, mismatch.attempts), (150 * MS, 1));
    assert!(mismatch.needed_ns > 300 * MS, "{mismatch:?}");
    let wasted = &answer.wasted[0];
    assert_eq!(wasted.service, "depot");
    assert!(wasted.requests > 1000 && wasted.requests < wasted.of, "{wasted:?}");
    assert!(!answer.timeouts[0].exemplars.is_empty() && !wasted.exemplars.is_empty());
}

#[test]
fn a_caller_that_waits_shorter_than_the_retries_below_need_is_a_mismatch() {
    let traces: Vec<Vec<Sketch>> = (0..150_u64)
        .map(|number| {
            let start = BEGIN_NS + number * 100 * MS;
            let mut trace = vec![
                Sketch::server("shop", "GET /", 1, 0, start..start + 210 * MS),
                Sketch::client("shop", "GET stock", 2, 1, start..start + 200 * MS).error("timeout"),
                Sketch::server("stock", "GET /", 3, 2, start..start + 450 * MS).error("503"),
            ];
            trace.extend((0..3).map(|attempt| {
                let from = start + attempt * 150 * MS;
                Sketch::client("stock", "GET depot", 4 + attempt, 3, from..from + 149 * MS)
                    .error("timeout")
                    .with("server.address", tracer_model::span::Value::Str("depot".into()))
            }));
            trace
        })
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    let answer = analyze(&corpus(&traces), &CascadeOptions::default());
    let [mismatch] = &answer.mismatches[..] else { panic!("{:?}", answer.mismatches) };
    assert_eq!((mismatch.edge.from.as_str(), mismatch.edge.to.as_str()), ("shop", "stock"));
    assert_eq!((mismatch.attempts, mismatch.attempt_ns), (3, Some(149 * MS)));
    assert_eq!((mismatch.timeout_ns, mismatch.needed_ns, mismatch.calls), (200 * MS, 450 * MS, 150));
    let wasted = &answer.wasted[0];
    assert_eq!((wasted.requests, wasted.wasted_ns), (150, 150 * 250 * MS));
}

#[test]
fn more_open_requests_without_more_answers_are_saturation() {
    let traces: Vec<[Sketch; 1]> = (0..2400_u64)
        .map(|number| {
            let start_ns = BEGIN_NS + number * 50 * MS;
            let duration_ns = if number < 1200 { 50 * MS } else { 900 * MS } + number % 7 * MS;
            [Sketch::server("shop", "GET /", 1, 0, start_ns..start_ns + duration_ns)]
        })
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(|trace| trace.as_slice()).collect();
    let answer = analyze(&corpus(&traces), &CascadeOptions::default());
    let [of] = &answer.saturated[..] else { panic!("{:?}", answer.saturated) };
    assert!((of.open_before - 1.0).abs() < 0.2 && (of.open - 18.0).abs() < 1.0, "{of:?}");
    assert!(of.is_own && second(of.onset_unix_us).abs_diff(60) <= 1, "{of:?}");
}

#[test]
fn too_few_traces_claim_nothing() {
    let answer =
        analyze(&corpus(&[&[Sketch::server("shop", "GET /", 1, 0, 0..u64::MAX)]]), &Default::default());
    assert!(answer.too_little.is_some() && answer.changes.is_empty());
}

#[test]
fn one_slow_operation_of_many_is_named() {
    let traces: Vec<[Sketch; 1]> = (0..4800_u64)
        .map(|number| {
            let start_ns = BEGIN_NS + number * 25 * MS;
            let name = format!("GET /{}", number % 8);
            let duration_ns = if number >= 2400 && number % 8 == 3 { 70 * MS } else { 20 * MS };
            [Sketch::server("shop", &name, 1, 0, start_ns..start_ns + duration_ns + number % 7 * MS / 2)]
        })
        .collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(|trace| trace.as_slice()).collect();
    let answer = analyze(&corpus(&traces), &CascadeOptions::default());
    assert_eq!(origins(&answer), [("shop", OriginKind::Slower)]);
    assert!(answer.origins[0].sentence.starts_with("shop at GET /3 is slower"), "{:?}", answer.origins);
    let of: Vec<_> = answer.changes.iter().filter_map(|change| change.operation.as_deref()).collect();
    assert_eq!(of, ["GET /3"]);
}
