//! The status as Prometheus reads it (OpenMetrics text). Processes and services are no labels: there may be too many.

#![forbid(unsafe_code)]

use std::fmt;

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::{Registry, Unit},
};

use super::report::StatusReport;

/// Counts of this status.
pub(super) fn metrics(status: &StatusReport) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tracer_agent");
    let gauge = |value: u64| ConstGauge::<i64>::new(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register_with_unit(
        "uptime",
        "Time since the agent started",
        Unit::Seconds,
        gauge(status.uptime_seconds),
    );
    registry.register("processes", "Selected processes that live", gauge(status.processes_alive as u64));
    registry.register("connections", "Connections that are followed", gauge(status.connections as u64));
    registry.register("events", "Records that were read from the kernel", ConstCounter::new(status.events));
    let ledger = Family::<[(&str, String); 1], Counter>::default();
    for count in &status.totals {
        ledger.get_or_create(&[("counter", count.name.clone())]).inc_by(count.count);
    }
    registry.register(
        "ledger",
        "What was seen, linked and lost, as `tracer status` tells it in words",
        ledger,
    );
    if let Some(export) = &status.export {
        registry.register("export_queued_spans", "Spans to be exported", ConstCounter::new(export.queued));
        registry.register(
            "export_sent_spans",
            "Spans that the receiver took",
            ConstCounter::new(export.sent),
        );
        registry.register(
            "export_rejected_spans",
            "Spans that the receiver rejected",
            ConstCounter::new(export.rejected),
        );
        registry.register(
            "export_dropped_spans",
            "Spans that were dropped",
            ConstCounter::new(export.dropped()),
        );
        registry.register(
            "export_failures",
            "Requests to the receiver that failed",
            ConstCounter::new(export.failures),
        );
        registry.register("export_waiting_spans", "Spans that wait to be exported", gauge(export.in_queue));
    }
    let mut text = String::new();
    encode(&mut text, &registry).map(|()| text)
}
