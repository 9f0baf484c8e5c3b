//! Who depends on whom, for the page and for other tools.

use http::StatusCode;
use tracer_analysis::dependency::DependenciesAnswer;

use crate::harness::{Server, sample};

const PATH: &str = "/api/tracer/analysis/dependencies";

#[tokio::test]
async fn dependencies_are_told_to_the_page_and_to_other_tools() {
    let server = Server::start();
    server.take(&sample()).await;
    let answer: DependenciesAnswer = serde_json::from_value(server.get(PATH).await.json()).unwrap();
    let edges: Vec<_> = answer
        .edges
        .iter()
        .map(|one| (&*one.edge.from, &*one.edge.to, one.calls, one.failed_calls))
        .collect();
    assert_eq!(edges, [("shop", "stock", 1, 0)]);
    for (format, kind, line) in [
        ("mermaid", "text/plain; charset=utf-8", "  n0 -->|\"1 calls\"| n1"),
        ("dot", "text/vnd.graphviz; charset=utf-8", "  n0 -> n1 [label=\"1 calls\"];"),
        (
            "metrics",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "traces_service_graph_request_failed_total{client=\"shop\",server=\"stock\",connection_type=\"\"} 1",
        ),
    ] {
        let answer = server.get(&format!("{PATH}?format={format}")).await;
        assert_eq!(answer.header("content-type"), kind);
        assert!(answer.text().lines().any(|found| found == line), "{line}\n{}", answer.text());
    }
    let wrong = server.get(&format!("{PATH}?format=xml")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("json, mermaid, dot or metrics"), "{}", wrong.text());
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("traces_service_graph_omitted_requests_total 0\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
