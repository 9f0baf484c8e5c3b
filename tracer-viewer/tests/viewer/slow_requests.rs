//! Why requests are slow, for the page.

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tracer_analysis::slow::{SlowAnswer, SlowDifferenceKind, SlowOperationsAnswer};

use crate::harness::{Server, now_ns, of_service, span, text_attribute};

const SLOW: &str = "/api/tracer/analysis/slow";
const OPERATIONS: &str = "/api/tracer/analysis/operations";
const MS: u64 = 1_000_000;
const REQUESTS: u64 = 200;

/// Requests of `shop`, of which every fifth is for a tenant whose requests take 80 ms longer.
fn requests(start_ns: u64) -> ExportTraceServiceRequest {
    let spans = (0..REQUESTS).map(|number| {
        let is_slow = number % 5 == 0;
        let mut span = span(0, 1, None, "GET /cart", 2);
        span.trace_id = u128::from(number + 1).to_be_bytes().to_vec();
        span.start_time_unix_nano = start_ns + number * 100 * MS;
        let took_ns = if is_slow { 100 * MS } else { 20 * MS } + number % 7 * MS;
        span.end_time_unix_nano = span.start_time_unix_nano + took_ns;
        span.attributes.push(text_attribute("tenant", if is_slow { "acme" } else { "other" }));
        span
    });
    ExportTraceServiceRequest { resource_spans: vec![of_service("shop", spans.collect())] }
}

#[tokio::test]
async fn slow_requests_are_compared_with_the_rest() {
    let server = Server::start();
    let start_ns = now_ns() - 2 * REQUESTS * 100 * MS;
    server.take(&requests(start_ns)).await;
    let list: SlowOperationsAnswer = serde_json::from_value(server.get(OPERATIONS).await.json()).unwrap();
    let [operation] = &list.operations[..] else { panic!("{list:?}") };
    assert_eq!((&*operation.operation.service, operation.requests), ("shop", REQUESTS));
    let asked = format!("{SLOW}?service=shop&operation=GET%20%2Fcart");
    for chosen in ["quantile=0.8", "least_ns=90000000", "kind=server&least_ns=90000000&most_ns=200000000"] {
        let answer: SlowAnswer =
            serde_json::from_value(server.get(&format!("{asked}&{chosen}")).await.json()).unwrap();
        assert_eq!((answer.slow.requests, answer.rest.requests), (40, 160), "{chosen}");
        let [difference] = &answer.differences[..] else { panic!("{:#?}", answer.differences) };
        assert_eq!(difference.kind, SlowDifferenceKind::Attribute);
        assert_eq!(
            difference.sentence,
            "Of the request: tenant is acme in 100 % of 40 slow requests, and in 0 % of 160 of the others."
        );
    }
    // A box of a stretch of time.
    let middle_us = (start_ns + REQUESTS / 2 * 100 * MS) / 1000;
    let path = format!("{asked}&least_ns=90000000&box_end_us={middle_us}");
    let answer: SlowAnswer = serde_json::from_value(server.get(&path).await.json()).unwrap();
    assert_eq!((answer.slow.requests, answer.rest.requests), (20, 180));
    // Too few, and nothing at all.
    for path in [format!("{asked}&quantile=0.99"), format!("{SLOW}?service=shop&operation=none")] {
        let answer: SlowAnswer = serde_json::from_value(server.get(&path).await.json()).unwrap();
        assert!(answer.too_little.is_some() && answer.differences.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn questions_that_cannot_be_answered_say_why() {
    let server = Server::start();
    for (parameters, words) in [
        ("operation=x", "service is missing"),
        ("service=shop", "operation is missing"),
        ("service=shop&operation=x&quantile=1.5", "quantile must be from 0.5 to 0.9999"),
        ("service=shop&operation=x&quantile=NaN", "quantile must be from 0.5 to 0.9999"),
        ("service=shop&operation=x&quantile=0.9&least_ns=5", "not both"),
        ("service=shop&operation=x&least_ns=9&most_ns=5", "most_ns must be least_ns or more"),
        ("service=shop&operation=x&box_start_us=9&box_end_us=5", "must lie before"),
        ("service=shop&operation=x&kind=none", "kind must be server"),
    ] {
        let answer = server.get(&format!("{SLOW}?{parameters}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameters}");
        assert!(answer.text().contains(words), "{parameters}: {}", answer.text());
    }
}
