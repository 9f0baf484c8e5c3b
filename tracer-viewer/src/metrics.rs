//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeMetric,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::{Registry, Unit},
};
use tracer_model::answer::StoreStatus;

use crate::{blocking::blocking, problem::Problem, service_graph, shared::Shared};

/// The process serves.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// The viewer can be used: its store is well.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let store = shared.store.clone();
    match blocking(move || store.status().problem).await {
        Ok(None) if !shared.stopping.is_now() => "ready\n".into_response(),
        Ok(None) => (StatusCode::SERVICE_UNAVAILABLE, "the viewer stops\n").into_response(),
        // What is wrong may name paths: the page and /metrics tell it to those who may know.
        Ok(Some(_)) => (StatusCode::SERVICE_UNAVAILABLE, "the store has a problem\n").into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Counts of viewer and store, as Prometheus reads them (OpenMetrics text).
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let text = blocking(move || {
        let mut registry = Registry::with_prefix("tracer_viewer");
        shared.counters.register(&mut registry);
        registry.register_collector(Box::new(StoreMetrics(shared.store.status())));
        let (graph, omitted_traces) = shared.watcher.service_graph();
        let omitted: Counter = Counter::default();
        omitted.inc_by(omitted_traces);
        let help = "Traces that the service graph does not count: there were too many spans";
        registry.register("service_graph_omitted_traces", help, omitted);
        let mut text = String::new();
        encode_registry(&mut text, &registry)?;
        service_graph::write(graph, &mut text)?;
        encode_eof(&mut text).map(|()| text)
    });
    let text = text.await?.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written: this is a bug")
    })?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What the store holds at the time of one reading.
#[derive(Debug)]
struct StoreMetrics(StoreStatus);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let status = &self.0;
        let gauges = [
            ("store_spans", "Spans in the store", None, status.spans),
            ("store_traces", "Traces in the store", None, status.traces),
            ("store", "Memory or disk that they take", Some(Unit::Bytes), status.bytes),
            ("store_limit", "What they may take", Some(Unit::Bytes), status.max_bytes),
            (
                "store_problem",
                "1 if something is wrong with the store",
                None,
                status.problem.is_some().into(),
            ),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::<i64>::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        let counters = [
            ("store_received_spans", "Spans that came in", status.received_spans),
            ("store_evicted_spans", "Spans let go for want of space", status.evicted_spans),
            ("store_evicted_traces", "Traces let go for want of space", status.evicted_traces),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::<u64>::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let refused = Family::<[(&str, String); 1], Counter>::default();
        for line in &status.refused {
            refused.get_or_create(&[("reason", line.reason.clone())]).inc_by(line.spans);
        }
        let help = "Spans that the store refused";
        refused.encode(encoder.encode_descriptor("store_refused_spans", help, None, refused.metric_type())?)
    }
}
