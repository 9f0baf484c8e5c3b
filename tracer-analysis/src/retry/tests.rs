use super::*;
use crate::{
    cascade::simulated::{BEGIN_NS, Effect, MS, SECOND, Simulation},
    samples::{Sketch, corpus},
};

fn answer_of(traces: &[Vec<Sketch>]) -> RetryAnswer {
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    analyze(&corpus(&traces), &RetryOptions::default())
}

#[test]
fn three_layers_of_three_attempts_make_27_calls() {
    let simulation = Simulation {
        seed: 1,
        seconds: 120,
        rate: 10,
        attempts: 3,
        timeout_ns: Some(50 * MS),
        fault: &|service, second| Effect {
            slower: if service == "depot" && second >= 60 { 200.0 } else { 1.0 },
            errors: 0.0,
            ..Effect::default()
        },
    };
    let answer = analyze(&simulation.corpus(), &RetryOptions::default());
    let path = &answer.paths[0];
    let layers: Vec<_> =
        path.layers.iter().map(|of| (of.from.as_str(), of.to.as_str(), of.peak_factor, of.fan_out)).collect();
    assert_eq!(
        layers,
        [("front", "shop", 3.0, 1.0), ("shop", "stock", 3.0, 1.0), ("stock", "depot", 3.0, 1.0)]
    );
    assert_eq!((path.peak, path.most, path.top.name.as_str()), (27.0, 27, "GET /"));
    // Half of the time each request makes one call, then each makes 27.
    assert!((path.amplification - 14.0).abs() < 0.2, "{}", path.amplification);
    let [storm] = &answer.storms[..] else { panic!("{:?}", answer.storms) };
    assert_eq!((storm.bottom.from.as_str(), storm.bottom.to.as_str()), ("stock", "depot"));
    assert_eq!(storm.edges.len(), 3);
    assert!((storm.amplification - 27.0).abs() < 1.0 && storm.amplification_before < 2.0, "{storm:?}");
    assert!(storm.goodput < 0.05 && storm.goodput_before.is_some_and(|before| before > 0.95), "{storm:?}");
    assert!((storm.onset_unix_us * 1000 - BEGIN_NS).abs_diff(60 * SECOND) <= 2 * SECOND, "{storm:?}");
    assert!(!storm.is_self_sustaining && storm.end_unix_us.is_none(), "{storm:?}");
}

#[test]
fn a_storm_that_goes_on_after_its_trigger_feeds_itself() {
    // Requests come in each tenth of a second. For 5 s nothing is answered; then it is, but too late for each attempt.
    let traces: Vec<Vec<Sketch>> = (0..1200_u64)
        .map(|number| {
            let start = BEGIN_NS + number * 100 * MS;
            let is_storm = number >= 600;
            let attempts = if is_storm { 3 } else { 1 };
            let mut trace = vec![Sketch::server("shop", "GET /", 1, 0, start..start + attempts * 200 * MS)];
            for attempt in 0..attempts {
                let from = start + attempt * 200 * MS;
                let call = Sketch::client("shop", "GET", 2 + 2 * attempt, 1, from..from + 150 * MS);
                trace.push(if is_storm { call.error("timeout") } else { call });
                let mut to = from + if is_storm { 300 } else { 100 } * MS;
                if (600..650).contains(&number) {
                    to += 5 * SECOND;
                }
                trace.push(Sketch::server("stock", "GET /", 3 + 2 * attempt, 2 + 2 * attempt, from..to));
            }
            trace
        })
        .collect();
    let answer = answer_of(&traces);
    let [storm] = &answer.storms[..] else { panic!("{:?}", answer.storms) };
    assert!(storm.is_self_sustaining, "{storm:?}");
    let trigger = storm.trigger.clone().unwrap();
    assert_eq!(trigger.kind, TriggerKind::Slower);
    assert!((trigger.start_unix_us * 1000 - BEGIN_NS).abs_diff(60 * SECOND) <= SECOND, "{trigger:?}");
    let end_ns = trigger.end_unix_us.unwrap() * 1000 - BEGIN_NS;
    assert!(end_ns.abs_diff(65 * SECOND) <= 2 * SECOND, "{trigger:?}");
    assert!(storm.sentence.contains("go on by themselves"), "{}", storm.sentence);
}

#[test]
fn retries_that_help_and_those_that_do_not_are_told_apart() {
    let traces: Vec<Vec<Sketch>> = (0..100_u64)
        .map(|number| {
            let start = BEGIN_NS + number * 100 * MS;
            let call = |id: u64| {
                let from = start + id * 10 * MS;
                Sketch::client("shop", "GET", id, 1, from..from + 5 * MS)
                    .with("server.address", tracer_model::span::Value::Str("stock".into()))
            };
            let mut trace = vec![Sketch::server("shop", "GET /", 1, 0, start..start + 90 * MS)];
            match number % 10 {
                // One of ten is saved by its second attempt, one fails at both.
                0 => trace.extend([call(2).error("503"), call(3)]),
                1 => trace.extend([call(2).error("timeout"), call(3).error("429")]),
                _ => trace.push(call(2)),
            }
            trace
        })
        .collect();
    let answer = answer_of(&traces);
    let [edge] = &answer.edges[..] else { panic!("{:?}", answer.edges) };
    assert_eq!((edge.attempts, edge.logical_calls, edge.saved, edge.exhausted), (120, 100, 10, 10));
    assert_eq!((edge.by_attempts.as_slice(), edge.provable), ([80, 20].as_slice(), 0));
    assert_eq!(edge.causes.iter().map(|of| of.count).collect::<Vec<_>>(), [10, 10]);
    assert!((edge.retry_ratio - 20.0 / 120.0).abs() < 1e-9 && edge.is_over_budget);
    let succeeded: u64 = edge.goodput.iter().map(|of| of.succeeded).sum();
    assert_eq!((succeeded, edge.exemplars.len()), (90, 3));
    assert_eq!(edge.exemplars[0].trace_id.len(), 32);
}

#[test]
fn steady_traffic_with_some_retries_is_no_storm() {
    for seed in 0..5 {
        let fault = |_: &str, _| Effect::default();
        let simulation =
            Simulation { seed, seconds: 3600, rate: 1, attempts: 3, timeout_ns: None, fault: &fault };
        let answer = analyze(&simulation.corpus(), &RetryOptions::default());
        assert!(answer.storms.is_empty() && answer.too_little.is_none(), "{seed}: {:?}", answer.storms);
        assert!(answer.retry_ratio > 0.005 && answer.retry_ratio < 0.05, "{}", answer.retry_ratio);
    }
}

#[test]
fn too_few_calls_claim_nothing() {
    let answer = answer_of(&[vec![Sketch::server("shop", "GET /", 1, 0, 0..u64::MAX)]]);
    assert!(answer.too_little.is_some() && answer.storms.is_empty());
    assert!(analyze(&corpus(&[]), &RetryOptions::default()).too_little.is_some());
}
