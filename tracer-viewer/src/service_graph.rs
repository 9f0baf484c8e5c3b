//! Calls between services as metrics, by the names that Grafana knows.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use tracer_analysis::dependency::graph::{BOUNDS_SECONDS, GraphCounts, GraphEdge, Histogram, ServiceGraph};

/// The metrics of a graph, without the end of a text that has others too.
pub(crate) fn write(graph: Arc<ServiceGraph>, text: &mut String) -> fmt::Result {
    let mut registry = Registry::with_prefix("traces_service_graph");
    registry.register_collector(Box::new(Metrics(graph)));
    text::encode_registry(text, &registry)
}

/// The metrics of a graph as OpenMetrics text.
///
/// # Errors
/// None that a text in memory can have.
pub fn service_graph_metrics(graph: ServiceGraph) -> Result<String, fmt::Error> {
    let mut text = String::new();
    write(Arc::new(graph), &mut text)?;
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// A number of an edge.
type Value<T> = fn(&GraphCounts) -> T;

#[derive(Debug)]
struct Metrics(Arc<ServiceGraph>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counters: [(&str, &str, Value<u64>); 2] = [
            ("request", "Calls from client to server", |counts| counts.requests),
            ("request_failed", "Calls that failed", |counts| counts.failed),
        ];
        for (name, help, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (edge, counts) in &self.0.edges {
                let labels = labels(edge);
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, u64>(&value(counts), None)?;
            }
        }
        let histograms: [(&str, &str, Value<Histogram>); 2] = [
            ("request_client_seconds", "Durations of calls as the client saw them", |counts| counts.client),
            ("request_server_seconds", "Durations of calls as the server saw them", |counts| counts.server),
        ];
        for (name, help, value) in histograms {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (edge, counts) in &self.0.edges {
                let Histogram { counts, sum_seconds } = value(counts);
                let bounds = BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
                let labels = labels(edge);
                metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    sum_seconds,
                    counts.iter().sum(),
                    &buckets,
                    None,
                )?;
            }
        }
        let help = "Calls of edges that were too many to be told apart";
        let mut metric = encoder.encode_descriptor("omitted_requests", help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&self.0.omitted_requests, None)
    }
}

fn labels(edge: &GraphEdge) -> [(&'static str, &str); 3] {
    [("client", &*edge.client), ("server", &*edge.server), ("connection_type", edge.connection_type)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_of_grafana_and_no_name_breaks_out_of_its_label() {
        let edge =
            GraphEdge { client: "shop".into(), server: "a\"b\nc\\".into(), connection_type: "database" };
        let mut counts = GraphCounts { requests: 3, failed: 1, ..GraphCounts::default() };
        counts.client.counts[0] = 2;
        counts.client.counts[8] = 1;
        counts.client.sum_seconds = 20.5;
        let graph = ServiceGraph { edges: [(edge, counts)].into(), omitted_requests: 0 };
        let text = service_graph_metrics(graph).expect("written");
        let labels = "client=\"shop\",server=\"a\\\"b\\nc\\\\\",connection_type=\"database\"";
        for line in [
            format!("traces_service_graph_request_total{{{labels}}} 3"),
            format!("traces_service_graph_request_failed_total{{{labels}}} 1"),
            format!("traces_service_graph_request_client_seconds_sum{{{labels}}} 20.5"),
            format!("traces_service_graph_request_client_seconds_count{{{labels}}} 3"),
            format!("traces_service_graph_request_client_seconds_bucket{{le=\"0.1\",{labels}}} 2"),
            format!("traces_service_graph_request_client_seconds_bucket{{le=\"+Inf\",{labels}}} 3"),
            "traces_service_graph_omitted_requests_total 0".to_owned(),
            "# EOF".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
