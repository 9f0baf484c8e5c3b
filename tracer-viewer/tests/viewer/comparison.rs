//! What changed, for the page and for a pull request.

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tracer_analysis::{
    compare::{ComparisonAnswer, deployments::DeploymentsAnswer},
    statistics::Verdict,
};

use crate::harness::{Server, now_ns, of_service, span, text_attribute};

const COMPARE: &str = "/api/tracer/analysis/compare";
const DEPLOYMENTS: &str = "/api/tracer/analysis/deployments";
const MS: u64 = 1_000_000;
const REQUESTS: u64 = 120;

/// Requests that a version of `shop` served, one each 100 ms from a moment on, so long each and a little more.
fn requests(first: u64, version: &str, start_ns: u64, took_ns: u64) -> ExportTraceServiceRequest {
    let spans = (0..REQUESTS).map(|number| {
        let mut span = span(0, 1, None, "GET /cart", 2);
        span.trace_id = u128::from(first + number + 1).to_be_bytes().to_vec();
        span.start_time_unix_nano = start_ns + number * 100 * MS;
        span.end_time_unix_nano = span.start_time_unix_nano + took_ns + number * 7 % 11 * took_ns / 100;
        span
    });
    let mut of_service = of_service("shop", spans.collect());
    let resource = of_service.resource.as_mut().unwrap();
    resource.attributes.push(text_attribute("service.version", version));
    ExportTraceServiceRequest { resource_spans: vec![of_service] }
}

/// Version 2 follows version 1 and takes twice as long. Returns when it begins, microseconds since 1970.
async fn release(server: &Server) -> u64 {
    let lasts_ns = REQUESTS * 100 * MS;
    let start_ns = now_ns() - 3 * lasts_ns;
    server.take(&requests(0, "1", start_ns, 20 * MS)).await;
    server.take(&requests(REQUESTS, "2", start_ns + lasts_ns, 40 * MS)).await;
    (start_ns + lasts_ns) / 1000
}

#[tokio::test]
async fn windows_and_versions_are_compared() {
    let server = Server::start();
    let release_us = release(&server).await;
    let versions = format!("{COMPARE}?service=shop&before_version=1&after_version=2");
    let windows = format!(
        "{COMPARE}?before_start_us=1&before_end_us={release_us}&after_start_us={release_us}&after_end_us={}",
        u64::MAX
    );
    for path in [&versions, &windows] {
        let answer: ComparisonAnswer = serde_json::from_value(server.get(path).await.json()).unwrap();
        assert_eq!((answer.before.requests, answer.after.requests), (REQUESTS, REQUESTS), "{path}");
        assert_eq!(answer.verdict, Verdict::Worse, "{}", answer.sentence);
        let [operation] = &answer.operations[..] else { panic!("{:?}", answer.operations) };
        assert_eq!((&*operation.operation.service, &*operation.operation.name), ("shop", "GET /cart"));
        let ratio = operation.own_time.ratio.unwrap().value;
        assert!((ratio - 2.0).abs() < 0.01, "{ratio}");
    }
    let markdown = server.get(&format!("{versions}&format=markdown")).await;
    assert_eq!(markdown.header("content-type"), "text/markdown; charset=utf-8");
    assert!(markdown.text().lines().any(|line| line.starts_with("| worse |")), "{}", markdown.text());
}

#[tokio::test]
async fn sides_that_are_none_are_refused_and_empty_ones_say_so() {
    let server = Server::start();
    release(&server).await;
    for (query, told) in [
        ("", "give before_start_us and before_end_us, or service and before_version"),
        ("?before_version=1&after_version=2", "before_version needs the service that it is of"),
        ("?service=shop&before_version=1", "give after_start_us and after_end_us"),
        ("?before_start_us=9&before_end_us=5&after_start_us=5", "start_us must lie before end_us"),
        ("?before_start_us=x&after_start_us=5", "before_start_us must be whole microseconds"),
    ] {
        let answer = server.get(&format!("{COMPARE}{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
    let answer = server.get(&format!("{COMPARE}?service=shop&before_version=1&after_version=7")).await.json();
    assert_eq!((&answer["verdict"], &answer["after"]["requests"]), (&"not_enough".into(), &0.into()));
}

#[tokio::test]
async fn releases_are_told_with_what_they_changed() {
    let server = Server::start();
    let release_us = release(&server).await;
    let answer: DeploymentsAnswer = serde_json::from_value(server.get(DEPLOYMENTS).await.json()).unwrap();
    let [deployment] = &answer.deployments[..] else { panic!("{:?}", answer.deployments) };
    assert_eq!(
        (&*deployment.service, &*deployment.old_version, &*deployment.new_version),
        ("shop", "1", "2")
    );
    assert_eq!(deployment.first_seen_unix_us, release_us);
    assert_eq!(deployment.comparison.as_ref().map(|comparison| comparison.verdict), Some(Verdict::Worse));
    let before = format!("{DEPLOYMENTS}?start_us=1&end_us={release_us}");
    let answer: DeploymentsAnswer = serde_json::from_value(server.get(&before).await.json()).unwrap();
    assert_eq!((answer.deployments.len(), answer.services_of_one_version), (0, vec!["shop".to_owned()]));
}
