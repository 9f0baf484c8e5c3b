use tracer_model::{facts::Gathered, span::Value};

use super::*;
use crate::samples::{Sketch, corpus};

#[test]
fn a_trace_is_a_tree_in_the_order_of_the_waterfall() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "GET /", 1, 0, 0..100),
        Sketch::client("shop", "GET /price", 2, 1, 40..60),
        Sketch::client("shop", "GET /stock", 3, 1, 10..30),
        Sketch::server("stock", "GET /stock", 4, 3, 12..28),
    ]]);
    let trace = corpus.trace(0);
    let names: Vec<_> = (0..trace.len()).map(|at| &*trace.facts(at).name).collect();
    assert_eq!(names, ["GET /", "GET /stock", "GET /stock", "GET /price"]);
    assert_eq!(trace.children(0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((trace.parent(0), trace.parent(2), trace.parent(3)), (None, Some(1), Some(0)));
    assert_eq!((trace.server(1), trace.server(3)), (Some(2), None));
    assert_eq!(trace.asked(1).map(|id| corpus.dictionary.name(id)), Some("stock"));
    assert!(trace.is_whole() && trace.root() == 0 && trace.asked(3).is_none());
}

#[test]
fn what_ids_say_wrongly_is_no_circle_and_no_loss() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "a", 1, 2, 0..10),
        Sketch::server("shop", "b", 2, 1, 5..10),
        Sketch::server("shop", "c", 3, 3, 6..10),
        Sketch::server("shop", "d", 4, 99, 7..10),
        Sketch::server("shop", "d", 4, 99, 7..10),
    ]]);
    let trace = corpus.trace(0);
    assert_eq!(trace.len(), 4, "the copy is left out");
    assert_eq!(trace.roots().count(), 3);
    assert!(!trace.is_whole() && trace.missing_parents() >= 2);
    assert_eq!(trace.children(0).count(), 1);
}

#[test]
fn a_server_by_another_clock_is_moved_into_its_client_with_all_below_it() {
    let corpus = corpus(&[&[
        Sketch::client("shop", "GET /", 1, 0, 1000..1100).on("one"),
        Sketch::server("stock", "GET /", 2, 1, 5000..5060).on("other"),
        Sketch::client("stock", "SELECT", 3, 2, 5010..5050).on("other"),
    ]]);
    let trace = corpus.trace(0);
    let times: Vec<_> = (0..3).map(|at| (trace.time(at).start_ns, trace.time(at).end_ns)).collect();
    assert_eq!(times, [(1000, 1100), (1020, 1080), (1030, 1070)]);
}

#[test]
fn work_after_the_response_and_messages_are_not_awaited() {
    let corpus = corpus(&[&[
        Sketch::server("shop", "GET /", 1, 0, 0..100),
        Sketch::client("shop", "POST /late", 2, 1, 90..200),
        Sketch::client("shop", "POST /in-time", 3, 1, 10..101),
        Sketch::client("shop", "POST /gave-up", 4, 1, 20..90),
        Sketch::server("slow", "POST /gave-up", 5, 4, 25..400),
    ]]);
    let trace = corpus.trace(0);
    let awaited: Vec<_> = (0..5).map(|at| (&*trace.facts(at).name, trace.is_awaited(at))).collect();
    assert!(
        awaited.contains(&("POST /late", false)) && awaited.contains(&("POST /in-time", true)),
        "{awaited:?}"
    );
    assert_eq!(awaited.iter().filter(|(name, is)| *name == "POST /gave-up" && *is).count(), 2);
}

#[test]
fn nothing_is_an_empty_corpus() {
    let corpus = Corpus::from(Gathered::default());
    assert!(corpus.is_empty() && corpus.extent_ns().is_none() && corpus.spans() == 0);
}

#[test]
fn a_call_that_nobody_answers_goes_to_the_service_that_answers_at_its_address() {
    let to = |sketch: Sketch, address: &str| sketch.with("server.address", Value::Str(address.into()));
    let answered = |id: u64, from: &str, address: &str, service: &str| {
        [
            to(Sketch::client(from, "GET", id, 0, 0..10), address),
            Sketch::server(service, "GET", id + 1, id, 1..9),
        ]
    };
    let [one, two] = answered(1, "shop", "10.0.0.1", "stock");
    let [three, four] = answered(3, "shop", "10.0.0.2", "stock");
    let [five, six] = answered(5, "shop", "10.0.0.2", "depot");
    let corpus = corpus(&[
        &[one, two],
        &[three, four],
        &[five, six],
        &[to(Sketch::client("shop", "GET", 7, 0, 20..30).error("timeout"), "10.0.0.1")],
        &[to(Sketch::client("shop", "GET", 8, 0, 21..30).error("timeout"), "10.0.0.2")],
    ]);
    let asked = |trace: usize| corpus.trace(trace).asked(0).map(|party| corpus.dictionary.name(party));
    assert_eq!((asked(3), asked(4)), (Some("stock"), Some("10.0.0.2")), "two answer at the second one");
}
