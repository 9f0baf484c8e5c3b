use proptest::prelude::*;
use tracer_model::{answer::SpanKind, span::Value};

use super::*;
use crate::samples::{Sketch, corpus};

fn operation(service: &str, name: &str, kind: SpanKind) -> OperationName {
    OperationName { service: service.to_owned(), name: name.to_owned(), kind }
}

fn faster(sketches: &[Sketch], name: &str, part: f64) -> u64 {
    let corpus = corpus(&[sketches]);
    let trace = corpus.trace(0);
    replayed_ns(trace, |at| *trace.facts(at).name == *name, part)
}

/// A root of 100 that asks two in parallel from 10 on, one until 60 and one until 80, and then a third from 85 to 95.
fn parallel() -> Vec<Sketch> {
    vec![
        Sketch::server("front", "root", 1, 0, 1000..1100),
        Sketch::internal("front", "short", 2, 1, 1010..1060),
        Sketch::internal("front", "long", 3, 1, 1010..1080),
        Sketch::internal("front", "last", 4, 1, 1085..1095),
    ]
}

#[test]
fn a_branch_beside_the_path_helps_nobody_and_one_on_it_only_up_to_the_other() {
    assert_eq!(faster(&parallel(), "short", 0.0), 100);
    // Subtraction would say 100 - 70 = 30; the short branch takes until 60 still.
    assert_eq!(faster(&parallel(), "long", 0.0), 80);
    assert_eq!(faster(&parallel(), "last", 0.5), 95);
    assert_eq!(faster(&parallel(), "none", 0.0), 100);
}

#[test]
fn shares_are_those_of_the_critical_path_and_the_way_between_is_the_networks() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "GET /", 1, 0, 1000..1100),
        Sketch::client("shop", "GET /price", 2, 1, 1010..1090),
        Sketch::server("prices", "GET /price", 3, 2, 1020..1080),
        Sketch::client("shop", "GET /beside", 4, 1, 1010..1050),
    ]]);
    let answer = analyze(&corpus, None);
    assert_eq!((answer.total_ns, answer.network_ns, answer.traces), (100, 20, 1));
    let services: Vec<_> =
        answer.services.iter().map(|share| (share.service.as_str(), share.path_ns)).collect();
    assert_eq!(services, [("prices", 60), ("shop", 20)]);
    let first = &answer.operations[0];
    assert_eq!(first.operation, operation("prices", "GET /price", SpanKind::Server));
    assert!((first.part - 0.6).abs() < 1e-9);
    assert_eq!(answer.help[0].operation, first.operation);
    assert_eq!((answer.help[0].p50_ns, answer.help[0].helped_p50_ns), (100, 70));
    let other = operation("shop", "GET /other", SpanKind::Server);
    assert_eq!(analyze(&corpus, Some(&other)).traces, 0);
}

#[test]
fn a_failed_call_below_a_success_is_told_with_its_time() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "GET /", 1, 0, 1000..1100),
        Sketch::client("shop", "GET /price", 2, 1, 1010..1040).error("timeout"),
        Sketch::client("shop", "GET /price", 3, 1, 1045..1090),
        Sketch::server("prices", "GET /price", 4, 3, 1050..1085),
        Sketch::server("prices", "GET /price", 5, 2, 1012..1030),
    ]]);
    let [hidden] = &analyze(&corpus, None).hidden_errors[..] else { panic!("one edge") };
    assert_eq!((hidden.calls, hidden.of, hidden.requests, hidden.path_ns), (1, 2, 1, 30));
    assert_eq!((hidden.edge.from.as_str(), hidden.edge.to.as_str()), ("shop", "prices"));
}

/// Spans below each other, at any times.
fn any_trace() -> impl Strategy<Value = Vec<Sketch>> {
    let span = (0..1000u64, 0..1000u64, 0..100usize);
    prop::collection::vec(span, 1..30).prop_map(|spans| {
        let each = spans.into_iter().enumerate().map(|(at, (start, length, parent))| {
            let parent = if at == 0 { 0 } else { (parent % at + 1) as u64 };
            Sketch::internal(
                "a",
                &format!("op{}", at % 5),
                at as u64 + 1,
                parent,
                1000 + start..1000 + start + length,
            )
        });
        each.collect()
    })
}

proptest! {
    #[test]
    fn nothing_faster_changes_nothing_and_faster_work_takes_no_longer(sketches in any_trace(), part in 0.0..1.0f64) {
        let corpus = corpus(&[&sketches]);
        let trace = corpus.trace(0);
        let whole = trace.duration_ns(trace.root());
        let same = replayed_ns(trace, |_| true, 1.0);
        prop_assert!(same >= whole.min(same) && same <= whole.max(same));
        prop_assert_eq!(replayed_ns(trace, |_| false, part), same);
        prop_assert!(replayed_ns(trace, |at| *trace.facts(at).name == *"op1", part) <= same);
    }

    #[test]
    fn shares_are_all_of_the_roots_time(sketches in any_trace()) {
        let corpus = corpus(&[&sketches]);
        let answer = analyze(&corpus, None);
        let told: u64 = answer.services.iter().map(|share| share.path_ns).sum();
        prop_assert_eq!(told + answer.network_ns, answer.total_ns);
    }
}

#[test]
fn calls_that_are_always_repeated_are_told_with_what_one_call_would_save() {
    let request = |is_parallel: bool| -> Vec<Sketch> {
        let calls = (0..8).map(|number| {
            let start_ns = if is_parallel { 100 } else { 100 + number * 100 };
            Sketch::client("shop", "SELECT", number + 2, 1, start_ns..start_ns + 100)
                .with("db.query.summary", Value::Str("SELECT items".into()))
        });
        let root = Sketch::server("shop", if is_parallel { "GET /all" } else { "GET /list" }, 1, 0, 50..1000);
        std::iter::once(root).chain(calls).collect()
    };
    let traces: Vec<Vec<Sketch>> = (0..24).map(|number| request(number % 2 == 0)).collect();
    let traces: Vec<&[Sketch]> = traces.iter().map(Vec::as_slice).collect();
    let answer = analyze(&corpus(&traces), None);
    let [told] = &answer.repeated[..] else { panic!("{:?}", answer.repeated) };
    assert_eq!((told.caller.name.as_str(), told.query.as_deref()), ("GET /list", Some("SELECT items")));
    assert_eq!((told.calls_p50, told.requests, told.of), (8, 12, 12));
    assert_eq!((told.path_ns, told.saves_ns), (800, 700));
}

#[test]
fn a_client_that_gave_up_is_not_helped_by_a_server_that_goes_on() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "GET /", 1, 0, 100..1100),
        Sketch::client("shop", "GET", 2, 1, 200..400).error("timeout"),
        Sketch::server("stock", "GET", 3, 2, 210..5000),
        Sketch::client("shop", "GET", 4, 1, 500..1000),
        Sketch::server("stock", "GET", 5, 4, 510..990),
    ]]);
    let trace = corpus.trace(0);
    let is_stock = |at: usize| trace.serves(at) && trace.parent(at).is_some();
    let played = super::replayed_ns(trace, is_stock, 1.0);
    assert_eq!(played, 1000, "as it was");
    // The second call takes half of its 480; the first one ends at its limit all the same.
    assert_eq!(super::replayed_ns(trace, is_stock, 0.5), 760);
}
